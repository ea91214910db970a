//! What would have fired: by rule, and by whom. Bounded, whatever was recorded.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::policy::decision::Decisions;
use crate::policy::decision::Effect;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Lookup;
use crate::policy::facts::Value;
use crate::policy::rules::Group;
use crate::policy::rules::Rule;

/// Most users of one rule that are told apart.
const MAX_USERS: usize = 1_000;

/// Longest name of a user that is kept, in bytes.
const MAX_NAME: usize = 160;

/// Most rules that the recording's own reports are counted for.
const MAX_REPORTED: usize = 1_000;

/// How often, and when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) count: u64,
    pub(super) first_ms: u64,
    pub(super) last_ms: u64,
}

impl Times {
    pub(super) fn add(&mut self, now_ms: u64) {
        if self.count == 0 {
            self.first_ms = now_ms;
        }
        self.count = self.count.saturating_add(1);
        self.last_ms = now_ms;
    }
}

/// What came of one rule.
#[derive(Debug, Default)]
pub(super) struct Fired {
    pub(super) times: Times,
    /// Moments at which it went on holding, after it was reported.
    pub(super) held: u64,
    /// By user; by address where the rule counts by it, or nobody has logged in.
    pub(super) by: BTreeMap<Arc<str>, Times>,
    /// Reports about users beyond those.
    pub(super) others: u64,
}

/// What came of all.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// When the recording begins and ends.
    pub(super) span: Times,
    /// Moments that were judged.
    pub(super) moments: BTreeMap<Event, u64>,
    pub(super) rules: BTreeMap<Arc<str>, Fired>,
    /// What rules that are enforced would have done to the moment.
    pub(super) effects: BTreeMap<(Event, Effect), u64>,
    /// Bans, locks, revocations and closed windows.
    pub(super) consequences: BTreeMap<&'static str, u64>,
    /// How often the recording itself says that a rule was reported.
    pub(super) live: BTreeMap<Box<str>, u64>,
    /// Events that the proxy could not write.
    pub(super) lost: u64,
    /// Commands that it left out.
    pub(super) untold: u64,
    /// Events that are older than those before them.
    pub(super) out_of_order: u64,
}

impl Tally {
    /// An event was read.
    pub(super) fn seen(&mut self, now_ms: u64) {
        self.span.add(now_ms);
    }

    /// The recording says that a rule was reported.
    pub(super) fn reported(&mut self, rule: &str) {
        if self.live.len() < MAX_REPORTED || self.live.contains_key(rule) {
            add(self.live.entry(rule.into()).or_default());
        }
    }

    /// A moment was judged.
    pub(super) fn judged(&mut self, event: Event, decisions: &Decisions, facts: &dyn Lookup, now_ms: u64) {
        add(self.moments.entry(event).or_default());
        if decisions.is_empty() {
            return;
        }
        for decision in decisions.iter() {
            let fired = self.rules.entry(Arc::clone(&decision.rule.name)).or_default();
            if decision.is_new {
                fired.add(&who(&decision.rule, facts), now_ms);
            } else {
                add(&mut fired.held);
            }
        }
        let verdict = decisions.verdict();
        if verdict.effect != Effect::Pass {
            add(self.effects.entry((event, verdict.effect)).or_default());
        }
        let done = [
            ("ban", verdict.ban.is_some()),
            ("lock", verdict.lock),
            ("revoke", verdict.revoke),
            ("step_up", verdict.step_up),
        ];
        for (word, _) in done.into_iter().filter(|(_, done)| *done) {
            add(self.consequences.entry(word).or_default());
        }
    }
}

impl Fired {
    fn add(&mut self, who: &str, now_ms: u64) {
        self.times.add(now_ms);
        if let Some(times) = self.by.get_mut(who) {
            times.add(now_ms);
        } else if self.by.len() < MAX_USERS {
            self.by.entry(who.into()).or_default().add(now_ms);
        } else {
            add(&mut self.others);
        }
    }
}

fn add(count: &mut u64) {
    *count = count.saturating_add(1);
}

/// The user; the address where the rule counts by it, or nobody has logged in.
fn who(rule: &Rule, facts: &dyn Lookup) -> String {
    let by_source = |group: &Group| matches!(group, Group::Source | Group::Network);
    let user = facts
        .value(Fact::UserName)
        .filter(|_| !rule.per.iter().any(by_source));
    match (user, facts.value(Fact::SourceIp)) {
        (Some(Value::Text(name)), _) => {
            let end = name.floor_char_boundary(MAX_NAME);
            name.get(..end).unwrap_or_default().to_owned()
        }
        (_, Some(Value::Address(ip))) => ip.to_string(),
        _ => "-".to_owned(),
    }
}
