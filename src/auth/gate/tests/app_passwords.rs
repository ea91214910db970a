//! Logins with app passwords.

use std::sync::Arc;

use crate::auth::gate::Outcome;
use crate::auth::gate::Source;
use crate::auth::memory::Memory;
use crate::auth::memory::Visitor;
use crate::auth::world::HOME;
use crate::auth::world::NOW;
use crate::auth::world::World;
use crate::auth::world::later;
use crate::auth::world::name;
use crate::auth::world::networks;
use crate::auth::world::sent;
use crate::policy::factor::Mode;
use crate::policy::factor::Requirement;
use crate::policy::first_sync;
use crate::store::ReplicaId;
use crate::types::BackendCredentials;
use crate::types::Credentials;
use crate::types::EndReason;
use crate::types::Mechanism;
use crate::types::Refusal;
use crate::types::SecondFactor;
use crate::types::Secret;

#[tokio::test]
async fn an_app_password_opens_the_account_with_the_mail_password_sealed_to_it() {
    let world = World::new();
    world.add("alice").await;
    let made = world.app_password("alice").await;
    let typed = String::from_utf8(made.printed.expose().to_vec()).unwrap();
    for typed in [typed.clone(), typed.replace('-', ""), typed.to_uppercase()] {
        let verified = world.attempt("alice", typed.as_bytes(), HOME, NOW).await.unwrap();
        assert_eq!(sent(&verified).unwrap(), "the mail password");
        assert_eq!(verified.authenticated.user(), &name("alice"));
        assert_eq!(verified.authenticated.account(), &name("alice"));
        let factor = SecondFactor::AppPassword {
            id: made.id,
            label: "phone".to_owned(),
        };
        assert_eq!(verified.authenticated.factor(), &factor);
    }
}

#[tokio::test]
async fn without_a_sealed_mail_password_the_master_user_acts() {
    let world = World::new();
    world.add("alice").await;
    let mut new = World::new_app_password("alice", "alice");
    new.mail_password = None;
    let made = world.accounts().create_app_password(&new, NOW).await.unwrap();
    let verified = world
        .attempt("alice", made.printed.expose(), HOME, NOW)
        .await
        .unwrap();
    assert_eq!(verified.authenticated.credentials(), &BackendCredentials::Master);
}

#[tokio::test]
async fn every_way_in_which_an_app_password_can_be_wrong_has_its_reason() {
    let world = World::new();
    world.add("alice").await;
    world.add("bob").await;
    let made = world.app_password("alice").await;
    let typed = made.printed.expose();
    assert_eq!(
        world.refused_from("bob", typed, HOME, NOW).await,
        Refusal::AppPasswordOtherUser
    );
    assert_eq!(
        world.refused_from("nobody", typed, HOME, NOW).await,
        Refusal::AppPasswordOtherUser
    );

    let stranger = World::new();
    stranger.add("alice").await;
    assert_eq!(
        stranger.refused_from("alice", typed, HOME, NOW).await,
        Refusal::AppPasswordInvalid
    );
    assert_eq!(
        stranger.refused_from("nobody", typed, HOME, NOW).await,
        Refusal::UnknownUser
    );

    let mut mistyped = typed.to_vec();
    let last = mistyped.len() - 1;
    mistyped[last] = if mistyped[last] == b'x' { b'y' } else { b'x' };
    assert_eq!(
        world.refused_from("alice", &mistyped, HOME, NOW).await,
        Refusal::AppPasswordMistyped
    );
    assert!(!Refusal::AppPasswordMistyped.is_guess());

    world
        .change("alice", |user| user.networks = Some(networks("10.0.0.0/8")))
        .await;
    assert_eq!(
        world.refused_from("alice", typed, HOME, NOW).await,
        Refusal::NetworkDenied
    );
    world.change("alice", |user| user.disabled = true).await;
    assert_eq!(
        world.refused_from("alice", typed, HOME, NOW).await,
        Refusal::UserDisabled
    );
    world.accounts().revoke_app_password(made.id, NOW).await.unwrap();
    assert_eq!(
        world.refused_from("alice", typed, HOME, NOW).await,
        Refusal::AppPasswordRevoked
    );
}

#[tokio::test]
async fn the_right_id_with_another_secret_is_invalid() {
    let (world, other) = (World::new(), World::new());
    world.add("alice").await;
    other.add("alice").await;
    let made = world.app_password("alice").await;
    let mut row = world.store.app_password(made.id).await.unwrap().unwrap();
    row.hash = [9; 32];
    assert!(other.store.add_app_password(row, 9).await.unwrap());
    let refusal = other
        .refused_from("alice", made.printed.expose(), HOME, NOW)
        .await;
    assert_eq!(refusal, Refusal::AppPasswordInvalid);
}

