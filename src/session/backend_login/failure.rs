//! Why a backend did not let us in, and the little of its text that may stand in a log. Never shown to a client.

use std::fmt;

use thiserror::Error;

use crate::types::Secret;

/// Longest piece of peer text in a log, in bytes.
const MAX_TEXT: usize = 160;

/// A piece of a secret this long, in any case, is enough to withhold a text.
const PIECE: usize = 4;

/// What a backend said, made safe for a log: printable ASCII, at most 160 bytes, and nothing at all where it repeats a
/// secret or a piece of one. Some servers echo the command that they reject, password included, shortened or in capitals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerText(Box<str>);

impl PeerText {
    /// Cleans `text`; `secrets` are the byte strings that no log may hold.
    pub(super) fn clean(text: &[u8], secrets: &[Secret]) -> Self {
        let shown = text.get(..MAX_TEXT).unwrap_or(text);
        if secrets.iter().any(|secret| repeats(shown, secret.expose())) {
            return Self("[withheld: repeats a secret]".into());
        }
        let printable = |byte: &u8| match byte {
            0x20..=0x7e => char::from(*byte),
            _ => '?',
        };
        Self(shown.iter().map(printable).collect())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// True where a piece of the secret is in the text.
fn repeats(text: &[u8], secret: &[u8]) -> bool {
    let length = secret.len().min(PIECE);
    let has = |piece: &[u8]| text.windows(length).any(|at| at.eq_ignore_ascii_case(piece));
    length > 0 && secret.windows(length).any(has)
}

impl fmt::Display for PeerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why the login at the backend failed. Only the refusals are about the credentials; everything else is the backend's or
/// the operator's trouble, and the client hears `NO [UNAVAILABLE]`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoginFailure {
    /// Tagged NO to the account's own credentials.
    #[error("the backend refused the credentials: {0}")]
    Refused(PeerText),
    /// Tagged NO to the master user: the account does not exist there, or the master user's configuration is wrong.
    #[error("the backend refused the master user: {0}")]
    MasterRefused(PeerText),
    /// The name or password cannot be sent as what it is: empty, with NUL, too long, or with the master-user separator.
    #[error("the name or password cannot be sent to a backend")]
    Unsendable,
    /// Tagged NO for a reason that is not the credentials' (RFC 5530: UNAVAILABLE, INUSE, LIMIT, SERVERBUG…).
    #[error("the backend is not available: {0}")]
    Unavailable(PeerText),
    /// `* BYE`.
    #[error("the backend said BYE: {0}")]
    Bye(PeerText),
    /// The greeting was PREAUTH: somebody is logged in, but nobody knows who (NO STARTTLS, USENIX Security 2021).
    #[error("the backend greeted with PREAUTH")]
    Preauth,
    /// The first line is no IMAP greeting.
    #[error("the backend's greeting is malformed")]
    MalformedGreeting,
    /// The backend says LOGINDISABLED; no password was sent.
    #[error("the backend says LOGINDISABLED")]
    LoginDisabled,
    /// The backend does not offer the configured way to log in.
    #[error("the backend does not offer the configured login method")]
    MethodMissing,
    /// STARTTLS is demanded, but not offered.
    #[error("the backend does not offer STARTTLS")]
    StartTlsMissing,
    /// STARTTLS is demanded and offered, but was refused.
    #[error("the backend refused STARTTLS: {0}")]
    StartTlsRefused(PeerText),
    /// Bytes in clear came behind the answer to STARTTLS: somebody injects responses (CVE-2021-33515 and its kin).
    #[error("bytes in clear behind the backend's STARTTLS answer")]
    PlaintextAfterStartTls,
    /// A NUL byte.
    #[error("NUL byte from the backend")]
    Nul,
    /// CR without LF, or LF without CR.
    #[error("bare CR or LF from the backend")]
    BareLineEnd,
    /// A line over the bound.
    #[error("over-long line from the backend")]
    LineTooLong,
    /// More bytes before the login's end than any backend has to say.
    #[error("too much data from the backend before login")]
    TooMuch,
    /// A line that is no IMAP response.
    #[error("malformed response from the backend")]
    Malformed,
    /// A tagged answer to no command of ours.
    #[error("tagged answer from the backend that nobody asked for")]
    UnexpectedTag,
    /// An answer or `+` that was there before the command was sent: it was written ahead.
    #[error("the backend's answer came before the command")]
    EarlyAnswer,
    /// A `+` that nobody waits for.
    #[error("unexpected + from the backend")]
    UnexpectedContinuation,
    /// Tagged OK before the credentials were sent.
    #[error("the backend reported success before it had the credentials")]
    SuccessTooEarly,
    /// Tagged BAD, or NO where no command of ours can be refused.
    #[error("the backend rejected a command: {0}")]
    Rejected(PeerText),
    /// CAPABILITY was answered without a list.
    #[error("the backend does not say its capabilities")]
    CapabilityMissing,
    /// A fault of ours: more commands than tags.
    #[error("out of tags")]
    OutOfTags,
}

impl LoginFailure {
    /// True where the credentials were at fault: the client hears the same refusal as for any wrong password.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::MasterRefused(_) | Self::Unsendable)
    }

    /// The stable word in logs, metrics and events.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::MasterRefused(_) => "master_refused",
            Self::Unsendable => "unsendable",
            Self::Unavailable(_) => "unavailable",
            Self::Bye(_) => "bye",
            Self::Preauth => "preauth",
            Self::MalformedGreeting => "malformed_greeting",
            Self::LoginDisabled => "login_disabled",
            Self::MethodMissing => "method_missing",
            Self::StartTlsMissing => "starttls_missing",
            Self::StartTlsRefused(_) => "starttls_refused",
            Self::PlaintextAfterStartTls => "plaintext_after_starttls",
            Self::Nul => "nul",
            Self::BareLineEnd => "bare_line_end",
            Self::LineTooLong => "line_too_long",
            Self::TooMuch => "too_much",
            Self::Malformed => "malformed",
            Self::UnexpectedTag => "unexpected_tag",
            Self::EarlyAnswer => "early_answer",
            Self::UnexpectedContinuation => "unexpected_continuation",
            Self::SuccessTooEarly => "success_too_early",
            Self::Rejected(_) => "rejected",
            Self::CapabilityMissing => "capability_missing",
            Self::OutOfTags => "out_of_tags",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_text_is_printable_and_short() {
        let text = PeerText::clean(b"no \x1b[31m\xc3\xa4\tway", &[]);
        assert_eq!(text.as_str(), "no ?[31m???way");
        assert_eq!(PeerText::clean(&[b'x'; 9000], &[]).as_str().len(), MAX_TEXT);
    }

    #[test]
    fn text_that_repeats_a_secret_or_a_piece_of_it_is_withheld_whole() {
        let secrets = [Secret::from(""), Secret::from("hunter2")];
        for text in [
            "BAD unknown command: LOGIN alice hunter2",
            "BAD unknown command: LOGIN alice hunt",
            "BAD UNKNOWN COMMAND: LOGIN ALICE HUNTER2",
            "BAD ...ter2",
        ] {
            let text = PeerText::clean(text.as_bytes(), &secrets);
            assert_eq!(text.as_str(), "[withheld: repeats a secret]");
        }
        assert_eq!(
            PeerText::clean(b"fine hunting", &secrets[..1]).as_str(),
            "fine hunting"
        );
        assert_eq!(PeerText::clean(b"fine hun", &secrets).as_str(), "fine hun");
    }
}
