//! What is particular to this engine: the file, other processes, and everything that can go wrong with them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::trace::TraceEvent;
use rusqlite::trace::TraceEventCodes;
use tempfile::TempDir;

use super::*;
use crate::policy::first_sync::Allowance;
use crate::store::Before;
use crate::store::Habit;
use crate::store::LastUse;
use crate::store::day_of;
use crate::types::Amounts;
use crate::types::Measure;

const NOW: UnixTime = UnixTime(1_000_000);

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    (folder, path)
}

fn open(path: &Path) -> SqliteStore {
    let options = Options {
        busy_timeout: Duration::from_millis(50),
        poll: Duration::from_millis(20),
        flush_every: Duration::from_millis(40),
        ..Options::default()
    };
    SqliteStore::open(path, &options).unwrap()
}

fn user(name: &str) -> User {
    User::new(UserName::parse(name.as_bytes()).unwrap(), NOW)
}

fn app_password(id: u32) -> AppPassword {
    AppPassword {
        id,
        user: user("alice").name,
        account: user("alice").name,
        label: "x".to_owned(),
        hash: [0; 32],
        public_key: [0; 32],
        public_key_mac: [0; 32],
        sealed: None,
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

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.unwrap()
}

/// A question that fails, even one after which SQLite has ended the transaction by itself, leaves nothing to the next.
#[test]
fn a_read_that_fails_leaves_no_transaction_behind() {
    let connection = Connection::open_in_memory().unwrap();
    let wrong = |db: &Connection| db.query_row("SELECT nothing", [], |row| row.get::<_, i64>(0));
    let ended = |db: &Connection| {
        db.execute_batch("ROLLBACK")?;
        wrong(db)
    };
    for _ in 0..2 {
        assert!(
            read(&connection, wrong)
                .unwrap_err()
                .to_string()
                .contains("nothing")
        );
        assert!(
            read(&connection, ended)
                .unwrap_err()
                .to_string()
                .contains("nothing")
        );
        assert!(read(&connection, |db| db.execute_batch("ROLLBACK")).is_err());
        assert_eq!(
            read(&connection, |db| db
                .query_row("SELECT 7", [], |row| row.get::<_, i64>(0))),
            Ok(7)
        );
    }
}

#[tokio::test]
async fn the_file_and_its_companions_are_private_from_the_start() {
    let (folder, path) = place();
    let store = open(&path);
    store.add_user(user("alice")).await.unwrap();
    let mut files = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let meta = entry.unwrap().metadata().unwrap();
        assert_eq!(meta.mode() & 0o777, 0o600);
        files += 1;
    }
    assert_eq!(files, 3, "the database, its -wal and its -shm");
}

#[tokio::test]
async fn what_one_process_writes_another_sees_and_is_told_of() {
    let (_folder, path) = place();
    let (daemon, command) = (open(&path), open(&path));
    let mut changes = daemon.changes();
    changes.mark_unchanged();
    command.add_ban(ban("192.0.2.0/24")).await.unwrap();
    soon(changes.changed()).await.unwrap();
    assert_eq!(daemon.bans(NOW).await.unwrap().len(), 1);
}

#[tokio::test]
async fn notes_that_are_written_are_no_notice() {
    let (_folder, path) = place();
    let store = open(&path);
    let alice = user("alice");
    assert!(store.add_user(alice.clone()).await.unwrap());
    let before = store.notices();
    let amounts = Amounts::of(Measure::Commands, 1);
    store.note(Note::Did(alice.name, day_of(NOW), amounts));
    store.flush().await.unwrap();
    assert_eq!(store.notices(), before);
}

#[tokio::test]
async fn two_processes_writing_at_once_lose_nothing() {
    let (_folder, path) = place();
    let options = Options::default();
    let stores = [
        SqliteStore::open(&path, &options).unwrap(),
        SqliteStore::open(&path, &options).unwrap(),
    ];
    let write = async |store: &SqliteStore, side: &str| {
        for number in 0..40 {
            assert!(store.add_user(user(&format!("{side}{number}"))).await.unwrap());
        }
    };
    tokio::join!(write(&stores[0], "a"), write(&stores[1], "b"));
    assert_eq!(stores[0].users(None, 1000).await.unwrap().len(), 80);
}

