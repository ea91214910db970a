//! Which rules have to be looked at for a moment: by its event, and for a command by its verb.

use crate::policy::expression::Expression;
use crate::policy::expression::Known;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Lookup;
use crate::policy::facts::Value;
use crate::policy::rules::Rule;

/// Rules by event and verb; a rule is named by its number in the set.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// For each event, those that do not ask for a verb; for a command, with any verb that no rule names.
    by_event: [Vec<Candidate>; Event::ALL.len()],
    /// For each verb that a condition names, all that may match it; sorted.
    by_verb: Vec<(Verb, Vec<Candidate>)>,
}

/// A verb as a number, which is found without going anywhere else. None of IMAP's has more than 16 letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Verb(u128);

impl Verb {
    fn new(text: &str) -> Option<Self> {
        let mut letters = [0; 16];
        letters.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self(u128::from_ne_bytes(letters)))
    }
}

/// A rule that may match.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// Its number.
    at: u16,
    /// What is left of its condition; `None` where it holds.
    when: Option<Expression>,
}

impl Candidate {
    #[cfg(test)]
    pub(super) fn number(&self) -> u16 {
        self.at
    }

    /// The number of the rule, if its condition holds.
    pub(super) fn holding(&self, facts: &dyn Lookup) -> Option<usize> {
        let holds = self.when.as_ref().is_none_or(|when| when.holds(facts));
        holds.then_some(usize::from(self.at))
    }

    /// The number of the rule, and what is left of its condition as long as steady facts stay the same; `None` where it cannot
    /// hold.
    pub(super) fn left(&self, facts: &dyn Lookup) -> Option<(usize, Option<Expression>)> {
        let when = match self.when.as_ref().map(|when| when.given(facts)) {
            None | Some(Known::Always) => None,
            Some(Known::Never) => return None,
            Some(Known::Where(when)) => Some(when),
        };
        Some((usize::from(self.at), when))
    }
}

impl Index {
    /// Sorts the rules of a set.
    pub(super) fn new<'r>(rules: impl Iterator<Item = &'r Rule> + Clone) -> Self {
        let mut index = Self::default();
        let conditions = rules.clone().filter(|rule| rule.on == Event::Command);
        let conditions = conditions.filter_map(|rule| rule.when.as_ref());
        let named = conditions.flat_map(|when| when.compared(Fact::CommandVerb));
        let mut verbs: Vec<(Verb, &str)> = named.filter_map(|verb| Some((Verb::new(verb)?, verb))).collect();
        verbs.sort_unstable();
        verbs.dedup();
        for (verb, text) in verbs {
            let rules = rules.clone().zip(0_u16..);
            let list = rules.filter_map(|(rule, at)| candidate(rule, at, text)).collect();
            index.by_verb.push((verb, list));
        }
        for (rule, at) in rules.zip(0_u16..) {
            if verbs_of(rule).is_none()
                && let Some(list) = index.by_event.get_mut(place_of(rule.on))
            {
                list.push(Candidate {
                    at,
                    when: rule.when.clone(),
                });
            }
        }
        index
    }

    /// The rules that may match.
    pub(super) fn candidates(&self, facts: &dyn Lookup) -> &[Candidate] {
        let event = facts.event();
        if event == Event::Command
            && let Some(Value::Text(verb)) = facts.value(Fact::CommandVerb)
            && let Some(verb) = Verb::new(verb)
            && let Ok(at) = self.by_verb.binary_search_by_key(&verb, |(known, _)| *known)
            && let Some((_, list)) = self.by_verb.get(at)
        {
            return list;
        }
        self.by_event.get(place_of(event)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn looks_at(&self, event: Event) -> bool {
        let by_verb = event == Event::Command && !self.by_verb.is_empty();
        let list = self.by_event.get(place_of(event));
        by_verb || list.is_some_and(|list| !list.is_empty())
    }
}

/// A rule as one verb needs it.
fn candidate(rule: &Rule, at: u16, verb: &str) -> Option<Candidate> {
    if rule.on != Event::Command {
        return None;
    }
    let when = match rule
        .when
        .as_ref()
        .map(|when| when.knowing(Fact::CommandVerb, verb))
    {
        None | Some(Known::Always) => None,
        Some(Known::Never) => return None,
        Some(Known::Where(when)) => Some(when),
    };
    Some(Candidate { at, when })
}

fn place_of(event: Event) -> usize {
    match event {
        Event::Connect => 0,
        Event::Login => 1,
        Event::Command => 2,
        Event::Fetched => 3,
        Event::Appended => 4,
        Event::SessionEnd => 5,
    }
}

/// The verbs outside of which a rule cannot match.
fn verbs_of(rule: &Rule) -> Option<Vec<&str>> {
    let when = rule.when.as_ref().filter(|_| rule.on == Event::Command)?;
    when.texts_that(Fact::CommandVerb)
}
