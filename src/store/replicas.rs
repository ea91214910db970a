//! What several processes on one store tell each other: who is alive, whose sessions are open, which are to end.
//!
//! None of it outlives the processes. A replica holds a lease: what it told counts until the lease ends, so that nothing is
//! left of one that was killed. Leases are measured by the engine's own clock, whatever those of the replicas say.

use std::net::SocketAddr;
use std::time::Duration;

use crate::store::Answer;
use crate::store::Counts;
use crate::store::CountsHeard;
use crate::store::words;
use crate::types::Prefix;
use crate::types::SessionId;
use crate::types::UnixTime;
use crate::types::UserName;

/// Longest text of a client's that is told, in bytes.
const MAX_TEXT: usize = 160;

/// What tells a process from all others that there are or were: 64 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplicaId(pub u64);

/// A session as other replicas are told of it: what an operator is shown, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// Its id in events.
    pub id: SessionId,
    /// Who logged in.
    pub user: UserName,
    /// The account that is open.
    pub account: UserName,
    /// The client's address and port.
    pub client: SocketAddr,
    /// Whether it counts towards the user's limits.
    pub counted: bool,
    /// Since when.
    pub since: UnixTime,
    /// The word for the second factor.
    pub factor: String,
    /// The app password used, with its label. The label is not told: it is read where the app password is.
    pub app_password: Option<(u32, String)>,
    /// The backend's name.
    pub backend: String,
    /// What the client calls itself.
    pub program: Option<String>,
}

impl OpenSession {
    /// The network that it counts for.
    pub(super) fn network(&self) -> String {
        Prefix::of(self.client.ip()).to_string()
    }

    /// The client's word for itself, short, and without what an engine cannot hold.
    pub(super) fn told_program(&self) -> Option<String> {
        let mut kept = self.program.as_ref()?.replace('\0', "");
        kept.truncate(kept.floor_char_boundary(MAX_TEXT));
        Some(kept)
    }
}

/// A replica that says that it lives, and what has changed since it last said so.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// Which.
    pub replica: ReplicaId,
    /// How people call it.
    pub name: String,
    /// How long it counts as alive from now on.
    pub lease: Duration,
    /// Sessions to be known; those that are known already stay as they are.
    pub began: Vec<OpenSession>,
    /// Sessions to be forgotten.
    pub ended: Vec<SessionId>,
    /// By what a store recognises the keys that it has.
    pub keys: Vec<[u8; 32]>,
}

/// A replica that lives, and its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// How people call it.
    pub replica: String,
    /// By what a store recognises the keys that it has; `None` where it does not say: an older program.
    pub keys: Option<Vec<[u8; 32]>>,
}

/// Keys as they are told: hexadecimal words.
pub(super) fn told_keys(keys: &[[u8; 32]]) -> String {
    let words: Vec<String> = keys.iter().map(words::hex).collect();
    words.join(" ")
}

/// Reads what [`told_keys`] wrote.
pub(super) fn heard_keys(told: &str) -> Option<Vec<[u8; 32]>> {
    let keys: Vec<_> = told.split(' ').filter_map(words::of_hex).collect();
    (!keys.is_empty()).then_some(keys)
}

/// Which sessions are to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One.
    Session(SessionId),
    /// All that a user has open.
    User(UserName),
}

/// An operator's word that sessions are to end, wherever they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// Tells it from any other: 64 random bits. A replica obeys each once.
    pub number: u64,
    /// Which sessions.
    pub target: Target,
}

/// How many failures are counted by one attempt: of the user from the source, of the source, of the wider source.
pub const COUNTERS: usize = 3;

/// An attempt that is about to be made.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Where it comes from: what that may be called, keyed hashes that depend on the user.
    pub source: Vec<[u8; 32]>,
    /// When the user was last seen there at the earliest, to be known.
    pub since: UnixTime,
    /// The network, as sessions are counted by it.
    pub from: Prefix,
    /// By what failures are counted: keyed hashes.
    pub counters: [[u8; 32]; COUNTERS],
    /// The trusted window that the credential would have.
    pub window: [u8; 32],
    /// A window that ended before is none.
    pub now: UnixTime,
    /// Not the sessions of this replica.
    pub but_of: ReplicaId,
}

/// What all replicas know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// The user has logged in from the source lately.
    pub knows_source: bool,
    /// Somebody has a session from the network at another replica.
    pub is_used: bool,
    /// The window is open: the credential was right from there.
    pub has_window: bool,
    /// When nothing will be left of what was counted, in milliseconds since 1970; zero where nothing was.
    pub counted_until: [i64; COUNTERS],
}

/// What came of a lease that was renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// False where the lease was not known, or not any more: then nothing that was told before is known either.
    pub was_known: bool,
    /// Replicas that live, this one included.
    pub alive: u32,
}

/// The engines' face towards other processes on the same store.
pub trait Replicas: Send + Sync {
    /// True where other replicas may use the store at any time. An embedded store has one process, but for a moment in which
    /// the next one takes over.
    fn is_shared(&self) -> bool;

    /// Renews a lease, and tells what has changed.
    fn renew(&self, renewal: Renewal) -> Answer<'_, Renewed>;
    /// A replica ends: it is forgotten with all that it told.
    fn leave(&self, replica: ReplicaId) -> Answer<'_, ()>;
    /// All replicas that live, and which keys each has, by their names.
    fn holders(&self) -> Answer<'_, Vec<Holder>>;
    /// The sessions of all other replicas that live, each with its replica's name, oldest first.
    fn sessions_elsewhere(&self, replica: ReplicaId) -> Answer<'_, Vec<(String, OpenSession)>>;
    /// Has sessions ended at other replicas, which are told at once. Answers how many of them are known; an order to end a
    /// session that nobody knows is not given.
    fn kill(&self, replica: ReplicaId, kill: Kill) -> Answer<'_, u32>;
    /// Orders of the last hour.
    fn kills(&self) -> Answer<'_, Vec<Kill>>;
    /// Tells what this replica has counted for rules.
    fn tell_counts(&self, told: Counts) -> Answer<'_, ()>;
    /// What other replicas, also those that are no more, have counted for rules: of all things that have moved since a version.
    /// Zero is the beginning.
    fn hear_counts(&self, replica: ReplicaId, since: i64) -> Answer<'_, CountsHeard>;
}
