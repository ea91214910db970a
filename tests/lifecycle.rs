//! The life of the real program: start, probes, reload, drain, the end by any signal, and what operators do to it meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a fault must fail the test; tables and stories are as long as they are"
)]

mod support;

use std::fs;
use std::fs::Permissions;
use std::io::BufRead;
use std::io::BufReader;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use imapwarden::auth::accounts::Accounts;
use imapwarden::auth::totp;
use imapwarden::server::clock;
use imapwarden::types::Secret;
use imapwarden::types::UserName;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use support::base32;
use support::client::Client;
use support::events::text;
use support::memory::Mail;
use support::memory::Server;
use support::program::Place;
use support::program::Program;
use support::program::private_file;
use support::program::until;
use support::proxy::yaml;
use support::scripted::Move;
use support::scripted::Scripted;
use support::scripted::after_login;
use support::scripted::after_slow_login;
use support::scripted::say;
use tempfile::TempDir;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

const MAIL_PASSWORD: &str = "right \"horse\"";

const UNAVAILABLE: &str = "NO [UNAVAILABLE] ";

async fn backend() -> Server {
    let mail = Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    mail.add_user("bob", MAIL_PASSWORD);
    Server::start(mail).await.unwrap()
}

async fn works<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>) {
    let answer = client.command("w", "NOOP").await.unwrap();
    assert!(answer.last().unwrap().starts_with("w OK"), "{answer:?}");
}

/// What a client hears until its connection is closed.
async fn rest<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>) -> String {
    String::from_utf8(client.rest().await.unwrap()).unwrap()
}

/// The answer to a login with these arguments.
async fn try_login(program: &Program, arguments: &str) -> String {
    let mut client = program.connect().await;
    let mut answer = client.command("l", &format!("LOGIN {arguments}")).await.unwrap();
    answer.remove(0)
}

