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

mod by_app_password;
mod by_password;
mod counted;
mod recent;

use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;

use crate::auth::app_password;
use crate::auth::app_password::Typed;
use crate::auth::gate::recent::Recent;
use crate::auth::key_ring::KeyRing;
use crate::auth::keys::Keys;
use crate::auth::lease::Lease;
use crate::auth::window;
use crate::auth::wire_code::Separators;
use crate::policy::factor::Policy;
use crate::store::Counted;
use crate::store::Found;
use crate::store::Habit;
use crate::store::LastUse;
use crate::store::Lookup;
use crate::store::Note;
use crate::store::ReplicaId;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::User;
use crate::store::WindowState;
use crate::types::Authenticated;
use crate::types::Credentials;
use crate::types::Elsewhere;
use crate::types::Groups;
use crate::types::Prefix;
use crate::types::Refusal;
use crate::types::UnixTime;
use crate::types::UserName;

pub use counted::Counter;
pub use counted::Heard;

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
}

/// What is still open until the backend has spoken.
#[must_use = "a window that is not settled stays pending, and a last use is lost"]
#[derive(Debug)]
pub struct Pending {
    user: UserName,
    from: Prefix,
    open: Open,
}

#[derive(Debug)]
enum Open {
    Nothing,
    AppPassword(u32, LastUse, Option<Rehash>),
    Window {
        key: [u8; 32],
        opened: UnixTime,
        state: WindowState,
    },
}

/// The hash of an app password that has none under the key in force.
#[derive(Debug, Clone, Copy)]
struct Rehash {
    /// What bound its public key when it was verified.
    public_key_mac: [u8; 32],
    hash: [u8; 32],
}

/// What the backend said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It let the account in.
    Accepted,
    /// It refused the password.
    Refused,
    /// It could not be asked. Nothing is opened and nothing taken back.
    Unavailable,
}

/// The gate. Cheap to make anew when options or policy change.
pub struct Gate {
    store: Arc<dyn Store>,
    ring: Arc<KeyRing>,
    options: Options,
    policy: Policy,
    recent: Arc<Recent>,
}

/// One attempt, as the steps below see it.
struct Attempt<'a> {
    credentials: &'a Credentials,
    source: &'a Source,
    /// The key that was in force when the store was asked.
    keys: Arc<Keys>,
    window: [u8; 32],
    now: UnixTime,
}

impl Attempt<'_> {
    /// Which sessions of the user's are counted, where there may be some at other replicas.
    fn counted(&self) -> Option<Counted> {
        let from = Prefix::of(self.source.ip);
        self.source.replica.map(|but_of| Counted { but_of, from })
    }
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
            recent: Arc::default(),
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
            recent: Arc::clone(&self.recent),
        }
    }

    /// Checks a name and a password in front of the backend.
    ///
    /// The order of the checks shows in the reason of an event, never in what the client sees; the caller makes refusals
    /// equally long.
    ///
    /// # Errors
    /// [`GateError::Refused`] with the true reason; [`GateError::Unavailable`] where the store does not answer.
    pub async fn verify(
        &self,
        credentials: &Credentials,
        source: &Source,
        now: UnixTime,
    ) -> Result<Verified, GateError> {
        let typed = app_password::read(credentials.secret.expose());
        let app_password = match &typed {
            Typed::AppPassword(typed) => Some(typed.id()),
            Typed::Mistyped | Typed::Other => None,
        };
        let (attempt, found) = self.look_up(credentials, source, app_password, now).await?;
        match typed {
            Typed::Mistyped => Err(Refusal::AppPasswordMistyped.into()),
            Typed::AppPassword(typed) => self.by_app_password(&attempt, &typed, &found),
            Typed::Other => self.by_password(&attempt, &found).await,
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
    ) -> Result<(Attempt<'a>, Found), StoreError> {
        for _ in 0..2 {
            let keys = self.ring.in_force();
            let attempt = Attempt {
                credentials,
                source,
                window: window_of(&keys, credentials, source),
                keys,
                now,
            };
            let lookup = Lookup {
                user: credentials.user.clone(),
                app_password,
                window: Some(attempt.window),
                now,
                counted: attempt.counted(),
            };
            let found = self.store.look_up(lookup).await?;
            match found.key {
                Some(check) if check != attempt.keys.check() => self.ring.follow(check).await?,
                _ => return Ok((attempt, found)),
            };
        }
        Err(key_moves())
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

    /// After the backend has spoken: opens or closes the window, notes the use and the source. What rules ask the
    /// [`Memory`](crate::auth::memory::Memory) about a login must be asked before.
    ///
    /// # Errors
    /// Where the store does not answer: a window then stays pending and ends by itself. The session may go on.
    pub async fn settle(&self, pending: Pending, outcome: Outcome, now: UnixTime) -> Result<(), StoreError> {
        match outcome {
            Outcome::Unavailable => return Ok(()),
            Outcome::Refused => {
                if let Open::Window { key, .. } = pending.open {
                    self.store.close_window(key).await?;
                }
                return Ok(());
            }
            Outcome::Accepted => {}
        }
        let source = self.ring.in_force().source(&pending.user, pending.from);
        let network = Habit::Network(source);
        self.store.note(Note::Came(pending.user, network, now));
        match pending.open {
            Open::Nothing => {}
            Open::AppPassword(id, last_use, rehash) => {
                self.store.note(Note::AppPasswordUsed(id, last_use));
                if let Some(Rehash { public_key_mac, hash }) = rehash {
                    // What cannot be kept now is made again at the next use.
                    let _ = self.store.keep_hash(id, public_key_mac, hash).await;
                }
            }
            Open::Window {
                key,
                opened,
                state: WindowState::Pending,
            } => {
                let expires = opened.plus(self.options.windows.total);
                self.store.open_window(key, now, expires).await?;
            }
            Open::Window {
                key,
                state: WindowState::Open,
                ..
            } => self.store.note(Note::WindowUsed(key, now)),
        }
        Ok(())
    }

    /// A fingerprint of what was typed, so that limits count the same wrong password once. For memory only.
    #[must_use]
    pub fn guess(&self, credentials: &Credentials) -> u64 {
        self.ring.in_force().guess(&credentials.secret)
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

/// The trusted window that credentials would have.
fn window_of(keys: &Keys, credentials: &Credentials, source: &Source) -> [u8; 32] {
    let (user, secret) = (&credentials.user, credentials.secret.expose());
    keys.window(user, secret, Prefix::of(source.ip), &source.listener)
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
