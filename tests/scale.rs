//! Crowds: many sessions at once, connections that never speak or only drip, no descriptors left, answers never read. What
//! counts is memory and that somebody else can still log in; nothing here depends on how fast the machine is.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::print_stdout,
    reason = "a fault must fail the test; what was measured is shown"
)]

mod support;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use support::client::TlsClient;
use support::crowd::Crowd;
use support::crowd::OPEN;
use support::crowd::each;
use support::crowd::many;
use support::crowd::memory;
use support::crowd::raise_descriptors;
use support::crowd::usage;
use support::crowd::works;
use support::program::Place;
use support::program::Program;
use support::program::is_known_here;
use support::program::until;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

const MAIL_PASSWORD: &str = "mail-password";

/// Longest wait for something that a busy machine may take a while for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A backend that says yes to everything, for any number of sessions, and counts commands.
struct Yes {
    addr: SocketAddr,
    heard: Arc<AtomicUsize>,
    accept: tokio::task::JoinHandle<()>,
}

impl Yes {
    /// `answer` stands before every tagged OK after login.
    async fn start(answer: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heard = Arc::new(AtomicUsize::new(0));
        let (count, answer): (_, Arc<str>) = (Arc::clone(&heard), answer.into());
        let accept = tokio::spawn(async move {
            let mut sessions = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                sessions.spawn(say_yes(stream, Arc::clone(&count), Arc::clone(&answer)));
            }
        });
        Self { addr, heard, accept }
    }
}

impl Drop for Yes {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn say_yes(stream: TcpStream, heard: Arc<AtomicUsize>, answer: Arc<str>) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(1024, stream);
    stream
        .write_all(b"* OK [CAPABILITY IMAP4rev1 IDLE] ready\r\n")
        .await?;
    let (mut line, mut idle) = (String::new(), String::new());
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        heard.fetch_add(1, Ordering::Relaxed);
        let mut words = line.split_whitespace();
        let (tag, verb) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let reply = match (tag, verb) {
            ("DONE", _) => format!("{idle} OK done\r\n"),
            (_, "LOGIN") => format!("{tag} OK [CAPABILITY IMAP4rev1 IDLE] in\r\n"),
            (_, "IDLE") => {
                tag.clone_into(&mut idle);
                "+ idling\r\n".to_owned()
            }
            _ => format!("{answer}{tag} OK done\r\n"),
        };
        stream.write_all(reply.as_bytes()).await?;
    }
}

/// CPU time that a process has used.
fn cpu(program: &Program) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", program.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = |at: usize| -> u64 { fields.split(' ').nth(at).unwrap().parse().unwrap() };
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sessions_idle_and_work_at_once_within_their_memory() {
    const SESSIONS: usize = 1000;
    raise_descriptors();
    let backend = Yes::start(format!(
        "* 1 FETCH (BODY[] {{60000}}\r\n{})\r\n",
        "x".repeat(60_000)
    ))
    .await;
    let place = Place::new(backend.addr, OPEN);
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let password: Arc<str> = password.into();
    let program = place.start().await;
    let crowd = Crowd::new(&program);
    // What is needed once, whoever comes: threads, caches, allocator.
    let warm = many(50, || crowd.clone().logged_in(Arc::clone(&password))).await;
    drop(warm);
    until("they have gone", || async {
        program.metric("imapwarden_connections{phase=\"relay\"}").await == 0
    })
    .await;
    let before = memory(&program);

    let sessions = many(SESSIONS, || crowd.clone().logged_in(Arc::clone(&password))).await;
    let fresh = each(before, memory(&program), SESSIONS);
    let mut working = JoinSet::new();
    for (number, mut client) in sessions.into_iter().enumerate() {
        working.spawn(async move {
            if number % 2 == 0 {
                client.send("i IDLE\r\n").await.unwrap();
                assert_eq!(client.response().await.unwrap(), "+ idling");
                return client;
            }
            for _ in 0..5 {
                client
                    .send("a FETCH 1 BODY[]\r\nb FETCH 1 BODY[]\r\n")
                    .await
                    .unwrap();
                assert_eq!(client.answer("a").await.unwrap()[0].len(), 60_000 + 28);
                client.answer("b").await.unwrap();
            }
            client
        });
    }
    let sessions = timeout(PATIENCE, working.join_all()).await.unwrap();
    let after = each(before, memory(&program), SESSIONS);
    println!("a session takes {fresh} KiB at first, {after} KiB after work");
    assert!(fresh <= 64, "{fresh} KiB for each session");
    assert!(
        after <= 64,
        "{after} KiB for each session that has worked and idles"
    );
    assert_eq!(
        program.metric("imapwarden_connections{phase=\"relay\"}").await,
        u64::try_from(SESSIONS).unwrap()
    );
    drop(sessions);
    until("all have ended", || async {
        program.metric("imapwarden_connections{phase=\"relay\"}").await == 0
    })
    .await;
}

