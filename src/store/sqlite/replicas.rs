//! What processes on one file tell each other, in SQL: there are two of them for a moment, while the next one takes over.

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::Row;
use rusqlite::params;

use crate::store::Answer;
use crate::store::Counted;
use crate::store::Counts;
use crate::store::CountsHeard;
use crate::store::Holder;
use crate::store::Kill;
use crate::store::OpenSession;
use crate::store::Renewal;
use crate::store::Renewed;
use crate::store::ReplicaId;
use crate::store::Replicas;
use crate::store::StoreError;
use crate::store::Target;
use crate::store::bounds;
use crate::store::replicas;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::counts;
use crate::store::sqlite::error::unavailable;
use crate::store::sqlite::rows;
use crate::types::Elsewhere;
use crate::types::SessionId;
use crate::types::UnixTime;
use crate::types::UserName;

/// The fourth migration. Nothing in it outlives the processes.
pub(super) const MIGRATION: &str = "
-- `until` is the end of the lease.
CREATE TABLE replicas (
    id    INTEGER PRIMARY KEY,
    name  TEXT NOT NULL,
    until INTEGER NOT NULL
) STRICT;

-- No reference to users: where the policy admits users that are not listed, they have sessions all the same.
CREATE TABLE sessions (
    id           INTEGER PRIMARY KEY,
    replica      INTEGER NOT NULL REFERENCES replicas (id) ON DELETE CASCADE,
    user         TEXT NOT NULL,
    account      TEXT NOT NULL,
    client       TEXT NOT NULL,
    network      TEXT NOT NULL,
    counted      INTEGER NOT NULL,
    since        INTEGER NOT NULL,
    factor       TEXT NOT NULL,
    app_password INTEGER,
    backend      TEXT NOT NULL,
    program      TEXT
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user);
CREATE INDEX sessions_by_replica ON sessions (replica);
CREATE INDEX sessions_by_network ON sessions (network);

-- One of `session` and `user` says which sessions are to end.
CREATE TABLE kills (
    number  INTEGER PRIMARY KEY,
    session INTEGER,
    user    TEXT,
    created INTEGER NOT NULL
) STRICT;
";

/// The seventh migration. `keys` are by what a store recognises them; empty where an older program does not say.
pub(super) const KEYS: &str = "ALTER TABLE replicas ADD COLUMN keys TEXT NOT NULL DEFAULT '';";

/// Longest lease.
const LONGEST: Duration = Duration::from_hours(24);

/// Sessions listed at once at most.
const MOST_LISTED: i64 = 100_000;

impl Replicas for SqliteStore {
    fn is_shared(&self) -> bool {
        false
    }

    fn renew(&self, renewal: Renewal) -> Answer<'_, Renewed> {
        self.write(move |db| renew(db, &renewal).map_err(unavailable))
    }

    fn leave(&self, replica: ReplicaId) -> Answer<'_, ()> {
        self.write(move |db| {
            db.execute("DELETE FROM replicas WHERE id = ?1", [replica.0.cast_signed()])
                .map(drop)
                .map_err(unavailable)
        })
    }

    fn holders(&self) -> Answer<'_, Vec<Holder>> {
        self.read(holders)
    }

    fn sessions_elsewhere(&self, replica: ReplicaId) -> Answer<'_, Vec<(String, OpenSession)>> {
        self.read(move |db| sessions_elsewhere(db, replica))
    }

    fn kill(&self, replica: ReplicaId, kill: Kill) -> Answer<'_, u32> {
        self.write_and_tell(move |db| order(db, replica, &kill))
    }

    fn kills(&self) -> Answer<'_, Vec<Kill>> {
        self.read(kills)
    }

    fn tell_counts(&self, told: Counts) -> Answer<'_, ()> {
        self.write(move |db| counts::tell(db, &told).map_err(unavailable))
    }

    fn hear_counts(&self, replica: ReplicaId, since: i64) -> Answer<'_, CountsHeard> {
        self.read(move |db| counts::hear(db, replica, since))
    }
}

fn renew(db: &Connection, renewal: &Renewal) -> rusqlite::Result<Renewed> {
    let id = renewal.replica.0.cast_signed();
    let lease = i64::try_from(renewal.lease.min(LONGEST).as_secs()).unwrap_or(0);
    let keys = replicas::told_keys(&renewal.keys);
    let renewed = db.execute(
        "UPDATE replicas SET until = unixepoch() + ?2, keys = ?3 WHERE id = ?1",
        params![id, lease, keys],
    )?;
    if renewed == 0 {
        db.execute(
            "INSERT INTO replicas (id, until, name, keys) VALUES (?1, unixepoch() + ?2, ?4, ?3)",
            params![id, lease, keys, renewal.name],
        )?;
    }
    for ended in &renewal.ended {
        db.prepare_cached("DELETE FROM sessions WHERE replica = ?1 AND id = ?2")?
            .execute([id, ended.bits().cast_signed()])?;
    }
    for open in &renewal.began {
        begin(db, id, open)?;
    }
    db.execute(
        "DELETE FROM replicas WHERE until < unixepoch() - ?1",
        [bounds::DEAD_LIFE],
    )?;
    let count = "SELECT count(*) FROM replicas WHERE until > unixepoch()";
    Ok(Renewed {
        was_known: renewed == 1,
        alive: db.query_row(count, [], |row| row.get(0))?,
    })
}

