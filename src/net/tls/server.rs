//! The server side, towards mail clients.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::HandshakeKind;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::NoServerSessionStorage;
use rustls::server::ProducesTickets;
use rustls::server::UnbufferedServerConnection;
use rustls::version::TLS12;
use rustls::version::TLS13;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::net::certificate;
use crate::net::certificate::CertificateFiles;
use crate::net::certificate::CertificateSummary;
use crate::net::certificate::Identity;
use crate::net::stream::Stream;
use crate::net::tls::ALLOWANCE;
use crate::net::tls::ALPN_IMAP;
use crate::net::tls::ClientCertificates;
use crate::net::tls::HandshakeError;
use crate::net::tls::Session;
use crate::net::tls::TlsError;
use crate::net::tls::TlsInfo;
use crate::net::tls::client_auth::ClientAuth;
use crate::net::tls::engine::Engine;
use crate::net::tls::hello;
use crate::net::tls::ja4;
use crate::net::tls::ja4::Examined;
use crate::net::tls::provider;
use crate::net::tls::resolver::Resolver;
use crate::net::tls::setup;
use crate::types::UnixTime;

/// What a client may send in a hand-shake: post-quantum key shares have 1-3 KiB, and our tickets are small.
const HANDSHAKE_ALLOWANCE: usize = 12 * 1024;

/// How a listener speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// The certificates, chosen by host name and kind of key. The first is for clients that name no host we know.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients show a certificate too.
    pub client_certificates: ClientCertificates,
    /// The time for a whole hand-shake.
    pub handshake_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            client_certificates: ClientCertificates::default(),
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// TLS of one listener. Its certificates can be exchanged while it runs; open sessions keep theirs.
#[derive(Debug)]
pub struct Server {
    state: ArcSwap<State>,
}

/// What [`Server::put`] can put in force.
#[derive(Debug)]
pub struct Prepared(Arc<State>);

#[derive(Debug)]
struct State {
    config: Arc<ServerConfig>,
    client_auth: ClientAuth,
    summaries: Vec<CertificateSummary>,
    handshake_timeout: Duration,
}

impl Server {
    /// Reads the files named; blocking, and quick.
    ///
    /// # Errors
    /// A file is wrong, or two options contradict each other.
    pub fn new(options: &ServerOptions, now: UnixTime) -> Result<Self, TlsError> {
        let state = State::new(options, now, None)?;
        Ok(Self {
            state: ArcSwap::from_pointee(state),
        })
    }

    /// Reads all files again and uses them from the next connection on. Blocking, and quick.
    ///
    /// # Errors
    /// As for [`new`](Self::new); what was in force stays in force.
    pub fn reload(&self, options: &ServerOptions, now: UnixTime) -> Result<(), TlsError> {
        self.put(self.prepare(options, now)?);
        Ok(())
    }

    /// Reads all files again; nothing changes yet.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn prepare(&self, options: &ServerOptions, now: UnixTime) -> Result<Prepared, TlsError> {
        let state = State::new(options, now, Some(&self.state.load()))?;
        Ok(Prepared(Arc::new(state)))
    }

    /// Uses what was prepared from the next connection on.
    pub fn put(&self, prepared: Prepared) {
        self.state.store(prepared.0);
    }

    /// The certificates in force, the default one first.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateSummary> {
        self.state.load().summaries.clone()
    }

    /// Does the hand-shake on a bare connection: one that has just been accepted, or one whose client was told to start TLS and
    /// whose input read so far has been dropped. The time is a total.
    ///
    /// # Errors
    /// See [`HandshakeError`]; the client has been sent its alert where there is one.
    pub async fn handshake(&self, tcp: TcpStream) -> Result<(Stream, TlsInfo), HandshakeError> {
        let state = self.state.load_full();
        let allowance = match state.client_auth.verifier.offer_client_auth() {
            // Its chain comes as well, and again in its ticket.
            true => ALLOWANCE,
            false => HANDSHAKE_ALLOWANCE,
        };
        let accept = async {
            let first = hello::read(&tcp, allowance).await?;
            let hello = ja4::examine(&first);
            let engine =
                UnbufferedServerConnection::new(Arc::clone(&state.config)).map_err(io::Error::other)?;
            let mut session = Box::new(Session::new(Engine::Server(engine), tcp, allowance));
            session.handshake(first).await?;
            Ok((session, hello))
        };
        let accepted = timeout(state.handshake_timeout, accept).await;
        let (session, hello) = accepted
            .map_err(|_| HandshakeError::Timeout)?
            .map_err(|error: io::Error| HandshakeError::from_io(&error))?;
        let info = state.examine(&session, hello)?;
        Ok((Stream::Server(session), info))
    }
}

