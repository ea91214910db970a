//! Where keys of a configuration stand in its file, for whoever explains what it does.

use std::path::Path;

use crate::config::node;
use crate::config::node::Node;
use crate::config::node::Value;
use crate::config::read_text;

/// The keys of one file.
#[derive(Debug)]
pub struct Places {
    name: String,
    text: String,
    tree: Option<Node>,
}

impl Places {
    /// Those of a file that was read without mistakes; where it cannot be read again, nothing stands anywhere.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        let text = read_text(path).unwrap_or_default();
        Self {
            name: path.display().to_string(),
            tree: node::parse(&text).ok(),
            text,
        }
    }

    /// Those of a configuration without a file: all is by default.
    #[must_use]
    pub fn none() -> Self {
        Self {
            name: String::new(),
            text: String::new(),
            tree: None,
        }
    }

    /// `imapwarden.yaml:12 (access.deny[0])`, or that the key is not set.
    #[must_use]
    pub fn of(&self, key: &str) -> String {
        match self.line(key) {
            Some(line) => format!("{}:{line} ({key})", self.name),
            None => format!("by default ({key} is not set)"),
        }
    }

    /// The line that a key's value stands on, from 1: `second_factor.networks[1]`.
    #[must_use]
    pub fn line(&self, key: &str) -> Option<usize> {
        let mut node = self.tree.as_ref()?;
        let mut at = None;
        for part in key.split('.') {
            let (name, number) = match part.split_once('[') {
                Some((name, rest)) => (name, rest.strip_suffix(']')?.parse::<usize>().ok()),
                None => (part, None),
            };
            let Value::Map(entries) = &node.value else {
                return None;
            };
            let is_it = |key: &Node| matches!(&key.value, Value::Scalar(text) if text == name);
            let (key, value) = entries.iter().find(|(key, _)| is_it(key))?;
            at = Some(key.span.start);
            node = value;
            if let Some(number) = number {
                let Value::List(items) = &node.value else {
                    return None;
                };
                node = items.get(number)?;
                at = Some(start_of(node));
            }
        }
        let before = self.text.get(..at?)?;
        Some(before.matches('\n').count().saturating_add(1))
    }
}

/// Where a node begins; a block of keys begins with its first key.
fn start_of(node: &Node) -> usize {
    match &node.value {
        Value::Map(entries) => entries.first().map_or(node.span.start, |(key, _)| key.span.start),
        _ => node.span.start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_where_it_stands_and_one_that_is_not_set_is_by_default() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.yaml");
        let text = "backends:\n  - address: a:1\naccess:\n  deny:\n    - 10.0.0.0/8\n    - scanners\nsecond_factor:\n  \
            networks:\n    - {set: office, require: exempt}\n    - set: lab\n      require: optional\n";
        std::fs::write(&path, text).unwrap();
        let places = Places::load(&path);
        for (key, line) in [
            ("access.deny", Some(4)),
            ("access.deny[1]", Some(6)),
            ("second_factor.networks[0]", Some(9)),
            ("second_factor.networks[1]", Some(10)),
            ("second_factor.networks[1].require", Some(11)),
            ("access.allow", None),
            ("access.deny[7]", None),
            ("backends[0].address", Some(2)),
        ] {
            assert_eq!(places.line(key), line, "{key}");
        }
        assert!(places.of("access.deny[1]").ends_with("x.yaml:6 (access.deny[1])"));
        assert_eq!(
            Places::none().of("limits.connections"),
            "by default (limits.connections is not set)"
        );
    }
}
