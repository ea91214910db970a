//! What is remembered of a (source, user) pair and of a source: levels, slots, and secrets as keyed hashes.
//!
//! Never a name, never a secret: an entry has a fixed size whatever a stranger sends.

use std::time::Duration;

use crate::limits::attempts::options::PairOptions;
use crate::limits::attempts::options::SourceOptions;
use crate::limits::bounded::Entry;
use crate::limits::tick::Tick;

/// How many wrong secrets of a pair are remembered.
const WRONG: usize = 10;

/// How many right secrets of a pair are remembered: the devices behind one address.
const RIGHT: usize = 4;

/// How many attempts may go along with one that is being looked at. Clients open five to ten connections at once; hundreds of
/// the same guess are no client, and would all reach the backend of a user without a second factor.
const FOLLOWERS: u8 = 15;

/// How many guesses of a pair may be let through at once.
const AHEAD: u16 = 5;

/// How many users who logged in from a source are remembered.
const FRIENDS: usize = 4;

/// Failures that drain away evenly: so many in a window, and one more for each `step` that passes. Kept as the time when
/// none will be left.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Level(Tick);

impl Level {
    /// One more failure, up to a ceiling that keeps the time of forgiveness within reach.
    pub(super) fn add(&mut self, now: Tick, step: Duration, ceiling: u32) {
        let more = self.0.max(now).plus(step);
        self.0 = more.min(now.plus(step.saturating_mul(ceiling)));
    }

    /// Failures that have not drained away, rounded up.
    pub(super) fn count(self, now: Tick, step: Duration) -> u32 {
        let pending = self.0.since(now).as_nanos();
        u32::try_from(pending.div_ceil(step.as_nanos().max(1))).unwrap_or(u32::MAX)
    }

    /// The same or what was counted elsewhere, whichever is more.
    fn or(self, elsewhere: Tick) -> Self {
        Self(self.0.max(elsewhere))
    }

    /// How long until fewer than `limit` are left.
    fn falls_below(self, limit: u32, now: Tick, step: Duration) -> Duration {
        let allowed = step.saturating_mul(limit.saturating_sub(1));
        self.0.since(now).saturating_sub(allowed)
    }

    fn is_empty(self, now: Tick) -> bool {
        self.0 <= now
    }
}

/// One user from one source.
#[derive(Debug, Clone, Default)]
pub(super) struct Pair {
    /// Wrong guesses.
    pub(super) level: Level,
    /// When the next guess may be looked at.
    pub(super) next: Tick,
    /// When a secret that is known to be wrong may be tried once more.
    pub(super) repeat: Tick,
    /// The last wrong secrets; zero is none.
    wrong: [u64; WRONG],
    newest_wrong: u8,
    /// The last right secrets, until when; zero is none.
    right: [u64; RIGHT],
    newest_right: u8,
    right_until: Tick,
    /// The guess that was let through last, when it is or was looked at, and how many went along.
    flight: u64,
    flight_at: Tick,
    followers: u8,
    /// Guesses let through and not settled.
    outstanding: u16,
    /// Until when the memory of secrets is worth keeping.
    pub(super) useful_until: Tick,
}

impl Pair {
    /// True where the secret was right from here not long ago.
    pub(super) fn is_right(&self, secret: u64, now: Tick) -> bool {
        now < self.right_until && self.right.contains(&secret)
    }

    /// True where the guess was wrong before.
    pub(super) fn is_wrong(&self, guess: u64) -> bool {
        self.wrong.contains(&guess)
    }

    /// When the very same guess is being looked at already: a client that opens five connections with one password makes
    /// one guess.
    pub(super) fn follow(&mut self, guess: u64, now: Tick, spacing: Duration) -> Option<Tick> {
        let fresh = self.outstanding > 0 || now < self.flight_at.plus(spacing);
        if self.flight != guess || !fresh || self.followers >= FOLLOWERS {
            return None;
        }
        self.followers += 1;
        Some(self.flight_at.max(now))
    }

    /// Lets an attempt through at `start`. One that can be a guess takes the slot and is outstanding until it lands.
    pub(super) fn take_off(&mut self, guess: u64, start: Tick, lane: Lane, spacing: Duration) {
        self.flight = guess;
        self.flight_at = start;
        self.followers = 0;
        if lane == Lane::Guess {
            self.outstanding = self.outstanding.saturating_add(1);
            self.next = self.next.max(start.plus(spacing));
        }
    }

