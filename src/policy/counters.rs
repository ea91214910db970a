//! What rules have counted: one counter for each rule and whatever it counts by.
//!
//! Counters of one session lie with the session and need no lock. Those that sessions share have a lock each, held for one
//! count, and lie in a table. A session holds on to those that it counts by, so that it comes to the table at the first time
//! only: sessions that count different things have no lock in common.
//!
//! The table is cut into shards, each behind a lock. Memory has a bound: a shard has a young and an old half; what is touched
//! is young, and when the young half is full the old one is forgotten and takes its place. So what is forgotten first is what
//! was not touched for longest. What is forgotten is marked as such: a session that holds it comes to the table again.

mod cell;
mod counter;
mod session;
mod shared;

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::hash::Hasher;
use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::policy::counters::cell::Cell;
use crate::policy::counters::cell::Outcome;
pub(super) use crate::policy::counters::counter::Addition;
pub(super) use crate::policy::counters::counter::Amount;
pub(super) use crate::policy::counters::counter::Counted;
use crate::policy::counters::counter::Counter;
pub(super) use crate::policy::counters::counter::Terms;
pub(super) use crate::policy::counters::session::Held;
pub(super) use crate::policy::counters::session::Own;

/// Most counters in half a shard: what a hash table of 8,192 places holds.
const HALF: usize = 7_168;
/// Most distinct values in half a shard.
const HALF_DISTINCT: usize = HALF * 4;

/// How many tables this process has had.
static TABLES: AtomicU64 = AtomicU64::new(0);

/// The counters that sessions share.
#[derive(Debug)]
pub struct Counters {
    shards: Box<[Mutex<Shard>]>,
    half: usize,
    /// Keys the hashes, so that nobody outside can make two keys fall together, or tell what a key in the store is of.
    seed: u128,
    /// Tells it from all others of this process.
    number: u64,
    /// Where the next look for what is to be told begins.
    next: AtomicUsize,
    /// How often something found no room, or was forgotten, before others were told.
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    young: Half,
    old: Half,
    /// The counters that others are to be told of.
    untold: HashMap<u64, Terms, BuildHasherDefault<Ready>>,
}

#[derive(Debug, Default)]
struct Half {
    counters: HashMap<u64, Arc<Cell>, BuildHasherDefault<Ready>>,
    /// The room of all of them, as far as it was measured.
    distinct: usize,
}

