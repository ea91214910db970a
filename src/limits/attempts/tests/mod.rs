//! What an attacker, an owner and an office see of the limits.

mod counting;
mod elsewhere;
mod flood;
mod owner;

use super::*;
use crate::types::Networks;

/// The office, the owner's home, an attacker.
const OFFICE: &str = "192.0.2.1";
const ATTACKER: &str = "203.0.113.7";

struct World {
    attempts: Arc<Attempts>,
    base: Instant,
    now: Duration,
}

/// A guess as the tests write it.
#[derive(Clone, Copy)]
struct Try<'a> {
    ip: &'a str,
    user: &'a str,
    secret: u64,
    step: Option<u64>,
    known: bool,
    unguessable: bool,
    heard: Heard,
}

fn guess<'a>(ip: &'a str, user: &'a str, secret: u64) -> Try<'a> {
    Try {
        ip,
        user,
        secret,
        step: None,
        known: false,
        unguessable: false,
        heard: Heard::default(),
    }
}

fn known<'a>(ip: &'a str, user: &'a str, secret: u64) -> Try<'a> {
    Try {
        known: true,
        ..guess(ip, user, secret)
    }
}

fn app_password<'a>(ip: &'a str, user: &'a str, secret: u64) -> Try<'a> {
    Try {
        unguessable: true,
        ..guess(ip, user, secret)
    }
}

/// No waiting: what is not free now is refused.
fn impatient() -> Options {
    Options {
        patience: Duration::ZERO,
        account_patience: Duration::ZERO,
        ..Options::default()
    }
}

impl World {
    fn new(options: Options) -> Self {
        let base = Instant::now();
        Self {
            attempts: Attempts::new(options, base),
            base,
            now: Duration::from_secs(100),
        }
    }

    fn instant(&self) -> Instant {
        self.base + self.now
    }

    fn pass(&mut self, span: Duration) {
        self.now += span;
    }

    fn check(&self, attempt: Try<'_>) -> Result<Ticket, RefusedBy> {
        let user = UserName::parse(attempt.user.as_bytes()).unwrap();
        let attempt = Attempt {
            ip: attempt.ip.parse().unwrap(),
            user: &user,
            secret: attempt.secret,
            step: attempt.step,
            known: attempt.known,
            unguessable: attempt.unguessable,
            heard: attempt.heard,
        };
        match self.attempts.check(&attempt, self.instant()) {
            Decision::Go(ticket) => Ok(ticket),
            Decision::Refuse(refused) => Err(refused.by),
        }
    }

    fn fail(&self, attempt: Try<'_>) -> Result<Settled, RefusedBy> {
        self.check(attempt).map(|ticket| ticket.failed(self.instant()))
    }

    fn succeed(&self, attempt: Try<'_>) -> Result<(), RefusedBy> {
        let ticket = self.check(attempt)?;
        ticket.succeeded(self.instant());
        Ok(())
    }

    /// Guesses on and on for a time, as fast as allowed, and says how many were looked at.
    fn storm(&mut self, span: Duration, mut attempt: impl FnMut(u64) -> Vec<(String, String)>) -> u64 {
        let end = self.now + span;
        let (mut looked_at, mut secret) = (0, 1_000_000);
        while self.now < end {
            for (ip, user) in attempt(secret) {
                secret += 1;
                looked_at += u64::from(self.fail(guess(&ip, &user, secret)).is_ok());
            }
            self.pass(Duration::from_millis(500));
        }
        looked_at
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
