//! A command as rules see it.

use crate::imap::command::Command;
use crate::imap::facts::Facts;
use crate::imap::lexer::Token;
use crate::imap::lexer::tokens;
use crate::imap::mailbox::MailboxName;
use crate::imap::notices::Notices;
use crate::imap::set::Extent;
use crate::imap::set::Mailbox;
use crate::imap::terms::Category;
use crate::imap::verb::Verb;
use crate::policy::facts;
use crate::session::inspect::Deed;
use crate::session::inspect::role::Named;

/// Most flags of a message that are looked at.
const MAX_FLAGS: usize = 64;

/// What was read of one command; the facts borrow from it.
pub(super) struct Read<'a> {
    verb: &'static str,
    uid: bool,
    mailbox: Option<Named<'a>>,
    destination: Option<Named<'a>>,
    pattern: Option<String>,
    facts: Facts<'a>,
    extent: Option<Extent>,
    categories: Vec<&'static str>,
    size: u64,
    /// Messages that go with a mailbox, as far as that is known.
    goes_with: Option<u64>,
    /// Security notices among its messages.
    notices: u64,
}

impl<'a> Read<'a> {
    /// Reads a command; `selected` is the mailbox that is open, `of` what is known of it. What is known already of its
    /// arguments is not read again.
    pub(super) fn of(
        command: &'a Command<'a>,
        bytes: &'a [u8],
        (selected, of): (Option<Named<'a>>, Mailbox),
        known: Option<Facts<'a>>,
    ) -> Self {
        let (verb, uid) = word_of(command.verb);
        let facts = known.unwrap_or_else(|| Facts::read(command.verb, command.arguments(), command.deepest));
        let look = |name: &'a MailboxName| Named::new(name.as_str());
        let named = command.mailbox.as_ref().map(look);
        let (mailbox, destination) = match command.verb {
            // They work on the selected mailbox; the one that they name is where they lead.
            Verb::Copy | Verb::UidCopy | Verb::Move | Verb::UidMove => (selected, named),
            _ => (named.or(selected), command.destination.as_ref().map(look)),
        };
        let searched = facts.search.iter().flat_map(|search| search.categories.iter());
        Self {
            verb,
            uid,
            mailbox,
            destination,
            pattern: pattern_of(command, bytes),
            extent: facts.set.as_ref().map(|set| set.extent(of)),
            categories: searched.map(Category::as_str).collect(),
            facts,
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            goes_with: None,
            notices: 0,
        }
    }

    /// The same, of a command that deletes a mailbox with so many messages, as far as that is known.
    pub(super) fn with(self, goes_with: Option<u64>) -> Self {
        Self { goes_with, ..self }
    }

    /// The same, with how many of its messages are security notices, where it does something with them; `others` says which of a
    /// mailbox are known otherwise.
    pub(super) fn among(self, notices: Option<&Notices>, others: impl Fn(&str) -> Vec<u32>) -> Self {
        let set = self.facts.set.as_ref().filter(|_| self.facts.fetch.is_none());
        let found = notices.zip(set).map(|(notices, set)| {
            let others = self.mailbox.map(|named| others(named.name));
            notices.among(set, &others.unwrap_or_default())
        });
        Self {
            notices: found.unwrap_or_default(),
            ..self
        }
    }

    /// What it searches for is about these.
    pub(super) fn categories(&self) -> &[&'static str] {
        &self.categories
    }

    /// How many messages it is about, as far as that is known.
    pub(super) fn messages(&self) -> Option<u64> {
        self.extent.and_then(|extent| extent.count).or(self.goes_with)
    }

    /// The facts.
    pub(super) fn facts(&self) -> facts::Command<'_> {
        let fetch = self.facts.fetch.as_ref();
        let store = self.facts.store.as_ref();
        let flags = store.map(|store| &store.flags).or(self.facts.append.as_ref());
        let flags = flags.map_or(&[][..], |flags| flags.names.as_slice());
        facts::Command {
            verb: self.verb,
            uid: self.uid,
            mailbox: self.mailbox.map(|named| named.name),
            mailbox_role: self.mailbox.and_then(|named| named.role),
            mailbox_is_shared: self.mailbox.is_some_and(|named| named.is_shared),
            destination: self.destination.map(|named| named.name),
            destination_role: self.destination.and_then(|named| named.role),
            pattern: self.pattern.as_deref(),
            set_size: self.messages(),
            set_is_all: self.extent.is_some_and(|extent| extent.is_all),
            security_notices: self.notices,
            fetch_body: fetch.is_some_and(|fetch| fetch.body),
            fetch_headers: fetch.is_some_and(|fetch| fetch.headers || fetch.structure),
            fetch_flags: fetch.is_some_and(|fetch| fetch.flags),
            search_keys: self.facts.search.as_ref().map_or(&[], |search| &search.keys),
            search_categories: &self.categories,
            store_flags: flags.get(..flags.len().min(MAX_FLAGS)).unwrap_or_default(),
            store_mode: store.map(|store| store.mode.as_str()),
            store_adds_deleted: store.is_some_and(|store| store.adds_deleted()),
            literal_size: self.facts.literal_bytes,
            literals: self.facts.literals,
            depth: u32::try_from(self.facts.depth).unwrap_or(u32::MAX),
            size: self.size,
        }
    }

