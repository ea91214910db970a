//! Brings a command into the one form that our decoder reads, and counts its arguments on the way.
//!
//! Quoted strings become literals: people have passwords in Latin-1, which no grammar allows between quotes, and a literal
//! needs no unescaping, hence no further copy. Spaces at the end of the command go: old clients send `LOGIN a b `. It must
//! not change what the command means, and reads quotes and literals exactly where the collector saw them.

use memchr::memmem;
use zeroize::Zeroizing;

use crate::imap::codec::CodecError;
use crate::imap::literal::announcement_of;

/// Most arguments of a command: an ID command with 30 fields has 60.
const MAX_ARGUMENTS: usize = 64;

/// Deepest parentheses.
const MAX_NESTING: usize = 16;

/// What a quoted string can gain: `{nnnnn}` and CRLF.
const GAIN: usize = 9;

/// Copies `words`, tag and verb, and behind them the normalised `arguments`, which end in the command's CRLF.
///
/// # Errors
/// [`CodecError::Arguments`] for an open quote, a bad escape, 8-bit or control characters in an atom, a literal within an
/// atom, or a literal8; [`CodecError::TooComplex`] beyond a bound.
pub(super) fn normalise(words: &[u8], arguments: &[u8]) -> Result<Zeroizing<Vec<u8>>, CodecError> {
    let mut rest = arguments.strip_suffix(b"\r\n").ok_or(CodecError::Arguments)?;
    // Allocated once at full size: a buffer that grows leaves copies of passwords behind.
    let mut out = Zeroizing::new(Vec::with_capacity(
        words.len() + arguments.len() + MAX_ARGUMENTS * GAIN,
    ));
    out.extend_from_slice(words);
    let (mut count, mut depth, mut spaces) = (0, 0_usize, 0_usize);
    while let Some((first, after)) = rest.split_first() {
        if *first == b' ' {
            spaces += 1;
            rest = after;
            continue;
        }
        out.extend(std::iter::repeat_n(b' ', std::mem::take(&mut spaces)));
        match first {
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1).ok_or(CodecError::Arguments)?,
            _ => count += 1,
        }
        if count > MAX_ARGUMENTS || depth > MAX_NESTING {
            return Err(CodecError::TooComplex);
        }
        rest = match first {
            b'(' | b')' => {
                out.push(*first);
                after
            }
            b'"' => quoted(after, &mut out)?,
            b'{' => literal(rest, &mut out)?,
            _ => atom(rest, &mut out)?,
        };
    }
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

/// Rewrites a quoted string, given from behind its first quote, as a literal.
fn quoted<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], CodecError> {
    let (size, len) = measure(text)?;
    let (content, rest) = text.split_at_checked(len).ok_or(CodecError::Arguments)?;
    out.extend_from_slice(format!("{{{size}}}\r\n").as_bytes());
    let mut escaped = false;
    for byte in content {
        escaped = *byte == b'\\' && !escaped;
        if !escaped {
            out.push(*byte);
        }
    }
    rest.strip_prefix(b"\"").ok_or(CodecError::Arguments)
}

/// How many bytes a quoted string stands for, and how many it takes up to its last quote.
fn measure(text: &[u8]) -> Result<(usize, usize), CodecError> {
    let mut size = 0;
    let mut bytes = text.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Ok((size, at)),
            b'\\' if !matches!(bytes.next(), Some((_, b'"' | b'\\'))) => return Err(CodecError::Arguments),
            // The line ended within the quotes: whatever follows was framed as a literal, and is none.
            b'\r' | b'\n' | 0 => return Err(CodecError::Arguments),
            _ => size += 1,
        }
    }
    Err(CodecError::Arguments)
}

