//! What a connection before login waits for, one struct per state, and what each does with the next command.

use zeroize::Zeroizing;

use crate::imap::codec;
use crate::imap::codec::Command;
use crate::imap::codec::Verb;
use crate::imap::literal::Announcement;
use crate::imap::literal::LiteralMode;
use crate::sasl;
use crate::sasl::Exchange;
use crate::sasl::Progress;
use crate::sasl::Response;
use crate::sasl::SaslError;
use crate::session::preauth::Channel;
use crate::session::preauth::ClientId;
use crate::session::preauth::Step;
use crate::session::preauth::answers;
use crate::session::preauth::answers::Tag;
use crate::session::preauth::answers::ask;
use crate::session::preauth::answers::say;
use crate::session::preauth::foreign::is_foreign;
use crate::session::preauth::input::Read;
use crate::session::preauth::input::TOO_MUCH;
use crate::session::preauth::shared::Shared;
use crate::types::Credentials;
use crate::types::EndReason;
use crate::types::Mechanism;
use crate::types::Secret;
use crate::types::UserName;

/// Most bytes kept behind a login while its verdict is awaited: one TLS record.
const MAX_UNREAD: usize = 16 * 1024;

/// What is waited for.
pub(super) enum State {
    WaitingForCommand(WaitingForCommand),
    Discarding(Discarding),
    WaitingForSaslResponse(WaitingForSaslResponse),
    Verifying(Verifying),
    WaitingForTls(WaitingForTls),
    Ended(Ended),
}

/// What reading came to.
pub(super) enum Turn {
    /// Go on in this state.
    Next(State),
    /// Nothing more can be done in this state without the client or the caller.
    Wait(State),
}

/// A command, or the rest of one.
pub(super) struct WaitingForCommand;

/// The end of a command that was refused at a literal: nothing of it is kept.
pub(super) struct Discarding {
    pub(super) tag: Tag,
    pub(super) answer: &'static str,
}

/// The answer to a challenge.
pub(super) struct WaitingForSaslResponse {
    pub(super) tag: Tag,
    pub(super) mechanism: Mechanism,
    pub(super) exchange: Box<dyn Exchange>,
}

/// The verdict on a login. What the client sent behind it stays unread.
pub(super) struct Verifying {
    pub(super) tag: Tag,
    pub(super) mechanism: Mechanism,
    pub(super) unread: Zeroizing<Vec<u8>>,
}

/// The hand-shake. What the client sent in the clear behind STARTTLS is dropped.
pub(super) struct WaitingForTls;

/// Nothing: the connection is to be closed.
pub(super) struct Ended;

impl State {
    /// Goes on with `rest`, up to the next decision.
    pub(super) fn read(self, shared: &mut Shared, rest: &mut &[u8], steps: &mut Vec<Step>) -> Turn {
        match self {
            Self::WaitingForCommand(state) => state.read(shared, rest, steps),
            Self::Discarding(state) => state.read(shared, rest, steps),
            Self::WaitingForSaslResponse(state) => state.read(shared, rest, steps),
            Self::Verifying(state) => Turn::Wait(state.hold(shared, rest, steps)),
            Self::WaitingForTls(_) | Self::Ended(_) => Turn::Wait(self),
        }
    }
}

impl WaitingForCommand {
    fn read(self, shared: &mut Shared, rest: &mut &[u8], steps: &mut Vec<Step>) -> Turn {
        if is_foreign(shared.input.bytes(), rest, shared.commands == 0) {
            return shared.not_imap(steps);
        }
        match shared.input.read(rest) {
            Read::More => Turn::Wait(State::WaitingForCommand(self)),
            Read::Announced(announcement) => self.announced(shared, announcement, steps),
            Read::Complete => self.complete(shared, steps),
            Read::Broken(reason, text) => Turn::Next(shared.end(steps, reason, text)),
        }
    }

    /// A literal is collected only where the command has one and it fits; nobody is asked for a password in the clear.
    fn announced(self, shared: &mut Shared, announcement: Announcement, steps: &mut Vec<Step>) -> Turn {
        let Ok(head) = codec::head(shared.input.bytes()) else {
            if shared.commands == 0 {
                return shared.not_imap(steps);
            }
            return shared.discard(announcement, Tag::NONE, answers::NOT_A_COMMAND, steps);
        };
        let tag = Tag::of(head.tag);
        if !shared.allows(head.verb) {
            return shared.discard(announcement, tag, answers::PRIVACY_REQUIRED, steps);
        }
        if announcement.binary || !matches!(head.verb, Verb::Login | Verb::Id) {
            return shared.discard(announcement, tag, answers::NO_LITERAL, steps);
        }
        if shared.input.fits(announcement).is_err() {
            return shared.discard(announcement, tag, answers::TOO_BIG, steps);
        }
        shared.input.keep();
        if announcement.mode == LiteralMode::Sync {
            ask(steps, "OK");
        }
        Turn::Next(State::WaitingForCommand(self))
    }

