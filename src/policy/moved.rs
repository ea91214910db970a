//! Into which mailboxes messages were moved lately. A mailbox that is deleted takes its messages with it, and DELETE says of how
//! many: who moves everything into one mailbox and deletes that has deleted everything.
//!
//! Bounded, whoever moves what.

use std::time::Duration;

use crate::policy::accounts::Account;
use crate::policy::accounts::Accounts;
use crate::policy::accounts::Dated;

/// Most mailboxes of an account; then the one with the fewest messages goes.
const MOST_MAILBOXES: usize = 32;

/// Longest name that is told from others, in bytes.
const MAX_NAME: usize = 256;

/// What stands between the parts of a mailbox's name, at the servers there are.
const DELIMITERS: [char; 3] = ['/', '.', '\\'];

/// Into which mailboxes of which accounts messages were moved lately.
pub type Moved = Accounts<Filled>;

/// A mailbox that messages were moved into.
#[derive(Debug)]
pub struct Filled {
    mailbox: String,
    messages: u64,
    at_ms: u64,
}

impl Dated for Filled {
    const LATELY: Duration = Duration::from_hours(24);

    fn at_ms(&self) -> u64 {
        self.at_ms
    }
}

impl Account<Filled> {
    /// Messages go to a mailbox of the account.
    pub fn add(&self, mailbox: &str, messages: u64, now_ms: u64) {
        put(&mut self.lock(), key(mailbox), messages, now_ms);
    }

    /// A mailbox and those below it get other names. What is known of the old names stays, since the server may refuse.
    pub fn rename(&self, from: &str, to: &str, now_ms: u64) {
        let mut known = self.lock();
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
            put(&mut known, mailbox, messages, now_ms);
        }
    }

    /// How many messages were moved into a mailbox lately; `None` where nobody knows of any.
    #[must_use]
    pub fn of(&self, mailbox: &str, now_ms: u64) -> Option<u64> {
        let mailbox = key(mailbox);
        let known = self.lock();
        let found = known.iter().find(|into| into.mailbox == mailbox)?;
        (!found.is_over(now_ms)).then_some(found.messages)
    }

    /// A mailbox is gone.
    pub fn forget(&self, mailbox: &str) {
        let mailbox = key(mailbox);
        self.lock().retain(|into| into.mailbox != mailbox);
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
        moved.of("alice").add("x", 300, 0);
        moved.of("alice").add("x", 50, 1_000);
        moved.of("bob").add("x", 7, 1_000);
        assert_eq!(moved.of("alice").of("x", 2_000), Some(350));
        assert_eq!(moved.of("bob").of("x", 2_000), Some(7));
        assert_eq!(moved.of("alice").of("y", 2_000), None);
        assert_eq!(moved.of("alice").of("x", 1_000 + DAY), None);
        moved.sweep(1_000 + DAY);
        assert_eq!(moved.len(), 0);
        moved.of("alice").add("x", 3, 2 * DAY);
        assert_eq!(moved.of("alice").of("x", 2 * DAY), Some(3));
        moved.of("alice").forget("x");
        assert_eq!(moved.of("alice").of("x", 2 * DAY), None);
    }

    #[test]
    fn another_name_or_spelling_hides_nothing() {
        let moved = Moved::default();
        moved.of("alice").add("INBOX.Old/Post", 300, 0);
        for name in ["old/post", "Old/Post/", "inbox/Old/Post"] {
            assert_eq!(moved.of("alice").of(name, 0), Some(300), "{name}");
        }
        moved.of("alice").rename("Old", "New", 0);
        assert_eq!(moved.of("alice").of("New/Post", 0), Some(300));
        assert_eq!(
            moved.of("alice").of("Old/Post", 0),
            Some(300),
            "the server may have refused"
        );
        moved.of("alice").add("older", 5, 0);
        moved.of("alice").rename("old", "z", 0);
        assert_eq!(
            moved.of("alice").of("zer", 0),
            None,
            "another name that begins so"
        );
    }

    #[test]
    fn its_memory_is_bounded_and_keeps_what_is_much() {
        let moved = Moved::default();
        moved.of("alice").add("much", 5_000, 0);
        for number in 0..1_000_u64 {
            moved.of("alice").add(&format!("{number}"), number, number);
        }
        moved.of("alice").add(&"x".repeat(100_000), 9_000, 1_000);
        let alice = moved.of("alice");
        let names: Vec<usize> = alice.lock().iter().map(|into| into.mailbox.len()).collect();
        assert_eq!(names.len(), MOST_MAILBOXES);
        assert!(names.iter().all(|len| *len <= MAX_NAME));
        assert_eq!(moved.of("alice").of("much", 1_000), Some(5_000));
    }
}
