//! TLS 1.2 and 1.3 on both legs: what was agreed, and how a hand-shake fails.
//!
//! Forward secrecy and authenticated encryption only, the hybrid post-quantum key exchange first, no early data, no
//! renegotiation. The engine's types stay in here.

mod client;
mod client_auth;
mod engine;
mod hello;
mod hkdf;
mod info;
mod ja4;
mod meter;
mod pin;
mod queue;
mod resolver;
mod scratch;
mod server;
mod session;

use std::error::Error;
use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::sync::LazyLock;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use thiserror::Error;

use crate::net::certificate::CertificateError;
use crate::net::random::Drawn;

pub use client::Client;
pub use client::ClientOptions;
pub use client::Trust;
pub use client::is_server_name;
pub use client_auth::ClientCertificateMode;
pub use client_auth::ClientCertificates;
pub use info::ClientCertificate;
pub use info::TlsInfo;
pub use ja4::Ja4;
pub use ja4::ja4;
pub use pin::Pin;
pub use pin::PinError;
pub use server::Prepared;
pub use server::Server;
pub use server::ServerOptions;
pub use session::Session;

pub(super) use meter::ALLOWANCE;

/// The protocol's name in ALPN (RFC 7301 registry).
const ALPN_IMAP: &[u8] = b"imap";

/// Why a TLS configuration cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is wrong.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A listener without a certificate.
    #[error("no certificate is configured")]
    NoCertificate,
    /// Client certificates are asked for, and nobody says whose.
    #[error("client certificates are {0}, but no ca_file says which authorities are trusted")]
    NoAuthority(&'static str),
    /// A backend is to be trusted by authorities, and there are none.
    #[error("no ca_file says which authorities are trusted")]
    NoCaFile,
    /// A backend is to be trusted by pins, and there are none.
    #[error("no pin is configured")]
    NoPin,
    /// The engine refuses the combination.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// Why a hand-shake did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// It was not done in time, dripping or not.
    #[error("the TLS hand-shake took too long")]
    Timeout,
    /// The peer closed the connection before it was done.
    #[error("the connection was closed during the TLS hand-shake")]
    Closed,
    /// One side refused the other; at most 160 bytes of why.
    #[error("the TLS hand-shake failed: {0}")]
    Failed(String),
}

impl HandshakeError {
    fn failed(reason: &str) -> Self {
        const LONGEST: usize = 160;
        // Names from the other side's certificate may be in there.
        let mut reason: String = reason
            .chars()
            .map(|char| if char.is_control() { '?' } else { char })
            .collect();
        let mut end = reason.len().min(LONGEST);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        reason.truncate(end);
        Self::Failed(reason)
    }

    fn from_io(error: &io::Error) -> Self {
        let engine = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (engine, error.kind()) {
            (Some(engine), _) => Self::failed(&reason(engine)),
            (
                None,
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe,
            ) => Self::Closed,
            (None, _) => Self::failed(&error.to_string()),
        }
    }
}

/// The engine's text, or ours where a verifier of ours or the certificate checker said no.
fn reason(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(inner)) = error else {
        return error.to_string();
    };
    let mut text = inner.0.to_string();
    if format!("{inner:?}").contains("CaUsedAsEndEntity") {
        text.push_str("; pin its key instead of trusting it as an authority");
    }
    text
}

/// The cryptography of both legs. aws-lc-rs has ML-KEM; its default suites are all AEAD with forward secrecy.
pub(super) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            secure_random: &Drawn,
            ..hkdf::with_prepared_keys(aws_lc_rs::default_provider())
        })
    });
    &PROVIDER
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn setup(error: &dyn Error) -> TlsError {
    TlsError::Setup(error.to_string())
}

#[cfg(test)]
pub(crate) mod testing;
