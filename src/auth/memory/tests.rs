//! What a user's devices, a thief and a restart see of it.

use super::*;
use crate::auth::world::HOME;
use crate::auth::world::NOW;
use crate::auth::world::World;
use crate::auth::world::later;
use crate::auth::world::name;
use crate::types::Credentials;
use crate::types::Mechanism;
use crate::types::Secret;

const AWAY: &str = "203.0.113.9";
const DAY: i64 = 86_400;

fn options() -> first_sync::Options {
    first_sync::Options {
        bytes: 1_000,
        ..first_sync::Options::default()
    }
}

fn memory(world: &World) -> Memory {
    let (store, keys) = (Arc::clone(&world.store), Arc::clone(&world.ring));
    Memory::new(store, keys, options())
}

fn visitor(ip: &str, family: Option<&str>, app_password: Option<u32>) -> Visitor {
    Visitor {
        user: name("alice"),
        ip: ip.parse().unwrap(),
        country: Some("DE".into()),
        asn: Some(3320),
        family: family.map(Into::into),
        tls_client: Some("t13d1516h2_8daaf6152771_e5627efa2ab1".into()),
        app_password,
    }
}

async fn recall(memory: &Memory, visitor: &Visitor, now: UnixTime) -> Habits {
    memory.shared.store.flush().await.unwrap();
    memory.recall(visitor, now).await.unwrap()
}

/// A login that is let in.
async fn enter(memory: &Memory, visitor: &Visitor, now: UnixTime) -> Arc<Meter> {
    let habits = recall(memory, visitor, now).await;
    memory.remember(visitor, now);
    memory.begin(visitor, &habits, now)
}

/// What the store knows of the allowance once everything is written.
async fn kept(memory: &Memory, id: u32, now: UnixTime) -> first_sync::Allowance {
    memory.collect(now);
    let habits = recall(memory, &visitor(HOME, None, Some(id)), now).await;
    habits.app_password.unwrap().allowance.unwrap()
}

/// Messages go to the client.
fn fetch(meter: &Meter, bytes: u64, messages: u64, now: UnixTime) {
    meter.fetched(bytes, messages, meter.is_first_sync(now));
}

#[tokio::test]
async fn a_user_is_known_by_what_they_came_with_and_only_once_let_in() {
    let world = World::new();
    world.add("alice").await;
    let memory = memory(&world);
    let home = visitor(HOME, Some("thunderbird"), None);
    assert_eq!(recall(&memory, &home, NOW).await, Habits::default());
    assert_eq!(
        recall(&memory, &home, NOW).await,
        Habits::default(),
        "being asked about is no login"
    );
    memory.remember(&home, NOW);
    let found = recall(&memory, &home, later(60)).await;
    assert!(found.is_known_network);
    assert_eq!(found.unseen_for(later(60)), Some(60));
    assert_eq!(found.unseen_for(later(-60)), Some(0));
    for is_new in [
        found.is_new_network,
        found.is_new_country,
        found.is_new_asn,
        found.is_new_family,
        found.is_new_tls_client,
    ] {
        assert_eq!(is_new, Some(false));
    }
    let away = Visitor {
        country: Some("FR".into()),
        asn: None,
        tls_client: Some("t12d0000000000000000".into()),
        ..visitor(AWAY, Some("python"), None)
    };
    let found = recall(&memory, &away, later(60)).await;
    assert!(!found.is_known_network);
    assert_eq!(
        (found.is_new_network, found.is_new_country),
        (Some(true), Some(true))
    );
    assert_eq!((found.is_new_asn, found.is_new_family), (None, Some(true)));
    assert_eq!(found.is_new_tls_client, Some(true));
    let late = later(90 * DAY + 1);
    assert_eq!(recall(&memory, &home, late).await.is_new_network, Some(true));
}

#[tokio::test]
async fn what_the_gate_notes_of_a_login_is_what_rules_are_told() {
    let world = World::new();
    world.add("alice").await;
    let created = world.app_password("alice").await;
    let memory = memory(&world);
    let home = visitor(HOME, None, Some(created.id));
    let habits = recall(&memory, &home, NOW).await;
    let app_password = habits.app_password.unwrap();
    assert_eq!(
        (app_password.age(later(5)), app_password.unused_for(NOW)),
        (5, None)
    );
    let printed = String::from_utf8(created.printed.expose().to_vec()).unwrap();
    world
        .enters("alice", &printed, NOW, crate::auth::gate::Outcome::Accepted)
        .await;
    let habits = recall(&memory, &home, later(100)).await;
    assert_eq!(habits.is_new_network, Some(false));
    assert_eq!(habits.app_password.unwrap().unused_for(later(100)), Some(100));
}

