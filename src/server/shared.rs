//! What every connection of the process shares.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::auth::gate::Outcome;
use crate::backend::Backend;
use crate::limits::admission;
use crate::limits::admission::Clock;
use crate::limits::attempts::Attempts;
use crate::limits::bans::Ban;
use crate::limits::bans::Bans;
use crate::limits::budgets::Budgets;
use crate::limits::connections::ConnectionPermit;
use crate::limits::connections::Connections;
use crate::limits::sessions::Sessions as SessionLimits;
use crate::net::geo::Geo;
use crate::net::tls;
use crate::server::clock;
use crate::server::listener::Listener;
use crate::server::relay::monotonic_ms;
use crate::server::reload::Asked;
use crate::server::replica::Replica;
use crate::server::rules::Duties;
use crate::server::rules::Policy;
use crate::server::sessions::Facts;
use crate::server::sessions::Sessions;
use crate::server::settings::Settings;
use crate::server::slowest::Slowest;
use crate::session::recorder::Recording;
use crate::session::relay::Relay;
use crate::store::Store;
use crate::store::StoreError;
use crate::telemetry::event::Connection;
use crate::telemetry::event::Event;
use crate::telemetry::kind::Kind;
use crate::telemetry::metrics;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sink::Events;
use crate::types::ClientAddr;
use crate::types::EndReason;
use crate::types::LoggedIn;
use crate::types::SecondFactor;
use crate::types::UnixTime;

/// Who bans for guessing.
pub(super) const GUESSING: &str = "imapwarden";

/// Longest time to refuse a password that is imitated; Dovecot takes 2 s, and up to 15 s more for an address that guesses.
const LONGEST_REFUSAL: Duration = Duration::from_secs(20);

/// How long hand-shakes that have begun may go on once the process takes no new connections.
const LAST_HANDSHAKES: Duration = Duration::from_secs(1);

/// How long a ban for guessing lasts.
const BAN: Duration = Duration::from_secs(3600);

/// Every limit.
pub(super) struct Limits {
    pub(super) connections: Arc<Connections>,
    pub(super) sessions: Arc<SessionLimits>,
    pub(super) attempts: Arc<Attempts>,
    pub(super) bans: Bans,
    pub(super) budgets: Budgets,
}

/// What every connection of the process shares.
pub(super) struct Shared {
    pub(super) started: UnixTime,
    /// What a reload can change.
    pub(super) settings: ArcSwap<Settings>,
    /// How many configurations have been in force: what was judged by an older one is judged again.
    pub(super) generation: AtomicU64,
    /// Where a reload is asked for.
    pub(super) reloads: mpsc::Sender<Asked>,
    pub(super) limits: Limits,
    pub(super) tls: tls::Server,
    pub(super) geo: Geo,
    /// Which commands are told.
    pub(super) recording: Recording,
    pub(super) policy: Policy,
    /// What rules have decided and the store does not know yet.
    pub(super) duties: Duties,
    pub(super) store: Arc<dyn Store>,
    pub(super) sessions: Arc<Sessions>,
    /// This process among others on the same store.
    pub(super) replica: Replica,
    pub(super) events: Events,
    pub(super) metrics: Metrics,
    /// True once another process has taken the addresses over: what has come here until then is still accepted.
    pub(super) retired: watch::Sender<bool>,
    /// True from the moment on at which the process takes no new connections.
    pub(super) shutdown: watch::Sender<bool>,
    /// Wakes whoever checks what the sessions stand on.
    pub(super) recheck: Notify,
    pub(super) store_is_away: AtomicBool,
    /// The longest that a backend has taken to refuse a password lately.
    pub(super) slowest_refusal: Slowest,
    /// Backends that nobody is let through to: each change is told once.
    pub(super) backends_down: Mutex<BTreeSet<Box<str>>>,
}

impl Shared {
    /// Tells the metrics which certificates are in force.
    pub(super) fn certificates_in_force(&self) {
        let certificates = self.tls.certificates().into_iter();
        self.metrics
            .certificates(certificates.map(|certificate| certificate.not_after));
    }

    /// What is configured now. Whoever asks twice may be told two things.
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Tells an event.
    pub(super) fn emit(&self, event: Event) {
        self.events.emit(event);
    }

    /// Whether a connection may come in; its place among those of its source.
    pub(super) fn admit(
        &self,
        listener: &Listener,
        addr: &ClientAddr,
    ) -> Result<ConnectionPermit, EndReason> {
        let settings = self.settings();
        let lists = settings.lists(listener.number);
        let clock = Clock {
            now: Instant::now(),
            wall: clock::unix(),
        };
        admission::admit(
            addr.ip(),
            &self.limits.bans,
            &lists,
            &self.limits.connections,
            clock,
        )
        .map_err(|refused| {
            tracing::debug!(client = %addr.client, %refused, "connection refused");
            refused.reason()
        })
    }

    /// Does something that nobody is owed an answer for: the process's end ends it. Who was accepted a moment before that gets
    /// as far as the greeting, so that a restart looks like no fault of the connection.
    pub(super) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, EndReason> {
        let stopped = async {
            // An error means that the process is gone: that is a stop, too.
            let _ = self.shutdown.subscribe().wait_for(|down| *down).await;
            let drain = self.settings().config.drain.timeout;
            tokio::time::sleep(LAST_HANDSHAKES.min(drain / 4)).await;
        };
        tokio::select! {
            done = work => Ok(done),
            () = stopped => Err(EndReason::Shutdown),
        }
    }

