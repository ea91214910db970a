//! A connection before login: from the greeting to credentials that somebody else verifies.
//!
//! Bytes come in, steps go out; one outer enum of states, one struct per state, and transitions consume the state. A command
//! is judged when it runs: while a verdict is awaited nothing behind the login is parsed, and after it is accepted the rest is
//! handed over unread. Whatever is not expressly allowed is refused, every buffer has a bound, and no password outlives the
//! step that carries it.

mod answers;
mod client_id;
mod foreign;
mod input;
mod options;
mod shared;
mod states;

use std::sync::Arc;

use crate::session::preauth::answers::TOO_MANY_ATTEMPTS;
use crate::session::preauth::answers::UNAVAILABLE;
use crate::session::preauth::answers::say;
use crate::session::preauth::shared::Shared;
use crate::session::preauth::states::State;
use crate::session::preauth::states::Turn;
use crate::session::preauth::states::Verifying;
use crate::session::preauth::states::WaitingForCommand;
use crate::types::Credentials;
use crate::types::EndReason;
use crate::types::Mechanism;
use crate::types::Refusal;

pub use client_id::ClientId;
pub use options::Channel;
pub use options::Options;

/// What the caller must do, in order.
#[derive(Debug)]
pub enum Step {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Send what came before, then begin the TLS hand-shake as a server, and call [`PreAuth::tls_started`].
    StartTls,
    /// Verify these credentials, and call [`PreAuth::accepted`] or [`PreAuth::refused`].
    Verify(Credentials),
    /// A login that is refused whatever the password. The caller says so in its event, waits as for any other refusal, and calls
    /// [`PreAuth::refused`].
    Refuse(Refusal, Mechanism),
    /// Send what came before, then close the connection.
    End(EndReason),
}

/// How a login that was not accepted is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// One text for every reason there is.
    AuthenticationFailed,
    /// Trouble that is not the client's; it is no attempt.
    Unavailable,
}

/// What the next part of the session is given when a login is accepted.
pub struct Handover {
    /// The tag that the tagged OK must carry.
    pub tag: Vec<u8>,
    /// How the client logged in.
    pub mechanism: Mechanism,
    /// What the client sent behind its login: unread, to be judged as commands after login.
    pub pipelined: Vec<u8>,
    /// What the client said about itself, over TLS.
    pub id: Option<ClientId>,
}

/// One connection that has not logged in.
pub struct PreAuth {
    shared: Shared,
    state: State,
}

impl PreAuth {
    /// A connection whose first command is yet to come.
    #[must_use]
    pub fn new(options: Arc<Options>, channel: Channel) -> Self {
        Self {
            shared: Shared::new(options, channel),
            state: State::WaitingForCommand(WaitingForCommand),
        }
    }

    /// The line to send first, and once only: not again after STARTTLS.
    #[must_use]
    pub fn greeting(&self) -> Vec<u8> {
        self.shared.options.greeting(self.shared.channel)
    }

