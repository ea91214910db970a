//! What a rule does: `then: [alert, throttle: 256KiB/s, ban: 1h]`.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::config::kind::Kind;
use crate::config::kind::Wrong;
use crate::config::kind::duration;
use crate::config::kind::secs;
use crate::config::kind::size;
use crate::config::node::Node;
use crate::config::node::Value;
use crate::config::problem::Problem;
use crate::config::problem::quoted;
use crate::config::section::Section;
use crate::config::suggest::nearest;
use crate::policy::rules::Action;

/// Longest ban: bans that never end are an operator's to write.
const MAX_BAN: Duration = Duration::from_secs(365 * 86_400);
/// Slowest throttle, in bytes a second: slower, and the session should end.
const MIN_RATE: u64 = 1024;
/// Fastest throttle.
const MAX_RATE: u64 = 1024 * 1024 * 1024;

/// The actions that need no value.
const PLAIN: [Action; 8] = [
    Action::Log,
    Action::Alert,
    Action::Deny,
    Action::ReadOnly,
    Action::Disconnect,
    Action::Lock,
    Action::Revoke,
    Action::StepUp,
];

/// Reads the entries of `then`.
pub(super) fn read(section: &Section<'_>, items: &[Node]) -> Vec<Action> {
    items.iter().filter_map(|item| action(section, item)).collect()
}

fn action(section: &Section<'_>, node: &Node) -> Option<Action> {
    match &node.value {
        Value::Scalar(word) => plain(section, node, word),
        Value::Map(entries) => match entries.as_slice() {
            [(key, value)] => with_value(section, key, value),
            _ => {
                let problem = Problem::new(
                    "wrong_shape",
                    node.span.clone(),
                    "each action is an entry of its own",
                );
                section.problem(problem.help("write `- throttle: 256KiB/s` and `- ban: 1h` on two lines"));
                None
            }
        },
        other => {
            let message = format!("an action is a word, and this is {}", other.kind());
            section.problem(Problem::new("wrong_shape", node.span.clone(), message));
            None
        }
    }
}

fn plain(section: &Section<'_>, node: &Node, word: &str) -> Option<Action> {
    let found = PLAIN.iter().find(|action| action.as_str() == word);
    if found.is_none() {
        let message = format!("{} is no action", quoted(word));
        let help = match word {
            "throttle" => Some("say how slow: `throttle: 256KiB/s`".to_owned()),
            "ban" => Some("say for how long: `ban: 1h`".to_owned()),
            _ => suggestion(word),
        };
        let problem = Problem::new("invalid_value", node.span.clone(), message);
        section.problem(problem.maybe_help(help));
    }
    found.copied()
}

fn suggestion(word: &str) -> Option<String> {
    let words = PLAIN
        .iter()
        .map(|action| action.as_str())
        .chain(["throttle", "ban"]);
    let near = nearest(word, words.clone()).map(|known| format!("did you mean `{known}`?"));
    near.or_else(|| Some(format!("there are {}", words.collect::<Vec<_>>().join(", "))))
}

fn with_value(section: &Section<'_>, key: &Node, value: &Node) -> Option<Action> {
    let word = scalar(key);
    let text = scalar(value);
    let read = match word {
        "throttle" => rate().read(text).map(Action::Throttle),
        "ban" => duration(secs(1)..=MAX_BAN).read(text).map(Action::Ban),
        _ => {
            let known = PLAIN.iter().any(|action| action.as_str() == word);
            let (message, help) = if known {
                (
                    format!("{} takes no value", quoted(word)),
                    Some(format!("write `{word}`")),
                )
            } else {
                (format!("{} is no action", quoted(word)), suggestion(word))
            };
            let problem = Problem::new("invalid_value", key.span.clone(), message);
            section.problem(problem.maybe_help(help));
            return None;
        }
    };
    read.map_err(|wrong| {
        let message = format!("`{word}`: {}", wrong.message);
        let problem = Problem::new(wrong.code, value.span.clone(), message);
        section.problem(problem.maybe_help(wrong.help));
    })
    .ok()
}

fn scalar(node: &Node) -> &str {
    match &node.value {
        Value::Scalar(text) => text,
        _ => "",
    }
}

/// Bytes a second, such as `256KiB/s`.
fn rate() -> Kind<'static, NonZeroU64> {
    let bytes = size(MIN_RATE..=MAX_RATE);
    Kind::new(
        "rate",
        |_| String::new(),
        move |text| {
            let Some(amount) = text.strip_suffix("/s") else {
                let wrong = Wrong::invalid(format!("{} is no rate", quoted(text)));
                return Err(wrong.help("write it like `256KiB/s`"));
            };
            let read = bytes.read(amount)?;
            NonZeroU64::new(read).ok_or_else(|| Wrong::invalid("a rate is above 0"))
        },
    )
}
