//! All rule files of a directory, as one set.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::config::ConfigProblems;
use crate::config::policy::Rules;
use crate::config::problem::Problem;
use crate::config::problem::quoted;
use crate::config::read_text;
use crate::config::rules::RuleFile;
use crate::config::rules::parse;
use crate::config::rules::revision;
use crate::config::suggest::nearest;
use crate::policy::rules::Mode;
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
    let texts = read_files(paths, &mut problems);
    combine(texts, problems, shadow)
}

/// Reads the rules that a configuration asks for: those that come with the program, and files.
///
/// # Errors
/// Everything that is wrong, file by file; names of rules that are not there.
pub fn load_configured(rules: &Rules) -> Result<Loaded, Vec<ConfigProblems>> {
    let mut problems = Vec::new();
    let built_in = rules.packs.iter().flat_map(|pack| pack.files());
    let mut texts: Vec<(PathBuf, String)> = built_in
        .map(|(name, text)| (PathBuf::from(name), (*text).to_owned()))
        .collect();
    texts.extend(read_files(&rules.files, &mut problems));
    let mut loaded = combine(texts, problems, rules.shadow)?;
    let unknown = unknown_names(rules, &loaded.set);
    if !unknown.is_empty() {
        return Err(unknown);
    }
    loaded
        .set
        .rules
        .retain(|rule| !rules.disable.contains(&rule.name));
    for rule in &mut loaded.set.rules {
        if rules.report_only.contains(&rule.name) {
            rule.mode = Mode::Shadow;
        }
    }
    loaded.set.revision = revision(
        std::iter::once(&*loaded.set.revision)
            .chain(rules.disable.iter().map(|name| &**name))
            .chain(std::iter::once("report_only"))
            .chain(rules.report_only.iter().map(|name| &**name)),
    );
    Ok(loaded)
}

/// Names that the configuration gives to rules that are not there: whoever mistypes one must not believe that it is off.
fn unknown_names(rules: &Rules, set: &RuleSet) -> Vec<ConfigProblems> {
    let lists = [
        ("rules.disable", &rules.disable),
        ("rules.report_only", &rules.report_only),
    ];
    let mut problems = Vec::new();
    for (key, names) in lists {
        for name in names {
            if set.rules.iter().any(|rule| rule.name == *name) {
                continue;
            }
            let problem = Problem::whole("unknown_rule", format!("there is no rule {}", quoted(name)));
            let known = set.rules.iter().map(|rule| &*rule.name);
            let problem = match nearest(name, known) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.help("`imapwarden policy list` shows all rules"),
            };
            problems.push(ConfigProblems::unreadable(key, problem));
        }
    }
    problems
}

fn read_files(paths: &[PathBuf], problems: &mut Vec<ConfigProblems>) -> Vec<(PathBuf, String)> {
    let mut texts = Vec::new();
    for path in expand(paths, problems) {
        let name = path.display().to_string();
        match read_text(&path) {
            Ok(text) => texts.push((path, text)),
            Err(problem) => problems.push(ConfigProblems::unreadable(&name, *problem)),
        }
    }
    texts
}

fn combine(
    texts: Vec<(PathBuf, String)>,
    mut problems: Vec<ConfigProblems>,
    shadow: bool,
) -> Result<Loaded, Vec<ConfigProblems>> {
    let revision = revision(texts.iter().map(|(_, text)| text.as_str()));
    let mut files = Vec::new();
    for (path, text) in texts {
        match parse(&path.display().to_string(), &text) {
            Ok(file) => files.push((path, file)),
            Err(wrong) => problems.push(wrong),
        }
    }
    problems.extend(clashes(&files));
    if !problems.is_empty() {
        return Err(problems);
    }
    let set = RuleSet {
        rules: files.iter().flat_map(|(_, file)| file.rules.clone()).collect(),
        revision,
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
                let help = if first.to_string_lossy().starts_with("builtin:") {
                    "give it another name; rules that come with the program are in force already (`rules.packs`)"
                } else {
                    "give it another name"
                };
                let problem = Problem::whole("duplicate_rule", message).help(help);
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