/// Copies a literal, which must be announced here and nowhere else.
fn literal<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], CodecError> {
    let head = memmem::find(text, b"\r\n").map_or(0, |crlf| crlf + 2);
    let (head, body) = text.split_at_checked(head).ok_or(CodecError::Arguments)?;
    let form = head.strip_prefix(b"{").unwrap_or_default();
    if form.iter().any(|byte| *byte == b'{') {
        return Err(CodecError::Arguments);
    }
    let Ok(Some(announcement)) = announcement_of(head) else {
        return Err(CodecError::Arguments);
    };
    let size = usize::try_from(announcement.size).unwrap_or(usize::MAX);
    let (content, rest) = body.split_at_checked(size).ok_or(CodecError::Arguments)?;
    out.extend_from_slice(head);
    out.extend_from_slice(content);
    Ok(rest)
}

/// Copies an atom; whether its characters fit the command is for the decoder.
fn atom<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], CodecError> {
    let len = text
        .iter()
        .take_while(|byte| !matches!(byte, b' ' | b'(' | b')' | b'"'))
        .count();
    let (content, rest) = text.split_at_checked(len).ok_or(CodecError::Arguments)?;
    if !content
        .iter()
        .all(|byte| byte.is_ascii_graphic() && *byte != b'{')
    {
        return Err(CodecError::Arguments);
    }
    out.extend_from_slice(content);
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &[u8]) -> Result<String, CodecError> {
        normalise(b"a V", text).map(|out| String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn quoted_strings_become_literals_and_all_else_stays() {
        assert_eq!(normal(b"\r\n").unwrap(), "a V\r\n");
        assert_eq!(normal(b" b c\r\n").unwrap(), "a V b c\r\n");
        assert_eq!(
            normal(b" \"b \\\"\\\\(\" {2+}\r\n\"{\r\n").unwrap(),
            "a V {5}\r\nb \"\\( {2+}\r\n\"{\r\n"
        );
        assert_eq!(normal(b" (\"\" NIL)\r\n").unwrap(), "a V ({0}\r\n NIL)\r\n");
    }

    #[test]
    fn spaces_at_the_end_go_but_not_those_of_a_string() {
        assert_eq!(normal(b" b c  \r\n").unwrap(), "a V b c\r\n");
        assert_eq!(normal(b" b \"c \" \r\n").unwrap(), "a V b {2}\r\nc \r\n");
        assert_eq!(normal(b" b {2}\r\nc \r\n").unwrap(), "a V b {2}\r\nc \r\n");
        assert_eq!(normal(b" b  c\r\n").unwrap(), "a V b  c\r\n");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            &b" b"[..],
            b" \"b\r\n",
            b" \"b\\\r\n",
            b" \"b\\n\"\r\n",
            b" \"x{3}\r\nabc\r\n",
            b" \"x{3}\r\na\"c\r\n",
            b" x{3}\r\nabc\r\n",
            b" ~{3}\r\nabc\r\n",
            b" {{3}\r\nabc\r\n",
            b" {3}\r\nab\r\n",
            b" {4}x\r\n{3}\r\nabc\r\n",
            b" p\xe4ss\r\n",
            b" b\tc\r\n",
            b" b)\r\n",
        ] {
            assert_eq!(
                normal(text),
                Err(CodecError::Arguments),
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn arguments_and_nesting_have_bounds() {
        let many = |count: usize| format!("{}\r\n", " x".repeat(count));
        assert!(normal(many(64).as_bytes()).is_ok());
        assert_eq!(normal(many(65).as_bytes()), Err(CodecError::TooComplex));
        let deep = |depth: usize| format!(" {}{}\r\n", "(".repeat(depth), ")".repeat(depth));
        assert!(normal(deep(16).as_bytes()).is_ok());
        assert_eq!(normal(deep(17).as_bytes()), Err(CodecError::TooComplex));
    }

    #[test]
    fn the_copy_never_grows_beyond_its_first_allocation() {
        let text = format!("{}\r\n", " \"\"".repeat(64));
        let out = normal(text.as_bytes()).unwrap();
        assert!(out.len() <= "a V".len() + text.len() + MAX_ARGUMENTS * GAIN);
    }
}
