//! Every limit that a client can exceed, exceeded on the wire against the real program: what the client hears, what the event
//! says, and that nobody else notices.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a fault must fail the test; tables and stories are as long as they are"
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use imapwarden::server::clock;
use imapwarden::store::Ban;
use imapwarden::store::Habit;
use imapwarden::store::Note;
use imapwarden::store::Store;
use imapwarden::store::User;
use imapwarden::types::Prefix;
use imapwarden::types::UserName;
use support::client::Client;
use support::client::TlsClient;
use support::client::start_tls;
use support::events::text;
use support::memory::Mail;
use support::memory::Server;
use support::program::Place;
use support::program::Program;
use support::program::private_file;
use support::program::until;
use support::scripted::Move;
use support::scripted::Outcome;
use support::scripted::Scripted;
use support::scripted::after_login;
use support::scripted::say;
use tempfile::TempDir;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

const MAIL_PASSWORD: &str = "mail-password";

/// Longest wait for the program to let go of a connection.
const PATIENCE: Duration = Duration::from_secs(30);

async fn backend() -> Server {
    let mail = Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    Server::start(mail).await.unwrap()
}

async fn works<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>) {
    let answer = client.command("w", "NOOP").await.unwrap();
    assert!(answer.last().unwrap().starts_with("w OK"), "{answer:?}");
}

async fn rest<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>) -> String {
    String::from_utf8(client.rest().await.unwrap()).unwrap()
}

/// Sends in records of a kilobyte, as a line typed by a program would come; stops where the program stops to listen.
async fn send(client: &mut TlsClient, bytes: &[u8]) {
    for piece in bytes.chunks(1024) {
        if client.send(piece).await.is_err() {
            return;
        }
    }
}

/// Sends too much, and compares the last line heard and the reason told.
async fn ends(program: &Program, bytes: &[u8], last: &str, reason: &str) {
    let from = program.events.all().len();
    let mut client = program.connect().await;
    send(&mut client, bytes).await;
    let said = rest(&mut client).await;
    let name = bytes[..bytes.len().min(30)].escape_ascii();
    assert_eq!(said.lines().last(), Some(last), "{name}: {said}");
    drop(client);
    let (_, told) = program.end_reason(from, "connection_ended").await;
    assert_eq!(told, reason, "{name}");
}

// --- Before login

