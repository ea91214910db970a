//! Attacks that were published against IMAP servers and proxies, each against the whole proxy. docs/known-attacks.md has
//! one row for each and names the test that holds it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a fault must fail the test; tables are as long as there are cases"
)]

mod support;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use imapwarden::auth::accounts::Accounts;
use imapwarden::auth::totp;
use imapwarden::server::clock;
use imapwarden::types::Secret;
use imapwarden::types::UnixTime;
use imapwarden::types::UserName;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use support::client::Client;
use support::client::start_tls;
use support::events::text;
use support::memory::Mail;
use support::memory::Server;
use support::program::private_file;
use support::proxy::Proxy;
use support::scripted::Move;
use support::scripted::Outcome;
use support::scripted::Scripted;
use support::scripted::after_login;
use support::scripted::after_slow_login;
use support::scripted::say;
use tempfile::TempDir;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

const MAIL_PASSWORD: &str = "mail-password-of-alice";

/// What every refused login hears.
const REFUSED: &str = "NO [AUTHENTICATIONFAILED] Authentication failed.";

/// The shortest refusals that can be configured.
const QUICK: &str = "login:\n  refusal_delay: 1s";

async fn backend() -> Server {
    let mail = Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    mail.add_sample_user("bob", "mail-password-of-bob");
    Server::start(mail).await.unwrap()
}

async fn alive<S: AsyncRead + AsyncWrite + Unpin>(bystander: &mut Client<S>, what: &str) {
    let answer = bystander.command("n", "NOOP").await.unwrap();
    assert!(answer.last().unwrap().starts_with("n OK"), "{what}: {answer:?}");
}

// Before login: memory, time, places.

/// B1 (CVE-2025-61600), B2 (CVE-2024-34055), B3 (CVE-2026-27857), B6: the size of what arrives is the attacker's choice.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_before_login_is_bounded_and_costs_nobody_else() {
    let backend = backend().await;
    let proxy = Proxy::start(backend.addr, "").await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut bystander = proxy.logged_in("alice", &password).await;
    let literal = format!("{{1000+}}\r\n{}", "x".repeat(1000));
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("a line without end", vec![b'x'; 1024 * 1024], "client_limit"),
        (
            "a literal of four gigabytes",
            b"a LOGIN {4294967295+}\r\n".to_vec(),
            "client_limit",
        ),
        (
            "a literal of a size that wraps",
            b"a LOGIN {4294967301+}\r\nb NOOP\r\n".to_vec(),
            "client_limit",
        ),
        (
            "literal after literal",
            format!("a ID ({})\r\n", vec![literal; 500].join(" ")).into_bytes(),
            "client_limit",
        ),
        (
            "parentheses in parentheses",
            format!("a ID {}\r\n", "(".repeat(4000)).repeat(12).into_bytes(),
            "too_many_bad_commands",
        ),
        (
            "command after command",
            b"a NOOP\r\n".repeat(20_000),
            "client_limit",
        ),
    ];
    let mut at = 0;
    for (name, bytes, reason) in cases {
        let mut client = proxy.connect().await;
        // In small records, as real clients send; the connection may end in the middle of them.
        for record in bytes.chunks(1000) {
            if client.send(record).await.is_err() {
                break;
            }
        }
        let said = client.rest().await.unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains("a OK [CAPABILITY"), "{name}: {said}");
        let (found, event) = proxy.events.wait(at, "connection_ended").await.unwrap();
        at = found + 1;
        assert_eq!(text(&event, "event.reason"), reason, "{name}");
        alive(&mut bystander, name).await;
    }
    // One record that is larger than all that may come before login.
    let mut client = proxy.connect().await;
    let _ = client.send(vec![b'x'; 16 * 1024]).await;
    client.rest().await.unwrap_or_default();
    let (_, event) = proxy.events.wait(at, "connection_ended").await.unwrap();
    assert_eq!(text(&event, "event.reason"), "client_limit");
    assert_eq!(backend.mail.connections(), 1, "only the bystander's");
}

/// B4 (CVE-2017-15132, CVE-2019-11494, CVE-2019-11499), B5 (CVE-2025-59028, CVE-2019-10691).
#[tokio::test(flavor = "multi_thread")]
async fn exchanges_that_are_aborted_or_malformed_disturb_no_other_login() {
    let backend = backend().await;
    let proxy = Proxy::start(backend.addr, QUICK).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let leaves = [
        "a AUTHENTICATE PLAIN\r\n",
        "a AUTHENTICATE LOGIN\r\n",
        "a AUTHENTICATE LOGIN YWxpY2U=\r\n",
        "a AUTHENTICATE PLAIN\r\nAGFsaW",
        "a LOGIN {5}\r\n",
        "a LOGIN {5}\r\nali",
        "a LOGIN alice {40+}\r\n",
    ];
    for sent in leaves {
        let mut client = proxy.connect().await;
        client.send(sent).await.unwrap();
        drop(client);
    }
    let mut client = proxy.connect().await;
    for (sent, answer) in [
        ("a AUTHENTICATE PLAIN\r\n*\r\n", "a BAD"),
        ("a AUTHENTICATE LOGIN\r\n*\r\n", "a BAD"),
        ("a AUTHENTICATE PLAIN\r\n%%%%\r\n", "a BAD"),
        ("a AUTHENTICATE PLAIN AGFsaWNl\r\n", "a BAD"),
        ("a AUTHENTICATE PLAIN AP8AeA==\r\n", "a NO [AUTHENTICATIONFAILED]"),
        ("a AUTHENTICATE CRAM-MD5\r\n", "a NO"),
    ] {
        client.send(sent).await.unwrap();
        let said = client.answer("a").await.unwrap();
        assert!(said.last().unwrap().starts_with(answer), "{sent}: {said:?}");
    }
    let said = client
        .command("b", &format!("LOGIN alice {password}"))
        .await
        .unwrap();
    assert!(said[0].starts_with("b OK [CAPABILITY "), "{said:?}");
    assert_eq!(backend.mail.connections(), 1);
}

/// B7: a proxy that leaked the place of each connection that it refused.
#[tokio::test(flavor = "multi_thread")]
async fn refused_connections_give_their_places_back() {
    let backend = backend().await;
    let limits = "limits:\n  connections: 4\n  connections_per_network: 2";
    let proxy = Proxy::start(backend.addr, limits).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let (first, second) = (proxy.connect().await, proxy.connect().await);
    let mut at = 0;
    for _ in 0..40 {
        let mut refused = proxy.tcp().await;
        let mut nothing = Vec::new();
        let read = timeout(Duration::from_secs(10), refused.read_to_end(&mut nothing));
        let _ = read.await.unwrap();
        assert_eq!(nothing, b"");
        let (found, event) = proxy.events.wait(at, "connection_denied").await.unwrap();
        at = found + 1;
        assert_eq!(text(&event, "event.reason"), "connection_limit");
    }
    drop((first, second));
    for _ in 0..2 {
        at = proxy.events.wait(at, "connection_ended").await.unwrap().0 + 1;
    }
    let mut client = proxy.logged_in("alice", &password).await;
    alive(&mut client, "afterwards").await;
}

