//! Sliding windows: how much in the last so many minutes, how many different in the last so many minutes.
//!
//! A window is cut into slots of a fifteenth of its length, and sixteen of them are kept. So whatever happened within the
//! window counts, and nothing counts that is older than the window and one slot. The size of a sum does not depend on how
//! much happens; a set of distinct values has a bound. Time comes as an argument and may stand still or step back: then it
//! counts as standing still.

mod told;

use std::time::Duration;

pub(super) use told::Report;

/// Slots kept.
const SLOTS: u32 = 16;
/// Slots in the length of a window: one is always only begun.
const SLOTS_IN_WINDOW: u64 = 15;
/// A slot holds 32 bits of units; the threshold takes at most so many of them, the others are room above it.
const THRESHOLD_BITS: u32 = 20;

/// How a rule's windows are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    slot_ms: u64,
    /// What one step of a slot stands for.
    unit: u64,
    /// Most distinct values that are kept.
    distinct: usize,
}

impl Scale {
    /// For windows of a length whose threshold is at least so much. `coarse` is for sums of bytes whose threshold may
    /// become far larger than that: they are kept in KiB.
    pub(super) fn new(within: Duration, least: u64, coarse: bool) -> Self {
        let millis = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let least_unit = if coarse { 1024 } else { 1 };
        Self {
            slot_ms: millis.div_ceil(SLOTS_IN_WINDOW).max(1),
            unit: (least >> THRESHOLD_BITS).max(least_unit),
            distinct: usize::try_from(least).unwrap_or(usize::MAX).saturating_add(1),
        }
    }

    /// The slot that a time is in, counted modulo 2^32.
    fn slot(self, now_ms: u64) -> u32 {
        let low = (now_ms / self.slot_ms) & u64::from(u32::MAX);
        u32::try_from(low).unwrap_or_default()
    }

    /// How long after `now_ms` everything counted now is forgotten, in milliseconds.
    pub(super) const fn span_ms(self) -> u64 {
        self.slot_ms.saturating_mul(16)
    }

    /// When a slot that is `age` slots old stops counting.
    fn end_of(self, age: u32, now_ms: u64) -> u64 {
        let begun = now_ms - now_ms % self.slot_ms;
        begun.saturating_add(self.slot_ms.saturating_mul(u64::from(SLOTS.saturating_sub(age))))
    }
}

/// How many slots `slot` lies before `now`; none for one that seems to lie ahead.
fn age(slot: u32, now: u32) -> u32 {
    let age = now.wrapping_sub(slot);
    if age > u32::MAX / 2 { 0 } else { age }
}

/// How much in the last so many minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum {
    slots: [u32; 16],
    /// The slot of the latest time seen.
    head: u32,
    /// What did not make a whole unit yet.
    rest: u32,
}

impl Sum {
    pub(super) fn new(scale: Scale, now_ms: u64) -> Self {
        Self {
            slots: [0; 16],
            head: scale.slot(now_ms),
            rest: 0,
        }
    }

    /// Adds an amount; returns the sum.
    pub(super) fn add(&mut self, scale: Scale, amount: u64, now_ms: u64) -> u64 {
        self.advance(scale, now_ms);
        let amount = amount.saturating_add(u64::from(self.rest));
        let units = u32::try_from(amount / scale.unit).unwrap_or(u32::MAX);
        self.rest = u32::try_from(amount % scale.unit).unwrap_or(u32::MAX);
        self.add_units(0, units);
        self.total(scale)
    }

    /// The sum at a time.
    pub(super) fn value(&mut self, scale: Scale, now_ms: u64) -> u64 {
        self.advance(scale, now_ms);
        self.total(scale)
    }

    fn total(&self, scale: Scale) -> u64 {
        let units: u64 = self.slots.iter().map(|units| u64::from(*units)).sum();
        units
            .saturating_mul(scale.unit)
            .saturating_add(u64::from(self.rest))
    }

    /// When the sum will no longer be above the threshold, if nothing is added.
    pub(super) fn above_until(&mut self, scale: Scale, threshold: u64, now_ms: u64) -> u64 {
        let mut left = self.value(scale, now_ms);
        for age in (0..SLOTS).rev() {
            left = left.saturating_sub(u64::from(self.units(age)).saturating_mul(scale.unit));
            if left <= threshold {
                return scale.end_of(age, now_ms);
            }
        }
        scale.end_of(0, now_ms)
    }

