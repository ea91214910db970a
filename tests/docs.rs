//! The docs and the code say the same, in both directions: every event, field, reason, metric, floor and dependency; and every
//! known attack has its test.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot read the docs must fail"
)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;

use imapwarden::policy::expression::FUNCTIONS;
use imapwarden::policy::facts::Event;
use imapwarden::policy::facts::Events;
use imapwarden::policy::facts::Fact;
use imapwarden::policy::facts::Measure;
use imapwarden::policy::rules::Action;
use imapwarden::telemetry::Kind;
use imapwarden::telemetry::Metrics;
use imapwarden::telemetry::field::Field;
use imapwarden::types::CommandRefusal;
use imapwarden::types::EndReason;
use imapwarden::types::Refusal;

#[test]
fn every_event_has_its_row_in_the_docs() {
    let coded = Kind::ALL.iter().map(|kind| {
        vec![
            kind.code().to_owned(),
            kind.action().to_owned(),
            kind.level().as_str().to_owned(),
            kind.outcome().as_str().to_owned(),
            kind.category().join(" "),
            kind.types().join(" "),
            kind.summary().to_owned(),
        ]
    });
    assert_same(table("events.md", "code"), coded.collect());
}

#[test]
fn every_field_has_its_row_in_the_docs() {
    let coded = Field::ALL
        .iter()
        .map(|field| vec![field.path().to_owned(), field.meaning().replace('`', "")]);
    assert_same(table("events.md", "field"), coded.collect());
}

#[test]
fn every_reason_has_its_row_in_the_docs() {
    let refusals = Refusal::ALL.iter().map(|refusal| {
        let counted = if refusal.is_guess() { "yes" } else { "no" };
        vec![refusal.as_str().to_owned(), counted.to_owned()]
    });
    let ends = EndReason::ALL
        .iter()
        .map(|end| vec![end.as_str().to_owned(), end.side().as_str().to_owned()]);
    let commands = CommandRefusal::ALL
        .iter()
        .map(|why| vec![why.as_str().to_owned(), why.answer().to_owned()]);
    let coded = refusals.chain(ends).chain(commands).collect();
    let mut documented = table("events.md", "reason");
    for row in &mut documented {
        assert_eq!(row.len(), 3, "{row:?}: reason, what goes with it, meaning");
        row.pop();
    }
    assert_same(documented, coded);
}

#[test]
fn every_metric_has_its_row_in_the_docs() {
    let metrics = Metrics::new().unwrap();
    metrics.backends.configured(["main"]).unwrap();
    metrics.sinks.named("stdout").unwrap();
    let text = metrics.render().unwrap();
    let labels = labels(&text);
    let mut coded = BTreeSet::new();
    for (name, help) in lines(&text, "# HELP ") {
        if name.starts_with("process_") {
            continue;
        }
        let kind = lines(&text, "# TYPE ")
            .find(|(known, _)| *known == name)
            .unwrap()
            .1;
        let labels = labels[name].iter().copied().collect::<Vec<_>>().join(" ");
        coded.insert(vec![name.to_owned(), kind.to_owned(), labels, help.to_owned()]);
    }
    assert_same(table("metrics.md", "metric"), coded.into_iter().collect());
}

#[test]
fn every_known_attack_names_tests_that_exist() {
    let rows = table("known-attacks.md", "id");
    let mut seen = BTreeSet::new();
    for row in &rows {
        assert!(seen.insert(row[0].clone()), "{} stands twice", row[0]);
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        if let [id, _attack, _measure, tests] = row.as_slice() {
            for test in tests.split_whitespace() {
                assert!(is_test(test), "{id}: there is no test {test}");
            }
        } else {
            assert_eq!(row.len(), 2, "{row:?}: an id and why it does not apply");
        }
    }
    let wanted = (1..=26).map(|n| format!("B{n}"));
    for id in wanted.chain((1..=7).map(|n| format!("P{n}"))) {
        assert!(seen.contains(&id), "nothing is said about {id}");
    }
}

#[test]
fn every_promise_names_tests_that_exist() {
    let rows = table("../SECURITY.md", "promise");
    assert!(rows.len() > 20);
    for row in &rows {
        let [promise, tests] = row.as_slice() else {
            panic!("{row:?}: a promise and its tests");
        };
        assert!(!tests.is_empty(), "{promise}");
        for test in tests.split_whitespace() {
            assert!(is_test(test), "{promise}: there is no test {test}");
        }
    }
}

