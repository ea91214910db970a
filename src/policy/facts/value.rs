//! What a fact can be: the kinds, and a value that is borrowed from whoever knows it.

use std::net::IpAddr;
use std::sync::Arc;

/// The kind of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number.
    Number,
    /// A span of time in whole seconds; a number to expressions.
    Duration,
    /// True or false.
    Truth,
    /// A list of texts.
    Texts,
    /// An IP address.
    Address,
    /// Something that can be told apart and counted, but neither compared nor shown.
    Opaque,
}

impl Kind {
    /// The word in docs and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Duration => "duration",
            Self::Truth => "true or false",
            Self::Texts => "list of texts",
            Self::Address => "address",
            Self::Opaque => "opaque",
        }
    }
}

/// The value of a fact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Of `Kind::Text`.
    Text(&'a str),
    /// Of `Kind::Number` and `Kind::Duration`.
    Number(i64),
    /// Of `Kind::Truth`.
    Truth(bool),
    /// Of `Kind::Texts`.
    Texts(Texts<'a>),
    /// Of `Kind::Address`.
    Address(IpAddr),
    /// Of `Kind::Opaque`.
    Opaque(u64),
}

/// A list of texts, however its owner keeps it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Texts<'a> {
    /// Kept for long: groups, network sets.
    Shared(&'a [Arc<str>]),
    /// Borrowed from a command.
    Borrowed(&'a [&'a str]),
}

impl<'a> Texts<'a> {
    /// The texts in their order.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let (shared, borrowed): (&[Arc<str>], &[&str]) = match self {
            Self::Shared(list) => (list, &[]),
            Self::Borrowed(list) => (&[], list),
        };
        shared.iter().map(AsRef::as_ref).chain(borrowed.iter().copied())
    }

    /// How many there are.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::Shared(list) => list.len(),
            Self::Borrowed(list) => list.len(),
        }
    }

    /// True where there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}