/// B7, GUARANTEES "Time": the time to log in is a total.
#[tokio::test(flavor = "multi_thread")]
async fn commands_do_not_extend_the_time_to_log_in() {
    let backend = backend().await;
    let proxy = Proxy::start(backend.addr, "login:\n  timeout: 5s").await;
    let began = Instant::now();
    let mut client = proxy.connect().await;
    let mut pulse = tokio::time::interval(Duration::from_millis(250));
    let ended = loop {
        pulse.tick().await;
        if client.command("a", "NOOP").await.is_err() {
            break began.elapsed();
        }
    };
    assert!(ended < Duration::from_secs(8), "{ended:?}");
    let (_, event) = proxy.events.wait(0, "connection_ended").await.unwrap();
    assert_eq!(text(&event, "event.reason"), "login_timeout");
}

// TLS and STARTTLS.

/// B10 (CVE-2021-33515, CVE-2014-3556, NO STARTTLS): commands in clear behind STARTTLS.
#[tokio::test(flavor = "multi_thread")]
async fn commands_in_clear_behind_starttls_are_never_run() {
    let backend = backend().await;
    let proxy = Proxy::configured(&format!(
        "listeners:\n  - address: '127.0.0.1:0'\n    tls: starttls\nmetrics:\n  address: '127.0.0.1:0'\nbackends:\n  - address: '{}'\n{QUICK}\n",
        backend.addr
    ))
    .await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;

    let mut client = Client::plain(proxy.addr).await.unwrap();
    let greeting = client.response().await.unwrap();
    assert!(greeting.contains(" STARTTLS LOGINDISABLED] "), "{greeting}");
    for command in [format!("LOGIN alice {password}"), "AUTHENTICATE PLAIN".to_owned()] {
        let said = client.command("p", &command).await.unwrap();
        assert_eq!(said, ["p NO [PRIVACYREQUIRED] STARTTLS first."]);
    }

    // In one packet with STARTTLS, and in a packet of its own before the hand-shake.
    for cut in [false, true] {
        let mut client = Client::plain(proxy.addr).await.unwrap();
        client.response().await.unwrap();
        let injected = format!("i LOGIN alice {password}\r\n");
        if cut {
            client.send("s STARTTLS\r\n").await.unwrap();
            client.response().await.unwrap();
            client.send(injected).await.unwrap();
        } else {
            client.send(format!("s STARTTLS\r\n{injected}")).await.unwrap();
            client.response().await.unwrap();
        }
        let tcp = client.into_inner().into_inner();
        // Either the hand-shake breaks on the injected bytes, or they are gone behind it.
        if let Ok(stream) = start_tls(tcp, &proxy.certificate, "localhost").await {
            let mut client = Client::new(stream);
            let said = client.command("a", "NOOP").await.unwrap();
            assert_eq!(said, ["a OK NOOP completed."], "cut: {cut}");
        }
    }
    assert_eq!(backend.mail.connections(), 0, "nobody has logged in");

    let mut client = Client::plain(proxy.addr).await.unwrap();
    client.response().await.unwrap();
    let said = client.command("s", "STARTTLS").await.unwrap();
    assert!(said[0].starts_with("s OK"), "{said:?}");
    let tcp = client.into_inner().into_inner();
    let mut client = Client::new(start_tls(tcp, &proxy.certificate, "localhost").await.unwrap());
    let said = client
        .command("a", &format!("LOGIN alice {password}"))
        .await
        .unwrap();
    assert!(said[0].starts_with("a OK [CAPABILITY "), "{said:?}");
}

/// B10 and B11 (CVE-2026-42246, NO STARTTLS): what a man in the middle can do before TLS to a backend.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_without_an_honest_starttls_gets_no_password() {
    let offers = say("* OK [CAPABILITY IMAP4rev1 STARTTLS] ready");
    let asked = |answer: &str| vec![offers.clone(), Move::Expect("STARTTLS"), say(answer), Move::Drain];
    let cases = [
        (
            "strips the offer",
            vec![say("* OK [CAPABILITY IMAP4rev1] ready"), Move::Drain],
        ),
        ("says no", asked("{tag} NO not today")),
        ("says bad", asked("{tag} BAD what")),
        (
            "is logged in already",
            vec![say("* PREAUTH welcome"), Move::Drain],
        ),
        (
            "answers in clear behind its yes",
            asked("{tag} OK go\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN"),
        ),
        (
            "answered before",
            vec![
                say("* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\nL OK in\r\na1 OK in"),
                Move::Drain,
            ],
        ),
        ("goes on in clear", asked("{tag} OK go")),
    ];
    let scripts = cases.iter().map(|(_, moves)| moves.clone()).collect();
    let backend = Scripted::start(scripts).await.unwrap();
    let proxy = Proxy::start(
        backend.addr,
        &format!("    tls: starttls\n    timeout: 1s\n{QUICK}"),
    )
    .await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    for (name, _) in &cases {
        let mut client = proxy.connect().await;
        let said = client
            .command("l", &format!("LOGIN alice {password}"))
            .await
            .unwrap();
        assert!(said[0].starts_with("l NO [UNAVAILABLE] "), "{name}: {said:?}");
    }
    let heard = backend.lines();
    assert!(!heard.is_empty());
    for line in heard {
        assert!(
            !line.contains("LOGIN") && !line.contains("AUTHENTICATE"),
            "{line}"
        );
    }
}

/// B12 (ALPACA): a browser that was led to us shakes hands for HTTP, or sends its request behind the hand-shake.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_was_led_to_us_hears_nothing() {
    let backend = backend().await;
    let proxy = Proxy::start(backend.addr, QUICK).await;
    for protocols in [&["http/1.1"][..], &["h2", "http/1.1"], &["pop3"]] {
        let error = handshake(&proxy, protocols).await.unwrap_err();
        assert!(
            error.to_string().contains("NoApplicationProtocol"),
            "{protocols:?}: {error}"
        );
    }
    let mut browser = handshake(&proxy, &[]).await.unwrap();
    let form = b"POST / HTTP/1.1\r\nHost: mail.example\r\n\r\na LOGIN alice <script>alert(1)</script>\r\nb LOGOUT\r\n";
    browser.write_all(form).await.unwrap();
    let said = Client::new(browser).rest().await.unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("* OK [CAPABILITY "), "{said}");
    assert_eq!(said.lines().count(), 1, "nothing but the greeting: {said}");
    let (_, event) = proxy.events.wait(0, "connection_ended").await.unwrap();
    assert_eq!(text(&event, "event.reason"), "not_imap");
    // What mail clients offer.
    for protocols in [&["imap"][..], &["http/1.1", "imap"]] {
        handshake(&proxy, protocols).await.unwrap();
    }
}

