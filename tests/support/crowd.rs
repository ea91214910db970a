//! Crowds of clients, and the memory that the program takes for them.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::client::Client;
use super::client::TlsClient;
use super::program::Program;

/// Connections made at once by a crowd.
const PARALLEL: usize = 32;

/// Descriptors that the tests of one file need together.
const DESCRIPTORS: usize = 16_000;

/// No limit on anybody, so that the crowds come in.
pub const OPEN: &str = "limits: {exempt: [loopback], connections: 20000, sessions_per_user: 20000, \
                    sessions_per_user_and_network: 20000}\n";

/// Lets this process, and those that it starts from now on, open enough files.
pub fn raise_descriptors() {
    let own = std::process::id().to_string();
    let limit = format!("--nofile={DESCRIPTORS}:");
    let raised = Command::new("prlimit")
        .args(["--pid", &own, &limit])
        .status()
        .unwrap();
    assert!(
        raised.success(),
        "the hard limit on open files is below {DESCRIPTORS}"
    );
}

/// Memory of a process that is its own, in KiB: no program text, no shared pages.
pub fn memory(program: &Program) -> usize {
    usage(program, "RssAnon:")
}

/// A number of KiB from `/proc/PID/status`.
pub fn usage(program: &Program, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// How a crowd connects: one TLS configuration, so that hand-shakes are resumed and cheap.
#[derive(Clone)]
pub struct Crowd {
    addr: SocketAddr,
    tls: TlsConnector,
}

impl Crowd {
    pub fn new(program: &Program) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(program.certificate.clone().unwrap()).unwrap();
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            addr: program.addrs[0],
            tls: Arc::new(config).into(),
        }
    }

    /// A TLS connection, its greeting read.
    pub async fn tls(self) -> TlsClient {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        self.tls_on(stream).await
    }

    /// As if from far away, with little room for what is not read: short segments, a small window.
    pub async fn narrow(self) -> TlsClient {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        SockRef::from(&socket).set_tcp_mss(1000).unwrap();
        let stream = socket.connect(self.addr).await.unwrap();
        self.tls_on(stream).await
    }

    async fn tls_on(self, stream: TcpStream) -> TlsClient {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = Client::new(self.tls.connect(name, stream).await.unwrap());
        assert!(client.response().await.unwrap().starts_with("* OK"));
        client
    }

    pub async fn tcp(self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    pub async fn logged_in(self, password: Arc<str>) -> TlsClient {
        let mut client = self.tls().await;
        log_in(&mut client, &password).await;
        client
    }
}

/// Logs Alice in.
pub async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>, password: &str) {
    let answer = client
        .command("l", &format!("LOGIN alice {password}"))
        .await
        .unwrap();
    assert!(answer[0].starts_with("l OK"), "{answer:?}");
}

/// Makes many of something, a few at a time.
pub async fn many<T, F>(count: usize, mut make: impl FnMut() -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (mut all, mut making) = (Vec::new(), JoinSet::new());
    for _ in 0..count {
        if making.len() >= PARALLEL {
            all.push(making.join_next().await.unwrap().unwrap());
        }
        making.spawn(make());
    }
    while let Some(made) = making.join_next().await {
        all.push(made.unwrap());
    }
    all
}

pub async fn works<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<S>) {
    let answer = client.command("w", "NOOP").await.unwrap();
    assert!(answer.last().unwrap().starts_with("w OK"), "{answer:?}");
}

/// KiB that each of `count` costs.
pub fn each(before: usize, after: usize, count: usize) -> usize {
    after.saturating_sub(before) / count
}
