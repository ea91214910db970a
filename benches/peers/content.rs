//! Mail that is the same for whoever makes it: the backend sends it, and the clients compare every byte that they get.

use std::fmt::Write;
use std::sync::OnceLock;

/// Bytes after which a message repeats itself.
pub const PERIOD: usize = 1 << 20;

/// Most lines of a listing.
pub const LISTING_LINES: usize = 5000;

/// The message that clients append has the bytes of this one.
pub const APPENDED: u32 = 3;

/// Small steps of chance, the same every time (xorshift).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// How long a message is.
pub fn size(message: u32) -> u64 {
    match message {
        2 => 64 << 10,
        3 => 1 << 20,
        4 => 50 << 20,
        _ => 4 << 10,
    }
}

/// Two periods of text in lines, so that any run of up to a period is in one piece.
fn text() -> &'static [u8] {
    static TEXT: OnceLock<Vec<u8>> = OnceLock::new();
    TEXT.get_or_init(|| {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
        let mut text = Vec::with_capacity(2 * PERIOD);
        while text.len() < PERIOD {
            match text.len() % 78 {
                76 => text.push(b'\r'),
                77 => text.push(b'\n'),
                _ => text.push(LETTERS[(chance.next() >> 40) as usize & 63]),
            }
        }
        text.extend_from_within(..PERIOD);
        text
    })
}

/// What a message holds from an offset on, in one piece of at most `left` bytes.
pub fn piece(message: u32, offset: u64, left: u64) -> &'static [u8] {
    let start = (message as usize).wrapping_mul(40_961) % PERIOD;
    let at = (start + (offset % PERIOD as u64) as usize) % PERIOD;
    &text()[at..at + left.min(PERIOD as u64) as usize]
}

/// Whether these are exactly the bytes that a message holds from an offset on.
pub fn matches(message: u32, mut offset: u64, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let expected = piece(message, offset, bytes.len() as u64);
        let (here, rest) = bytes.split_at(expected.len());
        if here != expected {
            return false;
        }
        offset += expected.len() as u64;
        bytes = rest;
    }
    true
}

/// The first lines of a listing of envelopes, as a client asks for them for its list of messages.
pub fn listing(lines: usize) -> &'static [u8] {
    static LISTING: OnceLock<(String, Vec<usize>)> = OnceLock::new();
    let (text, ends) = LISTING.get_or_init(all_lines);
    let end = lines
        .min(LISTING_LINES)
        .checked_sub(1)
        .map_or(0, |last| ends[last]);
    &text.as_bytes()[..end]
}

fn all_lines() -> (String, Vec<usize>) {
    let mut chance = Chance(0x1234_5678_9abc_def1);
    let mut text = String::with_capacity(LISTING_LINES * 320);
    let mut ends = Vec::with_capacity(LISTING_LINES);
    for number in 1..=LISTING_LINES {
        line(&mut text, number, chance.next());
        ends.push(text.len());
    }
    (text, ends)
}

fn line(text: &mut String, number: usize, bits: u64) {
    const FIRST: [&str; 8] = [
        "Ana", "Boris", "Chidi", "Dolores", "Edwin", "Farida", "Giles", "Hana",
    ];
    const LAST: [&str; 8] = [
        "Abara",
        "Brandt",
        "Castellanos",
        "Dufour",
        "Eriksen",
        "Fontaine",
        "Grau",
        "Holm",
    ];
    const WORDS: [&str; 16] = [
        "report", "invoice", "meeting", "notes", "budget", "draft", "schedule", "minutes", "update", "offer",
        "contract", "travel", "review", "weekly", "plan", "question",
    ];
    let part = |shift: u32, count: usize| (bits >> shift) as usize % count;
    let (first, last) = (FIRST[part(0, 8)], LAST[part(3, 8)]);
    let (to_first, to_last) = (FIRST[part(6, 8)], LAST[part(9, 8)]);
    let subject = [WORDS[part(12, 16)], WORDS[part(16, 16)], WORDS[part(20, 16)]].join(" ");
    let flags = ["", "\\Seen", "\\Seen \\Answered", "\\Flagged"][part(24, 4)];
    let reply = if part(26, 2) == 0 {
        "NIL".to_owned()
    } else {
        format!("\"<{:x}@mx.example>\"", bits >> 32)
    };
    let (day, hour) = (1 + part(28, 28), part(32, 24));
    let (minute, second) = (part(37, 60), part(43, 60));
    let mailbox = format!("{}.{}", first.to_lowercase(), last.to_lowercase());
    let person = format!("((\"{first} {last}\" NIL \"{mailbox}\" \"mail.example\"))");
    let to = to_first.to_lowercase();
    let written = writeln!(
        text,
        "* {number} FETCH (UID {number} FLAGS ({flags}) ENVELOPE (\"Mon, {day:02} Mar 2025 {hour:02}:{minute:02}:{second:02} \
         +0100\" \"{subject} {:04x}\" {person} {person} ((NIL NIL \"{mailbox}\" \"mail.example\")) ((\"{to_first} {to_last}\" \
         NIL \"{to}\" \"corp.example\")) NIL NIL {reply} \"<{:012x}@mx.example>\"))\r",
        bits & 0xffff,
        bits >> 16,
    );
    debug_assert!(written.is_ok(), "text takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_differ_and_are_known_wherever_they_are_cut() {
        let some = piece(1, 0, 4096);
        assert!(matches(1, 0, some));
        assert!(!matches(2, 0, some));
        assert!(!matches(1, 1, some));
        let turn = PERIOD as u64 - 10;
        let over = [piece(4, turn, 10), piece(4, 0, 4086)].concat();
        assert!(matches(4, turn, &over));
    }

    #[test]
    fn lines_of_the_listing_are_as_long_as_real_ones() {
        let all = listing(LISTING_LINES);
        assert_eq!(all.iter().filter(|byte| **byte == b'\n').count(), LISTING_LINES);
        assert_eq!(
            all.windows(2).filter(|pair| pair == b"\r\n").count(),
            LISTING_LINES
        );
        let mean = all.len() / LISTING_LINES;
        assert!((280..400).contains(&mean), "{mean}");
        assert_eq!(listing(0), b"");
    }
}
