//! What replicas count together for rules, in SQL. Times are milliseconds by the server's clock.

use std::sync::LazyLock;

use crate::store::CountHeard;
use crate::store::Counts;
use crate::store::CountsHeard;
use crate::store::MOST_HEARD;
use crate::store::ReplicaId;
use crate::store::bounds;
use crate::store::counts;
use crate::store::counts::MOST_BYTES;
use crate::store::counts::Row;
use crate::store::postgres::error::Trouble;
use crate::store::postgres::pool::Reader;
use crate::store::postgres::pool::Writer;
use crate::store::postgres::rows::From;

/// The fourth migration. A row is what one replica has counted of one thing; it outlives the replica.
pub(super) const MIGRATION: &str = "
-- One row: how often anything was told. Whoever tells something changes it first, and so waits for whoever does already: what has
-- a higher version was committed later.
CREATE TABLE counting (
    version BIGINT NOT NULL
);
INSERT INTO counting VALUES (0);

CREATE TABLE counts (
    key     BIGINT NOT NULL,
    replica BIGINT NOT NULL,
    rule    BIGINT NOT NULL,
    state   BYTEA NOT NULL,
    at      BIGINT NOT NULL,
    told    BIGINT NOT NULL,
    until   BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (key, replica)
);
CREATE INDEX counts_by_version ON counts (version);
CREATE INDEX counts_by_end ON counts (until);
";

/// Now, while a transaction goes on.
const NOW: &str = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// When a statement was begun: the same in all of it.
const BEGUN: &str = "floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint";

pub(super) async fn tell(db: &Writer<'_>, told: &Counts) -> Result<(), Trouble> {
    static TELL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "INSERT INTO counts AS known (key, replica, rule, state, at, told, until, version)
             SELECT n.key, $5, n.rule, n.state, $6, {NOW}, {NOW} + n.lasts, $7
             FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[]) AS n (key, rule, state, lasts)
             ON CONFLICT (key, replica) DO UPDATE SET rule = excluded.rule, state = excluded.state, at = excluded.at,
                 told = excluded.told, until = excluded.until, version = excluded.version
             WHERE known.at <= excluded.at"
        )
    });
    let row = db
        .row("UPDATE counting SET version = version + 1 RETURNING version", &[])
        .await?;
    let version: i64 = row.map_or(Ok(0), |row| From::start(&row).get(0))?;
    let fits: Vec<_> = told
        .counts
        .iter()
        .filter(|count| count.state.len() <= MOST_BYTES)
        .collect();
    let keys: Vec<i64> = fits.iter().map(|count| count.key.cast_signed()).collect();
    let rules: Vec<i64> = fits.iter().map(|count| count.rule.cast_signed()).collect();
    let states: Vec<&[u8]> = fits.iter().map(|count| count.state.as_slice()).collect();
    let lasts: Vec<i64> = fits.iter().map(|count| counts::millis(count.lasts)).collect();
    let replica = told.replica.0.cast_signed();
    let at = i64::try_from(told.at_ms).unwrap_or(i64::MAX);
    let sql = TELL.as_str();
    db.execute(sql, &[&keys, &rules, &states, &lasts, &replica, &at, &version])
        .await?;
    // What was told longest ago makes room.
    db.execute(
        "DELETE FROM counts WHERE version <= (SELECT version FROM counts ORDER BY version DESC OFFSET $1 LIMIT 1)",
        &[&bounds::COUNTS],
    )
    .await?;
    Ok(())
}

pub(super) async fn hear(db: &Reader<'_>, replica: ReplicaId, since: i64) -> Result<CountsHeard, Trouble> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "WITH moved AS (
                 SELECT key, max(version) AS moved FROM counts WHERE version > $1 AND replica <> $2 AND until > {BEGUN}
                 GROUP BY key ORDER BY moved, key LIMIT $3
             )
             SELECT c.rule, c.key, c.state, {BEGUN} - c.told, moved.moved FROM moved JOIN counts AS c ON c.key = moved.key
             WHERE c.replica <> $2 AND c.until > {BEGUN} ORDER BY moved.moved, c.key"
        )
    });
    // First: what is told between the two statements is heard twice, rather than never.
    let row = db.row("SELECT version FROM counting", &[]).await?;
    let version: i64 = row.map_or(Ok(0), |row| From::start(&row).get(0))?;
    let most = i64::try_from(MOST_HEARD).unwrap_or(i64::MAX);
    let found = db.rows(&SQL, &[&since, &replica.0.cast_signed(), &most]).await?;
    let row = |row| {
        let row = From::start(row);
        Ok(Row {
            count: CountHeard {
                rule: row.get::<i64>(0)?.cast_unsigned(),
                key: row.get::<i64>(1)?.cast_unsigned(),
                state: row.get(2)?,
                age: counts::span(row.get(3)?),
            },
            moved: row.get(4)?,
        })
    };
    let rows: Result<Vec<Row>, Trouble> = found.iter().map(row).collect();
    Ok(CountsHeard::of(rows?, version))
}

pub(super) async fn sweep(db: &Writer<'_>) -> Result<(), Trouble> {
    static SQL: LazyLock<String> = LazyLock::new(|| format!("DELETE FROM counts WHERE until <= {NOW}"));
    db.execute(&SQL, &[]).await?;
    Ok(())
}
