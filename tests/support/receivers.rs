//! Receivers of events: syslog over UDP, TCP and TLS, and HTTP requests over TLS. They keep what they get, and do what they are told.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use imapwarden::net::certificate::self_signed;
use imapwarden::server::clock;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Longest wait for something to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A certificate for `localhost`, which is its own authority.
pub struct Certificate {
    dir: TempDir,
}

impl Certificate {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        self_signed(dir.path(), &["localhost".to_owned()], clock::unix()).unwrap();
        Self { dir }
    }

    pub fn file(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    fn acceptor(&self) -> TlsAcceptor {
        let chain = vec![CertificateDer::from_pem_file(self.file()).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.dir.path().join("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// What has arrived, in order.
#[derive(Clone)]
pub struct Arrived<T>(watch::Sender<Vec<T>>);

impl<T: Clone + Send + Sync + 'static> Arrived<T> {
    fn new() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }

    fn add(&self, item: T) {
        self.0.send_modify(|items| items.push(item));
    }

    pub fn all(&self) -> Vec<T> {
        self.0.borrow().clone()
    }

    /// Waits until what has arrived is enough.
    pub async fn until(&self, enough: impl FnMut(&Vec<T>) -> bool) -> Vec<T> {
        let mut items = self.0.subscribe();
        let waited = timeout(PATIENCE, items.wait_for(enough)).await;
        waited.expect("it does not arrive").unwrap().clone()
    }

    pub async fn count(&self, count: usize) -> Vec<T> {
        self.until(|items| items.len() >= count).await
    }
}

/// A listening socket and what it accepted; all of it is gone when this is dropped.
pub struct Receiver<T> {
    pub addr: SocketAddr,
    pub arrived: Arrived<T>,
    task: JoinHandle<()>,
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<T> Receiver<T> {
    /// Ends it, connections included; its port is free then.
    pub async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

async fn bind(addr: Option<SocketAddr>) -> TcpListener {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    TcpListener::bind(addr.unwrap_or(any)).await.unwrap()
}

/// Accepts until it is aborted; aborting ends the connections as well.
fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    each: impl Fn(Box<dyn Wire>) -> F + Clone + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            let (tls, each) = (tls.clone(), each.clone());
            connections.spawn(async move {
                let wire: Box<dyn Wire> = match tls {
                    None => Box::new(tcp),
                    Some(tls) => match tls.accept(tcp).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => return,
                    },
                };
                each(wire).await;
            });
        }
    })
}

/// Syslog on a stream, framed by octet counts.
pub async fn syslog(addr: Option<SocketAddr>, certificate: Option<&Certificate>) -> Receiver<String> {
    let listener = bind(addr).await;
    let arrived = Arrived::new();
    let to = arrived.clone();
    Receiver {
        addr: listener.local_addr().unwrap(),
        arrived,
        task: accept(listener, certificate.map(Certificate::acceptor), move |wire| {
            let to = to.clone();
            async move {
                let _ = frames(wire, &to).await;
            }
        }),
    }
}

async fn frames(mut wire: Box<dyn Wire>, to: &Arrived<String>) -> io::Result<()> {
    loop {
        let mut length = 0;
        loop {
            match wire.read_u8().await? {
                b' ' => break,
                digit if digit.is_ascii_digit() => length = length * 10 + usize::from(digit - b'0'),
                other => panic!("{other} in a length"),
            }
        }
        let mut message = vec![0; length];
        wire.read_exact(&mut message).await?;
        to.add(String::from_utf8(message).expect("a message is UTF-8, and ends where its length says"));
    }
}

/// Syslog in datagrams.
pub async fn datagrams() -> Receiver<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let arrived = Arrived::new();
    let to = arrived.clone();
    Receiver {
        addr: socket.local_addr().unwrap(),
        arrived,
        task: tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok(length) = socket.recv(&mut buffer).await {
                to.add(String::from_utf8(buffer[..length].to_vec()).unwrap());
            }
        }),
    }
}

/// One HTTP request.
#[derive(Debug, Clone)]
pub struct Request {
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// What a receiver of requests answers; 204 when there is nothing left.
pub type Answers = Arc<Mutex<VecDeque<&'static str>>>;

/// HTTP requests. `silent` reads them and never answers.
pub async fn hook(
    addr: Option<SocketAddr>,
    certificate: Option<&Certificate>,
    answers: &[&'static str],
    silent: bool,
) -> Receiver<Request> {
    let listener = bind(addr).await;
    let arrived = Arrived::new();
    let to = arrived.clone();
    let answers: Answers = Arc::new(Mutex::new(answers.iter().copied().collect()));
    Receiver {
        addr: listener.local_addr().unwrap(),
        arrived,
        task: accept(listener, certificate.map(Certificate::acceptor), move |wire| {
            let (to, answers) = (to.clone(), Arc::clone(&answers));
            async move {
                let _ = exchange(wire, &to, &answers, silent).await;
            }
        }),
    }
}

async fn exchange(
    mut wire: Box<dyn Wire>,
    to: &Arrived<Request>,
    answers: &Answers,
    silent: bool,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(wire.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers: BTreeMap<String, String> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    wire.read_exact(&mut body).await?;
    let body = String::from_utf8(body).unwrap();
    to.add(Request { line, headers, body });
    if silent {
        std::future::pending::<()>().await;
    }
    let answer = answers.lock().unwrap().pop_front().unwrap_or("204 No Content");
    let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
    wire.write_all(answer.as_bytes()).await?;
    wire.flush().await?;
    // Until the other side has what it needs.
    let _ = wire.read_u8().await;
    Ok(())
}
