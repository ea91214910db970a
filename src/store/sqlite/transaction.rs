//! Questions and changes as transactions: all statements of one see the same state, and a change is made whole or not at all.

use rusqlite::Connection;
use rusqlite::Transaction;
use rusqlite::TransactionBehavior;

use crate::store::StoreError;
use crate::store::sqlite::error::unavailable;

/// Reads in one transaction, which is begun and ended by statements that are compiled once.
pub(super) fn read<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.prepare_cached("BEGIN")?.execute([])?;
    let answer = work(connection).and_then(|answer| {
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(answer)
    });
    if answer.is_err() && !connection.is_autocommit() {
        // Whatever went wrong, the next question begins anew; if this fails, the next one says so.
        let _ = connection.execute_batch("ROLLBACK");
    }
    answer
}

/// Changes, all or nothing.
pub(super) fn in_transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(unavailable)?;
    let answer = work(&transaction)?;
    transaction.commit().map_err(unavailable)?;
    Ok(answer)
}
