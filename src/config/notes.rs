//! What one reading of a configuration collects: the mistakes, and the keys that were asked for.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::config::problem::Problem;
use crate::config::problem::quoted;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A key as the docs list it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDoc {
    /// The kind of its value, range included.
    pub kind: String,
    /// Its default as a file would write it; `must be given` or a word for its absence where there is none.
    pub default: String,
}

/// What one reading collects.
#[derive(Default)]
pub(super) struct Notes {
    problems: RefCell<Vec<Problem>>,
    keys: RefCell<BTreeMap<String, KeyDoc>>,
    /// Unknown keys that no key of their own section resembles: path, key, place.
    strangers: RefCell<Vec<(String, String, Range<usize>)>>,
}

impl Notes {
    /// Notes a mistake.
    pub(super) fn problem(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Remembers a key that was asked for.
    pub(super) fn key(&self, path: &str, kind: &str, default: String) {
        let doc = KeyDoc {
            kind: kind.to_owned(),
            default,
        };
        self.keys.borrow_mut().insert(path.to_owned(), doc);
    }

    /// Remembers an unknown key whose right place may be found when all keys are known.
    pub(super) fn stranger(&self, path: &str, key: &str, span: Range<usize>) {
        let stranger = (path.to_owned(), key.to_owned(), span);
        self.strangers.borrow_mut().push(stranger);
    }

    /// True where something was wrong so far.
    pub(super) fn has_problems(&self) -> bool {
        !self.problems.borrow().is_empty()
    }

    /// All mistakes, and all keys that were asked for.
    pub(super) fn into_parts(self) -> (Vec<Problem>, BTreeMap<String, KeyDoc>) {
        let keys = self.keys.into_inner();
        let mut problems = self.problems.into_inner();
        for (path, key, span) in self.strangers.into_inner() {
            let elsewhere = keys
                .keys()
                .find(|known| known.rsplit('.').next() == Some(key.as_str()));
            let place = if path.is_empty() {
                "here".to_owned()
            } else {
                format!("in `{path}`")
            };
            let problem = Problem::new(
                "unknown_key",
                span,
                format!("there is no key {} {place}", quoted(&key)),
            );
            problems.push(problem.maybe_help(elsewhere.map(|known| format!("it belongs at `{known}`"))));
        }
        (problems, keys)
    }
}
