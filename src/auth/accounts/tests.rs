//! The operations on accounts, and how they refuse.

use crate::auth::accounts::AccountError;
use crate::auth::gate::Outcome::Accepted;
use crate::auth::totp::code_at;
use crate::auth::world::HOME;
use crate::auth::world::NOW;
use crate::auth::world::World;
use crate::auth::world::later;
use crate::auth::world::name;
use crate::auth::world::with_code;
use crate::store::StoreError;
use crate::store::User;
use crate::types::Secret;

#[tokio::test]
async fn a_name_is_taken_once_and_unknown_names_are_said_to_be() {
    let world = World::new();
    let alice = world.add("alice").await;
    let again = world.accounts().add_user(User::new(alice, NOW)).await;
    assert!(matches!(again, Err(AccountError::Exists)));
    let nobody = name("nobody");
    let accounts = world.accounts();
    let new = World::new_app_password("nobody", "nobody");
    for refused in [
        accounts.set_disabled(&nobody, true).await.err(),
        accounts.reset(&nobody, NOW).await.err(),
        accounts.begin_totp(&nobody, "Mail", NOW).await.err(),
        accounts.create_app_password(&new, NOW).await.err(),
        accounts.app_passwords(&nobody).await.err(),
    ] {
        assert!(matches!(refused, Some(AccountError::NoSuchUser)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_new_one_time_secret_is_in_force_only_after_its_first_code() {
    let world = World::new();
    let old = world.enrolled("alice").await;
    let alice = name("alice");
    let none = world
        .accounts()
        .confirm_totp(&alice, &Secret::from("000000"), NOW)
        .await;
    assert!(matches!(none, Err(AccountError::NoEnrolment)));
    let shown = world.accounts().begin_totp(&alice, "Mail", NOW).await.unwrap();
    assert!(shown.url.expose().starts_with(b"otpauth://totp/Mail:alice?"));
    world
        .enters("alice", &with_code("pw", &old, NOW), NOW, Accepted)
        .await;

    let (sealed, _) = world.store.enrolment(&alice).await.unwrap().unwrap();
    let new = world.ring.in_force().open_totp(&alice, &sealed).unwrap();
    let code = |now| Secret::from(code_at(&new, now).unwrap().as_str());
    let early = world.accounts().confirm_totp(&alice, &code(later(90)), NOW).await;
    assert!(matches!(early, Err(AccountError::WrongCode)));
    world
        .accounts()
        .confirm_totp(&alice, &code(NOW), NOW)
        .await
        .unwrap();
    assert!(
        world
            .attempt(
                "alice",
                with_code("pw", &old, later(60)).as_bytes(),
                HOME,
                later(60)
            )
            .await
            .is_err()
    );
    assert!(
        world
            .attempt(
                "alice",
                with_code("pw", &new, later(60)).as_bytes(),
                HOME,
                later(60)
            )
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn labels_are_short_and_printable_and_mail_passwords_not_empty() {
    let world = World::new();
    world.add("alice").await;
    for label in ["", " ", "a\nb", "\u{1b}[31m", &"x".repeat(65)] {
        let mut new = World::new_app_password("alice", "alice");
        new.label = label.to_owned();
        let refused = world.accounts().create_app_password(&new, NOW).await;
        assert!(matches!(refused, Err(AccountError::BadLabel)), "{label:?}");
    }
    let mut new = World::new_app_password("alice", "alice");
    new.mail_password = Some(Secret::from(""));
    let refused = world.accounts().create_app_password(&new, NOW).await;
    assert!(matches!(refused, Err(AccountError::EmptyPassword)));
}

#[tokio::test]
async fn a_user_cannot_own_app_passwords_without_bound() {
    let world = World::new();
    world.add("alice").await;
    for _ in 0..100 {
        world.app_password("alice").await;
    }
    let new = World::new_app_password("alice", "alice");
    let refused = world.accounts().create_app_password(&new, NOW).await;
    assert!(matches!(refused, Err(AccountError::Store(StoreError::Full(_)))));
    let first = world.accounts().app_passwords(&name("alice")).await.unwrap()[0].id;
    world.accounts().revoke_app_password(first, NOW).await.unwrap();
    world.accounts().create_app_password(&new, NOW).await.unwrap();
    let again = world.accounts().revoke_app_password(first, NOW).await;
    assert!(matches!(again, Err(AccountError::NoSuchAppPassword(_))));
}

#[tokio::test]
async fn a_public_key_changed_in_the_store_gets_no_mail_password() {
    let world = World::new();
    world.add("alice").await;
    let (first, second) = (
        world.app_password("alice").await,
        world.app_password("alice").await,
    );
    let hand = rusqlite::Connection::open(world.database()).unwrap();
    hand.execute(
        "UPDATE app_passwords SET public_key = zeroblob(32) WHERE id = ?1",
        [first.id],
    )
    .unwrap();
    let refused = world
        .accounts()
        .set_mail_password(&name("alice"), &Secret::from("new"), NOW)
        .await;
    assert!(matches!(refused, Err(AccountError::Tampered(_))));
    let verified = world
        .attempt("alice", second.printed.expose(), HOME, NOW)
        .await
        .unwrap();
    assert_eq!(
        crate::auth::world::sent(&verified).unwrap(),
        "the mail password",
        "all or nothing"
    );
}
