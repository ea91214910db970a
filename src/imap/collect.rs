//! Collects one client command, bounded, and stops wherever somebody has to decide.
//!
//! A command is a line, or several lines joined by literals (RFC 3501, section 4.3; RFC 7888). This is the only reader of
//! client framing: what it collects is what is judged and what is sent. Lines end in CRLF; bare CR, bare LF and NUL break
//! the command, because backends disagree about them. It must never size anything by a number from the peer.

use std::ops::Range;

use memchr::memchr;
use zeroize::Zeroize;

use crate::imap::line::check_line_ends;
use crate::imap::literal::Announcement;
use crate::imap::literal::LiteralMode;
use crate::imap::literal::TAIL;
use crate::imap::literal::announcement_in_tail;
use crate::imap::literal::announcement_of;

pub use crate::imap::bounds::Bounds;
pub use crate::imap::line::FrameError;

/// A buffer up to this size is kept for the next command; a larger one is given back.
const KEPT_CAPACITY: usize = 512;

/// What a call of [`Collector::feed`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an announcement that nobody decides on blocks the session"]
pub enum Progress {
    /// The input is used up; the command is not complete.
    More,
    /// The command so far ends in this announcement: decide, then call `keep` or `discard`.
    Announced(Announcement),
    /// The command is complete.
    Complete,
    /// The command cannot be framed safely; the connection has to end or the input is poisoned.
    Broken(FrameError),
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Line,
    Decision(Announcement),
    Literal {
        left: u32,
        binary: bool,
    },
    /// As `Line` and `Literal`, with nothing kept.
    PoisonedLine,
    PoisonedLiteral {
        left: u32,
    },
    Done,
}

/// Collects one command after another from a client.
#[derive(Debug)]
pub struct Collector {
    bounds: Bounds,
    expect: Expect,
    buffer: Vec<u8>,
    /// Bytes of line parts so far, kept or thrown away.
    line_bytes: usize,
    /// Bytes of literals kept or asked for so far.
    literal_bytes: usize,
    /// How many literals those are.
    literals: u32,
    /// Where the line part that is being read starts in `buffer`.
    line_start: usize,
    poisoned: bool,
    /// The last bytes of a line that is thrown away.
    tail: Vec<u8>,
}

