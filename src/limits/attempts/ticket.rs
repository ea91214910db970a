//! The right to look at one attempt, and what came of it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use ipnet::IpNet;

use crate::limits::attempts::Attempts;
use crate::limits::attempts::Told;
use crate::limits::attempts::state::Booking;
use crate::limits::attempts::state::Keys;
use crate::types::Refusal;

/// The right to look at one attempt. Settle it; dropping it settles it as void.
#[must_use = "settle the ticket, or the attempt counts for nothing"]
pub struct Ticket {
    attempts: Arc<Attempts>,
    keys: Keys,
    booking: Booking,
    ip: IpAddr,
    delay: Duration,
}

/// What a failed attempt came to, for events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settled {
    /// False where it did not count: not a guess, or the same wrong secret as before.
    pub counted: bool,
    /// Failures of the prefix that count now; zero where the attempt did not count.
    pub failures: u32,
    /// The network to ban, where `ban_after` says so.
    pub ban: Option<IpNet>,
    /// What other replicas are to be told.
    pub told: Told,
}

impl Ticket {
    pub(super) fn new(
        attempts: Arc<Attempts>,
        keys: Keys,
        booking: Booking,
        ip: IpAddr,
        delay: Duration,
    ) -> Self {
        Self {
            attempts,
            keys,
            booking,
            ip: ip.to_canonical(),
            delay,
        }
    }

    /// How long to wait before looking at the attempt. Zero, except while guesses follow each other closely.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// True where the secret is known to be right from there: nobody guesses who says it again.
    #[must_use]
    pub fn is_right(&self, now: Instant) -> bool {
        let now = self.attempts.origin.tick(now);
        self.attempts.lock().tables.is_right(&self.keys, now)
    }

    /// The secret was right. True where that makes up for what was counted of the user from this source, which other replicas
    /// are to be told.
    pub fn succeeded(self, now: Instant) -> bool {
        let now = self.attempts.origin.tick(now);
        self.attempts.lock().succeeded(&self.keys, now)
    }

    /// The secret was wrong. Call it even where the client has gone in the meantime.
    pub fn failed(self, now: Instant) -> Settled {
        let now = self.attempts.origin.tick(now);
        let failure = self.attempts.lock().failed(&self.keys, now);
        let length = if self.ip.is_ipv4() { 32 } else { 64 };
        Settled {
            counted: failure.is_new,
            failures: failure.of_prefix,
            ban: IpNet::new(self.ip, length)
                .ok()
                .filter(|_| failure.ban)
                .map(|network| network.trunc()),
            told: failure.told,
        }
    }

    /// The attempt was refused: counts where the reason makes it a guess, is void otherwise.
    pub fn refused(self, refusal: Refusal, now: Instant) -> Settled {
        if refusal.is_guess() {
            self.failed(now)
        } else {
            self.void();
            Settled::default()
        }
    }

    /// Nothing was found out: the backend or the store is away, the client gave up. Its slot stays used.
    pub fn void(self) {
        drop(self);
    }
}

/// Its keys are hashes of a name and a secret: not for logs.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("delay", &self.delay)
            .finish_non_exhaustive()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.attempts.lock().release(&self.keys, &self.booking);
    }
}
