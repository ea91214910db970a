//! Time as limits keep it: nanoseconds since the limits were made, eight bytes in every entry.

use std::time::Duration;
use std::time::Instant;

/// A point in time after the [`Origin`]; good for 584 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Tick(u64);

impl Tick {
    /// This much later; saturates.
    pub(super) fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// How long after `earlier`; zero where it is not.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The number itself, for governor.
    pub(super) fn as_nanos(self) -> u64 {
        self.0
    }
}

/// The instant that ticks count from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin(Instant);

impl Origin {
    /// Counts from `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self(now)
    }

    /// An instant as a tick. Instants before the origin are the origin.
    pub(super) fn tick(self, now: Instant) -> Tick {
        Tick(nanos(now.saturating_duration_since(self.0)))
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
