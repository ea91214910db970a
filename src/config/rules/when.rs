//! Conditions in rule files: what is wrong with one is shown where it stands.

use crate::config::node::Node;
use crate::config::node::Value;
use crate::config::problem::Problem;
use crate::config::rules::place::place;
use crate::config::section::Section;
use crate::config::suggest::nearest;
use crate::policy::expression::ErrorKind;
use crate::policy::expression::Expression;
use crate::policy::expression::ExpressionError;
use crate::policy::expression::FUNCTIONS;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;

/// Reads `when`.
pub(super) fn read(section: &Section<'_>, node: &Node, on: Event, source: &str) -> Option<Expression> {
    let Value::Scalar(text) = &node.value else {
        let message = format!("`when` wants an expression, and this is {}", node.value.kind());
        let problem = Problem::new("wrong_shape", node.span.clone(), message);
        section.problem(problem.help("write it like `command.verb == \"FETCH\"`"));
        return None;
    };
    match Expression::compile(text, on) {
        Ok(expression) => Some(expression),
        Err(error) => {
            let at = place(source, node.whole(), text, error.at.clone());
            let problem = Problem::new("invalid_expression", at, format!("`when`: {error}"));
            section.problem(problem.maybe_help(help(&error)));
            None
        }
    }
}

fn help(error: &ExpressionError) -> Option<String> {
    match &error.kind {
        ErrorKind::UnknownFact(name) => Some(fact_help(name)),
        ErrorKind::UnknownFunction(name) => {
            let near = nearest(name, FUNCTIONS).map(|known| format!("did you mean `{known}`?"));
            near.or_else(|| error.kind.help())
        }
        kind => kind.help(),
    }
}

/// What may be meant by a name that is no fact.
pub(super) fn fact_help(name: &str) -> String {
    let names = Fact::ALL.iter().map(|fact| fact.name());
    if let Some(known) = nearest(name, names.clone()) {
        return format!("did you mean `{known}`?");
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    let begins = |known: &str| known.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    let ends = |known: &str| known.rsplit('.').next() == Some(last);
    let found: Vec<&str> = names
        .filter(|known| begins(known) || ends(known))
        .take(6)
        .collect();
    if found.is_empty() {
        "docs/rules.md lists the facts".to_owned()
    } else {
        format!("there is {}", found.join(", "))
    }
}
