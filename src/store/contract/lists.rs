//! Bans, sources, notes, the sweep, and who is told.

use super::*;

pub(super) async fn bans_hold_until_they_end_or_are_lifted(store: &Arc<dyn Store>) {
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

pub(super) async fn sources_are_known_after_a_login_and_bounded(store: &Arc<dyn Store>) {
    let (alice, bob) = (name("alice"), name("bob"));
    assert!(
        !store
            .knows_source(&alice, vec![[1; 32]], UnixTime(0))
            .await
            .unwrap()
    );
    store.note(Note::Came(alice.clone(), Habit::Network([1; 32]), NOW));
    store.flush().await.unwrap();
    assert!(store.knows_source(&alice, vec![[1; 32]], NOW).await.unwrap());
    assert!(!store.knows_source(&bob, vec![[1; 32]], NOW).await.unwrap());
    assert!(
        !store
            .knows_source(&alice, vec![[1; 32]], UnixTime(NOW.0 + 1))
            .await
            .unwrap(),
        "too long ago"
    );
    for number in 2..=200_u8 {
        store.note(Note::Came(
            alice.clone(),
            Habit::Network([number; 32]),
            UnixTime(NOW.0 + i64::from(number)),
        ));
    }
    store.flush().await.unwrap();
    assert!(store.knows_source(&alice, vec![[200; 32]], NOW).await.unwrap());
    assert!(
        !store
            .knows_source(&alice, vec![[1; 32]], UnixTime(0))
            .await
            .unwrap(),
        "the oldest went"
    );
}

pub(super) async fn notes_are_written_together_and_the_newest_use_wins(store: &Arc<dyn Store>) {
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
        counted: None,
        before: Before::Nothing,
        visit: None,
    };
    let window = store.look_up(lookup).await.unwrap().window.unwrap();
    assert_eq!(window.last_used, UnixTime(NOW.0 + 100));
    assert_eq!(window.expires, UnixTime(NOW.0 + 900), "use never makes it longer");
}

pub(super) async fn the_sweep_removes_what_is_over_and_nothing_else(store: &Arc<dyn Store>) {
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

pub(super) async fn app_passwords_that_ended_long_ago_are_swept(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    let long_ago = UnixTime(NOW.0 - 400 * 86_400);
    for (id, revoked, expires) in [
        (1, None, None),
        (2, Some(long_ago), None),
        (3, None, Some(long_ago)),
        (4, Some(NOW), Some(long_ago)),
        (5, Some(NOW), None),
        (6, None, Some(NOW)),
    ] {
        let mut row = app_password(id, &alice);
        row.expires = expires;
        assert!(store.add_app_password(row, 9).await.unwrap());
        if let Some(at) = revoked {
            assert!(store.revoke_app_password(id, at).await.unwrap());
        }
    }
    store.sweep(NOW).await.unwrap();
    let kept = store.app_passwords(&alice).await.unwrap();
    assert_eq!(kept.iter().map(|row| row.id).collect::<Vec<_>>(), [1, 5, 6]);
}

pub(super) async fn revocations_and_bans_are_told_at_once_and_uses_are_not(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    assert!(store.add_app_password(app_password(1, &alice), 9).await.unwrap());
    let changes = store.changes();
    // Until an engine hears of others it says that something may have moved; then uses alone do not.
    let mut quiet = false;
    for _ in 0..1000 {
        let before = *changes.borrow();
        store.note(Note::AppPasswordUsed(1, last_use(1)));
        store.flush().await.unwrap();
        quiet = *changes.borrow() == before;
        if quiet {
            break;
        }
    }
    assert!(quiet, "every use is told");
    let before = *changes.borrow();
    assert!(store.revoke_app_password(1, NOW).await.unwrap());
    assert_ne!(*changes.borrow(), before);
}
