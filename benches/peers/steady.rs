//! Sessions that work all the time, and a window of time in which it is counted what that costs.

use std::io;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::client::Client;
use crate::content;
use crate::load::Load;
use crate::load::Scenario;
use crate::process::Cpu;
use crate::report::Report;
use crate::socket::other;
use crate::tls;

/// Longest wait for all sessions to be ready, and for all to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Logins that may fail before a session gives up.
const FAULTS: u64 = 50;

/// Small messages: the first of them, and how many.
const SMALL: (u32, u32) = (1000, 3000);

pub async fn run(load: &Rc<Load>, report: &mut Report) {
    let mut sessions = JoinSet::new();
    for number in 0..load.arguments.sessions {
        sessions.spawn_local(session(Rc::clone(load), number));
    }
    let start = Instant::now();
    let expected = if load.arguments.scenario == Scenario::Login {
        0
    } else {
        load.arguments.sessions
    };
    while load.ready.get() < expected && load.faults.get() == 0 && start.elapsed() < PATIENCE {
        sleep(Duration::from_millis(20)).await;
    }
    sleep(Duration::from_secs_f64(load.arguments.warm_up)).await;
    load.measuring.set(true);
    let begin = State::of(load);
    sleep(Duration::from_secs_f64(load.arguments.seconds)).await;
    let end = State::of(load);
    load.measuring.set(false);
    load.stopping.set(true);
    let ended = timeout(PATIENCE, async { while sessions.join_next().await.is_some() {} });
    if ended.await.is_err() {
        load.fault("end", &other("sessions do not end"));
    }
    if begin.operations == end.operations {
        load.fault("window", &other("nothing was done in it"));
    }
    tell(load, report, &begin, &end);
}

/// What had been counted at a time.
struct State {
    at: Instant,
    cpu: Cpu,
    operations: u64,
    bytes: u64,
    lines: u64,
    full: u64,
    resumed: u64,
    plain: u64,
    records: u64,
}

impl State {
    fn of(load: &Load) -> Self {
        let counters = &load.counters;
        Self {
            cpu: load.measured.cpu(),
            at: Instant::now(),
            operations: load.operations.get(),
            bytes: counters.bytes.get(),
            lines: counters.lines.get(),
            full: counters.full.get(),
            resumed: counters.resumed.get(),
            plain: counters.plain.get(),
            records: counters.records.get(),
        }
    }
}

fn tell(load: &Load, report: &mut Report, begin: &State, end: &State) {
    let between = |count: fn(&State) -> u64| (count(end) - count(begin)) as f64;
    let seconds = end.at.duration_since(begin.at).as_secs_f64();
    let (operations, bytes) = (between(|state| state.operations), between(|state| state.bytes));
    let (full, resumed) = (between(|state| state.full), between(|state| state.resumed));
    report.say("seconds", seconds);
    report.say("operations", operations);
    report.per("operations_per_s", operations, seconds);
    report.per("mb_per_s", bytes / 1e6, seconds);
    report.per("lines_per_s", between(|state| state.lines), seconds);
    report.per("resumed_share", resumed, full + resumed);
    report.per(
        "bytes_per_record",
        between(|state| state.plain),
        between(|state| state.records),
    );
    let latencies = load.latencies.borrow();
    if !latencies.is_empty() {
        for (name, share) in [("p50_us", 0.5), ("p99_us", 0.99), ("p99_9_us", 0.999)] {
            report.say(name, latencies.quantile(share));
        }
    }
    if !load.measured.is_empty() {
        let cpu = end.cpu.since(begin.cpu);
        let milliseconds = cpu.total as f64 / 1e6;
        report.say("cpu_ms", milliseconds);
        report.per("cpu_user_share", cpu.user as f64, (cpu.user + cpu.system) as f64);
        report.per("cpu_us_per_operation", milliseconds * 1e3, operations);
        report.per("cpu_ms_per_gb", milliseconds, bytes / 1e9);
        report.say("memory", load.measured.memory().report());
    }
}

async fn session(load: Rc<Load>, number: usize) {
    let result = if load.arguments.scenario == Scenario::Login {
        log_in_and_out(&load, number).await
    } else {
        work(&load, number).await
    };
    if let Err(error) = result {
        load.fault(&format!("session {number}"), &error);
    }
}

/// Over and over. Where sessions are resumed, each of us has tickets of its own: all but the first connection can resume.
async fn log_in_and_out(load: &Load, first: usize) -> io::Result<()> {
    let mut target = load.target.clone();
    if load.arguments.resume {
        target.tls = Some(tls::client(true)?);
    }
    let mut number = first;
    while !load.stopping.get() && load.faults.get() < FAULTS {
        let began = Instant::now();
        let login = async { load.client(&target, number).await?.log_out().await };
        match login.await {
            Ok(()) => load.done(1, began),
            Err(error) => load.fault(&format!("login {number}"), &error),
        }
        number += load.arguments.sessions;
    }
    Ok(())
}

async fn work(load: &Load, number: usize) -> io::Result<()> {
    let mut client = load.client(&load.target, number).await?;
    client.command("SELECT INBOX").await?;
    load.ready.set(load.ready.get() + 1);
    while load.ready.get() < load.arguments.sessions && load.faults.get() == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    let depth = load.arguments.depth;
    let mut next = number as u32;
    while !load.stopping.get() {
        let began = Instant::now();
        match load.arguments.scenario {
            Scenario::Noop => several(&mut client, depth, || "NOOP".to_owned()).await?,
            Scenario::FetchSmall => {
                let command = || {
                    next = (next + 1) % SMALL.1;
                    format!("FETCH {} BODY[]", SMALL.0 + next)
                };
                several(&mut client, depth, command).await?;
            }
            Scenario::FetchBulk => client.command("FETCH 4 BODY[]").await?,
            Scenario::Envelope => client.listing(content::LISTING_LINES).await?,
            Scenario::Append => client.append().await?,
            Scenario::Login | Scenario::Idle => return Err(other("no work")),
        }
        load.done(depth, began);
    }
    client.log_out().await
}

/// Sends commands at once and waits for all answers.
async fn several(client: &mut Client, depth: usize, mut command: impl FnMut() -> String) -> io::Result<()> {
    let mut bytes = Vec::new();
    for _ in 0..depth {
        bytes.extend_from_slice(format!("a{} {}\r\n", client.tag(), command()).as_bytes());
    }
    client.send(&bytes).await?;
    client.answered().await
}
