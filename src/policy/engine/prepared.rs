//! Moments that have much in common: what does not change from one to the next is worked out once.

use crate::policy::decision::Decisions;
use crate::policy::engine::Engine;
use crate::policy::engine::SessionCounters;
use crate::policy::expression::Expression;
use crate::policy::facts::Fact;
use crate::policy::facts::Lookup;
use crate::policy::rules::Count;
use crate::policy::rules::Group;

/// What rules say of a moment, for moments that have the same steady facts: the same parties of the session, the same mailbox,
/// the same command but for its tag and its message.
#[derive(Debug)]
pub struct Prepared {
    engine: u64,
    left: Box<[Left]>,
    asks_of_event: bool,
}

impl Prepared {
    /// True where rules still ask for what not every event of a session has.
    pub fn asks_of_event(&self) -> bool {
        self.asks_of_event
    }
}

/// A rule that may match.
#[derive(Debug)]
struct Left {
    at: usize,
    /// What is left of its condition; `None` where it holds.
    when: Option<Expression>,
    /// The key of its counter, as far as it is steady.
    key: Option<u64>,
}

impl Engine {
    /// Works out what does not change as long as steady facts do not.
    pub fn prepare(&self, facts: &dyn Lookup) -> Prepared {
        let candidates = self.index.candidates(facts).iter();
        let left = candidates.filter_map(|candidate| candidate.left(facts));
        let left = left.map(|(at, when)| Left {
            at,
            when,
            key: self.rules.get(at).and_then(|ready| ready.steady_key(facts)),
        });
        let left: Box<[Left]> = left.collect();
        Prepared {
            engine: self.number,
            asks_of_event: left.iter().any(|left| self.asks_of_event(left)),
            left,
        }
    }

    fn asks_of_event(&self, left: &Left) -> bool {
        let when = left.when.as_ref().map(Expression::facts).unwrap_or_default();
        let ready = self.rules.get(left.at).filter(|ready| ready.terms.is_some());
        let counts = ready.is_some_and(|ready| {
            let by_event = |group: &Group| matches!(group, Group::Fact(fact) if !fact.is_of_sessions());
            let counted = match ready.rule.count {
                Count::Events => false,
                Count::Distinct(fact) => !fact.is_of_sessions(),
                Count::Bytes | Count::Messages => true,
            };
            counted || (left.key.is_none() && ready.rule.per.iter().any(by_event))
        });
        counts || !when.into_iter().all(Fact::is_of_sessions)
    }

    /// True where this engine has prepared it.
    pub fn has_prepared(&self, prepared: &Prepared) -> bool {
        prepared.engine == self.number
    }

    /// As `judge`, for a moment whose steady facts are those that this engine prepared it with.
    pub fn judge_prepared(
        &self,
        prepared: &Prepared,
        facts: &dyn Lookup,
        session: &mut SessionCounters,
        now_ms: u64,
    ) -> Decisions {
        let mut decisions = Decisions::default();
        for left in &prepared.left {
            if left.when.as_ref().is_none_or(|when| when.holds(facts))
                && let Some(ready) = self.rules.get(left.at)
            {
                self.judge_by((ready, left.key), facts, session, now_ms, &mut decisions);
            }
        }
        decisions
    }
}
