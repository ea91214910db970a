//! What was tried at one account since somebody last got in: statistics for rules, never a limit. A limit on an account would
//! let an attacker lock its owner out.

use std::time::Duration;

use crate::limits::bounded::Entry;
use crate::limits::tick::Tick;

/// Networks told apart; more are counted as so many.
const NETWORKS: usize = 16;

/// How long failures are remembered after the last one.
const MEMORY: Duration = Duration::from_hours(24);

/// How long they are not forgotten for others while there is no room.
const PENDING: Duration = Duration::from_mins(30);

/// Failures of one account, the same wrong secret from the same network counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tried {
    /// Failures.
    pub failures: u32,
    /// From how many networks (IPv4 addresses, IPv6 /48); at most 16.
    pub networks: u32,
}

/// The same, as it is kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    failures: u32,
    seen: u32,
    /// The first networks, as keyed hashes; zero is none.
    networks: [u32; NETWORKS],
    last: Tick,
}

impl Account {
    /// Somebody failed.
    pub(super) fn failed(&mut self, from: u32, now: Tick) {
        if !self.is_useful(now) {
            *self = Self::default();
        }
        self.last = now;
        self.failures = self.failures.saturating_add(1);
        if self.networks.contains(&from) {
            return;
        }
        if let Some(free) = self.networks.iter_mut().find(|network| **network == 0) {
            *free = from;
            self.seen = self.seen.saturating_add(1);
        }
    }

    /// Somebody got in.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// What was tried, as far as it is remembered.
    pub(super) fn tried(&self, now: Tick) -> Tried {
        if !self.is_useful(now) {
            return Tried::default();
        }
        Tried {
            failures: self.failures,
            networks: self.seen,
        }
    }
}

impl Entry for Account {
    fn is_pending(&self, now: Tick) -> bool {
        self.failures > 0 && now < self.last.plus(PENDING)
    }

    fn is_useful(&self, now: Tick) -> bool {
        self.failures > 0 && now < self.last.plus(MEMORY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_small_and_its_networks_are_bounded() {
        assert!(size_of::<Account>() <= 80, "{}", size_of::<Account>());
        let mut account = Account::default();
        for number in 1..=100 {
            account.failed(number, Tick::default());
        }
        let tried = account.tried(Tick::default());
        assert_eq!((tried.failures, tried.networks), (100, 16));
    }
}
