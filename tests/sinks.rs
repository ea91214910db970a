//! Sinks of events with real receivers: what arrives, in which frames and shapes, and what a receiver that is slow, wrong or
//! away does to everybody else, which is nothing.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a fault must fail the test"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use imapwarden::net::tls::ClientOptions;
use imapwarden::net::tls::Trust;
use imapwarden::server::clock;
use imapwarden::telemetry::Connection;
use imapwarden::telemetry::Event;
use imapwarden::telemetry::Events;
use imapwarden::telemetry::Kind;
use imapwarden::telemetry::Metrics;
use imapwarden::telemetry::event::Tls as EventTls;
use imapwarden::telemetry::shape::Shape;
use imapwarden::telemetry::sink;
use imapwarden::telemetry::sink::Facility;
use imapwarden::telemetry::sink::Options;
use imapwarden::telemetry::sink::Receiver as Address;
use imapwarden::telemetry::sink::Signer;
use imapwarden::telemetry::sink::SyslogOptions;
use imapwarden::telemetry::sink::Target;
use imapwarden::telemetry::sink::Tls;
use imapwarden::telemetry::sink::Transport;
use imapwarden::telemetry::sink::WebhookOptions;
use imapwarden::telemetry::sink::Writer;
use imapwarden::types::ClientAddr;
use imapwarden::types::Mechanism;
use imapwarden::types::Refusal;
use imapwarden::types::Secret;
use imapwarden::types::SessionId;
use imapwarden::types::UserName;
use serde_json::Value;
use support::memory::Mail;
use support::memory::Server;
use support::program::Place;
use support::program::until;
use support::receivers;
use support::receivers::Certificate;
use support::receivers::Request;
use tokio::net::TcpStream;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SOON: Duration = Duration::from_secs(20);

/// The event of the samples in docs/events.md, with text of every kind in it.
fn event(user: &str) -> Event {
    let addr = ClientAddr::direct("203.0.113.9:50512".parse().unwrap());
    let mut connection = Connection::new(SessionId::new(0x5be1_c3e2_0a7f_4d10), addr, "imaps".into());
    connection.tls = Some(EventTls {
        version: "1.3",
        cipher: "TLS_AES_256_GCM_SHA384",
        resumed: false,
        ja4: Some("t13d181100_85036bcba153_d41ae481755e".into()),
        ..EventTls::default()
    });
    connection.user = Some(UserName::parse(user.as_bytes()).unwrap());
    Event::new(
        Kind::LoginFailed,
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_772_442_895_120),
    )
    .connection(&connection)
    .mechanism(Mechanism::Plain)
    .refusal(Refusal::CodeReplayed)
}

struct Running {
    events: Events,
    writer: Writer,
    metrics: Metrics,
}

impl Running {
    fn start(target: Target, shape: Shape) -> Self {
        Self::with_queue(target, shape, 4096)
    }

