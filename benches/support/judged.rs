//! A session as it is after an ordinary login: judged by the rules that are in force by default.

use std::num::NonZeroU64;
use std::sync::Arc;

use arc_swap::ArcSwap;
use imapwarden::config::policy::Rules;
use imapwarden::config::rules::load_configured;
use imapwarden::policy::Counters;
use imapwarden::policy::engine::Engine;
use imapwarden::policy::engine::SessionCounters;
use imapwarden::policy::facts::Client;
use imapwarden::policy::facts::Source;
use imapwarden::policy::facts::User;
use imapwarden::session::inspect::Inspector;
use imapwarden::session::inspect::Ledger;
use imapwarden::session::inspect::Parties;
use imapwarden::session::relay::Options;
use imapwarden::session::relay::Output;
use imapwarden::session::relay::Relay;
use imapwarden::types::Measure;
use imapwarden::types::SessionId;
use imapwarden::types::UnixTime;

/// When everything happens.
const NOW: UnixTime = UnixTime(1_800_000_000);

/// The rules that are in force where nobody says otherwise.
pub(crate) fn engine() -> Engine {
    let loaded = load_configured(&Rules::default()).unwrap_or_else(|problems| panic!("{problems:?}"));
    Engine::new(loaded.set, Arc::new(Counters::new(100_000, 7)))
}

/// A relay of a session with a mailbox open.
pub(crate) fn relay() -> Relay {
    let engine = engine();
    let revision = Arc::clone(engine.revision());
    let user = User {
        name: "alice@example.org".into(),
        account: "alice@example.org".into(),
        ..User::default()
    };
    let parties = Parties {
        source: Source::new([192, 0, 2, 1].into()),
        tls: None,
        client: Client::default(),
        user,
        mechanism: "login",
        credential: "app_password",
        baselines: None,
    };
    let inspector = Inspector::new(
        Arc::new(ArcSwap::from_pointee(engine)),
        (Arc::new(parties), Box::new(Nobody)),
        (SessionCounters::new(SessionId::new(1)), revision),
        0,
    );
    let mut relay = Relay::new(Arc::new(Options::default())).inspected(inspector);
    let mut output = Output::default();
    ask(&mut relay, &mut output, b"s SELECT INBOX\r\n");
    answer(
        &mut relay,
        &mut output,
        b"* 20000 EXISTS\r\n* OK [UIDNEXT 20001] next\r\ns OK [READ-WRITE] selected\r\n",
    );
    relay
}

/// A command of an ordinary day and its answer, at a time of its own.
pub(crate) fn command(relay: &mut Relay, output: &mut Output, number: u64) {
    relay.tell_time(number * 100);
    let text = match number % 4 {
        0 => "NOOP",
        1 => "UID FETCH 19001:20000 (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE)])",
        2 => "UID SEARCH RETURN (ALL) UNSEEN SINCE 1-Jul-2026 NOT SUBJECT \"figures\"",
        _ => "UID STORE 19003 +FLAGS.SILENT (\\Seen)",
    };
    ask(relay, output, format!("a{number} {text}\r\n").as_bytes());
    answer(relay, output, format!("a{number} OK done\r\n").as_bytes());
    std::hint::black_box(relay.inspector().map(Inspector::take_told));
}

/// The client says something; all of it must be taken.
fn ask(relay: &mut Relay, output: &mut Output, bytes: &[u8]) {
    match relay.from_client(bytes, output) {
        Ok(taken) => assert_eq!(taken, bytes.len()),
        Err(reason) => panic!("{reason:?}"),
    }
    std::hint::black_box(output.backend.slices(bytes).count());
    output.clear();
}

/// The backend says something.
pub(crate) fn answer(relay: &mut Relay, output: &mut Output, bytes: &[u8]) {
    if let Err(reason) = relay.from_backend(bytes, output) {
        panic!("{reason:?}");
    }
    std::hint::black_box(output.client.slices(bytes).count());
    output.clear();
}

/// Keeps nothing.
struct Nobody;

impl Ledger for Nobody {
    fn is_first_sync(&self) -> bool {
        false
    }

    fn fetched(&self, _: u64, _: u64) {}

    fn client_is(&self, _: &str) {}

    fn now(&self) -> UnixTime {
        NOW
    }

    fn pace(&self, _: u64, _: NonZeroU64, now_ms: u64) -> u64 {
        now_ms
    }

    fn count(&self, _: Measure, _: u64) {}

    fn moved(&self, _: &str, _: u64, _: u64) {}

    fn renamed(&self, _: &str, _: &str, _: u64) {}

    fn deleted(&self, _: &str) {}

    fn moved_into(&self, _: &str, _: u64) -> Option<u64> {
        None
    }

    fn noticed(&self, _: &str, _: &[u32], _: u64) {}

    fn notices_in(&self, _: &str, _: u64) -> Vec<u32> {
        Vec::new()
    }
}
