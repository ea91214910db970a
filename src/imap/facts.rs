//! What a command is about, beyond its verb and mailboxes: the set, what a FETCH asks for, what a STORE changes, what a SEARCH
//! looks for. Everything that rules are told of a command's arguments comes from here.
//!
//! It reads the very tokens of the command that is judged and sent, in time and room that their number bounds. It decides
//! nothing.

use crate::imap::date::date_time;
use crate::imap::fetch::Fetch;
use crate::imap::lexer::Token;
use crate::imap::lexer::tokens;
use crate::imap::search::Form;
use crate::imap::search::Search;
use crate::imap::set::Numbers;
use crate::imap::set::Set;
use crate::imap::store::Flags;
use crate::imap::store::Store;
use crate::imap::verb::Verb;

/// What the arguments of a command say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The messages it names.
    pub set: Option<Set<'a>>,
    /// What it asks for, where it is a FETCH.
    pub fetch: Option<Fetch>,
    /// What it changes, where it is a STORE.
    pub store: Option<Store<'a>>,
    /// The flags of its message, where it is an APPEND or REPLACE.
    pub append: Option<Flags<'a>>,
    /// The date that it gives its message, in seconds since 1970.
    pub dated: Option<i64>,
    /// What it looks for, where it is a SEARCH, SORT or THREAD.
    pub search: Option<Search>,
    /// How many literals it has, an announced one included.
    pub literals: u32,
    /// The bytes in them; those of an announced one are to come.
    pub literal_bytes: u64,
    /// The deepest nesting of its parentheses.
    pub depth: usize,
}

