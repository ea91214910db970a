//! What replicas have counted together: said with an attempt, and told when one is settled.
//!
//! A count is told as the time until none of it is left, which grows by a step with each failure. It grows beyond the limit
//! where several replicas let a guess through at once before they heard of each other: what was too much must drain away, too,
//! so that in the long run all of them together let through what one alone would.

use std::time::Duration;

use crate::limits::attempts::options::Options;
use crate::limits::attempts::options::PairOptions;
use crate::limits::attempts::options::SourceOptions;
use crate::limits::tick::Tick;

/// How many times its limit a count may be beyond what is allowed.
const DEBT: u32 = 8;

/// How long until nothing is left of what all replicas have counted, as far as was told; zero is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// Of the (prefix, user) pair.
    pub pair: Duration,
    /// Of the prefix.
    pub prefix: Duration,
    /// Of the site.
    pub site: Duration,
    /// Somebody has a session from there, at another replica: a ban would hit the wrong person.
    pub is_used: bool,
    /// The secret was right from there not long ago, at whichever replica.
    pub is_right: bool,
}

/// The same by our clock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Elsewhere {
    pub(super) pair: Tick,
    pub(super) prefix: Tick,
    pub(super) site: Tick,
    pub(super) is_used: bool,
    pub(super) is_right: bool,
}

impl Heard {
    /// Never longer than anything counts, whatever was told.
    pub(super) fn until(&self, options: &Options, now: Tick) -> Elsewhere {
        Elsewhere {
            pair: now.plus(self.pair.min(Count::of_pair(&options.pair).most)),
            prefix: now.plus(self.prefix.min(Count::of_source(&options.prefix).most)),
            site: now.plus(self.site.min(Count::of_source(&options.site).most)),
            is_used: self.is_used,
            is_right: self.is_right,
        }
    }
}

/// One failure more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// How long it counts.
    pub step: Duration,
    /// The longest that anything counts.
    pub most: Duration,
}

impl Count {
    pub(super) fn of_pair(options: &PairOptions) -> Self {
        Self {
            step: options.step(),
            most: options.window.saturating_mul(DEBT),
        }
    }

    pub(super) fn of_source(options: &SourceOptions) -> Self {
        Self {
            step: options.step(),
            most: options.window.saturating_mul(DEBT),
        }
    }
}

/// What other replicas are to be told of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Of the (prefix, user) pair. The first wrong secret is not told: a client that was left with an old one tries it at every
    /// replica, and it is one guess.
    pub pair: Option<Count>,
    /// Of the prefix.
    pub prefix: Option<Count>,
    /// Of the site.
    pub site: Option<Count>,
}
