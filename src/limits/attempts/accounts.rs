//! The slots of accounts: each has one at a time, whoever else is tried, in memory that no flood of names can make larger.

use crate::limits::attempts::stripe;
use crate::limits::tick::Tick;

/// Accounts share this many buckets by keyed hash, so that nobody can choose whose bucket to fill without naming the account.
const BUCKETS: usize = 4_096;

/// Accounts whose slots a bucket keeps apart. Where more than so many of one bucket are taken at once, some wait for others: among
/// two thousand at once hardly ever, among twenty thousand one in ten. No flood lets an account have more than its slot.
const PLACES: usize = 8;

/// All accounts' slots.
#[derive(Debug)]
pub(super) struct Accounts(Box<[[Slot; PLACES]]>);

/// When the next guess at an account may be looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slot {
    /// Keyed hash of the name; zero is nobody.
    user: u64,
    next: Tick,
}

impl Accounts {
    pub(super) fn new() -> Self {
        Self(vec![[Slot::default(); PLACES]; BUCKETS].into())
    }

    /// The memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// The account's slot; where it has none, the one of its bucket that is free first. That takes nothing from whoever had it:
    /// all others of the bucket are free no sooner, so that who comes back for it waits as long as before.
    pub(super) fn of(&mut self, user: u64) -> Option<&mut Slot> {
        let slots = self.0.get_mut(stripe(user, BUCKETS))?;
        slots.iter_mut().min_by_key(|slot| (slot.user != user, slot.next))
    }
}

impl Slot {
    /// When it is free.
    pub(super) fn next(&self) -> Tick {
        self.next
    }

    /// Takes it for an account, until `next`.
    pub(super) fn take(&mut self, user: u64, next: Tick) {
        *self = Self { user, next };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// An account of the first bucket.
    fn account(number: usize) -> u64 {
        u64::try_from((number + 1) * BUCKETS).unwrap()
    }

    /// Has a guess at an account look for its slot, and says when it has it.
    fn guess(accounts: &mut Accounts, user: u64, now: Tick) -> Tick {
        let slot = accounts.of(user).unwrap();
        let start = slot.next().max(now);
        slot.take(user, start.plus(SECOND));
        start
    }

    #[test]
    fn accounts_of_one_bucket_do_not_wait_for_each_other_until_it_is_full() {
        let mut accounts = Accounts::new();
        let now = Tick::default().plus(SECOND);
        for number in 0..PLACES {
            assert_eq!(guess(&mut accounts, account(number), now), now, "{number}");
        }
        for number in PLACES..2 * PLACES {
            assert_eq!(
                guess(&mut accounts, account(number), now),
                now.plus(SECOND),
                "{number}"
            );
        }
        assert_eq!(
            guess(&mut accounts, account(0) + 1, now),
            now,
            "in another bucket"
        );
        let later = now.plus(2 * SECOND);
        assert_eq!(
            guess(&mut accounts, account(0), later),
            later,
            "a slot that was used is free again"
        );
    }

    proptest! {
        #[test]
        fn an_account_never_has_two_guesses_in_a_second_whoever_else_is_tried(
            guesses in prop::collection::vec((0..3 * PLACES, 0..400_u64), 1..400),
        ) {
            let mut accounts = Accounts::new();
            let mut now = Tick::default();
            let mut last: HashMap<u64, Tick> = HashMap::new();
            for (number, wait) in guesses {
                now = now.plus(Duration::from_millis(wait));
                let user = account(number);
                let start = guess(&mut accounts, user, now);
                if let Some(before) = last.insert(user, start) {
                    prop_assert!(start >= before.plus(SECOND), "{user}: {before:?}, then {start:?}");
                }
            }
        }
    }
}
