//! Judges the commands that make sense: may this one go on to the backend?
//!
//! It is asked when a command runs, never when it came: what ran before it has taken effect. What it refuses is answered in
//! its turn and never reaches the backend.

use std::borrow::Cow;

use crate::imap::command::Command;
use crate::imap::verb::Kind;

/// What happens to a command.
#[must_use = "a verdict that nobody reads lets the command pass"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Pass,
    /// It is answered by us: `BAD` or `NO`, and the text behind it.
    Refuse(&'static str, Cow<'static, str>),
}

/// Everything that may object to a command.
#[derive(Debug, Default)]
pub(super) struct Guard {}

impl Guard {
    /// Judges a complete command, or its beginning up to a literal: a command with literals is asked about at each of them.
    #[expect(clippy::unused_self, reason = "what the session may do will be kept here")]
    pub(super) fn judge(&mut self, command: &Command<'_>) -> Verdict {
        match command.verb.kind() {
            Kind::Refused(text) => Verdict::Refuse("BAD", Cow::Borrowed(text)),
            _ => Verdict::Pass,
        }
    }
}
