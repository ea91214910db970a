//! A pooler that takes LISTEN for a connection of its own.

use std::sync::atomic::Ordering;

use super::cuts::Between;
use super::*;

#[tokio::test]
async fn who_is_not_told_of_changes_reads_them_all_the_same() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let between = Between::start(cluster);
    between.cuts.deaf.store(true, Ordering::SeqCst);
    let deaf = open(&between.url(&database)).await;
    let mut changes = deaf.changes();
    // Again and again, and not only while it waits to be heard.
    soon(changes.wait_for(|number| *number > 12)).await.unwrap();
}

/// What moves the number by itself stops once something is heard: the next move is a change's.
#[tokio::test]
async fn who_is_told_of_changes_is_told_of_nothing_else() {
    let Some(cluster) = Cluster::shared() else { return };
    let database = cluster.database();
    let (one, other) = (
        open(&cluster.url(&database)).await,
        open(&cluster.url(&database)).await,
    );
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = ''";
    // Who asks whether the server is there has been heard.
    soon(async {
        while cluster.sql(&database, listening) != "2" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut changes = other.changes();
    let before = *changes.borrow_and_update();
    one.add_ban(ban("192.0.2.0/24")).await.unwrap();
    soon(changes.changed()).await.unwrap();
    assert_eq!(*changes.borrow(), before + 1);
}
