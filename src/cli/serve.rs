//! `imapwarden serve`: runs the proxy until it is told to stop.

use std::io;
use std::io::IsTerminal;
use std::net::SocketAddr;

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::oneshot;

use crate::cli::Context;
use crate::cli::error::CliError;
use crate::cli::place::Opened;
use crate::cli::place::Place;
use crate::config::Config;
use crate::config::listener::Listener;
use crate::server::Server;
use crate::server::Sockets;
use crate::server::Source;
use crate::server::StartError;
use crate::server::harden;
use crate::telemetry::log;
use crate::telemetry::shape::Shape;
use crate::telemetry::sink;
use crate::telemetry::sink::Target;

/// What is done while there is one thread.
pub(super) struct Prepared {
    config: Config,
    log: log::Handle,
    sockets: Sockets,
}

/// Reads the configuration, binds or takes every address, and gives up what is not needed from here on.
pub(super) fn prepare(cx: &Context<'_>, listen: &[SocketAddr]) -> Result<Prepared, CliError> {
    let config = config(cx.place.config(cx.now)?, &cx.place, listen)?;
    let log = log::init(&config.log).map_err(|error| CliError::Setup("the log", error.into()))?;
    let sockets = Sockets::passed_or_bound(&config).map_err(StartError::from)?;
    let file = match &cx.place {
        Place::File(file) => Some(file.as_path()),
        Place::Bare { .. } => None,
    };
    harden(&config, file).map_err(StartError::from)?;
    Ok(Prepared { config, log, sockets })
}

/// Runs until SIGTERM or SIGINT, then drains; a second one ends it at once.
pub(super) async fn run(cx: &Context<'_>, prepared: Prepared) -> Result<(), CliError> {
    let Prepared { config, log, sockets } = prepared;
    let mut stops = Stops::new().map_err(|error| CliError::Setup("signal handlers", error.into()))?;
    let server = Box::pin(Server::start_on(sockets, &config, events(&config)?)).await?;
    let server = server.reloading(again(&cx.place, &config), log);
    greet(&server);
    if let Err(error) = Box::pin(say_how_to_begin(&config)).await {
        tracing::warn!(error = error.line(), "the store cannot be asked for users");
    }
    let (stop, stopped) = oneshot::channel::<()>();
    // An end of the channel is a stop as well.
    let run = server.run(async move { drop(stopped.await) });
    tokio::select! {
        ended = Box::pin(run) => Ok(ended?),
        () = stops.twice(stop) => Err(CliError::Interrupted),
    }
}

fn config(mut config: Config, place: &Place, listen: &[SocketAddr]) -> Result<Config, CliError> {
    if listen.is_empty() {
        return Ok(config);
    }
    if matches!(place, Place::File(_)) {
        return Err(CliError::Usage(
            "--listen goes without a configuration file: the file has `listeners`".to_owned(),
        ));
    }
    let listener = |address: &SocketAddr| Listener {
        address: *address,
        ..Listener::default()
    };
    config.listeners = listen.iter().map(listener).collect();
    Ok(config)
}

/// How a reload reads the configuration. Without a file there is nothing to read again but what it names.
fn again(place: &Place, config: &Config) -> Source {
    match place {
        Place::File(file) => {
            let file = file.clone();
            Box::new(move |now| Config::load(&file, now).map_err(Box::new))
        }
        Place::Bare { .. } => {
            let config = config.clone();
            Box::new(move |_| Ok(config.clone()))
        }
    }
}

/// For people where they look on; a file, and whoever reads from a pipe, gets JSON.
fn events(config: &Config) -> Result<Vec<sink::Options>, StartError> {
    let mut sinks = config.event_options()?;
    let terminal = io::stdout().is_terminal();
    for sink in &mut sinks {
        if terminal && matches!(sink.target, Target::Stdout) && sink.shape == Shape::Ecs {
            sink.shape = Shape::Line;
        }
    }
    Ok(sinks)
}

fn greet(server: &Server) {
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    if let Some(address) = server.metrics_address() {
        tracing::info!(%address, "metrics and probes");
    }
}

async fn say_how_to_begin(config: &Config) -> Result<(), CliError> {
    let opened = Opened::at(config).await?;
    if opened.store.users(None, 1).await?.is_empty() {
        tracing::info!(
            "there are no users yet: `imapwarden user add NAME`, then `imapwarden app-password create NAME`, with the same \
             --config, or --backend and --data, as here"
        );
    }
    Ok(())
}

/// The signals that end the program.
struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Passes the first signal on; ready at the second.
    async fn twice(&mut self, stop: oneshot::Sender<()>) {
        self.next().await;
        // Where nobody listens the server has ended by itself.
        let _ = stop.send(());
        self.next().await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::address::Endpoint;
    use crate::types::UnixTime;

    #[test]
    fn listen_replaces_the_default_and_never_a_file() {
        let bare = Place::Bare {
            backend: Some(Endpoint::parse("127.0.0.1:143").unwrap()),
            data: PathBuf::from("/d"),
        };
        let usual = bare.config(UnixTime(0)).unwrap();
        let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let with = config(usual.clone(), &bare, &[address]).unwrap();
        let addresses: Vec<_> = with.listeners.iter().map(|l| l.address).collect();
        assert_eq!(addresses, [address]);
        assert_eq!(config(usual.clone(), &bare, &[]).unwrap(), usual);
        let file = Place::File(PathBuf::from("/f"));
        assert_eq!(config(usual, &file, &[address]).unwrap_err().code(), 64);
    }
}
