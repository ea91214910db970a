//! From a configuration to everything that a running process needs.

use std::fs;
use std::io;
use std::net;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::signal::unix::Signal;
use tokio::sync::Notify;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::auth::gate::Gate;
use crate::auth::key_ring::KeyRing;
use crate::auth::memory::Memory;
use crate::backend::Backends;
use crate::config::Config;
use crate::config::listener::ListenerTls;
use crate::limits::attempts::Attempts;
use crate::limits::bans::Bans;
use crate::limits::budgets::Budgets;
use crate::limits::connections::Connections;
use crate::limits::sessions::Sessions as SessionLimits;
use crate::net::accept::Acceptor;
use crate::net::certificate;
use crate::net::geo::Geo;
use crate::net::socket;
use crate::net::tls;
use crate::net::tls::ServerOptions;
use crate::server::Reloads;
use crate::server::Server;
use crate::server::StartError;
use crate::server::clock;
use crate::server::control::Control;
use crate::server::listener::Listener;
use crate::server::reload::ASKED;
use crate::server::replica::Replica;
use crate::server::rules::Duties;
use crate::server::rules::Policy;
use crate::server::sessions::Sessions;
use crate::server::settings::Settings;
use crate::server::shared::Limits;
use crate::server::shared::Shared;
use crate::server::slowest::Slowest;
use crate::server::sockets;
use crate::server::sockets::Sockets;
use crate::server::store;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sink;

/// Everything for a server, with every address bound.
pub(super) async fn server(
    config: &Config,
    sockets: Sockets,
    events: sink::Sinks,
    hangups: Signal,
) -> Result<Server, StartError> {
    let now = clock::unix();
    let (store, ring) = open_store(config).await?;
    let first_sync = config.rules.first_sync.clone();
    let memory = Memory::new(Arc::clone(&store), Arc::clone(&ring), first_sync);
    let policy = Policy::load(config, memory, ring.in_force().rule_counts())?;
    let tls_options = tls_options(config)?;
    let metrics = Metrics::new()?;
    let (events, writer) = sink::start(events, &metrics.sinks, clock::wall)?;
    let settings = settings(config, &store, ring)?;
    let (reloads, asked) = mpsc::channel(ASKED);
    let shared = Arc::new(Shared {
        started: now,
        settings: ArcSwap::from_pointee(settings),
        generation: AtomicU64::new(0),
        reloads,
        limits: limits(config),
        tls: tls::Server::new(&tls_options, now)?,
        geo: Geo::new(config.geoip.clone())?,
        recording: config.events.commands,
        replica: Replica::new(config, &*store),
        store,
        policy,
        duties: Duties::default(),
        sessions: Arc::new(Sessions::default()),
        events,
        metrics,
        retired: watch::Sender::new(false),
        shutdown: watch::Sender::new(false),
        recheck: Notify::new(),
        store_is_away: AtomicBool::new(false),
        slowest_refusal: Slowest::new(tokio::time::Instant::now()),
        backends_down: Mutex::default(),
    });
    tell_metrics(&shared)?;
    let given = config.clone();
    let control = config.state.control_socket();
    Ok(Server {
        listeners: listeners(config, sockets.listeners)?,
        admin: sockets
            .admin
            .map(TcpListener::from_std)
            .transpose()
            .map_err(StartError::Admin)?,
        control: Control::bind(&control, config.drain.hand_over).map_err(|source| StartError::Control {
            path: control,
            source,
        })?,
        shared,
        writer,
        reloads: Reloads {
            source: Box::new(move |_| Ok(given.clone())),
            log: None,
            asked,
            hangups,
        },
    })
}

/// What is configured, as far as metrics tell of it.
fn tell_metrics(shared: &Shared) -> Result<(), StartError> {
    let settings = shared.settings();
    let names = settings.backends.iter().map(|backend| backend.name());
    shared.metrics.backends.configured(names)?;
    let limits = &settings.config.limits;
    shared.metrics.connections.limited(limits.connections);
    shared.certificates_in_force();
    Ok(())
}

fn settings(config: &Config, store: &Arc<dyn Store>, ring: Arc<KeyRing>) -> Result<Settings, StartError> {
    let policy = config.second_factor.policy.clone();
    let gate = Gate::new(Arc::clone(store), ring, config.gate_options(), policy);
    Ok(Settings::new(config, gate, open_backends(config)?))
}

/// Opens store and key file, making both on first use; also for the command line.
///
/// # Errors
/// Either cannot be used, or they do not belong together.
pub async fn open_store(config: &Config) -> Result<(Arc<dyn Store>, Arc<KeyRing>), StartError> {
    data_directory(&config.state.data_directory)?;
    let store = store::open(config).await?;
    let options = config.key_file_options();
    let ring = KeyRing::open(&config.state.key_file(), options, &*store).await?;
    Ok((store, Arc::new(ring)))
}

/// The backends; also for the command line.
///
/// # Errors
/// What is configured contradicts itself, or a file that it names cannot be used.
pub fn open_backends(config: &Config) -> Result<Backends, StartError> {
    Ok(Backends::new(config.backend_options()?, clock::unix())?)
}

/// Makes a directory that nobody else may look into.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn data_directory(path: &Path) -> Result<(), StartError> {
    make_directory(path).map_err(|source| StartError::DataDirectory {
        path: path.to_owned(),
        source,
    })
}

/// The certificates configured, or one that we make ourselves on first start.
pub(super) fn tls_options(config: &Config) -> Result<ServerOptions, StartError> {
    let mut options = config.tls_options();
    if options.certificates.is_empty() {
        let names: Vec<String> = hostname().into_iter().collect();
        let made = certificate::self_signed(&config.state.data_directory, &names, clock::unix())?;
        if made.made_now {
            let file = made.files.certificate.display();
            tracing::warn!(%file, "made a self-signed certificate; clients will ask about it");
        }
        options.certificates.push(made.files);
    }
    Ok(options)
}

fn hostname() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty() && name != "localhost").then(|| name.to_owned())
}

fn limits(config: &Config) -> Limits {
    let now = Instant::now();
    Limits {
        connections: Connections::new(config.connection_limits(), now),
        sessions: SessionLimits::new(config.session_limits()),
        attempts: Attempts::new(config.attempt_limits(), now),
        bans: Bans::new(config.ban_options()),
        budgets: Budgets::default(),
    }
}

fn listeners(
    config: &Config,
    sockets: Vec<net::TcpListener>,
) -> Result<Vec<(Arc<Listener>, Acceptor)>, StartError> {
    let permits = Arc::new(Semaphore::new(
        usize::try_from(config.limits.connections).unwrap_or(usize::MAX),
    ));
    let options = sockets::options(config);
    let mut bound = Vec::new();
    for (number, (listener, socket)) in config.listeners.iter().zip(sockets).enumerate() {
        let unknown = |source: io::Error| socket::ListenError {
            addr: listener.address,
            source,
        };
        let socket = TcpListener::from_std(socket).map_err(unknown)?;
        let acceptor = Acceptor::new(socket, Arc::clone(&permits), options.clone());
        let address = acceptor.local_addr().map_err(unknown)?;
        let listener = Listener {
            name: listener.address.to_string().into(),
            address,
            starts_plain: listener.tls == ListenerTls::StartTls,
            number,
        };
        bound.push((Arc::new(listener), acceptor));
    }
    Ok(bound)
}
