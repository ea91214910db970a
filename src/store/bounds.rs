//! How much is kept, and for how long: the same for every engine.

const DAY: i64 = 24 * 3600;

/// Habits remembered of one user and kind, the last used.
pub(super) const HABITS_PER_KIND: i64 = 64;

/// How long a habit is remembered after its last use: longer than any account may be quiet without being noticed.
pub(super) const HABIT_LIFE: i64 = 365 * DAY;

/// How long the last login of a user is remembered.
pub(super) const LOGIN_LIFE: i64 = 3 * HABIT_LIFE;

/// Networks remembered of everybody together, the last seen.
pub(super) const NETWORKS: i64 = 100_000;

/// How many days of what users did are kept.
pub(super) const USAGE_DAYS: i64 = 90;

/// Far beyond what anybody does in a day, and far from what an engine can add up.
pub(super) const MOST_USAGE: i64 = 1 << 60;

/// Bans that may be kept: more than any list an operator writes, and few enough to load at once.
pub(super) const BANS: i64 = 100_000;

/// How long a one-time secret waits for its first code.
pub(super) const ENROLMENT_LIFE: i64 = DAY;

/// How long an app password that ended is kept, so that its owner and events can still name it.
pub(super) const ENDED_LIFE: i64 = 365 * DAY;

/// How long an order to end sessions is kept: longer than any replica that still has sessions is without the store, but for
/// one that is cut off.
pub(super) const KILL_LIFE: i64 = 3600;

/// Orders to end sessions that are kept at once.
pub(super) const KILLS: i64 = 10_000;

/// How long after its lease a replica is forgotten with its sessions.
pub(super) const DEAD_LIFE: i64 = 60;

/// What replicas have counted for rules, kept at once: of each thing, by each replica. What was told longest ago goes first.
pub(super) const COUNTS: i64 = if cfg!(test) { 3_000 } else { 100_000 };

/// Counters of failures that are kept at once. Failures by others are counted by each replica alone.
pub(super) const FAILURES: i64 = 200_000;