fn holders(db: &Connection) -> rusqlite::Result<Vec<Holder>> {
    let holder = |row: &Row<'_>| {
        let keys: String = row.get(1)?;
        Ok(Holder {
            replica: row.get(0)?,
            keys: replicas::heard_keys(&keys),
        })
    };
    db.prepare("SELECT name, keys FROM replicas WHERE until > unixepoch() ORDER BY name, id LIMIT ?1")?
        .query_map([MOST_LISTED], holder)?
        .collect()
}

fn begin(db: &Connection, replica: i64, open: &OpenSession) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO sessions (replica, id, user, account, client, network, counted, since, factor, app_password, backend,
             program)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (id) DO NOTHING",
    )?
    .execute(params![
        replica,
        open.id.bits().cast_signed(),
        open.user.as_str(),
        open.account.as_str(),
        open.client.to_string(),
        open.network(),
        open.counted,
        open.since.0,
        open.factor,
        open.app_password.as_ref().map(|(id, _)| *id),
        open.backend,
        open.told_program(),
    ])?;
    Ok(())
}

fn sessions_elsewhere(db: &Connection, replica: ReplicaId) -> rusqlite::Result<Vec<(String, OpenSession)>> {
    db.prepare(
        "SELECT r.name, s.id, s.user, s.account, s.client, s.counted, s.since, s.factor, s.app_password, p.label, s.backend,
             s.program
         FROM sessions AS s
         JOIN replicas AS r ON r.id = s.replica AND r.until > unixepoch()
         LEFT JOIN app_passwords AS p ON p.id = s.app_password
         WHERE s.replica <> ?1 ORDER BY s.since, s.id LIMIT ?2",
    )?
    .query_map([replica.0.cast_signed(), MOST_LISTED], open_session)?
    .collect()
}

fn open_session(row: &Row<'_>) -> rusqlite::Result<(String, OpenSession)> {
    let app_password: Option<u32> = row.get(8)?;
    let label: Option<String> = row.get(9)?;
    let session = OpenSession {
        id: SessionId::new(row.get::<_, i64>(1)?.cast_unsigned()),
        user: rows::name(row, 2)?,
        account: rows::name(row, 3)?,
        client: rows::parsed(row, 4)?,
        counted: row.get(5)?,
        since: UnixTime(row.get(6)?),
        factor: row.get(7)?,
        app_password: app_password.map(|id| (id, label.unwrap_or_default())),
        backend: row.get(10)?,
        program: row.get(11)?,
    };
    Ok((row.get(0)?, session))
}

/// How many sessions at other processes a user has, and how many of them from a network.
pub(super) fn elsewhere(db: &Connection, user: &UserName, counted: Counted) -> rusqlite::Result<Elsewhere> {
    db.prepare_cached(
        "SELECT count(*), count(*) FILTER (WHERE s.network = ?3)
         FROM sessions AS s
         JOIN replicas AS r ON r.id = s.replica AND r.until > unixepoch()
         WHERE s.user = ?1 AND s.replica <> ?2 AND s.counted",
    )?
    .query_row(
        params![
            user.as_str(),
            counted.but_of.0.cast_signed(),
            counted.from.to_string()
        ],
        |row| {
            Ok(Elsewhere {
                of_user: row.get(0)?,
                of_network: row.get(1)?,
            })
        },
    )
}

fn order(db: &Connection, replica: ReplicaId, kill: &Kill) -> Result<u32, StoreError> {
    let (session, user) = match &kill.target {
        Target::Session(id) => (Some(id.bits().cast_signed()), None),
        Target::User(name) => (None, Some(name.as_str())),
    };
    let known: u32 = db
        .query_row(
            "SELECT count(*) FROM sessions AS s JOIN replicas AS r ON r.id = s.replica AND r.until > unixepoch()
             WHERE (s.id = ?2 OR s.user = ?3) AND s.replica <> ?1",
            params![replica.0.cast_signed(), session, user],
            |row| row.get(0),
        )
        .map_err(unavailable)?;
    // A user's session that has just begun may not have been told yet.
    if known > 0 || user.is_some() {
        let ordered = db
            .execute(
                "INSERT INTO kills (number, session, user, created) SELECT ?1, ?2, ?3, unixepoch()
                 WHERE (SELECT count(*) FROM kills) < ?4",
                params![kill.number.cast_signed(), session, user, bounds::KILLS],
            )
            .map_err(unavailable)?;
        if ordered == 0 {
            return Err(StoreError::Full("orders to end sessions"));
        }
    }
    Ok(known)
}

fn kills(db: &Connection) -> rusqlite::Result<Vec<Kill>> {
    let kill = |row: &Row<'_>| {
        let session: Option<i64> = row.get(1)?;
        let target = match session {
            Some(bits) => Target::Session(SessionId::new(bits.cast_unsigned())),
            None => Target::User(rows::name(row, 2)?),
        };
        let number = row.get::<_, i64>(0)?.cast_unsigned();
        Ok(Kill { number, target })
    };
    db.prepare_cached("SELECT number, session, user FROM kills WHERE created > unixepoch() - ?1")?
        .query_map([bounds::KILL_LIFE], kill)?
        .collect()
}

pub(super) fn sweep(db: &Connection) -> rusqlite::Result<()> {
    db.execute(
        "DELETE FROM kills WHERE created <= unixepoch() - ?1",
        [bounds::KILL_LIFE],
    )?;
    Ok(())
}
