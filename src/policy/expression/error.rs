//! What is wrong with an expression, and where.

use std::ops::Range;

use thiserror::Error;

use crate::policy::facts::Event;
use crate::policy::facts::Fact;

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind}")]
pub struct ExpressionError {
    /// The bytes of the expression that it is about.
    pub at: Range<usize>,
    /// What is wrong.
    pub kind: ErrorKind,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ErrorKind {
    /// Not CEL.
    #[error("this is not an expression: {0}")]
    Syntax(String),
    /// Too long.
    #[error("an expression is at most {} bytes long", super::MAX_LENGTH)]
    TooLong,
    /// Too deeply nested.
    #[error("an expression nests at most {} deep", super::MAX_NESTING)]
    TooDeep,
    /// A name that is no fact.
    #[error("there is no fact `{0}`")]
    UnknownFact(String),
    /// A fact that is never known at the rule's event.
    #[error("`{}` is never known on {}", fact.name(), on.as_str())]
    NotOnEvent {
        /// The fact.
        fact: Fact,
        /// The rule's event.
        on: Event,
    },
    /// A fact that may only be counted by.
    #[error("`{}` is only for `per` and `distinct`", .0.name())]
    Opaque(Fact),
    /// A function that there is not.
    #[error("there is no function `{0}`")]
    UnknownFunction(String),
    /// `all`, `exists`, `map` and the like.
    #[error("loops such as `all`, `exists`, `map` and `filter` are not supported")]
    Comprehension,
    /// A part of CEL that we leave out.
    #[error("{0} are not supported")]
    Unsupported(&'static str),
    /// A value of a kind that does not fit there.
    #[error("{place} wants {wanted}, and this is {found}")]
    Mismatch {
        /// The operator or function.
        place: &'static str,
        /// What it wants.
        wanted: &'static str,
        /// What there is.
        found: &'static str,
    },
    /// Something that must be written out there.
    #[error("{0} wants {1} written out")]
    NotLiteral(&'static str, &'static str),
    /// A text that does not read as what it has to be.
    #[error("this is no {0}")]
    BadLiteral(&'static str),
    /// A regular expression that does not compile, or is too large.
    #[error("this is no regular expression: {0}")]
    BadRegex(String),
    /// Something that is always true or always false.
    #[error("this does not depend on any fact")]
    Constant,
}

impl ErrorKind {
    /// What to write instead, where that is known.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NotOnEvent { fact, .. } => {
                let events: Vec<_> = fact.events().iter().map(Event::as_str).collect();
                Some(format!("it is known on {}", events.join(", ")))
            }
            Self::Syntax(message) if message.starts_with("`=") => Some("compare with `==`".to_owned()),
            Self::UnknownFunction(_) => Some(format!("there are {}", super::FUNCTIONS.join(", "))),
            Self::Comprehension => Some("`\"TEXT\" in command.search_keys` looks into a list".to_owned()),
            Self::BadLiteral("duration") => Some("write it like `duration(\"90d\")`".to_owned()),
            Self::BadLiteral(_) => {
                Some("write it like `\"192.0.2.1\"`, or `in [\"192.0.2.0/24\"]` for a network".to_owned())
            }
            Self::Mismatch {
                found: "text",
                wanted: "a number",
                ..
            } => Some("numbers are written without quotes".to_owned()),
            Self::TooLong | Self::TooDeep => Some("make it two rules".to_owned()),
            _ => None,
        }
    }
}
