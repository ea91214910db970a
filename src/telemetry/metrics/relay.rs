//! The relay: bytes and commands after login.

use prometheus::IntCounter;

use crate::telemetry::metrics::labelled::Labelled;
use crate::telemetry::metrics::labelled::Maker;

/// Which way relayed bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the backend.
    ToBackend,
    /// From the backend to the client.
    ToClient,
}

impl Direction {
    const ALL: [Self; 2] = [Self::ToBackend, Self::ToClient];

    const fn as_str(self) -> &'static str {
        match self {
            Self::ToBackend => "to_backend",
            Self::ToClient => "to_client",
        }
    }
}

/// What is counted of the relay.
#[derive(Debug)]
pub struct Relay {
    bytes: Labelled<Direction, IntCounter>,
    commands: IntCounter,
    refused: IntCounter,
    messages: IntCounter,
}

impl Relay {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            bytes: make.counters(
                "imapwarden_relay_bytes_total",
                "Bytes relayed after login, by direction.",
                &["direction"],
                Direction::ALL,
                |direction| vec![direction.as_str()],
            )?,
            commands: make.counter(
                "imapwarden_commands_total",
                "Commands sent to a backend after login.",
            )?,
            refused: make.counter(
                "imapwarden_commands_refused_total",
                "Commands after login that imapwarden answered itself: not IMAP, unknown, refused.",
            )?,
            messages: make.counter(
                "imapwarden_messages_appended_total",
                "Messages that clients appended, begun.",
            )?,
        })
    }

    /// Bytes were relayed.
    pub fn bytes(&self, direction: Direction, count: u64) {
        self.bytes.add(&direction, count);
    }

    /// Commands were sent to the backend.
    pub fn commands(&self, count: u64) {
        self.commands.inc_by(count);
    }

    /// Commands were answered by us.
    pub fn commands_refused(&self, count: u64) {
        self.refused.inc_by(count);
    }

    /// Clients began to append messages.
    pub fn messages_appended(&self, count: u64) {
        self.messages.inc_by(count);
    }
}
