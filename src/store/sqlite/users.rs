//! Users and their one-time secrets, in SQL.

use std::sync::LazyLock;

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::params;

use crate::store::Consumption;
use crate::store::Totp;
use crate::store::User;
use crate::store::sqlite::habits;
use crate::store::sqlite::rows;
use crate::store::sqlite::windows;
use crate::store::words;
use crate::types::UnixTime;
use crate::types::UserName;

/// The eighth migration: names without the case of their letters. `lower` knows ASCII's alone.
pub(super) const NAMESAKES: &str = "CREATE INDEX users_by_folded_name ON users (lower(name));";

pub(super) fn add(db: &Connection, user: &User) -> rusqlite::Result<bool> {
    let added = db.execute(
        "INSERT INTO users (name, display, disabled, mfa, enrol_by, networks, created, epoch, member_of)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
        params![
            user.name.as_str(),
            user.display,
            user.disabled,
            user.mfa.map(|setting| setting.as_str()),
            user.enrol_by.map(|end| end.0),
            user.networks.as_ref().map(words::of_networks),
            user.created.0,
            user.epoch,
            words::of_groups(&user.groups),
        ],
    )?;
    Ok(added == 1)
}

pub(super) fn change(db: &Connection, user: &User) -> rusqlite::Result<bool> {
    let changed = db.execute(
        "UPDATE users SET display = ?2, mfa = ?4, enrol_by = ?5, networks = ?6, member_of = ?7,
             epoch = epoch + (?3 AND NOT disabled), disabled = ?3
         WHERE name = ?1",
        params![
            user.name.as_str(),
            user.display,
            user.disabled,
            user.mfa.map(|setting| setting.as_str()),
            user.enrol_by.map(|end| end.0),
            user.networks.as_ref().map(words::of_networks),
            words::of_groups(&user.groups),
        ],
    )?;
    if user.disabled {
        windows::close_all(db, &user.name)?;
    }
    Ok(changed == 1)
}

pub(super) fn remove(db: &Connection, name: &UserName) -> rusqlite::Result<bool> {
    habits::forget(db, name)?;
    let removed = db.execute("DELETE FROM users WHERE name = ?1", [name.as_str()])?;
    Ok(removed == 1)
}

pub(super) fn reset(db: &Connection, name: &UserName, now: UnixTime) -> rusqlite::Result<bool> {
    forget_totp(db, name)?;
    habits::forget_habits(db, name)?;
    db.execute(
        "UPDATE app_passwords SET revoked = ?2, sealed = NULL WHERE user = ?1 AND revoked IS NULL",
        params![name.as_str(), now.0],
    )?;
    move_epoch(db, name)
}

static ONE: LazyLock<String> = LazyLock::new(|| format!("SELECT {} FROM users WHERE name = ?1", rows::USER));

pub(super) fn one(db: &Connection, name: &UserName) -> rusqlite::Result<Option<User>> {
    db.prepare_cached(&ONE)?
        .query_row([name.as_str()], rows::user)
        .optional()
}

/// Who is listed under the name, whatever the case of its letters; two of them at most.
pub(super) fn namesakes(db: &Connection, name: &UserName) -> rusqlite::Result<Vec<UserName>> {
    db.prepare_cached("SELECT name FROM users WHERE lower(name) = ?1 LIMIT 2")?
        .query_map([name.folded()], |row| rows::name(row, 0))?
        .collect()
}

pub(super) fn list(db: &Connection, after: Option<&UserName>, limit: u32) -> rusqlite::Result<Vec<User>> {
    db.prepare_cached(&format!(
        "SELECT {} FROM users WHERE name > ?1 ORDER BY name LIMIT ?2",
        rows::USER
    ))?
    .query_map(params![after.map_or("", UserName::as_str), limit], rows::user)?
    .collect()
}

pub(super) fn begin_enrolment(
    db: &Connection,
    user: &UserName,
    sealed: &[u8],
    now: UnixTime,
) -> rusqlite::Result<bool> {
    if one(db, user)?.is_none() {
        return Ok(false);
    }
    db.execute(
        "INSERT INTO totp_enrolment (user, sealed, created) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET sealed = excluded.sealed, created = excluded.created",
        params![user.as_str(), sealed, now.0],
    )?;
    Ok(true)
}

pub(super) fn enrolment(db: &Connection, user: &UserName) -> rusqlite::Result<Option<(Vec<u8>, UnixTime)>> {
    db.query_row(
        "SELECT sealed, created FROM totp_enrolment WHERE user = ?1",
        [user.as_str()],
        |row| Ok((row.get(0)?, UnixTime(row.get(1)?))),
    )
    .optional()
}

pub(super) fn confirm_enrolment(
    db: &Connection,
    user: &UserName,
    sealed: &[u8],
    step: i64,
    now: UnixTime,
) -> rusqlite::Result<bool> {
    let waiting = db.execute(
        "DELETE FROM totp_enrolment WHERE user = ?1 AND sealed = ?2",
        params![user.as_str(), sealed],
    )?;
    if waiting == 0 {
        return Ok(false);
    }
    db.execute(
        "INSERT INTO totp (user, sealed, confirmed, last_step) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET sealed = excluded.sealed, confirmed = excluded.confirmed,
             last_step = excluded.last_step",
        params![user.as_str(), sealed, now.0, step],
    )?;
    windows::close_all(db, user)?;
    move_epoch(db, user)
}

pub(super) fn remove_totp(db: &Connection, user: &UserName) -> rusqlite::Result<bool> {
    let had = forget_totp(db, user)?;
    if had {
        move_epoch(db, user)?;
    }
    Ok(had)
}

fn forget_totp(db: &Connection, user: &UserName) -> rusqlite::Result<bool> {
    let in_force = db.execute("DELETE FROM totp WHERE user = ?1", [user.as_str()])?;
    let waiting = db.execute("DELETE FROM totp_enrolment WHERE user = ?1", [user.as_str()])?;
    windows::close_all(db, user)?;
    Ok(in_force + waiting > 0)
}

fn move_epoch(db: &Connection, user: &UserName) -> rusqlite::Result<bool> {
    let moved = db.execute(
        "UPDATE users SET epoch = epoch + 1 WHERE name = ?1",
        [user.as_str()],
    )?;
    Ok(moved == 1)
}

pub(super) fn totp(db: &Connection, user: &UserName) -> rusqlite::Result<Option<Totp>> {
    db.prepare_cached("SELECT sealed, confirmed, last_step FROM totp WHERE user = ?1")?
        .query_row([user.as_str()], rows::totp)
        .optional()
}

/// One conditional UPDATE decides: of any number of racing logins with the same step, exactly one changes the row.
pub(super) fn consume_step(db: &Connection, consumption: &Consumption) -> rusqlite::Result<bool> {
    let consumed = db.execute(
        "UPDATE totp SET last_step = ?3 WHERE user = ?1 AND sealed = ?2 AND last_step < ?3
         AND EXISTS (SELECT 1 FROM users WHERE name = ?1 AND NOT disabled)",
        params![consumption.user.as_str(), consumption.sealed, consumption.step],
    )?;
    if consumed == 0 {
        return Ok(false);
    }
    windows::insert(db, &consumption.user, &consumption.window)?;
    Ok(true)
}
