//! What replicas count of failed logins together, in SQL: for each counter, when nothing of it will be left.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::store::Asked;
use crate::store::Heard;
use crate::store::bounds;
use crate::store::notes::Notes;
use crate::store::postgres::error::Trouble;
use crate::store::postgres::habits;
use crate::store::postgres::pool::Reader;
use crate::store::postgres::pool::Writer;
use crate::store::postgres::replicas::NOW;
use crate::store::postgres::rows::From;
use crate::types::UnixTime;
use crate::types::UserName;

/// The third migration. Names and addresses are in it as keyed hashes only.
pub(super) const MIGRATION: &str = "
CREATE TABLE failures (
    counter BYTEA PRIMARY KEY,
    until   BIGINT NOT NULL
);
CREATE INDEX failures_by_end ON failures (until);
";

/// Adds what was noted. Whoever writes notes is alone in doing so: nobody changes a counter between the two statements.
pub(super) async fn write(db: &Writer<'_>, notes: &Notes) -> Result<(), Trouble> {
    if notes.failures.is_empty() {
        return Ok(());
    }
    let now = notes.failures.values().map(|noted| noted.at).max().unwrap_or(0);
    db.execute("DELETE FROM failures WHERE until <= $1", &[&now])
        .await?;
    let mut noted: Vec<_> = notes.failures.iter().collect();
    noted.sort_unstable_by_key(|(counter, _)| *counter);
    let counters: Vec<&[u8]> = noted.iter().map(|(counter, _)| counter.as_slice()).collect();
    let known = known(db, &counters).await?;
    let kept = db.row("SELECT count(*) FROM failures", &[]).await?;
    let kept: i64 = kept.map_or(Ok(0), |row| From::start(&row).get(0))?;
    let mut room = bounds::FAILURES.saturating_sub(kept);
    let (mut over, mut counted, mut until) = (Vec::new(), Vec::new(), Vec::new());
    for (counter, noted) in noted {
        let before = known.get(counter.as_slice()).copied();
        match noted.until(before.unwrap_or(0)) {
            0 => over.push(counter.as_slice()),
            end if before.is_some() || room > 0 => {
                room -= i64::from(before.is_none());
                counted.push(counter.as_slice());
                until.push(end);
            }
            _ => {}
        }
    }
    db.execute("DELETE FROM failures WHERE counter = ANY ($1)", &[&over])
        .await?;
    db.execute(
        "INSERT INTO failures (counter, until) SELECT * FROM unnest($1::bytea[], $2::bigint[])
         ON CONFLICT (counter) DO UPDATE SET until = excluded.until",
        &[&counted, &until],
    )
    .await?;
    Ok(())
}

async fn known(db: &Writer<'_>, counters: &[&[u8]]) -> Result<HashMap<Vec<u8>, i64>, Trouble> {
    let sql = "SELECT counter, until FROM failures WHERE counter = ANY ($1)";
    let found = db.rows(sql, &[&counters]).await?;
    let pair = |row| {
        let row = From::start(row);
        Ok((row.get(0)?, row.get(1)?))
    };
    found.iter().map(pair).collect()
}

/// What is known of an attempt: one statement, whoever comes.
pub(super) async fn hear(db: &Reader<'_>, user: &UserName, asked: &Asked) -> Result<Heard, Trouble> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let counted =
            |number: u8| format!("coalesce((SELECT until FROM failures WHERE counter = ${number}), 0)");
        format!(
            "SELECT EXISTS (SELECT 1 FROM habits
                            WHERE username = $1 AND kind = 'network' AND value = ANY ($2) AND last_seen >= $3),
                 EXISTS (SELECT 1 FROM sessions AS s JOIN replicas AS r ON r.id = s.replica AND r.until > {NOW}
                         WHERE s.network = $4 AND s.replica <> $5),
                 EXISTS (SELECT 1 FROM trusted_windows WHERE key = $9 AND open AND expires > $10),
                 {}, {}, {}",
            counted(6),
            counted(7),
            counted(8),
        )
    });
    let [pair, source, site] = &asked.counters;
    let row = db
        .row(
            &SQL,
            &[
                &user.as_str(),
                &habits::bytes_of(&asked.source),
                &asked.since.0,
                &asked.from.to_string(),
                &asked.but_of.0.cast_signed(),
                &pair.as_slice(),
                &source.as_slice(),
                &site.as_slice(),
                &asked.window.as_slice(),
                &asked.now.0,
            ],
        )
        .await?;
    let Some(row) = row else {
        return Ok(Heard::default());
    };
    let row = From::start(&row);
    Ok(Heard {
        knows_source: row.get(0)?,
        is_used: row.get(1)?,
        has_window: row.get(2)?,
        counted_until: [row.get(3)?, row.get(4)?, row.get(5)?],
    })
}

pub(super) async fn sweep(db: &Writer<'_>, now: UnixTime) -> Result<(), Trouble> {
    let now = now.0.saturating_mul(1000);
    db.execute("DELETE FROM failures WHERE until <= $1", &[&now])
        .await?;
    Ok(())
}
