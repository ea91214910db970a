//! Logins with the main password alone, and users the policy treats specially.

use crate::auth::gate::GateError;
use crate::auth::gate::Options;
use crate::auth::world::HOME;
use crate::auth::world::NOW;
use crate::auth::world::World;
use crate::auth::world::later;
use crate::auth::world::name;
use crate::auth::world::networks;
use crate::auth::world::sent;
use crate::auth::world::with_code;
use crate::policy::factor::Mode;
use crate::policy::factor::Requirement;
use crate::store::MfaSetting;
use crate::types::EndReason;
use crate::types::Refusal;
use crate::types::SecondFactor;

#[tokio::test]
async fn the_main_password_alone_passes_only_where_the_policy_says_so() {
    let mut world = World::new();
    world.add("alice").await;
    assert_eq!(
        world.refused("alice", "hunter2", NOW).await,
        Refusal::SecondFactorMissing
    );
    for (default, mode, factor, monitored) in [
        (Requirement::Exempt, Mode::Enforce, SecondFactor::Exempt, None),
        (
            Requirement::Optional,
            Mode::Enforce,
            SecondFactor::NotEnrolled,
            None,
        ),
        (
            Requirement::Required,
            Mode::Monitor,
            SecondFactor::NotEnrolled,
            Some(Refusal::SecondFactorMissing),
        ),
    ] {
        world.ask_for(default, mode);
        let verified = world
            .attempt("alice", b"hunter2;123456", HOME, NOW)
            .await
            .unwrap();
        assert_eq!(sent(&verified).unwrap(), "hunter2;123456", "byte for byte");
        assert_eq!(verified.authenticated.factor(), &factor);
        assert_eq!(verified.monitored, monitored);
        assert_eq!(world.refused("alice", "", NOW).await, Refusal::PasswordInvalid);
    }
}

#[tokio::test]
async fn a_right_code_counts_even_where_none_is_asked_for() {
    let mut world = World::new();
    let secret = world.enrolled("alice").await;
    world.ask_for(Requirement::Required, Mode::Monitor);
    let typed = with_code("pw", &secret, NOW);
    let verified = world.attempt("alice", typed.as_bytes(), HOME, NOW).await.unwrap();
    assert_eq!(verified.authenticated.factor(), &SecondFactor::Totp);
    assert_eq!(sent(&verified).unwrap(), "pw");
    assert_eq!(verified.monitored, None);
    let other = with_code("other", &secret, NOW);
    assert_eq!(world.refused("alice", &other, NOW).await, Refusal::CodeReplayed);
    let wrong = world.attempt("alice", b"pw;000000x", HOME, NOW).await.unwrap();
    assert_eq!(wrong.monitored, Some(Refusal::SecondFactorMissing));
}

#[tokio::test]
async fn unknown_disabled_and_misplaced_users_are_refused_whatever_the_policy_waives() {
    let mut world = World::new();
    world.add("alice").await;
    world.ask_for(Requirement::Exempt, Mode::Enforce);
    assert_eq!(world.refused("nobody", "pw", NOW).await, Refusal::UnknownUser);
    assert_eq!(
        world.refused("Alice", "pw", NOW).await,
        Refusal::UnknownUser,
        "byte for byte"
    );
    world
        .change("alice", |user| user.networks = Some(networks("192.0.2.128/25")))
        .await;
    assert_eq!(world.refused("alice", "pw", NOW).await, Refusal::NetworkDenied);
    world.change("alice", |user| user.disabled = true).await;
    assert_eq!(world.refused("alice", "pw", NOW).await, Refusal::UserDisabled);
}

#[tokio::test]
async fn users_who_are_not_listed_come_in_only_where_that_is_switched_on_and_nothing_is_asked_for() {
    let mut world = World::with(Options {
        admit_unknown: true,
        ..Options::default()
    });
    assert_eq!(
        world.refused("carol", "pw", NOW).await,
        Refusal::SecondFactorMissing
    );
    world.ask_for(Requirement::Optional, Mode::Enforce);
    let verified = world.attempt("carol", b"pw", HOME, NOW).await.unwrap();
    assert_eq!(verified.authenticated.factor(), &SecondFactor::NotEnrolled);
    let leases = [verified.lease];
    assert_eq!(world.gate.recheck(&leases, NOW).await.unwrap(), [None]);
    world.add("carol").await;
    assert_eq!(world.gate.recheck(&leases, NOW).await.unwrap(), [None]);
    world.change("carol", |user| user.disabled = true).await;
    assert_eq!(
        world.gate.recheck(&leases, NOW).await.unwrap(),
        [Some(EndReason::Revoked)]
    );
}

