//! The download budgets of app passwords: one running total for all sessions of one, kept across reconnects.
//!
//! In memory, so a restart forgives what was used. Bounded: only operators make app passwords with budgets, but nobody is
//! asked how many.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::session::relay::Budget;
use crate::types::BudgetLimits;

/// App passwords whose totals are kept at once; 300 bytes each.
const CAPACITY: usize = 65_536;

/// The budgets in use, and those used within the hour.
#[derive(Debug)]
pub struct Budgets {
    by_id: Mutex<HashMap<u32, Arc<Budget>>>,
    capacity: usize,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            by_id: Mutex::default(),
            capacity: CAPACITY,
        }
    }
}

impl Budgets {
    /// The budget of an app password; nothing where all is allowed. What an app password may never changes.
    #[must_use]
    pub fn of(&self, id: u32, limits: BudgetLimits, now_ms: u64) -> Option<Arc<Budget>> {
        if limits.is_unlimited() {
            return None;
        }
        let mut by_id = self.lock();
        if let Some(known) = by_id.get(&id) {
            return Some(Arc::clone(known));
        }
        let budget = Arc::new(Budget::new(limits));
        if by_id.len() >= self.capacity {
            forget(&mut by_id, now_ms);
        }
        // Where there is no room even so, the session still has its budget, for itself.
        if by_id.len() < self.capacity {
            by_id.insert(id, Arc::clone(&budget));
        }
        Some(budget)
    }

    /// Forgets what nobody uses and has not been used within the hour. To be called every minute or so.
    pub fn sweep(&self, now_ms: u64) {
        let mut by_id = self.lock();
        forget(&mut by_id, now_ms);
        by_id.shrink_to_fit();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<Budget>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget(by_id: &mut HashMap<u32, Arc<Budget>>, now_ms: u64) {
    by_id.retain(|_, budget| Arc::strong_count(budget) > 1 || !budget.is_unused(now_ms));
}

#[cfg(test)]
mod tests {
    use crate::session::relay::Used;

    use super::*;

    const HOUR_AND_SLOT: u64 = 65 * 60 * 1000;

    fn limits(bytes: u64) -> BudgetLimits {
        BudgetLimits {
            bytes: Some(bytes),
            messages: None,
        }
    }

    fn one() -> Used {
        Used {
            bytes: 1,
            messages: 0,
        }
    }

    #[test]
    fn sessions_of_one_app_password_share_a_budget_across_reconnects() {
        let budgets = Budgets::default();
        let first = budgets.of(1, limits(2), 0).unwrap();
        let second = budgets.of(1, limits(2), 0).unwrap();
        assert!(first.spend(one(), 0) && second.spend(one(), 0));
        drop((first, second));
        budgets.sweep(1);
        assert!(!budgets.of(1, limits(2), 1).unwrap().has_left(1));
        assert!(
            budgets.of(2, limits(2), 1).unwrap().has_left(1),
            "another has its own"
        );
    }

    #[test]
    fn without_limits_there_is_no_budget() {
        assert!(Budgets::default().of(1, BudgetLimits::default(), 0).is_none());
    }

    #[test]
    fn what_is_not_used_is_forgotten_and_what_is_held_is_not() {
        let budgets = Budgets::default();
        let held = budgets.of(1, limits(2), 0).unwrap();
        assert!(budgets.of(2, limits(2), 0).unwrap().spend(one(), 0));
        budgets.sweep(HOUR_AND_SLOT);
        assert_eq!(budgets.lock().len(), 1);
        drop(held);
        budgets.sweep(HOUR_AND_SLOT);
        assert!(budgets.lock().is_empty());
    }

    #[test]
    fn a_full_map_grows_no_further_and_still_gives_a_budget() {
        let budgets = Budgets {
            capacity: 2,
            ..Budgets::default()
        };
        let held: Vec<_> = (0..3).map(|id| budgets.of(id, limits(1), 0).unwrap()).collect();
        assert_eq!(budgets.lock().len(), 2);
        let third = held.last().unwrap();
        assert!(third.spend(one(), 0) && !third.has_left(0));
    }
}
