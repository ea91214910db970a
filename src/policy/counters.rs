//! What rules have counted: one counter for each rule and whatever it counts by.
//!
//! Counters of one session lie with the session and need no lock. Those that sessions share have a lock each, held for one
//! count, and lie in a table. A session holds on to those that it counts by, and comes to the table at the first time, and
//! where the table is to know something.
//!
//! The table is cut into shards, each behind a lock. Memory has a bound: a shard has a young and an old half; what is touched
//! is young, and when the young half is full the old one is forgotten and takes its place. So what is forgotten first is what
//! was not touched for longest. A counter knows whether it is old, and whether it is forgotten: then a session that counts
//! by it comes to the table again.

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
const HALF_DISTINCT: usize = HALF * 2;

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
    /// Room for so many counters; the memory is taken as it is needed, at most some 205 bytes for each. The seed is a secret,
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
        if outcome.concerns_the_table() {
            self.settle(&mut shard, (key, &cell), addition.terms, outcome);
        }
        (outcome.counted, Some(cell))
    }

    /// Notes what a count has changed for the table, if the counter is still in it.
    fn settle(&self, shard: &mut Shard, (key, cell): (u64, &Arc<Cell>), terms: Terms, outcome: Outcome) {
        if !shard.make_young(key, cell, self.half) {
            return;
        }
        if outcome.has_grown {
            shard.measure(cell);
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
        self.put(key, Arc::clone(&cell), half);
        cell
    }

    /// A counter was counted by: it is young. False where it is no longer there.
    fn make_young(&mut self, key: u64, cell: &Arc<Cell>, half: usize) -> bool {
        if self.old.has(key, cell)
            && let Some(cell) = self.old.take(key)
        {
            self.put(key, cell, half);
        }
        self.young.has(key, cell)
    }

    fn put(&mut self, key: u64, cell: Arc<Cell>, half: usize) {
        if self.young.is_full(half) {
            self.forget_old();
        }
        cell.is_old(false);
        self.young.put(key, cell);
    }

    /// Looks how much room a young counter has come to take.
    fn measure(&mut self, cell: &Cell) {
        let others = self.young.distinct.saturating_sub(cell.measured());
        self.young.distinct = others.saturating_add(cell.measure());
        if self.young.distinct >= HALF_DISTINCT {
            self.forget_old();
        }
    }

    /// Forgets the old half, and lets the young one take its place.
    fn forget_old(&mut self) {
        let young = mem::take(&mut self.young);
        young.counters.values().for_each(|cell| cell.is_old(true));
        let old = mem::replace(&mut self.old, young);
        old.counters.values().for_each(|cell| cell.forget());
    }
}

impl Half {
    fn is_full(&self, counters: usize) -> bool {
        self.counters.len() >= counters || self.distinct >= HALF_DISTINCT
    }

