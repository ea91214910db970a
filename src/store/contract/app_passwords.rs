//! App passwords and what a login looks up.

use crate::types::BudgetLimits;
use crate::types::Commands;
use crate::types::MailboxPattern;

use super::*;

pub(super) async fn app_passwords_are_kept_listed_and_bounded(store: &Arc<dyn Store>) {
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
}

pub(super) async fn restrictions_are_kept_as_they_were_given(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    let patterns = |texts: &[&str]| {
        let patterns = texts.iter().map(|text| MailboxPattern::parse(text).unwrap());
        Some(patterns.collect())
    };
    let all = [
        Restrictions {
            read_only: true,
            mailboxes: patterns(&["INBOX", "Entwürfe/*", " a b "]),
            commands: Commands::parse("SELECT,FETCH").unwrap(),
            budget: BudgetLimits {
                bytes: Some(5_000_000_000),
                messages: Some(500),
            },
            service: true,
        },
        Restrictions {
            mailboxes: patterns(&[]),
            commands: Commands::Backup,
            ..Restrictions::default()
        },
        Restrictions::default(),
    ];
    for (id, restrictions) in (1..).zip(all) {
        let mut row = app_password(id, &alice);
        row.restrictions = restrictions;
        assert!(store.add_app_password(row.clone(), 9).await.unwrap());
        assert_eq!(store.app_password(id).await.unwrap(), Some(row));
    }
}

pub(super) async fn app_passwords_are_revoked_once_and_go_with_their_owner(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    for id in [3, 5] {
        assert!(store.add_app_password(app_password(id, &alice), 2).await.unwrap());
    }
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

pub(super) async fn sealed_passwords_are_replaced_for_live_app_passwords_of_the_account(
    store: &Arc<dyn Store>,
) {
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

pub(super) async fn a_look_up_finds_all_that_belongs_together(store: &Arc<dyn Store>) {
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
        counted: None,
        before: Before::Nothing,
        visit: None,
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
