//! What a backend's data responses tell as they pass: running totals for rules and budgets, without a second pass.
//!
//! The scanner hands over the lines that it passes anyway; only a response's first bytes and its literals' announcements are
//! looked at, and where somebody asks for it, the subjects of the newest messages ([`Notices`]). It must never keep
//! more than those first bytes itself, and never hold data back.

use crate::imap::notices::Notices;
use crate::imap::set::Mailbox;

/// Enough of a response to read its number and word: `* 4294967295 EXPUNGE`.
const HEAD: usize = 24;

/// Digits of the largest number that IMAP has, 4294967295.
pub(super) const MAX_DIGITS: usize = 10;

/// Enough of a line before a literal's announcement to tell a header from a body.
const SECTION: usize = 8;

/// Totals since the session began; whoever wants to know what is new keeps the last ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// FETCH and UIDFETCH responses with a body, or a part of one, as a literal.
    pub bodies: u64,
    /// Bytes of FETCH and UIDFETCH responses, lines and literals, counted as they pass.
    pub fetched: u64,
    /// Messages that the backend said are gone: EXPUNGE, and VANISHED without EARLIER (RFC 7162, section 3.2.10).
    pub expunged: u64,
    /// Of those, the bytes of responses that hold a body, from its announcement on.
    pub body_bytes: u64,
    /// What is known of the mailbox that is open.
    pub mailbox: Mailbox,
}

/// What a response is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Unclear,
    Fetch,
    Vanished,
    Other,
}

/// Follows data responses and keeps the totals.
#[derive(Debug)]
pub(super) struct Counter {
    pub(super) tally: Tally,
    /// What was said since the backend was asked to open another mailbox. Until it has answered, nobody knows of which of the two
    /// it speaks: it counts for both.
    next: Option<Mailbox>,
    about: About,
    /// The response's first literal with a body has been counted.
    has_body: bool,
    head: [u8; HEAD],
    head_len: u8,
    set: VanishedSet,
    /// Where subjects are looked at.
    pub(super) notices: Option<Box<Notices>>,
}

impl Counter {
    pub(super) fn new() -> Self {
        Self {
            tally: Tally::default(),
            next: None,
            about: About::Unclear,
            has_body: false,
            head: [0; HEAD],
            head_len: 0,
            set: VanishedSet::default(),
            notices: None,
        }
    }

    /// A response begins.
    pub(super) fn begin(&mut self) {
        self.about = About::Unclear;
        self.has_body = false;
        self.head_len = 0;
    }

    /// More of a response's lines; its end, where that is reached, included.
    pub(super) fn line(&mut self, part: &[u8]) {
        match self.about {
            About::Other => {}
            About::Fetch => {
                self.fetched(part.len());
                self.shown(part);
            }
            About::Vanished => {
                let gone = self.set.feed(part);
                self.vanish(gone);
            }
            About::Unclear => self.head(part),
        }
    }

    /// A literal is announced at the end of a line, whose last bytes these are.
    pub(super) fn announced(&mut self, line: &[u8]) {
        if self.about == About::Fetch && !self.has_body && announces_body(line) {
            self.has_body = true;
            self.tally.bodies += 1;
        }
    }

    /// Bytes of a literal pass.
    pub(super) fn literal(&mut self, bytes: &[u8]) {
        if self.about == About::Fetch {
            self.fetched(bytes.len());
            self.shown(bytes);
        }
    }

    /// A response is over.
    pub(super) fn end(&mut self) {
        if let Some(notices) = &mut self.notices {
            notices.end();
        }
    }

    fn shown(&mut self, part: &[u8]) {
        if let Some(notices) = &mut self.notices {
            notices.more(part);
        }
    }

    /// Responses of one line each, with data of messages.
    pub(super) fn fetches(&mut self, bytes: usize) {
        self.has_body = false;
        self.fetched(bytes);
    }

    /// The backend is asked to open another mailbox.
    pub(super) fn opening(&mut self) {
        self.next = Some(Mailbox::default());
    }

