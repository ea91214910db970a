//! How many guesses are too many.

use std::time::Duration;

use crate::types::Networks;

/// Limits of one user from one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairOptions {
    /// Wrong secrets within the window; then one more for each fraction of the window that passes.
    pub failures: u32,
    /// The window.
    pub window: Duration,
    /// Least time between two guesses.
    pub spacing: Duration,
    /// How long the next guess waits after the first wrong one; doubles with each further one.
    pub first_delay: Duration,
    /// The longest such wait.
    pub longest_delay: Duration,
    /// A secret that was wrong before is looked at again only this often; in between it is refused at once, and does not use
    /// up a slot that the right one may need.
    pub repeat_spacing: Duration,
}

impl Default for PairOptions {
    fn default() -> Self {
        Self {
            failures: 5,
            window: Duration::from_secs(15 * 60),
            spacing: Duration::from_secs(1),
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(30),
            repeat_spacing: Duration::from_secs(10),
        }
    }
}

impl PairOptions {
    /// How long one failure counts.
    pub(super) fn step(&self) -> Duration {
        self.window / self.failures.max(1)
    }
}

/// Limits of one source, whoever it tries to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceOptions {
    /// Wrong secrets within the window, multiplied by up to five where other users of the source log in.
    pub failures: u32,
    /// The window.
    pub window: Duration,
    /// Least time between two guesses at users who never logged in from there.
    pub spacing: Duration,
    /// Least time between two guesses at users who did. They are bounded by each user's own limit; this one must let all in who
    /// may connect at once, within the patience: an office after a restart.
    pub known_spacing: Duration,
    /// Least time between two well-formed app passwords. They cannot be guessed: it bounds the work alone.
    pub app_password_spacing: Duration,
}

impl SourceOptions {
    /// How long one failure counts.
    pub(super) fn step(&self) -> Duration {
        self.window / self.failures.max(1)
    }
}

/// All limits on login attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Each (prefix, user).
    pub pair: PairOptions,
    /// Each prefix: an IPv4 address, an IPv6 /64.
    pub prefix: SourceOptions,
    /// Each IPv6 /48.
    pub site: SourceOptions,
    /// Least time between two guesses at one account from sources that it has never logged in from.
    pub account_spacing: Duration,
    /// How long an attempt may be held back for its source's turn; where it would be longer, it is refused. Mail programs wait a
    /// minute for an answer, and ask for another password once they are refused.
    pub patience: Duration,
    /// The same for the account's turn, and for the user's from this source. Longer: who waits for the source has these slots from then
    /// on, and must not shut out by that whoever comes meanwhile.
    pub account_patience: Duration,
    /// How long a right secret, and who logged in from where, is remembered.
    pub memory: Duration,
    /// Suggest a ban of the prefix after so many failures without any success. Off by default: a ban hits everyone behind
    /// an address.
    pub ban_after: Option<u32>,
    /// Probes, trusted proxies, webmail: counted by (prefix, user) spacing and by account, never as a source.
    pub exempt: Networks,
    /// How many pairs, and how many prefixes, are remembered.
    pub capacity: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pair: PairOptions::default(),
            prefix: SourceOptions {
                failures: 50,
                window: Duration::from_secs(30 * 60),
                spacing: Duration::from_secs(1),
                known_spacing: Duration::from_millis(100),
                app_password_spacing: Duration::from_millis(10),
            },
            site: SourceOptions {
                failures: 200,
                window: Duration::from_secs(30 * 60),
                spacing: Duration::from_millis(250),
                known_spacing: Duration::from_millis(25),
                app_password_spacing: Duration::from_micros(2_500),
            },
            account_spacing: Duration::from_secs(1),
            patience: Duration::from_secs(20),
            account_patience: Duration::from_secs(25),
            memory: Duration::from_secs(30 * 60),
            ban_after: None,
            exempt: Networks::default(),
            capacity: 200_000,
        }
    }
}
