//! Every configuration mistake has its message: `tests/config/*.yaml` beside what an operator reads.
//!
//! After a deliberate change run with `UPDATE_GOLDEN=1` and read the difference.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by failing"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use imapwarden::config::Config;
use imapwarden::config::ConfigProblems;
use imapwarden::types::UnixTime;

const NOW: UnixTime = UnixTime(1_800_000_000);

fn cases() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("tests/config")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    found.sort();
    found
}

fn mistakes_in(path: &Path) -> ConfigProblems {
    match Config::load(path, NOW) {
        Ok(_) => panic!("{}: nothing is wrong with it", path.display()),
        Err(problems) => problems,
    }
}

#[test]
fn every_mistake_reads_as_written_down() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for path in cases() {
        let shown = mistakes_in(&path).render(100, false);
        let golden = path.with_extension("txt");
        if update {
            fs::write(&golden, &shown).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != shown {
            wrong.push(format!("{}:\n{shown}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases().len() > 50);
}

#[test]
fn ten_mistakes_show_at_once_each_with_its_place_and_a_hint() {
    let problems = mistakes_in(Path::new("tests/config/ten_mistakes_at_once.yaml"));
    assert_eq!(problems.problems().len(), 10, "{problems}");
    for problem in problems.problems() {
        assert!(problem.help.is_some(), "{}", problem.message);
        assert!(problem.span.is_some(), "{}", problem.message);
    }
    let json = problems.to_json();
    let lines: Vec<u64> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["line"].as_u64().unwrap())
        .collect();
    assert!(
        lines.is_sorted() && lines.iter().all(|line| *line > 0),
        "{lines:?}"
    );
}

#[test]
fn no_message_shows_an_inline_secret() {
    for path in cases() {
        let problems = mistakes_in(&path);
        for text in [
            problems.render(100, true),
            problems.to_string(),
            problems.to_json().to_string(),
        ] {
            assert!(!text.contains("hunter2"), "{}: {text}", path.display());
        }
    }
}

fn load(text: &str, dir: &Path) -> Result<Config, ConfigProblems> {
    let path = dir.join("imapwarden.yaml");
    fs::write(&path, text).unwrap();
    Config::load(&path, NOW)
}

fn code_of(result: Result<Config, ConfigProblems>) -> &'static str {
    result
        .err()
        .map_or("none", |problems| problems.problems()[0].code)
}

#[test]
fn a_secret_file_that_everybody_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("master");
    let text = "backends: [{address: '127.0.0.1:143', master: {user: m, password_file: master}}]\n";
    let set = |content: &str, mode: u32| {
        fs::write(&secret, content).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        code_of(load(text, dir.path()))
    };
    assert_eq!(set("hunter2\n", 0o644), "file_too_open");
    assert_eq!(set("hunter2\n", 0o600), "none");
    assert_eq!(set("hunter2\n", 0o640), "none");
    assert_eq!(set("", 0o600), "file_unreadable");
    assert_eq!(set("a\nb\n", 0o600), "file_unreadable");
    let shown = load(text, dir.path()).unwrap_err();
    assert!(shown.to_string().contains("more than one line"), "{shown}");
}

#[test]
fn a_secret_that_signs_is_closed_to_others_and_long_enough() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("hook");
    let text = "backends: [{address: '127.0.0.1:143'}]\n\
                events: {sinks: [{webhook: {url: 'https://siem.example.org/', secret_file: hook}}]}\n";
    let set = |content: &str, mode: u32| {
        fs::write(&secret, content).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        code_of(load(text, dir.path()))
    };
    let good = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
    assert_eq!(set(good, 0o644), "file_too_open");
    assert_eq!(set("", 0o600), "file_unreadable");
    assert_eq!(set("hunter2\n", 0o600), "file_unusable");
    assert_eq!(set("whsec_hunter2\n", 0o600), "file_unusable");
    let shown = load(text, dir.path()).unwrap_err();
    assert!(
        shown.to_string().contains("no base64") && !shown.to_string().contains("hunter2"),
        "{shown}"
    );
    assert_eq!(set(good, 0o640), "none");
    assert!(load(text, dir.path()).unwrap().event_options().is_ok());
}

#[test]
fn a_directory_in_place_of_a_file_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let text = "backends: [{address: 'mail.example.org:993', ca_file: .}]\n";
    assert!(
        load(text, dir.path())
            .unwrap_err()
            .to_string()
            .contains("directory")
    );
}

#[test]
fn files_that_are_no_configuration_are_refused_without_harm() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.yaml");
    assert_eq!(code_of(Config::load(&path, NOW)), "file_unreadable");
    fs::write(&path, b"\xff\xfe").unwrap();
    assert_eq!(code_of(Config::load(&path, NOW)), "file_unreadable");
    fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
    assert_eq!(code_of(Config::load(&path, NOW)), "file_too_large");
    assert_eq!(
        code_of(Config::load(Path::new("/dev/zero"), NOW)),
        "file_too_large"
    );
    assert_eq!(code_of(Config::load(dir.path(), NOW)), "file_unreadable");
}

#[test]
fn relative_paths_start_at_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let text = "backends: [{address: '127.0.0.1:143'}]\ndata_directory: data\n";
    let config = load(text, dir.path()).unwrap();
    assert_eq!(config.state.store(), dir.path().join("data/imapwarden.db"));
}

#[test]
fn certificates_are_read_and_a_key_that_everybody_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let made = imapwarden::net::certificate::self_signed(dir.path(), &[], NOW).unwrap();
    let text = "backends: [{address: '127.0.0.1:143'}]\n\
        tls: {certificates: [{certificate_file: cert.pem, key_file: key.pem}]}\n";
    assert_eq!(code_of(load(text, dir.path())), "none");
    fs::set_permissions(&made.files.key, fs::Permissions::from_mode(0o644)).unwrap();
    let problems = load(text, dir.path()).unwrap_err();
    assert_eq!(problems.problems()[0].code, "file_too_open");
    assert!(problems.to_string().contains(":2:"), "{problems}");
    fs::write(&made.files.certificate, "no certificate").unwrap();
    assert_eq!(code_of(load(text, dir.path())), "file_unusable");
    let authorities = "backends: [{address: 'mail.example.org:993', ca_file: cert.pem}]\n";
    assert_eq!(code_of(load(authorities, dir.path())), "file_unusable");
}