#[tokio::test]
async fn connections_of_one_new_app_password_draw_from_one_allowance() {
    let world = World::new();
    world.add("alice").await;
    let id = world.app_password("alice").await.id;
    let memory = memory(&world);
    let device = visitor(HOME, Some("k9"), Some(id));
    // All of them ask before any of them is noted.
    let habits = recall(&memory, &device, NOW).await;
    let meters: Vec<_> = (0..10).map(|_| memory.begin(&device, &habits, NOW)).collect();
    for meter in &meters {
        assert!(meter.is_first_sync(NOW));
        fetch(meter, 99, 1, NOW);
    }
    assert_eq!(meters[0].left(NOW), 10);
    assert_eq!(kept(&memory, id, NOW).await.left, 10);
    fetch(&meters[3], 500, 1, NOW);
    assert!(meters.iter().all(|meter| !meter.is_first_sync(NOW)));
    assert_eq!(meters[0].left(NOW), 0);
    let allowance = kept(&memory, id, later(1)).await;
    assert_eq!((allowance.left, allowance.ended), (0, Some(later(1))));
}

#[tokio::test]
async fn an_allowance_survives_sessions_and_restarts() {
    let world = World::new();
    world.add("alice").await;
    let id = world.app_password("alice").await.id;
    let device = visitor(HOME, Some("k9"), Some(id));
    let before = memory(&world);
    let habits = recall(&before, &device, NOW).await;
    let meter = before.begin(&device, &habits, NOW);
    fetch(&meter, 300, 1, NOW);
    drop(meter);
    // The next login was told what the store knew before the first.
    let meter = before.begin(&device, &habits, later(2));
    assert_eq!(meter.left(later(2)), 700);
    before.collect(later(3));
    drop((meter, before));

    let after = memory(&world);
    let meter = enter(&after, &device, later(DAY)).await;
    assert_eq!(meter.left(later(DAY)), 700);
    assert_eq!(meter.first_family().as_deref(), Some("k9"));
    assert!(meter.is_first_sync(later(7 * DAY - 1)));
    assert!(!meter.is_first_sync(later(7 * DAY)), "a session that goes on");
    drop(meter);
    let meter = enter(&after, &device, later(7 * DAY)).await;
    assert!(!meter.is_first_sync(later(7 * DAY)));
    drop((meter, after));
    let generous = Memory::new(
        Arc::clone(&world.store),
        Arc::clone(&world.ring),
        first_sync::Options {
            life: Duration::from_hours(10_000),
            ..options()
        },
    );
    let meter = enter(&generous, &device, later(7 * DAY)).await;
    assert!(!meter.is_first_sync(later(7 * DAY)), "what is over stays over");
}

#[tokio::test]
async fn a_thief_with_a_new_app_password_has_no_first_sync() {
    let world = World::new();
    world.add("alice").await;
    let id = world.app_password("alice").await.id;
    let memory = memory(&world);
    let owner = enter(&memory, &visitor("2001:db8:1:2::1", Some("k9"), Some(id)), NOW).await;
    for (ip, family, wanted) in [
        ("2001:db8:1:3::1", Some("k9"), true),
        ("2001:db8:2::1", Some("k9"), false),
        ("2001:db8:1:2::1", Some("python"), false),
        ("2001:db8:1:2::1", None, false),
    ] {
        let meter = enter(&memory, &visitor(ip, family, Some(id)), later(1)).await;
        assert_eq!(meter.is_first_sync(later(1)), wanted, "{ip} {family:?}");
        if !wanted {
            fetch(&meter, 5_000, 1, later(1));
        }
    }
    assert_eq!(
        owner.left(later(1)),
        1_000,
        "a stranger's bytes are not the owner's"
    );
}

#[tokio::test]
async fn a_client_that_says_its_name_after_the_login_is_judged_again() {
    let world = World::new();
    world.add("alice").await;
    let id = world.app_password("alice").await.id;
    let memory = memory(&world);
    let unnamed = visitor(HOME, None, Some(id));
    let first = enter(&memory, &unnamed, NOW).await;
    assert!(first.is_first_sync(NOW));
    first.client_is(Some("thunderbird"), NOW);
    assert!(first.is_first_sync(NOW));
    assert_eq!(
        kept(&memory, id, NOW).await.family.as_deref(),
        Some("thunderbird")
    );
    let second = enter(&memory, &unnamed, NOW).await;
    assert!(!second.is_first_sync(NOW), "not yet");
    second.client_is(Some("thunderbird"), NOW);
    assert!(second.is_first_sync(NOW));
    let thief = enter(&memory, &unnamed, NOW).await;
    thief.client_is(Some("python"), NOW);
    assert!(!thief.is_first_sync(NOW));
}

/// The app password let somebody in at `NOW`, and no session of it has begun.
async fn used_without_a_session(world: &World) -> u32 {
    world.add("alice").await;
    let id = world.app_password("alice").await.id;
    let last_use = crate::store::LastUse {
        at: NOW,
        from: HOME.parse().unwrap(),
        client: None,
    };
    world.store.note(Note::AppPasswordUsed(id, last_use));
    id
}