/// As after a restart of the network: no client waits for another.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_clients_that_come_back_at_once_are_all_served_within_their_memory() {
    const CLIENTS: usize = 2000;
    raise_descriptors();
    let backend = Yes::start(String::new()).await;
    let place = Place::new(backend.addr, OPEN);
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let password: Arc<str> = password.into();
    let program = place.start().await;
    let crowd = Crowd::new(&program);
    drop(many(50, || crowd.clone().logged_in(Arc::clone(&password))).await);
    let before = memory(&program);

    let mut storm = JoinSet::new();
    for _ in 0..CLIENTS {
        let (crowd, password) = (crowd.clone(), Arc::clone(&password));
        storm.spawn(async move { crowd.logged_in(password).await });
    }
    // Whoever is refused, or cut off at the deadline of its login, fails here.
    let mut sessions = timeout(PATIENCE * 2, storm.join_all()).await.unwrap();
    let peak = each(before, usage(&program, "VmHWM:"), CLIENTS);
    println!("a client takes {peak} KiB at the height of the storm");
    assert!(peak <= 64, "{peak} KiB for each client");
    for client in sessions.iter_mut().step_by(100) {
        works(client).await;
    }
    assert_eq!(
        program.metric("imapwarden_connections{phase=\"relay\"}").await,
        2000
    );
}

/// Behind one address, with the limits that hold by default: on the first day with app passwords, later with mail passwords, too.
#[tokio::test(flavor = "multi_thread")]
async fn an_office_that_comes_at_once_gets_in_on_the_first_day_and_after_a_restart() {
    let backend = Yes::start(String::new()).await;
    let place = Place::new(backend.addr, "second_factor: {default: exempt}");
    let mut staff = Vec::new();
    for number in 0..90 {
        let name = format!("staff{number}");
        let (_, password) = place.app_password(&name, MAIL_PASSWORD).await;
        staff.push((name, password));
    }
    let program = Arc::new(place.start().await);
    drop(all_at_once(&program, &staff).await);
    let kept = place.open().await;
    until("all are known from here", || async {
        for (name, _) in &staff {
            if !is_known_here(&kept, name).await {
                return false;
            }
        }
        true
    })
    .await;
    drop(program);

    let program = Arc::new(place.start().await);
    for (_, password) in &mut staff {
        MAIL_PASSWORD.clone_into(password);
    }
    let mut sessions = all_at_once(&program, &staff).await;
    works(&mut sessions[0]).await;
}

