//! Reads a tree of nodes key by key: typed values with defaults, every mistake noted instead of the first one returned,
//! and every key that is asked for remembered, for "did you mean" and for the docs.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::config::kind::Kind;
use crate::config::node::Node;
use crate::config::node::Value;
use crate::config::notes::At;
use crate::config::notes::Notes;
use crate::config::problem::Problem;
use crate::config::problem::quoted;
use crate::config::suggest::nearest;

/// A section of keys while it is read.
pub(super) struct Section<'n> {
    notes: &'n Notes,
    /// `second_factor.totp`, `listeners[]`; empty at the top.
    path: String,
    span: Range<usize>,
    entries: Vec<Entry<'n>>,
    /// Where in `entries` each key is: sets of networks may be many.
    index: BTreeMap<&'n str, usize>,
    asked: Vec<&'static str>,
}

struct Entry<'n> {
    key: &'n str,
    key_span: Range<usize>,
    value: &'n Node,
}

impl<'n> Section<'n> {
    /// The file as a whole; an empty one has all defaults.
    pub(super) fn root(notes: &'n Notes, node: &'n Node) -> Self {
        Self::of(notes, String::new(), node)
    }

    fn empty(notes: &'n Notes, path: String, span: Range<usize>) -> Self {
        Self {
            notes,
            path,
            span,
            entries: Vec::new(),
            index: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    fn of(notes: &'n Notes, path: String, node: &'n Node) -> Self {
        let mut section = Self::empty(notes, path, node.span.clone());
        match &node.value {
            Value::Map(entries) => entries
                .iter()
                .for_each(|(key, value)| section.take_entry(key, value)),
            // `limits:` with every key below commented out.
            Value::Empty => {}
            other => section.wrong_shape(&section.path, other, "a section of keys", node),
        }
        // A block of keys has no place of its own.
        if let Some(first) = section.entries.first().filter(|_| node.span.is_empty()) {
            section.span = first.key_span.clone();
        }
        section
    }

    fn take_entry(&mut self, key: &'n Node, value: &'n Node) {
        let Value::Scalar(name) = &key.value else {
            self.notes.problem(Problem::new(
                "wrong_shape",
                key.span.clone(),
                "a key must be a word",
            ));
            return;
        };
        if let Some(first) = self.entry(name) {
            let problem = Problem::new(
                "duplicate_key",
                key.span.clone(),
                format!("the key {} is here twice", quoted(name)),
            );
            self.notes
                .problem(problem.beside(first.key_span.clone(), "first here"));
            return;
        }
        self.index.insert(name, self.entries.len());
        self.entries.push(Entry {
            key: name,
            key_span: key.span.clone(),
            value,
        });
    }

    fn entry(&self, key: &str) -> Option<&Entry<'n>> {
        self.index.get(key).and_then(|at| self.entries.get(*at))
    }

    fn wrong_shape(&self, path: &str, found: &Value, wanted: &str, node: &Node) {
        let name = if path.is_empty() { "the file" } else { path };
        let message = format!("`{name}` wants {wanted}, and this is {}", found.kind());
        let problem = Problem::new("wrong_shape", node.span.clone(), message);
        let help = match (found, wanted) {
            (Value::Scalar(text), "a list") => {
                Some(format!("write `[{text}]`, or `- {text}` on its own line"))
            }
            (Value::List(_), "a section of keys") => Some("leave out the `-`".to_owned()),
            _ => None,
        };
        self.notes.problem(problem.maybe_help(help));
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// The node of a key, which counts as known from now on.
    fn node(&mut self, key: &'static str) -> Option<&'n Node> {
        self.asked.push(key);
        self.entry(key).map(|entry| entry.value)
    }

    /// A value of a kind of its own, to be read by the caller.
    pub(super) fn raw(&mut self, key: &'static str, kind: &str, absent: &str) -> Option<&'n Node> {
        self.notes.key(&self.path_of(key), kind, absent.to_owned());
        self.node(key)
    }

    /// The keys that nobody has asked for so far: those that the file makes up.
    pub(super) fn others(&mut self) -> Vec<(At<&'n str>, &'n Node)> {
        let asked = std::mem::take(&mut self.asked);
        let all = std::mem::take(&mut self.entries);
        let (known, others) = all.into_iter().partition(|entry| asked.contains(&entry.key));
        self.entries = known;
        self.asked = asked;
        let other = |entry: Entry<'n>| {
            let name = At {
                value: entry.key,
                span: entry.key_span,
            };
            (name, entry.value)
        };
        let others: Vec<Entry<'n>> = others;
        others.into_iter().map(other).collect()
    }

    /// A value with a default.
    pub(super) fn value<T>(&mut self, key: &'static str, kind: &Kind<'_, T>, default: T) -> T {
        let path = self.path_of(key);
        self.notes.key(&path, &kind.name, kind.show(&default));
        self.read(key, &path, kind).unwrap_or(default)
    }

    /// A value that may be absent, which means `absent` as the docs say.
    pub(super) fn optional<T>(&mut self, key: &'static str, kind: &Kind<'_, T>, absent: &str) -> Option<T> {
        let path = self.path_of(key);
        self.notes.key(&path, &kind.name, absent.to_owned());
        self.read(key, &path, kind)
    }

    /// A value that must be there. `None` means that a problem was noted.
    pub(super) fn required<T>(&mut self, key: &'static str, kind: &Kind<'_, T>) -> Option<T> {
        let path = self.path_of(key);
        self.notes.key(&path, &kind.name, "must be given".to_owned());
        if !self.has(key) {
            let message = format!("`{path}` is missing");
            let problem = Problem::new("missing_key", self.span.clone(), message);
            self.notes
                .problem(problem.help(format!("add `{key}:` ({})", kind.name)));
        }
        self.read(key, &path, kind)
    }

    fn read<T>(&mut self, key: &'static str, path: &str, kind: &Kind<'_, T>) -> Option<T> {
        let node = self.node(key)?;
        self.scalar(path, node, kind)
    }

    fn scalar<T>(&self, path: &str, node: &Node, kind: &Kind<'_, T>) -> Option<T> {
        let text = match &node.value {
            Value::Scalar(text) => text,
            Value::Empty => {
                let problem =
                    Problem::new("empty_value", node.span.clone(), format!("`{path}` has no value"));
                self.notes
                    .problem(problem.help("leave the key out to get the default"));
                return None;
            }
            other => {
                self.wrong_shape(path, other, "a single value", node);
                return None;
            }
        };
        match kind.read(text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                let problem = Problem::new(
                    wrong.code,
                    node.span.clone(),
                    format!("`{path}`: {}", wrong.message),
                );
                self.notes.problem(problem.maybe_help(wrong.help));
                None
            }
        }
    }

    /// A list of single values; `None` where the key is absent, which means `absent` as the docs say.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        kind: &Kind<'_, T>,
        absent: &str,
    ) -> Option<Vec<At<T>>> {
        let path = self.path_of(key);
        self.notes
            .key(&path, &format!("list of: {}", kind.name), absent.to_owned());
        let items = self.items(key, &path)?;
        let read = |node: &Node| {
            let value = self.scalar(&path, node, kind)?;
            Some(At {
                value,
                span: node.span.clone(),
            })
        };
        Some(items.iter().filter_map(read).collect())
    }

    fn items(&mut self, key: &'static str, path: &str) -> Option<&'n [Node]> {
        let node = self.node(key)?;
        match &node.value {
            Value::List(items) => Some(items),
            // An `allow:` whose entries are all commented out must not silently mean "everybody".
            Value::Empty => {
                let problem =
                    Problem::new("empty_value", node.span.clone(), format!("`{path}` has no value"));
                self.notes
                    .problem(problem.help("leave the key out, or give it entries"));
                None
            }
            other => {
                self.wrong_shape(path, other, "a list", node);
                None
            }
        }
    }

    /// A section within this one; absent or empty means all defaults.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let path = self.path_of(key);
        match self.node(key) {
            Some(node) => Self::of(self.notes, path, node),
            None => Self::empty(self.notes, path, self.span.clone()),
        }
    }

    /// A section within this one that means something by being there.
    pub(super) fn optional_section(&mut self, key: &'static str) -> Option<Self> {
        let path = self.path_of(key);
        self.node(key).map(|node| Self::of(self.notes, path, node))
    }

    /// A list of sections; `None` where the key is absent.
    pub(super) fn sections(&mut self, key: &'static str) -> Option<Vec<Self>> {
        let path = self.path_of(key);
        let items = self.items(key, &path)?;
        let section = |node: &'n Node| Self::of(self.notes, format!("{path}[]"), node);
        Some(items.iter().map(section).collect())
    }

    /// A section whose keys are names that the file makes up; each value is a list of single values.
    pub(super) fn named_lists<T>(
        mut self,
        kind: &Kind<'_, T>,
        mut each: impl FnMut(&Self, At<&str>, Vec<At<T>>),
    ) {
        self.notes.key(
            &self.path_of("NAME"),
            &format!("list of: {}", kind.name),
            "none".to_owned(),
        );
        for entry in std::mem::take(&mut self.entries) {
            let path = self.path_of(entry.key);
            let Value::List(items) = &entry.value.value else {
                self.wrong_shape(&path, &entry.value.value, "a list", entry.value);
                continue;
            };
            let read = |node: &Node| {
                let value = self.scalar(&path, node, kind)?;
                Some(At {
                    value,
                    span: node.span.clone(),
                })
            };
            let name = At {
                value: entry.key,
                span: entry.key_span,
            };
            let values = items.iter().filter_map(read).collect();
            each(&self, name, values);
        }
    }

    /// Where a key's value stands; the section's own place where it has none.
    pub(super) fn place(&self, key: &str) -> Range<usize> {
        self.entry(key)
            .map_or_else(|| self.span.clone(), |entry| entry.value.span.clone())
    }

    /// True where the key has a list without entries.
    pub(super) fn has_empty_list(&self, key: &str) -> bool {
        let empty = |value: &Value| matches!(value, Value::List(items) if items.is_empty());
        self.entries
            .iter()
            .any(|entry| entry.key == key && empty(&entry.value.value))
    }

    /// True where something in the file was wrong so far: what follows from it need not be said.
    pub(super) fn has_problems(&self) -> bool {
        self.notes.has_problems()
    }

    /// True where the key is written, well or badly.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Where the section stands: its first key.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Notes a mistake that concerns several keys.
    pub(super) fn problem(&self, problem: Problem) {
        self.notes.problem(problem);
    }

    /// Ends the reading: keys that nobody asked for are mistakes.
    pub(super) fn finish(self) {
        for entry in &self.entries {
            if !self.asked.contains(&entry.key) {
                self.unknown(entry);
            }
        }
    }

    fn unknown(&self, entry: &Entry<'_>) {
        let file_key = format!("{}_file", entry.key);
        let help = if entry.key == "<<" {
            Some("merge keys are not supported: repeat the keys".to_owned())
        } else if self.asked.contains(&file_key.as_str()) {
            Some(format!(
                "secrets are read from files only: write `{file_key}: PATH`"
            ))
        } else {
            nearest(entry.key, self.asked.iter().copied()).map(|known| format!("did you mean `{known}`?"))
        };
        let span = entry.key_span.clone();
        if help.is_none() {
            self.notes.stranger(&self.path, entry.key, span);
            return;
        }
        let place = if self.path.is_empty() {
            "here".to_owned()
        } else {
            format!("in `{}`", self.path)
        };
        let message = format!("there is no key {} {place}", quoted(entry.key));
        self.notes
            .problem(Problem::new("unknown_key", span, message).maybe_help(help));
    }
}
