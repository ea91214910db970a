//! Which of the messages that a client was shown are security notices (a new sign-in, a changed password, a code), by their
//! subjects: in envelopes, headers, and the beginnings of whole messages, as they pass.
//!
//! Only the newest messages of the mailbox are looked at, and each of them once: whoever hides what an intrusion set off hides
//! what has just come. A listing of thousands costs a look at a number for each. A subject is compared with words and
//! forgotten; what is kept are numbers of messages, and of those a few. It never holds anything back.

use crate::imap::set::Numbers;
use crate::imap::set::Set;
use crate::imap::shown::Shown;
use crate::imap::subject::decoded;
use crate::imap::terms::Category;
use crate::imap::terms::categories_of;

/// How many messages of a mailbox are looked at, the newest: as many as the mask has bits.
const NEWEST: u32 = u64::BITS;

/// How much of a response is looked at, in bytes.
const MAX_SHOWN: usize = 16 * 1024;

/// Most notices that are remembered of a mailbox, the last.
const MOST: usize = 32;

/// The notices of the mailbox that is open.
#[derive(Debug, Default)]
pub struct Notices {
    exists: Option<u32>,
    /// Whose subject has been looked at; the lowest bit is that of the newest message.
    looked: u64,
    found: Vec<Notice>,
    /// UIDs of notices that nobody was told of yet.
    untold: Vec<u32>,
    reading: Option<Reading>,
}

/// A response that is passing.
#[derive(Debug)]
struct Reading {
    of: Called,
    text: Vec<u8>,
}

/// What a response calls its message.
#[derive(Debug, Clone, Copy)]
enum Called {
    Sequence(u32),
    /// RFC 9586.
    Uid(u32),
}

/// A message that is a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Notice {
    /// Its position, between these: UIDs that vanish do not say which positions they had.
    first: u32,
    last: u32,
    uid: Option<u32>,
}

impl Notice {
    /// What it may be called in a set; where its UID was not told, UIDs are not smaller than positions.
    fn called(&self, numbers: Numbers) -> (u32, u32) {
        match (numbers, self.uid) {
            (Numbers::Sequence, _) => (self.first, self.last),
            (Numbers::Uid, Some(uid)) => (uid, uid),
            (Numbers::Uid, None) => (self.first, u32::MAX),
        }
    }

    fn is_at(&self, sequence: u32) -> bool {
        self.first == sequence && self.last == sequence
    }
}

impl Notices {
    /// Of a mailbox with so many messages, of which nothing has been looked at.
    pub(super) fn new(exists: Option<u32>) -> Self {
        Self {
            exists,
            ..Self::default()
        }
    }

    /// A FETCH response of one line.
    pub(super) fn line(&mut self, line: &[u8]) {
        if let Some(sequence) = sequence_of(line)
            && self.is_looked_at(sequence)
        {
            self.look(sequence, line);
        }
    }

    /// A FETCH response begins that may have several lines and literals.
    pub(super) fn begin(&mut self, sequence: u32) {
        let reading = || Reading {
            of: Called::Sequence(sequence),
            text: Vec::new(),
        };
        self.reading = self.is_looked_at(sequence).then(reading);
    }

    /// A UIDFETCH response begins. Nobody knows where its message stands, so that each is looked at.
    pub(super) fn begin_by_uid(&mut self, uid: u32) {
        let is_known = self.found.iter().any(|notice| notice.uid == Some(uid));
        self.reading = (!is_known).then(|| Reading {
            of: Called::Uid(uid),
            text: Vec::new(),
        });
    }

    /// More of it.
    pub(super) fn more(&mut self, part: &[u8]) {
        let Some(reading) = &mut self.reading else {
            return;
        };
        let room = MAX_SHOWN.saturating_sub(reading.text.len());
        reading.text.extend_from_slice(part.get(..room).unwrap_or(part));
        if part.len() >= room {
            self.end();
        }
    }

    /// It is over, or nothing more of it is looked at.
    pub(super) fn end(&mut self) {
        if let Some(reading) = self.reading.take() {
            match reading.of {
                Called::Sequence(sequence) => self.look(sequence, &reading.text),
                Called::Uid(uid) => self.look_by_uid(uid, &reading.text),
            }
        }
    }

    /// The mailbox has so many messages now.
    pub(super) fn exists(&mut self, exists: u32) {
        let arrived = exists.saturating_sub(self.exists.unwrap_or(exists));
        self.looked = self.looked.checked_shl(arrived).unwrap_or(0);
        self.exists = Some(exists);
    }