    /// What its arguments say.
    pub(super) fn arguments(&self) -> &Facts<'a> {
        &self.facts
    }

    /// Whether messages are marked as read by it.
    pub(super) fn sets_seen(&self) -> bool {
        let fetch = self.facts.fetch.as_ref().is_some_and(|fetch| fetch.sets_seen);
        fetch || self.facts.store.as_ref().is_some_and(|store| store.adds_seen())
    }

    /// What it will have done once the backend has said OK.
    pub(super) fn deed(&self) -> Deed {
        let messages = self.extent.and_then(|extent| extent.count).unwrap_or(u64::MAX);
        match self.verb {
            "STORE"
                if self
                    .facts
                    .store
                    .as_ref()
                    .is_some_and(|store| store.adds_deleted()) =>
            {
                Deed::Deleted(messages)
            }
            "MOVE" => Deed::Moved(messages),
            "DELETE" => self
                .mailbox
                .map_or(Deed::None, |named| Deed::Dropped(named.name.into())),
            "APPEND" | "REPLACE" => Deed::Appended {
                messages: 1,
                size: self.facts.literal_bytes,
                mailbox: self
                    .mailbox
                    .map(|named| MailboxName::from_wire(named.name.as_bytes())),
                dated: self.facts.dated,
            },
            _ => Deed::None,
        }
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

/// Reference and pattern of LIST, joined; of several patterns the first.
fn pattern_of(command: &Command<'_>, bytes: &[u8]) -> Option<String> {
    if !matches!(
        command.verb,
        Verb::List | Verb::Lsub | Verb::Xlist | Verb::Rlist | Verb::Rlsub
    ) {
        return None;
    }
    let behind = bytes.get(command.tag.len()..)?;
    let all = tokens(behind, 0).ok()?.tokens;
    let mut rest = all.get(1..)?;
    if let [Token::Open, ..] = rest {
        // Selection options stand in parentheses before the reference.
        let close = rest.iter().position(|token| matches!(token, Token::Close))?;
        rest = rest.get(close + 1..)?;
    }
    let mut strings = rest.iter().filter_map(|token| MailboxName::decode(*token));
    let reference = strings.next()?;
    let pattern = strings.next()?;
    Some(format!("{reference}{pattern}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a command in a mailbox of 100 messages and asks something of its facts.
    fn with<R>(line: &str, ask: impl FnOnce(&facts::Command<'_>, &Deed) -> R) -> R {
        let bytes = format!("a {line}\r\n").into_bytes();
        let command = Command::read(&bytes, &[]).unwrap();
        let of = Mailbox {
            exists: Some(100),
            uid_next: Some(101),
            arrived: 0,
        };
        let read = Read::of(&command, &bytes, (Some(Named::new("INBOX")), of), None);
        ask(&read.facts(), &read.deed())
    }

    #[test]
    fn commands_become_facts() {
        with("UID FETCH 1:* (UID BODY.PEEK[])", |facts, _| {
            assert_eq!((facts.verb, facts.uid), ("FETCH", true));
            assert_eq!((facts.set_size, facts.set_is_all), (Some(100), true));
            assert!(facts.fetch_body && !facts.fetch_flags);
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
        let read = Read::of(&command, bytes, (None, Mailbox::default()), None);
        let facts = read.facts();
        assert_eq!(facts.store_flags, ["\\Seen", "\\Draft"]);
        assert_eq!((facts.literal_size, facts.mailbox_role), (1000, Some("sent")));
        assert_eq!(
            read.deed(),
            Deed::Appended {
                messages: 1,
                size: 1000,
                mailbox: Some(MailboxName::from_wire(b"Sent")),
                dated: None,
            }
        );
        assert!(!facts.store_adds_deleted);
    }
}
