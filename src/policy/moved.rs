//! Into which mailboxes messages were moved lately. A mailbox that is deleted takes its messages with it, and DELETE says of how
//! many: who moves everything into one mailbox and deletes that has deleted everything.
//!
//! For a whole process: it makes no difference in which session of an account which step is taken. Bounded, whoever moves what.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

/// How long a move counts.
const LATELY: Duration = Duration::from_hours(24);

/// Most accounts that are remembered; then the one that has moved nothing for longest goes.
const MOST_ACCOUNTS: usize = 10_000;

/// Most mailboxes of an account; then the one with the fewest messages goes.
const MOST_MAILBOXES: usize = 32;

/// Longest name that is told from others, in bytes.
const MAX_NAME: usize = 256;

/// What stands between the parts of a mailbox's name, at the servers there are.
const DELIMITERS: [char; 3] = ['/', '.', '\\'];

/// Into which mailboxes of which accounts messages were moved lately.
#[derive(Debug, Default)]
pub struct Moved(Mutex<HashMap<Box<str>, Vec<Filled>>>);

/// A mailbox that messages were moved into.
#[derive(Debug)]
struct Filled {
    mailbox: String,
    messages: u64,
    at_ms: u64,
}

impl Filled {
    fn is_over(&self, now_ms: u64) -> bool {
        let lately = u64::try_from(LATELY.as_millis()).unwrap_or(u64::MAX);
        now_ms.saturating_sub(self.at_ms) >= lately
    }
}

impl Moved {
    /// Messages go to a mailbox of an account.
    pub fn add(&self, account: &str, mailbox: &str, messages: u64, now_ms: u64) {
        let mut accounts = self.lock();
        if accounts.len() >= MOST_ACCOUNTS && !accounts.contains_key(account) {
            forget_stalest(&mut accounts);
        }
        let known = accounts.entry(account.into()).or_default();
        put(known, key(mailbox), messages, now_ms);
    }

    /// A mailbox and those below it get other names. What is known of the old names stays, since the server may refuse.
    pub fn rename(&self, account: &str, from: &str, to: &str, now_ms: u64) {
        let mut accounts = self.lock();
        let Some(known) = accounts.get_mut(account) else {
            return;
        };
        let (from, to) = (key(from), key(to));
        let renamed: Vec<(String, u64)> = known
            .iter()
            .filter(|into| !into.is_over(now_ms))
            .filter_map(|into| {
                let rest = into.mailbox.strip_prefix(&from)?;
                let is_it = rest.is_empty() || rest.starts_with(DELIMITERS);
                is_it.then(|| (cut(format!("{to}{rest}")), into.messages))
            })
            .collect();
        for (mailbox, messages) in renamed {
            put(known, mailbox, messages, now_ms);
        }
    }

    /// How many messages were moved into a mailbox lately; `None` where nobody knows of any.
    #[must_use]
    pub fn of(&self, account: &str, mailbox: &str, now_ms: u64) -> Option<u64> {
        let accounts = self.lock();
        let mailbox = key(mailbox);
        let found = accounts
            .get(account)?
            .iter()
            .find(|into| into.mailbox == mailbox)?;
        (!found.is_over(now_ms)).then_some(found.messages)
    }

    /// A mailbox is gone.
    pub fn forget(&self, account: &str, mailbox: &str) {
        let mailbox = key(mailbox);
        if let Some(known) = self.lock().get_mut(account) {
            known.retain(|into| into.mailbox != mailbox);
        }
    }

