//! Brings a command into the one form that our decoder reads, and counts its arguments on the way.
//!
//! Strings become literals: people have passwords in Latin-1, which no grammar allows between quotes, and a literal needs no
//! unescaping, hence no further copy. Spaces too many go: old clients send `LOGIN a b `. It must not change what the command
//! means; what could mean two things the lexer refuses.

use zeroize::Zeroizing;

use crate::imap::codec::CodecError;
use crate::imap::lexer::LexError;
use crate::imap::lexer::Lexer;
use crate::imap::lexer::Token;

/// Most arguments of a command, lists included: an ID command with 30 fields has 61.
const MAX_ARGUMENTS: usize = 64;

/// Deepest parentheses.
const MAX_NESTING: usize = 16;

/// What a token can gain: a space, `{nnnnn}` and CRLF.
const GAIN: usize = 10;

/// Copies `words`, tag and verb, and behind them the normalised `arguments`, which end in the command's CRLF.
///
/// # Errors
/// [`CodecError::Arguments`] for what is no sequence of tokens; [`CodecError::TooComplex`] beyond a bound.
pub(super) fn normalise(words: &[u8], arguments: &[u8]) -> Result<Zeroizing<Vec<u8>>, CodecError> {
    if !arguments.ends_with(b"\r\n") {
        return Err(CodecError::Arguments);
    }
    let mut lexer = Lexer::new(arguments);
    // Allocated once at full size: a buffer that grows leaves copies of passwords behind.
    let mut out = Zeroizing::new(Vec::with_capacity(
        words.len() + arguments.len() + MAX_ARGUMENTS * GAIN,
    ));
    out.extend_from_slice(words);
    let mut count = 0;
    let mut joined = false;
    while let Some(token) = lexer.next_token().map_err(lex_error)? {
        count += usize::from(token != Token::Close);
        if count > MAX_ARGUMENTS || lexer.depth() > MAX_NESTING {
            return Err(CodecError::TooComplex);
        }
        if !joined && token != Token::Close {
            out.push(b' ');
        }
        joined = token == Token::Open;
        append(token, &mut out)?;
    }
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

fn lex_error(error: LexError) -> CodecError {
    match error {
        LexError::TooDeep => CodecError::TooComplex,
        _ => CodecError::Arguments,
    }
}

fn append(token: Token<'_>, out: &mut Vec<u8>) -> Result<(), CodecError> {
    match token {
        Token::Word(text) => out.extend_from_slice(text),
        Token::Open => out.push(b'('),
        Token::Close => out.push(b')'),
        Token::Literal(text) => {
            announce(text.len(), out);
            out.extend_from_slice(text);
        }
        Token::Quoted(text) => {
            announce(unescaped(text).count(), out);
            out.extend(unescaped(text));
        }
        Token::Announced(_) => return Err(CodecError::Arguments),
    }
    Ok(())
}

fn announce(size: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{{size}}}\r\n").as_bytes());
}

/// The bytes that a quoted string stands for; its escapes are known to be right.
fn unescaped(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut escaped = false;
    text.iter().copied().filter(move |byte| {
        escaped = *byte == b'\\' && !escaped;
        !escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &[u8]) -> Result<String, CodecError> {
        normalise(b"a V", text).map(|out| String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn strings_become_literals_and_all_else_stays() {
        assert_eq!(normal(b"\r\n").unwrap(), "a V\r\n");
        assert_eq!(normal(b" b c\r\n").unwrap(), "a V b c\r\n");
        assert_eq!(
            normal(b" \"b \\\"\\\\(\" {2+}\r\n\"{\r\n").unwrap(),
            "a V {5}\r\nb \"\\( {2}\r\n\"{\r\n"
        );
        assert_eq!(normal(b" (\"\" NIL)\r\n").unwrap(), "a V ({0}\r\n NIL)\r\n");
    }

    #[test]
    fn needless_spaces_go_but_not_those_of_a_string() {
        assert_eq!(normal(b"  b   c  \r\n").unwrap(), "a V b c\r\n");
        assert_eq!(normal(b" ( b )\r\n").unwrap(), "a V (b)\r\n");
        assert_eq!(normal(b" b \"c \" \r\n").unwrap(), "a V b {2}\r\nc \r\n");
        assert_eq!(normal(b" b {2}\r\nc \r\n").unwrap(), "a V b {2}\r\nc \r\n");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            &b" b"[..],
            b" \"b\r\n",
            b" \"b\\\r\n",
            b" \"b\\n\"\r\n",
            b" \"b\"c\r\n",
            b" b\"c\"\r\n",
            b" \"x{3}\r\nabc\r\n",
            b" \"x{3}\r\na\"c\r\n",
            b" x{3}\r\nabc\r\n",
            b" {{3}\r\nabc\r\n",
            b" {3}\r\nab\r\n",
            b" {4}x\r\n{3}\r\nabc\r\n",
            b" {3}\r\n",
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
        for depth in [17, 40, 4000] {
            assert_eq!(normal(deep(depth).as_bytes()), Err(CodecError::TooComplex));
        }
    }
}
