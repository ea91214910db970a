//! A command as rules see it.

use crate::imap::command::Awaited;
use crate::imap::command::Command;
use crate::imap::items::Items;
use crate::imap::items::SetSize;
use crate::imap::items::StoreMode;
use crate::imap::items::set_size;
use crate::imap::items::store_of;
use crate::imap::lexer::Token;
use crate::imap::lexer::tokens;
use crate::imap::mailbox::MailboxName;
use crate::imap::tally::Tally;
use crate::imap::verb::Verb;
use crate::policy::facts;
use crate::session::inspect::Deed;
use crate::session::inspect::role::is_shared;
use crate::session::inspect::role::role_of;

/// What was read of one command; the facts borrow from it.
pub(super) struct Read<'a> {
    verb: &'static str,
    uid: bool,
    mailbox: Option<&'a str>,
    destination: Option<&'a str>,
    pattern: Option<String>,
    set: Option<SetSize>,
    items: Items,
    search_keys: Vec<&'a str>,
    search_categories: Vec<&'static str>,
    store_mode: Option<StoreMode>,
    store_flags: Vec<&'a str>,
    literal_size: u64,
    literals: u32,
    depth: u32,
    size: u64,
}

impl<'a> Read<'a> {
    /// Reads a command; `selected` is the mailbox that is open, `tally` what is known of it.
    pub(super) fn of(
        command: &'a Command<'a>,
        bytes: &'a [u8],
        selected: Option<&'a str>,
        tally: &Tally,
    ) -> Self {
        let (verb, uid) = word_of(command.verb);
        let all = all_tokens(command, bytes);
        let arguments = all.get(if uid { 2 } else { 1 }..).unwrap_or_default();
        let mut read = Self {
            verb,
            uid,
            mailbox: command.mailbox.as_ref().map(MailboxName::as_str).or(selected),
            destination: command.destination.as_ref().map(MailboxName::as_str),
            pattern: None,
            set: None,
            items: Items::default(),
            search_keys: Vec::new(),
            search_categories: Vec::new(),
            store_mode: None,
            store_flags: Vec::new(),
            literal_size: 0,
            literals: 0,
            depth: depth_of(&all),
            size: count(bytes.len()),
        };
        read.literals(&all, command);
        read.arguments(command.verb, arguments, tally);
        if matches!(
            command.verb,
            Verb::Copy | Verb::UidCopy | Verb::Move | Verb::UidMove
        ) {
            // They work on the selected mailbox; the one that they name is where they lead.
            read.destination = read.mailbox.filter(|_| command.mailbox.is_some());
            read.mailbox = selected;
        }
        read
    }

