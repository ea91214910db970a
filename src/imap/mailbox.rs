//! Mailbox names, decoded before anybody compares them (RFC 3501, section 5.1.3; RFC 6855).
//!
//! One mailbox can be named by a word, a quoted string or a literal, in modified UTF-7 or in UTF-8. A rule that compares
//! what stands on the wire is walked around by choosing another spelling.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::Alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::GeneralPurpose;
use base64::engine::GeneralPurposeConfig;

use crate::imap::lexer::Token;
use crate::imap::lexer::unescaped;

/// Longest name that is compared with anything, in bytes. Servers stop at 255 to 1000.
const MAX_NAME: usize = 1000;

/// What servers put between the levels of a hierarchy.
const SEPARATORS: [char; 3] = ['/', '.', '\\'];

/// A mailbox name as people read it: UTF-8, `INBOX` in upper case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxName(Box<str>);

impl MailboxName {
    /// Decodes a token. Bytes that are no UTF-8 become U+FFFD, and what only looks like modified UTF-7 stays as it is:
    /// a name is always something, and never an error.
    #[must_use]
    pub fn decode(token: Token<'_>) -> Option<Self> {
        let name = match token {
            Token::Word(text) | Token::Literal(text) => Self::from_wire(text),
            Token::Quoted(text) => Self::from_wire(&unescaped(text)),
            Token::Announced(_) | Token::Open | Token::Close => return None,
        };
        Some(name)
    }

    /// Decodes the bytes of a name, without quotes and escapes.
    #[must_use]
    pub fn from_wire(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        match decoded_utf7(&text) {
            Some(decoded) => Self(decoded.into()),
            None => Self::plain(&text),
        }
    }

    /// Every mailbox that a server may take these bytes for. Servers differ: where UTF-8 is on, `&` is only a character;
    /// some decode what is no proper modified UTF-7, some do not; some drop a separator at the end. Nothing where a name
    /// cannot be followed: no UTF-8, control characters, too long, or a path that leads elsewhere (`..`, `~`, `//`).
    #[must_use]
    pub fn readings(bytes: &[u8], utf8: bool) -> Option<Vec<Self>> {
        let text = std::str::from_utf8(bytes)
            .ok()
            .filter(|text| text.len() <= MAX_NAME)?;
        let mut readings = vec![Self::from_wire(bytes)];
        let as_it_stands = Self::plain(text);
        if !readings.contains(&as_it_stands) && (utf8 || !is_proper_utf7(&readings, text)) {
            readings.push(as_it_stands);
        }
        let shorter = readings
            .iter()
            .filter_map(Self::without_separator)
            .collect::<Vec<_>>();
        readings.extend(shorter);
        let plain = readings.iter().all(|name| leads_nowhere_else(&name.0));
        plain.then_some(readings)
    }

    fn plain(text: &str) -> Self {
        if text.eq_ignore_ascii_case("INBOX") {
            return Self("INBOX".into());
        }
        Self(text.into())
    }