    /// False while a verdict or a hand-shake is awaited, and after the end: the caller should not read then. What it reads
    /// all the same behind a login is kept up to 16 KiB.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        matches!(
            self.state,
            State::WaitingForCommand(_) | State::Discarding(_) | State::WaitingForSaslResponse(_)
        )
    }

    /// Bytes of the client's that are held now.
    #[cfg(test)]
    fn held(&self) -> usize {
        let state = match &self.state {
            State::Verifying(verifying) => verifying.unread.capacity(),
            // A name: the most that a line can decode to.
            State::WaitingForSaslResponse(_) => 6 * 1024,
            _ => 0,
        };
        size_of::<Self>()
            + self.shared.input.held()
            + self.shared.id.as_ref().map_or(0, ClientId::held)
            + state
    }

    /// What the client said about itself so far.
    #[must_use]
    pub fn client_id(&self) -> Option<&ClientId> {
        self.shared.id.as_ref()
    }

    /// Takes bytes from the client, and adds what is to be done.
    #[must_use]
    pub fn receive(self, bytes: &[u8], steps: &mut Vec<Step>) -> Self {
        let Self {
            mut shared,
            mut state,
        } = self;
        let mut rest = bytes;
        loop {
            match state.read(&mut shared, &mut rest, steps) {
                Turn::Next(next) => state = next,
                Turn::Wait(state) => return Self { shared, state },
            }
        }
    }

    /// The hand-shake that [`Step::StartTls`] asked for is done. Whatever was said in the clear is forgotten: an attacker on
    /// the wire may have said it.
    #[must_use]
    pub fn tls_started(mut self) -> Self {
        if let State::WaitingForTls(_) = self.state {
            self.shared.encrypted();
            self.state = State::WaitingForCommand(WaitingForCommand);
        }
        self
    }

    /// The login was refused: answers it, and goes on with what the client sent behind it.
    #[must_use]
    pub fn refused(self, answer: Answer, steps: &mut Vec<Step>) -> Self {
        let Self { mut shared, state } = self;
        let State::Verifying(Verifying { tag, unread, .. }) = state else {
            return Self { shared, state };
        };
        match answer {
            Answer::AuthenticationFailed => {
                say(steps, &tag, &shared.options.refusal());
                shared.attempts += 1;
            }
            Answer::Unavailable => say(steps, &tag, UNAVAILABLE),
        }
        let state = if shared.attempts >= shared.options.attempts {
            shared.end(steps, EndReason::TooManyAttempts, TOO_MANY_ATTEMPTS)
        } else {
            State::WaitingForCommand(WaitingForCommand)
        };
        Self { shared, state }.receive(&unread, steps)
    }

    /// The login was accepted. `None` if none was being verified.
    #[must_use]
    pub fn accepted(self) -> Option<Handover> {
        let State::Verifying(mut verifying) = self.state else {
            return None;
        };
        Some(Handover {
            tag: verifying.tag.bytes().to_vec(),
            mechanism: verifying.mechanism,
            pipelined: std::mem::take(&mut *verifying.unread),
            id: self.shared.id,
        })
    }
}

