//! What was recorded, replayed: the same rules fire as did live, and what is not in a recording is said.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fault must fail the test"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;

use imapwarden::server::clock;
use imapwarden::store::Habit;
use imapwarden::store::Note;
use imapwarden::types::UserName;
use serde_json::Value;
use support::events::text;
use support::memory::Mail;
use support::memory::Server;
use support::program::Place;
use support::program::until;
use support::proxy::Proxy;
use tempfile::TempDir;

const MAIL_PASSWORD: &str = "right horse";

/// One rule for each moment, and for what a recording must carry from one event to another.
const RULES: &str = "rules:
  - {name: comes, description: Comes., on: connect, when: 'source.ip in [\"127.0.0.0/8\"]', per: source, within: 1h, then: [log]}
  - {name: spray, description: Sprays., on: login, when: login.outcome == 'failure', distinct: user.name, per: source, within: 10m, over: 1, then: [alert]}
  - {name: enters, description: Enters., on: login, when: login.outcome == 'success' && user.mfa == 'app_password' && !user.is_service, then: [log]}
  - {name: stays-out, description: Is refused., on: login, when: login.outcome == 'success' && user.name == 'bob', then: [alert, deny]}
  - {name: canary, description: Opens what nobody opens., on: command, when: command.verb == 'SELECT' && command.mailbox == 'canary', then: [alert, deny]}
  - {name: looks-for-money, description: Looks for it., on: command, when: '\"payment\" in command.search_categories', then: [log]}
  - {name: deletes, description: Deletes., on: command, when: command.store_adds_deleted, count: messages, per: user, within: 1h, over: 1, then: [alert]}
  - {name: says-who, description: Says so., on: command, when: client.family == 'thunderbird' && command.verb == 'NOOP', then: [log]}
  - {name: sweep, description: Takes all., on: fetched, when: fetched.body && session.mailbox_role == 'inbox', count: bytes, per: app_password, within: 10m, over: 1KiB, then: [alert, throttle: 1GiB/s]}
  - {name: plants, description: Puts in., on: appended, when: appended.mailbox_role == 'trash' && appended.size == 19, then: [log]}
  - {name: was-busy, description: Was busy., on: session_end, when: session.deleted > 1 && session.end_reason == 'logout' && session.commands > 5, then: [log]}
";

/// A recording, rules beside it, and a place to run the program in.
struct Recording {
    dir: TempDir,
    events: Vec<Value>,
}

