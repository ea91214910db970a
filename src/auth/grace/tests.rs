use super::*;
use crate::store::WindowState;

const OPTIONS: Options = Options {
    total: Duration::from_hours(12),
    idle: Duration::from_hours(2),
    pending: Duration::from_mins(5),
    per_user: 32,
    store_away: Duration::from_mins(10),
};

fn name(text: &str) -> UserName {
    UserName::parse(text.as_bytes()).unwrap()
}

/// So many seconds later, by both clocks.
fn at(seconds: i64) -> Moment {
    Moment {
        ms: u64::try_from(seconds).unwrap() * 1_000,
        wall: UnixTime(1_000_000 + seconds),
    }
}

fn known(user: &str, opened: Moment) -> Known {
    Known {
        user: User::new(name(user), UnixTime(1)),
        window: Window {
            user: name(user),
            state: WindowState::Open,
            opened: opened.wall,
            expires: opened.wall.plus(OPTIONS.total),
            last_used: opened.wall,
        },
        remembered: None,
    }
}

fn key(number: usize) -> Key {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key
}

/// One window of alice's, which the store has told of at the beginning.
fn kept() -> Kept {
    let mut kept = Kept::default();
    kept.remember((key(1), 1), known("alice", at(0)), (at(0), 7), &OPTIONS);
    kept
}

fn honours(kept: &mut Kept, at: Moment, options: &Options) -> bool {
    kept.find((key(1), 1), (at, 7), options).is_some()
}

#[test]
fn a_window_is_honoured_for_the_grace_and_no_longer() {
    let mut kept = kept();
    assert!(honours(&mut kept, at(599), &OPTIONS));
    assert!(!honours(&mut kept, at(600), &OPTIONS));
    assert!(
        kept.find((key(2), 1), (at(1), 7), &OPTIONS).is_none(),
        "another credential"
    );
}

#[test]
fn a_use_does_not_lengthen_it() {
    let grace = Grace::default();
    grace.remember((key(1), 1), known("alice", at(0)), (at(0), 7), &OPTIONS);
    grace.used(&key(1), at(500));
    assert!(grace.find((key(1), 1), (at(599), 7), &OPTIONS).is_some());
    assert!(grace.find((key(1), 1), (at(600), 7), &OPTIONS).is_none());
}

#[test]
fn it_never_outlives_the_windows_own_end() {
    let mut kept = kept();
    // The store says that it stands, a minute before its end.
    let (end, before) = (12 * 3_600, 12 * 3_600 - 60);
    let mut window = known("alice", at(0)).window;
    window.last_used = at(before).wall;
    let user = known("alice", at(0)).user;
    kept.answered(
        &key(1),
        (Some(window.clone()), Some(user.clone())),
        (at(before), 7),
        &OPTIONS,
    );
    assert!(honours(&mut kept, at(end - 1), &OPTIONS));
    assert!(!honours(&mut kept, at(end), &OPTIONS));
    // Nor the time for which it may go unused.
    let mut kept = self::kept();
    let idle = 2 * 3_600;
    kept.answered(
        &key(1),
        (Some(known("alice", at(0)).window), Some(user)),
        (at(idle - 60), 7),
        &OPTIONS,
    );
    assert!(honours(&mut kept, at(idle - 1), &OPTIONS));
    assert!(!honours(&mut kept, at(idle), &OPTIONS));
}

