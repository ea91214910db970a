//! Recognises, from its first bytes, what is no IMAP at all: browsers (also those that a web page made send a form to us,
//! the ALPACA attack), TLS on a plain port, SMTP, SSH, port scanners. They get no answer that could be of use.

use crate::imap::codec::is_tag_char;

/// First words of other protocols, with what follows them. No client uses one as a tag.
const WORDS: [&[u8]; 19] = [
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"CONNECT ",
    b"TRACE ",
    b"PATCH ",
    b"PRI ",
    b"PROPFIND ",
    b"EHLO ",
    b"HELO ",
    b"LHLO ",
    b"ehlo ",
    b"helo ",
    b"PROXY ",
    b"SSH-2",
    b"SSH-1",
];

/// Longest of the words.
const LONGEST: usize = 9; // PROPFIND and its space

/// Whether a command that begins with `start`, then `more`, is none. `first`: nothing came before it on this connection.
pub(super) fn is_foreign(start: &[u8], more: &[u8], first: bool) -> bool {
    if start.len() >= LONGEST {
        return false;
    }
    let mut head = start.iter().chain(more).take(LONGEST).copied();
    let mut seen = [0; LONGEST];
    let mut len = 0;
    for (slot, byte) in seen.iter_mut().zip(&mut head) {
        *slot = byte;
        len += 1;
    }
    let seen = seen.get(..len).unwrap_or_default();
    let Some(byte) = seen.first() else {
        return false;
    };
    let binary = !byte.is_ascii() || (byte.is_ascii_control() && !b"\r\n".contains(byte));
    binary || (first && !is_tag_char(*byte)) || WORDS.iter().any(|word| seen.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_recognised_wherever_the_input_is_cut() {
        let inputs: [&[u8]; 12] = [
            b"GET / HTTP/1.1\r\n",
            b"PROPFIND / HTTP/1.1\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"EHLO example.org\r\n",
            b"SSH-2.0-x\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"\r\n\r\n\0\r\nQUIT\n",
            b"\x16\x03\x01\x02\x00",
            b"\x03\x00\x00\x13",
            b"\0",
            b"*1\r\n$4\r\n",
            b"\xff\xfb",
        ];
        for input in inputs {
            let found =
                (0..input.len().min(LONGEST)).any(|at| is_foreign(&input[..at], &input[at..=at], true));
            assert!(found, "{}", input.escape_ascii());
            assert!(is_foreign(b"", input, true), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn tags_are_not_foreign() {
        for input in [
            &b"a"[..],
            b"GET1 NOOP\r\n",
            b"GETX NOOP\r\n",
            b"1.2 NOOP\r\n",
            b"PRIX x",
            b"",
        ] {
            assert!(!is_foreign(b"", input, true), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn stray_text_is_foreign_only_at_the_beginning() {
        assert!(is_foreign(b"", b"\r\n", true));
        assert!(!is_foreign(b"", b"\r\n", false));
        assert!(!is_foreign(b"", b"* x", false));
        assert!(is_foreign(b"", b"\x16", false));
        assert!(is_foreign(b"", b"POST /", false));
    }

    #[test]
    fn the_longest_word_is_the_longest() {
        assert!(WORDS.iter().all(|word| word.len() <= LONGEST));
    }
}
