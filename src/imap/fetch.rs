//! What a FETCH asks for (RFC 3501, section 6.4.5; RFC 3516; RFC 8970): bodies, headers, or flags only.
//!
//! It reads more than servers accept, and never less: an item that is hidden in an odd spelling still counts.

use crate::imap::lexer::Token;

/// What the items of a FETCH come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fetch {
    /// Bodies, whole or in part.
    pub body: bool,
    /// Whole messages or their whole text, and not only parts that are named by number.
    pub whole: bool,
    /// Headers or envelopes.
    pub headers: bool,
    /// Flags.
    pub flags: bool,
    /// The structure, without contents.
    pub structure: bool,
    /// The preview that a server makes from the text.
    pub preview: bool,
    /// The messages become `\Seen` by it: something is asked for without PEEK.
    pub sets_seen: bool,
}

impl Fetch {
    /// Reads the items and what follows them: everything behind the set.
    pub(super) fn read<'a>(tokens: impl IntoIterator<Item = Token<'a>>) -> Self {
        let mut fetch = Self::default();
        // Within the brackets of `BODY[HEADER.FIELDS (From To)]`, where words are names of header fields.
        let mut in_section = false;
        for token in tokens {
            let Token::Word(word) = token else { continue };
            let mut rest = word;
            if in_section {
                let Some((_, behind)) = cut(word, b']') else {
                    continue;
                };
                in_section = false;
                rest = behind;
            }
            while !rest.is_empty() {
                let Some((item, behind)) = cut(rest, b'[') else {
                    fetch.take_plain(rest);
                    break;
                };
                let (section, next) = cut(behind, b']').unwrap_or_else(|| {
                    in_section = true;
                    (behind, &[])
                });
                fetch.take_section(item, section);
                rest = next;
            }
        }
        fetch
    }

    /// True where nothing but flags and numbers is asked for.
    #[must_use]
    pub fn is_flags_only(&self) -> bool {
        let only_flags = Self {
            flags: true,
            ..Self::default()
        };
        *self == only_flags
    }

    fn take_plain(&mut self, item: &[u8]) {
        let is = |name: &str| item.eq_ignore_ascii_case(name.as_bytes());
        if is("FLAGS") || is("FAST") {
            self.flags = true;
        } else if is("ALL") {
            self.flags = true;
            self.headers = true;
        } else if is("FULL") {
            self.flags = true;
            self.headers = true;
            self.structure = true;
        } else if is("ENVELOPE") || is("RFC822.HEADER") {
            self.headers = true;
        } else if is("BODY") || is("BODYSTRUCTURE") {
            self.structure = true;
        } else if is("PREVIEW") || is("SNIPPET") {
            self.preview = true;
        } else if is("RFC822") || is("RFC822.PEEK") {
            self.take_contents(b"", is("RFC822"));
        } else if is("RFC822.TEXT") || is("RFC822.TEXT.PEEK") {
            self.take_contents(b"TEXT", is("RFC822.TEXT"));
        }
    }

    /// `BODY[…]`, `BODY.PEEK[…]`, `BINARY[…]`, and whatever else has a section in the future.
    fn take_section(&mut self, item: &[u8], section: &[u8]) {
        // What follows a section directly, such as `<0.2048>`, is no name.
        let start = item.iter().rposition(|byte| *byte == b'>').map_or(0, |at| at + 1);
        let item = item.get(start..).unwrap_or_default();
        if item.eq_ignore_ascii_case(b"BINARY.SIZE") {
            return;
        }
        let peeks = item
            .len()
            .checked_sub(b".PEEK".len())
            .and_then(|at| item.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(b".PEEK"));
        self.take_contents(section, !peeks);
    }

    fn take_contents(&mut self, section: &[u8], sets_seen: bool) {
        self.sets_seen |= sets_seen;
        // Part numbers, then a name or nothing.
        let name_at = section
            .iter()
            .position(|byte| !byte.is_ascii_digit() && *byte != b'.');
        let (numbers, name) = section.split_at(name_at.unwrap_or(section.len()));
        let is_header = name
            .get(..b"HEADER".len())
            .is_some_and(|start| start.eq_ignore_ascii_case(b"HEADER"));
        if is_header || name.eq_ignore_ascii_case(b"MIME") {
            self.headers = true;
            return;
        }
        self.body = true;
        if numbers.is_empty() {
            self.whole = true;
            self.headers |= name.is_empty();
        }
    }
}

