//! Backends that misbehave: each costs its own session and nothing else, and nothing it says reaches a client that has not
//! logged in.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a fault must fail the test; tables are as long as there are cases"
)]

mod support;

use std::time::Duration;

use support::client::Client;
use support::events::text;
use support::proxy::Proxy;
use support::scripted::Move;
use support::scripted::Outcome;
use support::scripted::Scripted;
use support::scripted::after_login;
use support::scripted::say;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

const MAIL_PASSWORD: &str = "mail-password-of-alice";

/// What a client must hear when the backend is to blame. Never more, and never the backend's words.
const UNAVAILABLE: &str = "l NO [UNAVAILABLE] ";

/// In every text that the bad backends say before login.
const MARK: &str = "TEXT-OF-THE-BACKEND";

/// A session that must survive everything that goes on beside it.
fn healthy() -> Vec<Move> {
    let mut moves = Vec::new();
    for _ in 0..100 {
        moves.push(Move::Expect("NOOP"));
        moves.push(say("{tag} OK still here"));
    }
    after_login(moves)
}

fn bytes(text: &str) -> Move {
    Move::Send(text.as_bytes().to_vec())
}

fn greets(capabilities: &str) -> Move {
    say(&format!("* OK [CAPABILITY IMAP4rev1{capabilities}] {MARK}"))
}

