//! How users come and what they do.

use super::*;

const DAY: i64 = 86_400;

const TLS: &str = "t13d1514h2_8daaf6152771_e5627efa2ab1";

fn visit(user: &str) -> Visit {
    Visit {
        user: name(user),
        network: vec![[1; 32]],
        anybodys_network: vec![[101; 32]],
        country: Some("DE".into()),
        asn: Some(3320),
        family: Some("thunderbird".into()),
        tls_client: Some(TLS.into()),
        app_password: None,
        since: UnixTime(NOW.0 - 90 * DAY),
        now: NOW,
    }
}

/// What is remembered, asked for by itself: with a login it must be the same.
async fn habits(store: &Arc<dyn Store>, visit: Visit) -> Habits {
    let lookup = Lookup {
        user: visit.user.clone(),
        app_password: visit.app_password,
        window: None,
        now: visit.now,
        counted: None,
        before: Before::Source {
            names: visit.network.clone(),
            since: visit.since,
        },
        visit: Some(Arc::new(visit.clone())),
    };
    let found = store.look_up(lookup.clone()).await.unwrap();
    let unasked = Lookup {
        visit: None,
        ..lookup
    };
    let alone = store.look_up(unasked).await.unwrap();
    assert_eq!(alone.habits, None);
    assert_eq!(alone.user, found.user);
    assert_eq!(alone.heard, found.heard);
    let habits = store.habits(visit).await.unwrap();
    assert_eq!(found.habits.as_ref(), Some(&habits));
    assert_eq!(
        found.heard.knows_source,
        habits.is_new_network == Some(false),
        "limits go by either"
    );
    habits
}

/// Network, country, asn, family, TLS client.
fn new(habits: &Habits) -> [Option<bool>; 5] {
    [
        habits.is_new_network,
        habits.is_new_country,
        habits.is_new_asn,
        habits.is_new_family,
        habits.is_new_tls_client,
    ]
}

/// The user came with all that `visit` has.
async fn came(store: &Arc<dyn Store>, user: &str, at: UnixTime) {
    for habit in [
        Habit::Network([1; 32]),
        Habit::Country("DE".into()),
        Habit::Asn(3320),
        Habit::Family("thunderbird".into()),
        Habit::TlsClient(TLS.into()),
    ] {
        store.note(Note::Came(name(user), habit, at));
    }
    store.flush().await.unwrap();
}

fn allowance() -> Allowance {
    Allowance {
        opened: NOW,
        left: 1_000,
        network: [1; 32],
        family: None,
        ended: None,
    }
}

async fn allowance_of(store: &Arc<dyn Store>, id: u32) -> Option<Allowance> {
    store.flush().await.unwrap();
    let mut asked = visit("alice");
    asked.app_password = Some(id);
    habits(store, asked).await.app_password.unwrap().allowance
}

pub(super) async fn nothing_is_new_while_nothing_is_known(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    assert_eq!(habits(store, visit("alice")).await, Habits::default());
    store.note(Note::Came(alice, Habit::Country("DE".into()), NOW));
    store.flush().await.unwrap();
    let found = habits(store, visit("alice")).await;
    assert_eq!(
        new(&found),
        [None, Some(false), None, None, None],
        "a country says nothing about networks"
    );
}

pub(super) async fn what_a_user_came_with_is_known_to_that_user_alone(store: &Arc<dyn Store>) {
    came(store, "alice", NOW).await;
    let mut asked = visit("alice");
    assert_eq!(new(&habits(store, asked.clone()).await), [Some(false); 5]);
    (asked.network, asked.country, asked.asn) = (vec![[2; 32]], Some("thunderbird".into()), Some(332));
    (asked.family, asked.tls_client) = (Some("DE".into()), Some("thunderbird".into()));
    assert_eq!(new(&habits(store, asked.clone()).await), [Some(true); 5]);
    (asked.country, asked.asn, asked.family, asked.tls_client) = (None, None, None, None);
    let found = habits(store, asked).await;
    assert_eq!(new(&found), [Some(true), None, None, None, None], "not asked for");
    assert_eq!(new(&habits(store, visit("bob")).await), [None; 5]);
}

