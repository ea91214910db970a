//! The key in force, and the change to another one, in SQL.

use std::sync::Arc;
use std::time::Duration;

use crate::store::Answer;
use crate::store::Bound;
use crate::store::FormerKey;
use crate::store::KeyStore;
use crate::store::NO_HASH;
use crate::store::Rekey;
use crate::store::Rekeyed;
use crate::store::StoreError;
use crate::store::keys;
use crate::store::postgres::PostgresStore;
use crate::store::postgres::error::Trouble;
use crate::store::postgres::listener::TELL;
use crate::store::postgres::pool::Reader;
use crate::store::postgres::pool::Writer;
use crate::store::postgres::rows;
use crate::store::postgres::rows::From;
use crate::types::UnixTime;
use crate::types::UserName;

/// How long a change of the key may take. What a login writes waits for it; what it reads does not.
const PATIENCE: Duration = Duration::from_mins(5);

/// How long it waits for others who write.
const TURN: Duration = Duration::from_secs(10);

/// Rows that are changed by one statement.
const PIECE: usize = 1_000;

impl PostgresStore {
    /// What takes longer than other writes, and is told within.
    async fn change_key<T>(
        &self,
        work: impl AsyncFn(&Writer<'_>) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let answer = self.pool.write_within(PATIENCE, work).await?;
        self.changes.told();
        Ok(answer)
    }
}

impl KeyStore for PostgresStore {
    fn key_in_force(&self) -> Answer<'_, Option<[u8; 32]>> {
        Box::pin(self.pool.read(async move |db: &Reader<'_>| in_force(db).await))
    }

    fn check_key(&self, check: [u8; 32]) -> Answer<'_, ()> {
        Box::pin(
            self.pool
                .write(async move |db: &Writer<'_>| bind(db, &check).await),
        )
    }

    fn former_keys(&self) -> Answer<'_, Vec<FormerKey>> {
        Box::pin(self.pool.read(async move |db: &Reader<'_>| former(db).await))
    }

    fn rekey(&self, how: Arc<dyn Rekey>, now: UnixTime) -> Answer<'_, Rekeyed> {
        Box::pin(self.change_key(async move |db: &Writer<'_>| rekey(db, &*how, now).await))
    }

    fn keep_hash(&self, id: u32, public_key_mac: [u8; 32], hash: [u8; 32]) -> Answer<'_, bool> {
        Box::pin(
            self.pool
                .write(async move |db: &Writer<'_>| keep_hash(db, id, &public_key_mac, &hash).await),
        )
    }
}

/// What the store recognises the key in force by, if it belongs to a key file.
pub(super) const IN_FORCE: &str = "SELECT value FROM meta WHERE name = 'key_check'";

async fn in_force(db: &Reader<'_>) -> Result<Option<[u8; 32]>, Trouble> {
    let row = db.row(IN_FORCE, &[]).await?;
    row.map(|row| From::start(&row).hash(0)).transpose()
}

async fn in_force_within(db: &Writer<'_>) -> Result<Option<[u8; 32]>, Trouble> {
    let row = db.row(IN_FORCE, &[]).await?;
    row.map(|row| From::start(&row).hash(0)).transpose()
}

/// The first one stays: of two replicas that start at once with two keys, one is told that the key is not the store's.
async fn bind(db: &Writer<'_>, check: &[u8; 32]) -> Result<(), Trouble> {
    db.execute(
        "INSERT INTO meta (name, value) VALUES ('key_check', $1) ON CONFLICT DO NOTHING",
        &[&check.as_slice()],
    )
    .await?;
    if in_force_within(db).await? == Some(*check) {
        Ok(())
    } else {
        Err(StoreError::OtherKey.into())
    }
}

async fn former(db: &Reader<'_>) -> Result<Vec<FormerKey>, Trouble> {
    let found = db
        .rows("SELECT name, value FROM meta WHERE name <> 'key_check'", &[])
        .await?;
    let mut former = Vec::new();
    for row in &found {
        let (name, value): (String, Vec<u8>) = (From::start(row).get(0)?, From::start(row).get(1)?);
        former.extend(keys::former_key(&name, &value));
    }
    former.sort_by_key(|key| std::cmp::Reverse(key.until));
    Ok(former)
}

/// Puts another key in force, and tells all replicas. Nobody writes what hangs on it meanwhile.
async fn rekey(db: &Writer<'_>, how: &dyn Rekey, now: UnixTime) -> Result<Rekeyed, Trouble> {
    db.batch(&format!(
        "SET LOCAL statement_timeout = {all}; SET LOCAL idle_in_transaction_session_timeout = {all};
         SET LOCAL lock_timeout = {turn};
         LOCK TABLE meta, totp, totp_enrolment, trusted_windows, app_passwords IN EXCLUSIVE MODE",
        all = PATIENCE.as_millis(),
        turn = TURN.as_millis(),
    ))
    .await?;
    if in_force_within(db).await? != Some(how.from()) {
        return Err(StoreError::OtherKey.into());
    }
    let in_use = seal_anew(db, how).await?;
    let waiting = seal_enrolments_anew(db, how).await?;
    let rekeyed = Rekeyed {
        one_time_secrets: in_use.saturating_add(waiting),
        app_passwords: bind_anew(db, how).await?,
    };
    put_in_force(db, how, now).await?;
    db.execute(TELL, &[]).await?;
    Ok(rekeyed)
}

async fn put_in_force(db: &Writer<'_>, how: &dyn Rekey, now: UnixTime) -> Result<(), Trouble> {
    // Their names hang on the key.
    db.execute("DELETE FROM trusted_windows", &[]).await?;
    db.execute(
        "UPDATE meta SET value = $1 WHERE name = 'key_check'",
        &[&how.to().as_slice()],
    )
    .await?;
    db.execute(
        "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        &[&keys::former_name(&how.from()), &now.0.to_be_bytes().as_slice()],
    )
    .await?;
    db.execute(
        "DELETE FROM meta WHERE name = $1",
        &[&keys::former_name(&how.to())],
    )
    .await?;
    Ok(())
}

/// What one table has sealed, by its users.
async fn sealed(db: &Writer<'_>, table: &str) -> Result<Vec<(UserName, Vec<u8>)>, Trouble> {
    let sql = format!("SELECT username, sealed FROM {table} ORDER BY username");
    let found = db.rows(&sql, &[]).await?;
    let pair = |row| {
        let row = From::start(row);
        Ok((row.name(0)?, row.get(1)?))
    };
    found.iter().map(pair).collect()
}

async fn seal_anew(db: &Writer<'_>, how: &dyn Rekey) -> Result<u64, Trouble> {
    let mut anew = Vec::new();
    for (user, sealed) in sealed(db, "totp").await? {
        let sealed = how.one_time_secret(&user, &sealed).map_err(StoreError::Damaged)?;
        anew.push((user, sealed));
    }
    write_sealed(db, "totp", &anew).await
}

/// Nobody has proved one of these yet: one that cannot be opened is worth nothing, and goes.
async fn seal_enrolments_anew(db: &Writer<'_>, how: &dyn Rekey) -> Result<u64, Trouble> {
    let mut anew = Vec::new();
    for (user, sealed) in sealed(db, "totp_enrolment").await? {
        match how.one_time_secret(&user, &sealed) {
            Ok(sealed) => anew.push((user, sealed)),
            Err(_) => {
                let sql = "DELETE FROM totp_enrolment WHERE username = $1";
                db.execute(sql, &[&user.as_str()]).await?;
            }
        }
    }
    write_sealed(db, "totp_enrolment", &anew).await
}

async fn write_sealed(db: &Writer<'_>, table: &str, anew: &[(UserName, Vec<u8>)]) -> Result<u64, Trouble> {
    let sql = format!(
        "UPDATE {table} SET sealed = new.sealed FROM unnest($1::text[], $2::bytea[]) AS new (username, sealed)
         WHERE {table}.username = new.username"
    );
    let mut count = 0_u64;
    for piece in anew.chunks(PIECE) {
        let (names, texts): (Vec<&str>, Vec<&[u8]>) = piece
            .iter()
            .map(|(user, sealed)| (user.as_str(), sealed.as_slice()))
            .unzip();
        count = count.saturating_add(db.execute(&sql, &[&names, &texts]).await?);
    }
    Ok(count)
}

async fn bind_anew(db: &Writer<'_>, how: &dyn Rekey) -> Result<u64, Trouble> {
    let found = db
        .rows(
            "SELECT id, username, account, public_key, public_key_mac, revoked IS NOT NULL FROM app_passwords ORDER BY id",
            &[],
        )
        .await?;
    let mut anew = Vec::new();
    for row in &found {
        let row = From::start(row);
        let bound = Bound {
            id: rows::id(row, 0)?,
            user: row.name(1)?,
            account: row.name(2)?,
            public_key: row.hash(3)?,
            public_key_mac: row.hash(4)?,
        };
        let is_revoked: bool = row.get(5)?;
        let mac = match how.app_password(&bound) {
            Ok(mac) => mac,
            // Nobody is let in with it again; a hash that is none ties it to nothing.
            Err(_) if is_revoked => NO_HASH,
            Err(text) => return Err(StoreError::Damaged(text).into()),
        };
        anew.push((i64::from(bound.id), mac));
    }
    let sql = "UPDATE app_passwords SET public_key_mac = new.mac, hash = $3
               FROM unnest($1::bigint[], $2::bytea[]) AS new (id, mac) WHERE app_passwords.id = new.id";
    let mut count = 0_u64;
    for piece in anew.chunks(PIECE) {
        let (ids, macs): (Vec<i64>, Vec<&[u8]>) = piece.iter().map(|(id, mac)| (*id, mac.as_slice())).unzip();
        count = count.saturating_add(db.execute(sql, &[&ids, &macs, &NO_HASH.as_slice()]).await?);
    }
    Ok(count)
}

async fn keep_hash(
    db: &Writer<'_>,
    id: u32,
    public_key_mac: &[u8; 32],
    hash: &[u8; 32],
) -> Result<bool, Trouble> {
    let sql = "UPDATE app_passwords SET hash = $3 WHERE id = $1 AND public_key_mac = $2 AND hash = $4";
    let kept = db
        .execute(
            sql,
            &[
                &i64::from(id),
                &public_key_mac.as_slice(),
                &hash.as_slice(),
                &NO_HASH.as_slice(),
            ],
        )
        .await?;
    Ok(kept == 1)
}