#[test]
fn a_clock_that_is_set_makes_it_no_longer() {
    let mut kept = kept();
    let set = |seconds: i64, by: i64| Moment {
        wall: UnixTime(at(seconds).wall.0 + by),
        ..at(seconds)
    };
    // Backwards: a window whose opening is still to come is none at all.
    assert!(!honours(&mut kept, set(60, -3_600), &OPTIONS));
    assert!(!honours(&mut kept, set(600, -3_600), &OPTIONS));
    assert!(honours(&mut kept, set(599, 3_600), &OPTIONS));
    assert!(!honours(&mut kept, set(600, 3_600), &OPTIONS));
    // Its own end neither, by an hour set back while it is remembered.
    let (end, before) = (12 * 3_600, 12 * 3_600 - 60);
    let mut window = known("alice", at(0)).window;
    window.last_used = at(before).wall;
    let user = known("alice", at(0)).user;
    kept.answered(&key(1), (Some(window), Some(user)), (at(before), 7), &OPTIONS);
    assert!(honours(&mut kept, set(end - 1, -3_600), &OPTIONS));
    assert!(!honours(&mut kept, set(end, -3_600), &OPTIONS));
}

#[test]
fn nothing_counts_that_the_store_has_told_of_something_since() {
    let mut kept = kept();
    assert!(kept.find((key(1), 1), (at(1), 8), &OPTIONS).is_none());
    let known = known("alice", at(0));
    kept.answered(
        &key(1),
        (Some(known.window), Some(known.user)),
        (at(2), 8),
        &OPTIONS,
    );
    assert!(
        kept.find((key(1), 1), (at(3), 8), &OPTIONS).is_some(),
        "it stands all the same"
    );
}

#[test]
fn what_the_store_does_not_know_any_more_is_forgotten() {
    type End = fn(&mut Option<Window>, &mut Option<User>);
    let ends: [End; 4] = [
        |window, _| *window = None,
        |_, user| *user = None,
        |_, user| user.as_mut().unwrap().disabled = true,
        |_, user| user.as_mut().unwrap().epoch += 1,
    ];
    for end in ends {
        let mut kept = kept();
        let known = known("alice", at(0));
        let (mut window, mut user) = (Some(known.window), Some(known.user));
        end(&mut window, &mut user);
        kept.answered(&key(1), (window, user), (at(1), 7), &OPTIONS);
        assert!(kept.entries.is_empty());
        assert!(!honours(&mut kept, at(2), &OPTIONS));
    }
    let grace = Grace::default();
    grace.remember((key(1), 1), known("alice", at(0)), (at(0), 7), &OPTIONS);
    grace.remember((key(2), 2), known("bob", at(0)), (at(0), 7), &OPTIONS);
    grace.forget_user(&name("alice"));
    assert!(grace.find((key(1), 1), (at(1), 7), &OPTIONS).is_none());
    assert!(grace.find((key(2), 2), (at(1), 7), &OPTIONS).is_some());
    grace.forget(&key(2));
    assert!(grace.find((key(2), 2), (at(1), 7), &OPTIONS).is_none());
}

#[test]
fn an_answer_that_comes_late_takes_back_nothing_that_was_said_later() {
    let mut kept = kept();
    kept.remember((key(1), 1), known("alice", at(0)), (at(100), 9), &OPTIONS);
    let known = known("alice", at(0));
    kept.answered(
        &key(1),
        (Some(known.window), Some(known.user)),
        (at(50), 8),
        &OPTIONS,
    );
    assert!(kept.find((key(1), 1), (at(699), 9), &OPTIONS).is_some());
}

#[test]
fn without_a_grace_nothing_is_remembered_and_shorter_ones_hold_at_once() {
    let off = Options {
        store_away: Duration::ZERO,
        ..OPTIONS
    };
    let grace = Grace::default();
    grace.remember((key(1), 1), known("alice", at(0)), (at(0), 7), &off);
    assert!(grace.lock().entries.is_empty());
    grace.remember((key(1), 1), known("alice", at(0)), (at(0), 7), &OPTIONS);
    let shorter = Options {
        store_away: Duration::from_secs(30),
        ..OPTIONS
    };
    assert!(grace.find((key(1), 1), (at(30), 7), &shorter).is_none());
    assert!(grace.find((key(1), 1), (at(1), 7), &off).is_none());
    assert!(grace.questions((at(1), 7), &off).is_empty());
    assert!(grace.lock().entries.is_empty());
}

