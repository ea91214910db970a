//! What replicas count together for rules, as the store keeps it: of each thing what each replica has counted, in that replica's own
//! words. The store reads none of it. Things are keyed hashes, and times are the engine's own.

use std::time::Duration;

use crate::store::ReplicaId;

/// Most that is told in one transaction.
pub const MOST_TOLD: usize = 1_000;

/// Most things that are heard of at once; more than what is told in one transaction.
pub const MOST_HEARD: usize = 2_000;

/// Longest report of one thing, in bytes.
pub(super) const MOST_BYTES: usize = 16 * 1024;

/// What a replica has counted of one thing, in place of what it said before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// By which rule.
    pub rule: u64,
    /// Of what.
    pub key: u64,
    /// The counts.
    pub state: Vec<u8>,
    /// How long they matter.
    pub lasts: Duration,
}

/// What a replica tells.
#[derive(Debug, Clone)]
pub struct Counts {
    /// Which.
    pub replica: ReplicaId,
    /// When it has counted so, by whatever clock of its own: what is older never takes the place of what is newer.
    pub at_ms: u64,
    /// Each thing once; no more than [`MOST_TOLD`].
    pub counts: Vec<Count>,
}

/// What another replica has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountHeard {
    /// By which rule.
    pub rule: u64,
    /// Of what.
    pub key: u64,
    /// The counts.
    pub state: Vec<u8>,
    /// How long ago they were told.
    pub age: Duration,
}

/// What was told since a version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CountsHeard {
    /// Of each thing of which any other replica has told something new, what all of them have told. Side by side.
    pub counts: Vec<CountHeard>,
    /// Where to go on.
    pub version: i64,
    /// There is more to be heard at once.
    pub has_more: bool,
}

/// A row that was read: and in which version its thing was last told of.
pub(super) struct Row {
    pub(super) count: CountHeard,
    pub(super) moved: i64,
}

impl CountsHeard {
    /// From rows in the order of their versions and things, and the version that there was before they were read.
    pub(super) fn of(rows: Vec<Row>, version: i64) -> Self {
        let things = rows
            .chunk_by(|one, other| one.count.key == other.count.key)
            .count();
        let last = rows.last().map_or(version, |row| row.moved);
        let has_more = things >= MOST_HEARD;
        Self {
            counts: rows.into_iter().map(|row| row.count).collect(),
            // There may be more things of the last version than were read.
            version: if has_more { last.saturating_sub(1) } else { version },
            has_more,
        }
    }
}

/// Milliseconds as the engines keep them.
pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// A span that an engine has measured.
pub(super) fn span(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
