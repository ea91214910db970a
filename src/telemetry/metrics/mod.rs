//! Numbers for Prometheus. Every series exists at zero from the start; labels come from closed lists and from the names of
//! backends and sinks in the configuration, never from a peer: no user, address, tag or mailbox.

mod backends;
mod connections;
mod labelled;
mod logins;
mod relay;
mod rules;
mod sinks;

use prometheus::IntCounter;
use prometheus::IntGauge;
use prometheus::Registry;
use prometheus::TextEncoder;
use prometheus::process_collector::ProcessCollector;
use thiserror::Error;

use crate::telemetry::metrics::labelled::Labelled;
use crate::telemetry::metrics::labelled::Maker;
use crate::types::UnixTime;

pub use backends::Backend;
pub use backends::Backends;
pub use connections::Connections;
pub use connections::Open;
pub use connections::Phase;
pub use logins::Logins;
pub use relay::Direction;
pub use relay::Relay;
pub use rules::Rules;
pub use rules::SharedCounts;
pub use sinks::Sink;
pub use sinks::Sinks;

/// Why there are no metrics: a mistake of ours in a name or a label.
#[derive(Debug, Error)]
#[error("the metrics cannot be set up")]
pub struct MetricsError(#[from] prometheus::Error);

/// How something that may be answered with yes, with no, or not at all went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Yes.
    Success,
    /// No.
    Refused,
    /// Nobody could say.
    Unavailable,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Success, Self::Refused, Self::Unavailable];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The label value where there is nothing to tell.
const NONE: &str = "none";

/// Every metric there is.
#[derive(Debug)]
pub struct Metrics {
    /// Connections, up to and including TLS, and their ends.
    pub connections: Connections,
    /// Logins at our door.
    pub logins: Logins,
    /// Bytes and commands after login.
    pub relay: Relay,
    /// What rules decided.
    pub rules: Rules,
    /// Logins at the backends.
    pub backends: Backends,
    /// Where events go.
    pub sinks: Sinks,
    store_errors: IntCounter,
    reloads: Labelled<Outcome, IntCounter>,
    config_reloads: Labelled<Outcome, IntCounter>,
    certificate_end: IntGauge,
    registry: Registry,
}

impl Metrics {
    /// Makes every metric, at zero.
    ///
    /// # Errors
    /// Where a name is taken twice or not a name: a mistake of ours, which the tests find.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let make = Maker(&registry);
        let build = make.gauge_family("imapwarden_build_info", "Always 1.", &["version"])?;
        build
            .get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?
            .set(1);
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self {
            connections: Connections::new(&make)?,
            logins: Logins::new(&make)?,
            relay: Relay::new(&make)?,
            rules: Rules::new(&make)?,
            backends: Backends::new(&make)?,
            sinks: Sinks::new(&make)?,
            store_errors: make.counter("imapwarden_store_errors_total", "Failures of the store.")?,
            reloads: make.counters(
                "imapwarden_rules_reloads_total",
                "Attempts to load new rules, by outcome.",
                &["outcome"],
                [Outcome::Success, Outcome::Refused],
                |outcome| vec![outcome.as_str()],
            )?,
            config_reloads: make.counters(
                "imapwarden_config_reloads_total",
                "Attempts to load a new configuration, by outcome.",
                &["outcome"],
                [Outcome::Success, Outcome::Refused],
                |outcome| vec![outcome.as_str()],
            )?,
            certificate_end: make.gauge(
                "imapwarden_certificate_not_after_timestamp_seconds",
                "When the first of the certificates in force expires, in seconds since 1970.",
            )?,
            registry,
        })
    }

    /// These certificates are in force; says when the first of them expires.
    pub fn certificates(&self, ends: impl IntoIterator<Item = UnixTime>) {
        if let Some(first) = ends.into_iter().min() {
            self.certificate_end.set(first.0);
        }
    }

    /// The store failed.
    pub fn store_error(&self) {
        self.store_errors.inc();
    }

    /// New rules are in force, or were refused.
    pub fn rules_reloaded(&self, accepted: bool) {
        self.reloads.add(&outcome_of(accepted), 1);
    }

    /// A new configuration is in force, or was refused.
    pub fn config_reloaded(&self, accepted: bool) {
        self.config_reloads.add(&outcome_of(accepted), 1);
    }

    /// Everything, in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    /// Where two metrics contradict each other, which the tests rule out.
    pub fn render(&self) -> Result<String, MetricsError> {
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }
}

