//! From a configuration to everything that a running process needs.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use crate::auth::gate;
use crate::auth::gate::Gate;
use crate::auth::key_file::KeyFileOptions;
use crate::auth::keys::Keys;
use crate::auth::wire_code::Separators;
use crate::backend;
use crate::backend::Backends;
use crate::config::Config;
use crate::config::listener::ClientCertificates;
use crate::config::listener::ListenerTls;
use crate::imap::collect::Bounds;
use crate::limits::attempts;
use crate::limits::attempts::Attempts;
use crate::limits::bans;
use crate::limits::bans::Bans;
use crate::limits::connections;
use crate::limits::connections::Connections;
use crate::limits::sessions;
use crate::limits::sessions::Sessions as SessionLimits;
use crate::net::accept::Acceptor;
use crate::net::certificate;
use crate::net::certificate::CertificateFiles;
use crate::net::socket;
use crate::net::tls;
use crate::net::tls::ClientCertificateMode;
use crate::net::tls::ServerOptions;
use crate::server::Server;
use crate::server::StartError;
use crate::server::backends::backend_options;
use crate::server::clock;
use crate::server::control::Control;
use crate::server::listener::Listener;
use crate::server::relay::Deadlines;
use crate::server::sessions::Sessions;
use crate::server::shared::Limits;
use crate::server::shared::Shared;
use crate::server::shared::Timing;
use crate::session::preauth;
use crate::session::relay;
use crate::store::Store;
use crate::store::sqlite;
use crate::store::sqlite::SqliteStore;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sink;
use crate::types::Networks;

/// Connections at once in all.
const TOTAL_CONNECTIONS: usize = 20_000;

/// Everything for a server, with every address bound.
pub(super) async fn server(config: &Config, events: sink::Options) -> Result<Server, StartError> {
    let now = clock::unix();
    let (store, keys) = open_store(config).await?;
    let tls_options = tls_options(config)?;
    let metrics = Metrics::new()?;
    let (events, writer) = sink::start(events, metrics.events_dropped())?;
    let shared = Arc::new(Shared {
        started: now,
        timing: timing(config),
        access: config.access.clone(),
        limits: limits(config),
        tls: tls::Server::new(&tls_options, now)?,
        preauth: Arc::new(preauth_options(config)),
        relay: Arc::new(relay_options(config)),
        gate: Gate::new(
            Arc::clone(&store),
            keys,
            gate_options(config),
            config.second_factor.policy.clone(),
        )?,
        store,
        backends: open_backends(config)?,
        sessions: Arc::new(Sessions::default()),
        events,
        metrics,
        shutdown: watch::Sender::new(false),
        recheck: Notify::new(),
        store_is_away: AtomicBool::new(false),
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
    })
}

/// Opens store and key file, making both on first use; also for the command line.
///
/// # Errors
/// Either cannot be used, or they do not belong together.
pub async fn open_store(config: &Config) -> Result<(Arc<dyn Store>, Arc<Keys>), StartError> {
    data_directory(&config.state.data_directory)?;
    let path = config.state.store();
    let opened =
        tokio::task::spawn_blocking(move || SqliteStore::open(&path, &sqlite::Options::default())).await;
    let store: Arc<dyn Store> = match opened {
        Ok(opened) => Arc::new(opened?),
        Err(error) => return Err(crate::store::StoreError::Unavailable(error.to_string()).into()),
    };
    let options = KeyFileOptions::default();
    let keys = Keys::open(&config.state.key_file(), options, &*store).await?;
    Ok((store, Arc::new(keys)))
}

/// The backends; also for the command line.
///
/// # Errors
/// What is configured contradicts itself, or a file that it names cannot be used.
pub fn open_backends(config: &Config) -> Result<Backends, StartError> {
    let options: backend::Options = backend_options(config)?;
    Ok(Backends::new(options, clock::unix())?)
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
    let mut certificates: Vec<CertificateFiles> = config
        .tls
        .certificates
        .iter()
        .map(|files| CertificateFiles {
            certificate: files.certificate_file.clone(),
            key: files.key_file.clone(),
        })
        .collect();
    if certificates.is_empty() {
        let names = hostname().into_iter().collect::<Vec<_>>();
        let made = certificate::self_signed(&config.state.data_directory, &names, clock::unix())?;
        if made.made_now {
            tracing::warn!(file = %made.files.certificate.display(), "made a self-signed certificate; clients will ask about it");
        }
        certificates.push(made.files);
    }
    Ok(ServerOptions {
        certificates,
        client_certificates: tls::ClientCertificates {
            mode: match config.tls.client_certificates {
                ClientCertificates::Off => ClientCertificateMode::Off,
                ClientCertificates::Optional => ClientCertificateMode::Optional,
                ClientCertificates::Required => ClientCertificateMode::Required,
            },
            ca_files: config.tls.ca_files.clone(),
            crl_files: config.tls.crl_files.clone(),
        },
        handshake_timeout: config.login.handshake_timeout,
    })
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
        connections: Connections::new(connections::Options::default(), now),
        sessions: SessionLimits::new(sessions::Options::default()),
        attempts: Attempts::new(attempts::Options::default(), now),
        bans: Bans::new(bans::Options {
            protected: proxies(config),
            ..bans::Options::default()
        }),
    }
}

/// Load balancers speak for others: banning one would ban everybody.
fn proxies(config: &Config) -> Networks {
    let trusted = config
        .listeners
        .iter()
        .flat_map(|listener| &listener.proxy_protocol_from);
    Networks::new(trusted.flat_map(|set| set.networks.iter().copied()).collect())
}

fn preauth_options(config: &Config) -> preauth::Options {
    preauth::Options {
        help: config.login.help.clone(),
        attempts: config.login.max_attempts.into(),
        bad_commands: config.login.max_bad_commands.into(),
        ..preauth::Options::default()
    }
}

fn relay_options(config: &Config) -> relay::Options {
    let command = usize::try_from(config.relay.command_limit).unwrap_or(usize::MAX);
    let words = |words: &[String]| {
        words
            .iter()
            .map(|word| word.to_ascii_uppercase().into_bytes().into())
            .collect()
    };
    relay::Options {
        command: Bounds {
            line: command,
            literal: u32::try_from(command).unwrap_or(u32::MAX),
            literals: command,
            command,
        },
        max_message: u32::try_from(config.relay.literal_limit).unwrap_or(u32::MAX),
        max_in_flight: config.relay.max_pipelined.into(),
        extra_verbs: words(&config.relay.extra_commands),
        extra_capabilities: words(&config.relay.extra_capabilities),
        ..relay::Options::default()
    }
}

fn gate_options(config: &Config) -> gate::Options {
    let totp = &config.second_factor.totp;
    let mut separators = String::new();
    for separator in &totp.separators {
        // Writing to a String cannot fail.
        let _ = write!(separators, "{separator}");
    }
    let mut options = gate::Options {
        separators: Separators::new(&separators).unwrap_or_default(),
        wire_codes: totp.enabled,
        admit_unknown: config.second_factor.admit_unknown_users,
        ..gate::Options::default()
    };
    options.windows.total = totp.window;
    options.windows.idle = totp.window_idle;
    options
}

fn listeners(config: &Config) -> Result<Vec<(Arc<Listener>, Acceptor)>, StartError> {
    let permits = Arc::new(Semaphore::new(TOTAL_CONNECTIONS));
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
