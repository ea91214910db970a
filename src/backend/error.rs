//! What goes wrong between us and a backend, and whose fault it is.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;

use crate::net::tls::HandshakeError;
use crate::net::tls::TlsError;
use crate::session::backend_login::LoginFailure;

/// Why a set of backends cannot be used.
#[derive(Debug, Error)]
pub enum BackendError {
    /// There is none.
    #[error("no backend is configured")]
    None,
    /// Two have the same name.
    #[error("two backends are named `{0}`")]
    Duplicate(String),
    /// A route leads nowhere.
    #[error("a route names the backend `{0}`, which does not exist")]
    UnknownBackend(String),
    /// Not `host:port`.
    #[error("backend `{backend}`: `{address}` is not host:port")]
    Address {
        /// The backend's name.
        backend: String,
        /// The text in question.
        address: String,
    },
    /// Not a name that a certificate can have.
    #[error("backend `{backend}`: `{name}` is neither a host name nor an address")]
    ServerName {
        /// The backend's name.
        backend: String,
        /// The text in question.
        name: String,
    },
    /// Passwords would travel in clear over a public network.
    #[error(
        "backend `{0}`: passwords would travel in clear to a public address; use TLS, or set danger_plaintext"
    )]
    Plaintext(String),
    /// Only PLAIN has an authorization identity.
    #[error("backend `{0}`: a master user by authorization identity needs the login method plain or auto")]
    MasterMethod(String),
    /// An empty master password, or one that no login can carry.
    #[error("backend `{0}`: the master user's name or password cannot be sent")]
    Master(String),
    /// A limit that lets nothing through.
    #[error("backend `{backend}`: {limit} must be more than zero")]
    Zero {
        /// The backend's name.
        backend: String,
        /// The option.
        limit: &'static str,
    },
    /// The TLS files are wrong.
    #[error("backend `{backend}`: {source}")]
    Tls {
        /// The backend's name.
        backend: String,
        /// What is wrong.
        source: TlsError,
    },
}

/// What a connection to a backend is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The name service.
    Resolve,
    /// TCP.
    Connect,
    /// TLS.
    Handshake,
    /// Greeting and capabilities.
    Greeting,
    /// The answer to the credentials.
    Login,
}

impl Phase {
    /// The word in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Handshake => "handshake",
            Self::Greeting => "greeting",
            Self::Login => "login",
        }
    }
}

/// Why a backend is not available: its trouble, the network's or the operator's, never the client's.
#[derive(Debug, Error)]
pub enum DialError {
    /// No route fits the account.
    #[error("no backend for this account")]
    NoRoute,
    /// The backend is known to be down; nothing was tried.
    #[error("the backend is down; waiting before the next try")]
    BreakerOpen,
    /// As many connections as allowed are open.
    #[error("all connections to the backend are in use")]
    Full,
    /// The account is to be opened by the master user, and there is none.
    #[error("the backend has no master user configured")]
    NoMaster,
    /// The host name has no address now.
    #[error("the backend's address cannot be looked up: {0}")]
    Resolve(#[source] io::Error),
    /// Passwords would travel in clear over a public network.
    #[error("{0} is a public address, and TLS is off")]
    Plaintext(SocketAddr),
    /// No address of the backend's takes the connection.
    #[error("the backend does not take connections: {0}")]
    Connect(#[source] io::Error),
    /// The time for all of it is over.
    #[error("the backend took too long ({})", .0.as_str())]
    Timeout(Phase),
    /// The TLS hand-shake failed.
    #[error("TLS with the backend failed: {0}")]
    Tls(#[source] HandshakeError),
    /// The backend closed the connection before the login was over.
    #[error("the backend closed the connection ({})", .0.as_str())]
    Closed(Phase),
    /// Reading or writing failed.
    #[error("the connection to the backend broke: {0}")]
    Io(#[source] io::Error),
    /// The backend did not let us in, and the credentials are not to blame.
    #[error(transparent)]
    Login(LoginFailure),
    /// The system gives no random bytes.
    #[error("no random bytes")]
    Random,
}

impl DialError {
    /// The stable word in logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::BreakerOpen => "breaker_open",
            Self::Full => "full",
            Self::NoMaster => "no_master",
            Self::Resolve(_) => "resolve",
            Self::Plaintext(_) => "plaintext",
            Self::Connect(_) => "connect",
            Self::Timeout(_) => "timeout",
            Self::Tls(_) => "tls",
            Self::Closed(_) => "closed",
            Self::Io(_) => "io",
            Self::Login(_) => "login",
            Self::Random => "random",
        }
    }

    /// All words, for labels that must exist from the start.
    pub const WORDS: [&'static str; 13] = [
        "no_route",
        "breaker_open",
        "full",
        "no_master",
        "resolve",
        "plaintext",
        "connect",
        "timeout",
        "tls",
        "closed",
        "io",
        "login",
        "random",
    ];
}

/// Why an account was not opened.
#[derive(Debug, Error)]
pub enum LoginError {
    /// The backend refused the credentials: to the client the same as any wrong password. A
    /// [`MasterRefused`](LoginFailure::MasterRefused) is the operator's to look at.
    #[error(transparent)]
    Refused(LoginFailure),
    /// `NO [UNAVAILABLE]`; never counts as an attempt.
    #[error(transparent)]
    Unavailable(#[from] DialError),
}

impl From<LoginFailure> for LoginError {
    fn from(failure: LoginFailure) -> Self {
        if failure.is_refusal() {
            Self::Refused(failure)
        } else {
            Self::Unavailable(DialError::Login(failure))
        }
    }
}
