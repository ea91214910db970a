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
    shared: Labelled<SharedCounts, IntCounter>,
}

/// What becomes of counts that replicas share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedCounts {
    /// They were told to the others.
    Told,
    /// They came from others.
    Heard,
    /// There was no room to keep them until they were told.
    Lost,
}

impl SharedCounts {
    const ALL: [Self; 3] = [Self::Told, Self::Heard, Self::Lost];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Heard => "heard",
            Self::Lost => "lost",
        }
    }
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
            shared: make.counters(
                "imapwarden_rule_shared_counts_total",
                "Counts of rules that replicas share: told to others, heard from others, lost untold.",
                &["way"],
                SharedCounts::ALL,
                |way| vec![way.as_str()],
            )?,
        })
    }

    /// A rule decided something.
    pub fn decided(&self, severity: Severity, mode: Mode) {
        self.decisions.add(&(severity, mode), 1);
    }

    /// So many counts that replicas share went this way.
    pub fn shared(&self, way: SharedCounts, count: u64) {
        self.shared.add(&way, count);
    }
}
