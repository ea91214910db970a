//! Two ends that talk through memory: what one says is cut and joined at will before the other hears it.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::ClientConfig;
use rustls::ServerConfig;
use rustls::SupportedProtocolVersion;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS12;
use rustls::version::TLS13;

use super::*;
use crate::net::certificate;
use crate::net::tls::provider;
use crate::net::tls::testing::Authority;
use crate::net::tls::testing::Kind;
use crate::net::tls::testing::now;

const HOST: &str = "mail.example.org";

/// An engine with the buffers of whoever calls it.
struct End {
    engine: Engine,
    incomplete: Vec<u8>,
    heard: Vec<u8>,
    says: Vec<u8>,
    closed: bool,
    failure: Option<rustls::Error>,
}

impl End {
    fn new(engine: Engine) -> Self {
        let mut end = Self {
            engine,
            incomplete: Vec::new(),
            heard: Vec::new(),
            says: Vec::new(),
            closed: false,
            failure: None,
        };
        end.hear(&[]);
        end
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.incomplete.extend_from_slice(bytes);
        let heard = &mut self.heard;
        let taken = self.engine.take(
            &mut self.incomplete,
            &mut |data| heard.extend_from_slice(data),
            &mut self.says,
        );
        self.incomplete.drain(..taken.used);
        self.closed |= taken.closed;
        self.failure = taken.failure;
    }

    fn say(&mut self, data: &[u8]) {
        let mut out = vec![0; data.len() + (data.len() / RECORD + 2) * RECORD_OVERHEAD];
        let size = self.engine.seal(data, &mut self.incomplete, &mut out).unwrap();
        self.says.extend_from_slice(&out[..size]);
    }

    fn say_goodbye(&mut self) {
        self.engine.say_goodbye(&mut self.incomplete, &mut self.says);
    }

    /// Asks for new keys, in both directions.
    fn change_keys(&mut self) {
        let state = match &mut self.engine {
            Engine::Server(engine) => {
                let status = engine.process_tls_records(&mut self.incomplete);
                match status.state.unwrap() {
                    ConnectionState::WriteTraffic(traffic) => traffic.refresh_traffic_keys(),
                    other => panic!("{other:?}"),
                }
            }
            Engine::Client(engine) => {
                let status = engine.process_tls_records(&mut self.incomplete);
                match status.state.unwrap() {
                    ConnectionState::WriteTraffic(traffic) => traffic.refresh_traffic_keys(),
                    other => panic!("{other:?}"),
                }
            }
        };
        state.unwrap();
        self.hear(&[]);
    }
}

/// What `from` has to say reaches `to` in pieces.
fn carry(from: &mut End, to: &mut End, mut size: impl FnMut() -> usize) {
    let says = std::mem::take(&mut from.says);
    let mut rest = says.as_slice();
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(size().clamp(1, rest.len()));
        to.hear(piece);
        rest = later;
    }
}

struct Configs {
    server: ServerConfig,
    client: ClientConfig,
}

fn configs(version: &'static SupportedProtocolVersion) -> Configs {
    let authority = Authority::new();
    let identity = certificate::load(&authority.issue("mail", &[HOST], Kind::Ecdsa), now()).unwrap();
    let certified = SingleCertAndKey::from(CertifiedKey::clone(&identity.certified));
    let server = ServerConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certified));
    Configs {
        server,
        client: authority.client(),
    }
}

impl Configs {
    fn ends(&self) -> (End, End) {
        let server = UnbufferedServerConnection::new(Arc::new(self.server.clone())).unwrap();
        let name = ServerName::try_from(HOST).unwrap();
        let client = UnbufferedClientConnection::new(Arc::new(self.client.clone()), name).unwrap();
        (End::new(Engine::Server(server)), End::new(Engine::Client(client)))
    }
}

fn shake_hands(server: &mut End, client: &mut End, mut size: impl FnMut() -> usize) {
    while server.engine.state().is_handshaking()
        || client.engine.state().is_handshaking()
        || !(server.says.is_empty() && client.says.is_empty())
    {
        carry(client, server, &mut size);
        carry(server, client, &mut size);
        assert_eq!((&server.failure, &client.failure), (&None, &None));
    }
}

