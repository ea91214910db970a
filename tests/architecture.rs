//! Keeps the floors honest: imports go down, pure floors stay pure, files stay short.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the sources must fail")]
use std::fs;
use std::path::{Path, PathBuf};

/// Module, floor, and the same-floor modules it may use.
const FLOORS: &[(&str, u8, &[&str])] = &[
    ("types", 1, &[]),
    ("imap", 2, &[]),
    ("sasl", 2, &[]),
    ("policy", 2, &[]),
    ("session", 3, &[]),
    ("net", 4, &[]),
    ("store", 4, &["net"]),
    ("limits", 4, &[]),
    ("telemetry", 4, &["net"]),
    ("auth", 4, &["store"]),
    ("backend", 4, &["net"]),
    ("config", 5, &[]),
    ("server", 5, &["config"]),
    ("cli", 5, &["config", "server"]),
];

/// Words that floors 1 to 3 must not contain: they mean I/O, a clock, or chance.
const IMPURE: &[&str] = &[
    "tokio",
    "std::net::Tcp",
    "std::fs",
    "Instant::now",
    "SystemTime",
    "rand::",
    "async fn",
];

/// Words that may appear in one folder only, besides where they are defined.
const GUARDED: &[(&str, &str)] = &[
    ("Authenticated::vouch", "src/auth/"),
    ("LoggedIn::vouch", "src/backend/"),
];

const MAX_LINES: usize = 400;

#[test]
fn imports_only_go_down() {
    let mut wrong = Vec::new();
    for (module, floor, siblings) in FLOORS {
        for (path, line, text) in lines_of(&Path::new("src").join(module)) {
            for (target, target_floor, _) in FLOORS {
                let names_it = text.contains(&format!("crate::{target}::"))
                    || text.contains(&format!("crate::{target};"));
                let allowed = target == module || target_floor < floor || siblings.contains(target);
                if names_it && !allowed {
                    wrong.push(format!(
                        "{}:{line}: {module} may not use {target}",
                        path.display()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Grouped and doubled-up paths would hide a module from the test above.
#[test]
fn module_paths_are_spelled_out() {
    for (path, line, text) in lines_of(Path::new("src")) {
        let hides = ["crate::{", "super::super", "crate::*"]
            .iter()
            .any(|form| text.contains(form));
        assert!(
            !hides,
            "{}:{line}: write one `use crate::module::…` per module",
            path.display()
        );
    }
}

#[test]
fn pure_floors_do_no_io() {
    let mut wrong = Vec::new();
    for (module, _, _) in FLOORS.iter().filter(|(_, floor, _)| *floor <= 3) {
        for (path, line, text) in lines_of(&Path::new("src").join(module)) {
            for word in IMPURE.iter().filter(|word| text.contains(*word)) {
                wrong.push(format!("{}:{line}: `{word}` in a pure floor", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn proofs_are_made_in_one_place() {
    for (word, home) in GUARDED {
        for (path, line, text) in lines_of(Path::new("src")) {
            let here = path.to_string_lossy().replace('\\', "/");
            assert!(
                !text.contains(word) || here.starts_with(home),
                "{here}:{line}: {word} belongs to {home}"
            );
        }
    }
}

#[test]
fn files_stay_short() {
    for path in files_in(Path::new("src")) {
        let code = code_of(&path).len();
        assert!(
            code <= MAX_LINES,
            "{}: {code} lines before its tests",
            path.display()
        );
    }
}

fn lines_of(dir: &Path) -> Vec<(PathBuf, usize, String)> {
    files_in(dir)
        .into_iter()
        .flat_map(|path| {
            let code = code_of(&path);
            code.into_iter()
                .enumerate()
                .map(move |(n, text)| (path.clone(), n + 1, text))
        })
        .filter(|(_, _, text)| !text.trim_start().starts_with("//"))
        .collect()
}

/// A file's lines up to its `mod tests`; nothing of a file that is all tests.
fn code_of(path: &Path) -> Vec<String> {
    let is_tests = |part: &std::ffi::OsStr| matches!(part.to_str(), Some("tests" | "tests.rs" | "contract"));
    if path.iter().any(is_tests) {
        return Vec::new();
    }
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .map(str::to_owned)
        .collect()
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_in(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    found
}
