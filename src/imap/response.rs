//! Follows a backend's responses at memory speed and stops only at the lines that mean something to the session.
//!
//! Data responses (`* 12 FETCH …` with their literals) pass as they are: inside a literal no byte is looked at, lines are
//! found by `memchr`. Status responses, CAPABILITY, tagged answers and `+` are handed out whole. A status response ends with
//! its line: `{5}` at the end of its text is text, never a literal, since servers echo mailbox names there.
//!
//! Where a session may see some mailboxes only, responses that may name one are handed out too, before any of their bytes
//! has passed: [`Scanner::watch_names`].

mod line;
mod mailbox;
mod noticed;
mod watched;

use memchr::memchr2;
use thiserror::Error;

use crate::imap::literal;
use crate::imap::literal::LiteralMode;
use crate::imap::literal::announcement_in_tail;
use crate::imap::tally::Counter;
use crate::imap::tally::Tally;

use line::Class;
use line::begins_fetch;
use line::classify;
use line::ends_plainly;
use watched::Fate;

/// Longest line that has to be held whole: status, CAPABILITY, tagged, `+`.
const MAX_HELD: usize = 64 * 1024;

/// How much is kept of a line's end: what it announces, and of what, `HEADER]<4294967295>`.
const TAIL: usize = literal::TAIL + 24;

/// What the scanner came to; `usize` is how many bytes of the input it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Item {
    /// These bytes are data and pass as they are.
    Data(usize),
    /// These bytes are one line that the session has to look at.
    Line(usize),
    /// These bytes end a line whose beginning came before: it is in [`Scanner::held`], to be released when done with.
    HeldLine(usize),
    /// These bytes showed that the line whose beginning is held is data: pass [`Scanner::held`] on, then release it.
    HeldData(usize),
    /// These bytes complete a response that may name a mailbox, or its beginning where it is long: it is in
    /// [`Scanner::held`], to be passed on and released, or to be dropped by [`Scanner::drop_response`]. Nothing of it
    /// has passed. Only after [`Scanner::watch_names`].
    Named(usize),
    /// These bytes were taken and there is nothing to pass on: they are the beginning of a line, and held, or belong to a
    /// response that is dropped.
    More(usize),
    /// The backend broke the framing.
    Broken(ResponseError),
}

/// How a backend can break the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ResponseError {
    /// A line ends in LF without CR.
    #[error("bare LF in a response")]
    BareLf,
    /// NUL outside a literal.
    #[error("NUL in a response")]
    Nul,
    /// A line is longer than we follow.
    #[error("response line too long")]
    LineTooLong,
    /// A literal that no server may send: `{n+}`, or beyond 2^31 - 1.
    #[error("invalid literal in a response")]
    Literal,
}

/// Where in a response the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Between responses.
    Start,
    /// Inside a data line whose beginning has been passed on, or behind a literal.
    Line,
    /// Inside a literal.
    Literal(u32),
}

/// Follows one backend's responses.
#[derive(Debug)]
pub struct Scanner {
    at: At,
    held: Vec<u8>,
    /// The last bytes of the data line that is passing.
    tail: [u8; TAIL],
    tail_len: usize,
    line_len: usize,
    max_line: usize,
    counter: Counter,
    watches_names: bool,
    fate: Fate,
}

impl Scanner {
    /// A scanner that stands between responses. `max_line` bounds one line of data, in bytes.
    #[must_use]
    pub fn new(max_line: usize) -> Self {
        Self {
            at: At::Start,
            held: Vec::new(),
            tail: [0; TAIL],
            tail_len: 0,
            line_len: 0,
            max_line,
            counter: Counter::new(),
            watches_names: false,
            fate: Fate::Passes,
        }
    }

