//! A million counters take less than 200 MiB, and a sweep gives the memory back. Alone in its program: it measures it.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use imapwarden::config::rules::parse;
use imapwarden::policy::Counters;
use imapwarden::policy::engine::Engine;
use imapwarden::policy::engine::SessionCounters;
use imapwarden::policy::facts::Event;
use imapwarden::policy::facts::Facts;
use imapwarden::policy::facts::Source;
use imapwarden::policy::facts::User;
use imapwarden::policy::shared::Heard;
use imapwarden::types::SessionId;

/// Memory in use, in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[test]
fn a_million_counters_take_less_than_200_mib() {
    const KEYS: u32 = 1_000_000;
    let text = "{name: a, description: A., on: connect, per: source, within: 10m, over: 5, shared: true, then: [log]}";
    let set = parse("x", text).unwrap().set(text);
    let counters = Arc::new(Counters::new(1_000_000, 7));
    let engine = Engine::new(set, Arc::clone(&counters));
    let mut session = SessionCounters::new(SessionId::new(1));
    let before = resident();
    for key in 0..KEYS {
        let source = Source::new(std::net::Ipv4Addr::from(key).into());
        assert!(
            engine
                .judge(&Facts::at(Event::Connect, &source), &mut session, 0)
                .is_empty()
        );
    }
    let used = resident().saturating_sub(before);
    let held = counters.len();
    assert!(held >= 500_000, "{held}");
    assert!(used < 200 << 20, "{used} bytes for {held} counters");
    // Not everything of the memory was taken: the table may be full to the brim by chance.
    let each = used / held;
    assert!(each < 200, "{each} bytes each");
    counters.sweep(u64::try_from(Duration::from_secs(3_600).as_millis()).unwrap());
    assert!(counters.is_empty());

    // Another replica has counted as many.
    let elsewhere = Arc::new(Counters::new(100, 7));
    let set = parse("x", text).unwrap().set(text);
    let source = Source::new(std::net::Ipv4Addr::LOCALHOST.into());
    let other = Engine::new(set, Arc::clone(&elsewhere));
    let _ = other.judge(&Facts::at(Event::Connect, &source), &mut session, 0);
    let told = elsewhere.tell(1, 1_000, 0).remove(0);
    let mut heard = Heard {
        rule: told.rule,
        key: 0,
        state: told.state,
        age_ms: 0,
    };
    let rules = engine.shared_rules();
    for key in 0..u64::from(KEYS) {
        heard.key = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        assert_eq!(counters.hear(&rules, std::slice::from_ref(&heard), 0), 1);
    }
    let used = resident().saturating_sub(before);
    let held = counters.len();
    assert!(held >= 250_000, "{held}");
    assert!(used < 200 << 20, "{used} bytes for {held} counters, heard of");
    counters.sweep(u64::try_from(Duration::from_hours(2).as_millis()).unwrap());
    count_distinct(&counters, before);
}

/// Counters of distinct values, which grow after they have come.
fn count_distinct(counters: &Arc<Counters>, before: usize) {
    const KEYS: u32 = 500_000;
    assert!(counters.is_empty());
    let mut session = SessionCounters::new(SessionId::new(1));
    let text = "{name: b, description: B., on: login, distinct: user.name, per: source, within: 10m, over: 5, then: [log]}";
    let engine = Engine::new(parse("x", text).unwrap().set(text), Arc::clone(counters));
    for name in ["a", "b", "c", "d", "e"] {
        let user = User {
            name: name.into(),
            ..User::default()
        };
        for key in 0..KEYS {
            let source = Source::new(std::net::Ipv4Addr::from(key).into());
            let mut facts = Facts::at(Event::Login, &source);
            facts.user = Some(&user);
            assert!(engine.judge(&facts, &mut session, 0).is_empty());
        }
        let used = resident().saturating_sub(before);
        let held = counters.len();
        assert!(held >= 200_000, "{held}");
        assert!(
            used < 200 << 20,
            "{used} bytes for {held} counters of distinct values"
        );
    }
}
