//! One rule: its keys, and whether they fit together.

use std::sync::Arc;
use std::time::Duration;

use crate::config::kind::Kind;
use crate::config::kind::Wrong;
use crate::config::kind::boolean;
use crate::config::kind::duration;
use crate::config::kind::number;
use crate::config::kind::size;
use crate::config::node::Node;
use crate::config::node::Value;
use crate::config::notes::At;
use crate::config::problem::Problem;
use crate::config::problem::quoted;
use crate::config::rules::then;
use crate::config::rules::when;
use crate::config::section::Section;
use crate::config::suggest::nearest;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::rules::Action;
use crate::policy::rules::Attack;
use crate::policy::rules::Count;
use crate::policy::rules::Group;
use crate::policy::rules::MAX_WITHIN;
use crate::policy::rules::MIN_WITHIN;
use crate::policy::rules::Mode;
use crate::policy::rules::Rule;
use crate::policy::rules::RuleError;
use crate::policy::rules::Severity;
use crate::policy::rules::Threshold;

/// Longest name.
const MAX_NAME: usize = 64;
/// Longest description, in bytes.
const MAX_TEXT: usize = 2_000;
/// Largest threshold in bytes: 2^50.
const MAX_BYTES: u64 = 1 << 50;

/// Reads a rule. `None` means that a problem was noted.
pub(super) fn read(mut section: Section<'_>, source: &str) -> Option<At<Rule>> {
    let span = section.span();
    let rule = read_keys(&mut section, source);
    if let Some(rule) = &rule {
        check(&section, rule);
    }
    section.finish();
    rule.map(|value| At { value, span })
}

fn read_keys(section: &mut Section<'_>, source: &str) -> Option<Rule> {
    let name = section.required("name", &rule_name());
    let description = section.required("description", &sentence());
    let false_positives = section.optional("false_positives", &sentence(), "none");
    let attack = section.optional("attack", &attack(), "none");
    let severity = section.optional("severity", &one_of(&Severity::ALL, Severity::as_str), "medium");
    let on = section.required("on", &one_of(Event::ALL, Event::as_str));
    let mode = section.optional(
        "mode",
        &one_of(&[Mode::Shadow, Mode::Enforce], Mode::as_str),
        "enforce",
    );
    let condition = section.raw("when", "expression", "always");
    let when = condition.map(|node| on.and_then(|on| when::read(section, node, on, source)));
    let count = read_count(section);
    let per = read_per(section);
    let within = section.optional("within", &duration(MIN_WITHIN..=MAX_WITHIN), "none");
    let over = read_over(section, count);
    let shared = section.optional("shared", &boolean(), "false");
    let then = read_then(section);
    Some(Rule {
        name: name?,
        description: description?,
        false_positives,
        attack,
        severity: severity.unwrap_or_default(),
        on: on?,
        // A condition that could not be read must not turn the rule into one for everything.
        when: match when {
            Some(when) => Some(when?),
            None => None,
        },
        count: count?,
        per,
        within,
        over: over.unwrap_or(Threshold::Fixed(0)),
        shared: shared.unwrap_or(false),
        then,
        mode: mode.unwrap_or_default(),
    })
}

/// Says which key does not fit; unless something about the file was wrong already, which may be the cause.
fn check(section: &Section<'_>, rule: &Rule) {
    if section.has_problems() {
        return;
    }
    let Err(error) = rule.check() else {
        return;
    };
    let place = match &error {
        RuleError::Action { .. } | RuleError::NoAction | RuleError::ActionTwice(_) => section.place("then"),
        RuleError::Count(_) if section.has("distinct") => section.place("distinct"),
        RuleError::Count(_) => section.place("count"),
        RuleError::Group(_) | RuleError::TooManyGroups | RuleError::SessionAndMore => section.place("per"),
        RuleError::Within => section.place("within"),
        RuleError::TooManyDistinct | RuleError::NoBaseline => section.place("over"),
        RuleError::NothingShared | RuleError::SessionShared | RuleError::PasswordsShared => {
            section.place("shared")
        }
        RuleError::WithinShared => section.place("within"),
        RuleError::NoWindow => section.span(),
    };
    let problem = Problem::new("invalid_rule", place, format!("{}: {error}", quoted(&rule.name)));
    section.problem(problem.maybe_help(help(&error, rule)));
}

