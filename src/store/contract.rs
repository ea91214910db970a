//! What every engine must do, written once against `&dyn Store` and run for each.

use std::sync::Arc;

use crate::store::AppPassword;
use crate::store::Ban;
use crate::store::Consumption;
use crate::store::LastUse;
use crate::store::Lookup;
use crate::store::MfaSetting;
use crate::store::NewWindow;
use crate::store::Note;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Subject;
use crate::store::User;
use crate::store::WindowState;
use crate::store::sqlite;
use crate::types::Networks;
use crate::types::UnixTime;
use crate::types::UserName;

const NOW: UnixTime = UnixTime(1_000_000);

/// Runs each function below on a fresh store of each engine.
macro_rules! contract {
    ($($name:ident,)*) => {
        mod on_sqlite {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let folder = tempfile::tempdir().unwrap();
                    let path = folder.path().join("store.db");
                    let store = sqlite::SqliteStore::open(&path, &sqlite::Options::default()).unwrap();
                    super::$name(&(Arc::new(store) as Arc<dyn Store>)).await;
                }
            )*
        }
    };
}

contract! {
    users_are_added_once_changed_listed_and_removed,
    names_are_kept_byte_for_byte,
    a_key_check_binds_the_store_to_its_key,
    an_enrolment_waits_for_its_code_and_then_replaces_what_was_in_force,
    a_step_is_consumed_once_whoever_races,
    a_step_is_not_consumed_for_another_secret_or_a_disabled_user,
    consuming_opens_a_pending_window_that_the_backend_decides,
    windows_of_a_user_are_bounded_and_the_oldest_goes,
    whatever_takes_a_factor_away_ends_its_windows,
    app_passwords_are_kept_listed_revoked_and_bounded,
    sealed_passwords_are_replaced_for_live_app_passwords_of_the_account,
    a_look_up_finds_all_that_belongs_together,
    standings_come_in_the_order_asked,
    the_epoch_moves_with_every_change_that_ends_sessions,
    bans_hold_until_they_end_or_are_lifted,
    sources_are_known_after_a_login_and_bounded,
    notes_are_written_together_and_the_newest_use_wins,
    a_reset_takes_every_factor_away,
    the_sweep_removes_what_is_over_and_nothing_else,
    revocations_and_bans_are_told_at_once_and_uses_are_not,
}

fn name(text: &str) -> UserName {
    UserName::parse(text.as_bytes()).unwrap()
}

async fn add(store: &Arc<dyn Store>, text: &str) -> UserName {
    let user = name(text);
    assert!(store.add_user(User::new(user.clone(), NOW)).await.unwrap());
    user
}

fn app_password(id: u32, user: &UserName) -> AppPassword {
    AppPassword {
        id,
        user: user.clone(),
        account: user.clone(),
        label: "phone".to_owned(),
        hash: [1; 32],
        public_key: [2; 32],
        public_key_mac: [3; 32],
        sealed: Some(vec![4; 50]),
        created: NOW,
        expires: None,
        networks: None,
        revoked: None,
        last_use: None,
    }
}

fn last_use(at: i64) -> LastUse {
    LastUse {
        at: UnixTime(at),
        from: "2001:db8::1".parse().unwrap(),
        client: Some("Mail 1.0".to_owned()),
    }
}

fn networks(cidr: &str) -> Option<Networks> {
    Some(Networks::new(vec![cidr.parse().unwrap()]))
}

