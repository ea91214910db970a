//! Sinks of events: one set of series for each name in the configuration.

use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;

use crate::telemetry::metrics::MetricsError;
use crate::telemetry::metrics::labelled::Maker;

/// The series of all sinks.
#[derive(Debug)]
pub struct Sinks {
    written: IntCounterVec,
    dropped: IntCounterVec,
    failures: IntCounterVec,
    waiting: IntGaugeVec,
    up: IntGaugeVec,
}

impl Sinks {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            written: make.counter_family(
                "imapwarden_events_written_total",
                "Events written to a sink, or taken by its receiver.",
                &["sink"],
            )?,
            dropped: make.counter_family(
                "imapwarden_events_dropped_total",
                "Events lost, never written, by sink.",
                &["sink"],
            )?,
            failures: make.counter_family(
                "imapwarden_event_sink_failures_total",
                "Attempts to write events that failed, by sink.",
                &["sink"],
            )?,
            waiting: make.gauge_family(
                "imapwarden_events_waiting",
                "Events that wait to be written, by sink.",
                &["sink"],
            )?,
            up: make.gauge_family(
                "imapwarden_event_sink_up",
                "1 while a sink takes events, 0 after an attempt that failed.",
                &["sink"],
            )?,
        })
    }

    /// The metrics of one sink, which counts as up until an attempt fails. Names must come from the configuration: each is
    /// kept for ever.
    ///
    /// # Errors
    /// Never for a name that is text; the library's signature says otherwise.
    pub fn named(&self, name: &str) -> Result<Sink, MetricsError> {
        let sink = Sink {
            written: self.written.get_metric_with_label_values(&[name])?,
            dropped: self.dropped.get_metric_with_label_values(&[name])?,
            failures: self.failures.get_metric_with_label_values(&[name])?,
            waiting: self.waiting.get_metric_with_label_values(&[name])?,
            up: self.up.get_metric_with_label_values(&[name])?,
        };
        sink.up.set(1);
        Ok(sink)
    }
}

/// The metrics of one sink; cheap to clone.
#[derive(Debug, Clone)]
pub struct Sink {
    written: IntCounter,
    dropped: IntCounter,
    failures: IntCounter,
    waiting: IntGauge,
    up: IntGauge,
}

impl Sink {
    /// Events went out.
    pub fn written(&self, count: usize) {
        self.written.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        self.up.set(1);
    }

    /// An attempt to write failed.
    pub fn failed(&self) {
        self.failures.inc();
        self.up.set(0);
    }

    /// Events are lost.
    pub fn dropped(&self, count: u64) {
        self.dropped.inc_by(count);
    }

    /// So many wait now.
    pub fn waiting(&self, count: usize) {
        self.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many were lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.dropped.get()
    }
}
