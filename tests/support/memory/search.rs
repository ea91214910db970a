//! SEARCH (RFC 3501, section 6.4.4).

use super::mailbox::Message;
use super::mailbox::Ranges;
use super::mailbox::day;
use super::mailbox::number;
use super::mailbox::sequence_set;
use super::mime;
use super::wire::Arg;

/// A condition on a message.
#[derive(Debug)]
pub enum Key {
    All,
    None,
    And(Vec<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Flag(String),
    Header(String, String),
    Body(String),
    Text(String),
    Larger(usize),
    Smaller(usize),
    Received(Days, u32),
    Sent(Days, u32),
    Uids(Ranges),
    Numbers(Ranges),
}

/// Which days.
#[derive(Debug, Clone, Copy)]
pub enum Days {
    Before,
    On,
    Since,
}

/// The largest sequence number and UID, which `*` stands for.
#[derive(Debug, Clone, Copy)]
pub struct Largest {
    pub number: u32,
    pub uid: u32,
}

/// All keys of a SEARCH command; nothing where one is unknown.
pub fn keys(args: &[Arg], largest: Largest) -> Option<Key> {
    let mut rest = args.iter();
    if let [Arg::Atom(word), _, ..] = args
        && word.eq_ignore_ascii_case("CHARSET")
    {
        rest.nth(1);
    }
    let mut all = Vec::new();
    while !rest.as_slice().is_empty() {
        all.push(key(&mut rest, largest)?);
    }
    (!all.is_empty()).then_some(Key::And(all))
}

fn key(rest: &mut std::slice::Iter<'_, Arg>, largest: Largest) -> Option<Key> {
    let first = rest.next()?;
    if let Arg::List(members) = first {
        return keys(members, largest);
    }
    let word = first.keyword()?;
    let flag = |name: &str| Key::Flag(name.to_owned());
    let not = |key: Key| Key::Not(Box::new(key));
    let mut text = || rest.next()?.text().map(str::to_lowercase);
    Some(match word.as_str() {
        "ALL" => Key::All,
        "ANSWERED" => flag("\\Answered"),
        "DELETED" => flag("\\Deleted"),
        "DRAFT" => flag("\\Draft"),
        "FLAGGED" => flag("\\Flagged"),
        "SEEN" => flag("\\Seen"),
        "UNANSWERED" => not(flag("\\Answered")),
        "UNDELETED" => not(flag("\\Deleted")),
        "UNDRAFT" => not(flag("\\Draft")),
        "UNFLAGGED" => not(flag("\\Flagged")),
        "UNSEEN" => not(flag("\\Seen")),
        // No message is recent here.
        "RECENT" | "NEW" => Key::None,
        "OLD" => Key::All,
        "KEYWORD" => Key::Flag(text()?),
        "UNKEYWORD" => not(Key::Flag(text()?)),
        "FROM" | "TO" | "CC" | "BCC" | "SUBJECT" => Key::Header(word, text()?),
        "HEADER" => Key::Header(text()?, text()?),
        "BODY" => Key::Body(text()?),
        "TEXT" => Key::Text(text()?),
        "LARGER" => Key::Larger(text()?.parse().ok()?),
        "SMALLER" => Key::Smaller(text()?.parse().ok()?),
        "BEFORE" => Key::Received(Days::Before, date(&text()?)?),
        "ON" => Key::Received(Days::On, date(&text()?)?),
        "SINCE" => Key::Received(Days::Since, date(&text()?)?),
        "SENTBEFORE" => Key::Sent(Days::Before, date(&text()?)?),
        "SENTON" => Key::Sent(Days::On, date(&text()?)?),
        "SENTSINCE" => Key::Sent(Days::Since, date(&text()?)?),
        "UID" => Key::Uids(sequence_set(&text()?, largest.uid)?),
        "NOT" => not(key(rest, largest)?),
        "OR" => Key::Or(Box::new(key(rest, largest)?), Box::new(key(rest, largest)?)),
        set => Key::Numbers(sequence_set(set, largest.number)?),
    })
}

fn date(text: &str) -> Option<u32> {
    Some(day(text)).filter(|day| *day > 0)
}

impl Key {
    /// True where the message fulfils the condition.
    pub fn matches(&self, number: u32, message: &Message) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::And(keys) => keys.iter().all(|key| key.matches(number, message)),
            Self::Or(one, other) => one.matches(number, message) || other.matches(number, message),
            Self::Not(key) => !key.matches(number, message),
            Self::Flag(flag) => message.has(flag),
            Self::Header(name, text) => {
                let (header, _) = mime::split(&message.raw);
                mime::field(header, name)
                    .is_some_and(|value| mime::decoded_words(&value).to_lowercase().contains(text.as_str()))
            }
            Self::Body(text) => contains(mime::split(&message.raw).1, text),
            Self::Text(text) => contains(&message.raw, text),
            Self::Larger(size) => message.raw.len() > *size,
            Self::Smaller(size) => message.raw.len() < *size,
            Self::Received(days, wanted) => days.compare(message.received.day(), *wanted),
            Self::Sent(days, wanted) => sent_day(message).is_some_and(|day| days.compare(day, *wanted)),
            Self::Uids(uids) => uids.contains(message.uid),
            Self::Numbers(numbers) => numbers.contains(number),
        }
    }
}

impl Days {
    fn compare(self, day: u32, wanted: u32) -> bool {
        match self {
            Self::Before => day < wanted,
            Self::On => day == wanted,
            Self::Since => day >= wanted,
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    let shown = String::from_utf8_lossy(bytes);
    mime::decoded_words(&shown).to_lowercase().contains(text)
}

/// The day of the Date field, `Mon, 2 Mar 2026 09:14:55 +0100`.
fn sent_day(message: &Message) -> Option<u32> {
    let date = mime::field(mime::split(&message.raw).0, "Date")?;
    let behind = date.split_once(", ").map_or(date.as_str(), |(_, rest)| rest);
    let mut words = behind.split(' ');
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    number(year, month, day)
}

#[cfg(test)]
mod tests {
    use super::super::mailbox::Received;
    use super::super::wire::arguments;
    use super::*;

    #[test]
    fn keys_combine() {
        let message = Message {
            uid: 7,
            flags: ["\\Seen".to_owned()].into(),
            received: Received(" 2-Mar-2026 09:14:55 +0100".into()),
            raw: b"Date: Sun, 1 Mar 2026 23:00:00 +0000\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nHello\r\n"[..].into(),
        };
        let largest = Largest { number: 3, uid: 9 };
        for (text, expected) in [
            ("ALL", true),
            ("UNSEEN", false),
            ("SEEN SUBJECT \"gr\u{fc}\u{df}e\"", true),
            ("CHARSET UTF-8 OR UNSEEN BODY hello", true),
            ("NOT (SEEN BODY hello)", false),
            ("SINCE 2-Mar-2026 SENTBEFORE 2-Mar-2026", true),
            ("UID 7:* 2", true),
            ("3", false),
            ("LARGER 10 SMALLER 1000", true),
            ("HEADER Subject \"\"", true),
            ("HEADER X-None \"\"", false),
        ] {
            let key = keys(&arguments(text.as_bytes()).unwrap(), largest).unwrap();
            assert_eq!(key.matches(2, &message), expected, "{text}");
        }
        for wrong in ["", "NONSENSE", "NOT", "SINCE x"] {
            assert!(
                keys(&arguments(wrong.as_bytes()).unwrap(), largest).is_none(),
                "{wrong}"
            );
        }
    }
}
