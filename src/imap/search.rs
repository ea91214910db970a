//! Which keys a SEARCH uses, and what its terms are about (RFC 3501, section 6.4.4; RFC 5256; RFC 7377).
//!
//! The terms are looked at and forgotten: what comes out are words of closed lists. It reads more than servers accept, and
//! never less: a word that stands where no key can be is a term.

use std::collections::VecDeque;
use std::iter::Peekable;

use zeroize::Zeroizing;

use crate::imap::lexer::Token;
use crate::imap::lexer::unescaped;
use crate::imap::terms::Categories;
use crate::imap::terms::categories_of;

/// What a search is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// The keys in upper case, each once, in the order of their first use.
    pub keys: Vec<&'static str>,
    /// What its terms are about.
    pub categories: Categories,
    /// How many terms it has: strings that are looked for in messages.
    pub terms: u32,
    /// True where the terms are in another character set than ASCII, UTF-8 and the Latin ones: they may hide what they are
    /// about.
    pub strange_charset: bool,
}

/// What stands behind a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument {
    /// A string that is looked for.
    Term,
    /// The name of a header field.
    Field,
    /// A number, date, set, flag or name: nothing that is looked for in texts.
    Plain,
}

use Argument::Field;
use Argument::Plain;
use Argument::Term;

/// Every key that we know, and its arguments.
const KEYS: &[(&str, &[Argument])] = &[
    // RFC 3501 and RFC 9051
    ("ALL", &[]),
    ("ANSWERED", &[]),
    ("BCC", &[Term]),
    ("BEFORE", &[Plain]),
    ("BODY", &[Term]),
    ("CC", &[Term]),
    ("DELETED", &[]),
    ("DRAFT", &[]),
    ("FLAGGED", &[]),
    ("FROM", &[Term]),
    ("HEADER", &[Field, Term]),
    ("KEYWORD", &[Plain]),
    ("LARGER", &[Plain]),
    ("NEW", &[]),
    ("NOT", &[]),
    ("OLD", &[]),
    ("ON", &[Plain]),
    ("OR", &[]),
    ("RECENT", &[]),
    ("SEEN", &[]),
    ("SENTBEFORE", &[Plain]),
    ("SENTON", &[Plain]),
    ("SENTSINCE", &[Plain]),
    ("SINCE", &[Plain]),
    ("SMALLER", &[Plain]),
    ("SUBJECT", &[Term]),
    ("TEXT", &[Term]),
    ("TO", &[Term]),
    ("UID", &[Plain]),
    ("UNANSWERED", &[]),
    ("UNDELETED", &[]),
    ("UNDRAFT", &[]),
    ("UNFLAGGED", &[]),
    ("UNKEYWORD", &[Plain]),
    ("UNSEEN", &[]),
    // RFC 5032, RFC 5466, RFC 6203, RFC 8474, RFC 8514; Gmail
    ("OLDER", &[Plain]),
    ("YOUNGER", &[Plain]),
    ("FILTER", &[Plain]),
    ("FUZZY", &[]),
    ("EMAILID", &[Plain]),
    ("THREADID", &[Plain]),
    ("SAVEDBEFORE", &[Plain]),
    ("SAVEDON", &[Plain]),
    ("SAVEDSINCE", &[Plain]),
    ("SAVEDATESUPPORTED", &[]),
    // The name of an entry may stand before its number; it is looked at like a term, which does no harm.
    ("MODSEQ", &[]),
    ("ANNOTATION", &[Plain, Plain, Term]),
    ("X-GM-RAW", &[Term]),
    ("X-GM-LABELS", &[Plain]),
    ("X-GM-MSGID", &[Plain]),
    ("X-GM-THRID", &[Plain]),
];

/// Header fields whose values are identifiers, which clients search for by themselves.
const IDENTIFIERS: [&str; 3] = ["MESSAGE-ID", "REFERENCES", "IN-REPLY-TO"];

/// Character sets whose ASCII letters are themselves, one byte each.
const PLAIN_CHARSETS: [&str; 6] = ["US-ASCII", "ASCII", "UTF-8", "UTF8", "ISO-8859-1", "ISO-8859-15"];

/// Which command the keys belong to: what stands before them differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// SEARCH and ESEARCH: `RETURN (…)`, `IN (…)` and `CHARSET x` may come first.
    Search,
    /// SORT: `RETURN (…)`, the criteria in parentheses, the charset.
    Sort,
    /// THREAD: the algorithm, the charset.
    Thread,
}

