//! `imapwarden explain`: what would become of a login or a command, who says so and where that is written; and nothing is
//! changed by asking.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fault must fail the test"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use support::events::text;
use support::program::Place;

const CONFIGURATION: &str = "networks:
  scanners: [198.51.100.0/24]
access:
  deny:
    - 192.0.2.0/28
    - scanners
second_factor:
  networks:
    - {set: private, require: optional}
rules:
  packs: []
  files: [rules.yaml]
";

const RULES: &str = "rules:
  - {name: no-tor, description: Nobody comes from there., on: login, when: source.country == 'T1', then: [deny]}
  - {name: night, description: Not by night., on: login, when: user.name == 'night', then: [alert, deny]}
  - {name: looks, description: Only looks., on: login, when: user.name == 'alice', then: [deny], mode: shadow}
  - {name: no-rights, description: Nobody changes rights., on: command, when: command.verb == 'SETACL', then: [alert, deny]}
  - {name: deletes, description: Deletes., on: command, when: command.store_adds_deleted, count: messages, per: user, within: 10m, over: 50, then: [read_only]}
";

/// A place with Alice in its store, who may come from one network only.
async fn place() -> Place {
    let dir = tempfile::TempDir::new().unwrap();
    fs::write(dir.path().join("rules.yaml"), RULES).unwrap();
    let text = support::proxy::yaml("127.0.0.1:143".parse().unwrap(), CONFIGURATION);
    let place = Place::in_directory(dir, &text);
    let arguments = [
        "user",
        "add",
        "alice",
        "--network",
        "10.0.0.0/8",
        "--network",
        "203.0.113.0/24",
    ];
    assert_eq!(place.run("", &arguments).await.code, Some(0));
    assert_eq!(place.run("", &["user", "add", "night"]).await.code, Some(0));
    place
}

/// Verdict, deciding part, and where that is written: the file by its name alone.
async fn verdict(place: &Place, arguments: &[&str]) -> (String, String, String) {
    let said = place.json("", &[&["explain"], arguments].concat()).await;
    let place = text(&said, "by.place");
    let name = place.rsplit('/').next().unwrap_or_default().to_owned();
    (text(&said, "verdict"), text(&said, "by.part"), name)
}

