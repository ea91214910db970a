//! The hot paths, each a fixed number of times, for `benches/callgrind/run`, which counts the instructions of `measured`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench that goes wrong must stop"
)]

#[path = "../support/judged.rs"]
mod judged;
#[path = "../support/place.rs"]
#[allow(dead_code, reason = "shared with other benches")]
mod place;
#[path = "../support/traffic.rs"]
#[allow(dead_code, reason = "shared with other benches")]
mod traffic;

use imapwarden::session::relay::Output;
use imapwarden::session::relay::Relay;

use crate::place::Place;

/// What the driver reads at once.
const CHUNK: usize = 64 * 1024;

/// Bytes of an answer.
const ANSWER: usize = 4 * 1024 * 1024;

/// Commands; a quarter of each kind.
const COMMANDS: u64 = 2000;

/// Logins.
const CHECKS: usize = 20;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("fetch-literals") => responses(&traffic::literals(ANSWER)),
        Some("envelope-lines") => responses(&traffic::envelopes(ANSWER)),
        Some("commands") => commands(judged::command),
        Some("messages") => commands(judged::message),
        Some("app-password") => app_password(),
        _ => println!("benches/callgrind/run counts the instructions of hot paths"),
    }
}

/// What is counted, and nothing else: the name is what valgrind is told. Several threads may work for it; this one's part counts.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

/// An answer of the backend goes through a session that is judged.
fn responses(input: &[u8]) {
    let mut relay = judged::relay();
    let mut output = Output::default();
    measured(&mut || {
        for chunk in input.chunks(CHUNK) {
            judged::answer(&mut relay, &mut output, chunk);
        }
    });
}

/// Commands are collected, judged and sent on, and answered.
fn commands(each: fn(&mut Relay, &mut Output, u64)) {
    let mut relay = judged::relay();
    let mut output = Output::default();
    // What is made once: windows, buffers.
    (1..100).for_each(|number| each(&mut relay, &mut output, number));
    measured(&mut || {
        for number in 100..100 + COMMANDS {
            each(&mut relay, &mut output, number);
        }
    });
}

/// The check of an app password, but for what the store's own threads do.
fn app_password() {
    let place = Place::new();
    place.check();
    measured(&mut || (0..CHECKS).for_each(|_| place.check()));
}
