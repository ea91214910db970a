//! What an app password's restrictions mean in a session: which commands pass, how, and which responses are shown.
//!
//! A command passes only where everything it names is allowed; a response is shown only where it is understood and
//! everything it names is allowed. What is unclear is refused, and dropped.

use std::borrow::Cow;
use std::sync::Arc;

use super::budget::Budget;
use super::budget::Used;
use super::guard::Verdict;
use super::profile;
use crate::imap::command::Awaited;
use crate::imap::command::Command;
use crate::imap::lexer::Token;
use crate::imap::mailbox::MailboxName;
use crate::imap::mailboxes::Wanted;
use crate::imap::mailboxes::named_by;
use crate::imap::tally::Tally;
use crate::imap::verb::Verb;
use crate::types::CommandRefusal;
use crate::types::Commands;
use crate::types::MailboxPattern;
use crate::types::Restrictions;

/// The same text for a mailbox that exists and one that does not.
const NOT_ALLOWED: &str = "[NOPERM] Not allowed with this app password";

/// The restrictions of one session.
#[derive(Debug)]
pub(super) struct Restrict {
    read_only: bool,
    commands: Commands,
    mailboxes: Option<Box<[MailboxPattern]>>,
    budget: Option<Arc<Budget>>,
    /// What of the session's tally the budget knows.
    counted: Used,
    /// The client has asked for UTF-8 names: the backend may read names in another way from now on.
    utf8: bool,
}

impl Restrict {
    /// Nothing where nothing is restricted.
    pub(super) fn new(restrictions: &Restrictions, budget: Option<Arc<Budget>>) -> Option<Self> {
        if restrictions.is_empty() {
            return None;
        }
        Some(Self {
            read_only: restrictions.read_only || restrictions.commands == Commands::Backup,
            commands: restrictions.commands.clone(),
            mailboxes: restrictions.mailboxes.clone(),
            budget,
            counted: Used::default(),
            utf8: false,
        })
    }

    /// True where responses have to be looked at before they are shown.
    pub(super) fn hides_mailboxes(&self) -> bool {
        self.mailboxes.is_some()
    }

    /// Judges a complete command, or its beginning up to a literal.
    pub(super) fn judge(&mut self, command: &Command<'_>, now_ms: u64) -> Verdict {
        let verb = command.verb;
        if !profile::includes(&self.commands, verb) || (self.read_only && !profile::only_reads(verb)) {
            return refuse(CommandRefusal::Restricted, NOT_ALLOWED);
        }
        // Names in literals are still to come: such a command is judged when it is complete, before any of it goes on.
        let goes_on = matches!(command.awaits, Some(Awaited::Argument(_)));
        if !goes_on && !self.may_reach(command) {
            return refuse(CommandRefusal::Restricted, NOT_ALLOWED);
        }
        if let Some(budget) = &self.budget {
            if profile::downloads_uncounted(verb) || (verb == Verb::Notify && has_messages_sent(command)) {
                return refuse(CommandRefusal::Restricted, NOT_ALLOWED);
            }
            if profile::downloads(verb) && !budget.has_left(now_ms) {
                let text = "[LIMIT] This app password has downloaded what it may in an hour";
                return refuse(CommandRefusal::BudgetExceeded, text);
            }
        }
        if verb == Verb::Enable && turns_utf8_on(command) {
            self.utf8 = true;
        }
        if self.read_only && verb == Verb::Select {
            return Verdict::PassAs(b"EXAMINE");
        }
        Verdict::Pass
    }

    /// True where a response that may name a mailbox may be shown.
    pub(super) fn shows(&self, response: &[u8]) -> bool {
        let Some(patterns) = &self.mailboxes else {
            return true;
        };
        // An empty name stands for the server, or for no mailbox at all: `LIST "" ""`.
        named_by(response).is_some_and(|names| {
            names
                .iter()
                .all(|name| name.is_empty() || self.is_allowed(patterns, name))
        })
    }

