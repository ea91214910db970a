//! Connections: how many, in which phase, how they end.

use std::time::Duration;

use prometheus::Histogram;
use prometheus::IntCounter;
use prometheus::IntGauge;

use crate::telemetry::metrics::NONE;
use crate::telemetry::metrics::labelled::Labelled;
use crate::telemetry::metrics::labelled::Maker;
use crate::types::EndReason;

/// What a connection is doing, for the gauge of open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// PROXY header and TLS hand-shake.
    Handshake,
    /// Before login, the backend's login included.
    PreAuth,
    /// After login.
    Relay,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Handshake, Self::PreAuth, Self::Relay];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::PreAuth => "pre_auth",
            Self::Relay => "relay",
        }
    }
}

/// Reasons for which a connection is closed before TLS.
pub(super) const DENIALS: [EndReason; 5] = [
    EndReason::AddressDenied,
    EndReason::AddressBanned,
    EndReason::ConnectionRate,
    EndReason::ConnectionLimit,
    EndReason::ProxyHeaderInvalid,
];

/// TLS versions that a hand-shake can end in.
const TLS_VERSIONS: [&str; 2] = ["1.2", "1.3"];

/// What is counted of connections.
#[derive(Debug)]
pub struct Connections {
    accepted: IntCounter,
    denied: Labelled<EndReason, IntCounter>,
    open: Labelled<Phase, IntGauge>,
    limit: IntGauge,
    ended: Labelled<EndReason, IntCounter>,
    tls: Labelled<Option<(&'static str, bool)>, IntCounter>,
    tls_seconds: Labelled<bool, Histogram>,
}

impl Connections {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            accepted: make.counter("imapwarden_connections_total", "Connections accepted.")?,
            denied: make.counters(
                "imapwarden_connections_denied_total",
                "Connections closed before TLS, by reason.",
                &["reason"],
                DENIALS,
                |reason| vec![reason.as_str()],
            )?,
            open: make.gauges(
                "imapwarden_connections",
                "Open connections, by what they are doing.",
                "phase",
                Phase::ALL,
                |phase| phase.as_str(),
            )?,
            limit: make.gauge(
                "imapwarden_connections_limit",
                "Most connections at a time; further ones wait in the kernel.",
            )?,
            ended: make.counters(
                "imapwarden_connection_ends_total",
                "Connections ended, by reason and by whose doing it was.",
                &["reason", "side"],
                EndReason::ALL.iter().copied(),
                |reason| vec![reason.as_str(), reason.side().as_str()],
            )?,
            tls: tls_handshakes(make)?,
            tls_seconds: make.histograms(
                "imapwarden_tls_handshake_duration_seconds",
                "Time of TLS hand-shakes that succeeded, the client's part included.",
                "resumed",
                [true, false],
                |resumed| if *resumed { "true" } else { "false" },
            )?,
        })
    }

    /// So many may be open at a time.
    pub fn limited(&self, most: u32) {
        self.limit.set(most.into());
    }

    /// A connection was accepted. It counts as open until the value is dropped.
    pub fn accepted(&self) -> Open {
        self.accepted.inc();
        Open::count(self.open.of(&Phase::Handshake))
    }

    /// An open connection does something else now.
    pub fn moved(&self, open: &mut Open, phase: Phase) {
        *open = Open::count(self.open.of(&phase));
    }

    /// A connection was closed before TLS; goes with [`Connections::ended`].
    pub fn denied(&self, reason: EndReason) {
        self.denied.add(&reason, 1);
    }

    /// A connection ended.
    pub fn ended(&self, reason: EndReason) {
        self.ended.add(&reason, 1);
    }

    /// A TLS hand-shake succeeded; `version` is `1.2` or `1.3`.
    pub fn tls_succeeded(&self, version: &'static str, resumed: bool, took: Duration) {
        self.tls.add(&Some((version, resumed)), 1);
        if let Some(seconds) = self.tls_seconds.of(&resumed) {
            seconds.observe(took.as_secs_f64());
        }
    }

    /// A TLS hand-shake failed.
    pub fn tls_failed(&self) {
        self.tls.add(&None, 1);
    }
}

/// An open connection: counted until dropped, so that no way out can forget it.
#[derive(Debug)]
#[must_use = "the connection is counted as long as this value lives"]
pub struct Open(Option<IntGauge>);

impl Open {
    fn count(gauge: Option<&IntGauge>) -> Self {
        if let Some(gauge) = gauge {
            gauge.inc();
        }
        Self(gauge.cloned())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(gauge) = &self.0 {
            gauge.dec();
        }
    }
}

/// `None` is a hand-shake that failed, of which neither version nor resumption is known.
fn tls_handshakes(
    make: &Maker<'_>,
) -> prometheus::Result<Labelled<Option<(&'static str, bool)>, IntCounter>> {
    let succeeded = TLS_VERSIONS
        .into_iter()
        .flat_map(|version| [Some((version, true)), Some((version, false))]);
    make.counters(
        "imapwarden_tls_handshakes_total",
        "TLS hand-shakes, by outcome, version and whether a session was resumed.",
        &["outcome", "version", "resumed"],
        succeeded.chain([None]),
        |key| match key {
            Some((version, true)) => vec!["success", version, "true"],
            Some((version, false)) => vec!["success", version, "false"],
            None => vec!["failure", NONE, "false"],
        },
    )
}
