//! The gate: a name and a password come in, a proof or a refusal goes out, in front of the backend.
//!
//! | what was typed | what happens |
//! |---|---|
//! | an app password | looked up by its id, one keyed hash; its sealed mail password is opened |
//! | something like one, with a typing mistake | refused, and not counted as a guess |
//! | a password and a code, seen before | a trusted window lets it in |
//! | a password and a right code | the code is consumed and opens a window |
//! | anything else | let through to the backend only where nothing more is asked for |
//!
//! Without a right second factor the backend is never asked, so a refusal says nothing about the main password. An app
//! password never goes to the backend, whatever is asked for. A store that does not answer lets nobody in.

mod attempt;
mod away;
mod by_app_password;
mod by_password;
mod counted;
mod opened;
mod settle;

use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;

use crate::auth::app_password;
use crate::auth::app_password::Typed;
use crate::auth::gate::attempt::Attempt;
use crate::auth::gate::opened::Opened;
use crate::auth::gate::settle::Open;
use crate::auth::gate::settle::Rehash;
use crate::auth::grace::Grace;
use crate::auth::key_ring::KeyRing;
use crate::auth::lease::Lease;
use crate::auth::window;
use crate::auth::wire_code;
use crate::auth::wire_code::Separators;
use crate::policy::factor::Policy;
use crate::store::Before;
use crate::store::Found;
use crate::store::ReplicaId;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::User;
use crate::store::Visit;
use crate::types::Authenticated;
use crate::types::Credentials;
use crate::types::Elsewhere;
use crate::types::Groups;
use crate::types::Refusal;
use crate::types::UnixTime;

pub use attempt::Ahead;
pub use away::Granted;
pub use counted::Counter;
pub use counted::Heard;
pub use settle::Outcome;
pub use settle::Pending;

/// How the gate works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Trusted windows.
    pub windows: window::Options,
    /// What may stand between a password and a code.
    pub separators: Separators,
    /// Whether users who enrolled one-time codes may type them behind the password.
    pub wire_codes: bool,
    /// Whether a name that is not in the store may log in at all, where the policy asks for no second factor. For a
    /// roll-out; otherwise everybody who may log in is listed.
    pub admit_unknown: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            windows: window::Options::default(),
            separators: Separators::default(),
            wire_codes: true,
            admit_unknown: false,
        }
    }
}

/// Where an attempt comes from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The client's address.
    pub ip: IpAddr,
    /// The listener's name.
    pub listener: Arc<str>,
    /// What the client calls itself, if it said so.
    pub client: Option<String>,
    /// Which replica it came to, where there may be others.
    pub replica: Option<ReplicaId>,
    /// What is asked of the user's habits along with the attempt, where rules want to know: [`Memory::visit`].
    ///
    /// [`Memory::visit`]: crate::auth::memory::Memory::visit
    pub visit: Option<Arc<Visit>>,
}

/// Why nobody is let in.
#[derive(Debug, Error)]
pub enum GateError {
    /// The client's doing. It hears one text for all of them.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// Ours: `NO [UNAVAILABLE]`, and it never counts as an attempt.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
    /// The same, where the store has said nothing at all: [`Gate::in_grace`] may be asked.
    #[error(transparent)]
    Away(StoreError),
}

impl From<Refusal> for GateError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Somebody whose second factor was right, or is not asked for. The backend has the last word.
#[derive(Debug)]
pub struct Verified {
    /// For the backend.
    pub authenticated: Authenticated,
    /// For [`Gate::settle`], once the backend has spoken.
    pub pending: Pending,
    /// What the session stands on, for [`Gate::recheck`].
    pub lease: Lease,
    /// The groups that the user is in, for rules.
    pub groups: Groups,
    /// In monitor mode: for what it would have been refused.
    pub monitored: Option<Refusal>,
    /// Sessions that the user has at other replicas.
    pub elsewhere: Elsewhere,
    /// Where the store was not asked, since it is away.
    pub granted: Option<Granted>,
}

/// The gate. Cheap to make anew when options or policy change.
pub struct Gate {
    store: Arc<dyn Store>,
    ring: Arc<KeyRing>,
    options: Options,
    policy: Policy,
    opened: Arc<Opened>,
    grace: Arc<Grace>,
}

