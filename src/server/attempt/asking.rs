//! An attempt at the backend, and what it comes to where nobody waits for its end.

use tokio::time::Instant;

use crate::limits::attempts::Ticket;
use crate::server::attempt::Attempt;
use crate::server::attempt::Failure;
use crate::types::UserName;

/// An attempt that a backend is asked about. Whoever is cut off before it has answered, by a deadline or by going away, has made a
/// guess all the same: a right secret is answered sooner than a wrong one, so that the wrong ones alone would be spared.
pub(super) struct Asking<'a> {
    attempt: &'a Attempt<'a>,
    user: &'a UserName,
    ticket: Option<Ticket>,
    since: Instant,
    is_answered: bool,
}

impl<'a> Asking<'a> {
    /// The backend is asked from now on.
    pub(super) fn begin(attempt: &'a Attempt<'a>, user: &'a UserName, ticket: Ticket) -> Self {
        Self {
            attempt,
            user,
            ticket: Some(ticket),
            since: Instant::now(),
            is_answered: false,
        }
    }

    /// Since when it is asked.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// It has answered: from here on nothing is found out by whoever is cut off.
    pub(super) fn is_answered(&mut self) {
        self.is_answered = true;
    }

    /// What it comes to.
    pub(super) fn settled<T>(mut self, judged: Result<T, Failure>) -> Result<T, Failure> {
        if let Some(ticket) = self.ticket.take() {
            match &judged {
                Ok(_) => self.attempt.ticket_succeeded(ticket, self.user),
                Err(failure) => self.attempt.settle_ticket(ticket, self.user, failure),
            }
        }
        judged
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take()
            && !self.is_answered
        {
            let settled = ticket.failed(self.since.into_std());
            self.attempt.counted(self.user, &settled);
        }
    }
}
