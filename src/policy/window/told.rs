//! What a replica tells others of a window, and what becomes of it there.
//!
//! Each replica has a clock and slots of its own. A report says how far its slots lie back from the moment at which it was made,
//! and whoever hears it knows how long ago that was: nobody's time of day matters. What lies in a slot is taken to have happened
//! at the slot's end, the latest that it can have been, so that nothing is forgotten before its window is over; it counts for
//! two slots longer at most. A report comes from a store, which somebody may have changed: whatever it says is taken for a
//! count or for nothing.

use crate::policy::window::Distinct;
use crate::policy::window::SLOTS;
use crate::policy::window::Scale;
use crate::policy::window::Seen;
use crate::policy::window::Sum;
use crate::policy::window::age;

/// First byte of a report of a sum.
const SUM: u8 = 1;
/// First byte of a report of distinct values.
const DISTINCT: u8 = 2;

/// A report that was read.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) struct Report<'r> {
    kind: u8,
    /// How much of the latest slot had passed when it was made.
    phase_ms: u32,
    body: &'r [u8],
    /// How long ago that was.
    age_ms: u64,
}

impl<'r> Report<'r> {
    /// Reads one that was made so long ago; `None` for what is none.
    pub(in crate::policy) fn read(state: &'r [u8], age_ms: u64) -> Option<Self> {
        let (kind, rest) = state.split_first()?;
        let (phase, body) = rest.split_first_chunk::<4>()?;
        matches!(*kind, SUM | DISTINCT).then_some(Self {
            kind: *kind,
            phase_ms: u32::from_le_bytes(*phase),
            body,
            age_ms,
        })
    }

    pub(in crate::policy) const fn is_sum(&self) -> bool {
        self.kind == SUM
    }

    /// How many of our slots ago the end of a slot was that lay so many before the latest one, there and then.
    fn slots_ago(&self, scale: Scale, slots: u32, now_ms: u64) -> u32 {
        let slot_ms = scale.slot_ms;
        let in_slots = slots.checked_sub(1).map_or(0, |whole| {
            let phase = u64::from(self.phase_ms).min(slot_ms);
            slot_ms.saturating_mul(u64::from(whole)).saturating_add(phase)
        });
        let ago = self.age_ms.saturating_add(in_slots);
        let begun = ago.saturating_sub(now_ms % slot_ms).div_ceil(slot_ms);
        u32::try_from(begun).unwrap_or(u32::MAX)
    }
}

fn begin(kind: u8, scale: Scale, now_ms: u64) -> Vec<u8> {
    let phase = u32::try_from(now_ms % scale.slot_ms).unwrap_or(u32::MAX);
    let mut report = vec![kind];
    report.extend_from_slice(&phase.to_le_bytes());
    report
}

impl Sum {
    /// What others are to be told.
    pub(in crate::policy) fn report(mut self, scale: Scale, now_ms: u64) -> Vec<u8> {
        self.advance(scale, now_ms);
        let used = (0..SLOTS).rev().find(|age| self.units(*age) > 0);
        let mut report = begin(SUM, scale, now_ms);
        for age in 0..used.map_or(0, |last| last.saturating_add(1)) {
            report.extend_from_slice(&self.units(age).to_le_bytes());
        }
        report
    }

    /// Adds what another replica has counted.
    pub(in crate::policy) fn hear(&mut self, scale: Scale, report: &Report<'_>, now_ms: u64) {
        self.advance(scale, now_ms);
        if !report.is_sum() {
            return;
        }
        let (slots, _) = report.body.as_chunks::<4>();
        for (slot, units) in (0..SLOTS).zip(slots) {
            let ago = report.slots_ago(scale, slot, now_ms);
            if ago < SLOTS {
                self.add_units(ago, u32::from_le_bytes(*units));
            }
        }
    }
}

impl Distinct {
    /// What others are to be told: what was last seen here.
    pub(in crate::policy) fn report(&self, scale: Scale, now_ms: u64) -> Vec<u8> {
        let now = scale.slot(now_ms);
        let mut report = begin(DISTINCT, scale, now_ms);
        for seen in self.0.iter().filter(|seen| seen.is_ours) {
            let age = age(seen.slot, now);
            if let Some(age) = u8::try_from(age).ok().filter(|_| age < SLOTS) {
                report.extend_from_slice(&seen.hash.to_le_bytes());
                report.push(age);
            }
        }
        report
    }

