//! For the tests: an authority that issues certificates, and clients that can be bent.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertificateRevocationListParams;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyIdMethod;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::PKCS_ECDSA_P256_SHA256;
use rcgen::PKCS_RSA_SHA256;
use rcgen::RevokedCertParams;
use rcgen::SanType;
use rcgen::SerialNumber;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime as EngineTime;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::time::ASN1Time;

use crate::net::certificate;
use crate::net::certificate::CertificateFiles;
use crate::net::stream::Stream;
use crate::net::tls::Client;
use crate::net::tls::ClientOptions;
use crate::net::tls::HandshakeError;
use crate::net::tls::Server;
use crate::net::tls::ServerOptions;
use crate::net::tls::TlsInfo;
use crate::net::tls::Trust;
use crate::net::tls::provider;
use crate::types::UnixTime;

/// A date for rcgen, whose type is not ours to name.
macro_rules! date {
    ($at:expr) => {
        ASN1Time::from_timestamp($at.0).unwrap().to_datetime()
    };
}
pub(in crate::net) const DAY: Duration = Duration::from_secs(86_400);

/// The engine looks at the real clock, so the certificates must be valid by it.
pub(in crate::net) fn now() -> UnixTime {
    UnixTime(EngineTime::now().as_secs().try_into().unwrap())
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum Kind {
    Ecdsa,
    Rsa,
}

/// One RSA key for all tests: making one takes long.
fn key(kind: Kind) -> KeyPair {
    static RSA: OnceLock<String> = OnceLock::new();
    match kind {
        Kind::Ecdsa => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
        Kind::Rsa => {
            let pem = RSA.get_or_init(|| KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap().serialize_pem());
            KeyPair::from_pem(pem).unwrap()
        }
    }
}

/// Enough to revoke one certificate of several.
fn serial(file: &str) -> SerialNumber {
    SerialNumber::from_slice(file.as_bytes())
}

pub(in crate::net) struct Authority {
    pub(in crate::net) dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(in crate::net) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let key = key(Kind::Ecdsa);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "Test Authority");
        fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            dir,
        }
    }

    pub(in crate::net) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.issuer.key().serialize_der()).into()
    }

    pub(in crate::net) fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    pub(in crate::net) fn issue(&self, file: &str, names: &[&str], kind: Kind) -> CertificateFiles {
        self.issue_with(file, names, kind, |_| ())
    }

    pub(in crate::net) fn issue_with(
        &self,
        file: &str,
        names: &[&str],
        kind: Kind,
        bend: impl FnOnce(&mut CertificateParams),
    ) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let (emails, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.contains('@'));
        let mut params = CertificateParams::new(names).unwrap();
        for email in emails {
            params
                .subject_alt_names
                .push(SanType::Rfc822Name(email.try_into().unwrap()));
        }
        params.distinguished_name.push(DnType::CommonName, file);
        params.serial_number = Some(serial(file));
        params.not_before = date!(now().minus(DAY));
        params.not_after = date!(now().plus(DAY));
        bend(&mut params);
        let key = key(kind);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = CertificateFiles {
            certificate: self.dir.path().join(format!("{file}.pem")),
            key: self.dir.path().join(format!("{file}.key")),
        };
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
        files
    }

    /// A list that revokes the certificate with this file name.
    pub(in crate::net) fn revoke(&self, file: &str, next_update: UnixTime) -> PathBuf {
        let list = CertificateRevocationListParams {
            this_update: date!(now().minus(DAY * 2)),
            next_update: date!(next_update),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: serial(file),
                revocation_time: date!(now().minus(DAY)),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.dir.path().join("crl.pem");
        fs::write(&path, list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        path
    }

    pub(in crate::net) fn server(&self, certificates: Vec<CertificateFiles>) -> Server {
        let options = ServerOptions {
            certificates,
            ..ServerOptions::default()
        };
        Server::new(&options, now()).unwrap()
    }

    /// A client that trusts this authority, otherwise with the engine's defaults.
    pub(in crate::net) fn client(&self) -> ClientConfig {
        let roots = certificate::authorities(&[self.ca_file()]).unwrap();
        ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

/// Takes what a server shows and remembers nothing, so that tests can limit the signatures that a client knows.
#[derive(Debug)]
pub(in crate::net) struct Anything(pub(in crate::net) Vec<SignatureScheme>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: EngineTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// Two ends of a TCP connection: ours as the server, and the client's.
pub(in crate::net) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (server, client)
}

/// Our server side and our client side of one TLS connection.
pub(crate) async fn tls_pair() -> (Stream, Stream) {
    const HOST: &str = "mail.example.org";
    let authority = Authority::new();
    let server = authority.server(vec![authority.issue("mail", &[HOST], Kind::Ecdsa)]);
    let options = ClientOptions {
        trust: Trust::CaFiles(vec![authority.ca_file()]),
        ..ClientOptions::default()
    };
    let client = Client::new(&options, now()).unwrap();
    let (ours, theirs) = pair().await;
    let (accepted, connected) = tokio::join!(server.handshake(ours), client.handshake(theirs, HOST));
    (accepted.unwrap().0, connected.unwrap().0)
}

pub(in crate::net) type Accepted = Result<(Stream, TlsInfo), HandshakeError>;

/// One hand-shake, seen from both ends.
pub(in crate::net) async fn meet(
    server: &Server,
    config: &Arc<ClientConfig>,
    name: &str,
) -> (Accepted, io::Result<TlsStream<TcpStream>>) {
    let (ours, theirs) = pair().await;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    tokio::join!(
        server.handshake(ours),
        TlsConnector::from(Arc::clone(config)).connect(name, theirs)
    )
}

/// A ClientHello that offers what a test says, in the order in which it says it.
pub(in crate::net) struct Offer {
    pub(in crate::net) legacy_version: u16,
    /// What `supported_versions` holds, where it is among the extensions.
    pub(in crate::net) versions: Vec<u16>,
    pub(in crate::net) ciphers: Vec<u16>,
    pub(in crate::net) extensions: Vec<u16>,
    pub(in crate::net) alpn: Vec<Vec<u8>>,
    pub(in crate::net) signatures: Vec<u16>,
}

impl Offer {
    /// Lists are written as in a raw JA4: four hexadecimal digits each, with commas.
    pub(in crate::net) fn new(
        versions: &[u16],
        ciphers: &str,
        extensions: &str,
        alpn: &[&[u8]],
        signatures: &str,
    ) -> Self {
        let numbers = |text: &str| {
            let parts = text.split(',').filter(|part| !part.is_empty());
            parts.map(|part| u16::from_str_radix(part, 16).unwrap()).collect()
        };
        Self {
            legacy_version: 0x0303,
            versions: versions.to_vec(),
            ciphers: numbers(ciphers),
            extensions: numbers(extensions),
            alpn: alpn.iter().map(|name| name.to_vec()).collect(),
            signatures: numbers(signatures),
        }
    }

    /// On the wire, in records of so many bytes.
    pub(in crate::net) fn records(&self, size: usize) -> Vec<u8> {
        let mut message = vec![1, 0];
        message.extend(vector16(self.body()));
        let mut records = Vec::new();
        for fragment in message.chunks(size.min(1 << 14)) {
            records.extend([22, 3, 1]);
            records.extend(vector16(fragment.to_vec()));
        }
        records
    }

    fn body(&self) -> Vec<u8> {
        let mut body = self.legacy_version.to_be_bytes().to_vec();
        body.extend([7; 32]);
        body.extend([0]);
        body.extend(vector16(numbers(&self.ciphers)));
        body.extend([1, 0]);
        if self.extensions.is_empty() {
            return body;
        }
        let mut extensions = Vec::new();
        for kind in &self.extensions {
            extensions.extend(kind.to_be_bytes());
            extensions.extend(vector16(self.content(*kind)));
        }
        body.extend(vector16(extensions));
        body
    }

    fn content(&self, kind: u16) -> Vec<u8> {
        match kind {
            0x000d if !self.signatures.is_empty() => vector16(numbers(&self.signatures)),
            0x000d => vec![0, 0],
            0x0010 => vector16(self.alpn.iter().flat_map(|name| vector8(name.clone())).collect()),
            0x002b => vector8(numbers(&self.versions)),
            _ => vec![0, 1, 2],
        }
    }
}

fn numbers(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn vector8(bytes: Vec<u8>) -> Vec<u8> {
    let mut vector = vec![u8::try_from(bytes.len()).unwrap()];
    vector.extend(bytes);
    vector
}

fn vector16(bytes: Vec<u8>) -> Vec<u8> {
    let mut vector = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    vector.extend(bytes);
    vector
}
