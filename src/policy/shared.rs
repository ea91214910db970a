//! Counting together with other replicas: what one tells, and what it hears.
//!
//! Each replica counts for itself, at once and without asking anybody. Beside it somebody takes what is new from the counters
//! (`Counters::tell`) and passes it on, and brings what others have passed on (`Counters::hear`). What is told is all that was
//! counted here of one thing, not what was added: told twice, or late, or after something newer was lost, it says the same; and
//! what is heard takes the place of what was heard before. So nothing is ever counted twice.

use std::collections::HashMap;

use crate::policy::counters::Terms;
use crate::policy::facts::Fact;
use crate::policy::facts::Kind;
use crate::policy::rules::Count;
use crate::policy::rules::Group;
use crate::policy::rules::Rule;

/// The hundredth part of its threshold is what a count must have reached to be told: most of what happens is far below, and
/// would keep the store busy for nothing.
const WORTH_TELLING: u64 = 100;

/// A password is counted with others from the second user on: what one user alone has tried, and may well be that user's own, must
/// not lie in a store, not even as a keyed hash.
const USERS_OF_ONE_PASSWORD: u64 = 2;

/// How a rule's counters are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shared {
    /// What tells the rule from others, and from itself when it counted something else.
    pub(super) rule: u64,
    /// From which count on others are told.
    pub(super) from: u64,
}

impl Shared {
    /// With this word for a rule, which is another one than its keys are made with.
    pub(super) fn new(word: u64, rule: &Rule) -> Self {
        let from = if rule.per.iter().any(|group| is_opaque(*group)) {
            USERS_OF_ONE_PASSWORD
        } else {
            rule.over.least() / WORTH_TELLING
        };
        Self { rule: word, from }
    }
}

/// The rules that replicas count together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedRules(HashMap<u64, Terms>);

impl FromIterator<Terms> for SharedRules {
    /// Those that are shared.
    fn from_iter<I: IntoIterator<Item = Terms>>(all: I) -> Self {
        let shared = |terms: Terms| Some((terms.shared?.rule, terms));
        Self(all.into_iter().filter_map(shared).collect())
    }
}

impl SharedRules {
    /// True where there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True where there is one that the others do not have: what was told of it was of no use before.
    #[must_use]
    pub fn has_more_than(&self, others: &Self) -> bool {
        self.0.keys().any(|rule| !others.0.contains_key(rule))
    }

    pub(super) fn terms(&self, rule: u64) -> Option<Terms> {
        self.0.get(&rule).copied()
    }
}

/// Whether others would be told of a password that one user alone may have tried.
pub(super) fn tells_passwords(rule: &Rule) -> bool {
    match rule.count {
        Count::Distinct(fact) if fact.kind() == Kind::Opaque => true,
        Count::Distinct(Fact::UserName) => false,
        _ => rule.per.iter().any(|group| is_opaque(*group)),
    }
}

fn is_opaque(group: Group) -> bool {
    matches!(group, Group::Fact(fact) if fact.kind() == Kind::Opaque)
}

/// What was counted here of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// By which rule.
    pub rule: u64,
    /// Of what: a keyed hash, which holds the rule.
    pub key: u64,
    /// The counts.
    pub state: Vec<u8>,
    /// For how long they matter, in milliseconds.
    pub lasts_ms: u64,
    pub(super) terms: Terms,
}