    fn arguments(&mut self, verb: Verb, arguments: &[Token<'a>], tally: &Tally) {
        if let [Token::Word(set), rest @ ..] = arguments
            && takes_set(verb)
        {
            self.set = Some(set_size(set, self.uid, tally.exists));
            match verb {
                Verb::Fetch | Verb::UidFetch => self.items = Items::of(rest),
                Verb::Store | Verb::UidStore => {
                    if let Some((mode, flags)) = store_of(rest) {
                        self.store_mode = Some(mode);
                        self.store_flags = flags;
                    }
                }
                _ => {}
            }
        }
        match verb {
            Verb::Expunge | Verb::Close => self.set = None,
            Verb::Append | Verb::Replace | Verb::UidReplace => self.store_flags = flags_in(arguments),
            Verb::List | Verb::Lsub | Verb::Xlist | Verb::Rlist | Verb::Rlsub => {
                self.pattern = pattern_of(arguments)
            }
            _ => {}
        }
    }

    fn literals(&mut self, all: &[Token<'_>], command: &Command<'_>) {
        for token in all {
            if let Token::Literal(text) = token {
                self.literals += 1;
                self.literal_size += count(text.len());
            }
        }
        if let Some(Awaited::Message(message) | Awaited::Argument(message)) = command.awaits {
            self.literals += 1;
            self.literal_size += u64::from(message.size);
        }
    }

    /// The facts.
    pub(super) fn facts(&self) -> facts::Command<'_> {
        facts::Command {
            verb: self.verb,
            uid: self.uid,
            mailbox: self.mailbox,
            mailbox_role: self.mailbox.and_then(role_of),
            mailbox_is_shared: self.mailbox.is_some_and(is_shared),
            destination: self.destination,
            destination_role: self.destination.and_then(role_of),
            pattern: self.pattern.as_deref(),
            set_size: self.set.map(|set| set.messages),
            set_is_all: self.set.is_some_and(|set| set.is_all),
            fetch_body: self.items.body,
            fetch_headers: self.items.headers,
            fetch_flags: self.items.flags,
            search_keys: &self.search_keys,
            search_categories: &self.search_categories,
            store_flags: &self.store_flags,
            store_mode: self.store_mode.map(StoreMode::as_str),
            store_adds_deleted: self.marks(b"\\Deleted"),
            literal_size: self.literal_size,
            literals: self.literals,
            depth: self.depth,
            size: self.size,
        }
    }

    /// Whether messages are marked as read by it.
    pub(super) fn sets_seen(&self) -> bool {
        self.items.sets_seen || self.marks(b"\\Seen")
    }

    /// What it will have done once the backend has said OK.
    pub(super) fn deed(&self) -> Deed {
        let messages = self.set.map_or(0, |set| set.messages);
        match self.verb {
            "STORE" if self.marks(b"\\Deleted") => Deed::Deleted(messages),
            "MOVE" => Deed::Moved(messages),
            "APPEND" | "REPLACE" => Deed::Appended {
                size: self.literal_size,
                mailbox: self.mailbox.map(|name| MailboxName::from_wire(name.as_bytes())),
            },
            _ => Deed::None,
        }
    }

    fn marks(&self, flag: &[u8]) -> bool {
        let has_it = || {
            self.store_flags
                .iter()
                .any(|set| set.as_bytes().eq_ignore_ascii_case(flag))
        };
        matches!(self.store_mode, Some(StoreMode::Add | StoreMode::Replace)) && has_it()
    }
}

/// The verb as rules name it, and whether it is the UID form.
fn word_of(verb: Verb) -> (&'static str, bool) {
    let word = verb.as_str();
    match word.strip_prefix("UID ") {
        Some(word) => (word, true),
        None => (word, false),
    }
}

fn takes_set(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::Fetch
            | Verb::UidFetch
            | Verb::Store
            | Verb::UidStore
            | Verb::Copy
            | Verb::UidCopy
            | Verb::Move
            | Verb::UidMove
            | Verb::UidExpunge
            | Verb::Replace
            | Verb::UidReplace
    )
}

/// The tokens behind the tag. The command was read before: they can be read again.
fn all_tokens<'a>(command: &Command<'a>, bytes: &'a [u8]) -> Vec<Token<'a>> {
    let behind = bytes.get(command.tag.len()..).unwrap_or_default();
    tokens(behind, 0).map(|lexed| lexed.tokens).unwrap_or_default()
}

