//! What a session counts for itself, and by what.

use crate::policy::counters::Held;
use crate::policy::counters::Own;
use crate::policy::decision::DecisionId;
use crate::types::SessionId;

/// How often a session looks for counters of its own that are over, at most.
const SWEEP_MS: u64 = 1000;

/// What one connection or session has counted. It knows no rules: it may be judged by one engine after another.
#[derive(Debug, Clone)]
pub struct SessionCounters {
    session: SessionId,
    decisions: u32,
    /// When it is time to look at its own counters again, in milliseconds.
    sweeps_at: u64,
    pub(super) own: Own,
    /// The counters it shares with other sessions, where it counts often enough to hold on to them.
    pub(super) held: Option<Held>,
}

impl SessionCounters {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(session: SessionId) -> Self {
        Self {
            session,
            decisions: 0,
            sweeps_at: 0,
            own: Own::default(),
            held: None,
        }
    }

    /// The same, for a session that is let in: it holds on to the counters that it shares with other sessions, and has no
    /// lock in common with those that count other things.
    #[must_use]
    pub fn for_session(self) -> Self {
        Self {
            held: Some(Held::default()),
            ..self
        }
    }

    /// Lets go of the counters that it shares, and of what no longer counts; for a session that counts nothing for a while.
    pub fn let_go(&mut self, now_ms: u64) {
        self.held = self.held.as_ref().map(|_| Held::default());
        self.own.sweep(now_ms);
    }

    /// Gives back what no longer counts, once in a while; for a session that has nothing to do now.
    pub fn sweep(&mut self, now_ms: u64) {
        if now_ms >= self.sweeps_at {
            self.sweeps_at = now_ms.saturating_add(SWEEP_MS);
            self.own.sweep(now_ms);
        }
    }

    pub(super) fn next_id(&mut self) -> DecisionId {
        self.decisions = self.decisions.wrapping_add(1);
        DecisionId {
            session: self.session,
            number: self.decisions,
        }
    }
}
