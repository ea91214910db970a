//! How users usually come and what they usually do, in SQL.

use std::sync::LazyLock;

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::params;

use crate::store::Averages;
use crate::store::Habit;
use crate::store::Habits;
use crate::store::Visit;
use crate::store::bounds;
use crate::store::day_of;
use crate::store::sqlite::allowances;
use crate::store::sqlite::rows;
use crate::types::Amounts;
use crate::types::Measure;
use crate::types::UnixTime;
use crate::types::UserName;

/// Habits, usage, allowances, groups. What was known of sources is kept.
pub(super) const MIGRATION: &str = "
-- Words with single spaces.
ALTER TABLE users ADD COLUMN member_of TEXT NOT NULL DEFAULT '';

-- Here and below no reference to users: where the policy admits users that are not listed, they have habits all the same.
CREATE TABLE habits (
    user       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    value      BLOB NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    PRIMARY KEY (user, kind, value)
) STRICT, WITHOUT ROWID;

CREATE TABLE logins (
    user TEXT PRIMARY KEY,
    last INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO habits (user, kind, value, first_seen, last_seen)
    SELECT user, 'network', source, last_seen, last_seen FROM known_sources;
INSERT INTO logins (user, last)
    SELECT user, max(last_seen) FROM known_sources GROUP BY user;
DROP TABLE known_sources;

CREATE TABLE networks (
    network   BLOB PRIMARY KEY,
    last_seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX networks_by_end ON networks (last_seen);

-- Days since 1970-01-01 in UTC.
CREATE TABLE usage (
    user              TEXT NOT NULL,
    day               INTEGER NOT NULL,
    fetched_bytes     INTEGER NOT NULL,
    fetched_messages  INTEGER NOT NULL,
    appended_bytes    INTEGER NOT NULL,
    appended_messages INTEGER NOT NULL,
    commands          INTEGER NOT NULL,
    logins            INTEGER NOT NULL,
    PRIMARY KEY (user, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_day ON usage (day);

-- What the first use of an app password opened.
CREATE TABLE allowances (
    app_password INTEGER PRIMARY KEY REFERENCES app_passwords (id) ON DELETE CASCADE,
    opened       INTEGER NOT NULL,
    bytes_left   INTEGER NOT NULL,
    network      BLOB NOT NULL,
    family       TEXT,
    ended        INTEGER
) STRICT;
";

/// Every statement runs, whatever the ones before it found, and whatever there is to ask for. One of them reads what is kept of
/// the user, which takes longer for whoever has more: the delay of a refusal covers it.
pub(super) fn of_visit(db: &Connection, visit: &Visit) -> rusqlite::Result<Habits> {
    let user = &visit.user;
    let networks = visit.network.iter().copied().map(Habit::Network);
    let others = [
        visit.country.clone().map(Habit::Country),
        visit.asn.map(Habit::Asn),
        visit.family.clone().map(Habit::Family),
        visit.tls_client.clone().map(Habit::TlsClient),
    ];
    let asked: Vec<Habit> = networks.chain(others.into_iter().flatten()).collect();
    let known = compare(db, user, &asked, visit.since)?;
    let is_new = |kind: &str| known.iter().find(|known| known.kind == kind)?.is_new();
    Ok(Habits {
        is_known_network: is_known_network(db, &visit.anybodys_network, visit.since)?,
        is_new_network: is_new("network"),
        is_new_country: is_new("country"),
        is_new_asn: is_new("asn"),
        is_new_family: is_new("family"),
        is_new_tls_client: is_new("tls"),
        last_login: last_login(db, user)?,
        app_password: allowances::of_app_password(db, visit.app_password)?,
        averages: averages(db, user, day_of(visit.now))?,
    })
}

/// What a user is known to have of one kind.
struct Known {
    kind: &'static str,
    has_any: bool,
    /// One of those that were asked for, lately.
    has_it: bool,
}

impl Known {
    /// `None` where there is nothing to compare with.
    fn is_new(&self) -> Option<bool> {
        self.has_any.then_some(!self.has_it)
    }
}

/// Compares habits with all that is kept of the user's, which is bounded: one look, where each kind would be two.
fn compare(
    db: &Connection,
    user: &UserName,
    asked: &[Habit],
    since: UnixTime,
) -> rusqlite::Result<Vec<Known>> {
    let mut known: Vec<Known> = Vec::new();
    for habit in asked {
        let kind = habit.kind();
        if known.iter().all(|known| known.kind != kind) {
            known.push(Known {
                kind,
                has_any: false,
                has_it: false,
            });
        }
    }
    let mut statement = db.prepare_cached("SELECT kind, value, last_seen FROM habits WHERE user = ?1")?;
    let mut found = statement.query([user.as_str()])?;
    while let Some(row) = found.next()? {
        let (kind, value) = (row.get_ref(0)?.as_bytes()?, row.get_ref(1)?.as_bytes()?);
        let is_recent = row.get::<_, i64>(2)? >= since.0;
        let is_it = |habit: &Habit| habit.kind().as_bytes() == kind && *habit.value() == *value;
        if let Some(known) = known.iter_mut().find(|known| known.kind.as_bytes() == kind) {
            known.has_any = true;
            known.has_it |= is_recent && asked.iter().any(is_it);
        }
    }
    Ok(known)
}

/// Whether the user came from a network, by any of its names. All names are asked for, whatever was found.
pub(super) fn knows_source(
    db: &Connection,
    user: &UserName,
    source: &[[u8; 32]],
    since: UnixTime,
) -> rusqlite::Result<bool> {
    let mut statement = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM habits WHERE user = ?1 AND kind = 'network' AND value = ?2 AND last_seen >= ?3)",
    )?;
    let mut knows = false;
    for name in source {
        knows |= statement.query_row(params![user.as_str(), name, since.0], |row| row.get::<_, bool>(0))?;
    }
    Ok(knows)
}

fn is_known_network(db: &Connection, names: &[[u8; 32]], since: UnixTime) -> rusqlite::Result<bool> {
    let mut statement =
        db.prepare_cached("SELECT EXISTS (SELECT 1 FROM networks WHERE network = ?1 AND last_seen >= ?2)")?;
    let mut is_known = false;
    for name in names {
        is_known |= statement.query_row(params![name, since.0], |row| row.get::<_, bool>(0))?;
    }
    Ok(is_known)
}

fn last_login(db: &Connection, user: &UserName) -> rusqlite::Result<Option<UnixTime>> {
    db.prepare_cached("SELECT last FROM logins WHERE user = ?1")?
        .query_row([user.as_str()], |row| Ok(UnixTime(row.get(0)?)))
        .optional()
}

/// Columns of `usage`, in the order of `Measure::ALL`.
const USAGE: &str = "fetched_bytes, fetched_messages, appended_bytes, appended_messages, commands, logins";

static LATELY: LazyLock<String> =
    LazyLock::new(|| format!("SELECT day, {USAGE} FROM usage WHERE user = ?1 AND day BETWEEN ?2 AND ?3"));

fn averages(db: &Connection, user: &UserName, today: i64) -> rusqlite::Result<Averages> {
    let mut averages = Averages::default();
    let (first, last) = Averages::days_before(today);
    let mut statement = db.prepare_cached(&LATELY)?;
    let mut found = statement.query(params![user.as_str(), first, last])?;
    while let Some(row) = found.next()? {
        let mut amounts = Amounts::default();
        for (measure, column) in Measure::ALL.into_iter().zip(1..) {
            amounts.add(measure, rows::count(row, column)?);
        }
        averages.add(row.get(0)?, today, &amounts);
    }
    Ok(averages)
}

/// A habit that is new to us makes room: the longest unused goes.
pub(super) fn came(db: &Connection, notes: &[(&(UserName, Habit), &UnixTime)]) -> rusqlite::Result<()> {
    let mut renew = db.prepare_cached(
        "UPDATE habits SET last_seen = max(last_seen, ?4) WHERE user = ?1 AND kind = ?2 AND value = ?3",
    )?;
    let mut begin = db.prepare_cached(
        "INSERT INTO habits (user, kind, value, first_seen, last_seen) VALUES (?1, ?2, ?3, ?4, ?4)",
    )?;
    // Most have few, and finding out which is the oldest costs more than the rest of this.
    let mut count = db.prepare_cached("SELECT count(*) FROM habits WHERE user = ?1 AND kind = ?2")?;
    for ((user, habit), at) in notes {
        let (user, kind, value) = (user.as_str(), habit.kind(), habit.value());
        if renew.execute(params![user, kind, value, at.0])? > 0 {
            continue;
        }
        begin.execute(params![user, kind, value, at.0])?;
        let has: i64 = count.query_row(params![user, kind], |row| row.get(0))?;
        if has > bounds::HABITS_PER_KIND {
            db.prepare_cached(
                "DELETE FROM habits WHERE user = ?1 AND kind = ?2 AND value NOT IN
                 (SELECT value FROM habits WHERE user = ?1 AND kind = ?2 ORDER BY last_seen DESC LIMIT ?3)",
            )?
            .execute(params![user, kind, bounds::HABITS_PER_KIND])?;
        }
    }
    Ok(())
}

pub(super) fn logged_in(db: &Connection, notes: &[(&UserName, &UnixTime)]) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(
        "INSERT INTO logins (user, last) VALUES (?1, ?2)
         ON CONFLICT DO UPDATE SET last = max(last, excluded.last)",
    )?;
    for (user, at) in notes {
        statement.execute(params![user.as_str(), at.0])?;
    }
    Ok(())
}

pub(super) fn network_seen(db: &Connection, notes: &[(&[u8; 32], &UnixTime)]) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(
        "INSERT INTO networks (network, last_seen) VALUES (?1, ?2)
         ON CONFLICT DO UPDATE SET last_seen = max(last_seen, excluded.last_seen)",
    )?;
    for (network, at) in notes {
        statement.execute(params![network, at.0])?;
    }
    Ok(())
}

