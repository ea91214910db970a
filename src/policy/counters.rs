//! What rules have counted: one counter for each rule and whatever it counts by.
//!
//! Counters of one session lie with the session and need no lock. Those that sessions share lie in shards, each behind a
//! lock that is held for one count. Memory has a bound: a shard has a young and an old half; what is touched is young, and
//! when the young half is full the old one is forgotten and takes its place. So what is forgotten first is what was not
//! touched for longest.

mod shared;

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::hash::Hasher;
use std::mem;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;

use crate::policy::shared::Shared;
use crate::policy::window::Distinct;
use crate::policy::window::Scale;
use crate::policy::window::Sum;

/// Most counters in half a shard: what a hash table of 8,192 places holds.
const HALF: usize = 7_168;
/// Most distinct values in half a shard.
const HALF_DISTINCT: usize = HALF * 4;
/// What is counted elsewhere takes the room of so many distinct values.
const ELSEWHERE: usize = 5;

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Amount {
    /// So much.
    Of(u64),
    /// A value, by its hash.
    Value(u64),
}

/// What a count led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) value: u64,
    /// What it means, where it is above the threshold.
    pub(super) above: Option<Above>,
}

/// A count above its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Above {
    /// Not reported in this window yet.
    pub(super) is_new: bool,
    pub(super) until_ms: u64,
}

/// One counter.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    tally: Tally,
    /// What other replicas have counted, where that is a sum; distinct values lie in one set.
    elsewhere: Option<Box<Sum>>,
    /// When everything in it is forgotten, in seconds modulo 2^32.
    expires: u32,
    reported: Option<Reported>,
}

#[derive(Debug, Clone)]
enum Tally {
    Sum(Sum),
    Distinct(Distinct),
}

/// When and for which actions a rule was reported.
#[derive(Debug, Clone, Copy)]
struct Reported {
    /// When it may be reported again, in seconds modulo 2^32.
    until: u32,
    actions: u16,
}

/// The parts of a rule that counting needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) scale: Scale,
    /// What tells the rule's actions and mode from others: a rule that changes from shadow to enforce acts at once.
    pub(super) actions: u16,
    /// Where other replicas count with us.
    pub(super) shared: Option<Shared>,
}

impl Counter {
    fn new(terms: Terms, amount: Amount, now_ms: u64) -> Self {
        Self {
            tally: match amount {
                Amount::Of(_) => Tally::Sum(Sum::new(terms.scale, now_ms)),
                Amount::Value(_) => Tally::Distinct(Distinct::default()),
            },
            elsewhere: None,
            expires: 0,
            reported: None,
        }
    }

    /// Adds, and compares.
    fn count(&mut self, terms: Terms, amount: Amount, threshold: u64, now_ms: u64) -> Counted {
        self.lasts_from(terms.scale, now_ms);
        let value = self.add(terms.scale, amount, now_ms);
        if value <= threshold {
            self.reported = None;
            return Counted { value, above: None };
        }
        let until_ms = match &mut self.tally {
            Tally::Sum(sum) => sum
                .with(self.elsewhere.as_deref(), terms.scale, now_ms)
                .above_until(terms.scale, threshold, now_ms),
            Tally::Distinct(distinct) => distinct.above_until(terms.scale, threshold, now_ms),
        };
        let is_new = self
            .reported
            .is_none_or(|last| last.actions != terms.actions || is_past(last.until, now_ms));
        if is_new {
            self.reported = Some(Reported {
                until: self.expires,
                actions: terms.actions,
            });
        }
        Counted {
            value,
            above: Some(Above { is_new, until_ms }),
        }
    }

    fn lasts_from(&mut self, scale: Scale, now_ms: u64) {
        self.expires = seconds(now_ms.saturating_add(scale.span_ms())).wrapping_add(1);
    }

    fn add(&mut self, scale: Scale, amount: Amount, now_ms: u64) -> u64 {
        match (&mut self.tally, amount) {
            (Tally::Sum(sum), Amount::Of(amount)) => {
                sum.add(scale, amount, now_ms);
                match &self.elsewhere {
                    None => sum.value(scale, now_ms),
                    others => sum.with(others.as_deref(), scale, now_ms).value(scale, now_ms),
                }
            }
            (Tally::Distinct(distinct), Amount::Value(hash)) => {
                distinct.add(scale, hash, now_ms);
                distinct.value(scale, now_ms)
            }
            // A rule's key says what it counts: the two never meet.
            (Tally::Sum(_) | Tally::Distinct(_), _) => 0,
        }
    }

    fn room(&self) -> usize {
        match &self.tally {
            Tally::Sum(_) => self.elsewhere.as_ref().map_or(0, |_| ELSEWHERE),
            Tally::Distinct(distinct) => distinct.room(),
        }
    }

    fn is_expired(&self, now_ms: u64) -> bool {
        is_past(self.expires, now_ms)
    }
}

/// Seconds modulo 2^32.
fn seconds(now_ms: u64) -> u32 {
    u32::try_from((now_ms / 1_000) & u64::from(u32::MAX)).unwrap_or_default()
}

fn is_past(end: u32, now_ms: u64) -> bool {
    let passed = seconds(now_ms).wrapping_sub(end);
    passed < u32::MAX / 2
}