    /// A guess that was outstanding is settled.
    pub(super) fn land(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    /// True where a wrong secret is remembered.
    pub(super) fn has_failed(&self) -> bool {
        self.wrong.iter().any(|wrong| *wrong != 0)
    }

    /// Remembers a wrong secret. False where it was remembered already.
    pub(super) fn remember_wrong(&mut self, guess: u64, secret: u64) -> bool {
        for right in self.right.iter_mut().filter(|right| **right == secret) {
            *right = 0;
        }
        let is_new = !self.is_wrong(guess);
        if is_new {
            remember(&mut self.wrong, &mut self.newest_wrong, guess);
        }
        is_new
    }

    /// Counts a wrong guess and makes the next one wait: a second, two, four, up to the longest.
    pub(super) fn penalise(&mut self, now: Tick, options: &PairOptions) {
        self.level.add(now, options.step(), options.failures.max(1));
        let doublings = self.level.count(now, options.step()).saturating_sub(1);
        let delay = options
            .first_delay
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(options.longest_delay);
        self.next = self.next.max(now.plus(delay));
    }

    /// A right secret clears what was counted, if it could have been guessed and is a new one. The secrets that were right
    /// before and app passwords change nothing: an attacker behind the same address would get fresh guesses whenever one of the
    /// owner's devices reconnects.
    /// True where it did.
    pub(super) fn remember_right(&mut self, secret: u64, lane: Lane, now: Tick, memory: Duration) -> bool {
        if now >= self.right_until {
            self.right = [0; RIGHT];
        }
        self.right_until = now.plus(memory);
        if self.right.contains(&secret) {
            return false;
        }
        remember(&mut self.right, &mut self.newest_right, secret);
        if lane == Lane::Guess {
            self.level = Level::default();
            self.next = now;
        }
        lane == Lane::Guess
    }

    /// How long until another guess fits below the limit, counting those that are being looked at; `None`: now. Few may wait, however
    /// high the limit: those know nothing of the delay that the ones before them will have earned.
    pub(super) fn full_for(&self, elsewhere: Tick, now: Tick, options: &PairOptions) -> Option<Duration> {
        let limit = options.failures.max(1);
        let level = self.level.or(elsewhere);
        let used = level.count(now, options.step()) + u32::from(self.outstanding);
        if used >= limit {
            return Some(level.falls_below(limit, now, options.step()));
        }
        (self.outstanding >= AHEAD).then_some(options.spacing)
    }
}

impl Entry for Pair {
    fn is_pending(&self, now: Tick) -> bool {
        self.outstanding > 0 || !self.level.is_empty(now) || self.next > now
    }

    fn is_useful(&self, now: Tick) -> bool {
        now < self.useful_until
    }
}

/// Whether a secret can be guessed at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// A password, a code.
    Guess,
    /// A well-formed app password: at least 112 random bits.
    AppPassword,
}

/// Puts a hash in the place of the oldest.
fn remember<const N: usize>(ring: &mut [u64; N], newest: &mut u8, hash: u64) {
    *newest = newest
        .wrapping_add(1)
        .checked_rem(u8::try_from(N).unwrap_or(u8::MAX))
        .unwrap_or_default();
    if let Some(oldest) = ring.get_mut(usize::from(*newest)) {
        *oldest = hash;
    }
}

/// Which of a source's slots an attempt needs. Those of one kind never wait for those of another, so that strangers who guess
/// do not hold up who is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// Guesses at users who never logged in from here.
    Stranger,
    /// Well-formed app passwords, whoever's.
    AppPassword,
    /// Guesses at users who did log in from here.
    Known,
}

/// One prefix, one site, or all those that find no room.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    level: Level,
    /// The next free slot of each queue.
    next_stranger: Tick,
    next_app_password: Tick,
    next_known: Tick,
    /// Users, as keyed hashes, who logged in from here; zero is none.
    friends: [u64; FRIENDS],
    newest: u8,
    friends_until: Tick,
    /// Guesses let through and not settled.
    outstanding: u16,
}

impl Source {
    /// True where the user logged in from here within the window.
    pub(super) fn is_friend(&self, user: u64, now: Tick) -> bool {
        now < self.friends_until && self.friends.contains(&user)
    }

    /// True where anybody did.
    pub(super) fn has_friends(&self, now: Tick) -> bool {
        now < self.friends_until && self.friends.iter().any(|friend| *friend != 0)
    }

    /// A user logged in from here.
    pub(super) fn befriend(&mut self, user: u64, now: Tick, window: Duration) {
        if now >= self.friends_until {
            self.friends = [0; FRIENDS];
        }
        self.friends_until = now.plus(window);
        if !self.friends.contains(&user) {
            remember(&mut self.friends, &mut self.newest, user);
        }
    }

    /// The limit of failures, multiplied where other users of the same source log in: an office is many people.
    fn limit(&self, user: u64, now: Tick, options: &SourceOptions) -> u32 {
        let others = if now < self.friends_until {
            self.friends
                .iter()
                .filter(|friend| ![0, user].contains(friend))
                .count()
        } else {
            0
        };
        let scale = u32::try_from(others).unwrap_or_default() + 1;
        options.failures.max(1).saturating_mul(scale)
    }

