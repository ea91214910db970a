//! What a client offers to prove who it is.

use crate::types::Secret;
use crate::types::UserName;

/// How the credentials came over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// The LOGIN command (RFC 3501, section 6.2.3).
    Login,
    /// AUTHENTICATE PLAIN (RFC 4616).
    Plain,
    /// AUTHENTICATE LOGIN, the undocumented two-prompt mechanism of old clients.
    SaslLogin,
}

impl Mechanism {
    /// The word in events and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Plain => "plain",
            Self::SaslLogin => "sasl_login",
        }
    }

    /// All of them, for labels that must exist from the start.
    pub const ALL: [Self; 3] = [Self::Login, Self::Plain, Self::SaslLogin];
}

/// A name and what should prove it; nothing has been checked yet.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The name to log in as; an authorization identity was equal to it or absent.
    pub user: UserName,
    /// The password as typed: an app password, a password with a code, or a bare password.
    pub secret: Secret,
    /// How it came.
    pub mechanism: Mechanism,
}