fn depth_of(all: &[Token<'_>]) -> u32 {
    let (mut depth, mut deepest) = (0_u32, 0_u32);
    for token in all {
        match token {
            Token::Open => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            Token::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The flags in APPEND's parentheses.
fn flags_in<'a>(arguments: &[Token<'a>]) -> Vec<&'a str> {
    let group = arguments
        .iter()
        .skip_while(|token| !matches!(token, Token::Open))
        .take_while(|token| !matches!(token, Token::Close));
    let words = group.filter_map(|token| match token {
        Token::Word(word) => std::str::from_utf8(word).ok(),
        _ => None,
    });
    words.take(MAX_FLAGS).collect()
}

/// Most flags of a message that are looked at.
const MAX_FLAGS: usize = 64;

/// Reference and pattern of LIST, joined; of several patterns the first.
fn pattern_of(arguments: &[Token<'_>]) -> Option<String> {
    let mut depth = 0_usize;
    let mut strings = arguments.iter().filter_map(|token| match token {
        Token::Open => {
            depth += 1;
            None
        }
        Token::Close => {
            depth = depth.saturating_sub(1);
            None
        }
        // Selection options stand in parentheses before the reference.
        Token::Word(word) if depth > 0 && !word.contains(&b'*') && !word.contains(&b'%') => None,
        token => MailboxName::decode(*token),
    });
    let reference = strings.next()?;
    let pattern = strings.next()?;
    Some(format!("{reference}{pattern}"))
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a command in a mailbox of 100 messages and asks something of its facts.
    fn with<R>(line: &str, ask: impl FnOnce(&facts::Command<'_>, &Deed) -> R) -> R {
        let bytes = format!("a {line}\r\n").into_bytes();
        let command = Command::read(&bytes, &[]).unwrap();
        let tally = Tally {
            exists: 100,
            ..Tally::default()
        };
        let read = Read::of(&command, &bytes, Some("INBOX"), &tally);
        ask(&read.facts(), &read.deed())
    }

    #[test]
    fn commands_become_facts() {
        with("UID FETCH 1:* (UID BODY.PEEK[])", |facts, _| {
            assert_eq!((facts.verb, facts.uid), ("FETCH", true));
            assert_eq!((facts.set_size, facts.set_is_all), (Some(100), true));
            assert!(facts.fetch_body && !facts.fetch_headers);
            assert_eq!(
                (facts.mailbox, facts.mailbox_role),
                (Some("INBOX"), Some("inbox"))
            );
        });
        with("MOVE 1:30 \"INBOX.Trash\"", |facts, deed| {
            assert_eq!(facts.mailbox, Some("INBOX"));
            assert_eq!(facts.destination, Some("INBOX.Trash"));
            assert_eq!(facts.destination_role, Some("trash"));
            assert_eq!(*deed, Deed::Moved(30));
        });
        with("STORE 1:3 +FLAGS.SILENT (\\deleted)", |facts, deed| {
            assert!(facts.store_adds_deleted);
            assert_eq!(facts.store_mode, Some("add"));
            assert_eq!(*deed, Deed::Deleted(3));
        });
        with("STORE 1:3 -FLAGS (\\Deleted)", |facts, deed| {
            assert!(!facts.store_adds_deleted);
            assert_eq!(*deed, Deed::None);
        });
        with("LIST (SUBSCRIBED) \"\" \"*\" RETURN (CHILDREN)", |facts, _| {
            assert_eq!(facts.pattern, Some("*"));
        });
        with("LIST \"Archive/\" (\"%\" \"x\")", |facts, _| {
            assert_eq!(facts.pattern, Some("Archive/%"));
        });
        with("RENAME INBOX {3}\r\nold", |facts, _| {
            assert_eq!((facts.mailbox, facts.destination), (Some("INBOX"), Some("old")));
            assert_eq!((facts.literals, facts.literal_size), (1, 3));
        });
        with("SEARCH (NOT (FROM x))", |facts, _| assert_eq!(facts.depth, 2));
    }

    #[test]
    fn an_append_is_read_by_its_head() {
        let bytes = b"a APPEND Sent (\\Seen \\Draft) {1000}\r\n";
        let command = Command::read(bytes, &[]).unwrap();
        let read = Read::of(&command, bytes, None, &Tally::default());
        let facts = read.facts();
        assert_eq!(facts.store_flags, ["\\Seen", "\\Draft"]);
        assert_eq!((facts.literal_size, facts.mailbox_role), (1000, Some("sent")));
        assert_eq!(
            read.deed(),
            Deed::Appended {
                size: 1000,
                mailbox: Some(MailboxName::from_wire(b"Sent"))
            }
        );
        assert!(!facts.store_adds_deleted);
    }
}
