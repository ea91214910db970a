//! What rules decided.

use prometheus::IntCounter;

use crate::policy::rules::Mode;
use crate::policy::rules::Severity;
use crate::telemetry::metrics::labelled::Labelled;
use crate::telemetry::metrics::labelled::Maker;

/// What is counted of rules. Which rule it was is for events: names are the operator's, and change.
#[derive(Debug)]
pub struct Rules {
    decisions: Labelled<(Severity, Mode), IntCounter>,
}

impl Rules {
    pub(super) fn new(make: &Maker<'_>) -> prometheus::Result<Self> {
        let keys = Severity::ALL
            .into_iter()
            .flat_map(|severity| [(severity, Mode::Enforce), (severity, Mode::Shadow)]);
        Ok(Self {
            decisions: make.counters(
                "imapwarden_rule_decisions_total",
                "Decisions of rules that were reported, by severity and mode.",
                &["severity", "mode"],
                keys,
                |(severity, mode)| vec![severity.as_str(), mode.as_str()],
            )?,
        })
    }

    /// A rule decided something.
    pub fn decided(&self, severity: Severity, mode: Mode) {
        self.decisions.add(&(severity, mode), 1);
    }
}
