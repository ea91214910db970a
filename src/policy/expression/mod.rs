//! Conditions of rules: a part of CEL, checked against the table of facts when a rule is read, and then evaluated without
//! allocating.
//!
//! A fact that is not known makes what depends on it unknown, as in CEL: `!` of it is unknown, `&&` with something false is
//! false, `||` with something true is true. A condition holds only where it is true. Nothing in here loops: comprehensions
//! are refused, regular expressions run in linear time, and length and nesting have bounds.

mod compile;
mod convert;
mod error;
mod eval;
mod known;
#[cfg(test)]
mod tests;
mod tree;
mod uses;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Lookup;

pub use error::ErrorKind;
pub use error::ExpressionError;

use tree::Truth;

/// Longest expression, in bytes.
pub const MAX_LENGTH: usize = 2_048;
/// Deepest nesting of parentheses, lists and choices: the parser takes much stack for each.
pub const MAX_NESTING: usize = 8;
/// Deepest tree of operators.
const MAX_DEPTH: usize = 24;
/// Functions that expressions may call.
pub const FUNCTIONS: [&str; 8] = [
    "contains",
    "duration",
    "endsWith",
    "has",
    "lower",
    "matches",
    "size",
    "startsWith",
];

/// A condition that was checked.
#[derive(Debug, Clone)]
pub struct Expression {
    text: Arc<str>,
    root: Arc<Truth>,
}

/// What becomes of a condition when one of its facts is known.
#[derive(Debug)]
pub(super) enum Known {
    /// It holds.
    Always,
    /// It does not hold.
    Never,
    /// It holds where this does.
    Where(Expression),
}

/// Two conditions are the same where their texts are.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Expression {
    /// Reads a condition for a rule that looks at an event.
    ///
    /// # Errors
    /// The first thing that is wrong with it, and where.
    pub fn compile(text: &str, on: Event) -> Result<Self, ExpressionError> {
        Ok(Self {
            text: text.into(),
            root: Arc::new(compile::compile(text, on)?.in_order()),
        })
    }

    /// True where the condition is known to be true.
    #[must_use]
    pub fn holds(&self, facts: &dyn Lookup) -> bool {
        self.root.eval(facts) == Some(true)
    }

    /// True where the condition is neither true nor false: it depends on something that is not known.
    #[must_use]
    pub fn is_open(&self, facts: &dyn Lookup) -> bool {
        self.root.eval(facts).is_none()
    }

    /// What was compiled.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The facts that the condition asks for.
    #[must_use]
    pub fn facts(&self) -> BTreeSet<Fact> {
        let mut found = BTreeSet::new();
        self.root.uses(&mut found);
        found
    }

    /// The texts that the condition compares a fact with.
    pub(super) fn compared(&self, fact: Fact) -> Vec<&str> {
        let mut found = Vec::new();
        self.root.compared(fact, &mut found);
        found
    }

    /// The same condition for moments in which a fact is a text, known beforehand.
    pub(super) fn knowing(&self, fact: Fact, text: &str) -> Known {
        self.left(self.root.knowing(fact, text))
    }

    /// The same condition for moments with the same steady facts.
    pub(super) fn given(&self, facts: &dyn Lookup) -> Known {
        self.left(self.root.given(facts))
    }

    fn left(&self, root: Truth) -> Known {
        match root {
            Truth::Const(true) => Known::Always,
            Truth::Const(false) => Known::Never,
            root => Known::Where(Self {
                text: Arc::clone(&self.text),
                root: Arc::new(root),
            }),
        }
    }

    /// The texts outside of which a fact cannot be for the condition to hold, where it says so at its top.
    pub(super) fn texts_that(&self, fact: Fact) -> Option<Vec<&str>> {
        self.root.texts_that(fact)
    }
}