impl Search {
    /// Reads everything behind the verb.
    pub(super) fn read<'a>(form: Form, tokens: impl IntoIterator<Item = Token<'a>>) -> Self {
        let mut reader = Reader {
            search: Self::default(),
            expected: VecDeque::new(),
            is_identifier: false,
        };
        let mut tokens = tokens.into_iter().peekable();
        reader.expect_head(form, &mut tokens);
        for token in tokens {
            reader.take(token);
        }
        reader.search
    }
}

/// A search that is being read.
struct Reader {
    search: Search,
    /// The arguments that the last key has still to get.
    expected: VecDeque<Argument>,
    /// The term that comes is an identifier of a message.
    is_identifier: bool,
}

impl Reader {
    /// What comes before the keys; ends at the first token that can be one.
    fn expect_head<'a>(&mut self, form: Form, tokens: &mut Peekable<impl Iterator<Item = Token<'a>>>) {
        while let Some(Token::Word(word)) = tokens.peek() {
            if !word.eq_ignore_ascii_case(b"RETURN") && !word.eq_ignore_ascii_case(b"IN") {
                break;
            }
            tokens.next();
            skip_group(tokens);
        }
        match form {
            Form::Search => {
                let is_charset = |token: &Token<'_>| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(b"CHARSET"));
                if tokens.next_if(is_charset).is_some() {
                    self.take_charset(tokens.next());
                }
            }
            Form::Sort => {
                skip_group(tokens);
                self.take_charset(tokens.next());
            }
            Form::Thread => {
                tokens.next();
                self.take_charset(tokens.next());
            }
        }
    }

    fn take_charset(&mut self, token: Option<Token<'_>>) {
        let (Some(Token::Word(name)) | Some(Token::Quoted(name)) | Some(Token::Literal(name))) = token else {
            return;
        };
        let plain = PLAIN_CHARSETS
            .iter()
            .any(|known| known.as_bytes().eq_ignore_ascii_case(name));
        self.search.strange_charset |= !plain;
    }

    fn take(&mut self, token: Token<'_>) {
        match token {
            Token::Word(word) => self.take_word(word),
            Token::Literal(text) => self.take_string(text),
            Token::Quoted(text) if memchr::memchr(b'\\', text).is_some() => {
                self.take_string(&Zeroizing::new(unescaped(text)));
            }
            Token::Quoted(text) => self.take_string(text),
            // A parenthesis where an argument belongs is a mistake: what follows are keys again.
            Token::Open | Token::Close => self.expected.clear(),
            Token::Announced(_) => {}
        }
    }

    fn take_word(&mut self, word: &[u8]) {
        if !self.expected.is_empty() {
            self.take_string(word);
            return;
        }
        let known = KEYS
            .iter()
            .find(|(key, _)| key.as_bytes().eq_ignore_ascii_case(word));
        match known {
            Some((key, arguments)) => {
                if !self.search.keys.contains(key) {
                    self.search.keys.push(key);
                }
                self.is_identifier = false;
                self.expected.extend(*arguments);
            }
            None if is_set(word) => {}
            None => self.look_at(word),
        }
    }

    fn take_string(&mut self, text: &[u8]) {
        match self.expected.pop_front() {
            Some(Plain) => {}
            Some(Field) => {
                self.is_identifier = IDENTIFIERS
                    .iter()
                    .any(|name| name.as_bytes().eq_ignore_ascii_case(text));
            }
            Some(Term) if self.is_identifier => self.is_identifier = false,
            Some(Term) | None => self.look_at(text),
        }
    }

    fn look_at(&mut self, term: &[u8]) {
        self.search.terms = self.search.terms.saturating_add(1);
        self.search.categories.add(categories_of(term));
    }
}

/// Drops a parenthesised group, if there is one.
fn skip_group<'a>(tokens: &mut Peekable<impl Iterator<Item = Token<'a>>>) {
    let mut depth = 0_usize;
    while let Some(token) = tokens.peek() {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            _ if depth == 0 => return,
            _ => {}
        }
        tokens.next();
        if depth == 0 {
            return;
        }
    }
}

