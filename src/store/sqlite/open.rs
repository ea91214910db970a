//! Opening the file: private from its first byte, in WAL mode, durable.

use std::fs;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;

use crate::store::StoreError;
use crate::store::sqlite::Options;
use crate::store::sqlite::error::unavailable;
use crate::store::sqlite::schema;

/// Device and inode: which file it is, whatever its name.
pub(super) type Identity = (u64, u64);

/// Makes the file where it is missing, readable by its owner alone; SQLite gives `-wal` and `-shm` the same mode.
///
/// The mode is set when the file is made, not afterwards: there is no moment at which somebody else could open it.
pub(super) fn make_private(path: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io_trouble(path, &error)),
    }
}

/// Which file is at the path now.
pub(super) fn identity(path: &Path) -> Result<Identity, StoreError> {
    let meta = fs::metadata(path).map_err(|error| io_trouble(path, &error))?;
    Ok((meta.dev(), meta.ino()))
}

/// A connection that may write.
pub(super) fn connect(path: &Path, options: &Options) -> Result<Connection, StoreError> {
    // No SQLITE_OPEN_CREATE: the file was made above, and one that vanished since must not come back empty. No URI names.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(unavailable)?;
    connection
        .busy_timeout(options.busy_timeout)
        .map_err(unavailable)?;
    // First of all: what follows would change a database of another program.
    schema::refuse_foreign(&connection, path)?;
    set_up(&connection).map_err(unavailable)?;
    Ok(connection)
}

/// A connection that can only read, though it takes part in the WAL.
pub(super) fn connect_to_read(path: &Path, options: &Options) -> Result<Connection, StoreError> {
    let connection = connect(path, options)?;
    connection
        .pragma_update(None, "query_only", true)
        .map_err(unavailable)?;
    Ok(connection)
}

/// A connection that changes nothing at all, for whoever only looks.
pub(super) fn connect_to_look(path: &Path, options: &Options) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(unavailable)?;
    connection
        .busy_timeout(options.busy_timeout)
        .map_err(unavailable)?;
    schema::refuse_foreign(&connection, path)?;
    schema::refuse_older(&connection)?;
    connection
        .pragma_update(None, "trusted_schema", false)
        .map_err(unavailable)?;
    Ok(connection)
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // FULL: a revocation or a consumed code that was answered survives a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    // The schema may have been written by somebody else: it must not call functions or reach virtual tables.
    connection.pragma_update(None, "trusted_schema", false)?;
    // No rows in temporary files elsewhere.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // A plan holds whatever is asked for: without this a statement is compiled anew each time other values are bound.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn io_trouble(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}