pub(super) async fn what_was_long_ago_is_as_good_as_new(store: &Arc<dyn Store>) {
    let long_ago = visit("alice").since;
    came(store, "alice", long_ago).await;
    assert_eq!(new(&habits(store, visit("alice")).await), [Some(false); 5]);
    let mut asked = visit("alice");
    asked.since = UnixTime(long_ago.0 + 1);
    assert_eq!(new(&habits(store, asked).await), [Some(true); 5]);
    came(store, "alice", UnixTime(long_ago.0 - 1)).await;
    assert_eq!(
        new(&habits(store, visit("alice")).await),
        [Some(false); 5],
        "an older note does not undo a newer one"
    );
}

pub(super) async fn habits_are_bounded_for_each_user_and_kind_and_the_longest_unused_goes(
    store: &Arc<dyn Store>,
) {
    came(store, "alice", UnixTime(NOW.0 - 1)).await;
    came(store, "bob", UnixTime(NOW.0 - 2)).await;
    for number in 0..64 {
        let habit = Habit::Asn(number);
        store.note(Note::Came(
            name("alice"),
            habit,
            UnixTime(NOW.0 + i64::from(number)),
        ));
    }
    store.flush().await.unwrap();
    let found = habits(store, visit("alice")).await;
    assert_eq!(
        new(&found),
        [Some(false), Some(false), Some(true), Some(false), Some(false)]
    );
    let mut asked = visit("alice");
    asked.asn = Some(0);
    assert_eq!(habits(store, asked.clone()).await.is_new_asn, Some(false));
    // Used again: now another one is the longest unused.
    store.note(Note::Came(name("alice"), Habit::Asn(0), UnixTime(NOW.0 + 100)));
    store.note(Note::Came(name("alice"), Habit::Asn(99), UnixTime(NOW.0 + 100)));
    store.flush().await.unwrap();
    for (asn, is_new) in [(0, false), (1, true), (2, false), (99, false)] {
        asked.asn = Some(asn);
        assert_eq!(
            habits(store, asked.clone()).await.is_new_asn,
            Some(is_new),
            "{asn}"
        );
    }
    assert_eq!(new(&habits(store, visit("bob")).await), [Some(false); 5]);
}

pub(super) async fn a_network_is_known_once_anybody_came_from_it(store: &Arc<dyn Store>) {
    assert!(!habits(store, visit("alice")).await.is_known_network);
    store.note(Note::NetworkSeen([101; 32], NOW));
    store.flush().await.unwrap();
    assert!(habits(store, visit("alice")).await.is_known_network);
    let mut asked = visit("nobody");
    asked.since = UnixTime(NOW.0 + 1);
    assert!(!habits(store, asked.clone()).await.is_known_network);
    asked.since = NOW;
    asked.anybodys_network = vec![[1; 32]];
    assert!(!habits(store, asked).await.is_known_network);
}

pub(super) async fn the_last_login_is_remembered_and_never_moves_back(store: &Arc<dyn Store>) {
    assert_eq!(habits(store, visit("alice")).await.last_login, None);
    for at in [5, 9, 7] {
        store.note(Note::LoggedIn(name("alice"), UnixTime(at)));
    }
    store.flush().await.unwrap();
    store.note(Note::LoggedIn(name("alice"), UnixTime(8)));
    store.flush().await.unwrap();
    let last = habits(store, visit("alice")).await.last_login;
    assert_eq!(last, Some(UnixTime(9)));
    assert_eq!(habits(store, visit("bob")).await.last_login, None);
}

pub(super) async fn averages_are_of_the_days_before_today(store: &Arc<dyn Store>) {
    let today = day_of(NOW);
    for (ago, bytes) in [
        (0, 999),
        (1, 10),
        (7, 20),
        (8, 60),
        (14, 30),
        (30, 5),
        (31, 1 << 40),
    ] {
        let mut amounts = Amounts::of(Measure::FetchedBytes, bytes);
        amounts.add(Measure::Commands, 1);
        store.note(Note::Did(name("alice"), today - ago, amounts));
    }
    store.flush().await.unwrap();
    let averages = habits(store, visit("alice")).await.averages;
    for (days, bytes) in [(7, 15), (14, 30), (30, 25)] {
        assert_eq!(averages.average(Measure::FetchedBytes, days), Some(bytes));
        assert_eq!(averages.average(Measure::Commands, days), Some(1));
        assert_eq!(averages.average(Measure::Logins, days), Some(0));
    }
    let others = habits(store, visit("bob")).await.averages;
    assert_eq!(others.average(Measure::FetchedBytes, 30), None);
}

