//! Whoever reads slowly, or not at all, costs a bounded share of memory and stops nobody: not others, not the other direction of the
//! same session.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a fault must fail the test; what was measured is shown"
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use support::client::TlsClient;
use support::crowd::Crowd;
use support::crowd::OPEN;
use support::crowd::each;
use support::crowd::log_in;
use support::crowd::many;
use support::crowd::memory;
use support::crowd::raise_descriptors;
use support::crowd::works;
use support::program::Place;
use support::program::until;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::io::copy;
use tokio::io::sink;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio::time::timeout;

const MAIL_PASSWORD: &str = "mail-password";

/// Longest wait for something that a busy machine may take a while for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A message of 50 MB, in blocks of so many bytes.
const MESSAGE: u64 = 50 * 1024 * 1024;
const BLOCK: u32 = 64 * 1024;

/// What a client appends: so many such blocks.
const APPENDED_BLOCKS: u64 = 320;
const APPENDED: u64 = APPENDED_BLOCKS * 65_536;

/// A backend with one message, which counts what goes through it.
struct Backend {
    addr: SocketAddr,
    sent: Arc<AtomicU64>,
    appended: Arc<AtomicU64>,
    accept: JoinHandle<()>,
}

impl Backend {
    /// `reads` is whether it takes what is appended.
    fn start(reads: bool) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Little room in the kernel: what counts is what the proxy holds.
        socket.set_send_buffer_size(BLOCK).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(1024).unwrap();
        let addr = listener.local_addr().unwrap();
        let (sent, appended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counters = (Arc::clone(&sent), Arc::clone(&appended));
        let accept = tokio::spawn(async move {
            let mut sessions = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (sent, appended) = counters.clone();
                sessions.spawn(async move {
                    // Ends when the client has gone.
                    let _ = serve(stream, &sent, &appended, reads).await;
                });
            }
        });
        Self {
            addr,
            sent,
            appended,
            accept,
        }
    }

    /// Waits until nothing is sent any more: every buffer on the way is full.
    async fn stands_still(&self) {
        let mut before = 0;
        until("it stands still", || {
            let now = self.sent.load(Ordering::Relaxed);
            let stands = now == before && now > 0;
            before = now;
            async move {
                sleep(Duration::from_millis(500)).await;
                stands
            }
        })
        .await;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    sent: &AtomicU64,
    appended: &AtomicU64,
    reads: bool,
) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::with_capacity(1024, read);
    write
        .write_all(b"* OK [CAPABILITY IMAP4rev1 IDLE] ready\r\n")
        .await?;
    let (mut line, mut fetch) = (String::new(), None);
    loop {
        line.clear();
        if lines.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (tag, verb) = (
            words.next().unwrap_or_default().to_owned(),
            words.next().unwrap_or_default(),
        );
        match verb {
            // A tag that begins so has an APPEND behind it, and waits for that.
            "FETCH" if tag.starts_with("with-append") => fetch = Some(tag),
            "FETCH" => message(&mut write, &tag, sent).await?,
            "LOGIN" => {
                let answer = format!("{tag} OK [CAPABILITY IMAP4rev1 IDLE] in\r\n");
                write.write_all(answer.as_bytes()).await?;
            }
            "APPEND" => {
                write.write_all(b"+ go on\r\n").await?;
                let literal = async {
                    let mut literal = (&mut lines).take(if reads { APPENDED } else { 0 });
                    let mut buffer = block(0);
                    loop {
                        let read = literal.read(&mut buffer).await?;
                        appended.fetch_add(read.try_into().unwrap(), Ordering::Relaxed);
                        if read == 0 {
                            return std::io::Result::Ok(());
                        }
                    }
                };
                let fetched = async {
                    match fetch.take() {
                        Some(tag) => message(&mut write, &tag, sent).await,
                        None => Ok(()),
                    }
                };
                tokio::try_join!(literal, fetched)?;
                if !reads {
                    // Until it is aborted.
                    std::future::pending::<()>().await;
                }
                line.clear();
                lines.read_line(&mut line).await?;
                write
                    .write_all(format!("{tag} OK appended\r\n").as_bytes())
                    .await?;
            }
            _ => write.write_all(format!("{tag} OK done\r\n").as_bytes()).await?,
        }
    }
}

fn block(byte: u8) -> Vec<u8> {
    vec![byte; BLOCK.try_into().unwrap()]
}

/// Writes what is appended.
async fn append(write: &mut (impl AsyncWriteExt + Unpin)) -> std::io::Result<()> {
    let block = block(b'y');
    for _ in 0..APPENDED_BLOCKS {
        write.write_all(&block).await?;
    }
    write.write_all(b"\r\n").await?;
    write.flush().await
}

