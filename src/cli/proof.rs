//! Mail passwords are proved at the backend before anything is sealed: a mistyped one would lock a mail program out.

use std::sync::Arc;

use aws_lc_rs::rand;

use crate::backend::Backend;
use crate::backend::Client;
use crate::backend::LoginError;
use crate::cli::args::PasswordFrom;
use crate::cli::error::CliError;
use crate::cli::secrets;
use crate::config::Config;
use crate::server;
use crate::types::Secret;
use crate::types::SessionId;
use crate::types::UserName;

/// The backend that an account lives on. Routes by server name cannot be known here, and lead nowhere.
pub(super) fn backend_of(config: &Config, account: &UserName) -> Result<Arc<Backend>, CliError> {
    let backends = server::open_backends(config)?;
    backends.route(account, None).map_err(|source| CliError::NoRoute {
        account: account.clone(),
        source,
    })
}

/// Asks for the account's mail password, and logs in with it once.
pub(super) async fn proved_password(
    backend: &Backend,
    account: &UserName,
    from: &PasswordFrom,
) -> Result<Secret, CliError> {
    let password = secrets::mail_password(from, account)?;
    let client = Client::operator(name()?);
    match Box::pin(backend.prove(account, &password, &client)).await {
        Ok(()) => Ok(password),
        Err(source @ LoginError::Refused(_)) => Err(CliError::Refused {
            backend: backend.name().to_owned(),
            account: account.clone(),
            source,
        }),
        Err(source @ LoginError::Unavailable(_)) => Err(CliError::Unproved {
            backend: backend.name().to_owned(),
            source,
        }),
    }
}

/// A name for the login in the backend's log.
fn name() -> Result<SessionId, CliError> {
    let mut bits = [0; 8];
    rand::fill(&mut bits).map_err(|error| CliError::Setup("the random source", error.into()))?;
    Ok(SessionId::new(u64::from_be_bytes(bits)))
}