async fn all_at_once(program: &Arc<Program>, staff: &[(String, String)]) -> Vec<TlsClient> {
    let mut storm = JoinSet::new();
    for (name, password) in staff {
        let (name, password, program) = (name.clone(), password.clone(), Arc::clone(program));
        storm.spawn(async move { program.logged_in(&name, &password).await });
    }
    let sessions = timeout(PATIENCE, storm.join_all()).await.unwrap();
    assert_eq!(sessions.len(), staff.len());
    sessions
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_connections_that_never_speak_cost_little_and_stop_nobody() {
    const HALF: usize = 2500;
    raise_descriptors();
    let backend = Yes::start(String::new()).await;
    let place = Place::new(
        backend.addr,
        &format!("{OPEN}login: {{handshake_timeout: 1m, timeout: 5m}}\n"),
    );
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let crowd = Crowd::new(&program);
    drop(many(50, || crowd.clone().tls()).await);
    works(&mut program.logged_in("alice", &password).await).await;
    let phase = async |phase: &str| {
        program
            .metric(&format!("imapwarden_connections{{phase=\"{phase}\"}}"))
            .await
    };
    until("they have gone", || async { phase("pre_auth").await == 0 }).await;
    let before = memory(&program);

    let before_tls = many(HALF, || crowd.clone().tcp()).await;
    until("all are accepted", || async { phase("handshake").await == 2500 }).await;
    let middle = memory(&program);
    let after_tls = many(HALF, || crowd.clone().tls()).await;
    let end = memory(&program);
    assert_eq!((phase("handshake").await, phase("pre_auth").await), (2500, 2500));
    let (silent, greeted) = (each(before, middle, HALF), each(middle, end, HALF));
    println!("a connection takes {silent} KiB before TLS and {greeted} KiB before login");
    assert!(silent <= 32, "{silent} KiB for each connection before TLS");
    assert!(greeted <= 32, "{greeted} KiB for each connection before login");

    let mut client = timeout(PATIENCE, program.logged_in("alice", &password))
        .await
        .unwrap();
    works(&mut client).await;
    drop((before_tls, after_tls));
    until("all have ended", || async {
        phase("handshake").await + phase("pre_auth").await == 0
    })
    .await;
    works(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_little_address_space_left_a_crowd_does_not_end_it() {
    const CROWD: usize = 1000;
    raise_descriptors();
    let backend = Yes::start(String::new()).await;
    let place = Place::new(backend.addr, OPEN);
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let crowd = Crowd::new(&program);
    let mut before = program.logged_in("alice", &password).await;
    let space = usage(&program, "VmSize:") + 48 * 1024;
    program.prlimit(&format!("--as={}", space * 1024));
    let silent = many(CROWD / 2, || crowd.clone().tcp()).await;
    let greeted = many(CROWD / 2, || crowd.clone().tls()).await;
    works(&mut before).await;
    works(&mut program.logged_in("alice", &password).await).await;
    assert_eq!(program.get("/readyz").await.0, 200);
    drop((silent, greeted));
}

/// Sends a byte now and then until the program has had enough.
async fn drip(mut stream: impl AsyncWrite + Unpin, byte: u8) {
    while stream.write_all(&[byte]).await.is_ok() && stream.flush().await.is_ok() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_only_drips_is_let_go_at_its_deadline_and_stops_nobody() {
    raise_descriptors();
    let backend = Yes::start(String::new()).await;
    let place = Place::new(
        backend.addr,
        &format!("{OPEN}login: {{handshake_timeout: 5s, timeout: 5s}}\n"),
    );
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let crowd = Crowd::new(&program);
    let mut dripping = JoinSet::new();
    for client in many(250, || crowd.clone().tls()).await {
        dripping.spawn(drip(client.into_inner(), b'x'));
    }
    for mut stream in many(250, || crowd.clone().tcp()).await {
        // The head of a long record with a client's hello.
        stream
            .write_all(b"\x16\x03\x01\x20\x00\x01\x00\x1f\xfc")
            .await
            .unwrap();
        dripping.spawn(drip(stream, 3));
    }
    let mut client = program.logged_in("alice", &password).await;
    works(&mut client).await;
    timeout(PATIENCE, dripping.join_all()).await.unwrap();
    works(&mut client).await;
    let ends =
        |reason: &str| format!("imapwarden_connection_ends_total{{reason=\"{reason}\",side=\"client\"}}");
    assert_eq!(program.metric(&ends("login_timeout")).await, 250);
    assert_eq!(program.metric(&ends("tls_handshake_timeout")).await, 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_it_waits_quietly_and_goes_on_when_the_crowd_leaves() {
    raise_descriptors();
    let backend = Yes::start(String::new()).await;
    let place = Place::new(backend.addr, &format!("{OPEN}login: {{handshake_timeout: 1m}}\n"));
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start_under("ulimit -n 128; exec \"$@\"").await;
    let crowd = Crowd::new(&program);
    let mut before = program.logged_in("alice", &password).await;
    let waiting = many(300, || crowd.clone().tcp()).await;
    program.logged("cannot accept connections").await;
    let used = cpu(&program);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = cpu(&program) - used;
    assert!(
        used < Duration::from_millis(500),
        "{used:?} of CPU in three seconds of waiting"
    );
    works(&mut before).await;
    drop(waiting);
    until("it accepts again", || async {
        program.log().contains("accepting connections again")
    })
    .await;
    works(&mut program.logged_in("alice", &password).await).await;
    works(&mut before).await;
    assert_eq!(program.get("/readyz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_commands_whose_answers_nobody_reads_take_no_memory_and_none_is_lost() {
    const COMMANDS: usize = 100_000;
    raise_descriptors();
    let backend = Yes::start(format!("* OK {}\r\n", "x".repeat(200))).await;
    let place = Place::new(backend.addr, OPEN);
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut other = program.logged_in("alice", &password).await;
    let client = program.logged_in("alice", &password).await;
    works(&mut other).await;
    let before = memory(&program);
    let (mut read, mut write) = tokio::io::split(client.into_inner());
    let sending = tokio::spawn(async move {
        let commands: String = (0..COMMANDS)
            .map(|number| format!("c{number} NOOP\r\n"))
            .collect();
        write.write_all(commands.as_bytes()).await.unwrap();
        write.flush().await.unwrap();
        write
    });
    // Until nothing moves any more: every buffer on the way is full.
    let mut heard = 0;
    until("it stands still", || {
        let now = backend.heard.load(Ordering::Relaxed);
        let stands = now == heard && now > 100;
        heard = now;
        async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            stands
        }
    })
    .await;
    let growth = memory(&program).saturating_sub(before);
    println!("{heard} commands were heard, {growth} KiB taken");
    assert!(heard < COMMANDS, "the answers of all fit somewhere");
    assert!(growth < 4096, "{growth} KiB");
    works(&mut other).await;

    let mut lines = BufReader::new(&mut read).lines();
    let all = async {
        for number in 0..COMMANDS {
            assert!(lines.next_line().await.unwrap().unwrap().starts_with("* OK x"));
            let tagged = lines.next_line().await.unwrap().unwrap();
            assert_eq!(tagged, format!("c{number} OK done"));
        }
    };
    timeout(PATIENCE, all).await.unwrap();
    sending.await.unwrap();
}