#[tokio::test]
async fn notes_are_written_without_being_asked_for_and_when_the_store_is_dropped() {
    let (_folder, path) = place();
    let (daemon, command) = (open(&path), open(&path));
    let mut written = command.changes();
    for at in [1, 2] {
        written.mark_unchanged();
        let alice = user("alice").name;
        daemon.note(Note::Came(alice.clone(), Habit::Network([at; 32]), NOW));
        soon(written.changed()).await.unwrap();
        assert!(command.knows_source(&alice, vec![[at; 32]], NOW).await.unwrap());
    }
    let alice = user("alice").name;
    written.mark_unchanged();
    daemon.note(Note::Came(alice.clone(), Habit::Network([3; 32]), NOW));
    drop(daemon);
    soon(written.changed()).await.unwrap();
    assert!(command.knows_source(&alice, vec![[3; 32]], NOW).await.unwrap());
}

#[tokio::test]
async fn a_locked_file_is_unavailable_and_heals() {
    let (_folder, path) = place();
    let store = open(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store.add_user(user("alice")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(
        store.user(&user("alice").name).await.unwrap().is_none(),
        "reading goes on"
    );
    let note = Note::Came(user("alice").name, Habit::Network([1; 32]), NOW);
    store.note(note);
    assert!(store.flush().await.is_err());
    other.execute_batch("ROLLBACK").unwrap();
    assert!(store.add_user(user("alice")).await.unwrap());
    store.flush().await.unwrap();
    assert!(
        store
            .knows_source(&user("alice").name, vec![[1; 32]], NOW)
            .await
            .unwrap(),
        "the note waited"
    );
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_heals() {
    let (_folder, path) = place();
    let store = open(&path);
    // SQLite answers a page limit as it answers a full disk: SQLITE_FULL.
    let limit = |pages: i64| {
        store.writer.ask(move |connection| {
            connection
                .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
                .map_err(unavailable)
        })
    };
    limit(1).await.unwrap();
    let mut refused = None;
    for number in 0..500 {
        let mut big = user(&format!("user{number}"));
        big.display = Some("x".repeat(1000));
        if let Err(error) = store.add_user(big).await {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(StoreError::Unavailable(_))), "{refused:?}");
    // Nothing waits, and it can be read: a write tells.
    store.probe().await.unwrap();
    let tried = store.try_write().await;
    assert!(matches!(tried, Err(StoreError::Unavailable(_))), "{tried:?}");
    limit(1_000_000).await.unwrap();
    store.try_write().await.unwrap();
    assert!(store.add_user(user("alice")).await.unwrap());
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_unavailable_until_it_is_back() {
    let (folder, path) = place();
    let store = open(&path);
    store.add_user(user("alice")).await.unwrap();
    let away = folder.path().join("away.db");
    fs::rename(&path, &away).unwrap();
    let answers = async |wanted: bool| {
        while store.user(&user("alice").name).await.is_ok() != wanted {
            tokio::task::yield_now().await;
        }
    };
    soon(answers(false)).await;
    fs::write(&path, b"").unwrap();
    assert!(
        store.add_user(user("bob")).await.is_err(),
        "another file in its place is not it"
    );
    fs::rename(&away, &path).unwrap();
    soon(answers(true)).await;
}

#[tokio::test]
async fn work_that_nobody_waits_for_is_not_begun() {
    let (_folder, path) = place();
    let store = open(&path);
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let busy = store.writer.ask(move |_| {
        let _ = held.recv();
        Ok(())
    });
    let abandoned = store.add_user(user("alice"));
    tokio::select! {
        biased;
        _ = busy => {}
        _ = abandoned => {}
        () = tokio::task::yield_now() => {}
    }
    drop(hold);
    store.add_user(user("bob")).await.unwrap();
    assert_eq!(store.users(None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_unavailable() {
    let (_folder, path) = place();
    let options = Options {
        deadline: Duration::from_millis(30),
        ..Options::default()
    };
    let store = SqliteStore::open(&path, &options).unwrap();
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let stuck = store.writer.ask(move |_| {
        let _ = held.recv();
        Ok(())
    });
    assert!(matches!(stuck.await, Err(StoreError::Unavailable(_))));
    drop(hold);
}

#[test]
fn files_that_are_not_a_store_are_refused_untouched() {
    let (folder, path) = place();
    fs::write(
        &path,
        b"this is a text file, and rather longer than a header has to be, isn't it?".repeat(20),
    )
    .unwrap();
    let before = fs::read(&path).unwrap();
    let refused = SqliteStore::open(&path, &Options::default());
    assert!(matches!(refused, Err(StoreError::Damaged(_))));
    assert_eq!(fs::read(&path).unwrap(), before);

    let theirs = folder.path().join("theirs.db");
    Connection::open(&theirs)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (a)")
        .unwrap();
    let before = fs::read(&theirs).unwrap();
    let refused = SqliteStore::open(&theirs, &Options::default());
    assert!(matches!(refused, Err(StoreError::Foreign(_))));
    assert_eq!(fs::read(&theirs).unwrap(), before);

    let missing = folder.path().join("no/such/folder.db");
    assert!(matches!(
        SqliteStore::open(&missing, &Options::default()),
        Err(StoreError::Unavailable(_))
    ));
}

#[tokio::test]
async fn a_restriction_damaged_by_hand_is_an_error_and_not_no_restriction() {
    let (_folder, path) = place();
    let store = open(&path);
    let mut alice = user("alice");
    alice.networks = Some(crate::types::Networks::default());
    store.add_user(alice.clone()).await.unwrap();
    let hand = Connection::open(&path).unwrap();
    for damage in ["networks = '10.0.0.0/99'", "networks = '', mfa = 'maybe'"] {
        hand.execute(&format!("UPDATE users SET {damage}"), []).unwrap();
        let answer = store.user(&alice.name).await;
        assert!(
            matches!(answer, Err(StoreError::Damaged(_))),
            "{damage}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn last_uses_survive_a_clean_end() {
    let (_folder, path) = place();
    let store = open(&path);
    store.add_user(user("alice")).await.unwrap();
    let last_use = LastUse {
        at: NOW,
        from: "::ffff:192.0.2.1".parse().unwrap(),
        client: None,
    };
    assert!(store.add_app_password(app_password(1), 1).await.unwrap());
    store.note(Note::AppPasswordUsed(1, last_use));
    store.flush().await.unwrap();
    drop(store);
    let row = open(&path).app_password(1).await.unwrap().unwrap();
    assert_eq!(row.last_use.unwrap().from.to_string(), "192.0.2.1");
}

/// The statements that a read runs, without their parameters.
fn statements<T>(path: &Path, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Vec<String> {
    let mut connection = open::connect_to_read(path, &Options::default()).unwrap();
    let run = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&run);
    let note = move |event: TraceEvent<'_>| {
        if let TraceEvent::Stmt(statement, _) = event {
            seen.lock().unwrap().push(statement.sql().into_owned());
        }
    };
    connection
        .trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note))
        .unwrap();
    read(&connection).unwrap();
    let run = run.lock().unwrap();
    run.clone()
}

/// A visit of a user who comes with this, or with nothing.
fn visit(name: &str, app_password: Option<u32>, with: Option<&str>) -> Visit {
    Visit {
        user: user(name).name,
        network: vec![[1; 32]],
        anybodys_network: vec![[1; 32]],
        country: with.map(Into::into),
        asn: with.map(|_| 1),
        family: with.map(Into::into),
        tls_client: with.map(Into::into),
        app_password,
        since: NOW,
        now: NOW,
    }
}

#[tokio::test]
async fn whoever_logs_in_the_same_statements_run() {
    let (_folder, path) = place();
    let store = open(&path);
    let alice = user("alice").name;
    store.add_user(user("alice")).await.unwrap();
    assert!(store.add_app_password(app_password(1), 9).await.unwrap());
    for habit in [
        Habit::Network([1; 32]),
        Habit::Country("DE".into()),
        Habit::Asn(1),
        Habit::Family("k9".into()),
        Habit::TlsClient("t13d".into()),
    ] {
        store.note(Note::Came(alice.clone(), habit, NOW));
    }
    store.note(Note::LoggedIn(alice.clone(), NOW));
    store.flush().await.unwrap();

    let mut looked_up = [Vec::new(), Vec::new()];
    let mut remembered = [Vec::new(), Vec::new()];
    for (name, id, what) in [
        ("alice", Some(1), Some("DE")),
        ("alice", None, None),
        ("nobody", Some(1), None),
        ("nobody", Some(2), Some("FR")),
        ("nobody", None, None),
    ] {
        let names = vec![[u8::from(id.is_some()); 32]];
        let lookup = Lookup {
            user: user(name).name,
            app_password: id,
            window: what.map(|_| [1; 32]),
            now: NOW,
            counted: None,
            before: Before::Source { names, since: NOW },
            visit: None,
        };
        looked_up[0].push(statements(&path, |db| login::look_up(db, &lookup)));
        for (habit, runs) in [Some(what.unwrap_or("AT")), None]
            .into_iter()
            .zip(&mut remembered)
        {
            let visit = visit(name, id, habit);
            runs.push(statements(&path, |db| habits::of_visit(db, &visit)));
            let lookup = Lookup {
                before: Before::Nothing,
                visit: Some(Arc::new(visit)),
                ..lookup.clone()
            };
            looked_up[1].push(statements(&path, |db| login::look_up(db, &lookup)));
        }
    }
    for (runs, each) in looked_up
        .iter()
        .zip([10, 9 + 5])
        .chain(remembered.iter().map(|runs| (runs, 5)))
    {
        assert_eq!(runs[0].len(), each);
        assert!(runs.iter().all(|run| *run == runs[0]), "{runs:#?}");
    }
}

#[tokio::test]
async fn what_a_user_did_survives_a_restart() {
    let (_folder, path) = place();
    let store = open(&path);
    let alice = user("alice").name;
    store.add_user(user("alice")).await.unwrap();
    assert!(store.add_app_password(app_password(1), 9).await.unwrap());
    let allowance = Allowance {
        opened: NOW,
        left: 100,
        network: [1; 32],
        family: Some("k9".into()),
        ended: None,
    };
    let yesterday = day_of(NOW) - 1;
    let commands = Amounts::of(Measure::Commands, 3);
    store.note(Note::AllowanceOpened(1, allowance));
    store.note(Note::AllowanceSpent(1, 30, NOW));
    store.note(Note::Did(alice.clone(), yesterday, commands));
    store.flush().await.unwrap();
    store.note(Note::AllowanceSpent(1, 20, NOW));
    store.note(Note::Did(alice.clone(), yesterday, commands));
    store.flush().await.unwrap();
    drop(store);
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
    let found = open(&path).habits(visit).await.unwrap();
    assert_eq!(found.averages.average(Measure::Commands, 7), Some(6));
    let kept = found.app_password.unwrap().allowance.unwrap();
    assert_eq!((kept.left, kept.family.as_deref()), (50, Some("k9")));
}

#[tokio::test]
async fn every_measure_has_its_column() {
    let (_folder, path) = place();
    drop(open(&path));
    let columns: Vec<String> = Connection::open(&path)
        .unwrap()
        .prepare("SELECT name FROM pragma_table_info('usage')")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(columns[2..], Measure::ALL.map(Measure::as_str));
}
