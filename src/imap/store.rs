//! Which flags a STORE sets or takes away (RFC 3501, section 6.4.6; RFC 7162), and which ones an APPEND gives.

use crate::imap::lexer::Token;

/// Most flags that are kept by name. Whether `\Deleted` or `\Seen` is among them is known for any number.
const MAX_FLAGS: usize = 32;

/// The flags with a meaning of their own (RFC 3501, section 2.3.2).
const SYSTEM: [&str; 5] = ["\\Answered", "\\Deleted", "\\Draft", "\\Flagged", "\\Seen"];

/// What a STORE does with its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
    /// `FLAGS`: they are all that the messages have afterwards.
    Replace,
}

impl Mode {
    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Replace => "replace",
        }
    }
}

/// Flags that a command names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags<'a> {
    /// The first of them, each once; system flags as the RFC writes them, others as sent.
    pub names: Vec<&'a str>,
    /// `\Deleted` is among them.
    pub deleted: bool,
    /// `\Seen` is among them.
    pub seen: bool,
}

impl<'a> Flags<'a> {
    fn take(&mut self, word: &'a [u8]) {
        let system = SYSTEM
            .iter()
            .find(|name| name.as_bytes().eq_ignore_ascii_case(word));
        let Some(name) = system.copied().or_else(|| std::str::from_utf8(word).ok()) else {
            return;
        };
        self.deleted |= name == "\\Deleted";
        self.seen |= name == "\\Seen";
        if self.names.len() < MAX_FLAGS && !self.names.contains(&name) {
            self.names.push(name);
        }
    }

    /// Reads APPEND's flags: the first group behind the mailbox.
    pub(super) fn read(tokens: impl IntoIterator<Item = Token<'a>>) -> Self {
        let mut flags = Self::default();
        let mut tokens = tokens.into_iter();
        if tokens.next() == Some(Token::Open) {
            for token in tokens {
                match token {
                    Token::Word(word) => flags.take(word),
                    _ => break,
                }
            }
        }
        flags
    }
}

/// What a STORE does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store<'a> {
    /// What happens with the flags.
    pub mode: Mode,
    /// The flags.
    pub flags: Flags<'a>,
}

impl<'a> Store<'a> {
    /// Reads what is behind the set. `None` where no flags are named: Gmail's labels, or nothing that a server would take.
    pub(super) fn read(tokens: impl IntoIterator<Item = Token<'a>>) -> Option<Self> {
        let mut mode = None;
        let mut flags = Flags::default();
        for token in tokens {
            let Token::Word(word) = token else { continue };
            match mode {
                // Modifiers such as `(UNCHANGEDSINCE 12)` come before the item.
                None => mode = mode_of(word),
                Some(_) => flags.take(word),
            }
        }
        Some(Self { mode: mode?, flags })
    }

    /// True where messages are marked as deleted by it.
    #[must_use]
    pub fn adds_deleted(&self) -> bool {
        self.mode != Mode::Remove && self.flags.deleted
    }

    /// True where messages are marked as read by it.
    #[must_use]
    pub fn adds_seen(&self) -> bool {
        self.mode != Mode::Remove && self.flags.seen
    }
}

fn mode_of(word: &[u8]) -> Option<Mode> {
    let (mode, item) = match word {
        [b'+', item @ ..] => (Mode::Add, item),
        [b'-', item @ ..] => (Mode::Remove, item),
        item => (Mode::Replace, item),
    };
    let known = item.eq_ignore_ascii_case(b"FLAGS") || item.eq_ignore_ascii_case(b"FLAGS.SILENT");
    known.then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::lexer::tokens;

    fn read(text: &str) -> Option<(Mode, Vec<String>, bool, bool)> {
        let line = format!("{text}\r\n");
        let store = Store::read(tokens(line.as_bytes(), 0).unwrap().tokens)?;
        let names = store.flags.names.iter().map(|name| (*name).to_owned()).collect();
        Some((store.mode, names, store.adds_deleted(), store.adds_seen()))
    }

    #[test]
    fn modes_and_flags_are_read_in_every_form() {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (text, mode, names, deleted, seen) in [
            ("+FLAGS (\\Deleted)", Mode::Add, &["\\Deleted"][..], true, false),
            ("+flags.silent \\dELETED", Mode::Add, &["\\Deleted"], true, false),
            (
                "+FLAGS.SILENT (\\Deleted $Junk \\Seen)",
                Mode::Add,
                &["\\Deleted", "$Junk", "\\Seen"],
                true,
                true,
            ),
            ("-FLAGS (\\Deleted)", Mode::Remove, &["\\Deleted"], false, false),
            ("FLAGS (\\Seen)", Mode::Replace, &["\\Seen"], false, true),
            ("FLAGS ()", Mode::Replace, &[], false, false),
            (
                "(UNCHANGEDSINCE 12) +FLAGS (\\Deleted)",
                Mode::Add,
                &["\\Deleted"],
                true,
                false,
            ),
            (
                "FLAGS \\Seen \\Deleted",
                Mode::Replace,
                &["\\Seen", "\\Deleted"],
                true,
                true,
            ),
        ] {
            assert_eq!(read(text), Some((mode, owned(names), deleted, seen)), "{text}");
        }
        assert_eq!(read("+X-GM-LABELS (\\Trash)"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn names_are_bounded_and_deleted_is_found_behind_the_bound() {
        let many: Vec<String> = (0..1000).map(|n| format!("k{n}")).collect();
        let (_, names, deleted, _) = read(&format!("+FLAGS ({} \\Deleted)", many.join(" "))).unwrap();
        assert_eq!((names.len(), deleted), (MAX_FLAGS, true));
    }

    #[test]
    fn an_append_gives_the_flags_of_its_first_group() {
        let line = b"(\\Seen \\Draft) \"01-Jan-2026 00:00:00 +0000\" {5}\r\n";
        let flags = Flags::read(tokens(line, 0).unwrap().tokens);
        assert_eq!(flags.names, ["\\Seen", "\\Draft"]);
        let none = Flags::read(tokens(b"{5}\r\n", 0).unwrap().tokens);
        assert_eq!(none, Flags::default());
    }
}
