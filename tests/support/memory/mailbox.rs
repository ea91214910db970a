//! Mailboxes in memory: messages, flags, sequence sets.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// One user's mail.
#[derive(Debug, Default)]
pub struct Account {
    /// By name on the wire: modified UTF-7, `/` between levels.
    pub mailboxes: BTreeMap<String, Mailbox>,
    /// Names subscribed to; a name stays subscribed when its mailbox goes away.
    pub subscribed: BTreeSet<String>,
    validity: u32,
}

impl Account {
    /// Adds an empty mailbox; false where there is one of the name.
    pub fn create(&mut self, name: &str, special_use: Option<&'static str>) -> bool {
        if self.mailboxes.contains_key(name) {
            return false;
        }
        self.validity += 1;
        let mailbox = Mailbox {
            uid_validity: self.validity,
            special_use,
            ..Mailbox::default()
        };
        self.mailboxes.insert(name.to_owned(), mailbox);
        true
    }
}

/// One mailbox.
#[derive(Debug, Default)]
pub struct Mailbox {
    /// Changes when the mailbox is made anew under an old name.
    pub uid_validity: u32,
    /// `\Sent` and the like.
    pub special_use: Option<&'static str>,
    /// In the order of their UIDs.
    pub messages: Vec<Message>,
    last_uid: u32,
}

impl Mailbox {
    /// The UID that the next message gets.
    pub fn uid_next(&self) -> u32 {
        self.last_uid + 1
    }

    /// Adds a message and says its UID.
    pub fn append(&mut self, raw: Arc<[u8]>, flags: BTreeSet<String>, received: Received) -> u32 {
        self.last_uid += 1;
        self.messages.push(Message {
            uid: self.last_uid,
            flags,
            received,
            raw,
        });
        self.last_uid
    }

    /// The message with a UID.
    pub fn message(&self, uid: u32) -> Option<&Message> {
        let at = self
            .messages
            .binary_search_by_key(&uid, |message| message.uid)
            .ok()?;
        self.messages.get(at)
    }

    /// The message with a UID, to change its flags.
    pub fn message_mut(&mut self, uid: u32) -> Option<&mut Message> {
        let at = self
            .messages
            .binary_search_by_key(&uid, |message| message.uid)
            .ok()?;
        self.messages.get_mut(at)
    }

    /// How many messages lack `\Seen`.
    pub fn unseen(&self) -> usize {
        self.messages
            .iter()
            .filter(|message| !message.has("\\Seen"))
            .count()
    }
}

/// One message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Never used twice in a mailbox.
    pub uid: u32,
    /// System flags as the RFC spells them, keywords as the client did.
    pub flags: BTreeSet<String>,
    /// INTERNALDATE
    pub received: Received,
    /// The message with its header.
    pub raw: Arc<[u8]>,
}

impl Message {
    /// True where the flag is set.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known.eq_ignore_ascii_case(flag))
    }
}

/// The flags in IMAP's form.
pub fn flag_list(flags: &BTreeSet<String>) -> String {
    format!("({})", flags.iter().cloned().collect::<Vec<_>>().join(" "))
}

/// The spelling that flags are kept in.
pub fn flag(word: &str) -> String {
    ["\\Answered", "\\Deleted", "\\Draft", "\\Flagged", "\\Seen"]
        .iter()
        .find(|known| known.eq_ignore_ascii_case(word))
        .map_or_else(|| word.to_owned(), |known| (*known).to_owned())
}

/// When a message was received, as IMAP writes it: ` 2-Mar-2026 09:14:55 +0100`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received(pub String);

impl Received {
    /// The day as a number that grows with time; 0 where the text is not a date.
    pub fn day(&self) -> u32 {
        self.0.trim().split(' ').next().map_or(0, day)
    }
}

/// `2-Mar-2026` as 20260302; 0 where it is not a date.
pub fn day(text: &str) -> u32 {
    let mut parts = text.split('-');
    let mut next = || parts.next().unwrap_or_default();
    let (day, month, year) = (next(), next(), next());
    number(year, month, day).unwrap_or(0)
}

/// Year, English month and day as one number.
pub fn number(year: &str, month: &str, day: &str) -> Option<u32> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = MONTHS
        .iter()
        .zip(1..)
        .find(|(name, _)| name.eq_ignore_ascii_case(month))?
        .1;
    let year: u32 = year.parse().ok()?;
    let day: u32 = day.parse().ok()?;
    Some(year * 10_000 + month * 100 + day)
}

/// The numbers of a sequence set such as `1:3,7,*`, in order; `*` is `largest`. Nothing where it is not one.
pub fn sequence_set(text: &str, largest: u32) -> Option<Ranges> {
    let bound = |word: &str| match word {
        "*" => Some(largest),
        digits => digits.parse().ok().filter(|number| *number > 0),
    };
    let mut ranges = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once(':').unwrap_or((part, part));
        let (from, to) = (bound(from)?, bound(to)?);
        ranges.push((from.min(to), from.max(to)));
    }
    Some(Ranges(ranges))
}

/// A sequence set that was read.
#[derive(Debug, Clone)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// True where the number is in the set.
    pub fn contains(&self, number: u32) -> bool {
        self.0.iter().any(|(from, to)| (*from..=*to).contains(&number))
    }
}

/// Numbers as a sequence set: `1:3,7`.
pub fn as_set(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, to)) if *to + 1 == *number => *to = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let parts = ranges.iter().map(|(from, to)| match from == to {
        true => from.to_string(),
        false => format!("{from}:{to}"),
    });
    parts.collect::<Vec<_>>().join(",")
}

/// True where a name matches a LIST pattern: `*` is anything, `%` anything within a level; INBOX in any case.
pub fn matches(name: &str, pattern: &str) -> bool {
    fn walk(name: &[u8], pattern: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|skip| walk(&name[skip..], rest)),
            Some((b'%', rest)) => {
                let level = name.iter().position(|byte| *byte == b'/').unwrap_or(name.len());
                (0..=level).any(|skip| walk(&name[skip..], rest))
            }
            Some((byte, rest)) => name.first() == Some(byte) && walk(&name[1..], rest),
        }
    }
    walk(name.as_bytes(), inbox(pattern).as_bytes())
}

/// INBOX is one mailbox in any case.
pub fn inbox(name: &str) -> &str {
    if name.eq_ignore_ascii_case("INBOX") {
        "INBOX"
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_sets_read_and_print() {
        let set = sequence_set("2:4,9,*:11", 12).unwrap();
        let numbers: Vec<u32> = (1..=13).filter(|n| set.contains(*n)).collect();
        assert_eq!(numbers, [2, 3, 4, 9, 11, 12]);
        assert_eq!(as_set(&numbers), "2:4,9,11:12");
        for wrong in ["", "0", "a", "1,,2", "1:"] {
            assert!(sequence_set(wrong, 5).is_none(), "{wrong}");
        }
    }

    #[test]
    fn patterns_match_names() {
        for (name, pattern, expected) in [
            ("INBOX", "inbox", true),
            ("Archive/2025", "*", true),
            ("Archive/2025", "%", false),
            ("Archive/2025", "Archive/%", true),
            ("Archive", "Arch%", true),
            ("Sent", "", false),
        ] {
            assert_eq!(matches(name, pattern), expected, "{name} {pattern}");
        }
    }

    #[test]
    fn days_can_be_compared() {
        assert!(Received(" 2-Mar-2026 09:14:55 +0100".into()).day() > day("28-Feb-2026"));
        assert_eq!(day("nonsense"), 0);
    }
}
