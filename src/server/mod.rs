//! Wiring and lifecycle: from a configuration to a running process, and to its end without a lost answer.

mod admin;
mod attempt;
mod build;
pub mod clock;
mod connection;
mod control;
mod entry;
mod harden;
mod listener;
mod login;
mod notify;
mod relay;
mod reload;
mod replica;
mod rules;
mod sessions;
mod settings;
mod shared;
mod shared_counts;
mod slowest;
mod sockets;
mod store;
mod watch;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;

use crate::auth::keys::KeyError;
use crate::backend::BackendError;
use crate::config::Config;
use crate::config::SecretFileError;
use crate::config::output::Drain;
use crate::net::accept::Acceptor;
use crate::net::certificate::CertificateError;
use crate::net::geo::GeoError;
use crate::net::socket::ListenError;
use crate::net::tls::TlsError;
use crate::server::control::Control;
use crate::server::harden::HardenError;
use crate::server::listener::Listener;
use crate::server::notify::Watchdog;
use crate::server::reload::Asked;
use crate::server::reload::Reloader;
use crate::server::rules::RulesError;
use crate::server::shared::Shared;
use crate::store::StoreError;
use crate::telemetry::event::Event;
use crate::telemetry::kind::Kind;
use crate::telemetry::log;
use crate::telemetry::metrics::MetricsError;
use crate::telemetry::sink;
use crate::telemetry::sink::SinkError;
use crate::telemetry::sink::Writer;

pub use build::open_backends;
pub use build::open_store;
pub use harden::harden;
pub use reload::Source;
pub use sockets::Sockets;
pub use sockets::SocketsError;
pub use store::look_into as look_into_store;
pub use store::open_postgres;
pub use store::open_sqlite;

/// How long the store may take what it has not yet.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// How long the last events may take to be written.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// How much of the time to drain is left for the last goodbyes.
const GOODBYES: Duration = Duration::from_secs(1);

/// A part of the proxy has ended by a fault of its own; the log says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a part of the proxy has ended by a fault of its own")]
pub struct PartEnded;

