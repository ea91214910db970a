//! Judges moments by a set of rules: looks only at the rules that may match, counts what they count, and says what follows.
//!
//! A rule without a window decides on each event that matches. A rule with one counts what happens, refused attempts
//! included, and decides when the count comes above its threshold: it is reported once in a window for each thing it counts
//! by. What goes on (throttle, read_only, deny, disconnect) is decided anew while the count is above, and holds until it has
//! fallen. What cannot be counted, because the thing to count by is not known, is not counted and decides nothing.

mod prepared;
mod session;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::policy::counters::Addition;
use crate::policy::counters::Amount;
use crate::policy::counters::Counters;
use crate::policy::counters::Terms;
use crate::policy::decision::Decision;
use crate::policy::decision::Decisions;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Lookup;
use crate::policy::facts::Value;
use crate::policy::index::Index;
use crate::policy::keyed::Keyed;
use crate::policy::keyed::hash_of;
use crate::policy::rules::Count;
use crate::policy::rules::Group;
use crate::policy::rules::Mode;
use crate::policy::rules::Rule;
use crate::policy::rules::RuleSet;
use crate::policy::rules::Threshold;
use crate::policy::sets::NetworkSets;
use crate::policy::shared::Shared;
use crate::policy::shared::SharedRules;
use crate::policy::window::Scale;

pub use prepared::Prepared;
pub use session::SessionCounters;

/// How many engines this process has had.
static ENGINES: AtomicU64 = AtomicU64::new(0);

/// A set of rules in force.
#[derive(Debug)]
pub struct Engine {
    rules: Vec<Ready>,
    sets: NetworkSets,
    index: Index,
    revision: Arc<str>,
    shadow: bool,
    asks_for_notices: bool,
    counters: Arc<Counters>,
    /// Tells it from all others of this process.
    number: u64,
}

/// A rule, ready to be judged by.
#[derive(Debug)]
struct Ready {
    rule: Arc<Rule>,
    mode: Mode,
    /// What tells its counters from those of other rules: the same as long as the rule counts the same.
    key: u64,
    /// For what it counts, and what it counts by.
    keyed: Keyed,
    /// `None` where the rule does not count.
    terms: Option<Terms>,
    own: bool,
}