pub(super) async fn each_measure_is_kept_apart(store: &Arc<dyn Store>) {
    let mut amounts = Amounts::default();
    for (measure, amount) in Measure::ALL.into_iter().zip(1..) {
        amounts.add(measure, amount);
    }
    for _ in 0..2 {
        store.note(Note::Did(name("alice"), day_of(NOW) - 1, amounts));
        store.flush().await.unwrap();
    }
    let averages = habits(store, visit("alice")).await.averages;
    for (measure, amount) in Measure::ALL.into_iter().zip(1..) {
        assert_eq!(averages.average(measure, 7), Some(2 * amount), "{measure:?}");
    }
}

pub(super) async fn usage_of_one_day_adds_up_and_saturates(store: &Arc<dyn Store>) {
    let yesterday = day_of(NOW) - 1;
    let did = |amount| {
        Note::Did(
            name("alice"),
            yesterday,
            Amounts::of(Measure::FetchedBytes, amount),
        )
    };
    for amount in [1, 2] {
        store.note(did(amount));
    }
    store.flush().await.unwrap();
    store.note(did(4));
    store.flush().await.unwrap();
    let average = habits(store, visit("alice")).await.averages;
    assert_eq!(average.average(Measure::FetchedBytes, 7), Some(7));
    for _ in 0..20 {
        store.note(did(u64::MAX));
        store.flush().await.unwrap();
    }
    let average = habits(store, visit("alice")).await.averages;
    assert!(average.average(Measure::FetchedBytes, 7).unwrap() >= 1 << 60);
}

pub(super) async fn the_first_use_of_an_app_password_stays_and_is_spent_once(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    for id in [1, 2] {
        assert!(store.add_app_password(app_password(id, &alice), 9).await.unwrap());
    }
    assert_eq!(allowance_of(store, 1).await, None);
    store.note(Note::AppPasswordUsed(1, last_use(77)));
    store.note(Note::AllowanceOpened(1, allowance()));
    assert_eq!(allowance_of(store, 1).await, Some(allowance()));
    let mut asked = visit("alice");
    asked.app_password = Some(1);
    let found = habits(store, asked).await.app_password.unwrap();
    assert_eq!((found.created, found.last_used), (NOW, Some(UnixTime(77))));

    let second = Allowance {
        left: 5_000,
        network: [2; 32],
        ..allowance()
    };
    store.note(Note::AllowanceOpened(1, second));
    store.note(Note::AllowanceSpent(1, 400, NOW));
    store.note(Note::AllowanceSpent(1, 599, NOW));
    store.note(Note::FamilyLearnt(1, "k9".into()));
    let kept = allowance_of(store, 1).await.unwrap();
    assert_eq!((kept.left, kept.network, kept.ended), (1, [1; 32], None));
    store.note(Note::AllowanceSpent(1, 1, UnixTime(NOW.0 + 5)));
    store.note(Note::FamilyLearnt(1, "python".into()));
    let kept = allowance_of(store, 1).await.unwrap();
    assert_eq!((kept.left, kept.ended), (0, Some(UnixTime(NOW.0 + 5))));
    assert_eq!(kept.family.as_deref(), Some("k9"));
    store.note(Note::AllowanceSpent(1, u64::MAX, UnixTime(NOW.0 + 6)));
    store.note(Note::AllowanceEnded(1, UnixTime(NOW.0 + 7)));
    let kept = allowance_of(store, 1).await.unwrap();
    assert_eq!((kept.left, kept.ended), (0, Some(UnixTime(NOW.0 + 5))));
    assert_eq!(allowance_of(store, 2).await, None);
    let mut full = allowance();
    full.ended = Some(NOW);
    full.family = Some("k9".into());
    store.note(Note::AllowanceOpened(2, full.clone()));
    assert_eq!(allowance_of(store, 2).await, Some(full));
}

