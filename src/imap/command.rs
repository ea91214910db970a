//! What a client's command after login says: tag, verb, mailbox, and where a literal may stand.
//!
//! It reads a complete command or its beginning up to a literal's announcement by the same rules, so that what was accepted
//! piece by piece is accepted as a whole. What it cannot read is refused, never passed on.

use std::ops::Range;

use smallvec::SmallVec;
use thiserror::Error;

use crate::imap::lexer::LexError;
use crate::imap::lexer::Lexed;
use crate::imap::lexer::Lexer;
use crate::imap::lexer::Token;
use crate::imap::lexer::tokens;
use crate::imap::literal::Announcement;
use crate::imap::mailbox::MailboxName;
use crate::imap::verb::Part;
use crate::imap::verb::Verb;

/// Longest tag; clients use 1 to 10 bytes.
const MAX_TAG: usize = 64;

/// A command, or its beginning.
#[derive(Debug)]
pub struct Command<'a> {
    /// The client's tag.
    pub tag: &'a [u8],
    /// What it asks for.
    pub verb: Verb,
    /// The first mailbox it names.
    pub mailbox: Option<MailboxName>,
    /// The second: where RENAME, and the first where COPY and MOVE, go.
    pub destination: Option<MailboxName>,
    /// The literal that the input ends in the announcement of.
    pub awaits: Option<Awaited>,
    /// Parentheses open at the end of the input.
    pub depth: usize,
    /// How deep parentheses nest in it.
    pub deepest: usize,
    /// Where the verb's first word stands in the command's bytes.
    pub word: Range<usize>,
    /// All that is behind the tag.
    tokens: Vec<Token<'a>>,
    /// How many of them are the verb.
    verb_tokens: usize,
}

/// The role of an announced literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// A string argument: collected with the command before it is judged.
    Argument(Announcement),
    /// A message: judged by its head, then streamed.
    Message(Announcement),
}

/// Why a command is refused. The text is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CommandError {
    /// No tag, or one with bytes that no tag has.
    #[error("Invalid tag")]
    Tag,
    /// Only a tag.
    #[error("Missing command")]
    NoVerb,
    /// A verb that is not in the table.
    #[error("Unknown command")]
    UnknownVerb,
    /// The tokens do not fit the verb's shape.
    #[error("Invalid arguments")]
    Arguments,
    /// Several messages, and one of them is made of parts.
    #[error("A message made of parts must be appended alone")]
    PartsAmongMessages,
    /// A literal where the command's grammar has none.
    #[error("No literal allowed here")]
    MisplacedLiteral,
    /// The bytes fall into no tokens.
    #[error(transparent)]
    Lex(#[from] LexError),
}

/// Which verbs the operator allows beyond the table: upper case.
pub type ExtraVerbs = [Box<[u8]>];

impl<'a> Command<'a> {
    /// Reads a complete command, or one that ends in a literal's announcement.
    ///
    /// # Errors
    /// Says why it is refused; [`tag_of`] finds the tag for the answer.
    pub fn read(bytes: &'a [u8], extra: &ExtraVerbs) -> Result<Self, CommandError> {
        let tag = tag_of(bytes).ok_or(CommandError::Tag)?;
        let behind = bytes.get(tag.len()..).unwrap_or_default();
        let Lexed {
            tokens,
            depth,
            deepest,
        } = tokens(behind, 0)?;
        let (verb, arguments) = verb_of(&tokens, extra)?;
        // What a server says to a DONE that came too late must be no answer to a command.
        if tag.eq_ignore_ascii_case(b"DONE") {
            return Err(CommandError::Tag);
        }
        let mut command = Self {
            tag,
            verb,
            mailbox: None,
            destination: None,
            awaits: None,
            depth,
            deepest,
            word: word_behind(tag, behind, &tokens),
            tokens: Vec::new(),
            verb_tokens: tokens.len() - arguments.len(),
        };
        command.fit(arguments)?;
        command.tokens = tokens;
        Ok(command)
    }

    /// A command that names no mailbox and has no literals, of which the rest is known already.
    pub(super) fn without_tokens(tag: &'a [u8], verb: Verb, deepest: usize) -> Self {
        Self {
            tag,
            verb,
            mailbox: None,
            destination: None,
            awaits: None,
            depth: 0,
            deepest,
            word: 0..0,
            tokens: Vec::new(),
            verb_tokens: 0,
        }
    }

