//! What a session has done so far, as rules see it: counts, the selected mailbox, and the pace of its commands.
//!
//! All of it is bounded whatever the client does.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::imap::mailbox::MailboxName;
use crate::imap::tally::Tally;
use crate::policy::facts::Session;
use crate::session::inspect::role::Place;

/// Most different mailboxes that are told apart; further ones count as one more each time.
const MAX_MAILBOXES: usize = 4096;

/// Least number of pauses between commands that say something about their pace.
const LEAST_GAPS: u64 = 20;

/// Longest pause that counts: a client that idles says nothing about its pace.
const LONGEST_GAP_MS: u64 = 60_000;

/// The running totals of one session.
#[derive(Debug)]
pub(super) struct Stats {
    began_ms: u64,
    mailbox: Option<Arc<Place>>,
    examined: bool,
    /// The mailbox that is open.
    opened: Option<Opened>,
    /// Mailboxes that were opened, and how many bodies of each had been sent when it was left.
    seen: HashMap<u64, u64>,
    hasher: RandomState,
    pub(super) mailboxes_selected: u32,
    pub(super) commands: u64,
    pub(super) bad_commands: u64,
    pub(super) searches: u64,
    pub(super) seen_set: bool,
    pub(super) appended: u64,
    pub(super) deleted: u64,
    pub(super) moved: u64,
    /// Categories of the words that were searched for, each once.
    searched: Vec<&'static str>,
    pace: Pace,
}

/// A mailbox that is open.
#[derive(Debug)]
struct Opened {
    hash: u64,
    /// How many bodies had been sent of any mailbox when it was opened.
    sent: u64,
    /// How many of this one, when it was open before.
    earlier: u64,
}

impl Opened {
    /// How many bodies of this one were sent, of so many in all.
    fn fetched(&self, bodies: u64) -> u64 {
        self.earlier.saturating_add(bodies.saturating_sub(self.sent))
    }
}

impl Stats {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            began_ms: now_ms,
            mailbox: None,
            examined: false,
            opened: None,
            seen: HashMap::new(),
            hasher: RandomState::new(),
            mailboxes_selected: 0,
            commands: 0,
            bad_commands: 0,
            searches: 0,
            seen_set: false,
            appended: 0,
            deleted: 0,
            moved: 0,
            searched: Vec::new(),
            pace: Pace::default(),
        }
    }

    /// Another mailbox is selected, or none; `bodies` have been sent so far.
    pub(super) fn selected(&mut self, mailbox: Option<&MailboxName>, for_reading: bool, bodies: u64) {
        if let Some(left) = self.opened.take()
            && let Some(fetched) = self.seen.get_mut(&left.hash)
        {
            // Who comes back to a mailbox does not begin anew.
            *fetched = left.fetched(bodies);
        }
        self.mailbox = mailbox.cloned().map(Place::new).map(Arc::new);
        self.examined = for_reading && mailbox.is_some();
        let Some(mailbox) = mailbox else {
            return;
        };
        let hash = self.hasher.hash_one(mailbox);
        let is_new = !self.seen.contains_key(&hash);
        if is_new && self.seen.len() < MAX_MAILBOXES {
            self.seen.insert(hash, 0);
        }
        self.opened = Some(Opened {
            hash,
            sent: bodies,
            earlier: self.seen.get(&hash).copied().unwrap_or_default(),
        });
        self.mailboxes_selected = self.mailboxes_selected.saturating_add(u32::from(is_new));
    }

    /// True where the mailbox was opened for reading only.
    pub(super) fn is_examined(&self) -> bool {
        self.examined
    }

    /// Words of these categories are searched for.
    pub(super) fn searched(&mut self, categories: &[&'static str]) {
        for category in categories {
            if !self.searched.contains(category) {
                self.searched.push(category);
            }
        }
    }

    /// The selected mailbox.
    pub(super) fn mailbox(&self) -> Option<&Arc<Place>> {
        self.mailbox.as_ref()
    }

    fn mailbox_fetched(&self, tally: &Tally) -> u64 {
        self.opened
            .as_ref()
            .map_or(0, |opened| opened.fetched(tally.bodies))
    }

    /// A command goes to the backend.
    pub(super) fn command(&mut self, now_ms: u64) {
        self.commands += 1;
        self.pace.command(now_ms);
    }

    /// The facts, as of now.
    pub(super) fn facts(&self, tally: &Tally, is_first_sync: bool, now_ms: u64) -> Session<'_> {
        let mailbox = self.mailbox.as_deref().map(Place::named);
        let (gap_mean_ms, gap_deviation_ms) = self.pace.facts().unzip();
        Session {
            age: now_ms.saturating_sub(self.began_ms) / 1000,
            mailbox: mailbox.map(|named| named.name),
            mailbox_role: mailbox.and_then(|named| named.role),
            mailbox_is_shared: mailbox.is_some_and(|named| named.is_shared),
            exists: mailbox.and(tally.mailbox.exists),
            mailbox_fetched: self.mailbox_fetched(tally),
            mailboxes_selected: self.mailboxes_selected,
            commands: self.commands,
            bad_commands: self.bad_commands,
            searches: self.searches,
            messages_fetched: tally.bodies,
            bytes_fetched: tally.fetched,
            seen_set: self.seen_set,
            appended: self.appended,
            deleted: self.deleted,
            expunged: tally.expunged,
            moved: self.moved,
            search_categories: &self.searched,
            is_first_sync,
            gap_mean_ms,
            gap_deviation_ms,
            end_reason: None,
        }
    }
}

