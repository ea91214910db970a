//! Backends: one set of series for each name in the configuration.

use std::time::Duration;

use prometheus::Histogram;
use prometheus::HistogramVec;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGaugeVec;

use crate::telemetry::metrics::MetricsError;
use crate::telemetry::metrics::Outcome;
use crate::telemetry::metrics::labelled::Maker;

/// The series of all backends.
#[derive(Debug)]
pub struct Backends {
    logins: IntCounterVec,
    seconds: HistogramVec,
    up: IntGaugeVec,
}

impl Backends {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            logins: make.counter_family(
                "imapwarden_backend_logins_total",
                "Logins at a backend, by outcome.",
                &["backend", "outcome"],
            )?,
            seconds: make.histogram_family(
                "imapwarden_backend_login_duration_seconds",
                "Time to connect and log in at a backend.",
                &["backend"],
            )?,
            up: make.gauge_family(
                "imapwarden_backend_up",
                "1 while a backend is used, 0 while it is left alone after failures.",
                &["backend"],
            )?,
        })
    }

    /// Makes the series of a configuration's backends, so that they are present before anybody logs in. A backend counts
    /// as up until a failure says otherwise.
    ///
    /// # Errors
    /// As [`Backends::named`].
    pub fn configured<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<(), MetricsError> {
        for name in names {
            self.named(name)?;
            self.up(name, true)?;
        }
        Ok(())
    }

    /// The backend is used, or left alone after failures.
    ///
    /// # Errors
    /// As [`Backends::named`].
    pub fn up(&self, name: &str, up: bool) -> Result<(), MetricsError> {
        let gauge = self.up.get_metric_with_label_values(&[name])?;
        gauge.set(i64::from(up));
        Ok(())
    }

    /// A backend is configured no more: nobody can say whether it is up. What it counted stays.
    pub fn removed(&self, name: &str) {
        // An error means that there is no such series.
        let _ = self.up.remove_label_values(&[name]);
    }

    /// What is counted of one backend. Names must come from the configuration: each is kept for ever.
    ///
    /// # Errors
    /// Never for a name that is text; the library's signature says otherwise.
    pub fn named(&self, name: &str) -> Result<Backend, MetricsError> {
        let login = |outcome: Outcome| {
            self.logins
                .get_metric_with_label_values(&[name, outcome.as_str()])
        };
        Ok(Backend {
            success: login(Outcome::Success)?,
            refused: login(Outcome::Refused)?,
            unavailable: login(Outcome::Unavailable)?,
            seconds: self.seconds.get_metric_with_label_values(&[name])?,
        })
    }
}

/// What is counted of one backend; cheap to clone.
#[derive(Debug, Clone)]
pub struct Backend {
    success: IntCounter,
    refused: IntCounter,
    unavailable: IntCounter,
    seconds: Histogram,
}

impl Backend {
    /// A login at the backend was answered, or was not.
    pub fn login(&self, outcome: Outcome, took: Duration) {
        match outcome {
            Outcome::Success => &self.success,
            Outcome::Refused => &self.refused,
            Outcome::Unavailable => &self.unavailable,
        }
        .inc();
        self.seconds.observe(took.as_secs_f64());
    }
}
