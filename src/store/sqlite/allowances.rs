//! First-sync allowances of app passwords, in SQL.

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::params;

use crate::policy::first_sync::Allowance;
use crate::store::AppPasswordUse;
use crate::store::sqlite::rows;
use crate::store::words;
use crate::types::UnixTime;

/// `?1` is an id; there are 30 bits of it, so the one asked for where there is none cannot exist.
pub(super) fn of_app_password(db: &Connection, id: Option<u32>) -> rusqlite::Result<Option<AppPasswordUse>> {
    db.prepare_cached(
        "SELECT created, last_used, opened, bytes_left, network, family, allowances.ended
         FROM app_passwords LEFT JOIN allowances ON app_password = id WHERE id = ?1",
    )?
    .query_row([id.unwrap_or(u32::MAX)], rows::app_password_use)
    .optional()
}

/// The first one stays. An app password that is gone has none.
pub(super) fn open(db: &Connection, id: u32, new: &Allowance) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO allowances (app_password, opened, bytes_left, network, family, ended)
         SELECT id, ?2, ?3, ?4, ?5, ?6 FROM app_passwords WHERE id = ?1
         ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        id,
        new.opened.0,
        words::signed(new.left),
        new.network,
        new.family.as_deref(),
        new.ended.map(|end| end.0),
    ])?;
    Ok(())
}

pub(super) fn spend(db: &Connection, id: u32, bytes: u64, at: UnixTime) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE allowances SET bytes_left = max(bytes_left - ?2, 0),
             ended = CASE WHEN bytes_left <= ?2 THEN ifnull(ended, ?3) ELSE ended END
         WHERE app_password = ?1",
    )?
    .execute(params![id, words::signed(bytes), at.0])?;
    Ok(())
}

pub(super) fn end(db: &Connection, id: u32, at: UnixTime) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE allowances SET ended = ifnull(ended, ?2) WHERE app_password = ?1")?
        .execute(params![id, at.0])?;
    Ok(())
}

pub(super) fn learn(db: &Connection, id: u32, family: &str) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE allowances SET family = ifnull(family, ?2) WHERE app_password = ?1")?
        .execute(params![id, family])?;
    Ok(())
}
