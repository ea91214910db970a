//! SASL mechanisms as a server sees them (RFC 4422): responses in, challenges and finally credentials out.
//!
//! One file per mechanism and one line in the registry. Nothing here decides whether credentials are right, and no response
//! outlives its use: the buffers are wiped.

mod login;
mod plain;
mod response;

use thiserror::Error;

use crate::types::Credentials;
use crate::types::Mechanism;
use crate::types::Refusal;
use crate::types::UserNameError;

pub use response::Response;

/// An exchange that waits for the client's next response.
pub trait Exchange: Send {
    /// Takes the response and says what follows.
    ///
    /// # Errors
    /// The exchange is over: a response that is not one of this mechanism, or an identity that cannot be.
    fn respond(self: Box<Self>, response: Response) -> Result<Progress, SaslError>;
}

/// What an exchange has come to.
pub enum Progress {
    /// The client must answer this challenge, given in base64 as it goes behind `+ `.
    Challenge(&'static str, Box<dyn Exchange>),
    /// The client has said all: a name and what should prove it.
    Done(Credentials),
}

/// Why an exchange failed before anybody looked at the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SaslError {
    /// The client sent `*`.
    #[error("the client cancelled the exchange")]
    Cancelled,
    /// The response is longer than 8 KiB.
    #[error("the response is too long")]
    TooLong,
    /// The response is not canonical base64.
    #[error("the response is not canonical base64")]
    Base64,
    /// The response does not have the mechanism's form.
    #[error("the response does not have the form of the mechanism")]
    Malformed,
    /// The name cannot be a user name.
    #[error("not a user name")]
    User(#[from] UserNameError),
    /// The client wants to act for somebody else.
    #[error("the authorization identity is not the user")]
    Authzid,
}

impl SaslError {
    /// Why the login is refused, where the response was well-formed; `None` for errors of syntax, which are answered BAD.
    #[must_use]
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Self::User(_) => Some(Refusal::InvalidUser),
            Self::Authzid => Some(Refusal::InvalidAuthzid),
            Self::Cancelled | Self::TooLong | Self::Base64 | Self::Malformed => None,
        }
    }
}

/// One mechanism: its registered name, and how an exchange begins.
struct Entry {
    name: &'static str,
    mechanism: Mechanism,
    begin: fn() -> Progress,
    /// The client speaks first; otherwise an empty initial response is none at all.
    client_first: bool,
}

/// Every mechanism there is, in the order in which they are offered.
const REGISTRY: &[Entry] = &[
    Entry {
        name: "PLAIN",
        mechanism: Mechanism::Plain,
        begin: plain::begin,
        client_first: true,
    },
    Entry {
        name: "LOGIN",
        mechanism: Mechanism::SaslLogin,
        begin: login::begin,
        client_first: false,
    },
];

/// The mechanism of that name, in any case: Thunderbird writes `authenticate PLAIN`, others `plain`.
#[must_use]
pub fn find(name: &[u8]) -> Option<Mechanism> {
    REGISTRY
        .iter()
        .find(|entry| entry.name.as_bytes().eq_ignore_ascii_case(name))
        .map(|entry| entry.mechanism)
}

/// The name behind `AUTH=`; `None` for what is no SASL mechanism.
#[must_use]
pub fn name_of(mechanism: Mechanism) -> Option<&'static str> {
    REGISTRY
        .iter()
        .find(|entry| entry.mechanism == mechanism)
        .map(|entry| entry.name)
}

/// Begins an exchange. `initial` is the initial response as sent, in base64 or `=` for an empty one (RFC 4959).
///
/// # Errors
/// As [`Exchange::respond`]; [`SaslError::Malformed`] also for what is no SASL mechanism.
pub fn start(mechanism: Mechanism, initial: Option<&[u8]>) -> Result<Progress, SaslError> {
    let entry = REGISTRY
        .iter()
        .find(|entry| entry.mechanism == mechanism)
        .ok_or(SaslError::Malformed)?;
    let begun = (entry.begin)();
    let Some(initial) = initial else {
        return Ok(begun);
    };
    let response = Response::decode_initial(initial)?;
    match begun {
        Progress::Challenge(_, exchange) if entry.client_first || !response.is_empty() => {
            exchange.respond(response)
        }
        begun => Ok(begun),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs an exchange to its end: the challenges, then `user:password` or the error.
    pub(super) fn run(name: &str, initial: Option<&str>, responses: &[&str]) -> Vec<String> {
        let mut seen = Vec::new();
        let mut progress = start(find(name.as_bytes()).unwrap(), initial.map(str::as_bytes));
        let mut responses = responses.iter();
        loop {
            match progress {
                Err(error) => {
                    seen.push(format!("{error:?}"));
                    return seen;
                }
                Ok(Progress::Done(credentials)) => {
                    let password = String::from_utf8_lossy(credentials.secret.expose()).into_owned();
                    seen.push(format!(
                        "{}:{password} by {:?}",
                        credentials.user, credentials.mechanism
                    ));
                    return seen;
                }
                Ok(Progress::Challenge(text, exchange)) => {
                    seen.push(format!("+ {text}"));
                    let Some(response) = responses.next() else {
                        return seen;
                    };
                    progress = Response::decode(response.as_bytes()).and_then(|r| exchange.respond(r));
                }
            }
        }
    }

    #[test]
    fn mechanisms_are_found_in_any_case_and_only_by_their_whole_name() {
        assert_eq!(find(b"plain"), Some(Mechanism::Plain));
        assert_eq!(find(b"LoGiN"), Some(Mechanism::SaslLogin));
        for unknown in ["", "PLAINX", "PLAI", "EXTERNAL", "CRAM-MD5"] {
            assert_eq!(find(unknown.as_bytes()), None, "{unknown}");
        }
    }

    #[test]
    fn the_login_command_is_not_a_mechanism() {
        assert_eq!(name_of(Mechanism::Login), None);
        assert!(start(Mechanism::Login, None).is_err());
    }

    #[test]
    fn only_well_formed_responses_become_refusals() {
        assert_eq!(SaslError::Authzid.refusal(), Some(Refusal::InvalidAuthzid));
        assert_eq!(
            SaslError::User(UserNameError::Control).refusal(),
            Some(Refusal::InvalidUser)
        );
        assert_eq!(SaslError::Base64.refusal(), None);
        assert_eq!(SaslError::Cancelled.refusal(), None);
    }
}