    /// True between responses, with nothing of the next one passed on: here an answer of our own may stand.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        self.at == At::Start || self.fate != Fate::Passes
    }

    /// The bytes that [`Item::HeldLine`] and [`Item::HeldData`] speak of.
    #[must_use]
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Forgets the held bytes.
    pub fn release(&mut self) {
        self.held = Vec::new();
    }

    /// What data responses have told so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.counter.tally
    }

    /// Looks at the input, which must not be empty, up to the next item. Several responses of data are one item.
    pub fn next(&mut self, input: &[u8]) -> Item {
        self.scan(input, false)
    }

    /// As [`next`](Self::next), and stops where a response ends: something waits to be put there.
    pub fn next_to_boundary(&mut self, input: &[u8]) -> Item {
        self.scan(input, true)
    }

    fn scan(&mut self, input: &[u8], to_boundary: bool) -> Item {
        match self.fate {
            Fate::Passes => {}
            Fate::Held => return self.hold_named(input),
            Fate::Dropped => return self.drop_more(input),
        }
        let mut passed = 0;
        loop {
            let rest = input.get(passed..).unwrap_or_default();
            if rest.is_empty() {
                return Item::Data(passed);
            }
            if self.at == At::Start && self.held.is_empty() && !to_boundary {
                let taken = self.pass_fetches(rest);
                if taken > 0 {
                    passed += taken;
                    continue;
                }
            }
            match self.at {
                At::Start if passed > 0 && (to_boundary || !matches!(self.classify(rest), Class::Data)) => {
                    return Item::Data(passed);
                }
                At::Start if !self.held.is_empty() => return self.go_on_holding(rest),
                At::Start => match self.classify(rest) {
                    Class::Data => self.begin_response(),
                    Class::Special | Class::Unclear => return self.special(rest),
                    Class::Named => {
                        self.begin_response();
                        self.fate = Fate::Held;
                        return self.hold_named(rest);
                    }
                },
                At::Line | At::Literal(_) => match self.pass_part(rest) {
                    Ok(taken) => passed += taken,
                    Err(error) => return Item::Broken(error),
                },
            }
        }
    }

    /// Passes responses that are one line each, complete, and about messages' data: what a listing is made of. Anything else
    /// is left to those who look at it more closely.
    fn pass_fetches(&mut self, input: &[u8]) -> usize {
        let mut taken = 0;
        loop {
            let rest = input.get(taken..).unwrap_or_default();
            if !begins_fetch(rest) {
                break;
            }
            match line_end(rest, self.max_line) {
                Ok(Some(end)) => match rest.get(..end) {
                    Some(line) if ends_plainly(line) => {
                        if let Some(notices) = &mut self.counter.notices {
                            notices.line(line);
                        }
                        taken += end;
                    }
                    _ => break,
                },
                _ => break,
            }
        }
        self.counter.fetches(taken);
        taken
    }

    /// Passes more of a response, up to the end of a line or of a literal.
    fn pass_part(&mut self, rest: &[u8]) -> Result<usize, ResponseError> {
        match self.at {
            At::Literal(left) => Ok(self.pass_literal(rest, left)),
            At::Line | At::Start => self.pass_line(rest),
        }
    }

    fn begin_response(&mut self) {
        self.begin_line();
        self.counter.begin();
    }

    fn begin_line(&mut self) {
        self.at = At::Line;
        self.tail_len = 0;
        self.line_len = 0;
    }

    fn pass_literal(&mut self, rest: &[u8], left: u32) -> usize {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX);
        let taken = wanted.min(rest.len());
        let left = left - u32::try_from(taken).unwrap_or(left);
        self.counter.literal(rest.get(..taken).unwrap_or(rest));
        if left == 0 {
            self.begin_line();
        } else {
            self.at = At::Literal(left);
        }
        taken
    }

    /// Passes a data line up to its end, or as much as there is.
    fn pass_line(&mut self, rest: &[u8]) -> Result<usize, ResponseError> {
        let end = line_end(rest, self.max_line.saturating_sub(self.line_len))?;
        let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
        self.line_len += part.len();
        self.counter.line(part);
        if end.is_none() {
            self.remember(part);
            return Ok(part.len());
        }
        match part.last_chunk::<TAIL>() {
            Some(tail) => self.line_ended(tail)?,
            None => {
                self.remember(part);
                let tail = self.tail;
                self.line_ended(tail.get(..self.tail_len).unwrap_or_default())?;
            }
        }
        Ok(part.len())
    }

    /// A data line has ended, in this: a literal follows, or the response is over.
    fn line_ended(&mut self, tail: &[u8]) -> Result<(), ResponseError> {
        match tail {
            [.., b'}', b'\r', b'\n'] => match announcement_in_tail(end_of(tail)) {
                Ok(Some(literal)) if literal.mode == LiteralMode::Sync => {
                    self.counter.announced(tail);
                    if literal.size == 0 {
                        self.begin_line();
                    } else {
                        self.at = At::Literal(literal.size);
                    }
                }
                Ok(None) => self.response_ended(),
                _ => return Err(ResponseError::Literal),
            },
            [.., b'\r', b'\n'] => self.response_ended(),
            _ => return Err(ResponseError::BareLf),
        }
        Ok(())
    }

    fn response_ended(&mut self) {
        self.at = At::Start;
        self.counter.end();
    }

    /// Keeps the last bytes of a line that is passing in parts.
    fn remember(&mut self, part: &[u8]) {
        let part = part.get(part.len().saturating_sub(TAIL)..).unwrap_or(part);
        let kept = self.tail_len.min(TAIL - part.len());
        self.tail.copy_within(self.tail_len - kept..self.tail_len, 0);
        if let Some(place) = self.tail.get_mut(kept..kept + part.len()) {
            place.copy_from_slice(part);
        }
        self.tail_len = kept + part.len();
    }

    fn classify(&self, line: &[u8]) -> Class {
        classify(line, self.watches_names)
    }

    /// A line that the session must see whole, or whose kind is not clear yet.
    fn special(&mut self, rest: &[u8]) -> Item {
        match line_end(rest, MAX_HELD) {
            Err(error) => Item::Broken(error),
            Ok(Some(end)) if rest.get(..end).is_some_and(|line| line.ends_with(b"\r\n")) => Item::Line(end),
            Ok(Some(_)) => Item::Broken(ResponseError::BareLf),
            Ok(None) => {
                self.held.extend_from_slice(rest);
                Item::More(rest.len())
            }
        }
    }

    /// More of a line that is held: byte by byte until its kind is clear, then up to its end.
    fn go_on_holding(&mut self, input: &[u8]) -> Item {
        let mut taken = 0;
        while let Class::Unclear = self.classify(&self.held) {
            match input.get(taken) {
                None => return Item::More(taken),
                Some(b'\n') => return Item::Broken(ResponseError::BareLf),
                Some(0) => return Item::Broken(ResponseError::Nul),
                Some(byte) => self.held.push(*byte),
            }
            taken += 1;
        }
        let class = self.classify(&self.held);
        if let Class::Data | Class::Named = class {
            self.begin_response();
            let held = std::mem::take(&mut self.held);
            self.counter.line(&held);
            self.line_len = held.len();
            self.remember(&held);
            self.held = held;
            if let Class::Named = class {
                self.fate = Fate::Held;
                return Item::More(taken);
            }
            return Item::HeldData(taken);
        }
        let rest = input.get(taken..).unwrap_or_default();
        let end = match line_end(rest, MAX_HELD.saturating_sub(self.held.len())) {
            Err(error) => return Item::Broken(error),
            Ok(end) => end,
        };
        let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
        self.held.extend_from_slice(part);
        match end {
            None => Item::More(taken + part.len()),
            Some(_) if self.held.ends_with(b"\r\n") => Item::HeldLine(taken + part.len()),
            Some(_) => Item::Broken(ResponseError::BareLf),
        }
    }
}

