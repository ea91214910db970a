//! Users, enrolment, epochs.

use super::*;

pub(super) async fn users_are_added_once_and_changed(store: &Arc<dyn Store>) {
    let bob = add(store, "bob").await;
    let alice = add(store, "alice").await;
    assert!(!store.add_user(User::new(bob.clone(), NOW)).await.unwrap());

    let mut user = store.user(&alice).await.unwrap().unwrap();
    user.display = Some("Alice".to_owned());
    user.mfa = Some(MfaSetting::Exempt);
    user.enrol_by = Some(UnixTime(5));
    user.networks = networks("10.0.0.0/8");
    assert!(store.change_user(user.clone()).await.unwrap());
    assert_eq!(store.user(&alice).await.unwrap(), Some(user.clone()));
    user.networks = Some(Networks::default());
    assert!(store.change_user(user.clone()).await.unwrap());
    assert_eq!(
        store.user(&alice).await.unwrap(),
        Some(user),
        "no network at all is not any network"
    );
}

pub(super) async fn groups_are_kept_and_changed(store: &Arc<dyn Store>) {
    let groups =
        |names: &[&str]| Groups::new(names.iter().map(|name| Group::parse(name).unwrap()).collect()).unwrap();
    let mut user = User::new(name("alice"), NOW);
    user.groups = groups(&["staff", "Vertrieb-Süd"]);
    assert!(store.add_user(user.clone()).await.unwrap());
    assert_eq!(store.user(&user.name).await.unwrap(), Some(user.clone()));
    user.groups = groups(&[]);
    assert!(store.change_user(user.clone()).await.unwrap());
    assert_eq!(store.users(None, 9).await.unwrap(), [user]);
}

pub(super) async fn users_are_listed_by_name_and_removed(store: &Arc<dyn Store>) {
    let bob = add(store, "bob").await;
    let alice = add(store, "alice").await;
    let all: Vec<_> = store
        .users(None, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|user| user.name)
        .collect();
    assert_eq!(all, [alice.clone(), bob.clone()]);
    assert_eq!(store.users(Some(&alice), 1).await.unwrap().len(), 1);
    assert_eq!(store.users(None, 1).await.unwrap().len(), 1);

    assert!(store.remove_user(&bob).await.unwrap());
    assert!(!store.remove_user(&bob).await.unwrap());
    assert_eq!(store.user(&bob).await.unwrap(), None);
    assert!(!store.change_user(User::new(bob, NOW)).await.unwrap());
}

pub(super) async fn namesakes_differ_in_nothing_but_the_case_of_ascii_letters(store: &Arc<dyn Store>) {
    for listed in ["Alice@Example.org", "bob", "Émile", "o'neil"] {
        add(store, listed).await;
    }
    for (asked, expected) in [
        ("alice@example.org", true),
        ("ALICE@EXAMPLE.ORG", true),
        ("Alice@Example.org", true),
        ("BOB", true),
        ("bob", true),
        ("O'Neil", true),
        ("ÉMILE", true),
        ("émile", false),
        ("alice", false),
        ("bo", false),
        ("bob%", false),
        ("b_b", false),
    ] {
        let lookup = Lookup {
            user: name(asked),
            app_password: None,
            window: None,
            now: NOW,
            counted: None,
            before: Before::Nothing,
            visit: None,
        };
        let found = store.look_up(lookup).await.unwrap();
        assert_eq!(found.namesakes.len(), usize::from(expected), "{asked}");
        let is_another = |found: &UserName| !found.as_str().eq_ignore_ascii_case(asked);
        assert!(!found.namesakes.iter().any(is_another), "{asked}");
        assert_eq!(
            found.user.is_some(),
            ["Alice@Example.org", "bob"].contains(&asked),
            "{asked}"
        );
    }
}

pub(super) async fn names_are_kept_byte_for_byte(store: &Arc<dyn Store>) {
    for odd in [
        "o'neil",
        "a\"b",
        "Ümit",
        "x; DROP TABLE users",
        "%",
        "_",
        "Alice",
        "alice",
    ] {
        let user = add(store, odd).await;
        assert_eq!(store.user(&user).await.unwrap().unwrap().name, user);
    }
    assert_eq!(store.user(&name("ALICE")).await.unwrap(), None);
    assert_eq!(store.users(None, 100).await.unwrap().len(), 8);
}

