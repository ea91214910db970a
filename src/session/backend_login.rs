//! The client's side of a login at a backend: greeting, STARTTLS, CAPABILITY, ID, the login itself. Bytes go in, steps come
//! out.
//!
//! It fails closed: one tagged answer per command, under a tag nobody could know, and only after the command was sent; no
//! guess where the backend breaks the protocol; no password to a backend that says LOGINDISABLED or has not spoken TLS where
//! it must. What the backend says here never reaches a client.

mod answer;
mod commands;
mod dialog;
mod failure;
mod plan;
mod responses;

use std::collections::VecDeque;

use crate::session::backend_login::answer::Greeting;
use crate::session::backend_login::answer::Status;
use crate::session::backend_login::answer::offers;
use crate::session::backend_login::dialog::Dialog;
use crate::session::backend_login::dialog::Event;
use crate::session::backend_login::plan::Form;
use crate::types::Secret;

pub use crate::session::backend_login::failure::LoginFailure;
pub use crate::session::backend_login::failure::PeerText;
pub use crate::session::backend_login::plan::Identity;
pub use crate::session::backend_login::plan::Master;
pub use crate::session::backend_login::plan::MasterStyle;
pub use crate::session::backend_login::plan::Method;
pub use crate::session::backend_login::plan::Plan;

/// Random bytes for the tags: 64 bits for each of the at most six commands, so that no tag tells anything of the next.
pub type TagSeed = [[u8; 8]; 6];

/// What the caller is to do, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these bytes; they may hold a password.
    Send(Secret),
    /// Start TLS now, then call [`BackendLogin::tls_started`]. Nothing more may be read in clear.
    StartTls,
    /// Logged in; nothing more is to be fed.
    Done(Opened),
    /// Not logged in; close the connection.
    Failed(LoginFailure),
}

/// What the backend said of itself once it had let the account in.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its capabilities after login: words separated by single spaces, otherwise as they came.
    pub capabilities: Vec<u8>,
    /// What it sent behind the login's answer, for the relay to see first. Begins with a response, may end in part of one.
    pub early: Vec<u8>,
}

/// How far a login has come: what a time-out was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Waiting for the greeting, TLS or the capabilities: nothing that a client said has been passed on.
    Greeting,
    /// The credentials are on their way, or were sent.
    Login,
    /// It is over.
    Over,
}

/// A login under way.
#[derive(Debug)]
pub struct BackendLogin {
    dialog: Dialog,
    state: State,
}

/// Named for what is waited for.
#[derive(Debug)]
enum State {
    Greeting,
    Capability,
    StartTls,
    Handshake,
    Id { capabilities: Vec<u8> },
    Login(AwaitLogin),
    FinalCapability { early: Vec<u8> },
    Over,
}

/// The login command is under way: what is still to be sent of it.
#[derive(Debug)]
struct AwaitLogin {
    parts: VecDeque<Secret>,
}

impl BackendLogin {
    /// Prepares a login. `seed` must come from a secure source of chance, once per login.
    ///
    /// # Errors
    /// [`LoginFailure::Unsendable`] for a name or password that must not reach a backend.
    pub fn new(plan: Plan, seed: TagSeed) -> Result<Self, LoginFailure> {
        plan.identity.check()?;
        Ok(Self {
            dialog: Dialog::new(plan, seed),
            state: State::Greeting,
        })
    }

    /// Takes what the backend sent. After `Done` or `Failed` the bytes are ignored.
    ///
    /// Where it fails, that is the only step: no password is sent to a backend that is known to lie.
    #[must_use]
    pub fn receive(mut self, bytes: &[u8], steps: &mut Vec<Step>) -> Self {
        if matches!(self.state, State::Over) {
            return self;
        }
        let first = steps.len();
        self.dialog.push(bytes);
        loop {
            let next = match self.state {
                State::Over => break,
                State::Handshake if self.dialog.is_quiet() => break,
                State::Handshake => Err(LoginFailure::PlaintextAfterStartTls),
                State::Greeting => match self.dialog.next_raw() {
                    Ok(None) => break,
                    Ok(Some(response)) => greeted(&mut self.dialog, &response, steps),
                    Err(failure) => Err(failure),
                },
                state => match self.dialog.next() {
                    Ok(None) => {
                        self.state = state;
                        break;
                    }
                    Ok(Some(event)) => state.on(event, &mut self.dialog, steps),
                    Err(failure) => Err(failure),
                },
            };
            self.state = ended(next, first, steps);
        }
        self
    }

    /// TLS is up: all that was heard in clear is forgotten.
    #[must_use]
    pub fn tls_started(mut self, steps: &mut Vec<Step>) -> Self {
        if matches!(self.state, State::Handshake) {
            let first = steps.len();
            self.dialog.forget_clear();
            let next = self.dialog.send("CAPABILITY", steps).map(|()| State::Capability);
            self.state = ended(next, first, steps);
        }
        self
    }

