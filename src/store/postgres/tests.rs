//! What is particular to this engine: replicas, a server that is away, databases that are not ours.

mod backlog;
mod cuts;
mod deaf;

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::address::Address;
use super::cluster::Cluster;
use super::cluster::PASSWORD;
use super::*;
use crate::net::certificate;
use crate::net::tls;
use crate::net::tls::ClientOptions;
use crate::net::tls::Trust;
use crate::policy::first_sync::Allowance;
use crate::store::Habit;
use crate::store::KeyStore;
use crate::store::Kill;
use crate::store::LastUse;
use crate::store::NewWindow;
use crate::store::Renewal;
use crate::store::ReplicaId;
use crate::store::Replicas as _;
use crate::store::Target;
use crate::store::sqlite;
use crate::store::sqlite::SqliteStore;
use crate::store::tables::PASSING;
use crate::store::tables::TABLES;
use crate::store::tables::in_postgres;
use crate::types::Amounts;
use crate::types::Measure;
use crate::types::Secret;

const NOW: UnixTime = UnixTime(1_000_000);

/// Everything by default at a URL.
pub(in crate::store) fn options(url: &str) -> Options {
    Options::at(Address::parse(url).unwrap())
}

async fn open(url: &str) -> PostgresStore {
    PostgresStore::open(&options(url)).await.unwrap()
}

/// Opened as soon as that is possible.
async fn opened(options: &Options) -> PostgresStore {
    soon(async {
        loop {
            if let Ok(store) = PostgresStore::open(options).await {
                return store;
            }
        }
    })
    .await
}

fn name(text: &str) -> UserName {
    UserName::parse(text.as_bytes()).unwrap()
}

fn user(text: &str) -> User {
    User::new(name(text), NOW)
}

fn app_password(id: u32) -> AppPassword {
    AppPassword {
        id,
        user: name("alice"),
        account: name("alice"),
        label: "x".to_owned(),
        hash: [0; 32],
        public_key: [0; 32],
        public_key_mac: [0; 32],
        sealed: Some(vec![1, 2, 3]),
        created: NOW,
        expires: None,
        networks: None,
        restrictions: crate::types::Restrictions::default(),
        revoked: None,
        last_use: None,
    }
}

fn ban(network: &str) -> Ban {
    Ban {
        network: network.parse().unwrap(),
        reason: String::new(),
        by: String::new(),
        created: NOW,
        until: None,
    }
}

fn consumption(step: i64, key: u8) -> Consumption {
    Consumption {
        user: name("alice"),
        sealed: vec![9; 40],
        step,
        window: NewWindow {
            key: [key; 32],
            opened: NOW,
            expires: UnixTime(NOW.0 + 300),
            idle_since: UnixTime(NOW.0 - 7200),
            keep: 3,
        },
    }
}

async fn enrol(store: &dyn Store) {
    let alice = name("alice");
    store.add_user(user("alice")).await.unwrap();
    assert!(store.begin_enrolment(&alice, vec![9; 40], NOW).await.unwrap());
    assert!(
        store
            .confirm_enrolment(&alice, vec![9; 40], 10, NOW)
            .await
            .unwrap()
    );
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.unwrap()
}

