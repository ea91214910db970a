//! What FETCH asks for, what STORE does, and how many messages a set means: just enough for rules to tell them apart.
//!
//! It never says less than a command does: what it does not know counts as a body, and a set whose size it cannot tell as
//! large as the mailbox.

use crate::imap::lexer::Token;

/// What FETCH asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Items {
    /// Bodies, or parts of them.
    pub body: bool,
    /// Headers, envelopes, structures.
    pub headers: bool,
    /// Flags.
    pub flags: bool,
    /// A body without PEEK: the backend marks the message as read.
    pub sets_seen: bool,
}

impl Items {
    /// Reads the tokens behind FETCH's set.
    #[must_use]
    pub fn of(tokens: &[Token<'_>]) -> Self {
        let mut items = Self::default();
        let mut depth = 0_usize;
        for token in tokens {
            match token {
                Token::Open => depth += 1,
                Token::Close => depth = depth.saturating_sub(1),
                // Header names, and modifiers like (CHANGEDSINCE 5), are no items; both stand deeper or behind.
                Token::Word(word) if depth <= 1 => items.add(word),
                _ => {}
            }
        }
        items
    }

    fn add(&mut self, word: &[u8]) {
        let upper = word.to_ascii_uppercase();
        match upper.as_slice() {
            b"FLAGS" | b"MODSEQ" => self.flags = true,
            b"UID" | b"INTERNALDATE" | b"RFC822.SIZE" | b"EMAILID" | b"THREADID" | b"SAVEDATE"
            | b"X-GM-MSGID" | b"X-GM-THRID" | b"X-GM-LABELS" => {}
            b"ENVELOPE" | b"BODY" | b"BODYSTRUCTURE" | b"RFC822.HEADER" => self.headers = true,
            b"ALL" | b"FAST" | b"FULL" => {
                self.flags = true;
                self.headers |= upper != b"FAST";
            }
            b"RFC822.PEEK" | b"RFC822.TEXT.PEEK" => self.body = true,
            b"RFC822" | b"RFC822.TEXT" => {
                self.body = true;
                self.sets_seen = true;
            }
            b"CHANGEDSINCE" | b"VANISHED" | b"PARTIAL" => {}
            // The end of a section whose header names stand in parentheses.
            [b']', ..] => {}
            number
                if number
                    .iter()
                    .all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'*' | b'-')) => {}
            other => self.section(other),
        }
    }

    /// `BODY[…]`, `BODY.PEEK[…]`, `BINARY[…]`, and what nobody has heard of.
    fn section(&mut self, item: &[u8]) {
        let (name, section) = match item.iter().position(|byte| *byte == b'[') {
            Some(at) => (
                item.get(..at).unwrap_or_default(),
                item.get(at + 1..).unwrap_or_default(),
            ),
            None => (item, &b""[..]),
        };
        let is_header = section.starts_with(b"HEADER")
            || section.ends_with(b".MIME]")
            || section.windows(7).any(|part| part == b".HEADER");
        if is_header || name == b"BINARY.SIZE" {
            self.headers = true;
        } else {
            self.body = true;
        }
        self.sets_seen |= !name.ends_with(b".PEEK") && name != b"BINARY.SIZE" && name != b"PREVIEW";
    }
}

/// What STORE does to flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
    /// `FLAGS`
    Replace,
}

impl StoreMode {
    /// The word in rules.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Replace => "replace",
        }
    }
}

/// What STORE does and with which flags: the tokens behind its set. Nothing where they say neither.
#[must_use]
pub fn store_of<'a>(tokens: &[Token<'a>]) -> Option<(StoreMode, Vec<&'a str>)> {
    let at = tokens.iter().position(|token| store_mode(token).is_some())?;
    let mode = store_mode(tokens.get(at)?)?;
    let flags = tokens.get(at + 1..)?.iter().filter_map(|token| match token {
        Token::Word(word) => std::str::from_utf8(word).ok(),
        _ => None,
    });
    Some((mode, flags.collect()))
}

fn store_mode(token: &Token<'_>) -> Option<StoreMode> {
    let Token::Word(word) = token else {
        return None;
    };
    let upper = word.to_ascii_uppercase();
    match upper.as_slice() {
        b"+FLAGS" | b"+FLAGS.SILENT" | b"+X-GM-LABELS" => Some(StoreMode::Add),
        b"-FLAGS" | b"-FLAGS.SILENT" | b"-X-GM-LABELS" => Some(StoreMode::Remove),
        b"FLAGS" | b"FLAGS.SILENT" | b"X-GM-LABELS" => Some(StoreMode::Replace),
        _ => None,
    }
}

/// How many messages a set means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetSize {
    /// At most so many: each range counts whole, but never more than the mailbox has, where that is known.
    pub messages: u64,
    /// It means the whole mailbox: `1:*`, `*:1`, or a range over all that there is.
    pub is_all: bool,
}