    /// The message at a position is gone, and those behind it move up.
    pub(super) fn expunged(&mut self, sequence: u32) {
        if sequence == 0 {
            return;
        }
        if let Some(age) = self.age(sequence) {
            let newer = 1_u64.checked_shl(age).map_or(u64::MAX, |bit| bit.wrapping_sub(1));
            let older = self.looked & !newer;
            self.looked = self.looked & newer | older >> 1 & !newer;
        }
        self.exists = self.exists.map(|exists| exists.saturating_sub(1));
        self.found.retain(|notice| !notice.is_at(sequence));
        for notice in &mut self.found {
            // Of one whose position is not known exactly, the least that it may be.
            notice.first -= u32::from(sequence < notice.first || sequence < notice.last && notice.first > 1);
            notice.last -= u32::from(sequence < notice.last);
        }
    }

    /// So many messages are gone, nobody says from which positions.
    pub(super) fn vanished(&mut self, messages: u64) {
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        self.looked = 0;
        self.exists = self.exists.map(|exists| exists.saturating_sub(messages));
        for notice in &mut self.found {
            notice.first = notice.first.saturating_sub(messages).max(1);
        }
    }

    /// Takes the UIDs of those that were found since the last time.
    pub fn take_untold(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.untold)
    }

    /// How many notices may be among the messages of a set; `others` are UIDs of notices that are known otherwise.
    #[must_use]
    pub fn among(&self, set: &Set<'_>, others: &[u32]) -> u64 {
        let mut left = self.found.clone();
        if set.numbers() == Numbers::Uid {
            let is_known = |uid: &u32| self.found.iter().any(|notice| notice.uid == Some(*uid));
            let others = others.iter().filter(|uid| !is_known(uid));
            left.extend(others.map(|uid| Notice {
                first: 1,
                last: *uid,
                uid: Some(*uid),
            }));
        }
        let all = left.len();
        for part in set.parts() {
            left.retain(|notice| {
                let (first, last) = notice.called(set.numbers());
                let is_newest = self.exists.is_none_or(|exists| notice.last >= exists);
                !match part {
                    // What cannot be read, or what only the backend knows, may mean everything.
                    None => true,
                    Some((0, 0)) => is_newest,
                    Some((0, end) | (end, 0)) => end <= last || is_newest,
                    Some((one, other)) => one.min(other) <= last && one.max(other) >= first,
                }
            });
        }
        u64::try_from(all - left.len()).unwrap_or(u64::MAX)
    }

    /// How many messages came after one.
    fn age(&self, sequence: u32) -> Option<u32> {
        self.exists?.checked_sub(sequence)
    }

    fn is_looked_at(&self, sequence: u32) -> bool {
        let Some(age) = self.age(sequence).filter(|age| *age < NEWEST) else {
            return false;
        };
        let is_new = self.looked >> age & 1 == 0;
        is_new
            || self
                .found
                .iter()
                .any(|notice| notice.is_at(sequence) && notice.uid.is_none())
    }

    fn look(&mut self, sequence: u32, response: &[u8]) {
        let shown = Shown::of(response);
        if let Some(known) = self.found.iter_mut().find(|notice| notice.is_at(sequence)) {
            if known.uid.is_none() {
                known.uid = shown.uid;
                self.tell(shown.uid);
            }
            return;
        }
        let Some(subject) = shown.subject else {
            return;
        };
        if let Some(bit) = self.age(sequence).and_then(|age| 1_u64.checked_shl(age)) {
            self.looked |= bit;
        }
        if is_notice(&subject) {
            self.remember(Notice {
                first: sequence,
                last: sequence,
                uid: shown.uid,
            });
        }
    }

    /// Its message stands no further back than its UID says.
    fn look_by_uid(&mut self, uid: u32, response: &[u8]) {
        if Shown::of(response)
            .subject
            .is_some_and(|subject| is_notice(&subject))
        {
            // Nobody makes the newest forgotten by showing older ones.
            self.found.sort_by_key(|notice| notice.last);
            self.remember(Notice {
                first: 1,
                last: uid,
                uid: Some(uid),
            });
        }
    }

    fn remember(&mut self, notice: Notice) {
        // Known by its UID, but not where it stands.
        self.found
            .retain(|known| known.uid.is_none() || known.uid != notice.uid);
        if self.found.len() >= MOST {
            self.found.remove(0);
        }
        self.found.push(notice);
        self.tell(notice.uid);
    }

    fn tell(&mut self, uid: Option<u32>) {
        self.untold.extend(uid.filter(|_| self.untold.len() < MOST));
    }
}

fn is_notice(subject: &[u8]) -> bool {
    categories_of(&decoded(subject)).contains(Category::Security)
}