/// Keys are hashes already.
#[derive(Debug, Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Counters {
    /// Room for so many counters; the memory is taken as it is needed, at most some 180 bytes for each. The seed is a secret,
    /// drawn at random or derived from a key; replicas with the same seed can count together.
    #[must_use]
    pub fn new(most: usize, seed: u128) -> Self {
        let half = (most / 2).clamp(1, HALF);
        let shards = most.div_ceil(half.saturating_mul(2)).max(1);
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            half,
            seed,
            number: TABLES.fetch_add(1, Ordering::Relaxed),
            next: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
        }
    }

    pub(super) const fn seed(&self) -> u128 {
        self.seed
    }

    /// Counts. With what a session holds, the table is asked only for what is not held yet.
    pub(super) fn count(&self, held: Option<&mut Held>, key: u64, addition: Addition) -> Counted {
        let Some(held) = held else {
            return self.count_in_table(key, addition).0;
        };
        if let Some(cell) = held.find(self.number, key)
            && let Some(outcome) = cell.count(addition)
        {
            if outcome.concerns_the_table()
                && let Some(mut shard) = self.shard(key)
            {
                self.settle(&mut shard, (key, cell), addition.terms, outcome);
            }
            return outcome.counted;
        }
        let (counted, cell) = self.count_in_table(key, addition);
        if let Some(cell) = cell {
            held.keep(self.number, key, cell);
        }
        counted
    }

    fn count_in_table(&self, key: u64, addition: Addition) -> (Counted, Option<Arc<Cell>>) {
        let Some(mut shard) = self.shard(key) else {
            return (Counted::NOTHING, None);
        };
        let Addition { amount, now_ms, .. } = addition;
        let new = || Counter::new(addition.terms, amount, now_ms);
        let cell = shard.young(key, self.half, new);
        // Nothing in the table is forgotten while its shard is locked.
        let Some(outcome) = cell.count(addition) else {
            return (Counted::NOTHING, None);
        };
        self.settle(&mut shard, (key, &cell), addition.terms, outcome);
        (outcome.counted, Some(cell))
    }

    /// Notes what a count has changed for the table.
    fn settle(&self, shard: &mut Shard, (key, cell): (u64, &Arc<Cell>), terms: Terms, outcome: Outcome) {
        if outcome.has_grown {
            shard.measure(key, cell);
        }
        if outcome.is_to_be_told && !self.to_be_told(shard, key, terms) {
            cell.is_not_noted();
        }
    }

    fn shard(&self, key: u64) -> Option<MutexGuard<'_, Shard>> {
        // The low bits choose the place within a shard.
        let count = u64::try_from(self.shards.len()).ok()?;
        let at = usize::try_from((key >> 32) % count).ok()?;
        self.shards.get(at).map(lock)
    }

    /// Forgets what no longer counts, and gives the memory back. For a timer: one shard is locked at a time.
    pub fn sweep(&self, now_ms: u64) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.young.sweep(now_ms);
            shard.old.sweep(now_ms);
            shard.sweep_untold();
        }
    }

    /// How many counters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let count = |shard: &Mutex<Shard>| {
            let shard = lock(shard);
            shard
                .young
                .counters
                .len()
                .saturating_add(shard.old.counters.len())
        };
        self.shards.iter().map(count).sum()
    }

    /// True where nothing is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What was broken off under the lock leaves a shard as good as any.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    /// The counter of a key, which is young from now on.
    fn young(&mut self, key: u64, half: usize, new: impl FnOnce() -> Counter) -> Arc<Cell> {
        if let Some(cell) = self.young.counters.get(&key) {
            return Arc::clone(cell);
        }
        let cell = self.old.take(key).unwrap_or_else(|| Arc::new(Cell::new(new())));
        if self.young.is_full(half, HALF_DISTINCT) {
            self.forget_old(half);
        }
        self.young.put(key, Arc::clone(&cell));
        cell
    }

    /// Forgets the old half, and lets the young one take its place. Those of the old that sessions have counted by, without
    /// asking the table, are young; half of the room at most, so that there is some.
    fn forget_old(&mut self, half: usize) {
        let young = mem::take(&mut self.young);
        for cell in young.counters.values() {
            cell.was_used();
        }
        let old = mem::replace(&mut self.old, young);
        for (key, cell) in old.counters {
            if cell.was_used() && !self.young.is_full(half / 2, HALF_DISTINCT / 2) {
                self.young.put(key, cell);
            } else {
                cell.forget();
            }
        }
    }

    /// Looks how much room a counter takes, if it is still there.
    fn measure(&mut self, key: u64, cell: &Arc<Cell>) {
        for half in [&mut self.young, &mut self.old] {
            if half
                .counters
                .get(&key)
                .is_some_and(|known| Arc::ptr_eq(known, cell))
            {
                half.distinct = half.distinct.saturating_sub(cell.measured());
                half.distinct = half.distinct.saturating_add(cell.measure());
            }
        }
    }
}

impl Half {
    fn is_full(&self, counters: usize, distinct: usize) -> bool {
        self.counters.len() >= counters || self.distinct >= distinct
    }

    fn put(&mut self, key: u64, cell: Arc<Cell>) {
        self.distinct = self.distinct.saturating_add(cell.measured());
        self.counters.insert(key, cell);
    }

    fn take(&mut self, key: u64) -> Option<Arc<Cell>> {
        let cell = self.counters.remove(&key)?;
        self.distinct = self.distinct.saturating_sub(cell.measured());
        Some(cell)
    }