async fn handshake(
    proxy: &Proxy,
    protocols: &[&str],
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(proxy.certificate.clone()).unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    let connect = TlsConnector::from(Arc::new(config)).connect(name, proxy.tcp().await);
    timeout(Duration::from_secs(10), connect).await.unwrap()
}

/// B23: who may say who the client is.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_trusted_peer_says_who_the_client_is() {
    let backend = backend().await;
    let with = |line: &str| {
        format!(
            "listeners:\n  - address: '127.0.0.1:0'\n{line}metrics:\n  address: '127.0.0.1:0'\nbackends:\n  - address: '{}'\nlogin:\n  refusal_delay: 1s\n  proxy_header_timeout: 1s\n",
            backend.addr
        )
    };
    let header = "PROXY TCP4 198.51.100.7 192.0.2.1 50000 993\r\n";

    // A listener that expects no header takes none: the bytes are no hand-shake.
    let proxy = Proxy::configured(&with("")).await;
    assert!(through(&proxy, &[header]).await.is_err());
    let (_, event) = proxy.events.wait(0, "tls_failed").await.unwrap();
    assert_eq!(text(&event, "source.ip"), "127.0.0.1");

    // A peer that is not trusted may not even speak.
    let proxy = Proxy::configured(&with("    proxy_protocol_from: [192.0.2.0/24]\n")).await;
    assert!(through(&proxy, &[header]).await.is_err());
    let (_, event) = proxy.events.wait(0, "connection_denied").await.unwrap();
    assert_eq!(text(&event, "event.reason"), "proxy_header_invalid");
    assert_eq!(text(&event, "source.ip"), "127.0.0.1");

    // A trusted one must say it, may say it in pieces, and may say that it speaks for itself.
    let proxy = Proxy::configured(&with("    proxy_protocol_from: [loopback]\n")).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    assert!(through(&proxy, &[]).await.is_err(), "none");
    assert!(through(&proxy, &["PROXY TCP4 198.51.1"]).await.is_err(), "half");
    let mut at = 0;
    let local: [(&[&str], &str); 3] = [
        (&[header], "198.51.100.7"),
        (
            &["PROXY TCP4 198.51", ".100.7 192.0.2.1 50000 993\r", "\n"],
            "198.51.100.7",
        ),
        (&["PROXY UNKNOWN\r\n"], "127.0.0.1"),
    ];
    for (pieces, client_ip) in local {
        let mut client = Client::new(through(&proxy, pieces).await.unwrap());
        client.response().await.unwrap();
        let said = client
            .command("l", &format!("LOGIN alice {password}"))
            .await
            .unwrap();
        assert!(said[0].starts_with("l OK"), "{said:?}");
        let (found, event) = proxy.events.wait(at, "login_succeeded").await.unwrap();
        at = found + 1;
        assert_eq!(text(&event, "source.ip"), client_ip);
    }
}

/// A hand-shake behind a PROXY header that comes in these pieces.
async fn through(proxy: &Proxy, pieces: &[&str]) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut tcp = proxy.tcp().await;
    tcp.set_nodelay(true)?;
    for piece in pieces {
        tcp.write_all(piece.as_bytes()).await?;
        tokio::task::yield_now().await;
    }
    start_tls(tcp, &proxy.certificate, "localhost").await
}

// Guessing and identity.

/// B14 (CVE-2026-27855): a one-time code that was seen on its way is used again.
#[tokio::test(flavor = "multi_thread")]
async fn a_one_time_code_lets_in_once() {
    let backend = backend().await;
    let more = format!("{QUICK}\nsecond_factor:\n  totp:\n    window: 0s\n    window_idle: 0s\n");
    let proxy = Proxy::start(backend.addr, &more).await;
    let user = proxy.add_user("alice").await;
    let code = enrolled(&proxy, &user).await;
    let login = format!("LOGIN alice \"{MAIL_PASSWORD}{code}\"");
    let mut client = proxy.connect().await;
    let said = client.command("a", &login).await.unwrap();
    assert!(said[0].starts_with("a OK"), "{said:?}");
    for typed in [login.clone(), format!("LOGIN alice \"{MAIL_PASSWORD};{code}\"")] {
        let mut client = proxy.connect().await;
        let said = client.command("b", &typed).await.unwrap();
        assert_eq!(said, [format!("b {REFUSED}")]);
    }
    let replayed = proxy.events.all();
    let replayed = replayed
        .iter()
        .filter(|event| text(event, "event.reason") == "code_replayed");
    assert_eq!(replayed.count(), 2);
    assert_eq!(
        backend.mail.connections(),
        1,
        "the backend was asked for the first alone"
    );
}

/// Puts a one-time secret in force with the code of the last step, and gives the code of this one.
async fn enrolled(proxy: &Proxy, user: &UserName) -> String {
    let accounts = Accounts::new(&*proxy.store, &proxy.keys);
    let now = clock::unix();
    let begun = accounts.begin_totp(user, "test", now).await.unwrap();
    let secret = from_base32(std::str::from_utf8(begun.typed.expose()).unwrap());
    let last = UnixTime(now.0 - 30);
    let first = totp::code_at(&secret, last).unwrap();
    accounts
        .confirm_totp(user, &Secret::from(first.as_str()), last)
        .await
        .unwrap();
    totp::code_at(&secret, now).unwrap()
}

fn from_base32(text: &str) -> Secret {
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for letter in text.bytes() {
        let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
            .iter()
            .position(|known| *known == letter);
        bits = (bits << 5) | u32::try_from(value.unwrap()).unwrap();
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).unwrap());
        }
    }
    Secret::new(bytes)
}

