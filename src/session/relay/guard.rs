//! Judges the commands that make sense: may this one go on to the backend?
//!
//! It is asked when a command runs, never when it came: what ran before it has taken effect. What it refuses is answered in
//! its turn and never reaches the backend.

use std::borrow::Cow;

use super::restrict::Restrict;

use crate::imap::command::Command;
use crate::imap::tally::Tally;
use crate::imap::verb::Kind;
use crate::types::CommandRefusal;

/// What happens to a command.
#[must_use = "a verdict that nobody reads lets the command pass"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Pass,
    /// It goes on with this verb in place of its own.
    PassAs(&'static [u8]),
    /// It is answered by us: for what reason, and the text of the answer.
    Refuse(CommandRefusal, Cow<'static, str>),
}

/// Everything that may object to a command.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Nothing where the session is not restricted.
    pub(super) restrict: Option<Box<Restrict>>,
    /// The time, as the caller last told it.
    pub(super) now_ms: u64,
}

impl Guard {
    /// Judges a complete command, or its beginning up to a literal: a command with literals is asked about at each of them.
    pub(super) fn judge(&mut self, command: &Command<'_>) -> Verdict {
        match command.verb.kind() {
            Kind::Refused(text) => Verdict::Refuse(CommandRefusal::Forbidden, Cow::Borrowed(text)),
            _ => match &mut self.restrict {
                Some(restrict) => restrict.judge(command, self.now_ms),
                None => Verdict::Pass,
            },
        }
    }

    /// True where a verdict depends on more than the verb.
    pub(super) fn reads_arguments(&self) -> bool {
        self.restrict.is_some()
    }

    /// True where a response that may name a mailbox may be shown.
    pub(super) fn shows(&self, response: &[u8]) -> bool {
        self.restrict
            .as_ref()
            .is_none_or(|restrict| restrict.shows(response))
    }

    /// Counts what the backend has sent; false where that is more than allowed.
    pub(super) fn spend(&mut self, tally: Tally) -> bool {
        self.restrict
            .as_mut()
            .is_none_or(|restrict| restrict.spend(tally, self.now_ms))
    }
}
