//! Tests of rules as data: facts in, and which rules must be reported. Stand beside the rules in their files.
//!
//! Every rule is run as if it were enforced, so that a test does not change with a rule's mode. Time is what the test says.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::policy::Counters;
use crate::policy::decision::Effect;
use crate::policy::engine::Engine;
use crate::policy::engine::SessionCounters;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Measure;
use crate::policy::facts::Record;
use crate::policy::facts::WrongValue;
use crate::policy::rules::Mode;
use crate::policy::rules::RuleSet;
use crate::types::SessionId;

/// Most events in one step.
pub const MAX_TIMES: u32 = 100_000;
/// When tests begin, on a clock of their own.
const START_MS: u64 = 1_000_000_000;

/// A fact as a test writes it. `{n}` in a text stands for the number of the event in its step, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// A single value.
    Text(Arc<str>),
    /// A list.
    List(Vec<Arc<str>>),
}

/// Events that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The moment.
    pub on: Event,
    /// What is known.
    pub facts: Vec<(Fact, Given)>,
    /// The user's usual day.
    pub baselines: Vec<(Measure, u64)>,
    /// How often it happens.
    pub times: u32,
    /// Milliseconds before the first.
    pub after_ms: u64,
    /// Milliseconds between one and the next.
    pub every_ms: u64,
    /// In which of the test's sessions; `None` where each event is in a new one.
    pub session: Option<u32>,
}

/// A test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What it shows.
    pub name: Arc<str>,
    /// What happens.
    pub given: Vec<Step>,
    /// The rules that must be reported; no others may.
    pub expect: Vec<Arc<str>>,
    /// The strongest effect that must come of it.
    pub effect: Option<Effect>,
    /// The number of the event, from 1, at which the first rule must be reported.
    pub at: Option<u32>,
}

/// What came of a test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The rules that were reported, each with the number of the event.
    pub reported: BTreeMap<Arc<str>, u32>,
    /// The strongest effect.
    pub effect: Effect,
}

impl Step {
    /// The facts of the `n`-th event.
    ///
    /// # Errors
    /// A text that is no value of its fact.
    pub fn record(&self, n: u32) -> Result<Record, WrongValue> {
        let mut record = Record::new(self.on);
        let filled = |text: &str| text.replace("{n}", &n.to_string());
        for (fact, given) in &self.facts {
            match given {
                Given::Text(text) => record.set(*fact, &filled(text))?,
                Given::List(texts) => {
                    let texts = texts.iter().map(|text| filled(text).into()).collect();
                    record.set_list(*fact, texts)?;
                }
            }
        }
        for (measure, value) in &self.baselines {
            record.set_baseline(*measure, *value);
        }
        Ok(record)
    }
}

impl Case {
    /// Runs the test on a set of rules.
    ///
    /// # Errors
    /// What is not as expected, in one line.
    pub fn run(&self, set: &RuleSet) -> Result<(), Failure> {
        let outcome = self.outcome(set).map_err(|wrong| Failure(wrong.to_string()))?;
        self.compare(&outcome)
    }

    /// What comes of the test.
    ///
    /// # Errors
    /// A text that is no value of its fact.
    pub fn outcome(&self, set: &RuleSet) -> Result<Outcome, WrongValue> {
        let mut enforced = set.clone();
        enforced.shadow = false;
        for rule in &mut enforced.rules {
            rule.mode = Mode::Enforce;
        }
        let engine = Engine::new(enforced, Arc::new(Counters::new(100_000, 0)));
        let mut sessions: BTreeMap<u32, SessionCounters> = BTreeMap::new();
        let mut outcome = Outcome::default();
        let (mut now_ms, mut number) = (START_MS, 0_u32);
        for step in &self.given {
            now_ms = now_ms.saturating_add(step.after_ms);
            for n in 1..=step.times {
                if n > 1 {
                    now_ms = now_ms.saturating_add(step.every_ms);
                }
                number = number.saturating_add(1);
                let record = step.record(n)?;
                let new = || SessionCounters::new(SessionId::new(u64::from(number)));
                let mut fresh = new();
                let session = match step.session {
                    Some(session) => sessions.entry(session).or_insert_with(new),
                    None => &mut fresh,
                };
                let decisions = engine.judge(&record, session, now_ms);
                for decision in decisions.iter() {
                    let name = Arc::clone(&decision.rule.name);
                    outcome.reported.entry(name).or_insert(number);
                }
                outcome.effect = outcome.effect.max(decisions.verdict().effect);
            }
        }
        Ok(outcome)
    }

