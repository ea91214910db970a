//! Login attempts: may this guess be looked at, and when?
//!
//! An attempt passes, in this order, its site (IPv6 /48), its prefix, the (prefix, user) pair, and the account; each has a
//! limit of failures or a slot for one guess at a time, or both. The slots are taken when the attempt is let through, and
//! a guess that is let through counts towards the limits until its [`Ticket`] is settled, so parallel guesses gain nothing.
//!
//! What must never happen is that guessing keeps the owner out. So:
//! - where the user has logged in from before, only the (prefix, user) limits hold, and a spacing that strangers do not share;
//! - the secret that was right from there a moment ago is not limited at all;
//! - a well-formed app password is never held up by what is tried at the account, only by its source;
//! - an account has no limit of failures, only a slot each second for strangers;
//! - the same wrong secret again counts once, and trouble of ours or of the backend never counts. Whoever was cut off while a backend
//!   held the password is the caller's to settle as wrong: nobody can tell a backend that hangs from one that is about to refuse.
//!
//! Limits of failures hold for all replicas together, as far as they have told each other (`elsewhere`); the slots of an
//! account are shared out among them; all other slots are each replica's own.

mod accounts;
mod elsewhere;
mod options;
mod record;
mod state;
mod tables;
#[cfg(test)]
mod tests;
mod ticket;
mod tried;

use std::fmt;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

pub use self::elsewhere::Count;
pub use self::elsewhere::Heard;
pub use self::elsewhere::Told;
pub use self::options::Options;
pub use self::options::PairOptions;
pub use self::options::SourceOptions;
pub use self::ticket::Settled;
pub use self::ticket::Ticket;
pub use self::tried::Tried;

use crate::limits::attempts::elsewhere::Elsewhere;
use crate::limits::attempts::record::Lane;
use crate::limits::attempts::state::Keys;
use crate::limits::attempts::state::State;
use crate::limits::attempts::tables::SHARED_SOURCES;
use crate::limits::tick::Origin;
use crate::types::Prefix;
use crate::types::Refusal;
use crate::types::UserName;

/// One attempt, before anything about it has been verified.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// Where it comes from.
    pub ip: IpAddr,
    /// Who it claims to be.
    pub user: &'a UserName,
    /// A hash of the secret as typed, keyed with a random key of this process, so that it is worthless elsewhere.
    pub secret: u64,
    /// The current time step, where the secret may end in a one-time code by its form, whoever the user is: the same digits are
    /// a new guess in each step.
    pub step: Option<u64>,
    /// The user has logged in from this source before. Never true on the client's word.
    pub known: bool,
    /// The secret is a well-formed app password with a right checksum: it cannot be guessed.
    pub unguessable: bool,
    /// What all replicas have counted together.
    pub heard: Heard,
}

/// Without the hash of the secret.
impl fmt::Debug for Attempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("ip", &self.ip)
            .field("user", &self.user)
            .field("known", &self.known)
            .field("unguessable", &self.unguessable)
            .finish_non_exhaustive()
    }
}

/// Whether an attempt may be looked at.
#[must_use = "an attempt that is looked at without a ticket is not limited"]
#[derive(Debug)]
pub enum Decision {
    /// Yes, after [`Ticket::delay`]; then settle the ticket.
    Go(Ticket),
    /// No: answer as for any wrong password, and look at nothing.
    Refuse(Refused),
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusedBy {
    /// The user's from this source.
    Pair,
    /// The source's: IPv4 address or IPv6 /64.
    Prefix,
    /// The wider source's: IPv6 /48.
    Site,
    /// The account's, for sources unknown to it.
    Account,
    /// The same wrong secret again, too soon.
    Repeat,
}

impl RefusedBy {
    /// All of them, for metrics that must exist from the start.
    pub const ALL: [Self; 5] = [Self::Pair, Self::Prefix, Self::Site, Self::Account, Self::Repeat];

    /// The word in events and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Prefix => "prefix",
            Self::Site => "site",
            Self::Account => "account",
            Self::Repeat => "repeat",
        }
    }
}

/// Why an attempt is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Which limit was reached.
    pub by: RefusedBy,
    /// How long until another attempt may pass, as things are now. For events; the client is not told.
    pub retry_after: Duration,
}

impl Refused {
    /// The refusal in events: always [`Refusal::RateLimited`].
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        Refusal::RateLimited
    }
}

/// What the counters hold, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// (prefix, user) pairs.
    pub pairs: usize,
    /// Prefixes.
    pub prefixes: usize,
    /// Sites.
    pub sites: usize,
    /// Users who somebody failed to log in as.
    pub users: usize,
    /// Memory of all of them, in bytes.
    pub bytes: usize,
    /// How often a prefix found no room and was counted with others, since the start.
    pub crowded: u64,
}

