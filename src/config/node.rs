//! YAML text as a tree in which every node knows its place, so that one reading can report every mistake.
//!
//! Nothing is interpreted here: numbers, words and durations all stay text. Size, depth, nodes and alias expansion are
//! bounded, since the file may have been written by a template gone wrong.

use std::fmt;
use std::ops::Range;

use serde::de::Deserialize;
use serde::de::Deserializer;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_saphyr::Location;
use serde_saphyr::Spanned;
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::options::MergeKeyPolicy;

use crate::config::mask::is_secret_key;
use crate::config::problem::Problem;

/// Largest configuration file, in bytes.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
/// Most nodes after aliases are expanded: a file of the largest size with a network on each line has fewer.
const MAX_NODES: usize = 200_000;
/// Deepest nesting; ours needs six.
const MAX_DEPTH: usize = 32;

/// One node and the bytes of the file that it stands for.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    /// The first line of it, for pointing at.
    pub(super) span: Range<usize>,
    /// All of it, where it is a scalar.
    whole: Range<usize>,
}

impl Node {
    /// The bytes of all scalars under keys that say "secret".
    pub(super) fn secrets(&self) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        self.collect_secrets(false, &mut found);
        found
    }

    /// All of it in the file, with its quotes or indentation.
    pub(super) fn whole(&self) -> Range<usize> {
        self.whole.clone()
    }

    fn collect_secrets(&self, secret: bool, found: &mut Vec<Range<usize>>) {
        match &self.value {
            Value::Empty => {}
            Value::Scalar(_) if secret => found.push(self.whole.clone()),
            Value::Scalar(_) => {}
            Value::List(items) => items.iter().for_each(|item| item.collect_secrets(secret, found)),
            Value::Map(entries) => {
                for (key, value) in entries {
                    let named = matches!(&key.value, Value::Scalar(name) if is_secret_key(name));
                    value.collect_secrets(secret || named, found);
                }
            }
        }
    }
}

/// What a node is.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Empty,
    /// Text, or anything else written on its own: as in the file, without quotes.
    Scalar(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values in their order; keys may repeat, the reader reports it.
    Map(Vec<(Node, Node)>),
}

impl Value {
    /// The word for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Empty => "nothing",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a section of keys",
        }
    }
}

/// Reads the one document of a file.
pub(super) fn parse(source: &str) -> Result<Node, Box<Problem>> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_events: MAX_NODES * 2,
            max_depth: MAX_DEPTH,
            max_aliases: 1_000,
            max_anchors: 1_000,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_NODES },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let places = Places::of(source);
    let raw: Raw = serde_saphyr::from_str_with_options(source, options)
        .map_err(|error| Box::new(syntax(&error, &places)))?;
    Ok(raw.into_node(&places))
}

fn syntax(error: &serde_saphyr::Error, places: &Places<'_>) -> Problem {
    let span = error.location().map(|at| places.span(&at)).unwrap_or_default();
    let text = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    // The place is shown beside the snippet; a second copy in the text would only be longer.
    let text = text.split(" at line ").next().unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    Problem::new("syntax", span, format!("this is not valid YAML: {first}")).help(
        "problems behind this place show once it is mended; keys are indented with spaces, never with tabs",
    )
}

/// A node as the deserializer hands it over.
struct Raw {
    value: RawValue,
    referenced: Location,
    defined: Location,
}

enum RawValue {
    Empty,
    /// Written without quotes and read as a number or a truth value; the source has its spelling.
    Plain,
    Text(String),
    List(Vec<Raw>),
    Map(Vec<(Raw, Raw)>),
}

impl Raw {
    fn into_node(self, places: &Places<'_>) -> Node {
        let value = match self.value {
            RawValue::Empty => Value::Empty,
            RawValue::Plain => Value::Scalar(places.text(&self.defined).to_owned()),
            RawValue::Text(text) => Value::Scalar(text),
            RawValue::List(items) => {
                Value::List(items.into_iter().map(|item| item.into_node(places)).collect())
            }
            RawValue::Map(entries) => {
                let place = |(key, value): (Self, Self)| (key.into_node(places), value.into_node(places));
                Value::Map(entries.into_iter().map(place).collect())
            }
        };
        Node {
            value,
            span: places.span(&self.referenced),
            whole: places.range(&self.defined),
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Spanned::<RawValue>::deserialize(deserializer)?;
        Ok(Self {
            value: node.value,
            referenced: node.referenced,
            defined: node.defined,
        })
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Empty)
    }

