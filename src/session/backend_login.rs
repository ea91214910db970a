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
    #[must_use]
    pub fn receive(mut self, bytes: &[u8], steps: &mut Vec<Step>) -> Self {
        if matches!(self.state, State::Over) {
            return self;
        }
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
            self.state = ended(next, steps);
        }
        self
    }

    /// TLS is up: all that was heard in clear is forgotten.
    #[must_use]
    pub fn tls_started(mut self, steps: &mut Vec<Step>) -> Self {
        if matches!(self.state, State::Handshake) {
            self.dialog.forget_clear();
            let next = self.dialog.send("CAPABILITY", steps).map(|()| State::Capability);
            self.state = ended(next, steps);
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

/// A failure ends it.
fn ended(next: Result<State, LoginFailure>, steps: &mut Vec<Step>) -> State {
    next.unwrap_or_else(|failure| {
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
            Self::Id { capabilities } => on_id(capabilities, event, dialog, steps),
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
    event: Event,
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
