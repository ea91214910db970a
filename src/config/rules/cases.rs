//! The tests in rule files: `tests:`.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::config::kind::duration;
use crate::config::kind::number;
use crate::config::kind::secs;
use crate::config::node::Node;
use crate::config::node::Value;
use crate::config::notes::At;
use crate::config::problem::Problem;
use crate::config::problem::quoted;
use crate::config::rules::rule::one_of;
use crate::config::rules::rule::rule_name;
use crate::config::rules::rule::sentence;
use crate::config::rules::when::fact_help;
use crate::config::section::Section;
use crate::policy::decision::Effect;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Measure;
use crate::policy::table::Case;
use crate::policy::table::Given;
use crate::policy::table::MAX_TIMES;
use crate::policy::table::Step;

/// A test, and where each rule that it expects is named.
type Placed = (Case, Vec<Range<usize>>);

/// Reads `tests`.
pub(super) fn read(root: &mut Section<'_>) -> Vec<Placed> {
    let sections = root.sections("tests").unwrap_or_default();
    sections.into_iter().filter_map(case).collect()
}

fn case(mut section: Section<'_>) -> Option<Placed> {
    let name = section.required("name", &sentence());
    let common = section.optional_section("facts").map(|inner| facts(inner, None));
    let common = common.unwrap_or_default();
    let steps = section.sections("given");
    if steps.is_none() && !section.has_problems() {
        let problem = Problem::new("missing_key", section.span(), "`given` is missing");
        section.problem(problem.help("add `given:` and below it `- on: EVENT` and facts"));
    }
    let given: Vec<Step> = steps
        .unwrap_or_default()
        .into_iter()
        .filter_map(|inner| step(inner, &common))
        .collect();
    let expect = section.list("expect", &rule_name(), "must be given");
    if expect.is_none() && !section.has("expect") {
        let problem = Problem::new("missing_key", section.span(), "`expect` is missing");
        section.problem(problem.help("name the rules that must be reported; `expect: []` where none may"));
    }
    let effect = section.optional("effect", &one_of(&Effect::ALL, Effect::as_str), "any");
    let at = section.optional("at", &number(1..=u32::MAX), "any");
    section.finish();
    let expect = expect?;
    let case = Case {
        name: name?,
        given,
        expect: expect.iter().map(|rule| Arc::clone(&rule.value)).collect(),
        effect,
        at,
    };
    Some((case, expect.into_iter().map(|rule| rule.span).collect()))
}

fn step(mut section: Section<'_>, common: &[(Fact, Given)]) -> Option<Step> {
    let day = Duration::from_secs(86_400);
    let on = section.required("on", &one_of(Event::ALL, Event::as_str));
    let times = section.optional("times", &number(1..=MAX_TIMES), "1");
    let after = section.optional("after", &duration(secs(0)..=day.saturating_mul(400)), "0s");
    let every = section.optional("every", &duration(secs(0)..=day.saturating_mul(31)), "0s");
    let session = section.optional("session", &number(0..=1_000_u32), "1; 0 is a new one each time");
    let baselines = section.optional_section("baselines").map(baselines);
    let own = facts(section, on);
    let on = on?;
    let inherited = common
        .iter()
        .filter(|(fact, _)| fact.events().contains(on) && !own.iter().any(|(other, _)| other == fact));
    let millis = |time: Option<Duration>| {
        let millis = time.unwrap_or_default().as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX)
    };
    Some(Step {
        on,
        facts: inherited.cloned().chain(own.clone()).collect(),
        baselines: baselines.unwrap_or_default(),
        times: times.unwrap_or(1),
        after_ms: millis(after),
        every_ms: millis(every),
        session: match session {
            Some(0) => None,
            Some(number) => Some(number),
            None => Some(1),
        },
    })
}

/// The keys that are names of facts. A step's facts must be known at its event; a test's are for the steps that know them.
fn facts(mut section: Section<'_>, on: Option<Event>) -> Vec<(Fact, Given)> {
    let mut found = Vec::new();
    for (name, node) in section.others() {
        let Some(fact) = Fact::find(name.value) else {
            unknown(&section, &name);
            continue;
        };
        if let Some(on) = on.filter(|on| !fact.events().contains(*on)) {
            let events: Vec<&str> = fact.events().iter().map(Event::as_str).collect();
            let message = format!("{} is never known on {}", quoted(name.value), on.as_str());
            let problem = Problem::new("invalid_test", name.span, message);
            section.problem(problem.help(format!("it is known on {}", events.join(", "))));
            continue;
        }
        if let Some(given) = given(&section, fact, node) {
            found.push((fact, given));
        }
    }
    section.finish();
    found
}

fn unknown(section: &Section<'_>, name: &At<&str>) {
    let message = format!("there is no fact or key {} here", quoted(name.value));
    let problem = Problem::new("unknown_key", name.span.clone(), message);
    section.problem(problem.help(fact_help(name.value)));
}

fn given(section: &Section<'_>, fact: Fact, node: &Node) -> Option<Given> {
    let given = match &node.value {
        Value::Scalar(text) => Given::Text(text.as_str().into()),
        Value::List(items) => Given::List(items.iter().filter_map(word).collect()),
        other => {
            let message = format!("`{}` wants a value, and this is {}", fact.name(), other.kind());
            section.problem(Problem::new("wrong_shape", node.span.clone(), message));
            return None;
        }
    };
    let step = Step {
        on: Event::Connect,
        facts: vec![(fact, given.clone())],
        baselines: Vec::new(),
        times: 1,
        after_ms: 0,
        every_ms: 0,
        session: None,
    };
    if let Err(wrong) = step.record(1) {
        let problem = Problem::new("invalid_value", node.span.clone(), wrong.to_string());
        section.problem(problem.help(format!("write it like `{}`", fact.example())));
        return None;
    }
    Some(given)
}

fn word(node: &Node) -> Option<Arc<str>> {
    match &node.value {
        Value::Scalar(text) => Some(text.as_str().into()),
        _ => None,
    }
}

/// What the user moves on a usual day.
fn baselines(mut section: Section<'_>) -> Vec<(Measure, u64)> {
    let read = |measure: &Measure| {
        let value = section.optional(measure.as_str(), &number(0..=u64::MAX), "none")?;
        Some((*measure, value))
    };
    let found = Measure::ALL.iter().filter_map(read).collect();
    section.finish();
    found
}