/// B15 (CVE-2026-24031, CVE-2026-27860), and the master-user separator: a name that means somebody else to whoever reads it
/// next.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_mean_somebody_else_are_refused_and_never_sent() {
    let backend = backend().await;
    let proxy = Proxy::start(backend.addr, &format!("{QUICK}\nlimits:\n  exempt: [loopback]")).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let plain = |authzid: &str, user: &str| {
        let message = format!("{authzid}\0{user}\0{password}");
        format!("AUTHENTICATE PLAIN {}", base64(message.as_bytes()))
    };
    let literal = |user: &str| format!("LOGIN {{{}+}}\r\n{user} {password}", user.len());
    let attempts = [
        literal("alice*master"),
        literal("alice' OR '1'='1"),
        literal("*)(uid=*"),
        literal("../alice"),
        literal("alice\u{200b}"),
        literal("alice "),
        plain("bob", "alice"),
        plain("alice", "bob"),
        plain("", "alice*bob"),
        plain("", "alice\r\nx"),
        plain("", "alice\tx"),
    ];
    for attempt in &attempts {
        let mut client = proxy.connect().await;
        let said = client.command("a", attempt).await.unwrap();
        assert_eq!(said, [format!("a {REFUSED}")], "{attempt:?}");
    }
    // NUL has no place in a literal at all, and none in PLAIN but between its parts.
    let mut client = proxy.connect().await;
    client
        .send(format!("a LOGIN {{6+}}\r\nbob\0xx {password}\r\n"))
        .await
        .unwrap();
    assert!(!String::from_utf8_lossy(&client.rest().await.unwrap()).contains("a OK"));
    let mut client = proxy.connect().await;
    let message = format!("\0alice\0bob\0{password}");
    let said = client
        .command("a", &format!("AUTHENTICATE PLAIN {}", base64(message.as_bytes())))
        .await
        .unwrap();
    assert!(said[0].starts_with("a BAD"), "{said:?}");
    assert_eq!(backend.mail.connections(), 0);
    proxy.logged_in("alice", &password).await;
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(group);
        for place in 0..4 {
            let at = usize::try_from((bits >> (18 - 6 * place)) & 63).unwrap();
            text.push(if place <= chunk.len() {
                char::from(ALPHABET[at])
            } else {
                '='
            });
        }
    }
    text
}

/// User enumeration: by the text or by the time of a refusal.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_and_every_wrong_secret_look_the_same_and_take_as_long() {
    let backend = backend().await;
    let proxy = Proxy::start(
        backend.addr,
        &format!("{QUICK}\n  help: Ask us.\nlimits:\n  exempt: [loopback]"),
    )
    .await;
    let user = proxy.add_user("enrolled").await;
    enrolled(&proxy, &user).await;
    proxy.add_user("plain").await;
    let (_, foreign) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut typo = foreign.clone();
    let last = typo.pop().unwrap();
    typo.push(if last == '2' { '3' } else { '2' });
    let disabled = proxy.add_user("disabled").await;
    let accounts = Accounts::new(&*proxy.store, &proxy.keys);
    accounts.set_disabled(&disabled, true).await.unwrap();
    let cases = [
        ("nobody", "wrong-password", "unknown_user"),
        ("plain", "wrong-password", "second_factor_missing"),
        ("enrolled", "wrong-password000000", "code_invalid"),
        ("bob", foreign.as_str(), "app_password_other_user"),
        ("alice", typo.as_str(), "app_password_mistyped"),
        ("disabled", "wrong-password", "user_disabled"),
        ("a*b", "wrong-password", "invalid_user"),
    ];
    let delay = Duration::from_secs(1);
    let mut at = 0;
    for (user, secret, reason) in cases {
        let mut client = proxy.connect().await;
        let began = Instant::now();
        let said = client
            .command("a", &format!("LOGIN \"{user}\" {secret}"))
            .await
            .unwrap();
        let took = began.elapsed();
        assert_eq!(said, [format!("a {REFUSED} Ask us.")], "{user}");
        assert!(took >= delay && took < delay * 2, "{user}: {took:?}");
        let (found, event) = proxy.events.wait(at, "login_failed").await.unwrap();
        at = found + 1;
        assert_eq!(text(&event, "event.reason"), reason, "{user}");
    }
    assert_eq!(backend.mail.connections(), 0);
}

/// A backend that refuses every password, after so long.
async fn refusing(after: Duration) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                stream.write_all(b"* OK [CAPABILITY IMAP4rev1] ready\r\n").await?;
                let mut line = String::new();
                while stream.read_line(&mut line).await? > 0 {
                    let tag = line.split(' ').next().unwrap_or_default();
                    tokio::time::sleep(after).await;
                    stream
                        .write_all(format!("{tag} NO [AUTHENTICATIONFAILED] no\r\n").as_bytes())
                        .await?;
                    line.clear();
                }
                io::Result::Ok(())
            });
        }
    });
    addr
}

/// Also where mail passwords go to the backend, which is the only one to be asked about those who exist.
#[tokio::test(flavor = "multi_thread")]
async fn where_mail_passwords_do_an_unknown_user_is_refused_as_late_as_a_wrong_password() {
    for (after, delays) in [(0, 1), (1_300, 2)] {
        let backend = refusing(Duration::from_millis(after)).await;
        let more = format!("{QUICK}\nsecond_factor: {{default: exempt}}\nlimits: {{exempt: [loopback]}}");
        let proxy = Proxy::start(backend, &more).await;
        for user in ["alice", "bob"] {
            proxy.add_user(user).await;
        }
        for user in ["alice", "nobody", "bob", "somebody"] {
            let mut client = proxy.connect().await;
            let began = Instant::now();
            let said = client.command("a", &format!("LOGIN {user} wrong")).await.unwrap();
            assert_eq!(said, [format!("a {REFUSED}")], "{user}");
            let took = began.elapsed();
            let seconds = Duration::from_secs;
            assert!(
                (seconds(delays)..seconds(delays + 1)).contains(&took),
                "{after} ms: {user}: {took:?}"
            );
        }
    }
}

/// A backend answers a right password sooner than a wrong one: whoever logs in just before the deadline must not hear the one and
/// be spared the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_guess_that_is_not_answered_in_time_counts_is_told_and_judged() {
    let backend = refusing(Duration::from_mins(1)).await;
    let folder = TempDir::new().unwrap();
    let rule = "rules:\n  - {name: late, description: A guess came late., on: login, \
                when: login.reason == 'password_unanswered', then: [alert]}\n";
    let file = private_file(folder.path(), "rules.yaml", rule);
    let more = format!(
        "login: {{timeout: 5s, refusal_delay: 1s}}\nsecond_factor: {{default: exempt}}\n\
         limits: {{failures_per_user_and_network: 1}}\nrules: {{packs: [], files: ['{}']}}",
        file.display()
    );
    let proxy = Proxy::start(backend, &more).await;
    proxy.add_user("alice").await;
    let mut client = proxy.connect().await;
    client.send("a LOGIN alice wrong\r\n").await.unwrap();
    assert_eq!(client.rest().await.unwrap(), b"");
    let (at, failed) = proxy.events.wait(0, "login_failed").await.unwrap();
    assert_eq!(text(&failed, "event.reason"), "password_unanswered");
    let (_, alert) = proxy.events.wait(0, "alert_raised").await.unwrap();
    assert_eq!(text(&alert, "rule.name"), "late");
    let (_, ended) = proxy.events.wait(at, "connection_ended").await.unwrap();
    assert_eq!(text(&ended, "event.reason"), "login_timeout");
    let mut again = proxy.connect().await;
    let said = again.command("a", "LOGIN alice another").await.unwrap();
    assert_eq!(said, [format!("a {REFUSED}")]);
    let (_, refused) = proxy.events.wait(at + 1, "login_failed").await.unwrap();
    assert_eq!(text(&refused, "event.reason"), "rate_limited");
}

