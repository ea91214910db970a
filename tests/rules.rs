//! Every mistake in a rule file has its message: `tests/rules/*.yaml` beside what an operator reads.
//!
//! After a deliberate change run with `UPDATE_GOLDEN=1` and read the difference.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by failing"
)]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use imapwarden::config::rules::load;
use imapwarden::config::rules::parse;
use imapwarden::policy::facts::Fact;
use imapwarden::policy::rules::Action;
use imapwarden::policy::rules::Count;
use imapwarden::policy::rules::Group;
use imapwarden::policy::rules::Mode;
use imapwarden::policy::rules::Severity;
use imapwarden::policy::rules::Threshold;

fn cases() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir("tests/rules")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    found.sort();
    found
}

#[test]
fn every_mistake_reads_as_written_down() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for path in cases() {
        let text = fs::read_to_string(&path).unwrap();
        let Err(problems) = parse(&path.display().to_string(), &text) else {
            panic!("{}: nothing is wrong with it", path.display());
        };
        let shown = problems.render(100, false);
        let golden = path.with_extension("txt");
        if update {
            fs::write(&golden, &shown).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != shown {
            wrong.push(format!("{}:\n{shown}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases().len() >= 20);
}

const WHOLE: &str = "\
rules:
  - name: bulk-download
    description: Much mail leaves at once.
    false_positives: A new device.
    attack: T1114.002
    severity: high
    on: fetched
    when: user.mfa != \"exempt\" && !session.is_first_sync
    count: bytes
    per: [app_password, source.country]
    within: 10m
    over: {baseline: 14d, factor: 8, floor: 200MiB}
    then: [alert, throttle: 256KiB/s, ban: 1h]
    mode: shadow
  - name: spray
    description: One password, many users.
    on: login
    distinct: user.name
    per: login.password_hash
    within: 10m
    over: 5
    then: [alert]
tests:
  - name: quiet
    given:
      - on: login
        user.name: alice
    expect: []
";

#[test]
fn a_rule_file_is_read_key_by_key() {
    let file = parse("x.yaml", WHOLE).unwrap();
    let rule = &file.rules[0];
    assert_eq!(rule.attack.as_ref().unwrap().as_str(), "T1114.002");
    assert_eq!(
        (rule.severity, rule.mode, rule.count),
        (Severity::High, Mode::Shadow, Count::Bytes)
    );
    assert_eq!(rule.per, [Group::AppPassword, Group::Fact(Fact::SourceCountry)]);
    assert_eq!(rule.within, Some(Duration::from_secs(600)));
    let (days, factor, floor) = (14, 8, 200 << 20);
    assert_eq!(rule.over, Threshold::Baseline { days, factor, floor });
    assert!(matches!(rule.then[1], Action::Throttle(rate) if rate.get() == 256 * 1024));
    assert_eq!(rule.then[2], Action::Ban(Duration::from_secs(3_600)));
    let spray = &file.rules[1];
    assert_eq!(spray.count, Count::Distinct(Fact::UserName));
    assert_eq!((spray.mode, spray.severity), (Mode::Enforce, Severity::Medium));
    assert_eq!(file.lines, [2, 15]);
    assert_eq!(file.tests.len(), 1);
}

#[test]
fn a_file_may_be_one_rule_or_a_list_of_them() {
    let one = "name: a\ndescription: One.\non: login\nthen: [log]\ntests: [{name: t, given: [{on: login}], expect: [a]}]\n";
    let file = parse("x", one).unwrap();
    assert_eq!((file.rules.len(), file.tests.len()), (1, 1));
    let list = "- {name: a, description: One., on: login, then: [log]}\n- {name: b, description: Two., on: login, then: [log]}\n";
    assert_eq!(parse("x", list).unwrap().rules.len(), 2);
}

#[test]
fn a_directory_is_one_set_and_its_revision_changes_with_any_text() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, rule: &str, comment: &str| {
        let text = format!("name: {rule}\ndescription: One.\non: login\nthen: [log]\n# {comment}\n");
        fs::write(dir.path().join(name), text).unwrap();
    };
    let paths = [dir.path().to_owned()];
    assert!(load(&paths, false).is_err());
    write("b.yaml", "b", "");
    write("a.yml", "a", "");
    write("c.txt", "c", "");
    let loaded = load(&paths, true).unwrap();
    let names: Vec<&str> = loaded.set.rules.iter().map(|rule| &*rule.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(loaded.set.shadow && loaded.set.revision.len() == 12);
    assert_eq!(load(&paths, true).unwrap().set.revision, loaded.set.revision);
    write("b.yaml", "b", "changed");
    assert_ne!(load(&paths, true).unwrap().set.revision, loaded.set.revision);
    write("b.yaml", "a", "");
    let clash = load(&paths, false).unwrap_err();
    assert!(clash[0].to_string().contains("a.yml already"), "{clash:?}");
}
