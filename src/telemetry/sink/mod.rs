//! Where events go: each sink has a bounded queue and a thread of its own that writes.
//!
//! `emit` never waits for a disk, a terminal or a receiver. Where a sink cannot keep up, events are dropped, counted and
//! reported, for that sink alone; the sequence numbers show the gap. A session never ends because an event could not be written.

mod lines;
mod network;
#[cfg(feature = "otlp")]
mod otlp;
mod queue;
mod syslog;
mod webhook;
mod worker;

use std::fmt;
use std::io;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use thiserror::Error;

use crate::net::tls::Client;
use crate::net::tls::TlsError;
use crate::telemetry::event::Event;
use crate::telemetry::metrics::MetricsError;
use crate::telemetry::metrics::Sinks as Metrics;
use crate::telemetry::shape::Shape;
use crate::telemetry::sink::lines::Lines;
use crate::telemetry::sink::queue::Queue;
use crate::telemetry::sink::syslog::Syslog;
use crate::telemetry::sink::webhook::Webhook;
use crate::telemetry::sink::worker::Output;

pub use lines::FileOptions;
pub use lines::Rotate;
pub use network::Receiver;
pub use network::Tls;
pub use syslog::Facility;
pub use syslog::SyslogOptions;
pub use syslog::Transport;
pub use webhook::Path;
pub use webhook::Signer;
pub use webhook::SignerError;
pub use webhook::WebhookOptions;

/// How many events may wait for a sink, unless it says otherwise; one is about 1 KiB.
pub const QUEUE: usize = 4096;

/// What time it is, by the clock on the wall: requests are signed with it.
pub type Clock = fn() -> SystemTime;

/// Where events go and in which shape.
#[derive(Debug)]
pub struct Options {
    /// The sink's name in metrics and in the log.
    pub name: String,
    /// Where to.
    pub target: Target,
    /// In which shape.
    pub shape: Shape,
    /// How many events may wait to be written.
    pub queue: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "stdout".to_owned(),
            target: Target::Stdout,
            shape: Shape::Ecs,
            queue: QUEUE,
        }
    }
}

/// All sinks of a process.
#[derive(Debug)]
pub struct Sinks(Vec<Options>);

impl From<Options> for Sinks {
    fn from(only: Options) -> Self {
        Self(vec![only])
    }
}

impl From<Vec<Options>> for Sinks {
    fn from(all: Vec<Options>) -> Self {
        Self(all)
    }
}

/// Where events go.
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file that is appended to.
    File(FileOptions),
    /// Anything else that can be written to.
    Writer(Box<dyn Write + Send>),
    /// A syslog receiver.
    Syslog(SyslogOptions),
    /// A receiver of HTTP requests.
    Webhook(Box<WebhookOptions>),
    /// A collector of traces.
    #[cfg(feature = "otlp")]
    Otlp(OtlpOptions),
}

/// A collector of traces.
#[cfg(feature = "otlp")]
#[derive(Debug)]
pub struct OtlpOptions {
    /// Where it is.
    pub receiver: Receiver,
    /// TLS towards it; `None` is HTTP in clear.
    pub tls: Option<Tls>,
    /// What is asked for there.
    pub path: Path,
    /// The time for one request, connection and answer included.
    pub timeout: Duration,
}

impl Target {
    /// Which events it takes at all.
    fn takes(&self) -> fn(&Event) -> bool {
        match self {
            #[cfg(feature = "otlp")]
            Self::Otlp(_) => otlp::has_spans,
            _ => |_| true,
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("Stdout"),
            Self::File(options) => write!(f, "File({})", options.path.display()),
            Self::Writer(_) => f.write_str("Writer"),
            Self::Syslog(options) => write!(f, "Syslog({})", options.receiver),
            Self::Webhook(options) => write!(f, "Webhook({})", options.receiver),
            #[cfg(feature = "otlp")]
            Self::Otlp(options) => write!(f, "Otlp({})", options.receiver),
        }
    }
}

/// What a sink goes by that is read from files, read anew: for one that is running.
#[derive(Debug, Default)]
pub struct Renewal {
    /// Why its receiver is trusted.
    client: Option<Client>,
    /// What its requests are signed with.
    signer: Option<Signer>,
}

/// Reads what running sinks go by from the files that it stands in. Nothing of it is in force before [`Events::renew`].
///
/// # Errors
/// Authorities cannot be used.
pub fn renewals(sinks: impl Into<Sinks>) -> Result<Vec<Renewal>, SinkError> {
    let each = |options: Options| match options.target {
        Target::Stdout | Target::File(_) | Target::Writer(_) => Ok(Renewal::default()),
        Target::Syslog(SyslogOptions {
            receiver,
            transport: Transport::Tls(tls),
            ..
        }) => Ok(Renewal {
            client: Some(tls.read(&receiver)?),
            signer: None,
        }),
        Target::Syslog(_) => Ok(Renewal::default()),
        Target::Webhook(options) => {
            let tls = options.tls.as_ref();
            Ok(Renewal {
                client: tls.map(|tls| tls.read(&options.receiver)).transpose()?,
                signer: Some(options.signer),
            })
        }
        #[cfg(feature = "otlp")]
        Target::Otlp(options) => {
            let tls = options.tls.as_ref();
            Ok(Renewal {
                client: tls.map(|tls| tls.read(&options.receiver)).transpose()?,
                signer: None,
            })
        }
    };
    sinks.into().0.into_iter().map(each).collect()
}

