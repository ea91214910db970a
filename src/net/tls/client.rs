//! The client side, towards backends. There is no way to skip verification.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS12;
use rustls::version::TLS13;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::net::certificate;
use crate::net::certificate::CertificateFiles;
use crate::net::stream::Stream;
use crate::net::tls::HandshakeError;
use crate::net::tls::Pin;
use crate::net::tls::Session;
use crate::net::tls::TlsError;
use crate::net::tls::TlsInfo;
use crate::net::tls::engine::Engine;
use crate::net::tls::pin::PinVerifier;
use crate::net::tls::provider;
use crate::net::tls::setup;
use crate::types::UnixTime;

/// What a backend may send in a hand-shake; its certificates are the operator's choice, and may be many.
const HANDSHAKE_ALLOWANCE: usize = 128 * 1024;

/// Why a backend is believed to be the one we want.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Its certificate was issued by one of the authorities that browsers trust.
    #[default]
    PublicAuthorities,
    /// Its certificate was issued by an authority in these PEM files.
    CaFiles(Vec<PathBuf>),
    /// It owns one of these keys; name, dates and issuer of its certificate do not matter.
    Pins(Vec<Pin>),
}

/// How we speak TLS to a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// Why it is trusted.
    pub trust: Trust,
    /// The certificate that we show where the backend asks for one.
    pub identity: Option<CertificateFiles>,
    /// The time for a whole hand-shake.
    pub handshake_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            trust: Trust::default(),
            identity: None,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// TLS towards one backend. To reload it, make a new one.
#[derive(Debug, Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    handshake_timeout: Duration,
}

/// True where a text can be the name in [`Client::handshake`]: a host name or an IP address.
#[must_use]
pub fn is_server_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