#[tokio::test]
async fn expiry_and_networks_of_an_app_password_hold() {
    let world = World::new();
    world.add("alice").await;
    let mut new = World::new_app_password("alice", "alice");
    new.expires = Some(later(60));
    new.networks = Some(networks("192.0.2.0/28"));
    let made = world.accounts().create_app_password(&new, NOW).await.unwrap();
    let typed = made.printed.expose();
    assert!(world.attempt("alice", typed, HOME, later(59)).await.is_ok());
    assert!(
        world
            .attempt("alice", typed, "::ffff:192.0.2.1", NOW)
            .await
            .is_ok()
    );
    assert_eq!(
        world.refused_from("alice", typed, HOME, later(60)).await,
        Refusal::AppPasswordExpired
    );
    assert_eq!(
        world.refused_from("alice", typed, "198.51.100.1", NOW).await,
        Refusal::AppPasswordNetwork
    );
}

#[tokio::test]
async fn a_delegated_app_password_opens_the_shared_account_under_either_name() {
    let world = World::new();
    world.add("alice").await;
    let new = World::new_app_password("alice", "support@example.org");
    let made = world.accounts().create_app_password(&new, NOW).await.unwrap();
    for login in ["alice", "support@example.org"] {
        let verified = world
            .attempt(login, made.printed.expose(), HOME, NOW)
            .await
            .unwrap();
        assert_eq!(verified.authenticated.user(), &name("alice"));
        assert_eq!(verified.authenticated.account(), &name("support@example.org"));
    }
    world.add("support@example.org").await;
    world
        .change("support@example.org", |user| user.disabled = true)
        .await;
    let refusal = world
        .refused_from("alice", made.printed.expose(), HOME, NOW)
        .await;
    assert_eq!(
        refusal,
        Refusal::UserDisabled,
        "a disabled account is closed to everybody"
    );
}

#[tokio::test]
async fn an_app_password_never_reaches_the_backend_whatever_the_policy_waives() {
    let mut world = World::new();
    world.add("alice").await;
    let made = world.app_password("alice").await;
    world.accounts().revoke_app_password(made.id, NOW).await.unwrap();
    let text = String::from_utf8(made.printed.expose().to_vec()).unwrap();
    for (default, mode) in [
        (Requirement::Exempt, Mode::Enforce),
        (Requirement::Optional, Mode::Enforce),
        (Requirement::Required, Mode::Monitor),
    ] {
        world.ask_for(default, mode);
        let bare = text.replace('-', "");
        for behind in ["123456", ";123456"] {
            let with_code = format!("{bare}{behind}");
            assert_eq!(
                world.refused("alice", &with_code, NOW).await,
                Refusal::AppPasswordMistyped
            );
        }
        assert_eq!(
            world.refused("alice", &text, NOW).await,
            Refusal::AppPasswordRevoked
        );
        let shorter = &text[..text.len() - 1];
        assert_eq!(
            world.refused("alice", shorter, NOW).await,
            Refusal::AppPasswordMistyped
        );
        // Behind the prefix, which may have the same letter.
        let swapped = format!("{}?{}", &text[..8], &text[9..]);
        assert_eq!(
            world.refused("alice", &swapped, NOW).await,
            Refusal::AppPasswordMistyped
        );
    }
}

