//! The key in force, and the change to another one, in SQL.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::params;

use crate::store::Answer;
use crate::store::Bound;
use crate::store::FormerKey;
use crate::store::KeyStore;
use crate::store::NO_HASH;
use crate::store::Rekey;
use crate::store::Rekeyed;
use crate::store::StoreError;
use crate::store::keys;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::error::unavailable;
use crate::store::sqlite::in_transaction;
use crate::store::sqlite::rows;
use crate::types::UnixTime;
use crate::types::UserName;

/// How long a change of the key may take.
const PATIENCE: Duration = Duration::from_mins(5);

impl KeyStore for SqliteStore {
    fn key_in_force(&self) -> Answer<'_, Option<[u8; 32]>> {
        self.read(in_force)
    }

    fn check_key(&self, check: [u8; 32]) -> Answer<'_, ()> {
        self.write(move |db| {
            if bind(db, &check).map_err(unavailable)? {
                Ok(())
            } else {
                Err(StoreError::OtherKey)
            }
        })
    }

    fn former_keys(&self) -> Answer<'_, Vec<FormerKey>> {
        self.read(former)
    }

    fn rekey(&self, how: Arc<dyn Rekey>, now: UnixTime) -> Answer<'_, Rekeyed> {
        let changes = Arc::clone(&self.changes);
        self.writer.ask_within(PATIENCE, move |connection| {
            let rekeyed = in_transaction(connection, |db| rekey(db, &*how, now))?;
            changes.told();
            Ok(rekeyed)
        })
    }

    fn keep_hash(&self, id: u32, public_key_mac: [u8; 32], hash: [u8; 32]) -> Answer<'_, bool> {
        self.write(move |db| keep_hash(db, id, &public_key_mac, &hash).map_err(unavailable))
    }
}

/// What the store recognises the key in force by, if it belongs to a key file.
pub(super) fn in_force(db: &Connection) -> rusqlite::Result<Option<[u8; 32]>> {
    db.prepare_cached("SELECT value FROM meta WHERE name = 'key_check'")?
        .query_row([], |row| row.get(0))
        .optional()
}

/// True where the key that `check` was derived from is in force, or none was yet.
fn bind(db: &Connection, check: &[u8; 32]) -> rusqlite::Result<bool> {
    if let Some(kept) = in_force(db)? {
        return Ok(kept == *check);
    }
    db.execute(
        "INSERT INTO meta (name, value) VALUES ('key_check', ?1)",
        params![check],
    )?;
    Ok(true)
}

fn former(db: &Connection) -> rusqlite::Result<Vec<FormerKey>> {
    let mut statement = db.prepare("SELECT name, value FROM meta WHERE name <> 'key_check'")?;
    let found: rusqlite::Result<Vec<(String, Vec<u8>)>> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect();
    let mut former: Vec<FormerKey> = found?
        .iter()
        .filter_map(|(name, value)| keys::former_key(name, value))
        .collect();
    former.sort_by_key(|key| std::cmp::Reverse(key.until));
    Ok(former)
}

fn rekey(db: &Connection, how: &dyn Rekey, now: UnixTime) -> Result<Rekeyed, StoreError> {
    if in_force(db).map_err(unavailable)? != Some(how.from()) {
        return Err(StoreError::OtherKey);
    }
    let rekeyed = Rekeyed {
        one_time_secrets: seal_anew(db, how)?
            .saturating_add(seal_enrolments_anew(db, how).map_err(unavailable)?),
        app_passwords: bind_anew(db, how)?,
    };
    put_in_force(db, how, now).map_err(unavailable)?;
    Ok(rekeyed)
}

