//! What the events of a connection say about the client: its TLS fingerprint, and where it is.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fault must fail the test"
)]

mod support;

use serde_json::Value;
use support::client::Client;
use support::client::start_tls;
use support::events::text;
use support::memory::Mail;
use support::memory::Server;
use support::proxy::Proxy;

const MAIL_PASSWORD: &str = "mail-password-of-alice";

async fn backend() -> Server {
    let mail = Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    Server::start(mail).await.unwrap()
}

/// A refused login, a good one, a refused command and the end, in one proxy's events.
async fn events_of_a_session(proxy: Proxy) -> Vec<Value> {
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.connect().await;
    let refused = client.command("a", "LOGIN alice wrong").await.unwrap();
    assert!(refused.last().unwrap().starts_with("a NO"), "{refused:?}");
    let line = format!("LOGIN alice {password}");
    let answer = client.command("b", &line).await.unwrap();
    assert!(answer.last().unwrap().starts_with("b OK"), "{answer:?}");
    client.command("c", "COMPRESS DEFLATE").await.unwrap();
    client.command("d", "LOGOUT").await.unwrap();
    client.rest().await.unwrap();
    let events = proxy.stop().await.all();
    let of_connections: Vec<Value> = events
        .into_iter()
        .filter(|event| !text(event, "session.id").is_empty())
        .collect();
    assert!(of_connections.len() >= 3, "{of_connections:?}");
    of_connections
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_behind_the_hand_shake_has_the_fingerprint() {
    let backend = backend().await;
    let proxy = Proxy::start(backend.addr, "").await;
    let events = events_of_a_session(proxy).await;
    let first = text(&events[0], "tls.client.ja4");
    assert!(first.starts_with("t13d") && first.len() == 36, "{first}");
    for event in &events {
        assert_eq!(text(event, "tls.client.ja4"), first, "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn starttls_has_a_fingerprint_as_well() {
    let backend = backend().await;
    let text_of = |addr| {
        format!(
            "listeners: [{{address: '127.0.0.1:0', tls: starttls}}]\nmetrics: {{address: '127.0.0.1:0'}}\n\
             backends: [{{name: mail, address: '{addr}'}}]\n"
        )
    };
    let proxy = Proxy::configured(&text_of(backend.addr)).await;
    let mut plain = Client::plain(proxy.addr).await.unwrap();
    plain.response().await.unwrap();
    plain.command("a", "STARTTLS").await.unwrap();
    let tcp = plain.into_inner().into_inner();
    let mut client = Client::new(start_tls(tcp, &proxy.certificate, "localhost").await.unwrap());
    client.command("b", "LOGOUT").await.unwrap();
    client.rest().await.unwrap();
    let (_, ended) = proxy.events.wait(0, "connection_ended").await.unwrap();
    assert_eq!(text(&ended, "tls.client.ja4").len(), 36, "{ended}");
}
