//! Logins with a password and a one-time code, and the windows they open.

use std::sync::Arc;

use crate::auth::gate::GateError;
use crate::auth::gate::Options;
use crate::auth::gate::Outcome;
use crate::auth::gate::Outcome::Accepted;
use crate::auth::gate::Source;
use crate::auth::keys::Keys;
use crate::auth::rotation;
use crate::auth::totp::code_at;
use crate::auth::world::HOME;
use crate::auth::world::NOW;
use crate::auth::world::World;
use crate::auth::world::later;
use crate::auth::world::name;
use crate::auth::world::sent;
use crate::auth::world::with_code;
use crate::policy::factor::Policy;
use crate::store::StoreError;
use crate::types::Credentials;
use crate::types::EndReason;
use crate::types::Mechanism;
use crate::types::Refusal;
use crate::types::SecondFactor;
use crate::types::Secret;

#[tokio::test]
async fn a_right_code_lets_the_password_through_to_the_backend() {
    let world = World::new();
    let secret = world.enrolled("alice").await;
    let typed = with_code("hunter2", &secret, NOW);
    let verified = world.attempt("alice", typed.as_bytes(), HOME, NOW).await.unwrap();
    assert_eq!(verified.authenticated.factor(), &SecondFactor::Totp);
    assert_eq!(sent(&verified).unwrap(), "hunter2", "without separator and code");
}

#[tokio::test]
async fn without_a_right_code_the_backend_is_never_asked() {
    let world = World::new();
    let secret = world.enrolled("alice").await;
    let wrong = |code: &str| if code == "000000" { "000001" } else { "000000" };
    let code = code_at(&secret, NOW).unwrap();
    let typed = format!("hunter2;{}", wrong(&code));
    assert_eq!(world.refused("alice", &typed, NOW).await, Refusal::CodeInvalid);
    for typed in ["hunter2", "hunter2;", "12345", &code, &format!(";{code}"), ""] {
        let refusal = world.refused("alice", typed, NOW).await;
        let expected = if typed.is_empty() {
            Refusal::PasswordInvalid
        } else {
            Refusal::SecondFactorMissing
        };
        assert_eq!(refusal, expected, "{typed}");
    }
    let bob = world.enrolled("bob").await;
    let theirs = with_code("hunter2", &bob, NOW);
    if code_at(&bob, NOW) != code_at(&secret, NOW) {
        assert_eq!(world.refused("alice", &theirs, NOW).await, Refusal::CodeInvalid);
    }
    assert_eq!(
        world.refused("nobody", &with_code("x", &secret, NOW), NOW).await,
        Refusal::UnknownUser
    );
}

#[tokio::test]
async fn a_code_is_good_for_one_step_to_either_side() {
    for (typed_at, accepted) in [(-60, false), (-30, true), (0, true), (30, true), (60, false)] {
        let world = World::new();
        let secret = world.enrolled("alice").await;
        let typed = with_code("pw", &secret, later(typed_at));
        let answer = world.attempt("alice", typed.as_bytes(), HOME, NOW).await;
        assert_eq!(answer.is_ok(), accepted, "{typed_at}");
    }
}

