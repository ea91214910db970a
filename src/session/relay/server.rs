//! From the backend: data passes as it is; status lines, tagged answers and `+` move the session's state.

use super::Awaits;
use super::InFlight;
use super::LateDone;
use super::Output;
use super::Relay;
use super::Sent;
use super::profile;
use crate::imap::capability::filtered;
use crate::imap::capability::filtered_code;
use crate::imap::literal::LiteralMode;
use crate::imap::mailbox::MailboxName;
use crate::imap::response::Item;
use crate::imap::response::ResponseError;
use crate::imap::verb::Kind;
use crate::session::inspect::Deed;
use crate::session::recorder::CommandResult;
use crate::types::EndReason;

/// What a line means for its bytes.
enum Fate {
    /// It passes as it is.
    Pass,
    /// It is between the backend and us.
    Swallow,
    /// It passes changed.
    Replace(Vec<u8>),
}

/// The word of a status response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Ok,
    No,
    Bad,
}

impl Relay {
    /// Takes all bytes from the backend.
    ///
    /// # Errors
    /// The reason for which the session has to end; what is in `output` is still to be written.
    pub fn from_backend(&mut self, input: &[u8], output: &mut Output) -> Result<(), EndReason> {
        let mut taken = 0;
        while let Some(rest) = input.get(taken..).filter(|rest| !rest.is_empty()) {
            let item = if self.has_own() {
                self.scanner.next_to_boundary(rest)
            } else {
                self.scanner.next(rest)
            };
            match item {
                Item::Data(used) => {
                    output.client.pass(taken..taken + used);
                    taken += used;
                }
                Item::Line(used) => {
                    let line = rest.get(..used).unwrap_or_default();
                    match self.line(line, output)? {
                        Fate::Pass => output.client.pass(taken..taken + used),
                        Fate::Swallow => {}
                        Fate::Replace(other) => output.client.put(&other),
                    }
                    taken += used;
                    self.after_line(output)?;
                }
                Item::HeldLine(used) => {
                    let line = self.scanner.held().to_vec();
                    self.scanner.release();
                    match self.line(&line, output)? {
                        Fate::Pass => output.client.put(&line),
                        Fate::Swallow => {}
                        Fate::Replace(other) => output.client.put(&other),
                    }
                    taken += used;
                    self.after_line(output)?;
                }
                Item::HeldData(used) => {
                    output.client.put(self.scanner.held());
                    self.scanner.release();
                    taken += used;
                }
                Item::Named(used) => {
                    if self.guard.shows(self.scanner.held()) {
                        output.client.put(self.scanner.held());
                        self.scanner.release();
                    } else {
                        self.scanner.drop_response();
                    }
                    taken += used;
                }
                Item::More(used) => taken += used,
                Item::Broken(error) => return Err(self.broken_by_backend(error)),
            }
            if self.has_own() {
                self.flush_own(output);
            }
        }
        self.count_downloads()
    }

    /// What has come is judged by rules and counts against the budget, and ends the download that exceeds it.
    fn count_downloads(&mut self) -> Result<(), EndReason> {
        if let Some(inspector) = &mut self.inspector {
            let judged = inspector.fetched(&self.scanner.tally());
            judged.map_err(|_| EndReason::PolicyDenied)?;
            if let Some(notices) = self.scanner.watched() {
                inspector.noticed(&notices.take_untold());
            }
        }
        if self.guard.spend(self.scanner.tally()) {
            return Ok(());
        }
        let downloads =
            |entry: &InFlight| matches!(entry, InFlight::Command(sent) if profile::downloads(sent.verb));
        if self.in_flight.iter().any(downloads) {
            return Err(EndReason::BudgetExceeded);
        }
        Ok(())
    }

    fn broken_by_backend(&mut self, error: ResponseError) -> EndReason {
        match error {
            ResponseError::LineTooLong => EndReason::BackendLimit,
            ResponseError::BareLf | ResponseError::Nul | ResponseError::Literal => EndReason::BackendProtocol,
        }
    }

    /// A line that is no data.
    fn line(&mut self, line: &[u8], output: &mut Output) -> Result<Fate, EndReason> {
        match line {
            [b'+', b' ' | b'\r', ..] => self.go_ahead_from_backend(output),
            [b'*', b' ', response @ ..] => self.untagged(line, response),
            _ => self.tagged(line),
        }
    }