/// All login attempts, shared by all connections.
pub struct Attempts {
    origin: Origin,
    hasher: RandomState,
    state: Mutex<State>,
}

impl Attempts {
    /// Nobody has tried yet. `now` is what later instants are measured from.
    #[must_use]
    pub fn new(options: Options, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            origin: Origin::new(now),
            hasher: RandomState::new(),
            state: Mutex::new(State::new(options)),
        })
    }

    /// Puts new limits in force; what was counted stays counted.
    pub fn set_options(&self, options: Options) {
        self.lock().set_options(options);
    }

    /// How many replicas share the slots of an account: each has its part of them.
    pub fn set_replicas(&self, count: u32) {
        self.lock().replicas = count.max(1);
    }

    /// Asks whether an attempt may be looked at, and takes its slots if so.
    pub fn check(self: &Arc<Self>, attempt: &Attempt<'_>, now: Instant) -> Decision {
        let now = self.origin.tick(now);
        let mut keys = self.keys(attempt);
        let mut state = self.lock();
        keys.exempt = state.options.exempt.contains(attempt.ip);
        keys.elsewhere = attempt.heard.until(&state.options, now);
        match state.book(&keys, now) {
            Ok(booking) => {
                let delay = booking.start.since(now);
                Decision::Go(Ticket::new(Arc::clone(self), keys, booking, attempt.ip, delay))
            }
            Err(refused) => Decision::Refuse(refused),
        }
    }

    /// What was tried at a user's account since somebody last got in: for rules. To be asked before an attempt's own ticket is
    /// settled.
    #[must_use]
    pub fn tried(&self, user: &UserName, now: Instant) -> Tried {
        let now = self.origin.tick(now);
        let user = self.hash_name(user);
        let state = self.lock();
        let account = state.tables.users.get(&user);
        account.map_or_else(Tried::default, |account| account.tried(now))
    }

    /// Forgets what no longer counts. To be called every half minute or so.
    pub fn sweep(&self, now: Instant) {
        let now = self.origin.tick(now);
        // One table at a time: a login that waits for the lock waits for one of them, not for all.
        self.lock().tables.pairs.sweep(now);
        self.lock().tables.prefixes.sweep(now);
        self.lock().tables.sites.sweep(now);
        self.lock().tables.users.sweep(now);
    }

    /// What the counters hold.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let state = self.lock();
        let tables = &state.tables;
        Usage {
            pairs: tables.pairs.len(),
            prefixes: tables.prefixes.len(),
            sites: tables.sites.len(),
            users: tables.users.len(),
            bytes: tables.bytes(),
            crowded: tables.crowded,
        }
    }

    fn keys(&self, attempt: &Attempt<'_>) -> Keys {
        let prefix = Prefix::of(attempt.ip);
        let user = self.hash_name(attempt.user);
        let step = attempt.step.map_or(0, |step| self.hasher.hash_one(step));
        Keys {
            prefix,
            site: attempt.ip.to_canonical().is_ipv6().then(|| prefix.site()),
            user,
            network: self.hash_network(prefix.site()),
            shared_source: stripe(self.hasher.hash_one(prefix), SHARED_SOURCES),
            // Zero is the empty place in an entry.
            secret: attempt.secret.max(1),
            guess: (attempt.secret ^ step).max(1),
            lane: if attempt.unguessable {
                Lane::AppPassword
            } else {
                Lane::Guess
            },
            known: attempt.known,
            exempt: false,
            elsewhere: Elsewhere::default(),
        }
    }

    /// Names that differ in case only are counted as one: for many backends they are one, and an attacker would otherwise
    /// have a slot for each way of writing it.
    fn hash_name(&self, user: &UserName) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for letter in user.as_str().chars().flat_map(char::to_lowercase) {
            hasher.write_u32(u32::from(letter));
        }
        hasher.finish().max(1)
    }

    /// Never zero.
    fn hash_network(&self, site: Prefix) -> u32 {
        let low = self.hasher.hash_one(site) & u64::from(u32::MAX);
        u32::try_from(low).unwrap_or_default().max(1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hundreds of thousands of entries, hashes of secrets among them, are nothing to print.
impl fmt::Debug for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts").finish_non_exhaustive()
    }
}

/// Which of so many places a hash falls on.
fn stripe(hash: u64, places: usize) -> usize {
    u64::try_from(places)
        .ok()
        .and_then(|places| hash.checked_rem(places))
        .and_then(|place| usize::try_from(place).ok())
        .unwrap_or_default()
}