fn refused(part: &str, place: &str) -> (String, String, String) {
    ("refused".to_owned(), part.to_owned(), place.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_explained_by_the_line_that_decides() {
    let place = place().await;
    // One line is put before the configuration, and seven of the tests' own.
    let line = |key: &str, line: &str| {
        let text = fs::read_to_string(place.path("imapwarden.yaml")).unwrap();
        let at = text.lines().position(|found| found.trim() == line).unwrap();
        format!("imapwarden.yaml:{} ({key})", at + 1)
    };
    let login = |user: &'static str, from: &'static str| ["login", "--user", user, "--from", from];
    for (arguments, expected) in [
        (
            login("alice", "192.0.2.3"),
            refused("access list", &line("access.deny[0]", "- 192.0.2.0/28")),
        ),
        (
            login("alice", "198.51.100.9"),
            refused("access list", &line("access.deny[1]", "- scanners")),
        ),
        (
            login("alice", "192.0.2.200"),
            refused("user", "store (imapwarden user show alice)"),
        ),
        (
            login("alice", "203.0.113.1"),
            refused("second factor", "by default (second_factor.default is not set)"),
        ),
        (
            login("eve", "203.0.113.1"),
            refused(
                "user",
                "by default (second_factor.admit_unknown_users is not set)",
            ),
        ),
        (login("night", "10.0.0.1"), refused("rule", "rules.yaml:3")),
    ] {
        assert_eq!(verdict(&place, &arguments).await, expected, "{arguments:?}");
    }
    let allowed = verdict(&place, &login("alice", "10.0.0.1")).await;
    assert_eq!(allowed.0, "allowed", "{allowed:?}");
    let arguments = [&login("alice", "10.0.0.1")[..], &["--fact", "source.country=T1"]].concat();
    assert_eq!(verdict(&place, &arguments).await, refused("rule", "rules.yaml:2"));

    let said = place
        .run("", &[&["explain"], &login("alice", "10.0.0.1")[..]].concat())
        .await;
    for part in [
        "allowed as far as can be told",
        "looks: would deny, but only reports (shadow)",
        "source.country is not known here; state it: --fact source.country=AT",
        "optional: none is asked for",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
}

/// As the proxy does it, where it admits people whom nobody has added.
#[tokio::test(flavor = "multi_thread")]
async fn another_spelling_of_a_listed_name_is_explained_as_that_user() {
    let dir = tempfile::tempdir().unwrap();
    let text = support::proxy::yaml(
        "127.0.0.1:143".parse().unwrap(),
        "second_factor: {default: optional, admit_unknown_users: true}",
    );
    let place = Place::in_directory(dir, &text);
    let add = ["user", "add", "alice", "--network", "10.0.0.0/8"];
    assert_eq!(place.run("", &add).await.code, Some(0));
    let verdict = async |name: &str, from: &str| {
        let arguments = ["login", "--user", name, "--from", from, "--with", "password"];
        let (verdict, part, _) = verdict(&place, &arguments).await;
        (verdict, part)
    };
    let allowed = |(verdict, _): (String, String)| verdict == "allowed";
    assert!(allowed(verdict("Alice", "10.0.0.1").await));
    assert!(allowed(verdict("zoe", "192.0.2.1").await));
    for name in ["Alice", "Zoé"] {
        let refused = ("refused".to_owned(), "user".to_owned());
        assert_eq!(verdict(name, "192.0.2.1").await, refused, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bans_and_what_restricts_an_app_password_are_explained() {
    let place = place().await;
    let (store, keys) = place.open().await;
    let accounts = imapwarden::auth::accounts::Accounts::new(&*store, &keys);
    let name = imapwarden::types::UserName::parse(b"alice").unwrap();
    let new = imapwarden::auth::accounts::NewAppPassword {
        user: name.clone(),
        account: name,
        label: "test".to_owned(),
        expires: None,
        networks: Some(imapwarden::types::Networks::new(vec![
            "203.0.113.0/28".parse().unwrap(),
        ])),
        restrictions: imapwarden::types::Restrictions {
            read_only: true,
            ..imapwarden::types::Restrictions::default()
        },
        mail_password: Some(imapwarden::types::Secret::from("x")),
    };
    let now = imapwarden::server::clock::unix();
    let created = accounts.create_app_password(&new, now).await.unwrap();
    let id = imapwarden::auth::app_password::id_text(created.id);
    drop(store);
    let login = |from: &'static str| ["login", "--user", "alice", "--from", from, "--with", id.as_str()];
    assert_eq!(verdict(&place, &login("203.0.113.1")).await.0, "allowed");
    let elsewhere = verdict(&place, &login("203.0.113.99")).await;
    assert_eq!(
        elsewhere,
        refused("app password", "store (imapwarden app-password list alice)")
    );
    let ban = ["ban", "add", "203.0.113.1", "--reason", "noise"];
    assert_eq!(place.run("", &ban).await.code, Some(0));
    assert_eq!(verdict(&place, &login("203.0.113.1")).await.1, "bans");

    let command = |line: &'static str| ["command", "--user", "alice", "--with", id.as_str(), line];
    assert_eq!(verdict(&place, &command("a FETCH 1 FLAGS")).await.0, "allowed");
    assert_eq!(verdict(&place, &command("a EXPUNGE")).await.1, "app password");
    let said = place
        .run("", &[&["explain"], &command("a SELECT INBOX")[..]].concat())
        .await;
    assert!(said.out.contains("it goes on as `a EXAMINE INBOX`"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_explained_by_grammar_table_and_rules() {
    let place = place().await;
    let command = |line: &'static str| ["command", "--user", "alice", line];
    for (line, part) in [
        ("a FROBNICATE", "grammar"),
        ("a COMPRESS DEFLATE", "command"),
        ("a SETACL INBOX eve lr", "rule"),
    ] {
        let (verdict, by, _) = verdict(&place, &command(line)).await;
        assert_eq!((verdict.as_str(), by.as_str()), ("refused", part), "{line}");
    }
    let said = place
        .run(
            "",
            &[&["explain"], &command("a STORE 1:* +FLAGS (\\Deleted)")[..]].concat(),
        )
        .await;
    let counts = "deletes: counts; acts on more than 50 messages within 600s, then read_only";
    assert!(said.out.contains(counts), "{said:?}");
    assert!(said.out.contains("rules.yaml:6"), "{said:?}");
}

/// Every file in the data directory, and what is in it. SQLite's memory that processes share moves when anybody looks, and
/// an empty log of writes comes to be.
fn files(place: &Place) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(place.path("data")).unwrap();
    let all = entries.map(|entry| {
        let path = entry.unwrap().path();
        (
            path.file_name().unwrap().to_string_lossy().into_owned(),
            fs::read(path).unwrap(),
        )
    });
    let is_kept = |(name, text): &(String, Vec<u8>)| {
        let is_log = name.ends_with("-wal") && text.is_empty();
        !is_log && !name.ends_with("-shm")
    };
    all.filter(is_kept).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_changes_nothing() {
    let place = place().await;
    // What a process that has ended left in the log of writes goes into the file whenever the last reader leaves.
    let file = rusqlite::Connection::open(place.path("data/imapwarden.db")).unwrap();
    file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(file);
    let before = files(&place);
    assert!(
        before.keys().any(|name| name.ends_with(".db")),
        "{:?}",
        before.keys()
    );
    for arguments in [
        &["explain", "login", "--user", "alice", "--from", "10.0.0.1"][..],
        &[
            "explain", "login", "--user", "alice", "--from", "10.0.0.1", "--with", "abcdef",
        ],
        &[
            "explain", "command", "--user", "alice", "--with", "abcdef", "a NOOP",
        ],
    ] {
        let _: Value = place.json("", arguments).await;
    }
    assert!(files(&place) == before, "the store was written to");

    let empty = Place::new("127.0.0.1:143".parse().unwrap(), "");
    let arguments = ["login", "--user", "alice", "--from", "10.0.0.1"];
    assert_eq!(verdict(&empty, &arguments).await.1, "user");
    assert!(!empty.path("data").exists(), "a store was made");
}
