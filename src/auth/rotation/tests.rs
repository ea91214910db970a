//! Logins before, while and after another key comes in force.

use rusqlite::Connection;

use super::*;
use crate::auth::accounts::Accounts;
use crate::auth::app_password;
use crate::auth::app_password::Typed;
use crate::auth::gate::GateError;
use crate::auth::gate::Outcome::Accepted;
use crate::auth::keys::id_of;
use crate::auth::world::HOME;
use crate::auth::world::NOW;
use crate::auth::world::World;
use crate::auth::world::later;
use crate::auth::world::name;
use crate::auth::world::sent;
use crate::auth::world::with_code;
use crate::store::NO_HASH;
use crate::types::Prefix;
use crate::types::Refusal;
use crate::types::SecondFactor;

fn keys(number: u8) -> Keys {
    Keys::derive(&[number; 32]).unwrap()
}

/// A world whose key file holds two keys, the first of which is in force.
async fn world() -> World {
    let mut world = World::new();
    world.hold(vec![keys(1), keys(2)]);
    world.store.check_key(keys(1).check()).await.unwrap();
    world.ring.follow(keys(1).check()).await.unwrap();
    world
}

async fn rotate_to(world: &World, number: u8) -> Rekeyed {
    let all = world.ring.all();
    let to = all.iter().find(|keys| keys.check() == self::keys(number).check());
    rotate(&*world.store, &world.ring, Arc::clone(to.unwrap()), NOW)
        .await
        .unwrap()
}

/// The secret of one app password under the id of another.
fn with_id_of(one: &str, other: &str) -> String {
    let typed = |text: &str| match app_password::read(text.as_bytes()) {
        Typed::AppPassword(typed) => typed,
        read => panic!("{read:?}"),
    };
    let mixed = typed(other).called(typed(one).id()).print();
    String::from_utf8(mixed.expose().to_vec()).unwrap()
}

async fn printed(world: &World, user: &str) -> String {
    let made = world.app_password(user).await;
    String::from_utf8(made.printed.expose().to_vec()).unwrap()
}

