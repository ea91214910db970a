//! What processes on one store tell each other.

use super::*;

const HERE: ReplicaId = ReplicaId(u64::MAX);
const THERE: ReplicaId = ReplicaId(2);
const LEASE: Duration = Duration::from_mins(10);

fn session(number: u64, user: &str, client: &str) -> OpenSession {
    OpenSession {
        id: SessionId::new(number),
        user: name(user),
        account: name(user),
        client: client.parse().unwrap(),
        counted: true,
        since: UnixTime(NOW.0),
        factor: "totp".to_owned(),
        app_password: None,
        backend: "mail".to_owned(),
        program: Some("Mail 1.0".to_owned()),
    }
}

fn renewal(replica: ReplicaId, began: Vec<OpenSession>) -> Renewal {
    Renewal {
        replica,
        name: format!("machine:{}", replica.0),
        lease: LEASE,
        began,
        ended: Vec::new(),
        keys: Vec::new(),
    }
}

pub(super) async fn replicas_that_live_are_known_with_their_keys(store: &Arc<dyn Store>) {
    assert_eq!(store.holders().await.unwrap(), []);
    let with = |replica, keys: &[u8]| Renewal {
        keys: keys.iter().map(|number| [*number; 32]).collect(),
        ..renewal(replica, Vec::new())
    };
    store.renew(with(HERE, &[1])).await.unwrap();
    store.renew(with(THERE, &[])).await.unwrap();
    let holder = |replica: ReplicaId, keys: Option<Vec<[u8; 32]>>| Holder {
        replica: format!("machine:{}", replica.0),
        keys,
    };
    let expected = [holder(HERE, Some(vec![[1; 32]])), holder(THERE, None)];
    assert_eq!(store.holders().await.unwrap(), expected);
    store.renew(with(HERE, &[1, 255])).await.unwrap();
    store.leave(THERE).await.unwrap();
    let expected = [holder(HERE, Some(vec![[1; 32], [255; 32]]))];
    assert_eq!(store.holders().await.unwrap(), expected);
    let over = Renewal {
        lease: Duration::ZERO,
        ..with(HERE, &[1])
    };
    store.renew(over).await.unwrap();
    assert_eq!(store.holders().await.unwrap(), [], "its lease is over");
}

async fn is_known(store: &Arc<dyn Store>, renewal: Renewal) -> bool {
    store.renew(renewal).await.unwrap().was_known
}

async fn seen_from(store: &Arc<dyn Store>, replica: ReplicaId) -> Vec<OpenSession> {
    let seen = store.sessions_elsewhere(replica).await.unwrap();
    seen.into_iter().map(|(_, session)| session).collect()
}

pub(super) async fn what_a_replica_tells_the_others_see_and_it_does_not(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    assert!(store.add_app_password(app_password(7, &alice), 9).await.unwrap());
    let mut first = session(u64::MAX, "alice", "192.0.2.1:50000");
    first.app_password = Some((7, "phone".to_owned()));
    let mut second = session(1, "unlisted", "[2001:db8::1]:50000");
    second.since = UnixTime(NOW.0 + 1);
    second.program = Some(format!("{}\0{}", "é".repeat(100), "x"));
    let told = vec![second.clone(), first.clone()];
    assert!(!is_known(store, renewal(HERE, told.clone())).await);
    assert!(is_known(store, renewal(HERE, told)).await, "twice is once");
    assert_eq!(seen_from(store, HERE).await, []);
    let seen = store.sessions_elsewhere(THERE).await.unwrap();
    second.program = Some("é".repeat(80));
    let from = format!("machine:{}", HERE.0);
    assert_eq!(seen, [(from.clone(), first), (from, second)]);
}

pub(super) async fn what_was_told_is_forgotten_with_its_session_its_lease_or_its_replica(
    store: &Arc<dyn Store>,
) {
    let (one, other) = (
        session(1, "alice", "192.0.2.1:1"),
        session(2, "alice", "192.0.2.1:2"),
    );
    store
        .renew(renewal(HERE, vec![one.clone(), other]))
        .await
        .unwrap();
    let third = session(3, "alice", "192.0.2.1:3");
    store.renew(renewal(THERE, vec![third.clone()])).await.unwrap();

    let mut ended = renewal(HERE, Vec::new());
    ended.ended = vec![SessionId::new(2), SessionId::new(3)];
    assert!(is_known(store, ended).await);
    assert_eq!(seen_from(store, THERE).await, std::slice::from_ref(&one));
    assert_eq!(
        seen_from(store, HERE).await,
        std::slice::from_ref(&third),
        "nobody ends another's"
    );

    let mut over = renewal(HERE, Vec::new());
    over.lease = Duration::ZERO;
    store.renew(over).await.unwrap();
    assert_eq!(seen_from(store, THERE).await, []);
    store.renew(renewal(HERE, Vec::new())).await.unwrap();
    assert_eq!(seen_from(store, THERE).await, [one], "it was slow, not dead");

    store.leave(HERE).await.unwrap();
    assert_eq!(seen_from(store, THERE).await, []);
    assert_eq!(seen_from(store, HERE).await, [third]);
}