    /// The tokens behind the verb.
    #[must_use]
    pub fn arguments(&self) -> &[Token<'a>] {
        self.tokens.get(self.verb_tokens..).unwrap_or_default()
    }

    /// Reads the arguments by the verb's shape, as far as they are there.
    fn fit(&mut self, arguments: &[Token<'a>]) -> Result<(), CommandError> {
        let mut rest = arguments;
        for part in self.verb.shape() {
            if self.awaits.is_some() {
                return Ok(());
            }
            rest = self.take(*part, rest)?;
        }
        match rest {
            [] => Ok(()),
            [Token::Announced(_), ..] => Err(CommandError::MisplacedLiteral),
            _ => Err(CommandError::Arguments),
        }
    }

    /// Reads one part of the shape off the tokens.
    fn take<'t>(&mut self, part: Part, tokens: &'t [Token<'a>]) -> Result<&'t [Token<'a>], CommandError> {
        match part {
            Part::Mailbox => self.take_mailbox(tokens),
            Part::Astring => self.take_string(tokens),
            Part::Word => match tokens {
                [Token::Word(_), rest @ ..] => Ok(rest),
                _ => Err(misplaced(tokens)),
            },
            Part::Words => match tokens {
                [Token::Open, ..] => group_of_words(tokens),
                _ => Err(misplaced(tokens)),
            },
            Part::MaybeWords => match tokens {
                [Token::Open, ..] => group_of_words(tokens),
                _ => Ok(tokens),
            },
            Part::Patterns => match tokens {
                [Token::Open, ..] => self.take_group(tokens),
                _ => self.take_string(tokens),
            },
            Part::Rest => {
                self.note_announced(tokens)?;
                Ok(&[])
            }
            Part::Message => self.take_message(tokens),
        }
    }

    fn take_string<'t>(&mut self, tokens: &'t [Token<'a>]) -> Result<&'t [Token<'a>], CommandError> {
        match tokens {
            [Token::Word(_) | Token::Quoted(_) | Token::Literal(_), rest @ ..] => Ok(rest),
            // To a server that knows no literal8, `~` is a word of its own, and the name another.
            [Token::Announced(announcement)] if announcement.binary => Err(CommandError::MisplacedLiteral),
            [Token::Announced(announcement)] => {
                self.awaits = Some(Awaited::Argument(*announcement));
                Ok(&[])
            }
            _ => Err(CommandError::Arguments),
        }
    }

    fn take_mailbox<'t>(&mut self, tokens: &'t [Token<'a>]) -> Result<&'t [Token<'a>], CommandError> {
        let rest = self.take_string(tokens)?;
        let name = tokens.first().and_then(|token| MailboxName::decode(*token));
        if self.mailbox.is_none() {
            self.mailbox = name;
        } else {
            self.destination = name;
        }
        Ok(rest)
    }

    /// A parenthesised group with strings in it.
    fn take_group<'t>(&mut self, tokens: &'t [Token<'a>]) -> Result<&'t [Token<'a>], CommandError> {
        match behind_group(tokens) {
            Some(rest) => Ok(rest),
            None => {
                self.note_announced(tokens)?;
                if self.awaits.is_some() {
                    Ok(&[])
                } else {
                    Err(CommandError::Arguments)
                }
            }
        }
    }

    /// A literal8 is no string but in the values of metadata (RFC 5464, section 5).
    fn note_announced(&mut self, tokens: &[Token<'a>]) -> Result<(), CommandError> {
        if let [.., Token::Announced(announcement)] = tokens {
            if announcement.binary && self.verb != Verb::SetMetadata {
                return Err(CommandError::MisplacedLiteral);
            }
            self.awaits = Some(Awaited::Argument(*announcement));
        }
        Ok(())
    }

    /// Flags, date, then the message: a literal, `UTF8 (` literal, or `CATENATE (` parts (RFC 3501, 4469, 6855).
    fn take_message<'t>(&mut self, tokens: &'t [Token<'a>]) -> Result<&'t [Token<'a>], CommandError> {
        let tokens = match tokens {
            [Token::Open, ..] => group_of_words(tokens)?,
            _ => tokens,
        };
        let tokens = match tokens {
            [Token::Quoted(_), rest @ ..] => rest,
            _ => tokens,
        };
        match tokens {
            [Token::Announced(announcement)] => self.awaits = Some(Awaited::Message(*announcement)),
            [Token::Word(word), parts @ ..]
                if is_message_form(word) && parts.first() == Some(&Token::Open) =>
            {
                match (behind_group(parts), parts) {
                    (None, [.., Token::Announced(announcement)]) => {
                        self.awaits = Some(Awaited::Message(*announcement));
                    }
                    (Some([]), _) => {}
                    (Some(_), _) => return Err(CommandError::PartsAmongMessages),
                    (None, _) => return Err(CommandError::Arguments),
                }
            }
            // An empty message: `{0}` is at hand as soon as it is announced.
            [Token::Literal(b"")] => {}
            _ => return Err(CommandError::Arguments),
        }
        Ok(&[])
    }
}

/// True for a command whose literals are all arguments, none a message. Only its first words are looked at.
#[must_use]
pub fn has_no_message(bytes: &[u8], extra: &ExtraVerbs) -> bool {
    let tag = tag_of(bytes).unwrap_or_default();
    let mut lexer = Lexer::new(bytes.get(tag.len()..).unwrap_or_default());
    let words = std::iter::from_fn(|| lexer.next_token().ok().flatten());
    let words: SmallVec<[Token<'_>; 2]> = words.take(2).collect();
    verb_of(&words, extra).is_ok_and(|(verb, _)| !verb.shape().contains(&Part::Message))
}

/// Reads what follows a streamed literal: more messages, parts, closing parentheses, the end of the line. Messages are counted by
/// their literals (RFC 3502), which one of parts may do without (RFC 4469): there is none behind another message.
///
/// # Errors
/// Says why the rest of the command cannot be passed on.
pub fn read_tail(bytes: &[u8], depth: usize) -> Result<(Option<Announcement>, usize), CommandError> {
    let Lexed { tokens, depth, .. } = tokens(bytes, depth)?;
    let makes_parts =
        |token: &Token<'_>| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(CATENATE));
    if tokens.iter().any(makes_parts) {
        return Err(CommandError::PartsAmongMessages);
    }
    match tokens.last() {
        Some(Token::Announced(announcement)) => Ok((Some(*announcement), depth)),
        _ => Ok((None, depth)),
    }
}

/// The tag that a line starts with, if it is one (RFC 3501: any ASTRING-CHAR but `+`).
#[must_use]
pub fn tag_of(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| matches!(byte, b' ' | b'\r'))?;
    let tag = bytes.get(..end)?;
    let valid = !tag.is_empty() && tag.len() <= MAX_TAG && tag.iter().copied().all(is_tag_byte);
    valid.then_some(tag)
}

fn is_tag_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b'+')
}

/// Where the first word behind the tag stands.
fn word_behind(tag: &[u8], behind: &[u8], tokens: &[Token<'_>]) -> Range<usize> {
    let spaces = behind.iter().take_while(|byte| **byte == b' ').count();
    let start = tag.len() + spaces;
    match tokens.first() {
        Some(Token::Word(word)) => start..start + word.len(),
        _ => start..start,
    }
}

/// The verb and what is behind it; UID joins with the verb that follows it.
fn verb_of<'t, 'a>(
    tokens: &'t [Token<'a>],
    extra: &ExtraVerbs,
) -> Result<(Verb, &'t [Token<'a>]), CommandError> {
    match tokens {
        [] => Err(CommandError::NoVerb),
        [Token::Word(uid), Token::Word(word), rest @ ..] if uid.eq_ignore_ascii_case(b"UID") => {
            let verb = Verb::find_uid(word).ok_or(CommandError::UnknownVerb)?;
            Ok((verb, rest))
        }
        [Token::Word(word), rest @ ..] => match Verb::find(word) {
            Some(verb) => Ok((verb, rest)),
            None if extra.iter().any(|known| word.eq_ignore_ascii_case(known)) => Ok((Verb::Extra, rest)),
            None => Err(CommandError::UnknownVerb),
        },
        _ => Err(CommandError::UnknownVerb),
    }
}

/// What is behind a group that has only words and groups in it.
fn group_of_words<'t, 'a>(tokens: &'t [Token<'a>]) -> Result<&'t [Token<'a>], CommandError> {
    let Some(rest) = behind_group(tokens) else {
        return Err(match tokens.last() {
            Some(Token::Announced(_)) => CommandError::MisplacedLiteral,
            _ => CommandError::Arguments,
        });
    };
    let group = tokens.get(..tokens.len() - rest.len()).unwrap_or_default();
    if group
        .iter()
        .any(|token| matches!(token, Token::Literal(_) | Token::Announced(_)))
    {
        return Err(CommandError::MisplacedLiteral);
    }
    Ok(rest)
}

/// What is behind the group that the tokens start with; nothing where it does not close.
pub(super) fn behind_group<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<&'t [Token<'a>]> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return tokens.get(at + 1..);
        }
    }
    None
}