impl Client {
    /// Reads the files named; blocking, and quick.
    ///
    /// # Errors
    /// A file is wrong, or nothing is trusted.
    pub fn new(options: &ClientOptions, now: UnixTime) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| setup(&error))?;
        let builder = match &options.trust {
            Trust::PublicAuthorities => {
                let roots = webpki_roots::TLS_SERVER_ROOTS
                    .iter()
                    .cloned()
                    .collect::<RootCertStore>();
                builder.with_root_certificates(roots)
            }
            Trust::CaFiles(files) if files.is_empty() => return Err(TlsError::NoCaFile),
            Trust::CaFiles(files) => builder.with_root_certificates(certificate::authorities(files)?),
            Trust::Pins(pins) if pins.is_empty() => return Err(TlsError::NoPin),
            Trust::Pins(pins) => {
                let algorithms = provider().signature_verification_algorithms;
                let verifier = PinVerifier::new(pins.clone(), algorithms);
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let identity = certificate::load(files, now)?;
                let resolver = SingleCertAndKey::from(CertifiedKey::clone(&identity.certified));
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        };
        Ok(Self {
            config: Arc::new(config),
            handshake_timeout: options.handshake_timeout,
        })
    }

    /// The same for the driver of PostgreSQL, which does its own hand-shake.
    pub fn for_postgres(&self) -> MakeRustlsConnect {
        MakeRustlsConnect::new(ClientConfig::clone(&self.config))
    }

    /// Does the hand-shake on a bare connection: one that has just been dialled, or one whose backend agreed to STARTTLS and
    /// whose input read so far has been dropped. `server_name` is what the certificate must be valid for. The time is a total.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub async fn handshake(
        &self,
        tcp: TcpStream,
        server_name: &str,
    ) -> Result<(Stream, TlsInfo), HandshakeError> {
        let Ok(name) = ServerName::try_from(server_name.to_owned()) else {
            return Err(HandshakeError::failed(
                "the server name is neither a host name nor an address",
            ));
        };
        let connect = async {
            let engine = UnbufferedClientConnection::new(Arc::clone(&self.config), name)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let mut session = Box::new(Session::new(Engine::Client(engine), tcp, HANDSHAKE_ALLOWANCE));
            session.handshake(Vec::new()).await?;
            Ok(session)
        };
        let connected = timeout(self.handshake_timeout, connect).await;
        let session = connected
            .map_err(|_| HandshakeError::Timeout)?
            .map_err(|error: io::Error| HandshakeError::from_io(&error))?;
        let info = TlsInfo::of(session.state(), None, false)
            .ok_or_else(|| HandshakeError::failed("nothing was agreed on"))?;
        Ok((Stream::Client(session), info))
    }
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::net::tls::ClientCertificateMode;
    use crate::net::tls::Server;
    use crate::net::tls::ServerOptions;
    use crate::net::tls::testing::Authority;
    use crate::net::tls::testing::Kind;
    use crate::net::tls::testing::now;
    use crate::net::tls::testing::pair;

    const HOST: &str = "backend.example.org";

    fn client(trust: Trust) -> Client {
        Client::new(
            &ClientOptions {
                trust,
                ..ClientOptions::default()
            },
            now(),
        )
        .unwrap()
    }

    async fn dial(client: &Client, server: &Server, name: &str) -> Result<TlsInfo, HandshakeError> {
        let (theirs, ours) = pair().await;
        let (_, connected) = tokio::join!(server.handshake(theirs), client.handshake(ours, name));
        connected.map(|(stream, info)| {
            assert!(stream.is_tls());
            info
        })
    }

    fn pin_of(files: &CertificateFiles) -> Pin {
        let identity = certificate::load(files, now()).unwrap();
        Pin::of_certificate(&identity.certified.cert[0]).unwrap()
    }

    #[tokio::test]
    async fn authority_and_name_must_both_be_right() {
        let authority = Authority::new();
        let server = authority.server(vec![authority.issue(
            "backend",
            &[HOST, "127.0.0.1"],
            Kind::Ecdsa,
        )]);
        let trusting = client(Trust::CaFiles(vec![authority.ca_file()]));
        let info = dial(&trusting, &server, HOST).await.unwrap();
        assert_eq!((info.version, info.client_certificate), ("1.3", None));
        assert!(dial(&trusting, &server, "127.0.0.1").await.is_ok());
        let error = dial(&trusting, &server, "other.example.org").await.unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{error}");
        for trust in [
            Trust::CaFiles(vec![Authority::new().ca_file()]),
            Trust::PublicAuthorities,
        ] {
            let error = dial(&client(trust), &server, HOST).await.unwrap_err();
            assert!(error.to_string().contains("invalid peer certificate"), "{error}");
        }
        let error = dial(&trusting, &server, "not a name").await.unwrap_err();
        assert!(matches!(error, HandshakeError::Failed(_)));
    }

    #[tokio::test]
    async fn a_pin_takes_the_place_of_authority_and_name() {
        let authority = Authority::new();
        let ecdsa = authority.issue("backend", &[HOST], Kind::Ecdsa);
        let rsa = authority.issue("old", &[HOST], Kind::Rsa);
        for files in [&ecdsa, &rsa] {
            let server = authority.server(vec![files.clone()]);
            let right = client(Trust::Pins(vec![pin_of(files)]));
            assert!(dial(&right, &server, "10.1.2.3").await.is_ok());
        }
        let server = authority.server(vec![ecdsa.clone()]);
        let wrong = client(Trust::Pins(vec![pin_of(&rsa)]));
        let error = dial(&wrong, &server, HOST).await.unwrap_err();
        let expected = format!(
            "the TLS hand-shake failed: the backend's key is {}, which is not pinned",
            pin_of(&ecdsa)
        );
        assert_eq!(error.to_string(), expected);
        let both = client(Trust::Pins(vec![pin_of(&rsa), pin_of(&ecdsa)]));
        assert!(dial(&both, &server, HOST).await.is_ok());
    }

    /// A server that shows any chain, whether its key fits or not.
    fn careless(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> TlsAcceptor {
        let key = provider().key_provider.load_private_key(key).unwrap();
        let certified = CertifiedKey::new(chain, key);
        let config = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        TlsAcceptor::from(Arc::new(config))
    }

    async fn dial_careless(client: &Client, server: &TlsAcceptor) -> Result<TlsInfo, HandshakeError> {
        let (theirs, ours) = pair().await;
        let (_, connected) = tokio::join!(server.accept(theirs), client.handshake(ours, HOST));
        connected.map(|(_, info)| info)
    }

    #[tokio::test]
    async fn a_pinned_certificate_without_its_key_is_worth_nothing() {
        let authority = Authority::new();
        for kind in [Kind::Ecdsa, Kind::Rsa] {
            let backend = authority.issue("backend", &[HOST], kind);
            let thief = authority.issue("thief", &[HOST], Kind::Ecdsa);
            let chain = certificate::load(&backend, now()).unwrap().certified.cert.clone();
            let key = PrivateKeyDer::from_pem_file(&thief.key).unwrap();
            for version in [&TLS13, &TLS12] {
                let server = careless(chain.clone(), key.clone_key(), version);
                let result = dial_careless(&client(Trust::Pins(vec![pin_of(&backend)])), &server).await;
                assert!(matches!(result, Err(HandshakeError::Failed(_))), "{result:?}");
            }
        }
    }

    /// Made with `openssl x509 -req -days 1`: self-signed, X.509 version 1, no alternative names, expired.
    const OLD_CERTIFICATE: &str = include_str!("testdata/x509v1.pem");
    const OLD_KEY: &str = include_str!("testdata/x509v1.key");

    #[tokio::test]
    async fn a_pin_works_for_a_certificate_of_version_1() {
        let chain = vec![CertificateDer::from_pem_slice(OLD_CERTIFICATE.as_bytes()).unwrap()];
        let pinned = client(Trust::Pins(vec![Pin::of_certificate(&chain[0]).unwrap()]));
        for version in [&TLS13, &TLS12] {
            let key = PrivateKeyDer::from_pem_slice(OLD_KEY.as_bytes()).unwrap();
            dial_careless(&pinned, &careless(chain.clone(), key, version))
                .await
                .unwrap();
        }
    }

    /// What `openssl req -x509` makes is an authority; shown as a server's certificate it is refused, and the way out is named.
    #[tokio::test]
    async fn a_self_signed_authority_as_the_backends_certificate_leads_to_a_pin() {
        let authority = Authority::new();
        let chain = vec![CertificateDer::from_pem_file(authority.ca_file()).unwrap()];
        let pin = Pin::of_certificate(&chain[0]).unwrap();
        let server = careless(chain, authority.key(), &TLS13);
        let trusting = client(Trust::CaFiles(vec![authority.ca_file()]));
        let error = dial_careless(&trusting, &server).await.unwrap_err().to_string();
        assert!(
            error.ends_with("; pin its key instead of trusting it as an authority"),
            "{error}"
        );
        dial_careless(&client(Trust::Pins(vec![pin])), &server)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn we_show_our_certificate_where_the_backend_asks() {
        let authority = Authority::new();
        let mut options = ServerOptions {
            certificates: vec![authority.issue("backend", &[HOST], Kind::Ecdsa)],
            ..ServerOptions::default()
        };
        options.client_certificates.mode = ClientCertificateMode::Required;
        options.client_certificates.ca_files = vec![authority.ca_file()];
        let server = Server::new(&options, now()).unwrap();
        let ours = ClientOptions {
            trust: Trust::CaFiles(vec![authority.ca_file()]),
            identity: Some(authority.issue("proxy", &["proxy.example.org"], Kind::Ecdsa)),
            ..ClientOptions::default()
        };
        let client = Client::new(&ours, now()).unwrap();
        let (theirs, ours) = pair().await;
        let (accepted, _) = tokio::join!(server.handshake(theirs), client.handshake(ours, HOST));
        assert_eq!(
            accepted.unwrap().1.client_certificate.unwrap().subject,
            "CN=proxy"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_backend_is_given_up_in_time() {
        let authority = Authority::new();
        let (_theirs, ours) = pair().await;
        let client = client(Trust::CaFiles(vec![authority.ca_file()]));
        let error = client.handshake(ours, HOST).await.unwrap_err();
        assert_eq!(error, HandshakeError::Timeout);
    }

    #[test]
    fn trusting_nobody_is_a_mistake() {
        for trust in [Trust::Pins(Vec::new()), Trust::CaFiles(Vec::new())] {
            let options = ClientOptions {
                trust,
                ..ClientOptions::default()
            };
            assert!(Client::new(&options, now()).is_err());
        }
    }

    #[test]
    fn server_names_are_hosts_or_addresses() {
        for name in ["mail.example.org", "localhost", "10.0.0.1", "::1", "under_score"] {
            assert!(is_server_name(name), "{name}");
        }
        for name in ["", "a b", "mail.example.org:993", "-"] {
            assert!(!is_server_name(name), "{name}");
        }
    }
}