    /// `+`: asked for by a literal or by IDLE, and by nothing else.
    fn go_ahead_from_backend(&mut self, output: &mut Output) -> Result<Fate, EndReason> {
        match self.awaits {
            Awaits::GoAhead { at, literal } => {
                self.send_segment(at, literal, output);
                Ok(Fate::Swallow)
            }
            Awaits::MessageGoAhead { mode, size, depth } => {
                self.collector.pass_on();
                self.awaits = if size == 0 {
                    Awaits::Tail { depth }
                } else {
                    Awaits::Message { left: size, depth }
                };
                Ok(match mode {
                    LiteralMode::Sync => Fate::Pass,
                    LiteralMode::NonSync => Fate::Swallow,
                })
            }
            Awaits::IdleGoAhead => {
                self.awaits = Awaits::Done;
                Ok(Fate::Pass)
            }
            _ => Err(EndReason::BackendProtocol),
        }
    }

    fn untagged(&mut self, line: &[u8], response: &[u8]) -> Result<Fate, EndReason> {
        let end = response.iter().position(|byte| matches!(byte, b' ' | b'\r'));
        let word = response.get(..end.unwrap_or(0)).unwrap_or_default();
        let behind = 2 + word.len() + 1;
        if word.eq_ignore_ascii_case(b"BAD") && self.answers_late_done() {
            return Ok(Fate::Swallow);
        }
        if word.eq_ignore_ascii_case(b"CAPABILITY") {
            let words = line.get(behind..).unwrap_or_default();
            return Ok(Fate::Replace(
                [
                    b"* CAPABILITY ".as_slice(),
                    &filtered(words, self.shown()),
                    b"\r\n",
                ]
                .concat(),
            ));
        }
        if word.eq_ignore_ascii_case(b"PREAUTH") {
            return Err(EndReason::BackendProtocol);
        }
        if word.eq_ignore_ascii_case(b"BYE") {
            self.said_bye = true;
        }
        if word.eq_ignore_ascii_case(b"OK")
            && let Some(uid) = uid_next(line, behind)
        {
            self.scanner.uid_next(uid);
        }
        Ok(filtered_code(line, behind, self.shown()).map_or(Fate::Pass, Fate::Replace))
    }

    /// A tagged answer must belong to a command that is on its way.
    fn tagged(&mut self, line: &[u8]) -> Result<Fate, EndReason> {
        let (tag, status, behind) = status_of(line).ok_or(EndReason::BackendProtocol)?;
        let is_it = |entry: &InFlight| matches!(entry, InFlight::Command(sent) if *sent.tag == *tag);
        // No command of the client's has this tag.
        if tag.eq_ignore_ascii_case(b"DONE") && status == Status::Bad && self.answers_late_done() {
            return Ok(Fate::Swallow);
        }
        let at = self
            .in_flight
            .iter()
            .position(is_it)
            .ok_or(EndReason::BackendProtocol)?;
        let was_last = at + 1 == self.in_flight.len();
        let Some(InFlight::Command(sent)) = self.in_flight.remove(at) else {
            return Err(EndReason::BackendProtocol);
        };
        if was_last {
            self.current_answered(status)?;
        }
        // What was said up to now was said of the mailbox that is open.
        if let Some(InFlight::Command(next)) = self.in_flight.front()
            && at == 0
            && matches!(next.verb.kind(), Kind::Select)
        {
            self.scanner.opening();
        }
        self.late_done = match (sent.verb.kind(), self.late_done) {
            (Kind::Idle, LateDone::Passed) => LateDone::MayBeAnswered,
            (_, LateDone::Passed) => LateDone::Passed,
            _ => LateDone::None,
        };
        self.take_effect(sent, status)?;
        Ok(filtered_code(line, behind, self.shown()).map_or(Fate::Pass, Fate::Replace))
    }

    /// True for the one answer to a DONE that came when IDLE was over; the client has its answer already.
    fn answers_late_done(&mut self) -> bool {
        let may_be = self.late_done == LateDone::MayBeAnswered;
        if may_be {
            self.late_done = LateDone::None;
        }
        may_be
    }