fn consumption(user: &UserName, step: i64, key: u8) -> Consumption {
    Consumption {
        user: user.clone(),
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

async fn enrol(store: &Arc<dyn Store>, user: &UserName, step: i64) {
    assert!(store.begin_enrolment(user, vec![9; 40], NOW).await.unwrap());
    assert!(
        store
            .confirm_enrolment(user, vec![9; 40], step, NOW)
            .await
            .unwrap()
    );
}

async fn has_window(store: &Arc<dyn Store>, user: &UserName, key: u8) -> Option<WindowState> {
    let lookup = Lookup {
        user: user.clone(),
        app_password: None,
        window: Some([key; 32]),
        now: NOW,
    };
    store
        .look_up(lookup)
        .await
        .unwrap()
        .window
        .map(|window| window.state)
}

async fn epoch(store: &Arc<dyn Store>, user: &UserName) -> i64 {
    store.user(user).await.unwrap().unwrap().epoch
}

async fn users_are_added_once_changed_listed_and_removed(store: &Arc<dyn Store>) {
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

async fn names_are_kept_byte_for_byte(store: &Arc<dyn Store>) {
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

async fn a_key_check_binds_the_store_to_its_key(store: &Arc<dyn Store>) {
    store.check_key([1; 32]).await.unwrap();
    store.check_key([1; 32]).await.unwrap();
    assert!(matches!(
        store.check_key([2; 32]).await,
        Err(StoreError::OtherKey)
    ));
}

async fn an_enrolment_waits_for_its_code_and_then_replaces_what_was_in_force(store: &Arc<dyn Store>) {
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

async fn a_step_is_consumed_once_whoever_races(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    enrol(store, &alice, 10).await;
    let racers: Vec<_> = (0..50)
        .map(|key| {
            let store = Arc::clone(store);
            let consumption = consumption(&alice, 11, key);
            tokio::spawn(async move { store.consume_step(consumption).await.unwrap() })
        })
        .collect();
    let mut winners = 0;
    for racer in racers {
        winners += u32::from(racer.await.unwrap());
    }
    assert_eq!(winners, 1);
    assert!(
        !store.consume_step(consumption(&alice, 10, 1)).await.unwrap(),
        "an older step"
    );
    assert!(store.consume_step(consumption(&alice, 12, 1)).await.unwrap());
}

async fn a_step_is_not_consumed_for_another_secret_or_a_disabled_user(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    enrol(store, &alice, 10).await;
    let mut other = consumption(&alice, 11, 1);
    other.sealed = vec![8; 40];
    assert!(!store.consume_step(other).await.unwrap());
    let mut user = store.user(&alice).await.unwrap().unwrap();
    user.disabled = true;
    assert!(store.change_user(user).await.unwrap());
    assert!(!store.consume_step(consumption(&alice, 11, 1)).await.unwrap());
    assert_eq!(has_window(store, &alice, 1).await, None);
    assert!(
        !store
            .consume_step(consumption(&name("nobody"), 11, 1))
            .await
            .unwrap()
    );
}

async fn consuming_opens_a_pending_window_that_the_backend_decides(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    enrol(store, &alice, 10).await;
    assert!(store.consume_step(consumption(&alice, 11, 1)).await.unwrap());
    assert_eq!(has_window(store, &alice, 1).await, Some(WindowState::Pending));
    assert!(
        store
            .open_window([1; 32], NOW, UnixTime(NOW.0 + 900))
            .await
            .unwrap()
    );
    assert!(
        !store
            .open_window([1; 32], NOW, UnixTime(NOW.0 + 9_000))
            .await
            .unwrap(),
        "once"
    );
    assert_eq!(has_window(store, &alice, 1).await, Some(WindowState::Open));
    assert!(store.close_window([1; 32]).await.unwrap());
    assert!(
        !store
            .open_window([1; 32], NOW, UnixTime(NOW.0 + 900))
            .await
            .unwrap(),
        "gone stays gone"
    );
    assert_eq!(has_window(store, &alice, 1).await, None);
}

async fn windows_of_a_user_are_bounded_and_the_oldest_goes(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    enrol(store, &alice, 10).await;
    for key in 1..=5_u8 {
        let mut next = consumption(&alice, 10 + i64::from(key), key);
        next.window.opened = UnixTime(NOW.0 + i64::from(key));
        assert!(store.consume_step(next).await.unwrap());
    }
    for (key, kept) in [(1, false), (2, false), (3, true), (4, true), (5, true)] {
        assert_eq!(has_window(store, &alice, key).await.is_some(), kept, "{key}");
    }
}

async fn whatever_takes_a_factor_away_ends_its_windows(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    for what in 0..5 {
        enrol(store, &alice, 10).await;
        assert!(store.consume_step(consumption(&alice, 11, 1)).await.unwrap());
        match what {
            0 => assert!(store.remove_totp(&alice).await.unwrap()),
            1 => assert!(store.reset_user(&alice, NOW).await.unwrap()),
            2 => assert_eq!(store.reseal(&alice, Vec::new()).await.unwrap(), 0),
            3 => assert_eq!(store.close_windows(&alice).await.unwrap(), 1),
            _ => {
                let mut user = store.user(&alice).await.unwrap().unwrap();
                user.disabled = true;
                assert!(store.change_user(user).await.unwrap());
            }
        }
        assert_eq!(has_window(store, &alice, 1).await, None, "{what}");
    }
}

async fn app_passwords_are_kept_listed_revoked_and_bounded(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    let mut full = app_password(5, &alice);
    full.expires = Some(UnixTime(NOW.0 + 60));
    full.networks = networks("2001:db8::/32");
    assert!(store.add_app_password(full.clone(), 2).await.unwrap());
    assert_eq!(store.app_password(5).await.unwrap(), Some(full));
    assert!(
        !store.add_app_password(app_password(5, &alice), 2).await.unwrap(),
        "the id is taken"
    );
    assert!(store.add_app_password(app_password(3, &alice), 2).await.unwrap());
    let refused = store.add_app_password(app_password(4, &alice), 2).await;
    assert!(matches!(refused, Err(StoreError::Full(_))));
    let ids: Vec<_> = store
        .app_passwords(&alice)
        .await
        .unwrap()
        .iter()
        .map(|row| row.id)
        .collect();
    assert_eq!(ids, [3, 5]);

    assert!(store.revoke_app_password(5, NOW).await.unwrap());
    assert!(!store.revoke_app_password(5, UnixTime(0)).await.unwrap());
    assert!(!store.revoke_app_password(77, NOW).await.unwrap());
    let revoked = store.app_password(5).await.unwrap().unwrap();
    assert_eq!((revoked.revoked, revoked.sealed), (Some(NOW), None));
    assert!(
        store.add_app_password(app_password(4, &alice), 2).await.unwrap(),
        "revoked ones make room"
    );

    assert!(store.remove_user(&alice).await.unwrap());
    assert_eq!(store.app_password(3).await.unwrap(), None);
    assert!(
        store
            .add_app_password(app_password(9, &name("nobody")), 2)
            .await
            .is_err()
    );
}

async fn sealed_passwords_are_replaced_for_live_app_passwords_of_the_account(store: &Arc<dyn Store>) {
    let (alice, bob) = (add(store, "alice").await, add(store, "bob").await);
    let shared = name("support");
    for (id, owner) in [(1, &alice), (2, &bob), (3, &bob)] {
        let mut row = app_password(id, owner);
        row.account = shared.clone();
        assert!(store.add_app_password(row, 9).await.unwrap());
    }
    assert!(store.add_app_password(app_password(4, &alice), 9).await.unwrap());
    assert!(store.revoke_app_password(3, NOW).await.unwrap());
    let ids: Vec<_> = store
        .app_passwords_for(&shared)
        .await
        .unwrap()
        .iter()
        .map(|row| row.id)
        .collect();
    assert_eq!(ids, [1, 2]);
    let new = (1..=4).map(|id| (id, vec![7; 9])).collect();
    assert_eq!(store.reseal(&shared, new).await.unwrap(), 2);
    for (id, sealed) in [
        (1, Some(vec![7; 9])),
        (2, Some(vec![7; 9])),
        (3, None),
        (4, Some(vec![4; 50])),
    ] {
        assert_eq!(
            store.app_password(id).await.unwrap().unwrap().sealed,
            sealed,
            "{id}"
        );
    }
}

async fn a_look_up_finds_all_that_belongs_together(store: &Arc<dyn Store>) {
    let (alice, support) = (add(store, "alice").await, add(store, "support").await);
    let mut row = app_password(1, &alice);
    row.account = support.clone();
    row.expires = Some(UnixTime(NOW.0 + 60));
    assert!(store.add_app_password(row, 9).await.unwrap());
    let mut lookup = Lookup {
        user: alice.clone(),
        app_password: Some(1),
        window: Some([1; 32]),
        now: NOW,
    };
    let found = store.look_up(lookup.clone()).await.unwrap();
    assert_eq!(found.user.unwrap().name, alice);
    assert_eq!(found.owner.unwrap().name, alice);
    assert_eq!(found.account.unwrap().name, support);
    assert_eq!(found.app_password.unwrap().id, 1);
    assert!(found.has_app_passwords && found.totp.is_none() && found.window.is_none());

    lookup.now = UnixTime(NOW.0 + 60);
    assert!(
        !store.look_up(lookup.clone()).await.unwrap().has_app_passwords,
        "an expired one does not count"
    );
    lookup.app_password = None;
    let found = store.look_up(lookup.clone()).await.unwrap();
    assert!(found.app_password.is_none() && found.owner.is_none() && found.account.is_none());
    lookup.user = name("nobody");
    lookup.app_password = Some(2);
    let found = store.look_up(lookup).await.unwrap();
    assert!(found.user.is_none() && found.app_password.is_none() && found.owner.is_none());
}

async fn standings_come_in_the_order_asked(store: &Arc<dyn Store>) {
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

async fn the_epoch_moves_with_every_change_that_ends_sessions(store: &Arc<dyn Store>) {
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
    enrol(store, &alice, 1).await;
    assert_eq!(epoch(store, &alice).await, 2);
    assert!(store.remove_totp(&alice).await.unwrap());
    assert_eq!(epoch(store, &alice).await, 3);
    assert!(store.reset_user(&alice, NOW).await.unwrap());
    assert_eq!(epoch(store, &alice).await, 4);
    assert!(!store.reset_user(&name("nobody"), NOW).await.unwrap());
}

async fn bans_hold_until_they_end_or_are_lifted(store: &Arc<dyn Store>) {
    let ban = |network: &str, until: Option<i64>| Ban {
        network: network.parse().unwrap(),
        reason: "guessing".to_owned(),
        by: "limits".to_owned(),
        created: NOW,
        until: until.map(UnixTime),
    };
    store.add_ban(ban("192.0.2.0/24", None)).await.unwrap();
    store
        .add_ban(ban("2001:db8::/48", Some(NOW.0 + 10)))
        .await
        .unwrap();
    store
        .add_ban(ban("192.0.2.0/24", Some(NOW.0 + 50)))
        .await
        .unwrap();
    let bans = store.bans(NOW).await.unwrap();
    assert_eq!(bans.len(), 2, "one network has one ban");
    assert_eq!(bans[0], ban("192.0.2.0/24", Some(NOW.0 + 50)));
    assert_eq!(store.bans(UnixTime(NOW.0 + 10)).await.unwrap().len(), 1);
    assert!(
        store.remove_ban("192.0.2.77/24".parse().unwrap()).await.unwrap(),
        "host bits do not count"
    );
    assert!(!store.remove_ban("192.0.2.0/24".parse().unwrap()).await.unwrap());
}

async fn sources_are_known_after_a_login_and_bounded(store: &Arc<dyn Store>) {
    let (alice, bob) = (name("alice"), name("bob"));
    assert!(!store.knows_source(&alice, [1; 32], UnixTime(0)).await.unwrap());
    store.note(Note::SourceSeen(alice.clone(), [1; 32], NOW));
    store.flush().await.unwrap();
    assert!(store.knows_source(&alice, [1; 32], NOW).await.unwrap());
    assert!(!store.knows_source(&bob, [1; 32], NOW).await.unwrap());
    assert!(
        !store
            .knows_source(&alice, [1; 32], UnixTime(NOW.0 + 1))
            .await
            .unwrap(),
        "too long ago"
    );
    for number in 2..=200_u8 {
        store.note(Note::SourceSeen(
            alice.clone(),
            [number; 32],
            UnixTime(NOW.0 + i64::from(number)),
        ));
    }
    store.flush().await.unwrap();
    assert!(store.knows_source(&alice, [200; 32], NOW).await.unwrap());
    assert!(
        !store.knows_source(&alice, [1; 32], UnixTime(0)).await.unwrap(),
        "the oldest went"
    );
}

async fn notes_are_written_together_and_the_newest_use_wins(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    assert!(store.add_app_password(app_password(1, &alice), 9).await.unwrap());
    for at in [7, 9, 8] {
        store.note(Note::AppPasswordUsed(1, last_use(at)));
    }
    store.note(Note::AppPasswordUsed(2, last_use(1)));
    store.flush().await.unwrap();
    assert_eq!(
        store.app_password(1).await.unwrap().unwrap().last_use,
        Some(last_use(9))
    );
    store.note(Note::AppPasswordUsed(1, last_use(3)));
    store.flush().await.unwrap();
    assert_eq!(
        store.app_password(1).await.unwrap().unwrap().last_use,
        Some(last_use(9))
    );

    enrol(store, &alice, 1).await;
    assert!(store.consume_step(consumption(&alice, 2, 1)).await.unwrap());
    assert!(
        store
            .open_window([1; 32], NOW, UnixTime(NOW.0 + 900))
            .await
            .unwrap()
    );
    store.note(Note::WindowUsed([1; 32], UnixTime(NOW.0 + 100)));
    store.flush().await.unwrap();
    let lookup = Lookup {
        user: alice,
        app_password: None,
        window: Some([1; 32]),
        now: NOW,
    };
    let window = store.look_up(lookup).await.unwrap().window.unwrap();
    assert_eq!(window.last_used, UnixTime(NOW.0 + 100));
    assert_eq!(window.expires, UnixTime(NOW.0 + 900), "use never makes it longer");
}

async fn a_reset_takes_every_factor_away(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    enrol(store, &alice, 1).await;
    assert!(store.begin_enrolment(&alice, vec![5; 40], NOW).await.unwrap());
    assert!(store.add_app_password(app_password(1, &alice), 9).await.unwrap());
    store.note(Note::SourceSeen(alice.clone(), [1; 32], NOW));
    store.flush().await.unwrap();
    assert!(store.reset_user(&alice, NOW).await.unwrap());
    assert_eq!(store.totp(&alice).await.unwrap(), None);
    assert_eq!(store.enrolment(&alice).await.unwrap(), None);
    let row = store.app_password(1).await.unwrap().unwrap();
    assert_eq!((row.revoked, row.sealed), (Some(NOW), None));
    assert!(!store.knows_source(&alice, [1; 32], UnixTime(0)).await.unwrap());
}

async fn the_sweep_removes_what_is_over_and_nothing_else(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    enrol(store, &alice, 1).await;
    assert!(store.consume_step(consumption(&alice, 2, 1)).await.unwrap());
    assert!(store.begin_enrolment(&alice, vec![5; 40], NOW).await.unwrap());
    store.sweep(UnixTime(NOW.0 + 299)).await.unwrap();
    assert!(has_window(store, &alice, 1).await.is_some());
    store.sweep(UnixTime(NOW.0 + 300)).await.unwrap();
    assert!(has_window(store, &alice, 1).await.is_none());
    assert!(store.enrolment(&alice).await.unwrap().is_some());
    store.sweep(UnixTime(NOW.0 + 100_000)).await.unwrap();
    assert!(store.enrolment(&alice).await.unwrap().is_none());
    assert!(store.totp(&alice).await.unwrap().is_some());
}

async fn revocations_and_bans_are_told_at_once_and_uses_are_not(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    assert!(store.add_app_password(app_password(1, &alice), 9).await.unwrap());
    let changes = store.changes();
    let before = *changes.borrow();
    store.note(Note::AppPasswordUsed(1, last_use(1)));
    store.flush().await.unwrap();
    assert_eq!(*changes.borrow(), before);
    assert!(store.revoke_app_password(1, NOW).await.unwrap());
    assert_ne!(*changes.borrow(), before);
}