/// Two logins whose time is up while the backend is asked; neither is told of as refused.
async fn two_run_out_of_time(proxy: &Proxy, secrets: [&str; 2]) {
    let mut from = 0;
    for secret in secrets {
        let mut client = proxy.connect().await;
        client.send(&format!("a LOGIN alice {secret}\r\n")).await.unwrap();
        assert_eq!(client.rest().await.unwrap(), b"");
        let (at, ended) = proxy.events.wait(from, "connection_ended").await.unwrap();
        assert_eq!(text(&ended, "event.reason"), "login_timeout");
        from = at + 1;
    }
    let events = proxy.events.all();
    assert!(
        events
            .iter()
            .all(|event| text(event, "event.action") != "login_failed")
    );
}

/// A backend that does not greet is given no password: nobody has tried anything there.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_guessed_whose_password_was_not_sent() {
    // Nobody takes its connections, so that nobody is answered.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let more = "login: {timeout: 5s, refusal_delay: 1s}\nsecond_factor: {default: exempt}\n\
                limits: {failures_per_user_and_network: 1}";
    let proxy = Proxy::start(silent.local_addr().unwrap(), more).await;
    proxy.add_user("alice").await;
    two_run_out_of_time(&proxy, ["wrong", "another"]).await;
}

/// An app password is known to be right when the backend is asked.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_guessed_whose_app_password_the_backend_does_not_answer() {
    let backend = refusing(Duration::from_mins(1)).await;
    let more = "login: {timeout: 5s, refusal_delay: 1s}\nlimits: {failures_per_user_and_network: 1}";
    let proxy = Proxy::start(backend, more).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    two_run_out_of_time(&proxy, [&password, &password]).await;
}

/// A backend that greets and never answers.
fn hangs() -> Vec<Move> {
    vec![say("* OK [CAPABILITY IMAP4rev1] ready"), Move::Drain]
}

/// A8: the code is good for another try.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_does_not_answer_costs_no_code() {
    let scripts = vec![hangs(), after_login(vec![Move::Drain])];
    let backend = Scripted::start(scripts).await.unwrap();
    let more = "login: {timeout: 5s, refusal_delay: 1s}";
    let proxy = Proxy::start(backend.addr, more).await;
    let user = proxy.add_user("alice").await;
    let code = enrolled(&proxy, &user).await;
    let login = format!("LOGIN alice {MAIL_PASSWORD}{code}");
    let mut client = proxy.connect().await;
    client.send(&format!("a {login}\r\n")).await.unwrap();
    assert_eq!(client.rest().await.unwrap(), b"");
    let (_, failed) = proxy.events.wait(0, "login_failed").await.unwrap();
    assert_eq!(text(&failed, "event.reason"), "password_unanswered");
    let mut again = proxy.connect().await;
    let said = again.command("b", &login).await.unwrap();
    assert!(said[0].starts_with("b OK"), "{said:?}");
}

/// A window that no backend has confirmed says nothing about the password.
#[tokio::test(flavor = "multi_thread")]
async fn a_guess_that_is_not_answered_is_one_again_under_the_same_code() {
    let backend = Scripted::start(vec![hangs(), hangs()]).await.unwrap();
    let proxy = Proxy::start(backend.addr, "login: {timeout: 5s, refusal_delay: 1s}").await;
    let user = proxy.add_user("alice").await;
    let code = enrolled(&proxy, &user).await;
    let mut from = 0;
    for _ in 0..2 {
        let mut client = proxy.connect().await;
        client
            .send(&format!("a LOGIN alice wrong{code}\r\n"))
            .await
            .unwrap();
        assert_eq!(client.rest().await.unwrap(), b"");
        let (at, failed) = proxy.events.wait(from, "login_failed").await.unwrap();
        assert_eq!(text(&failed, "event.reason"), "password_unanswered");
        from = at + 1;
    }
}

/// What was right from there a moment ago is no guess when it is not answered.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_guessed_whose_password_was_right_a_moment_ago() {
    let scripts = vec![after_login(vec![Move::Drain]), hangs(), hangs()];
    let backend = Scripted::start(scripts).await.unwrap();
    let more = "login: {timeout: 5s, refusal_delay: 1s}\nsecond_factor: {default: exempt}\n\
                limits: {failures_per_user_and_network: 1}";
    let proxy = Proxy::start(backend.addr, more).await;
    proxy.add_user("alice").await;
    let mut client = proxy.connect().await;
    let said = client.command("a", "LOGIN alice right").await.unwrap();
    assert!(said[0].starts_with("a OK"), "{said:?}");
    two_run_out_of_time(&proxy, ["right", "right"]).await;
}

/// A proxy in front of a backend, which bans for an hour whoever's login fails.
async fn banning(backend: SocketAddr, folder: &TempDir) -> Proxy {
    let rule = "rules:\n  - {name: once, description: One is too many., on: login, \
                when: login.outcome == 'failure', then: [{ban: 1h}]}\n";
    let file = private_file(folder.path(), "rules.yaml", rule);
    let more = format!(
        "second_factor: {{default: exempt}}\nlogin: {{refusal_delay: 1s}}\nrules: {{packs: [], files: ['{}']}}",
        file.display()
    );
    let proxy = Proxy::start(backend, &more).await;
    proxy.add_user("alice").await;
    proxy.add_user("bob").await;
    proxy
}

/// A ban holds for connections that have been waiting for it: none of them has another guess.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_banned_has_no_turn_on_connections_that_were_open_before() {
    let backend = backend().await;
    let folder = TempDir::new().unwrap();
    let proxy = banning(backend.addr, &folder).await;
    let mut waiting = proxy.connect().await;
    let mut guesser = proxy.connect().await;
    guesser.command("a", "LOGIN alice wrong").await.unwrap();
    let (at, _) = proxy.events.wait(0, "login_failed").await.unwrap();
    proxy.events.wait(0, "ban_added").await.unwrap();
    let asked = backend.mail.connections();
    let said = waiting
        .command("b", &format!("LOGIN bob {MAIL_PASSWORD}"))
        .await
        .unwrap();
    assert_eq!(said, [format!("b {REFUSED}")]);
    let (_, failed) = proxy.events.wait(at + 1, "login_failed").await.unwrap();
    assert_eq!(text(&failed, "event.reason"), "rate_limited");
    assert_eq!(backend.mail.connections(), asked);
}

