//! How long it takes to judge a command by the rules that are shipped for everybody.
#![allow(clippy::panic, reason = "a bench that goes wrong must stop")]

#[path = "support/judged.rs"]
mod judged;

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::LazyLock;

use arc_swap::ArcSwap;
use divan::Bencher;
use imapwarden::policy::engine::SessionCounters;
use imapwarden::policy::facts::Command;
use imapwarden::policy::facts::Event;
use imapwarden::policy::facts::Facts;
use imapwarden::policy::facts::Session;
use imapwarden::policy::facts::Source;
use imapwarden::policy::facts::User;
use imapwarden::session::inspect::Rules;
use imapwarden::session::relay::Output;
use imapwarden::session::relay::Relay;
use imapwarden::types::SessionId;

fn main() {
    divan::main();
}

/// A command as rules see it, and its name in the report.
struct Case(&'static str, Command<'static>);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Commands of an ordinary day.
fn commands() -> [Case; 4] {
    let inbox = Command {
        mailbox: Some("INBOX"),
        mailbox_role: Some("inbox"),
        size: 60,
        ..Command::default()
    };
    [
        Case(
            "noop",
            Command {
                verb: "NOOP",
                ..inbox
            },
        ),
        Case(
            "fetch",
            Command {
                verb: "FETCH",
                uid: true,
                fetch_body: true,
                set_size: Some(1),
                ..inbox
            },
        ),
        Case(
            "search",
            Command {
                verb: "SEARCH",
                uid: true,
                search_keys: &["TEXT", "SINCE"],
                ..inbox
            },
        ),
        Case(
            "store",
            Command {
                verb: "STORE",
                store_flags: &["\\Seen"],
                store_mode: Some("add"),
                set_size: Some(3),
                ..inbox
            },
        ),
    ]
}

#[divan::bench(args = commands())]
fn judge(bencher: Bencher<'_, '_>, case: &Case) {
    let engine = judged::engine();
    let source = Source::new([192, 0, 2, 1].into());
    let user = User {
        name: "alice@example.org".into(),
        account: "alice@example.org".into(),
        ..User::default()
    };
    let session = Session {
        mailbox: Some("INBOX"),
        mailbox_role: Some("inbox"),
        exists: Some(20_000),
        commands: 100,
        ..Session::default()
    };
    let mut facts = Facts::at(Event::Command, &source);
    facts.user = Some(&user);
    facts.session = Some(&session);
    facts.command = Some(&case.1);
    let mut counters = SessionCounters::new(SessionId::new(1)).for_session();
    let mut now_ms = 0;
    bencher.bench_local(|| {
        now_ms += 100;
        let decisions = engine.judge(divan::black_box(&facts), &mut counters, now_ms);
        decisions.is_empty()
    });
}

/// All that a command costs in a session: it is collected, read, judged and sent on, and its answer is passed back.
#[divan::bench]
fn session(bencher: Bencher<'_, '_>) {
    let mut relay = judged::relay();
    let mut output = Output::default();
    let mut number = 0;
    bencher.bench_local(|| {
        number += 1;
        judged::command(&mut relay, &mut output, number);
    });
}

/// The same for messages of 4 KB that are fetched one by one.
#[divan::bench]
fn messages(bencher: Bencher<'_, '_>) {
    let mut relay = judged::relay();
    let mut output = Output::default();
    let mut number = 0;
    bencher.bench_local(|| {
        number += 1;
        judged::message(&mut relay, &mut output, number);
    });
}

/// What all sessions of a process share.
static SHARED: LazyLock<Rules> = LazyLock::new(|| Arc::new(ArcSwap::from_pointee(judged::engine())));

thread_local! {
    /// A session of somebody else in each thread, and how many commands it has had.
    static SESSION: RefCell<(Relay, Output, u64)> = RefCell::new({
        let user = format!("{:?}@example.org", std::thread::current().id());
        (judged::relay_of(&user, &SHARED), Output::default(), 0)
    });
}

/// Commands of two people's sessions, by the same rules and with one table of counters, on one core and on two: where nobody waits
/// for anybody, a command takes on two what it takes on one.
#[divan::bench(threads = [1, 2], sample_size = 20_000)]
fn side_by_side(bencher: Bencher<'_, '_>) {
    bencher.bench(|| {
        SESSION.with_borrow_mut(|(relay, output, number)| {
            *number += 1;
            judged::command(relay, output, *number);
        });
    });
}
