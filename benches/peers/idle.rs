//! Sessions that wait, and the memory that each of them takes.

use std::io;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::load::Load;
use crate::report::Report;
use crate::socket::other;

/// Sessions that are opened, or closed, at the same time.
const AT_ONCE: usize = 32;

/// Longest wait for all to be open, and for all to be closed.
const PATIENCE: Duration = Duration::from_secs(120);

/// From the last login to the measurement.
const REST: Duration = Duration::from_secs(1);

pub async fn run(load: &Rc<Load>, report: &mut Report) {
    let (memory_before, cpu_before) = (load.measured.memory(), load.measured.cpu());
    let places = Rc::new(Semaphore::new(AT_ONCE));
    let (leave, leaving) = watch::channel(());
    let mut sessions = JoinSet::new();
    for number in 0..load.arguments.sessions {
        let (load, places, leaving) = (Rc::clone(load), Rc::clone(&places), leaving.clone());
        sessions.spawn_local(async move {
            match session(&load, number, &places, leaving).await {
                Ok(()) => load.operations.set(load.operations.get() + 1),
                Err(error) => load.fault(&format!("session {number}"), &error),
            }
        });
    }
    let start = Instant::now();
    while load.ready.get() < load.arguments.sessions && load.faults.get() == 0 && start.elapsed() < PATIENCE {
        sleep(Duration::from_millis(20)).await;
    }
    let opening = start.elapsed();
    let cpu_open = load.measured.cpu();
    sleep(REST).await;
    let (memory, cpu_idle, rest) = (load.measured.memory(), load.measured.cpu(), Instant::now());
    sleep(Duration::from_secs_f64(load.arguments.seconds)).await;
    let (waited, cpu_end) = (rest.elapsed(), load.measured.cpu());
    let open = load.ready.get() as f64;
    drop(leave);
    if timeout(PATIENCE, async { while sessions.join_next().await.is_some() {} })
        .await
        .is_err()
    {
        load.fault("end", &other("sessions do not end"));
    }
    report.say("open", open);
    report.say("opening_s", opening.as_secs_f64());
    if !load.measured.is_empty() {
        let more = |now: u64, before: u64| now as f64 - before as f64;
        report.per(
            "kib_per_session",
            more(memory.proportional, memory_before.proportional),
            open,
        );
        report.per(
            "resident_kib_per_session",
            more(memory.resident, memory_before.resident),
            open,
        );
        report.per(
            "cpu_us_per_open",
            cpu_open.since(cpu_before).total as f64 / 1e3,
            open,
        );
        let idle = cpu_end.since(cpu_idle).total as f64 / 1e3;
        report.per("cpu_us_per_session_and_s", idle, open * waited.as_secs_f64());
        report.say("memory_before", memory_before.report());
        report.say("memory_idle", memory.report());
        report.say("memory_after", load.measured.memory().report());
    }
}

async fn session(
    load: &Load,
    number: usize,
    places: &Semaphore,
    mut leaving: watch::Receiver<()>,
) -> io::Result<()> {
    let place = places.acquire().await.map_err(other)?;
    let mut client = load.client(&load.target, number).await?;
    client.command("SELECT INBOX").await?;
    if let Some(message) = load.arguments.prefetch {
        client.command(&format!("FETCH {message} BODY[]")).await?;
    }
    client.idle().await?;
    load.ready.set(load.ready.get() + 1);
    drop(place);
    // Ends when the other side is dropped.
    let _ = leaving.changed().await;
    let _place = places.acquire().await.map_err(other)?;
    client.done().await?;
    client.log_out().await
}
