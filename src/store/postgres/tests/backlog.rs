//! Many notes that wait at once.

use super::*;

/// A store that writes notes when it is told to, with two for each of so many users.
async fn with_a_backlog(url: &str, users: u32) -> PostgresStore {
    let mut patient = options(url);
    patient.flush_every = Duration::from_hours(1);
    let store = PostgresStore::open(&patient).await.unwrap();
    for number in 0..users {
        let user = name(&format!("u{number}"));
        store.note(Note::LoggedIn(user.clone(), NOW));
        store.note(Note::Did(user, 1, Amounts::of(Measure::Commands, 3)));
    }
    store
}

#[tokio::test]
async fn a_backlog_is_written_piece_by_piece_and_nothing_of_it_twice() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let store = with_a_backlog(&cluster.url(&database), 2_500).await;
    cluster.sql(
        &database,
        "ALTER TABLE usage ADD CONSTRAINT none CHECK (false) NOT VALID",
    );
    assert!(store.flush().await.is_err());
    assert_eq!(cluster.sql(&database, "SELECT count(*) FROM logins"), "2000");
    assert!(store.probe().await.is_err(), "nothing can be written");
    cluster.sql(&database, "ALTER TABLE usage DROP CONSTRAINT none");
    store.flush().await.unwrap();
    assert_eq!(cluster.sql(&database, "SELECT count(*) FROM logins"), "2500");
    let usage = "SELECT count(*), sum(commands) FROM usage";
    assert_eq!(cluster.sql(&database, usage), "2500|7500");
}

#[tokio::test]
async fn whether_it_takes_notes_is_known_after_one_piece() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let store = with_a_backlog(&cluster.url(&database), 3_000).await;
    store.probe().await.unwrap();
    assert_eq!(cluster.sql(&database, "SELECT count(*) FROM logins"), "1000");
}