impl State {
    fn new(options: &ServerOptions, now: UnixTime, previous: Option<&Self>) -> Result<Self, TlsError> {
        let load = |files| certificate::load(files, now);
        let identities: Vec<Identity> = options.certificates.iter().map(load).collect::<Result<_, _>>()?;
        if identities.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let client_auth = ClientAuth::new(&options.client_certificates, now)?;
        let ticketer = match previous.filter(|state| state.client_auth.same_rules(&client_auth)) {
            Some(state) => Arc::clone(&state.config.ticketer),
            None => Ticketer::new().map_err(|error| setup(&error))?,
        };
        Ok(Self {
            config: Arc::new(config(&identities, &client_auth, ticketer)?),
            client_auth,
            summaries: identities.into_iter().map(|identity| identity.summary).collect(),
            handshake_timeout: options.handshake_timeout,
        })
    }

    fn examine(&self, session: &Session, hello: Option<Examined>) -> Result<TlsInfo, HandshakeError> {
        let engine = session.state();
        if engine.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.client_auth.check_resumed(engine)?;
        }
        let (ja4, sni) = hello.map(|hello| (hello.ja4, hello.server_name)).unzip();
        let info = TlsInfo::of(engine, sni.flatten().as_deref(), true)
            .ok_or_else(|| HandshakeError::failed("the client's certificate cannot be read"))?;
        Ok(TlsInfo { ja4, ..info })
    }
}

