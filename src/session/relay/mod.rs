//! The session after login: commands are held until judged, responses pass at memory speed, and only we decide the state.
//!
//! Bytes in, bytes out ([`Output`]); the caller does the reading and writing. What it must never do: send a backend a
//! literal that it has not asked for, believe a client about IDLE, put an answer of ours into the middle of a response.

mod budget;
mod client;
mod flow;
mod guard;
mod inspected;
mod literals;
mod message;
mod options;
mod own;
pub(in crate::session) mod profile;
mod record;
mod restrict;
mod server;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::imap::capability::Allowed;
use crate::imap::capability::filtered;
use crate::imap::collect::Collector;
use crate::imap::literal::LiteralMode;
use crate::imap::mailbox::MailboxName;
use crate::imap::response::Scanner;
use crate::imap::verb::Verb;
use crate::policy::facts::Record;
use crate::session::inspect::Deed;
use crate::session::inspect::Inspector;
use crate::session::recorder::Begun;
use crate::session::recorder::CommandResult;
use crate::session::recorder::Recorded;
use crate::session::recorder::Recorder;
use crate::session::recorder::Recording;
use crate::types::EndReason;
use crate::types::Restrictions;

use guard::Guard;
use restrict::Restrict;

pub use budget::Budget;
pub use budget::Used;
pub use flow::Flow;
pub use flow::Output;
pub use options::Options;

/// What the client's side waits for.
#[derive(Debug, Clone, Copy)]
enum Awaits {
    /// A command, or more of one.
    Command,
    /// The backend's go-ahead for the next literal of the command in the collector, of which `at` bytes are sent; the
    /// literal that comes next has `literal` bytes.
    GoAhead { at: usize, literal: usize },
    /// The backend's go-ahead for a message.
    MessageGoAhead {
        mode: LiteralMode,
        size: u32,
        depth: usize,
    },
    /// More of a message that streams through.
    Message { left: u32, depth: usize },
    /// What follows a message in its command.
    Tail { depth: usize },
    /// The backend's word that IDLE has begun.
    IdleGoAhead,
    /// The client's DONE.
    Done,
    /// The end: LOGOUT is on its way.
    Logout,
}

/// A DONE that went to the backend, which may have ended IDLE by itself before it came: then the backend takes it for a
/// command without a verb, and says BAD to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LateDone {
    None,
    /// IDLE is not answered yet.
    Passed,
    /// IDLE is answered: of the DONE, or without it. Until another command is answered its own answer may come, once.
    MayBeAnswered,
}

/// A command on its way, or an answer of ours that waits its turn.
#[derive(Debug)]
enum InFlight {
    Command(Sent),
    Answer(Vec<u8>),
}

/// Room that a session keeps from one command to the next: bytes of a command, and commands on their way.
const KEPT: (usize, usize) = (128, 4);

/// A command that the backend has yet to answer.
#[derive(Debug)]
struct Sent {
    tag: SmallVec<[u8; 16]>,
    verb: Verb,
    /// What SELECT asked for, or where a message goes.
    mailbox: Option<MailboxName>,
    /// It goes on as EXAMINE.
    for_reading: bool,
    /// What it will have done once it is answered OK.
    deed: Deed,
    /// What is written down of it, where that is asked for.
    begun: Option<Box<Begun>>,
}

/// What the relay has counted; the caller reads it when a session ends or is listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commands sent to the backend.
    pub commands: u64,
    /// Commands answered by us: not IMAP, unknown, refused.
    pub refused: u64,
    /// Those of them that are IMAP, and not allowed.
    pub denied: u64,
    /// Messages that clients appended, begun.
    pub messages: u64,
    /// Commands that were not written down, since the last one that was.
    pub untold: u64,
}

/// One relayed session.
#[derive(Debug)]
pub struct Relay {
    options: Arc<Options>,
    collector: Collector,
    awaits: Awaits,
    guard: Guard,
    inspector: Option<Box<Inspector>>,
    recorder: Recorder,
    scanner: Scanner,
    in_flight: VecDeque<InFlight>,
    /// A `+` of ours that waits for the end of a response.
    go_ahead: bool,
    /// The backend ended IDLE by itself; the client's DONE may still come, and means nothing.
    stray_done: bool,
    late_done: LateDone,
    mailbox: Option<MailboxName>,
    said_bye: bool,
    logged_out: bool,
    bad_in_a_row: u32,
    counts: Counts,
}

impl Relay {
    /// A session in which both sides are ready and nothing is on its way.
    #[must_use]
    pub fn new(options: Arc<Options>) -> Self {
        Self {
            collector: Collector::new(options.command),
            scanner: Scanner::new(options.max_response_line),
            awaits: Awaits::Command,
            guard: Guard::default(),
            inspector: None,
            recorder: Recorder::new(Recording::None),
            in_flight: VecDeque::new(),
            go_ahead: false,
            stray_done: false,
            late_done: LateDone::None,
            mailbox: None,
            said_bye: false,
            logged_out: false,
            bad_in_a_row: 0,
            counts: Counts::default(),
            options,
        }
    }

    /// Restricts the session; `budget` is shared by all sessions of the app password.
    #[must_use]
    pub fn restricted(mut self, restrictions: &Restrictions, budget: Option<Arc<Budget>>) -> Self {
        self.guard.restrict = Restrict::new(restrictions, budget).map(Box::new);
        if self
            .guard
            .restrict
            .as_ref()
            .is_some_and(|restrict| restrict.hides_mailboxes())
        {
            self.scanner.watch_names();
        }
        self
    }

    /// The same session, judged by rules.
    #[must_use]
    pub fn inspected(self, inspector: Inspector) -> Self {
        Self {
            inspector: Some(Box::new(inspector)),
            ..self
        }
    }

