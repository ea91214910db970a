//! The compiled form of an expression: typed, so that evaluation cannot go wrong.

use regex::Regex;

use crate::policy::facts::Fact;
use crate::types::Networks;

/// Something true or false.
#[derive(Debug, Clone)]
pub(super) enum Truth {
    Const(bool),
    Fact(Fact),
    Has(Fact),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
    Choice(Box<(Self, Self, Self)>),
    /// Both are the same.
    Same(Box<(Self, Self)>),
    Compare(Order, Number, Number),
    NumberIn(Number, Box<[i64]>),
    TextIs(Text, Text),
    TextIn(Text, Box<[Box<str>]>),
    /// The text is in a list that is a fact.
    Listed(Text, Fact),
    StartsWith(Text, Text),
    EndsWith(Text, Text),
    Contains(Text, Text),
    Matches(Text, Regex),
    AddressIn(Fact, Networks),
    AddressIs(Fact, Fact),
}

/// How numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Equal,
    Less,
    LessOrEqual,
}

/// A whole number. Arithmetic stops at the ends of 64 bits.
#[derive(Debug, Clone)]
pub(super) enum Number {
    Const(i64),
    Fact(Fact),
    Negative(Box<Self>),
    Sum(Box<(Self, Self)>),
    Difference(Box<(Self, Self)>),
    Product(Box<(Self, Self)>),
    Choice(Box<(Truth, Self, Self)>),
    /// How many characters.
    LengthOf(Box<Text>),
    /// How many entries.
    SizeOf(Fact),
}

/// A text.
#[derive(Debug, Clone)]
pub(super) enum Text {
    Const(Box<str>),
    Fact(Fact),
    Lower(Box<Self>),
    Choice(Box<(Truth, Self, Self)>),
}

impl Truth {
    /// As `Expression::texts_that`.
    pub(super) fn texts_that(&self, fact: Fact) -> Option<Vec<&str>> {
        match self {
            Self::TextIs(Text::Fact(found), Text::Const(text))
            | Self::TextIs(Text::Const(text), Text::Fact(found)) => (*found == fact).then(|| vec![&**text]),
            Self::TextIn(Text::Fact(found), texts) => {
                (*found == fact).then(|| texts.iter().map(|text| &**text).collect())
            }
            Self::All(parts) => parts.iter().find_map(|part| part.texts_that(fact)),
            Self::Any(parts) => {
                let lists: Option<Vec<_>> = parts.iter().map(|part| part.texts_that(fact)).collect();
                lists.map(|lists| lists.concat())
            }
            _ => None,
        }
    }
}
