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
            commands: make.counter("imapwarden_commands_total", "Commands received after login.")?,
            refused: make.counter(
                "imapwarden_commands_refused_total",
                "Commands received after login and not passed to the backend.",
            )?,
        })
    }

    /// Bytes were relayed.
    pub fn bytes(&self, direction: Direction, count: u64) {
        self.bytes.add(&direction, count);
    }

    /// A command arrived after login.
    pub fn command(&self) {
        self.commands.inc();
    }

    /// A command was not passed to the backend.
    pub fn command_refused(&self) {
        self.refused.inc();
    }
}