fn connected(version: &'static SupportedProtocolVersion) -> (End, End) {
    let (mut server, mut client) = configs(version).ends();
    shake_hands(&mut server, &mut client, || usize::MAX);
    (server, client)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_said_is_heard_wherever_it_is_cut(
        is_new in any::<bool>(),
        cuts in proptest::collection::vec(prop_oneof![1_usize..8, 1_usize..400, 1_usize..40_000], 1..30),
        pieces in proptest::collection::vec((any::<bool>(), 1_usize..40_000, any::<bool>()), 1..12),
    ) {
        let version = if is_new { &TLS13 } else { &TLS12 };
        let mut cuts = cuts.into_iter().cycle();
        let mut size = || cuts.next().unwrap();
        let (mut server, mut client) = configs(version).ends();
        shake_hands(&mut server, &mut client, &mut size);
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        for (number, (from_server, length, new_keys)) in pieces.into_iter().enumerate() {
            let data: Vec<u8> = (0..length).map(|at| (at * 7 + number).to_le_bytes()[0]).collect();
            let (from, to, said) = match from_server {
                true => (&mut server, &mut client, &mut to_client),
                false => (&mut client, &mut server, &mut to_server),
            };
            if is_new && new_keys {
                from.change_keys();
            }
            from.say(&data);
            said.extend(data);
            carry(from, to, &mut size);
            prop_assert_eq!(&to.failure, &None);
        }
        client.say_goodbye();
        carry(&mut client, &mut server, &mut size);
        carry(&mut server, &mut client, &mut size);
        server.say_goodbye();
        carry(&mut server, &mut client, &mut size);
        prop_assert!(server.closed && client.closed);
        prop_assert!(server.heard == to_server && client.heard == to_client);
        prop_assert!(server.incomplete.is_empty() && client.incomplete.is_empty());
    }
}

/// Where data comes last there is nothing more to ask of the engine; where a goodbye is behind it there is.
#[test]
fn a_goodbye_that_comes_with_the_last_data_is_heard_at_once() {
    for version in [&TLS13, &TLS12] {
        let (mut server, mut client) = connected(version);
        client.say(b"a LOGOUT\r\n");
        carry(&mut client, &mut server, || usize::MAX);
        assert!(!server.closed);
        server.say(b"* BYE\r\n");
        server.say(b"a OK\r\n");
        server.say_goodbye();
        carry(&mut server, &mut client, || usize::MAX);
        assert!(client.closed);
        assert_eq!(client.heard, b"* BYE\r\na OK\r\n");
        client.say_goodbye();
        carry(&mut client, &mut server, || usize::MAX);
        assert!(server.closed);
        assert_eq!((&server.failure, &client.failure), (&None, &None));
    }
}

#[test]
fn a_record_that_was_changed_is_told_with_an_alert_and_what_came_before_it_is_kept() {
    let (mut server, mut client) = connected(&TLS13);
    client.say(b"good");
    client.say(b"evil");
    *client.says.last_mut().unwrap() ^= 1;
    carry(&mut client, &mut server, || usize::MAX);
    assert_eq!(server.heard, b"good");
    assert_eq!(server.failure, Some(rustls::Error::DecryptError));
    assert!(!server.says.is_empty());
    carry(&mut server, &mut client, || usize::MAX);
    assert!(matches!(client.failure, Some(rustls::Error::AlertReceived(_))));
}

/// A peer that sends half of a message and waits could end the task: rustls must see that half again at every call.
#[test]
fn half_a_message_after_the_hand_shake_does_no_harm() {
    let mut configs = configs(&TLS13);
    configs.server.max_fragment_size = Some(64);
    let (mut server, mut client) = configs.ends();
    while client.engine.state().is_handshaking() {
        carry(&mut client, &mut server, || usize::MAX);
        carry(&mut server, &mut client, || usize::MAX);
    }
    carry(&mut client, &mut server, || usize::MAX);
    let tickets = std::mem::take(&mut server.says);
    let first = 5 + usize::from(u16::from_be_bytes([tickets[3], tickets[4]]));
    assert!(first < tickets.len());
    client.hear(&tickets[..first]);
    assert!(!client.incomplete.is_empty());
    client.say(b"a NOOP\r\n");
    carry(&mut client, &mut server, || usize::MAX);
    client.hear(&tickets[first..]);
    assert_eq!((&client.failure, client.incomplete.len()), (&None, 0));
    client.say(b"b NOOP\r\n");
    carry(&mut client, &mut server, || usize::MAX);
    assert_eq!(server.heard, b"a NOOP\r\nb NOOP\r\n");
    server.say(b"a OK\r\n");
    carry(&mut server, &mut client, || usize::MAX);
    assert_eq!(client.heard, b"a OK\r\n");
}

#[test]
fn nothing_is_sealed_before_the_hand_shake_is_over() {
    let (mut server, _) = configs(&TLS13).ends();
    let error = server.engine.seal(b"x", &mut [], &mut [0; 100]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
}

#[test]
fn records_have_no_more_around_them_than_we_make_room_for() {
    for version in [&TLS13, &TLS12] {
        let (mut server, _) = connected(version);
        let data = vec![7; 4 * RECORD];
        let mut out = vec![0; data.len() + 4 * RECORD_OVERHEAD];
        let size = server.engine.seal(&data, &mut [], &mut out).unwrap();
        assert!(size > data.len());
    }
}