    /// The other mailbox is open.
    pub(super) fn opened(&mut self) {
        if let Some(next) = self.next.take() {
            self.tally.mailbox = next;
            if let Some(notices) = &mut self.notices {
                **notices = Notices::new(next.exists);
            }
        }
    }

    /// It is not: what was open still is.
    pub(super) fn not_opened(&mut self) {
        self.next = None;
    }

    /// No mailbox is open.
    pub(super) fn closed(&mut self) {
        self.next = Some(Mailbox::default());
        self.opened();
    }

    pub(super) fn uid_next(&mut self, uid: u32) {
        // It is said where a mailbox is opened.
        self.next.as_mut().unwrap_or(&mut self.tally.mailbox).expects(uid);
    }

    fn fetched(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.tally.fetched = self.tally.fetched.saturating_add(bytes);
        if self.has_body {
            self.tally.body_bytes = self.tally.body_bytes.saturating_add(bytes);
        }
    }

    fn head(&mut self, part: &[u8]) {
        if self.head_len == 0 && (part.len() >= HEAD || part.ends_with(b"\n")) {
            self.understand(part, part);
            return;
        }
        let had = usize::from(self.head_len);
        let more = part.len().min(HEAD - had);
        if let (Some(place), Some(bytes)) = (self.head.get_mut(had..had + more), part.get(..more)) {
            place.copy_from_slice(bytes);
        }
        self.head_len += u8::try_from(more).unwrap_or(0);
        let head = self.head;
        let head = head.get(..had + more).unwrap_or_default();
        if head.len() == HEAD || head.ends_with(b"\n") {
            self.understand(head, head);
            self.line(part.get(more..).unwrap_or_default());
        }
    }

    /// Reads a response's beginning; `part` is what of it has not been counted.
    fn understand(&mut self, head: &[u8], part: &[u8]) {
        self.about = About::Other;
        let Some(rest) = head.strip_prefix(b"* ") else {
            return;
        };
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > MAX_DIGITS {
            return;
        }
        let (number, word) = rest.split_at(digits);
        let word = word.strip_prefix(b" ").unwrap_or(word);
        if starts_with_word(word, b"FETCH") && digits > 0 {
            self.about = About::Fetch;
            self.fetched(part.len());
            if let Some(notices) = &mut self.notices {
                notices.begin(number_of(number));
                notices.more(part);
            }
        } else if starts_with_word(word, b"UIDFETCH") && digits > 0 {
            // RFC 9586: the number is a UID, and says nothing of where the message stands.
            self.about = About::Fetch;
            self.fetched(part.len());
            if let Some(notices) = &mut self.notices {
                notices.begin_by_uid(number_of(number));
                notices.more(part);
            }
        } else if starts_with_word(word, b"EXISTS") && digits > 0 {
            self.exists(number_of(number));
        } else if starts_with_word(word, b"EXPUNGE") && digits > 0 {
            self.gone(1);
            if let Some(notices) = &mut self.notices {
                notices.expunged(number_of(number));
            }
        } else if digits == 0 && starts_with_word(word, b"VANISHED") {
            self.vanished(part);
        }
    }

    fn vanished(&mut self, part: &[u8]) {
        let set = part.get(b"* VANISHED ".len()..).unwrap_or_default();
        // `(EARLIER)` tells of what happened before; nobody expunged anything now.
        if !set.starts_with(b"(") {
            self.about = About::Vanished;
            self.set = VanishedSet::default();
            let gone = self.set.feed(set);
            self.vanish(gone);
        }
    }

    fn vanish(&mut self, messages: u64) {
        self.gone(messages);
        if let Some(notices) = &mut self.notices {
            notices.vanished(messages);
        }
    }

    fn gone(&mut self, messages: u64) {
        self.tally.expunged = self.tally.expunged.saturating_add(messages);
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        self.mailboxes().for_each(|mailbox| mailbox.lost(messages));
    }

