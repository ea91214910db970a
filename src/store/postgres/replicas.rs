//! What replicas tell each other, in SQL. Leases are measured by the server's clock, which is one for all of them.

use std::sync::LazyLock;
use std::time::Duration;

use crate::store::Answer;
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
use crate::store::postgres::PostgresStore;
use crate::store::postgres::counts;
use crate::store::postgres::error::Trouble;
use crate::store::postgres::pool::Reader;
use crate::store::postgres::pool::Writer;
use crate::store::postgres::rows;
use crate::store::postgres::rows::From;
use crate::store::replicas::heard_keys;
use crate::store::replicas::told_keys;
use crate::types::Elsewhere;
use crate::types::SessionId;

/// The second migration. Nothing in it outlives the replicas.
pub(super) const MIGRATION: &str = r#"
-- `until` is the end of the lease.
CREATE TABLE replicas (
    id    BIGINT PRIMARY KEY,
    name  TEXT NOT NULL,
    until BIGINT NOT NULL
);

-- No reference to users: where the policy admits users that are not listed, they have sessions all the same.
CREATE TABLE sessions (
    id           BIGINT PRIMARY KEY,
    replica      BIGINT NOT NULL REFERENCES replicas (id) ON DELETE CASCADE,
    username     TEXT COLLATE "C" NOT NULL,
    account      TEXT COLLATE "C" NOT NULL,
    client       TEXT NOT NULL,
    network      TEXT COLLATE "C" NOT NULL,
    counted      BOOLEAN NOT NULL,
    since        BIGINT NOT NULL,
    factor       TEXT NOT NULL,
    app_password BIGINT,
    backend      TEXT NOT NULL,
    program      TEXT
);
CREATE INDEX sessions_by_user ON sessions (username);
CREATE INDEX sessions_by_replica ON sessions (replica);
CREATE INDEX sessions_by_network ON sessions (network);

-- One of `session` and `username` says which sessions are to end.
CREATE TABLE kills (
    number   BIGINT PRIMARY KEY,
    session  BIGINT,
    username TEXT COLLATE "C",
    created  BIGINT NOT NULL
);
"#;

/// The fifth migration. `keys` are by what a store recognises them; empty where an older program does not say.
pub(super) const KEYS: &str = "ALTER TABLE replicas ADD COLUMN keys TEXT NOT NULL DEFAULT '';";

/// Seconds by the server's clock.
pub(super) const NOW: &str = "floor(extract(epoch FROM now()))::bigint";

/// Longest lease.
const LONGEST: Duration = Duration::from_hours(24);

/// Sessions listed at once at most.
const MOST_LISTED: i64 = 100_000;

impl Replicas for PostgresStore {
    fn is_shared(&self) -> bool {
        true
    }

    fn renew(&self, renewal: Renewal) -> Answer<'_, Renewed> {
        Box::pin(
            self.pool
                .write(async move |db: &Writer<'_>| renew(db, &renewal).await),
        )
    }

