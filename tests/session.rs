//! Whole sessions: a TLS client, imapwarden with its store, and an IMAP server behind it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fault must fail the test"
)]

mod support;

use std::time::Duration;
use std::time::Instant;

use support::memory::Mail;
use support::memory::Server;
use support::proxy::Proxy;

const MAIL_PASSWORD: &str = "right \"horse\"";

async fn backend() -> Server {
    let mail = Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    Server::start(mail).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_password_opens_the_mailbox_and_the_session_works() {
    let backend = backend().await;
    let proxy = Proxy::start(backend.addr, "").await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.connect().await;
    let answer = client
        .command("a", &format!("LOGIN alice {password}"))
        .await
        .unwrap();
    let ok = answer.last().unwrap();
    assert!(
        ok.starts_with("a OK [CAPABILITY IMAP4rev1 ") && ok.contains(" LITERAL+]"),
        "{ok}"
    );
    assert!(!ok.contains("AUTH=") && !ok.contains("STARTTLS"), "{ok}");
    let listed = client.command("b", "LIST \"\" *").await.unwrap();
    assert!(listed.iter().any(|line| line.contains("INBOX")), "{listed:?}");
    let selected = client.command("c", "SELECT {5+}\r\ninbox").await.unwrap();
    assert!(selected.last().unwrap().starts_with("c OK"), "{selected:?}");
    let fetched = client.command("d", "FETCH 1 (FLAGS BODY.PEEK[])").await.unwrap();
    assert!(fetched[0].starts_with("* 1 FETCH ("), "{fetched:?}");
    let bye = client.command("e", "LOGOUT").await.unwrap();
    assert!(bye.last().unwrap().starts_with("e OK"), "{bye:?}");
    assert!(client.rest().await.unwrap().is_empty());
    assert_eq!(backend.mail.non_sync_literals(), 0);
    let events = proxy.stop().await;
    let actions: Vec<String> = events
        .all()
        .iter()
        .map(|event| support::events::text(event, "event.action"))
        .collect();
    assert_eq!(
        actions,
        [
            "started",
            "login_succeeded",
            "session_ended",
            "stopping",
            "stopped"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_is_over_when_its_last_session_is() {
    let backend = backend().await;
    let proxy = Proxy::start(backend.addr, "").await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.logged_in("alice", &password).await;
    let begun = Instant::now();
    let leaves = tokio::spawn(async move {
        assert_eq!(
            client.response().await.unwrap(),
            "* BYE [UNAVAILABLE] Server is shutting down"
        );
    });
    let events = proxy.stop().await;
    leaves.await.unwrap();
    // Goodbyes are spread over ten seconds, but not those of nobody.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let (_, ended) = events.wait(0, "session_ended").await.unwrap();
    assert_eq!(support::events::text(&ended, "event.reason"), "shutdown");
}

/// Refusals are told at once while the process ends: guesses in one packet would be looked at as fast as they come.
#[tokio::test(flavor = "multi_thread")]
async fn of_logins_that_are_pipelined_a_shutdown_lets_no_other_be_looked_at() {
    let backend = backend().await;
    let proxy = Proxy::start(
        backend.addr,
        "login: {refusal_delay: 10s}\nlimits: {exempt: [loopback]}",
    )
    .await;
    let mut client = proxy.connect().await;
    client
        .send("a LOGIN nobody one\r\nb LOGIN nobody two\r\nc LOGIN nobody three\r\n")
        .await
        .unwrap();
    proxy.events.wait(0, "login_failed").await.unwrap();
    let events = proxy.stop().await;
    let said = String::from_utf8(client.rest().await.unwrap()).unwrap();
    let (refused, end) = said.split_once("\r\n").unwrap();
    assert!(refused.starts_with("a NO [AUTHENTICATIONFAILED]"), "{said}");
    assert_eq!(end, "* BYE [UNAVAILABLE] Server is shutting down\r\n");
    let failed = events
        .all()
        .iter()
        .filter(|event| support::events::text(event, "event.action") == "login_failed")
        .count();
    assert_eq!(failed, 1);
}
