//! What an attacker, an owner and an office see of the limits.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::*;
use crate::types::Networks;

/// The office, the owner's home, an attacker.
const OFFICE: &str = "192.0.2.1";
const ATTACKER: &str = "203.0.113.7";

struct World {
    attempts: Arc<Attempts>,
    base: Instant,
    now: Duration,
}

/// A guess as the tests write it.
#[derive(Clone, Copy)]
struct Try<'a> {
    ip: &'a str,
    user: &'a str,
    secret: u64,
    step: Option<u64>,
    known: bool,
    unguessable: bool,
}

fn guess<'a>(ip: &'a str, user: &'a str, secret: u64) -> Try<'a> {
    Try {
        ip,
        user,
        secret,
        step: None,
        known: false,
        unguessable: false,
    }
}

fn known<'a>(ip: &'a str, user: &'a str, secret: u64) -> Try<'a> {
    Try {
        known: true,
        ..guess(ip, user, secret)
    }
}

fn app_password<'a>(ip: &'a str, user: &'a str, secret: u64) -> Try<'a> {
    Try {
        unguessable: true,
        ..guess(ip, user, secret)
    }
}

/// No waiting: what is not free now is refused.
fn impatient() -> Options {
    Options {
        patience: Duration::ZERO,
        ..Options::default()
    }
}

impl World {
    fn new(options: Options) -> Self {
        let base = Instant::now();
        Self {
            attempts: Attempts::new(options, base),
            base,
            now: Duration::from_secs(100),
        }
    }

    fn instant(&self) -> Instant {
        self.base + self.now
    }

    fn pass(&mut self, span: Duration) {
        self.now += span;
    }

    fn check(&self, attempt: Try<'_>) -> Result<Ticket, RefusedBy> {
        let user = UserName::parse(attempt.user.as_bytes()).unwrap();
        let attempt = Attempt {
            ip: attempt.ip.parse().unwrap(),
            user: &user,
            secret: attempt.secret,
            step: attempt.step,
            known: attempt.known,
            unguessable: attempt.unguessable,
        };
        match self.attempts.check(&attempt, self.instant()) {
            Decision::Go(ticket) => Ok(ticket),
            Decision::Refuse(refused) => Err(refused.by),
        }
    }

    fn fail(&self, attempt: Try<'_>) -> Result<Settled, RefusedBy> {
        self.check(attempt).map(|ticket| ticket.failed(self.instant()))
    }

    fn succeed(&self, attempt: Try<'_>) -> Result<(), RefusedBy> {
        self.check(attempt).map(|ticket| ticket.succeeded(self.instant()))
    }

    /// Guesses on and on for a time, as fast as allowed, and says how many were looked at.
    fn storm(&mut self, span: Duration, mut attempt: impl FnMut(u64) -> Vec<(String, String)>) -> u64 {
        let end = self.now + span;
        let (mut looked_at, mut secret) = (0, 1_000_000);
        while self.now < end {
            for (ip, user) in attempt(secret) {
                secret += 1;
                looked_at += u64::from(self.fail(guess(&ip, &user, secret)).is_ok());
            }
            self.pass(Duration::from_millis(500));
        }
        looked_at
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

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
fn a_short_wait_is_granted_and_a_long_one_refused() {
    let world = World::new(Options::default());
    assert!(world.fail(guess(OFFICE, "alice", 1)).is_ok());
    let ticket = world.check(guess(OFFICE, "alice", 2)).unwrap();
    assert_eq!(ticket.delay(), SECOND);
    drop(ticket);
    let delays: Vec<_> = (3..20)
        .map(|secret| {
            world
                .check(guess(ATTACKER, &format!("user{secret}"), secret))
                .map(|ticket| ticket.delay().as_secs())
        })
        .collect();
    let granted: Vec<_> = delays.iter().flatten().copied().collect();
    assert_eq!(granted, [0, 1, 2, 3, 4, 5]);
    assert!(delays[6..].iter().all(|delay| *delay == Err(RefusedBy::Prefix)));
}

#[test]
fn one_guess_a_second_per_address_and_per_account_whatever_the_parallelism() {
    for patience in [Duration::ZERO, 5 * SECOND] {
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
    let staff: Vec<String> = (0..200).map(|number| format!("staff{number}")).collect();
    for number in 1..20 {
        let _ = world.check(guess(OFFICE, &format!("stranger{number}"), number));
    }
    let delays: Vec<_> = (1..)
        .zip(&staff)
        .filter_map(|(number, user)| world.check(known(OFFICE, user, number)).ok())
        .map(|ticket| ticket.delay())
        .collect();
    assert_eq!(delays.len(), 51, "ten a second for five seconds");
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
                (1, Some(ticket)) => ticket.succeeded(world.instant()),
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
