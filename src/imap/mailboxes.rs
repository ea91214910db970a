//! Which mailboxes a command or a response names: all of them, wherever they stand, as bytes still to be decoded.
//!
//! For sessions that may see some mailboxes only. What is named in a way that is not understood here counts as naming
//! anything: such a command must not pass, and such a response must not be shown.

use std::borrow::Cow;

use crate::imap::command::Awaited;
use crate::imap::command::Command;
use crate::imap::command::behind_group;
use crate::imap::lexer::Lexer;
use crate::imap::lexer::Token;
use crate::imap::lexer::unescaped;
use crate::imap::verb::Part;
use crate::imap::verb::Verb;

/// A name as it stands on the wire, without quotes and escapes.
pub type RawName<'a> = Cow<'a, [u8]>;

/// What a command asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// These mailboxes.
    pub exact: Vec<RawName<'a>>,
    /// These, with all that is below them.
    pub trees: Vec<RawName<'a>>,
    /// It may reach mailboxes that it does not name.
    pub others: bool,
}

impl<'a> Wanted<'a> {
    /// Of a complete command, or of one that goes on with a message. LIST and its kin ask for nothing here: their answers
    /// name what they show.
    #[must_use]
    pub fn by(command: &Command<'a>) -> Self {
        let mut wanted = Self::default();
        let arguments = command.arguments();
        wanted.by_shape(command.verb, arguments);
        match command.verb {
            // What is renamed takes along what is below it, and puts it below its new name.
            Verb::Rename => wanted.trees.clone_from(&wanted.exact),
            Verb::Esearch => wanted.scope(arguments),
            Verb::Notify => wanted.notify(arguments),
            Verb::SetAnnotation => wanted.patterns(arguments),
            // The server's own annotations belong to no mailbox.
            Verb::GetMetadata => wanted.exact.retain(|name| !name.is_empty()),
            Verb::Append | Verb::Replace | Verb::UidReplace => {
                wanted.others = arguments.iter().any(|token| is_word(token, b"CATENATE"));
            }
            // Cyrus and Dovecot tell in which mailboxes a message stands.
            Verb::Fetch | Verb::UidFetch => {
                let tells = |token: &Token<'_>| TELLING.iter().any(|item| is_word(token, item));
                wanted.others = arguments.iter().any(tells);
            }
            Verb::UrlFetch | Verb::GenUrlAuth | Verb::ResetKey | Verb::SetQuota | Verb::Extra => {
                wanted.others = true;
            }
            _ => {}
        }
        wanted.others |= arguments.iter().any(is_label);
        // A name that is still to come has not been looked at.
        wanted.others |= matches!(command.awaits, Some(Awaited::Argument(_)));
        wanted
    }