    fn exists(&mut self, exists: u32) {
        self.mailboxes().for_each(|mailbox| mailbox.has(exists));
        if let Some(notices) = &mut self.notices {
            notices.exists(exists);
        }
    }

    /// The mailbox that is open, and the one that is about to be.
    fn mailboxes(&mut self) -> impl Iterator<Item = &mut Mailbox> {
        std::iter::once(&mut self.tally.mailbox).chain(&mut self.next)
    }
}

/// Counts the identifiers of a set (`1:5,9`) that comes in pieces.
#[derive(Debug, Default)]
struct VanishedSet {
    first: Option<u32>,
    number: Option<u32>,
}

impl VanishedSet {
    /// How many identifiers are complete with these bytes.
    fn feed(&mut self, bytes: &[u8]) -> u64 {
        let mut count = 0_u64;
        for byte in bytes {
            match byte {
                b'0'..=b'9' => {
                    let digit = u32::from(byte - b'0');
                    self.number = Some(self.number.unwrap_or(0).saturating_mul(10).saturating_add(digit));
                }
                b':' => self.first = self.number.take(),
                _ => {
                    if let Some(last) = self.number.take() {
                        let first = self.first.take().unwrap_or(last);
                        count = count.saturating_add(u64::from(last.abs_diff(first)) + 1);
                    }
                }
            }
        }
        count
    }
}

/// True where a literal's announcement follows something other than a header: `BODY[]`, `BODY[TEXT]<0>`, `RFC822`, and not
/// `BODY[HEADER]`, `BODY[HEADER.FIELDS (FROM)]`, `RFC822.HEADER`, `BODY[1.MIME]`. What is unknown counts as a body.
fn announces_body(line: &[u8]) -> bool {
    let Some(at) = line.iter().rposition(|byte| *byte == b'{') else {
        return false;
    };
    let before = line.get(..at).unwrap_or_default();
    let before = before.strip_suffix(b"~").unwrap_or(before).trim_ascii_end();
    let before = match before.iter().rposition(|byte| *byte == b'<') {
        Some(origin) if before.ends_with(b">") => before.get(..origin).unwrap_or_default(),
        _ => before,
    };
    let section = before.strip_suffix(b"]").unwrap_or(before);
    let end = section
        .get(section.len().saturating_sub(SECTION)..)
        .unwrap_or(section);
    let ends_with = |word: &[u8]| {
        let at = end.len().checked_sub(word.len());
        at.and_then(|at| end.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(word))
    };
    let is_item = before.ends_with(b"]") || ends_with(b"RFC822") || ends_with(b".TEXT");
    is_item && ![b"HEADER".as_slice(), b"MIME", b")"].into_iter().any(ends_with)
}

fn starts_with_word(bytes: &[u8], word: &[u8]) -> bool {
    let Some((head, rest)) = bytes.split_at_checked(word.len()) else {
        return false;
    };
    head.eq_ignore_ascii_case(word) && matches!(rest.first(), Some(b' ' | b'\r'))
}

