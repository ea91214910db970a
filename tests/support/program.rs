//! The real program: a place with a configuration, and `imapwarden serve` in it as a process of its own.

use std::fs;
use std::fs::Permissions;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use imapwarden::auth::accounts::Accounts;
use imapwarden::auth::accounts::NewAppPassword;
use imapwarden::auth::key_ring::KeyRing;
use imapwarden::auth::totp;
use imapwarden::config::Config;
use imapwarden::server::clock;
use imapwarden::server::open_store;
use imapwarden::store::Before;
use imapwarden::store::Lookup;
use imapwarden::store::Store;
use imapwarden::store::User;
use imapwarden::types::Prefix;
use imapwarden::types::Restrictions;
use imapwarden::types::Secret;
use imapwarden::types::UnixTime;
use imapwarden::types::UserName;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::base32;
use super::client::Client;
use super::client::TlsClient;
use super::client::start_tls;
use super::events::Recorder;

/// Longest wait for the program to do what it must do at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory with a configuration; the program may be started in it several times.
pub struct Place {
    pub dir: TempDir,
    pub config: Config,
}

/// What a run of the command line said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Place {
    /// One listener, metrics and one backend, every port free, and more configuration.
    pub fn new(backend: SocketAddr, more: &str) -> Self {
        Self::configured(&super::proxy::yaml(backend, more))
    }

    /// A whole configuration but for its data directory.
    pub fn configured(text: &str) -> Self {
        Self::in_directory(TempDir::new().unwrap(), text)
    }

    /// The same in a directory that has files already.
    pub fn in_directory(dir: TempDir, text: &str) -> Self {
        let file = dir.path().join("imapwarden.yaml");
        fs::write(&file, format!("data_directory: data\n{text}")).unwrap();
        let config = Config::load(&file, clock::unix());
        let config = config.unwrap_or_else(|problems| panic!("{}", problems.render(100, false)));
        Self { dir, config }
    }

    /// The path of a file here.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file that only we may read.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        private_file(self.dir.path(), name, bytes)
    }

    /// The program with arguments, run by `shell` if that is not empty: `"$@"` in it is the program.
    pub fn command(&self, shell: &str, arguments: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_imapwarden");
        let mut command = if shell.is_empty() {
            Command::new(program)
        } else {
            let mut command = Command::new("bash");
            command.args(["-c", shell, "bash", program]);
            command
        };
        command
            .args(arguments)
            .arg("--config")
            .arg(self.path("imapwarden.yaml"))
            .env_remove("IMAPWARDEN_CONFIG")
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command of the command line to its end, with text on its standard input.
    pub async fn run(&self, input: &str, arguments: &[&str]) -> Said {
        let mut child = self.command("", arguments).spawn().unwrap();
        // A program that reads nothing may be gone before this is written.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = tokio::task::spawn_blocking(move || child.wait_with_output());
        let output = output.await.unwrap().unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command that must succeed, and takes the JSON that it prints.
    pub async fn json(&self, input: &str, arguments: &[&str]) -> Value {
        let said = self.run(input, &[arguments, &["--json"]].concat()).await;
        assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
        serde_json::from_str(&said.out).unwrap()
    }

    /// Store and keys, as the program opens them.
    pub async fn open(&self) -> (Arc<dyn Store>, Arc<KeyRing>) {
        open_store(&self.config).await.unwrap()
    }

    /// A user with an app password that opens the account with the mail password given, or by a master user.
    pub async fn app_password(&self, name: &str, mail_password: impl Into<Option<&str>>) -> (String, String) {
        let user = UserName::parse(name.as_bytes()).unwrap();
        let (store, keys) = self.open().await;
        let accounts = Accounts::new(&*store, &keys);
        if store.user(&user).await.unwrap().is_none() {
            accounts
                .add_user(User::new(user.clone(), clock::unix()))
                .await
                .unwrap();
        }
        let new = NewAppPassword {
            user: user.clone(),
            account: user,
            label: "test".to_owned(),
            expires: None,
            networks: None,
            restrictions: Restrictions::default(),
            mail_password: mail_password.into().map(Secret::from),
        };
        let created = accounts.create_app_password(&new, clock::unix()).await.unwrap();
        store.flush().await.unwrap();
        let printed = String::from_utf8(created.printed.expose().to_vec()).unwrap();
        (imapwarden::auth::app_password::id_text(created.id), printed)
    }

    /// A user with one-time codes, of which the present one is unused; the secret.
    pub async fn one_time_codes(&self, name: &str, mail_password: &str) -> Secret {
        let user = UserName::parse(name.as_bytes()).unwrap();
        self.app_password(name, mail_password).await;
        let (store, keys) = self.open().await;
        let accounts = Accounts::new(&*store, &keys);
        let begun = accounts.begin_totp(&user, "test", clock::unix()).await.unwrap();
        let secret = base32::decode(std::str::from_utf8(begun.typed.expose()).unwrap());
        let code = totp::code_at(&secret, UnixTime(clock::unix().0 - 30)).unwrap();
        let code = Secret::from(code.as_str());
        accounts.confirm_totp(&user, &code, clock::unix()).await.unwrap();
        secret
    }

    /// Starts the program and waits until it serves.
    pub async fn start(&self) -> Program {
        self.start_under("").await
    }

    /// As [`start`](Self::start), run by a shell: `"$@"` in its text is the program.
    pub async fn start_under(&self, shell: &str) -> Program {
        let mut child = self.command(shell, &["serve"]).spawn().unwrap();
        let events = Recorder::default();
        let (ended, end) = watch::channel(false);
        let log = watch::Sender::new(String::new());
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let mut recorder = events.writer();
        let copied = thread::spawn(move || {
            let copied = io::copy(&mut BufReader::new(out), &mut recorder);
            ended.send_replace(true);
            copied
        });
        let lines = log.clone();
        thread::spawn(move || {
            for line in BufReader::new(err).lines() {
                let line = line.unwrap();
                lines.send_modify(|log| {
                    log.push_str(&line);
                    log.push('\n');
                });
            }
        });
        drop(copied);
        let mut program = Program {
            child,
            addrs: Vec::new(),
            metrics: SocketAddr::from(([127, 0, 0, 1], 0)),
            events,
            certificate: None,
            log,
            end,
        };
        let mut seen = program.log.subscribe();
        let log = tokio::select! {
            log = seen.wait_for(|log| log.contains("metrics and probes")) => log.unwrap().clone(),
            () = program.ended() => panic!("it ended: {}", program.log()),
            () = tokio::time::sleep(PATIENCE) => panic!("it does not start: {}", program.log()),
        };
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let address = || line["address"].as_str().unwrap().parse().unwrap();
            match line["message"].as_str().unwrap() {
                "listening" => program.addrs.push(address()),
                "metrics and probes" => program.metrics = address(),
                _ => {}
            }
        }
        // Answered only once everything runs, signal handlers included.
        assert_eq!(program.get("/healthz").await.0, 200);
        program.certificate = CertificateDer::from_pem_file(self.path("data/cert.pem")).ok();
        program
    }
}