const fn outcome_of(accepted: bool) -> Outcome {
    if accepted {
        Outcome::Success
    } else {
        Outcome::Refused
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::types::EndReason;
    use crate::types::Mechanism;
    use crate::types::Refusal;
    use crate::types::SecondFactor;

    use super::*;

    fn value(metrics: &Metrics, series: &str) -> Option<String> {
        let text = metrics.render().unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned))
    }

    #[test]
    fn every_series_is_there_at_zero() {
        let metrics = Metrics::new().unwrap();
        for reason in EndReason::ALL {
            let series = format!(
                "imapwarden_connection_ends_total{{reason=\"{reason}\",side=\"{}\"}}",
                reason.side().as_str()
            );
            assert_eq!(value(&metrics, &series).as_deref(), Some("0"), "{series}");
        }
        for refusal in Refusal::ALL {
            let series = format!("imapwarden_login_refusals_total{{reason=\"{refusal}\"}}");
            assert_eq!(value(&metrics, &series).as_deref(), Some("0"), "{series}");
        }
    }

    #[test]
    fn open_connections_are_counted_by_phase_until_they_are_dropped() {
        let metrics = Metrics::new().unwrap();
        let count =
            |phase: &str| value(&metrics, &format!("imapwarden_connections{{phase=\"{phase}\"}}")).unwrap();
        let mut open = metrics.connections.accepted();
        let other = metrics.connections.accepted();
        assert_eq!(count("handshake"), "2");
        metrics.connections.moved(&mut open, Phase::Relay);
        assert_eq!((count("handshake"), count("relay")), ("1".into(), "1".into()));
        drop((open, other));
        assert_eq!((count("handshake"), count("relay")), ("0".into(), "0".into()));
        assert_eq!(value(&metrics, "imapwarden_connections_total").unwrap(), "2");
    }

    #[test]
    fn logins_count_under_their_labels() {
        let metrics = Metrics::new().unwrap();
        let took = Duration::from_millis(20);
        metrics
            .logins
            .succeeded(Mechanism::Plain, &SecondFactor::Totp, took);
        metrics
            .logins
            .refused(Mechanism::Login, Refusal::CodeReplayed, took);
        metrics.logins.unavailable(Mechanism::SaslLogin, took);
        for series in [
            "imapwarden_logins_total{mechanism=\"plain\",outcome=\"success\",second_factor=\"totp\"}",
            "imapwarden_logins_total{mechanism=\"login\",outcome=\"refused\",second_factor=\"none\"}",
            "imapwarden_logins_total{mechanism=\"sasl_login\",outcome=\"unavailable\",second_factor=\"none\"}",
            "imapwarden_login_refusals_total{reason=\"code_replayed\"}",
            "imapwarden_login_duration_seconds_count{outcome=\"success\"}",
        ] {
            assert_eq!(value(&metrics, series).as_deref(), Some("1"), "{series}");
        }
    }

    #[test]
    fn backends_and_hand_shakes_count_under_their_labels() {
        let metrics = Metrics::new().unwrap();
        metrics.backends.configured(["main"]).unwrap();
        let backend = metrics.backends.named("main").unwrap();
        assert_eq!(
            value(&metrics, "imapwarden_backend_up{backend=\"main\"}").unwrap(),
            "1"
        );
        metrics.backends.up("main", false).unwrap();
        backend.login(Outcome::Unavailable, Duration::ZERO);
        metrics.connections.tls_succeeded("1.3", true, Duration::ZERO);
        metrics.connections.tls_failed();
        metrics.relay.bytes(Direction::ToClient, 7);
        for (series, expected) in [
            ("imapwarden_backend_up{backend=\"main\"}", "0"),
            (
                "imapwarden_backend_logins_total{backend=\"main\",outcome=\"unavailable\"}",
                "1",
            ),
            (
                "imapwarden_backend_logins_total{backend=\"main\",outcome=\"success\"}",
                "0",
            ),
            (
                "imapwarden_tls_handshakes_total{outcome=\"success\",resumed=\"true\",version=\"1.3\"}",
                "1",
            ),
            (
                "imapwarden_tls_handshakes_total{outcome=\"failure\",resumed=\"false\",version=\"none\"}",
                "1",
            ),
            ("imapwarden_relay_bytes_total{direction=\"to_client\"}", "7"),
        ] {
            assert_eq!(value(&metrics, series).as_deref(), Some(expected), "{series}");
        }
    }

    #[test]
    fn a_backend_that_is_gone_is_neither_up_nor_down_and_what_it_counted_stays() {
        let metrics = Metrics::new().unwrap();
        metrics.backends.configured(["old", "new"]).unwrap();
        let late = metrics.backends.named("old").unwrap();
        metrics.backends.removed("old");
        metrics.backends.removed("old");
        late.login(Outcome::Success, Duration::ZERO);
        metrics.backends.named("old").unwrap();
        let up = |name: &str| value(&metrics, &format!("imapwarden_backend_up{{backend=\"{name}\"}}"));
        assert_eq!((up("old"), up("new").as_deref()), (None, Some("1")));
        let counted = "imapwarden_backend_logins_total{backend=\"old\",outcome=\"success\"}";
        assert_eq!(value(&metrics, counted).as_deref(), Some("1"));
    }

    #[test]
    fn every_denial_has_a_series() {
        let metrics = Metrics::new().unwrap();
        for reason in connections::DENIALS {
            metrics.connections.denied(reason);
            let series = format!("imapwarden_connections_denied_total{{reason=\"{reason}\"}}");
            assert_eq!(value(&metrics, &series).as_deref(), Some("1"));
        }
    }
}