    /// How long until another attempt at a user fits below the limit; `None`: now. What is being looked at counts for strangers'
    /// guesses: many at once must not get past the limit together. What cannot be guessed gains nothing by that, and an office that
    /// comes at once would be shut out for it.
    pub(super) fn full_for(
        &self,
        user: u64,
        queue: Queue,
        elsewhere: Tick,
        now: Tick,
        options: &SourceOptions,
    ) -> Option<Duration> {
        let pending = match queue {
            Queue::Stranger => self.outstanding,
            Queue::AppPassword | Queue::Known => 0,
        };
        let limit = self.limit(user, now, options);
        let level = self.level.or(elsewhere);
        let used = level.count(now, options.step()) + u32::from(pending);
        (used >= limit).then(|| level.falls_below(limit, now, options.step()))
    }

    /// True where failures alone have used the limit up.
    pub(super) fn is_full(&self, user: u64, elsewhere: Tick, now: Tick, options: &SourceOptions) -> bool {
        self.full_for(user, Queue::AppPassword, elsewhere, now, options)
            .is_some()
    }

    /// When the next slot of the queue is free.
    pub(super) fn next(&self, queue: Queue) -> Tick {
        match queue {
            Queue::Stranger => self.next_stranger,
            Queue::AppPassword => self.next_app_password,
            Queue::Known => self.next_known,
        }
    }

    /// Takes the slot at `start`.
    pub(super) fn take(&mut self, queue: Queue, start: Tick, options: &SourceOptions) {
        let (next, spacing) = match queue {
            Queue::Stranger => (&mut self.next_stranger, options.spacing),
            Queue::AppPassword => (&mut self.next_app_password, options.app_password_spacing),
            Queue::Known => (&mut self.next_known, options.known_spacing),
        };
        *next = start.plus(spacing).max(*next);
    }

    /// A guess is outstanding: it counts towards the limit until it is settled.
    pub(super) fn hold(&mut self) {
        self.outstanding = self.outstanding.saturating_add(1);
    }

    /// A guess that was outstanding is settled.
    pub(super) fn land(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    /// Counts a failure.
    pub(super) fn penalise(&mut self, now: Tick, options: &SourceOptions) {
        let ceiling = options
            .failures
            .max(1)
            .saturating_mul(u32::try_from(FRIENDS).unwrap_or_default() + 1);
        self.level.add(now, options.step(), ceiling);
    }

    /// Failures that count now, here or where more were counted.
    pub(super) fn failures(&self, elsewhere: Tick, now: Tick, options: &SourceOptions) -> u32 {
        self.level.or(elsewhere).count(now, options.step())
    }
}

impl Entry for Source {
    fn is_pending(&self, now: Tick) -> bool {
        self.outstanding > 0
            || !self.level.is_empty(now)
            || self
                .next_stranger
                .max(self.next_app_password)
                .max(self.next_known)
                > now
    }

    fn is_useful(&self, now: Tick) -> bool {
        self.has_friends(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::default().plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_level_counts_up_and_drains_evenly() {
        let step = Duration::from_secs(10);
        let mut level = Level::default();
        for expected in [1, 2, 3, 4, 4] {
            level.add(at(100), step, 4);
            assert_eq!(level.count(at(100), step), expected);
        }
        for (second, expected) in [(109, 4), (110, 3), (129, 2), (140, 0), (500, 0)] {
            assert_eq!(level.count(at(second), step), expected, "{second}");
        }
        assert_eq!(level.falls_below(3, at(100), step), Duration::from_secs(20));
        assert_eq!(level.falls_below(3, at(130), step), Duration::ZERO);
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let options = PairOptions {
            failures: 20,
            window: Duration::from_secs(20_000),
            ..PairOptions::default()
        };
        let mut pair = Pair::default();
        let delays: Vec<u64> = (0..8)
            .map(|_| {
                pair.penalise(at(100), &options);
                pair.next.since(at(100)).as_secs()
            })
            .collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn the_last_ten_wrong_secrets_are_remembered() {
        let mut pair = Pair::default();
        for secret in 1..=11 {
            assert!(pair.remember_wrong(secret, secret));
        }
        assert!(!pair.is_wrong(1));
        assert!((2..=11).all(|secret| pair.is_wrong(secret)));
        assert!(!pair.remember_wrong(5, 5));
    }

    #[test]
    fn entries_stay_small() {
        assert!(size_of::<Pair>() <= 192, "{}", size_of::<Pair>());
        assert!(size_of::<Source>() <= 88, "{}", size_of::<Source>());
    }
}
