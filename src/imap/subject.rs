//! The subject of a message as people read it: found in a header (RFC 5322, section 2.2), and decoded (RFC 2047).
//!
//! For comparing with words only. What cannot be decoded stays as it is, and nothing here is longer than what it was made of.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::GeneralPurpose;
use base64::engine::GeneralPurposeConfig;
use memchr::memchr;
use memchr::memmem;

/// Longest subject that is looked at, in bytes: one line of a header is not longer (RFC 5322, section 2.1.1).
const MAX_SUBJECT: usize = 998;

const NAME: &[u8] = b"subject:";

/// Writers of mail disagree about padding, and about what is left over at its end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The value of a header's first `Subject` field, with its line breaks; it may be cut.
pub(super) fn subject_in(header: &[u8]) -> Option<&[u8]> {
    let mut rest = header;
    loop {
        let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, behind) = rest.split_at_checked(end)?;
        if line.trim_ascii().is_empty() {
            return None;
        }
        let name = line.get(..NAME.len());
        if name.is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
            return Some(value(rest.get(NAME.len()..)?));
        }
        rest = behind;
    }
}

/// A field's value: this line and those that go on with it.
fn value(text: &[u8]) -> &[u8] {
    let text = text.get(..MAX_SUBJECT).unwrap_or(text);
    let ends = memchr::memchr_iter(b'\n', text).find(|at| !matches!(text.get(at + 1), Some(b' ' | b'\t')));
    text.get(..ends.unwrap_or(text.len())).unwrap_or(text)
}

/// Decodes encoded words; the rest stays as it is. Bytes of other character sets than UTF-8 and Latin ones come out as they
/// are.
pub(super) fn decoded(text: &[u8]) -> Vec<u8> {
    let mut rest = text.get(..MAX_SUBJECT).unwrap_or(text);
    let mut plain = Vec::with_capacity(rest.len());
    // Space between two encoded words is none of the text.
    let mut behind_word = false;
    while let Some(at) = memmem::find(rest, b"=?") {
        let (before, word) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        if !behind_word || !before.trim_ascii().is_empty() {
            plain.extend_from_slice(before);
        }
        let taken = encoded_word(word, &mut plain);
        behind_word = taken.is_some();
        let taken = taken.unwrap_or_else(|| {
            plain.extend_from_slice(b"=?");
            2
        });
        rest = word.get(taken..).unwrap_or_default();
    }
    plain.extend_from_slice(rest);
    plain
}

/// `=?charset?B?text?=` at the beginning: how long it is. `None` where it is none.
fn encoded_word(word: &[u8], plain: &mut Vec<u8>) -> Option<usize> {
    let mut parts = word.get(2..)?.splitn(3, |byte| *byte == b'?');
    let (charset, encoding, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let text = rest.get(..memmem::find(rest, b"?=")?)?;
    match encoding {
        b"B" | b"b" => plain.extend(BASE64.decode(text).ok()?),
        b"Q" | b"q" => quoted(text, plain),
        _ => return None,
    }
    Some(2 + charset.len() + 1 + encoding.len() + 1 + text.len() + 2)
}

/// RFC 2047, section 4.2.
fn quoted(text: &[u8], plain: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        let pair = match (byte, behind) {
            (b'=', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        if let Some((high, low)) = pair {
            plain.push(high << 4 | low);
            rest = behind.get(2..).unwrap_or_default();
        } else {
            plain.push(if *byte == b'_' { b' ' } else { *byte });
            rest = behind;
        }
    }
}

fn digit(byte: u8) -> Option<u8> {
    let value = char::from(byte).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> String {
        String::from_utf8(decoded(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_subject_is_found_wherever_it_stands_in_a_header_and_nowhere_else() {
        for (header, subject) in [
            ("Subject: a b\r\nFrom: x\r\n\r\n", Some(" a b\r")),
            (
                "From: x\r\nSUBJECT:a\r\n\tb\r\n c\r\nTo: y\r\n",
                Some("a\r\n\tb\r\n c\r"),
            ),
            ("X-Subject: a\r\nFrom: Subject: b\r\n", None),
            ("From: x\r\n\r\nSubject: in the body\r\n", None),
            ("From: x\r\nSubject: cut he", Some(" cut he")),
            ("From: x\r\nSubj", None),
            ("", None),
        ] {
            let found = subject_in(header.as_bytes());
            assert_eq!(found, subject.map(str::as_bytes), "{header:?}");
        }
        let long = format!("Subject: {}\r\n", "x".repeat(5000));
        assert_eq!(subject_in(long.as_bytes()).unwrap().len(), MAX_SUBJECT);
    }

    #[test]
    fn encoded_words_are_decoded_and_others_are_not() {
        for (text, expected) in [
            ("plain", "plain"),
            ("=?UTF-8?Q?Neue_Anmeldung_f=C3=BCr?= x", "Neue Anmeldung für x"),
            ("=?utf-8?b?UGFzc3dvcnQgZ2XDpG5kZXJ0?=", "Passwort geändert"),
            (
                "=?utf-8?B?UGFzc3dvcnQgZ2XD?=\r\n =?utf-8?B?pG5kZXJ0?=",
                "Passwort geändert",
            ),
            ("=?utf-8?B?YQ?= b =?utf-8?B?Yw==?=", "a b c"),
            ("=?x?Y?z?=", "=?x?Y?z?="),
            ("=?utf-8?B?!?= =?", "=?utf-8?B?!?= =?"),
            ("a =?utf-8?Q?=4?=", "a =4"),
            ("=?=?utf-8?Q?a?=", "=?a"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        assert_eq!(decoded(b"=?iso-8859-1?Q?f=FCr?="), b"f\xfcr");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_longer(text: Vec<u8>) {
            let _ = subject_in(&text);
            prop_assert!(decoded(&text).len() <= text.len());
        }

        #[test]
        fn nor_do_words_that_look_encoded(text in "(=\\?|\\?=|\\?|=|_|[QB]|utf-8| |[a-f0-9]){0,40}") {
            prop_assert!(decoded(text.as_bytes()).len() <= text.len());
        }
    }
}
