//! When an attempt is looked at, and when a refusal is answered.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::attempts::Ticket;
use crate::server::attempt::Attempt;
use crate::server::attempt::Failure;
use crate::server::attempt::Refused;
use crate::server::clock;
use crate::server::login::asked_to_stop;
use crate::types::Refusal;

/// How long before the deadline of a login its time is up, at most: long enough to tell of an attempt, and to have rules judge it.
const TO_TELL: Duration = Duration::from_secs(1);

/// How long before that no attempt begins any more, at most: a backend that has not answered by then had a fair time for it.
const TO_ANSWER: Duration = Duration::from_secs(10);

/// What may still be done in a login.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    /// Nothing that has not begun is looked at.
    pub(super) is_short: Instant,
    /// Nobody is refused in words, and a backend is waited for no longer.
    pub(super) is_up: Instant,
}

impl Time {
    /// That of a login that must be over by `deadline`, of so much time in all.
    pub(super) fn until(deadline: Instant, within: Duration) -> Self {
        let before = |at: Instant, by| at.checked_sub(by).unwrap_or(at);
        let is_up = before(deadline, TO_TELL.min(within / 10));
        Self {
            is_short: before(is_up, TO_ANSWER.min(within / 6)),
            is_up,
        }
    }
}

impl Attempt<'_> {
    /// Waits until it may be looked at. A process that ends waits for nobody.
    pub(super) async fn wait_for_turn(&self, ticket: &Ticket) -> Result<(), Failure> {
        let shared = &self.conversation.shared;
        let mut shutdown = shared.shutdown.subscribe();
        tokio::select! {
            () = tokio::time::sleep(ticket.delay()) => {}
            () = asked_to_stop(&mut shutdown) => return Err(Failure::Unavailable("shutting_down")),
        }
        let _ = self.turn.set(Instant::now());
        self.is_in_time()
    }

    /// Who was banned since the connection was accepted, or while it waited, has no turn.
    pub(super) fn is_welcome(&self) -> Result<(), Failure> {
        let ip = self.conversation.facts.addr.ip();
        let ban = self.conversation.shared.limits.bans.find(ip, clock::unix());
        ban.map_or(Ok(()), |_| Err(Refusal::RateLimited.into()))
    }

    /// What begins when time is short is not looked at, whoever comes and whatever was typed.
    pub(super) fn is_in_time(&self) -> Result<(), Failure> {
        let is_in_time = Instant::now() < self.time.is_short;
        is_in_time.then_some(()).ok_or(Failure::OutOfTime)
    }

    /// Since when it is looked at.
    pub(super) fn looked_at(&self) -> Instant {
        self.turn.get().copied().unwrap_or(self.began)
    }

    /// Every refusal takes a whole number of delays, so that no part of the work shows in its length; and at least as long as a
    /// backend lately took to refuse a password, whether this one was asked or not. That would say who exists, and whether a rule has
    /// refused a right password. How long an attempt waited for its turn says nothing of that. What would be answered when time is
    /// up is not: then nobody hears anything, also whose password the backend has not answered.
    pub(super) async fn wait(&self) -> Refused {
        let shared = &self.conversation.shared;
        let timing = &self.settings.timing;
        let delay = timing.refusal;
        // Whatever a backend took: there must be time to answer.
        let slowest = shared.slowest_refusal.get().min(timing.login / 3);
        let least = self.looked_at() + slowest;
        let mut answer_at = self.began + delay;
        while (answer_at <= Instant::now() || answer_at < least) && !delay.is_zero() {
            answer_at += delay;
        }
        if answer_at >= self.time.is_up {
            return self.time_is_up().await;
        }
        let mut shutdown = shared.shutdown.subscribe();
        tokio::select! {
            () = tokio::time::sleep_until(answer_at) => {}
            () = asked_to_stop(&mut shutdown) => {}
        }
        Refused::ByUs
    }

    /// Waits for the deadline, which ends the connection without a word; or for the end of the process.
    pub(super) async fn time_is_up(&self) -> Refused {
        asked_to_stop(&mut self.conversation.shared.shutdown.subscribe()).await;
        Refused::Unavailable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_has_a_fair_time_and_there_is_time_to_tell_of_it() {
        let deadline = Instant::now() + Duration::from_mins(5);
        for (within, up, short) in [
            (300, 1000, 11_000),
            (60, 1000, 11_000),
            (30, 1000, 6000),
            (6, 600, 1600),
        ] {
            let time = Time::until(deadline, Duration::from_secs(within));
            let before = [time.is_up, time.is_short].map(|at| (deadline - at).as_millis());
            assert_eq!(before, [up, short], "{within}");
        }
    }
}
