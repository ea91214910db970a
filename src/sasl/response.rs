//! A client's response, decoded from base64 strictly and wiped when dropped.
//!
//! Lenient decoders read one text as different bytes than a backend or a log does: no white space, no missing or surplus
//! padding, no bits behind the last byte (RFC 4648, sections 3.2, 3.3 and 3.5).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::sasl::SaslError;

/// Longest response in base64, in bytes.
const MAX_TEXT: usize = 8 * 1024;

/// The bytes of one response.
pub struct Response(Zeroizing<Vec<u8>>);

impl Response {
    /// Reads a line of an exchange, without its CRLF. An empty line is an empty response.
    ///
    /// # Errors
    /// [`SaslError::Cancelled`] for `*` (RFC 3501, section 6.2.2), or what is wrong with the base64.
    pub fn decode(line: &[u8]) -> Result<Self, SaslError> {
        if line == b"*" {
            return Err(SaslError::Cancelled);
        }
        if line.len() > MAX_TEXT {
            return Err(SaslError::TooLong);
        }
        // Allocated once at full size: a buffer that grows leaves copies behind.
        let mut bytes = Zeroizing::new(vec![0; line.len().div_ceil(4) * 3]);
        let len = STANDARD
            .decode_slice(line, &mut bytes)
            .map_err(|_| SaslError::Base64)?;
        bytes.truncate(len);
        Ok(Self(bytes))
    }

    /// Reads an initial response: as a line, but an empty one is written `=` (RFC 4959, section 3).
    pub(super) fn decode_initial(text: &[u8]) -> Result<Self, SaslError> {
        match text {
            b"=" => Self::decode(b""),
            // There is nothing to cancel yet.
            b"" | b"*" => Err(SaslError::Base64),
            text => Self::decode(text),
        }
    }

    /// The decoded bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// True where there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &[u8]) -> Result<Vec<u8>, SaslError> {
        Response::decode(text).map(|response| response.bytes().to_vec())
    }

    #[test]
    fn canonical_base64_is_decoded() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decoded(text.as_bytes()), Ok(bytes.as_bytes().to_vec()), "{text}");
        }
        assert_eq!(decoded(b"/+8="), Ok(vec![0xff, 0xef]));
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for text in [
            "Zg",
            "Zg=",
            "Zg===",
            "Zm8==",
            "Zm9v=",
            "=",
            "==",
            "====",
            "Zm9v====",
            "Zg==Zg==",
            " Zg==",
            "Zg== ",
            "Z g=",
            "Zg\t==",
            "Zg\r\n==",
            "Zh==",
            "Zm9=",
            "Zm9-",
            "Zm9_",
            "Zm9v\0",
            "Zm9\u{ff}",
            "Z",
            "**",
            "* ",
        ] {
            assert_eq!(decoded(text.as_bytes()), Err(SaslError::Base64), "{text:?}");
        }
    }

    #[test]
    fn a_star_cancels_an_exchange_but_is_no_initial_response() {
        assert_eq!(decoded(b"*"), Err(SaslError::Cancelled));
        assert!(Response::decode_initial(b"*").is_err());
        assert!(Response::decode_initial(b"").is_err());
        assert!(Response::decode_initial(b"=").is_ok_and(|r| r.is_empty()));
    }

    #[test]
    fn responses_have_a_longest_length() {
        assert!(decoded(&vec![b'A'; MAX_TEXT]).is_ok());
        assert_eq!(decoded(&vec![b'A'; MAX_TEXT + 4]), Err(SaslError::TooLong));
    }

    proptest! {
        #[test]
        fn what_decodes_has_exactly_one_spelling(text in "[A-Za-z0-9+/=]{0,24}") {
            if let Ok(bytes) = decoded(text.as_bytes()) {
                prop_assert_eq!(STANDARD.encode(bytes), text);
            }
        }

        #[test]
        fn everything_that_is_encoded_decodes(bytes: Vec<u8>) {
            prop_assert_eq!(decoded(STANDARD.encode(&bytes).as_bytes()), Ok(bytes));
        }
    }
}
