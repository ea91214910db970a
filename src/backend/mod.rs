//! The mail servers behind us: which one an account lives on, how to reach it, and logging in there with the account's
//! password or a master user's.
//!
//! Fails closed: what is not a clear yes of the right backend, over TLS where TLS is due, is no login. What a backend says
//! before that is for our logs alone.

mod breaker;
mod dial;
mod error;
mod health;
mod login;
mod options;
mod routes;

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::backend::dial::Security;
use crate::backend::health::Condition;
use crate::backend::routes::Table;
use crate::net::random;
use crate::net::stream::Stream;
use crate::session::backend_login::BackendLogin;
use crate::session::backend_login::Identity;
use crate::session::backend_login::LoginFailure;
use crate::session::backend_login::MasterStyle;
use crate::session::backend_login::Method;
use crate::session::backend_login::Opened;
use crate::session::backend_login::Plan;
use crate::session::backend_login::TagSeed;
use crate::types::Authenticated;
use crate::types::BackendCredentials;
use crate::types::ClientAddr;
use crate::types::LoggedIn;
use crate::types::Secret;
use crate::types::SessionId;
use crate::types::UnixTime;
use crate::types::UserName;

pub use crate::backend::error::BackendError;
pub use crate::backend::error::DialError;
pub use crate::backend::error::LoginError;
pub use crate::backend::error::Phase;
pub use crate::backend::health::Health;
pub use crate::backend::health::LastError;
pub use crate::backend::health::Slot;
pub use crate::backend::options::BackendOptions;
pub use crate::backend::options::BreakerOptions;
pub use crate::backend::options::Options;
pub use crate::backend::options::Routes;
pub use crate::backend::options::Tls;
pub use crate::backend::options::TlsOptions;

/// The client on whose behalf we log in: what a backend may be told about it.
#[derive(Debug, Clone)]
pub struct Client {
    /// Where it is.
    pub addr: ClientAddr,
    /// The address of ours that it connected to.
    pub local: SocketAddr,
    /// The session's name.
    pub session: SessionId,
    /// True where it speaks TLS with us.
    pub tls: bool,
    /// What it said of itself in an ID command, names and values.
    pub id: Vec<(String, String)>,
    /// Becomes true when the backend is given the credentials: until then nothing can be found out about them.
    pub given: Arc<AtomicBool>,
}

impl Client {
    /// An operator at the command line.
    #[must_use]
    pub fn operator(session: SessionId) -> Self {
        // Dovecot takes no PROXY header with the port 0.
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        Self {
            addr: ClientAddr::direct(here),
            local: here,
            session,
            tls: false,
            id: Vec::new(),
            given: Arc::default(),
        }
    }

    /// The fields of an ID command, by the names that Dovecot knows.
    fn id_fields(&self) -> Vec<(String, String)> {
        let said = |name: &str, value: String| (name.to_owned(), value);
        let transport = if self.tls { "TLS" } else { "insecure" };
        let mut fields = vec![
            said("x-originating-ip", self.addr.ip().to_string()),
            said("x-originating-port", self.addr.client.port().to_string()),
            said("x-connected-ip", self.local.ip().to_canonical().to_string()),
            said("x-connected-port", self.local.port().to_string()),
            said("x-session-id", self.session.to_string()),
            said("x-client-transport", transport.to_owned()),
        ];
        // The backend trusts our x- fields; the client's own must not pass for ours.
        let is_its_own = |name: &str| !name.trim_start().to_ascii_lowercase().starts_with("x-");
        fields.extend(self.id.iter().filter(|(name, _)| is_its_own(name)).cloned());
        fields
    }
}

/// An account that is open at a backend.
#[derive(Debug)]
pub struct Session {
    /// The proof, with the backend's capabilities.
    pub logged_in: LoggedIn,
    /// The connection.
    pub stream: Stream,
    /// The place among the backend's connections: keep it as long as the connection.
    pub slot: Slot,
    /// How long the connection took, before anything was said on it.
    pub dialled: Duration,
}

/// All backends.
#[derive(Debug)]
pub struct Backends {
    backends: Vec<Arc<Backend>>,
    table: Table,
}

impl Backends {
    /// Checks the options and reads the TLS files that they name.
    ///
    /// # Errors
    /// Says which option of which backend cannot work.
    pub fn new(options: Options, now: UnixTime) -> Result<Self, BackendError> {
        Self::build(options, now, &[])
    }