/// Whether `file::name` is a test function in Rust or Python, or `file` a dialog.
fn is_test(test: &str) -> bool {
    let Some((file, name)) = test.split_once("::") else {
        return test.ends_with(".dialog") && fs::exists(test).unwrap();
    };
    let Ok(text) = fs::read_to_string(file) else {
        return false;
    };
    if file.ends_with(".py") {
        return name.starts_with("test_") && text.contains(&format!("\ndef {name}("));
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let defined = lines.iter().position(|line| {
        line.strip_prefix("async ")
            .unwrap_or(line)
            .starts_with(&format!("fn {name}("))
    });
    let above = lines[..defined.unwrap_or(0)].iter().rev();
    let mut attributes = above.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    attributes.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
}

#[test]
fn the_floors_in_the_docs_are_those_that_the_architecture_test_holds() {
    let source = fs::read_to_string("tests/architecture.rs").unwrap();
    let (_, floors) = source.split_once("const FLOORS").unwrap();
    let (floors, _) = floors.split_once("];").unwrap();
    let coded = floors.lines().filter_map(|line| {
        let row = line.trim().strip_prefix("(\"")?.strip_suffix("]),")?;
        let (module, row) = row.split_once("\", ")?;
        let (floor, beside) = row.split_once(", &[")?;
        Some(vec![floor.to_owned(), module.to_owned(), beside.replace('"', "")])
    });
    let mut documented = table("architecture.md", "floor");
    for row in &mut documented {
        let what = row.pop().unwrap();
        assert!(!what.is_empty(), "{row:?} says nothing");
    }
    assert_same(documented, coded.collect());
}

#[test]
fn every_direct_dependency_has_its_row_in_the_docs() {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let mut section = "";
    let mut coded = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if let ("[dependencies]" | "[dev-dependencies]", Some((name, _))) =
            (section, line.split_once(" = "))
        {
            coded.insert(vec![name.to_owned()]);
        }
    }
    let documented = table("dependencies.md", "crate").into_iter().map(|mut row| {
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        row.truncate(1);
        row
    });
    assert_same(documented.collect(), coded.into_iter().collect());
}

#[test]
fn every_fact_has_its_row_in_the_docs() {
    let coded = Fact::ALL.iter().map(|fact| {
        let known = match fact.events() {
            Events::ALL => "every event".to_owned(),
            Events::FROM_LOGIN => "login and later".to_owned(),
            Events::IN_SESSION => "command and later".to_owned(),
            few => few.iter().map(Event::as_str).collect::<Vec<_>>().join(", "),
        };
        vec![
            fact.name().to_owned(),
            fact.kind().as_str().to_owned(),
            known,
            fact.meaning().replace('`', ""),
            fact.example().to_owned(),
        ]
    });
    assert_same(table("rules.md", "fact"), coded.collect());
}

#[test]
fn every_event_of_rules_action_and_function_is_in_the_docs() {
    let events: Vec<_> = Event::ALL
        .iter()
        .map(|event| vec![event.as_str().to_owned()])
        .collect();
    let mut documented = table("rules.md", "event");
    documented.iter_mut().for_each(|row| row.truncate(1));
    assert_same(documented, events);
    let rate = std::num::NonZeroU64::MIN;
    let actions = [
        Action::Log,
        Action::Alert,
        Action::StepUp,
        Action::Throttle(rate),
        Action::ReadOnly,
        Action::Deny,
        Action::Disconnect,
        Action::Revoke,
        Action::Lock,
        Action::Ban(std::time::Duration::ZERO),
    ];
    let coded = actions.iter().map(|action| {
        let fits = Event::ALL.iter().filter(|event| action.fits(**event));
        let fits: Vec<_> = fits.map(|event| event.as_str()).collect();
        vec![action.as_str().to_owned(), fits.join(", ")]
    });
    let mut documented = table("rules.md", "action");
    for row in &mut documented {
        row.remove(1);
        row[0] = row[0].split(':').next().unwrap().to_owned();
    }
    assert_same(documented, coded.collect());
    let text = fs::read_to_string("docs/rules.md").unwrap();
    for function in FUNCTIONS {
        assert!(text.contains(&format!("{function}(")), "{function}");
    }
    for measure in Measure::ALL {
        assert!(
            text.contains(&format!("`{}`", measure.as_str())),
            "{}",
            measure.as_str()
        );
    }
}

/// `# HELP name rest` as (name, rest).
fn lines<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    text.lines()
        .filter_map(move |line| line.strip_prefix(prefix)?.split_once(' '))
}

/// The label names of each metric that has series.
fn labels(text: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, pairs) = series.split_once('{').unwrap_or((series, ""));
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        let names = pairs
            .trim_end_matches('}')
            .split(',')
            .filter_map(|pair| Some(pair.split_once('=')?.0))
            .filter(|label| *label != "le");
        found.entry(family).or_default().extend(names);
    }
    found
}

/// The rows, cell by cell and without backquotes, of every table in a file of docs/ whose first column is named so.
fn table(file: &str, first_column: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(format!("docs/{file}")).unwrap();
    let mut rows = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let Some(inner) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            inside = false;
            continue;
        };
        let cells: Vec<_> = inner
            .split('|')
            .map(|cell| cell.trim().replace('`', ""))
            .collect();
        if cells[0] == first_column {
            inside = true;
        } else if inside && !cells[0].starts_with('-') {
            rows.push(cells);
        }
    }
    rows
}

fn assert_same(mut documented: Vec<Vec<String>>, mut coded: Vec<Vec<String>>) {
    assert!(!coded.is_empty());
    documented.sort();
    coded.sort();
    for row in &coded {
        assert!(documented.contains(row), "the docs lack: {}", row.join(" | "));
    }
    for row in &documented {
        assert!(coded.contains(row), "only in the docs: {}", row.join(" | "));
    }
    assert_eq!(documented.len(), coded.len(), "a row stands twice");
}