    fn with_queue(target: Target, shape: Shape, queue: usize) -> Self {
        let metrics = Metrics::new().unwrap();
        let options = Options {
            name: "tried".to_owned(),
            target,
            shape,
            queue,
        };
        let (events, writer) = sink::start(options, &metrics.sinks, clock::wall).unwrap();
        Self {
            events,
            writer,
            metrics,
        }
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.render().unwrap();
        let series = format!("imapwarden_{name}{{sink=\"tried\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap().parse().unwrap()
    }

    async fn until(&self, name: &str, enough: impl Fn(u64) -> bool) {
        until(name, || async { enough(self.metric(name)) }).await;
    }

    async fn close(self) -> bool {
        tokio::task::spawn_blocking(move || self.writer.close(SOON))
            .await
            .unwrap()
    }
}

fn trusting(certificate: &Certificate) -> Tls {
    Tls {
        client: ClientOptions {
            trust: Trust::CaFiles(vec![certificate.file()]),
            ..ClientOptions::default()
        },
        server_name: None,
    }
}

fn localhost(addr: SocketAddr) -> Address {
    Address {
        host: "localhost".to_owned(),
        port: addr.port(),
    }
}

fn syslog(addr: SocketAddr, transport: Transport) -> Target {
    Target::Syslog(SyslogOptions {
        receiver: Address {
            host: if matches!(transport, Transport::Tls(_)) {
                "localhost"
            } else {
                "127.0.0.1"
            }
            .to_owned(),
            port: addr.port(),
        },
        transport,
        facility: Facility::Authpriv,
        app_name: "imapwarden".to_owned(),
        timeout: Duration::from_secs(10),
    })
}

fn webhook(addr: SocketAddr, certificate: &Certificate) -> WebhookOptions {
    WebhookOptions {
        receiver: localhost(addr),
        tls: Some(trusting(certificate)),
        path: sink::Path::new("/hooks/imapwarden?tenant=1"),
        signer: Signer::new(&Secret::from(SECRET)).unwrap(),
        batch: 100,
        timeout: Duration::from_secs(10),
    }
}

/// The event in a syslog message.
fn content(message: &str) -> &str {
    let (header, rest) = message.split_once(" [meta sequenceId=").unwrap();
    assert_eq!(header.split(' ').count(), 6, "{header}");
    rest.split_once("\"] ").unwrap().1.trim_start_matches(' ')
}

fn json(message: &str) -> Value {
    serde_json::from_str(&message[message.find('{').unwrap()..]).unwrap()
}

fn sequences<'a>(events: impl IntoIterator<Item = &'a Value>) -> Vec<u64> {
    events
        .into_iter()
        .map(|event| event["event"]["sequence"].as_u64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn syslog_on_a_stream_is_framed_by_octets_whatever_is_in_it() {
    let certificate = Certificate::new();
    for (tls, transport) in [
        (None, Transport::Tcp),
        (Some(&certificate), Transport::Tls(trusting(&certificate))),
    ] {
        let receiver = receivers::syslog(None, tls).await;
        let running = Running::start(syslog(receiver.addr, transport), Shape::Ecs);
        let names = ["alice", "gr\u{fc}n\u{df} 12 <83>1", "]\"\\ 10 x"];
        for number in 0..300 {
            running.events.emit(event(names[number % names.len()]));
        }
        assert!(running.close().await);
        let messages = receiver.arrived.count(300).await;
        let events: Vec<Value> = messages.iter().map(|message| json(content(message))).collect();
        assert_eq!(sequences(&events), (1..=300).collect::<Vec<_>>());
        assert!(
            messages
                .iter()
                .all(|message| message.starts_with("<86>1 2026-03-02T09:14:55.120Z "))
        );
        assert_eq!(events[0]["user"]["name"], "alice");
        assert_eq!(events[1]["user"]["name"], names[1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn syslog_over_udp_is_one_datagram_for_each_event() {
    let receiver = receivers::datagrams().await;
    let running = Running::start(syslog(receiver.addr, Transport::Udp), Shape::Cef);
    for _ in 0..20 {
        running.events.emit(event("alice"));
    }
    let messages = receiver.arrived.count(20).await;
    assert!(running.close().await);
    assert!(
        messages
            .iter()
            .all(|message| message.contains("] CEF:0|imapwarden|") && message.contains(" IW3002 "))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_with_another_authority_gets_nothing() {
    let (theirs, other) = (Certificate::new(), Certificate::new());
    let receiver = receivers::syslog(None, Some(&theirs)).await;
    let running = Running::start(
        syslog(receiver.addr, Transport::Tls(trusting(&other))),
        Shape::Ecs,
    );
    running.events.emit(event("alice"));
    running
        .until("event_sink_failures_total", |count| count > 0)
        .await;
    assert_eq!(running.metric("event_sink_up"), 0);
    assert_eq!(
        running.metric("events_dropped_total"),
        0,
        "it waits for a right certificate"
    );
    assert!(running.close().await);
    assert_eq!(receiver.arrived.all(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_restarts_gets_what_happened_meanwhile() {
    let certificate = Certificate::new();
    let transports = [
        (None, Transport::Tcp),
        (Some(&certificate), Transport::Tls(trusting(&certificate))),
    ];
    for (tls, transport) in transports {
        let receiver = receivers::syslog(None, tls).await;
        let addr = receiver.addr;
        let running = Running::start(syslog(addr, transport), Shape::Ecs);
        running.events.emit(event("alice"));
        receiver.arrived.count(1).await;
        receiver.stop().await;
        for _ in 0..10 {
            running.events.emit(event("alice"));
        }
        running.until("event_sink_up", |up| up == 0).await;
        let receiver = receivers::syslog(Some(addr), tls).await;
        let messages = receiver.arrived.count(10).await;
        let events: Vec<Value> = messages.iter().map(|message| json(content(message))).collect();
        assert_eq!(
            sequences(&events).into_iter().collect::<BTreeSet<_>>(),
            (2..=11).collect()
        );
        running.until("events_written_total", |count| count == 11).await;
        assert_eq!(running.metric("event_sink_up"), 1);
        assert_eq!(running.metric("events_dropped_total"), 0);
        assert!(running.close().await);
    }
}

/// What a receiver does who knows the secret.
fn verify(request: &Request) {
    let key = BASE64_STANDARD
        .decode(SECRET.strip_prefix("whsec_").unwrap())
        .unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let (id, time) = (
        &request.headers["webhook-id"],
        &request.headers["webhook-timestamp"],
    );
    let signed = format!("{id}.{time}.{}", request.body);
    let signature = request.headers["webhook-signature"].strip_prefix("v1,").unwrap();
    hmac::verify(
        &key,
        signed.as_bytes(),
        &BASE64_STANDARD.decode(signature).unwrap(),
    )
    .unwrap();
    let now = clock::wall()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(now - time.parse::<u64>().unwrap() < 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_signed_and_sent_again_under_the_same_id_until_it_is_taken() {
    let certificate = Certificate::new();
    // A redirect is one of the answers that are no answer: nobody else may be sent our events.
    let elsewhere = "302 Found\r\nlocation: https://localhost:1/";
    let receiver = receivers::hook(None, Some(&certificate), &["503 Busy", elsewhere], false).await;
    let running = Running::start(
        Target::Webhook(Box::new(webhook(receiver.addr, &certificate))),
        Shape::Ocsf,
    );
    running.events.emit(event("alice"));
    let requests = receiver.arrived.count(3).await;
    running.until("events_written_total", |count| count == 1).await;
    for request in &requests {
        verify(request);
        assert_eq!(request.line, "POST /hooks/imapwarden?tenant=1 HTTP/1.1");
        assert_eq!(request.headers["content-type"], "application/json");
        assert_eq!(request.headers["webhook-id"], requests[0].headers["webhook-id"]);
        assert_eq!(request.body, requests[0].body);
    }
    let body: Value = serde_json::from_str(&requests[0].body).unwrap();
    assert_eq!(body[0]["class_uid"], 3002);
    assert_eq!(running.metric("event_sink_failures_total"), 2);
    assert_eq!(running.metric("events_dropped_total"), 0);
    running.events.emit(event("bob"));
    let next = receiver.arrived.count(4).await;
    assert_ne!(next[3].headers["webhook-id"], next[0].headers["webhook-id"]);
    assert!(running.close().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_will_never_take_is_dropped_counted_and_reported() {
    let certificate = Certificate::new();
    let receiver = receivers::hook(None, Some(&certificate), &["400 Bad Request"], false).await;
    let running = Running::start(
        Target::Webhook(Box::new(webhook(receiver.addr, &certificate))),
        Shape::Ecs,
    );
    running.events.emit(event("alice"));
    running.until("events_dropped_total", |count| count == 1).await;
    running.events.emit(event("bob"));
    let requests = receiver.arrived.count(2).await;
    assert!(running.close().await);
    let body: Value = serde_json::from_str(&requests[1].body).unwrap();
    assert_eq!(body[0]["user"]["name"], "bob");
    assert_eq!(body[1]["event"]["action"], "events_dropped");
    assert_eq!(body[1]["imapwarden"]["events"]["dropped"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_that_is_not_taken_takes_no_other_along_and_costs_few_requests() {
    let certificate = Certificate::new();
    // Busy at first, so that a batch comes together; then four refusals: of eight events, four, two, and one.
    let answers = ["503 Busy", "204 No Content", "413 A", "413 B", "413 C", "413 D"];
    let receiver = receivers::hook(None, Some(&certificate), &answers, false).await;
    let running = Running::start(
        Target::Webhook(Box::new(webhook(receiver.addr, &certificate))),
        Shape::Ecs,
    );
    running.events.emit(event("first"));
    receiver.arrived.count(1).await;
    for number in 0..8 {
        running.events.emit(event(&format!("user{number}")));
    }
    running.until("events_dropped_total", |count| count == 1).await;
    running.until("events_written_total", |count| count >= 8).await;
    assert!(running.close().await);
    let requests = receiver.arrived.all();
    let sizes: Vec<usize> = requests
        .iter()
        .map(|request| {
            let body: Vec<Value> = serde_json::from_str(&request.body).unwrap();
            body.len()
        })
        .collect();
    assert_eq!(sizes.get(..6).unwrap(), [1, 1, 8, 4, 2, 1], "{sizes:?}");
    let taken = requests
        .get(6..)
        .unwrap()
        .iter()
        .map(|request| request.body.as_str());
    let taken: String = taken.collect();
    for number in 1..8 {
        assert_eq!(taken.matches(&format!("\"user{number}\"")).count(), 1, "{taken}");
    }
    assert!(
        !taken.contains("\"user0\""),
        "it is the one that was refused alone"
    );
    assert!(sizes.len() <= 11, "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_as_large_as_configured_and_cef_goes_as_lines() {
    let certificate = Certificate::new();
    let receiver = receivers::hook(None, Some(&certificate), &[], false).await;
    let options = WebhookOptions {
        batch: 7,
        ..webhook(receiver.addr, &certificate)
    };
    let running = Running::start(Target::Webhook(Box::new(options)), Shape::Cef);
    for _ in 0..50 {
        running.events.emit(event("alice"));
    }
    assert!(running.close().await);
    let requests = receiver.arrived.all();
    let lines: Vec<usize> = requests
        .iter()
        .map(|request| request.body.lines().count())
        .collect();
    assert_eq!(lines.iter().sum::<usize>(), 50);
    assert!(lines.iter().all(|count| *count <= 7), "{lines:?}");
    requests.iter().for_each(verify);
    assert!(
        requests
            .iter()
            .all(|request| request.headers["content-type"].starts_with("text/plain"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_sends_rubbish_or_without_end_is_no_receiver() {
    let certificate = Certificate::new();
    let endless: &str = Box::leak(format!("204 x\r\nx: {}", "y".repeat(100_000)).into_boxed_str());
    let receiver = receivers::hook(None, Some(&certificate), &["\0\0 rubbish", endless], false).await;
    let running = Running::start(
        Target::Webhook(Box::new(webhook(receiver.addr, &certificate))),
        Shape::Ecs,
    );
    running.events.emit(event("alice"));
    receiver.arrived.count(3).await;
    running.until("events_written_total", |count| count == 1).await;
    assert_eq!(running.metric("event_sink_failures_total"), 2);
    assert!(running.close().await);
}

async fn backend() -> Server {
    let mail = Mail::default();
    mail.add_sample_user("alice", "mail password");
    Server::start(mail).await.unwrap()
}

fn events_in(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// A place whose webhook secret and authority are there.
fn place(backend: SocketAddr, certificate: &Certificate, sinks: &str) -> Place {
    let dir = tempfile::tempdir().unwrap();
    support::program::private_file(dir.path(), "webhook.secret", SECRET);
    fs::copy(certificate.file(), dir.path().join("ca.pem")).unwrap();
    let more = format!("events:\n  sinks:\n{sinks}");
    Place::in_directory(dir, &support::proxy::yaml(backend, &more))
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_sinks_hold_up_neither_logins_nor_other_sinks_and_are_counted() {
    let (backend, certificate) = (backend().await, Certificate::new());
    let silent = receivers::hook(None, Some(&certificate), &[], true).await;
    let sinks = format!(
        "    - file: {{path: all.jsonl}}\n    \
         - name: full\n      file: {{path: /dev/full}}\n    \
         - name: silent\n      queue: 64\n      \
         webhook: {{url: 'https://localhost:{}/', secret_file: webhook.secret, ca_file: ca.pem, batch: 10}}\n    \
         - name: nobody\n      queue: 64\n      syslog: {{address: '127.0.0.1:1', transport: tcp}}\n",
        silent.addr.port()
    );
    let place = place(backend.addr, &certificate, &sinks);
    let (_, password) = place.app_password("alice", "mail password").await;
    let mut program = place.start().await;
    for _ in 0..100 {
        // Each is a connection that never was TLS.
        drop(TcpStream::connect(program.addrs[0]).await.unwrap());
    }
    let dropped = |sink: &str| format!("imapwarden_events_dropped_total{{sink=\"{sink}\"}}");
    for sink in ["full", "silent", "nobody"] {
        let (program, series) = (&program, &dropped(sink));
        until(series, || async move { program.metric(series).await > 0 }).await;
    }
    drop(program.logged_in("alice", &password).await);
    let all = place.path("all.jsonl");
    until("the login in the file", || async {
        events_in(&all)
            .iter()
            .any(|event| event["event"]["action"] == "login_succeeded")
    })
    .await;
    assert_eq!(program.metric(&dropped("file")).await, 0);
    assert_eq!(program.metric("imapwarden_event_sink_up{sink=\"file\"}").await, 1);
    assert_eq!(
        program.metric("imapwarden_event_sink_up{sink=\"nobody\"}").await,
        0
    );
    assert_eq!(program.metric("imapwarden_event_sink_up{sink=\"full\"}").await, 0);
    assert!(program.metric("imapwarden_events_waiting{sink=\"silent\"}").await <= 64);
    assert_eq!(program.get("/readyz").await.0, 200);
    program.signal("TERM");
    // The time to drain, and that for the last events; what never answers is not waited for.
    assert!(program.wait(Duration::from_secs(60)).await.success());
    let events = events_in(&all);
    assert_eq!(events.last().unwrap()["event"]["action"], "stopped");
    assert_eq!(
        sequences(&events),
        (1..=u64::try_from(events.len()).unwrap()).collect::<Vec<_>>()
    );
    assert!(!program.log().contains("MfKQ9r8G"), "{}", program.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_events_reach_every_receiver_and_all_of_them_say_the_same() {
    let (backend, certificate) = (backend().await, Certificate::new());
    let hook = receivers::hook(None, Some(&certificate), &[], false).await;
    let stream = receivers::syslog(None, Some(&certificate)).await;
    let sinks = format!(
        "    - file: {{path: all.jsonl, mode: '0600'}}\n    \
         - shape: ocsf\n      webhook: {{url: 'https://localhost:{}/', secret_file: webhook.secret, ca_file: ca.pem}}\n    \
         - shape: cef\n      syslog: {{address: 'localhost:{}', ca_file: ca.pem, facility: local0, app_name: iw}}\n",
        hook.addr.port(),
        stream.addr.port()
    );
    let place = place(backend.addr, &certificate, &sinks);
    let (_, password) = place.app_password("alice", "mail password").await;
    let mut program = place.start().await;
    drop(program.logged_in("alice", &password).await);
    program.signal("TERM");
    assert!(program.wait(Duration::from_secs(60)).await.success());
    let ecs = events_in(&place.path("all.jsonl"));
    let stopped = |request: &Request| request.body.contains("IW1003");
    let requests = hook.arrived.until(|requests| requests.iter().any(stopped)).await;
    requests.iter().for_each(verify);
    let bodies = requests
        .iter()
        .map(|request| serde_json::from_str::<Vec<Value>>(&request.body).unwrap());
    let ocsf: Vec<Value> = bodies.flatten().collect();
    let cef = stream
        .arrived
        .until(|messages| messages.iter().any(|message| message.contains("IW1003")))
        .await;
    assert!(ecs.len() > 4 && ecs.len() == ocsf.len() && ecs.len() == cef.len());
    for (number, ((ecs, ocsf), cef)) in ecs.iter().zip(&ocsf).zip(&cef).enumerate() {
        let code = ecs["event"]["code"].as_str().unwrap();
        assert_eq!(ocsf["metadata"]["event_code"], code);
        assert_eq!(ocsf["metadata"]["sequence"], number + 1);
        assert!(cef.contains(&format!(" iw {} {code} [", program.pid())), "{cef}");
        assert!(
            cef.contains(&format!("|{code}|")) && cef.contains(&format!("externalId={} ", number + 1)),
            "{cef}"
        );
        if code == "IW3001" {
            assert_eq!(
                (&ocsf["user"]["name"], &ocsf["is_mfa"]),
                (&ecs["user"]["name"], &Value::Bool(true))
            );
            assert!(cef.contains("suser=alice"), "{cef}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_opened_stops_the_start_whatever_was_opened_before() {
    let (backend, certificate) = (backend().await, Certificate::new());
    let sinks = "    - syslog: {address: 'localhost:6514'}\n    \
                 - webhook: {url: 'https://localhost/', secret_file: webhook.secret}\n    \
                 - file: {path: missing/events.jsonl}\n";
    let place = place(backend.addr, &certificate, sinks);
    let said = place.run("", &["serve"]).await;
    assert!(
        said.code.is_some_and(|code| (64..=78).contains(&code)),
        "{said:?}"
    );
    assert!(
        said.err.contains("cannot open the event file") && said.err.contains("missing/events.jsonl"),
        "{}",
        said.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_where_events_go_and_nothing_of_the_secret_or_the_path() {
    let (backend, certificate) = (backend().await, Certificate::new());
    let sinks = "    - file: {path: all.jsonl, rotate: {}}\n    \
                 - {name: siem, shape: cef, syslog: {address: '192.0.2.1:514', transport: udp, danger_plaintext: true}}\n    \
                 - {shape: ocsf, webhook: {url: 'https://localhost/token-hunter2', secret_file: webhook.secret}}\n";
    let place = place(backend.addr, &certificate, sinks);
    let said = place.run("", &["check"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    for line in [
        "all.jsonl, put aside at 100MiB, 10 kept (ecs)",
        "siem: syslog to 192.0.2.1:514 by UDP (cef)",
        "webhook: HTTPS to localhost:443 (ocsf)",
        "events go to 192.0.2.1:514 in clear",
    ] {
        assert!(
            said.out.contains(line) || said.err.contains(line),
            "{line}: {said:?}"
        );
    }
    let shown = said.out + &said.err;
    assert!(!shown.contains("hunter2") && !shown.contains("MfKQ"), "{shown}");
}

/// What requests are signed with after a rotation.
const NEXT_SECRET: &str = "whsec_bmV4dCBzZWNyZXQgb2YgdGhlIHRlc3RzIQ==";

fn is_signed_with(request: &Request, secret: &str) -> bool {
    let key = BASE64_STANDARD
        .decode(secret.strip_prefix("whsec_").unwrap())
        .unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let header = |name: &str| request.headers[name].clone();
    let signed = format!(
        "{}.{}.{}",
        header("webhook-id"),
        header("webhook-timestamp"),
        request.body
    );
    let signature = header("webhook-signature");
    let signature = BASE64_STANDARD
        .decode(signature.strip_prefix("v1,").unwrap())
        .unwrap();
    hmac::verify(&key, signed.as_bytes(), &signature).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_reads_authorities_and_secrets_of_receivers_anew_all_of_them_or_none() {
    let (backend, certificate, other) = (backend().await, Certificate::new(), Certificate::new());
    let hook = receivers::hook(None, Some(&certificate), &[], false).await;
    let stream = receivers::syslog(None, Some(&certificate)).await;
    let sinks = format!(
        "    - webhook: {{url: 'https://localhost:{}/', secret_file: webhook.secret, ca_file: ca.pem}}\n    \
         - syslog: {{address: 'localhost:{}', ca_file: stream-ca.pem}}\n",
        hook.addr.port(),
        stream.addr.port()
    );
    let dir = tempfile::tempdir().unwrap();
    support::program::private_file(dir.path(), "webhook.secret", SECRET);
    fs::copy(certificate.file(), dir.path().join("ca.pem")).unwrap();
    // Whose certificate the receiver does not have: events wait.
    fs::copy(other.file(), dir.path().join("stream-ca.pem")).unwrap();
    let more = format!("events:\n  sinks:\n{sinks}");
    let place = Place::in_directory(dir, &support::proxy::yaml(backend.addr, &more));
    let program = place.start().await;
    let requests = hook.arrived.count(1).await;
    assert!(is_signed_with(&requests[0], SECRET));
    let up = "imapwarden_event_sink_up{sink=\"syslog\"}";
    until("the syslog sink fails", || async {
        program.metric(up).await == 0
    })
    .await;

    // The secret is a good one, the authority is none: neither is taken up.
    place.file("webhook.secret", NEXT_SECRET);
    fs::write(place.path("stream-ca.pem"), "no certificate").unwrap();
    let said = place.run("", &["reload"]).await;
    assert_eq!(said.code, Some(78), "{said:?}");
    assert!(said.err.contains("stream-ca.pem"), "{}", said.err);
    let rejected = |request: &Request| request.body.contains("config_rejected");
    let requests = hook.arrived.until(|requests| requests.iter().any(rejected)).await;
    assert!(requests.iter().all(|request| is_signed_with(request, SECRET)));
    assert_eq!(program.metric(up).await, 0);

    fs::copy(certificate.file(), place.path("stream-ca.pem")).unwrap();
    let said = place.run("", &["reload"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let reloaded = |request: &Request| request.body.contains("config_reloaded");
    let requests = hook.arrived.until(|requests| requests.iter().any(reloaded)).await;
    let request = requests.iter().find(|request| reloaded(request)).unwrap();
    assert!(is_signed_with(request, NEXT_SECRET));
    // What has waited since the start arrives, without a wait for the next try.
    let messages = stream
        .arrived
        .until(|messages| messages.iter().any(|message| message.contains("config_reloaded")))
        .await;
    assert!(messages[0].contains(" IW1001 "), "{}", messages[0]);
    assert_eq!(
        program
            .metric("imapwarden_events_dropped_total{sink=\"syslog\"}")
            .await,
        0
    );
}

/// The samples in docs/events.md: what stands behind a heading, in its first block.
fn sample(heading: &str) -> String {
    let text = fs::read_to_string(PathBuf::from("docs/events.md")).unwrap();
    let (_, section) = text.split_once(&format!("### {heading}\n")).unwrap();
    let block = section.split("```").nth(1).unwrap();
    block.split_once('\n').unwrap().1.trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_in_the_docs_are_what_is_written() {
    let version = env!("CARGO_PKG_VERSION");
    let shown = |shape: Shape| shape.render(&event("alice"), 5123).replace(version, "0.1.0");
    for (heading, shape) in [("ECS", Shape::Ecs), ("OCSF", Shape::Ocsf)] {
        let written: Value = serde_json::from_str(&shown(shape)).unwrap();
        let sample: Value = serde_json::from_str(&sample(heading)).unwrap_or_default();
        assert_eq!(sample, written, "{heading}: {}", shown(shape));
    }
    assert_eq!(sample("CEF"), shown(Shape::Cef));
    let receiver = receivers::datagrams().await;
    let running = Running::start(syslog(receiver.addr, Transport::Udp), Shape::Cef);
    running.events.emit(event("alice"));
    let message = receiver.arrived.count(1).await.remove(0);
    assert!(running.close().await);
    let parts = |text: &str| {
        let (header, _) = text.split_once(" CEF:").unwrap();
        let mut parts: Vec<String> = header.split(' ').map(str::to_owned).collect();
        // Host and process are those of whoever runs this, the number that of the event.
        parts[2] = String::new();
        parts[4] = String::new();
        parts[7] = String::new();
        parts.join(" ").replace(version, "0.1.0")
    };
    assert_eq!(parts(&sample("Syslog")), parts(&message));
}
