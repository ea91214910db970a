//! Writes a piece of the notes that wait: a few statements over many rows each, in one transaction. What replicas note adds up, or the
//! newest of it stays; nothing is replaced by what is older.

use crate::store::Habit;
use crate::store::LastUse;
use crate::store::address_text;
use crate::store::bounds;
use crate::store::notes::AllowanceNotes;
use crate::store::notes::Notes;
use crate::store::postgres::error::Trouble;
use crate::store::postgres::failures;
use crate::store::postgres::habits::USAGE;
use crate::store::postgres::pool::Parameters;
use crate::store::postgres::pool::Writer;
use crate::store::postgres::schema::Lock;
use crate::store::words;
use crate::types::Amounts;
use crate::types::Measure;
use crate::types::UnixTime;
use crate::types::UserName;

/// Writes all of the piece, or nothing. Replicas write one after the other, so that they never wait for each other in a circle.
pub(super) async fn write(db: &Writer<'_>, notes: &Notes) -> Result<(), Trouble> {
    Lock::Notes.take(db).await?;
    // In the order in which a reset goes through the tables: the two wait for each other in one direction only.
    write_windows(db, notes).await?;
    write_habits(db, notes).await?;
    write_logins(db, notes).await?;
    write_usage(db, notes).await?;
    write_networks(db, notes).await?;
    write_uses(db, notes).await?;
    write_allowances(db, notes).await?;
    failures::write(db, notes).await
}

/// Nothing to say is not said.
async fn each(db: &Writer<'_>, rows: usize, sql: &str, parameters: Parameters<'_>) -> Result<(), Trouble> {
    if rows > 0 {
        db.execute(sql, parameters).await?;
    }
    Ok(())
}

/// The newest use stays.
async fn write_uses(db: &Writer<'_>, notes: &Notes) -> Result<(), Trouble> {
    let mut uses: Vec<(i64, &LastUse)> = notes
        .uses
        .iter()
        .map(|(id, last_use)| (i64::from(*id), last_use))
        .collect();
    uses.sort_unstable_by_key(|(id, _)| *id);
    let ids: Vec<i64> = uses.iter().map(|(id, _)| *id).collect();
    let times: Vec<i64> = uses.iter().map(|(_, last_use)| last_use.at.0).collect();
    let from: Vec<String> = uses
        .iter()
        .map(|(_, last_use)| address_text(last_use.from))
        .collect();
    // The one character that a text cannot hold here: it must not keep all other notes from being written.
    let printable = |client: &String| client.replace('\0', "");
    let clients: Vec<Option<String>> = uses
        .iter()
        .map(|(_, last_use)| last_use.client.as_ref().map(printable))
        .collect();
    each(
        db,
        ids.len(),
        "UPDATE app_passwords SET last_used = n.at, last_from = n.source, last_client = n.client
         FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[]) AS n (id, at, source, client)
         WHERE app_passwords.id = n.id AND (last_used IS NULL OR last_used <= n.at)",
        &[&ids, &times, &from, &clients],
    )
    .await
}

/// Never longer than it is: only an open window is touched.
async fn write_windows(db: &Writer<'_>, notes: &Notes) -> Result<(), Trouble> {
    let (keys, times) = hashes(&notes.windows);
    each(
        db,
        keys.len(),
        "UPDATE trusted_windows AS w SET last_used = greatest(w.last_used, n.at)
         FROM unnest($1::bytea[], $2::bigint[]) AS n (key, at) WHERE w.key = n.key AND w.open",
        &[&keys, &times],
    )
    .await
}

async fn write_networks(db: &Writer<'_>, notes: &Notes) -> Result<(), Trouble> {
    let (networks, times) = hashes(&notes.networks);
    each(
        db,
        networks.len(),
        "INSERT INTO networks AS known (network, last_seen) SELECT * FROM unnest($1::bytea[], $2::bigint[])
         ON CONFLICT (network) DO UPDATE SET last_seen = greatest(known.last_seen, excluded.last_seen)",
        &[&networks, &times],
    )
    .await
}

fn hashes(notes: &std::collections::HashMap<[u8; 32], UnixTime>) -> (Vec<&[u8]>, Vec<i64>) {
    let mut notes: Vec<(&[u8], i64)> = notes.iter().map(|(key, at)| (key.as_slice(), at.0)).collect();
    notes.sort_unstable();
    notes.into_iter().unzip()
}