fn put_in_force(db: &Connection, how: &dyn Rekey, now: UnixTime) -> rusqlite::Result<()> {
    // Their names hang on the key.
    db.execute("DELETE FROM trusted_windows", [])?;
    db.execute(
        "UPDATE meta SET value = ?1 WHERE name = 'key_check'",
        params![how.to()],
    )?;
    db.execute(
        "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)",
        params![keys::former_name(&how.from()), now.0.to_be_bytes()],
    )?;
    db.execute("DELETE FROM meta WHERE name = ?1", [keys::former_name(&how.to())])?;
    Ok(())
}

/// What one table has sealed, by its users.
fn sealed(db: &Connection, table: &str) -> rusqlite::Result<Vec<(UserName, Vec<u8>)>> {
    db.prepare(&format!("SELECT user, sealed FROM {table} ORDER BY user"))?
        .query_map([], |row| Ok((rows::name(row, 0)?, row.get(1)?)))?
        .collect()
}

fn seal_anew(db: &Connection, how: &dyn Rekey) -> Result<u64, StoreError> {
    let mut count = 0_u64;
    for (user, sealed) in sealed(db, "totp").map_err(unavailable)? {
        let anew = how.one_time_secret(&user, &sealed).map_err(StoreError::Damaged)?;
        db.prepare_cached("UPDATE totp SET sealed = ?2 WHERE user = ?1")
            .and_then(|mut statement| statement.execute(params![user.as_str(), anew]))
            .map_err(unavailable)?;
        count = count.saturating_add(1);
    }
    Ok(count)
}

/// Nobody has proved one of these yet: one that cannot be opened is worth nothing, and goes.
fn seal_enrolments_anew(db: &Connection, how: &dyn Rekey) -> rusqlite::Result<u64> {
    let mut count = 0_u64;
    for (user, sealed) in sealed(db, "totp_enrolment")? {
        match how.one_time_secret(&user, &sealed) {
            Ok(anew) => {
                db.prepare_cached("UPDATE totp_enrolment SET sealed = ?2 WHERE user = ?1")?
                    .execute(params![user.as_str(), anew])?;
                count = count.saturating_add(1);
            }
            Err(_) => {
                db.execute("DELETE FROM totp_enrolment WHERE user = ?1", [user.as_str()])?;
            }
        }
    }
    Ok(count)
}

fn bind_anew(db: &Connection, how: &dyn Rekey) -> Result<u64, StoreError> {
    let mut count = 0_u64;
    for (bound, is_revoked) in bound(db).map_err(unavailable)? {
        let mac = match how.app_password(&bound) {
            Ok(mac) => mac,
            // Nobody is let in with it again; a hash that is none ties it to nothing.
            Err(_) if is_revoked => NO_HASH,
            Err(text) => return Err(StoreError::Damaged(text)),
        };
        db.prepare_cached("UPDATE app_passwords SET public_key_mac = ?2, hash = ?3 WHERE id = ?1")
            .and_then(|mut statement| statement.execute(params![bound.id, mac, NO_HASH]))
            .map_err(unavailable)?;
        count = count.saturating_add(1);
    }
    Ok(count)
}

/// All app passwords, each with whether it was revoked.
fn bound(db: &Connection) -> rusqlite::Result<Vec<(Bound, bool)>> {
    db.prepare(
        "SELECT id, user, account, public_key, public_key_mac, revoked IS NOT NULL FROM app_passwords ORDER BY id",
    )?
    .query_map([], |row| {
        let bound = Bound {
            id: row.get(0)?,
            user: rows::name(row, 1)?,
            account: rows::name(row, 2)?,
            public_key: row.get(3)?,
            public_key_mac: row.get(4)?,
        };
        Ok((bound, row.get(5)?))
    })?
    .collect()
}

fn keep_hash(db: &Connection, id: u32, public_key_mac: &[u8; 32], hash: &[u8; 32]) -> rusqlite::Result<bool> {
    let kept = db.execute(
        "UPDATE app_passwords SET hash = ?3 WHERE id = ?1 AND public_key_mac = ?2 AND hash = ?4",
        params![id, public_key_mac, hash, NO_HASH],
    )?;
    Ok(kept == 1)
}
