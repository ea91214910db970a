//! The collector of commands and the scanner of responses against readers that take the whole input at once and know
//! nothing of pieces.

use imapwarden::imap::collect::Bounds;
use imapwarden::imap::collect::Collector;
use imapwarden::imap::collect::FrameError;
use imapwarden::imap::collect::Progress;
use imapwarden::imap::response::Item;
use imapwarden::imap::response::Scanner;

use super::Cuts;

/// Small, so that short inputs reach them.
const BOUNDS: Bounds = Bounds {
    line: 100,
    literal: 50,
    literals: 80,
    literal_count: 3,
    command: 150,
};

/// Longest line of data in the check of responses.
const MAX_LINE: usize = 200;

/// What a reader of commands saw.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// A whole command.
    Command(Vec<u8>),
    /// What was kept of a command of which part was thrown away.
    Poisoned(Vec<u8>),
    /// The end: bytes that cannot be framed.
    Broken(FrameError),
}

/// Both readers of client bytes see the same, wherever the bytes are cut.
pub fn commands(input: &[u8], seed: u64) {
    let expected = read_commands(input);
    for cuts in [None, Some(Cuts::new(seed)), Some(Cuts::new(seed.wrapping_add(1)))] {
        let pieces = match cuts {
            None => vec![input],
            Some(mut cuts) => cuts.pieces(input),
        };
        let seen = collect(&pieces);
        assert_eq!(
            seen,
            expected,
            "{} in {} pieces",
            input.escape_ascii(),
            pieces.len()
        );
    }
}

/// What the collector makes of the pieces: every literal that fits is kept, every other discarded.
fn collect(pieces: &[&[u8]]) -> Vec<Seen> {
    let mut collector = Collector::new(BOUNDS);
    let mut seen = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let (taken, progress) = collector.feed(rest);
            rest = &rest[taken..];
            match progress {
                Progress::More => break,
                Progress::Announced(literal) if collector.fits(literal).is_ok() => collector.keep(),
                Progress::Announced(_) => collector.discard(),
                Progress::Complete => {
                    let bytes = collector.bytes().to_vec();
                    assert!(bytes.len() <= BOUNDS.command);
                    seen.push(match collector.is_poisoned() {
                        true => Seen::Poisoned(bytes),
                        false => Seen::Command(bytes),
                    });
                    collector.reset();
                }
                Progress::Broken(error) => {
                    seen.push(Seen::Broken(error));
                    return seen;
                }
            }
        }
    }
    seen
}

/// The reference: commands one after the other, from the whole input.
fn read_commands(input: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut rest = input;
    loop {
        match read_command(&mut rest) {
            Ok(Some(command)) => seen.push(command),
            Ok(None) => return seen,
            Err(error) => {
                seen.push(Seen::Broken(error));
                return seen;
            }
        }
    }
}

/// One command off the front; nothing where it is not complete.
fn read_command(rest: &mut &[u8]) -> Result<Option<Seen>, FrameError> {
    let (mut kept, mut lines, mut literals, mut count) = (Vec::new(), 0, 0, 0);
    let mut poisoned = false;
    loop {
        let room = match poisoned {
            true => (BOUNDS.line - lines, FrameError::LineTooLong),
            false if BOUNDS.command - kept.len() < BOUNDS.line - lines => {
                (BOUNDS.command - kept.len(), FrameError::CommandTooLong)
            }
            false => (BOUNDS.line - lines, FrameError::LineTooLong),
        };
        let Some(line) = read_line(rest, room)? else {
            return Ok(None);
        };
        lines += line.len();
        if !poisoned {
            kept.extend_from_slice(line);
        }
        // Of a line that is thrown away only the end is kept: a number too long to be seen whole is refused.
        if poisoned && has_endless_number(line) {
            return Err(FrameError::LiteralTooLarge);
        }
        let Some(literal) = announced(line) else {
            return Ok(Some(finished(poisoned, kept)));
        };
        let size = literal.size.ok_or(FrameError::LiteralTooLarge)?;
        let fits = size <= 50
            && literals + size <= BOUNDS.literals
            && kept.len() + size <= BOUNDS.command
            && count < BOUNDS.literal_count;
        if (poisoned || !fits) && !literal.non_sync {
            return Ok(Some(finished(true, kept)));
        }
        poisoned |= !fits;
        let come = &rest[..size.min(rest.len())];
        if !poisoned && !literal.binary && come.contains(&0) {
            return Err(FrameError::Nul);
        }
        if come.len() < size {
            return Ok(None);
        }
        *rest = &rest[size..];
        if !poisoned {
            literals += size;
            count += 1;
            kept.extend_from_slice(come);
        }
    }
}