/// `imapwarden serve`, running. Killed when dropped.
pub struct Program {
    child: Child,
    /// Where it listens, in the order of the configuration.
    pub addrs: Vec<SocketAddr>,
    pub metrics: SocketAddr,
    /// What it wrote to standard output.
    pub events: Recorder,
    /// The certificate that it made for itself.
    pub certificate: Option<CertificateDer<'static>>,
    log: watch::Sender<String>,
    end: watch::Receiver<bool>,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything on standard error so far.
    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Waits until a text is in the log.
    pub async fn logged(&self, text: &str) {
        let mut log = self.log.subscribe();
        let found = timeout(PATIENCE, log.wait_for(|log| log.contains(text))).await;
        assert!(found.is_ok(), "{text} is not in {}", self.log());
    }

    /// Sends a signal: `TERM`, `HUP`, `KILL`, …
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Runs a program on this process: `prlimit --pid ID …`.
    pub fn prlimit(&self, limit: &str) {
        let id = self.child.id().to_string();
        let set = Command::new("prlimit")
            .args(["--pid", &id, limit])
            .status()
            .unwrap();
        assert!(set.success());
    }

    async fn ended(&self) {
        let mut end = self.end.clone();
        // Its sender says so before it goes.
        let _ = end.wait_for(|ended| *ended).await;
    }