/// The message as a response to FETCH.
async fn message(
    write: &mut (impl AsyncWriteExt + Unpin),
    tag: &str,
    sent: &AtomicU64,
) -> std::io::Result<()> {
    write
        .write_all(format!("* 1 FETCH (BODY[] {{{MESSAGE}}}\r\n").as_bytes())
        .await?;
    let block = block(b'x');
    for _ in 0..MESSAGE / u64::from(BLOCK) {
        write.write_all(&block).await?;
        sent.fetch_add(BLOCK.into(), Ordering::Relaxed);
    }
    write
        .write_all(format!(")\r\n{tag} OK fetched\r\n").as_bytes())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_clients_that_read_a_message_at_a_kib_a_second_take_at_most_64_kib_each() {
    const READERS: usize = 500;
    const SECONDS: usize = 4;
    raise_descriptors();
    let backend = Backend::start(true);
    let place = Place::new(backend.addr, OPEN);
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let password: Arc<str> = password.into();
    let program = place.start().await;
    let crowd = Crowd::new(&program);
    let mut other = program.logged_in("alice", &password).await;
    let before = memory(&program);
    let readers = many(READERS, || slow_reader(crowd.clone(), Arc::clone(&password))).await;
    let idle = memory(&program);

    let mut reading = JoinSet::new();
    for mut client in readers {
        client.send("f FETCH 1 (BODY[])\r\n").await.unwrap();
        // What comes is read as it comes, without being opened: TLS would only read more at once.
        let (mut stream, _) = client.into_inner().into_inner().into_inner();
        reading.spawn(async move {
            let mut bytes = [0; 1024];
            for _ in 0..SECONDS {
                stream.read_exact(&mut bytes).await.unwrap();
                sleep(Duration::from_secs(1)).await;
            }
            stream
        });
    }
    let mut most = idle;
    let mut streams = Vec::new();
    while let Some(stream) = reading.join_next().await {
        streams.push(stream.unwrap());
        most = most.max(memory(&program));
    }
    backend.stands_still().await;
    most = most.max(memory(&program));
    works(&mut other).await;
    let (idle, slow) = (each(before, idle, READERS), each(idle, most, READERS));
    println!("a session takes {idle} KiB, and {slow} KiB more while its client reads slowly");
    assert!(slow <= 64, "{slow} KiB for each client that reads slowly");

    drop(streams);
    until("they have gone", || async {
        program.metric("imapwarden_connections{phase=\"relay\"}").await == 1
    })
    .await;
    works(&mut other).await;
}

async fn slow_reader(crowd: Crowd, password: Arc<str>) -> TlsClient {
    let mut client = crowd.narrow().await;
    log_in(&mut client, &password).await;
    client
}

/// A client that has asked for the message and for leave to append, and has that leave.
async fn both_ways(crowd: &Crowd, password: &Arc<str>) -> TlsClient {
    let mut client = crowd.clone().logged_in(Arc::clone(password)).await;
    let commands = format!("with-append FETCH 1 (BODY[])\r\na APPEND Sent {{{APPENDED}}}\r\n");
    client.send(commands).await.unwrap();
    assert_eq!(client.response().await.unwrap(), "+ go on");
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_can_still_append() {
    let backend = Backend::start(true);
    let place = Place::new(backend.addr, OPEN);
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let crowd = Crowd::new(&program);
    let client = both_ways(&crowd, &password.into()).await;
    backend.stands_still().await;
    assert!(
        backend.sent.load(Ordering::Relaxed) < MESSAGE,
        "all of it fits somewhere"
    );
    let before = memory(&program);
    let (mut read, mut write) = tokio::io::split(client.into_inner());
    let all = async {
        append(&mut write).await.unwrap();
        until("the backend has it", || async {
            backend.appended.load(Ordering::Relaxed) == APPENDED
        })
        .await;
    };
    timeout(PATIENCE, all).await.unwrap();
    let growth = memory(&program).saturating_sub(before);
    println!("{growth} KiB taken");
    assert!(growth < 1024, "{growth} KiB for what a client appends");
    // Now it reads after all, and nothing is lost.
    let mut lines = BufReader::new(&mut read);
    let announced = format!("* 1 FETCH (BODY[] {{{MESSAGE}}}\r\n");
    let mut line = String::new();
    lines.read_line(&mut line).await.unwrap();
    assert_eq!(line, announced);
    let mut literal = (&mut lines).take(MESSAGE);
    let copied = timeout(PATIENCE, copy(&mut literal, &mut sink())).await.unwrap();
    assert_eq!(copied.unwrap(), MESSAGE);
    let mut rest = String::new();
    for _ in 0..3 {
        lines.read_line(&mut rest).await.unwrap();
    }
    assert_eq!(rest, ")\r\nwith-append OK fetched\r\na OK appended\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_does_not_read_can_still_send() {
    let backend = Backend::start(false);
    let place = Place::new(backend.addr, OPEN);
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let crowd = Crowd::new(&program);
    let client = both_ways(&crowd, &password.into()).await;
    let (read, mut write) = tokio::io::split(client.into_inner());
    let stuck = tokio::spawn(async move {
        // Never ends by itself: nobody takes it.
        let _ = append(&mut write).await;
    });
    let mut message = read.take(MESSAGE);
    let copied = timeout(PATIENCE, copy(&mut message, &mut sink())).await.unwrap();
    assert_eq!(copied.unwrap(), MESSAGE);
    assert!(!stuck.is_finished(), "what is appended fits somewhere");
    assert_eq!(backend.appended.load(Ordering::Relaxed), 0);
    stuck.abort();
}