pub(super) async fn a_replica_that_was_forgotten_is_told_so(store: &Arc<dyn Store>) {
    let one = session(1, "alice", "192.0.2.1:1");
    assert!(!is_known(store, renewal(HERE, vec![one])).await);
    store.leave(HERE).await.unwrap();
    assert!(!is_known(store, renewal(HERE, Vec::new())).await);
    assert_eq!(seen_from(store, THERE).await, []);
    assert!(is_known(store, renewal(HERE, Vec::new())).await);
}

pub(super) async fn sessions_elsewhere_are_counted_by_user_and_network(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    let mut shared = app_password(7, &alice);
    shared.account = name("office");
    assert!(store.add_app_password(shared, 9).await.unwrap());
    let mut probe = session(4, "alice", "192.0.2.1:4");
    probe.counted = false;
    let told = vec![
        session(1, "alice", "192.0.2.1:1"),
        session(2, "alice", "192.0.2.1:2"),
        session(3, "alice", "192.0.2.2:3"),
        probe,
        session(5, "office", "192.0.2.1:5"),
    ];
    store.renew(renewal(THERE, told)).await.unwrap();
    store
        .renew(renewal(HERE, vec![session(6, "alice", "192.0.2.1:6")]))
        .await
        .unwrap();
    let lookup = |user: &str, app_password: Option<u32>, counted: Option<ReplicaId>| Lookup {
        user: name(user),
        app_password,
        window: None,
        now: NOW,
        counted: counted.map(|but_of| Counted {
            but_of,
            from: Prefix::of("::ffff:192.0.2.1".parse().unwrap()),
        }),
        before: Before::Nothing,
        visit: None,
    };
    let count = |of_user, of_network| Elsewhere { of_user, of_network };
    for (lookup, expected) in [
        (lookup("alice", None, Some(HERE)), count(3, 2)),
        (lookup("alice", None, Some(THERE)), count(1, 1)),
        (lookup("alice", None, None), count(0, 0)),
        (lookup("nobody", None, Some(HERE)), count(0, 0)),
        (lookup("office", None, Some(HERE)), count(1, 1)),
        // With an app password they are its owner's.
        (lookup("office", Some(7), Some(HERE)), count(3, 2)),
    ] {
        let found = store.look_up(lookup.clone()).await.unwrap();
        assert_eq!(found.elsewhere, expected, "{lookup:?}");
    }
    let mut over = renewal(THERE, Vec::new());
    over.lease = Duration::ZERO;
    store.renew(over).await.unwrap();
    let found = store.look_up(lookup("alice", None, Some(HERE))).await.unwrap();
    assert_eq!(found.elsewhere, count(0, 0), "the dead count for nothing");
}

pub(super) async fn an_order_to_end_sessions_reaches_everybody_and_is_told_at_once(store: &Arc<dyn Store>) {
    let told = vec![
        session(1, "alice", "192.0.2.1:1"),
        session(2, "alice", "192.0.2.1:2"),
    ];
    store.renew(renewal(THERE, told)).await.unwrap();
    let changes = store.changes();
    let kill = |number, target| Kill { number, target };
    let one = kill(u64::MAX, Target::Session(SessionId::new(1)));
    let before = *changes.borrow();
    assert_eq!(store.kill(HERE, one.clone()).await.unwrap(), 1);
    assert_ne!(*changes.borrow(), before);
    let nobody = kill(2, Target::Session(SessionId::new(9)));
    assert_eq!(store.kill(HERE, nobody).await.unwrap(), 0);
    let own = kill(3, Target::Session(SessionId::new(2)));
    assert_eq!(store.kill(THERE, own).await.unwrap(), 0, "it has done so itself");
    let all = kill(4, Target::User(name("alice")));
    assert_eq!(store.kill(HERE, all.clone()).await.unwrap(), 2);
    let unseen = kill(5, Target::User(name("bob")));
    assert_eq!(store.kill(HERE, unseen.clone()).await.unwrap(), 0);
    let mut orders = store.kills().await.unwrap();
    orders.sort_by_key(|order| order.number);
    assert_eq!(orders, [all, unseen, one]);
    store.sweep(NOW).await.unwrap();
    assert_eq!(store.kills().await.unwrap().len(), 3, "they are new");
}

