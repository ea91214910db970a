//! The tables, as numbered migrations. One that was released is never edited: the next change is a new one at the end.

use std::time::Duration;

use tokio_postgres::Row;

use crate::store::Answer;
use crate::store::StoreError;
use crate::store::postgres::counts;
use crate::store::postgres::error::Trouble;
use crate::store::postgres::failures;
use crate::store::postgres::pool::Pool;
use crate::store::postgres::pool::Reader;
use crate::store::postgres::pool::Writer;
use crate::store::postgres::replicas;
use crate::store::postgres::rows::From;
use crate::store::postgres::users;

/// The row in `imapwarden_schema` says how many of these have run.
const MIGRATIONS: &[&str] = &[
    FIRST,
    replicas::MIGRATION,
    failures::MIGRATION,
    counts::MIGRATION,
    replicas::KEYS,
    users::NAMESAKES,
];

/// How long bringing a database to a new schema may take, the wait for another replica that does so included.
const MIGRATION: Duration = Duration::from_mins(5);

/// The tables of SQLite's schema, by the same names, with two differences: `user` is a word of SQL's here, so the column is
/// `username`; what is true or false is BOOLEAN. Times are Unix seconds. Names are compared byte by byte.
const FIRST: &str = r#"
CREATE TABLE imapwarden_schema (
    version BIGINT NOT NULL
);
INSERT INTO imapwarden_schema VALUES (0);

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);

CREATE TABLE users (
    name      TEXT COLLATE "C" PRIMARY KEY,
    display   TEXT,
    disabled  BOOLEAN NOT NULL DEFAULT false,
    mfa       TEXT,
    enrol_by  BIGINT,
    networks  TEXT,
    created   BIGINT NOT NULL,
    epoch     BIGINT NOT NULL DEFAULT 0,
    member_of TEXT NOT NULL DEFAULT ''
);

CREATE TABLE totp (
    username  TEXT COLLATE "C" PRIMARY KEY REFERENCES users (name) ON DELETE CASCADE,
    sealed    BYTEA NOT NULL,
    confirmed BIGINT NOT NULL,
    last_step BIGINT NOT NULL
);

CREATE TABLE totp_enrolment (
    username TEXT COLLATE "C" PRIMARY KEY REFERENCES users (name) ON DELETE CASCADE,
    sealed   BYTEA NOT NULL,
    created  BIGINT NOT NULL
);

CREATE TABLE app_passwords (
    id              BIGINT PRIMARY KEY,
    username        TEXT COLLATE "C" NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    account         TEXT COLLATE "C" NOT NULL,
    label           TEXT NOT NULL,
    hash            BYTEA NOT NULL,
    public_key      BYTEA NOT NULL,
    public_key_mac  BYTEA NOT NULL,
    sealed          BYTEA,
    created         BIGINT NOT NULL,
    expires         BIGINT,
    networks        TEXT,
    revoked         BIGINT,
    last_used       BIGINT,
    last_from       TEXT,
    last_client     TEXT,
    read_only       BOOLEAN NOT NULL DEFAULT false,
    mailboxes       TEXT,
    commands        TEXT,
    budget_bytes    BIGINT,
    budget_messages BIGINT,
    service         BOOLEAN NOT NULL DEFAULT false
);
CREATE INDEX app_passwords_by_user ON app_passwords (username);
CREATE INDEX app_passwords_by_account ON app_passwords (account);

CREATE TABLE trusted_windows (
    key       BYTEA PRIMARY KEY,
    username  TEXT COLLATE "C" NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    open      BOOLEAN NOT NULL DEFAULT false,
    opened    BIGINT NOT NULL,
    expires   BIGINT NOT NULL,
    last_used BIGINT NOT NULL
);
CREATE INDEX trusted_windows_by_user ON trusted_windows (username);
CREATE INDEX trusted_windows_by_end ON trusted_windows (expires);

CREATE TABLE bans (
    network TEXT COLLATE "C" PRIMARY KEY,
    reason  TEXT NOT NULL,
    by_whom TEXT NOT NULL,
    created BIGINT NOT NULL,
    until   BIGINT
);

