//! What a hand-shake agreed on, for events, decisions and metrics.

use aws_lc_rs::digest;
use rustls::CipherSuite;
use rustls::CommonState;
use rustls::HandshakeKind;
use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::net::tls::hex;
use crate::net::tls::ja4::Ja4;

/// A TLS session's parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The suite's name in the IANA registry.
    pub cipher: &'static str,
    /// The key exchange's name in the IANA registry; `None` where a resumed session had none.
    pub key_exchange: Option<&'static str>,
    /// The host name that the client asked for, in lower case and without a dot at its end.
    pub sni: Option<String>,
    /// The application protocol agreed on.
    pub alpn: Option<String>,
    /// True where the session continues an earlier one.
    pub resumed: bool,
    /// The client's fingerprint, where we are the server and its ClientHello could be read.
    pub ja4: Option<Ja4>,
    /// The certificate that the client proved to own, verified.
    pub client_certificate: Option<ClientCertificate>,
}

/// A verified client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject's distinguished name.
    pub subject: String,
    /// Mail addresses among the alternative names.
    pub emails: Vec<String>,
    /// Host names among the alternative names.
    pub dns_names: Vec<String>,
    /// SHA-256 of the certificate, in lower-case hexadecimal.
    pub fingerprint_sha256: String,
}

impl TlsInfo {
    /// `None` where the hand-shake is not over, or a certificate that was verified cannot be parsed.
    pub(super) fn of(state: &CommonState, sni: Option<&str>, peer_is_client: bool) -> Option<Self> {
        let certificate = state
            .peer_certificates()
            .and_then(<[_]>::first)
            .filter(|_| peer_is_client);
        let client_certificate = match certificate {
            Some(der) => Some(ClientCertificate::of(der)?),
            None => None,
        };
        Some(Self {
            version: version_name(state.protocol_version()?)?,
            cipher: cipher_name(state.negotiated_cipher_suite()?.suite()),
            key_exchange: state
                .negotiated_key_exchange_group()
                .and_then(|group| group.name().as_str()),
            sni: sni.map(|name| name.trim_end_matches('.').to_owned()),
            alpn: state
                .alpn_protocol()
                .map(|name| String::from_utf8_lossy(name).into_owned()),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            ja4: None,
            client_certificate,
        })
    }
}

impl ClientCertificate {
    fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let mut emails = Vec::new();
        let mut dns_names = Vec::new();
        let names = parsed.subject_alternative_name().ok()?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::RFC822Name(email) => emails.push((*email).to_owned()),
                GeneralName::DNSName(host) => dns_names.push((*host).to_owned()),
                _ => {}
            }
        }
        Some(Self {
            subject: parsed.subject().to_string(),
            emails,
            dns_names,
            fingerprint_sha256: hex(digest::digest(&digest::SHA256, der).as_ref()),
        })
    }
}

fn version_name(version: ProtocolVersion) -> Option<&'static str> {
    match version {
        ProtocolVersion::TLSv1_2 => Some("1.2"),
        ProtocolVersion::TLSv1_3 => Some("1.3"),
        _ => None,
    }
}

/// rustls writes `TLS13_` for version 1.3; the registry does not.
fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}