// --- Start and probes

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_metric_is_there_at_zero_from_the_start() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let program = place.start().await;
    assert_eq!(program.get("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(program.get("/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(program.get("/nothing").await.0, 404);
    let (_, scraped) = program.get("/metrics").await;
    let samples: Vec<(&str, &str)> = scraped
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap())
        .collect();
    let docs = include_str!("../docs/metrics.md");
    let rows = docs
        .lines()
        .filter_map(|line| line.strip_prefix("| `imapwarden_"));
    let mut documented = 0;
    for row in rows {
        documented += 1;
        let (name, columns) = row.split_once('`').unwrap();
        let name = format!("imapwarden_{name}");
        let labels = columns.split('|').nth(2).unwrap();
        let mine: Vec<_> = samples
            .iter()
            .filter(|(series, _)| {
                let rest = series.strip_prefix(&name).unwrap_or("?");
                rest.is_empty()
                    || ["{", "_bucket{", "_sum", "_count"]
                        .iter()
                        .any(|end| rest.starts_with(end))
            })
            .collect();
        assert!(!mine.is_empty(), "{name} is not in\n{scraped}");
        for (series, value) in mine {
            let expected = match name.as_str() {
                "imapwarden_build_info" | "imapwarden_backend_up" | "imapwarden_event_sink_up" => "1",
                // That it has started is an event.
                "imapwarden_events_written_total" | "imapwarden_events_waiting" => *value,
                // When the one just made expires.
                "imapwarden_certificate_not_after_timestamp_seconds" => {
                    assert!(value.parse::<i64>().unwrap() > clock::unix().0, "{value}");
                    *value
                }
                "imapwarden_connections_limit" => "10000",
                _ => "0",
            };
            assert_eq!(*value, expected, "{series}");
            for label in labels.split('`').skip(1).step_by(2) {
                assert!(series.contains(&format!("{label}=\"")), "{series} has no {label}");
            }
        }
    }
    assert!(documented > 15, "{documented}");
    let ours = scraped
        .lines()
        .filter(|line| line.starts_with("# TYPE imapwarden_"))
        .count();
    assert_eq!(ours, documented, "as many as are documented");
    for process in [
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    ] {
        assert!(samples.iter().any(|(name, _)| *name == process), "{process}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_others_may_read_stops_the_start() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    place.open().await;
    let key = place.path("data/imapwarden.key");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let said = place.run("", &["serve"]).await;
    assert_eq!(said.code, Some(77), "{said:?}");
    let last = said.err.lines().last().unwrap();
    assert!(
        last.contains("imapwarden.key") && last.contains("0644") && last.contains("chmod"),
        "{said:?}"
    );
    assert!(!said.err.contains("panicked") && said.out.is_empty(), "{said:?}");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    place.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_stops_the_start_and_is_named() {
    let backend = backend().await;
    let taken = backend.addr;
    let place = Place::configured(&format!(
        "listeners: [{{address: '{taken}'}}]\nmetrics: {{address: off}}\nbackends: [{{address: '{taken}'}}]\n"
    ));
    let said = place.run("", &["serve"]).await;
    assert_ne!(said.code, Some(0));
    assert!(
        said.err.lines().last().unwrap().contains(&taken.to_string()),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_nothing_that_hinders_the_next_one() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let mut program = place.start().await;
    let mut client = program.logged_in("alice", &password).await;
    works(&mut client).await;
    program.signal("KILL");
    program.wait(Duration::from_secs(10)).await;
    // No session is left at the backend longer than TCP needs.
    timeout(
        Duration::from_secs(10),
        backend.mail.until(|mail| mail.open_connections() == 0),
    )
    .await
    .unwrap();
    assert!(
        place.path("data/control.sock").exists(),
        "it had no time to remove it"
    );
    let away = place.run("", &["session", "list"]).await;
    assert_eq!(away.code, Some(69), "{away:?}");

    let program = place.start().await;
    let mut client = program.logged_in("alice", &password).await;
    works(&mut client).await;
    let listed = place.json("", &["session", "list"]).await;
    assert_eq!(listed[0]["user"], "alice");
    let shown = place.json("", &["user", "show", "alice"]).await;
    assert_eq!(shown["app_passwords"][0]["label"], "test");
}

// --- The end

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_delivers_every_owed_answer_says_bye_and_ends_in_time_whatever_clients_do() {
    let (open, gate) = watch::channel(false);
    let works = after_login(vec![
        Move::Expect("SEARCH"),
        Move::Gate(gate),
        say("* SEARCH 1 2 3\r\n{tag} OK found"),
        Move::Drain,
    ]);
    let idles = after_login(vec![Move::Expect("IDLE"), say("+ idling"), Move::Drain]);
    let floods = after_login(vec![
        Move::Expect("FETCH"),
        Move::Flood(b"* OK flood\r\n".repeat(999), usize::MAX),
    ]);
    let backend = Scripted::start(vec![works, idles, floods]).await.unwrap();
    let drain = Duration::from_secs(4);
    let place = Place::new(backend.addr, "drain: {timeout: 4s, spread: 0s}");
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let mut program = place.start().await;
    let mut working = program.logged_in("alice", &password).await;
    working.send("s SEARCH ALL\r\n").await.unwrap();
    let mut idle = program.logged_in("alice", &password).await;
    idle.send("i IDLE\r\n").await.unwrap();
    assert_eq!(idle.response().await.unwrap(), "+ idling");
    // Asks for more than fits, and reads nothing of it.
    let mut stuck = program.logged_in("alice", &password).await;
    stuck.send("f FETCH 1:* BODY[]\r\n").await.unwrap();
    let mut stranger = program.connect().await;
    let _silent = TcpStream::connect(program.addrs[0]).await.unwrap();
    until("the backend is asked", || async {
        let heard = backend.lines();
        ["SEARCH", "FETCH"]
            .iter()
            .all(|verb| heard.iter().any(|line| line.contains(verb)))
    })
    .await;

    let began = Instant::now();
    program.signal("TERM");
    program.events.wait(0, "stopping").await.unwrap();
    assert_eq!(program.get("/readyz").await, (503, "draining\n".to_owned()));
    assert_eq!(program.get("/healthz").await.0, 200);
    assert_eq!(
        rest(&mut idle).await,
        "* BYE [UNAVAILABLE] Server is shutting down\r\n"
    );
    assert_eq!(
        rest(&mut stranger).await,
        "* BYE [UNAVAILABLE] Server is shutting down\r\n"
    );
    until("new connections are refused", || async {
        TcpStream::connect(program.addrs[0]).await.is_err()
    })
    .await;
    assert!(!program.has_ended(), "an answer is owed");
    open.send_replace(true);
    assert_eq!(
        rest(&mut working).await,
        "* SEARCH 1 2 3\r\ns OK found\r\n* BYE [UNAVAILABLE] Server is shutting down\r\n"
    );
    let status = program.wait(Duration::from_secs(20)).await;
    let took = began.elapsed();
    assert_eq!(status.code(), Some(0), "{}", program.log());
    // The client that reads nothing is waited for, but not a moment longer than was configured.
    assert!(took <= drain + Duration::from_millis(500), "{took:?}");
    let (_, event) = program.events.wait(0, "stopped").await.unwrap();
    assert_eq!(text(&event, "event.outcome"), "success");
    let ends = program.events.all();
    let ends = ends
        .iter()
        .filter(|event| text(event, "event.action") == "session_ended");
    let reasons: Vec<String> = ends.map(|event| text(event, "event.reason")).collect();
    assert_eq!(reasons, ["shutdown"; 3]);
    assert!(!place.path("data/control.sock").exists());
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_drain_at_once() {
    let backend = Scripted::start(vec![after_login(vec![Move::Expect("NOOP"), Move::Drain])])
        .await
        .unwrap();
    let place = Place::new(backend.addr, "drain: {timeout: 10m, spread: 0s}");
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let mut program = place.start().await;
    let mut client = program.logged_in("alice", &password).await;
    client.send("n NOOP\r\n").await.unwrap();
    until("the backend is asked", || async { backend.lines().len() > 1 }).await;
    program.signal("TERM");
    program.events.wait(0, "stopping").await.unwrap();
    program.signal("INT");
    let status = program.wait(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(75));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_in_its_tls_hand_shake_does_not_keep_a_drain_waiting() {
    let backend = backend().await;
    let place = Place::new(
        backend.addr,
        "login: {handshake_timeout: 1m}\ndrain: {timeout: 10m, spread: 0s}",
    );
    let mut program = place.start().await;
    let _silent = TcpStream::connect(program.addrs[0]).await.unwrap();
    until("it is accepted", || async {
        program
            .metric("imapwarden_connections{phase=\"handshake\"}")
            .await
            == 1
    })
    .await;
    program.signal("TERM");
    let status = program.wait(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(0));
}

// --- Reload

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_while_it_starts_does_not_end_it() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let mut child = place.command("", &["serve"]).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("self-signed") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0);
    }
    let id = child.id().to_string();
    let send = |signal| Command::new("kill").args(["-s", signal, &id]).status().unwrap();
    assert!(send("HUP").success());
    let mut events = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"certificates_reloaded\"") {
        line.clear();
        assert!(events.read_line(&mut line).unwrap() > 0, "it has ended");
    }
    assert!(send("TERM").success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A certificate for localhost in the files of the configuration below; the key's last, as Let's Encrypt's clients do it.
fn write_certificate(dir: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    private_file(dir, "tls.pem", made.cert.pem());
    private_file(dir, "tls.key", made.signing_key.serialize_pem());
    made.cert.der().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_exchanges_certificates_and_event_file_and_breaks_no_session() {
    let backend = backend().await;
    let certificates = "tls: {certificates: [{certificate_file: tls.pem, key_file: tls.key}]}\n";
    let dir = TempDir::new().unwrap();
    let first = write_certificate(dir.path());
    let more = format!("{certificates}events: {{file: events.jsonl}}\n");
    let place = Place::in_directory(dir, &yaml(backend.addr, &more));
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let mut program = place.start().await;
    program.certificate = Some(first.clone());
    let mut client = program.logged_in("alice", &password).await;
    let has = |file: &str, action: &str| {
        let text = fs::read_to_string(place.path(file)).unwrap_or_default();
        let action = format!("\"{action}\"");
        async move { text.contains(&action) }
    };
    until("the login is written", || has("events.jsonl", "login_succeeded")).await;

    let second = write_certificate(place.dir.path());
    fs::rename(place.path("events.jsonl"), place.path("events.1")).unwrap();
    program.signal("HUP");
    until("the reload is told", || {
        has("events.jsonl", "certificates_reloaded")
    })
    .await;
    assert!(
        !has("events.1", "certificates_reloaded").await,
        "the new file has it"
    );
    let mode = fs::metadata(place.path("events.jsonl"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    works(&mut client).await;
    assert!(
        Client::tls(program.addrs[0], &first, "localhost").await.is_err(),
        "still the old one"
    );
    program.certificate = Some(second.clone());
    let mut newcomer = program.logged_in("alice", &password).await;

    // Bad ones: no certificate at all, one whose key is another's, a key that others may read.
    let broken: [&dyn Fn(); 3] = [
        &|| drop(place.file("tls.pem", "nothing")),
        &|| {
            write_certificate(place.dir.path());
            let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            place.file("tls.key", other.signing_key.serialize_pem());
        },
        &|| {
            write_certificate(place.dir.path());
            fs::set_permissions(place.path("tls.key"), Permissions::from_mode(0o644)).unwrap();
        },
    ];
    for (write, number) in broken.iter().zip(2..) {
        write();
        fs::rename(
            place.path("events.jsonl"),
            place.path(&format!("events.{number}")),
        )
        .unwrap();
        program.signal("HUP");
        until("the refusal is told", || {
            has("events.jsonl", "certificates_rejected")
        })
        .await;
        works(&mut client).await;
        works(&mut newcomer).await;
        works(&mut program.logged_in("alice", &password).await).await;
    }
    program.signal("TERM");
    assert_eq!(program.wait(Duration::from_secs(30)).await.code(), Some(0));
}

// --- What operators do meanwhile

/// An app password is revoked; how long its session lived on.
async fn revoke(place: &Place, program: &Program) -> Duration {
    let (id, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let mut client = program.logged_in("alice", &password).await;
    let from = program.events.all().len();
    let revoked = place.run("", &["app-password", "revoke", &id]).await;
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    let began = Instant::now();
    let said = rest(&mut client).await;
    let took = began.elapsed();
    assert_eq!(said, "* BYE Session ended by the server\r\n");
    let (_, reason) = program.end_reason(from, "session_killed").await;
    assert_eq!(reason, "revoked");
    let (_, reason) = program.end_reason(from, "session_ended").await;
    assert_eq!(reason, "revoked");
    let refused = try_login(program, &format!("alice {password}")).await;
    assert!(refused.starts_with("l NO [AUTHENTICATIONFAILED]"), "{refused}");
    let (_, reason) = program.end_reason(from, "login_failed").await;
    assert_eq!(reason, "app_password_revoked");
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_app_password_ends_its_sessions_within_a_second_and_no_others() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "login: {refusal_delay: 1s}");
    let (_, other) = place.app_password("alice", MAIL_PASSWORD).await;
    let (_, of_bob) = place.app_password("bob", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut bystander = program.logged_in("alice", &other).await;
    let mut bob = program.logged_in("bob", &of_bob).await;
    // A machine that is busy otherwise may delay one; not each of three.
    let mut soonest = Duration::MAX;
    for _ in 0..3 {
        soonest = soonest.min(revoke(&place, &program).await);
        if soonest < Duration::from_secs(1) {
            break;
        }
    }
    assert!(soonest < Duration::from_secs(1), "{soonest:?}");
    works(&mut bystander).await;
    works(&mut bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_users_sessions_end_and_nobody_elses() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "login: {refusal_delay: 1s}");
    let (_, of_alice) = place.app_password("alice", MAIL_PASSWORD).await;
    let (_, of_bob) = place.app_password("bob", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut alice = program.logged_in("alice", &of_alice).await;
    let mut again = program.logged_in("alice", &of_alice).await;
    let mut bob = program.logged_in("bob", &of_bob).await;
    assert_eq!(place.run("", &["user", "disable", "alice"]).await.code, Some(0));
    for client in [&mut alice, &mut again] {
        assert_eq!(rest(client).await, "* BYE Session ended by the server\r\n");
    }
    program.events.wait(0, "session_killed").await.unwrap();
    works(&mut bob).await;
    let refused = try_login(&program, &format!("alice {of_alice}")).await;
    assert!(refused.starts_with("l NO [AUTHENTICATIONFAILED]"), "{refused}");
    let (_, reason) = program.end_reason(0, "login_failed").await;
    assert_eq!(reason, "user_disabled");
    assert_eq!(place.run("", &["user", "enable", "alice"]).await.code, Some(0));
    works(&mut program.logged_in("alice", &of_alice).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sessions_of_one_user_are_listed_and_killed_together() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let (id, of_alice) = place.app_password("alice", MAIL_PASSWORD).await;
    let (_, of_bob) = place.app_password("bob", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut client = program.connect().await;
    client
        .command("i", "ID (\"name\" \"Thunderbird\")")
        .await
        .unwrap();
    let login = format!("LOGIN alice {of_alice}");
    assert!(client.command("l", &login).await.unwrap()[0].starts_with("l OK"));
    let mut again = program.logged_in("alice", &of_alice).await;
    let mut bob = program.logged_in("bob", &of_bob).await;
    let listed = place.json("", &["session", "list"]).await;
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 3);
    let first = listed.iter().find(|row| row["program"] == "Thunderbird").unwrap();
    assert_eq!(
        (&first["user"], &first["app_password"]["id"]),
        (&json!("alice"), &json!(id))
    );
    let killed = place.json("", &["session", "kill", "--user", "alice"]).await;
    assert_eq!(killed, json!({"killed": 2}));
    for client in [&mut client, &mut again] {
        assert_eq!(rest(client).await, "* BYE Session ended by the server\r\n");
    }
    let (_, reason) = program.end_reason(0, "session_killed").await;
    assert_eq!(reason, "killed");
    works(&mut bob).await;
    // They are free to come back.
    works(&mut program.logged_in("alice", &of_alice).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_ends_what_is_open_refuses_what_comes_and_is_lifted() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut bystander = program.logged_in("alice", &password).await;
    let banned = [127, 0, 0, 2];
    let mut client = program.connect_from(banned).await.unwrap();
    client.response().await.unwrap();
    let login = format!("LOGIN alice {password}");
    assert!(client.command("l", &login).await.unwrap()[0].starts_with("l OK"));

    let ban = ["ban", "add", "127.0.0.2", "--reason", "a test", "--for", "1h"];
    assert_eq!(place.run("", &ban).await.code, Some(0));
    rest(&mut client).await;
    let (_, reason) = program.end_reason(0, "session_killed").await;
    assert_eq!(reason, "address_banned");
    let (_, event) = program.events.wait(0, "ban_added").await.unwrap();
    assert_eq!(text(&event, "imapwarden.ban.network"), "127.0.0.2/32");
    assert_eq!(text(&event, "imapwarden.ban.reason"), "a test");
    assert!(!text(&event, "imapwarden.ban.until").is_empty());
    assert!(program.connect_from(banned).await.is_err());
    let (_, reason) = program.end_reason(0, "connection_denied").await;
    assert_eq!(reason, "address_banned");
    let denied = "imapwarden_connections_denied_total{reason=\"address_banned\"}";
    assert_eq!(program.metric(denied).await, 1);
    works(&mut bystander).await;

    assert_eq!(place.run("", &["ban", "remove", "127.0.0.2"]).await.code, Some(0));
    let (_, event) = program.events.wait(0, "ban_removed").await.unwrap();
    assert_eq!(text(&event, "imapwarden.ban.network"), "127.0.0.2/32");
    let mut client = program.connect_from(banned).await.unwrap();
    assert!(client.response().await.unwrap().starts_with("* OK"));
}

/// A login that was on its way when its network was banned becomes no session that stays; of a ban in memory alone the store does not tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_begins_after_its_network_was_banned_ends_at_once() {
    let (open, gate) = watch::channel(false);
    let backend = Scripted::start(vec![after_slow_login(gate)]).await.unwrap();
    let more = "limits: {ban_after: 10}\nlogin: {refusal_delay: 1s}\nrules: {packs: []}";
    let place = Place::new(backend.addr, more);
    let (_, password) = place.app_password("alice", "right").await;
    let program = place.start().await;
    let banned = [127, 0, 0, 2];
    let mut owner = program.connect_from(banned).await.unwrap();
    owner.response().await.unwrap();
    owner
        .send(&format!("l LOGIN alice {password}\r\n"))
        .await
        .unwrap();
    backend.has_read(1).await;
    let mut guessers = Vec::new();
    for number in 0..10 {
        let mut guesser = program.connect_from(banned).await.unwrap();
        guesser.response().await.unwrap();
        let login = format!("l LOGIN user{number} wrong\r\n");
        guesser.send(&login).await.unwrap();
        guessers.push(guesser);
    }
    program.events.wait(0, "ban_added").await.unwrap();
    open.send(true).unwrap();
    rest(&mut owner).await;
    let (_, reason) = program.end_reason(0, "session_ended").await;
    assert_eq!(reason, "address_banned");
}

// --- What surrounds it fails

#[tokio::test(flavor = "multi_thread")]
async fn a_store_file_that_is_gone_refuses_logins_leaves_sessions_and_may_come_back() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut client = program.logged_in("alice", &password).await;
    let store = place.path("data/imapwarden.db");
    let aside = place.path("aside.db");
    fs::rename(&store, &aside).unwrap();
    program.events.wait(0, "store_unavailable").await.unwrap();
    let answer = try_login(&program, &format!("alice {password}")).await;
    assert!(answer[2..].starts_with(UNAVAILABLE), "{answer}");
    let (_, reason) = program.end_reason(0, "login_unavailable").await;
    assert_eq!(reason, "store_unavailable");
    assert_eq!(
        program.get("/readyz").await,
        (503, "the store is unavailable\n".to_owned())
    );
    assert_eq!(program.get("/healthz").await.0, 200);
    works(&mut client).await;
    fs::rename(&aside, &store).unwrap();
    program.events.wait(0, "store_recovered").await.unwrap();
    works(&mut program.logged_in("alice", &password).await).await;
    works(&mut client).await;
}

/// A user with one-time codes; the secret.
async fn enrol(place: &Place, name: &str) -> Secret {
    let user = UserName::parse(name.as_bytes()).unwrap();
    place.app_password(name, MAIL_PASSWORD).await;
    let (store, keys) = place.open().await;
    let accounts = Accounts::new(&*store, &keys);
    let typed = accounts
        .begin_totp(&user, "test", clock::unix())
        .await
        .unwrap()
        .typed;
    let secret = base32::decode(std::str::from_utf8(typed.expose()).unwrap());
    // The code of the step before: the present one stays unused.
    let before = imapwarden::types::UnixTime(clock::unix().0 - 30);
    let code = totp::code_at(&secret, before).unwrap();
    let code = Secret::from(code.as_str());
    accounts.confirm_totp(&user, &code, clock::unix()).await.unwrap();
    secret
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_cannot_be_consumed_lets_nobody_in() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let secret = enrol(&place, "bob").await;
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    // Once the limit below is set, a write fails as on a full disk instead of ending the process.
    let program = place.start_under("trap '' XFSZ; exec \"$@\"").await;
    let mut client = program.logged_in("alice", &password).await;
    let login = || {
        let code = totp::code_at(&secret, clock::unix()).unwrap();
        format!("bob \"right \\\"horse\\\";{code}\"")
    };
    program.prlimit("--fsize=1:unlimited");
    let answer = try_login(&program, &login()).await;
    assert!(answer[2..].starts_with(UNAVAILABLE), "{answer}");
    let (_, reason) = program.end_reason(0, "login_unavailable").await;
    assert_eq!(reason, "store_unavailable");
    // Names go there in base64: it is connections that tell.
    assert_eq!(backend.mail.connections(), 1, "it was asked for alice alone");
    works(&mut client).await;
    // An app password is only read; that its use cannot be noted is told, and keeps nobody out.
    works(&mut program.logged_in("alice", &password).await).await;
    until("it is not ready", || async {
        program.get("/readyz").await.0 == 503
    })
    .await;
    program.events.wait(0, "store_unavailable").await.unwrap();
    program.prlimit("--fsize=unlimited:unlimited");
    program.events.wait(0, "store_recovered").await.unwrap();
    assert_eq!(program.get("/readyz").await.0, 200);
    // The code was not used up by the failure, and what failed was no guess.
    let answer = try_login(&program, &login()).await;
    assert!(answer.starts_with("l OK"), "{answer}");
    works(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_no_write_has_not_recovered_though_nothing_waits_and_it_reads() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let secret = enrol(&place, "bob").await;
    let program = place.start_under("trap '' XFSZ; exec \"$@\"").await;
    program.prlimit("--fsize=1:unlimited");
    let code = totp::code_at(&secret, clock::unix()).unwrap();
    let answer = try_login(&program, &format!("bob \"right \\\"horse\\\";{code}\"")).await;
    assert!(answer[2..].starts_with(UNAVAILABLE), "{answer}");
    program.events.wait(0, "store_unavailable").await.unwrap();
    // It has been looked at several times since.
    until("it is looked at", || async {
        program.metric("imapwarden_store_errors_total").await >= 4
    })
    .await;
    assert_eq!(program.get("/readyz").await.0, 503);
    let told = |action: &str| {
        let all = program.events.all();
        all.iter()
            .filter(|event| text(event, "event.action") == action)
            .count()
    };
    assert_eq!((told("store_unavailable"), told("store_recovered")), (1, 0));
    program.prlimit("--fsize=unlimited:unlimited");
    program.events.wait(0, "store_recovered").await.unwrap();
    assert_eq!(program.get("/readyz").await.0, 200);
    assert_eq!(told("store_unavailable"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_down_is_unavailable_counts_against_nobody_and_may_come_back() {
    let backend = backend().await;
    let (addr, mail): (SocketAddr, Mail) = (backend.addr, backend.mail.clone());
    let place = Place::new(
        addr,
        "limits: {failures_per_user_and_network: 1, failures_per_network: 1}",
    );
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut before = program.logged_in("alice", &password).await;
    works(&mut before).await;
    drop(backend);
    assert_eq!(
        rest(&mut before).await,
        "* BYE [UNAVAILABLE] Mail server connection lost\r\n"
    );
    // One connection, more attempts than refusals would be allowed.
    let mut client = program.connect().await;
    for _ in 0..8 {
        let answer = client
            .command("l", &format!("LOGIN alice {password}"))
            .await
            .unwrap();
        assert!(answer[0][2..].starts_with(UNAVAILABLE), "{answer:?}");
    }
    let unavailable = "imapwarden_backend_logins_total{backend=\"mail\",outcome=\"unavailable\"}";
    assert_eq!(program.metric(unavailable).await, 8);
    assert_eq!(program.get("/readyz").await.0, 200, "a restart would not help");
    let _backend = Server::start_at(addr, mail).await.unwrap();
    let answer = client
        .command("l", &format!("LOGIN alice {password}"))
        .await
        .unwrap();
    assert!(answer[0].starts_with("l OK"), "{answer:?}");
    works(&mut client).await;
    let events = program.events.all();
    assert!(
        events
            .iter()
            .all(|event| text(event, "event.action") != "login_failed")
    );
}
