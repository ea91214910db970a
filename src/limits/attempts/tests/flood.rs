//! Floods, wide sources, exemptions and bans: the counters stay small and keep what they know.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

#[test]
fn debug_output_shows_neither_hashes_nor_counters() {
    let world = World::new(impatient());
    let ticket = world.check(guess(OFFICE, "alice", 0xdead_beef)).unwrap();
    let shown = format!("{ticket:?} {:?}", world.attempts);
    assert!(
        shown.len() < 100 && !shown.contains(&0xdead_beef_u64.to_string()),
        "{shown}"
    );
}

#[test]
fn a_site_is_limited_whichever_of_its_prefixes_it_uses() {
    let mut world = World::new(impatient());
    let looked_at = world.storm(30 * MINUTE, |secret| {
        (0..4)
            .map(|host| {
                let subnet = (secret * 4 + host) % 65_536;
                (
                    format!("2001:db8:1:{subnet:x}::1"),
                    format!("user{secret}-{host}"),
                )
            })
            .collect()
    });
    assert!((300..=401).contains(&looked_at), "{looked_at}");
    assert!(world.attempts.usage().prefixes < 1_000);
    assert!(world.check(guess("2001:db8:2::1", "alice", 1)).is_ok());
    assert!(world.succeed(known("2001:db8:1::1", "alice", 2)).is_ok());
}

#[test]
fn names_in_another_case_are_the_same_account() {
    let world = World::new(impatient());
    assert!(world.fail(guess("203.0.113.1", "alice", 1)).is_ok());
    assert_eq!(
        world.check(guess("203.0.113.2", "ALICE", 2)).unwrap_err(),
        RefusedBy::Account
    );
}

#[test]
fn exempt_networks_are_not_counted_as_a_source() {
    let mut world = World::new(Options {
        exempt: Networks::new(vec!["10.0.0.0/8".parse().unwrap()]),
        ban_after: Some(1),
        ..impatient()
    });
    for secret in 0..500 {
        let user = format!("user{secret}");
        world.pass(SECOND);
        let settled = world.fail(guess("10.0.0.1", &user, secret)).unwrap();
        assert_eq!((settled.failures, settled.ban), (0, None));
    }
    assert!(
        world.check(guess("10.0.0.1", "user499", 1_000)).is_err(),
        "still one a second"
    );
    world.pass(SECOND);
    assert!(world.check(guess("10.0.0.1", "user1", 1_001)).is_ok());
    assert_eq!(world.attempts.usage().prefixes, 0);
}

#[test]
fn a_ban_is_suggested_only_where_asked_for_and_never_where_somebody_logs_in() {
    for (ban_after, log_in, ip, expected) in [
        (None, false, ATTACKER, None),
        (Some(20), false, ATTACKER, Some("203.0.113.7/32")),
        (Some(20), false, "2001:db8:1:2:3::4", Some("2001:db8:1:2::/64")),
        (Some(1_000), false, ATTACKER, Some("203.0.113.7/32")),
        (Some(20), true, ATTACKER, None),
    ] {
        let mut world = World::new(Options {
            ban_after,
            ..impatient()
        });
        let mut ban = None;
        for secret in 0..80 {
            if log_in {
                let _ = world.succeed(guess(ip, "carol", 7));
                world.pass(SECOND);
            }
            if let Ok(settled) = world.fail(guess(ip, &format!("u{secret}"), secret)) {
                ban = ban.or(settled.ban);
            }
            world.pass(SECOND);
        }
        assert_eq!(ban.map(|network| network.to_string()).as_deref(), expected);
    }
}