    fn leave(&self, replica: ReplicaId) -> Answer<'_, ()> {
        Box::pin(self.pool.write(async move |db: &Writer<'_>| {
            let sql = "DELETE FROM replicas WHERE id = $1";
            db.execute(sql, &[&replica.0.cast_signed()]).await.map(drop)
        }))
    }

    fn holders(&self) -> Answer<'_, Vec<Holder>> {
        Box::pin(self.pool.read(async move |db: &Reader<'_>| holders(db).await))
    }

    fn sessions_elsewhere(&self, replica: ReplicaId) -> Answer<'_, Vec<(String, OpenSession)>> {
        Box::pin(
            self.pool
                .read(async move |db: &Reader<'_>| sessions_elsewhere(db, replica).await),
        )
    }

    fn kill(&self, replica: ReplicaId, kill: Kill) -> Answer<'_, u32> {
        Box::pin(self.write_and_tell(async move |db: &Writer<'_>| order(db, replica, &kill).await))
    }

    fn kills(&self) -> Answer<'_, Vec<Kill>> {
        Box::pin(self.pool.read(async move |db: &Reader<'_>| kills(db).await))
    }

    fn tell_counts(&self, told: Counts) -> Answer<'_, ()> {
        Box::pin(
            self.pool
                .write(async move |db: &Writer<'_>| counts::tell(db, &told).await),
        )
    }

    fn hear_counts(&self, replica: ReplicaId, since: i64) -> Answer<'_, CountsHeard> {
        Box::pin(
            self.pool
                .read(async move |db: &Reader<'_>| counts::hear(db, replica, since).await),
        )
    }
}

async fn renew(db: &Writer<'_>, renewal: &Renewal) -> Result<Renewed, Trouble> {
    static RENEW: LazyLock<String> =
        LazyLock::new(|| format!("UPDATE replicas SET until = {NOW} + $2, keys = $3 WHERE id = $1"));
    static JOIN: LazyLock<String> = LazyLock::new(|| {
        format!("INSERT INTO replicas (id, until, name, keys) VALUES ($1, {NOW} + $2, $4, $3)")
    });
    static ALIVE: LazyLock<String> =
        LazyLock::new(|| format!("SELECT count(*) FROM replicas WHERE until > {NOW}"));
    static BURY: LazyLock<String> =
        LazyLock::new(|| format!("DELETE FROM replicas WHERE until < {NOW} - $1"));
    let id = renewal.replica.0.cast_signed();
    let lease = i64::try_from(renewal.lease.min(LONGEST).as_secs()).unwrap_or(0);
    let keys = told_keys(&renewal.keys);
    let was_known = db.execute(&RENEW, &[&id, &lease, &keys]).await? == 1;
    if !was_known {
        db.execute(&JOIN, &[&id, &lease, &keys, &renewal.name]).await?;
    }
    if !renewal.ended.is_empty() {
        let ended: Vec<i64> = renewal.ended.iter().map(|id| id.bits().cast_signed()).collect();
        let sql = "DELETE FROM sessions WHERE replica = $1 AND id = ANY ($2)";
        db.execute(sql, &[&id, &ended]).await?;
    }
    if !renewal.began.is_empty() {
        begin(db, id, &renewal.began).await?;
    }
    db.execute(&BURY, &[&bounds::DEAD_LIFE]).await?;
    let alive = db.row(&ALIVE, &[]).await?;
    let alive = alive.map_or(Ok(1), |row| From::start(&row).count(0))?;
    Ok(Renewed {
        was_known,
        alive: u32::try_from(alive).unwrap_or(u32::MAX),
    })
}

async fn holders(db: &Reader<'_>) -> Result<Vec<Holder>, Trouble> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!("SELECT name, keys FROM replicas WHERE until > {NOW} ORDER BY name, id LIMIT {MOST_LISTED}")
    });
    let found = db.rows(&SQL, &[]).await?;
    let holder = |row| {
        let row = From::start(row);
        let keys: String = row.get(1)?;
        Ok(Holder {
            replica: row.get(0)?,
            keys: heard_keys(&keys),
        })
    };
    found.iter().map(holder).collect()
}

async fn begin(db: &Writer<'_>, replica: i64, began: &[OpenSession]) -> Result<(), Trouble> {
    fn of<'b, T>(began: &'b [OpenSession], value: impl Fn(&'b OpenSession) -> T) -> Vec<T> {
        began.iter().map(value).collect()
    }
    let id = |open: &OpenSession| open.app_password.as_ref().map(|(id, _)| i64::from(*id));
    db.execute(
        "INSERT INTO sessions (replica, id, username, account, client, network, counted, since, factor, app_password,
             backend, program)
         SELECT $1, n.* FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[],
             $8::bigint[], $9::text[], $10::bigint[], $11::text[], $12::text[]) AS n
         ON CONFLICT (id) DO NOTHING",
        &[
            &replica,
            &of(began, |open| open.id.bits().cast_signed()),
            &of(began, |open| open.user.as_str()),
            &of(began, |open| open.account.as_str()),
            &of(began, |open| open.client.to_string()),
            &of(began, OpenSession::network),
            &of(began, |open| open.counted),
            &of(began, |open| open.since.0),
            &of(began, |open| open.factor.as_str()),
            &of(began, id),
            &of(began, |open| open.backend.as_str()),
            &of(began, OpenSession::told_program),
        ],
    )
    .await?;
    Ok(())
}

async fn sessions_elsewhere(
    db: &Reader<'_>,
    replica: ReplicaId,
) -> Result<Vec<(String, OpenSession)>, Trouble> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT r.name, s.id, s.username, s.account, s.client, s.counted, s.since, s.factor, s.app_password, p.label,
                 s.backend, s.program
             FROM sessions AS s
             JOIN replicas AS r ON r.id = s.replica AND r.until > {NOW}
             LEFT JOIN app_passwords AS p ON p.id = s.app_password
             WHERE s.replica <> $1 ORDER BY s.since, s.id LIMIT {MOST_LISTED}"
        )
    });
    let found = db.rows(&SQL, &[&replica.0.cast_signed()]).await?;
    found.iter().map(|row| open_session(From::start(row))).collect()
}

