//! The closed catalogue of events. A code and an action, once released, never change their meaning.

use std::fmt;

/// How loud an event is: whose business it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The ordinary run of things, attacks from the open internet included.
    Info,
    /// Something is degraded.
    Warn,
    /// The operator must act.
    Error,
}

impl Level {
    /// The word in `log.level`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Whether what the event tells of succeeded, in ECS's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did.
    Success,
    /// It did not.
    Failure,
    /// There is nothing to succeed in.
    Unknown,
}

impl Outcome {
    /// The word in `event.outcome`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Unknown => "unknown",
        }
    }
}

macro_rules! kinds {
    ($($name:ident = $code:literal $action:literal $level:ident $outcome:ident [$($category:literal),*] [$($kind:literal),*] $summary:literal;)*) => {
        /// Everything that is reported, each with its stable code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $(#[doc = $summary] $name,)* }

        impl Kind {
            /// All of them, for the docs and their test.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code, `event.code`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The stable word, `event.action`.
            #[must_use]
            pub const fn action(self) -> &'static str {
                match self { $(Self::$name => $action,)* }
            }

            /// How loud it is, `log.level`.
            #[must_use]
            pub const fn level(self) -> Level {
                match self { $(Self::$name => Level::$level,)* }
            }

            /// `event.outcome`.
            #[must_use]
            pub const fn outcome(self) -> Outcome {
                match self { $(Self::$name => Outcome::$outcome,)* }
            }

            /// `event.category`, from ECS's list.
            #[must_use]
            pub const fn category(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($category),*],)* }
            }

            /// `event.type`, from ECS's list.
            #[must_use]
            pub const fn types(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($kind),*],)* }
            }

            /// One sentence for people, `message`.
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$name => $summary,)* }
            }
        }
    };
}