/// How regularly commands come.
#[derive(Debug, Default)]
struct Pace {
    last_ms: Option<u64>,
    gaps: u64,
    sum: u64,
    squares: u64,
}

impl Pace {
    fn command(&mut self, now_ms: u64) {
        if let Some(last) = self.last_ms {
            let gap = now_ms.saturating_sub(last);
            // Commands in one burst are one decision of the client.
            if (1..=LONGEST_GAP_MS).contains(&gap) {
                self.gaps += 1;
                self.sum = self.sum.saturating_add(gap);
                self.squares = self.squares.saturating_add(gap * gap);
            }
        }
        self.last_ms = Some(now_ms);
    }

    /// Mean and standard deviation, once there are enough.
    fn facts(&self) -> Option<(u64, u64)> {
        if self.gaps < LEAST_GAPS {
            return None;
        }
        let mean = self.sum / self.gaps;
        let variance = (self.squares / self.gaps).saturating_sub(mean * mean);
        Some((mean, variance.isqrt()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_are_counted_once_and_the_last_is_known() {
        let mut stats = Stats::new(0);
        for name in ["INBOX", "Sent", "inbox"] {
            stats.selected(Some(&MailboxName::from_wire(name.as_bytes())), false, 0);
        }
        let tally = Tally {
            mailbox: crate::imap::set::Mailbox {
                exists: Some(7),
                ..Default::default()
            },
            ..Tally::default()
        };
        let facts = stats.facts(&tally, false, 5_000);
        assert_eq!((facts.mailboxes_selected, facts.age), (2, 5));
        assert_eq!(
            (facts.mailbox, facts.mailbox_role, facts.exists),
            (Some("INBOX"), Some("inbox"), Some(7))
        );
        stats.selected(None, false, 0);
        assert_eq!(stats.facts(&tally, false, 5_000).exists, None);
    }

    #[test]
    fn bodies_are_counted_by_mailbox_however_often_it_is_opened_and_what_is_between() {
        let name = |name: &str| MailboxName::from_wire(name.as_bytes());
        let fetched = |stats: &Stats, bodies| {
            let tally = Tally {
                bodies,
                ..Tally::default()
            };
            stats.facts(&tally, false, 0).mailbox_fetched
        };
        let mut stats = Stats::new(0);
        assert_eq!(fetched(&stats, 0), 0);
        stats.selected(Some(&name("a")), false, 0);
        assert_eq!(fetched(&stats, 40), 40);
        stats.selected(None, false, 40);
        assert_eq!(fetched(&stats, 40), 0, "nothing is open");
        stats.selected(Some(&name("a")), true, 40);
        assert_eq!(fetched(&stats, 60), 60, "the same again");
        stats.selected(Some(&name("b")), false, 60);
        assert_eq!(fetched(&stats, 65), 5);
        stats.selected(Some(&name("a")), false, 65);
        assert_eq!(fetched(&stats, 66), 61, "back again");
        stats.selected(Some(&name("b")), false, 66);
        assert_eq!(fetched(&stats, 66), 5);
    }

    #[test]
    fn the_memory_of_mailboxes_is_bounded() {
        let mut stats = Stats::new(0);
        for number in 0..10_000 {
            stats.selected(
                Some(&MailboxName::from_wire(format!("m{number}").as_bytes())),
                false,
                0,
            );
        }
        assert_eq!(stats.seen.len(), MAX_MAILBOXES);
        assert_eq!(stats.mailboxes_selected, 10_000);
    }

    #[test]
    fn a_machine_keeps_time_and_a_person_does_not() {
        let pace = |gaps: &mut dyn Iterator<Item = u64>| {
            let mut stats = Stats::new(0);
            let mut now = 0;
            for gap in gaps {
                now += gap;
                stats.command(now);
            }
            let facts = stats.facts(&Tally::default(), false, now);
            (facts.gap_mean_ms, facts.gap_deviation_ms)
        };
        assert_eq!(pace(&mut std::iter::repeat_n(500, 21)), (Some(500), Some(0)));
        let (mean, deviation) = pace(&mut (0..40).map(|n| if n % 2 == 0 { 100 } else { 3000 }));
        assert!(
            mean > Some(1000) && deviation > Some(1000),
            "{mean:?} {deviation:?}"
        );
        assert_eq!(pace(&mut std::iter::repeat_n(500, 10)), (None, None));
        // Bursts and long silences say nothing.
        assert_eq!(pace(&mut std::iter::repeat_n(0, 100)), (None, None));
        assert_eq!(pace(&mut std::iter::repeat_n(100_000, 100)), (None, None));
    }
}