    /// Both together.
    pub(super) fn with(mut self, other: Option<&Self>, scale: Scale, now_ms: u64) -> Self {
        let Some(mut other) = other.copied() else {
            return self;
        };
        self.advance(scale, now_ms);
        other.advance(scale, now_ms);
        for age in 0..SLOTS {
            let units = other.units(age);
            self.add_units(age, units);
        }
        self
    }

    /// What is in the slot that lies so many before the latest one.
    fn units(&self, age: u32) -> u32 {
        let slot = self.slots.get(index(self.head.wrapping_sub(age)));
        slot.copied().unwrap_or_default()
    }

    fn add_units(&mut self, age: u32, units: u32) {
        if let Some(slot) = self.slots.get_mut(index(self.head.wrapping_sub(age))) {
            *slot = slot.saturating_add(units);
        }
    }

    fn advance(&mut self, scale: Scale, now_ms: u64) {
        let now = scale.slot(now_ms);
        let passed = age(self.head, now);
        if passed >= SLOTS {
            *self = Self::new(scale, now_ms);
            return;
        }
        for step in 1..=passed {
            if let Some(slot) = self.slots.get_mut(index(self.head.wrapping_add(step))) {
                *slot = 0;
            }
        }
        if passed > 0 {
            self.head = now;
        }
    }
}

/// Which element a slot is kept in.
fn index(slot: u32) -> usize {
    usize::try_from(slot % SLOTS).unwrap_or_default()
}

/// How many different in the last so many minutes, by their hashes; counted up to one above the threshold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Distinct(Vec<Seen>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    hash: u64,
    /// The slot in which it was last seen.
    slot: u32,
    /// It was last seen here, and not at another replica.
    is_ours: bool,
}

impl Distinct {
    /// Adds a value.
    pub(super) fn add(&mut self, scale: Scale, hash: u64, now_ms: u64) {
        let now = scale.slot(now_ms);
        if let Some(seen) = self.0.iter_mut().find(|seen| seen.hash == hash) {
            seen.is_ours = true;
            // A clock that stepped back must not make it older.
            if age(seen.slot, now) > 0 {
                seen.slot = now;
            }
            return;
        }
        self.0.retain(|seen| age(seen.slot, now) < SLOTS);
        if self.0.len() >= scale.distinct
            && let Some((at, _)) = self.oldest(now)
        {
            self.0.swap_remove(at);
        }
        let is_ours = true;
        self.push(
            scale,
            Seen {
                hash,
                slot: now,
                is_ours,
            },
        );
    }

    /// Where the one stands that was not seen for longest, and for how many slots.
    fn oldest(&self, now: u32) -> Option<(usize, u32)> {
        let ages = self.0.iter().map(|seen| age(seen.slot, now));
        ages.enumerate().max_by_key(|(_, age)| *age)
    }

    fn push(&mut self, scale: Scale, seen: Seen) {
        if self.0.len() == self.0.capacity() {
            let more = self
                .0
                .len()
                .clamp(2, scale.distinct.saturating_sub(self.0.len()).max(2));
            self.0.reserve_exact(more);
        }
        self.0.push(seen);
    }

    /// How many there are at a time.
    pub(super) fn value(&mut self, scale: Scale, now_ms: u64) -> u64 {
        let now = scale.slot(now_ms);
        self.0.retain(|seen| age(seen.slot, now) < SLOTS);
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }

    /// When there will no longer be more than the threshold, if none is seen again.
    pub(super) fn above_until(&self, scale: Scale, threshold: u64, now_ms: u64) -> u64 {
        let now = scale.slot(now_ms);
        for limit in (0..SLOTS).rev() {
            let left = self.0.iter().filter(|seen| age(seen.slot, now) < limit).count();
            if u64::try_from(left).unwrap_or(u64::MAX) <= threshold {
                return scale.end_of(limit, now_ms);
            }
        }
        scale.end_of(0, now_ms)
    }

    /// Its memory, in values: those that it has room for, and what the allocator adds.
    pub(super) const fn room(&self) -> usize {
        match self.0.capacity() {
            0 => 0,
            capacity => capacity.saturating_add(1),
        }
    }
}

