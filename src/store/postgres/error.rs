//! What PostgreSQL's errors mean to us. Never repeats a parameter: those may be names and addresses.

use std::error::Error as _;

use deadpool_postgres::PoolError;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::store::StoreError;

/// Something went wrong, and what it means for the connection it happened on.
#[derive(Debug)]
pub(super) struct Trouble {
    /// For the caller.
    pub(super) error: StoreError,
    /// Nothing of it was done, and it may go well at the next try: a race with another transaction was lost, or the connection
    /// was cut before a commit was asked for.
    pub(super) may_retry: bool,
    /// The connection answers properly; one that does not is not used again.
    pub(super) connection_is_fine: bool,
}

impl From<StoreError> for Trouble {
    /// What we found ourselves is no fault of the connection's.
    fn from(error: StoreError) -> Self {
        Self {
            error,
            may_retry: false,
            connection_is_fine: true,
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let state = error.code().cloned();
        let lost_race = [
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
        ];
        // A server that became a standby, or is going down: others are asked over new connections.
        let gone = |state: &SqlState| {
            *state == SqlState::READ_ONLY_SQL_TRANSACTION || matches!(class(state), "08" | "57" | "58" | "XX")
        };
        // The server cancels a statement at its time limit, and is fine after it.
        let cancelled = state.as_ref() == Some(&SqlState::QUERY_CANCELED);
        let raced = state.as_ref().is_some_and(|state| lost_race.contains(state));
        Self {
            may_retry: raced || (!cancelled && was_cut(&error)),
            connection_is_fine: cancelled || state.as_ref().is_some_and(|state| !gone(state)),
            error: sorted(&error),
        }
    }
}

impl Trouble {
    /// The same, met when a commit was asked for: where the connection was cut, nobody knows whether it was done.
    pub(super) fn at_commit(error: Error) -> Self {
        let unknown = was_cut(&error);
        let trouble = Self::from(error);
        Self {
            may_retry: trouble.may_retry && !unknown,
            ..trouble
        }
    }
}

/// The connection is no more, or leads to a server that takes no writes any more: another connection may be better.
fn was_cut(error: &Error) -> bool {
    match error.code() {
        Some(state) => *state == SqlState::READ_ONLY_SQL_TRANSACTION || matches!(class(state), "08" | "57"),
        None => error.is_closed() || error.source().is_some_and(|cause| cause.is::<std::io::Error>()),
    }
}

/// Sorts an error: what may heal is `Unavailable`, what cannot is `Damaged`.
pub(super) fn sorted(error: &Error) -> StoreError {
    let Some(database) = error.as_db_error() else {
        let text = chain(error);
        return if error.is_closed() || error.source().is_some_and(|cause| cause.is::<std::io::Error>()) {
            StoreError::Unavailable(text)
        } else {
            other(error, text)
        };
    };
    let state = database.code();
    match class(state) {
        // Values that do not fit, constraints: the message may repeat a value.
        "22" | "23" => StoreError::Damaged(format!("SQLSTATE {}", state.code())),
        // Rights may be given back; tables and columns that are not there will not come by themselves.
        "42" if *state != SqlState::INSUFFICIENT_PRIVILEGE => StoreError::Damaged(said(database)),
        "XX" if *state != SqlState::INTERNAL_ERROR => StoreError::Damaged(said(database)),
        _ => StoreError::Unavailable(said(database)),
    }
}

/// Columns that are not what we wrote are damage; all else is the connection.
fn other(error: &Error, text: String) -> StoreError {
    let shown = error.to_string();
    if ["deserializ", "serializ", "column", "parameters", "rows"]
        .iter()
        .any(|word| shown.contains(word))
    {
        // Without the cause, which may repeat what is in the column.
        StoreError::Damaged(shown)
    } else {
        StoreError::Unavailable(text)
    }
}

fn said(error: &tokio_postgres::error::DbError) -> String {
    format!("{} (SQLSTATE {})", error.message(), error.code().code())
}

/// The first two characters say what kind of trouble it is.
fn class(state: &SqlState) -> &str {
    state.code().get(..2).unwrap_or_default()
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// No connection to be had.
pub(super) fn no_connection(error: PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => match sorted(&error) {
            StoreError::Damaged(text) => StoreError::Unavailable(text),
            sorted => sorted,
        },
        PoolError::Timeout(_) => StoreError::Unavailable("no connection in time".to_owned()),
        other => StoreError::Unavailable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_trouble_are_told_by_the_first_two_characters() {
        assert_eq!(class(&SqlState::READ_ONLY_SQL_TRANSACTION), "25");
        assert_eq!(class(&SqlState::ADMIN_SHUTDOWN), "57");
    }
}
