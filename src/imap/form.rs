//! Commands that differ from one that was read before in their tag and in one number only: what was read then is true of them.
//!
//! Mail clients fetch message by message, in the same words, and say NOOP over and over. All other bytes must be the same, so
//! that nothing can mean anything else.

use crate::imap::command::Command;
use crate::imap::command::tag_of;
use crate::imap::facts::Facts;
use crate::imap::fetch::Fetch;
use crate::imap::lexer::Token;
use crate::imap::set::Numbers;
use crate::imap::set::Set;
use crate::imap::verb::Verb;

/// Longer commands are read each time.
const MAX_LENGTH: usize = 256;

/// A FETCH of one message, but for its tag and the message; or NOOP or CHECK, but for its tag.
#[derive(Debug)]
pub struct Form {
    verb: Verb,
    /// `None` for what is no FETCH, and has no number.
    fetch: Option<Fetch>,
    deepest: usize,
    /// What stands between tag and number; all behind the tag, where there is no number.
    head: Box<[u8]>,
    /// What stands behind the number.
    tail: Box<[u8]>,
}

/// A command that has the form of another.
#[derive(Debug, Clone, Copy)]
pub struct Fitting<'a> {
    tag: &'a [u8],
    number: &'a [u8],
}

impl Form {
    /// The form of a complete command; `None` for what has none.
    #[must_use]
    pub fn of(command: &Command<'_>, bytes: &[u8], fetch: Option<Fetch>) -> Option<Self> {
        if bytes.len() > MAX_LENGTH {
            return None;
        }
        match command.verb {
            Verb::Fetch | Verb::UidFetch => Self::of_fetch(command, bytes, fetch?),
            Verb::Noop | Verb::Check if command.arguments().is_empty() => Some(Self {
                verb: command.verb,
                fetch: None,
                deepest: command.deepest,
                head: bytes.get(command.tag.len()..)?.into(),
                tail: Box::default(),
            }),
            _ => None,
        }
    }

    /// The form of a FETCH of one message, without literals.
    fn of_fetch(command: &Command<'_>, bytes: &[u8], fetch: Fetch) -> Option<Self> {
        let plain = |token: &Token<'_>| !matches!(token, Token::Literal(_) | Token::Announced(_));
        let [Token::Word(number), rest @ ..] = command.arguments() else {
            return None;
        };
        if !is_number(number) || !rest.iter().all(plain) {
            return None;
        }
        // Neither `UID` nor `FETCH` has a digit.
        let verb = bytes.get(command.word.start..)?;
        let start = command.word.start + verb.iter().position(u8::is_ascii_digit)?;
        let tail = bytes.get(start..)?.strip_prefix(*number)?;
        Some(Self {
            verb: command.verb,
            fetch: Some(fetch),
            deepest: command.deepest,
            head: bytes.get(command.tag.len()..start)?.into(),
            tail: tail.into(),
        })
    }

    /// The parts of a complete command that has this form.
    #[must_use]
    pub fn fits<'a>(&self, bytes: &'a [u8]) -> Option<Fitting<'a>> {
        let rest = bytes.strip_suffix(&*self.tail)?;
        let tag = tag_of(bytes).filter(|tag| !tag.eq_ignore_ascii_case(b"DONE"))?;
        let number = rest.get(tag.len()..)?.strip_prefix(&*self.head)?;
        let fits = match self.fetch {
            Some(_) => is_number(number),
            None => number.is_empty(),
        };
        fits.then_some(Fitting { tag, number })
    }

    /// What `Command::read` says of it, but for its tokens.
    #[must_use]
    pub fn command<'a>(&self, fitting: Fitting<'a>) -> Command<'a> {
        Command::without_tokens(fitting.tag, self.verb, self.deepest)
    }

    /// What it asks for, where it is a FETCH.
    #[must_use]
    pub fn fetch(&self) -> Option<Fetch> {
        self.fetch
    }

    /// The message that it names, where it is a FETCH.
    #[must_use]
    pub fn set<'a>(&self, fitting: Fitting<'a>) -> Option<Set<'a>> {
        let numbers = match self.verb {
            Verb::UidFetch => Numbers::Uid,
            _ => Numbers::Sequence,
        };
        self.fetch.map(|_| Set::new(fitting.number, numbers))
    }

    /// What `Facts::read` says of it.
    #[must_use]
    pub fn facts<'a>(&self, fitting: Fitting<'a>) -> Facts<'a> {
        Facts {
            set: self.set(fitting),
            fetch: self.fetch,
            depth: self.deepest,
            ..Facts::default()
        }
    }
}

