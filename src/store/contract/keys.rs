//! The key in force, and the change to another one.

use super::*;

const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [2; 32];

/// Keys whose seals and hashes are easy to tell: each byte is one more.
struct Turn {
    from: [u8; 32],
    to: [u8; 32],
    /// What is sealed so, or bound so, is not theirs.
    foreign: u8,
}

fn turn(from: [u8; 32], to: [u8; 32]) -> Arc<dyn Rekey> {
    Arc::new(Turn {
        from,
        to,
        foreign: 77,
    })
}

impl Rekey for Turn {
    fn from(&self) -> [u8; 32] {
        self.from
    }

    fn to(&self) -> [u8; 32] {
        self.to
    }

    fn one_time_secret(&self, user: &UserName, sealed: &[u8]) -> Result<Vec<u8>, String> {
        if sealed[0] == self.foreign {
            return Err(format!("the secret of {user} cannot be opened"));
        }
        Ok(sealed.iter().map(|byte| byte + 1).collect())
    }

    fn app_password(&self, bound: &Bound) -> Result<[u8; 32], String> {
        if bound.public_key_mac[0] == self.foreign {
            return Err(format!("app password {} was changed", bound.id));
        }
        assert_eq!((bound.public_key, &bound.user), ([2; 32], &bound.account));
        Ok(bound.public_key_mac.map(|byte| byte + 1))
    }
}

pub(super) async fn a_key_check_binds_the_store_to_its_key(store: &Arc<dyn Store>) {
    assert_eq!(store.key_in_force().await.unwrap(), None);
    store.check_key(OLD).await.unwrap();
    assert_eq!(store.key_in_force().await.unwrap(), Some(OLD));
    store.check_key(OLD).await.unwrap();
    assert!(matches!(store.check_key(NEW).await, Err(StoreError::OtherKey)));
    assert!(store.former_keys().await.unwrap().is_empty());
}

pub(super) async fn another_key_makes_anew_what_hangs_on_it_and_ends_the_windows(store: &Arc<dyn Store>) {
    store.check_key(OLD).await.unwrap();
    let alice = add(store, "alice").await;
    let bob = add(store, "bob").await;
    enrol(store, &alice, 10).await;
    assert!(store.consume_step(consumption(&alice, 11, 1)).await.unwrap());
    assert!(store.begin_enrolment(&bob, vec![20; 8], NOW).await.unwrap());
    assert!(store.add_app_password(app_password(7, &alice), 9).await.unwrap());
    let mut changes = store.changes();
    changes.mark_unchanged();
    let rekeyed = store.rekey(turn(OLD, NEW), NOW).await.unwrap();
    assert_eq!((rekeyed.one_time_secrets, rekeyed.app_passwords), (2, 1));
    assert!(changes.has_changed().unwrap());

    let lookup = Lookup {
        user: alice.clone(),
        app_password: Some(7),
        window: Some([1; 32]),
        now: NOW,
        counted: None,
        before: Before::Nothing,
        visit: None,
    };
    let found = store.look_up(lookup).await.unwrap();
    assert_eq!(found.key, Some(NEW));
    assert_eq!(found.window, None);
    let totp = found.totp.unwrap();
    assert_eq!((totp.sealed, totp.last_step), (vec![10; 40], 11));
    let row = found.app_password.unwrap();
    assert_eq!((row.hash, row.public_key_mac), (NO_HASH, [4; 32]));
    assert_eq!(row.sealed, Some(vec![4; 50]));
    assert_eq!(store.enrolment(&bob).await.unwrap(), Some((vec![21; 8], NOW)));
}

pub(super) async fn keys_that_were_in_force_are_remembered_until_they_are_again(store: &Arc<dyn Store>) {
    store.check_key(OLD).await.unwrap();
    store.rekey(turn(OLD, NEW), NOW).await.unwrap();
    let later = UnixTime(NOW.0 + 60);
    let refused = store.rekey(turn(OLD, NEW), later).await;
    assert!(matches!(refused, Err(StoreError::OtherKey)));
    let newest = [3; 32];
    store.rekey(turn(NEW, newest), later).await.unwrap();
    let former = store.former_keys().await.unwrap();
    let former: Vec<_> = former.iter().map(|key| (key.check, key.until)).collect();
    assert_eq!(former, [(NEW, later), (OLD, NOW)]);
    store.rekey(turn(newest, OLD), later).await.unwrap();
    let former = store.former_keys().await.unwrap();
    assert!(former.iter().all(|key| key.check != OLD), "it is in force again");
    assert!(matches!(store.check_key(NEW).await, Err(StoreError::OtherKey)));
}

