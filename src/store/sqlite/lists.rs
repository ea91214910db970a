//! Bans and the sweep, in SQL.

use ipnet::IpNet;
use rusqlite::Connection;
use rusqlite::params;

use crate::store::Ban;
use crate::store::bounds;
use crate::store::sqlite::counts;
use crate::store::sqlite::failures;
use crate::store::sqlite::habits;
use crate::store::sqlite::replicas;
use crate::store::sqlite::rows;
use crate::types::UnixTime;

/// False where there is no room.
pub(super) fn add_ban(db: &Connection, ban: &Ban) -> rusqlite::Result<bool> {
    let kept: i64 = db.query_row("SELECT count(*) FROM bans", [], |row| row.get(0))?;
    let network = ban.network.trunc().to_string();
    let known: bool = db.query_row(
        "SELECT EXISTS (SELECT 1 FROM bans WHERE network = ?1)",
        [&network],
        |row| row.get(0),
    )?;
    if kept >= bounds::BANS && !known {
        return Ok(false);
    }
    db.execute(
        "INSERT OR REPLACE INTO bans (network, reason, by_whom, created, until) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            network,
            ban.reason,
            ban.by,
            ban.created.0,
            ban.until.map(|end| end.0)
        ],
    )?;
    Ok(true)
}

pub(super) fn remove_ban(db: &Connection, network: IpNet) -> rusqlite::Result<bool> {
    let removed = db.execute(
        "DELETE FROM bans WHERE network = ?1",
        [network.trunc().to_string()],
    )?;
    Ok(removed == 1)
}

pub(super) fn bans(db: &Connection, now: UnixTime) -> rusqlite::Result<Vec<Ban>> {
    db.prepare(
        "SELECT network, reason, by_whom, created, until FROM bans
         WHERE until IS NULL OR until > ?1 ORDER BY created, network",
    )?
    .query_map([now.0], rows::ban)?
    .collect()
}

pub(super) fn sweep(db: &Connection, now: UnixTime) -> rusqlite::Result<()> {
    db.execute("DELETE FROM trusted_windows WHERE expires <= ?1", [now.0])?;
    db.execute("DELETE FROM bans WHERE until <= ?1", [now.0])?;
    db.execute(
        "DELETE FROM totp_enrolment WHERE created < ?1",
        [now.0.saturating_sub(bounds::ENROLMENT_LIFE)],
    )?;
    db.execute(
        "DELETE FROM app_passwords WHERE min(ifnull(revoked, expires), ifnull(expires, revoked)) < ?1",
        [now.0.saturating_sub(bounds::ENDED_LIFE)],
    )?;
    replicas::sweep(db)?;
    counts::sweep(db)?;
    failures::sweep(db, now)?;
    habits::sweep(db, now)
}
