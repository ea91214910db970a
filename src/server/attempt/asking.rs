//! An attempt at the backend, and what it comes to where the backend does not answer in time.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::timeout_at;

use crate::auth::gate::Outcome;
use crate::backend;
use crate::backend::Backend;
use crate::backend::LoginError;
use crate::limits::attempts::Ticket;
use crate::server::attempt::Attempt;
use crate::server::attempt::Failure;
use crate::session::backend_login::LoginFailure;
use crate::types::Authenticated;
use crate::types::Refusal;
use crate::types::SecondFactor;
use crate::types::UserName;

/// How long before the deadline of a login its backend is waited for no more, at most: time to tell of the attempt, and to have
/// rules judge it.
const TO_TELL: Duration = Duration::from_secs(1);

/// Until when a backend is waited for, and a client is refused, in a login that must be over by `deadline`, of so much time in all.
pub(super) fn patience(deadline: Instant, within: Duration) -> Instant {
    let to_tell = TO_TELL.min(within / 10);
    deadline.checked_sub(to_tell).unwrap_or(deadline)
}

/// An attempt that a backend is asked about. Where it was given a password and has not answered when time is up, that was a guess
/// all the same: a right one is answered sooner than a wrong one, so that the wrong ones alone would be spared. No guess is what is
/// known to be right: an app password, a window, what the backend has accepted from there a moment ago.
pub(super) struct Asking<'a> {
    attempt: &'a Attempt<'a>,
    user: &'a UserName,
    ticket: Ticket,
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
            ticket,
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

    /// What it means that time is up and the backend has not answered.
    fn is_out_of_time(&self) -> Failure {
        let is_given = self.given.load(Ordering::Relaxed);
        if self.is_guess && is_given && !self.ticket.is_right(Instant::now().into_std()) {
            Failure::Refused(Refusal::PasswordUnanswered)
        } else {
            Failure::OutOfTime
        }
    }

    /// What it has come to.
    pub(super) fn settle(self, failure: Option<&Failure>) {
        match failure {
            None => self.attempt.ticket_succeeded(self.ticket, self.user),
            Some(failure) => self.attempt.settle_ticket(self.ticket, self.user, failure),
        }
    }
}

impl Attempt<'_> {
    /// Logs in at the backend, while there is time.
    pub(super) async fn ask_backend(
        &self,
        backend: &Arc<Backend>,
        authenticated: Authenticated,
        asking: &Asking<'_>,
    ) -> Result<backend::Session, Failure> {
        let client = self.client(asking.given());
        let Ok(answer) = timeout_at(self.patience, backend.login(authenticated, &client)).await else {
            let failure = asking.is_out_of_time();
            if matches!(failure, Failure::Refused(_)) {
                tracing::warn!(
                    backend = backend.name(),
                    "the backend has not answered a password in time"
                );
            }
            return Err(failure);
        };
        let outcome = match &answer {
            Ok(_) => Outcome::Accepted,
            Err(LoginError::Refused(_)) => Outcome::Refused,
            Err(LoginError::Unavailable(_)) => Outcome::Unavailable,
        };
        let took = asking.since().elapsed();
        let dialled = answer.as_ref().ok().map(|session| session.dialled);
        self.conversation.asked(backend.name(), took, dialled);
        self.conversation.shared.backend_answered(backend, outcome, took);
        answer.map_err(|error| refused_by_backend(backend, error))
    }
}

/// What a backend's no means. A master user that is refused is the operator's to mend; to the client it is a wrong password.
fn refused_by_backend(backend: &Backend, error: LoginError) -> Failure {
    match error {
        LoginError::Refused(failure @ LoginFailure::MasterRefused(_)) => {
            tracing::error!(backend = backend.name(), error = %failure, "the backend refuses its master user, or the account");
            Failure::Refused(Refusal::PasswordInvalid)
        }
        LoginError::Refused(_) => Failure::Refused(Refusal::PasswordInvalid),
        LoginError::Unavailable(error) => {
            tracing::warn!(backend = backend.name(), %error, "backend login failed");
            Failure::Unavailable("backend_unavailable")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_time_to_tell_of_it() {
        let deadline = Instant::now() + Duration::from_mins(1);
        for (within, before) in [(60, 1000), (10, 1000), (5, 500)] {
            let until = patience(deadline, Duration::from_secs(within));
            assert_eq!(deadline - until, Duration::from_millis(before));
        }
    }
}
