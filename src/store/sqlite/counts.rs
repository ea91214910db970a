//! What processes count together for rules, in SQL: one after the other, or two of them for a moment. Times are milliseconds.

use rusqlite::Connection;
use rusqlite::params;

use crate::store::CountHeard;
use crate::store::Counts;
use crate::store::CountsHeard;
use crate::store::MOST_HEARD;
use crate::store::ReplicaId;
use crate::store::bounds;
use crate::store::counts;
use crate::store::counts::MOST_BYTES;
use crate::store::counts::Row;

/// The sixth migration. A row is what one process has counted of one thing; it outlives the process.
pub(super) const MIGRATION: &str = "
-- One row: how often anything was told.
CREATE TABLE counting (
    version INTEGER NOT NULL
) STRICT;
INSERT INTO counting VALUES (0);

CREATE TABLE counts (
    key     INTEGER NOT NULL,
    replica INTEGER NOT NULL,
    rule    INTEGER NOT NULL,
    state   BLOB NOT NULL,
    at      INTEGER NOT NULL,
    told    INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (key, replica)
) STRICT;
CREATE INDEX counts_by_version ON counts (version);
CREATE INDEX counts_by_end ON counts (until);
";

/// The same in all of a statement.
const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

pub(super) fn tell(db: &Connection, told: &Counts) -> rusqlite::Result<()> {
    let sql = "UPDATE counting SET version = version + 1 RETURNING version";
    let version: i64 = db.query_row(sql, [], |row| row.get(0))?;
    let at = i64::try_from(told.at_ms).unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(&format!(
        "INSERT INTO counts (key, replica, rule, state, at, told, until, version)
         VALUES (?1, ?2, ?3, ?4, ?5, {NOW}, {NOW} + ?6, ?7)
         ON CONFLICT (key, replica) DO UPDATE SET rule = excluded.rule, state = excluded.state, at = excluded.at,
             told = excluded.told, until = excluded.until, version = excluded.version
         WHERE counts.at <= excluded.at"
    ))?;
    for count in told.counts.iter().filter(|count| count.state.len() <= MOST_BYTES) {
        statement.execute(params![
            count.key.cast_signed(),
            told.replica.0.cast_signed(),
            count.rule.cast_signed(),
            count.state,
            at,
            counts::millis(count.lasts),
            version,
        ])?;
    }
    // What was told longest ago makes room.
    db.execute(
        "DELETE FROM counts WHERE version <= (SELECT version FROM counts ORDER BY version DESC LIMIT 1 OFFSET ?1)",
        [bounds::COUNTS],
    )?;
    Ok(())
}

pub(super) fn hear(db: &Connection, replica: ReplicaId, since: i64) -> rusqlite::Result<CountsHeard> {
    let version = db.query_row("SELECT version FROM counting", [], |row| row.get(0))?;
    let most = i64::try_from(MOST_HEARD).unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(&format!(
        "WITH moved AS (
             SELECT key, max(version) AS moved FROM counts WHERE version > ?1 AND replica <> ?2 AND until > {NOW}
             GROUP BY key ORDER BY moved, key LIMIT ?3
         )
         SELECT c.rule, c.key, c.state, {NOW} - c.told, moved.moved FROM moved JOIN counts AS c ON c.key = moved.key
         WHERE c.replica <> ?2 AND c.until > {NOW} ORDER BY moved.moved, c.key"
    ))?;
    let found = statement.query_map(params![since, replica.0.cast_signed(), most], |row| {
        Ok(Row {
            count: CountHeard {
                rule: row.get::<_, i64>(0)?.cast_unsigned(),
                key: row.get::<_, i64>(1)?.cast_unsigned(),
                state: row.get(2)?,
                age: counts::span(row.get(3)?),
            },
            moved: row.get(4)?,
        })
    })?;
    let rows: rusqlite::Result<Vec<Row>> = found.collect();
    Ok(CountsHeard::of(rows?, version))
}

pub(super) fn sweep(db: &Connection) -> rusqlite::Result<()> {
    db.execute(&format!("DELETE FROM counts WHERE until <= {NOW}"), [])?;
    Ok(())
}
