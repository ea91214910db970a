//! Literals that clients announce: arguments are kept, messages handed over, what makes no sense is thrown away unread.

use super::Awaits;
use super::Output;
use super::Relay;
use super::Sent;
use super::client::sent;
use super::guard::Verdict;
use super::inspected::inspect;
use super::own::Own;
use super::own::no_command;
use super::own::refusal;
use super::record::begin;
use super::record::begun;
use super::record::refused;
use super::record::what;
use crate::imap::collect::Progress;
use crate::imap::command::Awaited;
use crate::imap::command::Command;
use crate::imap::command::has_no_message;
use crate::imap::lexer::ends_in_announcement;
use crate::imap::literal::Announcement;
use crate::imap::literal::LiteralMode;
use crate::session::inspect::Objection;
use crate::types::CommandRefusal;
use crate::types::EndReason;

/// What becomes of a command in which a literal is announced.
enum Becomes {
    /// The literal is an argument, and kept.
    Kept,
    /// The literal is a message: the command goes on.
    Sent(Sent),
    /// The command is answered by us.
    Refused(Own),
}

impl Relay {
    /// A literal is announced: the command so far must make sense, or nothing of it goes on.
    pub(super) fn announced(&mut self, literal: Announcement, output: &mut Output) -> Result<(), EndReason> {
        let becomes = if self.needs_no_look(literal) {
            Becomes::Kept
        } else {
            self.look(literal)?
        };
        match becomes {
            Becomes::Kept => {
                self.collector.keep();
                self.go_ahead = literal.mode == LiteralMode::Sync;
                self.flush_own(output);
                Ok(())
            }
            Becomes::Sent(sent) => {
                self.counts.messages += 1;
                self.hand_over(sent, output);
                Ok(())
            }
            Becomes::Refused(answer) => self.refuse_literal(literal, answer, output),
        }
    }

    /// True for a further literal of a command that is read as a whole before any of it goes on. Up to its first one it made
    /// sense, and who reads all of it again at each takes time beyond its length: only the line is read. A literal8 is looked at
    /// wherever it stands: it makes sense in few places, and once its bytes are there it looks like any other.
    fn needs_no_look(&self, literal: Announcement) -> bool {
        !literal.binary
            && self.collector.has_literals()
            && self.collector.fits(literal).is_ok()
            && has_no_message(self.collector.bytes(), &self.options.extra_verbs)
            && ends_in_announcement(self.collector.current_line())
    }

    fn look(&mut self, literal: Announcement) -> Result<Becomes, EndReason> {
        let bytes = self.collector.bytes();
        let command = match Command::read(bytes, &self.options.extra_verbs) {
            Ok(command) => command,
            Err(error) => return Ok(Becomes::Refused(no_command(bytes, &error.to_string()))),
        };
        match self.guard.judge(&command) {
            // What goes on under another verb has no message in it: it is judged again when it is complete.
            Verdict::Pass | Verdict::PassAs(_) => {}
            Verdict::Refuse(why, text) => return Ok(Becomes::Refused(refusal(&command, why, &text))),
        }
        if !matches!(command.awaits, Some(Awaited::Message(_))) {
            return Ok(match self.collector.fits(literal) {
                Ok(()) => Becomes::Kept,
                Err(error) => {
                    Becomes::Refused(refusal(&command, CommandRefusal::Invalid, &error.to_string()))
                }
            });
        }
        if literal.size > self.options.max_message {
            let text = "[TOOBIG] Message is too large";
            return Ok(Becomes::Refused(refusal(
                &command,
                CommandRefusal::TooLarge,
                text,
            )));
        }
        let admitted = begin(&mut self.recorder, self.inspector.as_deref_mut());
        let inspector = self.inspector.as_deref_mut();
        match inspect(inspector, (&command, None), bytes, &mut self.scanner) {
            Ok(deed) => {
                let mut sent = sent(&command, deed);
                let inspector = self.inspector.as_deref_mut();
                sent.begun = begun(&mut self.recorder, inspector, &command, admitted);
                Ok(Becomes::Sent(sent))
            }
            Err(Objection::Deny(why, text)) => Ok(Becomes::Refused(refusal(&command, why, &text))),
            Err(Objection::End) => {
                let (what, why) = (what(&command), CommandRefusal::PolicyDenied);
                refused(&mut self.recorder, self.inspector.as_deref_mut(), what, why);
                Err(EndReason::PolicyDenied)
            }
        }
    }

    /// Answers a command before its literal. A client that does not wait sends the literal all the same: it is thrown away,
    /// up to the size of a message.
    fn refuse_literal(
        &mut self,
        literal: Announcement,
        answer: Own,
        output: &mut Output,
    ) -> Result<(), EndReason> {
        self.answer(answer, output)?;
        if literal.mode == LiteralMode::NonSync && literal.size > self.options.max_message {
            self.farewell("Literal is too large", output);
            return Err(EndReason::ClientLimit);
        }
        self.discard();
        Ok(())
    }

    /// Throws away what the collector was asked to decide about.
    pub(super) fn discard(&mut self) {
        self.collector.discard();
        self.awaits = Awaits::Command;
        // A client that waits for its go-ahead sends nothing more of this command.
        if let (_, Progress::Complete) = self.collector.feed(&[]) {
            self.collector.reset();
        }
    }
}
