//! Who is no guesser is not: the owner, a client with many connections, a phone with an old password, an office.

use super::*;

#[test]
fn an_attack_from_everywhere_does_not_keep_the_owner_out() {
    let mut world = World::new(impatient());
    let looked_at = world.storm(10 * MINUTE, |secret| {
        (0..20)
            .map(|host| (format!("203.0.{}.{host}", secret % 200), "alice".to_owned()))
            .collect()
    });
    assert!(looked_at <= 601, "{looked_at}");
    // A stranger's slot has just been taken, and again, and again.
    let _ = world.fail(guess("203.0.200.1", "alice", 1));
    assert_eq!(
        world.check(guess("203.0.200.2", "alice", 2)).unwrap_err(),
        RefusedBy::Account
    );
    assert!(
        world.succeed(known(OFFICE, "alice", 3)).is_ok(),
        "from a known source"
    );
    assert!(
        world.succeed(app_password("198.51.100.1", "alice", 4)).is_ok(),
        "from anywhere with an app password"
    );
    assert!(world.check(guess("203.0.200.2", "bob", 5)).is_ok(), "other users");
}

#[test]
fn the_right_secret_keeps_working_beside_an_attacker_behind_the_same_address() {
    let mut world = World::new(impatient());
    assert!(world.succeed(guess(OFFICE, "alice", 1)).is_ok());
    world.storm(5 * MINUTE, |_| vec![(OFFICE.into(), "alice".into()); 5]);
    assert_eq!(
        world.check(guess(OFFICE, "alice", 2)).unwrap_err(),
        RefusedBy::Pair
    );
    for _ in 0..10 {
        assert!(world.succeed(guess(OFFICE, "alice", 1)).is_ok());
    }
    assert!(world.succeed(app_password(OFFICE, "alice", 3)).is_ok());
    // The owner's reconnects give the attacker nothing.
    let mut world = World::new(impatient());
    assert!(world.succeed(guess(OFFICE, "alice", 1)).is_ok());
    let looked_at = world.storm(15 * MINUTE, |_| vec![(OFFICE.into(), "alice".into())]);
    for _ in 0..10 {
        assert!(world.succeed(guess(OFFICE, "alice", 1)).is_ok());
    }
    assert!(looked_at <= 10, "{looked_at}");
    let _ = world.fail(guess(OFFICE, "alice", 2));
    assert_eq!(
        world.check(guess(OFFICE, "alice", 3)).unwrap_err(),
        RefusedBy::Pair
    );
}

#[test]
fn a_right_secret_that_turned_wrong_is_limited_again() {
    let mut world = World::new(impatient());
    assert!(world.succeed(guess(OFFICE, "alice", 1)).is_ok());
    assert!(world.fail(guess(OFFICE, "alice", 1)).unwrap().counted);
    world.pass(2 * SECOND);
    assert!(!world.fail(guess(OFFICE, "alice", 1)).unwrap().counted);
    world.pass(2 * SECOND);
    assert_eq!(
        world.fail(guess(OFFICE, "alice", 1)).unwrap_err(),
        RefusedBy::Repeat
    );
}

#[test]
fn the_same_wrong_secret_counts_once() {
    let mut world = World::new(Options::default());
    let mut counted = 0;
    for _ in 0..200 {
        if let Ok(settled) = world.fail(guess(OFFICE, "alice", 1)) {
            counted += u32::from(settled.counted);
        }
        world.pass(15 * SECOND);
    }
    assert_eq!(counted, 1);
    // The phone with the old password goes on while the laptop logs in with the new one.
    let _ = world.fail(guess(OFFICE, "alice", 1));
    assert!(world.succeed(guess(OFFICE, "alice", 2)).is_ok());
}

/// A password that was typed before it was set at the backend.
#[test]
fn a_wrong_secret_that_turned_right_is_looked_at_ten_seconds_later() {
    let mut world = World::new(impatient());
    assert!(world.fail(guess(OFFICE, "alice", 1)).unwrap().counted);
    world.pass(2 * SECOND);
    assert!(!world.fail(guess(OFFICE, "alice", 1)).unwrap().counted);
    world.pass(2 * SECOND);
    assert_eq!(
        world.succeed(guess(OFFICE, "alice", 1)).unwrap_err(),
        RefusedBy::Repeat
    );
    world.pass(8 * SECOND);
    assert!(world.succeed(guess(OFFICE, "alice", 1)).is_ok());
}

#[test]
fn the_same_code_in_another_time_step_is_another_guess() {
    let mut world = World::new(impatient());
    let mut counted = 0;
    for step in 0..20 {
        let attempt = Try {
            step: Some(step),
            ..guess(ATTACKER, "alice", 1)
        };
        if let Ok(settled) = world.fail(attempt) {
            counted += u32::from(settled.counted);
        }
        world.pass(30 * SECOND);
    }
    assert!((5..=9).contains(&counted), "{counted}");
}

#[test]
fn five_connections_with_one_password_are_one_guess() {
    let mut world = World::new(impatient());
    let tickets: Vec<_> = (0..5)
        .map(|_| world.check(guess(OFFICE, "alice", 1)).unwrap())
        .collect();
    let counted = tickets
        .into_iter()
        .map(|ticket| ticket.failed(world.instant()).counted)
        .filter(|counted| *counted)
        .count();
    assert_eq!(counted, 1);
    world.pass(MINUTE);
    let tickets: Vec<_> = (0..5)
        .map(|_| world.check(guess(OFFICE, "alice", 2)).unwrap())
        .collect();
    for ticket in tickets {
        ticket.succeeded(world.instant());
    }
}

