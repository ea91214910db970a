//! What a command ends with when it cannot be done, and the exit code that says so to scripts (sysexits).
//!
//! One line with the whole chain; never a secret, never a control character.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::auth::accounts::AccountError;
use crate::auth::keys::KeyError;
use crate::backend::DialError;
use crate::backend::LoginError;
use crate::config::ConfigProblems;
use crate::net::socket::ListenError;
use crate::server::PartEnded;
use crate::server::SocketsError;
use crate::server::StartError;
use crate::store::StoreError;
use crate::types::UserName;

const USAGE: u8 = 64;
const DATA: u8 = 65;
const NO_INPUT: u8 = 66;
const UNAVAILABLE: u8 = 69;
const SYSTEM: u8 = 71;
const INTERNAL: u8 = 70;
const CANNOT_CREATE: u8 = 73;
const IO: u8 = 74;
const TRY_AGAIN: u8 = 75;
const NOT_PERMITTED: u8 = 77;
const CONFIG: u8 = 78;

/// Why a command was not done.
#[derive(Debug, Error)]
pub(super) enum CliError {
    /// The arguments do not fit together, or do not fit the configuration.
    #[error("{0}")]
    Usage(String),
    /// What was given is not right.
    #[error("{0}")]
    Data(String),
    /// A password or code cannot be read.
    #[error("{what} cannot be read from {from}")]
    Input {
        /// `the mail password`, `the code`.
        what: &'static str,
        /// Where from.
        from: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The daemon has stopped, and not because it was told to.
    #[error(transparent)]
    PartEnded(#[from] PartEnded),
    /// A password file is open to others.
    #[error("every user of this machine can read {0}; run `chmod o= {0}`")]
    Exposed(PathBuf),
    /// There is no configuration.
    #[error("{0}")]
    NoConfig(String),
    /// The configuration is wrong.
    #[error("the configuration is wrong")]
    Config(Box<ConfigProblems>),
    /// Rule files are wrong.
    #[error("the rules are wrong")]
    Rules(Vec<ConfigProblems>),
    /// The backend does not know the mail password.
    #[error("the backend `{backend}` refused the mail password of {account}; nothing was changed")]
    Refused {
        /// Its name.
        backend: String,
        /// Whose password.
        account: UserName,
        /// What it said.
        #[source]
        source: LoginError,
    },
    /// The backend cannot be asked.
    #[error("the mail password cannot be proved at the backend `{backend}`; nothing was changed")]
    Unproved {
        /// Its name.
        backend: String,
        /// What is wrong.
        #[source]
        source: LoginError,
    },
    /// No backend for the account.
    #[error("no route leads to a backend for {account}")]
    NoRoute {
        /// Which account.
        account: UserName,
        /// What is wrong.
        #[source]
        source: DialError,
    },
    /// The daemon cannot be asked.
    #[error("no running imapwarden answers at {socket}")]
    Daemon {
        /// Its socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The daemon says no.
    #[error("{0}")]
    DaemonRefused(String),
    /// What was printed is not all.
    #[error("these are the sessions of this replica alone: {0}")]
    OthersMissing(String),
    /// The daemon keeps its old configuration.
    #[error("the old configuration stays in force: {error}")]
    Rejected {
        /// Why, in one line.
        error: String,
        /// Every problem with its place; may be empty.
        report: String,
    },
    /// Accounts.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Starting, or opening what a start opens.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The log or the signals cannot be set up.
    #[error("{0} cannot be set up")]
    Setup(&'static str, #[source] Box<dyn Error + Send + Sync>),
    /// A QR code cannot be drawn.
    #[error("the QR code cannot be drawn")]
    Qr(#[from] qrcode::types::QrError),
    /// There is no runtime.
    #[error("the program cannot start its threads")]
    Runtime(#[source] io::Error),
    /// A second signal while draining.
    #[error("interrupted before all sessions had ended")]
    Interrupted,
    /// Standard output is gone.
    #[error("the result cannot be written")]
    Output(#[from] io::Error),
}

impl CliError {
    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Data(_) | Self::DaemonRefused(_) => DATA,
            Self::Input { source, .. } if source.kind() == io::ErrorKind::InvalidData => DATA,
            Self::Input { .. } => NO_INPUT,
            Self::Exposed(_) | Self::Refused { .. } => NOT_PERMITTED,
            Self::NoConfig(_)
            | Self::Rules(_)
            | Self::Config(_)
            | Self::Rejected { .. }
            | Self::NoRoute { .. } => CONFIG,
            Self::Daemon { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => NOT_PERMITTED,
            Self::Daemon { .. } | Self::Unproved { .. } | Self::OthersMissing(_) => UNAVAILABLE,
            Self::Account(error) => account_code(error),
            Self::Store(error) => store_code(error),
            Self::Key(error) => key_code(error),
            Self::Start(error) => start_code(error),
            Self::Setup(..) | Self::Qr(_) | Self::PartEnded(_) => INTERNAL,
            Self::Runtime(_) => SYSTEM,
            Self::Interrupted => TRY_AGAIN,
            Self::Output(_) => IO,
        }
    }

    /// The whole chain in one line.
    pub(super) fn line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some messages have their cause in them already.
            if !line.ends_with(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            cause = error.source();
        }
        line.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect()
    }
}

fn account_code(error: &AccountError) -> u8 {
    match error {
        AccountError::Exists => CANNOT_CREATE,
        AccountError::NoSuchUser
        | AccountError::NoSuchAppPassword(_)
        | AccountError::NoEnrolment
        | AccountError::BadLabel
        | AccountError::EmptyPassword
        | AccountError::Tampered(_) => DATA,
        AccountError::WrongCode => NOT_PERMITTED,
        AccountError::NoFreeId | AccountError::KeyChanged => TRY_AGAIN,
        AccountError::Store(error) => store_code(error),
        AccountError::Key(error) => key_code(error),
        AccountError::Seal(_) | AccountError::Totp(_) => INTERNAL,
    }
}

fn store_code(error: &StoreError) -> u8 {
    match error {
        StoreError::Unavailable(_) => UNAVAILABLE,
        StoreError::Damaged(_) => DATA,
        StoreError::TooNew { .. } | StoreError::Foreign(_) | StoreError::OtherKey => CONFIG,
        StoreError::Full(_) => CANNOT_CREATE,
    }
}

fn key_code(error: &KeyError) -> u8 {
    match error {
        KeyError::Io { source, .. } | KeyError::Unwritable { source, .. }
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            NOT_PERMITTED
        }
        KeyError::Io { .. } | KeyError::Lost { .. } => NO_INPUT,
        KeyError::Exposed { .. } | KeyError::Owner { .. } => NOT_PERMITTED,
        KeyError::Malformed { .. } | KeyError::NotInForce { .. } => CONFIG,
        KeyError::Busy { .. } => TRY_AGAIN,
        KeyError::TooMany { .. } | KeyError::Unwritable { .. } => CANNOT_CREATE,
        KeyError::Store(error) => store_code(error),
        KeyError::Crypto => INTERNAL,
    }
}

fn start_code_of_listening(error: &ListenError) -> u8 {
    match error.source.kind() {
        io::ErrorKind::PermissionDenied => NOT_PERMITTED,
        _ => UNAVAILABLE,
    }
}

fn start_code(error: &StartError) -> u8 {
    match error {
        StartError::Store(error) => store_code(error),
        StartError::Key(error) => key_code(error),
        StartError::DataDirectory { .. } | StartError::Control { .. } | StartError::Events(_) => {
            CANNOT_CREATE
        }
        StartError::Listen(error) => start_code_of_listening(error),
        StartError::Sockets(SocketsError::Listen(error)) => start_code_of_listening(error),
        StartError::Metrics(_) | StartError::Signals(_) | StartError::Admin(_) => INTERNAL,
        _ => CONFIG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_its_whole_chain_and_nothing_twice() {
        let error = CliError::Daemon {
            socket: PathBuf::from("/x\n/y"),
            source: io::Error::new(io::ErrorKind::NotFound, "gone"),
        };
        assert_eq!(error.line(), "no running imapwarden answers at /x /y: gone");
        let error = CliError::from(StoreError::Unavailable("locked".to_owned()));
        assert_eq!(error.line(), "the store is unavailable: locked");
    }

    #[test]
    fn codes_say_whose_fault_it_is() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let cases = [
            (CliError::Usage(String::new()), 64),
            (CliError::from(AccountError::NoSuchUser), 65),
            (CliError::from(AccountError::Exists), 73),
            (CliError::from(AccountError::WrongCode), 77),
            (CliError::from(StoreError::Unavailable(String::new())), 69),
            (CliError::from(StartError::from(StoreError::OtherKey)), 78),
            (
                CliError::Daemon {
                    socket: PathBuf::new(),
                    source: denied,
                },
                77,
            ),
        ];
        for (error, code) in cases {
            assert_eq!(error.code(), code, "{error}");
        }
    }
}