#[tokio::test]
async fn a_code_enters_once_and_older_ones_never_after_it() {
    let world = World::new();
    let secret = world.enrolled("alice").await;
    world
        .enters("alice", &with_code("pw", &secret, NOW), NOW, Accepted)
        .await;
    let other = with_code("other", &secret, NOW);
    assert_eq!(world.refused("alice", &other, NOW).await, Refusal::CodeReplayed);
    let older = with_code("pw", &secret, later(-30));
    assert_eq!(world.refused("alice", &older, NOW).await, Refusal::CodeReplayed);
    let elsewhere = with_code("pw", &secret, NOW);
    let refusal = world
        .refused_from("alice", elsewhere.as_bytes(), "198.51.100.1", NOW)
        .await;
    assert_eq!(refusal, Refusal::CodeReplayed, "another network has no window");
    let next = with_code("other", &secret, later(30));
    assert!(
        world
            .attempt("alice", next.as_bytes(), HOME, later(30))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn the_code_that_confirmed_the_enrolment_is_consumed() {
    let world = World::new();
    let secret = world.enrolled("alice").await;
    let hour_ago = later(-3600);
    let typed = with_code("pw", &secret, hour_ago);
    assert_eq!(
        world.refused("alice", &typed, hour_ago).await,
        Refusal::CodeReplayed
    );
}

#[tokio::test]
async fn the_very_same_credential_is_let_in_again_while_its_window_is_open() {
    let world = World::new();
    let secret = world.enrolled("alice").await;
    let typed = with_code("pw", &secret, NOW);
    assert_eq!(
        world.enters("alice", &typed, NOW, Accepted).await,
        SecondFactor::Totp
    );
    for seconds in [1, 100, 7_000] {
        let verified = world
            .attempt("alice", typed.as_bytes(), HOME, later(seconds))
            .await
            .unwrap();
        assert_eq!(verified.authenticated.factor(), &SecondFactor::TrustedWindow);
        assert_eq!(sent(&verified).unwrap(), "pw");
    }
    assert_eq!(
        world.refused("alice", &typed, later(7_200)).await,
        Refusal::CodeInvalid,
        "idle"
    );
}

#[tokio::test]
async fn use_keeps_a_window_from_idling_out_and_never_makes_it_longer() {
    let world = World::new();
    let secret = world.enrolled("alice").await;
    let typed = with_code("pw", &secret, NOW);
    world.enters("alice", &typed, NOW, Accepted).await;
    let mut at = 0;
    while at + 3_600 < 12 * 3_600 {
        at += 3_600;
        assert_eq!(
            world.enters("alice", &typed, later(at), Accepted).await,
            SecondFactor::TrustedWindow
        );
        world.store.flush().await.unwrap();
    }
    assert_eq!(
        world.enters("alice", &typed, later(43_199), Accepted).await,
        SecondFactor::TrustedWindow
    );
    world.store.flush().await.unwrap();
    assert_eq!(
        world.refused("alice", &typed, later(43_200)).await,
        Refusal::CodeInvalid
    );
}

#[tokio::test]
async fn a_window_is_for_one_user_one_credential_one_network_and_one_listener() {
    let world = World::new();
    let secret = world.enrolled("alice").await;
    world.enrolled("bob").await;
    let typed = with_code("pw", &secret, NOW);
    world.enters("alice", &typed, NOW, Accepted).await;
    let soon = later(90);
    assert_eq!(world.refused("bob", &typed, soon).await, Refusal::CodeInvalid);
    assert_eq!(
        world.refused("alice", &typed.replace(';', ","), soon).await,
        Refusal::CodeInvalid
    );
    let elsewhere = world
        .refused_from("alice", typed.as_bytes(), "192.0.2.2", soon)
        .await;
    assert_eq!(elsewhere, Refusal::CodeInvalid);
    let credentials = Credentials {
        user: name("alice"),
        secret: Secret::from(typed.as_str()),
        mechanism: Mechanism::Login,
    };
    let source = Source {
        ip: HOME.parse().unwrap(),
        listener: "starttls".into(),
        client: None,
        replica: None,
        visit: None,
    };
    assert!(
        world
            .gate
            .verify(&credentials, &source, soon, soon)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_whole_ipv6_network_of_one_subscriber_is_one_source() {
    let world = World::new();
    let secret = world.enrolled("alice").await;
    let typed = with_code("pw", &secret, NOW);
    let first = world
        .attempt("alice", typed.as_bytes(), "2001:db8::1", NOW)
        .await
        .unwrap();
    world.gate.settle(first.pending, Accepted, NOW).await.unwrap();
    assert!(
        world
            .attempt("alice", typed.as_bytes(), "2001:db8::2", later(60))
            .await
            .is_ok()
    );
    assert!(
        world
            .attempt("alice", typed.as_bytes(), "2001:db8:0:1::2", later(60))
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_logins_at_once_with_one_credential_all_pass_and_consume_one_code() {
    let world = Arc::new(World::new());
    let secret = world.enrolled("alice").await;
    let typed = with_code("pw", &secret, NOW);
    let racers: Vec<_> = (0..50)
        .map(|_| {
            let (world, typed) = (Arc::clone(&world), typed.clone());
            tokio::spawn(async move { world.enters("alice", &typed, NOW, Accepted).await })
        })
        .collect();
    let mut codes = 0;
    for racer in racers {
        codes += u32::from(racer.await.unwrap() == SecondFactor::Totp);
    }
    assert_eq!(codes, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_passwords_at_once_with_one_code_are_one_guess() {
    let world = Arc::new(World::new());
    let secret = world.enrolled("alice").await;
    let racers: Vec<_> = (0..50)
        .map(|number| {
            let typed = with_code(&format!("guess{number}"), &secret, NOW);
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                world
                    .attempt("alice", typed.as_bytes(), HOME, NOW)
                    .await
                    .map(drop)
            })
        })
        .collect();
    let mut passed = 0;
    for racer in racers {
        match racer.await.unwrap() {
            Ok(()) => passed += 1,
            Err(GateError::Refused(refusal)) => assert_eq!(refusal, Refusal::CodeReplayed),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(passed, 1);
}

#[tokio::test]
async fn a_password_the_backend_refuses_closes_its_window() {
    let world = World::new();
    let secret = world.enrolled("alice").await;
    let typed = with_code("wrong", &secret, NOW);
    world.enters("alice", &typed, NOW, Outcome::Refused).await;
    assert_eq!(world.refused("alice", &typed, NOW).await, Refusal::CodeReplayed);

    let typed = with_code("right", &secret, later(60));
    world.enters("alice", &typed, later(60), Accepted).await;
    assert_eq!(
        world.enters("alice", &typed, later(70), Outcome::Refused).await,
        SecondFactor::TrustedWindow
    );
    assert_eq!(
        world.refused("alice", &typed, later(80)).await,
        Refusal::CodeReplayed,
        "changed at the backend"
    );
}

#[tokio::test]
async fn a_backend_outage_costs_no_code() {
    let world = World::new();
    let secret = world.enrolled("alice").await;
    let typed = with_code("pw", &secret, NOW);
    assert_eq!(
        world.enters("alice", &typed, NOW, Outcome::Unavailable).await,
        SecondFactor::Totp
    );
    assert_eq!(
        world.enters("alice", &typed, later(299), Accepted).await,
        SecondFactor::TrustedWindow
    );
    assert_eq!(
        world.enters("alice", &typed, later(3_000), Accepted).await,
        SecondFactor::TrustedWindow
    );
}

#[tokio::test]
async fn a_window_that_nobody_settled_ends_after_minutes() {
    let world = World::new();
    let secret = world.enrolled("alice").await;
    let typed = with_code("pw", &secret, NOW);
    world.enters("alice", &typed, NOW, Outcome::Unavailable).await;
    assert_eq!(
        world.refused("alice", &typed, later(300)).await,
        Refusal::CodeInvalid
    );
}

#[tokio::test]
async fn windows_end_with_the_secret_the_mail_password_and_the_user() {
    for what in 0..4 {
        let world = World::new();
        let secret = world.enrolled("alice").await;
        let alice = name("alice");
        let typed = with_code("pw", &secret, NOW);
        world.enters("alice", &typed, NOW, Accepted).await;
        let lease = world
            .attempt("alice", typed.as_bytes(), HOME, later(1))
            .await
            .unwrap()
            .lease;
        let refusal = match what {
            0 => {
                world.enrol(&alice).await;
                Refusal::CodeInvalid
            }
            1 => {
                world
                    .accounts()
                    .set_mail_password(&alice, &Secret::from("new"), NOW)
                    .await
                    .unwrap();
                Refusal::CodeReplayed
            }
            2 => {
                world.accounts().set_disabled(&alice, true).await.unwrap();
                world.accounts().set_disabled(&alice, false).await.unwrap();
                Refusal::CodeReplayed
            }
            _ => {
                world.accounts().reset(&alice, NOW).await.unwrap();
                Refusal::SecondFactorMissing
            }
        };
        assert_eq!(world.refused("alice", &typed, later(2)).await, refusal, "{what}");
        let ends = world.gate.recheck(&[lease], NOW).await.unwrap();
        assert_eq!(ends, [(what != 1).then_some(EndReason::Revoked)], "{what}");
    }
}

#[tokio::test]
async fn a_verdict_that_comes_after_a_reset_opens_nothing() {
    let world = World::new();
    let secret = world.enrolled("alice").await;
    let typed = with_code("pw", &secret, NOW);
    let verified = world.attempt("alice", typed.as_bytes(), HOME, NOW).await.unwrap();
    world.accounts().reset(&name("alice"), NOW).await.unwrap();
    world.gate.settle(verified.pending, Accepted, NOW).await.unwrap();
    assert_eq!(
        world.refused("alice", &typed, later(1)).await,
        Refusal::SecondFactorMissing
    );
}

#[tokio::test]
async fn codes_on_the_wire_can_be_switched_off() {
    let world = World::with(Options {
        wire_codes: false,
        ..Options::default()
    });
    let secret = world.enrolled("alice").await;
    let typed = with_code("pw", &secret, NOW);
    assert_eq!(
        world.refused("alice", &typed, NOW).await,
        Refusal::SecondFactorMissing
    );
}

#[tokio::test]
async fn a_one_time_secret_moved_to_another_user_is_our_fault_and_lets_nobody_in() {
    let world = World::new();
    let secret = world.enrolled("mallory").await;
    world.enrolled("alice").await;
    let hand = rusqlite::Connection::open(world.database()).unwrap();
    hand.execute(
        "UPDATE totp SET sealed = (SELECT sealed FROM totp WHERE user = 'mallory') WHERE user = 'alice'",
        [],
    )
    .unwrap();
    let typed = with_code("pw", &secret, NOW);
    let answer = world.attempt("alice", typed.as_bytes(), HOME, NOW).await;
    assert!(matches!(answer, Err(GateError::Unavailable(_))));
}

fn attempt_of(user: &str, typed: &str) -> (Credentials, Source) {
    let credentials = Credentials {
        user: name(user),
        secret: Secret::from(typed),
        mechanism: Mechanism::Plain,
    };
    let source = Source {
        ip: HOME.parse().unwrap(),
        listener: "imaps".into(),
        client: None,
        replica: None,
        visit: None,
    };
    (credentials, source)
}

#[tokio::test]
async fn a_code_that_meets_a_change_of_the_key_is_not_used_up_and_counts_for_nothing() {
    let keys = |number: u8| Keys::derive(&[number; 32]).unwrap();
    let mut world = World::new();
    world.hold(vec![keys(2), keys(1)]);
    world.store.check_key(keys(1).check()).await.unwrap();
    let secret = world.enrolled("bob").await;
    let typed = with_code("pw", &secret, NOW);
    let (credentials, source) = attempt_of("bob", &typed);
    let asked = world.gate.look_up(&credentials, &source, None, NOW).await;
    let (attempt, found) = asked.unwrap();
    let next = Arc::clone(&world.ring.all()[0]);
    rotation::rotate(&*world.store, &world.ring, next, NOW)
        .await
        .unwrap();
    let met = world.gate.by_password(&attempt, &found).await;
    assert!(
        matches!(met, Err(GateError::Unavailable(StoreError::Unavailable(_)))),
        "{met:?}"
    );
    assert_eq!(
        world.enters("bob", &typed, NOW, Accepted).await,
        SecondFactor::Totp
    );
}

#[tokio::test]
async fn a_code_that_had_to_wait_is_as_good_as_when_it_was_typed() {
    let world = World::new();
    let secret = world.enrolled("bob").await;
    let (credentials, source) = attempt_of("bob", &with_code("pw", &secret, NOW));
    let verify = async |typed| world.gate.verify(&credentials, &source, later(90), typed).await;
    let late = verify(later(90)).await;
    assert!(
        matches!(late, Err(GateError::Refused(Refusal::CodeInvalid))),
        "{late:?}"
    );
    let verified = verify(NOW).await.unwrap();
    assert_eq!(verified.authenticated.factor(), &SecondFactor::Totp);
    let again = verify(NOW).await.unwrap();
    assert_eq!(
        again.authenticated.factor(),
        &SecondFactor::TrustedWindow,
        "and enters once"
    );
}

#[tokio::test]
async fn what_was_found_under_another_key_is_nothing_to_go_by() {
    let keys = |number: u8| Keys::derive(&[number; 32]).unwrap();
    let mut world = World::new();
    world.hold(vec![keys(2), keys(1)]);
    world.store.check_key(keys(1).check()).await.unwrap();
    let secret = world.enrolled("bob").await;
    let (credentials, source) = attempt_of("bob", &with_code("pw", &secret, NOW));
    let hear = async || world.gate.hear(&credentials, &source, NOW).await.unwrap().1;
    assert!(hear().await.is_some());
    // Another process has brought another key in force.
    let other = world.elsewhere(vec![keys(2), keys(1)]);
    let next = Arc::clone(&other.ring().all()[0]);
    rotation::rotate(&*world.store, other.ring(), next, NOW)
        .await
        .unwrap();
    assert!(hear().await.is_none());
    let verified = world.gate.verify(&credentials, &source, NOW, NOW).await.unwrap();
    assert_eq!(verified.authenticated.factor(), &SecondFactor::Totp);
    assert!(hear().await.is_some(), "it goes by the new one now");
}

#[tokio::test]
async fn what_ends_in_six_digits_may_end_in_a_code_and_an_ordinary_password_does_not() {
    let world = World::new();
    let without = world.gate.with(
        Options {
            wire_codes: false,
            ..Options::default()
        },
        Policy::default(),
    );
    for (typed, may) in [
        ("correct horse", false),
        ("horse12345", false),
        ("123456", false),
        ("horse123456", true),
        ("horse;123456", true),
    ] {
        let (credentials, _) = attempt_of("alice", typed);
        assert_eq!(world.gate.may_end_in_a_code(&credentials), may, "{typed}");
        assert!(!without.may_end_in_a_code(&credentials), "{typed}");
    }
}
