//! What SQLite's errors mean to us. Never repeats a parameter: those may be names and addresses.

use rusqlite::Error;
use rusqlite::ErrorCode;

use crate::store::StoreError;

/// Sorts an error: what may heal is `Unavailable`, what cannot is `Damaged`.
pub(super) fn unavailable(error: Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation) => {
            StoreError::Damaged(error.to_string())
        }
        Some(_) => StoreError::Unavailable(error.to_string()),
        // No SQLite code: a column that is not what we wrote, a statement that does not fit the schema.
        None => StoreError::Damaged(kind(error)),
    }
}

fn kind(error: Error) -> String {
    match error {
        // The text may repeat what is in the column.
        Error::FromSqlConversionFailure(column, kind, _) => {
            format!("column {column} ({kind}) cannot be read")
        }
        other => other.to_string(),
    }
}
