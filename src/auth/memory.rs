//! What is remembered of users for rules: how they usually come, what they usually do, and the first sync of each app password.
//!
//! At a login, in this order: the store is asked ([`Memory::visit`], [`Memory::recall`]) before anything about the login is noted,
//! then the verdict, and only for who is let in [`Memory::remember`] and [`Memory::begin`]. Whoever is refused must not become a
//! habit. What sessions do is counted by their [`Meter`]s without a lock and handed to the store by [`Memory::collect`], every second
//! or two.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::auth::key_ring::KeyRing;
use crate::auth::meter::Meter;
use crate::auth::meter::Purse;
use crate::auth::pace::Pace;
use crate::policy::first_sync;
use crate::policy::first_sync::Credential;
use crate::policy::first_sync::Update;
use crate::store::Habit;
use crate::store::Habits;
use crate::store::Note;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Visit;
use crate::store::day_of;
use crate::types::Amounts;
use crate::types::Measure;
use crate::types::Prefix;
use crate::types::UnixTime;
use crate::types::UserName;

/// How long something counts as what a user usually comes with.
pub(super) const LATELY: Duration = Duration::from_hours(90 * 24);

/// How long the purse of an app password is kept after its last session: longer than a login takes from asking the store to
/// its session, so that nobody opens an allowance anew by what the store said before.
const PURSE_LIFE: Duration = Duration::from_mins(5);

/// Longest country, family or fingerprint that is kept, in bytes.
const MAX_TEXT: usize = 64;

/// Somebody who comes, as far as is known.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The user: the owner of an app password, not the account it opens.
    pub user: UserName,
    /// The client's address.
    pub ip: IpAddr,
    /// ISO code of the country.
    pub country: Option<Arc<str>>,
    /// Number of the autonomous system.
    pub asn: Option<u32>,
    /// The family of clients.
    pub family: Option<Arc<str>>,
    /// The TLS client, by its stable fingerprint.
    pub tls_client: Option<Arc<str>>,
    /// The app password in use.
    pub app_password: Option<u32>,
}

/// What is remembered. One for the whole process: it must outlive a reload.
pub struct Memory {
    shared: Arc<Shared>,
    ring: Arc<KeyRing>,
    options: Mutex<first_sync::Options>,
    /// Those in use and those used a moment ago: no more than there are sessions, and app passwords.
    purses: Mutex<HashMap<u32, Kept>>,
    meters: Mutex<Vec<Weak<Meter>>>,
    /// One for each user, or app password of theirs, with sessions.
    paces: Mutex<HashMap<Whose, Weak<Pace>>>,
}

/// What meters need for their last word.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    /// The time of the last call, for meters that are dropped.
    now: AtomicI64,
}

impl Shared {
    pub(super) fn now(&self) -> UnixTime {
        UnixTime(self.now.load(Ordering::Relaxed))
    }
}

/// A user, or an app password of theirs.
type Whose = (UserName, Option<u32>);

struct Kept {
    purse: Arc<Purse>,
    /// When it was last seen in use.
    used: UnixTime,
}