pub(super) async fn what_cannot_be_made_anew_keeps_the_old_key_in_force(store: &Arc<dyn Store>) {
    store.check_key(OLD).await.unwrap();
    let alice = add(store, "alice").await;
    let bob = add(store, "bob").await;
    enrol(store, &alice, 10).await;
    let mut foreign = app_password(7, &bob);
    foreign.public_key_mac = [77; 32];
    assert!(store.add_app_password(foreign, 9).await.unwrap());
    let refused = store.rekey(turn(OLD, NEW), NOW).await;
    assert!(
        matches!(&refused, Err(StoreError::Damaged(text)) if text.contains("app password 7")),
        "{refused:?}"
    );
    assert_eq!(store.key_in_force().await.unwrap(), Some(OLD));
    assert_eq!(store.totp(&alice).await.unwrap().unwrap().sealed, vec![9; 40]);
    assert_eq!(store.app_password(7).await.unwrap().unwrap().hash, [1; 32]);
    assert!(store.former_keys().await.unwrap().is_empty());
}

pub(super) async fn a_waiting_secret_that_cannot_be_opened_goes_and_a_revoked_app_password_is_in_nobodys_way(
    store: &Arc<dyn Store>,
) {
    store.check_key(OLD).await.unwrap();
    let alice = add(store, "alice").await;
    assert!(store.begin_enrolment(&alice, vec![77; 8], NOW).await.unwrap());
    let mut foreign = app_password(7, &alice);
    foreign.public_key_mac = [77; 32];
    assert!(store.add_app_password(foreign, 9).await.unwrap());
    assert!(store.revoke_app_password(7, NOW).await.unwrap());
    let rekeyed = store.rekey(turn(OLD, NEW), NOW).await.unwrap();
    assert_eq!(rekeyed.one_time_secrets, 0);
    assert_eq!(store.enrolment(&alice).await.unwrap(), None);
    assert_eq!(
        store.app_password(7).await.unwrap().unwrap().public_key_mac,
        NO_HASH
    );
}

pub(super) async fn a_hash_is_kept_once_and_only_for_the_key_it_was_made_with(store: &Arc<dyn Store>) {
    store.check_key(OLD).await.unwrap();
    let alice = add(store, "alice").await;
    assert!(store.add_app_password(app_password(7, &alice), 9).await.unwrap());
    assert!(!store.keep_hash(7, [3; 32], [5; 32]).await.unwrap(), "it has one");
    store.rekey(turn(OLD, NEW), NOW).await.unwrap();
    assert!(
        !store.keep_hash(7, [3; 32], [5; 32]).await.unwrap(),
        "made with the old key"
    );
    assert!(!store.keep_hash(8, [4; 32], [5; 32]).await.unwrap());
    assert!(store.keep_hash(7, [4; 32], [5; 32]).await.unwrap());
    assert!(!store.keep_hash(7, [4; 32], [6; 32]).await.unwrap());
    assert_eq!(store.app_password(7).await.unwrap().unwrap().hash, [5; 32]);
}

pub(super) async fn of_racing_changes_of_the_key_one_is_done(store: &Arc<dyn Store>) {
    store.check_key(OLD).await.unwrap();
    let alice = add(store, "alice").await;
    enrol(store, &alice, 10).await;
    let racers: Vec<_> = (2..8)
        .map(|number| {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.rekey(turn(OLD, [number; 32]), NOW).await.is_ok() })
        })
        .collect();
    let mut winners = 0;
    for racer in racers {
        winners += u32::from(racer.await.unwrap());
    }
    assert_eq!(winners, 1);
    assert_eq!(store.totp(&alice).await.unwrap().unwrap().sealed, vec![10; 40]);
}

pub(super) async fn a_source_is_known_by_any_of_its_names(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    store.note(Note::Came(alice.clone(), Habit::Network([1; 32]), NOW));
    store.note(Note::NetworkSeen([1; 32], NOW));
    store.flush().await.unwrap();
    let visit = |names: &[u8]| {
        let names: Vec<_> = names.iter().map(|name| [*name; 32]).collect();
        Visit {
            user: alice.clone(),
            network: names.clone(),
            anybodys_network: names,
            country: None,
            asn: None,
            family: None,
            tls_client: None,
            app_password: None,
            since: NOW,
            now: NOW,
        }
    };
    for (names, is_known) in [
        (&[1][..], true),
        (&[2, 1], true),
        (&[1, 2], true),
        (&[2, 3], false),
    ] {
        let asked = visit(names);
        let found = store
            .knows_source(&alice, asked.network.clone(), NOW)
            .await
            .unwrap();
        assert_eq!(found, is_known, "{names:?}");
        let found = store.habits(asked).await.unwrap();
        assert_eq!(
            (found.is_new_network, found.is_known_network),
            (Some(!is_known), is_known)
        );
    }
}

pub(super) async fn a_write_that_is_tried_leaves_everything_as_it_was(store: &Arc<dyn Store>) {
    store.try_write().await.unwrap();
    assert_eq!(store.key_in_force().await.unwrap(), None);
    store.check_key(OLD).await.unwrap();
    store.rekey(turn(OLD, NEW), NOW).await.unwrap();
    for _ in 0..3 {
        store.try_write().await.unwrap();
    }
    assert_eq!(store.key_in_force().await.unwrap(), Some(NEW));
    assert_eq!(store.former_keys().await.unwrap().len(), 1);
}
