//! The thread of one sink: takes what waits and writes it; what can be tried again is, with growing pauses.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use aws_lc_rs::rand;
use thiserror::Error;

use crate::telemetry::sink::Renewal;
use crate::telemetry::sink::queue::Batch;
use crate::telemetry::sink::queue::GATHER;
use crate::telemetry::sink::queue::Numbered;
use crate::telemetry::sink::queue::Queue;

/// The pause after a first failure; each is about twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where a sink writes to.
pub(super) trait Output: Send {
    /// Most events that one write takes along.
    fn batch(&self) -> usize;

    /// Writes events, all or a part of them.
    fn write(&mut self, events: &[Numbered]) -> Result<(), Failure>;

    /// Opens what it writes to anew.
    fn reopen(&mut self) {}

    /// Uses other authorities and secrets from now on.
    fn renew(&mut self, _renewal: Renewal) {}

    /// Says goodbye.
    fn finish(&mut self) {}
}

/// Why events were not written.
#[derive(Debug, Error)]
#[error("{message}")]
pub(super) struct Failure {
    message: String,
    /// Whether the same events may be written later.
    again: bool,
    /// How many of them went out before it.
    sent: usize,
    /// How many of those behind are lost; `None` is all.
    lost: Option<usize>,
}

impl Failure {
    /// The events may be tried again.
    pub(super) fn again(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            again: true,
            sent: 0,
            lost: None,
        }
    }

    /// The events are lost: trying again would not help, or would write half a line twice.
    pub(super) fn lost(message: impl Into<String>) -> Self {
        Self {
            again: false,
            ..Self::again(message)
        }
    }

    /// One event is lost, the others may be tried.
    pub(super) fn lost_one(message: impl Into<String>) -> Self {
        Self {
            lost: Some(1),
            ..Self::lost(message)
        }
    }

    /// So many of them went out.
    pub(super) fn after(mut self, sent: usize) -> Self {
        self.sent = sent;
        self
    }
}

/// Writes until the queue is closed and empty.
pub(super) fn run(name: &str, queue: &Queue, output: &mut dyn Output) {
    let _watch = Watch { name, queue };
    let mut broken = false;
    let mut until = Instant::now();
    loop {
        let batch = queue.next(output.batch(), until);
        if batch.reopen {
            output.reopen();
        }
        broken = deliver(name, queue, output, &batch, broken);
        if batch.last {
            output.finish();
            return;
        }
        until = Instant::now() + GATHER;
    }
}

/// Tells of a thread that panics: its sink takes nothing any more.
struct Watch<'a> {
    name: &'a str,
    queue: &'a Queue,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.queue.metrics().failed();
            tracing::error!(
                sink = self.name,
                "a fault of ours ended the sink; its events are lost"
            );
        }
    }
}

/// Writes a batch, or counts what is lost of it; true where it was lost.
fn deliver(name: &str, queue: &Queue, output: &mut dyn Output, batch: &Batch, mut broken: bool) -> bool {
    let mut sent = 0;
    let mut pause = FIRST_PAUSE;
    let mut closing = false;
    loop {
        let left = batch.events.get(sent..).unwrap_or_default();
        if left.is_empty() {
            return broken;
        }
        if let Some(renewal) = queue.renewal() {
            output.renew(renewal);
        }
        let Err(failure) = output.write(left) else {
            queue.metrics().written(left.len());
            if broken {
                tracing::info!(sink = name, "events are written again");
            }
            return false;
        };
        if failure.sent > 0 {
            queue.metrics().written(failure.sent);
        }
        queue.metrics().failed();
        // Reported once until a write succeeds again, or a full disk would fill the log too.
        if !std::mem::replace(&mut broken, true) {
            tracing::error!(sink = name, error.message = %failure, "events cannot be written");
        }
        sent = sent.saturating_add(failure.sent);
        if let Some(lost) = failure.lost.filter(|_| !failure.again) {
            let from = sent;
            sent = sent.saturating_add(lost);
            queue.lost(batch, from..sent);
            continue;
        }
        if !failure.again || closing {
            queue.lost(batch, sent..batch.events.len());
            return true;
        }
        // Once more at the end, then never again.
        closing = queue.pause(shaken(pause));
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// Between half of a time and all of it: many proxies must not come back at the same moment.
fn shaken(span: Duration) -> Duration {
    let mut drawn = [0; 2];
    // Without randomness there is still a pause.
    let _ = rand::fill(&mut drawn);
    let share = u32::from(u16::from_ne_bytes(drawn));
    span / 2 + (span / 2).saturating_mul(share) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_at_least_half_and_at_most_whole() {
        for _ in 0..1000 {
            let pause = shaken(LONGEST_PAUSE);
            assert!(pause >= LONGEST_PAUSE / 2 && pause <= LONGEST_PAUSE, "{pause:?}");
        }
    }
}
