//! What rules have to do with moving bytes: the time they count by, what they decided, and how much may go to the client.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::driver::Driver;
use crate::policy::decision::Decisions;
use crate::session::recorder::Recorded;

/// What there is to tell of a session.
pub(in crate::server) enum Told {
    /// What rules decided, in its order.
    Decisions(Vec<Decisions>),
    /// Commands that are over.
    Commands(Vec<Recorded>),
}

/// Told what happens.
pub(in crate::server) type Report = Box<dyn FnMut(Told) + Send>;

/// Least that is read at once from a backend whose client is slowed.
const LEAST: usize = 512;

/// How much a slowed session reads at once: this part of a second's worth.
const SHARE: u64 = 8;

/// The first look at the clock: what all sessions count their milliseconds from.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds of a clock that does not step back, the same for all sessions of the process.
pub(in crate::server) fn monotonic_ms(now: Instant) -> u64 {
    let since = now.saturating_duration_since(*EPOCH);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A session's side of the rules.
pub(super) struct Ruled {
    report: Report,
    /// Nothing is read from the backend before.
    pub(super) resume_at: Option<Instant>,
}

impl Ruled {
    pub(super) fn new(report: Report) -> Self {
        Self {
            report,
            resume_at: None,
        }
    }
}

impl<C, B> Driver<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    /// Says what time it is to whoever judges.
    pub(super) fn tell_time(&mut self, now: Instant) {
        self.relay.tell_time(monotonic_ms(now));
        self.ruled.resume_at = self.ruled.resume_at.filter(|at| *at > now);
    }

    /// Passes on what was decided, and which commands are over.
    pub(super) fn report(&mut self) {
        if let Some(inspector) = self.relay.inspector()
            && inspector.has_told()
        {
            let told = inspector.take_told();
            (self.ruled.report)(Told::Decisions(told));
        }
        let commands = self.relay.take_recorded();
        if !commands.is_empty() {
            (self.ruled.report)(Told::Commands(commands));
        }
    }

    /// How much may be read from the backend now; 0 where its client is slowed and has had its share.
    pub(super) fn allowed(&mut self, most: usize) -> usize {
        if self.ruled.resume_at.is_some() {
            return 0;
        }
        match self.relay.inspector().and_then(|inspector| inspector.throttle()) {
            None => most,
            Some(rate) => usize::try_from(rate.get() / SHARE).map_or(most, |share| share.clamp(LEAST, most)),
        }
    }

    /// So much was read: a slowed session pauses for as long as that takes at its rate, and for those that stand before it.
    pub(super) fn pause_after(&mut self, bytes: usize, now: Instant) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let until_ms = self.relay.inspector().and_then(|inspector| inspector.pace(bytes));
        if let Some(until_ms) = until_ms {
            let pause = until_ms.saturating_sub(monotonic_ms(now)).max(1);
            self.ruled.resume_at = Some(now + Duration::from_millis(pause));
        }
    }
}
