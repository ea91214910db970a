//! Why a login was refused. The client hears one text for all of them, or none where time is up; the event hears the word.

use std::fmt;

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $counts:literal;)*) => {
        /// Every reason for which a login is refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Refusal { $($(#[$doc])* $name,)* }

        impl Refusal {
            /// All of them, for metrics that must exist from the start and for the docs.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable word in logs, metrics and events.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// True where the attempt was a guess that limits must count; trouble of ours or of the backend never is.
            #[must_use]
            pub const fn is_guess(self) -> bool {
                match self { $(Self::$name => $counts,)* }
            }
        }
    };
}

refusals! {
    /// No such user here.
    UnknownUser = "unknown_user", true;
    /// The user is disabled.
    UserDisabled = "user_disabled", true;
    /// The name cannot be a user name: control characters, a master-user separator.
    InvalidUser = "invalid_user", true;
    /// An authorization identity that is not the user.
    InvalidAuthzid = "invalid_authzid", true;
    /// The main password alone, where a second factor is required.
    SecondFactorMissing = "second_factor_missing", true;
    /// No live app password with this secret.
    AppPasswordInvalid = "app_password_invalid", true;
    /// It looks like an app password, but its checksum is wrong: a typing mistake, not a guess.
    AppPasswordMistyped = "app_password_mistyped", false;
    /// The app password has expired.
    AppPasswordExpired = "app_password_expired", true;
    /// The app password was revoked.
    AppPasswordRevoked = "app_password_revoked", true;
    /// The app password opens another account.
    AppPasswordOtherUser = "app_password_other_user", true;
    /// The app password may not be used from this network.
    AppPasswordNetwork = "app_password_network", true;
    /// The one-time code is wrong.
    CodeInvalid = "code_invalid", true;
    /// The one-time code was used before.
    CodeReplayed = "code_replayed", true;
    /// The backend refused the password.
    PasswordInvalid = "password_invalid", true;
    /// The backend had the password, and had not answered when the login's time was up.
    PasswordUnanswered = "password_unanswered", true;
    /// The user may not log in from this network.
    NetworkDenied = "network_denied", true;
    /// A rule refused the login.
    PolicyDenied = "policy_denied", true;
    /// Too many attempts; this one was not looked at.
    RateLimited = "rate_limited", false;
    /// Too many sessions of the user at once.
    SessionLimit = "session_limit", true;
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! command_refusals {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $answer:literal;)*) => {
        /// Every reason for which a command after the login is not passed on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum CommandRefusal { $($(#[$doc])* $name,)* }

        impl CommandRefusal {
            /// All of them, for the docs.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable word in events.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What the client is answered: `BAD` for what is no proper command, `NO` for what is not allowed.
            #[must_use]
            pub const fn answer(self) -> &'static str {
                match self { $(Self::$name => $answer,)* }
            }
        }
    };
}

command_refusals! {
    /// It is no IMAP, or no command that the proxy knows.
    Invalid = "invalid", "BAD";
    /// A command that is never passed on after the login.
    Forbidden = "forbidden", "BAD";
    /// The app password's restrictions do not allow it.
    Restricted = "restricted", "NO";
    /// The app password has downloaded what it may in an hour.
    BudgetExceeded = "budget_exceeded", "NO";
    /// The message is larger than any may be.
    TooLarge = "too_large", "NO";
    /// A rule has made the session read-only.
    ReadOnly = "read_only", "NO";
    /// A rule denied it, or ended the session for it.
    PolicyDenied = "policy_denied", "NO";
}