    /// How far it has come.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.state {
            State::Greeting | State::Capability | State::StartTls | State::Handshake | State::Id { .. } => {
                Stage::Greeting
            }
            State::Login(_) | State::FinalCapability { .. } => Stage::Login,
            State::Over => Stage::Over,
        }
    }
}

/// A failure ends it, and takes back the steps from `first` on, which nobody has taken yet.
fn ended(next: Result<State, LoginFailure>, first: usize, steps: &mut Vec<Step>) -> State {
    next.unwrap_or_else(|failure| {
        steps.truncate(first);
        steps.push(Step::Failed(failure));
        State::Over
    })
}

fn greeted(dialog: &mut Dialog, response: &[u8], steps: &mut Vec<Step>) -> Result<State, LoginFailure> {
    match answer::greeting(response)? {
        Greeting::Ok(Some(capabilities)) => prepare(capabilities, dialog, steps),
        Greeting::Ok(None) => {
            dialog.send("CAPABILITY", steps)?;
            Ok(State::Capability)
        }
        Greeting::Preauth => Err(LoginFailure::Preauth),
        Greeting::Bye(text) => Err(LoginFailure::Bye(dialog.text(text))),
    }
}

/// The capabilities are known: TLS first where it is due, then ID, then the login.
fn prepare(capabilities: Vec<u8>, dialog: &mut Dialog, steps: &mut Vec<Step>) -> Result<State, LoginFailure> {
    if dialog.is_start_tls_due() {
        if !offers(&capabilities, "STARTTLS") {
            return Err(LoginFailure::StartTlsMissing);
        }
        dialog.send("STARTTLS", steps)?;
        return Ok(State::StartTls);
    }
    // A promise: no password to a backend that says LOGINDISABLED, whatever else it offers.
    if offers(&capabilities, "LOGINDISABLED") {
        return Err(LoginFailure::LoginDisabled);
    }
    if offers(&capabilities, "ID") && dialog.send_id(steps)? {
        return Ok(State::Id { capabilities });
    }
    log_in(&capabilities, dialog, steps)
}

fn log_in(capabilities: &[u8], dialog: &mut Dialog, steps: &mut Vec<Step>) -> Result<State, LoginFailure> {
    let plain = offers(capabilities, "AUTH=PLAIN");
    let form = match dialog.method() {
        Method::Plain | Method::Auto if plain => Form::Plain,
        Method::Login | Method::Auto if !dialog.needs_plain() => Form::Login,
        Method::Plain | Method::Login | Method::Auto => return Err(LoginFailure::MethodMissing),
    };
    let mut parts = dialog.credentials(form, offers(capabilities, "SASL-IR"))?;
    dialog.send_part(parts.pop_front(), steps)?;
    Ok(State::Login(AwaitLogin { parts }))
}

impl State {
    fn on(self, event: Event, dialog: &mut Dialog, steps: &mut Vec<Step>) -> Result<Self, LoginFailure> {
        match self {
            Self::Capability => on_capability(event, dialog, steps),
            Self::StartTls => on_start_tls(event, dialog, steps),
            Self::Id { capabilities } => on_id(capabilities, &event, dialog, steps),
            Self::Login(login) => login.on(event, dialog, steps),
            Self::FinalCapability { early } => on_final_capability(early, event, dialog, steps),
            Self::Greeting | Self::Handshake | Self::Over => Err(LoginFailure::Malformed),
        }
    }
}

fn on_capability(event: Event, dialog: &mut Dialog, steps: &mut Vec<Step>) -> Result<State, LoginFailure> {
    match event {
        Event::Untagged(_) => Ok(State::Capability),
        Event::Continuation => Err(LoginFailure::UnexpectedContinuation),
        Event::Answer(Status::Ok, answer) => {
            let listed = dialog.listed().or(answer.capabilities);
            prepare(listed.ok_or(LoginFailure::CapabilityMissing)?, dialog, steps)
        }
        Event::Answer(_, answer) => Err(LoginFailure::Rejected(answer.text)),
    }
}

fn on_start_tls(event: Event, dialog: &mut Dialog, steps: &mut Vec<Step>) -> Result<State, LoginFailure> {
    match event {
        Event::Untagged(_) => Ok(State::StartTls),
        Event::Continuation => Err(LoginFailure::UnexpectedContinuation),
        // What came in the same packet behind the OK came in clear; TLS would take it for its own (CVE-2021-33515).
        Event::Answer(Status::Ok, _) if !dialog.is_quiet() => Err(LoginFailure::PlaintextAfterStartTls),
        Event::Answer(Status::Ok, _) => {
            steps.push(Step::StartTls);
            Ok(State::Handshake)
        }
        Event::Answer(_, answer) => Err(LoginFailure::StartTlsRefused(answer.text)),
    }
}