    /// The backends after a reload. Where name and limits are the same, breaker and count of connections go on.
    ///
    /// # Errors
    /// As [`new`](Self::new); these backends stay as they are.
    pub fn reloaded(&self, options: Options, now: UnixTime) -> Result<Self, BackendError> {
        Self::build(options, now, &self.backends)
    }

    fn build(options: Options, now: UnixTime, before: &[Arc<Backend>]) -> Result<Self, BackendError> {
        let names: Vec<&str> = options
            .backends
            .iter()
            .map(|backend| backend.name.as_str())
            .collect();
        if names.is_empty() {
            return Err(BackendError::None);
        }
        let mut seen = HashSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(**name)) {
            return Err(BackendError::Duplicate((*twice).to_owned()));
        }
        let table = Table::new(options.routes, &names)?;
        let make = |options| Backend::new(options, now, before).map(Arc::new);
        let backends = options.backends.into_iter().map(make).collect::<Result<_, _>>()?;
        Ok(Self { backends, table })
    }

    /// The backend that an account lives on. `sni` is the server name of the client's TLS hand-shake.
    ///
    /// # Errors
    /// [`DialError::NoRoute`].
    pub fn route(&self, account: &UserName, sni: Option<&str>) -> Result<Arc<Backend>, DialError> {
        let number = self.table.find(account, sni).ok_or(DialError::NoRoute)?;
        self.backends.get(number).cloned().ok_or(DialError::NoRoute)
    }

    /// All of them, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.backends.iter()
    }
}

/// One backend.
#[derive(Debug)]
pub struct Backend {
    options: BackendOptions,
    security: Option<Security>,
    condition: Arc<Condition>,
}