    /// The names where the command table says that there are names.
    fn by_shape(&mut self, verb: Verb, arguments: &[Token<'a>]) {
        let mut rest = arguments;
        for part in verb.shape() {
            rest = match (part, rest) {
                (Part::Rest | Part::Message | Part::Patterns, _) | (_, []) => return,
                (Part::MaybeWords | Part::Words, [Token::Open, ..]) => behind_group(rest).unwrap_or_default(),
                (Part::MaybeWords | Part::Words, _) => rest,
                (Part::Mailbox, [token, more @ ..]) => {
                    match name_of(*token) {
                        Some(name) => self.exact.push(name),
                        None => self.others = true,
                    }
                    more
                }
                (Part::Astring | Part::Word, [_, more @ ..]) => more,
            };
        }
    }

    /// ESEARCH's `IN (…)` (RFC 7377, section 2.1).
    fn scope(&mut self, arguments: &[Token<'a>]) {
        match arguments {
            [first, group @ ..] if is_word(first, b"IN") => self.filters(group),
            _ => {}
        }
    }

    /// NOTIFY's groups: mailboxes, then events (RFC 5465, section 8).
    fn notify(&mut self, arguments: &[Token<'a>]) {
        let mut rest = arguments;
        while let Some(at) = rest.iter().position(|token| *token == Token::Open) {
            let group = rest.get(at..).unwrap_or_default();
            let behind = behind_group(group).unwrap_or_default();
            let own = group.get(..group.len() - behind.len()).unwrap_or_default();
            // Only the first is a filter, the rest are events.
            let filter = match own {
                [_, filter, names @ ..] if takes_names(filter) => 1 + one_or_group(names),
                _ => 1,
            };
            self.filters_in(own.get(1..=filter).unwrap_or_default());
            rest = behind;
        }
    }

    /// A group of filters.
    fn filters(&mut self, group: &[Token<'a>]) {
        match group.get(..one_or_group(group)).unwrap_or_default() {
            [Token::Open, filters @ .., Token::Close] => self.filters_in(filters),
            _ => self.others = true,
        }
    }

    fn filters_in(&mut self, filters: &[Token<'a>]) {
        let mut rest = filters;
        while let [filter, more @ ..] = rest {
            if SELECTED.iter().any(|word| is_word(filter, word)) {
                rest = more;
                continue;
            }
            if !takes_names(filter) {
                self.others = true;
                return;
            }
            let (names, behind) = more.split_at_checked(one_or_group(more)).unwrap_or_default();
            self.others |= names.is_empty();
            let names = names.iter().filter_map(|token| name_of(*token));
            if is_word(filter, b"MAILBOXES") {
                self.exact.extend(names);
            } else {
                self.trees.extend(names);
            }
            rest = behind;
        }
    }

    /// One name or a list of them; a pattern may stand for anything.
    fn patterns(&mut self, arguments: &[Token<'a>]) {
        let names = arguments.iter().take(one_or_group(arguments));
        for name in names.filter_map(|token| name_of(*token)) {
            self.others |= name.iter().any(|byte| matches!(byte, b'*' | b'%'));
            self.exact.push(name);
        }
    }
}

/// How many tokens the first argument has; 0 where there is none, or a group that does not close.
fn one_or_group(tokens: &[Token<'_>]) -> usize {
    match tokens {
        [Token::Open, ..] => behind_group(tokens).map_or(0, |behind| tokens.len() - behind.len()),
        _ => tokens.len().min(1),
    }
}

/// FETCH items that name mailboxes.
const TELLING: [&[u8]; 3] = [b"MAILBOXES", b"X-MAILBOX", b"X-REAL-MAILBOX"];

/// Gmail's labels are its mailboxes: who sets one puts the message there, and who reads or searches them sees where it is. They
/// are items of FETCH, of STORE (`+X-GM-LABELS.SILENT`), and keys of SEARCH. A server may take a string for such a word.
fn is_label(token: &Token<'_>) -> bool {
    let (Token::Word(word) | Token::Quoted(word) | Token::Literal(word)) = token else {
        return false;
    };
    let word = word
        .strip_prefix(b"+")
        .or(word.strip_prefix(b"-"))
        .unwrap_or(word);
    [b"X-GM-LABELS".as_slice(), b"X-GM-RAW", b"X-GM-LABELS.SILENT"]
        .iter()
        .any(|label| word.eq_ignore_ascii_case(label))
}

/// Filters that mean the selected mailbox.
const SELECTED: [&[u8]; 2] = [b"SELECTED", b"SELECTED-DELAYED"];

/// Filters with names behind them.
fn takes_names(filter: &Token<'_>) -> bool {
    [b"MAILBOXES".as_slice(), b"SUBTREE", b"SUBTREE-ONE"]
        .iter()
        .any(|word| is_word(filter, word))
}

/// The mailboxes that a response names: a complete one, or the beginning of a long one, from its `*` on. Nothing where it is
/// not understood.
#[must_use]
pub fn named_by(response: &[u8]) -> Option<Vec<RawName<'_>>> {
    let mut lexer = Lexer::new(response.strip_prefix(b"* ")?);
    let mut next = || lexer.next_token().ok().flatten();
    let Token::Word(word) = next()? else {
        return None;
    };
    let is = |known: &[&str]| {
        known
            .iter()
            .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
    };
    if is(&NAMELESS) {
        return Some(Vec::new());
    }
    if is(&NAME_FIRST) {
        return Some(vec![name_of(next()?)?]);
    }
    if is(&["LIST", "LSUB", "XLIST", "RLIST", "RLSUB"]) {
        if next()? != Token::Open {
            return None;
        }
        while next()? != Token::Close {}
        next()?;
        let mut names = vec![name_of(next()?)?];
        // What is behind the name may tell what the mailbox was called before (RFC 5465, section 5.4).
        let mut is_old_name = false;
        while let Some(token) = lexer.next_token().ok()? {
            let name = name_of(token);
            let is_word = |name: &RawName<'_>| name.eq_ignore_ascii_case(b"OLDNAME");
            let says_so = name.as_ref().is_some_and(is_word);
            names.extend(name.filter(|_| is_old_name));
            is_old_name |= says_so;
        }
        return Some(names);
    }
    if is(&["ESEARCH"]) {
        return named_by_esearch(&mut lexer);
    }
    None
}

/// `* ESEARCH (TAG "a" MAILBOX "x" UIDVALIDITY 1) …`, or without the parentheses.
fn named_by_esearch<'a>(lexer: &mut Lexer<'a>) -> Option<Vec<RawName<'a>>> {
    let mut names = Vec::new();
    if lexer.next_token().ok()? != Some(Token::Open) {
        return Some(names);
    }
    loop {
        match lexer.next_token().ok()?? {
            Token::Close => return Some(names),
            word if is_word(&word, b"MAILBOX") => names.push(name_of(lexer.next_token().ok()??)?),
            _ => {}
        }
    }
}

/// Responses that name no mailbox.
const NAMELESS: [&str; 14] = [
    "SEARCH",
    "SORT",
    "THREAD",
    "FLAGS",
    "VANISHED",
    "ENABLED",
    "NAMESPACE",
    "QUOTA",
    "ID",
    "LANGUAGE",
    "COMPARATOR",
    "CONVERSION",
    "JMAPACCESS",
    "INPROGRESS",
];

/// Responses that begin with the mailbox they are about.
const NAME_FIRST: [&str; 7] = [
    "STATUS",
    "ACL",
    "MYRIGHTS",
    "LISTRIGHTS",
    "METADATA",
    "ANNOTATION",
    "QUOTAROOT",
];

fn name_of(token: Token<'_>) -> Option<RawName<'_>> {
    match token {
        Token::Word(text) | Token::Literal(text) => Some(Cow::Borrowed(text)),
        Token::Quoted(text) if text.contains(&b'\\') => Some(Cow::Owned(unescaped(text))),
        Token::Quoted(text) => Some(Cow::Borrowed(text)),
        Token::Announced(_) | Token::Open | Token::Close => None,
    }
}

fn is_word(token: &Token<'_>, word: &[u8]) -> bool {
    matches!(token, Token::Word(text) if text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(names: &[RawName<'_>]) -> String {
        let names: Vec<_> = names.iter().map(|name| String::from_utf8_lossy(name)).collect();
        names.join(" ")
    }

    /// Exact names, trees, and whether there may be others.
    fn wanted(command: &str) -> (String, String, bool) {
        let bytes = format!("a {command}\r\n");
        let command = Command::read(bytes.as_bytes(), &[b"XTRA".as_slice().into()]).unwrap();
        let wanted = Wanted::by(&command);
        (text(&wanted.exact), text(&wanted.trees), wanted.others)
    }

    #[test]
    fn every_mailbox_of_every_command_is_found() {
        for (command, exact, trees) in [
            ("SELECT x", "x", ""),
            ("EXAMINE \"x\" (CONDSTORE)", "x", ""),
            ("CREATE x (USE (\\Sent))", "x", ""),
            ("DELETE {1}\r\nx", "x", ""),
            ("RENAME x y", "x y", "x y"),
            ("SUBSCRIBE x", "x", ""),
            ("UNSUBSCRIBE x", "x", ""),
            ("STATUS \"a\\\"b\" (MESSAGES)", "a\"b", ""),
            ("COPY 1 x", "x", ""),
            ("UID COPY 1 x", "x", ""),
            ("MOVE 1 x", "x", ""),
            ("UID MOVE 1 x", "x", ""),
            ("GETQUOTAROOT x", "x", ""),
            ("SETACL x bob lr", "x", ""),
            ("DELETEACL x bob", "x", ""),
            ("GETACL x", "x", ""),
            ("LISTRIGHTS x bob", "x", ""),
            ("MYRIGHTS x", "x", ""),
            ("GETMETADATA (DEPTH 1) x (/a /b)", "x", ""),
            ("GETMETADATA \"\" /a", "", ""),
            ("SETMETADATA x (/a \"y\")", "x", ""),
            ("SETMETADATA \"\" (/a \"y\")", "", ""),
            ("SETANNOTATION x /a (b c)", "x", ""),
            ("SETANNOTATION (x {1}\r\ny) /a (b c)", "x y", ""),
            ("APPEND x {0}\r\n", "x", ""),
            ("APPEND x {3}", "x", ""),
            ("REPLACE 1 x {3}", "x", ""),
            ("UID REPLACE 1 x {3}", "x", ""),
            ("ESEARCH IN (selected) ALL", "", ""),
            ("ESEARCH UNSEEN", "", ""),
            ("ESEARCH IN (mailboxes x) ALL", "x", ""),
            (
                "ESEARCH in (Mailboxes (x \"y\") SELECTED subtree z subtree-one (u v)) ALL",
                "x y",
                "z u v",
            ),
            ("NOTIFY NONE", "", ""),
            (
                "NOTIFY SET STATUS (selected MessageNew) (mailboxes (x y) (MessageNew)) (subtree z NONE)",
                "x y",
                "z",
            ),
            ("NOTIFY SET (mailboxes x (MessageNew (FLAGS)))", "x", ""),
            ("LIST \"\" *", "", ""),
            ("FETCH 1 (FLAGS BODY[])", "", ""),
            ("FETCH 1 (X-GM-MSGID X-GM-THRID)", "", ""),
            ("STORE 1 +FLAGS.SILENT (X-GM-LABELS-OF-MINE)", "", ""),
            ("SEARCH SUBJECT x", "", ""),
        ] {
            assert_eq!(
                wanted(command),
                (exact.to_owned(), trees.to_owned(), false),
                "{command}"
            );
        }
    }

    #[test]
    fn what_may_reach_any_mailbox_says_so() {
        for command in [
            "ESEARCH IN (personal) ALL",
            "ESEARCH IN (subscribed) ALL",
            "ESEARCH IN (inboxes mailboxes x) ALL",
            "ESEARCH IN (mailboxes x (odd)) ALL",
            "ESEARCH IN (mailboxes) ALL",
            "ESEARCH IN x ALL",
            "NOTIFY SET (personal (MessageNew))",
            "NOTIFY SET (selected (MessageNew)) (subscribed (MessageNew))",
            "SETANNOTATION x% /a (b c)",
            "APPEND x CATENATE (URL \"/y\")",
            "APPEND x catenate (TEXT {3}",
            "REPLACE 1 x CATENATE (URL \"/y\")",
            "FETCH 1 (UID Mailboxes)",
            "UID FETCH 1 X-REAL-MAILBOX",
            "FETCH 1 (UID x-gm-labels)",
            "STORE 1 X-GM-LABELS (Secret)",
            "STORE 1 +X-GM-LABELS (Secret)",
            "UID STORE 1:* (UNCHANGEDSINCE 5) -x-gm-labels.silent (\\Inbox)",
            "SEARCH OR X-GM-LABELS Secret SEEN",
            "UID SEARCH X-GM-RAW \"in:secret\"",
            "SEARCH {8}\r\nX-GM-RAW in:secret",
            "UID SORT (DATE) UTF-8 (NOT (\"X-GM-LABELS\" Secret))",
            "THREAD REFERENCES UTF-8 X-GM-RAW label:secret",
            "ESEARCH IN (mailboxes x) X-GM-RAW label:secret",
            "NOTIFY SET (selected (MessageNew (UID X-GM-LABELS)))",
            "URLFETCH \"imap://x\"",
            "GENURLAUTH \"imap://x\" INTERNAL",
            "RESETKEY",
            "SETQUOTA \"\" (STORAGE 1)",
            "XTRA x",
            "RENAME x {3}",
        ] {
            assert!(wanted(command).2, "{command}");
        }
    }

    #[test]
    fn a_verb_with_a_mailbox_in_its_shape_never_asks_for_nothing() {
        for verb in Verb::ALL {
            let names = verb.shape().iter().filter(|part| **part == Part::Mailbox).count();
            let arguments = ["x"; 6].map(|word| Token::Word(word.as_bytes()));
            let mut wanted = Wanted::default();
            wanted.by_shape(*verb, &arguments);
            assert_eq!(wanted.exact.len(), names, "{verb:?}");
        }
    }

    #[test]
    fn the_mailboxes_of_responses_are_found() {
        for (response, names) in [
            ("* LIST (\\HasChildren \\Sent) \"/\" x\r\n", Some("x")),
            ("* LIST () NIL {3}\r\na b\r\n", Some("a b")),
            ("* lsub () \".\" \"a\\\"b\"\r\n", Some("a\"b")),
            ("* LIST () \"/\" new (\"OLDNAME\" (\"old\"))\r\n", Some("new old")),
            (
                "* LIST () \"/\" x (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n",
                Some("x"),
            ),
            ("* XLIST (\\Inbox) \"/\" Inbox\r\n", Some("Inbox")),
            ("* STATUS {1}\r\nx (MESSAGES 3)\r\n", Some("x")),
            ("* ACL x bob lr\r\n", Some("x")),
            ("* MYRIGHTS x lr\r\n", Some("x")),
            ("* LISTRIGHTS x bob l r\r\n", Some("x")),
            ("* METADATA x (/a {4}\r\nabcd)\r\n", Some("x")),
            ("* METADATA \"x\" (/a {40000}\r\nabcd", Some("x")),
            ("* ANNOTATION x /a (b c)\r\n", Some("x")),
            ("* QUOTAROOT x \"\"\r\n", Some("x")),
            (
                "* ESEARCH (TAG \"a\" MAILBOX \"x\" UIDVALIDITY 1) UID ALL 1:3\r\n",
                Some("x"),
            ),
            ("* ESEARCH (TAG \"a\") UID ALL 1:3,4", Some("")),
            ("* ESEARCH COUNT 3\r\n", Some("")),
            ("* SEARCH 1 2 3\r\n", Some("")),
            ("* SEARCH\r\n", Some("")),
            ("* FLAGS (\\Seen)\r\n", Some("")),
            ("* LIST \"/\" x\r\n", None),
            ("* LIST (\"/\" x\r\n", None),
            ("* LIST () \"/\" \"x\r\n", None),
            ("* LIST () \"/\" x (\"OLDNAME\" (\"old\r\n", None),
            ("* STATUS\r\n", None),
            ("* STATUS {40}\r\nx", None),
            ("* ESEARCH (MAILBOX \"x\"", None),
            ("* X-FOLDER x\r\n", None),
            ("* \r\n", None),
        ] {
            let found = named_by(response.as_bytes());
            assert_eq!(found.as_deref().map(text).as_deref(), names, "{response}");
        }
    }
}