fn number_of(digits: &[u8]) -> u32 {
    digits.iter().fold(0_u32, |sum, digit| {
        sum.saturating_mul(10).saturating_add(u32::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use crate::imap::response::Item;
    use crate::imap::response::Scanner;

    use super::*;

    /// The totals after an input that is cut every `cut` bytes.
    fn tally(input: &[u8], cut: usize) -> Tally {
        let mut scanner = Scanner::new(10_000);
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
        scanner.tally()
    }

    fn check(input: &str, expected: Tally) {
        for cut in 1..=input.len() {
            assert_eq!(tally(input.as_bytes(), cut), expected, "cut every {cut}: {input}");
        }
    }

    #[test]
    fn bodies_are_told_from_headers_and_every_byte_counts() {
        let body = "* 12 FETCH (UID 3 BODY[] {11}\r\na OK x\r\n* y FLAGS ())\r\n";
        let header =
            "* 4294967295 FETCH (BODY[HEADER.FIELDS (FROM TO)] {4}\r\nab\r\n)\r\n* 1 FETCH (FLAGS ())\r\n";
        let all = format!("{body}a OK done\r\n* OK hi\r\n{header}");
        check(
            &all,
            Tally {
                bodies: 1,
                fetched: u64::try_from(body.len() + header.len()).unwrap(),
                // From the end of the line that announces it.
                body_bytes: u64::try_from(body.len() - body.find("\r\n").unwrap() - 2).unwrap(),
                ..Tally::default()
            },
        );
    }

    /// RFC 9586: after ENABLE UIDONLY there are no FETCH responses.
    #[test]
    fn messages_that_come_by_uid_count_as_others() {
        let body = "* 4294967295 UIDFETCH (BODY[] {11}\r\na OK x\r\n* y FLAGS ())\r\n";
        let flags = "* 7 uidfetch (FLAGS ())\r\n* 25997 UIDFETCH (MODSEQ (12))\r\n";
        check(
            &format!("* 3 UIDFETCHED\r\n{body}{flags}* UIDFETCH x\r\n"),
            Tally {
                bodies: 1,
                fetched: u64::try_from(body.len() + flags.len()).unwrap(),
                body_bytes: u64::try_from(body.len() - body.find("\r\n").unwrap() - 2).unwrap(),
                ..Tally::default()
            },
        );
    }

    #[test]
    fn sections_that_are_headers() {
        for (line, is_body) in [
            ("BODY[] {1}\r\n", true),
            ("BODY[TEXT]<0> {123456}\r\n", true),
            ("BODY[1.2] {9}\r\n", true),
            ("BINARY[1] ~{9}\r\n", true),
            ("RFC822 {9}\r\n", true),
            ("RFC822.TEXT {9}\r\n", true),
            ("RFC822.HEADER {9}\r\n", false),
            ("BODY[HEADER] {9}\r\n", false),
            ("body[header]<0> {9}\r\n", false),
            ("BODY[1.MIME] {9}\r\n", false),
            ("BODY[HEADER.FIELDS (TO)] {9}\r\n", false),
            ("ENVELOPE (\"date\" {9}\r\n", false),
        ] {
            assert_eq!(announces_body(line.as_bytes()), is_body, "{line}");
        }
    }

    #[test]
    fn one_message_with_two_literals_is_one_message() {
        const TWO: &str = "* 1 FETCH (BODY[1] {1}\r\na BODY[2] {1}\r\nb)\r\n";
        check(
            TWO,
            Tally {
                bodies: 1,
                fetched: u64::try_from(TWO.len()).unwrap(),
                body_bytes: u64::try_from(TWO.len() - TWO.find('\n').unwrap() - 1).unwrap(),
                ..Tally::default()
            },
        );
    }

    #[test]
    fn the_mailbox_grows_and_shrinks() {
        check(
            "* 172 EXISTS\r\n* 3 EXPUNGE\r\n* 3 expunge\r\n* VANISHED (EARLIER) 1:50\r\n* VANISHED 300:310,405,411\r\n* 1 RECENT\r\n",
            Tally {
                expunged: 15,
                mailbox: Mailbox {
                    exists: Some(157),
                    ..Mailbox::default()
                },
                ..Tally::default()
            },
        );
    }

    #[test]
    fn a_long_set_that_comes_in_pieces_is_counted_whole() {
        let set: Vec<String> = (1..=400).map(|n| (2 * n).to_string()).collect();
        let line = format!("* VANISHED {}\r\n", set.join(","));
        check(
            &line,
            Tally {
                expunged: 400,
                ..Tally::default()
            },
        );
    }

    #[test]
    fn numbers_out_of_range_and_odd_words_count_for_nothing() {
        check(
            "* 99999999999999999999 EXISTS\r\n* 1 FETCHED\r\n* EXPUNGE\r\n* X FETCH (BODY[] {1}\r\na)\r\n",
            Tally::default(),
        );
    }
}
