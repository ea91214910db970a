//! Who guesses is held up: delays, limits, slots, whatever the parallelism.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use super::*;

#[test]
fn five_wrong_secrets_close_the_pair_and_one_more_is_let_in_as_time_passes() {
    let mut world = World::new(impatient());
    for secret in 1..=5 {
        assert!(world.fail(guess(OFFICE, "alice", secret)).unwrap().counted);
        world.pass(20 * SECOND);
    }
    assert_eq!(
        world.fail(guess(OFFICE, "alice", 6)).unwrap_err(),
        RefusedBy::Pair
    );
    assert!(world.fail(guess(OFFICE, "bob", 6)).is_ok(), "another user");
    assert!(world.fail(guess(ATTACKER, "alice", 7)).is_ok(), "another address");
    world.pass(3 * MINUTE);
    assert!(world.fail(guess(OFFICE, "alice", 8)).is_ok());
    world.pass(40 * SECOND);
    assert_eq!(
        world.fail(guess(OFFICE, "alice", 9)).unwrap_err(),
        RefusedBy::Pair
    );
    world.pass(15 * MINUTE);
    assert!(world.fail(guess(OFFICE, "alice", 10)).is_ok());
}

#[test]
fn the_delay_grows_with_each_wrong_secret() {
    let mut world = World::new(impatient());
    for (secret, delay) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        assert!(world.fail(guess(OFFICE, "alice", secret)).is_ok());
        world.pass(delay * SECOND - Duration::from_millis(1));
        let early = world.fail(guess(OFFICE, "alice", 100 + secret));
        assert_eq!(early.unwrap_err(), RefusedBy::Pair, "{delay}");
        world.pass(Duration::from_millis(1));
    }
    assert!(world.fail(guess(OFFICE, "alice", 5)).is_ok());
}

#[test]
fn no_more_guesses_wait_than_five_however_high_the_limit_is() {
    let mut options = Options::default();
    options.pair.failures = 100;
    let world = World::new(options);
    let tickets: Vec<_> = (1..20)
        .map(|secret| world.check(guess(OFFICE, "alice", secret)))
        .collect();
    let granted = tickets.iter().flatten().map(|ticket| ticket.delay().as_secs());
    assert_eq!(Vec::from_iter(granted), [0, 1, 2, 3, 4]);
    drop(tickets);
    assert!(world.check(guess(OFFICE, "alice", 20)).is_ok());
}

#[test]
fn a_short_wait_is_granted_and_a_long_one_refused() {
    let world = World::new(Options::default());
    assert!(world.fail(guess(OFFICE, "alice", 1)).is_ok());
    let ticket = world.check(guess(OFFICE, "alice", 2)).unwrap();
    assert_eq!(ticket.delay(), SECOND);
    drop(ticket);
    let delays: Vec<_> = (3..50)
        .map(|secret| {
            world
                .check(guess(ATTACKER, &format!("user{secret}"), secret))
                .map(|ticket| ticket.delay().as_secs())
        })
        .collect();
    let granted: Vec<_> = delays.iter().flatten().copied().collect();
    assert_eq!(granted, Vec::from_iter(0..=20));
    assert!(delays[21..].iter().all(|delay| *delay == Err(RefusedBy::Prefix)));
}

#[test]
fn one_guess_a_second_per_address_and_per_account_whatever_the_parallelism() {
    for patience in [Duration::ZERO, 5 * SECOND, Options::default().patience] {
        for by_account in [false, true] {
            let mut options = Options {
                patience,
                ..Options::default()
            };
            // Only the slots are looked at here.
            options.prefix.failures = 100_000;
            let world = World::new(options);
            let starts = Mutex::new(BTreeSet::new());
            let number = AtomicU64::new(1);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        for milliseconds in (0..10_000).step_by(50) {
                            let secret = number.fetch_add(1, Ordering::Relaxed);
                            let (ip, user) = if by_account {
                                let host = secret % 250;
                                (format!("203.0.{}.{host}", secret / 250), "alice".to_owned())
                            } else {
                                (ATTACKER.to_owned(), format!("user{secret}"))
                            };
                            let user = UserName::parse(user.as_bytes()).unwrap();
                            let attempt = Attempt {
                                ip: ip.parse().unwrap(),
                                user: &user,
                                secret,
                                step: None,
                                known: false,
                                unguessable: false,
                                heard: Heard::default(),
                            };
                            let at = Duration::from_millis(milliseconds);
                            if let Decision::Go(ticket) = world.attempts.check(&attempt, world.instant() + at)
                            {
                                assert!(starts.lock().unwrap().insert(at + ticket.delay()));
                                let _ = ticket.failed(world.instant() + at);
                            }
                        }
                    });
                }
            });
            let starts: Vec<_> = starts.into_inner().unwrap().into_iter().collect();
            assert!(starts.len() >= 10, "{}", starts.len());
            for pair in starts.windows(2) {
                assert!(pair[1] - pair[0] >= SECOND, "{pair:?}");
            }
        }
    }
}