/// What stands before the parts of a message.
const CATENATE: &[u8] = b"CATENATE";

fn is_message_form(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"UTF8") || word.eq_ignore_ascii_case(CATENATE)
}

fn misplaced(tokens: &[Token<'_>]) -> CommandError {
    match tokens {
        [Token::Announced(_), ..] | [Token::Literal(_), ..] => CommandError::MisplacedLiteral,
        _ => CommandError::Arguments,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Command<'_>, CommandError> {
        Command::read(bytes, &[])
    }

    fn is_message(bytes: &[u8]) -> bool {
        matches!(read(bytes).unwrap().awaits, Some(Awaited::Message(_)))
    }

    #[test]
    fn what_real_clients_send_is_read() {
        for line in [
            "96 list (subscribed) \"\" \"*\" return (special-use)",
            "a LIST \"\" (\"INBOX\" \"Sent/*\") RETURN (STATUS (MESSAGES UNSEEN) SPECIAL-USE)",
            "14 UID fetch 1:120 (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To \"X-Y\")])",
            "a UID FETCH 4 (BODY.PEEK[TEXT]<65536.65536>) (CHANGEDSINCE 12 VANISHED)",
            "a SEARCH RETURN (ALL COUNT) OR FROM \"x\" (NOT SUBJECT {3+}\r\nabc UNSEEN)",
            "a UID STORE 2 +FLAGS.SILENT (\\Deleted $Junk)",
            "a SELECT \"INBOX\" (CONDSTORE QRESYNC (1 2 1:3 (1 1)))",
            "a ENABLE CONDSTORE QRESYNC",
            "a ID (\"name\" \"Thunderbird\" \"version\" NIL)",
            "a STATUS INBOX (MESSAGES UIDNEXT)",
            "a GETMETADATA (DEPTH 1) \"\" (/shared/comment)",
            "a SETMETADATA INBOX (/private/comment {5}\r\nhello)",
            "a NOTIFY SET (selected (MessageNew (FLAGS) MessageExpunge))",
            "a SORT (REVERSE DATE) UTF-8 ALL",
            "a CREATE x (USE (\\Archive))",
            "a UID MOVE 1:* \"Trash\"",
            "a noop ",
            "a IDLE",
        ] {
            let bytes = format!("{line}\r\n");
            assert!(
                read(bytes.as_bytes()).is_ok(),
                "{line}: {:?}",
                read(bytes.as_bytes()).err()
            );
        }
    }

    #[test]
    fn mailboxes_are_found_in_every_spelling() {
        for line in [
            &b"a SELECT {5}\r\nInBoX\r\n"[..],
            b"a select inbox\r\n",
            b"a Select \"INBOX\"\r\n",
        ] {
            assert_eq!(read(line).unwrap().mailbox.unwrap().as_str(), "INBOX");
        }
        let rename = read(b"a RENAME Entw&APw-rfe {1}\r\nx\r\n").unwrap();
        assert_eq!(rename.mailbox.unwrap().as_str(), "Entwürfe");
        assert_eq!(rename.destination.unwrap().as_str(), "x");
    }

    #[test]
    fn messages_are_told_from_arguments() {
        assert!(is_message(
            b"a APPEND \"Sent\" (\\Seen) \"01-Jan-2026 00:00:00 +0000\" {53+}\r\n"
        ));
        assert!(is_message(b"a APPEND Sent {53}\r\n"));
        assert!(is_message(b"a APPEND {4}\r\nSent ~{53}\r\n"));
        assert!(is_message(b"a APPEND Sent (\\Seen) UTF8 (~{53}\r\n"));
        assert!(is_message(b"a APPEND Sent CATENATE (URL \"/x\" TEXT {53}\r\n"));
        assert!(is_message(b"a UID REPLACE 5 Drafts (\\Draft) {53}\r\n"));
        assert!(read(b"a SETMETADATA x (/p ~{5}\r\n").is_ok());
        assert!(!is_message(b"a APPEND {4}\r\n"));
        assert!(!is_message(b"a SEARCH SUBJECT {4}\r\n"));
    }

    #[test]
    fn a_message_made_of_parts_is_appended_alone() {
        assert!(read(b"a APPEND x CATENATE (URL \"/y\" URL /z)\r\n").is_ok());
        assert!(read(b"a REPLACE 1 x (\\Seen) CATENATE (URL \"/y\" TEXT {3}\r\n").is_ok());
        for line in [
            &b"a APPEND x CATENATE (URL \"/y\") CATENATE (URL \"/y\")\r\n"[..],
            b"a APPEND x (\\Seen) CATENATE (URL \"/y\") (\\Seen) \" 1-Jan-2026 00:00:00 +0000\" {5+}\r\n",
            b"a APPEND x CATENATE (URL \"/y\") CATENATE (TEXT {5}\r\n",
            b"a UID REPLACE 1 x catenate (URL \"/y\") y\r\n",
        ] {
            let error = read(line).unwrap_err();
            assert_eq!(error, CommandError::PartsAmongMessages, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_literal_passes_only_where_the_grammar_has_one() {
        for line in [
            &b"a NOOP {8+}\r\n"[..],
            b"a CHECK {8}\r\n",
            b"a EXPUNGE {8+}\r\n",
            b"a APPEND INBOX (\\Bad {8+}\r\n",
            b"a STATUS INBOX {8}\r\n",
            b"a COPY {1}\r\n",
            b"a IDLE {4}\r\n",
            b"a SELECT ~{5}\r\n",
            b"a RENAME x ~{5+}\r\n",
            b"a SETMETADATA ~{5}\r\n",
            b"a LIST \"\" (~{5}\r\n",
            b"a SEARCH SUBJECT ~{5}\r\n",
        ] {
            assert_eq!(
                read(line).unwrap_err(),
                CommandError::MisplacedLiteral,
                "{}",
                line.escape_ascii()
            );
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (line, error) in [
            (&b" NOOP\r\n"[..], CommandError::Tag),
            (b"+ NOOP\r\n", CommandError::Tag),
            (b"* NOOP\r\n", CommandError::Tag),
            (b"a\x01b NOOP\r\n", CommandError::Tag),
            (b"\r\n", CommandError::Tag),
            (b"a\r\n", CommandError::NoVerb),
            (b"DONE\r\n", CommandError::NoVerb),
            (b"a FROBNICATE x\r\n", CommandError::UnknownVerb),
            (b"a UID FROBNICATE x\r\n", CommandError::UnknownVerb),
            (b"a UID\r\n", CommandError::UnknownVerb),
            (b"a SELECT\r\n", CommandError::Arguments),
            (b"a SELECT x y\r\n", CommandError::Arguments),
            (b"a NOOP x\r\n", CommandError::Arguments),
            (b"a APPEND x\r\n", CommandError::Arguments),
        ] {
            assert_eq!(read(line).unwrap_err(), error, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn the_operator_may_allow_a_verb() {
        let extra: [Box<[u8]>; 1] = [b"XAPPLEPUSHSERVICE".as_slice().into()];
        let command = Command::read(b"a xapplepushservice x {3}\r\nabc\r\n", &extra).unwrap();
        assert_eq!(command.verb, Verb::Extra);
    }

    #[test]
    fn what_follows_a_message_is_read_too() {
        assert_eq!(read_tail(b"\r\n", 0).unwrap(), (None, 0));
        assert_eq!(read_tail(b")\r\n", 1).unwrap(), (None, 0));
        assert!(matches!(read_tail(b" (\\Seen) {5+}\r\n", 0), Ok((Some(_), 0))));
        assert!(matches!(
            read_tail(b" URL \"x\" TEXT {5}\r\n", 1),
            Ok((Some(_), 1))
        ));
        for tail in [
            &b" CATENATE (URL \"/x\")\r\n"[..],
            b" (\\Seen) catenate (TEXT {5+}\r\n",
            b" URL \"/x\") Catenate (URL /y URL \"/z\")\r\n",
        ] {
            let depth = usize::from(tail.starts_with(b" URL"));
            let error = read_tail(tail, depth).unwrap_err();
            assert_eq!(error, CommandError::PartsAmongMessages, "{}", tail.escape_ascii());
        }
        assert!(read_tail(b" URL \"CATENATE\") (\\Seen) {5}\r\n", 1).is_ok());
        assert!(read_tail(b"\r\n", 1).is_err());
        assert!(read_tail(b")\r\n", 0).is_err());
        assert!(read_tail(b" \"open {5}\r\n", 0).is_err());
    }
}