/// Guesses wait for the backend as long as that takes to refuse them: where they had places meanwhile, a handful would keep the owner out.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_take_no_place_among_the_owners_sessions() {
    let hangs = vec![
        say("* OK [CAPABILITY IMAP4rev1] ready"),
        Move::Expect("LOGIN"),
        Move::Drain,
    ];
    let backend = Scripted::start(vec![hangs, after_login(vec![Move::Drain])])
        .await
        .unwrap();
    let more = "second_factor: {default: exempt}\n\
                limits: {sessions_per_user: 1, sessions_per_user_and_network: 1}\n\
                login: {refusal_delay: 1s}";
    let proxy = Proxy::start(backend.addr, more).await;
    proxy.add_user("alice").await;
    let mut stranger = proxy.connect().await;
    stranger.send("a LOGIN alice wrong\r\n").await.unwrap();
    backend.has_read(1).await;
    let mut owner = proxy.connect().await;
    let said = owner.command("b", "LOGIN alice right").await.unwrap();
    assert!(said[0].starts_with("b OK"), "{said:?}");
    // A second place there is not. Who is known to be right has not guessed, and the backend need not be asked.
    let read = backend.lines().len();
    let mut from = 0;
    for _ in 0..2 {
        let mut another = proxy.connect().await;
        let said = another.command("c", "LOGIN alice right").await.unwrap();
        assert_eq!(said, [format!("c {REFUSED}")]);
        let (at, failed) = proxy.events.wait(from, "login_failed").await.unwrap();
        assert_eq!(text(&failed, "event.reason"), "session_limit");
        from = at + 1;
    }
    assert_eq!(backend.lines().len(), read);
}

/// A mail program opens more connections than the user may have sessions: those that begin keep their window, and the code is good for
/// the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_too_many_costs_no_window() {
    let (open, gate) = watch::channel(false);
    let backend = Scripted::start(vec![after_slow_login(gate)]).await.unwrap();
    let more = "limits: {sessions_per_user: 2, sessions_per_user_and_network: 2}\nlogin: {refusal_delay: 1s}";
    let proxy = Proxy::start(backend.addr, more).await;
    let user = proxy.add_user("alice").await;
    let code = enrolled(&proxy, &user).await;
    let login = format!("LOGIN alice {MAIL_PASSWORD}{code}");
    let mut clients = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..3 {
        let mut client = proxy.connect().await;
        client.send(&format!("a {login}\r\n")).await.unwrap();
        clients.push(client);
    }
    // All of them are right, and at the backend.
    backend.has_read(3).await;
    open.send(true).unwrap();
    for client in &mut clients {
        answers.push(client.answer("a").await.unwrap()[0].starts_with("a OK"));
    }
    answers.sort_unstable();
    assert_eq!(answers, [false, true, true]);
    let (_, failed) = proxy.events.wait(0, "login_failed").await.unwrap();
    assert_eq!(text(&failed, "event.reason"), "session_limit");
    drop(clients);
    proxy.events.wait(0, "session_ended").await.unwrap();
    let mut again = proxy.connect().await;
    let said = again.command("b", &login).await.unwrap();
    assert!(said[0].starts_with("b OK"), "{said:?}");
}

/// A proxy that looks at one guess of a user from a network, and whose rule denies those who say that they are `evil`.
async fn denying(addr: SocketAddr, folder: &TempDir, more: &str) -> Proxy {
    let rule = "rules:\n  - {name: evil, description: Evil may not., on: login, \
                when: client.name == 'evil', then: [deny]}\n";
    let file = private_file(folder.path(), "rules.yaml", rule);
    let more = format!(
        "login: {{refusal_delay: 1s}}\nlimits: {{failures_per_user_and_network: 1}}\n\
         rules: {{packs: [], files: ['{}']}}\n{more}",
        file.display()
    );
    Proxy::start(addr, &more).await
}

/// Tries secrets in turn, as `evil`, and says why each was refused.
async fn denied(proxy: &Proxy, secrets: &[&str]) -> Vec<String> {
    let mut reasons = Vec::new();
    for secret in secrets {
        let seen = proxy.events.all().len();
        let mut client = proxy.connect().await;
        client.command("i", "ID (\"name\" \"evil\")").await.unwrap();
        let said = client
            .command("a", &format!("LOGIN alice {secret}"))
            .await
            .unwrap();
        assert_eq!(said, [format!("a {REFUSED}")], "{secret}");
        let (_, failed) = proxy.events.wait(seen, "login_failed").await.unwrap();
        reasons.push(text(&failed, "event.reason").to_owned());
    }
    reasons
}

/// When the next guess is looked at must not tell that the one before it was right.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_password_that_a_rule_denies_counts_as_a_wrong_one_does() {
    let backend = backend().await;
    for (secret, reason) in [(MAIL_PASSWORD, "policy_denied"), ("wrong", "password_invalid")] {
        let folder = TempDir::new().unwrap();
        let proxy = denying(backend.addr, &folder, "second_factor: {default: exempt}").await;
        proxy.add_user("alice").await;
        let reasons = denied(&proxy, &[secret, "another"]).await;
        assert_eq!(reasons, [reason, "rate_limited"]);
    }
}

/// Whose secret is known to be right has not guessed: those who share the network have more to lose than there is to hide.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_guessed_whose_secret_was_known_when_a_rule_denied_it() {
    let backend = backend().await;
    let folder = TempDir::new().unwrap();
    let proxy = denying(backend.addr, &folder, "").await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    // The third time a secret that counts as wrong would not be looked at.
    let reasons = denied(&proxy, &[password.as_str(); 3]).await;
    assert_eq!(reasons, ["policy_denied"; 3]);

    let folder = TempDir::new().unwrap();
    let proxy = denying(backend.addr, &folder, "second_factor: {default: exempt}").await;
    proxy.add_user("alice").await;
    let mut client = proxy.connect().await;
    let said = client
        .command("a", &format!("LOGIN alice {MAIL_PASSWORD}"))
        .await
        .unwrap();
    assert!(said[0].starts_with("a OK"), "{said:?}");
    let reasons = denied(&proxy, &[MAIL_PASSWORD, MAIL_PASSWORD, "wrong"]).await;
    assert_eq!(reasons, ["policy_denied", "policy_denied", "password_invalid"]);
}

/// What begins when time is up is not looked at: it would cost a code, and say who is asked about at the backend.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_begins_when_time_is_up_is_not_looked_at() {
    let backend = backend().await;
    let proxy = Proxy::start(backend.addr, "login: {timeout: 5s}").await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.connect().await;
    // Half a second of five is kept to tell of what was not answered.
    tokio::time::sleep(Duration::from_millis(4_600)).await;
    let login = format!("a LOGIN alice {password}\r\n");
    client.send(&login).await.unwrap();
    assert_eq!(client.rest().await.unwrap(), b"");
    let (_, ended) = proxy.events.wait(0, "connection_ended").await.unwrap();
    assert_eq!(text(&ended, "event.reason"), "login_timeout");
    assert_eq!(backend.mail.connections(), 0);
}