impl Recording {
    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

/// Records what an attacker and a user do.
async fn record(commands: &str) -> Recording {
    let mail = Mail::default();
    for user in ["alice", "bob"] {
        mail.add_sample_user(user, MAIL_PASSWORD);
    }
    let backend = Server::start(mail).await.unwrap();
    let dir = TempDir::new().unwrap();
    let rules = dir.path().join("rules.yaml");
    fs::write(&rules, RULES).unwrap();
    let more = format!(
        "login: {{refusal_delay: 1s}}\nevents: {{commands: {commands}}}\nrules: {{packs: [], files: ['{}']}}\n",
        rules.display()
    );
    let proxy = Proxy::start(backend.addr, &more).await;
    let (_, alice) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let (_, bob) = proxy.app_password("bob", MAIL_PASSWORD).await;
    let mut stranger = proxy.connect().await;
    for (user, password) in [("eve", "x"), ("mallory", "x"), ("bob", bob.as_str())] {
        let line = format!("LOGIN {user} {password}");
        let answer = stranger.command("l", &line).await.unwrap();
        assert!(answer[0].starts_with("l NO"), "{answer:?}");
    }
    drop(stranger);
    let mut client = proxy.logged_in("alice", &alice).await;
    for (number, line) in [
        "SELECT canary",
        "SELECT INBOX",
        "ID (\"name\" \"Thunderbird\" \"version\" \"128.5\")",
        "NOOP",
        "SEARCH TEXT invoice",
        "UID FETCH 1:* (UID BODY.PEEK[])",
        "STORE 1:3 +FLAGS.SILENT (\\Deleted)",
        "APPEND Trash {19+}\r\nSubject: secret\r\n\r\n",
    ]
    .iter()
    .enumerate()
    {
        client.command(&format!("t{number}"), line).await.unwrap();
    }
    client.command("z", "LOGOUT").await.unwrap();
    let events = proxy.stop().await.all();
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    fs::write(dir.path().join("events.jsonl"), lines).unwrap();
    Recording { dir, events }
}

/// How often each rule was reported live.
fn live(events: &[Value]) -> BTreeMap<String, u64> {
    let mut reported = BTreeMap::new();
    for event in events {
        if ["rule_matched", "alert_raised"].contains(&text(event, "event.action").as_str()) {
            *reported.entry(text(event, "rule.name")).or_default() += 1;
        }
    }
    reported
}

/// How often each rule fires in a replay.
fn fired(replay: &Value) -> BTreeMap<String, u64> {
    let rules = replay["rules"].as_array().unwrap().iter();
    let fired = rules.map(|rule| (text(rule, "name"), rule["fired"].as_u64().unwrap()));
    fired.filter(|(_, count)| *count > 0).collect()
}

/// A place whose configuration says nothing about rules.
fn place() -> Place {
    Place::new("127.0.0.1:143".parse().unwrap(), "")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_that_fired_live_fire_in_a_replay_as_often_and_no_others() {
    let recording = record("all").await;
    let live = live(&recording.events);
    assert_eq!(live.len(), 11, "each rule was reported: {live:?}");
    let (events, rules) = (recording.file("events.jsonl"), recording.file("rules.yaml"));
    let arguments = ["policy", "replay", &events, "--rules", &rules];
    let replay = place().json("", &arguments).await;
    assert_eq!(fired(&replay), live);
    let rule = |name: &str| {
        let rules = replay["rules"].as_array().unwrap();
        rules.iter().find(|rule| rule["name"] == name).unwrap().clone()
    };
    for (name, who) in [("sweep", "alice"), ("stays-out", "bob"), ("comes", "127.0.0.1")] {
        assert_eq!(rule(name)["by"][0]["who"], who, "{name}");
        assert_eq!(rule(name)["live"], live[name], "{name}");
    }
    let denied = |on: &str| {
        let effects = replay["effects"].as_array().unwrap();
        let found = effects
            .iter()
            .find(|effect| effect["on"] == on && effect["effect"] == "deny");
        found.map(|effect| effect["count"].as_u64().unwrap())
    };
    assert_eq!((denied("login"), denied("command")), (Some(1), Some(1)));

    let shadow = [&arguments[..], &["--mode", "shadow"]].concat();
    let shadow = place().json("", &shadow).await;
    assert_eq!(fired(&shadow), live, "shadow reports the same");
    assert_eq!(shadow["effects"].as_array().unwrap().len(), 0, "and does nothing");
}

/// Remembered for users, as what they come with: what only the store knew is in the recording.
#[tokio::test(flavor = "multi_thread")]
async fn a_tls_client_that_is_new_for_its_user_is_known_as_such_live_and_in_a_replay() {
    const RULE: &str = "{name: new-tls, description: New., on: login, \
                        when: login.outcome == 'success' && tls.is_new_for_user, then: [alert]}";
    let mail = Mail::default();
    for user in ["alice", "bob"] {
        mail.add_sample_user(user, MAIL_PASSWORD);
    }
    let backend = Server::start(mail).await.unwrap();
    let dir = TempDir::new().unwrap();
    let rules = dir.path().join("rules.yaml");
    fs::write(&rules, RULE).unwrap();
    let more = format!(
        "events: {{commands: all}}\nrules: {{packs: [], files: ['{}']}}\n",
        rules.display()
    );
    let proxy = Proxy::start(backend.addr, &more).await;
    let (_, alice) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let (_, bob) = proxy.app_password("bob", MAIL_PASSWORD).await;
    let other = Habit::TlsClient("t12d280600_000000000000_000000000000".into());
    let name = UserName::parse(b"alice").unwrap();
    proxy.store.note(Note::Came(name, other, clock::unix()));
    proxy.store.flush().await.unwrap();
    // Nothing is remembered of Bob, so nothing is new.
    for (user, password, is_new) in [("alice", &alice, Some(true)), ("bob", &bob, None)] {
        let from = proxy.events.all().len();
        drop(proxy.logged_in(user, password).await);
        let (_, event) = proxy.events.wait(from, "login_succeeded").await.unwrap();
        let known = event["imapwarden"]["facts"].get("tls.is_new_for_user");
        assert_eq!(known.and_then(Value::as_bool), is_new, "{event}");
    }
    until("her client is one that she uses", || async {
        let from = proxy.events.all().len();
        drop(proxy.logged_in("alice", &alice).await);
        let (_, event) = proxy.events.wait(from, "login_succeeded").await.unwrap();
        event["imapwarden"]["facts"]["tls.is_new_for_user"] == false
    })
    .await;
    let events = proxy.stop().await.all();
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    fs::write(dir.path().join("events.jsonl"), lines).unwrap();
    let recording = Recording { dir, events };
    let live = live(&recording.events);
    assert!(live["new-tls"] >= 1, "{live:?}");
    let (events, rules) = (recording.file("events.jsonl"), recording.file("rules.yaml"));
    let replay = place()
        .json("", &["policy", "replay", &events, "--rules", &rules])
        .await;
    assert_eq!(fired(&replay), live);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_recorded_commands_logins_are_replayed_and_the_rest_is_said_to_be_missing() {
    let recording = record("refused").await;
    let (events, rules) = (recording.file("events.jsonl"), recording.file("rules.yaml"));
    let replay = place()
        .json("", &["policy", "replay", &events, "--rules", &rules])
        .await;
    let fired = fired(&replay);
    assert_eq!(fired.get("spray"), Some(&1), "{fired:?}");
    assert_eq!(fired.get("stays-out"), Some(&1));
    assert!(
        !fired.contains_key("canary") && !fired.contains_key("sweep"),
        "{fired:?}"
    );
    let said = replay["not_known"].to_string();
    assert!(
        said.contains("sweep: nothing that it looks at, fetched, is recorded"),
        "{said}"
    );
    assert!(said.contains("events.commands: all"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_no_events_are_named_and_standard_input_is_read() {
    let place = place();
    let rules = place.file("rules.yaml", RULES);
    let failure = |user: &str, second: u32| {
        format!(
            "{{\"@timestamp\":\"2026-01-01T00:00:{second:02}Z\",\"event\":{{\"provider\":\"imapwarden\",\"code\":\"IW3002\",\
             \"reason\":\"unknown_user\"}},\"session\":{{\"id\":\"000000000000000{second}\"}},\"source\":{{\"ip\":\"192.0.2.1\"}},\
             \"user\":{{\"name\":\"{user}\"}}}}"
        )
    };
    let input = format!(
        "{}\nnot an event\n\n{}\n{{\"half\":",
        failure("a", 1),
        failure("b", 2)
    );
    let rules = rules.display().to_string();
    let arguments = ["policy", "replay", "-", "--rules", &rules];
    let replay = place.json(&input, &arguments).await;
    assert_eq!(fired(&replay), BTreeMap::from([("spray".to_owned(), 1)]));
    let unreadable = &replay["unreadable"];
    assert_eq!(unreadable["count"], 2);
    assert_eq!(
        (&unreadable["lines"][0]["line"], &unreadable["lines"][1]["line"]),
        (&2.into(), &5.into())
    );
    assert_eq!(text(&replay, "from"), "2026-01-01T00:00:01Z");

    let said = place.run(&input, &arguments).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    for part in [
        "spray",
        "2 lines are no events: -:2 (no JSON)",
        "What a replay cannot know:",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    let nothing = place.run("nothing\n", &arguments).await;
    assert_eq!(nothing.code, Some(65), "{nothing:?}");
    let wrong = place
        .run(
            "",
            &["policy", "replay", "/nowhere/events.jsonl", "--rules", &rules],
        )
        .await;
    assert_eq!(wrong.code, Some(66), "{wrong:?}");
}