fn finished(poisoned: bool, bytes: Vec<u8>) -> Seen {
    match poisoned {
        true => Seen::Poisoned(bytes),
        false => Seen::Command(bytes),
    }
}

/// A line off the front, in which CR and LF stand only at its end and NUL nowhere. What is wrong first counts.
fn read_line<'a>(
    rest: &mut &'a [u8],
    (room, too_long): (usize, FrameError),
) -> Result<Option<&'a [u8]>, FrameError> {
    for (at, byte) in rest.iter().enumerate() {
        if at == room {
            return Err(too_long);
        }
        match byte {
            0 => return Err(FrameError::Nul),
            b'\n' => return Err(FrameError::BareLf),
            b'\r' => match rest.get(at + 1) {
                None => return Ok(None),
                Some(b'\n') if at + 1 < room => {
                    let (line, behind) = rest.split_at(at + 2);
                    *rest = behind;
                    return Ok(Some(line));
                }
                Some(_) if at + 1 == room => return Err(too_long),
                Some(_) => return Err(FrameError::BareCr),
            },
            _ => {}
        }
    }
    Ok(None)
}

/// A literal that the end of a line announces.
#[derive(Debug)]
pub struct Literal {
    /// Its size, if every server reads it as the same number.
    pub size: Option<usize>,
    /// `{n+}`
    pub non_sync: bool,
    /// `~{n}`
    pub binary: bool,
}

fn has_endless_number(line: &[u8]) -> bool {
    let (number, most) = match line.strip_suffix(b"+}\r\n") {
        Some(number) => (number, 11),
        None => (line.strip_suffix(b"}\r\n").unwrap_or_default(), 12),
    };
    number
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count()
        > most
}

/// Reads `{n}`, `{n+}` and `~{n}` at the end of a line, backwards, byte by byte.
pub fn announced(line: &[u8]) -> Option<Literal> {
    let mut bytes = line.strip_suffix(b"}\r\n")?.iter().rev().copied().peekable();
    let non_sync = bytes.next_if_eq(&b'+').is_some();
    let mut digits = Vec::new();
    while let Some(digit) = bytes.next_if(u8::is_ascii_digit) {
        digits.insert(0, digit);
    }
    if digits.is_empty() || bytes.next() != Some(b'{') {
        return None;
    }
    let number: Option<u128> = std::str::from_utf8(&digits)
        .unwrap()
        .trim_start_matches('0')
        .parse()
        .ok();
    let zero = digits.iter().all(|digit| *digit == b'0');
    let size = if zero { Some(0) } else { number };
    Some(Literal {
        size: size.filter(|size| *size < 1 << 31).map(|size| size as usize),
        non_sync,
        binary: bytes.next() == Some(b'~'),
    })
}

/// What a reader of responses saw: the lines that mean something, and whether the bytes were responses at all.
#[derive(Debug, PartialEq, Eq)]
struct Responses {
    lines: Vec<Vec<u8>>,
    broken: bool,
}

