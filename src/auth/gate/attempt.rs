//! One attempt: what it goes by, and what the store is asked about it.

use std::fmt;
use std::sync::Arc;

use crate::auth::gate::Gate;
use crate::auth::gate::Source;
use crate::auth::grace::Moment;
use crate::auth::keys::Keys;
use crate::store::Before;
use crate::store::Counted;
use crate::store::Found;
use crate::store::Habits;
use crate::store::Lookup;
use crate::types::Credentials;
use crate::types::Prefix;
use crate::types::UnixTime;

/// One attempt, as the steps of the gate see it.
pub(super) struct Attempt<'a> {
    pub(super) credentials: &'a Credentials,
    pub(super) source: &'a Source,
    pub(super) basis: Basis,
}

/// What an attempt goes by, from the moment in which the store was asked.
pub(super) struct Basis {
    /// The key that was in force.
    pub(super) keys: Arc<Keys>,
    pub(super) window: [u8; 32],
    pub(super) now: UnixTime,
    /// When it was typed: a one-time code was right then or never.
    pub(super) typed: UnixTime,
    /// The moment in which the store was asked, by the clock that nobody sets.
    pub(super) at: Moment,
    /// The store's notices before that.
    pub(super) notices: u64,
}

/// What the store was asked about an attempt before anybody had leave to look at it, and what it said.
pub struct Ahead {
    pub(super) basis: Basis,
    pub(super) found: Found,
}

impl Ahead {
    /// What is remembered of the visit that was asked for, once.
    pub fn take_habits(&mut self) -> Option<Habits> {
        self.found.habits.take()
    }
}

/// What is found of somebody is nothing to print.
impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ahead").finish_non_exhaustive()
    }
}

impl Attempt<'_> {
    /// What the store is asked about it.
    pub(super) fn lookup(&self, app_password: Option<u32>, before: Before) -> Lookup {
        Lookup {
            user: self.credentials.user.clone(),
            app_password,
            window: Some(self.basis.window),
            now: self.basis.now,
            counted: self.counted(),
            before,
            visit: None,
        }
    }

    /// True where what was found was said under the key that the attempt goes by.
    pub(super) fn is_of_key(&self, found: &Found) -> bool {
        found.key.is_none_or(|check| check == self.basis.keys.check())
    }

    /// What was found, to go on with; `None` where another key is in force than the one that it was asked with.
    pub(super) fn ahead(self, found: Found) -> Option<Ahead> {
        let basis = self.is_of_key(&found).then_some(self.basis);
        basis.map(|basis| Ahead { basis, found })
    }

    /// Which sessions of the user's are counted, where there may be some at other replicas.
    pub(super) fn counted(&self) -> Option<Counted> {
        let from = Prefix::of(self.source.ip);
        self.source.replica.map(|but_of| Counted { but_of, from })
    }
}

impl Gate {
    /// An attempt that the store is about to be asked about.
    pub(super) fn attempt<'a>(
        &self,
        credentials: &'a Credentials,
        source: &'a Source,
        now: UnixTime,
    ) -> Attempt<'a> {
        let keys = self.ring.in_force();
        let basis = Basis {
            window: window_of(&keys, credentials, source),
            keys,
            now,
            typed: now,
            at: self.grace.at(now),
            notices: self.store.notices(),
        };
        Attempt {
            credentials,
            source,
            basis,
        }
    }
}

/// The trusted window that credentials would have.
fn window_of(keys: &Keys, credentials: &Credentials, source: &Source) -> [u8; 32] {
    let (user, secret) = (&credentials.user, credentials.secret.expose());
    keys.window(user, secret, Prefix::of(source.ip), &source.listener)
}