/// ID is a courtesy: whatever the answer, the login goes on.
fn on_id(
    capabilities: Vec<u8>,
    event: &Event,
    dialog: &mut Dialog,
    steps: &mut Vec<Step>,
) -> Result<State, LoginFailure> {
    match event {
        Event::Untagged(_) => Ok(State::Id { capabilities }),
        Event::Continuation => Err(LoginFailure::UnexpectedContinuation),
        Event::Answer(..) => log_in(&capabilities, dialog, steps),
    }
}

impl AwaitLogin {
    fn on(mut self, event: Event, dialog: &mut Dialog, steps: &mut Vec<Step>) -> Result<State, LoginFailure> {
        match event {
            Event::Untagged(_) => Ok(State::Login(self)),
            Event::Continuation => {
                dialog.send_part(self.parts.pop_front(), steps)?;
                Ok(State::Login(self))
            }
            Event::Answer(Status::Ok, _) if !self.parts.is_empty() => Err(LoginFailure::SuccessTooEarly),
            Event::Answer(Status::Ok, answer) => {
                // An untagged list during the login is the new one, too (Gmail, SmarterMail).
                match answer.capabilities.or_else(|| dialog.listed()) {
                    Some(capabilities) => Ok(done(capabilities, Vec::new(), dialog, steps)),
                    None => {
                        dialog.send("CAPABILITY", steps)?;
                        Ok(State::FinalCapability { early: Vec::new() })
                    }
                }
            }
            Event::Answer(Status::No, answer) => Err(dialog.refusal(answer)),
            Event::Answer(Status::Bad, answer) => Err(LoginFailure::Rejected(answer.text)),
        }
    }
}

fn on_final_capability(
    mut early: Vec<u8>,
    event: Event,
    dialog: &mut Dialog,
    steps: &mut Vec<Step>,
) -> Result<State, LoginFailure> {
    match event {
        Event::Untagged(data) => {
            early.extend_from_slice(&data);
            Ok(State::FinalCapability { early })
        }
        Event::Continuation => Err(LoginFailure::UnexpectedContinuation),
        Event::Answer(Status::Ok, answer) => {
            let listed = dialog.listed().or(answer.capabilities);
            let capabilities = listed.ok_or(LoginFailure::CapabilityMissing)?;
            Ok(done(capabilities, early, dialog, steps))
        }
        Event::Answer(_, answer) => Err(LoginFailure::Rejected(answer.text)),
    }
}

fn done(capabilities: Vec<u8>, mut early: Vec<u8>, dialog: &mut Dialog, steps: &mut Vec<Step>) -> State {
    early.append(&mut dialog.take_rest());
    steps.push(Step::Done(Opened { capabilities, early }));
    State::Over
}

#[cfg(test)]
mod tests {
    use imap_codec::CommandCodec;
    use imap_codec::decode::Decoder;
    use imap_codec::imap_types::command::CommandBody;
    use proptest::prelude::*;

    use super::*;
    use crate::types::UserName;

    const SEED: TagSeed = [[0x11; 8], [0x22; 8], [0x33; 8], [0x44; 8], [0x55; 8], [0x66; 8]];

    fn name(text: &str) -> UserName {
        UserName::parse(text.as_bytes()).unwrap()
    }

    fn own(password: &[u8]) -> Plan {
        Plan {
            start_tls: false,
            method: Method::Auto,
            identity: Identity::Own {
                account: name("alice"),
                password: Secret::from(password),
            },
            id: Vec::new(),
        }
    }

    fn as_master(style: MasterStyle) -> Plan {
        let master = Master {
            user: name("boss"),
            password: Secret::from("mpw"),
            style,
        };
        let identity = Identity::Master {
            account: name("alice"),
            master,
        };
        Plan {
            identity,
            ..own(b"unused")
        }
    }

    /// `#3` stands for the third command's tag.
    fn with_tags(text: &str) -> String {
        (1..=6).fold(text.to_owned(), |text, n| {
            text.replace(&format!("#{n}"), &format!("{n}{n}").repeat(8))
        })
    }

    fn shown(bytes: &[u8]) -> String {
        let quotes_as_they_are = bytes.escape_ascii().to_string().replace("\\\"", "\"");
        quotes_as_they_are.replace("\\\\", "\\")
    }

    fn printed(step: Step) -> String {
        match step {
            Step::Send(bytes) => format!("C {}", shown(bytes.expose().strip_suffix(b"\r\n").unwrap())),
            Step::StartTls => "TLS".to_owned(),
            Step::Done(opened) => format!("DONE {} | {}", shown(&opened.capabilities), shown(&opened.early)),
            Step::Failed(failure) => format!("FAILED {}", failure.as_str()),
        }
    }

