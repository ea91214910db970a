//! What is known about a backend's condition: the breaker, the last error, and the connections in use. Says each change once
//! in the log.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::info;
use tracing::warn;

use crate::backend::breaker::Admission;
use crate::backend::breaker::Breaker;
use crate::backend::breaker::Change;
use crate::backend::error::DialError;
use crate::backend::options::BackendOptions;
use crate::types::Prefix;

/// How often at most a refused master user is logged.
const MASTER_LOG_PAUSE: Duration = Duration::from_secs(60);

/// A backend's condition, for metrics and readiness.
#[derive(Debug, Clone)]
pub struct Health {
    /// True while nobody is let through but a probe.
    pub is_open: bool,
    /// What went wrong last, unless a login has got through since.
    pub last_error: Option<LastError>,
    /// Connections in use.
    pub connections: usize,
    /// Most connections allowed.
    pub max_connections: usize,
}

/// What went wrong with a backend.
#[derive(Debug, Clone)]
pub struct LastError {
    /// The stable word: [`DialError::as_str`].
    pub reason: &'static str,
    /// For people; safe to log.
    pub text: String,
    /// When.
    pub at: Instant,
}

/// Shared by all connections to a backend, and handed on to its successor at a reload.
#[derive(Debug)]
pub(super) struct Condition {
    name: String,
    max_connections: usize,
    slots: Arc<Semaphore>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    breaker: Breaker,
    last_error: Option<LastError>,
    master_logged: Option<Instant>,
}

/// A place among the connections to a backend. Keep it as long as the connection.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Condition {
    pub(super) fn new(options: &BackendOptions) -> Arc<Self> {
        let most = options.max_connections.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            name: options.name.clone(),
            max_connections: most,
            slots: Arc::new(Semaphore::new(most)),
            known: Mutex::new(Known {
                breaker: Breaker::new(options.breaker),
                last_error: None,
                master_logged: None,
            }),
        })
    }

    /// A place, if there is one.
    pub(super) fn slot(&self) -> Result<Slot, DialError> {
        let permit = Arc::clone(&self.slots).try_acquire_owned();
        permit.map(Slot).map_err(|_| DialError::Full)
    }

    /// Leave to try, if the breaker gives it.
    pub(super) fn attempt(self: &Arc<Self>, client: Prefix) -> Result<Attempt, DialError> {
        let now = Instant::now().into_std();
        let admission = self.known().breaker.admit(now).ok_or(DialError::BreakerOpen)?;
        Ok(Attempt {
            condition: Arc::clone(self),
            admission,
            client,
            is_settled: false,
        })
    }

    pub(super) fn health(&self) -> Health {
        let known = self.known();
        Health {
            is_open: known.breaker.is_open(),
            last_error: known.last_error.clone(),
            connections: self
                .max_connections
                .saturating_sub(self.slots.available_permits()),
            max_connections: self.max_connections,
        }
    }

    /// The master user was refused: the operator should know, but not once per login.
    pub(super) fn master_refused(&self, text: &str) {
        let now = Instant::now();
        let mut known = self.known();
        let is_due = known
            .master_logged
            .is_none_or(|last| now.saturating_duration_since(last) >= MASTER_LOG_PAUSE);
        if is_due {
            known.master_logged = Some(now);
            drop(known);
            warn!(
                backend = self.name,
                error = text,
                "the backend refuses its master user, or has no such account"
            );
        }
    }

    /// Nothing in here can be half done when a thread panics.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One try to log in. Tells the breaker how it ended; dropped before that, it tells that nothing is known.
#[derive(Debug)]
pub(super) struct Attempt {
    condition: Arc<Condition>,
    admission: Admission,
    client: Prefix,
    is_settled: bool,
}

impl Attempt {
    /// The backend has greeted us and is ready for credentials: it works, whatever it says to them.
    pub(super) fn reached(&mut self) {
        if self.is_settled {
            return;
        }
        self.is_settled = true;
        let mut known = self.condition.known();
        let change = known.breaker.succeeded();
        let had_error = known.last_error.take().is_some();
        drop(known);
        if change == Change::Closed || had_error {
            info!(backend = self.condition.name, "the backend works again");
        }
    }

    /// It ended without the account being opened, for reasons that are not the client's.
    pub(super) fn failed(&mut self, error: &DialError) {
        if self.is_settled {
            return;
        }
        self.is_settled = true;
        let now = Instant::now();
        let mut known = self.condition.known();
        let change = known.breaker.failed(self.admission, self.client, now.into_std());
        let last = LastError {
            reason: error.as_str(),
            text: error.to_string(),
            at: now,
        };
        let is_first = known.last_error.replace(last).is_none();
        drop(known);
        let backend = &self.condition.name;
        if is_first {
            warn!(backend, event.reason = error.as_str(), error = %error, "the backend is not available");
        }
        if change == Change::Opened {
            warn!(
                backend,
                event.reason = error.as_str(),
                "the backend is down: logins are refused until it is back"
            );
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_settled {
            let now = Instant::now().into_std();
            self.condition.known().breaker.abandoned(self.admission, now);
        }
    }
}
