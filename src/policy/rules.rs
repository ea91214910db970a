//! A rule: when it looks, what it counts, from where on it acts, and what it does then. Built by whoever reads rule files;
//! a rule that makes no sense cannot be built.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::policy::expression::Expression;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Kind;
use crate::policy::facts::Measure;
use crate::policy::shared;

pub use crate::policy::words::Action;
pub use crate::policy::words::Attack;
pub use crate::policy::words::Mode;
pub use crate::policy::words::Severity;

/// Longest window: what is counted lives in memory.
pub const MAX_WITHIN: Duration = Duration::from_secs(31 * 86_400);
/// Shortest window.
pub const MIN_WITHIN: Duration = Duration::from_secs(1);
/// Highest threshold of a rule that counts distinct values: each of them is kept.
pub const MAX_DISTINCT: u64 = 1_000;
/// Shortest window that replicas count together: what others have counted comes within seconds.
pub const MIN_SHARED: Duration = Duration::from_secs(60);
/// Most things a rule counts by.
pub const MAX_GROUPS: usize = 3;

/// What a rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Count {
    /// Each event is one.
    #[default]
    Events,
    /// The bytes that were fetched or appended, or that a command's literals have.
    Bytes,
    /// The messages that were fetched or appended, or that a command's set means.
    Messages,
    /// How many different values a fact has.
    Distinct(Fact),
}

impl Count {
    /// True where there is something of the kind to count at an event.
    #[must_use]
    pub fn fits(self, event: Event) -> bool {
        match self {
            Self::Events => true,
            Self::Bytes | Self::Messages => {
                matches!(event, Event::Command | Event::Fetched | Event::Appended)
            }
            Self::Distinct(fact) => fact.events().contains(event) && can_tell_apart(fact),
        }
    }

    /// What its baseline is of.
    #[must_use]
    pub const fn measure(self, event: Event) -> Option<Measure> {
        match (self, event) {
            (Self::Bytes, Event::Fetched) => Some(Measure::FetchedBytes),
            (Self::Messages, Event::Fetched) => Some(Measure::FetchedMessages),
            (Self::Bytes, Event::Appended) => Some(Measure::AppendedBytes),
            (Self::Messages | Self::Events, Event::Appended) => Some(Measure::AppendedMessages),
            (Self::Events, Event::Command) => Some(Measure::Commands),
            (Self::Events, Event::Login) => Some(Measure::Logins),
            _ => None,
        }
    }
}

/// What a rule counts by: each has its own count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// The app password; without one, the user.
    AppPassword,
    /// The user.
    User,
    /// The IPv4 address or IPv6 /64.
    Source,
    /// The IPv4 /24 or IPv6 /48.
    Network,
    /// The session.
    Session,
    /// Everybody together.
    Global,
    /// The value of a fact.
    Fact(Fact),
}

impl Group {
    /// True where it is known at an event.
    #[must_use]
    pub fn fits(self, event: Event) -> bool {
        match self {
            Self::AppPassword | Self::User => event != Event::Connect,
            Self::Source | Self::Network | Self::Global => true,
            Self::Session => !matches!(event, Event::Connect | Event::Login),
            Self::Fact(fact) => fact.events().contains(event) && can_tell_apart(fact),
        }
    }
}

/// Truth values have two groups and lists have too many.
fn can_tell_apart(fact: Fact) -> bool {
    !matches!(fact.kind(), Kind::Truth | Kind::Texts)
}

/// From where on a rule acts: above it, not at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Threshold {
    /// A fixed number.
    Fixed(u64),
    /// So many times what the user moves on an average day, but never below the floor.
    Baseline {
        /// How many days the average is of.
        days: u16,
        /// How many times.
        factor: u32,
        /// The least that it ever is; also what holds where nothing is known yet.
        floor: u64,
    },
}

impl Threshold {
    /// The least that it can be.
    #[must_use]
    pub const fn least(self) -> u64 {
        match self {
            Self::Fixed(value) => value,
            Self::Baseline { floor, .. } => floor,
        }
    }
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name: small letters, digits and dashes.
    pub name: Arc<str>,
    /// What it sees, and why that matters.
    pub description: Arc<str>,
    /// What harmless things it may see, and what to do then.
    pub false_positives: Option<Arc<str>>,
    /// The technique it is about.
    pub attack: Option<Attack>,
    /// How bad it is.
    pub severity: Severity,
    /// When it looks.
    pub on: Event,
    /// What must be true.
    pub when: Option<Expression>,
    /// What it counts.
    pub count: Count,
    /// What it counts by; empty where each event stands alone.
    pub per: Vec<Group>,
    /// For how long what was counted matters.
    pub within: Option<Duration>,
    /// From where on it acts.
    pub over: Threshold,
    /// Whether all replicas count together.
    pub shared: bool,
    /// What it does.
    pub then: Vec<Action>,
    /// Whether it acts.
    pub mode: Mode,
}

