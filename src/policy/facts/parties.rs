//! Who takes part: the facts that stay the same for a connection or a session. Built once, then only borrowed.

use std::net::IpAddr;
use std::sync::Arc;

/// Where the connection comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The client's address; a mapped IPv4 address as IPv4.
    pub ip: IpAddr,
    /// The names of the network sets that contain it.
    pub networks: Vec<Arc<str>>,
    /// ISO code of the country, if a database knows it.
    pub country: Option<Arc<str>>,
    /// Number of the autonomous system, if a database knows it.
    pub asn: Option<u32>,
    /// Whether anybody logged in from its network lately.
    pub is_known: Option<bool>,
    /// Whether this user never logged in from its network lately. Known from the login on.
    pub is_new_for_user: Option<bool>,
    /// Whether this user never logged in from its country lately.
    pub is_new_country_for_user: Option<bool>,
    /// Whether this user never logged in from its autonomous system lately.
    pub is_new_asn_for_user: Option<bool>,
}

impl Source {
    /// An address of which nothing else is known.
    #[must_use]
    pub fn new(ip: IpAddr) -> Self {
        Self {
            ip: ip.to_canonical(),
            networks: Vec::new(),
            country: None,
            asn: None,
            is_known: None,
            is_new_for_user: None,
            is_new_country_for_user: None,
            is_new_asn_for_user: None,
        }
    }
}

/// The TLS session with the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// `1.2` or `1.3`.
    pub version: Option<Arc<str>>,
    /// The suite's IANA name.
    pub cipher: Option<Arc<str>>,
    /// The host name that the client asked for.
    pub server_name: Option<Arc<str>>,
    /// The fingerprint of its ClientHello.
    pub ja4: Option<Arc<str>>,
    /// The subject of its verified certificate.
    pub client_certificate: Option<Arc<str>>,
    /// Whether this user never used a client of this fingerprint lately.
    pub is_new_for_user: Option<bool>,
}

/// What the client says it is, in its ID command, and what we make of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// ID `name`.
    pub name: Option<Arc<str>>,
    /// ID `version`.
    pub version: Option<Arc<str>>,
    /// ID `os`.
    pub os: Option<Arc<str>>,
    /// ID `vendor`.
    pub vendor: Option<Arc<str>>,
    /// The family of clients it belongs to, by its ID and fingerprint: `thunderbird`.
    pub family: Option<Arc<str>>,
    /// Whether this user never used a client of this family lately.
    pub is_new_for_user: Option<bool>,
}

/// Who logs in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// The user name, as verified.
    pub name: Arc<str>,
    /// The account that is opened; the user's own or a shared one.
    pub account: Arc<str>,
    /// The user's groups.
    pub groups: Vec<Arc<str>>,
    /// How the second factor was proved, as in `types::SecondFactor::as_str`; `None` where the login failed.
    pub mfa: Option<Arc<str>>,
    /// Whether the credential is declared as one of a program.
    pub is_service: bool,
    /// Seconds since the login before this one; `None` where there is none.
    pub unseen_for: Option<u64>,
    /// The user's open sessions, this one included.
    pub sessions: Option<u32>,
    /// From how many networks those are.
    pub session_networks: Option<u32>,
    /// The app password in use.
    pub app_password: Option<AppPassword>,
}

/// The app password in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppPassword {
    /// Its id, as events show it.
    pub id: Arc<str>,
    /// The name the user gave it.
    pub label: Arc<str>,
    /// Seconds since it was created.
    pub age: u64,
    /// Seconds since it was last used before this login; `None` where this is its first use.
    pub unused_for: Option<u64>,
    /// The client family that used it first.
    pub client_family_at_creation: Option<Arc<str>>,
}