/// Most mail servers take `Alice` for `alice`, some take accents and widths for nothing: who is listed keeps the second factor, whatever
/// the name is typed like.
#[tokio::test]
async fn nobody_comes_in_by_another_spelling_of_a_listed_name() {
    let mut world = World::with(Options {
        admit_unknown: true,
        ..Options::default()
    });
    world.ask_for(Requirement::Optional, Mode::Enforce);
    let secret = world.enrolled("alice@example.org").await;
    world.add("Bob").await;
    world.add("Dan").await;
    world.add("dan").await;
    let typed = with_code("pw", &secret, NOW);
    for (name, secret, refusal) in [
        ("Alice@example.org", "pw", Refusal::SecondFactorMissing),
        ("alice@EXAMPLE.org", &typed, Refusal::SecondFactorMissing),
        ("DAN", "pw", Refusal::UnknownUser),
        ("älice@example.org", "pw", Refusal::UnknownUser),
        ("ａlice@example.org", "pw", Refusal::UnknownUser),
    ] {
        assert_eq!(world.refused(name, secret, NOW).await, refusal, "{name}");
    }
    for name in ["Alice", "alice", "Bob", "bob2", "dan", "Carol"] {
        assert!(world.attempt(name, b"pw", HOME, NOW).await.is_ok(), "{name}");
    }
    // Who needs no second factor is let in by any spelling, as the one who is listed: limits and rules know no other.
    let verified = world.attempt("bob", b"pw", HOME, NOW).await.unwrap();
    let won = &verified.authenticated;
    assert_eq!([won.user().as_str(), won.account().as_str()], ["Bob"; 2]);
    let lease = verified.lease;
    world
        .change("Bob", |user| user.networks = Some(networks("192.0.2.128/25")))
        .await;
    assert_eq!(world.refused("bob", "pw", NOW).await, Refusal::NetworkDenied);
    world.change("Bob", |user| user.disabled = true).await;
    assert_eq!(world.refused("bOb", "pw", NOW).await, Refusal::UserDisabled);
    assert_eq!(
        world.gate.recheck(&[lease], NOW).await.unwrap(),
        [Some(EndReason::Revoked)]
    );
}

#[tokio::test]
async fn a_removed_user_has_no_session_left() {
    let mut world = World::new();
    let alice = world.add("alice").await;
    world.ask_for(Requirement::Exempt, Mode::Enforce);
    let lease = world.attempt("alice", b"pw", HOME, NOW).await.unwrap().lease;
    assert!(world.store.remove_user(&alice).await.unwrap());
    assert_eq!(
        world.gate.recheck(&[lease], NOW).await.unwrap(),
        [Some(EndReason::Revoked)]
    );
}

#[tokio::test]
async fn a_users_own_setting_deadline_and_enrolment_decide() {
    let world = World::new();
    world.add("alice").await;
    let passes = async || world.attempt("alice", b"pw", HOME, NOW).await.is_ok();
    assert!(!passes().await, "required by default");
    world.change("alice", |user| user.enrol_by = Some(later(1))).await;
    assert!(passes().await, "enrolment is open");
    world.change("alice", |user| user.enrol_by = Some(NOW)).await;
    assert!(!passes().await, "the deadline is over");
    world
        .change("alice", |user| user.mfa = Some(MfaSetting::Optional))
        .await;
    assert!(passes().await);
    let made = world.app_password("alice").await;
    assert!(!passes().await, "an app password is an enrolment");
    world
        .change("alice", |user| user.mfa = Some(MfaSetting::Exempt))
        .await;
    assert!(passes().await);
    world
        .change("alice", |user| user.mfa = Some(MfaSetting::Optional))
        .await;
    world.accounts().revoke_app_password(made.id, NOW).await.unwrap();
    assert!(passes().await);
    world.enrol(&name("alice")).await;
    assert!(!passes().await, "a one-time secret is an enrolment");
}

#[tokio::test]
async fn a_store_that_does_not_answer_lets_nobody_in() {
    let mut world = World::new();
    world.add("alice").await;
    let made = world.app_password("alice").await;
    world.ask_for(Requirement::Exempt, Mode::Enforce);
    let away = world.folder.path().join("away");
    std::fs::rename(world.database(), away).unwrap();
    let lost = async {
        while world.store.user(&name("alice")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), lost)
        .await
        .unwrap();
    for secret in [&b"pw"[..], made.printed.expose()] {
        let answer = world.attempt("alice", secret, HOME, later(1)).await;
        assert!(matches!(answer, Err(GateError::Away(_))));
    }
}