    fn has(&self, key: u64, cell: &Arc<Cell>) -> bool {
        let known = self.counters.get(&key);
        known.is_some_and(|known| Arc::ptr_eq(known, cell))
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
        // Into a table that has just the room: places that are free again would be thought taken.
        let counters = mem::take(&mut self.counters).into_iter();
        self.counters = counters
            .filter(|(_, cell)| !cell.forget_expired(now_ms))
            .collect();
        self.counters.shrink_to_fit();
        self.distinct = self.counters.values().map(|cell| cell.measured()).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::shared::Shared;
    use crate::policy::window::Scale;

    fn terms(within_s: u64, least: u64) -> Terms {
        Terms {
            scale: Scale::new(Duration::from_secs(within_s), least, false),
            actions: 0,
            goes_on: true,
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
    fn all_that_is_counted_by_stays_while_it_fills_no_more_than_half() {
        let counters = Counters::new(100, 0);
        let mut sessions = vec![Held::default(); 40];
        for round in 1..=200_u64 {
            for (key, held) in (0..).zip(&mut sessions) {
                assert_eq!(by(&counters, held, key, 0).value, round);
            }
            for key in 0..10 {
                one(&counters, 1 << 20 | round << 8 | key, 0);
            }
            assert!(counters.len() <= 100);
        }
    }

    #[test]
    fn a_session_whose_counter_is_forgotten_keeps_nothing_of_it() {
        let counters = Counters::new(100, 0);
        let mut held = Held::default();
        for value in 0..100 {
            let addition = Addition {
                terms: terms(60, 1_000),
                amount: Amount::Value(value),
                threshold: 1_000,
                now_ms: 0,
            };
            counters.count(Some(&mut held), 1, addition);
        }
        let cell = Arc::clone(held.find(counters.number, 1).unwrap());
        assert!(cell.measure() > 100);
        counters.sweep(1_000_000);
        assert_eq!(cell.measure(), 0);
    }

    #[test]
    fn a_session_holds_few_and_those_it_came_to_last() {
        let counters = Counters::new(1_000, 0);
        let mut held = Held::default();
        for round in 1..=3 {
            for key in 0..100 {
                assert_eq!(by(&counters, &mut held, key, 0).value, round);
                by(&counters, &mut held, 1_000, 0);
            }
        }
        let holds = |key: &u64| held.find(counters.number, *key).is_some();
        let kept: Vec<u64> = (0..=1_000).filter(holds).collect();
        assert_eq!(kept, (85..100).chain([1_000]).collect::<Vec<_>>());
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
                counters.tell(usize::MAX, usize::MAX, 0);
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
                lock(&counters.shards[0]).forget_old();
            }
            are_measured(&counters);
        }
    }

    /// The table knows which memory its counters take.
    fn are_measured(counters: &Counters) {
        for shard in counters.shards.iter().map(lock) {
            for half in [&shard.young, &shard.old] {
                let mut all = 0;
                for cell in half.counters.values() {
                    let known = cell.measured();
                    assert_eq!(known, cell.measure());
                    all += known;
                }
                assert_eq!(half.distinct, all);
            }
        }
    }

    #[test]
    fn counters_that_grow_later_are_bounded_as_well() {
        let counters = Counters::new(HALF * 2, 0);
        let addition = |value| Addition {
            terms: terms(60, 100),
            amount: Amount::Value(value),
            threshold: 100,
            now_ms: 0,
        };
        for value in 0..50 {
            for key in 0..7_000 {
                counters.count(None, key, addition(value));
            }
            let shard = lock(&counters.shards[0]);
            assert!(shard.young.distinct + shard.old.distinct <= 2 * (HALF_DISTINCT + 101));
        }
        are_measured(&counters);
    }

    #[test]
    fn threads_that_count_while_the_table_forgets_and_tells_count_nothing_twice_and_tell_all() {
        const SHARED: Shared = Shared { rule: 7, from: 1 };
        let counters = Counters::new(40, 0);
        let shared = Terms {
            shared: Some(SHARED),
            ..terms(3_600, 1_000)
        };
        let counted: Vec<AtomicU64> = (0..8).map(|_| AtomicU64::new(0)).collect();
        let count = |held: &mut Held, key: u64, amount| {
            let addition = Addition {
                terms: shared,
                amount: Amount::Of(amount),
                threshold: u64::MAX,
                now_ms: 0,
            };
            counters.count(Some(held), key, addition).value
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (counted, count) = (&counted, &count);
                scope.spawn(move || {
                    let mut held = Held::default();
                    for step in 0..20_000_u64 {
                        let key = step * (thread + 3) % 8;
                        let total = &counted[usize::try_from(key).unwrap()];
                        total.fetch_add(1, Ordering::SeqCst);
                        let value = count(&mut held, key, 1);
                        assert!((1..=total.load(Ordering::SeqCst)).contains(&value), "{value}");
                    }
                });
            }
            for key in 1_000..6_000 {
                one(&counters, key, 0);
                if key % 16 == 0 {
                    counters.tell(4, usize::MAX, 0);
                }
            }
        });
        assert!(counters.len() <= 40);
        are_measured(&counters);
        // All count by the same counters still, and what moved is told as it stands.
        let mut sessions = [Held::default(), Held::default()];
        let _ = counters.tell(usize::MAX, usize::MAX, 0);
        for key in 0..8 {
            let before = count(&mut sessions[0], key, 0);
            assert_eq!(count(&mut sessions[1], key, 5), before + 5);
        }
        let told = counters.tell(usize::MAX, usize::MAX, 0);
        let mut keys: Vec<u64> = told.iter().map(|told| told.key).collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..8).collect::<Vec<_>>());
    }
}