/// Reads a sequence set (RFC 9051, section 9) of numbers or, with `uid`, identifiers: of those the mailbox may have fewer
/// than a range is long. `exists` is how many messages the mailbox has; 0 where that is not known.
#[must_use]
pub fn set_size(set: &[u8], uid: bool, exists: u32) -> SetSize {
    let most = u64::from(exists);
    let bounded = |count: u64| if exists == 0 { count } else { count.min(most) };
    let mut messages = 0_u64;
    let mut is_all = false;
    for range in set.split(|byte| *byte == b',') {
        let (first, last) = match range.iter().position(|byte| *byte == b':') {
            Some(at) => (range.get(..at), range.get(at + 1..)),
            None => (Some(range), Some(range)),
        };
        let (first, last) = (bound(first), bound(last));
        let count = match (first, last) {
            (Bound::Number(first), Bound::Number(last)) => {
                is_all |= first.min(last) <= 1 && exists > 0 && first.max(last) >= most && !uid;
                first.abs_diff(last) + 1
            }
            (Bound::Last, Bound::Last) => 1,
            (Bound::Number(first), Bound::Last) | (Bound::Last, Bound::Number(first)) => {
                is_all |= first <= 1;
                if uid || exists == 0 {
                    // Nobody knows where identifiers begin: it may be all of them.
                    if exists == 0 { u64::MAX } else { most }
                } else {
                    most.saturating_sub(first) + 1
                }
            }
            // `$`, the result of the last search, or nothing that anybody knows.
            (Bound::Unknown, _) | (_, Bound::Unknown) => {
                if exists == 0 {
                    u64::MAX
                } else {
                    most
                }
            }
        };
        messages = messages.saturating_add(bounded(count));
    }
    SetSize {
        messages: bounded(messages),
        is_all: is_all || (exists > 1 && bounded(messages) >= most && !uid),
    }
}

enum Bound {
    Number(u64),
    Last,
    Unknown,
}

fn bound(text: Option<&[u8]>) -> Bound {
    let text = text.unwrap_or_default();
    match text {
        b"*" => Bound::Last,
        digits if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            Bound::Number(digits.iter().fold(0_u64, |sum, digit| {
                sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
            }))
        }
        _ => Bound::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::imap::lexer::tokens;

    use super::*;

    fn items(text: &str) -> String {
        let lexed = tokens(text.as_bytes(), 0).unwrap();
        let items = Items::of(&lexed.tokens);
        let mut said = String::new();
        for (is_set, letter) in [
            (items.body, 'b'),
            (items.headers, 'h'),
            (items.flags, 'f'),
            (items.sets_seen, 's'),
        ] {
            if is_set {
                said.push(letter);
            }
        }
        said
    }

    #[test]
    fn what_fetch_asks_for() {
        for (text, expected) in [
            ("(UID FLAGS)", "f"),
            ("flags", "f"),
            ("FAST", "f"),
            ("ALL", "hf"),
            (
                "(UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To \"X-Y\")])",
                "hf",
            ),
            ("(BODY[HEADER])", "hs"),
            ("BODY.PEEK[]", "b"),
            ("(INTERNALDATE body.peek[]<0.100>)", "b"),
            ("(UID BODY[])", "bs"),
            ("(BODY.PEEK[1.2] BODY.PEEK[2.MIME])", "bh"),
            ("BODY.PEEK[1.HEADER.FIELDS (To)]", "h"),
            ("RFC822", "bs"),
            ("RFC822.HEADER", "h"),
            ("(BINARY.PEEK[1])", "b"),
            ("(BINARY.SIZE[1])", "h"),
            ("(UID FLAGS) (CHANGEDSINCE 12 VANISHED)", "f"),
            ("(BODYSTRUCTURE ENVELOPE)", "h"),
            ("X-UNHEARD-OF", "bs"),
        ] {
            assert_eq!(items(text), expected, "{text}");
        }
    }

    #[test]
    fn what_store_does() {
        for (text, mode, flags) in [
            (
                "+FLAGS (\\Deleted \\Seen)",
                StoreMode::Add,
                &["\\Deleted", "\\Seen"][..],
            ),
            (
                "(UNCHANGEDSINCE 5) -flags.silent \\Seen",
                StoreMode::Remove,
                &["\\Seen"],
            ),
            ("FLAGS ()", StoreMode::Replace, &[]),
        ] {
            let lexed = tokens(text.as_bytes(), 0).unwrap();
            assert_eq!(store_of(&lexed.tokens), Some((mode, flags.to_vec())), "{text}");
        }
        assert_eq!(store_of(&[]), None);
    }

    #[test]
    fn how_many_messages_a_set_means() {
        for (set, uid, exists, messages, is_all) in [
            ("1", false, 100, 1, false),
            ("1:10", false, 100, 10, false),
            ("10:1", false, 100, 10, false),
            ("1:*", false, 100, 100, true),
            ("*:1", false, 100, 100, true),
            ("91:*", false, 100, 10, false),
            ("*", false, 100, 1, false),
            ("1:50,51:100", false, 100, 100, true),
            ("1:4000000000", false, 100, 100, true),
            ("1:4000000000", true, 100, 100, false),
            ("1:*", true, 100, 100, true),
            ("500:*", true, 100, 100, false),
            ("1,3,5", true, 100, 3, false),
            ("$", false, 100, 100, true),
            ("1:*", false, 0, u64::MAX, true),
            ("7:9", false, 0, 3, false),
        ] {
            let expected = SetSize { messages, is_all };
            assert_eq!(
                set_size(set.as_bytes(), uid, exists),
                expected,
                "{set} of {exists}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_set_means_more_than_the_mailbox_has(set in "[0-9:,*$]{0,40}", uid: bool, exists in 1_u32..1000) {
            prop_assert!(set_size(set.as_bytes(), uid, exists).messages <= u64::from(exists));
        }
    }
}