    /// A backend has refused a password after so long.
    pub(super) fn backend_refused_after(&self, took: Duration) {
        self.slowest_refusal
            .add(took.min(LONGEST_REFUSAL), tokio::time::Instant::now());
    }

    /// A login was refused after so long that no backend has refused: whoever refuses may be as slow, and is no faster for it.
    pub(super) fn denied_after(&self, took: Duration) {
        self.slowest_refusal
            .raise(took.min(LONGEST_REFUSAL), tokio::time::Instant::now());
    }

    /// The relay of a session that begins, restricted as its credential is.
    pub(super) fn relay_for(&self, logged_in: &LoggedIn) -> Relay {
        let restrictions = logged_in.restrictions();
        let budget = match logged_in.factor() {
            SecondFactor::AppPassword { id, .. } => {
                let now = monotonic_ms(tokio::time::Instant::now());
                self.limits.budgets.of(*id, restrictions.budget, now)
            }
            _ => None,
        };
        Relay::new(Arc::clone(&self.settings().relay)).restricted(restrictions, budget)
    }

    /// The store's change number.
    pub(super) fn store_version(&self) -> u64 {
        *self.store.changes().borrow()
    }

    /// Has sessions checked again if the store has moved since: a session that began meanwhile may have missed it.
    pub(super) fn recheck_since(&self, version: u64) {
        if self.store_version() != version || self.duties.is_pending() {
            self.recheck.notify_one();
        }
    }

    /// The store failed; told once until it answers again.
    pub(super) fn store_failed(&self, error: &StoreError) {
        self.metrics.store_error();
        if !self.store_is_away.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the store cannot be used; logins that need it fail");
            self.emit(Event::new(Kind::StoreUnavailable, clock::wall()).error(error));
            // Whoever watches it asks every second from now on.
            self.recheck.notify_one();
        }
    }

    /// The store answers.
    pub(super) fn store_answered(&self) {
        if self.store_is_away.swap(false, Ordering::Relaxed) {
            tracing::info!("the store can be used again");
            self.emit(Event::new(Kind::StoreRecovered, clock::wall()));
        }
    }

    /// Counts what a backend answered to a login, and tells when it goes or comes back.
    pub(super) fn backend_answered(&self, backend: &Backend, outcome: Outcome, took: Duration) {
        let outcome = match outcome {
            Outcome::Accepted => metrics::Outcome::Success,
            Outcome::Refused => metrics::Outcome::Refused,
            Outcome::Unavailable => metrics::Outcome::Unavailable,
        };
        let Ok(counted) = self.metrics.backends.named(backend.name()) else {
            return;
        };
        counted.login(outcome, took);
        let is_down = backend.health().is_open;
        let mut down = self.backends_down.lock().unwrap_or_else(PoisonError::into_inner);
        // A reload may have taken it away since; asked under the lock under which it forgets backends.
        let settings = self.settings();
        if !settings
            .backends
            .iter()
            .any(|known| known.name() == backend.name())
        {
            return;
        }
        // It is there, and its name is a text: nothing can go wrong.
        let _ = self.metrics.backends.up(backend.name(), !is_down);
        let was_down = down.contains(backend.name());
        match (was_down, is_down) {
            (false, true) => {
                down.insert(backend.name().into());
                drop(down);
                let reason = backend
                    .health()
                    .last_error
                    .map_or("unknown", |error| error.reason);
                let event = Event::new(Kind::BackendUnavailable, clock::wall());
                self.emit(event.backend(backend.name()).reason(reason));
            }
            (true, false) => {
                down.remove(backend.name());
                drop(down);
                self.emit(Event::new(Kind::BackendRecovered, clock::wall()).backend(backend.name()));
            }
            _ => {}
        }
    }

    /// A backend is configured no more: it is neither up nor down.
    pub(super) fn forget_backend(&self, name: &str) {
        let mut down = self.backends_down.lock().unwrap_or_else(PoisonError::into_inner);
        down.remove(name);
        self.metrics.backends.removed(name);
    }

    /// Bans a network that guessed too often, where that is configured: not one that is banned already, perhaps for longer, nor one
    /// from where somebody has a session, who would be hit as well. In memory only, where there is no other replica: it is a
    /// brake on a running attack, and a write for each attacker would be an attack of its own.
    pub(super) fn ban_guesser(&self, network: IpNet, failures: u32, facts: &Arc<Connection>) {
        let now = clock::unix();
        let is_banned = self.limits.bans.find(network.addr(), now).is_some();
        if is_banned || self.sessions.has_any_from(network) {
            return;
        }
        let until = now.plus(BAN);
        let reason = format!("{failures} failed logins");
        if self.replica.among_others().is_some() {
            self.share_ban(network, until, reason, Arc::clone(facts));
            return;
        }
        let ban = Ban {
            network,
            reason: reason.clone(),
            by: GUESSING.to_owned(),
            since: now,
            until: Some(until),
        };
        if self.limits.bans.insert(ban).is_ok() {
            let event = Event::new(Kind::BanAdded, clock::wall());
            self.emit(event.ban(&network, Some(until), &reason));
        }
    }

    /// A session was ended from outside.
    pub(super) fn session_killed(&self, facts: &Facts, reason: EndReason) {
        let event = Event::new(Kind::SessionKilled, clock::wall()).session(facts.session);
        self.emit(event.user(&facts.user).end(reason));
    }
}