    /// The answer to the command that the client's side is waiting with.
    fn current_answered(&mut self, status: Status) -> Result<(), EndReason> {
        match self.awaits {
            Awaits::Command => {}
            // Instead of its go-ahead the backend answered: what is left of the command must not reach it any more.
            Awaits::GoAhead { .. } if !self.collector.is_waiting() => {
                self.collector.reset();
                self.awaits = Awaits::Command;
            }
            Awaits::GoAhead { .. } | Awaits::MessageGoAhead { .. } => self.discard(),
            Awaits::IdleGoAhead => self.awaits = Awaits::Command,
            Awaits::Done => {
                self.stray_done = true;
                self.awaits = Awaits::Command;
            }
            Awaits::Logout if status == Status::Ok => self.logged_out = true,
            Awaits::Logout => self.awaits = Awaits::Command,
            // Answered with half of its command sent: nobody knows what the backend would take the rest for.
            Awaits::Message { .. } | Awaits::Tail { .. } => return Err(EndReason::BackendProtocol),
        }
        Ok(())
    }

    fn take_effect(&mut self, sent: Sent, status: Status) -> Result<(), EndReason> {
        if let Some(begun) = sent.begun {
            let appended = match &sent.deed {
                Deed::Appended { messages, size, .. } if status == Status::Ok => Some((*messages, *size)),
                _ => None,
            };
            let result = match status {
                Status::Ok => CommandResult::Ok,
                Status::No => CommandResult::No,
                Status::Bad => CommandResult::Bad,
            };
            self.recorder
                .over(*begun, result, appended, &self.scanner.tally());
        } else {
            self.recorder.left_out(&self.scanner.tally());
        }
        let leaves = matches!(
            (sent.verb.kind(), status),
            (Kind::Select, Status::Ok | Status::No) | (Kind::Unselect, Status::Ok)
        );
        if leaves {
            // What has come is of the mailbox that was open.
            self.count_downloads()?;
        }
        match (sent.verb.kind(), status) {
            (Kind::Select, Status::Ok) => {
                self.scanner.opened();
                self.select(sent.mailbox, sent.for_reading);
            }
            (Kind::Select, Status::No) | (Kind::Unselect, Status::Ok) => {
                self.scanner.closed();
                self.select(None, false);
            }
            // It was not even tried: the mailbox that was open still is.
            (Kind::Select, Status::Bad) => self.scanner.not_opened(),
            _ => {}
        }
        match &mut self.inspector {
            Some(inspector) if status == Status::Ok => inspector
                .done(sent.deed, &self.scanner.tally())
                .map_err(|_| EndReason::PolicyDenied),
            _ => Ok(()),
        }
    }

    fn select(&mut self, mailbox: Option<MailboxName>, for_reading: bool) {
        if let Some(inspector) = &mut self.inspector {
            inspector.selected(mailbox.as_ref(), for_reading, &self.scanner.tally());
        }
        self.mailbox = mailbox;
    }

    /// LOGOUT's answer is the last thing that is relayed.
    fn after_line(&mut self, output: &mut Output) -> Result<(), EndReason> {
        if self.logged_out {
            self.flush_own(output);
            return Err(EndReason::Logout);
        }
        Ok(())
    }
}

/// The number in `[UIDNEXT 4392]`, where the line's response code is that: it starts at `code_at`. What stands behind may be the
/// client's own words, such as a flag that it named.
fn uid_next(line: &[u8], code_at: usize) -> Option<u32> {
    const CODE: &[u8] = b"[UIDNEXT ";
    let (opening, number) = line.get(code_at..)?.split_at_checked(CODE.len())?;
    if !opening.eq_ignore_ascii_case(CODE) {
        return None;
    }
    let (digits, _) = number.split_at_checked(memchr::memchr(b']', number)?)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Tag, status and where the text starts, of a tagged status response.
fn status_of(line: &[u8]) -> Option<(&[u8], Status, usize)> {
    let line = line.strip_suffix(b"\r\n")?;
    let space = memchr::memchr(b' ', line)?;
    let (tag, rest) = line.split_at_checked(space)?;
    let rest = rest.get(1..)?;
    let word = rest.split(|byte| *byte == b' ').next()?;
    let status = match word {
        _ if word.eq_ignore_ascii_case(b"OK") => Status::Ok,
        _ if word.eq_ignore_ascii_case(b"NO") => Status::No,
        _ if word.eq_ignore_ascii_case(b"BAD") => Status::Bad,
        _ => return None,
    };
    Some((tag, status, space + 1 + word.len() + 1))
}
