//! Why a connection ended, and whose doing it was. The words are log field, metric label and audit field alike: never
//! rename one.

use std::fmt;

/// Who brought the connection to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client, or whoever pretends to be one.
    Client,
    /// The backend.
    Backend,
    /// We ourselves: a limit, an operator, a shutdown, a fault of ours.
    Proxy,
}

impl Side {
    /// The word in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
            Self::Proxy => "proxy",
        }
    }
}

macro_rules! end_reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $side:ident;)*) => {
        /// Every way in which a connection can end.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum EndReason { $($(#[$doc])* $name,)* }

        impl EndReason {
            /// All of them, for metrics that must exist from the start and for the docs.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable word in logs, metrics and events.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Whose doing it was.
            #[must_use]
            pub const fn side(self) -> Side {
                match self { $(Self::$name => Side::$side,)* }
            }
        }
    };
}

end_reasons! {
    /// The client said LOGOUT and got its answer.
    Logout = "logout", Client;
    /// The client closed its connection without LOGOUT.
    ClientClosed = "client_closed", Client;
    /// Reading from or writing to the client failed.
    ClientIo = "client_io", Client;
    /// The TLS hand-shake with the client failed.
    TlsHandshakeFailed = "tls_handshake_failed", Client;
    /// The TLS hand-shake took too long.
    TlsHandshakeTimeout = "tls_handshake_timeout", Client;
    /// A trusted peer sent no valid PROXY header, or none in time.
    ProxyHeaderInvalid = "proxy_header_invalid", Client;
    /// The client did not log in within the time allowed; or the answer would have come too late.
    LoginTimeout = "login_timeout", Client;
    /// The client sent too many commands that are not IMAP.
    TooManyBadCommands = "too_many_bad_commands", Client;
    /// The client used up its login attempts.
    TooManyAttempts = "too_many_attempts", Client;
    /// The client sent something that is not IMAP at all: an HTTP request, binary data.
    NotImap = "not_imap", Client;
    /// The client exceeded a bound: line, literal, bytes before login.
    ClientLimit = "client_limit", Client;
    /// The client broke the framing of a command in a way that cannot be skipped safely.
    ClientProtocol = "client_protocol", Client;
    /// The client sent nothing for longer than the idle time.
    IdleTimeout = "idle_timeout", Client;
    /// The client did not read what was sent to it.
    ClientStalled = "client_stalled", Client;
    /// The address is on a deny list or not on the allow list.
    AddressDenied = "address_denied", Proxy;
    /// The address is banned.
    AddressBanned = "address_banned", Proxy;
    /// Too many connections per time from the prefix.
    ConnectionRate = "connection_rate", Proxy;
    /// Too many connections at once: in all, from the prefix, or of the user.
    ConnectionLimit = "connection_limit", Proxy;
    /// The backend closed the connection.
    BackendClosed = "backend_closed", Backend;
    /// The backend said BYE.
    BackendBye = "backend_bye", Backend;
    /// Reading from or writing to the backend failed.
    BackendIo = "backend_io", Backend;
    /// The backend broke the protocol: framing, an unasked tagged answer, a stray `+`, NUL.
    BackendProtocol = "backend_protocol", Backend;
    /// The backend exceeded a bound: line or literal.
    BackendLimit = "backend_limit", Backend;
    /// The backend could not be reached or would not let us in for a reason that is not the client's.
    BackendUnavailable = "backend_unavailable", Backend;
    /// The backend did not read what was sent to it.
    BackendStalled = "backend_stalled", Backend;
    /// The credential that opened the session was revoked.
    Revoked = "revoked", Proxy;
    /// An operator ended the session.
    Killed = "killed", Proxy;
    /// The app password has downloaded what it may in an hour.
    BudgetExceeded = "budget_exceeded", Proxy;
    /// A rule ended the session.
    PolicyDenied = "policy_denied", Proxy;
    /// The policy in force no longer allows the session.
    PolicyChanged = "policy_changed", Proxy;
    /// The proxy is shutting down.
    Shutdown = "shutdown", Proxy;
    /// The store or another part of ours is away.
    Unavailable = "unavailable", Proxy;
    /// A fault of ours.
    InternalError = "internal_error", Proxy;
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let mut words: Vec<_> = EndReason::ALL.iter().map(|r| r.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), EndReason::ALL.len());
    }
}