    fn compare(&self, outcome: &Outcome) -> Result<(), Failure> {
        let reported = &outcome.reported;
        if let Some(missing) = self.expect.iter().find(|rule| !reported.contains_key(*rule)) {
            return Err(Failure(format!("{missing} was not reported")));
        }
        if let Some((other, at)) = reported.iter().find(|(rule, _)| !self.expect.contains(rule)) {
            return Err(Failure(format!("{other} was reported at event {at}")));
        }
        if let Some(effect) = self.effect.filter(|effect| *effect != outcome.effect) {
            let (wanted, found) = (effect.as_str(), outcome.effect.as_str());
            return Err(Failure(format!("the effect is {found}, not {wanted}")));
        }
        let first = reported.values().min().copied();
        match (self.at, first) {
            (Some(at), Some(first)) if at != first => {
                Err(Failure(format!("first reported at event {first}, not {at}")))
            }
            _ => Ok(()),
        }
    }
}

/// Why a test failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::rules::Action;
    use crate::policy::rules::Count;
    use crate::policy::rules::Group;
    use crate::policy::rules::Threshold;
    use crate::policy::rules::tests::rule;

    fn set() -> RuleSet {
        let mut made = rule(Event::Login);
        made.count = Count::Distinct(Fact::UserName);
        made.per = vec![Group::Source];
        made.within = Some(Duration::from_secs(60));
        made.over = Threshold::Fixed(2);
        made.then = vec![Action::Deny];
        made.mode = Mode::Shadow;
        RuleSet {
            rules: vec![made],
            revision: "r".into(),
            shadow: true,
        }
    }

    fn case(times: u32, every_ms: u64) -> Case {
        Case {
            name: "a spray".into(),
            given: vec![Step {
                on: Event::Login,
                facts: vec![
                    (Fact::UserName, Given::Text("user{n}".into())),
                    (Fact::SourceIp, Given::Text("192.0.2.1".into())),
                ],
                baselines: Vec::new(),
                times,
                after_ms: 0,
                every_ms,
                session: None,
            }],
            expect: vec!["test".into()],
            effect: Some(Effect::Deny),
            at: Some(3),
        }
    }

    #[test]
    fn a_test_says_what_is_not_as_expected() {
        let failure = |case: &Case| case.run(&set()).map_err(|failure| failure.to_string());
        let as_expected = case(5, 1_000);
        assert_eq!(failure(&as_expected), Ok(()));
        assert_eq!(failure(&case(2, 1_000)), Err("test was not reported".into()));
        assert_eq!(failure(&case(5, 60_000)), Err("test was not reported".into()));
        let mut silent = as_expected.clone();
        silent.expect.clear();
        assert_eq!(failure(&silent), Err("test was reported at event 3".into()));
        let mut milder = as_expected.clone();
        milder.effect = Some(Effect::Pass);
        assert_eq!(failure(&milder), Err("the effect is deny, not pass".into()));
        let mut earlier = as_expected;
        earlier.at = Some(2);
        assert_eq!(failure(&earlier), Err("first reported at event 3, not 2".into()));
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_no_silent_test() {
        let mut wrong = case(1, 0);
        wrong.given[0]
            .facts
            .push((Fact::UserIsService, Given::Text("yes".into())));
        assert!(
            wrong
                .run(&set())
                .unwrap_err()
                .to_string()
                .contains("user.is_service")
        );
    }
}
