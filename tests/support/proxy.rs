//! imapwarden in this process, in front of a backend of the tests, with users made for them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use imapwarden::auth::accounts::Accounts;
use imapwarden::auth::accounts::NewAppPassword;
use imapwarden::auth::key_ring::KeyRing;
use imapwarden::config::Config;
use imapwarden::server::Server;
use imapwarden::server::clock;
use imapwarden::server::open_store;
use imapwarden::store::Store;
use imapwarden::store::User;
use imapwarden::telemetry::sink;
use imapwarden::types::Restrictions;
use imapwarden::types::Secret;
use imapwarden::types::UserName;
use tempfile::TempDir;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::client::Client;
use super::events::Recorder;

/// A running proxy.
pub struct Proxy {
    pub addr: SocketAddr,
    pub metrics: SocketAddr,
    pub control: PathBuf,
    pub events: Recorder,
    pub certificate: rustls::pki_types::CertificateDer<'static>,
    pub store: Arc<dyn Store>,
    pub keys: Arc<KeyRing>,
    pub config: Config,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    _directory: TempDir,
}

/// A configuration for tests: every port free, short refusals, one backend.
pub fn yaml(backend: SocketAddr, more: &str) -> String {
    format!(
        "listeners:\n  - address: '127.0.0.1:0'\nmetrics:\n  address: '127.0.0.1:0'\nbackends:\n  - name: mail\n    address: '{backend}'\n{more}\n"
    )
}

impl Proxy {
    /// Starts with [`yaml`] and more of it.
    pub async fn start(backend: SocketAddr, more: &str) -> Self {
        Self::configured(&yaml(backend, more)).await
    }

    /// Starts with a whole configuration but for its data directory.
    pub async fn configured(text: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let text = format!("data_directory: '{}'\n{text}", directory.path().display());
        let config = Config::parse("test.yaml", &text, directory.path())
            .unwrap_or_else(|problems| panic!("{}", problems.render(100, false)));
        let events = Recorder::default();
        let options = sink::Options {
            target: events.target(),
            ..sink::Options::default()
        };
        let server = Server::start(&config, options).await.unwrap();
        let (store, keys) = open_store(&config).await.unwrap();
        let pem = directory.path().join("cert.pem");
        let (stop, stopped) = oneshot::channel();
        Self {
            addr: server.addresses()[0],
            metrics: server.metrics_address().unwrap(),
            control: config.state.control_socket(),
            events,
            certificate: rustls::pki_types::pem::PemObject::from_pem_file(pem).unwrap(),
            store,
            keys,
            config,
            stop: Some(stop),
            task: tokio::spawn(async move {
                let stopped = async {
                    let _ = stopped.await;
                };
                server.run(stopped).await.unwrap();
            }),
            _directory: directory,
        }
    }

    /// A TLS connection, its greeting read.
    pub async fn connect(&self) -> Client<impl AsyncRead + AsyncWrite + Unpin + use<>> {
        let mut client = Client::tls(self.addr, &self.certificate, "localhost")
            .await
            .unwrap();
        let greeting = client.response().await.unwrap();
        assert!(greeting.starts_with("* OK [CAPABILITY IMAP4rev1 "), "{greeting}");
        client
    }

    /// A TLS connection that is logged in.
    pub async fn logged_in(
        &self,
        user: &str,
        password: &str,
    ) -> Client<impl AsyncRead + AsyncWrite + Unpin + use<>> {
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

    /// A bare TCP connection.
    pub async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    pub async fn add_user(&self, name: &str) -> UserName {
        let user = UserName::parse(name.as_bytes()).unwrap();
        let accounts = Accounts::new(&*self.store, &self.keys);
        accounts
            .add_user(User::new(user.clone(), clock::unix()))
            .await
            .unwrap();
        user
    }

    /// A user with an app password that opens the account with the mail password given.
    pub async fn app_password(&self, name: &str, mail_password: &str) -> (u32, String) {
        let user = self.add_user(name).await;
        self.another_app_password(&user, mail_password).await
    }

    pub async fn another_app_password(&self, user: &UserName, mail_password: &str) -> (u32, String) {
        self.restricted_app_password(user, mail_password, Restrictions::default())
            .await
    }

    pub async fn restricted_app_password(
        &self,
        user: &UserName,
        mail_password: &str,
        restrictions: Restrictions,
    ) -> (u32, String) {
        let new = NewAppPassword {
            restrictions,
            ..self.new_app_password(user, mail_password)
        };
        self.create_app_password(&new).await
    }

    /// An app password of a user for their own account, to be created.
    pub fn new_app_password(&self, user: &UserName, mail_password: &str) -> NewAppPassword {
        NewAppPassword {
            user: user.clone(),
            account: user.clone(),
            label: "test".to_owned(),
            expires: None,
            networks: None,
            restrictions: Restrictions::default(),
            mail_password: Some(Secret::from(mail_password)),
        }
    }

    pub async fn create_app_password(&self, new: &NewAppPassword) -> (u32, String) {
        let accounts = Accounts::new(&*self.store, &self.keys);
        let created = accounts.create_app_password(new, clock::unix()).await.unwrap();
        let printed = String::from_utf8(created.printed.expose().to_vec()).unwrap();
        (created.id, printed)
    }

    /// Stops as SIGTERM does, and waits for the end.
    pub async fn stop(mut self) -> Recorder {
        self.stop.take().unwrap().send(()).unwrap();
        tokio::time::timeout(Duration::from_secs(60), &mut self.task)
            .await
            .unwrap()
            .unwrap();
        self.events.clone()
    }
}
