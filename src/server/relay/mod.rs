//! Moves the bytes of one relayed session: reads, lets [`Relay`] judge, writes, with back-pressure both ways.
//!
//! One task, one poll, both directions. Scratch buffers belong to the thread: a session that waits holds only what a peer
//! has not taken yet. Output that is stuck in one direction never stops the other.

mod driver;
mod ending;
mod rules;
mod scratch;
#[cfg(test)]
mod tests;
mod timing;
mod transfer;

use std::future::poll_fn;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::net::stream::Stream;
use crate::policy::facts::Record;
use crate::session::relay::Counts;
use crate::session::relay::Relay;
use crate::types::EndReason;

use driver::Driver;

pub(in crate::server) use rules::Report;
pub(in crate::server) use rules::Told;
pub(in crate::server) use rules::monotonic_ms;
pub(in crate::server) use transfer::client_failure;

/// The time limits of a relayed session.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Deadlines {
    /// How long a client may say nothing, IDLE included (RFC 3501, section 5.4: not under 30 minutes).
    pub(in crate::server) idle: Duration,
    /// How long a peer may take nothing of what is sent to it.
    pub(in crate::server) stall: Duration,
    /// How long answers may still come after the client has closed its side.
    pub(in crate::server) half_closed: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(31 * 60),
            stall: Duration::from_secs(5 * 60),
            half_closed: Duration::from_secs(30),
        }
    }
}

/// What somebody outside the session wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Order {
    /// End now.
    End(EndReason),
    /// End when no answer is lost, or at the deadline.
    Drain(Instant),
}

/// How a session went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) struct Outcome {
    /// Why it ended.
    pub(in crate::server) reason: EndReason,
    /// What the relay counted.
    pub(in crate::server) counts: Counts,
    /// What rules know of the session at its end, where commands are told.
    pub(in crate::server) facts: Option<Record>,
    /// Bytes from the client, after TLS.
    pub(in crate::server) from_client: u64,
    /// Bytes to the client, before TLS.
    pub(in crate::server) to_client: u64,
    /// Bytes from the backend.
    pub(in crate::server) from_backend: u64,
    /// Bytes to the backend.
    pub(in crate::server) to_backend: u64,
}

/// The client's side of a session.
pub(in crate::server) trait Client: AsyncRead + AsyncWrite + Unpin {
    /// What it is given next are its last words, and it is closed then.
    fn hears_last(&mut self);
}

impl Client for Stream {
    fn hears_last(&mut self) {
        self.hold_back();
    }
}

/// Relays until one side, an order or a limit ends it. `unread` is what the client sent behind its login, `early` what the
/// backend sent behind its answer, `welcome` the tagged OK that the client waits for; `report` hears what rules decide.
///
/// What comes in is moved into the session's state at once: the future is that state and little else. It is polled by one task:
/// a timer that is set, and whoever gives orders, keep that task's waker.
pub(in crate::server) fn run<C, B>(
    (client, unread): (C, Vec<u8>),
    (backend, early): (B, Vec<u8>),
    (relay, welcome, report): (Relay, Vec<u8>, Report),
    orders: oneshot::Receiver<Order>,
    deadlines: Deadlines,
) -> impl Future<Output = (Outcome, C)>
where
    C: Client,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut driver = Driver::new((client, unread), backend, (relay, report), orders, deadlines);
    driver.begin(&welcome, &early);
    async move {
        let reason = poll_fn(|cx| driver.poll(cx)).await;
        driver.finish(reason)
    }
}