    fn complete(self, shared: &mut Shared, steps: &mut Vec<Step>) -> Turn {
        let Ok(head) = codec::head(shared.input.bytes()) else {
            if shared.commands == 0 {
                return shared.not_imap(steps);
            }
            shared.input.reset();
            return shared.bad(&Tag::NONE, answers::NOT_A_COMMAND, steps);
        };
        let tag = Tag::of(head.tag);
        if shared.commands >= shared.options.commands {
            let state = shared.end(steps, EndReason::ClientLimit, answers::TOO_MANY_COMMANDS);
            return Turn::Next(state);
        }
        shared.commands += 1;
        // Judged before it is decoded: in the clear, arguments of a login are not even looked at.
        if !shared.allows(head.verb) {
            shared.input.reset();
            return shared.bad(&tag, answers::PRIVACY_REQUIRED, steps);
        }
        let command = codec::decode(shared.input.bytes());
        shared.input.reset();
        match command {
            Ok(command) => self.run(shared, tag, command, steps),
            Err(_) => shared.bad(&tag, answers::BAD_ARGUMENTS, steps),
        }
    }

    fn run(self, shared: &mut Shared, tag: Tag, command: Command, steps: &mut Vec<Step>) -> Turn {
        match command {
            Command::Capability => {
                let list = shared.options.capabilities(shared.channel);
                say(steps, &Tag::NONE, &format!("CAPABILITY {list}"));
                say(steps, &tag, answers::CAPABILITY_DONE);
            }
            Command::Noop => say(steps, &tag, answers::NOOP_DONE),
            Command::Id(fields) => {
                shared.id = Some(ClientId::new(fields));
                say(steps, &Tag::NONE, answers::OUR_ID);
                say(steps, &tag, answers::ID_DONE);
            }
            Command::Logout => {
                say(steps, &Tag::NONE, answers::BYE);
                say(steps, &tag, answers::LOGOUT_DONE);
                steps.push(Step::End(EndReason::Logout));
                return Turn::Next(State::Ended(Ended));
            }
            Command::StartTls if shared.channel == Channel::PlainBeforeStartTls => {
                say(steps, &tag, answers::START_TLS);
                steps.push(Step::StartTls);
                return Turn::Next(State::WaitingForTls(WaitingForTls));
            }
            Command::StartTls => return shared.bad(&tag, answers::NO_TLS, steps),
            Command::Login { user, password } => {
                let credentials = login(&user, password);
                return shared.authenticate(tag, Mechanism::Login, credentials.map(Progress::Done), steps);
            }
            Command::Authenticate { mechanism, initial } => {
                let found = sasl::find(&mechanism).filter(|found| shared.options.mechanisms.contains(found));
                let Some(mechanism) = found else {
                    return shared.bad(&tag, answers::NO_MECHANISM, steps);
                };
                let progress = sasl::start(mechanism, initial.as_ref().map(Secret::expose));
                return shared.authenticate(tag, mechanism, progress, steps);
            }
            _ => return shared.bad(&tag, answers::LOG_IN_FIRST, steps),
        }
        Turn::Next(State::WaitingForCommand(self))
    }
}

/// The arguments of LOGIN as credentials.
fn login(user: &[u8], secret: Secret) -> Result<Credentials, SaslError> {
    Ok(Credentials {
        user: UserName::parse(user)?,
        secret,
        mechanism: Mechanism::Login,
    })
}

impl Discarding {
    fn read(self, shared: &mut Shared, rest: &mut &[u8], steps: &mut Vec<Step>) -> Turn {
        match shared.input.read(rest) {
            Read::More => Turn::Wait(State::Discarding(self)),
            Read::Complete => {
                shared.input.reset();
                shared.commands += 1;
                shared.bad(&self.tag, self.answer, steps)
            }
            Read::Announced(announcement) => shared.discard(announcement, self.tag, self.answer, steps),
            Read::Broken(reason, text) => Turn::Next(shared.end(steps, reason, text)),
        }
    }
}

impl WaitingForSaslResponse {
    fn read(self, shared: &mut Shared, rest: &mut &[u8], steps: &mut Vec<Step>) -> Turn {
        match shared.input.read(rest) {
            Read::More => Turn::Wait(State::WaitingForSaslResponse(self)),
            Read::Announced(announcement) => {
                shared.discard(announcement, self.tag, answers::BAD_RESPONSE, steps)
            }
            Read::Complete => {
                let line = shared.input.bytes();
                let response = Response::decode(line.strip_suffix(b"\r\n").unwrap_or(line));
                shared.input.reset();
                let progress = response.and_then(|response| self.exchange.respond(response));
                shared.authenticate(self.tag, self.mechanism, progress, steps)
            }
            Read::Broken(reason, text) => Turn::Next(shared.end(steps, reason, text)),
        }
    }
}

impl Verifying {
    /// Keeps what comes too early. A caller that minds [`crate::session::preauth::PreAuth::wants_input`] never reaches the
    /// bound.
    fn hold(mut self, shared: &mut Shared, rest: &mut &[u8], steps: &mut Vec<Step>) -> State {
        let needed = self.unread.len() + rest.len();
        if needed > MAX_UNREAD {
            return shared.end(steps, EndReason::ClientLimit, TOO_MUCH);
        }
        if needed > self.unread.capacity() {
            // A login may be among it: growing in place would leave copies behind.
            let mut larger = Zeroizing::new(Vec::with_capacity(needed));
            larger.extend_from_slice(&self.unread);
            self.unread = larger;
        }
        self.unread.extend_from_slice(rest);
        State::Verifying(self)
    }
}
