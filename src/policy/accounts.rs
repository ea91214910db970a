//! What is remembered of accounts for a while, in a whole process: it makes no difference in which session of an account
//! something is done.
//!
//! Each account has a lock of its own, and a session holds on to its account's: sessions of different accounts have none in
//! common but that of the table, to which each comes once. Bounded: accounts without sessions that were not asked for lately
//! are forgotten when others come.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

/// So many accounts come before those are forgotten that nobody has asked for since as many came.
const HALF: usize = 5_000;

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

type Half<D> = HashMap<Box<str>, Arc<Account<D>>>;

#[derive(Debug)]
struct Table<D> {
    young: Half<D>,
    old: Half<D>,
    /// How many have become young since the halves changed places.
    came: usize,
}

impl<D> Default for Accounts<D> {
    fn default() -> Self {
        Self(Mutex::new(Table {
            young: Half::new(),
            old: Half::new(),
            came: 0,
        }))
    }
}

impl<D: Dated> Accounts<D> {
    /// An account, to be held on to while it has a session.
    #[must_use]
    pub fn of(&self, account: &str) -> Arc<Account<D>> {
        let mut table = self.lock();
        if let Some(known) = table.young.get(account) {
            return Arc::clone(known);
        }
        let known = table.old.remove(account);
        let known = known.unwrap_or_else(|| Arc::new(Account(Mutex::default())));
        if table.came >= HALF {
            table.forget_old();
        }
        table.came += 1;
        table.young.insert(account.into(), Arc::clone(&known));
        known
    }

    /// Forgets what was too long ago, and accounts of which nothing is left.
    pub fn sweep(&self, now_ms: u64) {
        let mut table = self.lock();
        let Table { young, old, .. } = &mut *table;
        for half in [young, old] {
            half.retain(|_, account| {
                let mut known = account.lock();
                known.retain(|one| !one.is_over(now_ms));
                known.shrink_to_fit();
                !known.is_empty() || is_held(account)
            });
            half.shrink_to_fit();
        }
    }

    /// How many accounts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let table = self.lock();
        table.young.len().saturating_add(table.old.len())
    }

    /// True where nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Table<D>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D> Table<D> {
    fn forget_old(&mut self) {
        let young = mem::take(&mut self.young);
        let old = mem::replace(&mut self.old, young);
        self.young = old.into_iter().filter(|(_, account)| is_held(account)).collect();
        self.came = 0;
    }
}

/// True where a session has it.
fn is_held<D>(account: &Arc<Account<D>>) -> bool {
    Arc::strong_count(account) > 1
}

impl<D> Account<D> {
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<D>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct At(u64);

    impl Dated for At {
        const LATELY: Duration = Duration::from_secs(1);

        fn at_ms(&self) -> u64 {
            self.0
        }
    }

    fn put(accounts: &Accounts<At>, account: &str) {
        accounts.of(account).lock().push(At(0));
    }

    fn has(accounts: &Accounts<At>, account: &str) -> bool {
        !accounts.of(account).lock().is_empty()
    }

    #[test]
    fn an_account_is_the_same_in_all_sessions_until_nothing_is_left_of_it() {
        let accounts = Accounts::default();
        put(&accounts, "alice");
        accounts.sweep(999);
        assert!(has(&accounts, "alice") && accounts.len() == 1);
        let held = accounts.of("alice");
        accounts.sweep(1_000);
        assert!(held.lock().is_empty());
        held.lock().push(At(1_000));
        assert!(has(&accounts, "alice"), "a session had it");
        drop(held);
        accounts.sweep(2_000);
        assert!(accounts.is_empty());
    }

    #[test]
    fn the_latest_stay_and_those_that_have_sessions() {
        let accounts = Accounts::default();
        put(&accounts, "held");
        let held = accounts.of("held");
        put(&accounts, "asked for");
        put(&accounts, "stale");
        for number in 0..5 * HALF {
            put(&accounts, &number.to_string());
            assert!(has(&accounts, "asked for"));
            assert!(accounts.len() <= 2 * HALF + 1);
        }
        held.lock().push(At(0));
        assert_eq!(accounts.of("held").lock().len(), 2);
        assert!(!has(&accounts, "stale"));
        assert!(has(&accounts, &(5 * HALF - 1).to_string()));
    }
}