/// A name, and what a backend does from the first byte on. All of it must come out as UNAVAILABLE.
fn bad_logins() -> Vec<(&'static str, Vec<Move>)> {
    let answers = |moves: Vec<Move>| {
        let mut all = vec![greets(""), Move::Expect("LOGIN")];
        all.extend(moves);
        all
    };
    let marked = |line: &str| say(&format!("{line} {MARK}"));
    vec![
        ("closes at once", vec![]),
        ("resets at once", vec![Move::Reset]),
        ("says nothing", vec![Move::Stall]),
        ("greets with BYE", vec![marked("* BYE [ALERT]")]),
        (
            "greets with PREAUTH",
            vec![marked("* PREAUTH [CAPABILITY IMAP4rev1]"), Move::Stall],
        ),
        ("greets with NO", vec![marked("* NO"), Move::Stall]),
        (
            "is a web server",
            vec![marked("HTTP/1.1 400 Bad Request"), Move::Stall],
        ),
        ("is an SSH server", vec![marked("SSH-2.0-x"), Move::Stall]),
        ("is a POP3 server", vec![marked("+OK"), Move::Stall]),
        (
            "greets with NUL",
            vec![bytes("* OK TEXT-OF-THE-BACKEND\0\r\n"), Move::Stall],
        ),
        (
            "greets with a bare LF",
            vec![bytes("* OK TEXT-OF-THE-BACKEND\n* OK more\r\n"), Move::Stall],
        ),
        (
            "greets with a bare CR",
            vec![bytes("* OK TEXT-OF-\rTHE-BACKEND\r\n"), Move::Stall],
        ),
        (
            "greets with a literal",
            vec![bytes("* OK {99}\r\nTEXT-OF-THE-BACKEND"), Move::Stall],
        ),
        (
            "never ends its greeting",
            vec![Move::Flood(vec![b'x'; 64 * 1024], usize::MAX)],
        ),
        (
            "never stops to greet",
            vec![Move::Flood(
                b"* OK TEXT-OF-THE-BACKEND\r\n".repeat(999),
                usize::MAX,
            )],
        ),
        ("forbids to log in", vec![greets(" LOGINDISABLED"), Move::Drain]),
        (
            "answers before it was asked",
            vec![
                bytes("* OK [CAPABILITY IMAP4rev1] hi\r\n"),
                bytes("a OK in\r\na1 OK in\r\nA1 OK in\r\nL OK in\r\n1 OK in\r\nL1 OK in\r\nA001 OK in\r\n"),
                Move::Stall,
            ],
        ),
        (
            "answers in the greeting's packet",
            vec![
                bytes("* OK [CAPABILITY IMAP4rev1] hi\r\n* OK [ALERT] TEXT-OF-THE-BACKEND\r\nL OK in\r\n"),
                Move::Stall,
            ],
        ),
        ("never answers", answers(vec![Move::Stall])),
        (
            "answers half a line",
            answers(vec![bytes("{tag} OK TEXT-OF"), Move::Stall]),
        ),
        (
            "answers without a tag only",
            answers(vec![marked("* OK"), marked("* OK [ALERT]"), Move::Stall]),
        ),
        (
            "answers with another tag",
            answers(vec![marked("x{tag} OK"), Move::Stall]),
        ),
        (
            "answers with the tag cut short",
            answers(vec![marked("a OK"), Move::Stall]),
        ),
        ("asks for more", answers(vec![marked("+"), Move::Stall])),
        (
            "answers and asks for more",
            answers(vec![say("+ \r\n{tag} OK in"), Move::Stall]),
        ),
        ("says BYE", answers(vec![marked("* BYE")])),
        (
            "says BYE and OK",
            answers(vec![say("* BYE TEXT-OF-THE-BACKEND\r\n{tag} OK in"), Move::Stall]),
        ),
        ("closes in the answer", answers(vec![bytes("{tag} OK")])),
        (
            "closes in a literal",
            answers(vec![bytes("* LIST () \"/\" {100}\r\nTEXT-OF-THE-BACKEND")]),
        ),
        ("answers BAD", answers(vec![marked("{tag} BAD"), Move::Drain])),
        (
            "is too busy",
            answers(vec![marked("{tag} NO [UNAVAILABLE]"), Move::Drain]),
        ),
        (
            "refers to another server",
            answers(vec![
                marked("{tag} NO [REFERRAL imap://evil.example/]"),
                Move::Drain,
            ]),
        ),
        (
            "answers with NUL",
            answers(vec![bytes("{tag} OK \0\r\n"), Move::Stall]),
        ),
        (
            "talks without end",
            answers(vec![Move::Flood(
                b"* OK TEXT-OF-THE-BACKEND\r\n".repeat(999),
                usize::MAX,
            )]),
        ),
        ("resets instead of an answer", answers(vec![Move::Reset])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_misbehaves_before_login_is_unavailable_and_nobody_is_blamed() {
    let cases = bad_logins();
    let mut scripts = vec![healthy()];
    scripts.extend(cases.iter().map(|(_, moves)| moves.clone()));
    scripts.push(healthy());
    let backend = Scripted::start(scripts).await.unwrap();
    let proxy = start(&backend).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut bystander = proxy.logged_in("alice", &password).await;
    let mut at = 0;
    for (name, _) in &cases {
        let mut client = proxy.connect().await;
        let said = client
            .command("l", &format!("LOGIN alice {password}"))
            .await
            .unwrap();
        assert_eq!(said.len(), 1, "{name}: {said:?}");
        assert!(said[0].starts_with(UNAVAILABLE), "{name}: {said:?}");
        assert!(!said[0].contains(MARK), "{name}: {said:?}");
        let (found, event) = proxy.events.wait(at, "login_unavailable").await.unwrap();
        at = found + 1;
        assert_eq!(text(&event, "event.reason"), "backend_unavailable", "{name}");
        alive(&mut bystander, name).await;
    }
    // Far more than the attempts that are free: had they been counted, this one would be refused unseen.
    let mut client = proxy.logged_in("alice", &password).await;
    alive(&mut client, "afterwards").await;
    let events = proxy.stop().await.all();
    assert!(
        events
            .iter()
            .all(|event| text(event, "event.action") != "login_failed")
    );
    // The backend that forbids to log in, and those that are no IMAP server, have never heard the password.
    let heard = backend.lines();
    let asked = cases
        .iter()
        .filter(|(_, moves)| moves.iter().any(|m| matches!(m, Move::Expect("LOGIN"))))
        .count();
    let passwords = heard.iter().filter(|line| line.contains(MAIL_PASSWORD)).count();
    assert_eq!(passwords, asked + 2, "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_not_sent_behind_a_bad_greeting() {
    for (name, mut moves) in bad_logins() {
        if moves.iter().any(|m| matches!(m, Move::Expect(_))) || name.starts_with("never") {
            continue;
        }
        if name == "answers before it was asked" {
            // Then it is a login like any other, which only an answer to its own tag can end.
            continue;
        }
        moves.retain(|m| !matches!(m, Move::Stall | Move::Reset));
        moves.push(Move::ExpectLine("anything at all would be too much"));
        let backend = Scripted::start(vec![moves]).await.unwrap();
        let proxy = start(&backend).await;
        let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
        let mut client = proxy.connect().await;
        let said = client
            .command("l", &format!("LOGIN alice {password}"))
            .await
            .unwrap();
        assert!(said[0].starts_with(UNAVAILABLE), "{name}: {said:?}");
        backend.outcomes(1).await;
        assert!(
            backend.lines().iter().all(|line| !line.contains("LOGIN")),
            "{name}: {:?}",
            backend.lines()
        );
    }
}

/// A name, what a backend does after login, the reason in the event, and what the client must have got in the end.
type BadSession = (&'static str, Vec<Move>, &'static [&'static str], &'static str);

/// The client sends `f FETCH 1 BODY[]` and reads to the end.
fn bad_sessions() -> Vec<BadSession> {
    let asked = |moves: Vec<Move>| {
        let mut all = vec![Move::Expect("FETCH")];
        all.extend(moves);
        after_login(all)
    };
    let lost = "* BYE [UNAVAILABLE] Mail server connection lost\r\n";
    vec![
        (
            "closes in a literal",
            asked(vec![bytes("* 1 FETCH (BODY[] {1000}\r\nabc")]),
            &["backend_closed"],
            "* 1 FETCH (BODY[] {1000}\r\nabc",
        ),
        (
            "closes between responses",
            asked(vec![say("* 1 EXISTS")]),
            &["backend_closed"],
            "* 1 EXISTS\r\n* BYE [UNAVAILABLE] Mail server connection lost\r\n",
        ),
        (
            "says BYE and closes",
            asked(vec![say("* BYE over")]),
            &["backend_bye"],
            "* BYE over\r\n",
        ),
        (
            "resets",
            asked(vec![Move::Reset]),
            &["backend_io", "backend_closed"],
            lost,
        ),
        (
            "asks for more",
            asked(vec![say("+ go on"), Move::Stall]),
            &["backend_protocol"],
            lost,
        ),
        (
            "answers what nobody asked",
            asked(vec![say("zz OK INJECTED"), Move::Stall]),
            &["backend_protocol"],
            lost,
        ),
        (
            "answers twice",
            asked(vec![say("{tag} OK done\r\n{tag} OK INJECTED"), Move::Stall]),
            &["backend_protocol"],
            "f OK done\r\n* BYE [UNAVAILABLE] Mail server connection lost\r\n",
        ),
        (
            "answers with its login's tag",
            asked(vec![say("l OK INJECTED"), Move::Stall]),
            &["backend_protocol"],
            lost,
        ),
        (
            "greets again with PREAUTH",
            asked(vec![say("* PREAUTH INJECTED"), Move::Stall]),
            &["backend_protocol"],
            lost,
        ),
        (
            "sends NUL",
            asked(vec![bytes("* OK INJ\0ECTED\r\n"), Move::Stall]),
            &["backend_protocol"],
            lost,
        ),
        (
            "ends a line in a bare LF",
            asked(vec![bytes("* OK INJECTED\nf OK x\r\n"), Move::Stall]),
            &["backend_protocol"],
            lost,
        ),
        (
            "is no IMAP server any more",
            asked(vec![say("220 INJECTED"), Move::Stall]),
            &["backend_protocol"],
            lost,
        ),
        (
            "announces more than can be",
            asked(vec![say("* 1 FETCH (BODY[] {99999999999999999999}"), Move::Stall]),
            &["backend_protocol"],
            "",
        ),
        (
            "ends a literal in the middle of an answer",
            asked(vec![
                bytes("* 1 FETCH (BODY[] {3}\r\nabc)\r\nf NO {7}\r\nx OK INJECTED\r\n"),
                Move::Stall,
            ]),
            &["backend_protocol"],
            "* 1 FETCH (BODY[] {3}\r\nabc)\r\nf NO {7}\r\n* BYE [UNAVAILABLE] Mail server connection lost\r\n",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_misbehaves_after_login_ends_its_own_session_and_no_other() {
    let cases = bad_sessions();
    let mut scripts = vec![healthy()];
    scripts.extend(cases.iter().map(|(_, moves, ..)| moves.clone()));
    let backend = Scripted::start(scripts).await.unwrap();
    let proxy = start(&backend).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut bystander = proxy.logged_in("alice", &password).await;
    let mut at = 0;
    for (name, _, reasons, expected) in &cases {
        let mut client = proxy.logged_in("alice", &password).await;
        client.send("f FETCH 1 BODY[]\r\n").await.unwrap();
        let rest = String::from_utf8(client.rest().await.unwrap()).unwrap();
        assert_eq!(rest, *expected, "{name}");
        let (found, event) = proxy.events.wait(at, "session_ended").await.unwrap();
        at = found + 1;
        let reason = text(&event, "event.reason");
        assert!(reasons.contains(&reason.as_str()), "{name}: {reason}");
        alive(&mut bystander, name).await;
    }
    assert!(at > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_a_hundred_megabytes_ends_its_session_at_the_bound() {
    let line = after_login(vec![
        Move::Expect("FETCH"),
        bytes("* 1 FETCH (BODY[] \""),
        Move::Flood(vec![b'x'; 64 * 1024], 1_600),
        Move::Stall,
    ]);
    let backend = Scripted::start(vec![healthy(), line]).await.unwrap();
    let proxy = start(&backend).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut bystander = proxy.logged_in("alice", &password).await;
    let mut client = proxy.logged_in("alice", &password).await;
    client.send("f FETCH 1 BODY[]\r\n").await.unwrap();
    let rest = client.rest().await.unwrap();
    let bound = 32 * 1024 * 1024;
    assert!(
        rest.len() > bound / 2 && rest.len() <= bound + 128 * 1024,
        "{}",
        rest.len()
    );
    let (_, event) = proxy.events.wait(0, "session_ended").await.unwrap();
    assert_eq!(text(&event, "event.reason"), "backend_limit");
    assert!(backend.outcomes(1).await.contains(&Outcome::Broken));
    alive(&mut bystander, "afterwards").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backend_text_in_a_login_answer_never_reaches_the_client() {
    let refuses = vec![
        greets(""),
        Move::Expect("LOGIN"),
        say(
            "* OK [ALERT] TEXT-OF-THE-BACKEND\r\n* CAPABILITY IMAP4rev1 TEXT-OF-THE-BACKEND\r\n{tag} NO [AUTHENTICATIONFAILED] TEXT-OF-THE-BACKEND",
        ),
        Move::Drain,
    ];
    let backend = Scripted::start(vec![refuses]).await.unwrap();
    let proxy = start(&backend).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.connect().await;
    let said = client
        .command("l", &format!("LOGIN alice {password}"))
        .await
        .unwrap();
    assert_eq!(said, ["l NO [AUTHENTICATIONFAILED] Authentication failed."]);
    let (_, event) = proxy.events.wait(0, "login_failed").await.unwrap();
    assert_eq!(text(&event, "event.reason"), "password_invalid");
}

/// Backends are given a second; clients as long as ever.
async fn start(backend: &Scripted) -> Proxy {
    let text = support::proxy::yaml(backend.addr, "    timeout: 1s\nlogin:\n  refusal_delay: 1s");
    Proxy::configured(&text).await
}

async fn alive<S: AsyncRead + AsyncWrite + Unpin>(bystander: &mut Client<S>, name: &str) {
    let answer = tokio::time::timeout(Duration::from_secs(5), bystander.command("n", "NOOP")).await;
    let answer = answer.unwrap().unwrap();
    assert_eq!(answer, ["n OK still here"], "{name}");
}