fn open_session(row: From<'_>) -> Result<(String, OpenSession), Trouble> {
    let has_app_password = row.get::<Option<i64>>(8)?.is_some();
    let label: Option<String> = row.get(9)?;
    let app_password = match has_app_password {
        true => Some((rows::id(row, 8)?, label.unwrap_or_default())),
        false => None,
    };
    let session = OpenSession {
        id: SessionId::new(row.get::<i64>(1)?.cast_unsigned()),
        user: row.name(2)?,
        account: row.name(3)?,
        client: row.parsed(4)?,
        counted: row.get(5)?,
        since: row.at(6)?,
        factor: row.get(7)?,
        app_password,
        backend: row.get(10)?,
        program: row.get(11)?,
    };
    Ok((row.get(0)?, session))
}

/// Part of the statement that a login asks: how many sessions at other replicas than `$5` the user has, and how many of them
/// from the network `$6`. For the alias `p` of the app password, and `$1`, the name of the login.
pub(super) fn elsewhere() -> String {
    format!(
        "SELECT count(*) AS of_user, count(*) FILTER (WHERE s.network = $6) AS of_network
         FROM sessions AS s
         JOIN replicas AS r ON r.id = s.replica AND r.until > {NOW}
         WHERE s.username = coalesce(p.username, $1) AND s.replica <> $5 AND s.counted"
    )
}

/// What [`elsewhere`] answers.
pub(super) fn counted(row: From<'_>) -> Result<Elsewhere, Trouble> {
    let count = |column| Ok::<_, Trouble>(u32::try_from(row.count(column)?).unwrap_or(u32::MAX));
    Ok(Elsewhere {
        of_user: count(0)?,
        of_network: count(1)?,
    })
}

async fn order(db: &Writer<'_>, replica: ReplicaId, kill: &Kill) -> Result<u32, Trouble> {
    static KNOWN: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT count(*) FROM sessions AS s JOIN replicas AS r ON r.id = s.replica AND r.until > {NOW}
             WHERE (s.id = $2 OR s.username = $3) AND s.replica <> $1"
        )
    });
    static ORDER: LazyLock<String> = LazyLock::new(|| {
        format!(
            "INSERT INTO kills (number, session, username, created) SELECT $1, $2, $3, {NOW}
             WHERE (SELECT count(*) FROM kills) < $4"
        )
    });
    let (session, user) = match &kill.target {
        Target::Session(id) => (Some(id.bits().cast_signed()), None),
        Target::User(name) => (None, Some(name.as_str())),
    };
    let known = db
        .row(&KNOWN, &[&replica.0.cast_signed(), &session, &user])
        .await?;
    let known = known.map_or(Ok(0), |row| From::start(&row).count(0))?;
    // A user's session that has just begun may not have been told yet.
    if known > 0 || user.is_some() {
        let number = kill.number.cast_signed();
        let ordered = db
            .execute(&ORDER, &[&number, &session, &user, &bounds::KILLS])
            .await?;
        if ordered == 0 {
            return Err(StoreError::Full("orders to end sessions").into());
        }
    }
    Ok(u32::try_from(known).unwrap_or(u32::MAX))
}

async fn kills(db: &Reader<'_>) -> Result<Vec<Kill>, Trouble> {
    static SQL: LazyLock<String> =
        LazyLock::new(|| format!("SELECT number, session, username FROM kills WHERE created > {NOW} - $1"));
    let found = db.rows(&SQL, &[&bounds::KILL_LIFE]).await?;
    let kill = |row: From<'_>| {
        let session: Option<i64> = row.get(1)?;
        let target = match session {
            Some(bits) => Target::Session(SessionId::new(bits.cast_unsigned())),
            None => Target::User(row.name(2)?),
        };
        let number = row.get::<i64>(0)?.cast_unsigned();
        Ok(Kill { number, target })
    };
    found.iter().map(|row| kill(From::start(row))).collect()
}

pub(super) async fn sweep(db: &Writer<'_>) -> Result<(), Trouble> {
    static SQL: LazyLock<String> = LazyLock::new(|| format!("DELETE FROM kills WHERE created <= {NOW} - $1"));
    db.execute(&SQL, &[&bounds::KILL_LIFE]).await?;
    Ok(())
}