impl Engine {
    /// Puts a set of rules in force. The counters may be those of the set before: a rule that counts the same goes on
    /// counting.
    #[must_use]
    pub fn new(set: RuleSet, counters: Arc<Counters>) -> Self {
        let shadow = set.shadow;
        let seed = counters.seed();
        let rules: Vec<Ready> = set
            .rules
            .into_iter()
            .map(|rule| Ready::new(rule, shadow, seed))
            .collect();
        Self {
            asks_for_notices: rules
                .iter()
                .any(|ready| ready.rule.facts().contains(&Fact::CommandSecurityNotices)),
            index: Index::new(rules.iter().map(|ready| &*ready.rule)),
            rules,
            sets: NetworkSets::default(),
            revision: set.revision,
            shadow,
            counters,
            number: ENGINES.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The same, with sets of networks.
    #[must_use]
    pub fn with_networks(self, sets: NetworkSets) -> Self {
        Self { sets, ..self }
    }

    /// The same, which also says at which moments a rule that only reports would have gone on.
    #[must_use]
    pub fn noting_all(mut self) -> Self {
        for ready in &mut self.rules {
            if let Some(terms) = &mut ready.terms {
                terms.goes_on = goes_on(&ready.rule);
            }
        }
        self
    }

    /// The names of the sets that an address is in.
    pub fn networks_of(&self, ip: IpAddr) -> Vec<Arc<str>> {
        self.sets.of(ip)
    }

    /// Judges a moment. `now_ms` may come from any clock that does not step back, the same for all sessions.
    pub fn judge(&self, facts: &dyn Lookup, session: &mut SessionCounters, now_ms: u64) -> Decisions {
        let mut decisions = Decisions::default();
        for ready in self.holding(facts) {
            self.judge_by((ready, None), facts, session, now_ms, &mut decisions);
        }
        decisions
    }

    /// Says what follows from a rule whose condition holds.
    fn judge_by(
        &self,
        (ready, key): (&Ready, Option<u64>),
        facts: &dyn Lookup,
        session: &mut SessionCounters,
        now_ms: u64,
        decisions: &mut Decisions,
    ) {
        if let Some(found) = self.weigh((ready, key), facts, session, now_ms) {
            decisions.push(self.decision(ready, &found, session));
        }
    }

    /// Judges something that was judged before, by other rules: those that count have counted it then, or never will.
    pub fn judge_again(&self, facts: &dyn Lookup, session: &mut SessionCounters) -> Decisions {
        let mut decisions = Decisions::default();
        for ready in self.holding(facts).filter(|ready| ready.terms.is_none()) {
            decisions.push(self.decision(ready, &Found::ONCE, session));
        }
        decisions
    }

    fn decision(&self, ready: &Ready, found: &Found, session: &mut SessionCounters) -> Decision {
        Decision {
            id: session.next_id(),
            rule: Arc::clone(&ready.rule),
            mode: ready.mode,
            is_new: found.is_new,
            value: found.value,
            threshold: found.threshold,
            until_ms: found.until_ms,
            revision: Arc::clone(&self.revision),
        }
    }

    /// The rules whose conditions hold.
    fn holding<'e>(&'e self, facts: &'e dyn Lookup) -> impl Iterator<Item = &'e Ready> {
        let candidates = self.index.candidates(facts).iter();
        let holding = candidates.filter_map(|candidate| candidate.holding(facts));
        holding.filter_map(|at| self.rules.get(at))
    }

    /// Counts for a rule whose condition holds; `None` where nothing follows. The key of its counter may be known already.
    fn weigh(
        &self,
        (ready, key): (&Ready, Option<u64>),
        facts: &dyn Lookup,
        session: &mut SessionCounters,
        now_ms: u64,
    ) -> Option<Found> {
        let rule = &*ready.rule;
        let Some(terms) = ready.terms else {
            return Some(Found::ONCE);
        };
        let amount = amount(ready, facts)?;
        let threshold = threshold(rule, facts);
        let addition = Addition {
            terms,
            amount,
            threshold,
            now_ms,
        };
        let counted = if ready.own {
            session.own.count(ready.key, addition)
        } else {
            let key = key.or_else(|| ready.keyed.of_groups(&rule.per, facts))?;
            self.counters.count(session.held.as_mut(), key, addition)
        };
        let above = counted.above?;
        Some(Found {
            is_new: above.is_new,
            value: counted.value,
            threshold,
            until_ms: Some(above.until_ms),
        })
    }

    /// The rules whose conditions hold at a moment, with the mode each is in. Nothing is counted and nothing follows: this is
    /// for explaining.
    pub fn matching<'e>(&'e self, facts: &'e dyn Lookup) -> impl Iterator<Item = (&'e Rule, Mode)> {
        self.holding(facts).map(|ready| (&*ready.rule, ready.mode))
    }

    /// True where some rule looks at an event: the caller may save itself the facts otherwise.
    #[must_use]
    pub fn looks_at(&self, event: Event) -> bool {
        self.index.looks_at(event)
    }

    /// True where some rule asks for `command.security_notices`: what the backend sends must be looked at for it.
    #[must_use]
    pub fn asks_for_notices(&self) -> bool {
        self.asks_for_notices
    }

    /// True where some rule does more than report.
    #[must_use]
    pub fn acts(&self) -> bool {
        self.rules.iter().any(|ready| ready.mode == Mode::Enforce)
    }

    /// The rules, in the order of their files.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|ready| &*ready.rule)
    }

    /// What tells this set from others.
    #[must_use]
    pub fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    /// Whether the whole set only reports.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.shadow
    }

    /// The rules that other replicas count with us.
    #[must_use]
    pub fn shared_rules(&self) -> SharedRules {
        self.rules.iter().filter_map(|ready| ready.terms).collect()
    }

    /// The counters that sessions share: for a timer that sweeps them, and for the engine that comes next.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

struct Found {
    is_new: bool,
    value: u64,
    threshold: u64,
    until_ms: Option<u64>,
}

impl Found {
    /// What a rule that does not count finds.
    const ONCE: Self = Self {
        is_new: true,
        value: 1,
        threshold: 0,
        until_ms: None,
    };
}

