//! A one-time code on the wire: the main password followed by six digits, with or without a separator.
//!
//! The rule: the last six bytes must be digits; if the byte before them is a separator, that one byte is taken away too. So
//! whoever has a password that itself ends in a separator types a separator as well (`secret;` and `123456` is
//! `secret;;123456`). One credential has one reading: two readings would be two guesses at the backend.

use crate::types::Secret;

/// Digits of a code.
const DIGITS: usize = 6;

/// Characters that may stand between password and code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Separators(Vec<u8>);

/// `;` (authentik's habit), `,` (Duo's), `$` (Stalwart's).
impl Default for Separators {
    fn default() -> Self {
        Self(b";,$".to_vec())
    }
}

impl Separators {
    /// Takes a set of printable ASCII characters that are neither letters nor digits.
    #[must_use]
    pub fn new(set: &str) -> Option<Self> {
        let valid = set.bytes().all(|byte| byte.is_ascii_punctuation());
        valid.then(|| Self(set.as_bytes().to_vec()))
    }
}

/// A credential taken apart.
#[derive(Debug)]
pub struct WireCode {
    /// The main password.
    pub password: Secret,
    /// Six ASCII digits.
    pub code: Secret,
}

/// Takes password and code apart; `None` where there are no six digits at the end, or nothing before them.
#[must_use]
pub fn split(credential: &Secret, separators: &Separators) -> Option<WireCode> {
    let (before, code) = credential.expose().split_last_chunk::<DIGITS>()?;
    if !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let password = match before.split_last() {
        Some((last, rest)) if separators.0.contains(last) => rest,
        _ => before,
    };
    (!password.is_empty()).then(|| WireCode {
        password: Secret::from(password),
        code: Secret::from(code.as_slice()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(credential: &str) -> Option<(String, String)> {
        let text = |secret: Secret| String::from_utf8(secret.expose().to_vec()).unwrap();
        let split = split(&Secret::from(credential), &Separators::default())?;
        Some((text(split.password), text(split.code)))
    }

    #[test]
    fn the_code_is_the_last_six_digits_with_or_without_a_separator() {
        let cases = [
            ("hunter2123456", "hunter2"),
            ("hunter;123456", "hunter"),
            ("hunter,123456", "hunter"),
            ("hunter$123456", "hunter"),
            ("hunter:123456", "hunter:"),
            ("hunter;;123456", "hunter;"),
            ("1234567", "1"),
            ("ü123456", "ü"),
        ];
        for (credential, password) in cases {
            let found = parts(credential).unwrap();
            assert_eq!(found.0, password, "{credential}");
            assert_eq!(found.1, &credential[credential.len() - 6..]);
        }
    }

    #[test]
    fn what_has_no_code_or_no_password_is_not_split() {
        for credential in [
            "",
            "12345",
            "123456",
            ";123456",
            "hunter2",
            "hunter;12345",
            "hunter12345x",
            "hunter;１２３４５６",
        ] {
            assert_eq!(parts(credential), None, "{credential}");
        }
    }

    #[test]
    fn separators_are_punctuation_only() {
        assert!(Separators::new("").is_some());
        assert!(Separators::new(";|").is_some());
        for wrong in ["a", "1", " ", "ä", "\r"] {
            assert!(Separators::new(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn other_separators_can_be_configured() {
        let none = Separators::new("").unwrap();
        let found = split(&Secret::from("hunter;123456"), &none).unwrap();
        assert_eq!(found.password, Secret::from("hunter;"));
    }
}