pub(super) async fn an_allowance_goes_with_its_app_password_and_blocks_no_other_note(store: &Arc<dyn Store>) {
    let alice = add(store, "alice").await;
    assert!(store.add_app_password(app_password(1, &alice), 9).await.unwrap());
    store.note(Note::AllowanceOpened(1, allowance()));
    store.flush().await.unwrap();
    assert!(store.remove_user(&alice).await.unwrap());
    // Sessions that ended a moment ago still tell what they did.
    store.note(Note::AllowanceOpened(1, allowance()));
    store.note(Note::AllowanceSpent(1, 5, NOW));
    store.note(Note::FamilyLearnt(1, "k9".into()));
    store.note(Note::LoggedIn(name("bob"), NOW));
    store.flush().await.unwrap();
    let mut asked = visit("bob");
    asked.app_password = Some(1);
    let found = habits(store, asked).await;
    assert_eq!((found.app_password, found.last_login), (None, Some(NOW)));
    let alice = add(store, "alice").await;
    assert!(store.add_app_password(app_password(1, &alice), 9).await.unwrap());
    assert_eq!(allowance_of(store, 1).await, None, "another one with the same id");
}

/// All that is remembered of a user, at `NOW` and for two days of the month before it.
async fn settle_in(store: &Arc<dyn Store>, user: &str) {
    add(store, user).await;
    came(store, user, NOW).await;
    store.note(Note::LoggedIn(name(user), NOW));
    for ago in [29, 28] {
        let amounts = Amounts::of(Measure::Commands, 1);
        store.note(Note::Did(name(user), day_of(NOW) - ago, amounts));
    }
    store.flush().await.unwrap();
}

pub(super) async fn habits_go_with_their_user_and_a_reset_forgets_them(store: &Arc<dyn Store>) {
    for user in ["alice", "bob", "carol"] {
        settle_in(store, user).await;
    }
    assert!(store.reset_user(&name("bob"), NOW).await.unwrap());
    let reset = habits(store, visit("bob")).await;
    assert_eq!(new(&reset), [None; 5], "whoever came with them is in doubt");
    assert_eq!(reset.last_login, Some(NOW));
    assert!(store.remove_user(&name("alice")).await.unwrap());
    assert_eq!(habits(store, visit("alice")).await, Habits::default());
    assert_eq!(new(&habits(store, visit("carol")).await), [Some(false); 5]);
}

pub(super) async fn usage_is_kept_for_ninety_days(store: &Arc<dyn Store>) {
    settle_in(store, "carol").await;
    let today = day_of(NOW);
    let commands = async |day: i64| {
        let mut asked = visit("carol");
        asked.now = UnixTime(day * DAY);
        let averages = habits(store, asked).await.averages;
        averages.average(Measure::Commands, 30)
    };
    // The day that is 90 days old by then is kept, the one before it is not: each is seen from the day after it.
    store.sweep(UnixTime((today - 28 + 90) * DAY)).await.unwrap();
    assert_eq!(commands(today - 28).await, None);
    assert_eq!(commands(today - 27).await, Some(1));
}

pub(super) async fn habits_are_forgotten_after_a_year_and_the_last_login_later(store: &Arc<dyn Store>) {
    settle_in(store, "carol").await;
    store.sweep(UnixTime(NOW.0 + 365 * DAY)).await.unwrap();
    assert_eq!(new(&habits(store, visit("carol")).await), [Some(false); 5]);
    store.sweep(UnixTime(NOW.0 + 365 * DAY + 1)).await.unwrap();
    let found = habits(store, visit("carol")).await;
    assert_eq!(new(&found), [None; 5]);
    assert_eq!(
        found.last_login,
        Some(NOW),
        "whoever was away for a year is noticed"
    );
    store.sweep(UnixTime(NOW.0 + 4 * 365 * DAY)).await.unwrap();
    assert_eq!(habits(store, visit("carol")).await, Habits::default());
}
