//! Trusted windows: how long the very same credential is let in again after one code.
//!
//! A mail client opens five to ten connections with one stored password, two of them in the same millisecond, and reconnects
//! all day. Its window opens when the code is consumed, pending until the backend has accepted the password, and is bound to
//! the user, every byte of the credential, the client's network and the listener. Using it never makes it longer.

use std::time::Duration;

use crate::store::NewWindow;
use crate::store::Window;
use crate::store::WindowState;
use crate::types::UnixTime;
use crate::types::UserName;

/// How long windows live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// From the code to the end, whatever happens.
    pub total: Duration,
    /// Without use.
    pub idle: Duration,
    /// How long a pending one waits for the backend's verdict; also through a short outage of the backend.
    pub pending: Duration,
    /// How many a user may have: devices that typed a code today.
    pub per_user: u32,
    /// How long one is honoured by a process that knows of it while the store is away. Zero is never.
    pub store_away: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            total: Duration::from_hours(12),
            idle: Duration::from_hours(2),
            pending: Duration::from_mins(5),
            per_user: 32,
            store_away: Duration::ZERO,
        }
    }
}

impl Options {
    /// A window that a code opens now.
    pub(super) fn pending(&self, key: [u8; 32], now: UnixTime) -> NewWindow {
        NewWindow {
            key,
            opened: now,
            expires: now.plus(self.pending.min(self.total)),
            idle_since: now.minus(self.idle),
            keep: self.per_user.max(1),
        }
    }

    /// True where the window lets its credential in now.
    ///
    /// The options in force count, not those of the day it opened: shortening them takes effect at once.
    pub(super) fn admits(&self, window: &Window, user: &UserName, now: UnixTime) -> bool {
        let life = match window.state {
            WindowState::Pending => self.pending.min(self.total),
            WindowState::Open => self.total,
        };
        window.user == *user
            && now < window.expires
            && now < window.opened.plus(life)
            && now < window.last_used.plus(self.idle)
            // A clock that was set back must not make windows longer than they are.
            && now >= window.opened.minus(Duration::from_mins(5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        UserName::parse(text.as_bytes()).unwrap()
    }

    fn window(state: WindowState) -> Window {
        Window {
            user: name("alice"),
            state,
            opened: UnixTime(10_000),
            expires: UnixTime(10_000 + 12 * 3600),
            last_used: UnixTime(10_000),
        }
    }

    #[test]
    fn a_window_ends_after_its_total_life_and_after_idle_time() {
        let options = Options::default();
        let alice = name("alice");
        let mut open = window(WindowState::Open);
        assert!(options.admits(&open, &alice, UnixTime(10_000 + 7_199)));
        assert!(!options.admits(&open, &alice, UnixTime(10_000 + 7_200)));
        open.last_used = UnixTime(10_000 + 43_100);
        assert!(options.admits(&open, &alice, UnixTime(10_000 + 43_199)));
        assert!(!options.admits(&open, &alice, UnixTime(10_000 + 43_200)));
    }

    #[test]
    fn a_pending_window_waits_minutes_not_hours() {
        let options = Options::default();
        let pending = window(WindowState::Pending);
        assert!(options.admits(&pending, &name("alice"), UnixTime(10_299)));
        assert!(!options.admits(&pending, &name("alice"), UnixTime(10_300)));
    }

    #[test]
    fn a_window_is_for_its_user_and_its_time() {
        let options = Options::default();
        let open = window(WindowState::Open);
        assert!(!options.admits(&open, &name("bob"), UnixTime(10_001)));
        assert!(!options.admits(&open, &name("alice"), UnixTime(5_000)));
        let shorter = Options {
            total: Duration::from_mins(10),
            ..Options::default()
        };
        assert!(!shorter.admits(&open, &name("alice"), UnixTime(10_600)));
    }
}
