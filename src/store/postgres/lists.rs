//! Bans and the sweep, in SQL.

use ipnet::IpNet;

use crate::store::Ban;
use crate::store::StoreError;
use crate::store::bounds;
use crate::store::postgres::counts;
use crate::store::postgres::error::Trouble;
use crate::store::postgres::failures;
use crate::store::postgres::habits;
use crate::store::postgres::pool::Reader;
use crate::store::postgres::pool::Writer;
use crate::store::postgres::replicas;
use crate::store::postgres::rows;
use crate::store::postgres::rows::From;
use crate::store::postgres::schema::Lock;
use crate::types::UnixTime;

pub(super) async fn add_ban(db: &Writer<'_>, ban: &Ban) -> Result<(), Trouble> {
    let kept = db
        .execute(
            "INSERT INTO bans (network, reason, by_whom, created, until)
             SELECT $1, $2, $3, $4, $5
             WHERE (SELECT count(*) FROM bans) < $6 OR EXISTS (SELECT 1 FROM bans WHERE network = $1)
             ON CONFLICT (network) DO UPDATE SET reason = excluded.reason, by_whom = excluded.by_whom,
                 created = excluded.created, until = excluded.until",
            &[
                &ban.network.trunc().to_string(),
                &ban.reason,
                &ban.by,
                &ban.created.0,
                &ban.until.map(|end| end.0),
                &bounds::BANS,
            ],
        )
        .await?;
    if kept == 0 {
        return Err(StoreError::Full("bans").into());
    }
    Ok(())
}

pub(super) async fn remove_ban(db: &Writer<'_>, network: IpNet) -> Result<bool, Trouble> {
    let sql = "DELETE FROM bans WHERE network = $1";
    Ok(db.execute(sql, &[&network.trunc().to_string()]).await? == 1)
}

pub(super) async fn bans(db: &Reader<'_>, now: UnixTime) -> Result<Vec<Ban>, Trouble> {
    let sql = "SELECT network, reason, by_whom, created, until FROM bans
               WHERE until IS NULL OR until > $1 ORDER BY created, network";
    let found = db.rows(sql, &[&now.0]).await?;
    found.iter().map(|row| rows::ban(From::start(row))).collect()
}

/// One replica at a time: what another one sweeps at the moment is being swept.
pub(super) async fn sweep(db: &Writer<'_>, now: UnixTime) -> Result<(), Trouble> {
    if !Lock::Sweep.is_free(db).await? {
        return Ok(());
    }
    db.execute("DELETE FROM trusted_windows WHERE expires <= $1", &[&now.0])
        .await?;
    db.execute("DELETE FROM bans WHERE until <= $1", &[&now.0])
        .await?;
    db.execute(
        "DELETE FROM totp_enrolment WHERE created < $1",
        &[&now.0.saturating_sub(bounds::ENROLMENT_LIFE)],
    )
    .await?;
    // `least` looks away from NULL: whichever of the two came first, if any did.
    db.execute(
        "DELETE FROM app_passwords WHERE least(revoked, expires) < $1",
        &[&now.0.saturating_sub(bounds::ENDED_LIFE)],
    )
    .await?;
    replicas::sweep(db).await?;
    counts::sweep(db).await?;
    failures::sweep(db, now).await?;
    habits::sweep(db, now).await
}
