//! Connections per time: governor's algorithm over our bounded map.
//!
//! Governor's own keyed stores grow with every key; ours does not. Time is what callers say: the clock here only ever moves
//! to the latest instant that anybody has passed in.

use std::hash::BuildHasher;
use std::hash::RandomState;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use governor::Quota;
use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;

use crate::limits::bounded::BoundedMap;
use crate::limits::bounded::Entry;
use crate::limits::bounded::Rank;
use crate::limits::tick::Tick;
use crate::types::Prefix;

/// So many at once, and then one for each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many may come at once after a pause.
    pub burst: NonZeroU32,
    /// How long until one more may come. Zero is no limit.
    pub every: Duration,
}

impl Rate {
    /// `burst` at once, then one for each `every`.
    #[must_use]
    pub const fn new(burst: NonZeroU32, every: Duration) -> Self {
        Self { burst, every }
    }
}

/// How many cells the prefixes without an entry of their own share.
const SHARED_CELLS: usize = 4096;

/// The rate of each prefix.
#[derive(Debug)]
pub(super) struct Rates {
    /// `None` is no limit.
    limiter: Option<RateLimiter<Prefix, Store, Told, NoOpMiddleware<Nanos>>>,
    store: Store,
}

impl Rates {
    /// Remembers at most `capacity` prefixes.
    pub(super) fn new(rate: Option<Rate>, capacity: usize) -> Self {
        let store = Store {
            told: Told::default(),
            cells: Arc::new(Mutex::new(Cells {
                own: BoundedMap::new(capacity),
                shared: vec![Cell::default(); SHARED_CELLS].into(),
                hasher: RandomState::new(),
            })),
        };
        let limiter = rate
            .and_then(|rate| Some(Quota::with_period(rate.every)?.allow_burst(rate.burst)))
            .map(|quota| RateLimiter::new(quota, store.clone(), store.told.clone()));
        Self { limiter, store }
    }

    /// Counts a connection; false where the prefix has had its share.
    pub(super) fn admit(&self, prefix: Prefix, now: Tick) -> bool {
        self.store.told.advance(now);
        self.limiter
            .as_ref()
            .is_none_or(|limiter| limiter.check_key(&prefix).is_ok())
    }

    /// Forgets prefixes that have been quiet.
    pub(super) fn sweep(&self, now: Tick) {
        self.store.lock().own.sweep(now);
    }

    /// How many prefixes are remembered.
    pub(super) fn len(&self) -> usize {
        self.store.lock().own.len()
    }

    /// The memory they take.
    pub(super) fn bytes(&self) -> usize {
        self.store.lock().own.bytes() + SHARED_CELLS * size_of::<Cell>()
    }
}

/// A clock that is told the time, and never goes back.
#[derive(Debug, Clone, Default)]
struct Told(Arc<AtomicU64>);

impl Told {
    fn advance(&self, now: Tick) {
        self.0.fetch_max(now.as_nanos(), Ordering::Relaxed);
    }

    fn tick(&self) -> Tick {
        Tick::default().plus(Duration::from_nanos(self.0.load(Ordering::Relaxed)))
    }
}

impl Clock for Told {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.tick().as_nanos().into()
    }
}

/// Governor's state in our map. Prefixes that find no room share cells: each holds the rate of one prefix, so a flood slows
/// newcomers down but never shuts all of them out.
#[derive(Debug, Clone)]
struct Store {
    told: Told,
    cells: Arc<Mutex<Cells>>,
}

#[derive(Debug)]
struct Cells {
    own: BoundedMap<Prefix, Cell>,
    shared: Box<[Cell]>,
    hasher: RandomState,
}

/// When the prefix will have used nothing of its burst: governor's theoretical arrival time.
#[derive(Debug, Clone, Copy, Default)]
struct Cell(u64);

impl Entry for Cell {
    fn is_pending(&self, now: Tick) -> bool {
        now.as_nanos() < self.0
    }

    fn is_useful(&self, now: Tick) -> bool {
        self.is_pending(now)
    }
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cells {
    fn cell(&mut self, prefix: Prefix, now: Tick) -> Option<&mut Cell> {
        // Family by family each has a map of its own, so nobody ranks before anybody here.
        if let Some(cell) = self.own.entry(prefix, Rank::Known, now) {
            return Some(cell);
        }
        let stripe = usize::try_from(self.hasher.hash_one(prefix)).unwrap_or_default() % SHARED_CELLS;
        self.shared.get_mut(stripe)
    }
}

impl StateStore for Store {
    type Key = Prefix;

    fn measure_and_replace<T, F, E>(&self, prefix: &Prefix, judge: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut cells = self.lock();
        let Some(cell) = cells.cell(*prefix, self.told.tick()) else {
            return judge(None).map(|(outcome, _)| outcome);
        };
        let (outcome, next) = judge(Some(cell.0.into()))?;
        cell.0 = next.as_u64();
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::net::Ipv6Addr;

    use super::*;

    const RATE: Rate = Rate::new(NonZeroU32::new(3).unwrap(), Duration::from_secs(1));

    fn at(seconds: u64) -> Tick {
        Tick::default().plus(Duration::from_secs(seconds))
    }

    fn prefix(number: u64) -> Prefix {
        Prefix::of(IpAddr::V6(Ipv6Addr::from(u128::from(number) << 64)))
    }

    #[test]
    fn a_burst_passes_and_then_one_for_each_period() {
        let rates = Rates::new(Some(RATE), 10);
        let admitted = |second| (0..10).filter(|_| rates.admit(prefix(1), at(second))).count();
        for (second, expected) in [(1, 3), (1, 0), (2, 1), (4, 2), (100, 3)] {
            assert_eq!(admitted(second), expected, "{second}");
        }
        assert!(rates.admit(prefix(2), at(100)));
    }

    #[test]
    fn time_that_comes_late_does_not_turn_the_clock_back() {
        let rates = Rates::new(Some(RATE), 10);
        assert!((0..3).all(|_| rates.admit(prefix(1), at(50))));
        assert!(!rates.admit(prefix(1), at(10)));
    }

    #[test]
    fn no_rate_and_a_zero_period_are_no_limit() {
        let zero = Rate::new(NonZeroU32::MIN, Duration::ZERO);
        for rate in [None, Some(zero)] {
            let rates = Rates::new(rate, 10);
            assert!((0..1000).all(|_| rates.admit(prefix(1), at(1))));
        }
    }

    #[test]
    fn a_full_map_shares_cells_instead_of_growing_or_refusing_everyone() {
        let rates = Rates::new(Some(RATE), 100);
        for number in 0..100 {
            assert!((0..3).all(|_| rates.admit(prefix(number), at(1))));
        }
        let admitted = (100..10_100)
            .filter(|number| rates.admit(prefix(*number), at(1)))
            .count();
        assert_eq!(rates.len(), 100);
        assert!((2_000..=12_288).contains(&admitted), "{admitted}");
        assert!(!rates.admit(prefix(5), at(1)), "old records are kept");
        rates.sweep(at(10));
        assert_eq!(rates.len(), 0);
    }
}