/// When time is up nobody hears anything, whatever was typed: neither who exists, nor whose right password a rule has denied.
#[tokio::test(flavor = "multi_thread")]
async fn logins_that_come_late_all_end_without_a_word() {
    let backend = backend().await;
    let folder = TempDir::new().unwrap();
    let rule = "rules:\n  - {name: nobody, description: Nobody may., on: login, \
                when: login.outcome == 'success', then: [deny]}\n";
    let file = private_file(folder.path(), "rules.yaml", rule);
    // Refusals would be answered when the login is over.
    let more = format!(
        "login: {{timeout: 5s, refusal_delay: 5s}}\nsecond_factor: {{default: exempt}}\n\
         limits: {{exempt: [loopback]}}\nrules: {{packs: [], files: ['{}']}}",
        file.display()
    );
    let proxy = Proxy::start(backend.addr, &more).await;
    proxy.add_user("alice").await;
    let mut at = 0;
    for (login, reason) in [
        (format!("alice {MAIL_PASSWORD}"), "policy_denied"),
        ("alice wrong".to_owned(), "password_invalid"),
        ("nobody wrong".to_owned(), "unknown_user"),
        ("\"a*b\" wrong".to_owned(), "invalid_user"),
    ] {
        let mut client = proxy.connect().await;
        client.send(&format!("a LOGIN {login}\r\n")).await.unwrap();
        assert_eq!(client.rest().await.unwrap(), b"", "{login}");
        let (found, event) = proxy.events.wait(at, "login_failed").await.unwrap();
        assert_eq!(text(&event, "event.reason"), reason, "{login}");
        let (_, ended) = proxy.events.wait(found, "connection_ended").await.unwrap();
        assert_eq!(text(&ended, "event.reason"), "login_timeout", "{login}");
        at = found + 1;
    }
}

/// B18: what the new Outlook sent in August 2026, and B19's empty initial response.
#[tokio::test(flavor = "multi_thread")]
async fn literals_that_do_not_wait_log_in_and_the_password_in_them_is_no_command() {
    let backend = backend().await;
    let proxy = Proxy::start(backend.addr, QUICK).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.connect().await;
    client
        .send(format!(
            "a LOGIN {{5+}}\r\nalice {{{}+}}\r\n{password}\r\nb NOOP\r\n",
            password.len()
        ))
        .await
        .unwrap();
    let said = client.answer("a").await.unwrap();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("a OK [CAPABILITY "), "{said:?}");
    assert!(client.answer("b").await.unwrap()[0].starts_with("b OK"));

    let mut client = proxy.connect().await;
    client.send("a AUTHENTICATE PLAIN =\r\n").await.unwrap();
    let said = client.answer("a").await.unwrap();
    assert!(said[0].starts_with("a BAD"), "an empty message is none: {said:?}");

    // A password that looks like commands stays a password.
    let mut client = proxy.connect().await;
    let said = client
        .command("c", "LOGIN {5+}\r\nalice {18+}\r\nx\r\nd LOGIN alice y")
        .await
        .unwrap();
    assert!(said.iter().all(|line| !line.starts_with("d ")), "{said:?}");
}

/// B26: a cache that outlives a revocation.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_app_password_ends_its_sessions_and_opens_no_more() {
    let backend = backend().await;
    let proxy = Proxy::start(backend.addr, QUICK).await;
    let (id, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let user = UserName::parse(b"alice").unwrap();
    let (_, other) = proxy.another_app_password(&user, MAIL_PASSWORD).await;
    let mut client = proxy.logged_in("alice", &password).await;
    let mut bystander = proxy.logged_in("alice", &other).await;
    let began = Instant::now();
    let accounts = Accounts::new(&*proxy.store, &proxy.keys);
    accounts.revoke_app_password(id, clock::unix()).await.unwrap();
    let last = String::from_utf8(client.rest().await.unwrap()).unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(last.starts_with("* BYE "), "{last}");
    let (_, event) = proxy.events.wait(0, "session_killed").await.unwrap();
    assert_eq!(text(&event, "event.reason"), "revoked");
    let mut client = proxy.connect().await;
    let said = client
        .command("a", &format!("LOGIN alice {password}"))
        .await
        .unwrap();
    assert_eq!(said, [format!("a {REFUSED}")]);
    alive(&mut bystander, "the other app password").await;
}

// Towards the backend.

/// Tag guessing: an answer to the login that was written before the login was sent.
#[tokio::test(flavor = "multi_thread")]
async fn tags_towards_a_backend_cannot_be_foreseen() {
    let backend = Scripted::start(vec![after_login(vec![Move::Drain])])
        .await
        .unwrap();
    let proxy = Proxy::start(backend.addr, QUICK).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut sessions = Vec::new();
    for _ in 0..5 {
        sessions.push(proxy.logged_in("alice", &password).await);
    }
    let lines = backend.lines();
    let tags: Vec<&str> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(tags.len(), 5);
    for (at, tag) in tags.iter().enumerate() {
        assert!(tag.len() >= 12, "{tag}: 64 bits take at least so many characters");
        assert!(tags[..at].iter().all(|other| other[..6] != tag[..6]), "{tags:?}");
    }
}

/// A forged origin: Dovecot believes `x-originating-ip` of a trusted peer, and we are one.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_state_its_origin_to_the_backend() {
    let backend = Scripted::start(vec![vec![
        say("* OK [CAPABILITY IMAP4rev1 ID] ready"),
        Move::Expect("ID"),
        say("* ID NIL\r\n{tag} OK"),
        Move::Expect("LOGIN"),
        say("{tag} OK [CAPABILITY IMAP4rev1 ID] in"),
        Move::Drain,
    ]])
    .await
    .unwrap();
    let proxy = Proxy::start(backend.addr, &format!("    forward_id: true\n{QUICK}")).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.connect().await;
    let id = "ID (\"name\" \"Mail\\\" x-originating-ip 6.6.6.6\" \"X-Originating-IP\" \"6.6.6.6\" \"x-proxy-ttl\" \"1\")";
    let said = client.command("i", id).await.unwrap();
    assert!(said.last().unwrap().starts_with("i OK"), "{said:?}");
    client
        .command("a", &format!("LOGIN alice {password}"))
        .await
        .unwrap();
    let told = backend.lines()[0].to_ascii_lowercase();
    assert!(told.contains("\"x-originating-ip\" \"127.0.0.1\""), "{told}");
    assert_eq!(told.matches("\"x-originating-ip\"").count(), 1, "{told}");
    assert!(!told.contains("x-proxy-ttl"), "{told}");
}