/// Why a rule makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuleError {
    /// An action that cannot be carried out at the event.
    #[error("`{action}` is not possible on {}", .on.as_str())]
    Action {
        /// The action's word.
        action: &'static str,
        /// The rule's event.
        on: Event,
    },
    /// Nothing to do.
    #[error("`then` has no action")]
    NoAction,
    /// The same action twice.
    #[error("`{0}` stands twice")]
    ActionTwice(&'static str),
    /// Something that cannot be counted at the event.
    #[error("this cannot be counted on {}", .0.as_str())]
    Count(Event),
    /// Something that is not known at the event, or not fit for counting by.
    #[error("this is not known on {}, or is no single value to count by", .0.as_str())]
    Group(Event),
    /// More groups than a key has room for.
    #[error("at most 3 things can be counted by")]
    TooManyGroups,
    /// Counting without saying for how long, or by what.
    #[error("a rule that counts needs `per` and `within`")]
    NoWindow,
    /// A window outside its bounds.
    #[error("`within` is 1s to 31d")]
    Within,
    /// More distinct values than are kept.
    #[error("a rule that counts distinct values keeps each of them: `over` is at most 1000")]
    TooManyDistinct,
    /// A baseline for something that has none.
    #[error("there is no baseline for this")]
    NoBaseline,
    /// `session` beside something else.
    #[error("`session` stands alone: it already belongs to one user and one source")]
    SessionAndMore,
    /// Nothing that could be counted together.
    #[error("`shared` is for a rule that counts up to a threshold: replicas count together what is below it")]
    NothingShared,
    /// A session is at one replica.
    #[error("a session is at one replica: what is counted `per: session` cannot be shared")]
    SessionShared,
    /// A window that is over before others have heard.
    #[error(
        "what other replicas have counted comes up to two seconds late: `within` is 1m at least with `shared`"
    )]
    WithinShared,
    /// A password that one user has tried would be told.
    #[error(
        "no replica tells others of a password that one user alone has tried: by it, only `distinct: user.name` can be shared"
    )]
    PasswordsShared,
}

impl Rule {
    /// True where the rule counts, rather than looking at each event on its own.
    #[must_use]
    pub const fn counts(&self) -> bool {
        self.within.is_some()
    }

    /// The facts that the rule asks for: in its condition, in what it counts and in what it counts by.
    #[must_use]
    pub fn facts(&self) -> BTreeSet<Fact> {
        let mut found = self.when.as_ref().map(Expression::facts).unwrap_or_default();
        if let Count::Distinct(fact) = self.count {
            found.insert(fact);
        }
        for group in &self.per {
            found.extend(match group {
                // A user stands in where there is no app password.
                Group::AppPassword | Group::User => Some(Fact::UserName),
                Group::Source | Group::Network => Some(Fact::SourceIp),
                Group::Session | Group::Global => None,
                Group::Fact(fact) => Some(*fact),
            });
        }
        found
    }

    /// Looks whether the parts fit together.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), RuleError> {
        self.check_actions()?;
        if !self.count.fits(self.on) {
            return Err(RuleError::Count(self.on));
        }
        if self.per.iter().any(|group| !group.fits(self.on)) {
            return Err(RuleError::Group(self.on));
        }
        if self.per.len() > MAX_GROUPS {
            return Err(RuleError::TooManyGroups);
        }
        if self.per.contains(&Group::Session) && self.per.len() > 1 {
            return Err(RuleError::SessionAndMore);
        }
        let plain = self.count == Count::Events && self.over == Threshold::Fixed(0);
        if self.within.is_some() == self.per.is_empty() || (self.within.is_none() && !plain) {
            return Err(RuleError::NoWindow);
        }
        if self
            .within
            .is_some_and(|within| !(MIN_WITHIN..=MAX_WITHIN).contains(&within))
        {
            return Err(RuleError::Within);
        }
        self.check_threshold()?;
        self.check_shared()
    }

    fn check_shared(&self) -> Result<(), RuleError> {
        let Some(within) = self.within.filter(|_| self.shared) else {
            return if self.shared {
                Err(RuleError::NothingShared)
            } else {
                Ok(())
            };
        };
        if self.per.contains(&Group::Session) {
            return Err(RuleError::SessionShared);
        }
        if self.over == Threshold::Fixed(0) {
            return Err(RuleError::NothingShared);
        }
        if within < MIN_SHARED {
            return Err(RuleError::WithinShared);
        }
        if shared::tells_passwords(self) {
            return Err(RuleError::PasswordsShared);
        }
        Ok(())
    }

    fn check_threshold(&self) -> Result<(), RuleError> {
        let distinct = matches!(self.count, Count::Distinct(_));
        match self.over {
            Threshold::Fixed(over) if distinct && over > MAX_DISTINCT => Err(RuleError::TooManyDistinct),
            Threshold::Baseline { .. } if self.count.measure(self.on).is_none() => Err(RuleError::NoBaseline),
            _ => Ok(()),
        }
    }

    fn check_actions(&self) -> Result<(), RuleError> {
        if self.then.is_empty() {
            return Err(RuleError::NoAction);
        }
        for (at, action) in self.then.iter().enumerate() {
            if !action.fits(self.on) {
                return Err(RuleError::Action {
                    action: action.as_str(),
                    on: self.on,
                });
            }
            let before = self.then.iter().take(at);
            if before.into_iter().any(|other| other.as_str() == action.as_str()) {
                return Err(RuleError::ActionTwice(action.as_str()));
            }
        }
        Ok(())
    }
}

