//! Rule files: YAML text to rules and their tests, every mistake reported at once with its place and a hint.
//!
//! A file holds `rules:` and `tests:`, a single rule, or a list of rules.

mod cases;
mod load;
mod packs;
mod place;
mod rule;
mod then;
mod when;

use std::ops::Range;
use std::sync::Arc;

use aws_lc_rs::digest;

use crate::config::ConfigProblems;
use crate::config::mask::hide;
use crate::config::node;
use crate::config::node::Node;
use crate::config::node::Value;
use crate::config::notes::At;
use crate::config::notes::Notes;
use crate::config::problem::Problem;
use crate::config::problem::quoted;
use crate::config::section::Section;
use crate::policy::rules::Rule;
use crate::policy::rules::RuleSet;
use crate::policy::table::Case;

pub use load::Loaded;
pub use load::load;
pub use load::load_configured;
pub use packs::Pack;
pub(in crate::config) use rule::rule_name;

/// What one file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleFile {
    /// The rules, in their order.
    pub rules: Vec<Rule>,
    /// Their tests.
    pub tests: Vec<Case>,
    /// The line that each rule begins on, from 1.
    pub lines: Vec<usize>,
}

impl RuleFile {
    /// The file's rules as a set of their own.
    #[must_use]
    pub fn set(&self, text: &str) -> RuleSet {
        RuleSet {
            rules: self.rules.clone(),
            revision: revision([text]),
            shadow: false,
        }
    }
}

/// What tells a set of rules from another: the beginning of the SHA-256 of its texts, each with its length.
fn revision<'t>(texts: impl IntoIterator<Item = &'t str>) -> Arc<str> {
    let mut context = digest::Context::new(&digest::SHA256);
    for text in texts {
        context.update(&text.len().to_le_bytes());
        context.update(text.as_bytes());
    }
    let hex: String = context
        .finish()
        .as_ref()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    hex.into()
}

/// Reads a rule file from its text.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn parse(name: &str, text: &str) -> Result<RuleFile, ConfigProblems> {
    let tree = node::parse(text).map_err(|problem| ConfigProblems::new(name, text, vec![*problem]))?;
    let notes = Notes::default();
    let (rules, tests) = read(&notes, &tree, text);
    let (problems, _) = notes.into_parts();
    if !problems.is_empty() {
        return Err(ConfigProblems::new(name, &hide(text, &tree.secrets()), problems));
    }
    let line = |rule: &At<Rule>| {
        let before = text.get(..rule.span.start).unwrap_or_default();
        before.matches('\n').count().saturating_add(1)
    };
    Ok(RuleFile {
        lines: rules.iter().map(line).collect(),
        rules: rules.into_iter().map(|rule| rule.value).collect(),
        tests,
    })
}

fn read(notes: &Notes, tree: &Node, text: &str) -> (Vec<At<Rule>>, Vec<Case>) {
    let mut tests = Vec::new();
    let rules = match &tree.value {
        Value::List(items) => {
            let sections = items.iter().map(|item| Section::root(notes, item));
            sections.filter_map(|section| rule::read(section, text)).collect()
        }
        _ => {
            let mut root = Section::root(notes, tree);
            tests = cases::read(&mut root);
            let alone = ["name", "on", "then"].iter().any(|key| root.has(key));
            if root.has("rules") || !alone {
                let sections = root.sections("rules").unwrap_or_default();
                let rules: Vec<_> = sections
                    .into_iter()
                    .filter_map(|section| rule::read(section, text))
                    .collect();
                root.finish();
                rules
            } else {
                rule::read(root, text).into_iter().collect()
            }
        }
    };
    no_name_twice(notes, &rules);
    if rules.is_empty() && !notes.has_problems() {
        let problem = Problem::whole("no_rules", "there is no rule in this file");
        notes.problem(
            problem.help("write `rules:` and below it a rule, or a rule alone with `name:` and `on:`"),
        );
    }
    if !notes.has_problems() {
        unknown_rules_in_tests(notes, &rules, &tests);
    }
    let tests = tests.into_iter().map(|(case, _)| case).collect();
    (rules, tests)
}

fn no_name_twice(notes: &Notes, rules: &[At<Rule>]) {
    for (number, rule) in rules.iter().enumerate() {
        let first = rules
            .iter()
            .take(number)
            .find(|other| other.value.name == rule.value.name);
        if let Some(first) = first {
            let message = format!("there are two rules {}", quoted(&rule.value.name));
            let problem = Problem::new("duplicate_rule", rule.span.clone(), message);
            notes.problem(problem.beside(first.span.clone(), "first here"));
        }
    }
}

fn unknown_rules_in_tests(notes: &Notes, rules: &[At<Rule>], tests: &[(Case, Vec<Range<usize>>)]) {
    for (case, places) in tests {
        for (name, place) in case.expect.iter().zip(places) {
            if !rules.iter().any(|rule| rule.value.name == *name) {
                let message = format!("there is no rule {} in this file", quoted(name));
                notes.problem(Problem::new("unknown_rule", place.clone(), message));
            }
        }
    }
}