pub(super) async fn an_enrolment_waits_for_its_code_and_then_replaces_what_was_in_force(
    store: &Arc<dyn Store>,
) {
    let alice = add(store, "alice").await;
    assert!(
        !store
            .begin_enrolment(&name("nobody"), vec![1], NOW)
            .await
            .unwrap()
    );
    assert_eq!(store.totp(&alice).await.unwrap(), None);
    enrol(store, &alice, 7).await;
    assert_eq!(store.totp(&alice).await.unwrap().unwrap().last_step, 7);
    assert_eq!(store.enrolment(&alice).await.unwrap(), None);

    assert!(store.begin_enrolment(&alice, vec![5; 40], NOW).await.unwrap());
    assert_eq!(
        store.totp(&alice).await.unwrap().unwrap().sealed,
        vec![9; 40],
        "still in force"
    );
    assert!(
        !store
            .confirm_enrolment(&alice, vec![6; 40], 8, NOW)
            .await
            .unwrap(),
        "another one"
    );
    assert!(
        store
            .confirm_enrolment(&alice, vec![5; 40], 8, NOW)
            .await
            .unwrap()
    );
    let totp = store.totp(&alice).await.unwrap().unwrap();
    assert_eq!((totp.sealed, totp.last_step), (vec![5; 40], 8));
    assert!(store.remove_totp(&alice).await.unwrap());
    assert!(!store.remove_totp(&alice).await.unwrap());
}

pub(super) async fn standings_come_in_the_order_asked(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    assert!(store.add_app_password(app_password(1, &alice), 9).await.unwrap());
    let subject = |user: &str, app_password| Subject {
        user: name(user),
        account: name(user),
        app_password,
    };
    let subjects = vec![
        subject("alice", Some(1)),
        subject("nobody", None),
        subject("alice", Some(2)),
    ];
    let standings = store.standing(subjects).await.unwrap();
    let found: Vec<_> = standings
        .iter()
        .map(|one| (one.user.is_some(), one.app_password.is_some()))
        .collect();
    assert_eq!(found, [(true, true), (false, false), (true, false)]);
    assert!(store.standing(Vec::new()).await.unwrap().is_empty());
}

pub(super) async fn the_epoch_moves_when_a_user_is_disabled(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    assert_eq!(epoch(store, &alice).await, 0);
    let mut user = store.user(&alice).await.unwrap().unwrap();
    user.display = Some("A".to_owned());
    assert!(store.change_user(user.clone()).await.unwrap());
    assert_eq!(epoch(store, &alice).await, 0, "a name for people ends nothing");
    user.disabled = true;
    assert!(store.change_user(user.clone()).await.unwrap());
    assert_eq!(epoch(store, &alice).await, 1);
    assert!(store.change_user(user.clone()).await.unwrap());
    assert_eq!(epoch(store, &alice).await, 1, "disabled already");
    user.disabled = false;
    assert!(store.change_user(user).await.unwrap());
    assert_eq!(
        epoch(store, &alice).await,
        1,
        "enabling does not bring old sessions back"
    );
}

pub(super) async fn the_epoch_moves_with_every_factor_taken_away_or_replaced(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    enrol(store, &alice, 1).await;
    assert_eq!(epoch(store, &alice).await, 1);
    assert!(store.remove_totp(&alice).await.unwrap());
    assert_eq!(epoch(store, &alice).await, 2);
    assert!(store.reset_user(&alice, NOW).await.unwrap());
    assert_eq!(epoch(store, &alice).await, 3);
    assert!(!store.reset_user(&name("nobody"), NOW).await.unwrap());
}

pub(super) async fn a_reset_takes_every_factor_away(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    enrol(store, &alice, 1).await;
    assert!(store.begin_enrolment(&alice, vec![5; 40], NOW).await.unwrap());
    assert!(store.add_app_password(app_password(1, &alice), 9).await.unwrap());
    store.note(Note::Came(alice.clone(), Habit::Network([1; 32]), NOW));
    store.flush().await.unwrap();
    assert!(store.reset_user(&alice, NOW).await.unwrap());
    assert_eq!(store.totp(&alice).await.unwrap(), None);
    assert_eq!(store.enrolment(&alice).await.unwrap(), None);
    let row = store.app_password(1).await.unwrap().unwrap();
    assert_eq!((row.revoked, row.sealed), (Some(NOW), None));
    assert!(
        !store
            .knows_source(&alice, vec![[1; 32]], UnixTime(0))
            .await
            .unwrap()
    );
}
