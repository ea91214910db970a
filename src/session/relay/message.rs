//! Messages of the client: they stream through, and what follows them in their command is judged like its head.

use std::ops::Range;

use super::Awaits;
use super::InFlight;
use super::Output;
use super::Relay;
use super::record::refused;
use crate::imap::command::read_tail;
use crate::imap::facts::date_behind;
use crate::imap::literal::Announcement;
use crate::session::inspect::Objection;
use crate::session::recorder::Recording;
use crate::types::CommandRefusal;
use crate::types::EndReason;

impl Relay {
    pub(super) fn pass_message(&mut self, range: Range<usize>, left: u32, depth: usize, output: &mut Output) {
        let left = left - u32::try_from(range.len()).unwrap_or(left);
        output.backend.pass(range);
        self.awaits = if left == 0 {
            Awaits::Tail { depth }
        } else {
            Awaits::Message { left, depth }
        };
    }

    /// What follows a message: the end of the command, or another message. The backend is in the middle of the command, so
    /// what makes no sense cannot be answered any more: the session ends.
    pub(super) fn tail(&mut self, depth: usize, output: &mut Output) -> Result<(), EndReason> {
        match read_tail(self.collector.bytes(), depth) {
            Ok((Some(literal), _)) if literal.size > self.options.max_message => {
                self.refused_inside(CommandRefusal::TooLarge);
                self.farewell("Message is too large", output);
                Err(EndReason::ClientLimit)
            }
            Ok((further, _)) => {
                if let Some(literal) = further {
                    self.another_message(literal, depth)?;
                }
                self.send_segment(0, 0, output);
                Ok(())
            }
            Err(_) => {
                self.refused_inside(CommandRefusal::Invalid);
                self.farewell("Invalid end of a command", output);
                Err(EndReason::ClientProtocol)
            }
        }
    }

    /// The rest of a command does not go on: the command is told as refused, since the backend never gets all of it.
    fn refused_inside(&mut self, why: CommandRefusal) {
        let Some(InFlight::Command(sent)) = self.in_flight.pop_back() else {
            return;
        };
        match sent.begun {
            Some(begun) => self.recorder.refused(*begun, why),
            // It was left out when it began, and counted.
            None if self.recorder.recording == Recording::All => {}
            None => refused(&mut self.recorder, None, Some((sent.verb, sent.mailbox)), why),
        }
    }

    /// One command may append many messages (RFC 3502): each is judged. The backend is in the middle of the command: who may
    /// not go on is cut off.
    fn another_message(&mut self, literal: Announcement, depth: usize) -> Result<(), EndReason> {
        self.counts.messages += 1;
        let tally = self.scanner.tally();
        let (Some(inspector), Some(InFlight::Command(sent))) =
            (&mut self.inspector, self.in_flight.back_mut())
        else {
            return Ok(());
        };
        let date = date_behind(self.collector.bytes(), depth);
        let judged = inspector.another_message(&mut sent.deed, (literal.size, date), &tally);
        judged.map_err(|objection| {
            self.refused_inside(match objection {
                Objection::Deny(why, _) => why,
                Objection::End => CommandRefusal::PolicyDenied,
            });
            EndReason::PolicyDenied
        })
    }
}
