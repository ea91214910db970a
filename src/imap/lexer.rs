//! Cuts a collected command into tokens: words, quoted strings, literals, parentheses.
//!
//! It accepts what servers accept (several spaces, trailing space, 8-bit bytes) as long as no two of them could read it
//! differently, and refuses the rest: an open quote, a brace outside a literal, a quote inside a word, deep nesting.

use thiserror::Error;

use crate::imap::literal::Announcement;
use crate::imap::literal::announcement_of;

/// Deepest nesting of parentheses. Thunderbird's longest filters stay below 20; old servers recurse.
const MAX_DEPTH: usize = 32;

/// Tokens for which room is made at first.
const USUAL_TOKENS: usize = 16;

/// One token of a command, borrowed from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// A run of bytes that are neither space, quote, brace, parenthesis nor control. `[` and `]` are ordinary here.
    Word(&'a [u8]),
    /// What stands between two quotes, escapes still in it.
    Quoted(&'a [u8]),
    /// A literal that is at hand.
    Literal(&'a [u8]),
    /// A literal that the end of the input announces: its bytes are still to come.
    Announced(Announcement),
    /// `(`
    Open,
    /// `)`
    Close,
}

/// Why bytes are not tokens. The text is for the client's BAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LexError {
    /// A quoted string that the line ends in.
    #[error("Quoted string is not closed")]
    OpenQuote,
    /// An escape of something other than quote or backslash.
    #[error("Invalid escape in quoted string")]
    Escape,
    /// A brace that announces no literal.
    #[error("Invalid literal")]
    Brace,
    /// A control character, or a quote inside a word.
    #[error("Invalid character")]
    Character,
    /// Parentheses do not match.
    #[error("Unbalanced parentheses")]
    Unbalanced,
    /// Parentheses nest too deeply.
    #[error("Too deeply nested")]
    TooDeep,
}

/// The tokens of a command, or of its beginning up to an announcement.
///
/// # Errors
/// Says what no reading can make sense of. `depth` is how many parentheses stand open before the bytes: not 0 only behind
/// a literal that was streamed.
pub fn tokens(bytes: &[u8], depth: usize) -> Result<Lexed<'_>, LexError> {
    let mut lexer = Lexer::within(bytes, depth);
    // Most commands have no more.
    let mut tokens = Vec::with_capacity(USUAL_TOKENS);
    while let Some(token) = lexer.next_token()? {
        tokens.push(token);
        if matches!(token, Token::Announced(_)) {
            return Ok(Lexed {
                tokens,
                depth: lexer.depth,
                deepest: lexer.deepest,
            });
        }
    }
    if lexer.depth > 0 {
        return Err(LexError::Unbalanced);
    }
    Ok(Lexed {
        tokens,
        depth: 0,
        deepest: lexer.deepest,
    })
}

/// True for a line of a command that falls into tokens, the last of which announces a literal. Which parentheses are open is seen
/// where all of the command is read.
#[must_use]
pub fn ends_in_announcement(line: &[u8]) -> bool {
    let mut lexer = Lexer::new(line);
    loop {
        lexer.depth = lexer.depth.clamp(1, MAX_DEPTH - 1);
        match lexer.next_token() {
            Ok(Some(Token::Announced(_))) => return true,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return false,
        }
    }
}

/// Tokens, and how many parentheses are open behind the last.
#[derive(Debug)]
pub struct Lexed<'a> {
    /// In the order of the command.
    pub tokens: Vec<Token<'a>>,
    /// 0 for a complete command.
    pub depth: usize,
    /// How deep they nest.
    pub deepest: usize,
}

/// Cuts off one token after the other.
pub(super) struct Lexer<'a> {
    rest: &'a [u8],
    depth: usize,
    deepest: usize,
}

