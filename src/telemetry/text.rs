//! Text from a peer, made safe to show. Whatever a peer sent must never forge a log line or steer a terminal.

use std::fmt::Write;

/// Most bytes of one peer's text that a log line or an event shows.
pub const MAX_LEN: usize = 160;

/// What stands at the end where something was cut off.
const CUT: &str = "…";

/// Makes bytes from a peer printable: at most [`MAX_LEN`] bytes, no control characters, no marks that change the direction
/// of writing, valid UTF-8. What is not printable becomes `\n`, `\x1b`, `\u{202e}`; a backslash is doubled, so that nothing
/// shown can be mistaken for an escape.
#[must_use]
pub fn clean(bytes: &[u8]) -> String {
    // Nearly all of it is as it should be, and becomes text in one piece.
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'\\';
    if bytes.len() + CUT.len() <= MAX_LEN
        && bytes.iter().all(is_plain)
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return text.to_owned();
    }
    let mut shown = String::new();
    // Four times the limit is more than can be shown: an escape is at most as long as a few bytes' worth of text.
    let head = bytes.get(..MAX_LEN * 4).unwrap_or(bytes);
    for chunk in head.utf8_chunks() {
        for c in chunk.valid().chars() {
            if !push(&mut shown, &escape(c)) {
                return shown;
            }
        }
        for byte in chunk.invalid() {
            if !push(&mut shown, &format!("\\x{byte:02x}")) {
                return shown;
            }
        }
    }
    shown
}

/// Text of a fact: what does harm where it is shown is replaced by U+FFFD, and nothing else is changed.
#[must_use]
pub fn harmless(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() || is_mark(c) {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}

/// Adds a piece, or the mark of a cut where it no longer fits; true where it fitted.
fn push(shown: &mut String, piece: &str) -> bool {
    if shown.len() + piece.len() + CUT.len() > MAX_LEN {
        shown.push_str(CUT);
        return false;
    }
    shown.push_str(piece);
    true
}

fn escape(c: char) -> String {
    match c {
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        c if c.is_ascii_control() => format!("\\x{:02x}", u32::from(c)),
        c if c.is_control() || is_mark(c) => {
            let mut text = String::new();
            // Writing to a String cannot fail.
            let _ = write!(text, "\\u{{{:x}}}", u32::from(c));
            text
        }
        c => c.to_string(),
    }
}

/// Invisible characters that reorder or hide what stands beside them.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_fact_keeps_its_length_and_loses_what_does_harm() {
        assert_eq!(harmless("\\Seen Grüße"), "\\Seen Grüße");
        assert_eq!(harmless("a\u{1b}[2J\u{202e}b\n"), "a\u{fffd}[2J\u{fffd}b\u{fffd}");
    }

    #[test]
    fn ordinary_text_is_unchanged() {
        for text in ["", "INBOX", "Grüße, 日本語", "a \"quoted\" one"] {
            assert_eq!(clean(text.as_bytes()), text);
        }
    }

    #[test]
    fn what_could_forge_a_line_or_steer_a_terminal_is_escaped() {
        assert_eq!(clean(b"a\r\nb\t\0"), "a\\r\\nb\\t\\x00");
        assert_eq!(clean(b"\x1b[2J\x7f"), "\\x1b[2J\\x7f");
        assert_eq!(
            clean("\u{85}\u{202e}\u{2028}x".as_bytes()),
            "\\u{85}\\u{202e}\\u{2028}x"
        );
        assert_eq!(clean(b"\xff\xc3("), "\\xff\\xc3(");
        assert_eq!(clean(b"\\n"), "\\\\n");
    }

    #[test]
    fn nothing_is_longer_than_the_limit_and_a_cut_shows() {
        for byte in [b'a', 0, 0xff, b'\\'] {
            let long = clean(&[byte; 10_000]);
            assert!(
                long.len() <= MAX_LEN && long.len() > MAX_LEN - 12,
                "{}",
                long.len()
            );
            assert!(long.ends_with(CUT));
        }
        assert!(clean("ü".repeat(500).as_bytes()).len() <= MAX_LEN);
    }

    #[test]
    fn cutting_inside_a_character_does_not_invent_an_escape() {
        // 640 bytes end in the middle of a character, but the text shown ends long before.
        let text = format!("a{}", "ü".repeat(1000));
        assert!(!clean(text.as_bytes()).contains("\\x"));
    }
}
