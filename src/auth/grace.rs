//! What this process remembers of open trusted windows, so that they may be honoured for a while when the store is away.
//!
//! A window counts from the moment at which the store last said that it stands, by a clock that nobody sets: so it is honoured at most
//! that long after it was ended elsewhere, whatever failed in between. It counts not at all once something has happened in the store
//! that was not asked about yet. It is remembered by the name that the store itself has for it, a keyed hash of user, credential,
//! network and listener. Nothing else lets anybody in: no app password, no code, no password alone.

mod remembered;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::auth::window::Options;
use crate::store::User;
use crate::store::Window;
use crate::types::Prefix;
use crate::types::SessionId;
use crate::types::UnixTime;
use crate::types::UserName;

pub use remembered::Remembered;

/// Most windows that are remembered: below 16 MiB.
const MOST: usize = 10_000;

/// What is known of so many sessions that began without the store; beyond it nobody more is let in.
const MOST_SESSIONS: usize = 10_000;

/// So many different wrong credentials of a user from a network, and nothing is honoured from there until the store answers.
const MOST_MISSES: u32 = 50;

/// How often the store is asked without a cause.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// A window of 32 bytes' name.
pub(super) type Key = [u8; 32];

/// One moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Milliseconds by a clock that nobody sets.
    pub(super) ms: u64,
    /// The wall clock.
    pub(super) wall: UnixTime,
}

/// A window that the store has said stands.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) user: User,
    pub(super) window: Window,
    pub(super) remembered: Option<Arc<Remembered>>,
}

/// What is asked about, and answered by the store.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) key: Key,
    pub(super) user: UserName,
}

/// A session that began without the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    pub(super) session: SessionId,
    pub(super) window: Key,
    /// When the window ends: what is missing after that tells nothing.
    pub(super) expires: UnixTime,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    /// The user and the network, hashed.
    pair: u64,
    /// When the store last said that it stands.
    stood_ms: u64,
    /// When it ends, whatever the wall clock says by then.
    ends_ms: u64,
    used_ms: u64,
    /// The store's notices when it last stood.
    notices: u64,
}

/// Wrong credentials of a user from a network.
#[derive(Debug, Clone, Copy, Default)]
struct Misses {
    count: u32,
    last: Key,
}

#[derive(Debug, Default)]
struct Kept {
    entries: HashMap<Key, Entry>,
    misses: HashMap<u64, Misses>,
    opened: Vec<Opened>,
    /// When the store was last asked, and its notices then.
    asked: Option<(u64, u64)>,
}

/// The windows that this process remembers. One for the whole process.
#[derive(Debug)]
pub(super) struct Grace {
    began: Instant,
    hasher: RandomState,
    kept: Mutex<Kept>,
    #[cfg(test)]
    skipped_ms: std::sync::atomic::AtomicU64,
}

impl Default for Grace {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            hasher: RandomState::new(),
            kept: Mutex::default(),
            #[cfg(test)]
            skipped_ms: std::sync::atomic::AtomicU64::default(),
        }
    }
}

impl Grace {
    /// Now, by both clocks.
    pub(super) fn at(&self, wall: UnixTime) -> Moment {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        #[cfg(test)]
        let ms = ms + self.skipped_ms.load(std::sync::atomic::Ordering::Relaxed);
        Moment { ms, wall }
    }

    /// Lets time pass that the wall clock knows nothing of.
    #[cfg(test)]
    pub(super) fn skip(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap();
        self.skipped_ms
            .fetch_add(ms, std::sync::atomic::Ordering::Relaxed);
    }

    /// The user and the network, by a hash of this process's own.
    pub(super) fn pair(&self, user: &UserName, from: Prefix) -> u64 {
        self.hasher.hash_one((user, from))
    }

    /// Remembers what the store has just said. `notices` are from before it was asked.
    pub(super) fn remember(
        &self,
        (key, pair): (Key, u64),
        known: Known,
        (at, notices): (Moment, u64),
        options: &Options,
    ) {
        if !options.store_away.is_zero() {
            self.lock().remember((key, pair), known, (at, notices), options);
        }
    }

    /// What is known of a credential's window, where it may be honoured now. What is not known costs the same, whoever it is.
    pub(super) fn find(
        &self,
        (key, pair): (Key, u64),
        (at, notices): (Moment, u64),
        options: &Options,
    ) -> Option<Known> {
        if options.store_away.is_zero() {
            return None;
        }
        self.lock().find((key, pair), (at, notices), options)
    }

    /// A window that was honoured was used: it does not count for longer.
    pub(super) fn used(&self, key: &Key, at: Moment) {
        let mut kept = self.lock();
        if let Some(entry) = kept.entries.get_mut(key) {
            entry.known.window.last_used = entry.known.window.last_used.max(at.wall);
            entry.used_ms = at.ms;
        }
    }

    /// Forgets a window.
    pub(super) fn forget(&self, key: &Key) {
        self.lock().entries.remove(key);
    }

    /// Forgets all windows of a user.
    pub(super) fn forget_user(&self, user: &UserName) {
        self.lock()
            .entries
            .retain(|_, entry| entry.known.user.name != *user);
    }