    /// `Archive` for `Archive/`.
    fn without_separator(&self) -> Option<Self> {
        let shorter = self.0.trim_end_matches(SEPARATORS);
        (shorter.len() < self.0.len() && !shorter.is_empty()).then(|| Self::plain(shorter))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// False for what a server may resolve as a path in its file system, and for control characters.
fn leads_nowhere_else(name: &str) -> bool {
    let body = name.strip_suffix(['/', '\\']).unwrap_or(name);
    let mut levels = body.split(['/', '\\']);
    let is_level = |level: &str| !matches!(level, "" | "." | "..");
    (name.is_empty() || levels.all(is_level)) && !name.starts_with('~') && !name.contains(char::is_control)
}

/// True where the text is the one proper way to write the name in modified UTF-7.
fn is_proper_utf7(names: &[MailboxName], text: &str) -> bool {
    names.iter().any(|name| encoded_utf7(&name.0) == text)
}

/// A name in modified UTF-7.
fn encoded_utf7(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(is_direct).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(end);
        if let Some(engine) = utf7_base64().filter(|_| !run.is_empty()) {
            let bytes: Vec<u8> = run.encode_utf16().flat_map(u16::to_be_bytes).collect();
            encoded.push('&');
            encoded.push_str(&engine.encode(bytes));
            encoded.push('-');
            rest = behind;
        } else {
            encoded.push(first);
            encoded.push_str(if first == '&' { "-" } else { "" });
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    encoded
}

/// What stands for itself in modified UTF-7: printable ASCII; `&` is written `&-`.
fn is_direct(c: char) -> bool {
    matches!(c, ' '..='~')
}

/// What modified UTF-7 stands for; nothing where the text is no modified UTF-7.
fn decoded_utf7(text: &str) -> Option<String> {
    if !text.contains('&') || !text.is_ascii() {
        return None;
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, shifted)) = rest.split_once('&') {
        decoded.push_str(plain);
        let (run, behind) = shifted.split_once('-')?;
        if run.is_empty() {
            decoded.push('&');
        } else {
            decoded.push_str(&decoded_run(run)?);
        }
        rest = behind;
    }
    decoded.push_str(rest);
    Some(decoded)
}

/// One shifted run: UTF-16 in big-endian bytes, in base64 with `,` for `/` and no padding.
fn decoded_run(run: &str) -> Option<String> {
    let bytes = utf7_base64()?.decode(run).ok()?;
    let (pairs, odd) = bytes.as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    let units = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
    char::decode_utf16(units).collect::<Result<String, _>>().ok()
}

fn utf7_base64() -> Option<GeneralPurpose> {
    let alphabet = Alphabet::new("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").ok()?;
    let config = GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true);
    Some(GeneralPurpose::new(&alphabet, config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(text: &str, utf8: bool) -> Vec<String> {
        let readings = MailboxName::readings(text.as_bytes(), utf8).unwrap();
        readings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_is_read_in_every_way_a_server_may_read_it() {
        for (text, utf8, expected) in [
            ("Archive", false, &["Archive"][..]),
            ("inbox", true, &["INBOX"]),
            ("", false, &[""]),
            ("Entw&APw-rfe", false, &["Entwürfe"]),
            ("Entw&APw-rfe", true, &["Entwürfe", "Entw&APw-rfe"]),
            ("Entwürfe", true, &["Entwürfe"]),
            ("A&-B", false, &["A&B"]),
            ("A&B", false, &["A&B"]),
            // ASCII in disguise, and bits that no encoder writes.
            ("a&AC8-b", false, &["a/b", "a&AC8-b"]),
            ("&APx-", false, &["ü", "&APx-"]),
            ("Archive/", false, &["Archive/", "Archive"]),
            ("inbox.", false, &["inbox.", "INBOX"]),
            ("v1..2", false, &["v1..2"]),
        ] {
            assert_eq!(readings(text, utf8), expected, "{text}");
        }
    }

    #[test]
    fn a_name_that_may_lead_elsewhere_has_no_reading() {
        for bytes in [
            &b"a/../b"[..],
            b"..",
            b"../b",
            b"a/..",
            b"a\\..\\b",
            b"/etc",
            b"a//b",
            b"a/./b",
            b"~bob/mail",
            b"a\xff",
            b"a\nb",
            b"a&AAA-b",
            &[b'x'; 1001],
        ] {
            assert_eq!(
                MailboxName::readings(bytes, false),
                None,
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    fn name(bytes: &[u8]) -> String {
        MailboxName::from_wire(bytes).to_string()
    }

    #[test]
    fn every_spelling_of_a_name_is_the_same_name() {
        let spellings = [
            MailboxName::decode(Token::Word(b"Entw&APw-rfe")),
            MailboxName::decode(Token::Quoted("Entwürfe".as_bytes())),
            MailboxName::decode(Token::Literal(b"Entw&APw-rfe")),
        ];
        for spelling in spellings {
            assert_eq!(spelling.unwrap().as_str(), "Entwürfe");
        }
        assert_eq!(name(b"inBox"), "INBOX");
        assert_eq!(
            MailboxName::decode(Token::Quoted(b"a\\\"b")).unwrap().as_str(),
            "a\"b"
        );
    }

    #[test]
    fn modified_utf7_follows_the_rfc_example() {
        assert_eq!(
            name(b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            "~peter/mail/台北/日本語"
        );
        assert_eq!(name(b"A &- B"), "A & B");
    }

    #[test]
    fn what_is_no_modified_utf7_stays_as_it_is() {
        for text in ["A & B", "&", "&!!!-", "&AA-", "x&APw"] {
            assert_eq!(name(text.as_bytes()), text);
        }
        assert_eq!(name(b"a\xff"), "a\u{fffd}");
    }
}