pub(super) async fn replicas_that_live_are_counted(store: &Arc<dyn Store>) {
    let alive = async |replica, lease| {
        let renewal = Renewal {
            lease,
            ..renewal(replica, Vec::new())
        };
        store.renew(renewal).await.unwrap().alive
    };
    assert_eq!(alive(HERE, LEASE).await, 1);
    assert_eq!(alive(THERE, LEASE).await, 2);
    assert_eq!(alive(THERE, Duration::ZERO).await, 1);
    store.leave(THERE).await.unwrap();
    assert_eq!(alive(HERE, LEASE).await, 1);
}

fn asked(counters: [u8; 3]) -> Asked {
    Asked {
        source: vec![[1; 32]],
        since: NOW,
        from: Prefix::of("192.0.2.1".parse().unwrap()),
        counters: counters.map(|counter| [counter; 32]),
        window: [4; 32],
        now: NOW,
        but_of: HERE,
    }
}

async fn hear(store: &Arc<dyn Store>, user: &str, asked: Asked) -> Heard {
    let lookup = Lookup {
        user: name(user),
        app_password: None,
        window: None,
        now: NOW,
        counted: None,
        before: Before::Replicas(asked),
        visit: None,
    };
    store.look_up(lookup).await.unwrap().heard
}

pub(super) async fn failures_are_counted_together_forgiven_and_forgotten(store: &Arc<dyn Store>) {
    let until = async |counters| {
        store.flush().await.unwrap();
        hear(store, "alice", asked(counters)).await.counted_until
    };
    let failed = |counter: u8, at: i64| Note::Failed([counter; 32], UnixTime(at), 5_000, 12_000);
    assert_eq!(until([1, 2, 3]).await, [0, 0, 0]);
    store.note(failed(1, 100));
    store.note(failed(2, 100));
    assert_eq!(until([1, 2, 3]).await, [105_000, 105_000, 0]);
    store.note(failed(1, 101));
    assert_eq!(until([2, 1, 3]).await, [105_000, 110_000, 0]);
    for _ in 0..9 {
        store.note(failed(1, 101));
    }
    assert_eq!(
        until([1, 2, 3]).await,
        [113_000, 105_000, 0],
        "no longer than that"
    );
    store.note(Note::Forgiven([1; 32]));
    assert_eq!(until([1, 2, 3]).await, [0, 105_000, 0]);
    store.sweep(UnixTime(105)).await.unwrap();
    assert_eq!(until([1, 2, 3]).await, [0, 0, 0]);
}

pub(super) async fn what_is_known_of_a_source_is_heard_with_its_failures(store: &Arc<dyn Store>) {
    let hear = async |user: &str| hear(store, user, asked([1, 2, 3])).await;
    assert_eq!(hear("alice").await, Heard::default());
    store.note(Note::Came(name("alice"), Habit::Network([1; 32]), NOW));
    store.flush().await.unwrap();
    assert!(hear("alice").await.knows_source);
    assert!(!hear("bob").await.knows_source);
    store
        .renew(renewal(HERE, vec![session(1, "alice", "192.0.2.1:1")]))
        .await
        .unwrap();
    assert!(!hear("bob").await.is_used, "that is known here");
    let there = vec![session(2, "alice", "192.0.2.2:1")];
    store.renew(renewal(THERE, there)).await.unwrap();
    assert!(!hear("bob").await.is_used);
    let there = vec![session(3, "alice", "[::ffff:192.0.2.1]:1")];
    store.renew(renewal(THERE, there)).await.unwrap();
    assert!(hear("bob").await.is_used);
}

pub(super) async fn an_open_window_of_the_credential_is_heard_of(store: &Arc<dyn Store>) {
    let has_window = async |asked| hear(store, "carol", asked).await.has_window;
    let carol = add(store, "carol").await;
    enrol(store, &carol, 10).await;
    assert!(store.consume_step(consumption(&carol, 11, 4)).await.unwrap());
    assert!(!has_window(asked([1, 2, 3])).await, "the backend has not spoken");
    assert!(
        store
            .open_window([4; 32], NOW, UnixTime(NOW.0 + 1))
            .await
            .unwrap()
    );
    assert!(has_window(asked([1, 2, 3])).await);
    let mut later = asked([1, 2, 3]);
    later.now = UnixTime(NOW.0 + 1);
    assert!(!has_window(later).await);
}