#[test]
fn a_million_prefixes_stay_within_the_memory_bound_and_lock_nobody_out() {
    let mut world = World::new(impatient());
    let owner = known("2001:db8:ffff::1", "owner", 1);
    for number in 0..1_000_000_u128 {
        // Each in a site of its own and each with a failure that counts.
        let ip = IpAddr::V6(Ipv6Addr::from((0x2002_u128 << 112) | (number << 80)));
        let user = UserName::parse(format!("u{number}").as_bytes()).unwrap();
        let attempt = Attempt {
            ip,
            user: &user,
            secret: 1,
            step: None,
            known: false,
            unguessable: false,
            heard: Heard::default(),
        };
        if let Decision::Go(ticket) = world.attempts.check(&attempt, world.instant()) {
            let _ = ticket.failed(world.instant());
        }
        if number % 100_000 == 0 {
            world.pass(Duration::from_millis(100));
        }
    }
    let usage = world.attempts.usage();
    assert_eq!((usage.prefixes, usage.sites), (100_000, 50_000));
    assert!(usage.pairs > 10_000 && usage.pairs <= 100_000, "{usage:?}");
    assert!(usage.bytes < 100 << 20, "{usage:?}");
    assert!(usage.crowded > 800_000);

    world.pass(SECOND);
    assert!(world.succeed(owner).is_ok(), "a known source");
    assert!(world.check(guess(OFFICE, "alice", 1)).is_ok(), "an IPv4 address");
    let newcomers = (0..100).filter(|host| {
        let ip = format!("2001:db8:{host:x}::1");
        world.check(app_password(&ip, "alice", *host)).is_ok()
    });
    assert!(newcomers.count() > 80, "newcomers from IPv6");

    world.pass(60 * MINUTE);
    world.attempts.sweep(world.instant());
    let usage = world.attempts.usage();
    assert_eq!((usage.pairs, usage.prefixes, usage.sites), (0, 0, 0));
    assert!(usage.users <= 50_000 && usage.bytes < 16 << 20, "{usage:?}");

    world.pass(24 * 60 * MINUTE);
    world.attempts.sweep(world.instant());
    let usage = world.attempts.usage();
    assert_eq!(usage.users, 0);
    assert!(usage.bytes < 2 << 20, "{usage:?}");
}

#[test]
fn a_flood_of_addresses_does_not_wash_the_flooders_record_away() {
    let mut world = World::new(Options {
        capacity: 100,
        ..impatient()
    });
    for secret in 1..=5 {
        assert!(world.fail(guess(ATTACKER, "alice", secret)).is_ok());
        world.pass(10 * SECOND);
    }
    assert_eq!(
        world.check(guess(ATTACKER, "alice", 10)).unwrap_err(),
        RefusedBy::Pair
    );
    for number in 0..5_000_u64 {
        let ip = format!("198.{}.{}.1", 18 + number / 256, number % 256);
        let _ = world.fail(guess(&ip, &format!("u{number}"), number));
        world.pass(Duration::from_millis(10));
    }
    assert!(world.attempts.usage().pairs <= 100);
    assert_eq!(
        world.check(guess(ATTACKER, "alice", 11)).unwrap_err(),
        RefusedBy::Pair
    );
}

proptest! {
    #[test]
    fn whatever_is_tried_nothing_stays_outstanding_and_the_limit_holds(
        steps in prop::collection::vec((0_u8..6, 0_u8..3, 0_u64..12, any::<bool>(), any::<bool>(), 0_u64..4_000), 1..200)
    ) {
        let mut world = World::new(Options::default());
        let mut held = Vec::new();
        let mut counted = 0_u32;
        for (action, who, secret, is_known, unguessable, pause) in steps {
            let (ip, user) = [(OFFICE, "alice"), (OFFICE, "bob"), ("2001:db8::1", "alice")][usize::from(who)];
            let attempt = Try { known: is_known, unguessable, ..guess(ip, user, secret) };
            let ticket = world.check(attempt).ok();
            match (action, ticket) {
                (0, Some(ticket)) => counted += u32::from(ticket.failed(world.instant()).counted),
                (1, Some(ticket)) => { ticket.succeeded(world.instant()); }
                (2, Some(ticket)) => ticket.void(),
                (3, Some(ticket)) => held.push(ticket),
                (4, _) => held.clear(),
                _ => world.attempts.sweep(world.instant()),
            }
            world.pass(Duration::from_millis(pause));
        }
        held.clear();
        let usage = world.attempts.usage();
        prop_assert!(usage.pairs <= 3 && usage.prefixes <= 2 && usage.sites <= 1);
        world.pass(240 * MINUTE);
        world.attempts.sweep(world.instant());
        let usage = world.attempts.usage();
        prop_assert_eq!((usage.pairs, usage.prefixes, usage.sites), (0, 0, 0), "outstanding after {}", counted);
    }
}