-- Here and below no reference to users: where the policy admits users that are not listed, they have habits all the same.
CREATE TABLE habits (
    username   TEXT COLLATE "C" NOT NULL,
    kind       TEXT COLLATE "C" NOT NULL,
    value      BYTEA NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen  BIGINT NOT NULL,
    PRIMARY KEY (username, kind, value)
);

CREATE TABLE logins (
    username TEXT COLLATE "C" PRIMARY KEY,
    last     BIGINT NOT NULL
);

CREATE TABLE networks (
    network   BYTEA PRIMARY KEY,
    last_seen BIGINT NOT NULL
);
CREATE INDEX networks_by_end ON networks (last_seen);

-- Days since 1970-01-01 in UTC.
CREATE TABLE usage (
    username          TEXT COLLATE "C" NOT NULL,
    day               BIGINT NOT NULL,
    fetched_bytes     BIGINT NOT NULL,
    fetched_messages  BIGINT NOT NULL,
    appended_bytes    BIGINT NOT NULL,
    appended_messages BIGINT NOT NULL,
    commands          BIGINT NOT NULL,
    logins            BIGINT NOT NULL,
    PRIMARY KEY (username, day)
);
CREATE INDEX usage_by_day ON usage (day);

CREATE TABLE allowances (
    app_password BIGINT PRIMARY KEY REFERENCES app_passwords (id) ON DELETE CASCADE,
    opened       BIGINT NOT NULL,
    bytes_left   BIGINT NOT NULL,
    network      BYTEA NOT NULL,
    family       TEXT,
    ended        BIGINT
);
"#;

/// What only one replica does at a time, until its transaction ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lock {
    /// Bringing the database to a new schema.
    Schema,
    /// Writing notes.
    Notes,
    /// Sweeping.
    Sweep,
}

impl Lock {
    /// "IMWD": other programs' locks in the same database have other numbers.
    const PROGRAM: i32 = 0x494d_5744;

    fn number(self) -> i32 {
        match self {
            Self::Schema => 1,
            Self::Notes => 2,
            Self::Sweep => 3,
        }
    }

    /// Waits for it.
    pub(super) async fn take(self, db: &Writer<'_>) -> Result<(), Trouble> {
        let sql = "SELECT pg_advisory_xact_lock($1, $2)";
        db.execute(sql, &[&Self::PROGRAM, &self.number()]).await?;
        Ok(())
    }

    /// Takes it where nobody else has it.
    pub(super) async fn is_free(self, db: &Writer<'_>) -> Result<bool, Trouble> {
        let sql = "SELECT pg_try_advisory_xact_lock($1, $2)";
        let row = db.row(sql, &[&Self::PROGRAM, &self.number()]).await?;
        row.map_or(Ok(false), |row| From::start(&row).get(0))
    }
}

/// Brings the database to the newest schema, in one transaction, one replica at a time.
pub(super) async fn migrate(pool: &Pool) -> Result<(), StoreError> {
    migrate_by(pool, MIGRATIONS).await
}

/// Says whether the database has the schema that we know, and changes nothing.
pub(super) async fn check(pool: &Pool) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    match version_of(pool, known).await? {
        Some(found) if found == known => Ok(()),
        Some(_) => Err(StoreError::Unavailable(
            "its schema is older than this program; it is brought forward when the proxy starts".to_owned(),
        )),
        None => Err(StoreError::Unavailable("the database is empty".to_owned())),
    }
}

/// How many migrations have run; `None` in an empty database.
async fn version_of(pool: &Pool, known: i64) -> Result<Option<i64>, StoreError> {
    let found: Answer<'_, Condition> =
        Box::pin(pool.read(async move |db: &Reader<'_>| look_before(db).await));
    let found = found.await?;
    check_encoding(&found)?;
    found.version(known)
}

async fn migrate_by(pool: &Pool, migrations: &'static [&'static str]) -> Result<(), StoreError> {
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if version_of(pool, known).await? == Some(known) {
        return Ok(());
    }
    let brought: Answer<'_, ()> = Box::pin(pool.write_within(MIGRATION, async move |db: &Writer<'_>| {
        bring_forward(db, known, migrations).await
    }));
    brought.await
}