impl<'a> Facts<'a> {
    /// Reads the arguments of a command that `Command::read` has taken, whole or up to the literal that is its message;
    /// `depth` is how deep its parentheses nest.
    #[must_use]
    pub fn read(verb: Verb, arguments: &[Token<'a>], depth: usize) -> Self {
        let mut facts = Self::measured(arguments);
        facts.depth = depth;
        let mut arguments = arguments.iter().copied();
        if let Some(form) = search_form(verb) {
            facts.search = Some(Search::read(form, arguments));
            return facts;
        }
        if let Some(numbers) = set_of(verb) {
            let Some(Token::Word(text)) = arguments.next() else {
                return facts;
            };
            facts.set = Some(Set::new(text, numbers));
        }
        match verb {
            Verb::Fetch | Verb::UidFetch => facts.fetch = Some(Fetch::read(arguments)),
            Verb::Store | Verb::UidStore => facts.store = Store::read(arguments),
            Verb::Append | Verb::Replace | Verb::UidReplace => {
                arguments.next();
                let behind: Vec<Token<'_>> = arguments.collect();
                facts.dated = dated(&behind);
                facts.append = Some(Flags::read(behind));
            }
            _ => {}
        }
        facts
    }

    /// Literals, which every command can have.
    fn measured(arguments: &[Token<'_>]) -> Self {
        let mut facts = Self::default();
        for token in arguments {
            let size = match token {
                Token::Literal(text) => u64::try_from(text.len()).unwrap_or(u64::MAX),
                Token::Announced(announcement) => u64::from(announcement.size),
                _ => continue,
            };
            facts.literals = facts.literals.saturating_add(1);
            facts.literal_bytes = facts.literal_bytes.saturating_add(size);
        }
        facts
    }
}

/// The date of the message that is announced next, where one is given: between its flags and its announcement, in what an
/// APPEND says behind its mailbox, or behind another message (RFC 3502). `depth` parentheses are open before it.
#[must_use]
pub fn date_behind(bytes: &[u8], depth: usize) -> Option<i64> {
    dated(&tokens(bytes, depth).ok()?.tokens)
}

fn dated(behind: &[Token<'_>]) -> Option<i64> {
    behind.iter().find_map(|token| match token {
        // A literal is the message.
        Token::Quoted(text) => date_time(text),
        _ => None,
    })
}

fn search_form(verb: Verb) -> Option<Form> {
    match verb {
        Verb::Search | Verb::UidSearch | Verb::Esearch => Some(Form::Search),
        Verb::Sort | Verb::UidSort => Some(Form::Sort),
        Verb::Thread | Verb::UidThread => Some(Form::Thread),
        _ => None,
    }
}

/// How the set is meant that the arguments begin with, where they do.
fn set_of(verb: Verb) -> Option<Numbers> {
    match verb {
        Verb::Fetch | Verb::Store | Verb::Copy | Verb::Move | Verb::Replace | Verb::Convert => {
            Some(Numbers::Sequence)
        }
        Verb::UidFetch
        | Verb::UidStore
        | Verb::UidCopy
        | Verb::UidMove
        | Verb::UidReplace
        | Verb::UidExpunge => Some(Numbers::Uid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::imap::command::Command;
    use crate::imap::set::Mailbox;
    use crate::imap::store::Mode;
    use crate::imap::terms::Category;

    fn facts(line: &str) -> Facts<'_> {
        let command = Command::read(line.as_bytes(), &[]).unwrap();
        Facts::read(command.verb, command.arguments(), command.deepest)
    }

    #[test]
    fn the_date_of_a_message_is_read_wherever_it_stands() {
        for line in [
            "a APPEND INBOX \"01-Jan-1970 00:01:00 +0000\" {5}\r\n",
            "a APPEND \"in box\" (\\Seen) \" 1-Jan-1970 00:01:00 +0000\" {5+}\r\n",
            "a APPEND {5}\r\nINBOX (\\Seen) \"01-Jan-1970 00:01:00 +0000\" {5}\r\n",
        ] {
            assert_eq!(facts(line).dated, Some(60), "{line}");
        }
        assert_eq!(facts("a APPEND INBOX (\\Seen) {5}\r\n").dated, None);
        // A mailbox may have any name.
        assert_eq!(
            facts("a APPEND \"01-Jan-1970 00:01:00 +0000\" {5}\r\n").dated,
            None
        );
        assert_eq!(
            date_behind(b" (\\Seen) \"01-Jan-1970 00:01:00 +0000\" {9}\r\n", 0),
            Some(60)
        );
        assert_eq!(
            date_behind(b") \"01-Jan-1970 00:01:00 +0000\" {9}\r\n", 1),
            Some(60)
        );
        assert_eq!(date_behind(b" {9}\r\n", 0), None);
    }

    #[test]
    fn what_real_clients_send_is_understood() {
        let mailbox = Mailbox {
            exists: Some(120),
            uid_next: Some(500),
            arrived: 0,
        };
        // Thunderbird: new messages, headers of all, bodies of all; mbsync: one message; imapflow: a slice.
        let flags = facts("13 UID fetch 1:* (FLAGS)\r\n");
        assert!(flags.fetch.unwrap().is_flags_only() && flags.set.unwrap().extent(mailbox).is_all);
        let headers =
            facts("14 UID fetch 1:120 (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To)])\r\n");
        assert!(headers.fetch.unwrap().headers && !headers.fetch.unwrap().body && headers.depth == 2);
        let bodies = facts("20 UID fetch 1:* (UID RFC822.SIZE BODY.PEEK[])\r\n");
        assert!(bodies.fetch.unwrap().whole && bodies.set.unwrap().extent(mailbox).count == Some(120));
        let one = facts("7 UID FETCH 9 (INTERNALDATE BODY.PEEK[])\r\n");
        assert_eq!(one.set.unwrap().extent(mailbox).count, Some(1));
        let slice = facts("12 UID FETCH 4 (BODY.PEEK[TEXT]<65536.65536>)\r\n");
        assert!(slice.fetch.unwrap().body);
        let store = facts("9 UID STORE 2 +FLAGS.SILENT (\\Deleted \\Seen)\r\n")
            .store
            .unwrap();
        assert!(store.mode == Mode::Add && store.adds_deleted() && store.adds_seen());
        let moved = facts("a UID MOVE 1:* \"Trash\"\r\n");
        assert!(moved.set.unwrap().extent(mailbox).is_all && moved.fetch.is_none());
        assert!(facts("a UID EXPUNGE 3:4\r\n").set.is_some());
    }

    #[test]
    fn searches_are_told_by_keys_and_categories() {
        let search = facts("a UID SEARCH OR SUBJECT {7}\r\ninvoice TEXT \"iban\"\r\n");
        assert_eq!((search.literals, search.literal_bytes), (1, 7));
        let search = search.search.unwrap();
        assert_eq!(search.keys, ["OR", "SUBJECT", "TEXT"]);
        let categories: Vec<_> = search.categories.iter().collect();
        assert_eq!(categories, [Category::Payment, Category::Bank]);
        assert!(
            facts("a SORT (DATE) UTF-8 ALL\r\n")
                .search
                .unwrap()
                .categories
                .is_empty()
        );
        assert!(facts("a SELECT INBOX\r\n").search.is_none());
    }

    #[test]
    fn the_head_of_an_append_has_its_flags_and_the_size_of_its_message() {
        let append = facts("a APPEND {4}\r\nSent (\\Seen) {5000}\r\n");
        assert_eq!(append.append.unwrap().names, ["\\Seen"]);
        assert_eq!((append.literals, append.literal_bytes), (2, 5004));
        let replace = facts("a UID REPLACE 5 Drafts (\\Draft) {53}\r\n");
        assert_eq!(replace.append.unwrap().names, ["\\Draft"]);
        assert!(replace.set.is_some());
    }

    /// 64 KiB is the most that a command has.
    #[test]
    fn the_largest_commands_take_time_in_proportion() {
        let terms = "SUBJECT rechnung ".repeat(3800);
        let sets = "9,".repeat(30_000) + "9";
        let items = "BODY.PEEK[] ".repeat(5000);
        let flags = "\\Seen ".repeat(10_000);
        let literals = "() {0+}\r\n".repeat(6500);
        for line in [
            format!("a SEARCH {terms}ALL\r\n"),
            format!("a FETCH {sets} (FLAGS)\r\n"),
            format!("a FETCH 1 ({items}UID)\r\n"),
            format!("a STORE 1 +FLAGS ({flags}x)\r\n"),
            format!("a SEARCH {literals}\r\n"),
        ] {
            let began = std::time::Instant::now();
            let facts = facts(&line);
            if let Some(set) = facts.set {
                let _ = set.extent(Mailbox::default());
            }
            // A hundredth of this is enough for a build with optimisation.
            assert!(began.elapsed().as_secs() < 5, "{line:.20}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, verb in 0..Verb::ALL.len()) {
            let Ok(lexed) = tokens(&bytes, 0) else { return Ok(()) };
            let facts = Facts::read(Verb::ALL[verb], &lexed.tokens, lexed.deepest);
            if let Some(set) = facts.set {
                let _ = set.extent(Mailbox::default());
            }
        }

        #[test]
        fn no_command_makes_it_panic(text in "a (UID )?(FETCH|STORE|SEARCH|SORT|THREAD|COPY|APPEND|ESEARCH) [ -~\u{80}-\u{ff}]{0,80}") {
            let line = format!("{text}\r\n");
            let Ok(lexed) = tokens(line.as_bytes(), 0) else { return Ok(()) };
            for verb in Verb::ALL {
                let _ = Facts::read(*verb, &lexed.tokens, lexed.deepest);
            }
        }
    }
}
