//! What the beginning and the end of a response's line say.

use crate::imap::tally::MAX_DIGITS;

/// Longest first word that must be told from others: `CAPABILITY`.
const LONGEST_WORD: usize = 10;

/// What the beginning of a line says about it.
pub(super) enum Class {
    Data,
    Special,
    /// Data that may name a mailbox, where such names are watched.
    Named,
    Unclear,
}

/// True where a line begins as servers write it, `* 12 FETCH (`, in capitals.
pub(super) fn begins_fetch(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"* ") else {
        return false;
    };
    let digits = rest
        .iter()
        .take(MAX_DIGITS)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let word = rest.get(digits..).unwrap_or_default();
    digits > 0 && word.starts_with(b" FETCH ")
}

/// True where a line's end is that of a response: no literal follows.
pub(super) fn ends_plainly(line: &[u8]) -> bool {
    matches!(line, [.., before, b'\r', b'\n'] if *before != b'}')
}

/// Tells data from what the session must see. Only untagged status responses and CAPABILITY are not data; what begins with
/// a number is about a message of the selected mailbox, all other data may name one.
pub(super) fn classify(line: &[u8], watches_names: bool) -> Class {
    let data = || if watches_names { Class::Named } else { Class::Data };
    match line {
        [b'*', b' ', b'0'..=b'9', ..] => Class::Data,
        [b'*', b' ', first, ..]
            if !matches!(first.to_ascii_uppercase(), b'O' | b'N' | b'B' | b'P' | b'C') =>
        {
            data()
        }
        [b'*', b' ', word @ ..] => {
            let end = word.iter().position(|byte| matches!(byte, b' ' | b'\r' | b'\n'));
            match end {
                Some(end) if is_special(word.get(..end).unwrap_or_default()) => Class::Special,
                Some(_) => data(),
                None if word.len() > LONGEST_WORD => data(),
                None => Class::Unclear,
            }
        }
        [b'*'] => Class::Unclear,
        _ => Class::Special,
    }
}

fn is_special(word: &[u8]) -> bool {
    let special: [&[u8]; 6] = [b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH", b"CAPABILITY"];
    special.iter().any(|known| word.eq_ignore_ascii_case(known))
}
