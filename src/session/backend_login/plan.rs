//! What a login at a backend is to do: all that the operator configured and the client proved, before any byte moves.

use crate::session::backend_login::commands;
use crate::session::backend_login::failure::LoginFailure;
use crate::types::Secret;
use crate::types::UserName;

/// Longest password sent to a backend; the client's side takes no more either.
const MAX_PASSWORD: usize = 4096;

/// How to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// AUTHENTICATE PLAIN where offered, else LOGIN.
    #[default]
    Auto,
    /// The LOGIN command.
    Login,
    /// AUTHENTICATE PLAIN.
    Plain,
}

/// How a master user names the account to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MasterStyle {
    /// As PLAIN's authorization identity (RFC 4616): Cyrus, Dovecot.
    Authzid,
    /// As `account*master`, the separator given: Dovecot's `auth_master_user_separator`.
    Separator(char),
}

/// A user of the backend's that may open every account.
#[derive(Debug, Clone)]
pub struct Master {
    /// Its name.
    pub user: UserName,
    /// Its password.
    pub password: Secret,
    /// How the account is named.
    pub style: MasterStyle,
}

impl Master {
    /// True where a login can carry it: a password that is neither empty nor too long nor has NUL, and a name without the
    /// separator.
    #[must_use]
    pub fn is_sendable(&self) -> bool {
        let has_mark = match self.style {
            MasterStyle::Separator(mark) => self.user.as_str().contains(mark),
            MasterStyle::Authzid => false,
        };
        is_sendable(&self.password) && !has_mark
    }
}

/// An empty password is an anonymous bind to an LDAP directory, and succeeds there (RFC 4513, section 6.3.1). NUL has no
/// place in LOGIN, and ends the password in PLAIN.
fn is_sendable(password: &Secret) -> bool {
    !password.is_empty() && password.len() <= MAX_PASSWORD && !password.expose().contains(&0)
}

/// With whose password the account is opened.
#[derive(Debug, Clone)]
pub enum Identity {
    /// With its own.
    Own {
        /// The account.
        account: UserName,
        /// Its password.
        password: Secret,
    },
    /// With the master user's.
    Master {
        /// The account.
        account: UserName,
        /// Who opens it.
        master: Master,
    },
}

/// One login.
#[derive(Debug, Clone)]
pub struct Plan {
    /// STARTTLS must succeed before anything else is said; without it the login fails.
    pub start_tls: bool,
    /// How to log in.
    pub method: Method,
    /// Who logs in.
    pub identity: Identity,
    /// Fields of an ID command before the login, for a backend that offers ID; none, no command.
    pub id: Vec<(String, String)>,
}

/// Which command carries the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Login,
    Plain,
}

impl Identity {
    /// Fails where name or password would mean something else to the backend than what was verified.
    pub(super) fn check(&self) -> Result<(), LoginFailure> {
        let is_clear = match self {
            Self::Own { password, .. } => is_sendable(password),
            // `alice+x` opened as `alice+x+master` would be the account `alice`.
            Self::Master { account, master } => {
                let is_ambiguous = match master.style {
                    MasterStyle::Separator(mark) => account.as_str().contains(mark),
                    MasterStyle::Authzid => false,
                };
                master.is_sendable() && !is_ambiguous
            }
        };
        if is_clear {
            Ok(())
        } else {
            Err(LoginFailure::Unsendable)
        }
    }

    /// True where only PLAIN can say it.
    pub(super) fn needs_plain(&self) -> bool {
        matches!(self, Self::Master { master, .. } if master.style == MasterStyle::Authzid)
    }

    /// The credentials as commands: parts to be sent one by one, each but the first after a `+`.
    pub(super) fn commands(&self, tag: &str, form: Form, initial_response: bool) -> Vec<Secret> {
        let (authzid, name) = self.names();
        match form {
            Form::Login => commands::login(tag, name.as_bytes(), self.password()),
            Form::Plain => {
                let message = commands::plain_message(authzid.as_bytes(), name.as_bytes(), self.password());
                commands::plain(tag, &message, initial_response)
            }
        }
    }

    /// What a log must not hold: the password as it is, quoted, and in base64.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let (authzid, name) = self.names();
        let message = commands::plain_message(authzid.as_bytes(), name.as_bytes(), self.password());
        vec![
            self.password().clone(),
            commands::quoted(self.password()),
            commands::encode(&message),
        ]
    }

    /// The authorization identity (empty: none) and the name whose password it is.
    fn names(&self) -> (&str, String) {
        match self {
            Self::Own { account, .. } => ("", account.as_str().to_owned()),
            Self::Master { account, master } => match master.style {
                MasterStyle::Authzid => (account.as_str(), master.user.as_str().to_owned()),
                MasterStyle::Separator(mark) => ("", format!("{account}{mark}{}", master.user)),
            },
        }
    }

    fn password(&self) -> &Secret {
        match self {
            Self::Own { password, .. } => password,
            Self::Master { master, .. } => &master.password,
        }
    }

    /// What a tagged NO to these credentials means.
    pub(super) fn is_master(&self) -> bool {
        matches!(self, Self::Master { .. })
    }
}