/// Both readers of backend bytes see the same lines, wherever the bytes are cut, and all other bytes pass unchanged.
pub fn responses(input: &[u8], seed: u64) {
    let expected = read_responses(input);
    for cuts in [None, Some(Cuts::new(seed)), Some(Cuts::new(seed.wrapping_add(1)))] {
        let pieces = match cuts {
            None => vec![input],
            Some(mut cuts) => cuts.pieces(input),
        };
        let (seen, passed) = scan(&pieces);
        assert_eq!(
            seen,
            expected,
            "{} in {} pieces",
            input.escape_ascii(),
            pieces.len()
        );
        assert!(input.starts_with(&passed), "{}", input.escape_ascii());
    }
}

/// What the scanner makes of the pieces, and all that it lets pass.
fn scan(pieces: &[&[u8]]) -> (Responses, Vec<u8>) {
    let mut scanner = Scanner::new(MAX_LINE);
    let (mut lines, mut passed) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (taken, is_line) = match scanner.next(rest) {
                Item::Data(taken) => {
                    passed.extend_from_slice(&rest[..taken]);
                    (taken, false)
                }
                Item::Line(taken) => {
                    lines.push(rest[..taken].to_vec());
                    passed.extend_from_slice(&rest[..taken]);
                    (taken, true)
                }
                Item::HeldLine(taken) => {
                    lines.push(scanner.held().to_vec());
                    passed.extend_from_slice(scanner.held());
                    scanner.release();
                    (taken, true)
                }
                Item::HeldData(taken) | Item::Named(taken) => {
                    passed.extend_from_slice(scanner.held());
                    scanner.release();
                    (taken, false)
                }
                Item::More(taken) => (taken, false),
                Item::Broken(_) => return (Responses { lines, broken: true }, passed),
            };
            assert!(!is_line || scanner.at_boundary());
            rest = &rest[taken..];
        }
    }
    (Responses { lines, broken: false }, passed)
}

/// The reference: responses one after the other, from the whole input.
fn read_responses(input: &[u8]) -> Responses {
    let mut lines = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        match read_response(rest) {
            Ok(Some(response)) => {
                if !response.is_data {
                    lines.push(rest[..response.length].to_vec());
                }
                rest = &rest[response.length..];
            }
            Ok(None) => break,
            Err(NoResponse) => return Responses { lines, broken: true },
        }
    }
    Responses { lines, broken: false }
}

/// A response at the front of an input.
#[derive(Debug, Clone, Copy)]
pub struct Response {
    /// Its bytes, literals included.
    pub length: usize,
    /// True for what is neither status nor CAPABILITY nor tagged nor `+`.
    pub is_data: bool,
}

/// Bytes that are no response.
#[derive(Debug)]
pub struct NoResponse;

/// One response off the front; nothing where it is not complete, an error where it can be none.
pub fn read_response(input: &[u8]) -> Result<Option<Response>, NoResponse> {
    let is_data = is_data(input);
    let mut length = 0;
    loop {
        let rest = &input[length..];
        let end = rest.iter().position(|byte| matches!(byte, 0 | b'\n'));
        let most = if is_data { MAX_LINE } else { 64 * 1024 };
        if end.map_or(rest.len(), |end| end + 1) > most {
            return Err(NoResponse);
        }
        let Some(end) = end else { return Ok(None) };
        let line = &rest[..=end];
        if !line.ends_with(b"\r\n") {
            return Err(NoResponse);
        }
        length += line.len();
        if is_data && has_endless_number(line) {
            return Err(NoResponse);
        }
        let literal = announced(line).filter(|_| is_data);
        let Some(literal) = literal else {
            return Ok(Some(Response { length, is_data }));
        };
        let size = literal.size.filter(|_| !literal.non_sync).ok_or(NoResponse)?;
        if input.len() - length < size {
            return Ok(None);
        }
        length += size;
    }
}

fn is_data(input: &[u8]) -> bool {
    let Some(behind) = input.strip_prefix(b"* ") else {
        return false;
    };
    let word = behind.split(|byte| b" \r\n".contains(byte)).next().unwrap();
    let words: [&[u8]; 6] = [b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH", b"CAPABILITY"];
    !words.iter().any(|known| word.eq_ignore_ascii_case(known))
}
