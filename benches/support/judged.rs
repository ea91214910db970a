//! A session as it is after an ordinary login: judged by the rules that are in force by default.

#[path = "../../tests/support/checks/watched.rs"]
mod watched;

use std::sync::Arc;

use arc_swap::ArcSwap;
use imapwarden::config::policy;
use imapwarden::config::rules::load_configured;
use imapwarden::policy::Counters;
use imapwarden::policy::engine::Engine;
use imapwarden::policy::facts::User;
use imapwarden::session::inspect::Inspector;
use imapwarden::session::inspect::Rules;
use imapwarden::session::relay::Options;
use imapwarden::session::relay::Output;
use imapwarden::session::relay::Relay;
use watched::inspector;

/// The rules that are in force where nobody says otherwise.
pub(crate) fn engine() -> Engine {
    let loaded = load_configured(&policy::Rules::default()).unwrap_or_else(|problems| panic!("{problems:?}"));
    Engine::new(loaded.set, Arc::new(Counters::new(100_000, 7)))
}

/// A relay of a session with a mailbox open.
pub(crate) fn relay() -> Relay {
    relay_of("alice@example.org", &Arc::new(ArcSwap::from_pointee(engine())))
}

/// The same of somebody, by rules that others share.
pub(crate) fn relay_of(user: &str, rules: &Rules) -> Relay {
    let user = User {
        name: user.into(),
        account: user.into(),
        ..User::default()
    };
    let inspector = inspector(rules, user, Arc::default());
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

/// The client fetches one message of 4 KB, at a time of its own.
pub(crate) fn message(relay: &mut Relay, output: &mut Output, number: u64) {
    relay.tell_time(number * 100);
    ask(
        relay,
        output,
        format!("a{number} UID FETCH {number} (UID BODY.PEEK[])\r\n").as_bytes(),
    );
    let head = format!("* {number} FETCH (UID {number} BODY[] {{4096}}\r\n");
    let end = format!(")\r\na{number} OK done\r\n");
    // Copied from where it lies: the compiler would fill it anew, with as many instructions as all the rest takes.
    let body: &[u8] = std::hint::black_box(&[b'x'; 4096]);
    answer(relay, output, &[head.as_bytes(), body, end.as_bytes()].concat());
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
