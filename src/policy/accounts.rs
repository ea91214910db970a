//! What is remembered of accounts for a while, in a whole process: it makes no difference in which session of an account
//! something is done.
//!
//! Each account has a lock of its own, and a session holds on to its account's: sessions of different accounts have none in
//! common but that of the table, to which each comes once. Bounded: where there are more accounts of which something is
//! remembered and that have no session, those go first of which nothing was heard for longest.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

/// Most accounts without a session of which something is remembered.
const MOST: usize = 10_000;

/// So many are forgotten at once: looking for them takes as long for one.
const AT_ONCE: usize = MOST / 4;

/// Something that is remembered for a while.
pub trait Dated {
    /// How long.
    const LATELY: Duration;

    /// When it was, in milliseconds.
    fn at_ms(&self) -> u64;

    /// True where it was too long ago.
    fn is_over(&self, now_ms: u64) -> bool {
        let lately = u64::try_from(Self::LATELY.as_millis()).unwrap_or(u64::MAX);
        now_ms.saturating_sub(self.at_ms()) >= lately
    }
}

/// What is remembered of all accounts.
#[derive(Debug)]
pub struct Accounts<D>(Mutex<Table<D>>);

/// What is remembered of one account.
#[derive(Debug)]
pub struct Account<D>(Mutex<Vec<D>>);

#[derive(Debug)]
struct Table<D> {
    accounts: HashMap<Box<str>, Arc<Account<D>>>,
    /// With how many there may be too many.
    most: usize,
}

impl<D> Default for Accounts<D> {
    fn default() -> Self {
        Self(Mutex::new(Table {
            accounts: HashMap::new(),
            most: MOST,
        }))
    }
}

impl<D: Dated> Accounts<D> {
    /// An account, to be held on to while it has a session.
    #[must_use]
    pub fn of(&self, account: &str) -> Arc<Account<D>> {
        let mut table = self.lock();
        if let Some(known) = table.accounts.get(account) {
            return Arc::clone(known);
        }
        if table.accounts.len() >= table.most {
            table.make_room();
        }
        let new = Arc::new(Account(Mutex::default()));
        table.accounts.insert(account.into(), Arc::clone(&new));
        new
    }

    /// Forgets what was too long ago, and accounts of which nothing is left.
    pub fn sweep(&self, now_ms: u64) {
        let mut table = self.lock();
        table.accounts.retain(|_, account| {
            let mut known = account.lock();
            known.retain(|one| !one.is_over(now_ms));
            known.shrink_to_fit();
            !known.is_empty() || is_held(account)
        });
        table.accounts.shrink_to_fit();
        table.most = table.most.min(table.accounts.len() + AT_ONCE).max(MOST);
    }

    fn lock(&self) -> MutexGuard<'_, Table<D>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().accounts.len()
    }
}

impl<D: Dated> Table<D> {
    /// Forgets accounts that have no session: those of which nothing is left, and the stalest of the others if need be.
    fn make_room(&mut self) {
        self.accounts
            .retain(|_, account| is_held(account) || !account.lock().is_empty());
        let ages = self.accounts.values().filter(|account| !is_held(account));
        let mut ages: Vec<u64> = ages.map(|account| account.latest()).collect();
        if ages.len() > MOST - AT_ONCE {
            let surplus = ages.len() - (MOST - AT_ONCE);
            let (_, last, _) = ages.select_nth_unstable(surplus - 1);
            let last = *last;
            let mut left = surplus;
            self.accounts.retain(|_, account| {
                let goes = left > 0 && !is_held(account) && account.latest() <= last;
                left -= usize::from(goes);
                !goes
            });
        }
        self.most = (self.accounts.len() + AT_ONCE).max(MOST);
    }
}

/// True where a session has it.
fn is_held<D>(account: &Arc<Account<D>>) -> bool {
    Arc::strong_count(account) > 1
}

impl<D: Dated> Account<D> {
    fn latest(&self) -> u64 {
        self.lock().iter().map(Dated::at_ms).max().unwrap_or_default()
    }
}

impl<D> Account<D> {
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<D>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct At(u64);

    impl Dated for At {
        const LATELY: Duration = Duration::from_secs(1);

        fn at_ms(&self) -> u64 {
            self.0
        }
    }

    fn put(accounts: &Accounts<At>, account: &str, at_ms: u64) {
        accounts.of(account).lock().push(At(at_ms));
    }

    /// Without asking for it, which would make a new one.
    fn has(accounts: &Accounts<At>, account: &str) -> bool {
        accounts.lock().accounts.contains_key(account)
    }

    #[test]
    fn an_account_is_the_same_in_all_sessions_until_nothing_is_left_of_it() {
        let accounts = Accounts::default();
        put(&accounts, "alice", 0);
        accounts.sweep(999);
        assert_eq!(accounts.of("alice").lock().len(), 1);
        let held = accounts.of("alice");
        accounts.sweep(1_000);
        assert!(held.lock().is_empty());
        held.lock().push(At(1_000));
        assert_eq!(accounts.of("alice").lock().len(), 1, "a session had it");
        drop(held);
        accounts.sweep(2_000);
        assert_eq!(accounts.len(), 0);
    }

    #[test]
    fn the_latest_stay_and_those_that_have_sessions() {
        let accounts = Accounts::default();
        put(&accounts, "held", 0);
        let held = accounts.of("held");
        put(&accounts, "stale", 0);
        // Asked for long ago, and something was done lately.
        let late = accounts.of("late");
        late.lock().push(At(1_000_000));
        drop(late);
        for number in 0..50_000_u64 {
            // Most that come have nothing to remember, and hold nothing.
            let _ = accounts.of(&format!("empty{number}"));
            put(&accounts, &number.to_string(), number);
            assert!(accounts.len() <= MOST + 1);
        }
        assert!(has(&accounts, "held") && has(&accounts, "late") && !has(&accounts, "stale"));
        assert!(has(&accounts, "49999") && has(&accounts, "45000") && !has(&accounts, "30000"));
        held.lock().push(At(0));
        assert_eq!(accounts.of("held").lock().len(), 2);
    }

    #[test]
    fn with_many_sessions_the_rest_stays_bounded() {
        let accounts = Accounts::<At>::default();
        let held: Vec<_> = (0..2 * MOST)
            .map(|number| accounts.of(&format!("held{number}")))
            .collect();
        for number in 0..50_000_u64 {
            put(&accounts, &number.to_string(), number);
            assert!(accounts.len() <= held.len() + MOST + 1);
        }
        drop(held);
        put(&accounts, "one more", 50_000);
        accounts.sweep(50_000);
        assert!(accounts.len() <= MOST + 1);
    }
}