/// What another replica has counted of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// By which rule.
    pub rule: u64,
    /// Of what.
    pub key: u64,
    /// The counts.
    pub state: Vec<u8>,
    /// How long ago they were told, in milliseconds.
    pub age_ms: u64,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::Counters;
    use crate::policy::decision::Effect;
    use crate::policy::engine::Engine;
    use crate::policy::engine::SessionCounters;
    use crate::policy::facts::Event;
    use crate::policy::facts::Record;
    use crate::policy::rules::Action;
    use crate::policy::rules::RuleError;
    use crate::policy::rules::RuleSet;
    use crate::policy::rules::Threshold;
    use crate::policy::rules::tests::rule;
    use crate::types::SessionId;

    const SEED: u128 = 1 << 100 | 7;

    fn spray() -> Rule {
        let mut made = rule(Event::Login);
        made.count = Count::Distinct(Fact::UserName);
        made.per = vec![Group::Source];
        made.within = Some(Duration::from_mins(10));
        made.over = Threshold::Fixed(5);
        made.shared = true;
        made.then = vec![Action::Deny];
        made
    }

    fn guesses() -> Rule {
        let mut made = spray();
        made.count = Count::Events;
        made.over = Threshold::Fixed(20);
        made
    }

    /// Replicas, and the store between them.
    struct World {
        replicas: Vec<Engine>,
        store: BTreeMap<(u64, usize), Heard>,
    }

    impl World {
        fn new(replicas: usize, rule: &Rule) -> Self {
            let replicas = (0..replicas).map(|_| engine(rule, SEED)).collect();
            Self {
                replicas,
                store: BTreeMap::new(),
            }
        }

        /// Whether a failed login is denied.
        fn fails(&self, at: usize, user: u64, now_ms: u64) -> bool {
            let mut facts = Record::new(Event::Login);
            facts.set(Fact::UserName, &format!("user{user}")).unwrap();
            facts.set(Fact::SourceIp, "192.0.2.1").unwrap();
            facts.set(Fact::LoginPasswordHash, "11").unwrap();
            let mut session = SessionCounters::new(SessionId::new(1));
            let decisions = self.replicas[at].judge(&facts, &mut session, now_ms);
            decisions.verdict().effect == Effect::Deny
        }

        fn tell(&mut self, at: usize, now_ms: u64) {
            for told in self.replicas[at].counters().tell(usize::MAX, usize::MAX, now_ms) {
                let heard = Heard {
                    rule: told.rule,
                    key: told.key,
                    state: told.state,
                    age_ms: 0,
                };
                self.store.insert((told.key, at), heard);
            }
        }

        fn hear(&self, at: usize, now_ms: u64) {
            let others = self.store.iter().filter(|((_, by), _)| *by != at);
            let heard: Vec<Heard> = others.map(|(_, heard)| heard.clone()).collect();
            let engine = &self.replicas[at];
            engine.counters().hear(&engine.shared_rules(), &heard, now_ms);
        }

        fn round(&mut self, now_ms: u64) {
            for at in 0..self.replicas.len() {
                self.tell(at, now_ms);
            }
            for at in 0..self.replicas.len() {
                self.hear(at, now_ms);
            }
        }
    }

    fn engine(rule: &Rule, seed: u128) -> Engine {
        rule.check().unwrap();
        let set = RuleSet {
            rules: vec![rule.clone()],
            revision: "r".into(),
            shadow: false,
        };
        Engine::new(set, Arc::new(Counters::new(1_000, seed)))
    }

    #[test]
    fn an_attack_that_no_replica_alone_would_see_is_seen_by_all_together() {
        for by_password in [false, true] {
            let mut rule = spray();
            if by_password {
                rule.per = vec![Group::Fact(Fact::LoginPasswordHash)];
            }
            let mut world = World::new(3, &rule);
            for user in 0..6 {
                assert!(!world.fails(usize::try_from(user).unwrap() % 3, user, 0));
            }
            world.round(0);
            for at in 0..3 {
                assert!(world.fails(at, 0, 0), "at the next event, whoever it is about");
            }
            rule.shared = false;
            let mut alone = World::new(3, &rule);
            for user in 0..6 {
                assert!(!alone.fails(usize::try_from(user).unwrap() % 3, user, 0));
            }
            alone.round(0);
            assert!(!alone.fails(0, 0, 0));
        }
    }

    #[test]
    fn a_process_that_was_started_anew_hears_what_it_had_counted() {
        let mut world = World::new(2, &spray());
        for user in 0..5 {
            world.fails(0, user, 0);
        }
        world.tell(0, 0);
        world.hear(1, 0);
        assert!(world.fails(1, 5, 0));
    }

    #[test]
    fn nobody_reads_counts_of_another_meaning_or_with_another_key() {
        let mut stricter = spray();
        stricter.over = Threshold::Fixed(4);
        for other in [engine(&stricter, SEED), engine(&spray(), SEED + 1)] {
            let mut world = World::new(1, &spray());
            world.replicas.push(other);
            for user in 0..5 {
                world.fails(0, user, 0);
            }
            world.round(0);
            assert!(!world.fails(1, 6, 0));
            let known = world.replicas[0].shared_rules();
            assert!(world.replicas[1].shared_rules().has_more_than(&known));
        }
        // What it does is not what it counts.
        let mut milder = spray();
        milder.then = vec![Action::Alert];
        let known = engine(&milder, SEED).shared_rules();
        assert!(!engine(&spray(), SEED).shared_rules().has_more_than(&known));
    }

    #[test]
    fn a_password_that_one_user_has_tried_is_not_told() {
        let mut rule = spray();
        rule.per = vec![Group::Fact(Fact::LoginPasswordHash)];
        let mut world = World::new(1, &rule);
        for _ in 0..9 {
            world.fails(0, 1, 0);
        }
        world.tell(0, 0);
        assert!(world.store.is_empty());
        world.fails(0, 2, 0);
        world.tell(0, 0);
        assert_eq!(world.store.len(), 1);
        for count in [Count::Events, Count::Distinct(Fact::SourceIp)] {
            rule.count = count;
            assert_eq!(rule.check(), Err(RuleError::PasswordsShared));
        }
        let mut passwords = spray();
        passwords.count = Count::Distinct(Fact::LoginPasswordHash);
        assert_eq!(passwords.check(), Err(RuleError::PasswordsShared));
    }

    #[test]
    fn only_what_counts_up_to_a_threshold_can_be_shared() {
        let changed = |change: fn(&mut Rule)| {
            let mut made = spray();
            change(&mut made);
            made.check()
        };
        assert_eq!(changed(|_| ()), Ok(()));
        assert_eq!(
            changed(|rule| rule.over = Threshold::Fixed(0)),
            Err(RuleError::NothingShared)
        );
        assert_eq!(
            changed(|rule| rule.within = Some(Duration::from_secs(59))),
            Err(RuleError::WithinShared)
        );
        let alone = Rule {
            shared: true,
            ..rule(Event::Login)
        };
        assert_eq!(alone.check(), Err(RuleError::NothingShared));
        let session = Rule {
            on: Event::Command,
            per: vec![Group::Session],
            ..guesses()
        };
        assert_eq!(session.check(), Err(RuleError::SessionShared));
    }

    proptest! {
        /// Whatever is told and heard when, nobody counts more than there was, nobody forgets what it has counted itself, and
        /// once all have told and heard everybody knows everything.
        #[test]
        fn replicas_never_count_twice_and_agree_in_the_end(
            steps in proptest::collection::vec((0_u8..4, 0_usize..3, 0_u64..3_000), 0..60),
        ) {
            let mut world = World::new(3, &guesses());
            let mut own = [0_u64; 3];
            let mut now = 0;
            for (what, at, passed) in steps {
                now += passed;
                match what {
                    0 => world.tell(at, now),
                    1 => world.hear(at, now),
                    _ => {
                        own[at] += 1;
                        let denied = world.fails(at, 1, now);
                        let total: u64 = own.iter().sum();
                        prop_assert!(!denied || total > 20);
                        prop_assert!(denied || own[at] <= 20);
                    }
                }
            }
            world.round(now);
            for at in 0..3 {
                let total: u64 = own.iter().sum();
                own[at] += 1;
                prop_assert_eq!(world.fails(at, 1, now), total + 1 > 20);
                world.round(now);
            }
        }
    }
}
