//! Reloads of the real program's configuration: what changes, what may not, and what open sessions notice of it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a fault must fail the test"
)]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use imapwarden::auth::accounts::Accounts;
use imapwarden::auth::totp;
use imapwarden::server::clock;
use imapwarden::store::MfaSetting;
use imapwarden::store::User;
use imapwarden::types::UserName;
use serde_json::json;
use support::client::Client;
use support::events::text;
use support::memory::Mail;
use support::memory::Server;
use support::program::Place;
use support::program::Program;
use support::program::until;
use support::proxy::yaml;
use support::scripted::Move;
use support::scripted::Scripted;
use support::scripted::say;
use tempfile::TempDir;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::watch;
use tokio::task::JoinSet;

const MAIL_PASSWORD: &str = "right horse";

async fn backend() -> Server {
    let mail = Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    mail.add_sample_user("bob", MAIL_PASSWORD);
    Server::start(mail).await.unwrap()
}

/// Writes another configuration into a place.
fn rewrite(place: &Place, text: &str) {
    fs::write(
        place.path("imapwarden.yaml"),
        format!("data_directory: data\n{text}"),
    )
    .unwrap();
}

async fn reload(place: &Place) -> serde_json::Value {
    place.json("", &["reload"]).await
}

async fn works<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>) {
    let answer = client.command("w", "NOOP").await.unwrap();
    assert!(answer.last().unwrap().starts_with("w OK"), "{answer:?}");
}

async fn refused_at_login(program: &Program, arguments: &str) -> String {
    let mut client = program.connect().await;
    let mut answer = client.command("l", &format!("LOGIN {arguments}")).await.unwrap();
    answer.remove(0)
}