    /// Takes in what another replica has seen. Whatever was seen later here stays as it is.
    pub(in crate::policy) fn hear(&mut self, scale: Scale, report: &Report<'_>, now_ms: u64) {
        if report.is_sum() {
            return;
        }
        let now = scale.slot(now_ms);
        self.0.retain(|seen| age(seen.slot, now) < SLOTS);
        let (told, _) = report.body.as_chunks::<9>();
        for [hash @ .., slots] in told.iter().take(scale.distinct) {
            let ago = report.slots_ago(scale, u32::from(*slots), now_ms);
            if ago < SLOTS {
                let seen = Seen {
                    hash: u64::from_le_bytes(*hash),
                    slot: now.wrapping_sub(ago),
                    is_ours: false,
                };
                self.see_elsewhere(scale, seen, now);
            }
        }
    }

    fn see_elsewhere(&mut self, scale: Scale, heard: Seen, now: u32) {
        let ago = age(heard.slot, now);
        if let Some(seen) = self.0.iter_mut().find(|seen| seen.hash == heard.hash) {
            if ago < age(seen.slot, now) {
                *seen = heard;
            }
            return;
        }
        if self.0.len() >= scale.distinct {
            match self.oldest(now) {
                Some((at, oldest)) if ago < oldest => self.0.swap_remove(at),
                _ => return,
            };
        }
        self.push(scale, heard);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// Slots of four seconds.
    fn scale() -> Scale {
        Scale::new(Duration::from_secs(60), 10, false)
    }

    fn heard(report: &[u8], age_ms: u64, now_ms: u64) -> Sum {
        let mut sum = Sum::new(scale(), now_ms);
        sum.hear(scale(), &Report::read(report, age_ms).unwrap(), now_ms);
        sum
    }

    fn report_of(times: &[u64], now_ms: u64) -> Vec<u8> {
        let mut sum = Sum::new(scale(), times[0]);
        for at in times {
            sum.add(scale(), 1, *at);
        }
        sum.report(scale(), now_ms)
    }

    #[test]
    fn what_another_replica_has_counted_counts_until_its_window_is_over_and_hardly_longer() {
        // Told at once, and when it was half a minute old; there is 100 s, here 7 s.
        for (told, since) in [(100_000, 0), (130_000, 30_000)] {
            let report = report_of(&[100_000], told);
            let mut sum = heard(&report, 0, 7_000);
            assert_eq!(sum.value(scale(), 7_000), 1);
            assert_eq!(sum.value(scale(), 7_000 + 60_000 - since), 1);
            assert_eq!(sum.value(scale(), 7_000 + 68_000 - since), 0);
        }
        // The same in a process that has begun a moment ago, of a report that lay in the store.
        let mut sum = heard(&report_of(&[100_000], 100_000), 59_000, 10);
        assert_eq!(sum.value(scale(), 1_010), 1);
        assert_eq!(sum.value(scale(), 9_010), 0);
        let mut late = heard(&report_of(&[100_000], 100_000), 70_000, 10);
        assert_eq!(late.value(scale(), 10), 0);
    }

    #[test]
    fn a_value_that_was_heard_is_not_told_again_and_one_that_was_seen_here_is() {
        let mut there = Distinct::default();
        there.add(scale(), 1, 0);
        there.add(scale(), 2, 0);
        let report = there.report(scale(), 1_000);
        let mut here = Distinct::default();
        here.add(scale(), 2, 500_000);
        here.hear(scale(), &Report::read(&report, 0).unwrap(), 500_000);
        assert_eq!(here.value(scale(), 500_000), 2);
        let mut third = Distinct::default();
        let told = here.report(scale(), 500_000);
        third.hear(scale(), &Report::read(&told, 0).unwrap(), 0);
        assert_eq!(third.value(scale(), 0), 1, "nobody says what others say");
        // Replicas that tell each other of it keep nothing alive.
        let mut echo = report;
        for round in 1..40_u64 {
            let now = 500_000 + round * 2_000;
            here.hear(scale(), &Report::read(&echo, 2_000).unwrap(), now);
            let back = here.report(scale(), now);
            there.hear(scale(), &Report::read(&back, 2_000).unwrap(), round * 2_000);
            echo = there.report(scale(), round * 2_000);
        }
        assert_eq!(here.value(scale(), 580_000), 0);
        assert_eq!(there.value(scale(), 80_000), 0);
    }

    #[test]
    fn what_is_no_report_is_none_and_one_of_the_other_kind_counts_for_nothing() {
        for broken in [&[][..], &[1], &[1, 0, 0, 0], &[3, 0, 0, 0, 0, 1, 0, 0, 0]] {
            assert!(Report::read(broken, 0).is_none(), "{broken:?}");
        }
        let mut distinct = Distinct::default();
        let of_sum = report_of(&[1], 1);
        distinct.hear(scale(), &Report::read(&of_sum, 0).unwrap(), 1);
        assert_eq!(distinct.value(scale(), 1), 0);
        distinct.add(scale(), 1, 1);
        let mut sum = heard(&distinct.report(scale(), 1), 0, 1);
        assert_eq!(sum.value(scale(), 1), 0);
    }

    proptest! {
        #[test]
        fn a_count_heard_lies_between_the_exact_ones_of_the_window_and_of_two_slots_more(
            gaps in proptest::collection::vec(0_u64..20_000, 1..40),
            until_told in 0_u64..30_000,
            age in 0_u64..30_000,
            passed in 0_u64..90_000,
            here in 0_u64..1_000_000,
        ) {
            let mut now = 1_000_000;
            let times: Vec<u64> = gaps.iter().map(|gap| { now += gap; now }).collect();
            let told = now + until_told;
            let mut sum = heard(&report_of(&times, told), age, here);
            let value = sum.value(scale(), here + passed);
            let there = told + age + passed;
            let exact = |span: u64| {
                u64::try_from(times.iter().filter(|at| **at + span >= there).count()).unwrap()
            };
            // What was forgotten there when it was told cannot come back.
            prop_assert!(exact(60_000) <= value && value <= exact(68_000), "{} {value} {}", exact(60_000), exact(68_000));
        }

        #[test]
        fn reports_may_be_heard_in_any_order_and_twice(
            ours in proptest::collection::vec(0_u64..30, 0..5),
            theirs in proptest::collection::vec((0_u64..30, 0_u64..60_000), 0..8),
            others in proptest::collection::vec((0_u64..30, 0_u64..60_000), 0..8),
            ages in (0_u64..20_000, 0_u64..20_000),
        ) {
            let report = |values: &[(u64, u64)]| {
                let mut sorted = values.to_vec();
                sorted.sort_by_key(|(_, at)| *at);
                let mut distinct = Distinct::default();
                let wide = Scale::new(Duration::from_secs(60), 100, false);
                sorted.iter().for_each(|(value, at)| distinct.add(wide, *value, *at));
                distinct.report(wide, 60_000)
            };
            let (one, other) = (report(&theirs), report(&others));
            let (one, other) = (Report::read(&one, ages.0).unwrap(), Report::read(&other, ages.1).unwrap());
            let wide = Scale::new(Duration::from_secs(60), 100, false);
            let hear = |reports: &[&Report<'_>]| {
                let mut distinct = Distinct::default();
                ours.iter().for_each(|value| distinct.add(wide, *value, 5_000));
                reports.iter().for_each(|report| distinct.hear(wide, report, 5_000));
                let mut seen: Vec<(u64, u32)> = distinct.0.iter().map(|seen| (seen.hash, seen.slot)).collect();
                seen.sort_unstable();
                seen
            };
            prop_assert_eq!(hear(&[&one, &other]), hear(&[&other, &one, &other, &one]));
        }

        #[test]
        fn whatever_a_store_holds_is_taken_for_a_count_or_for_nothing(
            state in proptest::collection::vec(any::<u8>(), 0..300),
            age in any::<u64>(),
            now in any::<u64>(),
        ) {
            if let Some(report) = Report::read(&state, age) {
                let mut sum = Sum::new(scale(), now);
                sum.hear(scale(), &report, now);
                let mut distinct = Distinct::default();
                distinct.hear(scale(), &report, now);
                prop_assert!(distinct.value(scale(), now) <= 11);
                prop_assert!(sum.value(scale(), now) <= 16 * u64::from(u32::MAX));
            }
        }
    }
}
