//! What the events of a connection say about the client: its TLS fingerprint, where it is, and what is remembered of its user.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fault must fail the test"
)]

mod support;

use std::fs;
use std::process::Command;

use imapwarden::auth::accounts::NewAppPassword;
use imapwarden::server::clock;
use imapwarden::store::Habit;
use imapwarden::store::Note;
use imapwarden::types::UserName;
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
    drop(client);
    // A session that is still there when the proxy stops is given time to go.
    proxy.events.wait(0, "session_ended").await.unwrap();
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
async fn every_event_of_a_connection_says_where_it_comes_from() {
    let backend = backend().await;
    let here = std::env::current_dir().unwrap().join("tests/geo");
    let here = here.display();
    let more = format!("geoip: {{country_file: '{here}/country.mmdb', asn_file: '{here}/asn.mmdb'}}");
    let proxy = Proxy::start(backend.addr, &more).await;
    for event in events_of_a_session(proxy).await {
        assert_eq!(text(&event, "source.geo.country_iso_code"), "CH", "{event}");
        assert_eq!(text(&event, "source.as.number"), "64500");
        assert_eq!(text(&event, "source.as.organization.name"), "Example Loopback AG");
    }
}

/// The store is asked about the name that was typed before anybody knows whose app password it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_is_the_owners_also_where_the_account_was_typed() {
    let backend = backend().await;
    let proxy = Proxy::start(backend.addr, "events: {commands: all}").await;
    let bob = proxy.add_user("bob").await;
    let new = NewAppPassword {
        account: UserName::parse(b"alice").unwrap(),
        ..proxy.new_app_password(&bob, MAIL_PASSWORD)
    };
    let (_, password) = proxy.create_app_password(&new).await;
    let other = Habit::TlsClient("t12d280600_000000000000_000000000000".into());
    proxy.store.note(Note::Came(bob, other, clock::unix()));
    proxy.store.flush().await.unwrap();
    // A refusal first: it is not remembered.
    let wrong = format!("LOGIN bob {MAIL_PASSWORD}");
    let answer = proxy.connect().await.command("b", &wrong).await.unwrap();
    assert!(answer[0].starts_with("b NO"), "{answer:?}");
    drop(proxy.logged_in("alice", &password).await);
    for kind in ["login_failed", "login_succeeded"] {
        let (_, event) = proxy.events.wait(0, kind).await.unwrap();
        assert_eq!(text(&event, "user.name"), "bob");
        let facts = &event["imapwarden"]["facts"];
        assert_eq!(facts["tls.is_new_for_user"], true, "{event}");
    }
}

/// Sends SIGHUP to this process: every proxy in it reads its files again.
fn hang_up() {
    let pid = std::process::id().to_string();
    let sent = Command::new("kill").args(["-HUP", &pid]).status().unwrap();
    assert!(sent.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_databases_again_and_a_bad_one_changes_nothing() {
    let backend = backend().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("country.mmdb");
    let good = fs::read("tests/geo/country.mmdb").unwrap();
    fs::write(&file, &good).unwrap();
    let more = format!("geoip: {{country_file: '{}'}}", file.display());
    let proxy = Proxy::start(backend.addr, &more).await;
    // Before this the signal would end the process.
    proxy.events.wait(0, "started").await.unwrap();
    let country = async |from| {
        let mut client = proxy.connect().await;
        client.command("a", "LOGOUT").await.unwrap();
        drop(client);
        let (at, ended) = proxy.events.wait(from, "connection_ended").await.unwrap();
        (at + 1, text(&ended, "source.geo.country_iso_code"))
    };
    let (at, found) = country(0).await;
    assert_eq!(found, "CH");
    fs::write(&file, &good[..good.len() / 2]).unwrap();
    hang_up();
    let (_, rejected) = proxy.events.wait(at, "databases_rejected").await.unwrap();
    assert!(
        text(&rejected, "error.message").contains("country.mmdb"),
        "{rejected}"
    );
    let (at, found) = country(at).await;
    assert_eq!(found, "CH");
    let other: Vec<u8> = good
        .windows(2)
        .map(|pair| if pair == b"CH" { b'A' } else { pair[0] })
        .collect();
    fs::write(&file, [&other[..], &good[good.len() - 1..]].concat()).unwrap();
    hang_up();
    proxy.events.wait(at, "databases_reloaded").await.unwrap();
    assert_eq!(country(at).await.1, "AH");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_databases_events_do_not_say_where_a_client_is() {
    let backend = backend().await;
    let proxy = Proxy::start(backend.addr, "").await;
    for event in events_of_a_session(proxy).await {
        assert!(
            event["source"].get("geo").is_none() && event["source"].get("as").is_none(),
            "{event}"
        );
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
    drop(client);
    let (_, ended) = proxy.events.wait(0, "connection_ended").await.unwrap();
    assert_eq!(text(&ended, "tls.client.ja4").len(), 36, "{ended}");
}
