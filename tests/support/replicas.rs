//! Three replicas on one PostgreSQL, and a balancer in front of them.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpSocket;

use super::client::Client;
use super::client::TlsClient;
use super::client::start_tls;
use super::events::text;
use super::memory::Mail;
use super::memory::Server;
use super::postgres::Cluster;
use super::postgres::PASSWORD;
use super::postgres::REQUIRED;
use super::program::Place;
use super::program::Program;
use super::program::private_file;
use super::program::until;

pub const MAIL_PASSWORD: &str = "right";

pub const ENDED: &str = "* BYE Session ended by the server\r\n";

/// A mail server that knows alice and bob.
pub async fn backend() -> Server {
    let mail = Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    mail.add_user("bob", MAIL_PASSWORD);
    Server::start(mail).await.unwrap()
}

/// Three replicas with one store, one key file and one certificate; the password of the database is in a file.
pub struct Replicas {
    pub places: Vec<Place>,
    pub programs: Vec<Program>,
    pub certificate: CertificateDer<'static>,
    _shared: [TempDir; 2],
}

impl Replicas {
    pub fn places(cluster: &Cluster, backend: &Server, count: usize, more: &str) -> (Vec<Place>, TempDir) {
        let shared = TempDir::new().unwrap();
        let dir = shared.path().display();
        let database = &cluster.database();
        private_file(shared.path(), "password", PASSWORD);
        let text = format!(
            "listeners:\n  - address: '127.0.0.1:0'\n  - {{address: '127.0.0.1:0', proxy_protocol_from: [127.0.0.9/32]}}\n\
             metrics: {{address: '127.0.0.1:0'}}\n\
             backends: [{{name: mail, address: '{mail}'}}]\n\
             store: {{url: '{url}', password_file: '{dir}/password'}}\n\
             key_file: '{dir}/key'\n\
             login: {{refusal_delay: 1s}}\n{more}",
            mail = backend.addr,
            url = cluster.tcp_url(database),
        );
        let places = (0..count).map(|_| Place::configured(&text)).collect();
        (places, shared)
    }

    pub async fn start(cluster: &Cluster, backend: &Server, more: &str) -> Self {
        let certificates = TempDir::new().unwrap();
        let dir = certificates.path().display();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        private_file(certificates.path(), "tls.pem", made.cert.pem());
        private_file(certificates.path(), "tls.key", made.signing_key.serialize_pem());
        let files = format!("{{certificate_file: '{dir}/tls.pem', key_file: '{dir}/tls.key'}}");
        let more = format!("tls: {{certificates: [{files}]}}\n{more}");
        let (places, shared) = Self::places(cluster, backend, 3, &more);
        let certificate = made.cert.der().clone();
        let mut programs = Vec::new();
        for place in &places {
            let mut program = place.start().await;
            program.certificate = Some(certificate.clone());
            programs.push(program);
        }
        Self {
            places,
            programs,
            certificate,
            _shared: [shared, certificates],
        }
    }

    /// A balancer in front of them.
    pub fn balanced(&self) -> Balancer {
        let behind: Vec<SocketAddr> = self.programs.iter().map(|program| program.addrs[1]).collect();
        Balancer::start(&behind, self.certificate.clone())
    }
}

/// HAProxy: one connection to each replica in turn, with the client's address in a PROXY header. Killed when dropped.
pub struct Balancer {
    child: Child,
    addr: SocketAddr,
    certificate: CertificateDer<'static>,
    _dir: TempDir,
}

impl Balancer {
    fn start(behind: &[SocketAddr], certificate: CertificateDer<'static>) -> Self {
        // Bound here, and handed over as its standard input: nobody else gets the port.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let servers: String = behind
            .iter()
            .map(|addr| {
                format!(
                    "    server s{port} {addr} source 127.0.0.9 send-proxy-v2\n",
                    port = addr.port()
                )
            })
            .collect();
        let text = format!(
            "global\n    maxconn 1000\n\
             defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n\
             frontend imaps\n    bind fd@0\n    default_backend replicas\n\
             backend replicas\n    balance roundrobin\n    retries 3\n    option redispatch 1\n{servers}"
        );
        let dir = TempDir::new().unwrap();
        let config = private_file(dir.path(), "haproxy.cfg", text);
        let child = Command::new("haproxy")
            .arg("-db")
            .arg("-f")
            .arg(config)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .spawn();
        Self {
            child: child.expect("haproxy, which tests/run install brings"),
            addr,
            certificate,
            _dir: dir,
        }
    }

    /// A TLS connection through it from an address of ours, its greeting read.
    pub async fn connect_from(&self, from: [u8; 4]) -> std::io::Result<TlsClient> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let stream = socket.connect(self.addr).await?;
        let mut client = Client::new(start_tls(stream, &self.certificate, "localhost").await?);
        client.response().await?;
        Ok(client)
    }

    /// What the login of a new connection is answered.
    pub async fn try_login(&self, from: [u8; 4], arguments: &str) -> (TlsClient, String) {
        let mut client = self.connect_from(from).await.unwrap();
        let answer = client.command("l", &format!("LOGIN {arguments}")).await.unwrap();
        let last = answer.last().unwrap().clone();
        (client, last)
    }

    /// A session.
    pub async fn logged_in(&self, arguments: &str) -> TlsClient {
        let from = Ipv4Addr::LOCALHOST.octets();
        let (client, answer) = self.try_login(from, arguments).await;
        assert!(answer.starts_with("l OK"), "{answer}");
        client
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// True where HAProxy is there; says so where it is not.
pub fn has_balancer() -> bool {
    let found = Command::new("haproxy").arg("-v").stdout(Stdio::null()).status();
    if found.is_ok() {
        return true;
    }
    let text = "HAProxy is not installed; tests/run install brings it";
    assert!(std::env::var_os(REQUIRED).is_none(), "{text}");
    // Not by the macro, whose output is hidden of a test that passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {text}");
    false
}

pub async fn works(client: &mut TlsClient) {
    let answer = client.command("w", "NOOP").await.unwrap();
    assert!(answer.last().unwrap().starts_with("w OK"), "{answer:?}");
}

pub async fn rest(client: &mut TlsClient) -> String {
    String::from_utf8(client.rest().await.unwrap()).unwrap()
}

pub async fn try_login(program: &Program, arguments: &str) -> String {
    let mut client = program.connect().await;
    let answer = client.command("l", &format!("LOGIN {arguments}")).await.unwrap();
    answer.last().unwrap().clone()
}

/// What `session list` says, run beside a replica.
pub async fn sessions(place: &Place) -> Vec<Value> {
    let listed = place.json("", &["session", "list"]).await;
    listed.as_array().unwrap().clone()
}

/// The name by which a replica is listed.
pub fn named(program: &Program) -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    format!("{}:{}", host.trim(), program.pid())
}

/// Waits until exactly these sessions are listed: whose, and where.
pub async fn is_listed(place: &Place, expected: &[(&str, &Program)]) {
    let expected = expected
        .iter()
        .map(|(user, program)| ((*user).to_owned(), named(program)));
    let mut expected: Vec<(String, String)> = expected.collect();
    expected.sort();
    until("it is listed", || async {
        let listed = sessions(place).await;
        let mut listed: Vec<_> = listed
            .iter()
            .map(|row| (text(row, "user"), text(row, "replica")))
            .collect();
        listed.sort();
        listed == expected
    })
    .await;
}
