//! Pinned keys: trusting one backend's key instead of authorities. Old servers have self-signed certificates, of X.509 version
//! 1, without alternative names; their keys are as good as any.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::CertificateError;
use rustls::DigitallySignedStruct;
use rustls::OtherError;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::UnixTime;
use rustls::sign::public_key_to_spki;
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// SHA-256 of a public key in its `SubjectPublicKeyInfo` form, as in RFC 7469, section 2.4. Certificates can be renewed under it.
///
/// Reads hexadecimal (with or without colons) and base64, with or without `sha256/` or `sha256:` in front; prints the form
/// `sha256/<base64>`. It can be made with
/// `openssl x509 -in cert.pem -pubkey -noout | openssl pkey -pubin -outform DER | sha256sum`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

/// A text is not a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a SHA-256 of a public key: expected 64 hexadecimal digits or 44 characters of base64")]
pub struct PinError;

impl Pin {
    fn of_spki(spki: &[u8]) -> Self {
        let mut pin = [0; 32];
        for (to, from) in pin.iter_mut().zip(digest::digest(&digest::SHA256, spki).as_ref()) {
            *to = *from;
        }
        Self(pin)
    }

    /// The pin of a certificate's key; `None` where the certificate cannot be parsed.
    #[must_use]
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self::of_spki(certificate.public_key().raw))
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let text = text
            .strip_prefix("sha256")
            .map_or(text, |rest| rest.trim_start_matches(['/', ':']));
        let bytes = match from_hex(&text.replace(':', "")) {
            Some(bytes) => bytes,
            None => STANDARD.decode(text).map_err(|_| PinError)?,
        };
        bytes.try_into().map(Self).map_err(|_| PinError)
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect()
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The backend showed another key; the operator can compare.
#[derive(Debug, Error)]
#[error("the backend's key is {0}, which is not pinned")]
struct NotPinned(Pin);

/// Accepts a server that owns one of the pinned keys, whatever its certificate says. That it owns the key is still proved by its
/// signature.
#[derive(Debug)]
pub(super) struct PinVerifier {
    pins: Vec<Pin>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinVerifier {
    pub(super) fn new(pins: Vec<Pin>, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { pins, algorithms }
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pin = Pin::of_certificate(end_entity).ok_or(CertificateError::BadEncoding)?;
        if self.pins.contains(&pin) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::Other(OtherError(Arc::new(NotPinned(pin)))).into())
    }

    /// The engine's own function takes certificates of version 3 only.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let key = parsed.public_key();
        let bits = &key.subject_public_key.data;
        let candidates = self
            .algorithms
            .mapping
            .iter()
            .filter(|(scheme, _)| *scheme == signed.scheme);
        for algorithm in candidates.flat_map(|(_, algorithms)| *algorithms) {
            let fits = public_key_to_spki(&algorithm.public_key_alg_id(), bits).as_ref() == key.raw;
            if fits
                && algorithm
                    .verify_signature(bits, message, signed.signature())
                    .is_ok()
            {
                return Ok(HandshakeSignatureValid::assertion());
            }
        }
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_in_every_form_in_use() {
        let pin = Pin([0xab; 32]);
        let hex = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        let base64 = STANDARD.encode([0xab; 32]);
        for text in [&hex, &hex.to_uppercase(), &colons, &base64] {
            for prefix in ["", "sha256/", "sha256:", "sha256//"] {
                assert_eq!(format!("{prefix}{text}").parse(), Ok(pin), "{prefix}{text}");
            }
        }
        assert_eq!(pin.to_string().parse(), Ok(pin));
        assert_eq!(format!("{pin:?}"), format!("sha256/{base64}"));
    }

    #[test]
    fn anything_else_is_not_a_pin() {
        let short = STANDARD.encode([1; 31]);
        let long = "ab".repeat(33);
        for text in [
            "",
            "sha256/",
            &short,
            &long,
            &"ag".repeat(32),
            "sha1/2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        ] {
            assert_eq!(text.parse::<Pin>(), Err(PinError), "{text}");
        }
    }
}