#[test]
fn hundreds_of_connections_with_one_password_are_no_client() {
    let world = World::new(impatient());
    let tickets: Vec<_> = (0..500)
        .flat_map(|_| world.check(guess(ATTACKER, "alice", 1)))
        .collect();
    assert_eq!(tickets.len(), 16);
}

#[test]
fn the_known_are_spaced_too_but_never_behind_strangers() {
    let mut world = World::new(Options::default());
    let staff: Vec<String> = (0..300).map(|number| format!("staff{number}")).collect();
    for number in 1..20 {
        let _ = world.check(guess(OFFICE, &format!("stranger{number}"), number));
    }
    let delays: Vec<_> = (1..)
        .zip(&staff)
        .filter_map(|(number, user)| world.check(known(OFFICE, user, number)).ok())
        .map(|ticket| ticket.delay())
        .collect();
    assert_eq!(delays.len(), 201, "ten a second for twenty seconds");
    for (place, delay) in (0..).zip(&delays) {
        assert_eq!(*delay, place * Duration::from_millis(100));
    }
    world.pass(20 * SECOND);
    let wrong = (1..20).filter(|secret| {
        let looked_at = world.fail(known(OFFICE, "alice", 100 + secret)).is_ok();
        world.pass(30 * SECOND);
        looked_at
    });
    assert!(wrong.count() <= 8, "each known user has a limit all the same");
}

#[test]
fn app_passwords_of_an_office_that_comes_at_once_are_looked_at_and_wrong_ones_count() {
    let mut world = World::new(Options::default());
    let staff: Vec<String> = (0..200).map(|number| format!("staff{number}")).collect();
    let mut tickets: Vec<_> = (1..)
        .zip(&staff)
        .map(|(number, user)| world.check(app_password(OFFICE, user, number)).unwrap())
        .collect();
    for ticket in tickets.drain(..50) {
        assert!(ticket.failed(world.instant()).counted);
    }
    let more = world.check(app_password(OFFICE, "newcomer", 1));
    assert_eq!(more.unwrap_err(), RefusedBy::Prefix);
    drop(tickets);
    world.pass(40 * SECOND);
    assert!(
        world.check(guess(OFFICE, "newcomer", 1)).is_ok(),
        "none is outstanding"
    );
}

#[test]
fn app_passwords_never_wait_behind_guesses_nor_guesses_behind_them() {
    let world = World::new(Options::default());
    let delays = |attempt: fn(&'static str, &'static str, u64) -> Try<'static>, users: [&'static str; 3]| {
        let tickets = users.map(|user| world.check(attempt(OFFICE, user, 1)));
        tickets.map(|ticket| ticket.unwrap().delay().as_millis())
    };
    let known_app_password = |ip, user, secret| Try {
        known: true,
        ..app_password(ip, user, secret)
    };
    assert_eq!(delays(known, ["a", "b", "c"]), [0, 100, 200]);
    assert_eq!(delays(guess, ["d", "e", "f"]), [0, 1_000, 2_000]);
    assert_eq!(delays(app_password, ["g", "h", "i"]), [0, 10, 20]);
    assert_eq!(delays(known_app_password, ["j", "k", "l"]), [30, 40, 50]);
}

#[test]
fn two_devices_of_the_owner_do_not_clear_the_record_of_a_guesser_beside_them() {
    let mut world = World::new(impatient());
    let mut looked_at = 0;
    for round in 0..300 {
        let phone = app_password(OFFICE, "alice", 1 + round % 2);
        assert!(world.succeed(phone).is_ok());
        assert!(world.succeed(guess(OFFICE, "alice", 3)).is_ok());
        world.pass(SECOND);
        looked_at += u32::from(world.fail(guess(OFFICE, "alice", 100 + round)).is_ok());
        world.pass(SECOND);
    }
    assert!(looked_at <= 5 + 4, "{looked_at}");
}

#[test]
fn backend_trouble_and_abandoned_attempts_never_count() {
    let mut world = World::new(impatient());
    for secret in 0..100 {
        let ticket = world.check(guess(OFFICE, "alice", secret)).unwrap();
        match secret % 3 {
            0 => drop(ticket),
            1 => ticket.void(),
            _ => assert!(
                !ticket
                    .refused(Refusal::AppPasswordMistyped, world.instant())
                    .counted
            ),
        }
        world.pass(SECOND);
    }
    let ticket = world.check(guess(OFFICE, "alice", 1_000)).unwrap();
    assert!(ticket.refused(Refusal::PasswordInvalid, world.instant()).counted);
}

#[test]
fn an_office_is_not_shut_out_for_one_phone_or_one_guesser() {
    let mut world = World::new(Options {
        ban_after: Some(20),
        ..impatient()
    });
    let staff: Vec<String> = (0..30).map(|number| format!("staff{number}")).collect();
    for (number, user) in (1..).zip(&staff) {
        assert!(world.succeed(guess(OFFICE, user, number)).is_ok(), "{user}");
        world.pass(SECOND);
    }
    // An infected computer guesses at everybody for a while.
    let mut bans = 0;
    for secret in 1_000..2_000_u64 {
        let user = format!("victim{}", secret % 97);
        if let Ok(settled) = world.fail(guess(OFFICE, &user, secret)) {
            bans += usize::from(settled.ban.is_some());
        }
        world.pass(SECOND);
    }
    assert_eq!(bans, 0);
    assert_eq!(
        world.check(guess(OFFICE, "victim1", 1)).unwrap_err(),
        RefusedBy::Prefix
    );
    for (number, user) in (1..).zip(&staff) {
        assert!(world.succeed(guess(OFFICE, user, number)).is_ok(), "{user}");
        let fresh = known(OFFICE, user, 5_000 + number);
        assert!(world.succeed(fresh).is_ok(), "{user} with a new device");
        world.pass(Duration::from_millis(100));
    }
}