#[tokio::test(flavor = "multi_thread")]
async fn before_login_too_much_of_anything_ends_the_connection_and_says_why() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut bystander = program.connect().await;
    let long = "x".repeat(7_900);
    let cases: [(String, &str, &str); 7] = [
        // A line of 8 KiB, ended or not.
        (
            format!("a LOGIN {}", "x".repeat(8_192)),
            "* BYE Command too long.",
            "client_limit",
        ),
        (
            format!("a LOGIN {}\r\n", "x".repeat(8_192)),
            "* BYE Command too long.",
            "client_limit",
        ),
        // More than may come at all: not even read to be thrown away.
        (
            format!("a LOGIN {{70000+}}\r\n{}", "x".repeat(70_000)),
            "* BYE Too much data before login.",
            "client_limit",
        ),
        (
            "a LOGIN {99999999999+}\r\n".to_owned(),
            "* BYE Literal too large.",
            "client_limit",
        ),
        // 64 KiB in all.
        (
            format!("a ID (\"name\" \"{long}\")\r\n").repeat(9),
            "* BYE Too much data before login.",
            "client_limit",
        ),
        (
            "a FETCH 1 BODY[]\r\n".repeat(11),
            "* BYE Too many bad commands.",
            "too_many_bad_commands",
        ),
        (
            "a NOOP\r\n".repeat(101),
            "* BYE Too many commands before login.",
            "client_limit",
        ),
    ];
    for (bytes, last, reason) in &cases {
        ends(&program, bytes.as_bytes(), last, reason).await;
    }
    for foreign in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "EHLO x\r\n", "\x16\x03\x01"] {
        let from = program.events.all().len();
        let mut client = program.connect().await;
        client.send(foreign).await.unwrap();
        rest(&mut client).await;
        drop(client);
        assert_eq!(
            program.end_reason(from, "connection_ended").await.1,
            "not_imap",
            "{foreign}"
        );
    }
    works(&mut bystander).await;
    let answer = bystander
        .command("l", &format!("LOGIN alice {password}"))
        .await
        .unwrap();
    assert!(answer[0].starts_with("l OK"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_login_what_can_be_skipped_is_refused_and_the_connection_goes_on() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let program = place.start().await;
    let field = format!("{{4096+}}\r\n{}", "x".repeat(4_096));
    let deep = format!("{}{}", "(".repeat(3_000), ")".repeat(3_000));
    let cases = [
        // One literal over 4 KiB, asked for or not.
        (
            "a LOGIN {4097}\r\n".to_owned(),
            "a NO [TOOBIG] Literal too large.",
        ),
        (
            format!("a LOGIN {{4097+}}\r\n{} x\r\n", "x".repeat(4_097)),
            "a NO [TOOBIG] Literal too large.",
        ),
        // Four of 4 KiB fit, a fifth does not.
        (
            format!("a ID ({field} {field} {field} {field} {{1+}}\r\nx NIL)\r\n"),
            "a NO [TOOBIG] Literal too large.",
        ),
        (format!("a ID {deep}\r\n"), "a BAD Invalid arguments."),
        (format!("a LOGIN {deep} x\r\n"), "a BAD Invalid arguments."),
    ];
    for (bytes, expected) in cases {
        let mut client = program.connect().await;
        send(&mut client, bytes.as_bytes()).await;
        let answer = client.answer("a").await.unwrap();
        assert_eq!(answer, [expected], "{}", &bytes[..bytes.len().min(30)]);
        works(&mut client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_as_long_as_is_promised_is_read_also_where_it_comes_in_one_record() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let program = place.start().await;
    let mut client = program.connect().await;
    let line = format!("a NOOP {}\r\n", "x".repeat(8_192 - 9));
    assert_eq!(line.len(), 8_192);
    client.send(&line).await.unwrap();
    assert_eq!(client.answer("a").await.unwrap(), ["a BAD Invalid arguments."]);
    works(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_record_larger_than_any_command_before_login_ends_the_connection() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let program = place.start().await;
    let mut client = program.connect().await;
    // Refused before it is whole: the program may be gone before all of it is sent.
    let _ = client.send(vec![b'x'; 16_384]).await;
    assert_eq!(rest(&mut client).await, "");
    assert_eq!(program.end_reason(0, "connection_ended").await.1, "client_limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sixth_attempt_on_a_connection_never_comes() {
    let backend = backend().await;
    let place = Place::new(
        backend.addr,
        "login: {refusal_delay: 1s, help: 'Ask us.'}\nlimits: {longest_delay: 1s, failures_per_user_and_network: 100}",
    );
    let program = place.start().await;
    let mut client = program.connect().await;
    for number in 1..=5 {
        let answer = client
            .command("l", &format!("LOGIN alice wrong{number}"))
            .await
            .unwrap();
        assert_eq!(
            answer,
            ["l NO [AUTHENTICATIONFAILED] Authentication failed. Ask us."]
        );
    }
    assert_eq!(rest(&mut client).await, "* BYE Too many failed logins.\r\n");
    assert_eq!(
        program.end_reason(0, "connection_ended").await.1,
        "too_many_attempts"
    );
    assert_eq!(
        backend.mail.connections(),
        0,
        "none of it was the backend's business"
    );
}

/// Sends something again and again until the program closes the connection; how long that took.
async fn drip<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    bytes: &'static [u8],
) -> Duration {
    let began = Instant::now();
    let (mut read, mut write) = tokio::io::split(stream);
    let dripping = tokio::spawn(async move {
        while write.write_all(bytes).await.is_ok() && write.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    });
    let mut heard = Vec::new();
    // A reset is an end as well.
    let _ = timeout(PATIENCE, read.read_to_end(&mut heard)).await.unwrap();
    dripping.abort();
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_deadline_before_login_is_a_total_that_dripping_does_not_extend() {
    let backend = backend().await;
    let place = Place::configured(&format!(
        "listeners:\n  - address: '127.0.0.1:0'\n  - {{address: '127.0.0.1:0', proxy_protocol_from: [loopback]}}\n\
         \x20 - {{address: '127.0.0.1:0', tls: starttls}}\n\
         metrics: {{address: '127.0.0.1:0'}}\nbackends: [{{address: '{}'}}]\n\
         login: {{proxy_header_timeout: 1s, handshake_timeout: 2s, timeout: 5s}}\n",
        backend.addr
    ));
    let program = place.start().await;
    let [implicit, proxied, starttls] = program.addrs[..] else {
        panic!("three listeners")
    };
    let certificate = program.certificate.clone().unwrap();
    let tcp = async |addr| TcpStream::connect(addr).await.unwrap();
    let headers = async { drip(tcp(proxied).await, b" ").await };
    let nothing = async { drip(tcp(proxied).await, b"").await };
    // A record of 16 KiB begins, and goes on byte by byte.
    let hellos = async { drip(tcp(implicit).await, b"\x16\x03\x01\x40\x00").await };
    let silence = async { drip(tcp(implicit).await, b"").await };
    let noops = async {
        let stream = start_tls(tcp(implicit).await, &certificate, "localhost")
            .await
            .unwrap();
        drip(stream, b"a NOOP\r\n").await
    };
    let clear = async { drip(tcp(starttls).await, b"a NOOP\r\n").await };
    let (headers, nothing, hellos, silence, noops, clear) =
        tokio::join!(headers, nothing, hellos, silence, noops, clear);
    for (took, seconds, name) in [
        (nothing, 1, "no PROXY header"),
        (silence, 2, "no hand-shake"),
        (noops, 5, "NOOP"),
        (clear, 5, "NOOP in the clear"),
    ] {
        assert!(
            took >= Duration::from_millis(seconds * 1000 - 100),
            "{name}: {took:?}"
        );
    }
    let all = [headers, nothing, hellos, silence, noops, clear];
    assert!(all.iter().all(|took| *took < Duration::from_secs(15)), "{all:?}");
    for (series, count) in [
        (
            "imapwarden_connection_ends_total{reason=\"login_timeout\",side=\"client\"}",
            2,
        ),
        (
            "imapwarden_connection_ends_total{reason=\"proxy_header_invalid\",side=\"client\"}",
            2,
        ),
    ] {
        assert_eq!(program.metric(series).await, count, "{series}");
    }
    let timeouts = "imapwarden_connection_ends_total{reason=\"tls_handshake_timeout\",side=\"client\"}";
    assert!(program.metric(timeouts).await >= 1);
}

// --- Who may come at all

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_wait_have_a_limit_of_their_own_and_give_their_place_back() {
    let backend = backend().await;
    let place = Place::new(
        backend.addr,
        "limits: {connections_per_network: 4, waiting_per_network: 2}",
    );
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut first = program.connect().await;
    let second = program.connect().await;
    assert!(program.connect_from([127, 0, 0, 1]).await.is_err());
    assert_eq!(
        program.end_reason(0, "connection_denied").await.1,
        "connection_limit"
    );
    // Another network is not concerned.
    let mut other = program.connect_from([127, 0, 0, 9]).await.unwrap();
    assert!(other.response().await.unwrap().starts_with("* OK"));
    // Who logs in waits no longer.
    let answer = first
        .command("l", &format!("LOGIN alice {password}"))
        .await
        .unwrap();
    assert!(answer[0].starts_with("l OK"), "{answer:?}");
    let third = program.connect().await;
    drop((second, third));
    until("the places are free", || async {
        program.metric("imapwarden_connections{phase=\"pre_auth\"}").await == 1
    })
    .await;
    // Three more sessions fill the network's places; then not even one that would log in comes in.
    let mut sessions = vec![first];
    for _ in 0..3 {
        sessions.push(program.logged_in("alice", &password).await);
    }
    assert!(program.connect_from([127, 0, 0, 1]).await.is_err());
    for session in &mut sessions {
        works(session).await;
    }
}

/// A place where mail passwords do, and users of it.
async fn place_of(backend: &Server, users: &[&str], more: &str) -> (Place, Arc<dyn Store>) {
    let place = Place::new(
        backend.addr,
        &format!("second_factor: {{default: exempt}}\n{more}"),
    );
    let (store, _) = place.open().await;
    for name in users {
        let user = User::new(UserName::parse(name.as_bytes()).unwrap(), clock::unix());
        assert!(store.add_user(user).await.unwrap());
    }
    (place, store)
}

/// Has a login begin on a connection of its own: what was sent before it is answered.
async fn begin_login(program: &Program, user: &str, password: &str) -> TlsClient {
    let mut client = program.connect().await;
    let commands = format!("n NOOP\r\nl LOGIN {user} {password}\r\n");
    client.send(&commands).await.unwrap();
    assert!(client.response().await.unwrap().starts_with("n OK"));
    client
}

/// Four strangers are in front of Alice and Bob, a second each; what was known when they came is not what they are judged by.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_turn_is_judged_by_what_holds_then() {
    let mail = Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    mail.add_sample_user("bob", MAIL_PASSWORD);
    let backend = Server::start(mail).await.unwrap();
    let (place, store) = place_of(&backend, &["alice", "bob"], "events: {commands: all}").await;
    let came_with = async |network| {
        let user = UserName::parse(b"bob").unwrap();
        store.note(Note::Came(user, Habit::Network(network), clock::unix()));
        store.flush().await.unwrap();
    };
    came_with([9; 32]).await;
    let (_, keys) = place.open().await;
    let here = Prefix::of([127, 0, 0, 1].into());
    let here = keys.in_force().source(&UserName::parse(b"bob").unwrap(), here);
    let program = place.start().await;
    let mut strangers = Vec::new();
    for number in 0..4 {
        strangers.push(begin_login(&program, &format!("stranger{number}"), "wrong").await);
    }
    let mut alice = begin_login(&program, "alice", MAIL_PASSWORD).await;
    let mut bob = begin_login(&program, "bob", MAIL_PASSWORD).await;
    let name = UserName::parse(b"alice").unwrap();
    let mut disabled = store.user(&name).await.unwrap().unwrap();
    disabled.disabled = true;
    assert!(store.change_user(disabled).await.unwrap());
    came_with(here).await;
    let answer = alice.response().await.unwrap();
    assert!(answer.starts_with("l NO [AUTHENTICATIONFAILED]"), "{answer}");
    assert!(
        bob.response().await.unwrap().starts_with("l OK"),
        "it was a wait, and no refusal"
    );
    let (mut at, mut event) = program.events.wait(0, "login_failed").await.unwrap();
    while text(&event, "user.name") != "alice" {
        (at, event) = program.events.wait(at + 1, "login_failed").await.unwrap();
    }
    assert_eq!(text(&event, "event.reason"), "user_disabled");
    let (_, event) = program.events.wait(0, "login_succeeded").await.unwrap();
    let facts = &event["imapwarden"]["facts"];
    assert_eq!(facts["source.is_new_for_user"], false, "{event}");
}

/// A network that is banned while its logins wait has no more turns, and the backend hears nothing of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_ban_ends_the_waits_of_its_network() {
    let backend = backend().await;
    let (place, store) = place_of(&backend, &["alice"], "").await;
    let program = place.start().await;
    let mut strangers = Vec::new();
    for number in 0..4 {
        strangers.push(begin_login(&program, &format!("stranger{number}"), "wrong").await);
    }
    let mut alice = begin_login(&program, "alice", MAIL_PASSWORD).await;
    let ban = Ban {
        network: "127.0.0.1/32".parse().unwrap(),
        reason: "test".to_owned(),
        by: "test".to_owned(),
        created: clock::unix(),
        until: None,
    };
    store.add_ban(ban).await.unwrap();
    let answer = alice.response().await.unwrap();
    assert!(answer.starts_with("l NO [AUTHENTICATIONFAILED]"), "{answer}");
    assert_eq!(backend.mail.connections(), 0);
}

/// Guesses that come together with the right password from many addresses are what it is judged by.
#[tokio::test(flavor = "multi_thread")]
async fn rules_see_what_was_tried_at_an_account_until_the_turn_came() {
    let backend = backend().await;
    let folder = TempDir::new().unwrap();
    let rule = "rules:\n  - {name: found, description: A password was found., on: login, \
                when: login.outcome == 'success' && login.failures_before >= 3, then: [alert]}\n";
    let file = private_file(folder.path(), "rules.yaml", rule);
    let more = format!("rules: {{packs: [], files: ['{}']}}", file.display());
    let (place, _) = place_of(&backend, &["alice"], &more).await;
    let program = place.start().await;
    let mut guesses = Vec::new();
    for host in 2..6 {
        let mut client = program.connect_from([127, 0, 0, host]).await.unwrap();
        client.response().await.unwrap();
        let commands = format!("n NOOP\r\nl LOGIN alice wrong-{host}\r\n");
        client.send(&commands).await.unwrap();
        assert!(client.response().await.unwrap().starts_with("n OK"));
        guesses.push(client);
    }
    let mut alice = begin_login(&program, "alice", MAIL_PASSWORD).await;
    assert!(alice.response().await.unwrap().starts_with("l OK"));
    let (_, alert) = program.events.wait(0, "alert_raised").await.unwrap();
    assert_eq!(text(&alert, "rule.name"), "found");
}

/// Refusals of the backend's that come late make those of rules late, too; a wait for a turn is no such thing.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_that_had_to_wait_makes_none_after_it_wait() {
    let backend = backend().await;
    let users = ["u0", "u1", "u2", "u3", "u4"];
    let (place, _) = place_of(&backend, &users, "login: {refusal_delay: 1s}").await;
    let program = place.start().await;
    let mut waiting = Vec::new();
    for user in users {
        waiting.push(begin_login(&program, user, &format!("wrong-{user}")).await);
    }
    for client in &mut waiting {
        assert!(client.response().await.unwrap().starts_with("l NO"));
    }
    let began = Instant::now();
    let answer = waiting[0].command("a", "LOGIN u0 another").await.unwrap();
    assert!(answer[0].starts_with("a NO"), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let reasons = program.events.all().into_iter();
    let reasons = reasons.map(|event| text(&event, "event.reason"));
    let wrong = reasons.filter(|reason| reason == "password_invalid");
    assert_eq!(wrong.count(), users.len() + 1, "all were looked at");
}

/// Who waits is told that the process ends, and holds it up no longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_waits_for_no_turn() {
    let backend = backend().await;
    let users: Vec<String> = (0..15).map(|number| format!("u{number}")).collect();
    let (place, _) = place_of(&backend, &[], "").await;
    let mut program = place.start().await;
    let mut waiting = Vec::new();
    for user in &users {
        waiting.push(begin_login(&program, user, "wrong").await);
    }
    let began = Instant::now();
    program.signal("TERM");
    let mut last = waiting.pop().unwrap();
    let answer = last.response().await.unwrap();
    assert!(answer.starts_with("l NO [UNAVAILABLE]"), "{answer}");
    assert!(last.response().await.unwrap().starts_with("* BYE"));
    drop(waiting);
    assert!(program.wait(PATIENCE).await.success());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_come_no_faster_than_allowed() {
    let backend = backend().await;
    let place = Place::new(
        backend.addr,
        "limits: {rate_per_network: 1, waiting_per_network: 1000}",
    );
    let program = place.start().await;
    let mut open = Vec::new();
    // Twenty may come at once. A slow machine earns a few more meanwhile.
    let mut refused = 0;
    for _ in 0..40 {
        match program.connect_from([127, 0, 0, 1]).await {
            Ok(client) => open.push(client),
            Err(_) => refused += 1,
        }
    }
    assert!(open.len() >= 20 && refused > 0, "{} {refused}", open.len());
    assert_eq!(
        program.end_reason(0, "connection_denied").await.1,
        "connection_rate"
    );
    let mut other = program.connect_from([127, 0, 0, 9]).await.unwrap();
    works_before_login(&mut other).await;
}

async fn works_before_login(client: &mut TlsClient) {
    assert!(client.response().await.unwrap().starts_with("* OK"));
    works(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_total_wait_in_the_kernel_until_there_is_room() {
    let backend = backend().await;
    // One permit waits with the listener, so that three are open and the next is taken only when one has gone.
    let place = Place::new(backend.addr, "limits: {connections: 3}");
    let program = place.start().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(program.connect().await);
    }
    let waiting = tokio::spawn({
        let (addr, certificate) = (program.addrs[0], program.certificate.clone().unwrap());
        async move {
            let mut client = Client::tls(addr, &certificate, "localhost").await?;
            client.response().await
        }
    });
    for client in &mut open {
        works(client).await;
    }
    assert_eq!(program.metric("imapwarden_connections_total").await, 3);
    assert!(!waiting.is_finished());
    drop(open.pop());
    assert!(waiting.await.unwrap().unwrap().starts_with("* OK"));
    assert_eq!(program.metric("imapwarden_connections_total").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_user_are_limited_and_the_refusal_says_nothing() {
    let backend = backend().await;
    let place = Place::new(
        backend.addr,
        "limits: {sessions_per_user: 2, sessions_per_user_and_network: 2}\nlogin: {refusal_delay: 1s}",
    );
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut first = program.logged_in("alice", &password).await;
    let second = program.logged_in("alice", &password).await;
    let mut third = program.connect().await;
    let login = format!("LOGIN alice {password}");
    let answer = third.command("l", &login).await.unwrap();
    assert_eq!(answer, ["l NO [AUTHENTICATIONFAILED] Authentication failed."]);
    assert_eq!(program.end_reason(0, "login_failed").await.1, "session_limit");
    drop(second);
    program.events.wait(0, "session_ended").await.unwrap();
    let answer = third.command("l", &login).await.unwrap();
    assert!(answer[0].starts_with("l OK"), "it was no guess: {answer:?}");
    works(&mut first).await;
}

// --- After login

const SHORT: &str = "relay: {command_limit: 8KiB, literal_limit: 1MiB, max_pipelined: 64}";

/// The end of a session: the last line that its client hears, and the reason told.
async fn session_ends(program: &Program, password: &str, bytes: &[u8], last: &str, reason: &str) {
    let from = program.events.all().len();
    let mut client = program.logged_in("alice", password).await;
    send(&mut client, bytes).await;
    let said = rest(&mut client).await;
    let name = bytes[..bytes.len().min(30)].escape_ascii();
    assert_eq!(said.lines().last(), Some(last), "{name}: {said}");
    drop(client);
    let (_, told) = program.end_reason(from, "session_ended").await;
    assert_eq!(told, reason, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_login_a_command_or_literal_too_long_ends_its_session_or_is_refused() {
    let backend = backend().await;
    let place = Place::new(backend.addr, SHORT);
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut client = program.logged_in("alice", &password).await;
    let mib = 1024 * 1024;

    // At the limit.
    let fits = format!("a LIST \"\" \"{}\"\r\n", "x".repeat(8_192 - 14));
    assert_eq!(fits.len(), 8_192);
    client.send(&fits).await.unwrap();
    assert!(client.answer("a").await.unwrap()[0].starts_with("a OK"));
    client
        .send(format!("a APPEND INBOX {{{mib}}}\r\n"))
        .await
        .unwrap();
    assert!(client.response().await.unwrap().starts_with('+'));
    client.send(vec![b'x'; mib]).await.unwrap();
    client.send("\r\n").await.unwrap();
    let answer = client.answer("a").await.unwrap();
    assert!(answer.last().unwrap().starts_with("a OK"), "{answer:?}");
    let before = backend.mail.transcript().len();

    // Over it, where it can be skipped.
    let line = format!("a APPEND INBOX {{{}}}", mib + 1);
    client.send(format!("{line}\r\n")).await.unwrap();
    assert_eq!(
        client.answer("a").await.unwrap(),
        ["a NO [TOOBIG] Message is too large"]
    );
    client.send("a SEARCH TEXT {8193}\r\n").await.unwrap();
    let answer = client.answer("a").await.unwrap();
    assert!(answer[0].starts_with("a BAD "), "{answer:?}");
    let literal = format!("{{5000+}}\r\n{}", "x".repeat(5_000));
    client
        .send(format!("a SEARCH TEXT {literal} TEXT {literal}\r\n"))
        .await
        .unwrap();
    let answer = client.answer("a").await.unwrap();
    assert!(answer[0].starts_with("a BAD "), "{answer:?}");
    assert_eq!(
        backend.mail.transcript().len(),
        before,
        "the backend has heard nothing of it"
    );
    works(&mut client).await;

    // Over it, where it cannot.
    let long = format!("a LIST \"\" \"{}", "x".repeat(8_192));
    session_ends(
        &program,
        &password,
        long.as_bytes(),
        "* BYE the command line is too long",
        "client_limit",
    )
    .await;
    let append = format!("a APPEND INBOX {{{}+}}\r\n", mib + 1);
    session_ends(
        &program,
        &password,
        append.as_bytes(),
        "* BYE Literal is too large",
        "client_limit",
    )
    .await;
    let bad = "a NONSENSE\r\n".repeat(101);
    session_ends(
        &program,
        &password,
        bad.as_bytes(),
        "* BYE Too many bad commands",
        "too_many_bad_commands",
    )
    .await;
    works(&mut client).await;
    assert_eq!(backend.mail.non_sync_literals(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_beyond_those_allowed_at_once_wait_until_the_backend_has_answered() {
    // Hears 64 commands and then nothing for a while, although the client has sent a thousand; then it answers all.
    let mut moves = vec![Move::Expect("NOOP"); 64];
    moves.push(Move::Quiet(Duration::from_millis(500)));
    moves.extend((0..64).map(|number| say(&format!("c{number} OK late"))));
    for number in 64..1000 {
        moves.push(Move::Expect("NOOP"));
        moves.push(say(&format!("c{number} OK late")));
    }
    let backend = Scripted::start(vec![after_login(moves)]).await.unwrap();
    let place = Place::new(backend.addr, SHORT);
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut client = program.logged_in("alice", &password).await;
    let commands: String = (0..1000).map(|number| format!("c{number} NOOP\r\n")).collect();
    client.send(&commands).await.unwrap();
    for number in 0..1000 {
        assert_eq!(client.response().await.unwrap(), format!("c{number} OK late"));
    }
    assert_eq!(backend.outcomes(1).await, [Outcome::Played]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_its_answers_unread_is_let_go_after_the_time_allowed() {
    let flood = Move::Flood(b"* OK flood\r\n".repeat(999), usize::MAX);
    let backend = Scripted::start(vec![after_login(vec![Move::Expect("FETCH"), flood])])
        .await
        .unwrap();
    let place = Place::new(backend.addr, "relay: {stall_timeout: 10s}");
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut client = program.logged_in("alice", &password).await;
    client.send("f FETCH 1 BODY[]\r\n").await.unwrap();
    until("the session has ended", || async {
        let ended = program.events.all();
        ended
            .iter()
            .any(|event| text(event, "event.action") == "session_ended")
    })
    .await;
    assert_eq!(program.end_reason(0, "session_ended").await.1, "client_stalled");
    assert_eq!(backend.outcomes(1).await, [Outcome::Broken]);
}

/// Whoever sits on the metrics' address, however many: probes are answered, and everybody there is sent away in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_never_finishes_its_request_keeps_no_probe_and_no_scraper_waiting() {
    let place = Place::new(SocketAddr::from(([127, 0, 0, 1], 1)), "");
    let program = place.start().await;
    let mut crowd = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(program.metrics).await.unwrap();
        let part = [
            "",
            "GET /metrics HTTP/1.1\r\n",
            "GET /metrics HTTP/1.1\r\nhost: x\r\nx: ",
        ][number % 3];
        // Those in front of it may have been sent away already.
        let _ = stream.write_all(part.as_bytes()).await;
        crowd.push(stream);
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(program.get(path).await.0, 200, "{path}");
    }
    for (number, mut stream) in crowd.into_iter().enumerate() {
        let mut said = Vec::new();
        // A reset is an end as well.
        let ended = timeout(PATIENCE, stream.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "{number} is still there");
        assert!(
            !said.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&said)
        );
    }
    // One request is all that a connection has.
    let mut stream = TcpStream::connect(program.metrics).await.unwrap();
    let twice = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
    stream.write_all(twice.as_bytes()).await.unwrap();
    let mut said = String::new();
    let ended = timeout(PATIENCE, stream.read_to_string(&mut said)).await;
    // What was not read makes the end a reset.
    let _ = ended.unwrap();
    assert_eq!(said.matches("HTTP/1.1 200").count(), 1, "{said}");
    // A head without end.
    let mut stream = TcpStream::connect(program.metrics).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nx: ").await.unwrap();
    let endless = async { while stream.write_all(&[b'x'; 4096]).await.is_ok() {} };
    timeout(PATIENCE, endless).await.unwrap();
}
