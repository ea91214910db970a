//! Receivers of events on the network: who they are, and a connection to one. Everything has an end in time.

use std::fmt;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::net::socket;
use crate::net::stream::Stream;
use crate::net::tls::Client;
use crate::net::tls::ClientOptions;
use crate::telemetry::sink::SinkError;
use crate::telemetry::sink::worker::Failure;
use crate::types::UnixTime;

/// Where a receiver is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// A host name, or an IP address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// TLS towards a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Why it is trusted.
    pub client: ClientOptions,
    /// The name that its certificate must have; `None` is the receiver's host.
    pub server_name: Option<String>,
}

impl Tls {
    /// Reads the authorities.
    pub(super) fn read(&self, receiver: &Receiver) -> Result<Client, SinkError> {
        // The time is that of a certificate of ours, which there is none of.
        Client::new(&self.client, UnixTime(0)).map_err(|source| SinkError::Tls {
            receiver: receiver.to_string(),
            source,
        })
    }
}

/// A receiver that can be connected to.
pub(super) struct Remote {
    receiver: Receiver,
    tls: Option<(Client, String)>,
    /// Longest wait for a connection, TLS included, and for each exchange on it.
    timeout: Duration,
}

impl Remote {
    pub(super) fn new(receiver: Receiver, tls: Option<Tls>, timeout: Duration) -> Result<Self, SinkError> {
        let with_name = |tls: Tls| {
            let client = tls.read(&receiver)?;
            Ok::<_, SinkError>((client, tls.server_name.unwrap_or_else(|| receiver.host.clone())))
        };
        Ok(Self {
            tls: tls.map(with_name).transpose()?,
            receiver,
            timeout,
        })
    }

    /// Trusts others from the next connection on.
    pub(super) fn renew(&mut self, client: Option<Client>) {
        if let (Some((trusted, _)), Some(client)) = (&mut self.tls, client) {
            *trusted = client;
        }
    }

    pub(super) fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Connects, and does the TLS hand-shake.
    pub(super) async fn connect(&self) -> Result<Stream, Failure> {
        let failed =
            |what: &dyn fmt::Display| Failure::again(format!("cannot connect to {}: {what}", self.receiver));
        let dial = TcpStream::connect((self.receiver.host.as_str(), self.receiver.port));
        let tcp = match timeout(self.timeout, dial).await {
            Ok(Ok(tcp)) => tcp,
            Ok(Err(error)) => return Err(failed(&error)),
            Err(_) => return Err(failed(&"no answer in time")),
        };
        socket::tune(&tcp, &socket::Options::default()).map_err(|error| failed(&error))?;
        let Some((client, name)) = &self.tls else {
            return Ok(tcp.into());
        };
        let shaken = client.handshake(tcp, name).await;
        shaken.map(|(stream, _)| stream).map_err(|error| failed(&error))
    }
}

/// The runtime of one sink's thread, made there: where a start fails, what was opened so far is dropped by whoever must not block.
#[derive(Default)]
pub(super) struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    /// Runs something to its end, which must come by itself.
    pub(super) fn run<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        if let Some(runtime) = &self.0 {
            return runtime.block_on(work);
        }
        let built = Builder::new_current_thread().enable_all().build();
        let runtime = built.map_err(|error| Failure::again(format!("no runtime: {error}")))?;
        self.0.insert(runtime).block_on(work)
    }
}