impl<'a> Lexer<'a> {
    /// Begins outside all parentheses.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self::within(bytes, 0)
    }

    /// Begins where so many parentheses are open.
    fn within(bytes: &'a [u8], depth: usize) -> Self {
        Self {
            rest: bytes,
            depth,
            deepest: depth,
        }
    }

    /// How many parentheses are open.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// The next token; none at the end of the command.
    pub(super) fn next_token(&mut self) -> Result<Option<Token<'a>>, LexError> {
        #[cfg(test)]
        tests::count_one();
        self.rest = self.rest.trim_ascii_start_spaces();
        let Some(&first) = self.rest.first() else {
            return Ok(None);
        };
        match first {
            b'\r' => {
                self.rest = &[];
                Ok(None)
            }
            b'(' => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(LexError::TooDeep);
                }
                self.deepest = self.deepest.max(self.depth);
                Ok(Some(self.single(Token::Open)))
            }
            b')' => {
                self.depth = self.depth.checked_sub(1).ok_or(LexError::Unbalanced)?;
                Ok(Some(self.single(Token::Close)))
            }
            b'"' => self.quoted().map(Some),
            b'{' => self.literal().map(Some),
            b'~' if self.rest.get(1) == Some(&b'{') => {
                self.rest = self.rest.get(1..).unwrap_or_default();
                self.literal().map(|token| Some(as_literal8(token)))
            }
            _ => self.word().map(Some),
        }
    }

    fn single(&mut self, token: Token<'a>) -> Token<'a> {
        self.rest = self.rest.get(1..).unwrap_or_default();
        token
    }

    fn quoted(&mut self) -> Result<Token<'a>, LexError> {
        let body = self.rest.get(1..).unwrap_or_default();
        let mut bytes = body.iter().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    let (text, rest) = body.split_at(at);
                    self.rest = rest.get(1..).unwrap_or_default();
                    self.ends_here()?;
                    return Ok(Token::Quoted(text));
                }
                b'\\' if !matches!(bytes.next(), Some((_, b'"' | b'\\'))) => return Err(LexError::Escape),
                b'\r' => return Err(LexError::OpenQuote),
                _ => {}
            }
        }
        Err(LexError::OpenQuote)
    }

    /// A literal: its announcement ends the line, its bytes follow, if they are at hand.
    fn literal(&mut self) -> Result<Token<'a>, LexError> {
        let line_end = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |lf| lf + 1);
        let (line, behind) = self.rest.split_at(line_end);
        let announcement = announcement_of(line).ok().flatten().ok_or(LexError::Brace)?;
        // The announcement must be all there is from the brace on: `{3} {4}` has a brace where none may stand.
        if memchr::memrchr(b'{', line) != Some(0) {
            return Err(LexError::Brace);
        }
        if behind.is_empty() && announcement.size > 0 {
            self.rest = &[];
            return Ok(Token::Announced(announcement));
        }
        let size = usize::try_from(announcement.size).unwrap_or(usize::MAX);
        let text = behind.get(..size).ok_or(LexError::Brace)?;
        self.rest = behind.get(size..).unwrap_or_default();
        if size == 0 && behind.is_empty() {
            return Ok(Token::Announced(announcement));
        }
        self.ends_here()?;
        Ok(Token::Literal(text))
    }

    fn word(&mut self) -> Result<Token<'a>, LexError> {
        let end = self
            .rest
            .iter()
            .position(|byte| matches!(byte, b' ' | b'(' | b')' | b'{' | b'"' | 0..=31 | 127));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        match rest.first() {
            None | Some(b' ' | b'(' | b')' | b'\r') if !word.is_empty() => {
                self.rest = rest;
                Ok(Token::Word(word))
            }
            Some(b'{') => Err(LexError::Brace),
            _ => Err(LexError::Character),
        }
    }

    /// Behind a string stands a space, a parenthesis, a section's end or the end of the line, never a word.
    fn ends_here(&self) -> Result<(), LexError> {
        match self.rest.first() {
            None | Some(b' ' | b'(' | b')' | b']' | b'\r') => Ok(()),
            Some(b'{') => Err(LexError::Brace),
            Some(_) => Err(LexError::Character),
        }
    }
}