    /// The same session, whose commands are written down.
    #[must_use]
    pub fn recorded(self, recording: Recording) -> Self {
        Self {
            recorder: Recorder::new(recording),
            ..self
        }
    }

    /// Takes the commands that were written down since the last time.
    pub fn take_recorded(&mut self) -> Vec<Recorded> {
        self.recorder.take()
    }

    /// Says what time it is, in milliseconds of a clock that does not step back, the same for all sessions; before each
    /// step.
    pub fn tell_time(&mut self, now_ms: u64) {
        self.guard.now_ms = now_ms;
        self.recorder.now_ms = now_ms;
        if let Some(inspector) = &mut self.inspector {
            inspector.tell_time(now_ms);
        }
    }

    /// Whoever judges the session by rules.
    pub fn inspector(&mut self) -> Option<&mut Inspector> {
        self.inspector.as_deref_mut()
    }

    /// The session is over: rules about whole sessions are judged. Says what they know of it, where commands are written down.
    pub fn ended(&mut self, reason: EndReason) -> Option<Record> {
        let tally = self.scanner.tally();
        for entry in std::mem::take(&mut self.in_flight) {
            if let InFlight::Command(Sent {
                begun: Some(begun), ..
            }) = entry
            {
                self.recorder
                    .over(*begun, CommandResult::Unanswered, None, &tally);
            }
        }
        let inspector = self.inspector.as_mut()?;
        inspector.write(self.recorder.recording == Recording::All);
        inspector.ended(reason, &tally);
        inspector.take_written()
    }

    /// The tagged answer that ends the login: the backend's capabilities, filtered, ride on it.
    #[must_use]
    pub fn welcome(&self, tag: &[u8], capabilities: &[u8]) -> Vec<u8> {
        let shown = filtered(capabilities, self.shown());
        [tag, b" OK [CAPABILITY ", &shown, b"] Logged in\r\n"].concat()
    }

    /// The capabilities that may be shown.
    fn shown(&self) -> Allowed<'_> {
        let restrict = self.guard.restrict.as_ref();
        Allowed {
            extra: &self.options.extra_capabilities,
            labels: restrict.is_none_or(|restrict| !restrict.hides_mailboxes()),
        }
    }

    /// The selected mailbox, as of the last answer.
    #[must_use]
    pub fn mailbox(&self) -> Option<&MailboxName> {
        self.mailbox.as_ref()
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            untold: self.recorder.untold(),
            ..self.counts
        }
    }

    /// True while the client is in IDLE.
    #[must_use]
    pub fn is_idling(&self) -> bool {
        matches!(self.awaits, Awaits::Done)
    }

    /// True where the session can end without losing an answer: no command is on its way but IDLE, none half read.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let idle = matches!(self.awaits, Awaits::Done);
        let between = matches!(self.awaits, Awaits::Command) && self.collector.is_empty();
        let answered = self.in_flight.len() == usize::from(idle);
        (idle || between) && answered && self.scanner.at_boundary()
    }

    /// True while the backend owes an answer that the client may be waiting for.
    #[must_use]
    pub fn is_owed_answers(&self) -> bool {
        let idle = matches!(self.awaits, Awaits::Done);
        self.in_flight.len() > usize::from(idle)
    }

    /// True where LOGOUT has been answered: the session is over.
    #[must_use]
    pub fn is_logged_out(&self) -> bool {
        self.logged_out
    }

    /// Why the session ends, given that the backend closed its side.
    #[must_use]
    pub fn backend_closed(&self) -> EndReason {
        if self.logged_out || matches!(self.awaits, Awaits::Logout) {
            EndReason::Logout
        } else if self.said_bye {
            EndReason::BackendBye
        } else {
            EndReason::BackendClosed
        }
    }

    /// A last word to the client, where one may stand: between responses, once.
    pub fn farewell(&mut self, text: &str, output: &mut Output) {
        if self.scanner.at_boundary() && !self.said_bye && !self.logged_out {
            self.said_bye = true;
            output.client.put(b"* BYE ");
            output.client.put(text.as_bytes());
            output.client.put(b"\r\n");
        }
    }

    /// Gives back what is not needed while nothing moves. What is remembered of commands, and room for the next one, stays
    /// until the client is in IDLE.
    pub fn release(&mut self) {
        let (bytes, commands) = if self.is_idling() {
            self.forget();
            self.in_flight.shrink_to_fit();
            (0, 0)
        } else {
            KEPT
        };
        self.collector.release(bytes);
        if let Some(inspector) = &mut self.inspector {
            inspector.release();
        }
        if self.in_flight.is_empty() && self.in_flight.capacity() > commands {
            self.in_flight = VecDeque::new();
        }
    }

    /// Forgets what is remembered of commands: they are read and judged from the beginning again.
    pub fn forget(&mut self) {
        if let Some(inspector) = &mut self.inspector {
            inspector.forget();
        }
    }

    /// True where something of ours waits for the end of a response.
    fn has_own(&self) -> bool {
        self.go_ahead || matches!(self.in_flight.front(), Some(InFlight::Answer(_)))
    }

    /// Writes what waits for the end of a response, if none is under way: a go-ahead, and answers whose turn it is.
    fn flush_own(&mut self, output: &mut Output) {
        if !self.scanner.at_boundary() {
            return;
        }
        if std::mem::take(&mut self.go_ahead) {
            output.client.put(b"+ OK\r\n");
        }
        while let Some(InFlight::Answer(answer)) = self.in_flight.front() {
            output.client.put(answer);
            self.in_flight.pop_front();
        }
    }
}