async fn bring_forward(
    db: &Writer<'_>,
    known: i64,
    migrations: &'static [&'static str],
) -> Result<(), Trouble> {
    let limit = MIGRATION.as_millis();
    db.batch(&format!(
        "SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = {limit}; \
         SET LOCAL idle_in_transaction_session_timeout = {limit}"
    ))
    .await?;
    Lock::Schema.take(db).await?;
    // Another replica may have been here meanwhile.
    let found = look(db).await?.version(known)?.unwrap_or(0);
    let done = usize::try_from(found).unwrap_or(0);
    for migration in migrations.iter().skip(done) {
        db.batch(migration).await?;
    }
    db.execute("UPDATE imapwarden_schema SET version = $1", &[&known])
        .await?;
    Ok(())
}

/// What a database is found to be.
struct Condition {
    database: String,
    encoding: String,
    is_ours: bool,
    others: i64,
    version: Option<i64>,
}

impl Condition {
    /// How many migrations have run; `None` in an empty database.
    fn version(&self, known: i64) -> Result<Option<i64>, StoreError> {
        match self.version {
            Some(found) if found > known => Err(StoreError::TooNew { found, known }),
            Some(found) => Ok(Some(found)),
            // Somebody else's, or our own table without its row.
            None if self.is_ours || self.others > 0 => {
                Err(StoreError::Foreign(format!("the database {}", self.database)))
            }
            None => Ok(None),
        }
    }
}

fn check_encoding(found: &Condition) -> Result<(), StoreError> {
    if found.encoding == "UTF8" {
        return Ok(());
    }
    // Names are kept byte for byte.
    Err(StoreError::Foreign(format!(
        "the database {}, whose encoding is {} instead of UTF8,",
        found.database, found.encoding
    )))
}

/// What extensions bring is nobody's.
const CONDITION: &str = "
SELECT current_database()::text, current_setting('server_encoding'),
    coalesce(bool_or(c.relname = 'imapwarden_schema'), false), count(c.relname)
FROM (SELECT 1) AS one
LEFT JOIN pg_class AS c ON c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
    AND c.relkind IN ('r', 'p')
    AND NOT EXISTS (SELECT 1 FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')";

const VERSION: &str = "SELECT max(version) FROM imapwarden_schema";

impl Condition {
    /// From what `CONDITION` answers.
    fn of(row: Option<Row>) -> Result<Self, Trouble> {
        let Some(row) = row else {
            return Err(StoreError::Damaged("the catalogue gives no answer".to_owned()).into());
        };
        let row = From::start(&row);
        Ok(Self {
            database: row.get(0)?,
            encoding: row.get(1)?,
            is_ours: row.get(2)?,
            others: row.get(3)?,
            version: None,
        })
    }

    /// With what `VERSION` answers.
    fn of_version(mut self, row: Option<Row>) -> Result<Self, Trouble> {
        self.version = row.map_or(Ok(None), |row| From::start(&row).get(0))?;
        Ok(self)
    }
}

/// Without a transaction: nothing is locked where nothing is to be done.
async fn look_before(db: &Reader<'_>) -> Result<Condition, Trouble> {
    let found = Condition::of(db.row(CONDITION, &[]).await?)?;
    if !found.is_ours {
        return Ok(found);
    }
    let version = db.row(VERSION, &[]).await?;
    found.of_version(version)
}

/// The same in the transaction that may change it.
async fn look(db: &Writer<'_>) -> Result<Condition, Trouble> {
    let found = Condition::of(db.row(CONDITION, &[]).await?)?;
    if !found.is_ours {
        return Ok(found);
    }
    let version = db.row(VERSION, &[]).await?;
    found.of_version(version)
}
