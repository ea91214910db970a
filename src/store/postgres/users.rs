//! Users and their one-time secrets, in SQL.
//!
//! Whatever changes what a user may do locks the user's row first: two changes of one user, by whichever replicas, happen
//! one after the other. The lock lets references to the row be checked meanwhile.

use std::sync::LazyLock;

use crate::store::Consumption;
use crate::store::Totp;
use crate::store::User;
use crate::store::postgres::error::Trouble;
use crate::store::postgres::habits;
use crate::store::postgres::pool::Reader;
use crate::store::postgres::pool::Writer;
use crate::store::postgres::rows;
use crate::store::postgres::rows::From;
use crate::store::postgres::windows;
use crate::store::words;
use crate::types::UnixTime;
use crate::types::UserName;

/// The sixth migration: names without the case of their letters. The column's collation has `lower` know ASCII's alone.
pub(super) const NAMESAKES: &str = "CREATE INDEX users_by_folded_name ON users (lower(name));";

/// Makes every other change of the user wait for the end of this transaction. Says whether the user is disabled; `None`
/// where there is no such user.
pub(super) async fn lock(db: &Writer<'_>, name: &UserName) -> Result<Option<bool>, Trouble> {
    let sql = "SELECT disabled FROM users WHERE name = $1 FOR NO KEY UPDATE";
    let row = db.row(sql, &[&name.as_str()]).await?;
    row.map(|row| From::start(&row).get(0)).transpose()
}

/// The same for what changes nothing of the user: any number of such transactions go on side by side.
async fn hold(db: &Writer<'_>, name: &UserName) -> Result<Option<bool>, Trouble> {
    let sql = "SELECT disabled FROM users WHERE name = $1 FOR SHARE";
    let row = db.row(sql, &[&name.as_str()]).await?;
    row.map(|row| From::start(&row).get(0)).transpose()
}

pub(super) async fn add(db: &Writer<'_>, user: &User) -> Result<bool, Trouble> {
    let added = db
        .execute(
            "INSERT INTO users (name, display, disabled, mfa, enrol_by, networks, created, epoch, member_of)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            &[
                &user.name.as_str(),
                &user.display,
                &user.disabled,
                &user.mfa.map(|setting| setting.as_str()),
                &user.enrol_by.map(|end| end.0),
                &user.networks.as_ref().map(words::of_networks),
                &user.created.0,
                &user.epoch,
                &words::of_groups(&user.groups),
            ],
        )
        .await?;
    Ok(added == 1)
}

pub(super) async fn change(db: &Writer<'_>, user: &User) -> Result<bool, Trouble> {
    let changed = db
        .execute(
            "UPDATE users SET display = $2, mfa = $4, enrol_by = $5, networks = $6, member_of = $7,
                 epoch = epoch + CASE WHEN $3 AND NOT disabled THEN 1 ELSE 0 END, disabled = $3
             WHERE name = $1",
            &[
                &user.name.as_str(),
                &user.display,
                &user.disabled,
                &user.mfa.map(|setting| setting.as_str()),
                &user.enrol_by.map(|end| end.0),
                &user.networks.as_ref().map(words::of_networks),
                &words::of_groups(&user.groups),
            ],
        )
        .await?;
    if user.disabled {
        windows::close_all(db, &user.name).await?;
    }
    Ok(changed == 1)
}

pub(super) async fn remove(db: &Writer<'_>, name: &UserName) -> Result<bool, Trouble> {
    lock(db, name).await?;
    habits::forget(db, name).await?;
    let removed = db
        .execute("DELETE FROM users WHERE name = $1", &[&name.as_str()])
        .await?;
    Ok(removed == 1)
}

pub(super) async fn reset(db: &Writer<'_>, name: &UserName, now: UnixTime) -> Result<bool, Trouble> {
    lock(db, name).await?;
    forget_totp(db, name).await?;
    habits::forget_habits(db, name).await?;
    let sql = "UPDATE app_passwords SET revoked = $2, sealed = NULL WHERE username = $1 AND revoked IS NULL";
    db.execute(sql, &[&name.as_str(), &now.0]).await?;
    move_epoch(db, name).await
}

pub(super) async fn one(db: &Reader<'_>, name: &UserName) -> Result<Option<User>, Trouble> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let columns = rows::columns("users", &rows::USER);
        format!("SELECT {columns} FROM users WHERE name = $1")
    });
    let row = db.row(&SQL, &[&name.as_str()]).await?;
    row.map(|row| rows::user(From::start(&row))).transpose()
}

