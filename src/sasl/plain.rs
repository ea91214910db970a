//! PLAIN (RFC 4616): authorization identity, NUL, name, NUL, password, in one response.

use crate::sasl::Exchange;
use crate::sasl::Progress;
use crate::sasl::Response;
use crate::sasl::SaslError;
use crate::types::Credentials;
use crate::types::Mechanism;
use crate::types::Secret;
use crate::types::UserName;

/// Waits for the one message.
pub(super) fn begin() -> Progress {
    Progress::Challenge("", Box::new(WaitingForMessage))
}

struct WaitingForMessage;

impl Exchange for WaitingForMessage {
    fn respond(self: Box<Self>, response: Response) -> Result<Progress, SaslError> {
        let mut parts = response.bytes().split(|byte| *byte == 0);
        // Exactly two NULs: a third one would be read by some backends as the end of the password.
        let (Some(authzid), Some(authcid), Some(password), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SaslError::Malformed);
        };
        // We never act for somebody else: an authzid must name the same user (RFC 4616, section 2). mbsync and mutt send
        // the user's own name.
        if !authzid.is_empty() && authzid != authcid {
            return Err(SaslError::Authzid);
        }
        Ok(Progress::Done(Credentials {
            user: UserName::parse(authcid)?,
            secret: Secret::from(password),
            mechanism: Mechanism::Plain,
        }))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use crate::sasl::tests::run;

    fn plain(message: &[u8]) -> String {
        let seen = run("PLAIN", Some(&STANDARD.encode(message)), &[]);
        assert_eq!(seen.len(), 1);
        seen[0].clone()
    }

    #[test]
    fn the_examples_of_rfc_4616() {
        // Section 4, first example: no authorization identity.
        assert_eq!(plain(b"\0tim\0tanstaaftanstaaf"), "tim:tanstaaftanstaaf by Plain");
        // Second example: to act as Ursel; not here.
        assert_eq!(plain(b"Ursel\0Kurt\0xipj3plmq"), "Authzid");
    }

    #[test]
    fn the_user_may_name_itself_as_mbsync_and_mutt_do() {
        assert_eq!(plain(b"tim\0tim\0pw"), "tim:pw by Plain");
        // Byte for byte: folding case here would be somebody's way around a limit.
        assert_eq!(plain(b"Tim\0tim\0pw"), "Authzid");
        assert_eq!(plain(b"ti\0tim\0pw"), "Authzid");
    }

    #[test]
    fn without_an_initial_response_the_challenge_is_empty() {
        assert_eq!(run("plain", None, &["AHRpbQBwdw=="]), ["+ ", "tim:pw by Plain"]);
        assert_eq!(run("PLAIN", None, &["*"]), ["+ ", "Cancelled"]);
        assert_eq!(run("PLAIN", None, &["AHRpbQBwdw"]), ["+ ", "Base64"]);
    }

    #[test]
    fn exactly_two_nul_bytes_divide_the_message() {
        for message in [&b"tim"[..], b"\0tim", b"\0tim\0pw\0", b"\0tim\0p\0w", b"\0\0\0\0"] {
            assert_eq!(plain(message), "Malformed", "{}", message.escape_ascii());
        }
        assert_eq!(run("PLAIN", Some("="), &[]), ["Malformed"]);
        assert_eq!(run("PLAIN", None, &[""]), ["+ ", "Malformed"]);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        assert_eq!(plain(b"\0\0pw"), "User(Empty)");
        assert_eq!(plain(b"\0alice*master\0pw"), "User(MasterSeparator)");
        assert_eq!(plain(b"\0bob\r\n\0pw"), "User(Control)");
        assert_eq!(plain(b"\0b\xff\0pw"), "User(NotUtf8)");
    }

    #[test]
    fn passwords_are_any_bytes_but_nul() {
        assert_eq!(
            plain("\0tim\0pässwört \r\n\"\\".as_bytes()),
            "tim:pässwört \r\n\"\\ by Plain"
        );
        // An empty one is well-formed enough to be judged, and refused, with the others.
        assert_eq!(plain(b"\0tim\0"), "tim: by Plain");
    }
}