async fn write_logins(db: &Writer<'_>, notes: &Notes) -> Result<(), Trouble> {
    let mut logins: Vec<(&str, i64)> = notes
        .logins
        .iter()
        .map(|(user, at)| (user.as_str(), at.0))
        .collect();
    logins.sort_unstable();
    let (users, times): (Vec<&str>, Vec<i64>) = logins.into_iter().unzip();
    each(
        db,
        users.len(),
        "INSERT INTO logins AS known (username, last) SELECT * FROM unnest($1::text[], $2::bigint[])
         ON CONFLICT (username) DO UPDATE SET last = greatest(known.last, excluded.last)",
        &[&users, &times],
    )
    .await
}

/// Habits that are new make room: the longest unused of the user and kind go.
async fn write_habits(db: &Writer<'_>, notes: &Notes) -> Result<(), Trouble> {
    let mut came: Vec<(&UserName, &Habit, i64)> = notes
        .habits
        .iter()
        .map(|((user, habit), at)| (user, habit, at.0))
        .collect();
    came.sort_unstable_by_key(|(user, habit, _)| (user.as_str(), habit.kind(), habit.value()));
    let users: Vec<&str> = came.iter().map(|(user, _, _)| user.as_str()).collect();
    let kinds: Vec<&str> = came.iter().map(|(_, habit, _)| habit.kind()).collect();
    let values: Vec<Vec<u8>> = came
        .iter()
        .map(|(_, habit, _)| habit.value().into_owned())
        .collect();
    let times: Vec<i64> = came.iter().map(|(_, _, at)| *at).collect();
    each(
        db,
        users.len(),
        "INSERT INTO habits AS known (username, kind, value, first_seen, last_seen)
         SELECT n.username, n.kind, n.value, n.at, n.at
         FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[]) AS n (username, kind, value, at)
         ON CONFLICT (username, kind, value) DO UPDATE SET last_seen = greatest(known.last_seen, excluded.last_seen)",
        &[&users, &kinds, &values, &times],
    )
    .await?;
    each(
        db,
        users.len(),
        "DELETE FROM habits USING (
             SELECT username, kind, value,
                 row_number() OVER (PARTITION BY username, kind ORDER BY last_seen DESC, value) AS place
             FROM habits WHERE (username, kind) IN (SELECT DISTINCT * FROM unnest($1::text[], $2::text[]))
         ) AS ranked
         WHERE ranked.place > $3 AND habits.username = ranked.username AND habits.kind = ranked.kind
             AND habits.value = ranked.value",
        &[&users, &kinds, &bounds::HABITS_PER_KIND],
    )
    .await
}

/// What was done adds up, whichever replicas it was done at.
async fn write_usage(db: &Writer<'_>, notes: &Notes) -> Result<(), Trouble> {
    let mut usage: Vec<(&str, i64, &Amounts)> = notes
        .usage
        .iter()
        .map(|((user, day), amounts)| (user.as_str(), *day, amounts))
        .collect();
    usage.sort_unstable_by_key(|(user, day, _)| (*user, *day));
    let users: Vec<&str> = usage.iter().map(|(user, _, _)| *user).collect();
    let days: Vec<i64> = usage.iter().map(|(_, day, _)| *day).collect();
    let of = |measure: Measure| -> Vec<i64> {
        let amounts = usage.iter().map(|(_, _, amounts)| amounts.of_measure(measure));
        amounts
            .map(|amount| words::signed(amount).min(bounds::MOST_USAGE))
            .collect()
    };
    let [
        fetched_bytes,
        fetched_messages,
        appended_bytes,
        appended_messages,
        commands,
        logins,
    ] = Measure::ALL.map(of);
    let sum = |column: &str| format!("{column} = least(known.{column} + excluded.{column}, $9)");
    let sums: Vec<String> = USAGE.split(", ").map(sum).collect();
    let sql = format!(
        "INSERT INTO usage AS known (username, day, {USAGE})
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
             $7::bigint[], $8::bigint[])
         ON CONFLICT (username, day) DO UPDATE SET {}",
        sums.join(", ")
    );
    each(
        db,
        users.len(),
        &sql,
        &[
            &users,
            &days,
            &fetched_bytes,
            &fetched_messages,
            &appended_bytes,
            &appended_messages,
            &commands,
            &logins,
            &bounds::MOST_USAGE,
        ],
    )
    .await
}