pub(super) async fn list(
    db: &Reader<'_>,
    after: Option<&UserName>,
    limit: u32,
) -> Result<Vec<User>, Trouble> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let columns = rows::columns("users", &rows::USER);
        format!("SELECT {columns} FROM users WHERE name > $1 ORDER BY name LIMIT $2")
    });
    let after = after.map_or("", UserName::as_str);
    let found = db.rows(&SQL, &[&after, &i64::from(limit)]).await?;
    found.iter().map(|row| rows::user(From::start(row))).collect()
}

pub(super) async fn begin_enrolment(
    db: &Writer<'_>,
    user: &UserName,
    sealed: &[u8],
    now: UnixTime,
) -> Result<bool, Trouble> {
    if lock(db, user).await?.is_none() {
        return Ok(false);
    }
    db.execute(
        "INSERT INTO totp_enrolment (username, sealed, created) VALUES ($1, $2, $3)
         ON CONFLICT (username) DO UPDATE SET sealed = excluded.sealed, created = excluded.created",
        &[&user.as_str(), &sealed, &now.0],
    )
    .await?;
    Ok(true)
}

pub(super) async fn enrolment(
    db: &Reader<'_>,
    user: &UserName,
) -> Result<Option<(Vec<u8>, UnixTime)>, Trouble> {
    let sql = "SELECT sealed, created FROM totp_enrolment WHERE username = $1";
    let Some(row) = db.row(sql, &[&user.as_str()]).await? else {
        return Ok(None);
    };
    let row = From::start(&row);
    Ok(Some((row.get(0)?, UnixTime(row.get(1)?))))
}

pub(super) async fn confirm_enrolment(
    db: &Writer<'_>,
    user: &UserName,
    sealed: &[u8],
    step: i64,
    now: UnixTime,
) -> Result<bool, Trouble> {
    lock(db, user).await?;
    let sql = "DELETE FROM totp_enrolment WHERE username = $1 AND sealed = $2";
    if db.execute(sql, &[&user.as_str(), &sealed]).await? == 0 {
        return Ok(false);
    }
    db.execute(
        "INSERT INTO totp (username, sealed, confirmed, last_step) VALUES ($1, $2, $3, $4)
         ON CONFLICT (username) DO UPDATE SET sealed = excluded.sealed, confirmed = excluded.confirmed,
             last_step = excluded.last_step",
        &[&user.as_str(), &sealed, &now.0, &step],
    )
    .await?;
    windows::close_all(db, user).await?;
    move_epoch(db, user).await
}

pub(super) async fn remove_totp(db: &Writer<'_>, user: &UserName) -> Result<bool, Trouble> {
    lock(db, user).await?;
    let had = forget_totp(db, user).await?;
    if had {
        move_epoch(db, user).await?;
    }
    Ok(had)
}

async fn forget_totp(db: &Writer<'_>, user: &UserName) -> Result<bool, Trouble> {
    let name = user.as_str();
    let in_force = db
        .execute("DELETE FROM totp WHERE username = $1", &[&name])
        .await?;
    let waiting = db
        .execute("DELETE FROM totp_enrolment WHERE username = $1", &[&name])
        .await?;
    windows::close_all(db, user).await?;
    Ok(in_force > 0 || waiting > 0)
}

async fn move_epoch(db: &Writer<'_>, user: &UserName) -> Result<bool, Trouble> {
    let sql = "UPDATE users SET epoch = epoch + 1 WHERE name = $1";
    Ok(db.execute(sql, &[&user.as_str()]).await? == 1)
}

pub(super) async fn totp(db: &Reader<'_>, user: &UserName) -> Result<Option<Totp>, Trouble> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let columns = rows::columns("totp", &rows::TOTP);
        format!("SELECT {columns} FROM totp WHERE username = $1")
    });
    let row = db.row(&SQL, &[&user.as_str()]).await?;
    row.map(|row| rows::totp(From::start(&row))).transpose()
}

/// One conditional UPDATE decides: of any number of racing logins with the same step, at whichever replica, exactly one
/// changes the row. The lock is for the window: what ends a user's windows must not miss this one. It is a shared one: those that
/// lose would otherwise wait for each other one by one, each for several round trips, and those at the end of the queue for too long.
pub(super) async fn consume_step(db: &Writer<'_>, consumption: &Consumption) -> Result<bool, Trouble> {
    let user = &consumption.user;
    if hold(db, user).await? != Some(false) {
        return Ok(false);
    }
    let sql = "UPDATE totp SET last_step = $3 WHERE username = $1 AND sealed = $2 AND last_step < $3";
    let consumed = db
        .execute(sql, &[&user.as_str(), &consumption.sealed, &consumption.step])
        .await?;
    if consumed == 0 {
        return Ok(false);
    }
    windows::insert(db, user, &consumption.window).await?;
    Ok(true)
}