fn config(
    identities: &[Identity],
    client_auth: &ClientAuth,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| setup(&error))?
        .with_client_cert_verifier(Arc::clone(&client_auth.verifier))
        .with_cert_resolver(Arc::new(Resolver::new(identities)));
    config.ignore_client_order = true;
    // A client that offers other protocols only is not a mail client, or was led here to have HTTP taken for IMAP (ALPACA).
    config.alpn_protocols = vec![ALPN_IMAP.to_vec()];
    // Sessions live in tickets that the client keeps: no memory and no lock of ours. Their keys last 12 hours.
    config.ticketer = ticketer;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    // Early data can be replayed, and a login must not be.
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use rustls::CipherSuite;
    use rustls::ClientConfig;
    use rustls::NamedGroup;
    use rustls::SignatureScheme;
    use rustls::crypto::CryptoProvider;
    use rustls::pki_types::ServerName;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::net::tls::ClientCertificateMode;
    use crate::net::tls::Pin;
    use crate::net::tls::testing::Accepted;
    use crate::net::tls::testing::Anything;
    use crate::net::tls::testing::Authority;
    use crate::net::tls::testing::DAY;
    use crate::net::tls::testing::Kind;
    use crate::net::tls::testing::meet;
    use crate::net::tls::testing::now;
    use crate::net::tls::testing::pair;

    const HOST: &str = "mail.example.org";

    fn simple() -> (Authority, Server) {
        let authority = Authority::new();
        let files = authority.issue("mail", &[HOST], Kind::Ecdsa);
        let server = authority.server(vec![files]);
        (authority, server)
    }

    fn failure(accepted: Accepted) -> String {
        accepted.unwrap_err().to_string()
    }

    fn with_alpn(mut config: ClientConfig, names: &[&str]) -> Arc<ClientConfig> {
        config.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    #[tokio::test]
    async fn a_default_client_gets_the_newest_of_everything() {
        let (authority, server) = simple();
        let (accepted, connected) = meet(&server, &Arc::new(authority.client()), HOST).await;
        let (stream, info) = accepted.unwrap();
        connected.unwrap();
        assert!(stream.is_tls());
        assert_eq!(info.version, "1.3");
        assert_eq!(info.cipher, "TLS_AES_256_GCM_SHA384");
        assert_eq!(info.key_exchange, Some("X25519MLKEM768"));
        assert_eq!(info.sni.as_deref(), Some(HOST));
        assert_eq!(
            (info.alpn, info.resumed, info.client_certificate),
            (None, false, None)
        );
    }

    /// A client whose first message comes in records of `record` bytes, and all that it sends in segments of `segment`.
    async fn met_in_pieces(
        server: &Server,
        config: &Arc<ClientConfig>,
        record: usize,
        segment: usize,
    ) -> Accepted {
        let (ours, mut far) = pair().await;
        let (mut near, theirs) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from(HOST).unwrap();
        let carry = async {
            let mut header = [0; 5];
            near.read_exact(&mut header).await.unwrap();
            let mut message = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
            near.read_exact(&mut message).await.unwrap();
            let mut bytes = Vec::new();
            for fragment in message.chunks(record) {
                bytes.extend([22, 3, 1]);
                bytes.extend(u16::try_from(fragment.len()).unwrap().to_be_bytes());
                bytes.extend(fragment);
            }
            for piece in bytes.chunks(segment) {
                far.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        };
        let connect = TlsConnector::from(Arc::clone(config)).connect(name, theirs);
        let both = async { tokio::join!(server.handshake(ours), connect) };
        tokio::select! {
            (accepted, _) = both => accepted,
            () = carry => panic!("the connection ended before the hand-shake"),
        }
    }

    #[tokio::test]
    async fn a_client_has_one_fingerprint_however_its_hello_is_cut() {
        let (authority, server) = simple();
        let config = with_alpn(authority.client(), &["imap"]);
        let (accepted, _) = meet(&server, &config, HOST).await;
        let known = accepted.unwrap().1.ja4.unwrap();
        assert!(known.as_str().starts_with("t13d"), "{known}");
        assert_eq!(&known.as_str()[8..10], "ip");
        for (record, segment) in [
            (16_384, 1),
            (16_384, 700),
            (1, 1000),
            (3, 4),
            (250, 5),
            (900, 905),
        ] {
            let info = met_in_pieces(&server, &config, record, segment).await.unwrap().1;
            assert_eq!(
                info.ja4.unwrap().stable(),
                known.stable(),
                "records of {record}, segments of {segment}"
            );
        }
        let (accepted, _) = meet(&server, &with_alpn(authority.client(), &[]), HOST).await;
        assert_ne!(accepted.unwrap().1.ja4.unwrap().stable(), known.stable());
    }

    #[tokio::test]
    async fn alpn_is_imap_or_nothing() {
        let (authority, server) = simple();
        for (offered, agreed) in [
            (&["imap"][..], Some("imap")),
            (&["h2", "imap"], Some("imap")),
            (&[], None),
        ] {
            let (accepted, _) = meet(&server, &with_alpn(authority.client(), offered), HOST).await;
            assert_eq!(accepted.unwrap().1.alpn.as_deref(), agreed);
        }
        for offered in [&["h2"][..], &["http/1.1", "h2"], &["IMAP"], &["imap4"], &["pop3"]] {
            let (accepted, connected) = meet(&server, &with_alpn(authority.client(), offered), HOST).await;
            assert!(failure(accepted).starts_with("the TLS hand-shake failed: "));
            let alert = connected.unwrap_err().to_string();
            assert!(alert.contains("NoApplicationProtocol"), "{alert}");
        }
    }

    #[test]
    fn every_suite_is_aead_with_forward_secrecy_and_ours_go_first() {
        let (_authority, server) = simple();
        let state = server.state.load();
        let suites = &state.config.crypto_provider().cipher_suites;
        assert!(state.config.ignore_client_order);
        for suite in suites {
            let name = suite.suite().as_str().unwrap();
            assert!(
                name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_"),
                "{name}"
            );
            assert!(name.contains("_GCM_") || name.contains("_POLY1305_"), "{name}");
        }
        let first = state.config.crypto_provider().kx_groups.first().unwrap().name();
        assert_eq!(first, NamedGroup::X25519MLKEM768);
        assert_eq!(state.config.max_early_data_size, 0);
        assert!(state.config.ticketer.enabled() && state.config.ticketer.lifetime() <= 86_400);
        assert_eq!(state.config.send_tls13_tickets, 1);
    }

    /// A TLS 1.1 ClientHello, as OpenSSL 1.0 would send it.
    fn client_hello_of(version: [u8; 2]) -> Vec<u8> {
        let mut hello = version.to_vec();
        hello.extend([7; 32]); // random
        hello.push(0); // no session
        hello.extend([0, 4, 0xc0, 0x13, 0xc0, 0x2f]); // ECDHE-RSA with AES-128 CBC, and GCM
        hello.extend([1, 0]); // no compression
        hello.extend([0, 8, 0, 10, 0, 4, 0, 2, 0, 23]); // supported_groups: P-256
        let length = u8::try_from(hello.len()).unwrap();
        let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
        record.extend(hello);
        record
    }

    #[tokio::test]
    async fn versions_before_1_2_are_refused_with_an_alert() {
        let (_authority, server) = simple();
        for version in [[3, 0], [3, 1], [3, 2]] {
            let (ours, mut client) = pair().await;
            client.write_all(&client_hello_of(version)).await.unwrap();
            let mut answer = Vec::new();
            let (accepted, _) = tokio::join!(server.handshake(ours), client.read_to_end(&mut answer));
            assert!(accepted.is_err(), "{version:?}");
            // A fatal alert: handshake_failure, or protocol_version where the hello is otherwise complete.
            assert!(matches!(answer[..], [21, 3, _, 0, 2, 2, 40 | 70]), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn plain_text_is_not_a_hand_shake() {
        let (_authority, server) = simple();
        let (ours, mut client) = pair().await;
        client.write_all(b"a LOGIN bob secret\r\n").await.unwrap();
        assert!(matches!(
            server.handshake(ours).await,
            Err(HandshakeError::Failed(_))
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn the_hand_shake_has_a_total_that_dripping_does_not_extend() {
        let (_authority, server) = simple();
        let (ours, mut client) = pair().await;
        let dripping = tokio::spawn(async move {
            for byte in client_hello_of([3, 3]) {
                let _ = client.write_all(&[byte]).await;
                tokio::time::sleep(Duration::from_millis(900)).await;
            }
            client
        });
        let start = tokio::time::Instant::now();
        let accepted = server.handshake(ours).await;
        assert_eq!(accepted.unwrap_err(), HandshakeError::Timeout);
        assert!(start.elapsed() < Duration::from_secs(11));
        dripping.abort();
    }

    #[tokio::test]
    async fn a_client_that_leaves_has_closed() {
        let (_authority, server) = simple();
        for sent in [&b""[..], &client_hello_of([3, 3])[..30]] {
            let (ours, mut client) = pair().await;
            client.write_all(sent).await.unwrap();
            drop(client);
            assert_eq!(server.handshake(ours).await.unwrap_err(), HandshakeError::Closed);
        }
    }

    #[tokio::test]
    async fn an_endless_hand_shake_message_is_cut_off_early() {
        let (_authority, server) = simple();
        let (ours, mut client) = pair().await;
        // A ClientHello of 60,000 bytes, in records of 1,000.
        let flood = tokio::spawn(async move {
            let mut first = true;
            let mut sent = 0;
            loop {
                let mut record = vec![22, 3, 1, 0x03, 0xe8];
                record.resize(1005, 0);
                if std::mem::take(&mut first) {
                    record.splice(5..9, [1, 0, 0xea, 0x60]);
                }
                if client.write_all(&record).await.is_err() {
                    return sent;
                }
                sent += record.len();
            }
        });
        let reason = failure(server.handshake(ours).await);
        assert_eq!(reason, "the TLS hand-shake failed: too much TLS without data");
        flood.await.unwrap();
    }

    /// The host names of the certificate that a client was shown.
    async fn shown(server: &Server, config: &Arc<ClientConfig>, name: &str) -> Pin {
        let (_, connected) = meet(server, config, name).await;
        let stream = connected.unwrap();
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        Pin::of_certificate(&chain[0]).unwrap()
    }

    fn pin(files: &CertificateFiles) -> Pin {
        let identity = certificate::load(files, now()).unwrap();
        Pin::of_certificate(&identity.certified.cert[0]).unwrap()
    }

    /// A client that knows these signatures only.
    fn knowing(schemes: &[SignatureScheme]) -> Arc<ClientConfig> {
        bent(Arc::clone(provider()), schemes, &[&TLS13, &TLS12])
    }

    fn bent(
        provider: Arc<CryptoProvider>,
        schemes: &[SignatureScheme],
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything(schemes.to_vec())))
            .with_no_client_auth();
        Arc::new(config)
    }

    const ALL: [SignatureScheme; 3] = [
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::RSA_PKCS1_SHA256,
        SignatureScheme::ECDSA_NISTP256_SHA256,
    ];

    #[tokio::test]
    async fn the_certificate_is_chosen_by_host_name() {
        let authority = Authority::new();
        let first = authority.issue("first", &["first.example.org"], Kind::Ecdsa);
        let second = authority.issue(
            "second",
            &["second.example.org", "alias.example.net"],
            Kind::Ecdsa,
        );
        let star = authority.issue("star", &["*.example.org"], Kind::Ecdsa);
        let server = authority.server(vec![first.clone(), second.clone(), star.clone()]);
        let client = knowing(&ALL);
        for (name, expected) in [
            ("first.example.org", &first),
            ("second.example.org", &second),
            ("SECOND.example.org", &second),
            ("alias.example.net", &second),
            ("other.example.org", &star),
            ("deep.other.example.org", &first),
            ("example.org", &first),
            ("unknown.example", &first),
            ("127.0.0.1", &first), // no SNI
        ] {
            assert_eq!(shown(&server, &client, name).await, pin(expected), "{name}");
        }
    }

    #[tokio::test]
    async fn ecdsa_and_rsa_stand_side_by_side() {
        let authority = Authority::new();
        let rsa = authority.issue("rsa", &[HOST], Kind::Rsa);
        let ecdsa = authority.issue("ecdsa", &[HOST], Kind::Ecdsa);
        let server = authority.server(vec![rsa.clone(), ecdsa.clone()]);
        for name in [HOST, "unknown.example"] {
            assert_eq!(shown(&server, &knowing(&ALL), name).await, pin(&ecdsa));
            assert_eq!(shown(&server, &knowing(&ALL[..2]), name).await, pin(&rsa));
            assert_eq!(shown(&server, &knowing(&ALL[2..]), name).await, pin(&ecdsa));
        }
        // In TLS 1.2 the suite decides as well, whatever signatures are offered.
        let mut only_rsa_suites = CryptoProvider::clone(provider());
        only_rsa_suites
            .cipher_suites
            .retain(|suite| suite.suite() == CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384);
        let client = bent(Arc::new(only_rsa_suites), &ALL, &[&TLS12]);
        assert_eq!(shown(&server, &client, HOST).await, pin(&rsa));
    }

    /// Reads our greeting, and with it the ticket.
    async fn visit(server: &Server, config: &Arc<ClientConfig>) -> Result<TlsInfo, HandshakeError> {
        let (accepted, connected) = meet(server, config, HOST).await;
        let (mut stream, info) = accepted?;
        let mut client = connected.unwrap();
        stream.write_all(b"*").await.unwrap();
        stream.flush().await.unwrap();
        client.read_exact(&mut [0; 1]).await.unwrap();
        Ok(info)
    }

    #[tokio::test]
    async fn sessions_are_resumed_and_reloading_does_not_end_that() {
        let (authority, server) = simple();
        let options = server_options(&authority, "mail");
        for version in [&TLS13, &TLS12] {
            let client = bent(Arc::clone(provider()), &ALL, &[version]);
            assert!(!visit(&server, &client).await.unwrap().resumed);
            assert!(visit(&server, &client).await.unwrap().resumed);
            server.reload(&options, now()).unwrap();
            assert!(visit(&server, &client).await.unwrap().resumed);
        }
    }

    #[tokio::test]
    async fn early_data_is_never_on_offer() {
        let (authority, server) = simple();
        let mut config = authority.client();
        config.enable_early_data = true;
        let client = Arc::new(config);
        visit(&server, &client).await.unwrap();
        let (ours, theirs) = pair().await;
        let name = ServerName::try_from(HOST).unwrap();
        let connect = TlsConnector::from(client).connect_with(name, theirs, |session| {
            assert!(session.early_data().is_none());
        });
        let (accepted, _) = tokio::join!(server.handshake(ours), connect);
        assert!(accepted.unwrap().1.resumed);
    }

    fn server_options(authority: &Authority, file: &str) -> ServerOptions {
        let files = CertificateFiles {
            certificate: authority.dir.path().join(format!("{file}.pem")),
            key: authority.dir.path().join(format!("{file}.key")),
        };
        ServerOptions {
            certificates: vec![files],
            ..ServerOptions::default()
        }
    }

    #[tokio::test]
    async fn a_reload_swaps_certificates_and_a_bad_one_changes_nothing() {
        let (authority, server) = simple();
        let old = server.certificates();
        let (mut open, mut client) = {
            let (accepted, connected) = meet(&server, &Arc::new(authority.client()), HOST).await;
            (accepted.unwrap().0, connected.unwrap())
        };
        let new = authority.issue("new", &[HOST], Kind::Ecdsa);
        let options = ServerOptions {
            certificates: vec![new.clone()],
            ..ServerOptions::default()
        };
        server.reload(&options, now()).unwrap();
        assert_ne!(server.certificates(), old);
        assert_eq!(shown(&server, &knowing(&ALL), HOST).await, pin(&new));
        fs::write(&new.certificate, "not a certificate").unwrap();
        assert!(server.reload(&options, now()).is_err());
        assert!(server.reload(&ServerOptions::default(), now()).is_err());
        assert!(visit(&server, &knowing(&ALL)).await.is_ok());
        open.write_all(b"still here").await.unwrap();
        open.flush().await.unwrap();
        client.read_exact(&mut [0; 10]).await.unwrap();
    }

    fn asking(
        authority: &Authority,
        mode: ClientCertificateMode,
        crl_files: Vec<PathBuf>,
    ) -> Result<Server, TlsError> {
        let mut options = server_options(authority, "mail");
        options.client_certificates = ClientCertificates {
            mode,
            ca_files: vec![authority.ca_file()],
            crl_files,
        };
        Server::new(&options, now())
    }

    fn showing(authority: &Authority, files: &CertificateFiles) -> Arc<ClientConfig> {
        let identity = certificate::load(files, now()).unwrap();
        let resolver = rustls::sign::SingleCertAndKey::from((*identity.certified).clone());
        let mut config = authority.client();
        config.client_auth_cert_resolver = Arc::new(resolver);
        Arc::new(config)
    }

    #[tokio::test]
    async fn client_certificates_are_required_or_optional_but_always_valid() {
        let (authority, _) = simple();
        let alice = authority.issue("alice", &["alice@example.org", "pc.example.org"], Kind::Ecdsa);
        let stranger = Authority::new();
        let mallory = stranger.issue("mallory", &["alice@example.org"], Kind::Ecdsa);
        let required = asking(&authority, ClientCertificateMode::Required, Vec::new()).unwrap();
        let optional = asking(&authority, ClientCertificateMode::Optional, Vec::new()).unwrap();
        for server in [&required, &optional] {
            let info = visit(server, &showing(&authority, &alice)).await.unwrap();
            let shown = info.client_certificate.unwrap();
            assert_eq!(shown.subject, "CN=alice");
            assert_eq!(shown.emails, ["alice@example.org"]);
            assert_eq!(shown.dns_names, ["pc.example.org"]);
            assert_eq!(shown.fingerprint_sha256.len(), 64);
            let mut config = ClientConfig::clone(&showing(&authority, &alice));
            config.client_auth_cert_resolver =
                showing(&authority, &mallory).client_auth_cert_resolver.clone();
            let (accepted, _) = meet(server, &Arc::new(config), HOST).await;
            assert!(failure(accepted).contains("invalid peer certificate"));
        }
        let without = Arc::new(authority.client());
        assert_eq!(visit(&optional, &without).await.unwrap().client_certificate, None);
        let (accepted, _) = meet(&required, &without, HOST).await;
        assert!(failure(accepted).contains("no certificates"));
    }

    #[tokio::test]
    async fn a_revoked_client_certificate_is_refused() {
        let (authority, _) = simple();
        let alice = authority.issue("alice", &["alice@example.org"], Kind::Ecdsa);
        let bob = authority.issue("bob", &["bob@example.org"], Kind::Ecdsa);
        let list = authority.revoke("alice", now().plus(DAY));
        let server = asking(&authority, ClientCertificateMode::Optional, vec![list]).unwrap();
        let (accepted, _) = meet(&server, &showing(&authority, &alice), HOST).await;
        assert!(failure(accepted).contains("Revoked"));
        assert!(visit(&server, &showing(&authority, &bob)).await.is_ok());
        let stale = authority.revoke("alice", now().minus(DAY));
        let error = asking(&authority, ClientCertificateMode::Optional, vec![stale]).unwrap_err();
        assert!(
            error.to_string().contains("the revocation list expired on "),
            "{error}"
        );
    }

    #[tokio::test]
    async fn tickets_do_not_outlive_the_rules_for_client_certificates() {
        let (authority, _) = simple();
        let alice = authority.issue("alice", &["alice@example.org"], Kind::Ecdsa);
        let server = asking(&authority, ClientCertificateMode::Optional, Vec::new()).unwrap();
        let client = showing(&authority, &alice);
        visit(&server, &client).await.unwrap();
        let info = visit(&server, &client).await.unwrap();
        assert!(info.resumed && info.client_certificate.is_some());
        // The very same ticket keys, but Alice's certificate has been revoked: the engine alone would not notice.
        let list = authority.revoke("alice", now().plus(DAY));
        let strict = asking(&authority, ClientCertificateMode::Optional, vec![list]).unwrap();
        let strict = Arc::into_inner(strict.state.into_inner()).unwrap();
        let old = server.state.load_full();
        let mixed = State {
            config: Arc::clone(&old.config),
            client_auth: strict.client_auth,
            summaries: Vec::new(),
            handshake_timeout: old.handshake_timeout,
        };
        server.state.store(Arc::new(mixed));
        let (accepted, _) = meet(&server, &client, HOST).await;
        assert!(failure(accepted).contains("Revoked"));
    }

    #[tokio::test]
    async fn changed_rules_for_client_certificates_end_resumption() {
        let (authority, server) = simple();
        let client = Arc::new(authority.client());
        visit(&server, &client).await.unwrap();
        let mut options = server_options(&authority, "mail");
        options.client_certificates.mode = ClientCertificateMode::Optional;
        options.client_certificates.ca_files = vec![authority.ca_file()];
        server.reload(&options, now()).unwrap();
        assert!(!visit(&server, &client).await.unwrap().resumed);
        options.client_certificates.mode = ClientCertificateMode::Required;
        server.reload(&options, now()).unwrap();
        let (accepted, _) = meet(&server, &client, HOST).await;
        assert!(failure(accepted).contains("no certificates"));
    }

    #[test]
    fn contradictions_are_named() {
        let (authority, _) = simple();
        let mut options = server_options(&authority, "mail");
        options.client_certificates.mode = ClientCertificateMode::Required;
        let error = Server::new(&options, now()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "client certificates are required, but no ca_file says which authorities are trusted"
        );
        let error = Server::new(&ServerOptions::default(), now()).unwrap_err();
        assert_eq!(error.to_string(), "no certificate is configured");
    }
}
