//! From the client: commands are collected, judged when they run, and handed over literal by literal.

use std::ops::Range;

use memchr::memchr;
use smallvec::SmallVec;

use super::Awaits;
use super::InFlight;
use super::LateDone;
use super::Output;
use super::Relay;
use super::Sent;
use super::guard::Verdict;
use super::inspected::inspect;
use super::own::Own;
use super::own::no_command;
use super::own::refusal;
use super::record::begin;
use super::record::begun;
use super::record::refused;
use super::record::what;
use crate::imap::collect::FrameError;
use crate::imap::collect::Progress;
use crate::imap::command::Awaited;
use crate::imap::command::Command;
use crate::imap::command::read_tail;
use crate::imap::literal::announcement_of;
use crate::imap::verb::Kind;
use crate::imap::verb::Verb;
use crate::session::inspect::Deed;
use crate::session::inspect::Objection;
use crate::types::CommandRefusal;
use crate::types::EndReason;

impl Relay {
    /// Takes bytes from the client and says how many: fewer than all where the backend has to answer first. Call it again
    /// with the rest after the backend has spoken.
    ///
    /// # Errors
    /// The reason for which the session has to end; what is in `output` is still to be written.
    pub fn from_client(&mut self, input: &[u8], output: &mut Output) -> Result<usize, EndReason> {
        let mut taken = 0;
        while let Some(rest) = input.get(taken..).filter(|rest| !rest.is_empty()) {
            let used = match self.awaits {
                Awaits::Command if self.in_flight.len() >= self.options.max_in_flight => break,
                // What follows is judged in the mailbox that will be open then.
                Awaits::Command if self.awaits_mailbox() => break,
                Awaits::Command | Awaits::Tail { .. } | Awaits::Done => self.collect(rest, output)?,
                Awaits::Message { left, depth } => {
                    let used = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.pass_message(taken..taken + used, left, depth, output);
                    used
                }
                Awaits::GoAhead { .. }
                | Awaits::MessageGoAhead { .. }
                | Awaits::IdleGoAhead
                | Awaits::Logout => break,
            };
            taken += used;
        }
        Ok(taken)
    }

    /// True while it is not known which mailbox will be open, and somebody judges by it.
    fn awaits_mailbox(&self) -> bool {
        let sent = |entry: &InFlight| match entry {
            InFlight::Command(sent) => Some(sent.verb.kind()),
            InFlight::Answer(_) => None,
        };
        // Nothing is sent behind a command that moves to another mailbox until it is answered: if there is one, it is the last.
        let last = || self.in_flight.iter().rev().find_map(sent);
        self.inspector.is_some() && matches!(last(), Some(Kind::Select | Kind::Unselect))
    }

    fn collect(&mut self, rest: &[u8], output: &mut Output) -> Result<usize, EndReason> {
        let (used, progress) = self.collector.feed(rest);
        match (progress, self.awaits) {
            (Progress::More, _) => {}
            (Progress::Broken(error), _) => return Err(self.broken(error, output)),
            (Progress::Announced(literal), Awaits::Command) => self.announced(literal, output)?,
            (Progress::Complete, Awaits::Command) => self.complete(output)?,
            (Progress::Announced(_) | Progress::Complete, Awaits::Tail { depth }) => {
                self.tail(depth, output)?;
            }
            (Progress::Complete, Awaits::Done) => self.done(output)?,
            (Progress::Announced(_) | Progress::Complete, _) => {
                self.farewell("Only DONE ends IDLE", output);
                return Err(EndReason::ClientProtocol);
            }
        }
        Ok(used)
    }

    /// A command is complete: it is judged now, when it runs, not when it came.
    fn complete(&mut self, output: &mut Output) -> Result<(), EndReason> {
        if self.collector.is_poisoned() {
            self.collector.reset();
            return Ok(());
        }
        let bytes = self.collector.bytes();
        let stray_done = std::mem::take(&mut self.stray_done);
        if stray_done && is_done(bytes) {
            self.collector.reset();
            return Ok(());
        }
        let (read, recalled) = match self.recall(bytes) {
            Some((command, recalled)) => (Ok(command), Some(recalled)),
            None => (Command::read(bytes, &self.options.extra_verbs), None),
        };
        let answer = match read {
            Err(error) => no_command(bytes, &error.to_string()),
            Ok(command) => match self.guard.judge(&command) {
                Verdict::Refuse(why, text) => refusal(&command, why, &text),
                passes => {
                    let admitted = begin(&mut self.recorder, self.inspector.as_deref_mut());
                    let inspector = self.inspector.as_deref_mut();
                    match inspect(inspector, (&command, recalled), bytes, &mut self.scanner) {
                        Ok(deed) => {
                            let (mut sent, word) = (sent(&command, deed), command.word.clone());
                            let inspector = self.inspector.as_deref_mut();
                            sent.begun = begun(&mut self.recorder, inspector, &command, admitted);
                            self.substitute(&passes, word, &mut sent);
                            self.hand_over(sent, output);
                            return Ok(());
                        }
                        Err(Objection::Deny(why, text)) => refusal(&command, why, &text),
                        Err(Objection::End) => {
                            let (what, why) = (what(&command), CommandRefusal::PolicyDenied);
                            refused(&mut self.recorder, self.inspector.as_deref_mut(), what, why);
                            return Err(EndReason::PolicyDenied);
                        }
                    }
                }
            },
        };
        self.collector.reset();
        self.answer(answer, output)
    }

