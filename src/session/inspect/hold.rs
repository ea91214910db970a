//! What rules have put on a session for a while, or for as long as it lasts.
//!
//! A milder or shorter hold never replaces a stricter or longer one: what holds for the whole session stands beside what holds
//! for a time.

use std::sync::Arc;

use crate::policy::decision::Decisions;
use crate::policy::decision::Hold;
use crate::policy::engine::Engine;
use crate::policy::facts::Event;
use crate::policy::facts::Source;
use crate::session::inspect::Inspector;
use crate::session::inspect::brake::Brake;

/// Most holds with an end that are kept; further ones last as long as the one that ends last.
const MOST: usize = 8;

/// The holds of one kind.
#[derive(Debug)]
pub(super) struct Holds<T>(Vec<Hold<T>>);

impl<T> Default for Holds<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + Ord> Holds<T> {
    /// Adds one. Of two that hold the same the longer counts.
    pub(super) fn add(&mut self, hold: Option<Hold<T>>) {
        let Some(hold) = hold else {
            return;
        };
        if let Some(known) = self.0.iter_mut().find(|known| known.what == hold.what) {
            known.until_ms = later(known.until_ms, hold.until_ms);
        } else if self.0.len() < MOST {
            self.0.push(hold);
        } else if let Some(strictest) = self.0.iter_mut().min_by_key(|known| known.what) {
            // Stricter than was asked for, never milder.
            strictest.what = strictest.what.min(hold.what);
            strictest.until_ms = later(strictest.until_ms, hold.until_ms);
        }
    }

    /// Those that hold now.
    pub(super) fn in_force(&self, now_ms: u64) -> impl Iterator<Item = T> {
        let holds = move |hold: &&Hold<T>| hold.until_ms.is_none_or(|until| now_ms < until);
        self.0.iter().filter(holds).map(|hold| hold.what)
    }
}

/// The later of two ends; none is later than any.
fn later(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    Some(a?.max(b?))
}

impl Inspector {
    /// What a login rule asks of the session from its first moment on.
    pub fn hold(&mut self, decisions: &Decisions) {
        let verdict = decisions.verdict();
        self.throttle.add(verdict.throttle);
        self.read_only.add(verdict.read_only);
    }

    /// Judges the login by rules that came after it. Whether the session may go on at all is for whoever lists it to ask:
    /// here it takes on what they put on sessions. What earlier rules have put on it stays.
    pub(super) fn renew(&mut self, rules: &Engine) {
        if Arc::ptr_eq(rules.revision(), &self.revision) {
            return;
        }
        let same_texts = *rules.revision() == self.revision;
        self.revision = Arc::clone(rules.revision());
        // New rules may be told at once, and may lie where old ones lay.
        self.brake = Brake::default();
        if !self.locate(rules) && same_texts {
            return;
        }
        let login = self.parties.login();
        let mut facts = self.parties.facts(Event::Login);
        facts.source = self.source.as_deref().unwrap_or(facts.source);
        facts.login = Some(&login);
        let decisions = rules.judge_again(&facts, &mut self.counters).holds();
        if !decisions.is_empty() {
            self.hold(&decisions);
            self.told.push(decisions);
        }
    }

    /// Looks in which sets of networks the session is by now; false where those are the same.
    fn locate(&mut self, rules: &Engine) -> bool {
        let known = self.source.as_deref().unwrap_or(&self.parties.source);
        let networks = rules.networks_of(known.ip);
        if networks == known.networks {
            return false;
        }
        self.source = Some(Box::new(Source {
            networks,
            ..known.clone()
        }));
        self.parties_changed = self.parties_changed.wrapping_add(1);
        true
    }

    /// Whether the session may change nothing now.
    pub(in crate::session) fn is_read_only(&self) -> bool {
        self.read_only.in_force(self.now_ms).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(what: u64, until_ms: Option<u64>) -> Option<Hold<u64>> {
        Some(Hold { what, until_ms })
    }

    #[test]
    fn a_milder_hold_never_lifts_a_stricter_one() {
        let mut holds = Holds::default();
        holds.add(hold(64, Some(100)));
        holds.add(hold(256, Some(50)));
        holds.add(hold(1024, None));
        holds.add(None);
        let slowest = |now_ms| holds.in_force(now_ms).min();
        assert_eq!(
            (slowest(0), slowest(60), slowest(100)),
            (Some(64), Some(64), Some(1024))
        );
    }

    #[test]
    fn what_lasts_as_long_as_the_session_is_not_shortened() {
        let mut holds = Holds::default();
        holds.add(Some(Hold {
            what: (),
            until_ms: None,
        }));
        holds.add(Some(Hold {
            what: (),
            until_ms: Some(10),
        }));
        assert!(holds.in_force(1_000_000).next().is_some());
    }

    #[test]
    fn many_holds_become_stricter_and_not_more() {
        let mut holds = Holds::default();
        for n in 0..1000_u64 {
            holds.add(hold(1000 - n, Some(n)));
        }
        assert!(holds.0.len() <= MOST);
        assert_eq!(holds.in_force(998).min(), Some(1));
    }
}