#[tokio::test]
async fn what_one_replica_writes_the_others_are_told_of() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.url(&cluster.database());
    let (one, other) = (open(&url).await, open(&url).await);
    let mut changes = other.changes();
    // The first move says that it listens.
    soon(changes.wait_for(|number| *number > 0)).await.unwrap();
    changes.mark_unchanged();
    one.add_ban(ban("192.0.2.0/24")).await.unwrap();
    soon(changes.changed()).await.unwrap();
    assert_eq!(other.bans(NOW).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_connection_that_listens_no_more_is_replaced_and_everything_read_anew() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let url = cluster.url(&database);
    let (one, other) = (open(&url).await, open(&url).await);
    let mut changes = other.changes();
    soon(changes.wait_for(|number| *number > 0)).await.unwrap();
    changes.mark_unchanged();
    cluster.sql(
        "postgres",
        &format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}' \
             AND (query LIKE 'LISTEN%' OR query = '')"
        ),
    );
    soon(changes.changed()).await.unwrap();
    // Whatever was said meanwhile: it moves again once it listens, and with what is said then.
    one.add_ban(ban("192.0.2.0/24")).await.unwrap();
    soon(async {
        while other.bans(NOW).await.unwrap().is_empty() {
            changes.changed().await.unwrap();
        }
    })
    .await;
    soon(async {
        let listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' OR query = ''";
        while cluster.sql(&database, listening) == "0" {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_is_consumed_once_at_whichever_replica() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.url(&cluster.database());
    let mut options = options(&url);
    options.connections = 50;
    // One connection each, however long the others take.
    options.wait = Duration::from_secs(20);
    options.deadline = Duration::from_secs(20);
    let mut stores = Vec::new();
    for _ in 0..3 {
        stores.push(Arc::new(PostgresStore::open(&options).await.unwrap()));
    }
    enrol(&*stores[0]).await;
    for step in 11..14 {
        let mut racers = Vec::new();
        for key in 0..50 {
            for store in &stores {
                let store = Arc::clone(store);
                racers.push(tokio::spawn(async move {
                    store.consume_step(consumption(step, key)).await.unwrap()
                }));
            }
        }
        let mut winners = 0;
        for racer in racers {
            winners += u32::from(racer.await.unwrap());
        }
        assert_eq!(winners, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_with_one_code_do_not_wait_for_each_other_to_lose() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.url(&cluster.database());
    let store = open(&url).await;
    enrol(&store).await;
    // Another login of the user's that takes its time, as its transaction begins.
    let (slow, connection) = options(&url)
        .config()
        .connect(tokio_postgres::NoTls)
        .await
        .unwrap();
    let driver = tokio::spawn(connection);
    let begin = "BEGIN; SELECT disabled FROM users WHERE name = 'alice' FOR SHARE";
    slow.batch_execute(begin).await.unwrap();
    assert!(store.consume_step(consumption(11, 1)).await.unwrap());
    assert!(!store.consume_step(consumption(11, 2)).await.unwrap());
    // What changes the user waits for it.
    let mut disabled = user("alice");
    disabled.disabled = true;
    assert!(store.change_user(disabled.clone()).await.is_err());
    slow.batch_execute("COMMIT").await.unwrap();
    assert!(store.change_user(disabled).await.unwrap());
    assert!(!store.consume_step(consumption(12, 3)).await.unwrap());
    driver.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_window_is_left_to_a_user_who_is_disabled_meanwhile() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.url(&cluster.database());
    let (one, other) = (open(&url).await, open(&url).await);
    enrol(&one).await;
    for step in 11..60 {
        let mut disabled = user("alice");
        disabled.disabled = true;
        let (consumed, changed) = tokio::join!(
            one.consume_step(consumption(step, 1)),
            other.change_user(disabled.clone())
        );
        consumed.unwrap();
        assert!(changed.unwrap());
        assert_eq!(one.close_windows(&name("alice")).await.unwrap(), 0, "{step}");
        assert!(one.change_user(user("alice")).await.unwrap());
    }
}

#[tokio::test]
async fn what_replicas_note_adds_up_and_the_newest_stays() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.url(&cluster.database());
    let (one, other) = (open(&url).await, open(&url).await);
    let alice = name("alice");
    one.add_user(user("alice")).await.unwrap();
    assert!(one.add_app_password(app_password(1), 9).await.unwrap());
    let last_use = |at: i64| LastUse {
        at: UnixTime(at),
        from: "192.0.2.1".parse().unwrap(),
        client: Some("Mail\u{0} 1.0".to_owned()),
    };
    let allowance = Allowance {
        opened: NOW,
        left: 100,
        network: [1; 32],
        family: None,
        ended: None,
    };
    let yesterday = crate::store::day_of(NOW) - 1;
    for (store, at) in [(&one, 9), (&other, 7)] {
        store.note(Note::AppPasswordUsed(1, last_use(at)));
        store.note(Note::LoggedIn(alice.clone(), UnixTime(at)));
        store.note(Note::Did(
            alice.clone(),
            yesterday,
            Amounts::of(Measure::Commands, 3),
        ));
        store.note(Note::AllowanceOpened(1, allowance.clone()));
        store.note(Note::AllowanceSpent(1, 30, NOW));
    }
    let (first, second) = tokio::join!(one.flush(), other.flush());
    first.unwrap();
    second.unwrap();
    let used = one.app_password(1).await.unwrap().unwrap().last_use.unwrap();
    assert_eq!((used.at, used.client.as_deref()), (UnixTime(9), Some("Mail 1.0")));
    let visit = Visit {
        user: alice,
        network: vec![[1; 32]],
        anybodys_network: vec![[1; 32]],
        country: None,
        asn: None,
        family: None,
        tls_client: None,
        app_password: Some(1),
        since: NOW,
        now: NOW,
    };
    let found = other.habits(visit).await.unwrap();
    assert_eq!(found.last_login, Some(UnixTime(9)));
    assert_eq!(found.averages.average(Measure::Commands, 7), Some(6));
    assert_eq!(found.app_password.unwrap().allowance.unwrap().left, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_and_changes_of_one_user_wait_for_each_other_and_none_fails() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.url(&cluster.database());
    let (one, other) = (open(&url).await, open(&url).await);
    let alice = name("alice");
    enrol(&one).await;
    for step in 11..40 {
        let id = u32::try_from(step).unwrap();
        assert!(one.add_app_password(app_password(id), 9).await.unwrap());
        assert!(one.begin_enrolment(&alice, vec![9; 40], NOW).await.unwrap());
        assert!(
            one.confirm_enrolment(&alice, vec![9; 40], step - 1, NOW)
                .await
                .unwrap()
        );
        assert!(one.consume_step(consumption(step, 1)).await.unwrap());
        assert!(one.open_window([1; 32], NOW, UnixTime(NOW.0 + 9)).await.unwrap());
        for store in [&one, &other] {
            let last_use = LastUse {
                at: NOW,
                from: "192.0.2.1".parse().unwrap(),
                client: None,
            };
            store.note(Note::WindowUsed([1; 32], NOW));
            store.note(Note::Came(alice.clone(), Habit::Asn(id), NOW));
            store.note(Note::AppPasswordUsed(id, last_use));
        }
        let (reset, first, second) = tokio::join!(one.reset_user(&alice, NOW), one.flush(), other.flush());
        assert!(reset.unwrap());
        first.unwrap();
        second.unwrap();
    }
}

#[tokio::test]
async fn notes_are_written_without_being_asked_for_and_when_the_store_is_dropped() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.url(&cluster.database());
    let mut quick = options(&url);
    quick.flush_every = Duration::from_millis(20);
    let (daemon, other) = (PostgresStore::open(&quick).await.unwrap(), open(&url).await);
    let alice = name("alice");
    let known = async |source: u8| {
        soon(async {
            while !other.knows_source(&alice, vec![[source; 32]], NOW).await.unwrap() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    daemon.note(Note::Came(alice.clone(), Habit::Network([1; 32]), NOW));
    known(1).await;
    daemon.note(Note::Came(alice.clone(), Habit::Network([2; 32]), NOW));
    drop(daemon);
    known(2).await;
}

#[tokio::test]
async fn a_server_that_is_frozen_or_gone_is_unavailable_in_time_and_heals() {
    let Some(mut cluster) = Cluster::start("") else {
        return;
    };
    let url = cluster.url(&cluster.database());
    let mut impatient = options(&url);
    impatient.connections = 2;
    impatient.wait = Duration::from_millis(300);
    impatient.deadline = Duration::from_millis(300);
    let store = PostgresStore::open(&impatient).await.unwrap();
    enrol(&store).await;
    let mut changes = store.changes();
    for frozen in [true, false] {
        if frozen {
            cluster.signal("STOP");
        } else {
            cluster.stop();
        }
        store.note(Note::Came(
            name("alice"),
            Habit::Network([u8::from(frozen); 32]),
            NOW,
        ));
        let begun = Instant::now();
        for _ in 0..4 {
            let refused = store.consume_step(consumption(11, 1)).await;
            assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
            let refused = store.bans(NOW).await;
            assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        }
        assert!(store.flush().await.is_err());
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "nothing waits for long"
        );
        if frozen {
            cluster.signal("CONT");
        } else {
            cluster.run();
        }
        soon(async {
            while store.bans(NOW).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // It hears again of what others do, at the latest when it listens again.
        let other = opened(&impatient).await;
        changes.mark_unchanged();
        soon(async { while other.add_ban(ban("192.0.2.0/24")).await.is_err() {} }).await;
        soon(changes.changed()).await.unwrap();
        soon(async { while store.flush().await.is_err() {} }).await;
        let source = [u8::from(frozen); 32];
        assert!(
            store
                .knows_source(&name("alice"), vec![source], NOW)
                .await
                .unwrap(),
            "the note waited"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded_whatever_is_asked() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let mut options = options(&cluster.url(&database));
    options.connections = 3;
    let store = Arc::new(PostgresStore::open(&options).await.unwrap());
    let askers: Vec<_> = (0..200)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.add_user(user(&format!("u{number}"))).await.unwrap() })
        })
        .collect();
    for asker in askers {
        assert!(asker.await.unwrap());
    }
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'");
    let connections: u32 = cluster.sql("postgres", &sql).parse().unwrap();
    assert!(connections <= 4, "{connections}: three, and the one that listens");
    assert_eq!(store.users(None, 1000).await.unwrap().len(), 200);
}

#[tokio::test]
async fn replicas_that_start_at_once_make_one_schema() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let url = cluster.url(&database);
    let stores = tokio::join!(open(&url), open(&url), open(&url));
    assert!(stores.0.add_user(user("alice")).await.unwrap());
    assert!(stores.2.user(&name("alice")).await.unwrap().is_some());
    assert_eq!(
        cluster.sql(&database, "SELECT count(*) FROM imapwarden_schema"),
        "1"
    );
}

#[tokio::test]
async fn who_only_looks_reads_and_changes_nothing_not_even_the_schema() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let mut looking = options(&cluster.url(&database));
    looking.looks_only = true;
    let refused = PostgresStore::open(&looking).await.err().unwrap();
    assert!(refused.to_string().contains("empty"), "{refused}");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(cluster.sql(&database, tables), "0");

    let store = open(&cluster.url(&database)).await;
    assert!(store.add_user(user("alice")).await.unwrap());
    let look = opened(&looking).await;
    assert!(look.user(&name("alice")).await.unwrap().is_some());
    assert!(look.add_user(user("bob")).await.is_err());
    assert!(store.user(&name("bob")).await.unwrap().is_none());

    cluster.sql(&database, "UPDATE imapwarden_schema SET version = 0");
    let refused = PostgresStore::open(&looking).await.err().unwrap();
    assert!(refused.to_string().contains("older"), "{refused}");
    assert_eq!(
        cluster.sql(&database, "SELECT version FROM imapwarden_schema"),
        "0"
    );
}

#[tokio::test]
async fn databases_that_are_not_ours_or_newer_are_refused_untouched() {
    let Some(cluster) = Cluster::shared() else { return };
    let theirs = cluster.database();
    cluster.sql(&theirs, "CREATE TABLE users (a INTEGER)");
    let refused = PostgresStore::open(&options(&cluster.url(&theirs))).await;
    assert!(matches!(refused.err(), Some(StoreError::Foreign(_))));
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(cluster.sql(&theirs, tables), "1");

    let newer = cluster.database();
    drop(open(&cluster.url(&newer)).await);
    cluster.sql(&newer, "UPDATE imapwarden_schema SET version = 99");
    let refused = PostgresStore::open(&options(&cluster.url(&newer))).await;
    assert!(matches!(
        refused.err(),
        Some(StoreError::TooNew { found: 99, .. })
    ));

    cluster.sql(
        "postgres",
        "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'",
    );
    let refused = PostgresStore::open(&options(&cluster.url("latin"))).await;
    assert!(refused.err().unwrap().to_string().contains("LATIN1"));

    let missing = PostgresStore::open(&options(&cluster.url("missing"))).await;
    assert!(matches!(missing.err(), Some(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_no_store() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let url = cluster.url(&database);
    let store = open(&url).await;
    let read_only = format!("{url}?options=-c%20default_transaction_read_only%3Don");
    let refused = PostgresStore::open(&options(&read_only)).await.err();
    assert!(matches!(refused, Some(StoreError::Unavailable(_))), "{refused:?}");
    // One that takes none any more: what is open is not used again.
    cluster.sql(
        &database,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE SQLSTATE '25006' USING MESSAGE = 'cannot execute INSERT in a read-only transaction'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON users EXECUTE FUNCTION refuse()",
    );
    let refused = store.add_user(user("alice")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(store.users(None, 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_restriction_damaged_by_hand_is_an_error_and_not_no_restriction() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let store = open(&cluster.url(&database)).await;
    store.add_user(user("alice")).await.unwrap();
    for damage in [
        "networks = '10.0.0.0/99'",
        "networks = '', mfa = 'maybe'",
        "mfa = NULL, member_of = 'a\u{1}b'",
    ] {
        cluster.sql(&database, &format!("UPDATE users SET {damage}"));
        let answer = store.user(&name("alice")).await;
        assert!(
            matches!(answer, Err(StoreError::Damaged(_))),
            "{damage}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn tables_that_vanish_are_damage_and_errors_tell_no_values() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let store = open(&cluster.url(&database)).await;
    let orphan = store.add_app_password(app_password(1), 9).await.unwrap_err();
    assert!(matches!(orphan, StoreError::Damaged(_)));
    assert!(!orphan.to_string().contains("alice"), "{orphan}");
    cluster.sql(&database, "DROP TABLE bans");
    assert!(matches!(store.bans(NOW).await, Err(StoreError::Damaged(_))));
    assert!(store.users(None, 1).await.unwrap().is_empty(), "the rest works");
}

#[tokio::test]
async fn a_password_is_asked_for_and_the_servers_certificate_is_verified() {
    let Some(cluster) = Cluster::start("ssl = off") else {
        return;
    };
    let database = cluster.database();
    let mut by_password = options(&cluster.tcp_url(&database));
    by_password.wait = Duration::from_secs(10);
    for (password, answer) in [(None, false), (Some("wrong"), false), (Some(PASSWORD), true)] {
        by_password.password = password.map(Secret::from);
        let opened = PostgresStore::open(&by_password).await.map(drop);
        assert_eq!(opened.is_ok(), answer, "{password:?}: {opened:?}");
        let shown = format!("{opened:?}");
        assert!(!shown.contains(PASSWORD) && !shown.contains("wrong"), "{shown}");
    }
    let now = UnixTime(
        std::fs::metadata(cluster.path("data"))
            .unwrap()
            .modified()
            .unwrap()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs()
            .try_into()
            .unwrap(),
    );
    let (ours, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let names = ["localhost".to_owned()];
    let made = certificate::self_signed(ours.path(), &names, now).unwrap().files;
    let other = certificate::self_signed(others.path(), &names, now)
        .unwrap()
        .files;
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    cluster.file("data/server.crt", &read(&made.certificate));
    cluster.file("data/server.key", &read(&made.key));
    cluster.sql("postgres", "ALTER SYSTEM SET ssl = on");
    cluster.sql("postgres", "SELECT pg_reload_conf()");
    let url = cluster.tcp_url(&database).replace("127.0.0.1", "localhost");
    let mut by_tls = options(&format!("{url}?sslmode=verify-full"));
    by_tls.password = Some(Secret::from(PASSWORD));
    let trusting = |file: &std::path::PathBuf| {
        let trust = Trust::CaFiles(vec![file.clone()]);
        let client = ClientOptions {
            trust,
            ..ClientOptions::default()
        };
        tls::Client::new(&client, now).unwrap()
    };
    by_tls.tls = Some(trusting(&made.certificate));
    // The server reads its settings anew in its own time.
    let store = opened(&by_tls).await;
    assert!(store.add_user(user("alice")).await.unwrap());
    let sql = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'imapwarden'";
    assert_eq!(cluster.sql("postgres", sql), "t");
    by_tls.tls = Some(trusting(&other.certificate));
    let refused = PostgresStore::open(&by_tls).await.err().unwrap().to_string();
    assert!(refused.contains("certificate"), "{refused}");
}

/// Both schemas have the tables and columns that are copied, and no others that last.
#[tokio::test]
async fn every_table_and_column_is_copied() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    drop(open(&cluster.url(&database)).await);
    let sql = "SELECT table_name || '.' || column_name FROM information_schema.columns
               WHERE table_schema = 'public' AND table_name <> 'imapwarden_schema' ORDER BY 1";
    let there = cluster.sql(&database, sql);
    let there: Vec<&str> = there.lines().collect();
    let mut copied: Vec<String> = TABLES
        .iter()
        .flat_map(|table| {
            let column = |(column, _): &(&'static str, _)| format!("{}.{}", table.name, in_postgres(column));
            table.columns.iter().map(column)
        })
        .collect();
    copied.sort();
    assert_eq!(copied, lasting(there));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(SqliteStore::open(&path, &sqlite::Options::default()).unwrap());
    let file = rusqlite::Connection::open(&path).unwrap();
    let mut statement = file
        .prepare("SELECT t.name || '.' || c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table' ORDER BY 1")
        .unwrap();
    let there: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let there = there.iter().map(String::as_str).collect();
    let mut copied: Vec<String> = TABLES
        .iter()
        .flat_map(|table| {
            table
                .columns
                .iter()
                .map(|(column, _)| format!("{}.{column}", table.name))
        })
        .collect();
    copied.sort();
    assert_eq!(copied, lasting(there));
}

/// Columns but for those of tables that do not outlive processes.
fn lasting(columns: Vec<&str>) -> Vec<&str> {
    let lasts = |column: &&str| {
        let table = column.split('.').next().unwrap();
        !PASSING.contains(&table)
    };
    columns.into_iter().filter(lasts).collect()
}

#[tokio::test]
async fn orders_to_end_sessions_are_bounded_and_forgotten_after_an_hour() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let store = open(&cluster.url(&database)).await;
    let kill = |number| Kill {
        number,
        target: Target::User(name("alice")),
    };
    cluster.sql(
        &database,
        "INSERT INTO kills SELECT n, NULL, 'alice', 1000 FROM generate_series(1, 10000) AS n",
    );
    assert_eq!(store.kills().await.unwrap(), []);
    let full = store.kill(ReplicaId(1), kill(20_000)).await;
    assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
    store.sweep(NOW).await.unwrap();
    store.kill(ReplicaId(1), kill(20_000)).await.unwrap();
    assert_eq!(store.kills().await.unwrap(), [kill(20_000)]);
}

#[tokio::test]
async fn a_replica_that_died_is_removed_with_its_sessions_by_the_next_one() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let store = open(&cluster.url(&database)).await;
    let renewal = |replica| Renewal {
        replica: ReplicaId(replica),
        name: "x:1".to_owned(),
        lease: Duration::from_secs(10),
        began: Vec::new(),
        ended: Vec::new(),
        keys: Vec::new(),
    };
    store.renew(renewal(1)).await.unwrap();
    cluster.sql(
        &database,
        "UPDATE replicas SET until = until - 100;
         INSERT INTO sessions SELECT 5, id, 'alice', 'alice', '192.0.2.1:1', '192.0.2.1/32', true, 1, 'totp', NULL, 'mail', NULL
         FROM replicas",
    );
    store.renew(renewal(2)).await.unwrap();
    let left = "SELECT (SELECT count(*) FROM replicas) || ' ' || (SELECT count(*) FROM sessions)";
    assert_eq!(cluster.sql(&database, left), "1 0");
}

async fn filled(path: &std::path::Path) -> SqliteStore {
    let store = SqliteStore::open(path, &sqlite::Options::default()).unwrap();
    store.check_key([7; 32]).await.unwrap();
    enrol(&store).await;
    assert!(store.consume_step(consumption(11, 1)).await.unwrap());
    store.add_user(user("bob")).await.unwrap();
    assert!(store.begin_enrolment(&name("bob"), vec![1], NOW).await.unwrap());
    assert!(store.add_app_password(app_password(1), 9).await.unwrap());
    store.add_ban(ban("2001:db8::/48")).await.unwrap();
    for number in 0..2_500_u32 {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        store.note(Note::NetworkSeen(hash, NOW));
    }
    store.note(Note::Came(name("alice"), Habit::Country("DE".into()), NOW));
    store.note(Note::LoggedIn(name("alice"), NOW));
    store.note(Note::Did(name("alice"), 5, Amounts::of(Measure::Logins, 2)));
    let allowance = Allowance {
        opened: NOW,
        left: 100,
        network: [1; 32],
        family: Some("k9".into()),
        ended: None,
    };
    store.note(Note::AllowanceOpened(1, allowance));
    store.flush().await.unwrap();
    store
}

#[tokio::test]
async fn everything_in_a_file_is_taken_over() {
    let Some(cluster) = Cluster::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let old = filled(&path).await;
    let new = open(&cluster.url(&cluster.database())).await;
    let Imported::All(tables) = new.import(&path).await.unwrap() else {
        panic!("it is empty");
    };
    assert_eq!(tables.len(), TABLES.len());
    assert!(tables.iter().all(|(_, rows)| *rows > 0), "{tables:?}");
    assert!(tables.contains(&("networks", 2_500)));
    let (alice, bob) = (name("alice"), name("bob"));
    assert_eq!(new.user(&alice).await.unwrap(), old.user(&alice).await.unwrap());
    assert_eq!(new.totp(&alice).await.unwrap(), old.totp(&alice).await.unwrap());
    assert_eq!(
        new.enrolment(&bob).await.unwrap(),
        old.enrolment(&bob).await.unwrap()
    );
    assert_eq!(
        new.app_password(1).await.unwrap(),
        old.app_password(1).await.unwrap()
    );
    assert_eq!(new.bans(NOW).await.unwrap(), old.bans(NOW).await.unwrap());
    assert!(
        !new.consume_step(consumption(11, 2)).await.unwrap(),
        "consumed already"
    );
    assert!(new.open_window([1; 32], NOW, UnixTime(NOW.0 + 9)).await.unwrap());
    assert!(matches!(new.check_key([8; 32]).await, Err(StoreError::OtherKey)));
    let again = new.import(&path).await.unwrap();
    assert_eq!(again, Imported::NotEmpty("users"));
}

#[tokio::test]
async fn a_database_of_another_key_takes_nothing_over() {
    let Some(cluster) = Cluster::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let _old = filled(&path).await;
    let new = open(&cluster.url(&cluster.database())).await;
    new.check_key([8; 32]).await.unwrap();
    assert!(matches!(new.import(&path).await, Err(StoreError::OtherKey)));
    assert!(new.users(None, 9).await.unwrap().is_empty());
    new.check_key([8; 32]).await.unwrap();
    let missing = new.import(&folder.path().join("missing.db")).await;
    assert!(missing.is_err());
}