/// Everything that is open goes on, byte for byte, whatever is reloaded how often.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_reloads_under_two_hundred_busy_sessions_drop_none_and_change_no_byte() {
    const SESSIONS: usize = 200;
    let backend = backend().await;
    let other = self::backend().await;
    let version = |number: usize| {
        let mail = if number.is_multiple_of(2) {
            &backend
        } else {
            &other
        };
        yaml(
            mail.addr,
            &format!(
                "networks: {{office: [10.0.0.0/8, 127.0.0.0/8], elsewhere: [192.0.2.{number}/32]}}\n\
                 access: {{allow: [office], deny: [elsewhere]}}\n\
                 login: {{help: 'Version {number}'}}\n\
                 limits: {{exempt: [loopback], sessions_per_user: {}}}\n\
                 rules: {{files: [rules.yaml]}}\n\
                 log: {{level: {}}}",
                300 + number,
                if number.is_multiple_of(2) { "info" } else { "warn" },
            ),
        )
    };
    let dir = TempDir::new().unwrap();
    let rule = |verb: &str| {
        format!(
            "name: a-rule\ndescription: Of the test.\non: command\nwhen: command.verb == '{verb}'\nthen: [deny]\n"
        )
    };
    fs::write(dir.path().join("rules.yaml"), rule("CHECK")).unwrap();
    let place = Place::in_directory(dir, &version(0));
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = Arc::new(place.start().await);
    let going = Arc::new(AtomicBool::new(true));
    let rounds = Arc::new(AtomicUsize::new(0));
    let mut sessions = JoinSet::new();
    for _ in 0..SESSIONS {
        let mut client = program.logged_in("alice", &password).await;
        let (going, rounds) = (Arc::clone(&going), Arc::clone(&rounds));
        sessions.spawn(async move {
            client.command("s", "EXAMINE INBOX").await.unwrap();
            let expected = client.command("f", "FETCH 1:2 BODY.PEEK[]").await.unwrap();
            assert!(expected.last().unwrap().starts_with("f OK"), "{expected:?}");
            let mut mine = 0;
            while going.load(Ordering::Relaxed) {
                let found = client.command("f", "FETCH 1:2 BODY.PEEK[]").await.unwrap();
                assert_eq!(found, expected);
                rounds.fetch_add(1, Ordering::Relaxed);
                mine += 1;
            }
            let bye = client.command("z", "LOGOUT").await.unwrap();
            assert!(bye.last().unwrap().starts_with("z OK"), "{bye:?}");
            mine
        });
    }
    for number in 1..=20 {
        let before = rounds.load(Ordering::Relaxed);
        rewrite(&place, &version(number));
        fs::write(
            place.path("rules.yaml"),
            rule(if number.is_multiple_of(2) {
                "CHECK"
            } else {
                "UNSELECT"
            }),
        )
        .unwrap();
        let said = reload(&place).await;
        assert_eq!(said["ended"], 0, "{said}");
        assert!(
            said["changed"].as_array().unwrap().contains(&json!("limits")),
            "{said}"
        );
        until("sessions go on", || async {
            rounds.load(Ordering::Relaxed) > before + SESSIONS / 2
        })
        .await;
    }
    going.store(false, Ordering::Relaxed);
    let mut all = 0;
    while let Some(ended) = sessions.join_next().await {
        assert!(ended.unwrap() > 0, "each session was busy");
        all += 1;
    }
    assert_eq!(all, SESSIONS);
    assert_eq!(
        program
            .metric("imapwarden_config_reloads_total{outcome=\"success\"}")
            .await,
        20
    );
    for event in program.events.all() {
        let action = text(&event, "event.action");
        assert!(action != "session_killed", "{event}");
        if action == "session_ended" {
            assert_eq!(text(&event, "event.reason"), "logout", "{event}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_mistakes_changes_nothing_and_every_mistake_is_told() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "login: {help: Old, refusal_delay: 1s}");
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut client = program.logged_in("alice", &password).await;

    rewrite(
        &place,
        &yaml(
            backend.addr,
            "login: {help: New}\naccess: {deny: [nowhere]}\nlimits: {connections: many}",
        ),
    );
    let said = place.run("", &["reload"]).await;
    assert_eq!(said.code, Some(78), "{said:?}");
    for word in [
        "nowhere",
        "many",
        "imapwarden.yaml",
        "the old configuration stays in force",
    ] {
        assert!(said.err.contains(word), "{word}: {}", said.err);
    }
    let (at, event) = program.events.wait(0, "config_rejected").await.unwrap();
    assert!(text(&event, "error.message").contains("nowhere"), "{event}");
    program.signal("HUP");
    program.events.wait(at + 1, "config_rejected").await.unwrap();
    assert_eq!(
        program
            .metric("imapwarden_config_reloads_total{outcome=\"refused\"}")
            .await,
        2
    );
    works(&mut client).await;
    let refusal = refused_at_login(&program, "alice wrong").await;
    assert!(refusal.contains("Old"), "{refusal}");

    // One broken part keeps back the sound ones: nobody gets half of what is written.
    place.file("rules.yaml", "name: a-rule\nwhen: nonsense\n");
    rewrite(
        &place,
        &yaml(
            backend.addr,
            "login: {help: New, refusal_delay: 1s}\nrules: {files: [rules.yaml]}",
        ),
    );
    let said = place.run("", &["reload"]).await;
    assert_eq!(said.code, Some(78), "{said:?}");
    assert!(said.err.contains("rules.yaml"), "{}", said.err);
    program.events.wait(0, "rules_rejected").await.unwrap();
    let refusal = refused_at_login(&program, "alice wrong").await;
    assert!(refusal.contains("Old"), "{refusal}");

    rewrite(
        &place,
        &yaml(backend.addr, "login: {help: New, refusal_delay: 1s}"),
    );
    assert_eq!(reload(&place).await, json!({"changed": ["login"], "ended": 0}));
    let refusal = refused_at_login(&program, "alice wrong").await;
    assert!(refusal.contains("New"), "{refusal}");
    let (_, event) = program.events.wait(0, "config_reloaded").await.unwrap();
    assert_eq!(event["imapwarden"]["config"]["changed"], json!(["login"]));
    works(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_restart_can_change_is_named_and_nothing_beside_it_is_put_in_force() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let program = place.start().await;
    let more = "events: {file: e.jsonl}\nlimits: {connections: 77}\nstore: {path: s.db}\nlogin: {help: New}";
    rewrite(&place, &yaml(backend.addr, more));
    let said = place.run("", &["reload"]).await;
    assert_eq!(said.code, Some(78), "{said:?}");
    assert!(
        said.err
            .contains("needs a restart: limits.connections, events, store"),
        "{}",
        said.err
    );
    let refusal = refused_at_login(&program, "alice wrong").await;
    assert!(!refusal.contains("New"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_from_a_network_that_is_no_longer_allowed_end_and_others_do_not() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut here = program.logged_in("alice", &password).await;
    let mut there = program.connect_from([127, 0, 0, 2]).await.unwrap();
    there.response().await.unwrap();
    there
        .command("l", &format!("LOGIN alice {password}"))
        .await
        .unwrap();
    // It came in while it was allowed, and logs in when it is not.
    let mut late = program.connect_from([127, 0, 0, 2]).await.unwrap();
    late.response().await.unwrap();

    rewrite(&place, &yaml(backend.addr, "access: {deny: [127.0.0.2/32]}"));
    assert_eq!(reload(&place).await, json!({"changed": ["access"], "ended": 1}));
    let (at, killed) = program.events.wait(0, "session_killed").await.unwrap();
    assert_eq!(text(&killed, "event.reason"), "policy_changed");
    let rest = String::from_utf8(there.rest().await.unwrap()).unwrap();
    assert!(rest.contains("* BYE"), "{rest}");
    works(&mut here).await;

    late.send(format!("l LOGIN alice {password}\r\n")).await.unwrap();
    let rest = String::from_utf8(late.rest().await.unwrap()).unwrap();
    assert!(rest.contains("* BYE"), "{rest}");
    let (_, killed) = program.events.wait(at + 1, "session_killed").await.unwrap();
    assert_eq!(text(&killed, "event.reason"), "policy_changed");
    assert!(program.connect_from([127, 0, 0, 2]).await.is_err());
    works(&mut here).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_of_networks_that_a_reload_changes_hold_for_open_sessions() {
    let backend = backend().await;
    let dir = TempDir::new().unwrap();
    let rules = "rules:
  - {name: not-here, description: Of the test., on: command, when: command.verb == 'NOOP' && 'office' in source.networks, then: [deny]}
  - {name: look-only, description: Of the test., on: login, when: login.outcome == 'success' && 'lab' in source.networks, then: [read_only]}
";
    fs::write(dir.path().join("rules.yaml"), rules).unwrap();
    let version = |office: &str, lab: &str| {
        let more = format!("networks: {{office: [{office}], lab: [{lab}]}}\nrules: {{files: [rules.yaml]}}");
        yaml(backend.addr, &more)
    };
    let (here, elsewhere) = ("127.0.0.0/8", "192.0.2.0/24");
    let place = Place::in_directory(dir, &version(elsewhere, elsewhere));
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut client = program.logged_in("alice", &password).await;
    client.command("s", "SELECT INBOX").await.unwrap();
    let asks = [("c NOOP", "c OK"), ("d STORE 1 +FLAGS (\\Seen)", "d OK")];
    let denied = [
        ("c NOOP", "c NO [NOPERM]"),
        ("d STORE 1 +FLAGS (\\Seen)", "d NO [NOPERM]"),
    ];
    for (office, lab, expected) in [
        (elsewhere, elsewhere, [asks[0], asks[1]]),
        (here, elsewhere, [denied[0], asks[1]]),
        (elsewhere, here, [asks[0], denied[1]]),
    ] {
        rewrite(&place, &version(office, lab));
        assert_eq!(reload(&place).await["ended"], 0);
        for (line, answer) in expected {
            let (tag, command) = line.split_once(' ').unwrap();
            let answers = client.command(tag, command).await.unwrap();
            assert!(answers.last().unwrap().starts_with(answer), "{line}: {answers:?}");
        }
    }
}

/// It was judged, and is not listed yet: whoever asks which sessions there are does not find it.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_old_rules_let_in_while_new_ones_came_is_judged_again() {
    let (let_in, gate) = watch::channel(false);
    let slow = Scripted::start(vec![vec![
        say("* OK [CAPABILITY IMAP4rev1] ready"),
        Move::Expect("LOGIN"),
        Move::Gate(gate),
        say("{tag} OK [CAPABILITY IMAP4rev1] in"),
        Move::Drain,
    ]])
    .await
    .unwrap();
    let rule = |then: &str| {
        format!(
            "name: a-rule\ndescription: Of the test.\non: login\nwhen: login.outcome == 'success'\nthen: [{then}]\n"
        )
    };
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("rules.yaml"), rule("log")).unwrap();
    let more = "rules: {files: [rules.yaml], packs: []}";
    let place = Place::in_directory(dir, &yaml(slow.addr, more));
    let secret = place.one_time_codes("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut client = program.connect().await;
    let code = totp::code_at(&secret, clock::unix()).unwrap();
    let login = format!("l LOGIN alice \"{MAIL_PASSWORD};{code}\"\r\n");
    client.send(login).await.unwrap();
    until("the backend is asked", || async {
        slow.lines().iter().any(|line| line.contains("LOGIN"))
    })
    .await;
    // The trusted window cannot be opened for now, and the session does not begin before that.
    let store = rusqlite::Connection::open(place.path("data/imapwarden.db")).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    let_in.send(true).unwrap();
    program.events.wait(0, "rule_matched").await.unwrap();
    fs::write(place.path("rules.yaml"), rule("deny")).unwrap();
    assert_eq!(reload(&place).await["ended"], 0);
    store.execute_batch("ROLLBACK").unwrap();
    let (_, killed) = program.events.wait(0, "session_killed").await.unwrap();
    assert_eq!(text(&killed, "event.reason"), "policy_changed");
    let rest = String::from_utf8(client.rest().await.unwrap()).unwrap();
    assert!(rest.contains("* BYE"), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_came_without_a_second_factor_ends_once_one_is_required_and_app_passwords_go_on() {
    let backend = backend().await;
    let lax = "second_factor: {default: optional}";
    let place = Place::new(backend.addr, lax);
    let (_, app_password) = place.app_password("alice", MAIL_PASSWORD).await;
    let (store, keys) = place.open().await;
    let accounts = Accounts::new(&*store, &keys);
    let add = |name: &str, mfa| {
        let user = UserName::parse(name.as_bytes()).unwrap();
        accounts.add_user(User {
            mfa,
            ..User::new(user, clock::unix())
        })
    };
    add("bob", None).await.unwrap();
    backend.mail.add_sample_user("robot", MAIL_PASSWORD);
    add("robot", Some(MfaSetting::Exempt)).await.unwrap();
    let program = place.start().await;
    let quoted = format!("\"{MAIL_PASSWORD}\"");
    let mut alice = program.logged_in("alice", &app_password).await;
    let mut bob = program.logged_in("bob", &quoted).await;
    let mut robot = program.logged_in("robot", &quoted).await;

    rewrite(&place, &yaml(backend.addr, "second_factor: {default: required}"));
    assert_eq!(
        reload(&place).await,
        json!({"changed": ["second_factor"], "ended": 1})
    );
    let rest = String::from_utf8(bob.rest().await.unwrap()).unwrap();
    assert!(rest.contains("* BYE"), "{rest}");
    works(&mut alice).await;
    works(&mut robot).await;
    let refusal = refused_at_login(&program, &format!("bob {quoted}")).await;
    assert!(refusal.starts_with("l NO [AUTHENTICATIONFAILED]"), "{refusal}");

    rewrite(&place, &yaml(backend.addr, lax));
    reload(&place).await;
    works(&mut program.logged_in("bob", &quoted).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_sessions_go_to_the_new_backend_and_open_ones_stay_where_they_are() {
    let (old, new) = (backend().await, backend().await);
    let place = Place::new(old.addr, "");
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut first = program.logged_in("alice", &password).await;
    rewrite(&place, &yaml(new.addr, "log: {level: debug}"));
    let said = reload(&place).await;
    assert_eq!(said, json!({"changed": ["backends", "log.level"], "ended": 0}));
    let mut second = program.logged_in("alice", &password).await;
    works(&mut first).await;
    works(&mut second).await;
    assert_eq!((old.mail.connections(), new.mail.connections()), (1, 1));
    // A connection that is refused is told at this level alone.
    rewrite(
        &place,
        &yaml(new.addr, "log: {level: debug}\naccess: {deny: [127.0.0.2/32]}"),
    );
    reload(&place).await;
    assert!(program.connect_from([127, 0, 0, 2]).await.is_err());
    program.logged("connection refused").await;
}

/// Also where somebody is on the way in by it, and is told so only once it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_a_reload_takes_away_is_neither_up_nor_down() {
    let backend = backend().await;
    let (let_in, gate) = watch::channel(false);
    let slow = Scripted::start(vec![vec![
        say("* OK [CAPABILITY IMAP4rev1] ready"),
        Move::Expect("LOGIN"),
        Move::Gate(gate),
        say("{tag} OK [CAPABILITY IMAP4rev1] in"),
        Move::Drain,
    ]])
    .await
    .unwrap();
    let place = Place::new(slow.addr, "");
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    assert_eq!(program.metric("imapwarden_backend_up{backend=\"mail\"}").await, 1);
    let mut late = program.connect().await;
    late.send(format!("l LOGIN alice {password}\r\n")).await.unwrap();
    until("the backend is asked", || async {
        slow.lines().iter().any(|line| line.contains("LOGIN"))
    })
    .await;
    rewrite(
        &place,
        &yaml(backend.addr, "").replace("name: mail", "name: other"),
    );
    reload(&place).await;
    let_in.send(true).unwrap();
    let answer = late.response().await.unwrap();
    assert!(answer.starts_with("l OK"), "{answer}");
    let (_, metrics) = program.get("/metrics").await;
    let up: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("imapwarden_backend_up"))
        .collect();
    assert_eq!(up, ["imapwarden_backend_up{backend=\"other\"} 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_without_a_change_says_so_and_without_a_proxy_it_fails() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let said = place.run("", &["reload"]).await;
    assert_eq!(said.code, Some(69), "{said:?}");
    let program = place.start().await;
    let said = place.run("", &["reload"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("The configuration is the same"), "{}", said.out);
    program.events.wait(0, "config_reloaded").await.unwrap();
    program.events.wait(0, "certificates_reloaded").await.unwrap();
}
