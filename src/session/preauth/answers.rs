//! The lines we say before login. Nothing of the client's is in them but a tag that is made of tag characters.

use crate::session::preauth::Step;

pub(super) const CAPABILITY_DONE: &str = "OK CAPABILITY completed.";
pub(super) const NOOP_DONE: &str = "OK NOOP completed.";
pub(super) const ID_DONE: &str = "OK ID completed.";
pub(super) const LOGOUT_DONE: &str = "OK LOGOUT completed.";
pub(super) const OUR_ID: &str = "ID (\"name\" \"imapwarden\")";
pub(super) const BYE: &str = "BYE Logging out.";
pub(super) const START_TLS: &str = "OK Begin TLS negotiation now.";
pub(super) const NO_TLS: &str = "BAD TLS is already active.";
pub(super) const PRIVACY_REQUIRED: &str = "NO [PRIVACYREQUIRED] STARTTLS first.";
pub(super) const NOT_A_COMMAND: &str = "BAD A tag and a command are expected.";
pub(super) const LOG_IN_FIRST: &str = "BAD Not a command before login. Log in first.";
pub(super) const BAD_ARGUMENTS: &str = "BAD Invalid arguments.";
pub(super) const NO_LITERAL: &str = "BAD No literal is expected here.";
pub(super) const TOO_BIG: &str = "NO [TOOBIG] Literal too large.";
pub(super) const NO_MECHANISM: &str = "NO [CANNOT] Authentication mechanism not supported.";
pub(super) const BAD_RESPONSE: &str = "BAD Invalid authentication response.";
pub(super) const CANCELLED: &str = "BAD Authentication cancelled.";
pub(super) const UNAVAILABLE: &str = "NO [UNAVAILABLE] Temporarily unavailable. Try again later.";
pub(super) const TOO_MANY_BAD: &str = "BYE Too many bad commands.";
pub(super) const TOO_MANY_ATTEMPTS: &str = "BYE Too many failed logins.";
pub(super) const TOO_MANY_COMMANDS: &str = "BYE Too many commands before login.";

/// The tag of a command, or none where the line had none: the answer then is untagged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag(Option<Vec<u8>>);

impl Tag {
    pub(super) const NONE: Self = Self(None);

    /// Takes what [`crate::imap::codec::head`] found to be a tag.
    pub(super) fn of(tag: &[u8]) -> Self {
        Self(Some(tag.to_vec()))
    }

    /// The tag's bytes; `*` where there is none.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(b"*")
    }
}

/// Adds a line to what is to be sent: `tag` or `*`, and the text.
pub(super) fn say(steps: &mut Vec<Step>, tag: &Tag, text: &str) {
    put(steps, &[tag.bytes(), b" ", text.as_bytes(), b"\r\n"]);
}

/// Adds a continuation request. `text` may be empty; the space is never left out: old clients wait for it.
pub(super) fn ask(steps: &mut Vec<Step>, text: &str) {
    put(steps, &[b"+ ", text.as_bytes(), b"\r\n"]);
}

/// Appends to the last step if that sends too: one write for a batch of commands.
fn put(steps: &mut Vec<Step>, parts: &[&[u8]]) {
    if !matches!(steps.last(), Some(Step::Send(_))) {
        steps.push(Step::Send(Vec::new()));
    }
    if let Some(Step::Send(bytes)) = steps.last_mut() {
        for part in parts {
            bytes.extend_from_slice(part);
        }
    }
}