    /// Counts what has come since; false where that is more than allowed.
    pub(super) fn spend(&mut self, tally: Tally, now_ms: u64) -> bool {
        let Some(budget) = &self.budget else {
            return true;
        };
        let news = Used {
            bytes: tally.fetched.saturating_sub(self.counted.bytes),
            messages: tally.bodies.saturating_sub(self.counted.messages),
        };
        if news == Used::default() {
            return true;
        }
        self.counted = Used {
            bytes: tally.fetched,
            messages: tally.bodies,
        };
        budget.spend(news, now_ms)
    }

    fn may_reach(&self, command: &Command<'_>) -> bool {
        let Some(patterns) = &self.mailboxes else {
            return true;
        };
        let wanted = Wanted::by(command);
        let covers = |name: &MailboxName| patterns.iter().any(|pattern| pattern.covers(name.as_str()));
        !wanted.others
            && wanted.exact.iter().all(|name| self.is_allowed(patterns, name))
            && wanted.trees.iter().all(|name| {
                MailboxName::readings(name, self.utf8).is_some_and(|readings| readings.iter().all(covers))
            })
    }

    /// However a server reads the name, the mailbox is an allowed one.
    fn is_allowed(&self, patterns: &[MailboxPattern], name: &[u8]) -> bool {
        let fits = |name: &MailboxName| patterns.iter().any(|pattern| pattern.matches(name.as_str()));
        MailboxName::readings(name, self.utf8).is_some_and(|readings| readings.iter().all(fits))
    }
}

/// `ENABLE UTF8=ACCEPT` (RFC 6855), and IMAP4rev2, whose names are UTF-8 (RFC 9051).
fn turns_utf8_on(command: &Command<'_>) -> bool {
    command.arguments().iter().any(|token| match token {
        Token::Word(word) | Token::Quoted(word) | Token::Literal(word) => {
            word.get(..5)
                .is_some_and(|start| start.eq_ignore_ascii_case(b"UTF8="))
                || word.eq_ignore_ascii_case(b"IMAP4REV2")
        }
        _ => false,
    })
}

/// What a backend may say of a new message without being asked for it.
const SMALL: [&[u8]; 8] = [
    b"UID",
    b"FLAGS",
    b"MODSEQ",
    b"INTERNALDATE",
    b"RFC822.SIZE",
    b"SAVEDATE",
    b"EMAILID",
    b"THREADID",
];

/// True for a NOTIFY that has the backend send what is in a message as soon as there is one: no FETCH follows that could be
/// refused, and a COPY makes new messages of old ones. The items stand behind MessageNew, three groups deep (RFC 5465, section
/// 8).
fn has_messages_sent(command: &Command<'_>) -> bool {
    let (mut depth, mut items_at, mut is_new) = (0_usize, None, false);
    for token in command.arguments() {
        let is_small = |word: &[u8]| SMALL.iter().any(|small| word.eq_ignore_ascii_case(small));
        match token {
            Token::Open => {
                depth += 1;
                if items_at.is_some() {
                    return true;
                }
                items_at = (is_new || depth > 2).then_some(depth);
            }
            Token::Close => {
                items_at = items_at.filter(|at| *at < depth);
                depth = depth.saturating_sub(1);
            }
            _ if items_at.is_none() => {}
            Token::Word(word) if is_small(word) => {}
            _ => return true,
        }
        is_new = matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(b"MessageNew"));
    }
    false
}

