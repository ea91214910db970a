//! What replicas count together for rules.

use super::*;
use crate::store::Count;
use crate::store::CountHeard;
use crate::store::Counts;
use crate::store::MOST_HEARD;
use crate::store::MOST_TOLD;
use crate::store::bounds;

const HERE: ReplicaId = ReplicaId(u64::MAX);
const THERE: ReplicaId = ReplicaId(2);
const THIRD: ReplicaId = ReplicaId(3);

const RULE: u64 = u64::MAX - 1;

fn count(key: u64, state: &[u8]) -> Count {
    Count {
        rule: RULE,
        key,
        state: state.to_vec(),
        lasts: Duration::from_mins(10),
    }
}

async fn tell(store: &Arc<dyn Store>, replica: ReplicaId, at_ms: u64, counts: Vec<Count>) {
    let told = Counts {
        replica,
        at_ms,
        counts,
    };
    store.tell_counts(told).await.unwrap();
}

/// What a replica hears since a version: things and states, and the version to go on from.
async fn hear(store: &Arc<dyn Store>, replica: ReplicaId, since: i64) -> (Vec<(u64, Vec<u8>)>, i64) {
    let heard = store.hear_counts(replica, since).await.unwrap();
    assert!(!heard.has_more);
    assert!(
        heard
            .counts
            .iter()
            .all(|count| count.rule == RULE && count.age < Duration::from_mins(5))
    );
    let shown = |count: CountHeard| (count.key, count.state);
    let mut all: Vec<_> = heard.counts.into_iter().map(shown).collect();
    all.sort();
    (all, heard.version)
}

pub(super) async fn counts_are_heard_by_all_but_who_told_them(store: &Arc<dyn Store>) {
    assert_eq!(hear(store, HERE, 0).await.0, []);
    let high = u64::MAX;
    tell(store, HERE, 5, vec![count(1, &[1]), count(high, &[0; 300])]).await;
    tell(store, THERE, 1, vec![count(1, &[2])]).await;
    assert_eq!(hear(store, HERE, 0).await.0, [(1, vec![2])]);
    let both = [(1, vec![1]), (high, vec![0; 300])];
    assert_eq!(hear(store, THERE, 0).await.0, both);
    let (all, version) = hear(store, THIRD, 0).await;
    assert_eq!(all, [(1, vec![1]), (1, vec![2]), (high, vec![0; 300])]);
    // Replicas that were started anew hear what they have counted before, and nothing is heard twice without a cause.
    assert_eq!(hear(store, THIRD, version).await.0, []);
}

pub(super) async fn of_a_thing_that_has_moved_all_is_heard_and_of_others_nothing(store: &Arc<dyn Store>) {
    tell(store, HERE, 1, vec![count(1, &[1]), count(2, &[1])]).await;
    tell(store, THERE, 1, vec![count(1, &[2])]).await;
    let (_, version) = hear(store, THIRD, 0).await;
    tell(store, THERE, 2, vec![count(1, &[3])]).await;
    let (moved, version) = hear(store, THIRD, version).await;
    assert_eq!(moved, [(1, vec![1]), (1, vec![3])]);
    // What only the asking replica has told is no news to it.
    tell(store, THIRD, 2, vec![count(2, &[9])]).await;
    assert_eq!(hear(store, THIRD, version).await.0, []);
}

pub(super) async fn what_was_counted_earlier_never_replaces_what_is_newer(store: &Arc<dyn Store>) {
    tell(store, HERE, 7, vec![count(1, &[7])]).await;
    tell(store, HERE, 6, vec![count(1, &[6]), count(2, &[6])]).await;
    let (all, version) = hear(store, THERE, 0).await;
    assert_eq!(all, [(1, vec![7]), (2, vec![6])]);
    tell(store, HERE, 7, vec![count(1, &[8])]).await;
    assert_eq!(hear(store, THERE, version).await.0, [(1, vec![8])]);
}

pub(super) async fn counts_that_matter_no_more_are_neither_heard_nor_kept(store: &Arc<dyn Store>) {
    let over = Count {
        lasts: Duration::ZERO,
        ..count(1, &[1])
    };
    tell(store, HERE, 1, vec![over.clone(), count(2, &[2])]).await;
    assert_eq!(hear(store, THERE, 0).await.0, [(2, vec![2])]);
    store.sweep(NOW).await.unwrap();
    // Swept, so that what is older is news.
    tell(store, HERE, 0, vec![count(1, &[3]), count(2, &[3])]).await;
    assert_eq!(hear(store, THERE, 0).await.0, [(1, vec![3]), (2, vec![2])]);
    let long = vec![0; 20_000];
    tell(store, HERE, 2, vec![count(3, &long)]).await;
    assert_eq!(hear(store, THERE, 0).await.0.len(), 2, "nobody counts that much");
}

pub(super) async fn many_counts_are_heard_in_turns_and_none_is_missed(store: &Arc<dyn Store>) {
    let most = u64::try_from(MOST_TOLD).unwrap();
    for turn in 0..3 {
        let counts = (turn * most..(turn + 1) * most).map(|key| count(key, &[1]));
        tell(store, HERE, 1, counts.collect()).await;
    }
    let mut keys = std::collections::BTreeSet::new();
    let (mut since, mut turns) = (0, 0);
    loop {
        let heard = store.hear_counts(THERE, since).await.unwrap();
        assert!(heard.counts.len() <= MOST_HEARD);
        keys.extend(heard.counts.iter().map(|count| count.key));
        turns += 1;
        since = heard.version;
        if !heard.has_more {
            break;
        }
    }
    assert_eq!(keys.len(), 3 * MOST_TOLD);
    assert!(turns <= 4, "{turns}");
    assert_eq!(hear(store, THERE, since).await.0, []);
    // What was told longest ago makes room.
    tell(store, HERE, 1, vec![count(u64::MAX, &[1])]).await;
    let heard = store.hear_counts(THERE, since).await.unwrap();
    assert_eq!(heard.counts.len(), 1);
    let mut kept = 0;
    since = 0;
    loop {
        let heard = store.hear_counts(THIRD, since).await.unwrap();
        kept = kept.max(heard.counts.iter().filter(|count| count.key < most).count());
        since = heard.version;
        if !heard.has_more {
            break;
        }
    }
    assert_eq!(kept, 0, "{} are kept", bounds::COUNTS);
}

pub(super) async fn replicas_that_tell_at_once_wait_for_each_other(store: &Arc<dyn Store>) {
    let mut tasks = tokio::task::JoinSet::new();
    for replica in 1..=8 {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            let mut since = 0;
            let mut heard = std::collections::BTreeSet::new();
            for turn in 0..10_u64 {
                // In different orders.
                let mut keys: Vec<u64> = (0..20).collect();
                keys.rotate_left(usize::try_from(replica).unwrap());
                let counts = keys.iter().map(|key| count(*key, &[u8::try_from(turn).unwrap()]));
                tell(&store, ReplicaId(replica), turn, counts.collect()).await;
                let found = store.hear_counts(ReplicaId(replica), since).await.unwrap();
                since = found.version;
                heard.extend(found.counts.into_iter().map(|count| (count.key, count.state)));
            }
            (replica, since, heard)
        });
    }
    for (replica, since, heard) in tasks.join_all().await {
        let mut heard = heard;
        let last = store.hear_counts(ReplicaId(replica), since).await.unwrap();
        heard.extend(last.counts.into_iter().map(|count| (count.key, count.state)));
        for key in 0..20 {
            assert!(
                heard.contains(&(key, vec![9])),
                "{replica} has not heard the last of {key}"
            );
        }
    }
}
