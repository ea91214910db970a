//! App passwords, in SQL.

use std::sync::LazyLock;

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::params;

use crate::store::AppPassword;
use crate::store::LastUse;
use crate::store::address_text;
use crate::store::sqlite::rows;
use crate::store::words;
use crate::types::UnixTime;
use crate::types::UserName;

pub(super) fn add(db: &Connection, new: &AppPassword) -> rusqlite::Result<bool> {
    let added = db.execute(
        "INSERT INTO app_passwords
             (id, user, account, label, hash, public_key, public_key_mac, sealed, created, expires, networks,
              read_only, mailboxes, commands, budget_bytes, budget_messages, service)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
         ON CONFLICT DO NOTHING",
        params![
            new.id,
            new.user.as_str(),
            new.account.as_str(),
            new.label,
            new.hash,
            new.public_key,
            new.public_key_mac,
            new.sealed,
            new.created.0,
            new.expires.map(|end| end.0),
            new.networks.as_ref().map(words::of_networks),
            new.restrictions.read_only,
            new.restrictions.mailboxes.as_deref().map(words::of_patterns),
            words::of_commands(&new.restrictions.commands),
            new.restrictions.budget.bytes.map(words::signed),
            new.restrictions.budget.messages.map(words::signed),
            new.restrictions.service,
        ],
    )?;
    Ok(added == 1)
}

pub(super) fn live(db: &Connection, user: &UserName, now: UnixTime) -> rusqlite::Result<u32> {
    db.prepare_cached(
        "SELECT count(*) FROM app_passwords
         WHERE user = ?1 AND revoked IS NULL AND (expires IS NULL OR expires > ?2)",
    )?
    .query_row(params![user.as_str(), now.0], |row| row.get(0))
}

static ONE: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {} FROM app_passwords WHERE id = ?1", rows::APP_PASSWORD));

pub(super) fn one(db: &Connection, id: u32) -> rusqlite::Result<Option<AppPassword>> {
    db.prepare_cached(&ONE)?
        .query_row([id], rows::app_password)
        .optional()
}

pub(super) fn of_user(db: &Connection, user: &UserName) -> rusqlite::Result<Vec<AppPassword>> {
    db.prepare(&format!(
        "SELECT {} FROM app_passwords WHERE user = ?1 ORDER BY created, id",
        rows::APP_PASSWORD
    ))?
    .query_map([user.as_str()], rows::app_password)?
    .collect()
}

pub(super) fn for_account(db: &Connection, account: &UserName) -> rusqlite::Result<Vec<AppPassword>> {
    db.prepare(&format!(
        "SELECT {} FROM app_passwords WHERE account = ?1 AND revoked IS NULL ORDER BY created, id",
        rows::APP_PASSWORD
    ))?
    .query_map([account.as_str()], rows::app_password)?
    .collect()
}

/// The sealed mail password goes with it: what nobody may open any more need not be kept.
pub(super) fn revoke(db: &Connection, id: u32, now: UnixTime) -> rusqlite::Result<bool> {
    let revoked = db.execute(
        "UPDATE app_passwords SET revoked = ?2, sealed = NULL WHERE id = ?1 AND revoked IS NULL",
        params![id, now.0],
    )?;
    Ok(revoked == 1)
}

pub(super) fn reseal(
    db: &Connection,
    account: &UserName,
    sealed: &[(u32, Vec<u8>)],
) -> rusqlite::Result<u32> {
    let mut replaced = 0;
    for (id, sealed) in sealed {
        let changed = db.execute(
            "UPDATE app_passwords SET sealed = ?3 WHERE id = ?1 AND account = ?2 AND revoked IS NULL",
            params![id, account.as_str(), sealed],
        )?;
        replaced += u32::from(changed == 1);
    }
    Ok(replaced)
}

/// The newest use stays.
pub(super) fn used(db: &Connection, id: u32, last_use: &LastUse) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE app_passwords SET last_used = ?2, last_from = ?3, last_client = ?4
         WHERE id = ?1 AND (last_used IS NULL OR last_used <= ?2)",
    )?
    .execute(params![
        id,
        last_use.at.0,
        address_text(last_use.from),
        last_use.client
    ])?;
    Ok(())
}