    /// True once it has ended.
    pub fn has_ended(&self) -> bool {
        *self.end.borrow()
    }

    /// Waits for the end, no longer than given.
    pub async fn wait(&mut self, within: Duration) -> ExitStatus {
        let ended = timeout(within, self.ended()).await;
        assert!(ended.is_ok(), "it still runs: {}", self.log());
        self.child.wait().unwrap()
    }

    /// GET on the metrics address: status and body.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let asked = async {
            let mut stream = TcpStream::connect(self.metrics).await?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            io::Result::Ok(answer)
        };
        let answer = timeout(PATIENCE, asked).await.unwrap().unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (status, body.to_owned())
    }

    /// The value of one series.
    pub async fn metric(&self, series: &str) -> u64 {
        let (_, text) = self.get("/metrics").await;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("{series} is not in {text}"))
            .parse()
            .unwrap()
    }

    /// A TLS connection to the first listener, its greeting read.
    pub async fn connect(&self) -> TlsClient {
        let certificate = self.certificate.as_ref().unwrap();
        let mut client = Client::tls(self.addrs[0], certificate, "localhost")
            .await
            .unwrap();
        let greeting = client.response().await.unwrap();
        assert!(greeting.starts_with("* OK [CAPABILITY IMAP4rev1 "), "{greeting}");
        client
    }

    /// A TLS connection from an address of ours, its greeting not yet read.
    pub async fn connect_from(&self, from: [u8; 4]) -> io::Result<TlsClient> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let stream = socket.connect(self.addrs[0]).await?;
        let certificate = self.certificate.as_ref().unwrap();
        Ok(Client::new(start_tls(stream, certificate, "localhost").await?))
    }

    /// A TLS connection that is logged in.
    pub async fn logged_in(&self, user: &str, password: &str) -> TlsClient {
        let mut client = self.connect().await;
        let answer = client
            .command("l", &format!("LOGIN {user} {password}"))
            .await
            .unwrap();
        assert!(
            answer.last().unwrap().starts_with("l OK [CAPABILITY "),
            "{answer:?}"
        );
        client
    }

    /// The reason for which the next connection from event number `from` on ended, and that event's number.
    pub async fn end_reason(&self, from: usize, action: &str) -> (usize, String) {
        let (at, event) = self.events.wait(from, action).await.unwrap();
        (at, super::events::text(&event, "event.reason"))
    }
}

/// A file in a directory that only we may read.
pub fn private_file(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

/// True once it is remembered that a user has logged in from this machine.
pub async fn is_known_here((store, keys): &(Arc<dyn Store>, Arc<KeyRing>), name: &str) -> bool {
    let user = UserName::parse(name.as_bytes()).unwrap();
    let from = Prefix::of([127, 0, 0, 1].into());
    let before = Before::Source {
        names: vec![keys.in_force().source(&user, from)],
        since: UnixTime(0),
    };
    let lookup = Lookup {
        user,
        app_password: None,
        window: None,
        now: clock::unix(),
        counted: None,
        before,
        visit: None,
    };
    store.look_up(lookup).await.unwrap().heard.knows_source
}

/// Asks again and again until the answer is yes, for what tells nobody when it changes: files of another process, metrics.
pub async fn until<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let asked = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, asked).await.is_ok(), "never: {what}");
}
