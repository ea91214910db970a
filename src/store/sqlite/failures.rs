//! What processes count of failed logins together, in SQL: for each counter, when nothing of it will be left.

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::params;

use crate::store::Asked;
use crate::store::Heard;
use crate::store::WindowState;
use crate::store::bounds;
use crate::store::notes::Notes;
use crate::store::sqlite::habits;
use crate::store::sqlite::windows;
use crate::types::UnixTime;
use crate::types::UserName;

/// The fifth migration. Names and addresses are in it as keyed hashes only.
pub(super) const MIGRATION: &str = "
CREATE TABLE failures (
    counter BLOB PRIMARY KEY,
    until   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX failures_by_end ON failures (until);
";

/// Adds what was noted.
pub(super) fn write(db: &Connection, notes: &Notes) -> rusqlite::Result<()> {
    if notes.failures.is_empty() {
        return Ok(());
    }
    let now = notes.failures.values().map(|noted| noted.at).max().unwrap_or(0);
    db.execute("DELETE FROM failures WHERE until <= ?1", [now])?;
    let kept: i64 = db.query_row("SELECT count(*) FROM failures", [], |row| row.get(0))?;
    let mut room = bounds::FAILURES.saturating_sub(kept);
    for (counter, noted) in &notes.failures {
        let before = until(db, counter)?;
        match noted.until(before.unwrap_or(0)) {
            0 => {
                db.execute("DELETE FROM failures WHERE counter = ?1", [counter])?;
            }
            end if before.is_some() || room > 0 => {
                room -= i64::from(before.is_none());
                db.prepare_cached("INSERT OR REPLACE INTO failures (counter, until) VALUES (?1, ?2)")?
                    .execute(params![counter, end])?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn until(db: &Connection, counter: &[u8; 32]) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT until FROM failures WHERE counter = ?1")?
        .query_row([counter], |row| row.get(0))
        .optional()
}

/// What is known of an attempt: every statement runs, whoever comes.
pub(super) fn hear(db: &Connection, user: &UserName, asked: &Asked) -> rusqlite::Result<Heard> {
    let is_used = db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM sessions AS s JOIN replicas AS r ON r.id = s.replica AND r.until > unixepoch()
                            WHERE s.network = ?1 AND s.replica <> ?2)",
        )?
        .query_row(
            params![asked.from.to_string(), asked.but_of.0.cast_signed()],
            |row| row.get(0),
        )?;
    let mut counted_until = [0; crate::store::COUNTERS];
    for (end, counter) in counted_until.iter_mut().zip(&asked.counters) {
        *end = until(db, counter)?.unwrap_or(0);
    }
    Ok(Heard {
        knows_source: habits::knows_source(db, user, &asked.source, asked.since)?,
        is_used,
        has_window: windows::one(db, &asked.window)?
            .is_some_and(|window| window.state == WindowState::Open && asked.now < window.expires),
        counted_until,
    })
}

pub(super) fn sweep(db: &Connection, now: UnixTime) -> rusqlite::Result<()> {
    let now = now.0.saturating_mul(1000);
    db.execute("DELETE FROM failures WHERE until <= ?1", [now])?;
    Ok(())
}