impl Ready {
    fn new(rule: Rule, shadow: bool, seed: u128) -> Self {
        let mode = if shadow { Mode::Shadow } else { rule.mode };
        let actions = hash_of(seed, &(mode, &rule.then));
        let when = rule.when.as_ref().map(|when| when.text());
        let counts = (
            &rule.name,
            rule.on,
            when,
            rule.count,
            &rule.per,
            rule.within,
            rule.over,
        );
        let key = hash_of(seed, &counts);
        let terms = rule.within.map(|within| Terms {
            scale: Scale::new(within, rule.over.least(), is_coarse(&rule)),
            actions: u16::try_from(actions & 0xffff).unwrap_or_default(),
            goes_on: mode == Mode::Enforce && goes_on(&rule),
            shared: rule
                .shared
                .then(|| Shared::new(hash_of(seed, &("shared", key)), &rule)),
        });
        Self {
            key,
            keyed: Keyed::new(seed, key),
            own: rule.per.as_slice() == [Group::Session],
            rule: Arc::new(rule),
            mode,
            terms,
        }
    }
}

impl Ready {
    /// The key of the counter, where it counts and depends on steady facts only.
    fn steady_key(&self, facts: &dyn Lookup) -> Option<u64> {
        let counts = self.terms.is_some() && !self.own;
        let steady = |group: &Group| match group {
            Group::Fact(fact) => fact.is_steady(),
            Group::Global | Group::Session => true,
            Group::AppPassword | Group::User | Group::Source | Group::Network => true,
        };
        let is_steady = counts && self.rule.per.iter().all(steady);
        is_steady
            .then(|| self.keyed.of_groups(&self.rule.per, facts))
            .flatten()
    }
}

/// What a rule does goes on as long as its count is above the threshold.
fn goes_on(rule: &Rule) -> bool {
    rule.then.iter().any(|action| action.holds())
}

/// Bytes above a threshold that depends on the user may be far more than its floor.
fn is_coarse(rule: &Rule) -> bool {
    rule.count == Count::Bytes && matches!(rule.over, Threshold::Baseline { .. })
}

fn amount(ready: &Ready, facts: &dyn Lookup) -> Option<Amount> {
    let fact = match (ready.rule.count, ready.rule.on) {
        (Count::Events, _) | (Count::Messages, Event::Appended) => return Some(Amount::Of(1)),
        (Count::Distinct(fact), _) => {
            return Some(Amount::Value(ready.keyed.of_value(facts.value(fact)?)));
        }
        (Count::Bytes, Event::Fetched) => Fact::FetchedBytes,
        (Count::Bytes, Event::Appended) => Fact::AppendedSize,
        (Count::Bytes, _) => Fact::CommandLiteralSize,
        (Count::Messages, Event::Fetched) => Fact::FetchedMessages,
        (Count::Messages, _) => Fact::CommandSetSize,
    };
    match facts.value(fact) {
        Some(Value::Number(number)) => Some(Amount::Of(u64::try_from(number).unwrap_or_default())),
        // A command about messages of which nobody can say how many is about one at least.
        _ => Some(Amount::Of(1)),
    }
}