// 1xxx the program, 2xxx connections, 3xxx logins, 4xxx sessions, 5xxx administration, 6xxx surroundings.
kinds! {
    Started = "IW1001" "started" Info Success ["process"] ["start"]
        "The proxy accepts connections.";
    Stopping = "IW1002" "stopping" Info Unknown ["process"] ["change"]
        "The proxy takes no new connections and ends its sessions.";
    Stopped = "IW1003" "stopped" Info Success ["process"] ["end"]
        "The proxy has ended.";
    RulesReloaded = "IW1004" "rules_reloaded" Info Success ["configuration"] ["change"]
        "New rules are in force.";
    RulesRejected = "IW1005" "rules_rejected" Error Failure ["configuration"] ["change", "error"]
        "New rules have mistakes; the old ones stay in force.";
    CertificatesReloaded = "IW1006" "certificates_reloaded" Info Success ["configuration"] ["change"]
        "New certificates are in force.";
    CertificatesRejected = "IW1007" "certificates_rejected" Error Failure ["configuration"] ["change", "error"]
        "New certificates cannot be used; the old ones stay in force.";
    EventsDropped = "IW1008" "events_dropped" Error Failure ["process"] ["error"]
        "Events were lost because they could not be written fast enough.";
    DatabasesReloaded = "IW1009" "databases_reloaded" Info Success ["configuration"] ["change"]
        "New databases of countries and networks are in force.";
    DatabasesRejected = "IW1010" "databases_rejected" Error Failure ["configuration"] ["change", "error"]
        "New databases of countries and networks cannot be used; the old ones stay in force.";
    ConfigReloaded = "IW1011" "config_reloaded" Info Success ["configuration"] ["change"]
        "A new configuration is in force.";
    ConfigRejected = "IW1012" "config_rejected" Error Failure ["configuration"] ["change", "error"]
        "A new configuration cannot be used; the old one stays in force.";
    KeyChanged = "IW1013" "key_changed" Info Success ["configuration"] ["change"]
        "Another key of the key file is in force.";
    ConnectionDenied = "IW2001" "connection_denied" Info Failure ["network"] ["connection", "denied"]
        "A connection was closed before TLS.";
    TlsFailed = "IW2002" "tls_failed" Info Failure ["network"] ["connection", "error"]
        "A TLS hand-shake failed.";
    ConnectionEnded = "IW2003" "connection_ended" Info Unknown ["network"] ["connection", "end"]
        "A connection ended without a login.";
    LoginSucceeded = "IW3001" "login_succeeded" Info Success ["authentication", "session"] ["start"]
        "A login was accepted.";
    LoginFailed = "IW3002" "login_failed" Info Failure ["authentication"] ["start", "denied"]
        "A login was refused.";
    LoginUnavailable = "IW3003" "login_unavailable" Warn Unknown ["authentication"] ["start", "error"]
        "A login could not be decided.";
    SessionEnded = "IW4001" "session_ended" Info Unknown ["session"] ["end"]
        "A session ended.";
    SessionKilled = "IW4002" "session_killed" Info Success ["session"] ["end", "admin"]
        "A session was ended by an operator, a revocation or a change of policy.";
    CommandRefused = "IW4003" "command_refused" Info Failure ["session"] ["denied", "protocol"]
        "A command was not passed to the backend.";
    RuleMatched = "IW4004" "rule_matched" Info Unknown ["session"] ["info"]
        "A rule matched.";
    AlertRaised = "IW4005" "alert_raised" Warn Unknown ["session"] ["info"]
        "A rule raised an alert.";
    Command = "IW4006" "command" Info Unknown ["session"] ["access", "protocol"]
        "A command is over.";
    UserLocked = "IW5003" "user_locked" Warn Success ["iam"] ["user", "change", "admin"]
        "A rule locked a user.";
    AppPasswordRevoked = "IW5004" "app_password_revoked" Warn Success ["iam"] ["deletion", "admin"]
        "A rule revoked an app password.";
    BanAdded = "IW5001" "ban_added" Info Success ["iam"] ["creation", "admin"]
        "A network is banned.";
    BanRemoved = "IW5002" "ban_removed" Info Success ["iam"] ["deletion", "admin"]
        "A network is no longer banned.";
    BackendUnavailable = "IW6001" "backend_unavailable" Warn Failure ["network"] ["error"]
        "A backend cannot be used.";
    BackendRecovered = "IW6002" "backend_recovered" Info Success ["network"] ["info"]
        "A backend can be used again.";
    StoreUnavailable = "IW6003" "store_unavailable" Error Failure ["database"] ["error"]
        "The store cannot be used; logins that need it fail.";
    StoreRecovered = "IW6004" "store_recovered" Info Success ["database"] ["info"]
        "The store can be used again.";
}

impl Kind {
    /// True for what may come in any number. There must always be room for the others beside it.
    #[must_use]
    pub const fn is_bulk(self) -> bool {
        matches!(self, Self::Command | Self::CommandRefused)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.action())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ECS 8.17, allowed values of `event.category` and `event.type`.
    const CATEGORIES: [&str; 8] = [
        "authentication",
        "configuration",
        "database",
        "email",
        "iam",
        "network",
        "process",
        "session",
    ];
    const TYPES: [&str; 14] = [
        "access",
        "admin",
        "allowed",
        "change",
        "connection",
        "creation",
        "deletion",
        "denied",
        "end",
        "error",
        "info",
        "protocol",
        "start",
        "user",
    ];

    #[test]
    fn codes_and_actions_are_unique() {
        let all = Kind::ALL;
        for (n, kind) in all.iter().enumerate() {
            assert!(
                all[n + 1..]
                    .iter()
                    .all(|k| k.code() != kind.code() && k.action() != kind.action())
            );
            assert!(kind.code().len() == 6 && kind.code().starts_with("IW"));
        }
    }

    #[test]
    fn categories_and_types_are_ecs_words() {
        for kind in Kind::ALL {
            assert!(
                kind.category().iter().all(|word| CATEGORIES.contains(word)),
                "{kind}"
            );
            assert!(kind.types().iter().all(|word| TYPES.contains(word)), "{kind}");
        }
    }
}
