//! Reads what a server answers, and compares every byte of mail and listings. Any surprise is an error.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use crate::content;
use crate::socket::other;

/// Longest line besides listings.
const LINE: usize = 16 * 1024;

/// What all clients together have seen.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes of mail and listings, all of them compared.
    pub bytes: Cell<u64>,
    /// Lines of listings.
    pub lines: Cell<u64>,
    /// Bytes that came in TLS records, and in how many.
    pub plain: Cell<u64>,
    pub records: Cell<u64>,
    /// Hand-shakes.
    pub full: Cell<u64>,
    pub resumed: Cell<u64>,
}

impl Counters {
    pub fn add(counter: &Cell<u64>, amount: u64) {
        counter.set(counter.get() + amount);
    }
}

#[derive(Debug)]
enum Awaits {
    Line,
    Literal { message: u32, offset: u64 },
    Listing { expected: &'static [u8], lines: u64 },
}

/// The answers on one connection, to commands with the tags `a1`, `a2`, ….
#[derive(Debug)]
pub struct Reader {
    awaits: Awaits,
    /// A line that has not come whole yet.
    line: Vec<u8>,
    /// Commands that were answered OK.
    pub answered: u64,
    /// Continuation requests so far.
    pub continuations: u64,
    pub greeted: bool,
    pub said_bye: bool,
    pub counters: Rc<Counters>,
}

impl Reader {
    pub fn new(counters: Rc<Counters>) -> Self {
        Self {
            awaits: Awaits::Line,
            line: Vec::new(),
            answered: 0,
            continuations: 0,
            greeted: false,
            said_bye: false,
            counters,
        }
    }

    /// The next thing to come is a listing.
    pub fn expect_listing(&mut self, lines: usize) {
        self.awaits = Awaits::Listing {
            expected: content::listing(lines),
            lines: lines as u64,
        };
    }

    /// True where no response is half read.
    pub fn at_boundary(&self) -> bool {
        matches!(self.awaits, Awaits::Line) && self.line.is_empty()
    }

    /// Takes bytes of the server.
    pub fn receive(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        Counters::add(&self.counters.plain, bytes.len() as u64);
        while !bytes.is_empty() {
            let taken = match &mut self.awaits {
                Awaits::Literal { message, offset } => {
                    let left = content::size(*message) - *offset;
                    let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    if !content::matches(*message, *offset, &bytes[..taken]) {
                        return Err(other(format!(
                            "message {message} is not as sent near byte {offset}"
                        )));
                    }
                    *offset += taken as u64;
                    Counters::add(&self.counters.bytes, taken as u64);
                    if taken as u64 == left {
                        self.awaits = Awaits::Line;
                    }
                    taken
                }
                Awaits::Listing { expected, lines } => {
                    let taken = bytes.len().min(expected.len());
                    let (now, later) = expected.split_at(taken);
                    if now != &bytes[..taken] {
                        return Err(other(format!("the listing is not as sent: {}", shown(bytes))));
                    }
                    Counters::add(&self.counters.bytes, taken as u64);
                    *expected = later;
                    if later.is_empty() {
                        Counters::add(&self.counters.lines, *lines);
                        self.awaits = Awaits::Line;
                    }
                    taken
                }
                Awaits::Line => self.line(bytes)?,
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    fn line(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = memchr::memchr(b'\n', bytes);
        let taken = end.map_or(bytes.len(), |end| end + 1);
        if self.line.len() + taken > LINE {
            return Err(other("a line is longer than 16 KiB"));
        }
        if end.is_none() {
            self.line.extend_from_slice(bytes);
        } else if self.line.is_empty() {
            self.whole_line(&bytes[..taken])?;
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(&bytes[..taken]);
            self.whole_line(&line)?;
        }
        Ok(taken)
    }

    fn whole_line(&mut self, line: &[u8]) -> io::Result<()> {
        let surprise = || other(format!("unexpected: {}", shown(line)));
        let line = line.strip_suffix(b"\r\n").ok_or_else(surprise)?;
        if !self.greeted {
            self.greeted = line.starts_with(b"* OK");
            return if self.greeted { Ok(()) } else { Err(surprise()) };
        }
        if line.starts_with(b"* BYE") {
            self.said_bye = true;
        } else if line.starts_with(b"* ") {
            if line.ends_with(b"}") {
                self.awaits = announced(line).ok_or_else(surprise)?;
            }
        } else if line.starts_with(b"+") {
            self.continuations += 1;
        } else if line != b")" {
            let tag = format!("a{} OK", self.answered + 1);
            if !line.starts_with(tag.as_bytes()) {
                return Err(surprise());
            }
            self.answered += 1;
        }
        Ok(())
    }
}

/// `* 7 FETCH (BODY[] {4096}`, if the size is that of the message.
fn announced(line: &[u8]) -> Option<Awaits> {
    let text = std::str::from_utf8(line).ok()?;
    let message = text.split(' ').nth(1)?.parse().ok()?;
    let (_, size) = text.strip_suffix('}')?.rsplit_once('{')?;
    let right = size.parse() == Ok(content::size(message));
    right.then_some(Awaits::Literal { message, offset: 0 })
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> Reader {
        let mut reader = Reader::new(Rc::default());
        reader.receive(b"* OK ready\r\n").unwrap();
        reader
    }

    #[test]
    fn mail_that_comes_as_it_was_sent_is_counted() {
        let mut reader = reader();
        reader.receive(b"* 9 FETCH (BODY[] {4096}\r\n").unwrap();
        reader.receive(content::piece(9, 0, 4096)).unwrap();
        assert!(reader.at_boundary());
        reader.receive(b")\r\na1 OK x\r\n").unwrap();
        assert_eq!((reader.answered, reader.counters.bytes.get()), (1, 4096));
    }

    #[test]
    fn a_wrong_byte_size_tag_or_answer_is_an_error() {
        let mut in_literal = reader();
        in_literal.receive(b"* 9 FETCH (BODY[] {4096}\r\n").unwrap();
        assert!(in_literal.receive(content::piece(8, 0, 4096)).is_err());
        let mut in_listing = reader();
        in_listing.expect_listing(2);
        assert!(in_listing.receive(b"* 1 FETCH (UID 2").is_err());
        for wrong in [
            b"* 9 FETCH (BODY[] {4095}\r\n".as_slice(),
            b"a2 OK\r\n",
            b"a1 NO\r\n",
            b"nonsense\r\n",
            b"a1 OK\n",
        ] {
            assert!(reader().receive(wrong).is_err());
        }
    }

    #[test]
    fn answers_may_be_cut_anywhere() {
        let mut reader = reader();
        reader.expect_listing(3);
        let answer = [content::listing(3), b"a1 OK done\r\n"].concat();
        for byte in answer.chunks(1) {
            reader.receive(byte).unwrap();
        }
        assert_eq!((reader.answered, reader.counters.lines.get()), (1, 3));
    }
}