fn help(error: &RuleError, rule: &Rule) -> Option<String> {
    match error {
        RuleError::Action { on: Event::Fetched, .. } => {
            Some("what was sent cannot be taken back: use `throttle` or `disconnect`".to_owned())
        }
        RuleError::NoWindow => Some(
            "write `per: user` and `within: 10m`; leave out `count`, `distinct` and `over` to act on each event"
                .to_owned(),
        ),
        RuleError::NoBaseline => Some("write a number".to_owned()),
        RuleError::NothingShared => Some("give it `per`, `within` and `over`, or leave `shared` out".to_owned()),
        RuleError::SessionShared => Some("leave `shared` out, or count `per: app_password`".to_owned()),
        RuleError::Group(on) => {
            let fits: Vec<&str> = GROUPS
                .iter()
                .filter(|(_, group)| group.fits(*on))
                .map(|(word, _)| *word)
                .collect();
            Some(format!("there are {}, and facts", fits.join(", ")))
        }
        RuleError::Count(on) if rule.count == Count::Bytes || rule.count == Count::Messages => {
            let word = on.as_str();
            Some(format!("bytes and messages are counted on command, fetched and appended, not on {word}"))
        }
        _ => None,
    }
}

/// `count: bytes`, or `distinct: user.name`. `None` means that a problem was noted.
fn read_count(section: &mut Section<'_>) -> Option<Count> {
    const WORDS: [Count; 3] = [Count::Events, Count::Bytes, Count::Messages];
    let word = |count: Count| match count {
        Count::Bytes => "bytes",
        Count::Messages => "messages",
        Count::Events | Count::Distinct(_) => "events",
    };
    let count = section.optional("count", &one_of(&WORDS, word), "events");
    let distinct = section.optional("distinct", &fact(), "none");
    if section.has("count") && section.has("distinct") {
        let message = "a rule counts one thing: `count` and `distinct` exclude each other";
        section.problem(
            Problem::new("conflicting_keys", section.place("distinct"), message).help("leave one out"),
        );
    }
    let written = section.has("count") || section.has("distinct");
    let read = distinct.map(Count::Distinct).or(count);
    read.or((!written).then(Count::default))
}

const GROUPS: [(&str, Group); 6] = [
    ("app_password", Group::AppPassword),
    ("user", Group::User),
    ("source", Group::Source),
    ("network", Group::Network),
    ("session", Group::Session),
    ("global", Group::Global),
];

/// `per: user`, or `per: [source, user]`.
fn read_per(section: &mut Section<'_>) -> Vec<Group> {
    let node = section.raw(
        "per",
        "app_password, user, source, network, session, global or a fact; or a list",
        "none",
    );
    match node.map(|node| &node.value) {
        None => Vec::new(),
        Some(Value::List(_)) => {
            let list = section.list("per", &group(), "none");
            list.unwrap_or_default()
                .into_iter()
                .map(|group| group.value)
                .collect()
        }
        Some(_) => section.optional("per", &group(), "none").into_iter().collect(),
    }
}

fn group() -> Kind<'static, Group> {
    Kind::new(
        "thing to count by",
        |_| String::new(),
        |text| {
            if let Some((_, group)) = GROUPS.iter().find(|(word, _)| *word == text) {
                return Ok(*group);
            }
            if let Some(fact) = Fact::find(text) {
                return Ok(Group::Fact(fact));
            }
            let words = GROUPS.iter().map(|(word, _)| *word);
            let wrong = Wrong::invalid(format!("{} is nothing to count by", quoted(text)));
            Err(match nearest(text, words.clone()) {
                Some(word) => wrong.help(format!("did you mean `{word}`?")),
                None if text.contains('.') => wrong.help(when::fact_help(text)),
                None => wrong.help(format!(
                    "there are {}, and facts",
                    words.collect::<Vec<_>>().join(", ")
                )),
            })
        },
    )
}