fn threshold(rule: &Rule, facts: &dyn Lookup) -> u64 {
    match rule.over {
        Threshold::Fixed(value) => value,
        Threshold::Baseline { days, factor, floor } => {
            let measure = rule.count.measure(rule.on);
            let usual = measure.and_then(|measure| facts.baseline(measure, days));
            usual
                .unwrap_or_default()
                .saturating_mul(u64::from(factor))
                .max(floor)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Duration;

    use super::*;
    use crate::policy::decision::Effect;
    use crate::policy::expression::Expression;
    use crate::policy::facts::Measure;
    use crate::policy::facts::Record;
    use crate::policy::index::Candidate;
    use crate::policy::rules::Action;
    use crate::policy::rules::tests::rule;
    use crate::types::SessionId;

    fn engine(rules: Vec<Rule>) -> Engine {
        with_counters(rules, Arc::new(Counters::new(1_000, 7)))
    }

    fn with_counters(rules: Vec<Rule>, counters: Arc<Counters>) -> Engine {
        for rule in &rules {
            rule.check().unwrap();
        }
        let set = RuleSet {
            rules,
            revision: "r1".into(),
            shadow: false,
        };
        Engine::new(set, counters)
    }

    fn session() -> SessionCounters {
        SessionCounters::new(SessionId::new(1))
    }

    fn facts(event: Event, values: &[(Fact, &str)]) -> Record {
        let mut record = Record::new(event);
        for (fact, text) in values {
            record.set(*fact, text).unwrap();
        }
        record
    }

    fn counting(on: Event, count: Count, per: &[Group], over: u64, then: &[Action]) -> Rule {
        let mut made = rule(on);
        made.count = count;
        made.per = per.to_vec();
        made.within = Some(Duration::from_secs(60));
        made.over = Threshold::Fixed(over);
        made.then = then.to_vec();
        made
    }

    fn failure(user: &str, ip: &str, password: &str) -> Record {
        let values = [
            (Fact::UserName, user),
            (Fact::SourceIp, ip),
            (Fact::LoginOutcome, "failure"),
            (Fact::LoginPasswordHash, password),
        ];
        facts(Event::Login, &values)
    }

    #[test]
    fn a_rule_without_a_window_decides_on_each_event_that_matches() {
        let mut deny = rule(Event::Command);
        deny.when = Some(Expression::compile("command.verb == \"SETACL\"", Event::Command).unwrap());
        deny.then = vec![Action::Deny];
        let engine = engine(vec![deny]);
        let mut session = session();
        for _ in 0..3 {
            let decisions = engine.judge(
                &facts(Event::Command, &[(Fact::CommandVerb, "SETACL")]),
                &mut session,
                0,
            );
            assert_eq!(decisions.verdict().effect, Effect::Deny);
            let decision = decisions.iter().next().unwrap();
            assert!(decision.is_new && decision.until_ms.is_none() && &*decision.revision == "r1");
        }
        let other = facts(Event::Command, &[(Fact::CommandVerb, "NOOP")]);
        assert!(engine.judge(&other, &mut session, 0).is_empty());
        assert!(engine.looks_at(Event::Command) && !engine.looks_at(Event::Login));
    }

    #[test]
    fn one_password_over_many_users_and_addresses_is_seen_at_the_sixth_user() {
        let groups = [Group::Fact(Fact::LoginPasswordHash)];
        let spray = counting(
            Event::Login,
            Count::Distinct(Fact::UserName),
            &groups,
            5,
            &[Action::Alert],
        );
        let engine = engine(vec![spray]);
        let seen = |user: u32, password: &str| {
            let facts = failure(&format!("user{user}"), &format!("192.0.2.{user}"), password);
            let decisions = engine.judge(&facts, &mut session(), u64::from(user) * 1_000);
            decisions.iter().next().map(|decision| decision.value)
        };
        for user in 1..=5 {
            assert_eq!(seen(user, "11"), None);
            assert_eq!(seen(user, "11"), None);
            assert_eq!(seen(user, &format!("{user}00")), None);
        }
        assert_eq!(seen(6, "11"), Some(6));
        // Reported once, and it has nothing that goes on.
        assert_eq!(seen(7, "11"), None);
    }

    #[test]
    fn what_cannot_be_counted_by_decides_nothing() {
        let groups = [Group::Fact(Fact::LoginPasswordHash)];
        let engine = engine(vec![counting(
            Event::Login,
            Count::Events,
            &groups,
            0,
            &[Action::Deny],
        )]);
        let unknown = facts(Event::Login, &[(Fact::UserName, "a")]);
        assert!(engine.judge(&unknown, &mut session(), 0).is_empty());
    }

    fn fetched(bytes: &str, app_password: Option<&str>) -> Record {
        let mut record = facts(
            Event::Fetched,
            &[(Fact::UserName, "alice"), (Fact::FetchedBytes, bytes)],
        );
        if let Some(id) = app_password {
            record.set(Fact::UserAppPasswordId, id).unwrap();
        }
        record
    }

    #[test]
    fn a_throttle_holds_while_the_count_is_above_the_threshold_and_is_reported_once() {
        let rate = Action::Throttle(NonZeroU64::MIN);
        let engine = engine(vec![counting(
            Event::Fetched,
            Count::Bytes,
            &[Group::AppPassword],
            1_000,
            &[rate],
        )]);
        // Two sessions with one app password, and one without.
        let (mut one, mut two) = (session(), session());
        assert!(engine.judge(&fetched("1000", Some("p")), &mut one, 0).is_empty());
        assert!(engine.judge(&fetched("1000", None), &mut one, 0).is_empty());
        let first = engine.judge(&fetched("1", Some("p")), &mut two, 10_000);
        let first = first.iter().next().unwrap();
        assert!(first.is_new && first.value == 1_001 && first.threshold == 1_000);
        assert_eq!(first.until_ms, Some(64_000));
        let next = engine.judge(&fetched("1", Some("p")), &mut one, 20_000);
        assert!(!next.iter().next().unwrap().is_new);
        assert_eq!(next.verdict().effect, Effect::Throttle);
        assert!(
            engine
                .judge(&fetched("1", Some("p")), &mut one, 80_000)
                .is_empty()
        );
    }

    #[test]
    fn a_session_counts_for_itself() {
        let engine = engine(vec![counting(
            Event::Fetched,
            Count::Events,
            &[Group::Session],
            1,
            &[Action::Alert],
        )]);
        let (mut one, mut two) = (session(), session());
        assert!(engine.judge(&fetched("1", None), &mut one, 0).is_empty());
        assert!(engine.judge(&fetched("1", None), &mut two, 0).is_empty());
        assert!(!engine.judge(&fetched("1", None), &mut one, 0).is_empty());
        assert!(engine.counters().is_empty());
        one.sweep(1_000_000);
        assert!(engine.judge(&fetched("1", None), &mut one, 1_000_000).is_empty());
    }

    #[test]
    fn networks_are_slash_24_and_slash_48_and_sources_are_slash_32_and_slash_64() {
        let count = |group, ips: [&str; 3]| {
            let engine = engine(vec![counting(
                Event::Connect,
                Count::Events,
                &[group],
                1,
                &[Action::Deny],
            )]);
            ips.map(|ip| {
                let facts = facts(Event::Connect, &[(Fact::SourceIp, ip)]);
                engine.judge(&facts, &mut session(), 0).is_empty()
            })
        };
        assert_eq!(
            count(Group::Network, ["192.0.2.1", "192.0.3.1", "192.0.2.255"]),
            [true, true, false]
        );
        assert_eq!(
            count(Group::Source, ["192.0.2.1", "192.0.2.2", "192.0.2.1"]),
            [true, true, false]
        );
        assert_eq!(
            count(
                Group::Network,
                ["2001:db8:1:2::1", "2001:db8:2::1", "2001:db8:1:3::1"]
            ),
            [true, true, false]
        );
        assert_eq!(
            count(
                Group::Source,
                ["2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8:1:2::9"]
            ),
            [true, true, false]
        );
        assert_eq!(
            count(Group::Global, ["192.0.2.1", "2001:db8::1", "10.0.0.1"]),
            [true, false, false]
        );
    }

    #[test]
    fn pairs_are_counted_as_pairs() {
        let engine = engine(vec![counting(
            Event::Login,
            Count::Events,
            &[Group::Source, Group::User],
            1,
            &[Action::Alert],
        )]);
        let seen = |user: &str, ip: &str| {
            !engine
                .judge(&failure(user, ip, "1"), &mut session(), 0)
                .is_empty()
        };
        assert!(!seen("alice", "192.0.2.1"));
        assert!(!seen("alice", "192.0.2.2"));
        assert!(!seen("bob", "192.0.2.1"));
        assert!(seen("alice", "192.0.2.1"));
    }

    #[test]
    fn a_baseline_raises_the_threshold_and_never_lowers_it_below_the_floor() {
        let mut made = counting(Event::Fetched, Count::Bytes, &[Group::User], 0, &[Action::Alert]);
        made.over = Threshold::Baseline {
            days: 14,
            factor: 8,
            floor: 100 << 20,
        };
        let engine = engine(vec![made]);
        let judge = |bytes: &str, baseline: Option<u64>, user: &str| {
            let mut facts = fetched(bytes, None);
            facts.set(Fact::UserName, user).unwrap();
            if let Some(baseline) = baseline {
                facts.set_baseline(Measure::FetchedBytes, baseline);
            }
            let decisions = engine.judge(&facts, &mut session(), 0);
            decisions.iter().next().map(|decision| decision.threshold)
        };
        assert_eq!(judge("104857600", None, "a"), None);
        assert_eq!(judge("1024", None, "a"), Some(100 << 20));
        assert_eq!(judge("104858600", Some(10), "b"), Some(100 << 20));
        assert_eq!(judge("1073741824", Some(1 << 30), "c"), None);
        assert_eq!(judge("9663676416", Some(1 << 30), "c"), Some(8 << 30));
    }

    #[test]
    fn a_reloaded_rule_goes_on_counting_and_a_changed_one_starts_anew() {
        let made = counting(
            Event::Connect,
            Count::Events,
            &[Group::Source],
            1,
            &[Action::Alert],
        );
        let first = engine(vec![made.clone()]);
        let connect = facts(Event::Connect, &[(Fact::SourceIp, "192.0.2.1")]);
        assert!(first.judge(&connect, &mut session(), 0).is_empty());
        let mut enforced = made.clone();
        enforced.then = vec![Action::Deny];
        let second = with_counters(vec![enforced], Arc::clone(first.counters()));
        assert_eq!(
            second.judge(&connect, &mut session(), 0).verdict().effect,
            Effect::Deny
        );
        let mut changed = made;
        changed.over = Threshold::Fixed(2);
        let third = with_counters(vec![changed], Arc::clone(first.counters()));
        assert!(third.judge(&connect, &mut session(), 0).is_empty());
    }

    #[test]
    fn a_set_in_shadow_mode_reports_and_does_nothing() {
        let mut deny = rule(Event::Connect);
        deny.then = vec![Action::Deny];
        let set = RuleSet {
            rules: vec![deny],
            revision: "r".into(),
            shadow: true,
        };
        let engine = Engine::new(set, Arc::new(Counters::new(10, 0)));
        let decisions = engine.judge(&facts(Event::Connect, &[]), &mut session(), 0);
        assert_eq!(decisions.verdict().effect, Effect::Pass);
        assert_eq!(decisions.iter().next().unwrap().mode, Mode::Shadow);
    }

    #[test]
    fn asking_which_rules_match_counts_nothing() {
        let engine = engine(vec![counting(
            Event::Connect,
            Count::Events,
            &[Group::Global],
            0,
            &[Action::Deny],
        )]);
        let connect = facts(Event::Connect, &[]);
        let names: Vec<_> = engine
            .matching(&connect)
            .map(|(rule, mode)| (&*rule.name, mode))
            .collect();
        assert_eq!(names, [("test", Mode::Enforce)]);
        assert_eq!(engine.matching(&facts(Event::Login, &[])).count(), 0);
        assert!(engine.counters().is_empty());
    }

    #[test]
    fn rules_about_other_verbs_are_not_even_looked_at() {
        let about = |text: &str| {
            let mut made = rule(Event::Command);
            made.when = Some(Expression::compile(text, Event::Command).unwrap());
            made
        };
        let rules = [
            about("command.verb == \"FETCH\""),
            about("command.verb in [\"STORE\", \"FETCH\"] && command.uid"),
            about("command.set_size > 5"),
            rule(Event::Login),
        ];
        let index = Index::new(rules.iter());
        let candidates = |verb: &str| {
            let moment = facts(Event::Command, &[(Fact::CommandVerb, verb)]);
            index
                .candidates(&moment)
                .iter()
                .map(Candidate::number)
                .collect::<Vec<_>>()
        };
        assert_eq!(candidates("FETCH"), [0, 1, 2]);
        assert_eq!(candidates("STORE"), [1, 2]);
        assert_eq!(candidates("NOOP"), [2]);
        let login = facts(Event::Login, &[]);
        assert_eq!(index.candidates(&login).first().map(Candidate::number), Some(3));
    }

    #[test]
    fn a_rule_that_only_reports_does_so_once_in_a_window_and_goes_on_where_that_is_asked_for() {
        let denying = |mode| {
            let mut made = counting(Event::Command, Count::Events, &[Group::User], 2, &[Action::Deny]);
            made.mode = mode;
            made
        };
        let facts = facts(Event::Command, &[(Fact::UserName, "alice")]);
        let decided = |engine: &Engine, at: u64| {
            let mut session = session();
            let times = (0..6).map(|number| engine.judge(&facts, &mut session, at + number * 1_000));
            let decided = times.map(|decisions| decisions.iter().map(|decision| decision.is_new).next());
            decided.collect::<Vec<_>>()
        };
        let (new, goes_on) = (Some(true), Some(false));
        let counters = || Arc::new(Counters::new(1_000, 7));
        let kept = counters();
        let shadow = with_counters(vec![denying(Mode::Shadow)], Arc::clone(&kept));
        assert_eq!(decided(&shadow, 0), [None, None, new, None, None, None]);
        // What is enforced from now on acts at once, by the same counts.
        let enforced = with_counters(vec![denying(Mode::Enforce)], kept);
        assert_eq!(
            decided(&enforced, 6_000),
            [new, goes_on, goes_on, goes_on, goes_on, goes_on]
        );
        let noting = with_counters(vec![denying(Mode::Shadow)], counters()).noting_all();
        assert_eq!(decided(&noting, 0), [None, None, new, goes_on, goes_on, goes_on]);
    }
}