impl Collector {
    /// A collector with nothing in it.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            expect: Expect::Line,
            buffer: Vec::new(),
            line_bytes: 0,
            literal_bytes: 0,
            literals: 0,
            line_start: 0,
            poisoned: false,
            tail: Vec::new(),
        }
    }

    /// Takes bytes up to the next decision and says how many it took. After [`Progress::Complete`] call `reset`.
    pub fn feed(&mut self, input: &[u8]) -> (usize, Progress) {
        let mut taken = 0;
        loop {
            let Some(rest) = input.get(taken..).filter(|rest| !rest.is_empty()) else {
                return (taken, self.pending());
            };
            let (used, progress) = match self.expect {
                Expect::Line | Expect::PoisonedLine => self.feed_line(rest),
                Expect::Literal { left, binary } => self.feed_literal(rest, left, binary),
                Expect::PoisonedLiteral { left } => self.skip_literal(rest, left),
                Expect::Decision(_) | Expect::Done => return (taken, self.pending()),
            };
            taken += used;
            match progress {
                Progress::More => {}
                decided => return (taken, decided),
            }
        }
    }

    /// Whether a literal fits in the bounds, this one and all so far.
    ///
    /// # Errors
    /// Says which bound it exceeds.
    pub fn fits(&self, announcement: Announcement) -> Result<(), FrameError> {
        let size = usize::try_from(announcement.size).unwrap_or(usize::MAX);
        if announcement.size > self.bounds.literal {
            return Err(FrameError::LiteralTooLarge);
        }
        if self.literal_bytes.saturating_add(size) > self.bounds.literals {
            return Err(FrameError::LiteralsTooLarge);
        }
        if self.buffer.len().saturating_add(size) > self.bounds.command {
            return Err(FrameError::CommandTooLong);
        }
        if self.literals >= self.bounds.literal_count {
            return Err(FrameError::TooManyLiterals);
        }
        Ok(())
    }

    /// Collects the announced literal. The caller has seen that it fits and sent `+` where the client waits for it.
    pub fn keep(&mut self) {
        if let Expect::Decision(announcement) = self.expect {
            let size = usize::try_from(announcement.size).unwrap_or(usize::MAX);
            self.literal_bytes = self.literal_bytes.saturating_add(size);
            self.literals += 1;
            self.line_start = self.buffer.len();
            self.expect = if announcement.size == 0 {
                Expect::Line
            } else {
                Expect::Literal {
                    left: announcement.size,
                    binary: announcement.binary,
                }
            };
        }
    }

    /// Throws the announced literal and the rest of the command away. A client that waits for `+` sends neither: there
    /// the command is over.
    pub fn discard(&mut self) {
        if let Expect::Decision(announcement) = self.expect {
            self.poisoned = true;
            self.expect = match announcement.mode {
                LiteralMode::Sync => Expect::Done,
                LiteralMode::NonSync => Self::skip(announcement.size),
            };
        }
    }

    /// Leaves the announced literal to the caller, who streams its bytes past the collector, and forgets the command so far:
    /// what is fed next is what follows the literal.
    pub fn pass_on(&mut self) {
        if matches!(self.expect, Expect::Decision(_)) {
            self.reset();
        }
    }

    /// True while an announced literal waits for a decision.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self.expect, Expect::Decision(_))
    }

    /// True where a literal of the command was kept, or is being so.
    #[must_use]
    pub fn has_literals(&self) -> bool {
        self.literals > 0
    }

    /// The command so far, exactly as it came: lines, CRLFs, announcements and literals. Of a poisoned command, what came
    /// before the literal that was thrown away.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// The line part that is being read; of one that is thrown away, its tail.
    #[must_use]
    pub fn current_line(&self) -> &[u8] {
        if self.poisoned {
            &self.tail
        } else {
            self.buffer.get(self.line_start..).unwrap_or_default()
        }
    }

    /// True for a complete command of one line: it has no literal.
    #[must_use]
    pub fn is_one_line(&self) -> bool {
        self.expect == Expect::Done && self.line_start == 0 && !self.poisoned
    }

    /// Puts other bytes in place of some of a complete command, which is about to be sent and then reset.
    pub fn substitute(&mut self, range: Range<usize>, with: &[u8]) {
        if self.expect == Expect::Done && range.start <= range.end && range.end <= self.buffer.len() {
            self.buffer.splice(range, with.iter().copied());
            self.buffer.spare_capacity_mut().zeroize();
        }
    }

    /// True where part of the command was thrown away.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// True between commands: nothing has been read of the next one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expect == Expect::Line && self.buffer.is_empty()
    }

    /// Bytes of memory held now, for tests of what a connection costs.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.buffer.capacity() + self.tail.capacity()
    }

    /// Forgets the command, wiping it, and is ready for the next one. What is behind the command was wiped with an earlier one.
    pub fn reset(&mut self) {
        self.buffer.as_mut_slice().zeroize();
        self.buffer.clear();
        if self.buffer.capacity() > KEPT_CAPACITY {
            self.buffer = Vec::new();
        }
        self.expect = Expect::Line;
        self.line_bytes = 0;
        self.literal_bytes = 0;
        self.literals = 0;
        self.line_start = 0;
        self.poisoned = false;
        self.tail.clear();
    }

    /// Gives the buffer back if nothing is in it and it takes more than so many bytes.
    pub fn release(&mut self, least: usize) {
        if self.buffer.is_empty() && self.buffer.capacity() > least {
            self.buffer = Vec::new();
        }
    }

    /// What an empty input comes to.
    fn pending(&self) -> Progress {
        match self.expect {
            Expect::Decision(announcement) => Progress::Announced(announcement),
            Expect::Done => Progress::Complete,
            _ => Progress::More,
        }
    }

    /// Takes a line part up to its LF, or all there is.
    fn feed_line(&mut self, rest: &[u8]) -> (usize, Progress) {
        let end = memchr(b'\n', rest).map(|lf| lf + 1);
        let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
        if let Err(error) = self.check_line_part(part) {
            return (0, Progress::Broken(error));
        }
        self.line_bytes += part.len();
        let poisoned = self.expect == Expect::PoisonedLine;
        if poisoned {
            self.remember_tail(part);
        } else {
            self.append(part);
        }
        if end.is_none() {
            return (part.len(), Progress::More);
        }
        let announced = match poisoned {
            true => announcement_in_tail(&self.tail),
            false => announcement_of(self.current_line()),
        };
        let announcement = match announced {
            Ok(announcement) => announcement,
            Err(error) => return (part.len(), Progress::Broken(error)),
        };
        self.tail.clear();
        (part.len(), self.line_ended(announcement, poisoned))
    }

    /// What follows a complete line part.
    fn line_ended(&mut self, announcement: Option<Announcement>, poisoned: bool) -> Progress {
        match announcement {
            Some(announcement) if poisoned && announcement.mode == LiteralMode::NonSync => {
                self.expect = Self::skip(announcement.size);
                Progress::More
            }
            Some(announcement) if !poisoned => {
                self.expect = Expect::Decision(announcement);
                Progress::Announced(announcement)
            }
            _ => {
                self.expect = Expect::Done;
                Progress::Complete
            }
        }
    }

    /// A line part must keep to the bounds, and have CR and LF only together, at its end.
    fn check_line_part(&self, part: &[u8]) -> Result<(), FrameError> {
        let line_room = self.bounds.line.saturating_sub(self.line_bytes);
        let room = match self.expect {
            Expect::Line => self.bounds.command.saturating_sub(self.buffer.len()),
            _ => usize::MAX,
        };
        // What comes first counts, so that it is the same wherever the input was cut.
        let fitting = part.get(..line_room.min(room)).unwrap_or(part);
        check_line_ends(self.current_line().last() == Some(&b'\r'), fitting)?;
        match part.len() {
            len if len > line_room.min(room) && line_room <= room => Err(FrameError::LineTooLong),
            len if len > room => Err(FrameError::CommandTooLong),
            _ => Ok(()),
        }
    }

    /// Takes literal bytes into the buffer.
    fn feed_literal(&mut self, rest: &[u8], left: u32, binary: bool) -> (usize, Progress) {
        let part = first(rest, left);
        if !binary && memchr(0, part).is_some() {
            return (0, Progress::Broken(FrameError::Nul));
        }
        self.append(part);
        let left = left - u32::try_from(part.len()).unwrap_or(left);
        self.expect = if left == 0 {
            self.line_start = self.buffer.len();
            Expect::Line
        } else {
            Expect::Literal { left, binary }
        };
        (part.len(), Progress::More)
    }

    /// Throws literal bytes away.
    fn skip_literal(&mut self, rest: &[u8], left: u32) -> (usize, Progress) {
        let part = first(rest, left);
        self.expect = Self::skip(left - u32::try_from(part.len()).unwrap_or(left));
        (part.len(), Progress::More)
    }

    fn skip(left: u32) -> Expect {
        if left == 0 {
            Expect::PoisonedLine
        } else {
            Expect::PoisonedLiteral { left }
        }
    }

    /// Keeps the last bytes of a line that is thrown away: they may announce a literal.
    fn remember_tail(&mut self, part: &[u8]) {
        let part = part.get(part.len().saturating_sub(TAIL)..).unwrap_or(part);
        self.tail.extend_from_slice(part);
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
    }

    /// Appends without leaving a copy behind: growing by reallocation would strew passwords over the heap.
    fn append(&mut self, bytes: &[u8]) {
        let needed = self.buffer.len() + bytes.len();
        if needed > self.buffer.capacity() {
            let roomy = needed.next_power_of_two().clamp(64, self.bounds.command.max(64));
            let mut larger = Vec::with_capacity(roomy.max(needed));
            larger.extend_from_slice(&self.buffer);
            self.buffer.zeroize();
            self.buffer = larger;
        }
        self.buffer.extend_from_slice(bytes);
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

/// At most `left` bytes of the input.
fn first(input: &[u8], left: u32) -> &[u8] {
    let wanted = usize::try_from(left).unwrap_or(usize::MAX);
    input.get(..wanted).unwrap_or(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        line: 100,
        literal: 50,
        literals: 80,
        literal_count: 3,
        command: 150,
    };

    /// Feeds everything, keeping every literal that fits and discarding the others, and lists what came of it.
    fn run(input: &[u8], cut: usize) -> Vec<String> {
        let mut collector = Collector::new(BOUNDS);
        let mut seen = Vec::new();
        for chunk in input.chunks(cut) {
            let mut rest = chunk;
            loop {
                let (taken, progress) = collector.feed(rest);
                rest = &rest[taken..];
                match progress {
                    Progress::More => break,
                    Progress::Announced(a) => match collector.fits(a) {
                        Ok(()) => collector.keep(),
                        Err(error) => {
                            seen.push(format!("discard {error:?}"));
                            collector.discard();
                        }
                    },
                    Progress::Complete => {
                        let text = String::from_utf8_lossy(collector.bytes()).into_owned();
                        seen.push(format!(
                            "{}{text:?}",
                            if collector.is_poisoned() { "poisoned " } else { "" }
                        ));
                        collector.reset();
                    }
                    Progress::Broken(error) => {
                        seen.push(format!("broken {error:?}"));
                        return seen;
                    }
                }
            }
        }
        if !collector.is_empty() {
            seen.push("unfinished".to_owned());
        }
        seen
    }

    fn check(input: &[u8], expected: &[&str]) {
        for cut in 1..=input.len() {
            assert_eq!(run(input, cut), expected, "cut every {cut} bytes");
        }
    }

    #[test]
    fn commands_with_and_without_literals_come_whole_wherever_the_input_is_cut() {
        check(b"a NOOP\r\n", &["\"a NOOP\\r\\n\""]);
        check(
            b"a LOGIN {3}\r\nbob {2+}\r\n\r\n\r\nb NOOP\r\n",
            &[
                "\"a LOGIN {3}\\r\\nbob {2+}\\r\\n\\r\\n\\r\\n\"",
                "\"b NOOP\\r\\n\"",
            ],
        );
        check(b"a X {0}\r\n\r\n", &["\"a X {0}\\r\\n\\r\\n\""]);
        check(b"a X ~{2}\r\n\0\0\r\n", &["\"a X ~{2}\\r\\n\\0\\0\\r\\n\""]);
    }

    #[test]
    fn bare_line_ends_and_nul_break_the_command() {
        check(b"a NOOP\n", &["broken BareLf"]);
        check(b"a NOOP\rb NOOP\r\n", &["broken BareCr"]);
        check(b"a NOOP\r\r\n", &["broken BareCr"]);
        check(b"a NO\0OP\r\n", &["broken Nul"]);
        check(b"a X {2}\r\n\0\0\r\n", &["broken Nul"]);
        check(b"\n", &["broken BareLf"]);
    }

    #[test]
    fn what_does_not_fit_is_thrown_away_up_to_the_end_of_the_command() {
        let mut input = b"a X {60+}\r\n".to_vec();
        input.extend([b'z'; 60]);
        input.extend(b" tail {3+}\r\nb N\r\nc NOOP\r\n");
        check(
            &input,
            &[
                "discard LiteralTooLarge",
                "poisoned \"a X {60+}\\r\\n\"",
                "\"c NOOP\\r\\n\"",
            ],
        );
    }

    #[test]
    fn a_client_that_waits_sends_nothing_more_of_a_refused_command() {
        check(
            b"a X {60}\r\nb NOOP\r\n",
            &[
                "discard LiteralTooLarge",
                "poisoned \"a X {60}\\r\\n\"",
                "\"b NOOP\\r\\n\"",
            ],
        );
    }

    #[test]
    fn bounds_hold_for_lines_literals_and_their_sum() {
        let long = [b'x'; 101];
        check(&long, &["broken LineTooLong"]);
        let mut many = b"a {50+}\r\n".to_vec();
        many.extend([b'y'; 50]);
        many.extend(b" {31+}\r\n");
        many.extend([b'y'; 31]);
        many.extend(b"\r\n");
        assert_eq!(run(&many, 7)[0], "discard LiteralsTooLarge");
        check(b"a {4294967301+}\r\n", &["broken LiteralTooLarge"]);
    }

    #[test]
    fn literals_are_counted_also_empty_ones() {
        check(
            b"a X {0+}\r\n {1+}\r\ny {0+}\r\n\r\nb X {0+}\r\n {0+}\r\n {0+}\r\n {5+}\r\nc X\r\n {0+}\r\n\r\nd NOOP\r\n",
            &[
                "\"a X {0+}\\r\\n {1+}\\r\\ny {0+}\\r\\n\\r\\n\"",
                "discard TooManyLiterals",
                "poisoned \"b X {0+}\\r\\n {0+}\\r\\n {0+}\\r\\n {5+}\\r\\n\"",
                "\"d NOOP\\r\\n\"",
            ],
        );
    }

    #[test]
    fn the_first_offence_counts_wherever_the_input_is_cut() {
        check(b"a NO\0OP\n", &["broken Nul"]);
        check(b"a NO\rOP\n", &["broken BareCr"]);
        check(b"a NO\nOP\r\n", &["broken BareLf"]);
        let line = |head: &[u8], len: usize, tail: &[u8]| [head, &vec![b'x'; len], tail].concat();
        check(&line(b"a\rb", 200, b"\r\n"), &["broken BareCr"]);
        check(&line(b"a\0", 200, b"\n"), &["broken Nul"]);
        check(&line(b"", 99, b"\rx"), &["broken LineTooLong"]);
        check(&line(b"", 99, b"\r\n"), &["broken LineTooLong"]);
        check(
            &line(b"a {50+}\r\n", 50, &line(b" {29+}\r\n", 29, &[b'y'; 60])),
            &["broken CommandTooLong"],
        );
    }

    #[test]
    fn a_number_longer_than_what_is_kept_of_a_line_hides_no_literal() {
        for number in ["000000000003+", "0000000000000000000000003+", "00000000000000003"] {
            let mut input = b"a X {60+}\r\n".to_vec();
            input.extend([b'z'; 60]);
            input.extend(format!(" {{{number}}}\r\nb N\r\nc NOOP\r\n").bytes());
            check(&input, &["discard LiteralTooLarge", "broken LiteralTooLarge"]);
        }
    }

    #[test]
    fn the_buffer_never_exceeds_its_bound_and_is_given_back() {
        let mut collector = Collector::new(Bounds {
            line: 8192,
            literal: 4096,
            literals: 16384,
            literal_count: 64,
            command: 18432,
        });
        let _ = collector.feed(&[b'a'; 8192]);
        assert!(collector.buffer.capacity() <= 18432);
        collector.reset();
        assert!(collector.buffer.capacity() <= KEPT_CAPACITY);
    }
}