    /// Forgets what was long ago.
    pub fn sweep(&self, now_ms: u64) {
        self.lock().retain(|_, known| {
            known.retain(|into| !into.is_over(now_ms));
            !known.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Vec<Filled>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(known: &mut Vec<Filled>, mailbox: String, messages: u64, now_ms: u64) {
    known.retain(|into| !into.is_over(now_ms));
    if let Some(into) = known.iter_mut().find(|into| into.mailbox == mailbox) {
        into.messages = into.messages.saturating_add(messages);
        into.at_ms = now_ms;
        return;
    }
    known.push(Filled {
        mailbox,
        messages,
        at_ms: now_ms,
    });
    if known.len() > MOST_MAILBOXES {
        let fewest = known.iter().enumerate().min_by_key(|(_, into)| into.messages);
        if let Some((at, _)) = fewest {
            known.swap_remove(at);
        }
    }
}

fn forget_stalest(accounts: &mut HashMap<Box<str>, Vec<Filled>>) {
    let last = |known: &[Filled]| known.iter().map(|into| into.at_ms).max();
    let stalest = accounts.iter().min_by_key(|(_, known)| last(known));
    let stalest = stalest.map(|(account, _)| account.clone());
    stalest.map(|account| accounts.remove(&account));
}

/// A mailbox's name, whichever of its spellings it comes in: some servers know `INBOX.x` as `x`, and `x/` as well.
pub(super) fn key(mailbox: &str) -> String {
    let lower = mailbox.trim_end_matches(DELIMITERS).to_lowercase();
    let below_inbox = lower
        .strip_prefix("inbox")
        .and_then(|rest| rest.strip_prefix(DELIMITERS));
    cut(below_inbox.map_or(lower.clone(), ToOwned::to_owned))
}

fn cut(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(MAX_NAME));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3_600_000;

    #[test]
    fn what_was_moved_into_a_mailbox_adds_up_for_a_day_and_by_account() {
        let moved = Moved::default();
        moved.add("alice", "x", 300, 0);
        moved.add("alice", "x", 50, 1_000);
        moved.add("bob", "x", 7, 1_000);
        assert_eq!(moved.of("alice", "x", 2_000), Some(350));
        assert_eq!(moved.of("bob", "x", 2_000), Some(7));
        assert_eq!(moved.of("alice", "y", 2_000), None);
        assert_eq!(moved.of("alice", "x", 1_000 + DAY), None);
        moved.sweep(1_000 + DAY);
        assert!(moved.lock().is_empty());
        moved.add("alice", "x", 3, 2 * DAY);
        assert_eq!(moved.of("alice", "x", 2 * DAY), Some(3));
        moved.forget("alice", "x");
        assert_eq!(moved.of("alice", "x", 2 * DAY), None);
    }

    #[test]
    fn another_name_or_spelling_hides_nothing() {
        let moved = Moved::default();
        moved.add("alice", "INBOX.Old/Post", 300, 0);
        for name in ["old/post", "Old/Post/", "inbox/Old/Post"] {
            assert_eq!(moved.of("alice", name, 0), Some(300), "{name}");
        }
        moved.rename("alice", "Old", "New", 0);
        assert_eq!(moved.of("alice", "New/Post", 0), Some(300));
        assert_eq!(
            moved.of("alice", "Old/Post", 0),
            Some(300),
            "the server may have refused"
        );
        moved.add("alice", "older", 5, 0);
        moved.rename("alice", "old", "z", 0);
        assert_eq!(moved.of("alice", "zer", 0), None, "another name that begins so");
    }

    #[test]
    fn its_memory_is_bounded_and_keeps_what_is_much() {
        let moved = Moved::default();
        moved.add("alice", "much", 5_000, 0);
        for number in 0..1_000_u64 {
            moved.add("alice", &format!("{number}"), number, number);
        }
        moved.add("alice", &"x".repeat(100_000), 9_000, 1_000);
        let names = |account: &str| {
            moved.lock()[account]
                .iter()
                .map(|into| into.mailbox.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(names("alice").len(), MOST_MAILBOXES);
        assert!(names("alice").iter().all(|len| *len <= MAX_NAME));
        assert_eq!(moved.of("alice", "much", 1_000), Some(5_000));
        for number in 0..u64::try_from(MOST_ACCOUNTS).unwrap() + 5 {
            moved.add(&format!("user{number}"), "x", 1, 2_000 + number);
        }
        assert_eq!(moved.lock().len(), MOST_ACCOUNTS);
        assert_eq!(moved.of("alice", "much", 2_000), None, "the stalest goes");
    }
}
