//! Responses that may name a mailbox, for sessions that may not see every one: held until somebody has looked at them, and
//! then passed on or dropped, whole.

use super::At;
use super::Item;
use super::Scanner;

/// How much of a response that may name a mailbox is held until it is judged: names and all that stands before them.
const MAX_NAMED: usize = 8 * 1024;

/// What happens to the data response that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Passes,
    /// It may name a mailbox, and is held until somebody has looked at it.
    Held,
    Dropped,
}

impl Scanner {
    /// From now on responses that may name a mailbox are handed out as [`Item::Named`]; messages still pass as they are.
    pub fn watch_names(&mut self) {
        self.watches_names = true;
    }

    /// Drops the response of which [`Item::Named`] spoke, what is still to come of it included.
    pub fn drop_response(&mut self) {
        self.release();
        if self.at != At::Start {
            self.fate = Fate::Dropped;
        }
    }

    /// Holds a response that may name a mailbox, until it is complete or long enough to be judged.
    pub(super) fn hold_named(&mut self, input: &[u8]) -> Item {
        let mut taken = 0;
        loop {
            let room = MAX_NAMED.saturating_sub(self.held.len());
            let rest = input.get(taken..).unwrap_or_default();
            let rest = rest.get(..room).unwrap_or(rest);
            if rest.is_empty() {
                return Item::More(taken);
            }
            let part = match self.pass_part(rest) {
                Ok(part) => part,
                Err(error) => return Item::Broken(error),
            };
            self.held.extend_from_slice(rest.get(..part).unwrap_or_default());
            taken += part;
            if self.at == At::Start || self.held.len() >= MAX_NAMED {
                self.fate = Fate::Passes;
                return Item::Named(taken);
            }
        }
    }

    /// Takes more of a response that is dropped.
    pub(super) fn drop_more(&mut self, input: &[u8]) -> Item {
        let mut taken = 0;
        while let Some(rest) = input.get(taken..).filter(|rest| !rest.is_empty()) {
            match self.pass_part(rest) {
                Ok(part) => taken += part,
                Err(error) => return Item::Broken(error),
            }
            if self.at == At::Start {
                self.fate = Fate::Passes;
                break;
            }
        }
        Item::More(taken)
    }
}

#[cfg(test)]
mod tests {
    use crate::imap::response::ResponseError;

    use super::*;

    /// What passes of an input that is cut every `cut` bytes, and what was asked about. Whatever has `Secret` in what is
    /// handed out is dropped.
    fn run(input: &[u8], cut: usize) -> (Vec<u8>, Vec<Vec<u8>>, Option<ResponseError>) {
        let mut scanner = Scanner::new(100_000);
        scanner.watch_names();
        let (mut passed, mut asked) = (Vec::new(), Vec::new());
        for chunk in input.chunks(cut) {
            let mut rest = chunk;
            while !rest.is_empty() {
                let taken = match scanner.next(rest) {
                    Item::Data(taken) | Item::Line(taken) => {
                        passed.extend_from_slice(&rest[..taken]);
                        taken
                    }
                    Item::HeldData(taken) | Item::HeldLine(taken) => {
                        passed.extend_from_slice(scanner.held());
                        scanner.release();
                        taken
                    }
                    Item::Named(taken) => {
                        let held = scanner.held().to_vec();
                        if held.windows(6).any(|window| window == b"Secret") {
                            scanner.drop_response();
                        } else {
                            passed.extend_from_slice(&held);
                            scanner.release();
                        }
                        asked.push(held);
                        taken
                    }
                    Item::More(taken) => taken,
                    Item::Broken(error) => return (passed, asked, Some(error)),
                };
                rest = &rest[taken..];
            }
        }
        assert!(scanner.at_boundary());
        (passed, asked, None)
    }

    #[test]
    fn what_may_name_a_mailbox_is_asked_about_and_messages_are_not() {
        let input = b"* LIST () \"/\" {6}\r\nSecret\r\n* 1 FETCH (BODY[] {26}\r\n* LIST () \"/\" Secret\r\n\r\n\r\n)\r\n* NAMESPACE NIL NIL NIL\r\n* OK Secret\r\n* STATUS Secret (MESSAGES 1)\r\n* BANNER x\r\n* SEARCH\r\na OK done\r\n";
        let expected = b"* 1 FETCH (BODY[] {26}\r\n* LIST () \"/\" Secret\r\n\r\n\r\n)\r\n* NAMESPACE NIL NIL NIL\r\n* OK Secret\r\n* BANNER x\r\n* SEARCH\r\na OK done\r\n";
        for cut in 1..=input.len() {
            let (passed, asked, error) = run(input, cut);
            assert_eq!(error, None);
            assert_eq!(
                passed.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "cut every {cut}"
            );
            let asked: Vec<_> = asked.iter().map(|asked| String::from_utf8_lossy(asked)).collect();
            assert_eq!(
                asked,
                [
                    "* LIST () \"/\" {6}\r\nSecret\r\n",
                    "* NAMESPACE NIL NIL NIL\r\n",
                    "* STATUS Secret (MESSAGES 1)\r\n",
                    "* BANNER x\r\n",
                    "* SEARCH\r\n",
                ],
                "cut every {cut}"
            );
        }
    }

    #[test]
    fn a_long_response_is_asked_about_once_and_passes_or_goes_whole() {
        for (name, cut) in ["Secret", "Public"]
            .into_iter()
            .flat_map(|name| [7, 8192, 8193, 50_000].map(|cut| (name, cut)))
        {
            let value = vec![b'v'; 20_000];
            let set = vec![b'1'; 20_000];
            let head = format!("* METADATA {name} (/a {{20000}}\r\n");
            let long = [head.as_bytes(), &value, b" /b {20000}\r\n", &value, b")\r\n"].concat();
            let line = [
                format!("* ESEARCH (MAILBOX {name}) ALL ").as_bytes(),
                &set,
                b"\r\n",
            ]
            .concat();
            let (passed, asked, error) = run(&[&*long, b"a OK\r\n", &line, b"b OK\r\n"].concat(), cut);
            assert_eq!(error, None);
            assert_eq!(asked.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_NAMED; 2]);
            if name == "Secret" {
                assert_eq!(passed, b"a OK\r\nb OK\r\n");
            } else {
                assert!(passed == [&*long, b"a OK\r\n", &line, b"b OK\r\n"].concat());
            }
        }
    }

    #[test]
    fn broken_framing_is_found_in_what_is_held_and_in_what_is_dropped() {
        let long = [b"* LIST () \"/\" \"Secret".as_slice(), &[b'x'; 9000], b"\n"].concat();
        for (input, expected) in [
            (b"* LIST x\n".as_slice(), ResponseError::BareLf),
            (b"* LIST \0\r\n", ResponseError::Nul),
            (b"* LIST {3+}\r\n", ResponseError::Literal),
            (&long, ResponseError::BareLf),
        ] {
            for cut in [1, 5, 10_000] {
                assert_eq!(run(input, cut).2, Some(expected), "{}", input.escape_ascii());
            }
        }
    }
}
