//! Which messages were shown lately as security notices, by their UIDs: who looks in one session and deletes in another is not
//! missed. Bounded, whoever is shown what.

use std::time::Duration;

use crate::policy::accounts::Account;
use crate::policy::accounts::Accounts;
use crate::policy::accounts::Dated;
use crate::policy::moved;

/// Most notices of an account, the last.
const MOST: usize = 64;

/// The notices of all accounts.
pub type Noticed = Accounts<Shown>;

/// A notice that was shown.
#[derive(Debug)]
pub struct Shown {
    mailbox: String,
    uid: u32,
    at_ms: u64,
}

impl Dated for Shown {
    const LATELY: Duration = Duration::from_hours(1);

    fn at_ms(&self) -> u64 {
        self.at_ms
    }
}

impl Account<Shown> {
    /// Messages of a mailbox were shown, and are notices.
    pub fn add(&self, mailbox: &str, uids: &[u32], now_ms: u64) {
        let mailbox = moved::key(mailbox);
        let mut known = self.lock();
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

    /// The notices that were shown lately of a mailbox.
    #[must_use]
    pub fn of(&self, mailbox: &str, now_ms: u64) -> Vec<u32> {
        let mailbox = moved::key(mailbox);
        let known = self.lock();
        let lately = known
            .iter()
            .filter(|shown| shown.mailbox == mailbox && !shown.is_over(now_ms));
        lately.map(|shown| shown.uid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    #[test]
    fn a_notice_is_known_to_its_account_and_mailbox_for_an_hour() {
        let noticed = Noticed::default();
        noticed.of("alice").add("INBOX", &[7, 9], 0);
        noticed.of("alice").add("Archive", &[7], 0);
        noticed.of("alice").add("inbox", &[9], 5);
        assert_eq!(noticed.of("alice").of("Inbox", HOUR_MS - 1), [7, 9]);
        assert_eq!(noticed.of("alice").of("INBOX", HOUR_MS), [9]);
        assert!(noticed.of("bob").of("INBOX", 0).is_empty() && noticed.of("alice").of("Sent", 0).is_empty());
        noticed.sweep(HOUR_MS + 5);
        assert_eq!(noticed.len(), 0);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let noticed = Noticed::default();
        let many: Vec<u32> = (0..1000).collect();
        noticed.of("alice").add("INBOX", &many, 20_000);
        assert_eq!(
            noticed.of("alice").of("INBOX", 20_000),
            (936..1000).collect::<Vec<_>>()
        );
    }
}