/// Why the proxy cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot be made or used.
    #[error("the data directory {path} cannot be used")]
    DataDirectory {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The key file is missing, open to others, or not one.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The generated certificate cannot be made or read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificates do not make a TLS server.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A database of countries or networks cannot be used.
    #[error(transparent)]
    Geo(#[from] GeoError),
    /// The backends cannot be used as configured.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A master user's password file cannot be read.
    #[error(transparent)]
    MasterPassword(#[from] SecretFileError),
    /// An address is taken or not ours.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// What was passed by systemd is not what is configured, or an address is taken.
    #[error(transparent)]
    Sockets(#[from] SocketsError),
    /// The metrics' socket cannot be used.
    #[error("the socket for metrics and probes cannot be used")]
    Admin(#[source] io::Error),
    /// What the process must give up it cannot.
    #[error(transparent)]
    Hardening(#[from] HardenError),
    /// The control socket cannot be made.
    #[error("the control socket {path} cannot be made")]
    Control {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Events cannot be written.
    #[error(transparent)]
    Events(#[from] SinkError),
    /// Rules have mistakes.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// Metrics cannot be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Signals cannot be watched.
    #[error("signals cannot be watched")]
    Signals(#[source] io::Error),
}

/// A proxy that has everything it needs and every address bound, ready to run.
pub struct Server {
    shared: Arc<Shared>,
    listeners: Vec<(Arc<Listener>, Acceptor)>,
    admin: Option<TcpListener>,
    control: Control,
    writer: Writer,
    reloads: Reloads,
}

/// What reloads work with.
struct Reloads {
    source: Source,
    log: Option<log::Handle>,
    asked: mpsc::Receiver<Asked>,
    hangups: Signal,
}

impl Server {
    /// Opens store, certificates and backends, and binds every address. Nothing is accepted before [`Server::run`].
    ///
    /// # Errors
    /// What cannot be had; nothing is left behind then but files that a next start uses.
    pub async fn start(config: &Config, events: impl Into<sink::Sinks>) -> Result<Self, StartError> {
        Self::start_on(Sockets::bind(config)?, config, events).await
    }

    /// The same, on addresses that are bound already.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_on(
        sockets: Sockets,
        config: &Config,
        events: impl Into<sink::Sinks>,
    ) -> Result<Self, StartError> {
        // First of all: without a handler a hangup would end the process.
        let hangups = signal(SignalKind::hangup()).map_err(StartError::Signals)?;
        build::server(config, sockets, events.into(), hangups).await
    }

    /// Has a reload read the configuration anew, instead of taking the one given at the start; and set the log's level.
    #[must_use]
    pub fn reloading(mut self, source: Source, log: log::Handle) -> Self {
        self.reloads.source = source;
        self.reloads.log = Some(log);
        self
    }

    /// The addresses that clients can connect to, as bound: port 0 has become a port.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .map(|(listener, _)| listener.address)
            .collect()
    }

    /// The address of `/metrics`, `/healthz` and `/readyz`, if they are on.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|admin| admin.local_addr().ok())
    }

    /// Serves until `stop` is ready, then drains: no new connections, every owed answer, BYE, and an end in bounded time.
    ///
    /// # Errors
    /// A part of it has ended by a fault of its own: it drains all the same, for somebody to start it anew.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), PartEnded> {
        let Self {
            shared,
            listeners,
            admin,
            mut control,
            writer,
            reloads,
        } = self;
        let connections = TaskTracker::new();
        let mut services = JoinSet::new();
        let mut doors = JoinSet::new();
        for (listener, acceptor) in listeners {
            doors.spawn(listener::run(
                Arc::clone(&shared),
                listener,
                acceptor,
                connections.clone(),
            ));
        }
        services.spawn(watch::run(Arc::clone(&shared)));
        services.spawn(replica::tell(Arc::clone(&shared)));
        services.spawn(shared_counts::run(Arc::clone(&shared)));
        services.spawn(rules::collect(Arc::clone(&shared)));
        services.spawn(rules::settle(Arc::clone(&shared)));
        control.take_over();
        services.spawn(control.serve(Arc::clone(&shared)));
        if let Some(admin) = admin {
            services.spawn(admin::serve(admin, Arc::clone(&shared)));
        }
        shared.emit(event(Kind::Started).program(env!("CARGO_PKG_VERSION"), std::process::id()));
        let reloader = Reloader::new(Arc::clone(&shared), reloads.source, reloads.log);
        services.spawn(reloader.run(reloads.hangups, reloads.asked));
        notify::ready();
        let mut watchdog = Watchdog::new();
        let ended = watchdog
            .beside(until_stopped(stop, &mut doors, &mut services))
            .await;
        notify::stopping();
        let drain = shared.settings().config.drain;
        watchdog.beside(shut_down(&shared, &connections, drain)).await;
        shared.policy.memory.collect(clock::unix());
        // Whoever started us may not wait for ever.
        let last_writes = async {
            let left = shared.replica.leave(&*shared.store).await;
            shared.settle_duties().await?;
            shared.tell_last_counts().await?;
            shared.store.flush().await?;
            left
        };
        // Whoever started us may not wait for ever.
        if let Ok(Err(error)) = timeout(LAST_WRITES, last_writes).await {
            shared.store_failed(&error);
        }
        shared.emit(event(Kind::Stopped));
        doors.shutdown().await;
        services.shutdown().await;
        if !writer.close(LAST_EVENTS) {
            tracing::warn!("the last events could not be written");
        }
        ended
    }
}

/// Serves until it is told to stop, until another process has taken over and all that came here is accepted, or until a part of it
/// is no more: without it revocations would not be carried out, or nobody be let in, and nothing would show it.
async fn until_stopped(
    stop: impl Future<Output = ()>,
    doors: &mut JoinSet<()>,
    services: &mut JoinSet<()>,
) -> Result<(), PartEnded> {
    tokio::select! {
        () = stop => Ok(()),
        accepted = all_done(doors) => {
            if accepted.is_ok() {
                tracing::info!("another process has taken over");
            }
            accepted
        }
        Err(ended) = all_done(services) => Err(ended),
    }
}

/// Waits for the end of all tasks, or for the first that a fault has ended.
async fn all_done(tasks: &mut JoinSet<()>) -> Result<(), PartEnded> {
    while let Some(done) = tasks.join_next().await {
        if let Err(error) = done
            && error.is_panic()
        {
            tracing::error!(%error, "a part of the proxy has ended by a fault of its own; it stops, to be started anew");
            return Err(PartEnded);
        }
    }
    Ok(())
}

/// Ends every connection: those that have not logged in at once, sessions spread over time so that their clients do not all
/// come back in the same second. All of it takes no longer than configured, goodbyes included: whoever started us may wait
/// exactly so long before it kills us.
async fn shut_down(shared: &Shared, connections: &TaskTracker, drain: Drain) {
    // First: whoever hears of it finds it true.
    shared.shutdown.send_replace(true);
    shared.emit(event(Kind::Stopping));
    let over = Instant::now() + drain.timeout;
    let deadline = over - GOODBYES.min(drain.timeout / 2);
    let open = shared.sessions.drain(deadline);
    connections.close();
    let pause = drain.spread / u32::try_from(open.len().max(1)).unwrap_or(u32::MAX);
    for session in open {
        shared.sessions.drain_one(session, deadline);
        // No longer than there is somebody left to spread.
        let _ = timeout(pause, connections.wait()).await;
    }
    if timeout_at(over, connections.wait()).await.is_err() {
        tracing::warn!(
            left = connections.len(),
            "connections were left when the time to drain was over"
        );
    }
}

fn event(kind: Kind) -> Event {
    Event::new(kind, clock::wall())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_a_fault_has_ended_ends_the_whole_and_one_that_is_done_does_not() {
        let never = std::future::pending::<()>;
        let (mut doors, mut services) = (JoinSet::new(), JoinSet::new());
        doors.spawn(never());
        services.spawn(async {});
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        stop.send(()).unwrap();
        let until = async { stopped.await.unwrap() };
        assert_eq!(until_stopped(until, &mut doors, &mut services).await, Ok(()));
        services.spawn(never());
        services.spawn(async { panic!("a fault") });
        let ended = until_stopped(never(), &mut doors, &mut services).await;
        assert_eq!(ended, Err(PartEnded));
        doors.spawn(async { panic!("a fault") });
        let ended = until_stopped(never(), &mut doors, &mut JoinSet::new()).await;
        assert_eq!(ended, Err(PartEnded));
        let mut doors = JoinSet::new();
        doors.spawn(async {});
        let handed_over = until_stopped(never(), &mut doors, &mut JoinSet::new()).await;
        assert_eq!(handed_over, Ok(()));
    }
}