/// `over: 20`, `over: 2GiB` or `over: {baseline: 14d, factor: 8, floor: 200MiB}`.
fn read_over(section: &mut Section<'_>, count: Option<Count>) -> Option<Threshold> {
    let node = section.raw("over", "number or size, or a section", "0")?;
    // Without knowing what is counted, nobody can say what a threshold looks like.
    let count = count?;
    if !matches!(node.value, Value::Map(_)) {
        return section
            .optional("over", &amount(count), "0")
            .map(Threshold::Fixed);
    }
    let mut inner = section.optional_section("over")?;
    const DAY: Duration = Duration::from_secs(86_400);
    let days = inner.required("baseline", &duration(DAY..=DAY.saturating_mul(90)));
    let factor = inner.required("factor", &number(1_u32..=1_000));
    let floor = inner.required("floor", &amount(count));
    inner.finish();
    Some(Threshold::Baseline {
        days: u16::try_from(days?.as_secs() / 86_400).unwrap_or(1),
        factor: factor?,
        floor: floor?,
    })
}

/// A size where bytes are counted, else a number.
fn amount(count: Count) -> Kind<'static, u64> {
    if count == Count::Bytes {
        size(0..=MAX_BYTES)
    } else {
        number(0..=1_000_000_000)
    }
}

fn read_then(section: &mut Section<'_>) -> Vec<Action> {
    let node: Option<&Node> = section.raw("then", "list of actions", "must be given");
    let Some(node) = node else {
        let problem = Problem::new("missing_key", section.span(), "`then` is missing");
        section.problem(problem.help("add `then: [alert]`"));
        return Vec::new();
    };
    match &node.value {
        Value::List(items) => then::read(section, items),
        Value::Scalar(word) => {
            let message = "`then` wants a list, and this is a single value";
            let problem = Problem::new("wrong_shape", node.span.clone(), message);
            section.problem(problem.help(format!("write `[{word}]`")));
            Vec::new()
        }
        other => {
            let message = format!("`then` wants a list, and this is {}", other.kind());
            section.problem(Problem::new("wrong_shape", node.span.clone(), message));
            Vec::new()
        }
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy + 'static>(all: &'static [T], word: fn(T) -> &'static str) -> Kind<'static, T> {
    let names: Vec<&str> = all.iter().map(|value| word(*value)).collect();
    let names = names.join(", ");
    Kind::new(
        format!("one of {names}"),
        |_| String::new(),
        move |text| {
            if let Some(value) = all.iter().find(|value| word(**value) == text) {
                return Ok(*value);
            }
            let wrong = Wrong::invalid(format!("{} is not one of {names}", quoted(text)));
            Err(match nearest(text, all.iter().map(|value| word(*value))) {
                Some(name) => wrong.help(format!("did you mean `{name}`?")),
                None => wrong,
            })
        },
    )
}

fn fact() -> Kind<'static, Fact> {
    Kind::new(
        "fact",
        |_| String::new(),
        |text| {
            let wrong =
                || Wrong::invalid(format!("there is no fact {}", quoted(text))).help(when::fact_help(text));
            Fact::find(text).ok_or_else(wrong)
        },
    )
}

/// `bulk-download`.
pub(in crate::config) fn rule_name() -> Kind<'static, Arc<str>> {
    Kind::new(
        "name",
        |_| String::new(),
        |text| {
            let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if (1..=MAX_NAME).contains(&text.len())
                && text.bytes().all(fits)
                && text.starts_with(|c: char| c != '-')
            {
                return Ok(text.into());
            }
            let wrong = Wrong::invalid(format!("{} is no name for a rule", quoted(text)));
            Err(wrong.help("use small letters, digits and dashes, 64 at most: `bulk-download`"))
        },
    )
}

/// Text for people.
pub(super) fn sentence() -> Kind<'static, Arc<str>> {
    Kind::new(
        "text",
        |_| String::new(),
        |text| {
            let text = text.trim();
            if text.is_empty() || text.len() > MAX_TEXT {
                return Err(Wrong::invalid("a text has 1 to 2000 bytes"));
            }
            Ok(text.into())
        },
    )
}

fn attack() -> Kind<'static, Attack> {
    Kind::new(
        "ATT&CK id",
        |_| String::new(),
        |text| {
            Attack::parse(text).ok_or_else(|| {
                let wrong = Wrong::invalid(format!("{} is no id of a technique", quoted(text)));
                wrong.help("write it like `T1114` or `T1114.002`")
            })
        },
    )
}