    /// Puts another verb in the command's place where it may only go on so.
    fn substitute(&mut self, passes: &Verdict, word: Range<usize>, sent: &mut Sent) {
        let held = self
            .inspector
            .as_ref()
            .is_some_and(|inspector| inspector.is_read_only());
        match passes {
            Verdict::PassAs(verb) => self.collector.substitute(word, verb),
            // A mailbox that is opened while the session may change nothing is opened for reading.
            _ if held && sent.verb == Verb::Select => {
                sent.for_reading = true;
                self.collector.substitute(word, b"EXAMINE");
            }
            _ => {}
        }
    }

    /// Starts to send the command in the collector: up to its first literal, or all of it.
    pub(super) fn hand_over(&mut self, sent: Sent, output: &mut Output) {
        let verb = sent.verb;
        if matches!(verb.kind(), Kind::Select) {
            // The new mailbox's size comes before its tagged OK.
            self.scanner.opening();
        }
        self.counts.commands += 1;
        self.bad_in_a_row = 0;
        self.in_flight.push_back(InFlight::Command(sent));
        self.send_segment(0, 0, output);
        if matches!(self.awaits, Awaits::Command) {
            self.awaits = match verb.kind() {
                Kind::Idle => Awaits::IdleGoAhead,
                Kind::Logout => Awaits::Logout,
                _ => Awaits::Command,
            };
        }
    }

    /// Sends the next segment of the command: the literal that was asked for, and the line behind it. `{n+}` goes out as
    /// `{n}`: a backend that rejects a command must never find literal bytes behind it and take them for commands.
    pub(super) fn send_segment(&mut self, at: usize, literal: usize, output: &mut Output) {
        let bytes = self.collector.bytes();
        if self.collector.is_one_line() {
            output.backend.put(bytes);
            self.collector.reset();
            self.awaits = Awaits::Command;
            return;
        }
        let line_start = at.saturating_add(literal);
        let line = bytes.get(line_start..).unwrap_or_default();
        let line_len = memchr(b'\n', line).map_or(line.len(), |lf| lf + 1);
        let line = line.get(..line_len).unwrap_or_default();
        output.backend.put(bytes.get(at..line_start).unwrap_or_default());
        let announcement = announcement_of(line).ok().flatten();
        match (announcement, line.strip_suffix(b"+}\r\n")) {
            (Some(_), Some(head)) => {
                output.backend.put(head);
                output.backend.put(b"}\r\n");
            }
            _ => output.backend.put(line),
        }
        let sent = line_start + line_len;
        self.awaits = match announcement {
            Some(message) if self.collector.is_waiting() && sent == bytes.len() => Awaits::MessageGoAhead {
                mode: message.mode,
                size: message.size,
                depth: self.depth_at_end(),
            },
            Some(argument) => Awaits::GoAhead {
                at: sent,
                literal: usize::try_from(argument.size).unwrap_or(usize::MAX),
            },
            None => {
                self.collector.reset();
                Awaits::Command
            }
        };
    }

    /// How many parentheses stand open where the collected bytes end.
    fn depth_at_end(&self) -> usize {
        let before = match self.awaits {
            Awaits::Tail { depth } => {
                return read_tail(self.collector.bytes(), depth).map_or(0, |(_, depth)| depth);
            }
            _ => Command::read(self.collector.bytes(), &self.options.extra_verbs),
        };
        before.map_or(0, |command| command.depth)
    }

    /// In IDLE only DONE goes on.
    fn done(&mut self, output: &mut Output) -> Result<(), EndReason> {
        if !is_done(self.collector.bytes()) {
            self.farewell("Only DONE ends IDLE", output);
            return Err(EndReason::ClientProtocol);
        }
        output.backend.put(self.collector.bytes());
        self.collector.reset();
        self.awaits = Awaits::Command;
        self.late_done = LateDone::Passed;
        Ok(())
    }

    /// Answers a command ourselves, in its turn.
    pub(super) fn answer(&mut self, answer: Own, output: &mut Output) -> Result<(), EndReason> {
        self.counts.refused += 1;
        let inspector = self.inspector.as_deref_mut();
        refused(&mut self.recorder, inspector, answer.what, answer.why);
        if answer.why.answer() == "NO" {
            // What is not allowed is no sign of a client that does not speak IMAP: it may well try again.
            self.counts.denied += 1;
        } else {
            self.bad_in_a_row += 1;
            if let Some(inspector) = &mut self.inspector {
                inspector.refused();
            }
        }
        self.in_flight.push_back(InFlight::Answer(answer.bytes));
        self.flush_own(output);
        if self.bad_in_a_row > self.options.max_bad_commands {
            self.farewell("Too many bad commands", output);
            return Err(EndReason::TooManyBadCommands);
        }
        Ok(())
    }

    /// A command that cannot be framed: nothing after it can be trusted.
    fn broken(&mut self, error: FrameError, output: &mut Output) -> EndReason {
        self.farewell(&error.to_string(), output);
        match error {
            FrameError::BareCr | FrameError::BareLf | FrameError::Nul => EndReason::ClientProtocol,
            FrameError::LineTooLong
            | FrameError::LiteralTooLarge
            | FrameError::LiteralsTooLarge
            | FrameError::TooManyLiterals
            | FrameError::CommandTooLong => EndReason::ClientLimit,
        }
    }
}

fn is_done(line: &[u8]) -> bool {
    line.eq_ignore_ascii_case(b"DONE\r\n")
}

/// What to remember of a command until it is answered.
pub(super) fn sent(command: &Command<'_>, deed: Deed) -> Sent {
    let selects = matches!(command.verb, Verb::Select | Verb::Examine);
    let appends = matches!(command.awaits, Some(Awaited::Message(_)));
    Sent {
        tag: SmallVec::from_slice(command.tag),
        verb: command.verb,
        mailbox: command.mailbox.clone().filter(|_| selects || appends),
        for_reading: command.verb == Verb::Examine,
        deed,
        begun: None,
    }
}