/// The counters of one session, kept by the session.
#[derive(Debug, Clone, Default)]
pub(super) struct Own(Vec<(u64, Counter)>);

impl Own {
    pub(super) fn count(
        &mut self,
        key: u64,
        terms: Terms,
        amount: Amount,
        threshold: u64,
        now_ms: u64,
    ) -> Counted {
        let at = self.0.iter().position(|(known, _)| *known == key);
        if at.is_none() {
            // Room for what a rule needs, not for what may come: most sessions are counted by few rules.
            self.0.reserve_exact(1);
            self.0.push((key, Counter::new(terms, amount, now_ms)));
        }
        let at = at.unwrap_or(self.0.len().saturating_sub(1));
        match self.0.get_mut(at) {
            Some((_, counter)) => counter.count(terms, amount, threshold, now_ms),
            None => Counted {
                value: 0,
                above: None,
            },
        }
    }

    /// Forgets what no longer counts.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        self.0.retain(|(_, counter)| !counter.is_expired(now_ms));
        self.0.shrink_to_fit();
    }
}

/// The counters that sessions share.
#[derive(Debug)]
pub struct Counters {
    shards: Box<[Mutex<Shard>]>,
    half: usize,
    /// Keys the hashes, so that nobody outside can make two keys fall together, or tell what a key in the store is of.
    seed: u128,
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
    counters: HashMap<u64, Counter, BuildHasherDefault<Ready>>,
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
    /// Room for so many counters; the memory is taken as it is needed, at most some 120 bytes for each. The seed is a secret,
    /// drawn at random or derived from a key; replicas with the same seed can count together.
    #[must_use]
    pub fn new(most: usize, seed: u128) -> Self {
        let half = (most / 2).clamp(1, HALF);
        let shards = most.div_ceil(half.saturating_mul(2)).max(1);
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            half,
            seed,
            next: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
        }
    }

    pub(super) const fn seed(&self) -> u128 {
        self.seed
    }

    pub(super) fn count(
        &self,
        key: u64,
        terms: Terms,
        amount: Amount,
        threshold: u64,
        now_ms: u64,
    ) -> Counted {
        let Some(shard) = self.shard(key) else {
            return Counted {
                value: 0,
                above: None,
            };
        };
        // A count that was broken off leaves a counter as good as any.
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.make_young(key, self.half, || Counter::new(terms, amount, now_ms));
        let Some(counter) = shard.young.counters.get_mut(&key) else {
            return Counted {
                value: 0,
                above: None,
            };
        };
        let room = counter.room();
        let counted = counter.count(terms, amount, threshold, now_ms);
        let more = counter.room().saturating_sub(room);
        shard.young.distinct = shard.young.distinct.saturating_add(more);
        if let Some(shared) = terms.shared
            && counted.value >= shared.from
        {
            self.to_be_told(&mut shard, key, terms);
        }
        counted
    }

    fn shard(&self, key: u64) -> Option<&Mutex<Shard>> {
        // The low bits choose the place within a shard.
        let count = u64::try_from(self.shards.len()).ok()?;
        let at = usize::try_from((key >> 32) % count).ok()?;
        self.shards.get(at)
    }

    /// Forgets what no longer counts, and gives the memory back. For a timer: one shard is locked at a time.
    pub fn sweep(&self, now_ms: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.young.sweep(now_ms);
            shard.old.sweep(now_ms);
            shard.sweep_untold();
        }
    }

    /// How many counters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let count = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
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

impl Shard {
    fn make_young(&mut self, key: u64, half: usize, new: impl FnOnce() -> Counter) {
        if self.young.counters.contains_key(&key) {
            return;
        }
        let counter = self.old.take(key).unwrap_or_else(new);
        if self.young.counters.len() >= half || self.young.distinct >= HALF_DISTINCT {
            self.old = mem::take(&mut self.young);
        }
        self.young.distinct = self.young.distinct.saturating_add(counter.room());
        self.young.counters.insert(key, counter);
    }
}

impl Half {
    fn take(&mut self, key: u64) -> Option<Counter> {
        let counter = self.counters.remove(&key)?;
        self.distinct = self.distinct.saturating_sub(counter.room());
        Some(counter)
    }

    fn sweep(&mut self, now_ms: u64) {
        self.counters.retain(|_, counter| !counter.is_expired(now_ms));
        self.counters.shrink_to_fit();
        self.distinct = self.counters.values().map(Counter::room).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn terms(within_s: u64, least: u64) -> Terms {
        Terms {
            scale: Scale::new(Duration::from_secs(within_s), least, false),
            actions: 0,
            shared: None,
        }
    }

    fn one(counters: &Counters, key: u64, now_ms: u64) -> Counted {
        counters.count(key, terms(60, 1), Amount::Of(1), 1, now_ms)
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
        let counted = counters.count(1, enforced, Amount::Of(1), 1, 0);
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
                counters.count(key, terms, Amount::Value(value), 1_000, 0);
            }
            let shard = counters.shard(key).unwrap().lock().unwrap();
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

    #[test]
    fn a_counter_is_small() {
        assert!(
            size_of::<(u64, Counter)>() <= 112,
            "{}",
            size_of::<(u64, Counter)>()
        );
    }
}