/// What is before and behind the first such byte.
fn cut(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = memchr::memchr(at, text)?;
    let (before, behind) = text.split_at_checked(place)?;
    Some((before, behind.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::lexer::tokens;

    fn fetch(items: &str) -> Fetch {
        let line = format!("{items}\r\n");
        Fetch::read(tokens(line.as_bytes(), 0).unwrap().tokens)
    }

    #[test]
    fn whole_messages_are_seen_in_every_spelling() {
        for (items, sets_seen) in [
            ("BODY[]", true),
            ("body[]", true),
            ("BODY.PEEK[]", false),
            ("(UID RFC822.SIZE BODY.PEEK[])", false),
            ("(BODY.PEEK[]<0.65536> FLAGS)", false),
            ("BODY[TEXT]", true),
            ("BODY.PEEK[TEXT]<65536.65536>", false),
            ("RFC822", true),
            ("rfc822.text", true),
            ("RFC822.PEEK", false),
            ("BINARY[]", true),
            ("BINARY.PEEK[]", false),
            ("(BODY[HEADER.FIELDS (From)] BODY.PEEK[])", true),
            ("(BODY.PEEK[HEADER.FIELDS (From)]<0.10> RFC822.PEEK)", false),
            ("(BODY.PEEK[1.MIME]BODY.PEEK[])", false),
            ("(BODY.PEEK[1.MIME]<0.1>BODY.PEEK[])", false),
            ("(BODY.PEEK[HEADER.FIELDS (From)]BODY.PEEK[])", false),
            ("(BODY.PEEK[HEADER.FIELDS (From \"]\")] RFC822.PEEK)", false),
        ] {
            let fetch = fetch(items);
            assert!(fetch.body && fetch.whole, "{items}: {fetch:?}");
            assert_eq!(fetch.sets_seen, sets_seen, "{items}");
        }
    }

    #[test]
    fn parts_are_bodies_and_their_headers_are_not() {
        let part = fetch("(BODY.PEEK[1.2] BODY.PEEK[2.MIME])");
        assert!(part.body && part.headers && !part.whole && !part.sets_seen);
        assert!(fetch("BODY[2.TEXT]").body && !fetch("BODY[2.TEXT]").whole);
        let binary = fetch("BINARY[3]");
        assert!(binary.body && !binary.whole && binary.sets_seen);
        assert_eq!(fetch("BINARY.SIZE[3]"), Fetch::default());
    }

    #[test]
    fn headers_are_told_from_bodies() {
        for items in [
            "BODY.PEEK[HEADER]",
            "(UID BODY.PEEK[HEADER.FIELDS (From To \"X-BODY[]\" RFC822)])",
            "BODY.PEEK[HEADER.FIELDS.NOT (Received)]<0.100>",
            "BODY.PEEK[4.HEADER]",
            "ENVELOPE",
            "RFC822.HEADER",
            "ALL",
        ] {
            let fetch = fetch(items);
            assert!(
                fetch.headers && !fetch.body && !fetch.sets_seen,
                "{items}: {fetch:?}"
            );
        }
        assert!(fetch("BODY[HEADER]").sets_seen);
    }

    #[test]
    fn what_has_no_contents_is_harmless() {
        for items in [
            "FLAGS",
            "(FLAGS UID)",
            "FAST",
            "(UID FLAGS MODSEQ)",
            "(FLAGS) (CHANGEDSINCE 12 VANISHED)",
            "(FLAGS INTERNALDATE RFC822.SIZE)",
        ] {
            assert!(fetch(items).is_flags_only(), "{items}");
        }
        for items in ["(UID)", "RFC822.SIZE", "(EMAILID THREADID)", "X-GM-MSGID"] {
            assert_eq!(fetch(items), Fetch::default(), "{items}");
        }
        for items in ["BODY", "BODYSTRUCTURE", "FULL"] {
            assert!(fetch(items).structure && !fetch(items).body, "{items}");
        }
        assert!(fetch("(FLAGS PREVIEW (LAZY))").preview && !fetch("(FLAGS PREVIEW)").is_flags_only());
    }
}
