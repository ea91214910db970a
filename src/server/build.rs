//! From a configuration to everything that a running process needs.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use tokio::signal::unix::Signal;
use tokio::sync::Notify;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use crate::auth::gate::Gate;
use crate::auth::keys::Keys;
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
use crate::server::Server;
use crate::server::StartError;
use crate::server::clock;
use crate::server::control::Control;
use crate::server::listener::Listener;
use crate::server::relay::Deadlines;
use crate::server::rules::Duties;
use crate::server::rules::Policy;
use crate::server::sessions::Sessions;
use crate::server::shared::Limits;
use crate::server::shared::Shared;
use crate::server::shared::Timing;
use crate::server::store;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sink;
use crate::types::Networks;

/// Everything for a server, with every address bound.
pub(super) async fn server(
    config: &Config,
    events: sink::Sinks,
    hangups: Signal,
) -> Result<Server, StartError> {
    let now = clock::unix();
    let (store, keys) = open_store(config).await?;
    let first_sync = config.rules.first_sync.clone();
    let memory = Memory::new(Arc::clone(&store), Arc::clone(&keys), first_sync);
    let policy = Policy::load(config, memory)?;
    let tls_options = tls_options(config)?;
    let metrics = Metrics::new()?;
    let (events, writer) = sink::start(events, &metrics.sinks, clock::wall)?;
    let shared = Arc::new(Shared {
        started: now,
        timing: timing(config),
        access: config.access.clone(),
        limits: limits(config),
        tls: tls::Server::new(&tls_options, now)?,
        geo: Geo::new(config.geoip.clone())?,
        recording: config.events.commands,
        preauth: Arc::new(config.preauth_options()),
        relay: Arc::new(config.relay_options()),
        gate: Gate::new(
            Arc::clone(&store),
            keys,
            config.gate_options(),
            config.second_factor.policy.clone(),
        )?,
        store,
        backends: open_backends(config)?,
        policy,
        duties: Duties::default(),
        sessions: Arc::new(Sessions::default()),
        events,
        metrics,
        shutdown: watch::Sender::new(false),
        recheck: Notify::new(),
        store_is_away: AtomicBool::new(false),
        slowest_refusal_ms: AtomicU64::new(0),
        backends_down: Mutex::default(),
    });
    for backend in shared.backends.iter() {
        let known = shared.metrics.backends.named(backend.name())?;
        known.up(true);
    }
    let control = config.state.control_socket();
    Ok(Server {
        listeners: listeners(config)?,
        admin: config
            .metrics
            .address
            .map(|address| socket::listen(address, &socket::Options::default()))
            .transpose()?,
        control: Control::bind(&control).map_err(|source| StartError::Control {
            path: control,
            source,
        })?,
        shared,
        writer,
        drain: config.drain,
        tls_options,
        hangups,
    })
}

/// Opens store and key file, making both on first use; also for the command line.
///
/// # Errors
/// Either cannot be used, or they do not belong together.
pub async fn open_store(config: &Config) -> Result<(Arc<dyn Store>, Arc<Keys>), StartError> {
    data_directory(&config.state.data_directory)?;
    let store = store::open(config).await?;
    let options = config.key_file_options();
    let keys = Keys::open(&config.state.key_file(), options, &*store).await?;
    Ok((store, Arc::new(keys)))
}

/// The backends; also for the command line.
///
/// # Errors
/// What is configured contradicts itself, or a file that it names cannot be used.
pub fn open_backends(config: &Config) -> Result<Backends, StartError> {
    Ok(Backends::new(config.backend_options()?, clock::unix())?)
}

fn data_directory(path: &Path) -> Result<(), StartError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| StartError::DataDirectory {
        path: path.to_owned(),
        source,
    })
}

/// The certificates configured, or one that we make ourselves on first start.
fn tls_options(config: &Config) -> Result<ServerOptions, StartError> {
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

fn timing(config: &Config) -> Timing {
    Timing {
        proxy_header: config.login.proxy_header_timeout,
        login: config.login.timeout,
        refusal: config.login.refusal_delay,
        relay: Deadlines {
            idle: config.relay.idle_timeout,
            stall: config.relay.stall_timeout,
            ..Deadlines::default()
        },
    }
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

fn listeners(config: &Config) -> Result<Vec<(Arc<Listener>, Acceptor)>, StartError> {
    let permits = Arc::new(Semaphore::new(
        usize::try_from(config.limits.connections).unwrap_or(usize::MAX),
    ));
    let options = socket::Options::default();
    let mut bound = Vec::new();
    for listener in &config.listeners {
        let acceptor = Acceptor::new(
            socket::listen(listener.address, &options)?,
            Arc::clone(&permits),
            options.clone(),
        );
        let unknown = |source: io::Error| socket::ListenError {
            addr: listener.address,
            source,
        };
        let trusted = listener
            .proxy_protocol_from
            .iter()
            .flat_map(|set| set.networks.iter().copied());
        let trusted: Vec<_> = trusted.collect();
        let address = acceptor.local_addr().map_err(unknown)?;
        let listener = Listener {
            name: listener.address.to_string().into(),
            address,
            starts_plain: listener.tls == ListenerTls::StartTls,
            proxy_protocol_from: (!trusted.is_empty()).then(|| Networks::new(trusted)),
            access: listener.access.clone(),
        };
        bound.push((Arc::new(listener), acceptor));
    }
    Ok(bound)
}