/// A sequence set, `$`, or a number: keys as well, without a name.
fn is_set(word: &[u8]) -> bool {
    word == b"$"
        || word
            .iter()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'*' | b':' | b','))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::lexer::tokens;
    use crate::imap::terms::Category;

    fn read(form: Form, text: &[u8]) -> Search {
        let line = [text, b"\r\n"].concat();
        Search::read(form, tokens(&line, 0).unwrap().tokens)
    }

    fn search(text: &str) -> (Vec<&'static str>, Vec<&'static str>, u32) {
        let search = read(Form::Search, text.as_bytes());
        let categories = search.categories.iter().map(Category::as_str).collect();
        (search.keys, categories, search.terms)
    }

    /// A search; its keys, and behind the bars its categories and how many terms it has.
    const SEARCHES: &[(&str, &str)] = &[
        ("ALL", "ALL||0"),
        ("FROM bob SUBJECT \"your invoice\"", "FROM SUBJECT|payment|2"),
        (
            "or text password body Rechnung",
            "OR TEXT BODY|payment credential|2",
        ),
        (
            "1:* NOT (SEEN SUBJECT wire) UNSEEN",
            "NOT SEEN SUBJECT UNSEEN|payment|1",
        ),
        ("SINCE 1-Jan-2026 LARGER 5000 UID 1:5", "SINCE LARGER UID||0"),
        ("HEADER Subject salary", "HEADER|hr|1"),
        ("HEADER Message-ID <1@bank.example>", "HEADER||0"),
        ("HEADER Message-ID <1@x> TEXT bank", "HEADER TEXT|bank|1"),
        ("KEYWORD $Invoice UNKEYWORD Password", "KEYWORD UNKEYWORD||0"),
        ("RETURN (ALL COUNT) FROM x", "FROM||1"),
        ("CHARSET UTF-8 TEXT contraseña", "TEXT|credential|1"),
        (
            "X-GM-RAW \"has:attachment (invoice OR iban)\"",
            "X-GM-RAW|payment bank|1",
        ),
        ("MODSEQ \"/flags/\\\\draft\" all 620", "MODSEQ ALL||1"),
        ("SUBJECT TEXT BODY FROM", "SUBJECT BODY||2"),
        (
            "IN (personal subtree (\"Sent\")) RETURN () SUBJECT x",
            "SUBJECT||1",
        ),
        ("SUBJECT \"pass\\\"word password\"", "SUBJECT|credential|1"),
    ];

    #[test]
    fn keys_are_listed_and_terms_are_categories() {
        for (text, expected) in SEARCHES {
            let (keys, categories, terms) = search(text);
            let told = format!("{}|{}|{terms}", keys.join(" "), categories.join(" "));
            assert_eq!(told, *expected, "{text}");
        }
    }

    #[test]
    fn literals_and_eight_bit_terms_are_looked_at() {
        let utf8 = read(Form::Search, b"SUBJECT {12+}\r\n\xc3\x9cberweisung UNSEEN");
        assert!(utf8.categories.contains(Category::Payment) && utf8.keys == ["SUBJECT", "UNSEEN"]);
        let latin = read(Form::Search, b"CHARSET ISO-8859-1 TEXT {11}\r\n\xdcberweisung");
        assert!(latin.categories.contains(Category::Payment) && !latin.strange_charset);
        let bare = read(Form::Search, b"TEXT \xdcberweisung");
        assert!(bare.categories.contains(Category::Payment));
    }

    #[test]
    fn sort_and_thread_have_heads_of_their_own() {
        let sort = read(Form::Sort, b"(REVERSE DATE SUBJECT) UTF-8 TEXT payroll");
        assert_eq!((sort.keys.as_slice(), sort.terms), (&["TEXT"][..], 1));
        assert!(sort.categories.contains(Category::Hr) && !sort.strange_charset);
        let sort = read(Form::Sort, b"RETURN (ALL) (ARRIVAL) US-ASCII ALL");
        assert_eq!((sort.keys.as_slice(), sort.terms), (&["ALL"][..], 0));
        let thread = read(Form::Thread, b"REFERENCES UTF-8 SUBJECT vertrag");
        assert_eq!(thread.keys, ["SUBJECT"]);
        assert!(thread.categories.contains(Category::Legal));
    }

    #[test]
    fn a_term_cannot_hide_where_a_key_or_another_argument_belongs() {
        for text in [
            "password",
            "\"password\"",
            "SUBJECT x \"password\"",
            "NOT password",
            "(password)",
            "SINCE (TEXT password)",
            "FOO password",
            "HEADER X-Y password",
            "HEADER Message-ID (TEXT password)",
            "OR HEADER Message-ID x password",
        ] {
            assert!(search(text).1.contains(&"credential"), "{text}");
        }
    }

    #[test]
    fn other_character_sets_are_told() {
        for (charset, strange) in [
            ("utf-8", false),
            ("\"US-ASCII\"", false),
            ("UTF-7", true),
            ("UTF-16", true),
            ("IBM037", true),
        ] {
            let text = format!("CHARSET {charset} TEXT x");
            assert_eq!(
                read(Form::Search, text.as_bytes()).strange_charset,
                strange,
                "{charset}"
            );
        }
    }
}