    /// What the store is to be asked about, if it is time to: where it has told of something, and every few seconds.
    pub(super) fn questions(&self, (at, notices): (Moment, u64), options: &Options) -> Vec<Question> {
        let mut kept = self.lock();
        if options.store_away.is_zero() {
            kept.entries.clear();
            return Vec::new();
        }
        let again = millis(ASK_AGAIN);
        let is_answered = |(ms, heard): (u64, u64)| heard == notices && at.ms.saturating_sub(ms) < again;
        if kept.asked.is_some_and(is_answered) {
            return Vec::new();
        }
        kept.sweep(at, options);
        let question = |(key, entry): (&Key, &Entry)| Question {
            key: *key,
            user: entry.known.user.name.clone(),
        };
        kept.entries.iter().map(question).collect()
    }

    /// What the store has said of one: the window and its user, if both are there.
    pub(super) fn answered(
        &self,
        key: &Key,
        (window, user): (Option<Window>, Option<User>),
        (at, notices): (Moment, u64),
        options: &Options,
    ) {
        self.lock().answered(key, (window, user), (at, notices), options);
    }

    /// All that was asked about is answered.
    pub(super) fn all_answered(&self, (at, notices): (Moment, u64)) {
        let mut kept = self.lock();
        kept.asked = Some((at.ms, notices));
        kept.misses.clear();
    }

    /// A session began without the store.
    pub(super) fn opened(&self, opened: Opened) {
        self.lock().opened.push(opened);
    }

    /// The sessions that began without it.
    pub(super) fn sessions(&self) -> Vec<Opened> {
        self.lock().opened.clone()
    }

    /// Nothing more need be known of so many of them, the first.
    pub(super) fn sessions_checked(&self, count: usize) {
        let opened = &mut self.lock().opened;
        opened.drain(..count.min(opened.len()));
    }

    /// A panic elsewhere leaves the maps whole.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remember(
        &mut self,
        (key, pair): (Key, u64),
        known: Known,
        (at, notices): (Moment, u64),
        options: &Options,
    ) {
        let before = self.entries.remove(&key);
        if self.entries.len() >= MOST {
            self.make_room(at, options);
        }
        let remembered = known.remembered.clone();
        let remembered = remembered.or_else(|| before.and_then(|before| before.known.remembered));
        let entry = Entry {
            pair,
            stood_ms: at.ms,
            ends_ms: ends(&known.window, at, options),
            used_ms: at.ms,
            notices,
            known: Known { remembered, ..known },
        };
        self.entries.insert(key, entry);
    }

    fn find(
        &mut self,
        (key, pair): (Key, u64),
        (at, notices): (Moment, u64),
        options: &Options,
    ) -> Option<Known> {
        // All of them are looked at, whoever asks.
        let of_pair = self.entries.values().filter(|entry| entry.pair == pair).count();
        let Some(entry) = self.entries.get(&key) else {
            if of_pair > 0 {
                let misses = self.misses.entry(pair).or_default();
                misses.count = misses.count.saturating_add(u32::from(misses.last != key));
                misses.last = key;
            }
            return None;
        };
        let is_tried = self
            .misses
            .get(&pair)
            .is_some_and(|misses| misses.count >= MOST_MISSES);
        let stands = entry.notices == notices && entry.lives(at, options);
        let admits = options.admits(&entry.known.window, &entry.known.user.name, at.wall);
        let has_room = self.opened.len() < MOST_SESSIONS;
        (stands && admits && has_room && !is_tried).then(|| entry.known.clone())
    }

    fn answered(
        &mut self,
        key: &Key,
        (window, user): (Option<Window>, Option<User>),
        (at, notices): (Moment, u64),
        options: &Options,
    ) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let same = |user: &User| user.epoch == entry.known.user.epoch && !user.disabled;
        let (Some(mut window), Some(user)) = (window, user.filter(same)) else {
            self.entries.remove(key);
            return;
        };
        // A use that the store has not written yet.
        window.last_used = window.last_used.max(entry.known.window.last_used);
        if !options.admits(&window, &user.name, at.wall) {
            self.entries.remove(key);
            return;
        }
        // A login may have been told of something later meanwhile.
        if entry.stood_ms <= at.ms {
            entry.stood_ms = at.ms;
            entry.notices = notices;
        }
        entry.ends_ms = ends(&window, at, options);
        entry.known.window = window;
        entry.known.user = user;
    }

    /// Forgets what is over.
    fn sweep(&mut self, at: Moment, options: &Options) {
        self.entries.retain(|_, entry| entry.lives(at, options));
    }

    /// What is over goes; else the eighth that was used longest ago.
    fn make_room(&mut self, at: Moment, options: &Options) {
        self.sweep(at, options);
        if self.entries.len() < MOST {
            return;
        }
        let mut used: Vec<u64> = self.entries.values().map(|entry| entry.used_ms).collect();
        let (_, last, _) = used.select_nth_unstable(MOST / 8);
        let last = *last;
        let mut left = MOST / 8 + 1;
        self.entries.retain(|_, entry| {
            let goes = entry.used_ms <= last && left > 0;
            left -= usize::from(goes);
            !goes
        });
    }
}

impl Entry {
    fn lives(&self, at: Moment, options: &Options) -> bool {
        at.ms.saturating_sub(self.stood_ms) < millis(options.store_away) && at.ms < self.ends_ms
    }
}

/// When a window ends if it is not used again, by the clock that nobody sets.
fn ends(window: &Window, at: Moment, options: &Options) -> u64 {
    let end = window.opened.plus(options.total).min(window.expires);
    let end = end.min(window.last_used.plus(options.idle));
    let left = u64::try_from(end.0.saturating_sub(at.wall.0)).unwrap_or(0);
    at.ms.saturating_add(left.saturating_mul(1_000))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
