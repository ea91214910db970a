//! Logins while the store is away: who is let in then, and who is not.

use std::fs;
use std::time::Duration;

use crate::auth::gate::GateError;
use crate::auth::gate::Options;
use crate::auth::gate::Outcome;
use crate::auth::gate::Outcome::Accepted;
use crate::auth::gate::Source;
use crate::auth::gate::Verified;
use crate::auth::window;
use crate::auth::world::HOME;
use crate::auth::world::NOW;
use crate::auth::world::World;
use crate::auth::world::later;
use crate::auth::world::name;
use crate::auth::world::sent;
use crate::auth::world::with_code;
use crate::store::StoreError;
use crate::types::Credentials;
use crate::types::Mechanism;
use crate::types::SecondFactor;
use crate::types::Secret;
use crate::types::SessionId;
use crate::types::UnixTime;

const GRACE: Duration = Duration::from_mins(10);

fn with_grace(store_away: Duration) -> World {
    World::with(Options {
        windows: window::Options {
            store_away,
            ..window::Options::default()
        },
        ..Options::default()
    })
}

impl World {
    /// Takes the store's file away, and waits until that is noticed.
    async fn lose_store(&self) {
        fs::rename(self.database(), self.folder.path().join("aside")).unwrap();
        self.wait_for(false).await;
    }

    async fn bring_store_back(&self) {
        fs::rename(self.folder.path().join("aside"), self.database()).unwrap();
        self.wait_for(true).await;
    }

    async fn wait_for(&self, answers: bool) {
        let mut changes = self.store.changes();
        while self.store.bans(NOW).await.is_ok() != answers {
            changes.changed().await.unwrap();
        }
    }

    /// As the server does it: the store first.
    async fn comes(&self, user: &str, secret: &str, ip: &str, now: UnixTime) -> Option<Verified> {
        match self.attempt(user, secret.as_bytes(), ip, now).await {
            Err(GateError::Away(StoreError::Unavailable(_))) => {}
            other => panic!("the store has answered: {other:?}"),
        }
        let credentials = Credentials {
            user: name(user),
            secret: Secret::from(secret),
            mechanism: Mechanism::Plain,
        };
        let source = Source {
            ip: ip.parse().unwrap(),
            listener: "imaps".into(),
            client: None,
            replica: None,
            visit: None,
        };
        self.gate.in_grace(&credentials, &source, now)
    }
}

#[tokio::test]
async fn an_open_window_is_honoured_while_the_store_is_away_and_nothing_else_is() {
    let world = with_grace(GRACE);
    let secret = world.enrolled("alice").await;
    let other = world.enrolled("bob").await;
    let app_password = world.app_password("alice").await;
    let typed = with_code("pw", &secret, NOW);
    world.enters("alice", &typed, NOW, Accepted).await;
    // Nobody has said whether this one is right.
    let pending = with_code("pw", &other, NOW);
    world.enters("bob", &pending, NOW, Outcome::Unavailable).await;
    world.lose_store().await;

    let verified = world.comes("alice", &typed, HOME, later(60)).await.unwrap();
    assert_eq!(verified.authenticated.factor(), &SecondFactor::TrustedWindow);
    assert_eq!(sent(&verified).unwrap(), "pw");
    assert!(verified.granted.is_some());
    let next = with_code("pw", &secret, later(60));
    let wrong = with_code("wrong", &secret, NOW);
    let typed_app_password = app_password.printed.expose();
    let typed_app_password = std::str::from_utf8(typed_app_password).unwrap();
    for (user, credential, ip) in [
        ("alice", &*next, HOME),
        ("alice", &wrong, HOME),
        ("alice", "pw", HOME),
        ("alice", "", HOME),
        ("alice", typed_app_password, HOME),
        ("alice", &typed, "198.51.100.1"),
        ("bob", &typed, HOME),
        ("bob", &pending, HOME),
        ("nobody", &typed, HOME),
    ] {
        assert!(
            world.comes(user, credential, ip, later(60)).await.is_none(),
            "{user} {credential} {ip}"
        );
    }
}

#[tokio::test]
async fn without_a_grace_nobody_is_let_in() {
    let world = World::new();
    let secret = world.enrolled("alice").await;
    let typed = with_code("pw", &secret, NOW);
    world.enters("alice", &typed, NOW, Accepted).await;
    world.lose_store().await;
    assert!(world.comes("alice", &typed, HOME, NOW).await.is_none());
}

