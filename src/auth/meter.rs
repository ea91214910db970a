//! What one session does, counted without a lock, and the purse that all sessions of an app password draw their first sync
//! from: ten connections at once have one allowance, not ten.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::auth::memory::Shared;
use crate::auth::pace::Pace;
use crate::policy::first_sync;
use crate::policy::first_sync::Allowance;
use crate::policy::first_sync::Credential;
use crate::policy::first_sync::Network;
use crate::policy::first_sync::Options;
use crate::policy::first_sync::Update;
use crate::policy::first_sync::Visit;
use crate::store::Note;
use crate::store::day_of;
use crate::types::Amounts;
use crate::types::Measure;
use crate::types::UnixTime;
use crate::types::UserName;

/// What one session does. Counting is an addition; what was counted is handed over from time to time and when it is dropped.
pub struct Meter {
    shared: Arc<Shared>,
    user: UserName,
    counts: [AtomicU64; Measure::ALL.len()],
    /// The app password's, and the network that the session comes from.
    purse: Option<(Arc<Purse>, Network)>,
    /// Whether it may draw from the purse.
    draws: AtomicBool,
    /// What slowed sessions of the same credential share.
    pace: Arc<Pace>,
}

impl Meter {
    pub(super) fn new(
        shared: Arc<Shared>,
        user: UserName,
        purse: Option<(Arc<Purse>, Network)>,
        pace: Arc<Pace>,
    ) -> Self {
        Self {
            shared,
            user,
            counts: Default::default(),
            purse,
            draws: AtomicBool::new(false),
            pace,
        }
    }

    /// Judges the first sync again: to be called when the family of clients has become known after the login.
    pub fn client_is(&self, family: Option<&str>, now: UnixTime) {
        let Some((purse, network)) = &self.purse else {
            return;
        };
        let visit = Visit {
            network: *network,
            family,
        };
        let (draws, learnt) = purse.judge(visit, now);
        self.draws.store(draws, Ordering::Relaxed);
        if let Some(note) = learnt {
            self.shared.store.note(note);
        }
    }

    /// Whether the session is part of its app password's first sync now.
    #[must_use]
    pub fn is_first_sync(&self, now: UnixTime) -> bool {
        self.drawn_from().is_some_and(|purse| purse.is_open(now))
    }

    /// False where the session is no part of a first sync, whatever time it is.
    #[must_use]
    pub fn may_be_first_sync(&self) -> bool {
        self.drawn_from().is_some()
    }

    fn drawn_from(&self) -> Option<&Purse> {
        let (purse, _) = self.purse.as_ref()?;
        self.draws.load(Ordering::Relaxed).then_some(purse)
    }

    /// Bytes that are left of the first sync; zero where the session is none.
    #[must_use]
    pub fn left(&self, now: UnixTime) -> u64 {
        let purse = self.purse.as_ref().filter(|_| self.is_first_sync(now));
        purse.map_or(0, |(purse, _)| purse.left.load(Ordering::Relaxed))
    }

    /// The family of clients that used the app password first, as far as that is known.
    #[must_use]
    pub fn first_family(&self) -> Option<Arc<str>> {
        let (purse, _) = self.purse.as_ref()?;
        purse.lock().family.clone()
    }

    /// Messages that were sent to the client, in a first sync or not. What a first sync pays for is no habit: it would make
    /// any theft look small for a month.
    pub fn fetched(&self, bytes: u64, messages: u64, is_first_sync: bool) {
        match self.drawn_from().filter(|_| is_first_sync) {
            Some(purse) => purse.take(bytes),
            None => {
                self.count(Measure::FetchedBytes, bytes);
                self.count(Measure::FetchedMessages, messages);
            }
        }
    }

    /// A slowed session has taken so many bytes at so many a second; says when it may go on, in the caller's milliseconds.
    pub fn pace(&self, bytes: u64, rate: NonZeroU64, now_ms: u64) -> u64 {
        self.pace.take(bytes, rate, now_ms)
    }

    /// Counts anything else.
    pub fn count(&self, measure: Measure, amount: u64) {
        for (known, count) in Measure::ALL.into_iter().zip(&self.counts) {
            if known == measure {
                count.fetch_add(amount, Ordering::Relaxed);
            }
        }
    }

    /// Gives what was counted to the store.
    pub(super) fn hand_over(&self, now: UnixTime) {
        let mut amounts = Amounts::default();
        for (measure, count) in Measure::ALL.into_iter().zip(&self.counts) {
            amounts.add(measure, count.swap(0, Ordering::Relaxed));
        }
        if !amounts.is_empty() {
            let note = Note::Did(self.user.clone(), day_of(now), amounts);
            self.shared.store.note(note);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.hand_over(self.shared.now());
    }
}

/// What is left of an app password's first sync, shared by its sessions.
pub(super) struct Purse {
    id: u32,
    credential: Credential,
    options: Options,
    /// All but what is left.
    allowance: Mutex<Allowance>,
    end: UnixTime,
    left: AtomicU64,
    /// Spent, and not yet given to the store.
    unwritten: AtomicU64,
}

impl Purse {
    pub(super) fn new(id: u32, credential: Credential, allowance: Allowance, options: Options) -> Self {
        // What has ended has nothing left, whatever the row says.
        let left = allowance.ended.map_or(allowance.left, |_| 0);
        Self {
            id,
            credential,
            end: allowance.end(&options),
            options,
            left: AtomicU64::new(left),
            allowance: Mutex::new(allowance),
            unwritten: AtomicU64::new(0),
        }
    }

    /// Whether a visit may draw, and what must be remembered of it.
    fn judge(&self, visit: Visit<'_>, now: UnixTime) -> (bool, Option<Note>) {
        let mut allowance = self.lock();
        allowance.left = self.left.load(Ordering::Relaxed);
        let found = first_sync::judge(Some(&allowance), self.credential, visit, &self.options, now);
        let note = match &found.update {
            Some(Update::Learn(family)) => Some(Note::FamilyLearnt(self.id, Arc::clone(family))),
            Some(Update::End(at)) => Some(Note::AllowanceEnded(self.id, *at)),
            Some(Update::Open(_)) | None => None,
        };
        if let Some(update) = found.update {
            allowance.change(update);
        }
        if allowance.ended.is_some() {
            self.left.store(0, Ordering::Relaxed);
        }
        (found.is_first_sync, note)
    }

    fn is_open(&self, now: UnixTime) -> bool {
        now < self.end && self.left.load(Ordering::Relaxed) > 0
    }

    fn take(&self, bytes: u64) {
        // The closure always answers, so that the update cannot fail.
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(bytes))
            });
        self.unwritten.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What was spent since it was last asked.
    pub(super) fn spent(&self, now: UnixTime) -> Option<Note> {
        let bytes = self.unwritten.swap(0, Ordering::Relaxed);
        (bytes > 0).then_some(Note::AllowanceSpent(self.id, bytes, now))
    }

    fn lock(&self) -> MutexGuard<'_, Allowance> {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
