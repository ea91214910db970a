//! Which messages were shown lately as security notices, by their UIDs. For a whole process: who looks in one session and
//! deletes in another is not missed. Bounded, whoever is shown what.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::policy::moved;

/// How long a notice counts after it was shown.
const LATELY: Duration = Duration::from_hours(1);

/// Most accounts that are remembered; then the one that was shown nothing for longest goes.
const MOST_ACCOUNTS: usize = 10_000;

/// Most notices of an account, the last.
const MOST: usize = 64;

/// The notices of all accounts.
#[derive(Debug, Default)]
pub struct Noticed(Mutex<HashMap<Box<str>, Vec<Shown>>>);

/// A notice that was shown.
#[derive(Debug)]
struct Shown {
    mailbox: String,
    uid: u32,
    at_ms: u64,
}

impl Shown {
    fn is_over(&self, now_ms: u64) -> bool {
        let lately = u64::try_from(LATELY.as_millis()).unwrap_or(u64::MAX);
        now_ms.saturating_sub(self.at_ms) >= lately
    }
}

impl Noticed {
    /// Messages of an account's mailbox were shown, and are notices.
    pub fn add(&self, account: &str, mailbox: &str, uids: &[u32], now_ms: u64) {
        let mut accounts = self.lock();
        if accounts.len() >= MOST_ACCOUNTS && !accounts.contains_key(account) {
            forget_stalest(&mut accounts);
        }
        let known = accounts.entry(account.into()).or_default();
        let mailbox = moved::key(mailbox);
        known.retain(|shown| {
            !(shown.is_over(now_ms) || shown.mailbox == mailbox && uids.contains(&shown.uid))
        });
        known.extend(uids.iter().map(|uid| Shown {
            mailbox: mailbox.clone(),
            uid: *uid,
            at_ms: now_ms,
        }));
        let surplus = known.len().saturating_sub(MOST);
        known.drain(..surplus);
    }

    /// The notices that were shown lately of an account's mailbox.
    #[must_use]
    pub fn of(&self, account: &str, mailbox: &str, now_ms: u64) -> Vec<u32> {
        let accounts = self.lock();
        let Some(known) = accounts.get(account) else {
            return Vec::new();
        };
        let mailbox = moved::key(mailbox);
        let lately = known
            .iter()
            .filter(|shown| shown.mailbox == mailbox && !shown.is_over(now_ms));
        lately.map(|shown| shown.uid).collect()
    }

    /// Forgets what was long ago.
    pub fn sweep(&self, now_ms: u64) {
        self.lock().retain(|_, known| {
            known.retain(|shown| !shown.is_over(now_ms));
            !known.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Vec<Shown>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_stalest(accounts: &mut HashMap<Box<str>, Vec<Shown>>) {
    let last = |known: &[Shown]| known.iter().map(|shown| shown.at_ms).max();
    let stalest = accounts.iter().min_by_key(|(_, known)| last(known));
    let stalest = stalest.map(|(account, _)| account.clone());
    stalest.map(|account| accounts.remove(&account));
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    #[test]
    fn a_notice_is_known_to_its_account_and_mailbox_for_an_hour() {
        let noticed = Noticed::default();
        noticed.add("alice", "INBOX", &[7, 9], 0);
        noticed.add("alice", "Archive", &[7], 0);
        noticed.add("alice", "inbox", &[9], 5);
        assert_eq!(noticed.of("alice", "Inbox", HOUR_MS - 1), [7, 9]);
        assert_eq!(noticed.of("alice", "INBOX", HOUR_MS), [9]);
        assert!(noticed.of("bob", "INBOX", 0).is_empty() && noticed.of("alice", "Sent", 0).is_empty());
        noticed.sweep(HOUR_MS + 5);
        assert!(noticed.lock().is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let noticed = Noticed::default();
        for account in 0..10_020_u32 {
            noticed.add(&account.to_string(), "INBOX", &[1], account.into());
        }
        assert_eq!(noticed.lock().len(), MOST_ACCOUNTS);
        assert!(noticed.of("0", "INBOX", 0).is_empty() && !noticed.of("10019", "INBOX", 0).is_empty());
        let many: Vec<u32> = (0..1000).collect();
        noticed.add("10019", "INBOX", &many, 20_000);
        assert_eq!(
            noticed.of("10019", "INBOX", 20_000),
            (936..1000).collect::<Vec<_>>()
        );
    }
}
