//! Logins at our door: how many, how proved, why refused, how long.

use std::time::Duration;

use prometheus::Histogram;
use prometheus::IntCounter;

use crate::telemetry::metrics::NONE;
use crate::telemetry::metrics::Outcome;
use crate::telemetry::metrics::labelled::Labelled;
use crate::telemetry::metrics::labelled::Maker;
use crate::types::Mechanism;
use crate::types::Refusal;
use crate::types::SecondFactor;

/// What is counted of logins.
#[derive(Debug)]
pub struct Logins {
    by_outcome: Labelled<(Outcome, Mechanism, &'static str), IntCounter>,
    refusals: Labelled<Refusal, IntCounter>,
    seconds: Labelled<Outcome, Histogram>,
    in_grace: IntCounter,
}

impl Logins {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        let keys = Mechanism::ALL.into_iter().flat_map(|mechanism| {
            let succeeded = SecondFactor::WORDS.map(|factor| (Outcome::Success, mechanism, factor));
            let others = [Outcome::Refused, Outcome::Unavailable].map(|outcome| (outcome, mechanism, NONE));
            succeeded.into_iter().chain(others)
        });
        Ok(Self {
            by_outcome: make.counters(
                "imapwarden_logins_total",
                "Logins, by outcome, mechanism and second factor.",
                &["outcome", "mechanism", "second_factor"],
                keys,
                |(outcome, mechanism, factor)| vec![outcome.as_str(), mechanism.as_str(), factor],
            )?,
            refusals: make.counters(
                "imapwarden_login_refusals_total",
                "Logins refused, by reason.",
                &["reason"],
                Refusal::ALL.iter().copied(),
                |refusal| vec![refusal.as_str()],
            )?,
            seconds: make.histograms(
                "imapwarden_login_duration_seconds",
                "Time from the credentials to their answer, the backend's login included.",
                "outcome",
                Outcome::ALL,
                |outcome| outcome.as_str(),
            )?,
            in_grace: make.counter(
                "imapwarden_logins_store_away_total",
                "Logins accepted while the store was away, by trusted windows that the process knew of.",
            )?,
        })
    }

    /// A login was accepted.
    pub fn succeeded(&self, mechanism: Mechanism, factor: &SecondFactor, took: Duration) {
        self.count(Outcome::Success, mechanism, factor.as_str(), took);
    }

    /// A login was refused.
    pub fn refused(&self, mechanism: Mechanism, why: Refusal, took: Duration) {
        self.count(Outcome::Refused, mechanism, NONE, took);
        self.refusals.add(&why, 1);
    }

    /// A login could not be decided, by fault of the store or of a backend.
    pub fn unavailable(&self, mechanism: Mechanism, took: Duration) {
        self.count(Outcome::Unavailable, mechanism, NONE, took);
    }

    /// One was accepted while the store was away.
    pub fn in_grace(&self) {
        self.in_grace.inc();
    }

    fn count(&self, outcome: Outcome, mechanism: Mechanism, factor: &'static str, took: Duration) {
        self.by_outcome.add(&(outcome, mechanism, factor), 1);
        if let Some(seconds) = self.seconds.of(&outcome) {
            seconds.observe(took.as_secs_f64());
        }
    }
}
