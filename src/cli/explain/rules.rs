//! What rules say of a moment: those that decide on it alone, and those that would count it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cli::error::CliError;
use crate::cli::explain::Explanation;
use crate::cli::explain::Says;
use crate::cli::explain::Sources;
use crate::config::rules::Loaded;
use crate::policy::Counters;
use crate::policy::engine::Engine;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Kind;
use crate::policy::facts::Lookup;
use crate::policy::facts::Measure;
use crate::policy::facts::Record;
use crate::policy::facts::Value;
use crate::policy::rules::Action;
use crate::policy::rules::Count;
use crate::policy::rules::Mode;
use crate::policy::rules::Rule;
use crate::policy::rules::Threshold;

/// What is known, and what is false, zero or empty where nothing is said.
pub(super) struct Known<'a> {
    pub(super) event: Event,
    pub(super) facts: &'a Record,
}

impl Lookup for Known<'_> {
    fn event(&self) -> Event {
        self.event
    }

    fn value(&self, fact: Fact) -> Option<Value<'_>> {
        if !fact.events().contains(self.event) {
            return None;
        }
        self.facts.value(fact).or_else(|| fact.usual())
    }

    fn baseline(&self, _: Measure, _: u16) -> Option<u64> {
        None
    }
}

/// Facts that somebody states: `NAME=VALUE`, lists with commas.
pub(super) fn stated(facts: &mut Record, stated: &[(Fact, String)]) -> Result<(), CliError> {
    for (fact, text) in stated {
        let set = if fact.kind() == Kind::Texts {
            facts.set_list(
                *fact,
                text.split(',')
                    .filter(|item| !item.is_empty())
                    .map(Arc::from)
                    .collect(),
            )
        } else {
            facts.set(*fact, text)
        };
        set.map_err(|wrong| CliError::Usage(format!("--fact {}={text}: {wrong}", fact.name())))?;
    }
    Ok(())
}

/// What the rules say of a moment. `is_absent` names the facts that are not known because there is nothing to know.
pub(super) fn explain(
    sources: &Sources,
    event: Event,
    (facts, is_absent): (&Record, &dyn Fn(Fact) -> bool),
    explanation: &mut Explanation,
) {
    let loaded = &sources.loaded;
    let engine = Engine::new(loaded.set.clone(), Arc::new(Counters::new(1, 0)));
    if !engine.looks_at(event) {
        let why = format!("no rule looks at {}", event.as_str());
        explanation.says(Says::Ok, "rules", why, sources.places.of("rules.files"));
        return;
    }
    let known = Known { event, facts };
    let mut matched: Vec<&str> = Vec::new();
    for (rule, mode) in engine.matching(&known) {
        matched.push(&rule.name);
        let (says, why) = verdict(rule, mode);
        explanation.says(says, "rule", why, place_of(loaded, &rule.name));
    }
    if matched.is_empty() {
        let why = format!("no rule's condition holds on {}", event.as_str());
        explanation.says(Says::Ok, "rules", why, sources.places.of("rules.files"));
    }
    let mut missing: BTreeMap<Fact, Vec<&str>> = BTreeMap::new();
    for rule in engine.rules().filter(|rule| rule.on == event) {
        let is_open = rule.when.as_ref().is_some_and(|when| when.is_open(&known));
        // Where a condition holds, what is counted, and by what, may still be unknown.
        let asks = is_open || (rule.counts() && matched.contains(&&*rule.name));
        if !asks {
            continue;
        }
        let asked = rule.facts().into_iter();
        for fact in asked.filter(|fact| known.value(*fact).is_none() && !is_absent(*fact)) {
            missing.entry(fact).or_default().push(&rule.name);
        }
    }
    for (fact, rules) in missing {
        let why = if fact.kind() == Kind::Opaque {
            format!("{} is known to the running proxy only", fact.name())
        } else {
            format!(
                "{} is not known here; state it: --fact {}={}",
                fact.name(),
                fact.name(),
                fact.example()
            )
        };
        explanation.says(Says::Unknown, "rules", why, rules.join(", "));
    }
}

/// What a rule whose condition holds does.
fn verdict(rule: &Rule, mode: Mode) -> (Says, String) {
    let then: Vec<&str> = rule.then.iter().map(|action| action.as_str()).collect();
    let then = then.join(", ");
    if rule.counts() {
        return (
            Says::Notes,
            format!("{}: {}, then {then}", rule.name, counting(rule)),
        );
    }
    let refuses = |action: &Action| {
        matches!(
            action,
            Action::Deny | Action::Disconnect | Action::Ban(_) | Action::Lock | Action::Revoke
        )
    };
    match mode {
        Mode::Shadow => (
            Says::Notes,
            format!("{}: would {then}, but only reports (shadow)", rule.name),
        ),
        Mode::Enforce if rule.then.iter().any(refuses) => (Says::Refuses, format!("{}: {then}", rule.name)),
        Mode::Enforce => (Says::Notes, format!("{}: {then}", rule.name)),
    }
}

fn counting(rule: &Rule) -> String {
    let what = match rule.count {
        Count::Events => "events".to_owned(),
        Count::Bytes => "bytes".to_owned(),
        Count::Messages => "messages".to_owned(),
        Count::Distinct(fact) => format!("different {}", fact.name()),
    };
    let within = rule.within.unwrap_or_default().as_secs();
    let over = match rule.over {
        Threshold::Fixed(over) => format!("more than {over}"),
        Threshold::Baseline { days, factor, floor } => {
            format!("more than {factor} times the average of {days} days, at least {floor},")
        }
    };
    let shared = if rule.shared {
        ", at all replicas together"
    } else {
        ""
    };
    format!("counts; acts on {over} {what} within {within}s{shared}")
}

fn place_of(loaded: &Loaded, name: &str) -> String {
    for (path, file) in &loaded.files {
        let found = file.rules.iter().position(|rule| &*rule.name == name);
        if let Some(line) = found.and_then(|at| file.lines.get(at)) {
            return format!("{}:{line}", path.display());
        }
    }
    String::new()
}