impl Memory {
    /// A memory that is kept in a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, ring: Arc<KeyRing>, options: first_sync::Options) -> Self {
        let now = AtomicI64::default();
        Self {
            shared: Arc::new(Shared { store, now }),
            ring,
            options: Mutex::new(options),
            purses: Mutex::default(),
            meters: Mutex::default(),
            paces: Mutex::default(),
        }
    }

    /// Puts new options in force, for sessions that begin from now on.
    pub fn set_options(&self, options: first_sync::Options) {
        *lock(&self.options) = options;
    }

    /// What is remembered of a visitor, in one read that asks the same whoever comes.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn recall(&self, visitor: &Visitor, now: UnixTime) -> Result<Habits, StoreError> {
        self.shared.store.habits(self.visit(visitor, now)).await
    }

    /// What the store is asked about a visitor.
    #[must_use]
    pub fn visit(&self, visitor: &Visitor, now: UnixTime) -> Visit {
        let from = Prefix::of(visitor.ip);
        Visit {
            network: self.ring.names(|keys| keys.source(&visitor.user, from)),
            anybodys_network: self.ring.names(|keys| keys.network(from)),
            country: visitor.country.as_deref().map(bounded),
            asn: visitor.asn,
            family: visitor.family.as_deref().map(bounded),
            tls_client: visitor.tls_client.as_deref().map(bounded),
            app_password: visitor.app_password,
            user: visitor.user.clone(),
            since: now.minus(LATELY),
            now,
        }
    }

    /// Remembers that somebody was let in. Nobody waits for it.
    pub fn remember(&self, visitor: &Visitor, now: UnixTime) {
        let note = |note| self.shared.store.note(note);
        let user = || visitor.user.clone();
        let from = Prefix::of(visitor.ip);
        note(Note::LoggedIn(user(), now));
        let keys = self.ring.in_force();
        note(Note::NetworkSeen(keys.network(from), now));
        let network = Habit::Network(keys.source(&visitor.user, from));
        let country = visitor.country.as_deref().map(bounded).map(Habit::Country);
        let asn = visitor.asn.map(Habit::Asn);
        let tls_client = visitor.tls_client.as_deref().map(bounded).map(Habit::TlsClient);
        for habit in [Some(network), country, asn, tls_client].into_iter().flatten() {
            note(Note::Came(user(), habit, now));
        }
        if let Some(family) = visitor.family.as_deref() {
            self.remember_family(&visitor.user, family, now);
        }
        note(Note::Did(user(), day_of(now), Amounts::of(Measure::Logins, 1)));
    }

    /// Remembers a family of clients that became known after the login.
    pub fn remember_family(&self, user: &UserName, family: &str, now: UnixTime) {
        let family = Habit::Family(bounded(family));
        self.shared.store.note(Note::Came(user.clone(), family, now));
    }

    /// The meter of a session that begins, with what the store remembered. Says whether it is a first sync.
    #[must_use]
    pub fn begin(&self, visitor: &Visitor, habits: &Habits, now: UnixTime) -> Arc<Meter> {
        self.set_now(now);
        let family = visitor.family.as_deref().map(bounded);
        let found = visitor.app_password.zip(habits.app_password.as_ref());
        let purse = found.map(|(id, found)| {
            let network = self.network_of(id, visitor.ip, found.allowance.as_ref());
            let visit = first_sync::Visit {
                network,
                family: family.as_deref(),
            };
            let credential = Credential {
                created: found.created,
                // The first connections of a new device come together: one that was noted a moment ago, and whose session has
                // not begun, must not make the credential an old one.
                is_used: found.last_used.is_some_and(|last| now >= last.plus(PURSE_LIFE)),
            };
            let purse = self.purse(id, found.allowance.as_ref(), credential, visit, now);
            (purse, network)
        });
        let pace = self.pace(visitor);
        let meter = Meter::new(Arc::clone(&self.shared), visitor.user.clone(), purse, pace);
        meter.client_is(family.as_deref(), now);
        let meter = Arc::new(meter);
        lock(&self.meters).push(Arc::downgrade(&meter));
        meter
    }

    /// The network that an app password comes from: by the name that its allowance has, where it is the same network, also
    /// where it got that name under a key that is not in force any more.
    fn network_of(&self, id: u32, ip: IpAddr, kept: Option<&first_sync::Allowance>) -> [u8; 32] {
        let from = Prefix::of(ip);
        let names = self.ring.names(|keys| keys.first_sync(id, from));
        let same = names
            .into_iter()
            .find(|name| kept.is_some_and(|kept| kept.network == *name));
        same.unwrap_or_else(|| self.ring.in_force().first_sync(id, from))
    }

    /// What the sessions of a credential share that are slowed.
    fn pace(&self, visitor: &Visitor) -> Arc<Pace> {
        let mut paces = lock(&self.paces);
        let known = paces
            .entry((visitor.user.clone(), visitor.app_password))
            .or_default();
        known.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Pace::default());
            *known = Arc::downgrade(&made);
            made
        })
    }

    /// The purse that all sessions of an app password draw from. The first use of an app password opens its allowance.
    fn purse(
        &self,
        id: u32,
        kept: Option<&first_sync::Allowance>,
        credential: Credential,
        visit: first_sync::Visit<'_>,
        now: UnixTime,
    ) -> Arc<Purse> {
        let options = lock(&self.options).clone();
        let mut purses = lock(&self.purses);
        if let Some(known) = purses.get_mut(&id) {
            known.used = now;
            return Arc::clone(&known.purse);
        }
        let found = first_sync::judge(kept, credential, visit, &options, now);
        let allowance = match (kept, found.update) {
            (Some(kept), _) => kept.clone(),
            (None, Some(Update::Open(opened))) => {
                let note = Note::AllowanceOpened(id, opened.clone());
                self.shared.store.note(note);
                opened
            }
            // An app password without a past always opens one.
            (None, _) => first_sync::Allowance::nothing(visit.network, now),
        };
        let purse = Arc::new(Purse::new(id, credential, allowance, options));
        let kept = Kept {
            purse: Arc::clone(&purse),
            used: now,
        };
        purses.insert(id, kept);
        purse
    }

    /// Hands what was counted to the store. To be called every second or two, and before the store's last flush.
    pub fn collect(&self, now: UnixTime) {
        self.set_now(now);
        lock(&self.meters).retain(|meter| match meter.upgrade() {
            Some(meter) => {
                meter.hand_over(now);
                true
            }
            None => false,
        });
        lock(&self.paces).retain(|_, pace| pace.strong_count() > 0);
        lock(&self.purses).retain(|_, kept| {
            if let Some(note) = kept.purse.spent(now) {
                self.shared.store.note(note);
            }
            if Arc::strong_count(&kept.purse) > 1 {
                kept.used = now;
            }
            // A clock that was set back must not keep it for ever.
            now < kept.used.plus(PURSE_LIFE) && now >= kept.used.minus(PURSE_LIFE)
                || Arc::strong_count(&kept.purse) > 1
        });
    }

    fn set_now(&self, now: UnixTime) {
        self.shared.now.store(now.0, Ordering::Relaxed);
    }
}

/// Not longer than is kept, whoever says it.
fn bounded(text: &str) -> Arc<str> {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default().into()
}

/// Nothing is left half done under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