/// The first opening stays, spending adds up, and what has ended stays so. An app password that is gone has no allowance.
async fn write_allowances(db: &Writer<'_>, notes: &Notes) -> Result<(), Trouble> {
    let mut of: Vec<(i64, &AllowanceNotes)> = notes
        .allowances
        .iter()
        .map(|(id, of)| (i64::from(*id), of))
        .collect();
    of.sort_unstable_by_key(|(id, _)| *id);
    open_allowances(db, &of).await?;
    spend_allowances(db, &of).await?;
    let learnt = of
        .iter()
        .filter_map(|(id, of)| of.family.as_deref().map(|family| (*id, family)));
    let (ids, families): (Vec<i64>, Vec<&str>) = learnt.unzip();
    each(
        db,
        ids.len(),
        "UPDATE allowances AS a SET family = coalesce(a.family, n.family)
         FROM unnest($1::bigint[], $2::text[]) AS n (id, family) WHERE a.app_password = n.id",
        &[&ids, &families],
    )
    .await?;
    let ended = of.iter().filter_map(|(id, of)| of.ended.map(|at| (*id, at.0)));
    let (ids, times): (Vec<i64>, Vec<i64>) = ended.unzip();
    each(
        db,
        ids.len(),
        "UPDATE allowances AS a SET ended = coalesce(a.ended, n.at)
         FROM unnest($1::bigint[], $2::bigint[]) AS n (id, at) WHERE a.app_password = n.id",
        &[&ids, &times],
    )
    .await
}

async fn open_allowances(db: &Writer<'_>, of: &[(i64, &AllowanceNotes)]) -> Result<(), Trouble> {
    let opened: Vec<_> = of
        .iter()
        .filter_map(|(id, of)| of.opened.as_ref().map(|allowance| (*id, allowance)))
        .collect();
    let ids: Vec<i64> = opened.iter().map(|(id, _)| *id).collect();
    let times: Vec<i64> = opened.iter().map(|(_, new)| new.opened.0).collect();
    let left: Vec<i64> = opened.iter().map(|(_, new)| words::signed(new.left)).collect();
    let networks: Vec<&[u8]> = opened.iter().map(|(_, new)| new.network.as_slice()).collect();
    let families: Vec<Option<&str>> = opened.iter().map(|(_, new)| new.family.as_deref()).collect();
    let ended: Vec<Option<i64>> = opened.iter().map(|(_, new)| new.ended.map(|end| end.0)).collect();
    each(
        db,
        ids.len(),
        "INSERT INTO allowances (app_password, opened, bytes_left, network, family, ended)
         SELECT n.* FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::text[], $6::bigint[])
             AS n (id, opened, bytes_left, network, family, ended)
         JOIN app_passwords ON app_passwords.id = n.id
         ON CONFLICT DO NOTHING",
        &[&ids, &times, &left, &networks, &families, &ended],
    )
    .await
}

async fn spend_allowances(db: &Writer<'_>, of: &[(i64, &AllowanceNotes)]) -> Result<(), Trouble> {
    let spent: Vec<(i64, i64, i64)> = of
        .iter()
        .filter_map(|(id, of)| of.spent.map(|(bytes, at)| (*id, words::signed(bytes), at.0)))
        .collect();
    let ids: Vec<i64> = spent.iter().map(|(id, _, _)| *id).collect();
    let bytes: Vec<i64> = spent.iter().map(|(_, bytes, _)| *bytes).collect();
    let times: Vec<i64> = spent.iter().map(|(_, _, at)| *at).collect();
    each(
        db,
        ids.len(),
        "UPDATE allowances AS a SET bytes_left = greatest(a.bytes_left - n.bytes, 0),
             ended = CASE WHEN a.bytes_left <= n.bytes THEN coalesce(a.ended, n.at) ELSE a.ended END
         FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS n (id, bytes, at) WHERE a.app_password = n.id",
        &[&ids, &bytes, &times],
    )
    .await
}