#[tokio::test]
async fn the_grace_ends_by_the_clock_that_nobody_sets() {
    let world = with_grace(GRACE);
    let secret = world.enrolled("alice").await;
    let typed = with_code("pw", &secret, NOW);
    world.enters("alice", &typed, NOW, Accepted).await;
    world.lose_store().await;
    let verified = world.comes("alice", &typed, HOME, NOW).await.unwrap();
    world.gate.settle(verified.pending, Accepted, NOW).await.unwrap();
    world.gate.grace.skip(GRACE);
    assert!(world.comes("alice", &typed, HOME, NOW).await.is_none());
    world.bring_store_back().await;
    world.gate.ask_about_windows(NOW).await.unwrap();
    let factor = world.enters("alice", &typed, NOW, Accepted).await;
    assert_eq!(factor, SecondFactor::TrustedWindow, "the store says so");
}

#[tokio::test]
async fn what_was_heard_before_the_store_went_away_holds() {
    for end in 0..5 {
        let world = with_grace(GRACE);
        let secret = world.enrolled("alice").await;
        let alice = name("alice");
        let typed = with_code("pw", &secret, NOW);
        world.enters("alice", &typed, NOW, Accepted).await;
        match end {
            0 => assert!(world.accounts().reset(&alice, NOW).await.is_ok()),
            1 => world.change("alice", |user| user.disabled = true).await,
            2 => assert_eq!(world.store.close_windows(&alice).await.unwrap(), 1),
            // Something else: nobody can say any more whether it was about her.
            3 => {
                world.add("bob").await;
                world.change("bob", |user| user.disabled = true).await;
            }
            _ => world.gate.forget(&alice),
        }
        if end != 3 {
            // Before the store goes away it has been asked, or not: the same.
            world.gate.ask_about_windows(NOW).await.unwrap();
        }
        world.lose_store().await;
        assert!(world.comes("alice", &typed, HOME, NOW).await.is_none(), "{end}");
    }
}

#[tokio::test]
async fn what_still_stands_after_something_else_was_heard_counts_again() {
    let world = with_grace(GRACE);
    let secret = world.enrolled("alice").await;
    let typed = with_code("pw", &secret, NOW);
    world.enters("alice", &typed, NOW, Accepted).await;
    world.add("bob").await;
    world.change("bob", |user| user.disabled = true).await;
    world.gate.ask_about_windows(NOW).await.unwrap();
    world.lose_store().await;
    assert!(world.comes("alice", &typed, HOME, NOW).await.is_some());
}

#[tokio::test]
async fn a_password_that_the_backend_refuses_is_honoured_no_more() {
    let world = with_grace(GRACE);
    let secret = world.enrolled("alice").await;
    let typed = with_code("pw", &secret, NOW);
    world.enters("alice", &typed, NOW, Accepted).await;
    world.lose_store().await;
    let verified = world.comes("alice", &typed, HOME, NOW).await.unwrap();
    let settled = world.gate.settle(verified.pending, Outcome::Refused, NOW).await;
    assert!(settled.is_err(), "the store cannot be told");
    assert!(world.comes("alice", &typed, HOME, NOW).await.is_none());
}

#[tokio::test]
async fn sessions_that_began_meanwhile_end_where_their_window_was_ended() {
    let world = with_grace(GRACE);
    let mut granted = Vec::new();
    for user in ["alice", "bob"] {
        let secret = world.enrolled(user).await;
        let typed = with_code("pw", &secret, NOW);
        world.enters(user, &typed, NOW, Accepted).await;
        granted.push(typed);
    }
    world.gate.ask_about_windows(NOW).await.unwrap();
    world.lose_store().await;
    for (number, user) in [(1, "alice"), (2, "bob")] {
        let typed = &granted[usize::try_from(number - 1).unwrap()];
        let verified = world.comes(user, typed, HOME, NOW).await.unwrap();
        let granted = verified.granted.unwrap();
        world.gate.session_granted(SessionId::new(number), &granted);
        world.gate.settle(verified.pending, Accepted, NOW).await.unwrap();
    }
    assert!(world.gate.wrongly_granted(NOW).await.is_err());
    world.bring_store_back().await;
    // As another replica would have done it while this one was cut off.
    assert_eq!(world.store.close_windows(&name("alice")).await.unwrap(), 1);
    assert_eq!(
        world.gate.wrongly_granted(NOW).await.unwrap(),
        [SessionId::new(1)]
    );
    assert_eq!(world.gate.wrongly_granted(NOW).await.unwrap(), [], "once");
}