// After login.

/// P2: the client's word that it idles is not the backend's.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_idle_gets_no_way_around_the_command_table() {
    let refuses = after_login(vec![
        Move::Expect("IDLE"),
        say("{tag} NO not here"),
        Move::Expect("NOOP"),
        say("{tag} OK"),
        Move::Drain,
    ]);
    let idles = after_login(vec![
        Move::Expect("IDLE"),
        say("+ idling"),
        // The connection ends here: the next thing that is read would be too much.
        Move::ExpectLine("DONE"),
    ]);
    let backend = Scripted::start(vec![refuses, idles]).await.unwrap();
    let proxy = Proxy::start(backend.addr, QUICK).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;

    let mut client = proxy.logged_in("alice", &password).await;
    client
        .send("i IDLE\r\nx COMPRESS DEFLATE\r\ny UNAUTHENTICATE\r\nz NOOP\r\n")
        .await
        .unwrap();
    let said = client.answer("z").await.unwrap();
    let words: Vec<&str> = said.iter().map(|line| &line[..4]).collect();
    assert_eq!(words, ["i NO", "x BA", "y BA", "z OK"], "{said:?}");

    let mut client = proxy.logged_in("alice", &password).await;
    client.send("i IDLE\r\nx DELETE Archive\r\n").await.unwrap();
    let said = String::from_utf8(client.rest().await.unwrap()).unwrap();
    assert!(said.starts_with("+ idling\r\n* BYE "), "{said}");
    assert_eq!(backend.outcomes(1).await, [Outcome::Broken]);
    let heard = backend.lines();
    for never in ["COMPRESS", "UNAUTHENTICATE", "DELETE"] {
        assert!(heard.iter().all(|line| !line.contains(never)), "{heard:?}");
    }
}

/// P3: the bytes of a literal that the backend refuses.
#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_of_a_refused_literal_are_no_commands() {
    let script = after_login(vec![
        Move::Expect("APPEND nowhere {18}"),
        say("{tag} NO [TRYCREATE] no such mailbox"),
        Move::Expect("SELECT {20}"),
        say("{tag} BAD no literals here"),
        Move::Expect("NOOP"),
        say("{tag} OK"),
        Move::Drain,
    ]);
    let backend = Scripted::start(vec![script]).await.unwrap();
    let proxy = Proxy::start(backend.addr, QUICK).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.logged_in("alice", &password).await;
    client
        .send("a APPEND nowhere {18+}\r\nb DELETE Archive\r\n\r\nc SELECT {20+}\r\nd DELETE \"Archive\"\r\n\r\n")
        .await
        .unwrap();
    client.send("z NOOP\r\n").await.unwrap();
    let said = client.answer("z").await.unwrap();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said[0].starts_with("a NO [TRYCREATE]") && said[1].starts_with("c BAD"),
        "{said:?}"
    );
    let heard = backend.lines();
    assert!(heard.iter().all(|line| !line.contains("DELETE")), "{heard:?}");
    assert!(heard.iter().all(|line| !line.contains("+}")), "{heard:?}");
}

/// P1 and P4: what cannot be read, what nobody knows, and what would blind us.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_judged_is_never_sent() {
    let backend = Scripted::start(vec![after_login(vec![Move::Drain])])
        .await
        .unwrap();
    let proxy = Proxy::start(backend.addr, QUICK).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.logged_in("alice", &password).await;
    let lines = [
        "x COMPRESS DEFLATE",
        "x compress deflate",
        "x UNAUTHENTICATE",
        "x STARTTLS",
        "x LOGIN bob y",
        "x AUTHENTICATE PLAIN AGJvYgB5",
        "x XKILL 1",
        "x LOCALDELETE Archive",
        "x XAPPLEPUSHSERVICE a b",
        "x UID XYZ 1",
        "x DELETE Archive extra",
        "x SELECT \"open",
        "x NOOP {3}",
        "x DELETE {3",
        "x DELETE { 3}",
        "x DELETE {3-}",
    ];
    for line in lines {
        let said = client.command("x", &line[2..]).await.unwrap();
        assert!(said.last().unwrap().starts_with("x BAD"), "{line}: {said:?}");
    }
    // Without a tag there is nothing to answer to.
    for line in ["", " DELETE Archive", "(x DELETE Archive", "x\tDELETE Archive"] {
        client.send(format!("{line}\r\n")).await.unwrap();
        let said = client.response().await.unwrap();
        assert!(
            said.starts_with("* BAD") || said.starts_with("x\tDELETE BAD"),
            "{line}: {said}"
        );
    }
    // Backends disagree where these end a line: the session is over.
    for line in [
        "x NOOP\ny DELETE Archive\r\n",
        "x NOOP\ry DELETE Archive\r\n",
        "x NOOP\0\r\n",
    ] {
        let mut client = proxy.logged_in("alice", &password).await;
        client.send(line).await.unwrap();
        let said = String::from_utf8(client.rest().await.unwrap()).unwrap();
        assert!(said.starts_with("* BYE "), "{line:?}: {said}");
    }
    let logins = backend.lines();
    assert!(logins.iter().all(|line| line.contains(" LOGIN ")), "{logins:?}");
}

/// B8: the announced size is larger than anything that is taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_literal_over_the_limit_is_thrown_away_or_ends_the_session() {
    let backend = backend().await;
    let proxy = Proxy::start(backend.addr, &format!("{QUICK}\nrelay:\n  literal_limit: 1MiB")).await;
    let (_, password) = proxy.app_password("alice", MAIL_PASSWORD).await;
    let mut client = proxy.logged_in("alice", &password).await;
    // A client that waits is told before it sends.
    let said = client.command("a", "APPEND INBOX {1048577}").await.unwrap();
    assert!(said[0].starts_with("a NO [TOOBIG]"), "{said:?}");
    // In a command without a place for it, up to the limit: thrown away.
    let body = "b DELETE Archive\r\n".repeat(50_000);
    client
        .send(format!("c NOOP {{{}+}}\r\n{body}\r\nd NOOP\r\n", body.len()))
        .await
        .unwrap();
    let said = client.answer("d").await.unwrap();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with("c BAD") && said[1].starts_with("d OK"),
        "{said:?}"
    );
    // Beyond: nobody knows where it would end.
    client
        .send("e APPEND INBOX {1048577+}\r\nf DELETE Archive\r\n")
        .await
        .unwrap();
    let said = String::from_utf8(client.rest().await.unwrap()).unwrap();
    assert!(
        said.starts_with("e NO [TOOBIG]") && said.contains("* BYE "),
        "{said}"
    );
    let ran = backend.mail.transcript();
    assert!(ran.iter().all(|command| !command.contains("DELETE")), "{ran:?}");
}