#[test]
fn the_store_is_asked_when_it_has_told_of_something_and_every_few_seconds() {
    let grace = Grace::default();
    grace.remember((key(1), 1), known("alice", at(0)), (at(0), 7), &OPTIONS);
    assert_eq!(grace.questions((at(0), 7), &OPTIONS).len(), 1);
    assert_eq!(grace.questions((at(1), 7), &OPTIONS).len(), 1, "nobody answered");
    grace.all_answered((at(1), 7));
    assert!(grace.questions((at(5), 7), &OPTIONS).is_empty());
    assert_eq!(grace.questions((at(5), 8), &OPTIONS).len(), 1);
    assert_eq!(grace.questions((at(6), 7), &OPTIONS).len(), 1);
    assert!(grace.questions((at(600), 7), &OPTIONS).is_empty(), "it is over");
}

#[test]
fn who_tries_many_credentials_of_a_user_ends_the_grace_from_that_network_until_the_store_answers() {
    let grace = Grace::default();
    grace.remember((key(1), 1), known("alice", at(0)), (at(0), 7), &OPTIONS);
    grace.remember((key(2), 2), known("alice", at(0)), (at(0), 7), &OPTIONS);
    let find = |number, pair| grace.find((key(number), pair), (at(1), 7), &OPTIONS).is_some();
    for _ in 0..200 {
        assert!(!find(99, 1), "the same one again is one guess");
    }
    assert!(find(1, 1));
    for guess in 100..149 {
        assert!(!find(guess, 1));
    }
    assert!(!find(1, 1));
    assert!(find(2, 2), "from another network");
    assert!(!find(3, 3));
    assert!(
        !grace.lock().misses.contains_key(&3),
        "nobody is remembered there"
    );
    grace.all_answered((at(2), 7));
    assert!(find(1, 1));
}

#[test]
fn it_is_bounded_and_what_was_used_longest_ago_goes() {
    let mut kept = Kept::default();
    for number in 0..=MOST {
        let at = at(i64::try_from(number / 100).unwrap());
        kept.remember((key(number), 1), known("alice", at), (at, 7), &OPTIONS);
        assert!(kept.entries.len() <= MOST);
    }
    assert!(!kept.entries.contains_key(&key(0)));
    assert!(kept.entries.contains_key(&key(MOST)));
    assert!(kept.entries.contains_key(&key(MOST / 2)));
    // What is over goes first.
    let late = at(650);
    kept.remember((key(1_000_000), 1), known("alice", late), (late, 7), &OPTIONS);
    kept.sweep(late, &OPTIONS);
    assert!(kept.entries.values().all(|entry| entry.lives(late, &OPTIONS)));
}

#[test]
fn ten_thousand_windows_are_below_sixteen_mebibytes() {
    // With what a user's row and the rules' memory of a user may have on the heap; half as much again for the map's room.
    let each = size_of::<Key>() + size_of::<Entry>() + size_of::<Remembered>() + 400;
    let all = each * MOST * 3 / 2;
    assert!(all < 16 * 1024 * 1024, "{each} bytes each, {all} in all");
}

#[test]
fn no_more_sessions_begin_than_can_be_looked_at_afterwards() {
    let grace = Grace::default();
    grace.remember((key(1), 1), known("alice", at(0)), (at(0), 7), &OPTIONS);
    let opened = Opened {
        session: SessionId::new(1),
        window: key(1),
        expires: at(9).wall,
    };
    for _ in 0..MOST_SESSIONS {
        assert!(grace.find((key(1), 1), (at(1), 7), &OPTIONS).is_some());
        grace.opened(opened);
    }
    assert!(grace.find((key(1), 1), (at(1), 7), &OPTIONS).is_none());
    grace.sessions_checked(1);
    assert!(grace.find((key(1), 1), (at(1), 7), &OPTIONS).is_some());
}
