//! Trusted windows, in SQL.

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::params;

use crate::store::NewWindow;
use crate::store::Window;
use crate::store::sqlite::rows;
use crate::types::UnixTime;
use crate::types::UserName;

/// Adds a pending window, and makes room: dead windows of the user go, then the least recently used.
pub(super) fn insert(db: &Connection, user: &UserName, window: &NewWindow) -> rusqlite::Result<()> {
    db.execute(
        "DELETE FROM trusted_windows WHERE user = ?1 AND (expires <= ?2 OR last_used < ?3)",
        params![user.as_str(), window.opened.0, window.idle_since.0],
    )?;
    db.execute(
        "INSERT OR REPLACE INTO trusted_windows (key, user, open, opened, expires, last_used)
         VALUES (?1, ?2, 0, ?3, ?4, ?3)",
        params![window.key, user.as_str(), window.opened.0, window.expires.0],
    )?;
    db.execute(
        "DELETE FROM trusted_windows WHERE user = ?1 AND key NOT IN
         (SELECT key FROM trusted_windows WHERE user = ?1 ORDER BY key = ?2 DESC, last_used DESC LIMIT ?3)",
        params![user.as_str(), window.key, window.keep],
    )?;
    Ok(())
}

pub(super) fn one(db: &Connection, key: &[u8; 32]) -> rusqlite::Result<Option<Window>> {
    db.prepare_cached("SELECT user, open, opened, expires, last_used FROM trusted_windows WHERE key = ?1")?
        .query_row([key], rows::window)
        .optional()
}

/// Only a pending window opens, and only one that is still there: what a reset removed stays removed.
pub(super) fn open(
    db: &Connection,
    key: &[u8; 32],
    now: UnixTime,
    expires: UnixTime,
) -> rusqlite::Result<bool> {
    let opened = db.execute(
        "UPDATE trusted_windows SET open = 1, expires = ?3, last_used = max(last_used, ?2)
         WHERE key = ?1 AND open = 0",
        params![key, now.0, expires.0],
    )?;
    Ok(opened == 1)
}

pub(super) fn close(db: &Connection, key: &[u8; 32]) -> rusqlite::Result<bool> {
    let closed = db.execute("DELETE FROM trusted_windows WHERE key = ?1", [key])?;
    Ok(closed == 1)
}

pub(super) fn close_all(db: &Connection, user: &UserName) -> rusqlite::Result<u32> {
    let closed = db.execute("DELETE FROM trusted_windows WHERE user = ?1", [user.as_str()])?;
    Ok(u32::try_from(closed).unwrap_or(u32::MAX))
}

/// Never longer than it is: only an open window is touched.
pub(super) fn used(db: &Connection, key: &[u8; 32], at: UnixTime) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE trusted_windows SET last_used = max(last_used, ?2) WHERE key = ?1 AND open = 1",
    )?
    .execute(params![key, at.0])?;
    Ok(())
}
