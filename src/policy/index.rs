//! Which rules have to be looked at for a moment: by its event, and for a command by its verb.

use std::collections::BTreeMap;

use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Lookup;
use crate::policy::facts::Value;
use crate::policy::rules::Rule;

/// Rules by event and verb; a rule is named by its number in the set.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// For each event, those that do not ask for a verb; for a command, with any verb that no rule names.
    by_event: BTreeMap<Event, Vec<u16>>,
    /// For each verb that a rule names, all that may match it.
    by_verb: BTreeMap<Box<str>, Vec<u16>>,
}

impl Index {
    /// Sorts the rules of a set.
    pub(super) fn new<'r>(rules: impl Iterator<Item = &'r Rule> + Clone) -> Self {
        let mut index = Self::default();
        let verbs = rules.clone().filter_map(verbs_of).flatten();
        for verb in verbs {
            index.by_verb.entry(verb.into()).or_default();
        }
        for (rule, at) in rules.zip(0_u16..) {
            let asked = verbs_of(rule);
            if asked.is_none() {
                index.by_event.entry(rule.on).or_default().push(at);
            }
            if rule.on != Event::Command {
                continue;
            }
            for (verb, list) in &mut index.by_verb {
                if asked.as_ref().is_none_or(|asked| asked.contains(&&**verb)) {
                    list.push(at);
                }
            }
        }
        index
    }

    /// The rules that may match.
    pub(super) fn candidates(&self, facts: &dyn Lookup) -> &[u16] {
        let event = facts.event();
        if event == Event::Command
            && let Some(Value::Text(verb)) = facts.value(Fact::CommandVerb)
            && let Some(list) = self.by_verb.get(verb)
        {
            return list;
        }
        self.by_event.get(&event).map_or(&[], Vec::as_slice)
    }

    pub(super) fn looks_at(&self, event: Event) -> bool {
        let by_verb = event == Event::Command && !self.by_verb.is_empty();
        by_verb || self.by_event.contains_key(&event)
    }
}

/// The verbs outside of which a rule cannot match.
fn verbs_of(rule: &Rule) -> Option<Vec<&str>> {
    let when = rule.when.as_ref().filter(|_| rule.on == Event::Command)?;
    when.texts_that(Fact::CommandVerb)
}