#[tokio::test]
async fn a_row_moved_to_another_user_or_account_opens_nothing() {
    let world = World::new();
    world.add("alice").await;
    world.add("mallory").await;
    let made = world.app_password("mallory").await;
    let hand = rusqlite::Connection::open(world.database()).unwrap();
    for column in ["user", "account"] {
        let set = |to: &str| format!("UPDATE app_passwords SET {column} = '{to}'");
        hand.execute(&set("alice"), []).unwrap();
        let refusal = world
            .refused_from("alice", made.printed.expose(), HOME, NOW)
            .await;
        assert_eq!(refusal, Refusal::AppPasswordInvalid, "{column}");
        hand.execute(&set("mallory"), []).unwrap();
    }
    assert!(
        world
            .attempt("mallory", made.printed.expose(), HOME, NOW)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_login_the_backend_accepts_is_noted_and_one_it_refuses_is_not() {
    let world = World::new();
    let alice = world.add("alice").await;
    let made = world.app_password("alice").await;
    let text = String::from_utf8(made.printed.expose().to_vec()).unwrap();
    let prefix = crate::types::Prefix::of(HOME.parse().unwrap());
    for outcome in [Outcome::Refused, Outcome::Unavailable] {
        world.enters("alice", &text, NOW, outcome).await;
        world.store.flush().await.unwrap();
        assert_eq!(
            world.store.app_password(made.id).await.unwrap().unwrap().last_use,
            None
        );
        assert!(!world.gate.knows_source(&alice, prefix, NOW).await.unwrap());
    }
    world.enters("alice", &text, NOW, Outcome::Accepted).await;
    world.store.flush().await.unwrap();
    let last_use = world
        .store
        .app_password(made.id)
        .await
        .unwrap()
        .unwrap()
        .last_use
        .unwrap();
    assert_eq!(last_use.at, NOW);
    assert_eq!(
        last_use.client.as_deref(),
        Some("Thunderbird 153"),
        "no control characters"
    );
    assert!(world.gate.knows_source(&alice, prefix, NOW).await.unwrap());
    let elsewhere = crate::types::Prefix::of("198.51.100.1".parse().unwrap());
    assert!(!world.gate.knows_source(&alice, elsewhere, NOW).await.unwrap());
    assert!(
        !world
            .gate
            .knows_source(&alice, prefix, later(91 * 86_400))
            .await
            .unwrap()
    );
}

/// Whether what is remembered of the user was asked for or not.
#[tokio::test]
async fn limits_hear_of_a_known_source_either_way() {
    let world = World::new();
    let alice = world.add("alice").await;
    let made = world.app_password("alice").await;
    let text = String::from_utf8(made.printed.expose().to_vec()).unwrap();
    world.enters("alice", &text, NOW, Outcome::Accepted).await;
    world.store.flush().await.unwrap();
    let memory = Memory::new(
        Arc::clone(&world.store),
        Arc::clone(&world.ring),
        first_sync::Options::default(),
    );
    for (ip, is_known) in [(HOME, true), ("198.51.100.1", false)] {
        let ip = ip.parse().unwrap();
        let visitor = Visitor {
            user: alice.clone(),
            ip,
            country: None,
            asn: None,
            family: None,
            tls_client: None,
            app_password: Some(made.id),
        };
        for replica in [None, Some(ReplicaId(1))] {
            for visit in [None, Some(Arc::new(memory.visit(&visitor, NOW)))] {
                let is_asked = visit.is_some();
                let source = Source {
                    ip,
                    listener: "imaps".into(),
                    client: None,
                    replica,
                    visit,
                };
                let credentials = Credentials {
                    user: alice.clone(),
                    secret: Secret::from(text.as_str()),
                    mechanism: Mechanism::Plain,
                };
                let (heard, ahead) = world.gate.hear(&credentials, &source, NOW).await.unwrap();
                assert_eq!(heard.is_known, is_known, "{ip} {replica:?} {is_asked}");
                let mut ahead = ahead.unwrap();
                let habits = ahead.take_habits();
                let remembered = memory.recall(&visitor, NOW).await.unwrap();
                assert_eq!(habits, is_asked.then_some(remembered));
                assert_eq!(ahead.take_habits(), None);
            }
        }
    }
}

#[tokio::test]
async fn a_live_session_ends_with_what_it_stands_on() {
    let world = World::new();
    world.add("alice").await;
    let mut new = World::new_app_password("alice", "alice");
    new.expires = Some(later(600));
    let made = world.accounts().create_app_password(&new, NOW).await.unwrap();
    let spare = world.app_password("alice").await;
    let lease = world
        .attempt("alice", made.printed.expose(), HOME, NOW)
        .await
        .unwrap()
        .lease;
    let other = world
        .attempt("alice", spare.printed.expose(), HOME, NOW)
        .await
        .unwrap()
        .lease;
    let leases = [lease, other];
    let ends = async |now| world.gate.recheck(&leases, now).await.unwrap();
    assert_eq!(ends(NOW).await, [None, None]);
    assert_eq!(ends(later(600)).await, [Some(EndReason::Revoked), None]);

    let mut changes = world.store.changes();
    changes.mark_unchanged();
    world.accounts().revoke_app_password(made.id, NOW).await.unwrap();
    assert!(changes.has_changed().unwrap());
    assert_eq!(ends(NOW).await, [Some(EndReason::Revoked), None]);

    world
        .change("alice", |user| user.networks = Some(networks("10.0.0.0/8")))
        .await;
    assert_eq!(ends(NOW).await[1], Some(EndReason::PolicyChanged));
    world.change("alice", |user| user.networks = None).await;
    assert_eq!(ends(NOW).await[1], None);
    world.accounts().set_disabled(&name("alice"), true).await.unwrap();
    assert_eq!(ends(NOW).await[1], Some(EndReason::Revoked));
    world
        .accounts()
        .set_disabled(&name("alice"), false)
        .await
        .unwrap();
    assert_eq!(
        ends(NOW).await[1],
        Some(EndReason::Revoked),
        "what was disabled once stays ended"
    );
}

#[tokio::test]
async fn a_new_mail_password_reaches_every_live_app_password_without_typing_any() {
    let world = World::new();
    world.add("alice").await;
    world.add("bob").await;
    let own = world.app_password("alice").await;
    let delegated = World::new_app_password("bob", "alice");
    let delegated = world
        .accounts()
        .create_app_password(&delegated, NOW)
        .await
        .unwrap();
    let other = world.app_password("bob").await;
    let new = Secret::from("a new one");
    assert_eq!(
        world
            .accounts()
            .set_mail_password(&name("alice"), &new, NOW)
            .await
            .unwrap(),
        2
    );
    for (login, made, password) in [
        ("alice", &own, "a new one"),
        ("bob", &delegated, "a new one"),
        ("bob", &other, "the mail password"),
    ] {
        let verified = world
            .attempt(login, made.printed.expose(), HOME, NOW)
            .await
            .unwrap();
        assert_eq!(sent(&verified).unwrap(), password);
    }
}
