//! Several replicas that count together.

use super::*;

/// A wrong password counts so long, by default.
const STEP: Duration = Duration::from_secs(3 * 60);

fn heard(pair: Duration) -> Heard {
    Heard {
        pair,
        ..Heard::default()
    }
}

#[test]
fn what_was_counted_elsewhere_limits_as_what_was_counted_here() {
    let mut world = World::new(impatient());
    let alice = |secret, heard| Try {
        heard,
        ..guess(ATTACKER, "alice", secret)
    };
    assert_eq!(world.fail(alice(1, heard(STEP * 5))), Err(RefusedBy::Pair));
    assert_eq!(
        world.fail(alice(1, heard(STEP * 900))),
        Err(RefusedBy::Pair),
        "as much as that is not believed, but it is counted"
    );
    assert!(world.fail(alice(1, heard(STEP * 4))).is_ok());
    world.pass(MINUTE);
    assert!(
        world.fail(alice(2, heard(Duration::ZERO))).is_ok(),
        "it is not remembered here: it may be forgiven elsewhere"
    );
    world.pass(MINUTE);
    let of_source = Heard {
        prefix: Options::default().prefix.window,
        ..Heard::default()
    };
    let bob = Try {
        heard: of_source,
        ..guess(ATTACKER, "bob", 3)
    };
    assert_eq!(world.fail(bob), Err(RefusedBy::Prefix));
    let at_home = Try { known: true, ..bob };
    assert!(
        world.fail(at_home).is_ok(),
        "whoever is known is not measured by a source"
    );
}

#[test]
fn the_right_secret_of_a_moment_ago_passes_whatever_was_counted_elsewhere() {
    let world = World::new(impatient());
    world.succeed(guess(OFFICE, "alice", 7)).unwrap();
    let again = Try {
        heard: heard(STEP * 20),
        ..guess(OFFICE, "alice", 7)
    };
    assert!(world.succeed(again).is_ok());
    let elsewhere = Try {
        heard: Heard {
            is_right: true,
            ..heard(STEP * 20)
        },
        ..guess(OFFICE, "bob", 8)
    };
    assert!(
        world.succeed(elsewhere).is_ok(),
        "it was right at another replica"
    );
}

#[test]
fn all_but_the_first_wrong_secret_of_a_user_from_a_source_are_told() {
    let mut world = World::new(Options::default());
    let mut told = |attempt: Try<'_>| {
        world.pass(MINUTE);
        let told = world.fail(attempt).unwrap().told;
        (told.pair.is_some(), told.prefix.is_some(), told.site.is_some())
    };
    // A device that was left with an old password tries it at every replica.
    assert_eq!(told(guess(ATTACKER, "alice", 1)), (false, true, false));
    assert_eq!(told(guess(ATTACKER, "alice", 1)), (false, false, false));
    assert_eq!(told(guess(ATTACKER, "alice", 2)), (true, true, false));
    assert_eq!(told(guess(ATTACKER, "alice", 1)), (false, false, false));
    assert_eq!(told(guess(ATTACKER, "alice", 3)), (true, true, false));
    assert_eq!(told(guess(ATTACKER, "bob", 1)), (false, true, false));
    assert_eq!(told(app_password(ATTACKER, "alice", 4)), (false, true, false));
    assert_eq!(told(guess("2001:db8::1", "alice", 1)), (false, true, true));
    assert_eq!(told(guess("2001:db8::2", "alice", 2)), (true, true, true));
}

#[test]
fn a_new_right_secret_makes_up_for_what_was_counted_and_an_old_one_does_not() {
    let mut world = World::new(Options::default());
    let mut forgives = |attempt: Try<'_>| {
        world.pass(MINUTE);
        let ticket = world.check(attempt).unwrap();
        ticket.succeeded(world.instant())
    };
    assert!(forgives(guess(OFFICE, "alice", 1)));
    assert!(!forgives(guess(OFFICE, "alice", 1)));
    assert!(!forgives(app_password(OFFICE, "alice", 2)));
    assert!(forgives(guess(OFFICE, "alice", 3)));
}

#[test]
fn a_ban_is_suggested_for_what_all_have_counted_but_not_where_somebody_is_at_another_replica() {
    let mut world = World::new(Options {
        ban_after: Some(20),
        ..Options::default()
    });
    let step = Options::default().prefix.step();
    let mut fails = |secret, steps, is_used| {
        world.pass(MINUTE);
        let heard = Heard {
            prefix: step * steps,
            is_used,
            ..Heard::default()
        };
        let attempt = Try {
            heard,
            ..guess(ATTACKER, "alice", secret)
        };
        world.fail(attempt).unwrap().ban.is_some()
    };
    assert!(!fails(1, 18, false));
    assert!(!fails(2, 19, true));
    assert!(fails(3, 19, false));
}

/// As a store counts: what was told is known to all a while later.
#[derive(Default)]
struct Store {
    until: Duration,
    told: Vec<(Duration, Count)>,
}

impl Store {
    const LATE: Duration = Duration::from_secs(2);

    fn heard(&mut self, now: Duration) -> Heard {
        let (due, later): (Vec<_>, Vec<_>) = self.told.drain(..).partition(|(at, _)| *at + Self::LATE <= now);
        self.told = later;
        for (at, count) in due {
            let counted = self.until.max(at) + count.step;
            self.until = counted.min(at + count.most).max(self.until);
        }
        heard(self.until.saturating_sub(now))
    }
}

/// How many guesses at one user so many replicas let through from one address in a time.
fn guesses(replicas: u32, span: Duration, shared: bool) -> u32 {
    let mut worlds: Vec<World> = (0..replicas).map(|_| World::new(impatient())).collect();
    let mut store = Store::default();
    let (mut let_through, mut secret) = (0, 0);
    let end = worlds[0].now + span;
    while worlds[0].now < end {
        for world in &mut worlds {
            secret += 1;
            let heard = if shared {
                store.heard(world.now)
            } else {
                Heard::default()
            };
            let attempt = Try {
                heard,
                ..guess(ATTACKER, "alice", secret)
            };
            if let Ok(settled) = world.fail(attempt) {
                let_through += 1;
                store
                    .told
                    .extend(settled.told.pair.map(|count| (world.now, count)));
            }
            world.pass(Duration::from_millis(500));
        }
    }
    let_through
}

#[test]
fn in_the_long_run_several_replicas_let_through_what_one_would() {
    let span = Duration::from_hours(6);
    let one = guesses(1, span, false);
    assert!((120..=130).contains(&one), "{one}");
    for replicas in [3, 10] {
        let alone = guesses(replicas, span, false);
        assert!(alone >= one * replicas - replicas, "{alone}");
        let together = guesses(replicas, span, true);
        assert!(together <= one + 4 * replicas, "{replicas}: {together}");
    }
}

#[test]
fn replicas_share_out_the_slots_of_an_account() {
    let worlds: Vec<World> = (0..3).map(|_| World::new(impatient())).collect();
    for world in &worlds {
        world.attempts.set_replicas(3);
    }
    let mut let_through = 0;
    for half in 0..120_u32 {
        for (number, mut world) in (0_u32..).zip(worlds.iter().map(|world| World {
            attempts: Arc::clone(&world.attempts),
            base: world.base,
            now: world.now,
        })) {
            world.pass(Duration::from_millis(500) * half);
            let host = format!("198.51.{number}.{half}");
            let_through += u32::from(world.fail(guess(&host, "alice", u64::from(half) + 1)).is_ok());
        }
    }
    assert_eq!(let_through, 60, "one a second in a minute");
}
