//! What is told of commands after the login: which ones, with what, and never more than there is room for.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fault must fail the test"
)]

mod support;

use serde_json::Value;
use support::events::text;
use support::memory::Mail;
use support::memory::Server;
use support::proxy::Proxy;

const MAIL_PASSWORD: &str = "right horse";

async fn start(more: &str) -> (Server, Proxy) {
    let mail = Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    let backend = Server::start(mail).await.unwrap();
    let proxy = Proxy::start(backend.addr, more).await;
    (backend, proxy)
}

fn commands(events: &[Value]) -> Vec<&Value> {
    let of_commands =
        |event: &&Value| ["command", "command_refused"].contains(&text(event, "event.action").as_str());
    events.iter().filter(of_commands).collect()
}

/// Says some things, and returns what was told of them.
async fn told(more: &str, lines: &[&str]) -> Vec<Value> {
    let (_backend, proxy) = start(more).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.logged_in("alice", &password).await;
    for (number, line) in lines.iter().enumerate() {
        client.command(&format!("t{number}"), line).await.unwrap();
    }
    client.command("z", "LOGOUT").await.unwrap();
    proxy.stop().await.all()
}

fn fact(event: &Value, name: &str) -> Value {
    event["imapwarden"]["facts"][name].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_passed_on_is_told_by_default_and_nothing_else() {
    let events = told(
        "",
        &[
            "SELECT INBOX",
            "FROBNICATE",
            "COMPRESS DEFLATE",
            "FETCH 1 (FLAGS)",
        ],
    )
    .await;
    let told: Vec<_> = commands(&events)
        .into_iter()
        .map(|event| {
            (
                text(event, "event.code"),
                text(event, "imap.command"),
                text(event, "event.reason"),
            )
        })
        .collect();
    let refused = |verb: &str, why: &str| ("IW4003".to_owned(), verb.to_owned(), why.to_owned());
    assert_eq!(told, [refused("", "invalid"), refused("COMPRESS", "forbidden")]);
    let ended = events
        .iter()
        .find(|event| text(event, "event.action") == "session_ended");
    assert!(ended.unwrap()["imapwarden"].get("facts").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_where_nothing_shall_be() {
    let events = told("events: {commands: none}", &["FROBNICATE", "SELECT INBOX"]).await;
    assert!(commands(&events).is_empty(), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_is_told_with_what_became_of_it_and_without_a_word_of_content() {
    let lines = [
        "SELECT INBOX",
        "UID FETCH 1:* (UID BODY.PEEK[])",
        "SEARCH SUBJECT \"secret wire transfer\"",
        "STORE 1 +FLAGS (\\Deleted)",
        "APPEND Trash (\\Seen) {19+}\r\nSubject: secret\r\n\r\n",
        "SELECT nowhere",
        "FROBNICATE",
    ];
    let events = told("events: {commands: all}", &lines).await;
    let told = commands(&events);
    let results: Vec<_> = told
        .iter()
        .map(|event| {
            (
                text(event, "imap.command"),
                text(event, "imapwarden.command.result"),
            )
        })
        .collect();
    let expected = [
        ("SELECT", "ok"),
        ("UID FETCH", "ok"),
        ("SEARCH", "ok"),
        ("STORE", "ok"),
        ("APPEND", "ok"),
        ("SELECT", "no"),
        ("", "refused"),
        ("LOGOUT", "ok"),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(verb, result)| ((*verb).to_owned(), (*result).to_owned()))
        .collect();
    assert_eq!(results, expected);
    let fetch = told[1];
    assert_eq!(fact(fetch, "command.verb"), "FETCH");
    assert_eq!(fact(fetch, "command.uid"), true);
    assert_eq!(fact(fetch, "command.set_is_all"), true);
    assert_eq!(fact(fetch, "command.fetch_body"), true);
    assert_eq!(fact(fetch, "session.mailbox"), "INBOX");
    assert!(fact(fetch, "command.fetch_flags").is_null(), "false is left out");
    let exists = fact(fetch, "session.exists").as_u64().unwrap();
    assert_eq!(fetch["imapwarden"]["fetched"]["messages"], exists);
    assert!(fetch["imapwarden"]["fetched"]["bytes"].as_u64().unwrap() > exists);
    assert_eq!(fact(told[2], "command.search_keys")[0], "SUBJECT");
    assert_eq!(fact(told[3], "command.store_flags")[0], "\\Deleted");
    assert_eq!(told[4]["imapwarden"]["appended"]["bytes"], 19);
    assert_eq!(text(told[4], "imap.mailbox"), "Trash");
    let ended = events
        .iter()
        .find(|event| text(event, "event.action") == "session_ended");
    assert_eq!(fact(ended.unwrap(), "session.deleted"), 1);
    let login = events
        .iter()
        .find(|event| text(event, "event.action") == "login_succeeded");
    assert_eq!(fact(login.unwrap(), "user.mfa"), "app_password");
    let all = serde_json::to_string(&events).unwrap();
    assert!(!all.contains("wire"), "a word that was searched for is told");
    assert!(!all.contains("secret"), "a word of a message is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_commands_is_told_in_part_and_the_rest_is_counted() {
    const SENT: u64 = 3_000;
    let (_backend, proxy) = start("events: {commands: all}").await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.logged_in("alice", &password).await;
    for number in 0..SENT {
        client.command(&format!("t{number}"), "NOOP").await.unwrap();
    }
    client.command("z", "LOGOUT").await.unwrap();
    let events = proxy.stop().await.all();
    let told = u64::try_from(commands(&events).len()).unwrap();
    let untold: u64 = events
        .iter()
        .filter_map(|event| event["imapwarden"]["commands"]["untold"].as_u64())
        .sum();
    assert!(untold > 0, "all {told} were told");
    assert_eq!(told + untold, SENT + 1, "LOGOUT included");
}

/// The backend has the beginning, so that nothing can be answered any more: the session ends, and it is told why.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_cut_off_behind_a_message_is_told_as_refused() {
    for (more, tail, why) in [
        ("", ")\r\n", "invalid"),
        ("events: {commands: all}", " \"open\r\n", "invalid"),
        ("relay: {literal_limit: 1MiB}", " {1048577+}\r\n", "too_large"),
    ] {
        let (_backend, proxy) = start(more).await;
        let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
        let mut client = proxy.logged_in("alice", &password).await;
        let command = format!("a APPEND Trash {{10+}}\r\n0123456789{tail}");
        client.send(command).await.unwrap();
        client.rest().await.unwrap();
        proxy.events.wait(0, "session_ended").await.unwrap();
        let events = proxy.stop().await.all();
        let told: Vec<_> = commands(&events)
            .into_iter()
            .map(|event| {
                ["event.code", "imap.command", "imap.mailbox", "event.reason"].map(|path| text(event, path))
            })
            .collect();
        assert_eq!(told, [["IW4003", "APPEND", "Trash", why]], "{more} {tail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_password_may_not_and_what_nobody_answered_is_told_as_such() {
    let (_backend, proxy) = start("events: {commands: all}").await;
    let user = proxy.add_user("alice").await;
    let restrictions = imapwarden::types::Restrictions {
        read_only: true,
        ..imapwarden::types::Restrictions::default()
    };
    let (_, password) = proxy
        .restricted_app_password(&user, MAIL_PASSWORD, restrictions)
        .await;
    let mut client = proxy.logged_in("alice", &password).await;
    client.command("a", "DELETE Trash").await.unwrap();
    client.send("b IDLE\r\n").await.unwrap();
    client.response().await.unwrap();
    drop(client);
    proxy.events.wait(0, "session_ended").await.unwrap();
    let events = proxy.stop().await.all();
    let told: Vec<_> = commands(&events)
        .into_iter()
        .map(|event| {
            let paths = [
                "imap.command",
                "imap.mailbox",
                "imapwarden.command.result",
                "event.reason",
            ];
            paths.map(|path| text(event, path))
        })
        .collect();
    let expected = [
        ["DELETE", "Trash", "refused", "restricted"],
        ["IDLE", "", "unanswered", ""],
    ];
    assert_eq!(told, expected);
}