/// What says whether a literal is announced; the same however the line was cut.
fn end_of(tail: &[u8]) -> &[u8] {
    tail.get(tail.len().saturating_sub(literal::TAIL)..)
        .unwrap_or(tail)
}

/// The end of the first line, behind its LF. The line may have `room` bytes; what is wrong first counts, so that it is the
/// same wherever the input was cut.
fn line_end(bytes: &[u8], room: usize) -> Result<Option<usize>, ResponseError> {
    let near = bytes.get(..room).unwrap_or(bytes);
    match memchr2(b'\n', 0, near) {
        None if bytes.len() > room => Err(ResponseError::LineTooLong),
        None => Ok(None),
        Some(at) if near.get(at) == Some(&b'\n') => Ok(Some(at + 1)),
        Some(_) => Err(ResponseError::Nul),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the session would see: runs of data, and lines, with the input cut every `cut` bytes.
    fn run(input: &[u8], cut: usize) -> (Vec<u8>, Vec<String>, bool) {
        let mut scanner = Scanner::new(1000);
        let mut all = Vec::new();
        let mut lines = Vec::new();
        for chunk in input.chunks(cut) {
            let mut rest = chunk;
            while !rest.is_empty() {
                let taken = match scanner.next(rest) {
                    Item::Data(taken) => {
                        all.extend_from_slice(&rest[..taken]);
                        taken
                    }
                    Item::Line(taken) => {
                        all.extend_from_slice(&rest[..taken]);
                        lines.push(String::from_utf8_lossy(&rest[..taken]).into_owned());
                        taken
                    }
                    Item::HeldLine(taken) => {
                        all.extend_from_slice(scanner.held());
                        lines.push(String::from_utf8_lossy(scanner.held()).into_owned());
                        scanner.release();
                        taken
                    }
                    Item::HeldData(taken) => {
                        all.extend_from_slice(scanner.held());
                        scanner.release();
                        taken
                    }
                    Item::Named(_) => panic!("names are not watched"),
                    Item::More(taken) => taken,
                    Item::Broken(error) => {
                        lines.push(format!("{error:?}"));
                        return (all, lines, false);
                    }
                };
                rest = &rest[taken..];
            }
        }
        (all, lines, scanner.at_boundary())
    }

    fn check(input: &[u8], lines: &[&str]) {
        for cut in 1..=input.len() {
            let (all, seen, boundary) = run(input, cut);
            assert_eq!(seen, lines, "cut every {cut}");
            assert_eq!(all, input, "cut every {cut}");
            assert!(boundary);
        }
    }

    fn breaks(input: &[u8], error: ResponseError) {
        for cut in 1..=input.len() {
            let (_, seen, _) = run(input, cut);
            assert_eq!(seen.last(), Some(&format!("{error:?}")), "cut every {cut}");
        }
    }

    #[test]
    fn data_passes_and_lines_with_a_meaning_are_seen() {
        check(
            b"* 12 FETCH (BODY[] {11}\r\na OK x\r\n* y FLAGS ())\r\n* OK hi\r\n* NAMESPACE NIL NIL NIL\r\na OK done\r\n+ idling\r\n* CAPABILITY X\r\n* COMPARATOR {0}\r\n x\r\n* BYE\r\n",
            &["* OK hi\r\n", "a OK done\r\n", "+ idling\r\n", "* CAPABILITY X\r\n", "* BYE\r\n"],
        );
    }

    #[test]
    fn status_text_never_opens_a_literal() {
        check(
            b"* OK foo {5}\r\na NO no such mailbox {5}\r\n+ {3}\r\n",
            &["* OK foo {5}\r\n", "a NO no such mailbox {5}\r\n", "+ {3}\r\n"],
        );
    }

    #[test]
    fn what_follows_a_literal_is_data_whatever_it_looks_like() {
        check(b"* 1 FETCH (X {2}\r\nab\r\na OK x\r\n", &["a OK x\r\n"]);
        check(
            b"* 1 FETCH (X {2}\r\nab* OK Y {1}\r\nz)\r\na OK x\r\n",
            &["a OK x\r\n"],
        );
    }

    #[test]
    fn broken_framing_is_found() {
        breaks(b"* 1 EXISTS\n", ResponseError::BareLf);
        breaks(b"* OK x\n", ResponseError::BareLf);
        breaks(b"* O\n", ResponseError::BareLf);
        breaks(b"a OK x\n", ResponseError::BareLf);
        breaks(b"* 1 FETCH (X \"\0\")\r\n", ResponseError::Nul);
        breaks(b"a O\0K\r\n", ResponseError::Nul);
        breaks(b"* 1 FETCH (X {3+}\r\nabc)\r\n", ResponseError::Literal);
        breaks(b"* 1 FETCH (X {4294967296}\r\n", ResponseError::Literal);
        // However long the zeros make it, cut or not.
        breaks(
            b"* 1 FETCH (X {00000000000000000003}\r\nabc)\r\n",
            ResponseError::Literal,
        );
        breaks(
            &[b"* SEARCH ".as_slice(), &[b'1'; 1000]].concat(),
            ResponseError::LineTooLong,
        );
        // What comes first counts.
        breaks(
            &[b"* SEARCH ".as_slice(), &[b'1'; 1000], b"\0"].concat(),
            ResponseError::LineTooLong,
        );
        let mut long = b"a OK ".to_vec();
        long.extend([b'x'; MAX_HELD]);
        long.extend(b"\r\n");
        assert_eq!(run(&long, 1000).1, ["LineTooLong"]);
        assert_eq!(run(&long, long.len()).1, ["LineTooLong"]);
    }
}
