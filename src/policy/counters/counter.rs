//! One counter: a window, and what was reported of it.

use crate::policy::shared::Shared;
use crate::policy::shared::Told;
use crate::policy::window::Distinct;
use crate::policy::window::Report;
use crate::policy::window::Scale;
use crate::policy::window::Sum;

/// What is counted elsewhere takes the room of so many distinct values.
const ELSEWHERE: usize = 5;

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) enum Amount {
    /// So much.
    Of(u64),
    /// A value, by its hash.
    Value(u64),
}

/// What is to be counted.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) struct Addition {
    pub(in crate::policy) terms: Terms,
    pub(in crate::policy) amount: Amount,
    pub(in crate::policy) threshold: u64,
    pub(in crate::policy) now_ms: u64,
}

/// What a count led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) struct Counted {
    pub(in crate::policy) value: u64,
    /// What it means, where it is above the threshold and something follows.
    pub(in crate::policy) above: Option<Above>,
}

/// A count above its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) struct Above {
    /// Not reported in this window yet.
    pub(in crate::policy) is_new: bool,
    pub(in crate::policy) until_ms: u64,
}

/// One counter.
#[derive(Debug, Clone)]
pub(in crate::policy) struct Counter {
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
pub(in crate::policy) struct Terms {
    pub(in crate::policy) scale: Scale,
    /// What tells the rule's actions and mode from others: a rule that changes from shadow to enforce acts at once.
    pub(in crate::policy) actions: u16,
    /// Something follows as long as the count is above the threshold, and not only when that is reported.
    pub(in crate::policy) goes_on: bool,
    /// Where other replicas count with us.
    pub(in crate::policy) shared: Option<Shared>,
}

impl Counted {
    /// What cannot be counted.
    pub(super) const NOTHING: Self = Self {
        value: 0,
        above: None,
    };
}

impl Counter {
    pub(super) fn new(terms: Terms, amount: Amount, now_ms: u64) -> Self {
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
    pub(super) fn count(&mut self, addition: Addition) -> Counted {
        let Addition {
            terms,
            amount,
            threshold,
            now_ms,
        } = addition;
        self.lasts_from(terms.scale, now_ms);
        let value = self.add(terms.scale, amount, now_ms);
        if value <= threshold {
            self.reported = None;
            return Counted { value, above: None };
        }
        let is_new = self
            .reported
            .is_none_or(|last| last.actions != terms.actions || is_past(last.until, now_ms));
        if is_new {
            self.reported = Some(Reported {
                until: self.expires,
                actions: terms.actions,
            });
        }
        if !is_new && !terms.goes_on {
            return Counted { value, above: None };
        }
        let until_ms = match &mut self.tally {
            Tally::Sum(sum) => sum
                .with(self.elsewhere.as_deref(), terms.scale, now_ms)
                .above_until(terms.scale, threshold, now_ms),
            Tally::Distinct(distinct) => distinct.above_until(terms.scale, threshold, now_ms),
        };
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
                let value = sum.add(scale, amount, now_ms);
                match &self.elsewhere {
                    None => value,
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

    /// What others are to be told.
    pub(super) fn told(&self, key: u64, terms: Terms, now_ms: u64) -> Option<Told> {
        let shared = terms.shared?;
        let state = match &self.tally {
            Tally::Sum(sum) => sum.report(terms.scale, now_ms),
            Tally::Distinct(distinct) => distinct.report(terms.scale, now_ms),
        };
        Some(Told {
            rule: shared.rule,
            key,
            state,
            lasts_ms: terms.scale.span_ms(),
            terms,
        })
    }

    /// Keeps what others have counted, in place of what was heard before.
    pub(super) fn hear(&mut self, scale: Scale, reports: &[Report<'_>], now_ms: u64) {
        self.lasts_from(scale, now_ms);
        match &mut self.tally {
            Tally::Sum(_) => {
                let mut sum = Sum::new(scale, now_ms);
                for report in reports {
                    sum.hear(scale, report, now_ms);
                }
                self.elsewhere = (sum.value(scale, now_ms) > 0).then(|| Box::new(sum));
            }
            Tally::Distinct(distinct) => {
                for report in reports {
                    distinct.hear(scale, report, now_ms);
                }
            }
        }
    }

    /// What it has allocated, in distinct values.
    pub(super) fn room(&self) -> usize {
        match &self.tally {
            Tally::Sum(_) => self.elsewhere.as_ref().map_or(0, |_| ELSEWHERE),
            Tally::Distinct(distinct) => distinct.room(),
        }
    }

    /// Forgets all, and gives the memory back.
    pub(super) fn empty(&mut self) {
        self.elsewhere = None;
        if let Tally::Distinct(distinct) = &mut self.tally {
            *distinct = Distinct::default();
        }
    }

    pub(super) fn is_expired(&self, now_ms: u64) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_small() {
        assert!(size_of::<Counter>() <= 104, "{}", size_of::<Counter>());
    }
}