static DID: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO usage (user, day, {USAGE}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT DO UPDATE SET
             fetched_bytes = min(fetched_bytes + excluded.fetched_bytes, ?9),
             fetched_messages = min(fetched_messages + excluded.fetched_messages, ?9),
             appended_bytes = min(appended_bytes + excluded.appended_bytes, ?9),
             appended_messages = min(appended_messages + excluded.appended_messages, ?9),
             commands = min(commands + excluded.commands, ?9),
             logins = min(logins + excluded.logins, ?9)",
    )
});

pub(super) fn did(db: &Connection, notes: &[(&(UserName, i64), &Amounts)]) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(&DID)?;
    for ((user, day), amounts) in notes {
        let more = |measure| {
            i64::try_from(amounts.of_measure(measure))
                .map_or(bounds::MOST_USAGE, |amount| amount.min(bounds::MOST_USAGE))
        };
        statement.execute(params![
            user.as_str(),
            day,
            more(Measure::FetchedBytes),
            more(Measure::FetchedMessages),
            more(Measure::AppendedBytes),
            more(Measure::AppendedMessages),
            more(Measure::Commands),
            more(Measure::Logins),
            bounds::MOST_USAGE,
        ])?;
    }
    Ok(())
}

/// The habits alone: for a user who begins anew.
pub(super) fn forget_habits(db: &Connection, user: &UserName) -> rusqlite::Result<()> {
    db.execute("DELETE FROM habits WHERE user = ?1", [user.as_str()])?;
    Ok(())
}

