//! The name a client logs in with. What is verified is what is limited, logged and sent: one value, byte for byte.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Longest user name accepted, in bytes: RFC 5321 allows 64 + 1 + 255 for an address.
const MAX_LEN: usize = 320;

/// A user name that is safe to log, to look up and to send to a backend.
///
/// No control characters, no NUL, no master-user separator (`*`), no surrounding space, valid UTF-8, 1 to 320 bytes. All
/// three big peers let `alice*master` and `bob\0` through to the backend; here such a value cannot exist.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(Arc<str>);

/// Why bytes are not a user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UserNameError {
    /// Nothing at all.
    #[error("the user name is empty")]
    Empty,
    /// More than 320 bytes.
    #[error("the user name is longer than 320 bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("the user name is not valid UTF-8")]
    NotUtf8,
    /// A control character, NUL included, or space at either end.
    #[error("the user name has a control character or surrounding space")]
    Control,
    /// `*`, which Dovecot and Cyrus read as "log in as somebody else".
    #[error("the user name has a master-user separator")]
    MasterSeparator,
}

impl UserName {
    /// Reads a name from the wire, a configuration or a command line.
    ///
    /// # Errors
    /// Says which rule the bytes break.
    pub fn parse(bytes: &[u8]) -> Result<Self, UserNameError> {
        let text = std::str::from_utf8(bytes).map_err(|_| UserNameError::NotUtf8)?;
        if text.is_empty() {
            return Err(UserNameError::Empty);
        }
        if text.len() > MAX_LEN {
            return Err(UserNameError::TooLong);
        }
        if text.chars().any(is_unsafe) || text.trim() != text {
            return Err(UserNameError::Control);
        }
        if text.contains('*') {
            return Err(UserNameError::MasterSeparator);
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without the case of its letters, as far as ASCII goes: for most mail servers two names that differ in no more
    /// are one.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// False where a mail server may take it for another name by more than the case of its letters: databases fold accents and
    /// widths, and compose marks, each in its own way.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.0.is_ascii()
    }

    /// What stands behind the last `@`, if anything.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.0
            .rsplit_once('@')
            .map(|(_, domain)| domain)
            .filter(|domain| !domain.is_empty())
    }
}

/// Control characters, and the Unicode marks that make two names look like one in a log.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_pass_unchanged() {
        for name in [
            "alice",
            "alice@example.org",
            "Ümit+x",
            "a b",
            "DOMAIN\\user",
            "o'neil",
        ] {
            assert_eq!(UserName::parse(name.as_bytes()).unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_mean_something_else_to_a_backend_are_refused() {
        let cases: [(&[u8], UserNameError); 9] = [
            (b"", UserNameError::Empty),
            (b"bob\0", UserNameError::Control),
            (b"bob\r\nx", UserNameError::Control),
            (b" bob", UserNameError::Control),
            (b"bob\xe2\x80\xae", UserNameError::Control),
            (b"alice*master", UserNameError::MasterSeparator),
            (b"\xff", UserNameError::NotUtf8),
            (b"a\x7f", UserNameError::Control),
            (&[b'a'; 321], UserNameError::TooLong),
        ];
        for (name, why) in cases {
            assert_eq!(UserName::parse(name), Err(why));
        }
    }

    #[test]
    fn the_domain_is_what_follows_the_last_at() {
        assert_eq!(UserName::parse(b"a@b@c.d").unwrap().domain(), Some("c.d"));
        assert_eq!(UserName::parse(b"a").unwrap().domain(), None);
        assert_eq!(UserName::parse(b"a@").unwrap().domain(), None);
    }
}