/// Rules that hold together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleSet {
    /// The rules, in the order of their files.
    pub rules: Vec<Rule>,
    /// What tells this set from another: a hash of the text it was read from.
    pub revision: Arc<str>,
    /// Whether the whole set only reports.
    pub shadow: bool,
}

#[cfg(test)]
pub(in crate::policy) mod tests {
    use std::num::NonZeroU64;

    use super::*;

    pub(in crate::policy) fn rule(on: Event) -> Rule {
        Rule {
            name: "test".into(),
            description: "A test.".into(),
            false_positives: None,
            attack: None,
            severity: Severity::default(),
            on,
            when: None,
            count: Count::default(),
            per: Vec::new(),
            within: None,
            over: Threshold::Fixed(0),
            shared: false,
            then: vec![Action::Log],
            mode: Mode::default(),
        }
    }

    #[test]
    fn ids_of_techniques_have_one_form() {
        for id in ["T1114", "T1114.002"] {
            assert_eq!(Attack::parse(id).unwrap().as_str(), id);
        }
        for id in [
            "",
            "T",
            "1114",
            "t1114",
            "T114",
            "T1114.2",
            "T1114.002.1",
            "T1114.",
            "TA0001",
            "T11é4",
        ] {
            assert_eq!(Attack::parse(id), None, "{id}");
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one case for each way")]
    fn a_rule_whose_parts_do_not_fit_together_is_refused() {
        let counting = |change: fn(&mut Rule)| {
            let mut made = rule(Event::Fetched);
            made.count = Count::Bytes;
            made.per = vec![Group::User];
            made.within = Some(Duration::from_secs(60));
            made.over = Threshold::Fixed(5);
            change(&mut made);
            made.check()
        };
        let on = Event::Fetched;
        assert_eq!(counting(|_| ()), Ok(()));
        assert_eq!(
            counting(|rule| rule.then = vec![Action::Throttle(NonZeroU64::MIN), Action::Alert]),
            Ok(())
        );
        assert_eq!(counting(|rule| rule.then.clear()), Err(RuleError::NoAction));
        assert_eq!(
            counting(|rule| rule.then = vec![Action::Throttle(NonZeroU64::MIN); 2]),
            Err(RuleError::ActionTwice("throttle"))
        );
        let action = "deny";
        assert_eq!(
            counting(|rule| rule.then = vec![Action::Deny]),
            Err(RuleError::Action { action, on })
        );
        assert_eq!(
            counting(|rule| rule.on = Event::Login),
            Err(RuleError::Count(Event::Login))
        );
        assert_eq!(
            counting(|rule| rule.count = Count::Distinct(Fact::UserGroups)),
            Err(RuleError::Count(on))
        );
        assert_eq!(
            counting(|rule| rule.per = vec![Group::Fact(Fact::CommandVerb)]),
            Err(RuleError::Group(on))
        );
        assert_eq!(
            counting(|rule| rule.per = vec![Group::User, Group::Session]),
            Err(RuleError::SessionAndMore)
        );
        assert_eq!(
            counting(|rule| rule.per = vec![Group::User, Group::Source, Group::Global, Group::Network]),
            Err(RuleError::TooManyGroups)
        );
        assert_eq!(counting(|rule| rule.per.clear()), Err(RuleError::NoWindow));
        assert_eq!(counting(|rule| rule.within = None), Err(RuleError::NoWindow));
        assert_eq!(
            counting(|rule| rule.within = Some(Duration::from_secs(32 * 86_400))),
            Err(RuleError::Within)
        );
        assert_eq!(
            counting(|rule| {
                rule.count = Count::Distinct(Fact::SessionMailbox);
                rule.over = Threshold::Fixed(1_001);
            }),
            Err(RuleError::TooManyDistinct)
        );
        assert_eq!(
            counting(|rule| {
                rule.count = Count::Events;
                rule.over = Threshold::Baseline {
                    days: 14,
                    factor: 2,
                    floor: 5,
                };
            }),
            Err(RuleError::NoBaseline)
        );
        let mut plain = rule(Event::Connect);
        assert_eq!(plain.check(), Ok(()));
        plain.over = Threshold::Fixed(5);
        assert_eq!(plain.check(), Err(RuleError::NoWindow));
    }
}
