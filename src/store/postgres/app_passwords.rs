//! App passwords, in SQL.

use std::sync::LazyLock;

use crate::store::AppPassword;
use crate::store::StoreError;
use crate::store::postgres::error::Trouble;
use crate::store::postgres::pool::Reader;
use crate::store::postgres::pool::Writer;
use crate::store::postgres::rows;
use crate::store::postgres::rows::From;
use crate::store::postgres::users;
use crate::store::postgres::windows;
use crate::store::words;
use crate::types::UnixTime;
use crate::types::UserName;

/// False where the id is taken. The user's row is locked, so that the limit holds whoever adds another one.
pub(super) async fn add(db: &Writer<'_>, new: &AppPassword, limit: u32) -> Result<bool, Trouble> {
    users::lock(db, &new.user).await?;
    if live(db, &new.user, new.created).await? >= i64::from(limit) {
        return Err(StoreError::Full("app passwords of one user").into());
    }
    let restrictions = &new.restrictions;
    let added = db
        .execute(
            "INSERT INTO app_passwords
                 (id, username, account, label, hash, public_key, public_key_mac, sealed, created, expires, networks,
                  read_only, mailboxes, commands, budget_bytes, budget_messages, service)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
             ON CONFLICT DO NOTHING",
            &[
                &i64::from(new.id),
                &new.user.as_str(),
                &new.account.as_str(),
                &new.label,
                &new.hash.as_slice(),
                &new.public_key.as_slice(),
                &new.public_key_mac.as_slice(),
                &new.sealed,
                &new.created.0,
                &new.expires.map(|end| end.0),
                &new.networks.as_ref().map(words::of_networks),
                &restrictions.read_only,
                &restrictions.mailboxes.as_deref().map(words::of_patterns),
                &words::of_commands(&restrictions.commands),
                &restrictions.budget.bytes.map(words::signed),
                &restrictions.budget.messages.map(words::signed),
                &restrictions.service,
            ],
        )
        .await?;
    Ok(added == 1)
}

async fn live(db: &Writer<'_>, user: &UserName, now: UnixTime) -> Result<i64, Trouble> {
    let sql = "SELECT count(*) FROM app_passwords
               WHERE username = $1 AND revoked IS NULL AND (expires IS NULL OR expires > $2)";
    let row = db.row(sql, &[&user.as_str(), &now.0]).await?;
    row.map_or(Ok(0), |row| From::start(&row).get(0))
}

pub(super) async fn one(db: &Reader<'_>, id: u32) -> Result<Option<AppPassword>, Trouble> {
    static SQL: LazyLock<String> = LazyLock::new(|| select("id = $1"));
    let row = db.row(&SQL, &[&i64::from(id)]).await?;
    row.map(|row| rows::app_password(From::start(&row))).transpose()
}

pub(super) async fn of_user(db: &Reader<'_>, user: &UserName) -> Result<Vec<AppPassword>, Trouble> {
    static SQL: LazyLock<String> = LazyLock::new(|| select("username = $1 ORDER BY created, id"));
    several(db, &SQL, user).await
}

pub(super) async fn for_account(db: &Reader<'_>, account: &UserName) -> Result<Vec<AppPassword>, Trouble> {
    static SQL: LazyLock<String> =
        LazyLock::new(|| select("account = $1 AND revoked IS NULL ORDER BY created, id"));
    several(db, &SQL, account).await
}

fn select(which: &str) -> String {
    let columns = rows::columns("app_passwords", &rows::APP_PASSWORD);
    format!("SELECT {columns} FROM app_passwords WHERE {which}")
}

async fn several(db: &Reader<'_>, sql: &str, name: &UserName) -> Result<Vec<AppPassword>, Trouble> {
    let found = db.rows(sql, &[&name.as_str()]).await?;
    found
        .iter()
        .map(|row| rows::app_password(From::start(row)))
        .collect()
}

/// The sealed mail password goes with it: what nobody may open any more need not be kept.
pub(super) async fn revoke(db: &Writer<'_>, id: u32, now: UnixTime) -> Result<bool, Trouble> {
    let sql = "UPDATE app_passwords SET revoked = $2, sealed = NULL WHERE id = $1 AND revoked IS NULL";
    Ok(db.execute(sql, &[&i64::from(id), &now.0]).await? == 1)
}

/// Ends the account's windows, and replaces what is sealed.
pub(super) async fn reseal(
    db: &Writer<'_>,
    account: &UserName,
    sealed: &[(u32, Vec<u8>)],
) -> Result<u32, Trouble> {
    users::lock(db, account).await?;
    windows::close_all(db, account).await?;
    let (ids, texts): (Vec<i64>, Vec<&[u8]>) = sealed
        .iter()
        .map(|(id, sealed)| (i64::from(*id), sealed.as_slice()))
        .unzip();
    let replaced = db
        .execute(
            "UPDATE app_passwords SET sealed = new.sealed
             FROM unnest($2::bigint[], $3::bytea[]) AS new (id, sealed)
             WHERE app_passwords.id = new.id AND account = $1 AND revoked IS NULL",
            &[&account.as_str(), &ids, &texts],
        )
        .await?;
    Ok(u32::try_from(replaced).unwrap_or(u32::MAX))
}
