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
        if text.eq_ignore_ascii_case("INBOX") {
            return Self("INBOX".into());
        }
        match decoded_utf7(&text) {
            Some(decoded) => Self(decoded.into()),
            None => Self(text.into()),
        }
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
    let alphabet = Alphabet::new("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").ok()?;
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true);
    let bytes = GeneralPurpose::new(&alphabet, config).decode(run).ok()?;
    let (pairs, odd) = bytes.as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    let units = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
    char::decode_utf16(units).collect::<Result<String, _>>().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
