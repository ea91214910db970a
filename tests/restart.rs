//! Restarts that no client notices: sockets that systemd keeps, an address that two processes share for a moment, and what the
//! service manager is told.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a fault must fail the test"
)]

mod support;

use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use socket2::SockRef;
use support::client::Client;
use support::memory::Mail;
use support::memory::Server;
use support::program::Place;
use support::program::until;
use support::proxy::yaml;
use tokio::task::JoinSet;

const MAIL_PASSWORD: &str = "right horse";

/// Clients that connect at the same time.
const CLIENTS: usize = 16;

async fn backend() -> Server {
    let mail = Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    Server::start(mail).await.unwrap()
}

/// Clients that connect again and again, each until it has a greeting.
struct Load {
    going: Arc<AtomicBool>,
    greeted: Arc<AtomicUsize>,
    clients: JoinSet<()>,
}

impl Load {
    fn start(addr: SocketAddr, certificate: &CertificateDer<'static>) -> Self {
        let mut load = Self {
            going: Arc::new(AtomicBool::new(true)),
            greeted: Arc::default(),
            clients: JoinSet::new(),
        };
        for _ in 0..CLIENTS {
            let (going, greeted) = (Arc::clone(&load.going), Arc::clone(&load.greeted));
            let certificate = certificate.clone();
            load.clients.spawn(async move {
                while going.load(Ordering::Relaxed) {
                    let client = Client::tls(addr, &certificate, "localhost").await;
                    let mut client = client.unwrap_or_else(|error| panic!("refused: {error}"));
                    let greeting = client.response().await.unwrap();
                    assert!(greeting.starts_with("* OK "), "{greeting}");
                    greeted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        load
    }

    /// Waits for so many more greetings; a client that was refused ends the test.
    async fn goes_on(&mut self) {
        let before = self.greeted.load(Ordering::Relaxed);
        let greeted = Arc::clone(&self.greeted);
        until("clients are greeted", || {
            let greeted = greeted.load(Ordering::Relaxed);
            async move { greeted > before + 4 * CLIENTS }
        })
        .await;
        assert!(self.clients.try_join_next().is_none(), "a client was refused");
    }

    async fn stop(mut self) {
        self.going.store(false, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
    }
}

const FAST: &str = "limits: {exempt: [loopback]}\ndrain: {timeout: 2s, spread: 0s}";

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_under_load_on_sockets_that_were_passed_refuses_no_connection() {
    let backend = backend().await;
    let place = Place::new(backend.addr, FAST);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    SockRef::from(&socket).set_cloexec(false).unwrap();
    let addr = socket.local_addr().unwrap();
    let shell = format!(
        "exec 3<&{}; LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=imaps exec \"$@\"",
        socket.as_raw_fd()
    );
    let mut first = place.start_under(&shell).await;
    assert_eq!(first.addrs, [addr]);
    let mut load = Load::start(addr, first.certificate.as_ref().unwrap());
    for _ in 0..3 {
        load.goes_on().await;
        first.signal("TERM");
        let status = first.wait(Duration::from_secs(20)).await;
        assert!(status.success(), "{}", first.log());
        first = place.start_under(&shell).await;
    }
    load.goes_on().await;
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_are_not_the_listeners_stop_the_start_and_are_named() {
    let backend = backend().await;
    let text = yaml(backend.addr, "").replacen("'127.0.0.1:0'", "'127.0.0.1:1'", 1);
    let place = Place::configured(&text);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    SockRef::from(&socket).set_cloexec(false).unwrap();
    let shell = format!(
        "exec 3<&{}; LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=imaps exec \"$@\"",
        socket.as_raw_fd()
    );
    let child = place.command(&shell, &["serve"]).spawn().unwrap();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output());
    let output = output.await.unwrap().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    let addr = socket.local_addr().unwrap();
    for word in [
        "nothing was passed for 127.0.0.1:1",
        &format!("passed, but not configured: {addr} (imaps)"),
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_takes_over_under_load_and_no_connection_is_refused() {
    let backend = backend().await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let more = "limits: {exempt: [loopback]}\ndrain: {timeout: 2s, spread: 0s, hand_over: true}";
    let text = yaml(backend.addr, more).replacen("127.0.0.1:0", &addr.to_string(), 1);
    let place = Place::configured(&text);
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let mut older = place.start().await;
    let mut load = Load::start(addr, older.certificate.as_ref().unwrap());
    for _ in 0..3 {
        load.goes_on().await;
        let mut session = older.logged_in("alice", &password).await;
        let newer = place.start().await;
        let rest = String::from_utf8(session.rest().await.unwrap()).unwrap();
        assert!(rest.contains("* BYE"), "{rest}");
        let status = older.wait(Duration::from_secs(20)).await;
        assert!(status.success(), "{}", older.log());
        assert!(
            older.log().contains("another process has taken over"),
            "{}",
            older.log()
        );
        older = newer;
        // The control socket is the newer one's.
        let _session = older.logged_in("alice", &password).await;
        let listed = place.json("", &["session", "list"]).await;
        assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    }
    load.goes_on().await;
    load.stop().await;
    older.signal("TERM");
    older.wait(Duration::from_secs(20)).await;
    assert!(!place.path("data/control.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_process_drains_its_sessions_are_listed_and_ended_through_the_next() {
    let backend = backend().await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let more = "drain: {hand_over: true, spread: 60s, timeout: 90s}";
    let text = yaml(backend.addr, more).replacen("127.0.0.1:0", &addr.to_string(), 1);
    let place = Place::configured(&text);
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let older = place.start().await;
    let mut sessions = vec![
        older.logged_in("alice", &password).await,
        older.logged_in("alice", &password).await,
        older.logged_in("alice", &password).await,
    ];
    let newer = place.start().await;
    // One has its turn at once, the next one twenty seconds later.
    older.logged("another process has taken over").await;
    let name = format!(":{}", older.pid());
    until("those that wait are listed", || async {
        let listed = place.json("", &["session", "list"]).await;
        let listed = listed.as_array().unwrap();
        listed.len() == 2
            && listed
                .iter()
                .all(|row| row["replica"].as_str().unwrap().ends_with(&name))
    })
    .await;
    let killed = place.json("", &["session", "kill", "--user", "alice"]).await;
    assert_eq!(killed["killed"], 2);
    for session in &mut sessions {
        let rest = String::from_utf8(session.rest().await.unwrap()).unwrap();
        assert!(rest.contains("* BYE"), "{rest}");
    }
    drop(newer);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_hand_over_a_second_process_does_not_start() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let program = place.start().await;
    let said = place.run("", &["serve"]).await;
    assert_eq!(said.code, Some(73), "{said:?}");
    assert!(
        said.err.contains("another imapwarden is running here"),
        "{}",
        said.err
    );
    assert_eq!(program.get("/readyz").await.0, 200);
    assert!(place.path("data/control.sock").exists());
}

/// The service manager's end of the socket.
struct Manager(UnixDatagram);

impl Manager {
    /// The next message that is no sign of life.
    fn next(&self) -> String {
        loop {
            let message = self.any();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    fn any(&self) -> String {
        let mut bytes = [0; 256];
        let count = self.0.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).trim_end().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_hears_of_start_reload_life_and_end() {
    let backend = backend().await;
    let place = Place::new(backend.addr, FAST);
    let manager = Manager(UnixDatagram::bind(place.path("notify")).unwrap());
    manager.0.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let shell = format!(
        "NOTIFY_SOCKET={} WATCHDOG_USEC=300000 WATCHDOG_PID=$$ exec \"$@\"",
        place.path("notify").display()
    );
    let mut program = place.start_under(&shell).await;
    assert_eq!(manager.next(), "READY=1");
    assert_eq!(manager.any(), "WATCHDOG=1");
    assert_eq!(manager.any(), "WATCHDOG=1");
    program.signal("HUP");
    let reloading = manager.next();
    let (first, second) = reloading.split_once('\n').unwrap();
    assert_eq!(first, "RELOADING=1");
    let when = second.strip_prefix("MONOTONIC_USEC=").unwrap();
    assert!(when.parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(manager.next(), "READY=1");
    program.signal("TERM");
    assert_eq!(manager.next(), "STOPPING=1");
    assert!(program.wait(Duration::from_secs(20)).await.success());
}
