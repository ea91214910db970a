//! A session that rules watch, with nobody behind it who keeps anything.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use imapwarden::policy::engine::SessionCounters;
use imapwarden::policy::expression::Expression;
use imapwarden::policy::facts::Client;
use imapwarden::policy::facts::Event;
use imapwarden::policy::facts::Source;
use imapwarden::policy::facts::User;
use imapwarden::policy::rules::Action;
use imapwarden::policy::rules::Count;
use imapwarden::policy::rules::Mode;
use imapwarden::policy::rules::Rule;
use imapwarden::policy::rules::Severity;
use imapwarden::policy::rules::Threshold;
use imapwarden::session::inspect::Inspector;
use imapwarden::session::inspect::Ledger;
use imapwarden::session::inspect::Parties;
use imapwarden::session::inspect::Rules;
use imapwarden::types::Measure;
use imapwarden::types::SessionId;
use imapwarden::types::UnixTime;

/// When everything happens.
const NOW: UnixTime = UnixTime(1_800_000_000);

/// Judges a session by rules.
pub(super) fn inspector(rules: &Rules, user: User, is_first_sync: Arc<AtomicBool>) -> Inspector {
    let revision = Arc::clone(rules.load().revision());
    let parties = Parties {
        source: Source::new([192, 0, 2, 1].into()),
        tls: None,
        client: Client::default(),
        user,
        mechanism: "login",
        credential: "app_password",
        baselines: None,
    };
    Inspector::new(
        Arc::clone(rules),
        (Arc::new(parties), Box::new(Nobody { is_first_sync })),
        (SessionCounters::new(SessionId::new(1)), revision),
        0,
    )
}

/// A rule that is in force, and does not count.
#[allow(dead_code, reason = "benches have the rules that are shipped")]
pub(super) fn rule(name: &str, on: Event, when: &str, action: Action) -> Rule {
    let when = Expression::compile(when, on).unwrap_or_else(|error| panic!("{when}: {error}"));
    Rule {
        name: name.into(),
        description: "A test.".into(),
        false_positives: None,
        attack: None,
        severity: Severity::default(),
        on,
        when: Some(when),
        count: Count::default(),
        per: Vec::new(),
        within: None,
        shared: false,
        over: Threshold::Fixed(0),
        then: vec![action],
        mode: Mode::Enforce,
    }
}

/// Keeps nothing.
struct Nobody {
    is_first_sync: Arc<AtomicBool>,
}

impl Ledger for Nobody {
    fn is_first_sync(&self) -> bool {
        self.is_first_sync.load(Ordering::Relaxed)
    }

    fn fetched(&self, _: u64, _: u64) {}

    fn client_is(&self, _: &str) {}

    fn now(&self) -> UnixTime {
        NOW
    }

    fn pace(&self, _: u64, _: NonZeroU64, now_ms: u64) -> u64 {
        now_ms
    }

    fn count(&self, _: Measure, _: u64) {}

    fn moved(&self, _: &str, _: u64, _: u64) {}

    fn renamed(&self, _: &str, _: &str, _: u64) {}

    fn deleted(&self, _: &str) {}

    fn moved_into(&self, _: &str, _: u64) -> Option<u64> {
        None
    }

    fn noticed(&self, _: &str, _: &[u32], _: u64) {}

    fn notices_in(&self, _: &str, _: u64) -> Vec<u32> {
        Vec::new()
    }
}