impl Gate {
    /// A gate in front of a store, with the policy that says what is asked for.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, ring: Arc<KeyRing>, options: Options, policy: Policy) -> Self {
        Self {
            store,
            ring,
            options,
            policy,
            opened: Arc::default(),
            grace: Arc::default(),
        }
    }

    /// The same gate with other options and another policy.
    #[must_use]
    pub fn with(&self, options: Options, policy: Policy) -> Self {
        Self {
            store: Arc::clone(&self.store),
            ring: Arc::clone(&self.ring),
            options,
            policy,
            opened: Arc::clone(&self.opened),
            grace: Arc::clone(&self.grace),
        }
    }

    /// Checks a name and a password in front of the backend. A one-time code must have been right when it was `typed`, whatever it
    /// had to wait for since.
    ///
    /// The order of the checks shows in the reason of an event, never in what the client sees; the caller makes refusals
    /// equally long.
    ///
    /// # Errors
    /// [`GateError::Refused`] with the true reason; [`GateError::Unavailable`] or [`GateError::Away`] where the store does not answer.
    pub async fn verify(
        &self,
        credentials: &Credentials,
        source: &Source,
        now: UnixTime,
        typed: UnixTime,
    ) -> Result<Verified, GateError> {
        let secret = app_password::read(credentials.secret.expose());
        let (mut attempt, found) = self.look_up(credentials, source, secret.id(), now).await?;
        attempt.basis.typed = typed;
        self.judge(&attempt, &secret, &found).await
    }

    /// The same by what was found when the attempt was heard of. That must have been just now: whoever has waited is to be
    /// looked up again.
    ///
    /// # Errors
    /// As [`Gate::verify`].
    pub async fn verify_ahead(
        &self,
        credentials: &Credentials,
        source: &Source,
        ahead: Ahead,
    ) -> Result<Verified, GateError> {
        let typed = app_password::read(credentials.secret.expose());
        let attempt = Attempt {
            credentials,
            source,
            basis: ahead.basis,
        };
        self.judge(&attempt, &typed, &ahead.found).await
    }

    async fn judge(
        &self,
        attempt: &Attempt<'_>,
        typed: &Typed,
        found: &Found,
    ) -> Result<Verified, GateError> {
        match typed {
            Typed::Mistyped => Err(Refusal::AppPasswordMistyped.into()),
            Typed::AppPassword(typed) => self.by_app_password(attempt, typed, found),
            Typed::Other => self.by_password(attempt, found).await,
        }
    }

    /// All that the store knows of an attempt, and the key that was in force then. Where that is another key than the one
    /// the window was named by, the store is asked once more.
    async fn look_up<'a>(
        &self,
        credentials: &'a Credentials,
        source: &'a Source,
        app_password: Option<u32>,
        now: UnixTime,
    ) -> Result<(Attempt<'a>, Found), GateError> {
        for _ in 0..2 {
            let attempt = self.attempt(credentials, source, now);
            let lookup = attempt.lookup(app_password, Before::Nothing);
            let found = self.store.look_up(lookup).await.map_err(unanswered)?;
            match found.key {
                Some(check) if !attempt.is_of_key(&found) => self.ring.follow(check).await?,
                _ => return Ok((attempt, found)),
            };
        }
        Err(key_moves().into())
    }

    /// Goes by the key that the store says is in force; answers what the store recognises it by.
    ///
    /// # Errors
    /// The store does not answer, or goes by a key that the key file lacks.
    pub async fn follow_key(&self) -> Result<[u8; 32], StoreError> {
        if let Some(check) = self.store.key_in_force().await? {
            self.ring.follow(check).await?;
        }
        Ok(self.ring.in_force().check())
    }

    /// The keys, for a reload.
    #[must_use]
    pub fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// A fingerprint of what was typed, so that limits count the same wrong password once. For memory only.
    #[must_use]
    pub fn guess(&self, credentials: &Credentials) -> u64 {
        self.ring.in_force().guess(&credentials.secret)
    }

    /// True where a one-time code may stand at the end of what was typed, by its form, whoever the user is: the same secret is another
    /// guess in each of a code's time steps then.
    #[must_use]
    pub fn may_end_in_a_code(&self, credentials: &Credentials) -> bool {
        self.options.wire_codes && wire_code::split(&credentials.secret, &self.options.separators).is_some()
    }

    /// A fingerprint of the password that was presented, the same whoever presents it, for rules about one password that is
    /// tried on many users. Never stored. `None` for a well-formed app password, which nobody guesses, and for nothing at all.
    #[must_use]
    pub fn password_hash(&self, credentials: &Credentials) -> Option<u64> {
        let secret = &credentials.secret;
        let is_app_password = matches!(app_password::read(secret.expose()), Typed::AppPassword(_));
        (!is_app_password && !secret.is_empty()).then(|| self.ring.in_force().spray(secret))
    }

    /// The store behind the gate.
    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }
}

/// A store that is away has said nothing of an attempt.
fn unanswered(error: StoreError) -> GateError {
    match error {
        StoreError::Unavailable(_) => GateError::Away(error),
        _ => GateError::Unavailable(error),
    }
}

/// Another key has come in force while a login was looked at.
fn key_moves() -> StoreError {
    StoreError::Unavailable("the key in force has changed meanwhile".to_owned())
}

fn check_user(user: &User, ip: IpAddr) -> Result<(), Refusal> {
    if user.disabled {
        return Err(Refusal::UserDisabled);
    }
    if user
        .networks
        .as_ref()
        .is_some_and(|networks| !networks.contains(ip))
    {
        return Err(Refusal::NetworkDenied);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
