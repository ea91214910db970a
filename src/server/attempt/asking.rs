//! An attempt at the backend, and what it comes to where nobody waits for its end.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::limits::attempts::Ticket;
use crate::server::attempt::Attempt;
use crate::server::attempt::Failure;
use crate::types::SecondFactor;
use crate::types::UserName;

/// An attempt that a backend is asked about. Whoever is cut off by a deadline after the backend was given a password, and before it has
/// answered, has made a guess all the same: a right one is answered sooner than a wrong one, so that the wrong ones alone would be
/// spared.
pub(super) struct Asking<'a> {
    attempt: &'a Attempt<'a>,
    user: &'a UserName,
    ticket: Option<Ticket>,
    since: Instant,
    /// The backend has been given the password.
    given: Arc<AtomicBool>,
    /// Whether the backend's answer would say something about it that is not known.
    is_guess: bool,
}

impl<'a> Asking<'a> {
    /// The backend is asked from now on, by somebody who has proved this.
    pub(super) fn begin(
        attempt: &'a Attempt<'a>,
        user: &'a UserName,
        (ticket, factor): (Ticket, &SecondFactor),
    ) -> Self {
        let is_known = matches!(
            factor,
            SecondFactor::AppPassword { .. } | SecondFactor::TrustedWindow
        );
        Self {
            attempt,
            user,
            ticket: Some(ticket),
            since: Instant::now(),
            given: Arc::default(),
            is_guess: !is_known,
        }
    }

    /// Since when it is asked.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// To be told when it is given the password.
    pub(super) fn given(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.given)
    }

    /// It has answered: whoever is cut off from here on, while rules are asked, was not wrong.
    pub(super) fn is_answered(&mut self) {
        self.is_guess = false;
    }

    /// What it has come to.
    pub(super) fn settle(mut self, failure: Option<&Failure>) {
        match (self.ticket.take(), failure) {
            (Some(ticket), None) => self.attempt.ticket_succeeded(ticket, self.user),
            (Some(ticket), Some(failure)) => self.attempt.settle_ticket(ticket, self.user, failure),
            (None, _) => {}
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let is_ours = *self.attempt.conversation.shared.shutdown.borrow();
        if self.is_guess && self.given.load(Ordering::Relaxed) && !is_ours {
            let settled = ticket.failed(Instant::now().into_std());
            self.attempt.counted(self.user, &settled);
        }
    }
}