/// Runs a whole conversation for property tests and fuzzing: the input in pieces as `cuts` says, every login refused at once,
/// every hand-shake done at once.
#[must_use]
pub fn drive(channel: Channel, input: &[u8], cuts: &[usize]) -> Vec<Step> {
    let mut preauth = PreAuth::new(Arc::new(Options::default()), channel);
    let mut steps = Vec::new();
    let mut rest = input;
    let mut cuts = cuts.iter();
    while !rest.is_empty() {
        let cut = cuts.next().copied().unwrap_or(rest.len()).clamp(1, rest.len());
        let (piece, behind) = rest.split_at(cut);
        rest = behind;
        preauth = preauth.receive(piece, &mut steps);
        while let State::Verifying(_) = preauth.state {
            preauth = preauth.refused(Answer::AuthenticationFailed, &mut steps);
        }
        if let Some(Step::StartTls) = steps.last() {
            preauth = preauth.tls_started();
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    const FAILED: &str = "NO [AUTHENTICATIONFAILED] Authentication failed.\r\n";

    /// Steps as text: what is sent as it is, all else in angle brackets.
    fn shown(steps: &[Step]) -> String {
        steps
            .iter()
            .map(|step| match step {
                Step::Send(bytes) => String::from_utf8(bytes.clone()).unwrap(),
                Step::StartTls => "<starttls>".to_owned(),
                Step::Verify(credentials) => format!(
                    "<verify {} {} {}>",
                    credentials.user,
                    credentials.secret.expose().escape_ascii(),
                    credentials.mechanism.as_str()
                ),
                Step::Refuse(refusal, mechanism) => format!("<refuse {refusal} {}>", mechanism.as_str()),
                Step::End(reason) => format!("<end {reason}>"),
            })
            .collect()
    }

    fn preauth(channel: Channel) -> PreAuth {
        PreAuth::new(Arc::new(Options::default()), channel)
    }

    /// What comes of the input, without a verdict, whole and cut at every byte.
    fn answers(channel: Channel, input: &[u8]) -> String {
        let mut whole = Vec::new();
        let _ = preauth(channel).receive(input, &mut whole);
        let mut cut = Vec::new();
        let mut client = preauth(channel);
        for byte in input {
            client = client.receive(&[*byte], &mut cut);
        }
        assert_eq!(shown(&whole), shown(&cut), "{}", input.escape_ascii());
        shown(&whole)
    }

    fn tls(input: impl AsRef<[u8]>) -> String {
        answers(Channel::Tls, input.as_ref())
    }

    fn plain(input: impl AsRef<[u8]>) -> String {
        answers(Channel::PlainBeforeStartTls, input.as_ref())
    }

    fn base64(bytes: impl AsRef<[u8]>) -> String {
        STANDARD.encode(bytes)
    }

    #[test]
    fn the_greeting_says_what_holds_and_no_version() {
        let greeting = |channel| String::from_utf8(preauth(channel).greeting()).unwrap();
        assert_eq!(
            greeting(Channel::Tls),
            "* OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL+ ID AUTH=PLAIN AUTH=LOGIN] imapwarden ready\r\n"
        );
        assert_eq!(
            greeting(Channel::PlainBeforeStartTls),
            "* OK [CAPABILITY IMAP4rev1 LITERAL+ ID STARTTLS LOGINDISABLED] imapwarden ready\r\n"
        );
    }

    #[test]
    fn commands_that_need_no_login_are_answered() {
        assert_eq!(
            tls("a CAPABILITY\r\nb noop \r\nc LOGOUT\r\nd NOOP\r\n"),
            "* CAPABILITY IMAP4rev1 SASL-IR LITERAL+ ID AUTH=PLAIN AUTH=LOGIN\r\na OK CAPABILITY completed.\r\n\
             b OK NOOP completed.\r\n\
             * BYE Logging out.\r\nc OK LOGOUT completed.\r\n<end logout>"
        );
    }

    #[test]
    fn id_is_answered_and_kept_as_imapflow_sends_it_first() {
        let mut steps = Vec::new();
        let client = preauth(Channel::Tls).receive(
            b"1 ID (\"name\" \"imapflow\" \"version\" {3+}\r\n1.0 \"x-originating-ip\" \"192.0.2.1\")\r\n",
            &mut steps,
        );
        assert_eq!(
            shown(&steps),
            "* ID (\"name\" \"imapwarden\")\r\n1 OK ID completed.\r\n"
        );
        let id = client.client_id().unwrap();
        assert_eq!(
            id.iter().collect::<Vec<_>>(),
            [("name", Some("imapflow")), ("version", Some("1.0"))]
        );
        assert_eq!(
            tls("1 ID NIL\r\n"),
            "* ID (\"name\" \"imapwarden\")\r\n1 OK ID completed.\r\n"
        );
    }

    #[test]
    fn login_takes_every_form_of_its_arguments() {
        assert_eq!(tls("a LOGIN bob pw\r\n"), "<verify bob pw login>");
        assert_eq!(tls("a login bob pw \r\n"), "<verify bob pw login>");
        assert_eq!(
            tls("a LOGIN \"bob\" \"p\\\"w\\\\\"\r\n"),
            "<verify bob p\\\"w\\\\ login>"
        );
        assert_eq!(
            tls("a LOGIN {3}\r\nbob {2}\r\npw\r\n"),
            "+ OK\r\n+ OK\r\n<verify bob pw login>"
        );
        assert_eq!(tls(b"a LOGIN bob \"p\xe4\"\r\n"), "<verify bob p\\xe4 login>");
        assert_eq!(
            tls("a LOGIN bob {7+}\r\n\r\nb X\r\n\r\n"),
            "<verify bob \\r\\nb X\\r\\n login>"
        );
    }

    #[test]
    fn the_new_outlook_logs_in_with_literals_that_do_not_wait() {
        assert_eq!(
            tls("1 LOGIN {15+}\r\nbob@example.org {8+}\r\npa ss{3}\r\n"),
            "<verify bob@example.org pa ss{3} login>"
        );
    }

    #[test]
    fn authenticate_plain_works_as_clients_do_it() {
        let message = base64("\0bob\0pw");
        // Thunderbird, PHP and imapflow: no initial response.
        assert_eq!(
            tls(format!("96 authenticate PLAIN\r\n{message}\r\n")),
            "+ \r\n<verify bob pw plain>"
        );
        // curl and alpine: initial response, empty authzid; curl asks for CAPABILITY first.
        assert!(
            tls(format!("A1 CAPABILITY\r\nA2 AUTHENTICATE PLAIN {message}\r\n"))
                .ends_with("A1 OK CAPABILITY completed.\r\n<verify bob pw plain>")
        );
        // mbsync and mutt: authzid is the user.
        let message = base64("bob\0bob\0pw");
        assert_eq!(
            tls(format!("1 AUTHENTICATE PLAIN {message}\r\n")),
            "<verify bob pw plain>"
        );
        // An empty initial response is an empty message, and no prompt follows it.
        assert_eq!(
            tls("a AUTHENTICATE PLAIN =\r\n"),
            "a BAD Invalid authentication response.\r\n"
        );
    }

    #[test]
    fn authenticate_login_works_with_and_without_initial_response() {
        assert_eq!(
            tls(format!(
                "a AUTHENTICATE LOGIN\r\n{}\r\n{}\r\n",
                base64("bob"),
                base64("pw")
            )),
            "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n<verify bob pw sasl_login>"
        );
        assert_eq!(
            tls(format!(
                "a authenticate login {}\r\n{}\r\n",
                base64("bob"),
                base64("pw")
            )),
            "+ UGFzc3dvcmQ6\r\n<verify bob pw sasl_login>"
        );
    }

    #[test]
    fn an_exchange_that_fails_or_is_cancelled_leaves_the_connection_usable() {
        let fail = |line: &str| tls(format!("a AUTHENTICATE PLAIN\r\n{line}\r\nb NOOP\r\n"));
        assert_eq!(
            fail("*"),
            "+ \r\na BAD Authentication cancelled.\r\nb OK NOOP completed.\r\n"
        );
        for line in [
            "AGJvYgBwdw",
            "AGJvYgBwdw===",
            " AGJvYgBwdw==",
            "AGJvYgBwdw==\t",
            "",
            "b NOOP",
            "{3+}\r\nfoo",
        ] {
            assert_eq!(
                fail(line),
                "+ \r\na BAD Invalid authentication response.\r\nb OK NOOP completed.\r\n",
                "{line:?}"
            );
        }
    }

    #[test]
    fn mechanisms_that_are_not_in_force_are_not_begun() {
        for mechanism in ["CRAM-MD5", "EXTERNAL", "PLAINX"] {
            assert_eq!(
                tls(format!("a AUTHENTICATE {mechanism}\r\n")),
                "a NO [CANNOT] Authentication mechanism not supported.\r\n"
            );
        }
        let options = Options {
            mechanisms: vec![Mechanism::Plain],
            ..Options::default()
        };
        let mut steps = Vec::new();
        let _ =
            PreAuth::new(Arc::new(options), Channel::Tls).receive(b"a AUTHENTICATE LOGIN\r\n", &mut steps);
        assert!(shown(&steps).starts_with("a NO [CANNOT]"));
    }

    #[test]
    fn names_that_mean_somebody_else_are_refused_like_wrong_passwords() {
        let plain = |message: &[u8]| tls(format!("a AUTHENTICATE PLAIN {}\r\n", base64(message)));
        assert_eq!(plain(b"alice\0bob\0pw"), "<refuse invalid_authzid plain>");
        assert_eq!(plain(b"\0alice*master\0pw"), "<refuse invalid_user plain>");
        assert_eq!(
            tls("a LOGIN \"alice*master\" pw\r\n"),
            "<refuse invalid_user login>"
        );
        assert_eq!(tls("a LOGIN \"bob\t\" pw\r\n"), "<refuse invalid_user login>");
        assert_eq!(tls(b"a LOGIN \"b\xff\" pw\r\n"), "<refuse invalid_user login>");
        assert_eq!(
            tls(format!(
                "a AUTHENTICATE LOGIN {}\r\n{}\r\n",
                base64("bob\0"),
                base64("pw")
            )),
            "+ UGFzc3dvcmQ6\r\n<refuse invalid_user sasl_login>"
        );
        let mut steps = Vec::new();
        let client = preauth(Channel::Tls).receive(b"a LOGIN a*b pw\r\na LOGIN \"a*b\" pw\r\n", &mut steps);
        let _ = client.refused(Answer::AuthenticationFailed, &mut steps);
        assert_eq!(
            shown(&steps),
            format!("a BAD Invalid arguments.\r\n<refuse invalid_user login>a {FAILED}")
        );
    }

    #[test]
    fn commands_after_login_are_bad_before_it() {
        for command in [
            "SELECT INBOX",
            "XYZ",
            "COMPRESS DEFLATE",
            "UNAUTHENTICATE",
            "STARTTLSX",
            "LOGINX a b",
            "ENABLE X",
        ] {
            assert_eq!(
                tls(format!("a {command}\r\n")),
                "a BAD Not a command before login. Log in first.\r\n",
                "{command}"
            );
        }
        assert_eq!(tls("a NOOP x\r\n"), "a BAD Invalid arguments.\r\n");
        assert_eq!(tls("a STARTTLS\r\n"), "a BAD TLS is already active.\r\n");
    }

    #[test]
    fn a_line_without_tag_is_answered_without_one() {
        // The password that a client sends although it was not asked for must not come back as a tag.
        let secret = base64("\0bob\0pw");
        let told = tls(format!("a AUTHENTICATE X\r\n{secret}\r\n\r\n* x\r\n"));
        assert_eq!(
            told,
            "a NO [CANNOT] Authentication mechanism not supported.\r\n".to_owned()
                + &"* BAD A tag and a command are expected.\r\n".repeat(3)
        );
        let long = "x".repeat(65);
        assert_eq!(
            tls(format!("a NOOP\r\n{long} NOOP\r\n")),
            "a OK NOOP completed.\r\n* BAD A tag and a command are expected.\r\n"
        );
    }

    #[test]
    fn what_is_no_imap_gets_no_answer() {
        for input in [
            &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
            b"POST / HTTP/1.1\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"CONNECT x:443 HTTP/1.1\r\n",
            b"EHLO x\r\n",
            b"SSH-2.0-x\r\n",
            b"\x16\x03\x01\x02\x00\x01",
            b"\0\0\0\0",
            b"\r\n",
            b"hello\r\n",
            b"{5}\r\n",
            b"hello{5+}\r\n",
            b"* OK\r\n",
        ] {
            assert_eq!(tls(input), "<end not_imap>", "{}", input.escape_ascii());
        }
        assert_eq!(
            tls("a NOOP\r\nPOST / HTTP/1.1\r\nb NOOP\r\n"),
            "a OK NOOP completed.\r\n<end not_imap>"
        );
        assert_eq!(
            tls(b"a NOOP\r\n\x16\x03\x01"),
            "a OK NOOP completed.\r\n<end not_imap>"
        );
    }

    #[test]
    fn lines_that_do_not_end_in_crlf_end_the_connection() {
        for input in [
            "a NOOP\n",
            "a NOOP\rb NOOP\r\n",
            "a NOOP\r\r\n",
            "a LOGIN bob pw\nb NOOP\r\n",
        ] {
            assert_eq!(
                tls(input),
                "* BYE Lines must end in CRLF.\r\n<end client_protocol>",
                "{input:?}"
            );
        }
        assert_eq!(
            tls("a LOGIN bob p\0w\r\n"),
            "* BYE NUL is not allowed.\r\n<end client_protocol>"
        );
        assert_eq!(
            tls("a LOGIN bob {3+}\r\np\0w\r\n"),
            "* BYE NUL is not allowed.\r\n<end client_protocol>"
        );
        assert_eq!(
            tls("a AUTHENTICATE PLAIN\r\nAA==\n"),
            "+ \r\n* BYE Lines must end in CRLF.\r\n<end client_protocol>"
        );
    }

    #[test]
    fn in_the_clear_no_login_is_begun_and_no_password_collected() {
        let refused = "a NO [PRIVACYREQUIRED] STARTTLS first.\r\n";
        assert_eq!(plain("a LOGIN bob pw\r\n"), refused);
        assert_eq!(plain("a LOGIN {3}\r\n"), refused);
        assert_eq!(plain("a LOGIN {3+}\r\nbob {2+}\r\npw\r\n"), refused);
        assert_eq!(plain("a LOGIN bob {8+}\r\nb NOOP\r\n\r\n"), refused);
        assert_eq!(plain("a AUTHENTICATE PLAIN\r\n"), refused);
        assert_eq!(plain("a AUTHENTICATE PLAIN AGJvYgBwdw==\r\n"), refused);
        assert_eq!(plain("a SELECT INBOX\r\n"), refused);
        assert_eq!(
            plain("a CAPABILITY\r\nb NOOP\r\nc ID NIL\r\nd LOGOUT\r\n"),
            "* CAPABILITY IMAP4rev1 LITERAL+ ID STARTTLS LOGINDISABLED\r\na OK CAPABILITY completed.\r\n\
             b OK NOOP completed.\r\n\
             * ID (\"name\" \"imapwarden\")\r\nc OK ID completed.\r\n\
             * BYE Logging out.\r\nd OK LOGOUT completed.\r\n<end logout>"
        );
    }

    #[test]
    fn nothing_said_in_the_clear_survives_starttls() {
        assert_eq!(
            plain("a STARTTLS\r\nb LOGIN bob pw\r\nc NOOP\r\n"),
            "a OK Begin TLS negotiation now.\r\n<starttls>"
        );
        let mut steps = Vec::new();
        let client = preauth(Channel::PlainBeforeStartTls)
            .receive(
                b"a ID (\"name\" \"x\")\r\nb STARTTLS\r\nc NOOP\r\nd NO",
                &mut steps,
            )
            .receive(b"OP\r\n", &mut steps);
        assert!(!client.wants_input());
        steps.clear();
        let client = client.tls_started();
        assert!(client.wants_input());
        assert_eq!(client.client_id(), None);
        let client = client.receive(b"e NOOP\r\nf STARTTLS\r\ng LOGIN bob pw\r\n", &mut steps);
        assert_eq!(
            shown(&steps),
            "e OK NOOP completed.\r\nf BAD TLS is already active.\r\n<verify bob pw login>"
        );
        assert!(client.accepted().is_some());
    }

    #[test]
    fn a_pipelined_second_login_waits_for_the_first_verdict() {
        let mut steps = Vec::new();
        let client = preauth(Channel::Tls)
            .receive(
                b"a LOGIN bob one\r\nb NOOP\r\nc LOGIN bob two\r\nd LO",
                &mut steps,
            )
            .receive(b"GOUT\r\n", &mut steps);
        assert_eq!(shown(&steps), "<verify bob one login>");
        assert!(!client.wants_input());
        steps.clear();
        let client = client.refused(Answer::AuthenticationFailed, &mut steps);
        assert_eq!(
            shown(&steps),
            format!("a {FAILED}b OK NOOP completed.\r\n<verify bob two login>")
        );
        let handover = client.accepted().unwrap();
        assert_eq!(handover.tag, b"c");
        assert_eq!(handover.mechanism, Mechanism::Login);
        assert_eq!(handover.pipelined, b"d LOGOUT\r\n");
    }

    #[test]
    fn what_follows_an_accepted_login_is_handed_over_unread() {
        let mut steps = Vec::new();
        let client = preauth(Channel::Tls).receive(
            b"a ID (\"name\" \"x\")\r\nb LOGIN bob pw\r\nc SELECT INBOX\r\n\0GET {99999}\n",
            &mut steps,
        );
        let handover = client.accepted().unwrap();
        assert_eq!(handover.pipelined, b"c SELECT INBOX\r\n\0GET {99999}\n");
        assert_eq!(handover.id.unwrap().field("name"), Some("x"));
    }

    #[test]
    fn a_caller_that_goes_on_reading_behind_a_login_meets_a_bound() {
        let mut steps = Vec::new();
        let client = preauth(Channel::Tls)
            .receive(b"a LOGIN bob pw\r\n", &mut steps)
            .receive(&[b'x'; 16 * 1024], &mut steps);
        assert_eq!(shown(&steps), "<verify bob pw login>");
        let _ = client.receive(b"x", &mut steps);
        assert!(shown(&steps).ends_with("<end client_limit>"));
    }

    #[test]
    fn verdicts_that_nobody_asked_for_change_nothing() {
        let mut steps = Vec::new();
        assert!(preauth(Channel::Tls).accepted().is_none());
        let client = preauth(Channel::PlainBeforeStartTls)
            .refused(Answer::AuthenticationFailed, &mut steps)
            .tls_started()
            .receive(b"a LOGIN bob pw\r\n", &mut steps);
        assert_eq!(shown(&steps), "a NO [PRIVACYREQUIRED] STARTTLS first.\r\n");
        assert!(client.accepted().is_none());
    }

    #[test]
    fn refusals_have_one_text_with_the_help_line_and_outages_are_no_attempts() {
        let options = Options {
            help: Some("Use an app password.".to_owned()),
            ..Options::default()
        };
        let mut client = PreAuth::new(Arc::new(options), Channel::Tls);
        let mut steps = Vec::new();
        for _ in 0..20 {
            client = client.receive(b"a LOGIN bob pw\r\n", &mut steps);
            steps.clear();
            client = client.refused(Answer::Unavailable, &mut steps);
            assert_eq!(
                shown(&steps),
                "a NO [UNAVAILABLE] Temporarily unavailable. Try again later.\r\n"
            );
        }
        client = client.receive(b"a LOGIN bob pw\r\n", &mut steps);
        steps.clear();
        let _ = client.refused(Answer::AuthenticationFailed, &mut steps);
        assert_eq!(
            shown(&steps),
            "a NO [AUTHENTICATIONFAILED] Authentication failed. Use an app password.\r\n"
        );
    }

    #[test]
    fn the_fifth_refusal_ends_the_connection() {
        let steps = drive(Channel::Tls, "a LOGIN bob pw\r\n".repeat(9).as_bytes(), &[]);
        assert_eq!(
            shown(&steps),
            format!("<verify bob pw login>a {FAILED}").repeat(5)
                + "* BYE Too many failed logins.\r\n<end too_many_attempts>"
        );
    }

    #[test]
    fn the_tenth_bad_command_ends_the_connection() {
        let told = tls("a X\r\n".repeat(20));
        assert_eq!(
            told,
            "a BAD Not a command before login. Log in first.\r\n".repeat(10)
                + "* BYE Too many bad commands.\r\n<end too_many_bad_commands>"
        );
        // Beginning exchanges and cancelling them does not go on for ever either.
        assert!(tls("a AUTHENTICATE PLAIN\r\n*\r\n".repeat(20)).ends_with("<end too_many_bad_commands>"));
    }

    #[test]
    fn commands_and_bytes_before_login_have_a_total() {
        let told = tls("a NOOP\r\n".repeat(200));
        assert_eq!(told.matches("OK").count(), 100);
        assert!(told.ends_with("* BYE Too many commands before login.\r\n<end client_limit>"));
        let long = format!("a ID (\"name\" \"{}\")\r\n", "x".repeat(8000));
        let told = tls(long.repeat(9));
        assert_eq!(told.matches("OK").count(), 8);
        assert!(told.ends_with("* BYE Too much data before login.\r\n<end client_limit>"));
    }

    #[test]
    fn a_line_of_more_than_eight_kib_ends_the_connection() {
        assert_eq!(
            tls(format!("a NOOP {}\r\n", " ".repeat(8000))),
            "a OK NOOP completed.\r\n"
        );
        let long = "x".repeat(9000);
        for input in [
            format!("a {long}"),
            format!("a LOGIN {{1+}}\r\nb {long}"),
            format!("a AUTHENTICATE PLAIN\r\n{long}"),
        ] {
            assert!(tls(input).ends_with("* BYE Command too long.\r\n<end client_limit>"));
        }
    }

    #[test]
    fn a_literal_that_is_too_large_is_refused_or_swallowed_but_never_run() {
        assert_eq!(
            tls("a LOGIN {4097}\r\nb NOOP\r\n"),
            "a NO [TOOBIG] Literal too large.\r\nb OK NOOP completed.\r\n"
        );
        let commands = "x NOOP\r\n".repeat(625);
        assert_eq!(
            tls(format!("a LOGIN {{5000+}}\r\n{commands} pw\r\nb NOOP\r\n")),
            "a NO [TOOBIG] Literal too large.\r\nb OK NOOP completed.\r\n"
        );
        // More than may ever come: the end, at once.
        assert_eq!(
            tls("a LOGIN {70000+}\r\nb NOOP\r\n"),
            "* BYE Too much data before login.\r\n<end client_limit>"
        );
        assert_eq!(
            tls("a LOGIN {4294967301+}\r\nb NOOP\r\n"),
            "* BYE Literal too large.\r\n<end client_limit>"
        );
        assert_eq!(
            tls("a NOOP {8+}\r\nb NOOP\r\n\r\n"),
            "a BAD No literal is expected here.\r\n"
        );
        assert_eq!(
            tls("a AUTHENTICATE PLAIN {8+}\r\nAGJvYgA=\r\n"),
            "a BAD No literal is expected here.\r\n"
        );
        assert_eq!(
            tls("a LOGIN ~{3+}\r\nbob pw\r\n"),
            "a BAD No literal is expected here.\r\n"
        );
    }

    #[test]
    fn literals_of_a_command_have_a_sum() {
        let literal = format!(" {{4096+}}\r\n{}", "x".repeat(4096));
        let told = tls(format!("a LOGIN{}\r\nb NOOP\r\n", literal.repeat(5)));
        assert_eq!(
            told,
            "a NO [TOOBIG] Literal too large.\r\nb OK NOOP completed.\r\n"
        );
        assert_eq!(
            tls(format!("a LOGIN{}\r\n", literal.repeat(4))),
            "a BAD Invalid arguments.\r\n"
        );
    }

    #[test]
    fn deep_and_many_arguments_are_bad_at_once() {
        assert_eq!(
            tls(format!("a LOGIN {}\r\n", "(".repeat(8000))),
            "a BAD Invalid arguments.\r\n"
        );
        assert_eq!(
            tls(format!("a LOGIN{}\r\n", " x".repeat(4000))),
            "a BAD Invalid arguments.\r\n"
        );
        assert_eq!(
            tls(format!("a ID ({})\r\n", "\"k\" \"v\" ".repeat(31))),
            "a BAD Invalid arguments.\r\n"
        );
    }

    #[test]
    fn a_connection_holds_at_most_twenty_kib_whatever_it_sends() {
        let literal = |text: &str| format!(" {{4096+}}\r\n{}", text.repeat(4096));
        let inputs = [
            format!("a LOGIN {}", "x".repeat(8000)),
            format!("a LOGIN{}", literal("x").repeat(4)),
            format!(
                "a AUTHENTICATE LOGIN\r\n{}\r\n{}",
                "A".repeat(8188),
                "A".repeat(8188)
            ),
            format!("a LOGIN bob pw\r\n{}", "x".repeat(16 * 1024)),
            format!(
                "a ID ({})\r\nb LOGIN{}",
                "\"k\" \"v\" ".repeat(30),
                literal("y").repeat(4)
            ),
        ];
        for input in inputs {
            let mut steps = Vec::new();
            let mut client = preauth(Channel::Tls);
            for piece in input.as_bytes().chunks(1000) {
                client = client.receive(piece, &mut steps);
                assert!(client.held() <= 20 * 1024, "{} bytes", client.held());
            }
        }
    }

    #[test]
    fn big_buffers_are_given_back_after_each_command() {
        let mut steps = Vec::new();
        let client =
            preauth(Channel::Tls).receive(format!("a X {}\r\n", "x".repeat(8000)).as_bytes(), &mut steps);
        assert!(client.held() <= 1024, "{} bytes", client.held());
    }

    fn dialog_piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => prop::sample::select(vec![
                "a NOOP\r\n", "b CAPABILITY\r\n", "c LOGIN bob pw\r\n", "d LOGIN {3}\r\nbob {2+}\r\npw\r\n", "e AUTHENTICATE PLAIN\r\n",
                "AGJvYgBwdw==\r\n", "*\r\n", "f AUTHENTICATE LOGIN Ym9i\r\n", "cHc=\r\n", "g ID (\"name\" {1+}\r\nx)\r\n", "h STARTTLS\r\n",
                "i LOGOUT\r\n", "j LOGIN {5000+}\r\n", "k X {9+}\r\n", "l LOGIN \"a*b\" x\r\n", "GET / HTTP/1.1\r\n", "\r\n", "\n", "\r", "\0",
                "{3}\r\n", "\"", " ",
            ]).prop_map(|text| text.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..20),
        ]
    }

    proptest! {
        #[test]
        fn cutting_the_input_anywhere_gives_the_same_steps(
            pieces in prop::collection::vec(dialog_piece(), 0..20),
            cuts in prop::collection::vec(1_usize..40, 0..40),
        ) {
            let input = pieces.concat();
            let whole = drive(Channel::Tls, &input, &[]);
            prop_assert_eq!(shown(&whole), shown(&drive(Channel::Tls, &input, &cuts)));
            prop_assert_eq!(shown(&whole), shown(&drive(Channel::Tls, &input, &vec![1; input.len()])));
        }

        #[test]
        fn nothing_panics_or_logs_in_without_tls(
            pieces in prop::collection::vec(dialog_piece(), 0..20),
            cuts in prop::collection::vec(1_usize..40, 0..40),
        ) {
            let steps = drive(Channel::PlainBeforeStartTls, &pieces.concat(), &cuts);
            let tls = steps.iter().position(|step| matches!(step, Step::StartTls)).unwrap_or(steps.len());
            prop_assert!(!steps[..tls].iter().any(|step| matches!(step, Step::Verify(_) | Step::Refuse(..))));
        }

        #[test]
        fn answers_have_nothing_of_the_client_but_its_tags(
            pieces in prop::collection::vec(dialog_piece(), 0..20),
        ) {
            for step in drive(Channel::Tls, &pieces.concat(), &[]) {
                let Step::Send(bytes) = step else { continue };
                let text = String::from_utf8(bytes).unwrap();
                for line in text.split_terminator("\r\n") {
                    let (tag, rest) = line.split_once(' ').unwrap();
                    prop_assert!(tag.len() <= 64 && (tag == "*" || tag == "+" || tag.bytes().all(crate::imap::codec::is_tag_char)));
                    prop_assert!(!["bob", "AGJv", "Ym9i", "HTTP", "INBOX"].iter().any(|theirs| rest.contains(theirs)));
                }
            }
        }
    }
}