/// The number of a message as everybody writes it.
fn is_number(text: &[u8]) -> bool {
    let digits = text.len() <= 10 && text.iter().all(u8::is_ascii_digit);
    let number = || std::str::from_utf8(text).ok()?.parse::<u32>().ok();
    digits && text.first().is_some_and(|first| *first != b'0') && number().is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(line: &str) -> Option<Form> {
        let command = Command::read(line.as_bytes(), &[]).unwrap();
        let facts = Facts::read(command.verb, command.arguments(), command.deepest);
        Form::of(&command, line.as_bytes(), facts.fetch)
    }

    #[test]
    fn only_a_fetch_of_one_message_without_literals_and_noop_have_a_form() {
        for line in [
            "a FETCH 1 FLAGS\r\n",
            "a9  uid  fetch 4294967295 (BODY[1])\r\n",
            "a NOOP\r\n",
            "a  check \r\n",
        ] {
            assert!(form(line).is_some(), "{line}");
        }
        for line in [
            "a EXPUNGE\r\n",
            "a IDLE\r\n",
            "a STORE 1 FLAGS ()\r\n",
            "a FETCH 1:2 FLAGS\r\n",
            "a FETCH 1,2 FLAGS\r\n",
            "a FETCH * FLAGS\r\n",
            "a FETCH $ FLAGS\r\n",
            "a FETCH 0 FLAGS\r\n",
            "a FETCH 01 FLAGS\r\n",
            "a FETCH 4294967296 FLAGS\r\n",
            "a FETCH 1 (BODY[HEADER.FIELDS ({4}\r\nFrom)])\r\n",
        ] {
            assert!(form(line).is_none(), "{line}");
        }
        let long = format!("a FETCH 1 (BODY[HEADER.FIELDS ({})])\r\n", "From ".repeat(60));
        assert!(form(&long).is_none());
    }

    #[test]
    fn a_command_fits_by_every_byte_but_tag_and_number() {
        let form = form("a1 UID FETCH 17 (UID BODY.PEEK[])\r\n").unwrap();
        let fits = |line: &str| form.fits(line.as_bytes()).is_some();
        assert!(fits("a1 UID FETCH 17 (UID BODY.PEEK[])\r\n"));
        assert!(fits("zz99 UID FETCH 4000000000 (UID BODY.PEEK[])\r\n"));
        for other in [
            "",
            "\r\n",
            "a1",
            " UID FETCH 17 (UID BODY.PEEK[])\r\n",
            "UID FETCH 17 (UID BODY.PEEK[])\r\n",
            "done UID FETCH 17 (UID BODY.PEEK[])\r\n",
            "a+ UID FETCH 17 (UID BODY.PEEK[])\r\n",
            "a1 UID FETCH 17 (UID BODY[])\r\n",
            "a1 uid FETCH 17 (UID BODY.PEEK[])\r\n",
            "a1 UID FETCH  (UID BODY.PEEK[])\r\n",
            "a1 UID FETCH 1:7 (UID BODY.PEEK[])\r\n",
            "a1 UID FETCH 017 (UID BODY.PEEK[])\r\n",
            "a1 UID FETCH 17 (BODY[]) (UID BODY.PEEK[])\r\n",
            "a1 UID FETCH 17 (UID BODY.PEEK[])\r\na2 NOOP\r\n",
            "a1 UID FETCH 17 (UID BODY.PEEK[])",
        ] {
            assert!(!fits(other), "{other:?}");
        }
    }

    #[test]
    fn noop_fits_by_every_byte_but_its_tag() {
        let noop = form("a1 NOOP\r\n").unwrap();
        assert!(noop.fits(b"b2 NOOP\r\n").is_some());
        for other in [
            "",
            "b2 NOOP",
            "b2 NOOP \r\n",
            "b2 NOOP 1\r\n",
            "b2 noop\r\n",
            "NOOP\r\n",
            "done NOOP\r\n",
        ] {
            assert!(noop.fits(other.as_bytes()).is_none(), "{other:?}");
        }
    }

    fn line() -> impl Strategy<Value = String> {
        let number = prop_oneof![
            "[0-9:,*]{0,11}",
            any::<u32>().prop_map(|number| number.to_string())
        ];
        let tag = "[a-zA-Z0-9.+]{0,4}";
        let verb = prop::sample::select(vec!["FETCH", "UID FETCH", "uid fetch", "UID  FETCH", "FETCH 1"]);
        let items = prop::sample::select(vec![
            "FLAGS",
            "(BODY.PEEK[])",
            "(UID BODY[1.2]<0.5>)",
            "BODY[]",
            "((A) FLAGS)",
            "7 FLAGS",
            "",
        ]);
        let other = (
            tag,
            prop::sample::select(vec!["NOOP", "noop", "CHECK", "CHECK ", "NOOP 1", "IDLE"]),
        );
        prop_oneof![
            3 => (tag, verb, number, items)
                .prop_map(|(tag, verb, number, items)| format!("{tag} {verb} {number} {items}\r\n")),
            1 => other.prop_map(|(tag, verb)| format!("{tag} {verb}\r\n")),
        ]
    }

    proptest! {
        /// Whatever fits is read as it would be without its form.
        #[test]
        fn nothing_is_read_differently(first in line(), second in line()) {
            let read = |line: &str| Command::read(line.as_bytes(), &[]).is_ok();
            if !read(&first) { return Ok(()) }
            let Some(form) = form(&first) else { return Ok(()) };
            for line in [first, second] {
                let Some(fitting) = form.fits(line.as_bytes()) else { continue };
                let command = form.command(fitting);
                let plain = Command::read(line.as_bytes(), &[]).unwrap();
                prop_assert_eq!(
                    (command.tag, command.verb, &command.mailbox, &command.destination),
                    (plain.tag, plain.verb, &plain.mailbox, &plain.destination)
                );
                prop_assert_eq!(
                    (command.awaits, command.depth, command.deepest),
                    (plain.awaits, plain.depth, plain.deepest)
                );
                let facts = Facts::read(plain.verb, plain.arguments(), plain.deepest);
                prop_assert_eq!(form.facts(fitting), facts, "{}", line);
            }
        }
    }
}