#[tokio::test]
async fn an_app_password_that_was_used_before_has_no_first_sync_and_its_client_is_learnt() {
    let world = World::new();
    let id = used_without_a_session(&world).await;
    let memory = memory(&world);
    let now = later(300);
    let meter = enter(&memory, &visitor(HOME, None, Some(id)), now).await;
    assert!(!meter.is_first_sync(now));
    meter.client_is(Some("k9"), now);
    assert!(!meter.is_first_sync(now));
    let allowance = kept(&memory, id, now).await;
    assert_eq!((allowance.left, allowance.ended), (0, Some(now)));
    assert_eq!(allowance.family.as_deref(), Some("k9"));
    // Without an app password there is nothing to be first.
    let meter = enter(&memory, &visitor(HOME, None, None), now).await;
    assert!(!meter.is_first_sync(now));
}

#[tokio::test]
async fn connections_that_come_together_are_one_first_use() {
    let world = World::new();
    let id = used_without_a_session(&world).await;
    let memory = memory(&world);
    let meter = enter(&memory, &visitor(HOME, None, Some(id)), later(299)).await;
    assert!(meter.is_first_sync(later(299)));
}

#[tokio::test]
async fn what_sessions_do_becomes_usual_but_not_their_first_sync() {
    let world = World::new();
    world.add("alice").await;
    let id = world.app_password("alice").await.id;
    let memory = memory(&world);
    let meter = enter(&memory, &visitor(HOME, None, Some(id)), NOW).await;
    fetch(&meter, 1_500, 10, NOW);
    meter.count(Measure::Commands, 4);
    memory.collect(NOW);
    fetch(&meter, 70, 2, NOW);
    meter.count(Measure::AppendedBytes, 9);
    drop(meter);
    let today = recall(&memory, &visitor(HOME, None, None), NOW).await.averages;
    assert_eq!(
        today.average(Measure::FetchedBytes, 7),
        None,
        "not before tomorrow"
    );
    let averages = recall(&memory, &visitor(HOME, None, None), later(DAY))
        .await
        .averages;
    for (measure, usual) in [
        (Measure::FetchedBytes, 70),
        (Measure::FetchedMessages, 2),
        (Measure::AppendedBytes, 9),
        (Measure::AppendedMessages, 0),
        (Measure::Commands, 4),
        (Measure::Logins, 1),
    ] {
        assert_eq!(averages.average(measure, 7), Some(usual), "{measure:?}");
    }
}

#[tokio::test]
async fn nothing_is_kept_of_sessions_and_purses_that_are_over() {
    let world = World::new();
    world.add("alice").await;
    let memory = memory(&world);
    let mut meters = Vec::new();
    for _ in 0..20 {
        let id = world.app_password("alice").await.id;
        meters.push(enter(&memory, &visitor(HOME, None, Some(id)), NOW).await);
    }
    let sizes = |memory: &Memory| (lock(&memory.meters).len(), lock(&memory.purses).len());
    memory.collect(later(DAY));
    assert_eq!(sizes(&memory), (20, 20));
    meters.truncate(5);
    memory.collect(later(DAY + 1));
    assert_eq!(sizes(&memory), (5, 20));
    memory.collect(later(DAY + 300));
    assert_eq!(sizes(&memory), (5, 5));
    drop(meters);
    memory.collect(later(-DAY));
    assert_eq!(sizes(&memory), (0, 0), "a clock that was set back keeps nothing");
}

#[tokio::test]
async fn what_a_visitor_says_is_kept_short() {
    let long = "ä".repeat(100);
    assert_eq!(bounded(&long).len(), 64);
    assert_eq!(&*bounded("a"), "a");
    assert_eq!(bounded(&format!("a{long}")).len(), 63);
    let world = World::new();
    let memory = memory(&world);
    let talker = visitor(HOME, Some(&long), None);
    memory.remember(&talker, NOW);
    assert_eq!(recall(&memory, &talker, NOW).await.is_new_family, Some(false));
}

#[tokio::test]
async fn one_password_has_one_hash_whoever_presents_it_and_an_app_password_has_none() {
    let world = World::new();
    world.add("alice").await;
    let printed = world.app_password("alice").await.printed;
    let hash = |user: &str, secret: Secret| {
        world.gate.password_hash(&Credentials {
            user: name(user),
            secret,
            mechanism: Mechanism::Plain,
        })
    };
    let winter = hash("alice", Secret::from("Winter2026!"));
    assert!(winter.is_some());
    assert_eq!(winter, hash("bob", Secret::from("Winter2026!")));
    assert_ne!(winter, hash("alice", Secret::from("Winter2026?")));
    assert_eq!(hash("alice", printed), None);
    assert_eq!(hash("alice", Secret::from("")), None);
}
