//! Rules through the whole proxy: what they decide happens, is told, and reaches beyond the session where it should.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fault must fail the test"
)]

mod support;

use std::fs;
use std::time::Duration;
use std::time::Instant;

use imapwarden::types::UserName;
use support::events::text;
use support::memory::Mail;
use support::memory::Server;
use support::program::Place;
use support::program::Program;
use support::program::until;
use support::proxy::Proxy;
use tempfile::TempDir;

const MAIL_PASSWORD: &str = "right horse";

/// A backend with Alice's mail, and a proxy that judges by these rules.
async fn start(rules: &str) -> (Server, Proxy, TempDir) {
    let mail = Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    let backend = Server::start(mail).await.unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("rules.yaml");
    fs::write(&file, rules).unwrap();
    let more = format!("rules:\n  files: ['{}']\n", file.display());
    let proxy = Proxy::start(backend.addr, &more).await;
    (backend, proxy, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_command_is_answered_told_and_never_sent() {
    let (backend, proxy, _folder) = start(
        "rules:
  - name: no-rights
    description: Nobody changes rights here.
    attack: T1098.002
    severity: high
    on: command
    when: command.verb in ['SETACL', 'DELETE'] && command.mailbox == 'Trash'
    then: [alert, deny]
",
    )
    .await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.logged_in("alice", &password).await;
    for command in ["DELETE Trash", "DELETE \"Trash\"", "DELETE {5+}\r\nTrash"] {
        let answer = client.command("a", command).await.unwrap();
        assert!(
            answer[0].starts_with("a NO [NOPERM] Denied by policy ("),
            "{answer:?}"
        );
    }
    let listed = client.command("b", "LIST \"\" Trash").await.unwrap();
    assert!(listed.iter().any(|line| line.contains("Trash")), "{listed:?}");
    let (_, event) = proxy.events.wait(0, "alert_raised").await.unwrap();
    assert_eq!(text(&event, "rule.name"), "no-rights");
    assert_eq!(text(&event, "event.severity"), "73");
    assert_eq!(text(&event, "threat.technique.id"), "T1098.002");
    assert_eq!(text(&event, "user.name"), "alice");
    assert_eq!(text(&event, "imapwarden.decision.mode"), "enforce");
    assert!(
        !backend
            .mail
            .transcript()
            .iter()
            .any(|line| line.contains("DELETE")),
        "{:?}",
        backend.mail.transcript()
    );
    client.command("c", "LOGOUT").await.unwrap();
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_rule_tells_and_does_nothing() {
    let (_backend, proxy, _folder) = start(
        "rules:
  - name: quiet
    description: Looks.
    severity: low
    on: command
    when: command.verb == 'NOOP'
    then: [deny]
    mode: shadow
",
    )
    .await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.logged_in("alice", &password).await;
    let answer = client.command("a", "NOOP").await.unwrap();
    assert!(answer[0].starts_with("a OK"), "{answer:?}");
    let (_, event) = proxy.events.wait(0, "rule_matched").await.unwrap();
    assert_eq!(text(&event, "imapwarden.decision.mode"), "shadow");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_slowed_while_it_happens_and_ended_when_it_goes_on() {
    let (_backend, proxy, _folder) = start(
        "rules:
  - name: slow
    description: Slows.
    severity: low
    on: fetched
    count: bytes
    per: session
    within: 1h
    over: 2KiB
    then: [throttle: 4KiB/s]
  - name: stop
    description: Ends.
    severity: high
    on: fetched
    count: bytes
    per: session
    within: 1h
    over: 12KiB
    then: [disconnect]
",
    )
    .await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.logged_in("alice", &password).await;
    client.command("a", "SELECT INBOX").await.unwrap();
    let began = Instant::now();
    // The rest comes slowly, then not at all.
    let mut ended = false;
    for number in 0..200 {
        let tag = format!("f{number}");
        if client.command(&tag, "FETCH 1:* BODY.PEEK[]").await.is_err() {
            ended = true;
            break;
        }
    }
    assert!(ended, "the session goes on");
    assert!(began.elapsed() > Duration::from_secs(1), "nobody was slowed");
    let events = proxy.stop().await.all();
    let told = |rule: &str| {
        events
            .iter()
            .filter(|event| text(event, "rule.name") == rule)
            .count()
    };
    assert_eq!((told("slow"), told("stop")), (1, 1), "each is told once");
    let reasons: Vec<_> = events
        .iter()
        .filter(|event| text(event, "event.action") == "session_ended")
        .map(|event| text(event, "event.reason"))
        .collect();
    assert_eq!(reasons, ["policy_denied"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_revokes_the_app_password_and_every_session_of_it_ends() {
    let (_backend, proxy, _folder) = start(
        "rules:
  - name: honey
    description: Nobody has a reason to look for this.
    severity: critical
    on: command
    when: command.verb == 'SELECT' && command.mailbox == 'canary'
    then: [alert, revoke]
",
    )
    .await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut other = proxy.logged_in("alice", &password).await;
    let mut client = proxy.logged_in("alice", &password).await;
    assert!(client.command("a", "SELECT CANARY").await.is_ok(), "another name");
    // It ends without an answer, or with a BYE.
    let answer = client.command("b", "SELECT canary").await;
    assert!(
        answer.is_err() || !answer.unwrap().iter().any(|line| line.starts_with("b OK")),
        "it goes on"
    );
    proxy.events.wait(0, "app_password_revoked").await.unwrap();
    let rest = other.rest().await.unwrap();
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(rest.contains("* BYE"), "{rest}");
    let mut again = proxy.connect().await;
    let refused = again
        .command("l", &format!("LOGIN alice {password}"))
        .await
        .unwrap();
    assert!(
        refused[0].starts_with("l NO [AUTHENTICATIONFAILED]"),
        "{refused:?}"
    );
    proxy.stop().await;
}

/// The store can be read and not written: what a rule has decided must hold all the same, and reach the store in the end.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_revokes_stays_out_while_the_store_takes_nothing() {
    let (_backend, proxy, _folder) = start(
        "rules:
  - name: honey
    description: Nobody has a reason to look for this.
    on: command
    when: command.verb == 'SELECT' && command.mailbox == 'canary'
    then: [revoke]
",
    )
    .await;
    let (id, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut other = proxy.logged_in("alice", &password).await;
    let mut client = proxy.logged_in("alice", &password).await;
    proxy.store.flush().await.unwrap();
    let lock = rusqlite::Connection::open(proxy.config.state.store()).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let _ = client.command("a", "SELECT canary").await;
    let rest = String::from_utf8_lossy(&other.rest().await.unwrap()).into_owned();
    assert!(rest.contains("* BYE"), "{rest}");
    let login = format!("LOGIN alice {password}");
    let refused = proxy.connect().await.command("l", &login).await.unwrap();
    assert!(
        refused[0].starts_with("l NO [AUTHENTICATIONFAILED]"),
        "{refused:?}"
    );
    let (_, event) = proxy.events.wait(0, "login_failed").await.unwrap();
    assert_eq!(text(&event, "event.reason"), "app_password_revoked");
    proxy.events.wait(0, "store_unavailable").await.unwrap();
    let known = proxy.store.app_password(id).await.unwrap().unwrap();
    assert_eq!(known.revoked, None, "the store cannot know yet");

    lock.execute_batch("ROLLBACK").unwrap();
    let (_, event) = proxy.events.wait(0, "app_password_revoked").await.unwrap();
    assert_eq!(text(&event, "rule.name"), "honey");
    let known = proxy.store.app_password(id).await.unwrap().unwrap();
    assert!(known.revoked.is_some());
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_password_on_many_users_bans_the_source() {
    let (_backend, proxy, _folder) = start(
        "rules:
  - name: spray
    description: One password on many accounts.
    attack: T1110.003
    severity: high
    on: login
    when: login.outcome == 'failure'
    distinct: user.name
    per: login.password_hash
    within: 10m
    over: 2
    then: [alert, ban: 1h]
",
    )
    .await;
    for user in ["u1", "u2", "u3"] {
        let mut client = proxy.connect().await;
        let _ = client.command("l", &format!("LOGIN {user} Winter2026!")).await;
    }
    let (_, event) = proxy.events.wait(0, "alert_raised").await.unwrap();
    assert_eq!(text(&event, "rule.name"), "spray");
    proxy.events.wait(0, "ban_added").await.unwrap();
    let mut tcp = proxy.tcp().await;
    let mut nothing = Vec::new();
    // Closed or reset before any TLS.
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut tcp, &mut nothing).await;
    assert!(nothing.is_empty());
    proxy.events.wait(0, "connection_denied").await.unwrap();
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_rule_refuses_like_any_other_refusal_and_the_event_says_why() {
    let (_backend, proxy, _folder) = start(
        "rules:
  - name: no-clients-without-a-name
    description: Alice uses programs that say what they are.
    severity: medium
    on: login
    when: login.outcome == 'success' && user.mfa == 'app_password' && !has(client.name)
    then: [deny]
",
    )
    .await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.connect().await;
    let refused = client
        .command("l", &format!("LOGIN alice {password}"))
        .await
        .unwrap();
    assert!(
        refused[0].starts_with("l NO [AUTHENTICATIONFAILED]"),
        "{refused:?}"
    );
    let (_, event) = proxy.events.wait(0, "login_failed").await.unwrap();
    assert_eq!(text(&event, "event.reason"), "policy_denied");
    client
        .command("i", "ID (\"name\" \"Thunderbird\")")
        .await
        .unwrap();
    let let_in = client
        .command("m", &format!("LOGIN alice {password}"))
        .await
        .unwrap();
    assert!(let_in.last().unwrap().starts_with("m OK"), "{let_in:?}");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_becomes_read_only() {
    let (backend, proxy, _folder) = start(
        "rules:
  - name: hold
    description: Two deletions are enough.
    severity: high
    on: command
    when: command.store_adds_deleted
    count: messages
    per: session
    within: 10m
    over: 2
    then: [alert, deny, read_only]
",
    )
    .await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.logged_in("alice", &password).await;
    client.command("a", "SELECT INBOX").await.unwrap();
    let one = client.command("b", "STORE 1 +FLAGS (\\Deleted)").await.unwrap();
    assert!(one.last().unwrap().starts_with("b OK"), "{one:?}");
    let many = client.command("c", "STORE 1:* +FLAGS (\\Deleted)").await.unwrap();
    assert!(many[0].starts_with("c NO [NOPERM]"), "{many:?}");
    for (tag, command) in [("d", "EXPUNGE"), ("e", "CLOSE"), ("f", "DELETE Trash")] {
        let answer = client.command(tag, command).await.unwrap();
        assert!(
            answer[0].starts_with(&format!("{tag} NO [NOPERM]")),
            "{command}: {answer:?}"
        );
    }
    let read = client.command("g", "FETCH 1 FLAGS").await.unwrap();
    assert!(read.last().unwrap().starts_with("g OK"), "{read:?}");
    assert!(
        !backend
            .mail
            .transcript()
            .iter()
            .any(|line| line.contains("EXPUNGE") || line.contains("CLOSE"))
    );
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_judges_open_sessions_by_the_new_rules_and_a_bad_file_changes_nothing() {
    let mail = Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    let backend = Server::start(mail).await.unwrap();
    let place = Place::new(backend.addr, "rules: {files: [rules.yaml]}\n");
    let rule = |on: &str, when: &str| {
        format!("name: a-rule\ndescription: Of the test.\non: {on}\nwhen: {when}\nthen: [deny]\n")
    };
    place.file("rules.yaml", rule("command", "command.verb == 'NOOP'"));
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut client = program.logged_in("alice", &password).await;
    let denied = client.command("a", "NOOP").await.unwrap();
    assert!(denied[0].starts_with("a NO [NOPERM]"), "{denied:?}");

    place.file("rules.yaml", rule("command", "command.verb == 'CHECK'"));
    program.signal("HUP");
    let (at, _) = program.events.wait(0, "rules_reloaded").await.unwrap();
    let allowed = client.command("b", "NOOP").await.unwrap();
    assert!(allowed[0].starts_with("b OK"), "{allowed:?}");
    let denied = client.command("c", "CHECK").await.unwrap();
    assert!(denied[0].starts_with("c NO [NOPERM]"), "{denied:?}");

    place.file("rules.yaml", rule("command", "command.verbs == 'NOOP'"));
    program.signal("HUP");
    let (_, event) = program.events.wait(at + 1, "rules_rejected").await.unwrap();
    assert!(text(&event, "error.message").contains("command.verbs"), "{event}");
    let denied = client.command("d", "CHECK").await.unwrap();
    assert!(
        denied[0].starts_with("d NO [NOPERM]"),
        "the old ones hold: {denied:?}"
    );

    // What new rules put on a session that begins, they put on one that is open.
    let read_only = rule("login", "user.name == 'alice'").replace("deny", "read_only");
    place.file("rules.yaml", read_only);
    program.signal("HUP");
    let (at, _) = program.events.wait(at + 1, "rules_reloaded").await.unwrap();
    let denied = client.command("e", "CREATE another").await.unwrap();
    assert!(denied[0].starts_with("e NO [NOPERM]"), "{denied:?}");

    // Who would not be let in any more may not go on either.
    place.file("rules.yaml", rule("login", "user.name == 'alice'"));
    program.signal("HUP");
    let (_, killed) = program.events.wait(at + 1, "session_killed").await.unwrap();
    assert_eq!(text(&killed, "event.reason"), "policy_changed");
    let rest = String::from_utf8_lossy(&client.rest().await.unwrap()).into_owned();
    assert!(rest.contains("* BYE"), "{rest}");
}

/// Whoever sends SELECT and what follows in one packet must be judged in the mailbox that is open by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_behind_a_select_in_one_packet_is_judged_in_the_new_mailbox() {
    let (backend, proxy, _folder) = start(
        "rules:
  - name: few
    description: No more than two messages of INBOX.
    on: command
    when: command.store_adds_deleted && command.mailbox_role == 'inbox'
    count: messages
    per: session
    within: 10m
    over: 2
    then: [deny]
",
    )
    .await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.logged_in("alice", &password).await;
    client.command("a", "SELECT Trash").await.unwrap();
    // The client sends one CRLF behind each command: these three are one packet.
    let pipelined = "SELECT INBOX\r\nc STORE 1:* +FLAGS (\\Deleted)\r\nd NOOP";
    client.command("b", pipelined).await.unwrap();
    let mut answers = Vec::new();
    while !answers.iter().any(|line: &String| line.starts_with("d ")) {
        answers.push(client.response().await.unwrap());
    }
    assert!(
        answers.iter().any(|line| line.starts_with("c NO [NOPERM]")),
        "{answers:?}"
    );
    // What servers read as STORE's item and we could not is not passed on.
    let odd = client
        .command("e", "STORE 1:* \"+FLAGS\" (\\Deleted)")
        .await
        .unwrap();
    assert!(odd[0].starts_with("e BAD"), "{odd:?}");
    let transcript = backend.mail.transcript();
    assert!(
        !transcript.iter().any(|line| line.contains("STORE")),
        "{transcript:?}"
    );
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_were_moved_into_a_mailbox_are_deleted_with_it_whoever_does_it_and_by_whichever_name() {
    let (backend, proxy, _folder) = start(
        "rules:
  - name: gone
    description: Messages go with their mailbox.
    on: command
    when: command.verb == 'DELETE' && command.set_size > 2
    then: [deny]
",
    )
    .await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.logged_in("alice", &password).await;
    for _ in 0..10 {
        backend
            .mail
            .deliver("alice", "INBOX", b"Subject: one of many\r\n\r\n");
    }
    for name in ["x", "z", "few", "empty"] {
        client.command("c", &format!("CREATE {name}")).await.unwrap();
    }
    client.command("s", "SELECT INBOX").await.unwrap();
    for command in ["MOVE 1:3 x", "RENAME x y", "MOVE 1 few"] {
        let answer = client.command("m", command).await.unwrap();
        assert!(
            answer.last().unwrap().starts_with("m OK"),
            "{command}: {answer:?}"
        );
    }
    // One packet: nothing is answered before the next command is judged.
    client.send("n MOVE 1:3 z\r\nd DELETE z\r\n").await.unwrap();
    let mut answers = Vec::new();
    while !answers.iter().any(|line: &String| line.starts_with("d ")) {
        answers.push(client.response().await.unwrap());
    }
    assert!(
        answers.last().unwrap().starts_with("d NO [NOPERM]"),
        "{answers:?}"
    );
    let alice = UserName::parse(b"alice").unwrap();
    let (_, other_password) = proxy.another_app_password(&alice, MAIL_PASSWORD).await;
    let mut other = proxy.logged_in("alice", &other_password).await;
    for (name, answer) in [("y", "NO [NOPERM]"), ("few", "OK"), ("empty", "OK")] {
        let said = other.command("d", &format!("DELETE {name}")).await.unwrap();
        assert!(said[0].starts_with(&format!("d {answer}")), "{name}: {said:?}");
    }
    let transcript = backend.mail.transcript();
    let reached = |name: &str| {
        transcript
            .iter()
            .any(|line| line.contains(&format!("DELETE {name}")))
    };
    assert!(!reached("y") && !reached("z") && reached("few"), "{transcript:?}");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_is_opened_by_a_read_only_session_is_opened_for_reading() {
    let (backend, proxy, _folder) = start(
        "rules:
  - name: look-only
    description: Everybody may look.
    on: login
    when: login.outcome == 'success'
    then: [read_only]
",
    )
    .await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.logged_in("alice", &password).await;
    let opened = client.command("a", "SELECT INBOX").await.unwrap();
    assert!(
        opened.last().unwrap().starts_with("a OK [READ-ONLY]"),
        "{opened:?}"
    );
    let read = client.command("b", "FETCH 1 BODY[]").await.unwrap();
    assert!(read.last().unwrap().starts_with("b OK"), "{read:?}");
    let denied = client.command("c", "STORE 1 +FLAGS (\\Seen)").await.unwrap();
    assert!(denied[0].starts_with("c NO [NOPERM]"), "{denied:?}");
    let transcript = backend.mail.transcript();
    assert!(
        transcript.iter().any(|line| line.contains("EXAMINE INBOX")),
        "{transcript:?}"
    );
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shared_rule_has_counted_goes_on_counting_after_a_restart() {
    let backend = Server::start(Mail::default()).await.unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("rules.yaml");
    let rule = "{name: one-password, description: One password for many users., on: login,
                 when: login.outcome == 'failure', distinct: user.name, per: login.password_hash,
                 within: 10m, over: 5, shared: true, then: [alert]}";
    fs::write(&file, rule).unwrap();
    let more = format!(
        "login: {{refusal_delay: 1s}}\nrules: {{packs: [], files: ['{}']}}\n",
        file.display()
    );
    let place = Place::new(backend.addr, &more);
    let mut first = place.start().await;
    for user in 0..5_u8 {
        let mut client = first.connect_from([127, 0, 1, user + 1]).await.unwrap();
        client.response().await.unwrap();
        let answer = client
            .command("l", &format!("LOGIN user{user} Winter2026"))
            .await
            .unwrap();
        assert!(answer[0].starts_with("l NO"), "{answer:?}");
    }
    first.signal("TERM");
    assert!(first.wait(Duration::from_secs(30)).await.success());
    let has_alert = |program: &Program| {
        let events = program.events.all();
        events
            .iter()
            .any(|event| text(event, "event.action") == "alert_raised")
    };
    assert!(!has_alert(&first));
    let second = place.start().await;
    until("the sixth user is seen", || async {
        let mut client = second.connect_from([127, 0, 1, 9]).await.unwrap();
        client.response().await.unwrap();
        client.command("l", "LOGIN user9 Winter2026").await.unwrap();
        has_alert(&second)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_is_no_bad_command() {
    let (_backend, proxy, _folder) = start(
        "rules:
  - name: no-status
    description: Nobody asks for this.
    on: command
    when: command.verb == 'STATUS'
    then: [deny]
  - name: gibberish
    description: Two commands were none.
    on: command
    when: session.bad_commands > 1
    then: [disconnect]
",
    )
    .await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.logged_in("alice", &password).await;
    for _ in 0..5 {
        let denied = client.command("a", "STATUS INBOX (MESSAGES)").await.unwrap();
        assert!(denied[0].starts_with("a NO [NOPERM]"), "{denied:?}");
    }
    let noop = client.command("b", "NOOP").await.unwrap();
    assert!(noop[0].starts_with("b OK"), "{noop:?}");
    for _ in 0..2 {
        let bad = client.command("c", "FROBNICATE").await.unwrap();
        assert!(bad[0].starts_with("c BAD"), "{bad:?}");
    }
    client.send("d NOOP\r\n").await.unwrap();
    client.rest().await.unwrap();
    let (_, ended) = proxy.events.wait(0, "session_ended").await.unwrap();
    assert_eq!(text(&ended, "event.reason"), "policy_denied");
    proxy.stop().await;
}