#[tokio::test]
async fn who_has_an_app_password_or_codes_logs_in_before_and_after_and_without_the_old_key() {
    let mut world = world().await;
    world.add("alice").await;
    let phone = printed(&world, "alice").await;
    let secret = world.enrolled("bob").await;
    world.enters("alice", &phone, NOW, Accepted).await;
    let typed = with_code("pw", &secret, NOW);
    world.enters("bob", &typed, NOW, Accepted).await;

    let rekeyed = rotate_to(&world, 2).await;
    assert_eq!((rekeyed.one_time_secrets, rekeyed.app_passwords), (1, 1));
    for _ in 0..2 {
        let verified = world.attempt("alice", phone.as_bytes(), HOME, NOW).await.unwrap();
        assert_eq!(sent(&verified).unwrap(), "the mail password");
        world.gate.settle(verified.pending, Accepted, NOW).await.unwrap();
    }
    assert_eq!(
        world.refused("bob", &typed, NOW).await,
        Refusal::CodeReplayed,
        "the window has ended, and the code stays used"
    );
    let at = later(60);
    let typed = with_code("pw", &secret, at);
    assert_eq!(
        world.enters("bob", &typed, at, Accepted).await,
        SecondFactor::Totp
    );
    assert_eq!(
        world.enters("bob", &typed, at, Accepted).await,
        SecondFactor::TrustedWindow
    );

    world.hold(vec![keys(2)]);
    world.enters("alice", &phone, at, Accepted).await;
    let at = later(120);
    world
        .enters("bob", &with_code("pw", &secret, at), at, Accepted)
        .await;
    world.store.flush().await.unwrap();
    assert!(
        world
            .gate
            .knows_source(&name("alice"), Prefix::of(HOME.parse().unwrap()), at)
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn the_hash_of_an_app_password_is_made_again_at_its_next_use_and_no_other_secret_makes_it() {
    let world = world().await;
    world.add("alice").await;
    let phone = printed(&world, "alice").await;
    let other = printed(&world, "alice").await;
    let hashes = async || {
        let rows = world.store.app_passwords(&name("alice")).await.unwrap();
        rows.iter().filter(|row| row.hash == NO_HASH).count()
    };
    assert_eq!(hashes().await, 0);
    rotate_to(&world, 2).await;
    assert_eq!(hashes().await, 2);
    // The id of the one, the secret of the other.
    let mixed = with_id_of(&phone, &other);
    assert_eq!(
        world.refused("alice", &mixed, NOW).await,
        Refusal::AppPasswordInvalid
    );
    assert_eq!(hashes().await, 2);
    world.enters("alice", &phone, NOW, Accepted).await;
    assert_eq!(hashes().await, 1);
    world.enters("alice", &phone, NOW, Accepted).await;
    assert_eq!(hashes().await, 1);
}

#[tokio::test]
async fn what_the_old_key_made_after_the_rotation_is_worth_nothing() {
    let world = world().await;
    world.add("alice").await;
    let secret = world.enrolled("bob").await;
    let printed = printed(&world, "alice").await;
    let before = world.store.app_passwords(&name("alice")).await.unwrap().remove(0);
    rotate_to(&world, 2).await;
    // Somebody who has the old key and can write to the store brings back what it says of them.
    let forged = keys(1).seal_totp(&name("bob"), secret.expose()).unwrap();
    let db = Connection::open(world.database()).unwrap();
    db.execute(
        "UPDATE app_passwords SET hash = ?1, public_key_mac = ?2",
        rusqlite::params![before.hash, before.public_key_mac],
    )
    .unwrap();
    db.execute("UPDATE totp SET sealed = ?1", [forged]).unwrap();
    assert_eq!(
        world.refused("alice", &printed, NOW).await,
        Refusal::AppPasswordInvalid
    );
    db.execute("UPDATE app_passwords SET hash = zeroblob(32)", [])
        .unwrap();
    assert_eq!(
        world.refused("alice", &printed, NOW).await,
        Refusal::AppPasswordInvalid
    );
    let typed = with_code("pw", &secret, NOW);
    let opened = world.attempt("bob", typed.as_bytes(), HOME, NOW).await;
    assert!(
        matches!(opened, Err(GateError::Unavailable(StoreError::Damaged(_)))),
        "{opened:?}"
    );
}

#[tokio::test]
async fn another_process_hears_of_the_key_at_the_next_login_and_without_it_nobody_comes_in() {
    let world = world().await;
    world.add("alice").await;
    let phone = printed(&world, "alice").await;
    let secret = world.enrolled("bob").await;
    let elsewhere = world.elsewhere(vec![keys(1), keys(2)]);
    let without = world.elsewhere(vec![keys(1)]);
    for gate in [&elsewhere, &without] {
        gate.follow_key().await.unwrap();
        assert_eq!(gate.ring().in_force().check(), keys(1).check());
    }
    rotate_to(&world, 2).await;
    let typed = with_code("pw", &secret, NOW);
    let verified = World::attempt_at(&elsewhere, "bob", typed.as_bytes(), HOME, NOW)
        .await
        .unwrap();
    elsewhere.settle(verified.pending, Accepted, NOW).await.unwrap();
    assert_eq!(elsewhere.ring().in_force().check(), keys(2).check());
    // The window was named by the new key at once.
    let again = World::attempt_at(&world.gate, "bob", typed.as_bytes(), HOME, NOW)
        .await
        .unwrap();
    assert_eq!(*again.authenticated.factor(), SecondFactor::TrustedWindow);
    for (user, secret) in [("alice", &phone), ("bob", &typed)] {
        let refused = World::attempt_at(&without, user, secret.as_bytes(), HOME, NOW).await;
        assert!(
            matches!(refused, Err(GateError::Unavailable(StoreError::OtherKey))),
            "{refused:?}"
        );
    }
    assert!(without.follow_key().await.is_err());
}

#[tokio::test]
async fn networks_are_known_by_the_names_that_an_older_key_gave_them() {
    let mut world = world().await;
    world.add("alice").await;
    let phone = printed(&world, "alice").await;
    world.enters("alice", &phone, NOW, Accepted).await;
    world.store.flush().await.unwrap();
    rotate_to(&world, 2).await;
    let home = Prefix::of(HOME.parse().unwrap());
    let away = Prefix::of("198.51.100.1".parse().unwrap());
    assert!(world.gate.knows_source(&name("alice"), home, NOW).await.unwrap());
    assert!(!world.gate.knows_source(&name("alice"), away, NOW).await.unwrap());
    world.hold(vec![keys(2)]);
    assert!(!world.gate.knows_source(&name("alice"), home, NOW).await.unwrap());
}

#[tokio::test]
async fn a_rotation_from_a_key_that_is_not_in_force_or_over_damage_changes_nothing() {
    let world = world().await;
    world.add("alice").await;
    let phone = printed(&world, "alice").await;
    world.enrolled("bob").await;
    let turn = |from, to| {
        Arc::new(Turn {
            from: Arc::new(keys(from)),
            to: Arc::new(keys(to)),
        })
    };
    let refused = world.store.rekey(turn(2, 1), NOW).await;
    assert!(matches!(refused, Err(StoreError::OtherKey)), "{refused:?}");
    let db = Connection::open(world.database()).unwrap();
    db.execute("UPDATE app_passwords SET public_key = zeroblob(32)", [])
        .unwrap();
    let refused = world.store.rekey(turn(1, 2), NOW).await;
    let id = id_text(world.store.app_passwords(&name("alice")).await.unwrap()[0].id);
    assert!(refused.unwrap_err().to_string().contains(&id));
    assert_eq!(world.store.key_in_force().await.unwrap(), Some(keys(1).check()));
    assert!(world.store.former_keys().await.unwrap().is_empty());
    world.enters("alice", &phone, NOW, Accepted).await;
    // What was revoked is in nobody's way.
    let revoked = world.store.app_passwords(&name("alice")).await.unwrap()[0].id;
    world.accounts().revoke_app_password(revoked, NOW).await.unwrap();
    rotate_to(&world, 2).await;
    let former = world.store.former_keys().await.unwrap();
    assert_eq!(
        former.iter().map(|key| id_of(&key.check)).collect::<Vec<_>>(),
        [keys(1).id()]
    );
    assert_eq!(needed_until(&former[0]), NOW.plus(LATELY));
}

#[tokio::test]
async fn what_is_made_while_the_key_changes_is_not_handed_out() {
    let world = world().await;
    world.add("alice").await;
    let stale = KeyRing::of(vec![keys(2), keys(1)], None).unwrap();
    rotate_to(&world, 2).await;
    let accounts = Accounts::new(&*world.store, &stale);
    let new = World::new_app_password("alice", "alice");
    let refused = accounts.create_app_password(&new, NOW).await.unwrap_err();
    assert!(refused.to_string().contains("another key"), "{refused}");
    let rows = world.store.app_passwords(&name("alice")).await.unwrap();
    assert!(rows.iter().all(|row| row.revoked.is_some()));
    let refused = accounts
        .begin_totp(&name("alice"), "Mail", NOW)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("another key"), "{refused}");
}
