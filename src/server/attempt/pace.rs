//! When an attempt is looked at, and when a refusal is answered.

use tokio::time::Instant;

use crate::limits::attempts::Ticket;
use crate::server::attempt::Attempt;
use crate::server::attempt::Failure;
use crate::server::attempt::Refused;
use crate::server::clock;
use crate::server::login::asked_to_stop;
use crate::types::Refusal;

impl Attempt<'_> {
    /// Waits until it may be looked at. A process that ends waits for nobody, and who was banned meanwhile has no turn.
    pub(super) async fn wait_for_turn(&self, ticket: &Ticket) -> Result<(), Failure> {
        let shared = &self.conversation.shared;
        let mut shutdown = shared.shutdown.subscribe();
        tokio::select! {
            () = tokio::time::sleep(ticket.delay()) => {}
            () = asked_to_stop(&mut shutdown) => return Err(Failure::Unavailable("shutting_down")),
        }
        let _ = self.turn.set(Instant::now());
        self.is_in_time()?;
        let ip = self.conversation.facts.addr.ip();
        if shared.limits.bans.find(ip, clock::unix()).is_some() {
            return Err(Refusal::RateLimited.into());
        }
        Ok(())
    }

    /// What begins when time is up is not looked at, whoever comes and whatever was typed.
    pub(super) fn is_in_time(&self) -> Result<(), Failure> {
        let is_in_time = Instant::now() < self.patience;
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
        if answer_at >= self.patience {
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
