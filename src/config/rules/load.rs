//! All rule files of a directory, as one set.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::config::ConfigProblems;
use crate::config::problem::Problem;
use crate::config::problem::quoted;
use crate::config::read_text;
use crate::config::rules::RuleFile;
use crate::config::rules::parse;
use crate::config::rules::revision;
use crate::policy::rules::RuleSet;

/// Most rules in a set: an index into it has 16 bits, and nobody reads more.
const MAX_RULES: usize = 1_000;
/// Most files.
const MAX_FILES: usize = 200;

/// What was read from rule files.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// All rules, in the order of the files' names.
    pub set: RuleSet,
    /// Each file by itself: for its tests, and for saying where a rule stands.
    pub files: Vec<(PathBuf, RuleFile)>,
}

/// Reads rule files. A directory stands for all `*.yaml` and `*.yml` in it, by their names.
///
/// # Errors
/// Everything that is wrong, file by file.
pub fn load(paths: &[PathBuf], shadow: bool) -> Result<Loaded, Vec<ConfigProblems>> {
    let mut problems = Vec::new();
    let mut files = Vec::new();
    let mut texts = Vec::new();
    for path in expand(paths, &mut problems) {
        let name = path.display().to_string();
        let text = read_text(&path).map_err(|problem| ConfigProblems::unreadable(&name, *problem));
        match text.and_then(|text| Ok((parse(&name, &text)?, text))) {
            Ok((file, text)) => {
                texts.push(text);
                files.push((path, file));
            }
            Err(wrong) => problems.push(wrong),
        }
    }
    problems.extend(clashes(&files));
    if !problems.is_empty() {
        return Err(problems);
    }
    let set = RuleSet {
        rules: files.iter().flat_map(|(_, file)| file.rules.clone()).collect(),
        revision: revision(texts.iter().map(String::as_str)),
        shadow,
    };
    Ok(Loaded { set, files })
}

fn expand(paths: &[PathBuf], problems: &mut Vec<ConfigProblems>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        match rule_files_in(path) {
            Ok(files) if files.is_empty() => {
                let problem = Problem::whole("no_rules", "there is no *.yaml file in this directory");
                problems.push(ConfigProblems::unreadable(&path.display().to_string(), problem));
            }
            Ok(files) => found.extend(files),
            Err(error) => {
                let message = format!("the directory cannot be read: {error}");
                let problem = Problem::whole("file_unreadable", message);
                problems.push(ConfigProblems::unreadable(&path.display().to_string(), problem));
            }
        }
    }
    if found.len() > MAX_FILES {
        let problem = Problem::whole(
            "too_many_files",
            format!("at most {MAX_FILES} rule files are read"),
        );
        let name = paths.first().map(|path| path.display().to_string());
        problems.push(ConfigProblems::unreadable(&name.unwrap_or_default(), problem));
        found.clear();
    }
    found
}

fn rule_files_in(directory: &Path) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml")) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Names that stand in two files, and sets that are too large.
fn clashes(files: &[(PathBuf, RuleFile)]) -> Vec<ConfigProblems> {
    let mut problems = Vec::new();
    let mut seen: BTreeMap<&str, &Path> = BTreeMap::new();
    for (path, file) in files {
        for rule in &file.rules {
            let first = seen.insert(&rule.name, path);
            if let Some(first) = first.filter(|first| *first != path) {
                let message = format!(
                    "there is a rule {} in {} already",
                    quoted(&rule.name),
                    first.display()
                );
                let problem = Problem::whole("duplicate_rule", message).help("give it another name");
                problems.push(ConfigProblems::unreadable(&path.display().to_string(), problem));
            }
        }
    }
    if seen.len() > MAX_RULES {
        let message = format!(
            "a set has at most {MAX_RULES} rules, and these are {}",
            seen.len()
        );
        let name = files.first().map(|(path, _)| path.display().to_string());
        problems.push(ConfigProblems::unreadable(
            &name.unwrap_or_default(),
            Problem::whole("too_many_rules", message),
        ));
    }
    problems
}
