//! Answers of ours to commands that do not go on.

use super::record::What;
use super::record::what;
use crate::imap::command::Command;
use crate::imap::command::tag_of;
use crate::types::CommandRefusal;

/// An answer of ours.
pub(super) struct Own {
    pub(super) bytes: Vec<u8>,
    pub(super) why: CommandRefusal,
    pub(super) what: What,
}

/// An answer of ours to a command.
pub(super) fn refusal(command: &Command<'_>, why: CommandRefusal, text: &str) -> Own {
    Own {
        bytes: answer_of(command.tag, why, text),
        why,
        what: what(command),
    }
}

/// An answer of ours to what is no command; untagged where it has no tag.
pub(super) fn no_command(bytes: &[u8], text: &str) -> Own {
    let why = CommandRefusal::Invalid;
    Own {
        bytes: answer_of(tag_of(bytes).unwrap_or(b"*"), why, text),
        why,
        what: None,
    }
}

fn answer_of(tag: &[u8], why: CommandRefusal, text: &str) -> Vec<u8> {
    [tag, b" ", why.answer().as_bytes(), b" ", text.as_bytes(), b"\r\n"].concat()
}
