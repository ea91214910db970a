//! What a service manager is told: ready, reloading, stopping, and that we are alive. Without one, nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Interval;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;

/// Everything is open, or a reload is over.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins; systemd wants to know when, for it may have asked more than once.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The end has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// Says that we are alive, as often as the service manager wants to hear it.
pub(super) struct Watchdog(Option<Interval>);

impl Watchdog {
    /// As the environment says.
    pub(super) fn new() -> Self {
        Self::every(sd_notify::watchdog_enabled())
    }

    fn every(limit: Option<Duration>) -> Self {
        Self(limit.filter(|limit| !limit.is_zero()).map(|limit| {
            // Half of the time: one that is late by as much is still in time.
            let mut ticks = interval(limit / 2);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        }))
    }

    /// Waits for something, and says meanwhile that we are alive: as long as this task is polled, and the workers, which
    /// carry the connections, do a piece of work each time.
    pub(super) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let Some(ticks) = &mut self.0 else {
            return work.await;
        };
        let mut work = std::pin::pin!(work);
        loop {
            let alive = async {
                ticks.tick().await;
                tokio::spawn(async {}).await.is_ok()
            };
            tokio::select! {
                done = &mut work => return done,
                true = alive => tell(&[NotifyState::Watchdog]),
            }
        }
    }
}
