//! `imapwarden policy`: rule files looked at, tried and listed, without a running proxy and without changing anything.

use std::path::PathBuf;

use serde_json::json;

use crate::cli::Context;
use crate::cli::args::PolicyCommand;
use crate::cli::error::CliError;
use crate::cli::replay;
use crate::cli::replay::Wanted;
use crate::config::rules;
use crate::config::rules::Loaded;
use crate::policy::rules::Rule;
use crate::policy::rules::RuleSet;

pub(super) fn run(cx: &mut Context<'_>, command: PolicyCommand) -> Result<(), CliError> {
    match command {
        PolicyCommand::Check { files } => check(cx, &files),
        PolicyCommand::Test { files } => test(cx, &files),
        PolicyCommand::List { files } => list(cx, &files),
        PolicyCommand::Replay { files, rules, mode } => replay::run(cx, &Wanted { files, rules, mode }),
    }
}

/// The files given, or what the configuration has in force.
pub(super) fn load(cx: &Context<'_>, files: &[PathBuf]) -> Result<Loaded, CliError> {
    let loaded = if files.is_empty() {
        rules::load_configured(&cx.place.config_without_backend(cx.now)?.rules)
    } else {
        rules::load(files, false)
    };
    loaded.map_err(CliError::Rules)
}

fn check(cx: &mut Context<'_>, files: &[PathBuf]) -> Result<(), CliError> {
    let loaded = load(cx, files)?;
    let (rules, files) = (loaded.set.rules.len(), loaded.files.len());
    let shared = loaded.set.rules.iter().filter(|rule| rule.shared).count();
    let revision = &*loaded.set.revision;
    let value = json!({"ok": true, "rules": rules, "files": files, "shared": shared, "revision": revision});
    let text = format!(
        "{rules} rules in {files} files are right, {shared} of them shared by all replicas (revision {revision})."
    );
    Ok(cx.out.either(&value, &text)?)
}

/// Runs the tests beside the rules, each on the rules of its own file.
fn test(cx: &mut Context<'_>, files: &[PathBuf]) -> Result<(), CliError> {
    let loaded = load(cx, files)?;
    let (mut passed, mut failed) = (0_usize, 0_usize);
    for (path, file) in &loaded.files {
        let set = RuleSet {
            rules: file.rules.clone(),
            revision: loaded.set.revision.clone(),
            shadow: false,
        };
        for case in &file.tests {
            let outcome = case.run(&set);
            let failure = outcome.as_ref().err().map(ToString::to_string);
            match &failure {
                None => passed += 1,
                Some(_) => failed += 1,
            }
            let name = path.display().to_string();
            if cx.out.is_json() {
                let value =
                    json!({"file": name, "test": &*case.name, "ok": failure.is_none(), "failure": failure});
                cx.out.json(&value)?;
            } else if let Some(failure) = failure {
                cx.out.line(&format!("FAILED {name}: {}: {failure}", case.name))?;
            }
        }
    }
    if !cx.out.is_json() {
        cx.out.line(&format!("{passed} passed, {failed} failed"))?;
    }
    if failed > 0 {
        return Err(CliError::Data(format!("{failed} tests of rules failed")));
    }
    Ok(())
}

fn list(cx: &mut Context<'_>, files: &[PathBuf]) -> Result<(), CliError> {
    let loaded = load(cx, files)?;
    let mut rows = Vec::new();
    for (path, file) in &loaded.files {
        for (rule, line) in file.rules.iter().zip(&file.lines) {
            let place = format!("{}:{line}", path.display());
            let attack = rule.attack.as_ref().map_or("-", |attack| attack.as_str());
            let then: Vec<&str> = rule.then.iter().map(|action| action.as_str()).collect();
            // What the configuration says of a rule holds, not what its file says.
            let in_force = loaded.set.rules.iter().find(|known| known.name == rule.name);
            let mode = in_force.map_or("disabled", |rule| rule.mode.as_str());
            if cx.out.is_json() {
                let value = json!({
                    "name": &*rule.name, "on": rule.on.as_str(), "severity": rule.severity.as_str(),
                    "mode": mode, "then": then, "attack": attack, "place": place, "shared": rule.shared,
                    "description": &*rule.description,
                });
                cx.out.json(&value)?;
            }
            rows.push(vec![
                rule.name.to_string(),
                rule.on.as_str().to_owned(),
                rule.severity.as_str().to_owned(),
                mode.to_owned(),
                counts(rule).to_owned(),
                then.join(","),
                attack.to_owned(),
                place,
            ]);
        }
    }
    if cx.out.is_json() {
        return Ok(());
    }
    let head = [
        "NAME", "ON", "SEVERITY", "MODE", "COUNTS", "THEN", "ATTACK", "PLACE",
    ];
    Ok(cx.out.table(&head, &rows, "There are no rules.")?)
}

/// Who counts with whom.
fn counts(rule: &Rule) -> &'static str {
    match (rule.counts(), rule.shared) {
        (false, _) => "-",
        (true, false) => "alone",
        (true, true) => "shared",
    }
}