fn refuse(why: CommandRefusal, text: &'static str) -> Verdict {
    Verdict::Refuse(why, Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use crate::session::relay::Options;
    use crate::session::relay::Output;
    use crate::session::relay::Relay;
    use crate::types::BudgetLimits;
    use crate::types::EndReason;

    use super::*;

    const DENIED: &str = "NO [NOPERM] Not allowed with this app password|";

    /// A relay, and what has reached either side.
    struct Dialog {
        relay: Relay,
        client: Vec<u8>,
        backend: Vec<u8>,
    }

    impl Dialog {
        fn new(restrictions: &Restrictions) -> Self {
            Self::with(restrictions, None)
        }

        fn with(restrictions: &Restrictions, budget: Option<Arc<Budget>>) -> Self {
            Self {
                relay: Relay::new(Arc::new(Options::default())).restricted(restrictions, budget),
                client: Vec::new(),
                backend: Vec::new(),
            }
        }

        fn client(&mut self, bytes: &[u8]) -> Result<(), EndReason> {
            let mut output = Output::default();
            let result = self.relay.from_client(bytes, &mut output);
            output
                .client
                .slices(&[])
                .for_each(|slice| self.client.extend_from_slice(slice));
            output
                .backend
                .slices(bytes)
                .for_each(|slice| self.backend.extend_from_slice(slice));
            result.map(|_| ())
        }

        fn backend(&mut self, bytes: &[u8]) -> Result<(), EndReason> {
            let mut output = Output::default();
            let result = self.relay.from_backend(bytes, &mut output);
            output
                .client
                .slices(bytes)
                .for_each(|slice| self.client.extend_from_slice(slice));
            output
                .backend
                .slices(&[])
                .for_each(|slice| self.backend.extend_from_slice(slice));
            result
        }

        fn seen(&mut self) -> (String, String) {
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace("\r\n", "|");
            (
                text(std::mem::take(&mut self.client)),
                text(std::mem::take(&mut self.backend)),
            )
        }
    }

    fn read_only() -> Restrictions {
        Restrictions {
            read_only: true,
            ..Restrictions::default()
        }
    }

    fn mailboxes(patterns: &[&str]) -> Restrictions {
        let patterns = patterns
            .iter()
            .map(|pattern| MailboxPattern::parse(pattern).unwrap());
        Restrictions {
            mailboxes: Some(patterns.collect()),
            ..Restrictions::default()
        }
    }

    /// Says what reaches the backend and the client where the client sends only this.
    fn sent(restrictions: &Restrictions, command: &[u8]) -> (String, String) {
        let mut dialog = Dialog::new(restrictions);
        dialog.client(command).unwrap();
        let (client, backend) = dialog.seen();
        (backend, client)
    }

    #[test]
    fn select_goes_as_examine_however_it_is_written() {
        for (command, expected) in [
            (&b"a SELECT INBOX\r\n"[..], "a EXAMINE INBOX|"),
            (
                b"a   sElEcT   \"INBOX\" (CONDSTORE)\r\n",
                "a   EXAMINE   \"INBOX\" (CONDSTORE)|",
            ),
            (b"SELECT SELECT SELECT\r\n", "SELECT EXAMINE SELECT|"),
            (b"a EXAMINE INBOX\r\n", "a EXAMINE INBOX|"),
            (b"a SELECT {0+}\r\n\r\n", "a EXAMINE {0}|"),
        ] {
            assert_eq!(sent(&read_only(), command), (expected.to_owned(), String::new()));
        }
        let mut dialog = Dialog::new(&read_only());
        for byte in b"a select {5+}\r\nINBOX (QRESYNC (1 2))\r\n" {
            dialog.client(&[*byte]).unwrap();
        }
        assert_eq!(dialog.seen(), (String::new(), "a EXAMINE {5}|".to_owned()));
        dialog
            .backend(b"+ OK\r\n* FLAGS ()\r\na OK [READ-ONLY] done\r\n")
            .unwrap();
        let (client, backend) = dialog.seen();
        assert_eq!(client, "* FLAGS ()|a OK [READ-ONLY] done|");
        assert_eq!(backend, "INBOX (QRESYNC (1 2))|");
        assert_eq!(dialog.relay.mailbox().unwrap().as_str(), "INBOX");
    }

    #[test]
    fn read_only_changes_nothing() {
        let mut dialog = Dialog::new(&read_only());
        for command in [
            "APPEND x {3+}\r\nabc",
            "STORE 1 FLAGS (x)",
            "UID STORE 1 FLAGS (x)",
            "COPY 1 x",
            "UID MOVE 1 x",
            "EXPUNGE",
            "UID EXPUNGE 1",
            "CREATE x",
            "DELETE x",
            "RENAME x y",
            "SUBSCRIBE x",
            "UNSUBSCRIBE x",
            "SETACL x bob lr",
            "DELETEACL x bob",
            "SETMETADATA x (/a NIL)",
            "SETANNOTATION x /a (b c)",
            "SETQUOTA x (STORAGE 1)",
            "REPLACE 1 x {3+}\r\nabc",
            "GENURLAUTH x INTERNAL",
            "RESETKEY",
        ] {
            dialog.client(format!("a {command}\r\n").as_bytes()).unwrap();
            assert_eq!(dialog.seen(), (format!("a {DENIED}"), String::new()), "{command}");
        }
        assert_eq!(dialog.relay.counts().denied, 20);
        for command in [
            "FETCH 1 BODY[]",
            "UID SEARCH ALL",
            "CLOSE",
            "CHECK",
            "LIST \"\" *",
            "IDLE",
        ] {
            let mut dialog = Dialog::new(&read_only());
            dialog.client(format!("a {command}\r\n").as_bytes()).unwrap();
            assert_eq!(dialog.seen(), (String::new(), format!("a {command}|")));
        }
    }

    #[test]
    fn a_client_that_is_told_no_again_and_again_is_not_taken_for_a_stranger_to_imap() {
        let mut dialog = Dialog::new(&read_only());
        for _ in 0..1000 {
            dialog.client(b"a STORE 1 FLAGS (x)\r\n").unwrap();
        }
        assert_eq!(dialog.relay.counts().refused, 1000);
    }

    #[test]
    fn backup_opens_with_examine_and_a_list_of_verbs_is_all_there_is() {
        let commands = |text| Restrictions {
            commands: Commands::parse(text).unwrap(),
            ..Restrictions::default()
        };
        assert_eq!(sent(&commands("backup"), b"a SELECT x\r\n").0, "a EXAMINE x|");
        assert_eq!(sent(&commands("reader"), b"a SELECT x\r\n").0, "a SELECT x|");
        assert_eq!(
            sent(&commands("SELECT,FETCH"), b"a UID FETCH 1 FLAGS\r\n").0,
            "a UID FETCH 1 FLAGS|"
        );
        assert_eq!(
            sent(&commands("SELECT,FETCH"), b"a LIST \"\" *\r\n").1,
            format!("a {DENIED}")
        );
    }

    #[test]
    fn only_allowed_mailboxes_are_reached_in_every_spelling() {
        let allowed = mailboxes(&["INBOX", "Archive/*", "Entwürfe"]);
        for command in [
            "SELECT inbox",
            "EXAMINE \"InBoX\"",
            "STATUS Archive/x (MESSAGES)",
            "SELECT Entw&APw-rfe",
            "SELECT \"Entwürfe\"",
            "COPY 1 Archive/2026/may",
            "RENAME Archive/x Archive/y",
            "LIST \"\" *",
            "FETCH 1 BODY[]",
            "GETMETADATA \"\" /a",
            "CREATE Archive/x/",
        ] {
            let (backend, client) = sent(&allowed, format!("a {command}\r\n").as_bytes());
            assert_eq!((backend, client), (format!("a {command}|"), String::new()));
        }
        for command in [
            "SELECT Archive",
            "SELECT archive/x",
            "EXAMINE \"Sent\"",
            "STATUS {4+}\r\nSent (MESSAGES)",
            "COPY 1 Sent",
            "UID MOVE 1 \"Sent\"",
            "RENAME Archive/x Sent",
            "RENAME Sent Archive/x",
            // It would take along what is below it.
            "RENAME Entw&APw-rfe Archive/x",
            // What is below it would be where nothing is allowed.
            "RENAME Archive/x Entw&APw-rfe",
            "RENAME Archive/x {5+}\r\nINBOX",
            "SELECT Archive/../Sent",
            "SELECT Archive/",
            "SELECT Archive&AC8-x",
            "SELECT \"\"",
            "SETMETADATA \"\" (/a NIL)",
            "ESEARCH IN (personal) ALL",
            "ESEARCH IN (mailboxes (INBOX Sent)) ALL",
            "ESEARCH IN (subtree Archive) ALL",
            "NOTIFY SET (mailboxes Sent (MessageNew))",
            "GETACL Sent",
            "APPEND Sent {3+}\r\nabc",
            "APPEND INBOX CATENATE (URL \"/Sent/;UID=1\")",
            "URLFETCH \"imap://x\"",
            "FETCH 1 (MAILBOXES)",
        ] {
            let (backend, client) = sent(&allowed, format!("a {command}\r\n").as_bytes());
            assert_eq!(
                (backend, client),
                (String::new(), format!("a {DENIED}")),
                "{command}"
            );
        }
    }

    #[test]
    fn a_name_means_itself_once_utf8_is_on() {
        let mut dialog = Dialog::new(&mailboxes(&["Entwürfe"]));
        dialog
            .client(b"a SELECT Entw&APw-rfe\r\nb ENABLE UTF8=ACCEPT\r\nc SELECT Entw&APw-rfe\r\n")
            .unwrap();
        dialog.client("d SELECT \"Entwürfe\"\r\n".as_bytes()).unwrap();
        let (_, backend) = dialog.seen();
        assert_eq!(
            backend,
            "a SELECT Entw&APw-rfe|b ENABLE UTF8=ACCEPT|d SELECT \"Entwürfe\"|"
        );
    }

    #[test]
    fn labels_are_announced_to_nobody_who_may_not_ask_for_them() {
        for (restrictions, shown) in [(read_only(), true), (mailboxes(&["INBOX"]), false)] {
            let mut dialog = Dialog::new(&restrictions);
            dialog
                .backend(b"* CAPABILITY IMAP4rev1 X-GM-EXT-1\r\n* OK [CAPABILITY IMAP4rev1 X-GM-EXT-1] x\r\n")
                .unwrap();
            let (client, _) = dialog.seen();
            assert_eq!(
                client.matches("X-GM-EXT-1").count(),
                if shown { 2 } else { 0 },
                "{client}"
            );
        }
    }

    #[test]
    fn hidden_mailboxes_disappear_from_answers_however_they_are_cut() {
        let hidden = "* LIST () \"/\" Sent\r\n* LIST () \"/\" {4}\r\nSent\r\n* LSUB () \"/\" \"Sent\"\r\n* XLIST () \"/\" Sent\r\n\
            * STATUS Sent (MESSAGES 1)\r\n* ESEARCH (TAG \"a\" MAILBOX Sent UIDVALIDITY 1) UID ALL 1\r\n\
            * METADATA Sent (/a {3}\r\nabc)\r\n* ANNOTATION Sent /a (b c)\r\n* ACL Sent bob lr\r\n* MYRIGHTS Sent lr\r\n\
            * LISTRIGHTS Sent bob l r\r\n* QUOTAROOT Sent \"\"\r\n* LIST () \"/\" INBOX (\"OLDNAME\" (\"Sent\"))\r\n\
            * LIST (\"/\" INBOX\r\n* X-UNKNOWN INBOX\r\n";
        let shown = "* LIST (\\Noselect) \"/\" \"\"\r\n* LIST () \"/\" INBOX\r\n* LIST () \"/\" {7}\r\nArchive\r\n* STATUS inbox (MESSAGES 1)\r\n\
            * 1 FETCH (BODY[] {22}\r\n* LIST () \"/\" Sent\r\n\r\n)\r\n* ESEARCH (TAG \"a\") ALL 1\r\n* SEARCH 1\r\n* OK Sent\r\n\
            * NAMESPACE ((\"\" \"/\")) NIL NIL\r\n* QUOTA \"\" (STORAGE 1 2)\r\na OK [COPYUID 1 2 3] done\r\n";
        let input = [hidden.as_bytes(), shown.as_bytes()].concat();
        for cut in (1..60).chain([1000, input.len()]) {
            let mut dialog = Dialog::new(&mailboxes(&["INBOX", "Archive"]));
            dialog.client(b"a NOOP\r\n").unwrap();
            for chunk in input.chunks(cut) {
                dialog.backend(chunk).unwrap();
            }
            assert_eq!(dialog.seen().0, shown.replace("\r\n", "|"), "cut every {cut}");
        }
    }

    #[test]
    fn our_own_answers_never_stand_in_a_response_that_is_held_or_shown() {
        let mut dialog = Dialog::new(&mailboxes(&["INBOX"]));
        dialog.client(b"a LIST \"\" *\r\nb SELECT Sent\r\n").unwrap();
        dialog.backend(b"* LIST () \"/\" {5}\r\nINB").unwrap();
        assert_eq!(dialog.seen().0, "");
        dialog.backend(b"OX\r\na OK\r\n").unwrap();
        assert_eq!(
            dialog.seen().0,
            format!("* LIST () \"/\" {{5}}|INBOX|a OK|b {DENIED}")
        );
    }

    fn budget(bytes: Option<u64>, messages: Option<u64>) -> (Restrictions, Arc<Budget>) {
        let budget = BudgetLimits { bytes, messages };
        let restrictions = Restrictions {
            budget,
            ..Restrictions::default()
        };
        (restrictions, Arc::new(Budget::new(budget)))
    }

    #[test]
    fn a_download_beyond_the_budget_is_stopped_and_the_next_is_refused() {
        let (restrictions, budget) = budget(Some(1000), None);
        let mut dialog = Dialog::with(&restrictions, Some(Arc::clone(&budget)));
        dialog.client(b"a UID FETCH 1 BODY[]\r\n").unwrap();
        dialog.backend(b"* 1 FETCH (BODY[] {5000}\r\n").unwrap();
        dialog.backend(&[b'x'; 900]).unwrap();
        assert_eq!(dialog.backend(&[b'x'; 900]), Err(EndReason::BudgetExceeded));
        // The same app password comes back.
        let mut dialog = Dialog::with(&restrictions, Some(Arc::clone(&budget)));
        dialog.relay.tell_time(60 * 60 * 1000);
        dialog.client(b"a UID FETCH 1 BODY[]\r\nb NOOP\r\n").unwrap();
        let (client, backend) = dialog.seen();
        assert!(client.starts_with("a NO [LIMIT] "), "{client}");
        assert_eq!(backend, "b NOOP|");
        dialog.relay.tell_time(65 * 60 * 1000);
        dialog.client(b"a UID FETCH 1 BODY[]\r\n").unwrap();
        assert_eq!(dialog.seen().1, "a UID FETCH 1 BODY[]|");
    }

    #[test]
    fn a_download_by_uid_is_stopped_as_well() {
        let (restrictions, budget) = budget(Some(1000), None);
        let mut dialog = Dialog::with(&restrictions, Some(budget));
        dialog.client(b"a ENABLE UIDONLY\r\n").unwrap();
        dialog.backend(b"* ENABLED UIDONLY\r\na OK\r\n").unwrap();
        dialog.client(b"b UID FETCH 25997 BODY[]\r\n").unwrap();
        dialog.backend(b"* 25997 UIDFETCH (BODY[] {5000}\r\n").unwrap();
        assert_eq!(dialog.backend(&[b'x'; 1800]), Err(EndReason::BudgetExceeded));
    }

    #[test]
    fn what_downloads_without_being_counted_is_refused_where_there_is_a_budget() {
        let (restrictions, budget) = budget(Some(1000), None);
        let mut dialog = Dialog::with(&restrictions, Some(budget));
        for command in [
            "CONVERT 1 (\"text/plain\" NIL) BINARY[1]",
            "URLFETCH \"imap://x\"",
        ] {
            dialog.client(format!("a {command}\r\n").as_bytes()).unwrap();
            assert_eq!(dialog.seen(), (format!("a {DENIED}"), String::new()), "{command}");
        }
    }

    #[test]
    fn nothing_of_a_message_comes_unasked_where_there_is_a_budget() {
        let (restrictions, budget) = budget(Some(1000), None);
        let mut dialog = Dialog::with(&restrictions, Some(budget));
        for command in [
            "NOTIFY SET (SELECTED (MessageNew (UID BODY.PEEK[]) MessageExpunge))",
            "NOTIFY SET STATUS (inboxes (messagenew)) (selected (MessageExpunge messagenew (uid rfc822)))",
            "NOTIFY SET (selected-delayed (MessageNew (BODY.PEEK[HEADER.FIELDS (SUBJECT)]) MessageExpunge))",
            "NOTIFY SET (selected (MessageNew (\"BODY[]\")))",
            "NOTIFY SET (selected (MessageNew ((UID))))",
            "NOTIFY SET (selected MessageNew (ENVELOPE))",
            "NOTIFY SET (selected (MessageNew (UID BINARY[1])))",
            "NOTIFY SET (selected (X-NEW (BODY[])))",
        ] {
            dialog.client(format!("a {command}\r\n").as_bytes()).unwrap();
            assert_eq!(dialog.seen(), (format!("a {DENIED}"), String::new()), "{command}");
        }
        for command in [
            "NOTIFY NONE",
            "NOTIFY SET STATUS (selected (MessageNew MessageExpunge)) (mailboxes (BODY[] RFC822) (MessageNew FlagChange))",
            "NOTIFY SET (selected (MessageNew (UID Flags MODSEQ RFC822.SIZE) MessageExpunge)) (subtree \"x\" (MessageNew))",
        ] {
            dialog.client(format!("a {command}\r\n").as_bytes()).unwrap();
            assert_eq!(dialog.seen(), (String::new(), format!("a {command}|")));
        }
        let (_, client) = sent(
            &read_only(),
            b"a NOTIFY SET (SELECTED (MessageNew (BODY.PEEK[])))\r\n",
        );
        assert_eq!(client, "", "there is no budget");
    }

    #[test]
    fn messages_have_a_budget_of_their_own() {
        let (restrictions, budget) = budget(None, Some(2));
        let mut dialog = Dialog::with(&restrictions, Some(budget));
        dialog.client(b"a FETCH 1:9 BODY[]\r\n").unwrap();
        let message = b"* 1 FETCH (BODY[] {1}\r\nx)\r\n";
        dialog.backend(message).unwrap();
        dialog.backend(message).unwrap();
        assert_eq!(dialog.backend(message), Err(EndReason::BudgetExceeded));
    }

    #[test]
    fn what_is_exactly_allowed_is_delivered_and_news_without_a_download_end_nothing() {
        let (restrictions, budget) = budget(None, Some(1));
        let mut dialog = Dialog::with(&restrictions, Some(budget));
        dialog.client(b"a FETCH 1 BODY[]\r\n").unwrap();
        dialog
            .backend(b"* 1 FETCH (BODY[] {1}\r\nx)\r\na OK\r\n")
            .unwrap();
        dialog.client(b"b IDLE\r\n").unwrap();
        dialog
            .backend(b"+ idling\r\n* 1 FETCH (BODY[] {1}\r\nx)\r\n")
            .unwrap();
    }

    #[test]
    fn without_restrictions_nothing_is_held() {
        assert!(Restrict::new(&Restrictions::default(), None).is_none());
        let service = Restrictions {
            service: true,
            ..Restrictions::default()
        };
        assert!(Restrict::new(&service, None).is_none());
    }
}