#[cfg(test)]
#[expect(clippy::as_conversions, reason = "the models count in usize")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn scale() -> Scale {
        Scale::new(MINUTE, 10, false)
    }

    #[test]
    fn what_happened_within_the_window_counts_and_what_is_a_slot_older_does_not() {
        for start in [0, 1, 3_999, 1_800_000_000_000] {
            let mut sum = Sum::new(scale(), start);
            sum.add(scale(), 5, start);
            assert_eq!(sum.value(scale(), start + 60_000), 5);
            assert_eq!(sum.value(scale(), start + 64_000), 0);
        }
    }

    #[test]
    fn large_amounts_are_summed_to_the_byte() {
        let scale = Scale::new(MINUTE, 2 << 30, false);
        let mut sum = Sum::new(scale, 0);
        for _ in 0..1_000 {
            sum.add(scale, 2_147_484, 0);
        }
        assert_eq!(sum.value(scale, 0), 2_147_484_000);
        sum.add(scale, u64::MAX, 0);
        assert!(sum.value(scale, 0) > 1 << 40);
    }

    #[test]
    fn a_clock_that_steps_back_forgets_nothing() {
        let mut sum = Sum::new(scale(), 100_000);
        sum.add(scale(), 1, 100_000);
        sum.add(scale(), 1, 10_000);
        assert_eq!(sum.value(scale(), 10_000), 2);
        assert_eq!(sum.value(scale(), 160_000), 2);
        let mut distinct = Distinct::default();
        distinct.add(scale(), 1, 100_000);
        distinct.add(scale(), 1, 10_000);
        assert_eq!(distinct.value(scale(), 160_000), 1);
    }

    #[test]
    fn a_full_set_stays_above_its_threshold_and_forgets_the_oldest() {
        let scale = Scale::new(MINUTE, 3, false);
        let mut distinct = Distinct::default();
        for hash in 0..1_000 {
            distinct.add(scale, hash, hash * 10);
            assert!(distinct.room() <= 6);
        }
        assert_eq!(distinct.value(scale, 10_000), 4);
        // What is left is the latest.
        assert_eq!(distinct.value(scale, 9_990 + 60_000), 4);
    }

    /// Times of events, in order.
    fn times() -> impl Strategy<Value = Vec<u64>> {
        proptest::collection::vec(0_u64..30_000, 1..60).prop_map(|gaps| {
            let mut now = 1_000_000;
            gaps.into_iter()
                .map(|gap| {
                    now += gap * gap / 10_000;
                    now
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn a_sum_lies_between_the_exact_ones_of_the_window_and_of_one_slot_more(times in times(), within in 1_u64..500_000) {
            let scale = Scale::new(Duration::from_millis(within), 10, false);
            let mut sum = Sum::new(scale, times[0]);
            for (at, now) in times.iter().enumerate() {
                let added = sum.add(scale, 1, *now);
                prop_assert_eq!(added, sum.value(scale, *now));
                let exact = |span: u64| times[..=at].iter().filter(|then| **then + span >= *now).count() as u64;
                let value = sum.value(scale, *now);
                prop_assert!(exact(within) <= value && value <= exact(within + within / 15 + 1));
            }
        }

        #[test]
        fn distinct_values_are_counted_like_a_set_up_to_the_threshold(
            events in proptest::collection::vec((0_u64..20, 0_u64..9_000), 1..80),
        ) {
            let scale = Scale::new(MINUTE, 6, false);
            let mut distinct = Distinct::default();
            let mut now = 0;
            let mut seen: Vec<(u64, u64)> = Vec::new();
            for (hash, gap) in events {
                now += gap;
                seen.push((hash, now));
                distinct.add(scale, hash, now);
                let exact = |span: u64| {
                    let live = seen.iter().filter(|(_, then)| then + span >= now);
                    live.map(|(hash, _)| hash).collect::<std::collections::BTreeSet<_>>().len() as u64
                };
                let value = distinct.value(scale, now);
                prop_assert!(exact(60_000).min(7) <= value && value <= exact(64_000).min(7), "{value}");
            }
        }

        #[test]
        fn the_end_that_is_foretold_is_the_first_moment_not_above(times in times(), threshold in 0_u64..30) {
            let mut sum = Sum::new(scale(), times[0]);
            let mut distinct = Distinct::default();
            let wide = Scale::new(MINUTE, 100, false);
            for (hash, now) in times.iter().enumerate() {
                sum.add(scale(), 1, *now);
                distinct.add(wide, hash as u64, *now);
            }
            let now = *times.last().unwrap();
            if sum.value(scale(), now) > threshold {
                let end = sum.above_until(scale(), threshold, now);
                prop_assert!(sum.clone().value(scale(), end - 1) > threshold);
                prop_assert!(sum.clone().value(scale(), end) <= threshold);
            }
            if distinct.value(wide, now) > threshold {
                let end = distinct.above_until(wide, threshold, now);
                prop_assert!(distinct.clone().value(wide, end - 1) > threshold);
                prop_assert!(distinct.clone().value(wide, end) <= threshold);
            }
        }
    }
}