#[test]
fn parallel_guesses_cannot_pass_the_limit_together() {
    let mut options = impatient();
    options.pair.spacing = Duration::ZERO;
    options.prefix.spacing = Duration::ZERO;
    options.account_spacing = Duration::ZERO;
    let world = World::new(options);
    let tickets: Vec<_> = (1..100)
        .flat_map(|secret| world.check(guess(ATTACKER, "alice", secret)))
        .collect();
    assert_eq!(tickets.len(), 5);
    drop(tickets);
    assert!(world.check(guess(ATTACKER, "alice", 200)).is_ok());
    let tickets: Vec<_> = (1..100)
        .flat_map(|secret| world.check(guess(ATTACKER, &format!("user{secret}"), secret)))
        .collect();
    assert_eq!(tickets.len(), 50);
}

#[test]
fn a_prefix_is_limited_whoever_it_guesses_at() {
    let mut world = World::new(impatient());
    let looked_at = world.storm(30 * MINUTE, |secret| {
        vec![(ATTACKER.into(), format!("user{secret}"))]
    });
    assert!((90..=101).contains(&looked_at), "{looked_at}");
    let _ = world.fail(guess(ATTACKER, "user", 1));
    world.pass(SECOND);
    assert_eq!(
        world.check(app_password(ATTACKER, "alice", 1)).unwrap_err(),
        RefusedBy::Prefix
    );
}

#[test]
fn an_account_of_ones_own_does_not_clear_ones_record() {
    let mut world = World::new(impatient());
    let mut looked_at = 0;
    for secret in 0..1_800 {
        let _ = world.succeed(guess(ATTACKER, "mallory", 1));
        looked_at += u64::from(world.fail(guess(ATTACKER, &format!("u{secret}"), secret)).is_ok());
        world.pass(SECOND);
    }
    // One other user logs in from there, so it is twice the limit and no more.
    assert!(looked_at <= 201, "{looked_at}");
}

#[test]
fn rules_are_told_what_was_tried_at_an_account_since_somebody_got_in() {
    let mut world = World::new(Options::default());
    let name = |text: &str| UserName::parse(text.as_bytes()).unwrap();
    let tried = |world: &World, user: &str| {
        let tried = world.attempts.tried(&name(user), world.instant());
        (tried.failures, tried.networks)
    };
    assert_eq!(tried(&world, "alice"), (0, 0));
    let sources = [
        OFFICE,
        ATTACKER,
        "2001:db8:1:1::1",
        "2001:db8:1:2::1",
        "2001:db8:2::1",
    ];
    for (secret, ip) in (1..).zip(sources) {
        assert!(world.fail(guess(ip, "alice", secret)).unwrap().counted);
        world.pass(MINUTE);
    }
    assert_eq!(
        tried(&world, "alice"),
        (5, 4),
        "two prefixes of one site are one network"
    );
    assert_eq!(tried(&world, "ALICE"), (5, 4));
    assert_eq!(tried(&world, "bob"), (0, 0));
    assert!(!world.fail(guess(OFFICE, "alice", 1)).unwrap().counted);
    world.pass(MINUTE);
    world.check(guess(OFFICE, "alice", 9)).unwrap().void();
    assert_eq!(
        tried(&world, "alice"),
        (5, 4),
        "neither the same again nor trouble of ours"
    );
    world.pass(20 * 60 * MINUTE);
    world.attempts.sweep(world.instant());
    assert_eq!(tried(&world, "alice"), (5, 4), "slow guessing is guessing");
    world.succeed(known(OFFICE, "alice", 77)).unwrap();
    assert_eq!(tried(&world, "alice"), (0, 0));

    assert!(world.fail(guess(OFFICE, "alice", 78)).is_ok());
    world.pass(24 * 60 * MINUTE);
    assert_eq!(tried(&world, "alice"), (0, 0), "a day later");
    assert!(world.fail(guess(ATTACKER, "alice", 79)).is_ok());
    assert_eq!(tried(&world, "alice"), (1, 1));
}
