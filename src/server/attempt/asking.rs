//! An attempt at the backend, and what it comes to where the backend does not answer in time.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

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
use crate::types::UserName;

/// An attempt that a backend is asked about. Where it was given a password and has not answered when time is up, that was a guess
/// all the same: a right one is answered sooner than a wrong one, so that the wrong ones alone would be spared. No guess is what is
/// known to be right: an app password, a window that the backend has opened, what it has accepted from there a moment ago. The same
/// holds for a right one that a rule denies, or for which there is no place: it is counted as the wrong ones are, or when the next one is looked at would tell it.
pub(super) struct Asking<'a> {
    attempt: &'a Attempt<'a>,
    user: &'a UserName,
    ticket: Ticket,
    since: Instant,
    /// The backend has been given the password.
    given: Arc<AtomicBool>,
    /// Only the backend knows whether it is right.
    is_open: bool,
}

impl<'a> Asking<'a> {
    /// The backend is asked from now on, with a secret that may be known to be right.
    pub(super) fn begin(
        attempt: &'a Attempt<'a>,
        user: &'a UserName,
        (ticket, is_right): (Ticket, bool),
    ) -> Self {
        Self {
            attempt,
            user,
            ticket,
            since: Instant::now(),
            given: Arc::default(),
            is_open: !is_right,
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

    /// Whether it would have said something that is not known.
    pub(super) fn is_guess(&self) -> bool {
        self.is_open && !self.ticket.is_right(Instant::now().into_std())
    }

    /// What it means that time is up and the backend has not answered.
    fn is_out_of_time(&self) -> Failure {
        if self.given.load(Ordering::Relaxed) && self.is_guess() {
            Failure::Refused(Refusal::PasswordUnanswered)
        } else {
            Failure::Unavailable("login_timeout")
        }
    }

    /// What it has come to.
    pub(super) fn settle(self, failure: Option<&Failure>) {
        match failure {
            None => self.attempt.ticket_succeeded(self.ticket, self.user),
            Some(Failure::Refused(Refusal::PolicyDenied | Refusal::SessionLimit)) if !self.is_guess() => {
                self.ticket.void();
            }
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
        if Instant::now() >= self.time.is_up {
            return Err(Failure::OutOfTime);
        }
        let client = self.client(asking.given());
        let answer = timeout_at(self.time.is_up, backend.login(authenticated, &client)).await;
        let outcome = match &answer {
            Ok(Ok(_)) => Outcome::Accepted,
            Ok(Err(LoginError::Refused(_))) => Outcome::Refused,
            Ok(Err(LoginError::Unavailable(_))) | Err(_) => Outcome::Unavailable,
        };
        let took = asking.since().elapsed();
        let dialled = match &answer {
            Ok(Ok(session)) => Some(session.dialled),
            _ => None,
        };
        self.conversation.asked(backend.name(), took, dialled);
        self.conversation.shared.backend_answered(backend, outcome, took);
        let Ok(answer) = answer else {
            tracing::warn!(
                backend = backend.name(),
                ?took,
                "the backend has not answered in time"
            );
            return Err(asking.is_out_of_time());
        };
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
