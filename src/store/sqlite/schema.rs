//! The tables, as numbered migrations. One that was released is never edited: the next change is a new one at the end.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::TransactionBehavior;

use crate::store::StoreError;
use crate::store::sqlite::counts;
use crate::store::sqlite::error::unavailable;
use crate::store::sqlite::failures;
use crate::store::sqlite::habits;
use crate::store::sqlite::replicas;
use crate::store::sqlite::users;

/// `PRAGMA application_id`: "IMWD". Says whose file this is.
const APPLICATION_ID: i64 = 0x494d_5744;

/// `PRAGMA user_version` is how many of these have run.
const MIGRATIONS: &[&str] = &[
    FIRST,
    habits::MIGRATION,
    RESTRICTIONS,
    replicas::MIGRATION,
    failures::MIGRATION,
    counts::MIGRATION,
    replicas::KEYS,
    users::NAMESAKES,
];

/// Times are Unix seconds; `networks` are CIDR words with single spaces, NULL for no restriction.
const FIRST: &str = "
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    name     TEXT PRIMARY KEY,
    display  TEXT,
    disabled INTEGER NOT NULL DEFAULT 0,
    mfa      TEXT,
    enrol_by INTEGER,
    networks TEXT,
    created  INTEGER NOT NULL,
    epoch    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE totp (
    user      TEXT PRIMARY KEY REFERENCES users (name) ON DELETE CASCADE,
    sealed    BLOB NOT NULL,
    confirmed INTEGER NOT NULL,
    last_step INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE totp_enrolment (
    user    TEXT PRIMARY KEY REFERENCES users (name) ON DELETE CASCADE,
    sealed  BLOB NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE app_passwords (
    id             INTEGER PRIMARY KEY,
    user           TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    account        TEXT NOT NULL,
    label          TEXT NOT NULL,
    hash           BLOB NOT NULL,
    public_key     BLOB NOT NULL,
    public_key_mac BLOB NOT NULL,
    sealed         BLOB,
    created        INTEGER NOT NULL,
    expires        INTEGER,
    networks       TEXT,
    revoked        INTEGER,
    last_used      INTEGER,
    last_from      TEXT,
    last_client    TEXT
) STRICT;
CREATE INDEX app_passwords_by_user ON app_passwords (user);
CREATE INDEX app_passwords_by_account ON app_passwords (account);

CREATE TABLE trusted_windows (
    key       BLOB PRIMARY KEY,
    user      TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    open      INTEGER NOT NULL DEFAULT 0,
    opened    INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    last_used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX trusted_windows_by_user ON trusted_windows (user);
CREATE INDEX trusted_windows_by_end ON trusted_windows (expires);

CREATE TABLE bans (
    network TEXT PRIMARY KEY,
    reason  TEXT NOT NULL,
    by_whom TEXT NOT NULL,
    created INTEGER NOT NULL,
    until   INTEGER
) STRICT, WITHOUT ROWID;

-- No reference to users: where the policy admits users that are not listed here, their sources are known all the same.
CREATE TABLE known_sources (
    user      TEXT NOT NULL,
    source    BLOB NOT NULL,
    last_seen INTEGER NOT NULL,
    PRIMARY KEY (user, source)
) STRICT, WITHOUT ROWID;
";

/// Mailbox patterns stand in lines; NULL is no restriction.
const RESTRICTIONS: &str = "
ALTER TABLE app_passwords ADD COLUMN read_only INTEGER NOT NULL DEFAULT 0;
ALTER TABLE app_passwords ADD COLUMN mailboxes TEXT;
ALTER TABLE app_passwords ADD COLUMN commands TEXT;
ALTER TABLE app_passwords ADD COLUMN budget_bytes INTEGER;
ALTER TABLE app_passwords ADD COLUMN budget_messages INTEGER;
ALTER TABLE app_passwords ADD COLUMN service INTEGER NOT NULL DEFAULT 0;
";

/// Brings the file to the newest schema, in one transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    migrate_by(connection, MIGRATIONS)
}

/// Refuses a file that would have to be changed before it can be read.
pub(super) fn refuse_older(connection: &Connection) -> Result<(), StoreError> {
    let found = pragma(connection, "user_version")?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    if found < known {
        let text =
            "an older version of the program made it, and nothing is changed here; start the proxy once";
        return Err(StoreError::Unavailable(text.to_owned()));
    }
    Ok(())
}

/// A database of another program is left exactly as it is.
pub(super) fn refuse_foreign(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    if is_foreign(connection)? {
        return Err(StoreError::Foreign(path.display().to_string()));
    }
    Ok(())
}

fn migrate_by(connection: &mut Connection, migrations: &[&str]) -> Result<(), StoreError> {
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(unavailable)?;
    let found: i64 = pragma(&transaction, "user_version")?;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for migration in migrations.iter().skip(done) {
        transaction.execute_batch(migration).map_err(unavailable)?;
    }
    transaction
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(unavailable)?;
    transaction
        .pragma_update(None, "user_version", known)
        .map_err(unavailable)?;
    transaction.commit().map_err(unavailable)
}

/// Somebody else's database: another application id, or tables although no migration of ours has run.
fn is_foreign(connection: &Connection) -> Result<bool, StoreError> {
    let id: i64 = pragma(connection, "application_id")?;
    if id == APPLICATION_ID {
        return Ok(false);
    }
    let version: i64 = pragma(connection, "user_version")?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(unavailable)?;
    Ok(id != 0 || version != 0 || tables != 0)
}

fn pragma(connection: &Connection, name: &str) -> Result<i64, StoreError> {
    connection
        .pragma_query_value(None, name, |row| row.get(0))
        .map_err(unavailable)
}

#[cfg(test)]
mod tests {
    use crate::store::sqlite::app_passwords;
    use crate::types::Restrictions;

    use super::*;
    use crate::store::Store;
    use crate::store::Visit;
    use crate::store::sqlite::Options;
    use crate::store::sqlite::SqliteStore;
    use crate::types::UnixTime;
    use crate::types::UserName;

    fn version(connection: &Connection) -> i64 {
        pragma(connection, "user_version").unwrap()
    }

    #[test]
    fn an_empty_file_reaches_the_newest_schema_and_stays_there() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let newest = i64::try_from(MIGRATIONS.len()).unwrap();
        assert_eq!(version(&connection), newest);
        migrate(&mut connection).unwrap();
        assert_eq!(version(&connection), newest);
    }

    #[test]
    fn a_file_of_every_older_version_is_brought_forward_with_its_rows() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_by(&mut connection, &[FIRST]).unwrap();
        connection
            .execute("INSERT INTO users (name, created) VALUES ('alice', 1)", [])
            .unwrap();
        let longer = [
            FIRST,
            "ALTER TABLE app_passwords ADD COLUMN colour INTEGER NOT NULL DEFAULT 0",
        ];
        migrate_by(&mut connection, &longer).unwrap();
        assert_eq!(version(&connection), 2);
        let users: i64 = connection
            .query_row("SELECT count(*) FROM users", [], |row| row.get(0))
            .unwrap();
        assert_eq!(users, 1);
    }

    #[tokio::test]
    async fn what_a_store_of_the_first_schema_knows_of_its_users_is_known_after_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let mut old = Connection::open(&path).unwrap();
        migrate_by(&mut old, &[FIRST]).unwrap();
        old.execute_batch(
            "INSERT INTO users (name, created) VALUES ('alice', 1);
             INSERT INTO app_passwords (id, user, account, label, hash, public_key, public_key_mac, created, last_used)
                 VALUES (7, 'alice', 'alice', 'x', x'00', x'00', x'00', 5, 60);
             INSERT INTO known_sources (user, source, last_seen) VALUES
                 ('alice', zeroblob(32), 50), ('alice', x'0101', 60), ('unlisted', zeroblob(32), 70);",
        )
        .unwrap();
        drop(old);
        let store = SqliteStore::open(&path, &Options::default()).unwrap();
        let name = |text: &str| UserName::parse(text.as_bytes()).unwrap();
        let alice = store.user(&name("alice")).await.unwrap().unwrap();
        assert!(alice.groups.is_empty());
        let mut visit = Visit {
            user: alice.name,
            network: vec![[0; 32]],
            anybodys_network: vec![[0; 32]],
            country: Some("DE".into()),
            asn: None,
            family: None,
            tls_client: None,
            app_password: Some(7),
            since: UnixTime(50),
            now: UnixTime(100),
        };
        let found = store.habits(visit.clone()).await.unwrap();
        assert_eq!(found.is_new_network, Some(false));
        assert_eq!(found.is_new_country, None, "no country was kept");
        assert_eq!(found.last_login, Some(UnixTime(60)));
        let used = found.app_password.unwrap();
        assert_eq!((used.last_used, used.allowance), (Some(UnixTime(60)), None));
        visit.network = vec![[1; 32]];
        assert_eq!(store.habits(visit).await.unwrap().is_new_network, Some(true));
        let unlisted = name("unlisted");
        assert!(
            store
                .knows_source(&unlisted, vec![[0; 32]], UnixTime(70))
                .await
                .unwrap()
        );
        assert!(
            !store
                .knows_source(&unlisted, vec![[0; 32]], UnixTime(71))
                .await
                .unwrap()
        );
    }

    #[test]
    fn app_passwords_of_the_first_version_come_out_unrestricted() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_by(&mut connection, &[FIRST]).unwrap();
        connection
            .execute_batch(
                "INSERT INTO users (name, created) VALUES ('alice', 1);
                 INSERT INTO app_passwords (id, user, account, label, hash, public_key, public_key_mac, created)
                 VALUES (5, 'alice', 'alice', 'phone', zeroblob(32), zeroblob(32), zeroblob(32), 1);",
            )
            .unwrap();
        migrate(&mut connection).unwrap();
        let row = app_passwords::one(&connection, 5).unwrap().unwrap();
        assert_eq!(row.restrictions, Restrictions::default());
        assert_eq!(row.label, "phone");
    }

    #[test]
    fn a_migration_that_fails_leaves_the_file_as_it_was() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_by(&mut connection, &[FIRST]).unwrap();
        let broken = [
            FIRST,
            "CREATE TABLE extra (a INTEGER); CREATE TABLE users (a INTEGER);",
        ];
        assert!(migrate_by(&mut connection, &broken).is_err());
        assert_eq!(version(&connection), 1);
        let extra: i64 = connection
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE name = 'extra'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(extra, 0);
    }

    #[test]
    fn a_newer_file_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let refused = migrate(&mut connection);
        assert!(matches!(refused, Err(StoreError::TooNew { found: 99, .. })));
    }

    #[test]
    fn a_database_of_another_program_is_left_alone() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE theirs (a INTEGER)")
            .unwrap();
        let refused = refuse_foreign(&connection, Path::new("x"));
        assert!(matches!(refused, Err(StoreError::Foreign(_))));
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 1);
    }
}
