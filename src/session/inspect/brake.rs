//! Keeps one session from flooding the events: a rule without a window decides on each command that matches, and a client
//! may send a hundred thousand of them.

use crate::policy::decision::Decisions;

/// How often one rule is told in a session.
const PAUSE_MS: u64 = 1_000;

/// Most rules told apart; a set has fewer that fire together.
const MOST: usize = 32;

/// When each rule was told last.
#[derive(Debug, Default)]
pub(super) struct Brake(Vec<(usize, u64)>);

impl Brake {
    /// Whether these decisions are told. Those of rules that count always are: they are new once in their window.
    pub(super) fn lets_tell(&mut self, decisions: &Decisions, now_ms: u64) -> bool {
        let mut tell = false;
        for decision in decisions.iter().filter(|decision| decision.is_new) {
            // The rule itself, as long as the same rules are in force.
            let rule = std::sync::Arc::as_ptr(&decision.rule).addr();
            tell |= decision.until_ms.is_some() || self.is_due(rule, now_ms);
        }
        tell
    }

    fn is_due(&mut self, rule: usize, now_ms: u64) -> bool {
        match self.0.iter_mut().find(|(known, _)| *known == rule) {
            Some((_, told)) if now_ms < told.saturating_add(PAUSE_MS) => false,
            Some((_, told)) => {
                *told = now_ms;
                true
            }
            None => {
                if self.0.len() >= MOST {
                    self.0.remove(0);
                }
                self.0.push((rule, now_ms));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rule_is_told_once_a_second_and_another_at_once() {
        let mut brake = Brake::default();
        assert!(brake.is_due(1, 0));
        assert!(!brake.is_due(1, 999));
        assert!(brake.is_due(2, 999));
        assert!(brake.is_due(1, 1_000));
        assert!(!brake.is_due(1, 1_001));
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut brake = Brake::default();
        for rule in 0..10_000 {
            brake.is_due(rule, 0);
        }
        assert_eq!(brake.0.len(), MOST);
    }
}