/// Why events cannot be written at all.
#[derive(Debug, Error)]
pub enum SinkError {
    /// The file cannot be opened.
    #[error("cannot open the event file {path}")]
    Open {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// TLS towards a receiver cannot be set up.
    #[error("cannot set up TLS to the receiver of events {receiver}")]
    Tls {
        /// Which one.
        receiver: String,
        /// Why.
        source: TlsError,
    },
    /// The writer's thread cannot be started.
    #[error("cannot start the event writer")]
    Thread(#[source] io::Error),
    /// The sink cannot be counted.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// The way in: cheap to clone, usable from anywhere.
#[derive(Debug, Clone)]
pub struct Events(Arc<Queues>);

#[derive(Debug)]
struct Queues {
    /// Held for a few moves: every sink gets the events in the same order.
    order: Mutex<()>,
    all: Vec<Arc<Queue>>,
}

impl Events {
    /// Hands an event to every writer. Never waits; a full queue drops the event and counts it.
    pub fn emit(&self, event: Event) {
        let event = Arc::new(event);
        let _order = self.0.order.lock().unwrap_or_else(PoisonError::into_inner);
        for queue in &self.0.all {
            queue.push(Arc::clone(&event));
        }
    }

    /// Has each sink use what was read anew for it, in their order, from its next connection or request on.
    pub fn renew(&self, renewals: Vec<Renewal>) {
        for (queue, renewal) in self.0.all.iter().zip(renewals) {
            queue.renew(renewal);
        }
    }

    /// Closes the files and opens them anew, after log rotation moved them away. Done by the writers, in order.
    pub fn reopen(&self) {
        self.0.all.iter().for_each(|queue| queue.reopen());
    }
}

/// The writers' end: whoever holds it decides when to stop.
#[derive(Debug)]
pub struct Writer(Vec<Running>);

#[derive(Debug)]
struct Running {
    queue: Arc<Queue>,
    done: mpsc::Receiver<()>,
}

impl Writer {
    /// Writes what waits, then stops; waits for that no longer than `patience`, for all sinks together. True where everything
    /// was written in time, or given up. Events emitted afterwards are dropped.
    #[must_use]
    pub fn close(self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        for running in &self.0 {
            running.queue.close();
        }
        let mut all = true;
        for running in &self.0 {
            let left = end.saturating_duration_since(Instant::now());
            all &= running.done.recv_timeout(left).is_ok();
        }
        all
    }
}

/// A writer nobody waits for still stops.
impl Drop for Writer {
    fn drop(&mut self) {
        self.0.iter().for_each(|running| running.queue.close());
    }
}

/// Opens every target and starts the writers. `clock` says the time of requests.
///
/// # Errors
/// Where a file cannot be opened, TLS not be set up or a thread not be started.
pub fn start(
    sinks: impl Into<Sinks>,
    metrics: &Metrics,
    clock: Clock,
) -> Result<(Events, Writer), SinkError> {
    let mut opened = Vec::new();
    for options in sinks.into().0 {
        let takes = options.target.takes();
        let queue = Arc::new(Queue::new(options.queue, metrics.named(&options.name)?, takes));
        opened.push((options.name, queue, open(options.target, options.shape, clock)?));
    }
    let mut running = Vec::new();
    for (name, queue, mut output) in opened {
        let (finished, done) = mpsc::sync_channel(1);
        let reader = Arc::clone(&queue);
        thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || {
                worker::run(&name, &reader, &mut *output);
                // Nobody may be waiting any more.
                let _ = finished.try_send(());
            })
            .map_err(SinkError::Thread)?;
        running.push(Running { queue, done });
    }
    let queues = Queues {
        order: Mutex::new(()),
        all: running.iter().map(|each| Arc::clone(&each.queue)).collect(),
    };
    Ok((Events(Arc::new(queues)), Writer(running)))
}

fn open(target: Target, shape: Shape, clock: Clock) -> Result<Box<dyn Output>, SinkError> {
    Ok(match target {
        Target::Stdout => Box::new(Lines::to(Box::new(io::stdout()), shape)),
        Target::Writer(writer) => Box::new(Lines::to(writer, shape)),
        Target::File(options) => Box::new(Lines::in_file(options, shape)?),
        Target::Syslog(options) => Box::new(Syslog::new(options, shape)?),
        Target::Webhook(options) => Box::new(Webhook::new(*options, shape, clock)?),
        #[cfg(feature = "otlp")]
        Target::Otlp(options) => Box::new(otlp::Otlp::new(options)?),
    })
}

#[cfg(test)]
mod tests;
