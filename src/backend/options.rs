//! What the operator says about backends. Filled in by `config`; holds no I/O.

use std::time::Duration;

use crate::net::proxy_header::Version;
use crate::net::socket;
use crate::net::tls::ClientOptions;
use crate::session::backend_login::Master;
use crate::session::backend_login::Method;
use crate::types::UserName;

/// All backends, and who goes to which.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The backends, each with a name of its own.
    pub backends: Vec<BackendOptions>,
    /// Who goes to which.
    pub routes: Routes,
}

/// Who goes to which backend, by its name. Users are looked at first, then domains, then server names, then the default;
/// within a list the first match wins. A single backend without any route takes everybody.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// By account, byte for byte.
    pub users: Vec<(UserName, String)>,
    /// By what stands behind the account's last `@`, in any case.
    pub domains: Vec<(String, String)>,
    /// By the server name of the client's TLS hand-shake, in any case.
    pub server_names: Vec<(String, String)>,
    /// All others.
    pub default: Option<String>,
}

/// TLS towards a backend.
#[derive(Debug, Clone, Default)]
pub enum Tls {
    /// None. Allowed towards loopback and private addresses; elsewhere only with `danger_plaintext`.
    #[default]
    None,
    /// STARTTLS, which must succeed.
    StartTls(TlsOptions),
    /// From the first byte.
    Implicit(TlsOptions),
}

/// How a backend's certificate is judged.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Authorities, pins, our own certificate.
    pub client: ClientOptions,
    /// The name the certificate must have; the host of the address where absent.
    pub server_name: Option<String>,
}

/// One backend.
#[derive(Debug, Clone)]
pub struct BackendOptions {
    /// Its name in routes, logs and metrics.
    pub name: String,
    /// `host:port`. A host name is looked up for every connection, and all its addresses are tried.
    pub address: String,
    /// TLS towards it.
    pub tls: Tls,
    /// Lets passwords travel in clear to an address that is neither loopback nor private.
    pub danger_plaintext: bool,
    /// How accounts log in.
    pub method: Method,
    /// The user that opens accounts without their passwords.
    pub master: Option<Master>,
    /// Tells the backend about the client in an ID command before login (`x-originating-ip` …).
    pub forward_id: bool,
    /// Tells the backend about the client in a PROXY header.
    pub proxy_header: Option<Version>,
    /// Time for connecting, TLS, greeting and login in all.
    pub timeout: Duration,
    /// Most connections at a time.
    pub max_connections: usize,
    /// When to stop trying for a while.
    pub breaker: BreakerOptions,
    /// Socket options.
    pub socket: socket::Options,
}

impl Default for BackendOptions {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            address: "127.0.0.1:143".to_owned(),
            tls: Tls::None,
            danger_plaintext: false,
            method: Method::Auto,
            master: None,
            forward_id: false,
            proxy_header: None,
            timeout: Duration::from_secs(30),
            max_connections: 10_000,
            breaker: BreakerOptions::default(),
            socket: socket::Options::default(),
        }
    }
}

/// When a backend counts as down: logins of this many distinct client networks fail within the window, and none succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Distinct client networks (IPv4 /32, IPv6 /48), so that one client cannot make the backend look down for all.
    pub clients: usize,
    /// How long a failure counts.
    pub window: Duration,
    /// How long nobody is let through before one connection tries again.
    pub pause: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            clients: 3,
            window: Duration::from_secs(60),
            pause: Duration::from_secs(10),
        }
    }
}
