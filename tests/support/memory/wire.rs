//! Commands as they come over the wire: lines, literals, arguments.

use std::io;

use tokio::io::AsyncBufRead;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;

/// Longest line and longest literal that the server takes.
const MAX_LINE: u64 = 64 * 1024;
const MAX_LITERAL: usize = 64 * 1024 * 1024;

/// What a line of the client's ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnd {
    /// The command is complete.
    Complete,
    /// A synchronising literal of this size follows once the server says so.
    Literal(usize),
    /// A literal of this size follows without being asked for.
    NonSync(usize),
}

/// Adds a line with its CRLF to `bytes`; nothing at the end of the stream.
///
/// # Errors
/// Where the connection breaks, or the line is too long or ends in a bare LF.
pub async fn read_line(
    stream: &mut (impl AsyncBufRead + Unpin),
    bytes: &mut Vec<u8>,
) -> io::Result<Option<LineEnd>> {
    let start = bytes.len();
    let read = stream.take(MAX_LINE).read_until(b'\n', bytes).await?;
    if read == 0 {
        return Ok(None);
    }
    let Some(line) = bytes[start..].strip_suffix(b"\r\n") else {
        return Err(io::Error::other("a line does not end in CRLF"));
    };
    Ok(Some(line_end(line)))
}

/// Adds a literal of `size` bytes to `bytes`.
///
/// # Errors
/// Where the connection breaks or the literal is too long.
pub async fn read_literal(
    stream: &mut (impl AsyncBufRead + Unpin),
    bytes: &mut Vec<u8>,
    size: usize,
) -> io::Result<()> {
    if size > MAX_LITERAL {
        return Err(io::Error::other("a literal is too long"));
    }
    let start = bytes.len();
    bytes.resize(start + size, 0);
    stream.read_exact(&mut bytes[start..]).await?;
    Ok(())
}

fn line_end(line: &[u8]) -> LineEnd {
    let announced = line
        .strip_suffix(b"}")
        .and_then(|head| Some(&head[head.iter().rposition(|b| *b == b'{')? + 1..]))
        .and_then(|inner| std::str::from_utf8(inner).ok());
    let Some(inner) = announced else {
        return LineEnd::Complete;
    };
    let (digits, non_sync) = match inner.strip_suffix('+') {
        Some(digits) => (digits, true),
        None => (inner, false),
    };
    match digits.parse() {
        Ok(size) if non_sync => LineEnd::NonSync(size),
        Ok(size) => LineEnd::Literal(size),
        Err(_) => LineEnd::Complete,
    }
}

/// One argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arg {
    /// A word, `BODY[HEADER.FIELDS (From)]` included.
    Atom(String),
    /// A quoted string or a literal.
    Text(Vec<u8>),
    /// A list in parentheses.
    List(Vec<Self>),
}

impl Arg {
    /// A word or a string, as bytes.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Atom(word) => Some(word.as_bytes()),
            Self::Text(bytes) => Some(bytes),
            Self::List(_) => None,
        }
    }

    /// A word or a string that is UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// A word in upper case.
    pub fn keyword(&self) -> Option<String> {
        match self {
            Self::Atom(word) => Some(word.to_ascii_uppercase()),
            _ => None,
        }
    }

    /// The members of a list; a single argument is a list of one.
    pub fn members(&self) -> &[Self] {
        match self {
            Self::List(members) => members,
            _ => std::slice::from_ref(self),
        }
    }
}

/// The arguments of a complete command, tag and verb included. Nothing where the text is not IMAP.
pub fn arguments(command: &[u8]) -> Option<Vec<Arg>> {
    let mut rest = command.strip_suffix(b"\r\n").unwrap_or(command);
    let args = list(&mut rest, 0)?;
    rest.is_empty().then_some(args)
}

/// Arguments up to the end or a closing parenthesis.
fn list(rest: &mut &[u8], depth: u8) -> Option<Vec<Arg>> {
    let mut args = Vec::new();
    loop {
        while let Some(after) = rest.strip_prefix(b" ") {
            *rest = after;
        }
        let arg = match rest.first() {
            None => return (depth == 0).then_some(args),
            Some(b')') => {
                *rest = &rest[1..];
                return (depth > 0).then_some(args);
            }
            Some(b'(') if depth < 20 => {
                *rest = &rest[1..];
                Arg::List(list(rest, depth + 1)?)
            }
            Some(b'"') => Arg::Text(quoted(rest)?),
            Some(b'{') => Arg::Text(literal(rest)?),
            Some(_) => Arg::Atom(atom(rest)?),
        };
        args.push(arg);
    }
}

fn quoted(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut bytes = rest.iter().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => {
                *rest = &rest[at + 1..];
                return Some(text);
            }
            b'\\' => text.push(*bytes.next()?.1),
            b'\r' | b'\n' => return None,
            byte => text.push(*byte),
        }
    }
    None
}

fn literal(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let line = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let (LineEnd::Literal(size) | LineEnd::NonSync(size)) = line_end(&rest[..line]) else {
        return None;
    };
    let text = rest.get(line + 2..line + 2 + size)?.to_vec();
    *rest = &rest[line + 2 + size..];
    Some(text)
}

/// A word; brackets keep spaces and parentheses inside together.
fn atom(rest: &mut &[u8]) -> Option<String> {
    let mut inside = false;
    let end = rest
        .iter()
        .position(|byte| {
            match byte {
                b'[' => inside = true,
                b']' => inside = false,
                _ => {}
            }
            matches!(byte, b' ' | b'(' | b')' | b'"' | b'{') && !inside || byte.is_ascii_control()
        })
        .unwrap_or(rest.len());
    let word = String::from_utf8(rest[..end].to_vec()).ok()?;
    *rest = &rest[end..];
    (end > 0).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(word: &str) -> Arg {
        Arg::Atom(word.to_owned())
    }

    #[test]
    fn arguments_are_words_strings_and_lists() {
        let args = arguments(
            b"a FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (From To)]<0.9>) \"q\\\"x\" {3}\r\n)\"( z\r\n",
        );
        let list = Arg::List(vec![atom("UID"), atom("BODY.PEEK[HEADER.FIELDS (From To)]<0.9>")]);
        let text = |bytes: &[u8]| Arg::Text(bytes.to_vec());
        let expected = vec![
            atom("a"),
            atom("FETCH"),
            atom("1:*"),
            list,
            text(b"q\"x"),
            text(b")\"("),
            atom("z"),
        ];
        assert_eq!(args, Some(expected));
        for wrong in ["a (b", "a b)", "a \"b", "a {9}\r\nb"] {
            assert_eq!(arguments(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_line_tells_what_follows() {
        assert_eq!(line_end(b"a NOOP"), LineEnd::Complete);
        assert_eq!(line_end(b"a X {5}"), LineEnd::Literal(5));
        assert_eq!(line_end(b"a X {5+}"), LineEnd::NonSync(5));
        assert_eq!(line_end(b"a X {x}"), LineEnd::Complete);
    }
}
