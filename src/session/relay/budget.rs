//! How much an app password has downloaded in the last hour, all its sessions together.
//!
//! Time is cut into slots; a slot counts until it lies wholly outside the hour. So no 60 minutes ever see more than is
//! allowed, and what was used is given back 60 to 65 minutes later. Time comes as an argument.

use std::sync::Mutex;
use std::sync::PoisonError;

use crate::types::BudgetLimits;

/// The length of a slot, in milliseconds.
const SLOT: u64 = 5 * 60 * 1000;

/// An hour of slots, and the one that is under way.
const SLOTS: usize = 13;

/// The running totals of one app password, shared by its sessions.
#[derive(Debug)]
pub struct Budget {
    limits: BudgetLimits,
    window: Mutex<Window>,
}

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Bytes of FETCH responses.
    pub bytes: u64,
    /// Messages whose bodies came.
    pub messages: u64,
}

#[derive(Debug, Default)]
struct Window {
    /// The slot under way; it is the first in `slots`.
    now: u64,
    slots: [Used; SLOTS],
}

impl Budget {
    /// Nothing used yet.
    #[must_use]
    pub fn new(limits: BudgetLimits) -> Self {
        Self {
            limits,
            window: Mutex::default(),
        }
    }

    /// Counts what came, and says whether all is still within what is allowed.
    #[must_use]
    pub fn spend(&self, used: Used, now_ms: u64) -> bool {
        let total = self.with(now_ms, |window| {
            if let Some(slot) = window.slots.first_mut() {
                *slot = slot.plus(used);
            }
        });
        let within = |limit: Option<u64>, used| limit.is_none_or(|limit| used <= limit);
        within(self.limits.bytes, total.bytes) && within(self.limits.messages, total.messages)
    }

    /// True where something is left.
    #[must_use]
    pub fn has_left(&self, now_ms: u64) -> bool {
        let total = self.with(now_ms, |_| {});
        let left = |limit: Option<u64>, used| limit.is_none_or(|limit| used < limit);
        left(self.limits.bytes, total.bytes) && left(self.limits.messages, total.messages)
    }

    /// True where nothing was used within the hour: nobody misses it.
    #[must_use]
    pub fn is_unused(&self, now_ms: u64) -> bool {
        self.with(now_ms, |_| {}) == Used::default()
    }

    fn with(&self, now_ms: u64, change: impl FnOnce(&mut Window)) -> Used {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.move_to(now_ms / SLOT);
        change(&mut window);
        window
            .slots
            .iter()
            .fold(Used::default(), |sum, slot| sum.plus(*slot))
    }
}

impl Window {
    /// Forgets slots that are over. A clock that goes back changes nothing.
    fn move_to(&mut self, slot: u64) {
        let passed = usize::try_from(slot.saturating_sub(self.now)).unwrap_or(SLOTS);
        if passed == 0 {
            return;
        }
        self.now = slot;
        let passed = passed.min(SLOTS);
        self.slots.rotate_right(passed % SLOTS);
        self.slots
            .iter_mut()
            .take(passed)
            .for_each(|slot| *slot = Used::default());
    }
}

impl Used {
    fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            messages: self.messages.saturating_add(other.messages),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;

    fn budget(bytes: u64) -> Budget {
        Budget::new(BudgetLimits {
            bytes: Some(bytes),
            messages: None,
        })
    }

    fn bytes(bytes: u64) -> Used {
        Used { bytes, messages: 0 }
    }

    #[test]
    fn all_of_it_may_be_used_and_not_one_more() {
        let budget = budget(100);
        assert!(budget.spend(bytes(99), 0) && budget.has_left(0));
        assert!(budget.spend(bytes(1), 0) && !budget.has_left(0));
        assert!(!budget.spend(bytes(1), 0));
    }

    #[test]
    fn messages_are_counted_beside_bytes() {
        let budget = Budget::new(BudgetLimits {
            bytes: Some(100),
            messages: Some(2),
        });
        let one = Used {
            bytes: 1,
            messages: 1,
        };
        assert!(budget.spend(one, 0) && budget.has_left(0));
        assert!(budget.spend(one, 0) && !budget.has_left(0));
        assert!(!budget.spend(one, 0));
    }

    #[test]
    fn what_was_used_comes_back_after_an_hour_and_at_most_a_slot() {
        let budget = budget(100);
        let used_at = 7 * SLOT + 1;
        assert!(budget.spend(bytes(100), used_at));
        assert!(!budget.has_left(used_at + HOUR));
        assert!(!budget.has_left(used_at + HOUR + SLOT - 2));
        assert!(budget.has_left(used_at + HOUR + SLOT - 1));
        assert!(budget.is_unused(used_at + HOUR + SLOT));
    }

    #[test]
    fn without_a_limit_everything_is_left() {
        let budget = Budget::new(BudgetLimits::default());
        assert!(budget.spend(bytes(u64::MAX), 0) && budget.spend(bytes(1), 0) && budget.has_left(0));
    }

    proptest! {
        #[test]
        fn no_hour_sees_more_than_is_allowed(steps in prop::collection::vec((0_u64..20 * 60 * 1000, 0_u64..60), 1..60)) {
            let budget = budget(100);
            let (mut now, mut spent) = (0, Vec::new());
            for (pause, amount) in steps {
                now += pause;
                // Somebody who asks before each spending, as FETCH does, and is cut at the limit.
                if budget.has_left(now) && budget.spend(bytes(amount), now) {
                    spent.push((now, amount));
                } else {
                    // What went beyond is not counted twice below; the budget has counted it.
                    continue;
                }
                let hour: u64 = spent.iter().filter(|(at, _)| now - at < HOUR).map(|(_, amount)| amount).sum();
                prop_assert!(hour <= 100, "{hour}");
            }
        }
    }
}