impl Backend {
    fn new(options: BackendOptions, now: UnixTime, before: &[Arc<Self>]) -> Result<Self, BackendError> {
        check(&options)?;
        let security = Security::new(&options, now)?;
        let is_same = |old: &&Arc<Self>| {
            old.options.name == options.name
                && old.options.address == options.address
                && old.options.max_connections == options.max_connections
                && old.options.breaker == options.breaker
        };
        let condition = match before.iter().find(is_same) {
            Some(old) => Arc::clone(&old.condition),
            None => Condition::new(&options),
        };
        Ok(Self {
            options,
            security,
            condition,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.condition.health()
    }

    /// True where accounts can be opened without their passwords.
    #[must_use]
    pub fn has_master(&self) -> bool {
        self.options.master.is_some()
    }

    /// Opens the account that `who` may open.
    ///
    /// # Errors
    /// [`LoginError::Refused`] where the credentials are wrong, else [`LoginError::Unavailable`].
    pub async fn login(&self, who: Authenticated, client: &Client) -> Result<Session, LoginError> {
        let account = who.account().clone();
        let identity = match who.credentials() {
            BackendCredentials::Password(password) => Identity::Own {
                account,
                password: password.clone(),
            },
            BackendCredentials::Master => Identity::Master {
                account,
                master: self.options.master.clone().ok_or(DialError::NoMaster)?,
            },
        };
        let (opened, stream, slot, dialled) = self.open(identity, client).await?;
        Ok(Session {
            logged_in: LoggedIn::vouch(who, opened.capabilities, opened.early),
            stream,
            slot,
            dialled,
        })
    }

    /// Finds out whether the password opens the account: logs in and out.
    ///
    /// # Errors
    /// As [`login`](Self::login).
    pub async fn prove(&self, user: &UserName, password: &Secret, client: &Client) -> Result<(), LoginError> {
        const GOODBYE: Duration = Duration::from_secs(2);
        let identity = Identity::Own {
            account: user.clone(),
            password: password.clone(),
        };
        let (_, mut stream, _slot, _) = self.open(identity, client).await?;
        // The answer is known; whether the farewell arrives changes nothing.
        let farewell = timeout(GOODBYE, stream.write_all(b"bye LOGOUT\r\n")).await;
        if matches!(farewell, Ok(Ok(()))) {
            stream.close(GOODBYE).await;
        }
        Ok(())
    }

    async fn open(
        &self,
        identity: Identity,
        client: &Client,
    ) -> Result<(Opened, Stream, Slot, Duration), LoginError> {
        self.check_account(&identity)?;
        let plan = Plan {
            start_tls: self
                .security
                .as_ref()
                .is_some_and(|security| !security.is_implicit()),
            method: self.options.method,
            identity,
            id: if self.options.forward_id {
                client.id_fields()
            } else {
                Vec::new()
            },
        };
        let login = BackendLogin::new(plan, seed()?)?;
        let slot = self.condition.slot()?;
        let mut attempt = self.condition.attempt(client.addr.prefix())?;
        let run = login::run(&self.options, self.security.as_ref(), login, client, &mut attempt);
        match Box::pin(run).await {
            Ok((opened, stream, dialled)) => Ok((opened, stream, slot, dialled)),
            Err(error) => {
                match &error {
                    LoginError::Unavailable(error) => attempt.failed(error),
                    LoginError::Refused(LoginFailure::MasterRefused(text)) => {
                        self.condition.master_refused(text.as_str());
                    }
                    LoginError::Refused(_) => {}
                }
                Err(error)
            }
        }
    }

    /// `alice+boss` with alice's own password would be tried as the master user's where `+` is the separator.
    fn check_account(&self, identity: &Identity) -> Result<(), LoginFailure> {
        let style = self.options.master.as_ref().map(|master| master.style);
        match (identity, style) {
            (Identity::Own { account, .. }, Some(MasterStyle::Separator(mark)))
                if account.as_str().contains(mark) =>
            {
                Err(LoginFailure::Unsendable)
            }
            _ => Ok(()),
        }
    }
}

fn check(options: &BackendOptions) -> Result<(), BackendError> {
    dial::check_address(options)?;
    let name = || options.name.clone();
    if let Some(master) = &options.master {
        if master.style == MasterStyle::Authzid && options.method == Method::Login {
            return Err(BackendError::MasterMethod(name()));
        }
        if !master.is_sendable() {
            return Err(BackendError::Master(name()));
        }
    }
    let limits = [
        ("timeout", options.timeout.is_zero()),
        ("max_connections", options.max_connections == 0),
        ("breaker.clients", options.breaker.clients == 0),
    ];
    match limits.into_iter().find(|(_, is_zero)| *is_zero) {
        Some((limit, _)) => Err(BackendError::Zero {
            backend: name(),
            limit,
        }),
        None => Ok(()),
    }
}

/// Bits for the tags of one login.
fn seed() -> Result<TagSeed, DialError> {
    let mut seed = TagSeed::default();
    random::fill(seed.as_flattened_mut()).map_err(|_| DialError::Random)?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::UnixTime as EngineTime;
    use rustls::pki_types::pem::PemObject;
    use tempfile::TempDir;
    use tokio::io::AsyncBufReadExt;
    use tokio::io::AsyncReadExt;
    use tokio::io::BufReader;
    use tokio::net::TcpListener;
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;
    use tokio::time::advance;
    use tokio::time::sleep;

    use super::*;
    use crate::net::certificate::self_signed;
    use crate::net::proxy_header::Version;
    use crate::net::tls::ClientOptions;
    use crate::net::tls::Pin;
    use crate::net::tls::Server;
    use crate::net::tls::ServerOptions;
    use crate::net::tls::Trust;
    use crate::session::backend_login::Master;
    use crate::types::SecondFactor;

    const GREETING: &str = "* OK [CAPABILITY IMAP4rev1 ID STARTTLS AUTH=PLAIN SASL-IR] hi\r\n";
    const SECOND: Duration = Duration::from_secs(1);

    /// The backend's end of a connection.
    struct Peer {
        stream: BufReader<Stream>,
        tag: String,
    }

    impl Peer {
        async fn say(&mut self, text: &str) {
            let text = text.replace('#', &self.tag);
            self.stream.write_all(text.as_bytes()).await.unwrap();
            self.stream.flush().await.unwrap();
        }

        /// The next command without its tag, which is kept for `#`.
        async fn hear(&mut self) -> String {
            let mut line = String::new();
            self.stream.read_line(&mut line).await.unwrap();
            let (tag, command) = line.split_once(' ').unwrap_or_default();
            tag.clone_into(&mut self.tag);
            command.trim_end().to_owned()
        }

        /// All that comes until the end.
        async fn rest(mut self) -> Vec<u8> {
            let mut rest = Vec::new();
            // A reset is an end, too.
            let _ = self.stream.read_to_end(&mut rest).await;
            rest
        }

        async fn let_in(&mut self) -> String {
            self.say(GREETING).await;
            let command = self.hear().await;
            self.say("# OK [CAPABILITY IMAP4rev1 IDLE] in\r\n").await;
            command
        }
    }

    /// A backend that does the same on every connection.
    async fn backend<F>(serve: impl Fn(Peer) -> F + Send + 'static) -> BackendOptions
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let peer = Peer {
                    stream: BufReader::new(Stream::from(tcp)),
                    tag: String::new(),
                };
                tokio::spawn(serve(peer));
            }
        });
        BackendOptions {
            address,
            ..BackendOptions::default()
        }
    }

    /// A backend with one connection, whose script gives something back.
    async fn one<T: Send + 'static, F>(
        serve: impl FnOnce(Peer) -> F + Send + 'static,
    ) -> (BackendOptions, JoinHandle<T>)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let peer = Peer {
                stream: BufReader::new(Stream::from(tcp)),
                tag: String::new(),
            };
            serve(peer).await
        });
        let options = BackendOptions {
            address,
            ..BackendOptions::default()
        };
        (options, task)
    }

    fn now() -> UnixTime {
        UnixTime(EngineTime::now().as_secs().try_into().unwrap())
    }

    fn made(options: BackendOptions) -> Arc<Backend> {
        let options = Options {
            backends: vec![options],
            routes: Routes::default(),
        };
        let backends = Backends::new(options, now()).unwrap();
        backends.route(&user("alice"), None).unwrap()
    }

    fn user(name: &str) -> UserName {
        UserName::parse(name.as_bytes()).unwrap()
    }

    fn client(n: u8) -> Client {
        Client {
            addr: ClientAddr::direct(SocketAddr::from(([192, 0, 2, n], 4000))),
            local: "198.51.100.1:993".parse().unwrap(),
            session: SessionId::new(0xabc),
            tls: true,
            id: vec![
                ("name".to_owned(), "Thunderbird".to_owned()),
                ("X-Originating-IP".to_owned(), "6.6.6.6".to_owned()),
            ],
            given: Arc::default(),
        }
    }

    fn alice(credentials: BackendCredentials) -> Authenticated {
        Authenticated::vouch(user("alice"), user("alice"), SecondFactor::Totp, credentials)
    }

    fn with_password() -> Authenticated {
        alice(BackendCredentials::Password(Secret::from("pw")))
    }

    fn unavailable(result: Result<Session, LoginError>) -> DialError {
        match result {
            Err(LoginError::Unavailable(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_account_is_opened_and_what_came_early_is_kept() {
        let (options, heard) = one(async |mut peer| {
            peer.say(GREETING).await;
            let command = peer.hear().await;
            peer.say("# OK [CAPABILITY IMAP4rev1 IDLE] in\r\n* 1 EXISTS\r\n")
                .await;
            (command, peer.hear().await)
        })
        .await;
        let mut session = made(options).login(with_password(), &client(1)).await.unwrap();
        assert_eq!(session.logged_in.user().as_str(), "alice");
        assert_eq!(session.logged_in.capabilities(), b"IMAP4rev1 IDLE");
        assert_eq!(session.logged_in.take_early(), b"* 1 EXISTS\r\n");
        session.stream.write_all(b"a NOOP\r\n").await.unwrap();
        let heard = heard.await.unwrap();
        assert_eq!(heard.0, "AUTHENTICATE PLAIN AGFsaWNlAHB3");
        assert_eq!(heard.1, "NOOP");
    }

    #[tokio::test]
    async fn the_backend_is_told_about_the_client_and_not_what_the_client_made_up() {
        let (options, heard) = one(async |mut peer| {
            let mut header = String::new();
            peer.stream.read_line(&mut header).await.unwrap();
            peer.say(GREETING).await;
            let id = peer.hear().await;
            peer.say("* ID (\"name\" {3}\r\nfoo)\r\n# OK done\r\n").await;
            peer.hear().await;
            peer.say("# OK [CAPABILITY X] in\r\n").await;
            (header, id)
        })
        .await;
        let options = BackendOptions {
            forward_id: true,
            proxy_header: Some(Version::V1),
            ..options
        };
        made(options).login(with_password(), &client(7)).await.unwrap();
        let (header, id) = heard.await.unwrap();
        assert_eq!(header, "PROXY TCP4 192.0.2.7 198.51.100.1 4000 993\r\n");
        assert_eq!(
            id,
            "ID (\"x-originating-ip\" \"192.0.2.7\" \"x-originating-port\" \"4000\" \"x-connected-ip\" \
             \"198.51.100.1\" \"x-connected-port\" \"993\" \"x-session-id\" \"0000000000000abc\" \
             \"x-client-transport\" \"TLS\" \"name\" \"Thunderbird\")"
        );
    }

    #[tokio::test]
    async fn a_wrong_password_is_a_refusal_and_no_failure_of_the_backend() {
        let options = backend(async |mut peer| {
            peer.say(GREETING).await;
            peer.hear().await;
            peer.say("# NO [AUTHENTICATIONFAILED] Authentication failed.\r\n")
                .await;
        })
        .await;
        let backend = made(options);
        for n in 1..10 {
            let error = backend.login(with_password(), &client(n)).await.unwrap_err();
            assert!(
                matches!(&error, LoginError::Refused(LoginFailure::Refused(_))),
                "{error}"
            );
        }
        let health = backend.health();
        assert!(!health.is_open && health.last_error.is_none() && health.connections == 0);
    }

    #[tokio::test]
    async fn trouble_with_one_account_is_no_failure_of_the_backend() {
        let options = backend(async |mut peer| {
            peer.say(GREETING).await;
            peer.hear().await;
            peer.say("# NO [INUSE] Mailbox is locked.\r\n").await;
        })
        .await;
        let backend = made(options);
        for n in 1..10 {
            let error = unavailable(backend.login(with_password(), &client(n)).await);
            assert!(
                matches!(error, DialError::Login(LoginFailure::Unavailable(_))),
                "{error}"
            );
        }
        assert!(!backend.health().is_open);
    }

    #[tokio::test]
    async fn a_master_user_opens_accounts_where_there_is_one() {
        let (options, heard) = one(async |mut peer| peer.let_in().await).await;
        let master = Master {
            user: user("boss"),
            password: Secret::from("mpw"),
            style: MasterStyle::Authzid,
        };
        let without = made(options.clone());
        let options = BackendOptions {
            master: Some(master),
            ..options
        };
        let with = made(options);
        let who = || alice(BackendCredentials::Master);
        assert!(matches!(
            unavailable(without.login(who(), &client(1)).await),
            DialError::NoMaster
        ));
        with.login(who(), &client(1)).await.unwrap();
        assert_eq!(heard.await.unwrap(), "AUTHENTICATE PLAIN YWxpY2UAYm9zcwBtcHc=");
    }

    #[tokio::test]
    async fn a_name_with_the_master_separator_never_reaches_the_backend() {
        let options = BackendOptions {
            address: "127.0.0.1:1".to_owned(),
            master: Some(Master {
                user: user("boss"),
                password: Secret::from("mpw"),
                style: MasterStyle::Separator('+'),
            }),
            ..BackendOptions::default()
        };
        let backend = made(options);
        for credentials in [
            BackendCredentials::Master,
            BackendCredentials::Password(Secret::from("mpw")),
        ] {
            let name = user("alice+boss");
            let who = Authenticated::vouch(name.clone(), name, SecondFactor::Exempt, credentials);
            let error = backend.login(who, &client(1)).await.unwrap_err();
            assert!(
                matches!(error, LoginError::Refused(LoginFailure::Unsendable)),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn proving_a_password_logs_in_and_out() {
        let (options, heard) = one(async |mut peer| {
            peer.let_in().await;
            let farewell = peer.hear().await;
            peer.say("* BYE\r\n# OK\r\n").await;
            farewell
        })
        .await;
        let backend = made(options);
        let operator = Client::operator(SessionId::new(1));
        backend
            .prove(&user("alice"), &Secret::from("pw"), &operator)
            .await
            .unwrap();
        assert_eq!(heard.await.unwrap(), "LOGOUT");
        assert_eq!(backend.health().connections, 0);
    }

    #[tokio::test]
    async fn backends_that_misbehave_are_unavailable_and_hear_no_password() {
        let cases = [
            ("", "closed"),
            ("* OK hal", "closed"),
            ("* PREAUTH welcome\r\n", "login"),
            ("* BYE too busy\r\n", "login"),
            ("220 mail ESMTP\r\n", "login"),
            ("\0\x01\x02", "login"),
            ("* OK hi\n", "login"),
            (
                "* OK [CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=PLAIN] hi\r\n",
                "login",
            ),
            ("* OK [CAPABILITY IMAP4rev1] hi\r\nL OK in\r\n", "login"),
        ];
        for (greeting, word) in cases {
            let (options, heard) = one(async move |mut peer| {
                peer.say(greeting).await;
                peer.stream.shutdown().await.unwrap();
                peer.rest().await
            })
            .await;
            let error = unavailable(made(options).login(with_password(), &client(1)).await);
            assert_eq!(error.as_str(), word, "{greeting:?}: {error}");
            assert_eq!(heard.await.unwrap(), b"", "{greeting:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_a_dripping_and_a_babbling_backend_cost_thirty_seconds_in_all() {
        let scripts: [fn(Peer) -> JoinHandle<()>; 3] = [
            |peer| {
                tokio::spawn(async move {
                    peer.rest().await;
                })
            },
            |mut peer| {
                tokio::spawn(async move {
                    for byte in "* OK [CAPABILITY IMAP4rev1] hi there".chars().cycle() {
                        if peer
                            .stream
                            .write_all(&[u8::try_from(byte).unwrap()])
                            .await
                            .is_err()
                        {
                            break;
                        }
                        sleep(SECOND).await;
                    }
                })
            },
            |mut peer| {
                tokio::spawn(async move {
                    peer.say(GREETING).await;
                    while peer.stream.write_all(b"* 1 EXISTS\r\n").await.is_ok() {
                        sleep(SECOND).await;
                    }
                })
            },
        ];
        for (script, phase) in scripts
            .into_iter()
            .zip([Phase::Greeting, Phase::Greeting, Phase::Login])
        {
            let (options, _task) = one(async move |peer| script(peer).await).await;
            let began = Instant::now();
            let error = unavailable(made(options).login(with_password(), &client(1)).await);
            assert!(
                matches!(error, DialError::Timeout(in_phase) if in_phase == phase),
                "{error}"
            );
            let took = began.elapsed();
            assert!(took >= 30 * SECOND && took < 31 * SECOND, "{took:?}");
        }
    }

    #[tokio::test]
    async fn a_backend_that_never_stops_talking_is_cut_off() {
        for line in ["* 1 EXISTS\r\n", "* OK still here ", "* X {60000}\r\n"] {
            let (options, task) = one(async move |mut peer| {
                peer.say("* OK hi\r\n").await;
                let mut sent = 0;
                while peer.stream.write_all(line.as_bytes()).await.is_ok() && sent < 100 << 20 {
                    sent += line.len();
                }
                sent
            })
            .await;
            let error = unavailable(made(options).login(with_password(), &client(1)).await);
            assert_eq!(error.as_str(), "login", "{error}");
            assert!(task.await.unwrap() < 100 << 20);
        }
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_tried() {
        let (options, _heard) = one(async |mut peer| peer.let_in().await).await;
        let port = options.address.rsplit_once(':').unwrap().1.to_owned();
        let options = BackendOptions {
            address: format!("localhost:{port}"),
            ..options
        };
        made(options).login(with_password(), &client(1)).await.unwrap();
        let nobody = BackendOptions {
            address: "no-such-host.invalid:143".to_owned(),
            ..BackendOptions::default()
        };
        let error = unavailable(made(nobody).login(with_password(), &client(1)).await);
        assert_eq!(error.as_str(), "resolve");
    }

    #[tokio::test]
    async fn connections_are_bounded_and_given_back() {
        let options = backend(async |mut peer| {
            peer.let_in().await;
            peer.rest().await;
        })
        .await;
        let options = BackendOptions {
            max_connections: 1,
            ..options
        };
        let backend = made(options);
        let first = backend.login(with_password(), &client(1)).await.unwrap();
        assert_eq!(backend.health().connections, 1);
        let error = unavailable(backend.login(with_password(), &client(1)).await);
        assert!(matches!(error, DialError::Full));
        drop(first);
        backend.login(with_password(), &client(1)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn after_three_clients_failed_nobody_waits_until_one_gets_through() {
        let dialled = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&dialled);
        let options = backend(move |mut peer| {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            async move {
                if number >= 4 {
                    peer.let_in().await;
                    peer.rest().await;
                }
            }
        })
        .await;
        let backend = made(options);
        for n in [1, 1, 2, 3] {
            assert!(!backend.health().is_open);
            assert_eq!(
                unavailable(backend.login(with_password(), &client(n)).await).as_str(),
                "closed"
            );
        }
        assert!(backend.health().is_open);
        assert_eq!(backend.health().last_error.unwrap().reason, "closed");
        let began = Instant::now();
        for n in 1..100 {
            let error = unavailable(backend.login(with_password(), &client(n)).await);
            assert!(matches!(error, DialError::BreakerOpen));
        }
        assert_eq!(
            (began.elapsed(), dialled.load(Ordering::SeqCst)),
            (Duration::ZERO, 4)
        );
        advance(10 * SECOND).await;
        backend.login(with_password(), &client(9)).await.unwrap();
        assert!(!backend.health().is_open && backend.health().last_error.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_is_given_up_leaves_nothing_behind() {
        let options = backend(async |peer| {
            peer.rest().await;
        })
        .await;
        let options = BackendOptions {
            breaker: BreakerOptions {
                clients: 1,
                ..BreakerOptions::default()
            },
            ..options
        };
        let backend = made(options);
        unavailable(backend.login(with_password(), &client(1)).await);
        advance(10 * SECOND).await;
        let probe = timeout(SECOND, Box::pin(backend.login(with_password(), &client(1)))).await;
        assert!(probe.is_err());
        assert_eq!(backend.health().connections, 0);
        // The next one may probe at once.
        let error = unavailable(backend.login(with_password(), &client(1)).await);
        assert_eq!(error.as_str(), "timeout");
    }

    #[tokio::test]
    async fn a_reload_keeps_counting() {
        let options = backend(async |mut peer| {
            peer.let_in().await;
            peer.rest().await;
        })
        .await;
        let all = || Options {
            backends: vec![BackendOptions {
                forward_id: false,
                ..options.clone()
            }],
            routes: Routes::default(),
        };
        let before = Backends::new(all(), now()).unwrap();
        let backend = before.route(&user("alice"), None).unwrap();
        let _open = backend.login(with_password(), &client(1)).await.unwrap();
        let after = before.reloaded(all(), now()).unwrap();
        assert_eq!(after.iter().next().unwrap().health().connections, 1);
    }

    struct Certificates {
        dir: TempDir,
        server: Arc<Server>,
        pin: Pin,
    }

    fn certificates() -> Certificates {
        let dir = TempDir::new().unwrap();
        let files = self_signed(dir.path(), &["mail.example.org".to_owned()], now())
            .unwrap()
            .files;
        let pem = fs::read(&files.certificate).unwrap();
        let der = CertificateDer::from_pem_slice(&pem).unwrap();
        let options = ServerOptions {
            certificates: vec![files],
            ..ServerOptions::default()
        };
        Certificates {
            server: Arc::new(Server::new(&options, now()).unwrap()),
            pin: Pin::of_certificate(&der).unwrap(),
            dir,
        }
    }

    fn pinned(pin: Pin) -> TlsOptions {
        TlsOptions {
            client: ClientOptions {
                trust: Trust::Pins(vec![pin]),
                ..ClientOptions::default()
            },
            server_name: None,
        }
    }

    async fn secured(peer: Peer, server: &Server) -> Option<Peer> {
        let tcp: TcpStream = peer.stream.into_inner().into_plain().unwrap();
        let (stream, _) = server.handshake(tcp).await.ok()?;
        Some(Peer {
            stream: BufReader::new(stream),
            tag: String::new(),
        })
    }

    #[tokio::test]
    async fn start_tls_and_implicit_tls_open_accounts() {
        let certificates = certificates();
        assert!(certificates.dir.path().exists());
        let server = Arc::clone(&certificates.server);
        let (options, _task) = one(async move |mut peer| {
            peer.say("* OK hi\r\n").await;
            assert_eq!(peer.hear().await, "CAPABILITY");
            peer.say("* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n# OK\r\n")
                .await;
            assert_eq!(peer.hear().await, "STARTTLS");
            peer.say("# OK go\r\n").await;
            let mut peer = secured(peer, &server).await.unwrap();
            assert_eq!(peer.hear().await, "CAPABILITY");
            peer.say("* CAPABILITY IMAP4rev1\r\n# OK\r\n").await;
            assert_eq!(peer.hear().await, "LOGIN \"alice\" \"pw\"");
            peer.say("# OK [CAPABILITY X] in\r\n").await;
            peer.rest().await;
        })
        .await;
        let options = BackendOptions {
            tls: Tls::StartTls(pinned(certificates.pin)),
            ..options
        };
        let session = made(options).login(with_password(), &client(1)).await.unwrap();
        assert!(session.stream.is_tls());

        let server = Arc::clone(&certificates.server);
        let (options, _task) = one(async move |peer| {
            let mut peer = secured(peer, &server).await.unwrap();
            peer.let_in().await;
            peer.rest().await;
        })
        .await;
        let options = BackendOptions {
            tls: Tls::Implicit(pinned(certificates.pin)),
            ..options
        };
        let session = made(options).login(with_password(), &client(1)).await.unwrap();
        assert!(session.stream.is_tls());
    }

    #[tokio::test]
    async fn without_the_right_tls_no_password_is_sent() {
        let certificates = certificates();
        let wrong = Pin::of_certificate(&{
            let other = self::certificates();
            let pem = fs::read(
                other
                    .dir
                    .path()
                    .read_dir()
                    .unwrap()
                    .find_map(|entry| {
                        let path = entry.unwrap().path();
                        let is_it = fs::read_to_string(&path).unwrap().contains("BEGIN CERTIFICATE");
                        is_it.then_some(path)
                    })
                    .unwrap(),
            )
            .unwrap();
            CertificateDer::from_pem_slice(&pem).unwrap().to_vec()
        })
        .unwrap();
        let cases = [
            (
                "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n",
                "",
                certificates.pin,
                "login",
            ),
            (GREETING, "# NO later\r\n", certificates.pin, "login"),
            (
                GREETING,
                "# OK go\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n",
                certificates.pin,
                "login",
            ),
            (GREETING, "# OK go\r\n", wrong, "tls"),
        ];
        for (greeting, answer, pin, word) in cases {
            let server = Arc::clone(&certificates.server);
            let (options, heard) = one(async move |mut peer| {
                peer.say(greeting).await;
                if answer.is_empty() {
                    return peer.rest().await;
                }
                assert_eq!(peer.hear().await, "STARTTLS");
                peer.say(answer).await;
                match secured(peer, &server).await {
                    Some(peer) => peer.rest().await,
                    None => Vec::new(),
                }
            })
            .await;
            let options = BackendOptions {
                tls: Tls::StartTls(pinned(pin)),
                ..options
            };
            let error = unavailable(made(options).login(with_password(), &client(1)).await);
            assert_eq!(error.as_str(), word, "{greeting:?} {answer:?}: {error}");
            assert_eq!(heard.await.unwrap(), b"");
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of mistakes")]
    fn options_that_cannot_work_are_named() {
        let base = BackendOptions::default;
        let master = |style, password: &str| {
            Some(Master {
                user: user("boss"),
                password: Secret::from(password),
                style,
            })
        };
        let cases = [
            (
                BackendOptions {
                    address: "mail".to_owned(),
                    ..base()
                },
                "backend `default`: `mail` is not host:port",
            ),
            (
                BackendOptions {
                    address: "8.8.8.8:143".to_owned(),
                    ..base()
                },
                "backend `default`: passwords would travel in clear to a public address; use TLS, or set danger_plaintext",
            ),
            (
                BackendOptions {
                    max_connections: 0,
                    ..base()
                },
                "backend `default`: max_connections must be more than zero",
            ),
            (
                BackendOptions {
                    master: master(MasterStyle::Authzid, "x"),
                    method: Method::Login,
                    ..base()
                },
                "backend `default`: a master user by authorization identity needs the login method plain or auto",
            ),
            (
                BackendOptions {
                    master: master(MasterStyle::Separator('o'), "x"),
                    ..base()
                },
                "backend `default`: the master user's name or password cannot be sent",
            ),
            (
                BackendOptions {
                    master: master(MasterStyle::Authzid, ""),
                    ..base()
                },
                "backend `default`: the master user's name or password cannot be sent",
            ),
        ];
        for (options, text) in cases {
            let options = Options {
                backends: vec![options],
                routes: Routes::default(),
            };
            assert_eq!(Backends::new(options, now()).unwrap_err().to_string(), text);
        }
        assert!(matches!(
            Backends::new(Options::default(), now()),
            Err(BackendError::None)
        ));
        let twice = Options {
            backends: vec![base(), base()],
            routes: Routes::default(),
        };
        assert!(matches!(
            Backends::new(twice, now()),
            Err(BackendError::Duplicate(_))
        ));
    }
}
