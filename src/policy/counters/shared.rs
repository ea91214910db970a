//! The counters' side of counting together: finding what is to be told, and keeping what was heard.
//!
//! Both hold one shard's lock at a time, for a few counters.

use std::sync::atomic::Ordering;

use crate::policy::counters::Amount;
use crate::policy::counters::Counter;
use crate::policy::counters::Counters;
use crate::policy::counters::Shard;
use crate::policy::counters::Terms;
use crate::policy::counters::lock;
use crate::policy::shared::Heard;
use crate::policy::shared::SharedRules;
use crate::policy::shared::Told;
use crate::policy::window::Report;

/// Counters of a shard that may wait to be told; more are told when they are next counted by.
const UNTOLD: usize = 512;

impl Counters {
    /// Notes that others are to be told of a counter; says whether there was room to.
    pub(super) fn to_be_told(&self, shard: &mut Shard, key: u64, terms: Terms) -> bool {
        let has_room = shard.untold.len() < UNTOLD || shard.untold.contains_key(&key);
        if has_room {
            shard.untold.insert(key, terms);
        } else {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    /// Takes what was counted since it was last told: so many counters at most, and hardly more bytes.
    pub fn tell(&self, most: usize, most_bytes: usize, now_ms: u64) -> Vec<Told> {
        let mut told = Vec::new();
        let mut bytes = 0_usize;
        let begin = self.next.fetch_add(1, Ordering::Relaxed);
        let (before, after) = self.shards.split_at(begin % self.shards.len().max(1));
        for shard in after.iter().chain(before) {
            let mut shard = lock(shard);
            let room = most.saturating_sub(told.len());
            let waiting: Vec<u64> = shard.untold.keys().copied().take(room).collect();
            for key in waiting {
                if bytes >= most_bytes {
                    return told;
                }
                match shard.take(key, now_ms) {
                    Some(report) => {
                        bytes = bytes.saturating_add(report.state.len());
                        told.push(report);
                    }
                    None => {
                        self.lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        told
    }

    /// Takes back what could not be told.
    pub fn untell(&self, told: &[Told]) {
        for report in told {
            if let Some(mut shard) = self.shard(report.key) {
                self.to_be_told(&mut shard, report.key, report.terms);
            }
        }
    }

    /// Keeps what others have counted, in place of what was heard before. Reports of one thing stand beside each other, those of all
    /// other replicas; answers how many were of use.
    pub fn hear(&self, rules: &SharedRules, heard: &[Heard], now_ms: u64) -> usize {
        let mut used = 0_usize;
        for reports in heard.chunk_by(|one, other| one.key == other.key && one.rule == other.rule) {
            let Some(first) = reports.first() else { continue };
            let Some(terms) = rules.terms(first.rule) else {
                continue;
            };
            let reports: Vec<Report<'_>> = reports
                .iter()
                .filter_map(|heard| Report::read(&heard.state, heard.age_ms))
                .collect();
            let Some(mut shard) = self.shard(first.key) else {
                continue;
            };
            shard.hear(first.key, terms, self.half, &reports, now_ms);
            used = used.saturating_add(reports.len());
        }
        used
    }

    /// How many counts others were not told of since this was last asked.
    pub fn lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

impl Shard {
    /// What is to be told of a counter; `None` where it was forgotten meanwhile.
    fn take(&mut self, key: u64, now_ms: u64) -> Option<Told> {
        let terms = self.untold.remove(&key)?;
        let young = self.young.counters.get(&key);
        let cell = young.or_else(|| self.old.counters.get(&key))?;
        cell.tell(key, terms, now_ms)
    }

    /// What was forgotten because its time was over need not be told.
    pub(super) fn sweep_untold(&mut self) {
        let Self { young, old, untold } = self;
        untold.retain(|key, _| young.counters.contains_key(key) || old.counters.contains_key(key));
    }

    fn hear(&mut self, key: u64, terms: Terms, half: usize, reports: &[Report<'_>], now_ms: u64) {
        let Some(first) = reports.first() else { return };
        let nothing = if first.is_sum() {
            Amount::Of(0)
        } else {
            Amount::Value(0)
        };
        let cell = self.young(key, half, || Counter::new(terms, nothing, now_ms));
        cell.hear(terms, reports, now_ms);
        self.measure(&cell);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::counters::Addition;
    use crate::policy::counters::Counted;
    use crate::policy::counters::Held;
    use crate::policy::shared::Shared;
    use crate::policy::window::Scale;

    const RULE: u64 = 77;

    fn terms(least: u64, from: u64) -> Terms {
        Terms {
            scale: Scale::new(Duration::from_secs(60), least, false),
            actions: 0,
            goes_on: true,
            shared: Some(Shared { rule: RULE, from }),
        }
    }

    fn add(counters: &Counters, key: u64, terms: Terms, amount: Amount, now_ms: u64) -> Counted {
        let addition = Addition {
            terms,
            amount,
            threshold: 10,
            now_ms,
        };
        counters.count(None, key, addition)
    }

    fn count(counters: &Counters, key: u64, amount: Amount) -> u64 {
        add(counters, key, terms(10, 0), amount, 0).value
    }

    fn rules() -> SharedRules {
        [terms(10, 0)].into_iter().collect()
    }

    fn heard(told: &[Told]) -> Vec<Heard> {
        let heard = |told: &Told| Heard {
            rule: told.rule,
            key: told.key,
            state: told.state.clone(),
            age_ms: 0,
        };
        told.iter().map(heard).collect()
    }

    fn all(counters: &Counters) -> Vec<Told> {
        counters.tell(usize::MAX, usize::MAX, 0)
    }

    #[test]
    fn what_is_heard_counts_at_once_and_once_however_often_it_is_heard() {
        let (here, there) = (Counters::new(1_000, 1), Counters::new(1_000, 1));
        count(&there, 5, Amount::Of(3));
        let first = heard(&all(&there));
        for _ in 0..3 {
            assert_eq!(here.hear(&rules(), &first, 0), 1);
        }
        assert_eq!(count(&here, 5, Amount::Of(1)), 4);
        // What is told is all that was counted, and takes the place of what was said before.
        count(&there, 5, Amount::Of(4));
        let second = heard(&all(&there));
        here.hear(&rules(), &second, 0);
        assert_eq!(count(&here, 5, Amount::Of(1)), 9);
        let third = Counters::new(1_000, 1);
        count(&third, 5, Amount::Of(10));
        let both: Vec<Heard> = second.into_iter().chain(heard(&all(&third))).collect();
        here.hear(&rules(), &both, 0);
        assert_eq!(count(&here, 5, Amount::Of(1)), 3 + 7 + 10);
        // Each tells of its own alone.
        there.hear(&rules(), &heard(&all(&here)), 0);
        assert_eq!(count(&there, 5, Amount::Of(0)), 7 + 3);
    }

    #[test]
    fn a_count_that_goes_above_with_what_was_heard_says_until_when() {
        let (here, there) = (Counters::new(1_000, 1), Counters::new(1_000, 1));
        count(&there, 5, Amount::Of(10));
        here.hear(&rules(), &heard(&all(&there)), 0);
        let counted = add(&here, 5, terms(10, 0), Amount::Of(1), 4_000);
        let above = counted.above.unwrap();
        assert!(above.is_new && above.until_ms == 64_000, "{above:?}");
        let later = add(&here, 5, terms(10, 0), Amount::Of(0), 64_000);
        assert_eq!((later.value, later.above), (1, None));
    }

    #[test]
    fn a_count_is_told_once_until_it_moves_and_from_where_it_is_worth_it() {
        let counters = Counters::new(1_000, 1);
        let add_from_3 = |key| add(&counters, key, terms(10, 3), Amount::Of(1), 0);
        for _ in 0..2 {
            add_from_3(1);
        }
        assert_eq!(all(&counters), []);
        add_from_3(1);
        let told = all(&counters);
        assert_eq!(told.len(), 1);
        assert_eq!(all(&counters), []);
        // The store did not take it.
        counters.untell(&told);
        assert_eq!(all(&counters), told);
        let alone = Terms {
            shared: None,
            ..terms(10, 0)
        };
        add(&counters, 2, alone, Amount::Of(1), 0);
        assert_eq!(all(&counters), []);
    }

    #[test]
    fn what_a_session_counts_without_the_table_is_told_each_time_it_moved() {
        let counters = Counters::new(10_000, 1);
        let mut held = Held::default();
        let mut add = |key| {
            let addition = Addition {
                terms: terms(10, 0),
                amount: Amount::Of(1),
                threshold: 10,
                now_ms: 0,
            };
            counters.count(Some(&mut held), key, addition)
        };
        for _ in 0..3 {
            add(5);
            add(5);
            assert_eq!(all(&counters).len(), 1);
            assert_eq!(all(&counters), []);
        }
        // As many wait as may: it is told when it moves and there is room again.
        for key in 0..u64::try_from(UNTOLD).unwrap() {
            count(&counters, 100 + key, Amount::Of(1));
        }
        add(5);
        assert_eq!(counters.lost(), 1);
        all(&counters);
        add(5);
        assert_eq!(all(&counters).len(), 1);
    }

    #[test]
    fn what_waits_to_be_told_is_bounded_and_what_finds_no_room_is_counted() {
        let counters = Counters::new(10_000, 1);
        for key in 0..2_000 {
            count(&counters, key, Amount::Of(1));
        }
        assert_eq!(counters.lost(), 2_000 - u64::try_from(UNTOLD).unwrap());
        assert_eq!(counters.lost(), 0);
        assert_eq!(counters.tell(100, usize::MAX, 0).len(), 100);
        let few = counters.tell(usize::MAX, 50, 0).len();
        assert!((1..=10).contains(&few), "{few}");
        assert_eq!(all(&counters).len(), UNTOLD - 100 - few);
        // It is told when it moves again.
        count(&counters, 1_999, Amount::Of(1));
        assert_eq!(all(&counters).len(), 1);
    }

    #[test]
    fn what_is_over_before_anybody_took_it_is_not_lost() {
        let counters = Counters::new(1_000, 1);
        count(&counters, 1, Amount::Of(1));
        counters.sweep(1_000_000);
        assert_eq!(all(&counters), []);
        assert_eq!(counters.lost(), 0);
    }

    #[test]
    fn whatever_is_heard_memory_is_bounded() {
        let there = Counters::new(100, 1);
        count(&there, 0, Amount::Of(1));
        let mut one = heard(&all(&there)).remove(0);
        let here = Counters::new(1_000, 1);
        let room = || {
            let shard = here.shard(0).unwrap();
            shard.young.distinct + shard.old.distinct
        };
        for key in 0..50_000 {
            one.key = key;
            here.hear(&rules(), std::slice::from_ref(&one), 0);
            assert!(here.len() <= 1_000 && room() <= 5 * 1_000);
        }
        // What is heard of nothing any more takes no room.
        one.age_ms = 1_000_000;
        for key in 0..50_000 {
            one.key = key;
            here.hear(&rules(), std::slice::from_ref(&one), 0);
        }
        assert_eq!(room(), 0);
    }

    #[test]
    fn what_is_heard_of_an_unknown_rule_is_not_kept() {
        let (here, there) = (Counters::new(1_000, 1), Counters::new(1_000, 1));
        count(&there, 5, Amount::Value(3));
        let mut told = heard(&all(&there));
        assert_eq!(here.hear(&SharedRules::default(), &told, 0), 0);
        assert!(here.is_empty());
        assert_eq!(here.hear(&rules(), &told, 0), 1);
        assert_eq!(count(&here, 5, Amount::Value(4)), 2);
        told.iter_mut().for_each(|heard| heard.state.clear());
        assert_eq!(here.hear(&rules(), &told, 0), 0);
    }
}