/// Everything: for a user who is removed.
pub(super) fn forget(db: &Connection, user: &UserName) -> rusqlite::Result<()> {
    forget_habits(db, user)?;
    db.execute("DELETE FROM logins WHERE user = ?1", [user.as_str()])?;
    db.execute("DELETE FROM usage WHERE user = ?1", [user.as_str()])?;
    Ok(())
}

pub(super) fn sweep(db: &Connection, now: UnixTime) -> rusqlite::Result<()> {
    let ago = |span: i64| now.0.saturating_sub(span);
    db.execute(
        "DELETE FROM habits WHERE last_seen < ?1",
        [ago(bounds::HABIT_LIFE)],
    )?;
    db.execute("DELETE FROM logins WHERE last < ?1", [ago(bounds::LOGIN_LIFE)])?;
    db.execute(
        "DELETE FROM networks WHERE last_seen < ?1",
        [ago(bounds::HABIT_LIFE)],
    )?;
    db.execute(
        "DELETE FROM networks WHERE last_seen <
         (SELECT last_seen FROM networks ORDER BY last_seen DESC LIMIT 1 OFFSET ?1)",
        [bounds::NETWORKS],
    )?;
    let oldest = day_of(now).saturating_sub(bounds::USAGE_DAYS);
    db.execute("DELETE FROM usage WHERE day < ?1", [oldest])?;
    Ok(())
}
