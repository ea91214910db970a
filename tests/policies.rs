//! The rules in `policies/` load, pass the tests beside them, and are silent on ordinary work.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what went wrong by failing"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use imapwarden::config::rules::load;
use imapwarden::config::rules::parse;

fn rule_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rule_files(&path));
        } else if path.extension().is_some_and(|ext| ext == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn every_rule_passes_the_tests_beside_it_and_has_one_that_reports_it() {
    let mut wrong = Vec::new();
    let files = rule_files(Path::new("policies"));
    assert!(files.len() >= 10);
    for path in files {
        let name = path.display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        let file = parse(&name, &text).unwrap_or_else(|problems| panic!("{}", problems.render(100, false)));
        let set = file.set(&text);
        for case in &file.tests {
            if let Err(failure) = case.run(&set) {
                wrong.push(format!("{name}: {}: {failure}", case.name));
            }
        }
        let tested: BTreeSet<&str> = file
            .tests
            .iter()
            .flat_map(|case| &case.expect)
            .map(AsRef::as_ref)
            .collect();
        for rule in file.rules.iter().filter(|rule| !tested.contains(&*rule.name)) {
            wrong.push(format!("{name}: no test expects {}", rule.name));
        }
        if !file.tests.iter().any(|case| case.expect.is_empty()) {
            wrong.push(format!("{name}: no test is silent"));
        }
        for rule in &file.rules {
            if rule.attack.is_none() || rule.false_positives.is_none() {
                wrong.push(format!(
                    "{name}: {} says no technique or no false positives",
                    rule.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_rules_in_the_docs_load_and_pass_their_tests() {
    let docs = fs::read_to_string("docs/rules.md").unwrap();
    let blocks: Vec<&str> = docs
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 4);
    for text in blocks {
        let file = parse("docs/rules.md", text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        for case in &file.tests {
            case.run(&file.set(text))
                .unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
        }
    }
}

#[test]
fn the_directories_can_be_loaded_together() {
    let mut directories: Vec<PathBuf> = fs::read_dir("policies")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    directories.sort();
    for directory in &directories {
        load(std::slice::from_ref(directory), false).unwrap();
    }
    let all = load(&directories, true).unwrap();
    assert!(all.set.rules.len() >= 40, "{}", all.set.rules.len());
}
