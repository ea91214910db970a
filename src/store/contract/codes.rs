//! Steps and the windows they open.

use super::*;

pub(super) async fn a_step_is_consumed_once_whoever_races(store: &Arc<dyn Store>) {
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

pub(super) async fn a_step_is_not_consumed_for_another_secret_or_a_disabled_user(store: &Arc<dyn Store>) {
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

pub(super) async fn consuming_opens_a_pending_window_that_the_backend_decides(store: &Arc<dyn Store>) {
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

pub(super) async fn windows_of_a_user_are_bounded_and_the_oldest_goes(store: &Arc<dyn Store>) {
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

pub(super) async fn whatever_takes_a_factor_away_ends_its_windows(store: &Arc<dyn Store>) {
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

pub(super) async fn windows_come_by_their_names_in_the_order_asked(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    enrol(store, &alice, 10).await;
    for key in [1, 2] {
        let next = consumption(&alice, 10 + i64::from(key), key);
        assert!(store.consume_step(next).await.unwrap());
    }
    let end = UnixTime(NOW.0 + 9_000);
    assert!(store.open_window([2; 32], NOW, end).await.unwrap());
    let found = store.windows(vec![[2; 32], [3; 32], [1; 32]]).await.unwrap();
    let [open, none, pending] = &found[..] else {
        panic!("{found:?}")
    };
    let open = open.as_ref().unwrap();
    assert_eq!((&open.user, open.state), (&alice, WindowState::Open));
    assert_eq!((open.opened, open.expires), (NOW, end));
    assert_eq!(none, &None);
    assert_eq!(pending.as_ref().unwrap().state, WindowState::Pending);
    assert!(store.windows(Vec::new()).await.unwrap().is_empty());
}

pub(super) async fn what_ends_windows_is_a_notice(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    let before = store.notices();
    assert!(store.reset_user(&alice, NOW).await.unwrap());
    assert!(store.notices() > before);
    let before = store.notices();
    assert_eq!(store.close_windows(&alice).await.unwrap(), 0);
    assert!(store.notices() > before);
    let before = store.notices();
    assert_eq!(store.reseal(&alice, Vec::new()).await.unwrap(), 0);
    assert!(store.notices() > before);
}