    /// Runs a dialog. `S …` is a line of the backend's, `s …` bytes without line end; `TLS` a hand-shake that succeeds; all
    /// others are steps expected. The backend's turns are cut into pieces of `size`.
    fn run(plan: &Plan, dialog: &str, size: usize) {
        let mut login = BackendLogin::new(plan.clone(), SEED).unwrap();
        let mut steps = Vec::new();
        let mut turn = Vec::new();
        for line in with_tags(dialog)
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            if let Some(text) = line.strip_prefix("S ") {
                turn.extend_from_slice(&[text.as_bytes(), b"\r\n"].concat());
                continue;
            }
            if let Some(text) = line.strip_prefix("s ") {
                turn.extend_from_slice(text.as_bytes());
                continue;
            }
            for piece in turn.chunks(size) {
                login = login.receive(piece, &mut steps);
            }
            turn.clear();
            assert!(!steps.is_empty(), "no step where {line:?} is due:\n{dialog}");
            let got = printed(steps.remove(0));
            assert_eq!(got.trim_end(), line, "pieces of {size}:\n{dialog}");
            if line == "TLS" {
                login = login.tls_started(&mut steps);
            }
        }
        assert_eq!(steps, [], "{dialog}");
        assert_eq!(login.stage(), Stage::Over, "{dialog}");
    }

    fn run_however_cut(plan: &Plan, dialog: &str) {
        for size in [usize::MAX, 1, 2, 3, 5, 16, 33] {
            run(plan, dialog, size);
        }
    }

    #[test]
    fn real_servers_let_the_account_in() {
        let dialogs = [
            // Dovecot: all in the greeting, all in the OK.
            "S * OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL+ ID AUTH=PLAIN] Dovecot (Debian) ready.
             C #1 AUTHENTICATE PLAIN AGFsaWNlAHB3
             S #1 OK [CAPABILITY IMAP4rev1 IDLE SORT] Logged in
             DONE IMAP4rev1 IDLE SORT |",
            // Courier: no AUTH=PLAIN; no list in the OK.
            "S * OK [CAPABILITY IMAP4rev1 UIDPLUS IDLE ACL] Courier-IMAP ready. Copyright 1998-2022 Double Precision, Inc.
             C #1 LOGIN \"alice\" \"pw\"
             S #1 OK LOGIN Ok.
             C #2 CAPABILITY
             S * CAPABILITY IMAP4rev1 UIDPLUS  IDLE UTF8=ACCEPT
             S #2 OK CAPABILITY completed
             DONE IMAP4rev1 UIDPLUS IDLE UTF8=ACCEPT |",
            // Cyrus, without SASL-IR: the response waits for `+`.
            "S * OK [CAPABILITY IMAP4rev1 LITERAL+ ID ENABLE AUTH=PLAIN] mail Cyrus IMAP 3.6.1-Debian server ready
             C #1 AUTHENTICATE PLAIN
             S +
             C AGFsaWNlAHB3
             S #1 OK [CAPABILITY IMAP4rev1 ANNOTATEMORE] Success (no protection) SESSIONID=<x-1>
             DONE IMAP4rev1 ANNOTATEMORE |",
            // GNU imap4d and Exchange: nothing in the greeting, untagged list during the login.
            "S * OK The Microsoft Exchange IMAP4 service is ready.
             C #1 CAPABILITY
             S * CAPABILITY IMAP4 IMAP4rev1 UIDPLUS
             S #1 OK CAPABILITY completed.
             C #2 LOGIN \"alice\" \"pw\"
             S * CAPABILITY IMAP4rev1 IDLE X-GM-EXT-1
             S * OK [ALERT] Your password will expire
             S #2 OK LOGIN completed.
             DONE IMAP4rev1 IDLE X-GM-EXT-1 |",
            // Any untagged data may come at any time, with literals; a tagged line inside one is data.
            "S * OK hi
             S * 3 EXISTS
             C #1 CAPABILITY
             S * ID (\"name\" {21}
             S #1 OK
             S )
             S * CAPABILITY IMAP4rev1 AUTH=PLAIN
             S * NO disk is nearly full {5}
             S #1 ok done
             C #2 AUTHENTICATE PLAIN
             S * CAPABILITY before the answer
             S + go {3}
             C AGFsaWNlAHB3
             S * 1 RECENT
             S #2 OK in
             C #3 CAPABILITY
             S * OK [ALERT] Hello
             S * CAPABILITY IMAP4rev1
             S #3 OK [CAPABILITY ignored] done
             DONE IMAP4rev1 | * OK [ALERT] Hello\\r\\n",
        ];
        for dialog in dialogs {
            run_however_cut(&own(b"pw"), dialog);
        }
    }

    #[test]
    fn what_comes_behind_the_answer_is_kept_for_the_relay() {
        let dialog = "S * OK [CAPABILITY IMAP4rev1] hi
             C #1 LOGIN \"alice\" \"pw\"
             S #1 OK [CAPABILITY A B] in
             s * 1 EXI
             DONE A B | * 1 EXI";
        run(&own(b"pw"), dialog, usize::MAX);
    }

    #[test]
    fn a_password_of_any_kind_waits_for_its_plus() {
        let dialog = "S * OK [CAPABILITY IMAP4rev1] hi
             C #1 LOGIN \"alice\" {4}
             S + OK
             C \\xff\\x01\\r\\n
             S #1 OK [CAPABILITY A] in
             DONE A |";
        run_however_cut(&own(b"\xff\x01\r\n"), dialog);
    }

    #[test]
    fn start_tls_comes_first_and_forgets_what_was_said_in_clear() {
        let plan = Plan {
            start_tls: true,
            ..own(b"pw")
        };
        let dialog = "S * OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] hi
             C #1 STARTTLS
             S * OK soon
             S #1 OK go
             TLS
             C #2 CAPABILITY
             S * CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR
             S #2 OK done
             C #3 AUTHENTICATE PLAIN AGFsaWNlAHB3
             S #3 OK [CAPABILITY A] in
             DONE A |";
        run_however_cut(&plan, dialog);
        let asks_first = "S * OK hi
             C #1 CAPABILITY
             S * CAPABILITY IMAP4rev1 STARTTLS
             S #1 OK done
             C #2 STARTTLS
             S #2 OK go
             TLS
             C #3 CAPABILITY
             S * CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=PLAIN
             S #3 OK done
             FAILED login_disabled";
        run_however_cut(&plan, asks_first);
    }

    #[test]
    fn start_tls_is_never_opportunistic() {
        let plan = Plan {
            start_tls: true,
            ..own(b"pw")
        };
        let dialogs = [
            "S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi
             FAILED starttls_missing",
            "S * OK [CAPABILITY IMAP4rev1 STARTTLS] hi
             C #1 STARTTLS
             S #1 NO not today
             FAILED starttls_refused",
            "S * OK [CAPABILITY IMAP4rev1 STARTTLS] hi
             C #1 STARTTLS
             S #1 BAD what
             FAILED starttls_refused",
            "S * OK [CAPABILITY IMAP4rev1 STARTTLS] hi
             C #1 STARTTLS
             S + go
             FAILED unexpected_continuation",
            "S * PREAUTH hi
             FAILED preauth",
        ];
        for dialog in dialogs {
            run_however_cut(&plan, dialog);
        }
    }

    #[test]
    fn bytes_in_clear_behind_the_starttls_answer_are_an_injection() {
        let plan = Plan {
            start_tls: true,
            ..own(b"pw")
        };
        for injected in ["S * CAPABILITY IMAP4rev1 AUTH=PLAIN", "s *", "S #2 OK done"] {
            let dialog = "S * OK [CAPABILITY IMAP4rev1 STARTTLS] hi
             C #1 STARTTLS
             S #1 OK go
             INJECTED
             FAILED plaintext_after_starttls";
            run(&plan, &dialog.replace("INJECTED", injected), usize::MAX);
        }
        // In a packet of its own it meets a machine that waits for TLS.
        let mut steps = Vec::new();
        let login = BackendLogin::new(plan, SEED).unwrap();
        let login = login.receive(b"* OK [CAPABILITY STARTTLS] hi\r\n", &mut steps);
        let login = login.receive(with_tags("#1 OK go\r\n").as_bytes(), &mut steps);
        let login = login.receive(b"*", &mut steps);
        assert_eq!(
            steps.last(),
            Some(&Step::Failed(LoginFailure::PlaintextAfterStartTls))
        );
        let before = steps.len();
        let _ = login.tls_started(&mut steps);
        assert_eq!(steps.len(), before, "nothing follows a failure");
    }

    #[test]
    fn a_master_user_opens_the_account() {
        let greeting = "S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi\n";
        let rest = "\nS #1 OK [CAPABILITY A] in\nDONE A |";
        // alice NUL boss NUL mpw
        let authzid = format!("{greeting}C #1 AUTHENTICATE PLAIN YWxpY2UAYm9zcwBtcHc={rest}");
        run_however_cut(&as_master(MasterStyle::Authzid), &authzid);
        // NUL alice*boss NUL mpw
        let separator = format!("{greeting}C #1 AUTHENTICATE PLAIN AGFsaWNlKmJvc3MAbXB3{rest}");
        run_however_cut(&as_master(MasterStyle::Separator('*')), &separator);
        let by_login = format!("S * OK [CAPABILITY IMAP4rev1] hi\nC #1 LOGIN \"alice*boss\" \"mpw\"{rest}");
        run_however_cut(&as_master(MasterStyle::Separator('*')), &by_login);
        let impossible = "S * OK [CAPABILITY IMAP4rev1] hi\nFAILED method_missing";
        run_however_cut(&as_master(MasterStyle::Authzid), impossible);
    }

    #[test]
    fn the_configured_method_is_used_or_none() {
        let login = Plan {
            method: Method::Login,
            ..own(b"pw")
        };
        let both = "S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi
             C #1 LOGIN \"alice\" \"pw\"
             S #1 OK [CAPABILITY A] in
             DONE A |";
        run_however_cut(&login, both);
        let plain = Plan {
            method: Method::Plain,
            ..own(b"pw")
        };
        run_however_cut(
            &plain,
            "S * OK [CAPABILITY IMAP4rev1 AUTH=LOGIN] hi\nFAILED method_missing",
        );
        let disabled = "S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN LOGINDISABLED] hi\nFAILED login_disabled";
        for plan in [login, plain, own(b"pw")] {
            run_however_cut(&plan, disabled);
        }
    }

    #[test]
    fn the_id_command_tells_the_client_and_never_stops_the_login() {
        let plan = Plan {
            id: vec![("x-originating-ip".to_owned(), "192.0.2.1".to_owned())],
            ..own(b"pw")
        };
        for answer in [
            "S * ID NIL\nS #1 OK done",
            "S #1 OK done",
            "S #1 NO no",
            "S #1 BAD what",
        ] {
            let dialog = "S * OK [CAPABILITY IMAP4rev1 ID] hi
                C #1 ID (\"x-originating-ip\" \"192.0.2.1\")
                ANSWER
                C #2 LOGIN \"alice\" \"pw\"
                S #2 OK [CAPABILITY A] in
                DONE A |";
            run_however_cut(&plan, &dialog.replace("ANSWER", answer));
        }
        let not_offered =
            "S * OK [CAPABILITY IMAP4rev1 IDLE] hi\nC #1 LOGIN \"alice\" \"pw\"\nS #1 NO\nFAILED refused";
        run_however_cut(&plan, not_offered);
    }

    #[test]
    fn a_refusal_is_told_from_trouble() {
        let cases = [
            ("NO [AUTHENTICATIONFAILED] Authentication failed.", "refused"),
            ("NO Logon failure: unknown user name or bad password.", "refused"),
            ("NO [EXPIRED] old", "refused"),
            ("no [contactadmin] locked", "refused"),
            ("NO", "refused"),
            (
                "NO [UNAVAILABLE] Temporary authentication failure.",
                "unavailable",
            ),
            ("NO [INUSE] busy", "unavailable"),
            ("NO [LIMIT] too many", "unavailable"),
            ("NO [PRIVACYREQUIRED] TLS first", "unavailable"),
            ("BAD unknown", "rejected"),
        ];
        let greeting = "S * OK [CAPABILITY IMAP4rev1] hi\n";
        for (answer, word) in cases {
            let dialog = format!("{greeting}C #1 LOGIN \"alice\" \"pw\"\nS #1 {answer}\nFAILED {word}");
            run_however_cut(&own(b"pw"), &dialog);
            let word = word.replace("refused", "master_refused");
            let dialog = format!("{greeting}C #1 LOGIN \"alice*boss\" \"mpw\"\nS #1 {answer}\nFAILED {word}");
            run_however_cut(&as_master(MasterStyle::Separator('*')), &dialog);
        }
    }

    #[test]
    fn a_backend_that_breaks_the_protocol_gets_no_further() {
        let cases = [
            ("S * BYE too many connections", "bye"),
            ("S * PREAUTH welcome", "preauth"),
            ("S 220 mail ESMTP", "malformed_greeting"),
            ("S #1 OK in", "malformed_greeting"),
            ("S * OK hi\nC #1 CAPABILITY\nS #1 OK done", "capability_missing"),
            ("S * OK hi\nC #1 CAPABILITY\nS #1 NO no", "rejected"),
            ("S * OK hi\nC #1 CAPABILITY\nS #2 OK done", "unexpected_tag"),
            ("S * OK hi\nC #1 CAPABILITY\nS L OK done", "unexpected_tag"),
            ("S * OK hi\nC #1 CAPABILITY\nS +", "unexpected_continuation"),
            ("S * OK hi\nC #1 CAPABILITY\nS * BYE going down", "bye"),
            ("S * OK hi\nC #1 CAPABILITY\nS garbage", "malformed"),
            ("LOGIN\nS + what", "unexpected_continuation"),
            ("LOGIN\nS L OK in", "unexpected_tag"),
            ("LOGIN\nS * OK in\nS * BYE", "bye"),
            ("LOGIN\nS #2 OK [CAPABILITY A] in", "unexpected_tag"),
            (
                "LOGIN\nS #1 OK in\nC #2 CAPABILITY\nS #1 OK [CAPABILITY A] again",
                "unexpected_tag",
            ),
            (
                "LOGIN\nS #1 OK in\nC #2 CAPABILITY\nS #2 OK",
                "capability_missing",
            ),
            ("LOGIN\nS #1 OK in\nC #2 CAPABILITY\nS #2 NO", "rejected"),
            (
                "LOGIN\nS #1 OK in\nC #2 CAPABILITY\nS + x",
                "unexpected_continuation",
            ),
            ("LOGIN\nS #1 PREAUTH in", "malformed"),
        ];
        let login = "S * OK [CAPABILITY IMAP4rev1] hi\nC #1 LOGIN \"alice\" \"pw\"";
        for (dialog, word) in cases {
            let dialog = format!(
                "{}\nFAILED {word}",
                dialog.replace("LOGIN\n", &format!("{login}\n"))
            );
            run_however_cut(&own(b"pw"), &dialog);
        }
    }

    #[test]
    fn success_without_the_password_is_no_success() {
        let literal = "S * OK [CAPABILITY IMAP4rev1] hi\nC #1 LOGIN \"alice\" {1}\n";
        let plain = "S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\nC #1 AUTHENTICATE PLAIN\n";
        let cases = [
            (literal, "OK [CAPABILITY A] in", "success_too_early"),
            (literal, "BAD no literals here", "rejected"),
            (literal, "NO [UNAVAILABLE] later", "unavailable"),
            (plain, "OK [CAPABILITY A] in", "success_too_early"),
            (plain, "NO unsupported", "refused"),
        ];
        for (start, answer, word) in cases {
            run_however_cut(&own(b"\xff"), &format!("{start}S #1 {answer}\nFAILED {word}"));
        }
    }

    #[test]
    fn an_answer_that_was_written_ahead_does_not_count() {
        let cases = [
            "S * OK [CAPABILITY IMAP4rev1] hi\nS #1 OK [CAPABILITY A] in\nFAILED early_answer",
            "S * OK [CAPABILITY IMAP4rev1] hi\nS L OK in\nFAILED unexpected_tag",
            "S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\nS +\nFAILED early_answer",
            // The beginning of the line was there before the command.
            "S * OK [CAPABILITY IMAP4rev1] hi\ns 11111111\nC #1 LOGIN \"alice\" \"pw\"\nS 11111111 OK [CAPABILITY A] in\nFAILED early_answer",
            // Two pluses at once: the second one was written ahead of the literal.
            "S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\nC #1 AUTHENTICATE PLAIN\nS +\nS +\nFAILED early_answer",
            "S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\nC #1 AUTHENTICATE PLAIN\nS +\nS #1 OK in\nFAILED early_answer",
        ];
        for dialog in cases {
            run(&own(b"pw"), dialog, usize::MAX);
        }
    }

    #[test]
    fn names_and_passwords_that_mean_something_else_are_never_sent() {
        for password in [&b""[..], b"a\0b", &[b'x'; 4097]] {
            let failed = BackendLogin::new(own(password), SEED).map(|_| ());
            assert_eq!(failed, Err(LoginFailure::Unsendable));
        }
        let mut plan = as_master(MasterStyle::Separator('+'));
        assert!(BackendLogin::new(plan.clone(), SEED).is_ok());
        if let Identity::Master { account, .. } = &mut plan.identity {
            *account = name("alice+x");
        }
        assert_eq!(
            BackendLogin::new(plan, SEED).map(|_| ()),
            Err(LoginFailure::Unsendable)
        );
    }

    #[test]
    fn a_log_never_holds_what_the_backend_repeats_of_a_password() {
        let plan = own(b"hunter2\"x");
        for echo in [
            "LOGIN \"alice\" \"hunter2\\\"x\"",
            "hunt",
            "\"hunt",
            "AGFsaWNlAGh1bnRlcjIieA==",
        ] {
            let mut steps = Vec::new();
            let login = BackendLogin::new(plan.clone(), SEED).unwrap();
            let login = login.receive(b"* OK [CAPABILITY IMAP4rev1] hi\r\n", &mut steps);
            let answer = with_tags(&format!("#1 BAD {echo}\r\n"));
            let _ = login.receive(answer.as_bytes(), &mut steps);
            let printed = format!("{steps:?}");
            assert!(printed.contains("withheld"), "{printed}");
            assert!(
                !printed.contains("hunt") && !printed.contains("AGFs"),
                "{printed}"
            );
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let login = BackendLogin::new(own(b"hunter2"), SEED).unwrap();
        let mut steps = Vec::new();
        let login = login.receive(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n", &mut steps);
        let printed = format!("{login:?} {steps:?} {:?}", own(b"hunter2"));
        assert!(!printed.contains("hunter2"), "{printed}");
    }

    /// The LOGIN command or PLAIN message as a server would read it.
    fn understood(plan: Plan, capabilities: &str) -> (Vec<u8>, Vec<u8>) {
        let mut steps = Vec::new();
        let mut login = BackendLogin::new(plan, SEED).unwrap();
        login = login.receive(
            format!("* OK [CAPABILITY {capabilities}] hi\r\n").as_bytes(),
            &mut steps,
        );
        while matches!(&login.state, State::Login(under_way) if !under_way.parts.is_empty()) {
            login = login.receive(b"+ go\r\n", &mut steps);
        }
        let sent: Vec<u8> = steps
            .iter()
            .flat_map(|step| match step {
                Step::Send(bytes) => bytes.expose().to_vec(),
                other => panic!("{other:?}"),
            })
            .collect();
        let (rest, command) = CommandCodec::default().decode(&sent).unwrap();
        assert_eq!(rest, b"");
        match command.body {
            CommandBody::Login { username, password } => (
                username.as_ref().to_vec(),
                password.declassify().as_ref().to_vec(),
            ),
            CommandBody::Authenticate {
                initial_response: Some(message),
                ..
            } => {
                let message = message.declassify().to_vec();
                let parts: Vec<&[u8]> = message.splitn(3, |byte| *byte == 0).collect();
                assert_eq!(parts[0], b"");
                (parts[1].to_vec(), parts[2].to_vec())
            }
            _ => panic!("another command"),
        }
    }

    #[test]
    fn every_password_byte_arrives_as_it_is() {
        for byte in 1..=255u8 {
            for password in [vec![byte], vec![b'a', byte, b'z'], vec![byte, byte]] {
                for capabilities in ["IMAP4rev1", "IMAP4rev1 AUTH=PLAIN SASL-IR"] {
                    let (user, got) = understood(own(&password), capabilities);
                    assert_eq!((user.as_slice(), &got), (&b"alice"[..], &password));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_name_and_password_arrive_as_they_are(
            user in "[^\\p{C}* ]{1,20}",
            password in proptest::collection::vec(1..=255u8, 1..200),
            plain in any::<bool>(),
        ) {
            let Ok(account) = UserName::parse(user.as_bytes()) else { return Ok(()) };
            let identity = Identity::Own { account, password: Secret::new(password.clone()) };
            let capabilities = if plain { "X AUTH=PLAIN SASL-IR" } else { "X" };
            let (name, got) = understood(Plan { identity, ..own(b"x") }, capabilities);
            prop_assert_eq!(name, user.into_bytes());
            prop_assert_eq!(got, password);
        }

        /// Noise that is legal, cut anywhere, changes nothing.
        #[test]
        fn untagged_noise_and_packet_borders_change_nothing(
            noise in proptest::collection::vec("\\* (OK|NO|ID|LIST|3 EXISTS)( [ -z]{0,30})?\r\n|\\* X \\{5\\}\r\nA OK\n\\)\r\n", 4),
            size in 1..80usize,
        ) {
            let turns = ["* OK hi\r\n", "#1 OK [CAPABILITY X AUTH=PLAIN] done\r\n", "+ \r\n", "#2 OK [CAPABILITY Y] in\r\n"];
            let mut login = BackendLogin::new(own(b"pw"), SEED).unwrap();
            let mut steps = Vec::new();
            for (at, turn) in turns.iter().enumerate() {
                let noise = if at == 0 { "" } else { noise[at].as_str() };
                let bytes = with_tags(&format!("{noise}{turn}"));
                for piece in bytes.as_bytes().chunks(size) {
                    login = login.receive(piece, &mut steps);
                }
            }
            let printed: Vec<String> = steps.into_iter().map(printed).collect();
            prop_assert_eq!(printed.last().map(String::as_str), Some("DONE Y | "));
            prop_assert_eq!(printed.len(), 4);
        }

        /// Whatever comes: no panic, one end at most, and no success without our tag.
        #[test]
        fn garbage_never_logs_in(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            lines in proptest::collection::vec("(\\* OK \\[CAPABILITY X( AUTH=PLAIN)?\\] hi|\\+ |\\* CAPABILITY A|[a-z0-9]{1,3} OK done|\\* BYE|\\* X \\{[0-9]{1,3}\\})\r\n", 0..8),
            size in 1..50usize,
        ) {
            let stream = [lines.concat().into_bytes(), bytes].concat();
            let mut login = BackendLogin::new(own(b"\xffpw"), SEED).unwrap();
            let mut steps = Vec::new();
            for piece in stream.chunks(size) {
                login = login.receive(piece, &mut steps);
            }
            let ends = steps.iter().filter(|step| matches!(step, Step::Failed(_) | Step::Done(_))).count();
            prop_assert!(ends <= 1);
            prop_assert!(!steps.iter().any(|step| matches!(step, Step::Done(_))));
        }
    }
}