/// What `~` stands before.
fn as_literal8(token: Token<'_>) -> Token<'_> {
    match token {
        Token::Announced(announcement) => Token::Announced(Announcement {
            binary: true,
            ..announcement
        }),
        other => other,
    }
}

trait TrimSpaces {
    fn trim_ascii_start_spaces(&self) -> &Self;
}

impl TrimSpaces for [u8] {
    /// Without the spaces in front. Only SP: a tab is no separator in IMAP.
    fn trim_ascii_start_spaces(&self) -> &Self {
        let spaces = self.iter().take_while(|byte| **byte == b' ').count();
        self.get(spaces..).unwrap_or_default()
    }
}

/// A quoted string without its escapes.
#[must_use]
pub fn unescaped(quoted: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => plain.extend(bytes.next()),
            other => plain.push(*other),
        }
    }
    plain
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::imap::literal::LiteralMode;

    thread_local! {
        static READ: Cell<usize> = const { Cell::new(0) };
    }

    /// How many tokens this thread has read, for tests of how much work commands are.
    pub(crate) fn counted() -> usize {
        READ.get()
    }

    pub(super) fn count_one() {
        READ.set(READ.get() + 1);
    }

    fn lex(bytes: &[u8]) -> Result<Vec<Token<'_>>, LexError> {
        tokens(bytes, 0).map(|lexed| lexed.tokens)
    }

    #[test]
    fn commands_fall_into_tokens() {
        assert_eq!(
            lex(b"a FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (From \"To\")]<0.9>)\r\n").unwrap(),
            [
                Token::Word(b"a"),
                Token::Word(b"FETCH"),
                Token::Word(b"1:*"),
                Token::Open,
                Token::Word(b"FLAGS"),
                Token::Word(b"BODY.PEEK[HEADER.FIELDS"),
                Token::Open,
                Token::Word(b"From"),
                Token::Quoted(b"To"),
                Token::Close,
                Token::Word(b"]<0.9>"),
                Token::Close,
            ]
        );
        assert_eq!(
            lex(b"a LOGIN {3}\r\nb\"b \"a\\\"\\\\\"  \r\n").unwrap(),
            [
                Token::Word(b"a"),
                Token::Word(b"LOGIN"),
                Token::Literal(b"b\"b"),
                Token::Quoted(b"a\\\"\\\\"),
            ]
        );
        assert_eq!(
            lex(b"a X {0}\r\n\r\n").unwrap().last(),
            Some(&Token::Literal(b""))
        );
    }

    #[test]
    fn the_end_of_a_prefix_announces_a_literal() {
        for (bytes, depth) in [
            (&b"a X {3}\r\n"[..], 0),
            (b"a X (y ({3}\r\n", 2),
            (b"a X {0}\r\n", 0),
        ] {
            let lexed = tokens(bytes, 0).unwrap();
            assert!(matches!(lexed.tokens.last(), Some(Token::Announced(a)) if a.mode == LiteralMode::Sync));
            assert_eq!(lexed.depth, depth);
        }
    }

    #[test]
    fn what_servers_read_differently_is_refused() {
        for (bytes, error) in [
            (&b"a SELECT \"x{3}\r\n"[..], LexError::OpenQuote),
            (b"a SELECT \"x\\y\"\r\n", LexError::Escape),
            (b"a SELECT \"x\"y\r\n", LexError::Character),
            (b"a SELECT x\"y\r\n", LexError::Character),
            (b"a SELECT x{3}\r\n", LexError::Brace),
            (b"a SELECT { 3}\r\n", LexError::Brace),
            (b"a SELECT {3-}\r\n", LexError::Brace),
            (b"a SELECT {3} {3}\r\n", LexError::Brace),
            (b"a SELECT \"x\"{3}\r\n", LexError::Brace),
            (b"a SELECT {3}\r\nabc{3}\r\n", LexError::Brace),
            (b"a SELECT\tx\r\n", LexError::Character),
            (b"a SELECT \x01\r\n", LexError::Character),
            (b"a (\r\n", LexError::Unbalanced),
            (b"a )\r\n", LexError::Unbalanced),
        ] {
            assert_eq!(lex(bytes), Err(error), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let mut deep = b"a X ".to_vec();
        deep.extend([b'('; 33]);
        assert_eq!(lex(&deep), Err(LexError::TooDeep));
    }
}
