//! What an event can be about: a connection, its TLS, its program, its traffic.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use crate::types::ClientAddr;
use crate::types::Origin;
use crate::types::SessionId;
use crate::types::UserName;

/// What is known of a connection so far. Its owner keeps one and fills it in; every event of the connection starts from it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The connection's name.
    pub session: SessionId,
    /// Who is at the other end.
    pub addr: ClientAddr,
    /// Where that is.
    pub origin: Origin,
    /// When it began; for traces.
    pub began: Option<SystemTime>,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The TLS session, once there is one.
    pub tls: Option<Tls>,
    /// The client program, once it sent ID.
    pub user_agent: Option<UserAgent>,
    /// Who logged in, once somebody did.
    pub user: Option<UserName>,
    /// The account opened at the backend; shown where it is not the user's own.
    pub account: Option<UserName>,
}

impl Connection {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(session: SessionId, addr: ClientAddr, listener: Arc<str>) -> Self {
        Self {
            session,
            addr,
            origin: Origin::default(),
            began: None,
            listener,
            tls: None,
            user_agent: None,
            user: None,
            account: None,
        }
    }
}

/// What a backend was asked in a login; for traces.
#[derive(Debug, Clone)]
pub struct BackendCall {
    /// Its name in the configuration.
    pub backend: Box<str>,
    /// When the answer was there.
    pub ended: SystemTime,
    /// How long all of it took.
    pub took: Duration,
    /// How much of that was the connection; `None` where it did not let the account in.
    pub dialled: Option<Duration>,
}

/// What was agreed in the TLS hand-shake.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The cipher suite's name.
    pub cipher: &'static str,
    /// True where an earlier session was resumed.
    pub resumed: bool,
    /// The client's JA4 fingerprint.
    pub ja4: Option<Box<str>>,
    /// The one that it has whether it resumes a session or not; no event tells it.
    pub stable_ja4: Option<Box<str>>,
    /// The server name asked for; peer text, cleaned when shown.
    pub server_name: Option<Box<str>>,
    /// The verified client certificate's subject.
    pub subject: Option<Box<str>>,
}

/// The client program as its ID command states it (RFC 2971); peer text, cleaned when shown.
#[derive(Debug, Clone, Default)]
pub struct UserAgent {
    /// `name`
    pub name: Option<Box<str>>,
    /// `version`
    pub version: Option<Box<str>>,
}

/// Bytes and commands of one session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes from the client.
    pub from_client: u64,
    /// Bytes to the client.
    pub to_client: u64,
    /// Bytes from the backend.
    pub from_backend: u64,
    /// Bytes to the backend.
    pub to_backend: u64,
    /// Commands sent to the backend.
    pub commands: u64,
    /// Commands that we answered ourselves.
    pub refused: u64,
    /// Those of them that were not allowed.
    pub denied: u64,
    /// Messages that the client appended, begun.
    pub messages: u64,
}