/// The number that a FETCH response begins with.
fn sequence_of(line: &[u8]) -> Option<u32> {
    let mut number = 0_u32;
    for byte in line.get(2..)? {
        match byte {
            b'0'..=b'9' => number = number.checked_mul(10)?.checked_add(u32::from(byte - b'0'))?,
            _ => break,
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::imap::response::Item;
    use crate::imap::response::Scanner;

    use super::*;

    const NOTICE: &str = "New sign-in to your account";

    fn envelope(sequence: u32, items: &str, subject: &str) -> String {
        format!(
            "* {sequence} FETCH ({items}ENVELOPE (\"Mon, 2 Mar 2026 14:10:21 +0000\" {subject} ((NIL NIL \"a\" \"example.org\")) NIL NIL \
             NIL NIL NIL NIL \"<1@example.org>\"))\r\n"
        )
    }

    /// What was found in an input that is cut every `cut` bytes.
    fn feed(scanner: &mut Scanner, input: &[u8], cut: usize) {
        for chunk in input.chunks(cut) {
            let mut rest = chunk;
            while !rest.is_empty() {
                let taken = match scanner.next(rest) {
                    Item::Data(taken) | Item::Line(taken) | Item::More(taken) => taken,
                    Item::HeldLine(taken) | Item::HeldData(taken) | Item::Named(taken) => {
                        scanner.release();
                        taken
                    }
                    Item::Broken(error) => panic!("{error}"),
                };
                rest = &rest[taken..];
            }
        }
    }

    fn watching(input: &str, cut: usize) -> Scanner {
        let mut scanner = Scanner::new(100_000);
        scanner.watch_notices(true);
        feed(&mut scanner, input.as_bytes(), cut);
        scanner
    }

    fn among(scanner: &Scanner, set: &str, numbers: Numbers) -> u64 {
        scanner
            .notices()
            .unwrap()
            .among(&Set::new(set.as_bytes(), numbers), &[])
    }

    fn check(input: &str, sets: &[(&str, Numbers, u64)]) {
        for cut in [1, 2, 3, 5, 7, 11, 64, 100, 1000, input.len()] {
            let scanner = watching(input, cut);
            for (set, numbers, count) in sets {
                let found = among(&scanner, set, *numbers);
                assert_eq!(found, *count, "{set} {numbers:?}, cut every {cut}: {input:.300}");
            }
        }
    }

    #[test]
    fn a_subject_is_seen_wherever_a_response_shows_it() {
        let header = format!("From: x@example.org\r\nSubject: {NOTICE}\r\nTo: y\r\n\r\n");
        let mail = format!("{header}Hello\r\n");
        let literal =
            |name: &str, text: &str| format!("* 2 FETCH (UID 7 {name} {{{}}}\r\n{text})\r\n", text.len());
        for response in [
            envelope(2, "UID 7 ", &format!("\"{NOTICE}\"")),
            envelope(
                2,
                "UID 7 FLAGS (\\Seen) ",
                &format!("{{{}}}\r\n{NOTICE}", NOTICE.len()),
            ),
            envelope(2, "UID 7 ", "\"=?utf-8?Q?Neue_Anmeldung_f=C3=BCr?= Ihr Konto\""),
            envelope(
                2,
                "BODYSTRUCTURE (\"a\" (\"UID 9 \\\" (\" {3}\r\n)))) \"x\") UID 7 ",
                &format!("\"\\\"{NOTICE}\\\"\""),
            ),
            literal("BODY[HEADER.FIELDS (From Subject)]", &header),
            literal("BODY[HEADER]", &header),
            literal("body[]<0>", &mail),
            literal("BODY[]", &mail),
            literal("BODY[]", &format!("{header}{}", "x".repeat(50_000))),
            literal("RFC822.HEADER", &header),
            literal("RFC822", &mail),
            format!(
                "* 2 FETCH (BODY[HEADER] {{{}}}\r\n{header} UID 7)\r\n",
                header.len()
            ),
        ] {
            let input = format!("* 3 EXISTS\r\n{response}a OK done\r\n");
            check(
                &input,
                &[
                    ("7", Numbers::Uid, 1),
                    ("1:3", Numbers::Sequence, 1),
                    ("1,3", Numbers::Sequence, 0),
                    ("1:6,8:*", Numbers::Uid, 0),
                ],
            );
        }
    }

    #[test]
    fn what_is_none_is_not_taken_for_one() {
        let header = format!("From: x\r\nSubject: holiday\r\n\r\nSubject: {NOTICE}\r\n");
        let literal =
            |name: &str, text: &str| format!("* 2 FETCH (UID 7 {name} {{{}}}\r\n{text})\r\n", text.len());
        for response in [
            envelope(2, "UID 7 ", "\"holiday\""),
            envelope(2, "UID 7 ", "NIL"),
            envelope(
                2,
                "UID 7 X-GM-LABELS (\"ENVELOPE (\\\"a\\\" \\\"security alert\\\"\") ",
                "\"ENVELOPE (NIL\"",
            ),
            literal("BODY[]", &header),
            literal("BODY[TEXT]", &format!("Subject: {NOTICE}\r\n")),
            literal("BODY[2.HEADER]", &format!("Subject: {NOTICE}\r\n\r\n")),
            literal("BODY[1.MIME]", &format!("Subject: {NOTICE}\r\n\r\n")),
            format!("* 2 FETCH (FLAGS (\\Seen) UID 7)\r\n* OK {NOTICE}\r\n* SEARCH 2\r\n"),
        ] {
            check(
                &format!("* 3 EXISTS\r\n{response}"),
                &[("1:*", Numbers::Uid, 0), ("1:*", Numbers::Sequence, 0)],
            );
        }
    }

    #[test]
    fn a_set_is_read_as_the_server_reads_it() {
        let shown =
            |sequence: u32, uid: u32| envelope(sequence, &format!("UID {uid} "), &format!("\"{NOTICE}\""));
        let input = format!("* 5 EXISTS\r\n{}{}", shown(3, 30), shown(5, 50));
        check(
            &input,
            &[
                ("*", Numbers::Sequence, 1),
                ("*", Numbers::Uid, 1),
                ("*:*", Numbers::Uid, 1),
                ("900:*", Numbers::Uid, 1),
                ("*:31", Numbers::Uid, 1),
                ("*:30", Numbers::Uid, 2),
                ("1:2,4", Numbers::Sequence, 0),
                ("40:20", Numbers::Uid, 1),
                ("30,30,1:100", Numbers::Uid, 2),
                ("$", Numbers::Uid, 2),
                ("nonsense", Numbers::Uid, 2),
                ("1:2:3", Numbers::Sequence, 2),
            ],
        );
    }

    #[test]
    fn what_other_sessions_were_shown_is_known_by_its_uid_and_new_ones_are_told_once() {
        let mut scanner = watching(
            &format!(
                "* 5 EXISTS\r\n{}",
                envelope(3, "UID 30 ", &format!("\"{NOTICE}\""))
            ),
            7,
        );
        feed(
            &mut scanner,
            envelope(4, "", &format!("\"{NOTICE}\"")).as_bytes(),
            7,
        );
        let notices = scanner.notices().unwrap();
        let among = |set: &str, numbers| notices.among(&Set::new(set.as_bytes(), numbers), &[30, 35]);
        assert_eq!(
            among("30:34", Numbers::Uid),
            2,
            "one of them may be any that is not smaller than 4"
        );
        assert_eq!(among("1:3,35", Numbers::Uid), 2);
        assert_eq!(among("1,2,5", Numbers::Sequence), 0, "nobody knows where it is");
        let notices = scanner.watched().unwrap();
        assert_eq!(notices.take_untold(), [30]);
        assert!(notices.take_untold().is_empty());
        feed(&mut scanner, b"* 4 FETCH (UID 35)\r\n* 4 FETCH (UID 35)\r\n", 7);
        assert_eq!(scanner.watched().unwrap().take_untold(), [35]);
    }

    #[test]
    fn messages_are_followed_as_others_go_and_come() {
        let shown = envelope(3, "", &format!("\"{NOTICE}\""));
        let after = |more: &str, sets: &[(&str, Numbers, u64)]| {
            check(&format!("* 5 EXISTS\r\n{shown}{more}"), sets);
        };
        use Numbers::Sequence;
        use Numbers::Uid;
        after("", &[("3", Sequence, 1), ("2", Uid, 0), ("1000", Uid, 1)]);
        after(
            "* 1 EXPUNGE\r\n* 4 EXPUNGE\r\n* 9 EXISTS\r\n",
            &[("2", Sequence, 1), ("3", Sequence, 0)],
        );
        after("* 3 EXPUNGE\r\n", &[("1:*", Sequence, 0), ("1:*", Uid, 0)]);
        after(
            "* 3 FETCH (FLAGS () UID 77)\r\n",
            &[("76,78:*", Uid, 0), ("77", Uid, 1)],
        );
        after(
            "* VANISHED 4,9\r\n",
            &[("1", Sequence, 1), ("3", Sequence, 1), ("4", Sequence, 0)],
        );
        after(
            "* VANISHED (EARLIER) 4,9\r\n",
            &[("1", Sequence, 0), ("3", Sequence, 1)],
        );
        after(
            "* VANISHED 4\r\n* 1 EXPUNGE\r\n* 0 EXPUNGE\r\n* 0 EXPUNGE\r\n* 0 EXPUNGE\r\n",
            &[("1:*", Sequence, 1)],
        );
        let mut scanner = watching(&format!("* 5 EXISTS\r\n{shown}"), 100);
        scanner.closed();
        assert_eq!(among(&scanner, "1:*", Sequence), 0);
        scanner.watch_notices(false);
        assert!(scanner.notices().is_none());
    }

    /// RFC 9586.
    #[test]
    fn messages_that_come_by_uid_are_looked_at_and_none_is_forgotten_for_an_older_one() {
        let shown = |uid: u32, subject: &str| {
            envelope(uid, "", &format!("\"{subject}\"")).replace(" FETCH ", " UIDFETCH ")
        };
        let newest = format!("* 5 EXISTS\r\n{}{}", shown(899, "holiday"), shown(900, NOTICE));
        check(
            &newest,
            &[
                ("900", Numbers::Uid, 1),
                ("1:899,901:1000", Numbers::Uid, 0),
                ("1:*", Numbers::Uid, 1),
            ],
        );
        let older: String = (100..200).map(|uid| shown(uid, NOTICE)).collect();
        let scanner = watching(&format!("{newest}{older}* VANISHED 4\r\n"), 4096);
        assert_eq!(among(&scanner, "900", Numbers::Uid), 1);
        let mut scanner = watching(&format!("{newest}{}", shown(900, NOTICE)), 4096);
        assert_eq!(scanner.watched().unwrap().take_untold(), [900]);
    }

    #[test]
    fn only_the_newest_are_looked_at_each_once_and_few_are_remembered() {
        let shown = |sequence: u32| envelope(sequence, &format!("UID {sequence} "), &format!("\"{NOTICE}\""));
        let all: String = (1..=200).map(shown).collect();
        let scanner = watching(&format!("* 200 EXISTS\r\n{all}"), 4096);
        assert_eq!(among(&scanner, "1:*", Numbers::Uid), 32);
        assert_eq!(among(&scanner, "1:168", Numbers::Uid), 0);

        // A subject that was looked at is not looked at again, wherever its message stands by then.
        let mut notices = Notices::new(Some(100));
        for sequence in 37..=100 {
            notices.line(envelope(sequence, "", "\"holiday\"").as_bytes());
        }
        assert_eq!(notices.looked, u64::MAX);
        assert!(!notices.is_looked_at(36), "too old");
        notices.exists(102);
        assert_eq!(notices.looked, u64::MAX << 2);
        notices.expunged(101);
        assert_eq!(
            (notices.looked, notices.exists),
            (u64::MAX << 1 & u64::MAX >> 1, Some(101))
        );
        notices.expunged(1);
        notices.vanished(5);
        assert_eq!((notices.looked, notices.exists), (0, Some(95)));
        notices.exists(5000);
        assert!(notices.is_looked_at(5000) && !notices.is_looked_at(5001) && !notices.is_looked_at(4936));
    }

    #[test]
    fn it_holds_little_and_nothing_once_a_response_is_over() {
        assert!(size_of::<Notices>() <= 120, "{}", size_of::<Notices>());
        let mut notices = Notices::new(Some(1));
        notices.begin(1);
        for _ in 0..1000 {
            notices.more(&[b'x'; 1000]);
            assert!(
                notices
                    .reading
                    .as_ref()
                    .is_none_or(|reading| reading.text.len() < MAX_SHOWN)
            );
        }
        assert!(notices.reading.is_none());
        notices.begin(1);
        notices.more(b"* 1 FETCH (");
        notices.end();
        assert!(notices.reading.is_none());
    }

    proptest! {
        #[test]
        fn no_response_makes_it_panic(
            items in "( |[(){}\"\\\\\\[\\]~]|UID|BODY|ENVELOPE|RFC822|HEADER|[0-9]|\r\n|NIL){0,60}",
            set in "[0-9*:,$]{0,10}",
        ) {
            let mut notices = Notices::new(Some(3));
            notices.line(format!("* 3 FETCH ({items}").as_bytes());
            notices.begin(2);
            notices.more(items.as_bytes());
            notices.end();
            for gone in [3, 0, 1, 1, 1] {
                notices.expunged(gone);
                notices.vanished(1);
                let _ = notices.among(&Set::new(set.as_bytes(), Numbers::Sequence), &[]);
            }
        }
    }
}