    fn sweep(&mut self, now_ms: u64) {
        self.counters.retain(|_, cell| !cell.forget_expired(now_ms));
        self.counters.shrink_to_fit();
        self.distinct = self.counters.values().map(|cell| cell.measured()).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::window::Scale;

    fn terms(within_s: u64, least: u64) -> Terms {
        Terms {
            scale: Scale::new(Duration::from_secs(within_s), least, false),
            actions: 0,
            shared: None,
        }
    }

    fn count(
        counters: &Counters,
        key: u64,
        terms: Terms,
        (amount, threshold): (Amount, u64),
        now_ms: u64,
    ) -> Counted {
        let addition = Addition {
            terms,
            amount,
            threshold,
            now_ms,
        };
        counters.count(None, key, addition)
    }

    fn one(counters: &Counters, key: u64, now_ms: u64) -> Counted {
        count(counters, key, terms(60, 1), (Amount::Of(1), 1), now_ms)
    }

    #[test]
    fn a_rule_is_reported_once_in_a_window_and_again_when_it_goes_on() {
        let counters = Counters::new(100, 0);
        assert_eq!(one(&counters, 1, 0).above, None);
        let new = |now_ms| one(&counters, 1, now_ms).above.map(|above| above.is_new);
        assert_eq!(new(1_000), Some(true));
        assert_eq!(new(2_000), Some(false));
        assert_eq!(new(30_000), Some(false));
        assert_eq!(new(60_000), Some(false));
        assert_eq!(new(80_000), Some(true));
        // Quiet for longer than the window: it starts anew.
        assert_eq!(new(300_000), None);
        assert_eq!(new(301_000), Some(true));
    }

    #[test]
    fn a_rule_whose_actions_change_is_reported_again() {
        let counters = Counters::new(100, 0);
        one(&counters, 1, 0);
        assert!(one(&counters, 1, 0).above.unwrap().is_new);
        let enforced = Terms {
            actions: 7,
            ..terms(60, 1)
        };
        let counted = count(&counters, 1, enforced, (Amount::Of(1), 1), 0);
        assert!(counted.above.unwrap().is_new);
    }

    #[test]
    fn the_count_of_counters_is_bounded_and_the_latest_stay() {
        let counters = Counters::new(100, 0);
        for key in 0..10_000_u64 {
            one(&counters, key, key);
            // Whoever goes on is not forgotten.
            let value = one(&counters, 1 << 40, key).value;
            assert_eq!(value, key + 1);
            assert!(counters.len() <= 100);
        }
        assert!(counters.len() >= 50);
        assert_eq!(one(&counters, 9_999, 10_000).value, 2);
    }

    #[test]
    fn distinct_values_are_bounded_beside_their_counters() {
        let counters = Counters::new(1_000_000, 0);
        let terms = terms(60, 1_000);
        let mut total = 0_usize;
        for key in 0..100_u64 {
            for value in 0..1_001 {
                count(&counters, key, terms, (Amount::Value(value), 1_000), 0);
            }
            let shard = counters.shard(key).unwrap();
            total = total.max(shard.young.distinct + shard.old.distinct);
        }
        assert!(total <= 2 * (HALF_DISTINCT + 1_001), "{total}");
        assert!(counters.len() < 100);
    }

    #[test]
    fn a_sweep_forgets_what_no_longer_counts_and_nothing_else() {
        let counters = Counters::new(1_000, 0);
        for key in 0..100 {
            one(&counters, key, key * 1_000);
        }
        counters.sweep(100_000);
        let left = counters.len();
        assert!((60..=67).contains(&left), "{left}");
        assert_eq!(one(&counters, 99, 100_000).value, 2);
        counters.sweep(1_000_000);
        assert!(counters.is_empty());
    }

    /// As a session counts.
    fn by(counters: &Counters, held: &mut Held, key: u64, now_ms: u64) -> Counted {
        let addition = Addition {
            terms: terms(60, 1),
            amount: Amount::Of(1),
            threshold: 10,
            now_ms,
        };
        counters.count(Some(held), key, addition)
    }

    #[test]
    fn sessions_that_hold_a_counter_count_together() {
        let counters = Counters::new(100, 0);
        let (mut first, mut second) = (Held::default(), Held::default());
        assert_eq!(by(&counters, &mut first, 1, 0).value, 1);
        assert_eq!(by(&counters, &mut second, 1, 0).value, 2);
        // The lock of the table is not asked for what is held.
        let all: Vec<_> = counters.shards.iter().map(lock).collect();
        assert_eq!(by(&counters, &mut first, 1, 0).value, 3);
        assert_eq!(by(&counters, &mut second, 1, 0).value, 4);
        drop(all);
        assert_eq!(one(&counters, 1, 0).value, 5);
        // Another table knows nothing of it.
        let other = Counters::new(100, 0);
        assert_eq!(by(&other, &mut first, 1, 0).value, 1);
        assert_eq!(by(&counters, &mut first, 1, 0).value, 6);
    }

    #[test]
    fn what_is_held_and_forgotten_is_counted_anew() {
        let counters = Counters::new(100, 0);
        let (mut first, mut second) = (Held::default(), Held::default());
        by(&counters, &mut first, 1, 0);
        by(&counters, &mut second, 1, 0);
        counters.sweep(1_000_000);
        assert!(counters.is_empty());
        assert_eq!(by(&counters, &mut first, 1, 1_000_000).value, 1);
        assert_eq!(by(&counters, &mut second, 1, 1_000_000).value, 2);
        assert_eq!(counters.len(), 1);
    }

    #[test]
    fn who_counts_without_the_table_is_not_forgotten_and_who_stopped_is() {
        let counters = Counters::new(100, 0);
        let (mut busy, mut silent) = (Held::default(), Held::default());
        by(&counters, &mut silent, 2, 0);
        for key in 0..10_000_u64 {
            one(&counters, 1 << 20 | key, key);
            assert_eq!(by(&counters, &mut busy, 1, 0).value, key + 1);
            assert!(counters.len() <= 100);
        }
        assert_eq!(by(&counters, &mut silent, 2, 0).value, 1);
    }

    #[test]
    fn where_sessions_count_by_more_than_there_is_room_for_the_rest_is_forgotten() {
        let counters = Counters::new(100, 0);
        let mut sessions: Vec<Held> = vec![Held::default(); 300];
        for round in 0..20_u64 {
            for (key, held) in (0..).zip(&mut sessions) {
                let value = by(&counters, held, key, 0).value;
                assert!((1..=round + 1).contains(&value));
                assert!(counters.len() <= 100);
            }
        }
    }

    #[test]
    fn a_session_holds_few_and_those_it_came_to_last() {
        let counters = Counters::new(1_000, 0);
        let mut held = Held::default();
        for round in 1..=3 {
            for key in 0..100 {
                assert_eq!(by(&counters, &mut held, key, 0).value, round);
            }
        }
        let kept: Vec<_> = (0..100)
            .filter_map(|key| held.find(counters.number, key))
            .collect();
        assert_eq!(kept.len(), 16);
        assert!(held.find(counters.number, 99).is_some());
    }

    #[test]
    fn threads_that_count_together_lose_nothing_and_report_once() {
        const EACH: u64 = 5_000;
        let counters = Counters::new(1_000, 0);
        let new: usize = std::thread::scope(|scope| {
            let count = || {
                let mut held = Held::default();
                let news = (0..EACH).filter(|_| {
                    let above = by(&counters, &mut held, 1, 0).above;
                    above.is_some_and(|above| above.is_new)
                });
                news.count()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            for _ in 0..100 {
                counters.sweep(0);
            }
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(new, 1);
        assert_eq!(one(&counters, 1, 0).value, 4 * EACH + 1);
    }

    #[test]
    fn what_grows_without_the_table_is_measured_by_it() {
        let counters = Counters::new(100, 0);
        let mut sessions = vec![Held::default(); 4];
        let terms = terms(60, 1_000);
        for value in 0..1_000 {
            for (key, held) in (0..).zip(&mut sessions) {
                let addition = Addition {
                    terms,
                    amount: Amount::Value(value),
                    threshold: 1_000,
                    now_ms: 0,
                };
                assert_eq!(counters.count(Some(held), key, addition).value, value + 1);
            }
            if value == 500 {
                lock(&counters.shards[0]).forget_old(50);
            }
            let shard = lock(&counters.shards[0]);
            for half in [&shard.young, &shard.old] {
                let rooms = half.counters.values().map(|cell| cell.measure());
                assert_eq!(half.distinct, rooms.sum::<usize>());
            }
        }
    }
}