    fn visit_bool<E>(self, _: bool) -> Result<RawValue, E> {
        Ok(RawValue::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<RawValue, E> {
        Ok(RawValue::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<RawValue, E> {
        Ok(RawValue::Plain)
    }

    fn visit_u128<E>(self, _: u128) -> Result<RawValue, E> {
        Ok(RawValue::Plain)
    }

    fn visit_i128<E>(self, _: i128) -> Result<RawValue, E> {
        Ok(RawValue::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<RawValue, E> {
        Ok(RawValue::Plain)
    }

    fn visit_str<E>(self, text: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(RawValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(RawValue::Map(entries))
    }
}

/// Turns the parser's character offsets into byte offsets.
struct Places<'s> {
    source: &'s str,
    /// The byte at which each character starts, and the end; empty where all characters are one byte.
    starts: Vec<usize>,
}

impl<'s> Places<'s> {
    fn of(source: &'s str) -> Self {
        let starts = if source.is_ascii() {
            Vec::new()
        } else {
            source
                .char_indices()
                .map(|(at, _)| at)
                .chain([source.len()])
                .collect()
        };
        Self { source, starts }
    }

    fn byte(&self, character: u64) -> usize {
        let character = usize::try_from(character).unwrap_or(usize::MAX);
        let last = self.source.len();
        if self.starts.is_empty() {
            character.min(last)
        } else {
            self.starts.get(character).copied().unwrap_or(last)
        }
    }

    fn span(&self, at: &Location) -> Range<usize> {
        let Range { start, end } = self.range(at);
        // A block's span runs over several lines; its first line says enough.
        let text = self.source.get(start..end).unwrap_or_default();
        let line = text.split(['\n', '\r']).next().unwrap_or_default().trim_end();
        start..start.saturating_add(line.len())
    }

    fn range(&self, at: &Location) -> Range<usize> {
        let span = at.span();
        let start = self.byte(span.offset());
        start..self.byte(span.offset().saturating_add(span.len())).max(start)
    }

    fn text(&self, at: &Location) -> &'s str {
        self.source.get(self.range(at)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(source: &str) -> Vec<(String, Node)> {
        let Value::Map(entries) = parse(source).unwrap().value else {
            panic!("a map");
        };
        let text = |node: Node| match node.value {
            Value::Scalar(text) => text,
            other => other.kind().to_owned(),
        };
        entries
            .into_iter()
            .map(|(key, value)| (text(key), value))
            .collect()
    }

    #[test]
    fn scalars_keep_their_spelling_and_place() {
        let source = "é: 0x10\nb: no\nc: \"x y\"\nd:\ne: 08\n";
        let spelled: Vec<_> = entries(source)
            .into_iter()
            .map(|(key, node)| (key, format!("{:?}", node.value), source[node.span].to_owned()))
            .collect();
        let expected = [
            ("é", "Scalar(\"0x10\")", "0x10"),
            ("b", "Scalar(\"no\")", "no"),
            ("c", "Scalar(\"x y\")", "\"x y\""),
            ("d", "Empty", ""),
            ("e", "Scalar(\"08\")", "08"),
        ];
        let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(spelled, expected);
    }

    #[test]
    fn an_alias_stands_where_it_is_used_and_says_what_it_names() {
        let source = "a: &x 5\nb: *x\n";
        let (_, node) = entries(source).pop().unwrap();
        assert!(matches!(node.value, Value::Scalar(text) if text == "5"));
        assert_eq!(&source[node.span], "*x");
    }

    #[test]
    fn repeated_keys_are_both_kept() {
        assert_eq!(entries("a: 1\na: 2\n").len(), 2);
    }

    #[test]
    fn a_bomb_of_aliases_is_refused_quickly() {
        let mut source = String::from("a: &a [x,x,x,x,x,x,x,x,x,x]\n");
        for (prev, next) in "abcdefgh".chars().zip("bcdefghi".chars()) {
            let uses = vec![format!("*{prev}"); 10].join(",");
            source.push_str(&format!("{next}: &{next} [{uses}]\n"));
        }
        assert_eq!(parse(&source).unwrap_err().code, "syntax");
    }

    #[test]
    fn deep_nesting_is_refused() {
        let source = format!("a: {}{}", "[".repeat(5_000), "]".repeat(5_000));
        assert_eq!(parse(&source).unwrap_err().code, "syntax");
    }
}
