//! Which second factor a login needs, for one user, from one address, at one time.
//!
//! Precedence: the user's own setting, else the first network rule that contains the address, else the default. A network
//! rule can never exempt the whole internet, or nobody in particular: such a rule cannot be built.
//!
//! | requirement | enrolled | not enrolled |
//! |---|---|---|
//! | required | second factor | second factor (so: refused), unless the enrolment deadline is still ahead |
//! | optional | second factor | nothing |
//! | exempt | nothing | nothing |
//!
//! In monitor mode nothing is refused for the lack of a second factor; the decision says what would have been.

use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;

use crate::types::Networks;
use crate::types::UnixTime;

/// How much second factor a rule asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Requirement {
    /// Everyone needs one; who has none yet may come in only until the enrolment deadline.
    #[default]
    Required,
    /// Who has one must use it; who has none needs none.
    Optional,
    /// Nobody needs one, not even who has one: service accounts, a room without people.
    Exempt,
}

impl Requirement {
    /// The word in configuration and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
            Self::Exempt => "exempt",
        }
    }
}

/// Whether a missing second factor is refused or only noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Refused.
    #[default]
    Enforce,
    /// Let in, and the event says that it would have been refused.
    Monitor,
}

/// Why a network rule cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FactorError {
    /// No network at all: a rule that looks as if it did something.
    #[error("the network rule has no networks")]
    NoNetworks,
    /// `0.0.0.0/0` or `::/0`, however it was spelled, in a rule that relaxes the default.
    #[error("a network rule may not relax second factors for the whole internet; change the default instead")]
    WholeInternet,
}

/// What holds for logins from some networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRule {
    name: Arc<str>,
    networks: Networks,
    requirement: Requirement,
}

impl NetworkRule {
    /// Makes a rule.
    ///
    /// # Errors
    /// An empty set is refused for every requirement, a whole address family for `optional` and `exempt`: one slip of the
    /// pen would switch the second factor off for everyone.
    pub fn new(name: &str, networks: Networks, requirement: Requirement) -> Result<Self, FactorError> {
        if networks.is_empty() {
            return Err(FactorError::NoNetworks);
        }
        // The set is merged: 0.0.0.0/1 beside 128.0.0.0/1 is 0.0.0.0/0 here.
        if requirement != Requirement::Required && networks.iter().any(|net| net.prefix_len() == 0) {
            return Err(FactorError::WholeInternet);
        }
        Ok(Self {
            name: name.into(),
            networks,
            requirement,
        })
    }

    /// The rule's name, for events.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it asks for.
    #[must_use]
    pub fn asks_for(&self) -> Requirement {
        self.requirement
    }
}

/// The part of the policy that is the same for every user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// What holds where neither the user nor a network says otherwise.
    pub default: Requirement,
    /// Asked in order; the first that contains the address holds.
    pub networks: Vec<NetworkRule>,
    /// Until when users without a second factor may come in, where one is required. `None`: they may not.
    pub deadline: Option<UnixTime>,
    /// Enforce or monitor.
    pub mode: Mode,
}

/// The facts of one login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login {
    /// Where it comes from.
    pub ip: IpAddr,
    /// When.
    pub now: UnixTime,
    /// The user's own setting, if there is one.
    pub requirement: Option<Requirement>,
    /// The user's own enrolment deadline, if there is one; it replaces the policy's.
    pub deadline: Option<UnixTime>,
    /// Whether the user has a second factor: a live app password or a TOTP secret.
    pub enrolled: bool,
}

/// Which setting held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecidedBy {
    /// The user's own.
    User,
    /// A network rule, by its name.
    Network(Arc<str>),
    /// The default.
    Default,
}

/// Why no second factor is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Waiver {
    /// The user or network is exempt.
    Exempt,
    /// Optional, and the user has none.
    Optional,
    /// Required, but the user has none and may still enrol.
    EnrolmentOpen,
    /// Monitor mode: an enforcing policy would have refused a login without one.
    Monitored,
}

impl Waiver {
    /// The word in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::Optional => "optional",
            Self::EnrolmentOpen => "enrolment_open",
            Self::Monitored => "monitored",
        }
    }
}

/// What the login must bring.
#[must_use = "a demand that nobody reads lets the bare password in"]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Demand {
    /// An app password, a one-time code or an open trusted window. Without one the backend is never asked.
    SecondFactor,
    /// The main password alone will do; a second factor is accepted as well.
    Nothing(Waiver),
}

/// What the login must bring, and who says so.
#[must_use = "a demand that nobody reads lets the bare password in"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is asked for.
    pub demand: Demand,
    /// The requirement in force.
    pub requirement: Requirement,
    /// Which setting it came from.
    pub by: DecidedBy,
    /// Until when the user may come in without a second factor, where that is why none is asked for.
    pub enrol_by: Option<UnixTime>,
}

impl Policy {
    /// Decides what a login must bring.
    pub fn decide(&self, login: &Login) -> Decision {
        let (requirement, by) = self.requirement(login);
        let deadline = login.deadline.or(self.deadline);
        let demand = demand(requirement, login, deadline);
        let demand = match (demand, self.mode) {
            (Demand::SecondFactor, Mode::Monitor) => Demand::Nothing(Waiver::Monitored),
            (demand, _) => demand,
        };
        let open = demand == Demand::Nothing(Waiver::EnrolmentOpen);
        Decision {
            demand,
            requirement,
            by,
            enrol_by: deadline.filter(|_| open),
        }
    }

    /// The requirement in force and where it stands.
    fn requirement(&self, login: &Login) -> (Requirement, DecidedBy) {
        if let Some(requirement) = login.requirement {
            return (requirement, DecidedBy::User);
        }
        self.networks
            .iter()
            .find(|rule| rule.networks.contains(login.ip))
            .map_or((self.default, DecidedBy::Default), |rule| {
                (rule.requirement, DecidedBy::Network(Arc::clone(&rule.name)))
            })
    }
}

/// The table of this file's head, as it is enforced.
fn demand(requirement: Requirement, login: &Login, deadline: Option<UnixTime>) -> Demand {
    match requirement {
        Requirement::Exempt => Demand::Nothing(Waiver::Exempt),
        _ if login.enrolled => Demand::SecondFactor,
        Requirement::Optional => Demand::Nothing(Waiver::Optional),
        Requirement::Required if deadline.is_some_and(|end| login.now < end) => {
            Demand::Nothing(Waiver::EnrolmentOpen)
        }
        Requirement::Required => Demand::SecondFactor,
    }
}

#[cfg(test)]
mod tests {
    use super::Demand::Nothing;
    use super::Demand::SecondFactor;
    use super::Requirement::Exempt;
    use super::Requirement::Optional;
    use super::Requirement::Required;
    use super::*;

    const NOW: UnixTime = UnixTime(1_000);

    fn networks(cidrs: &[&str]) -> Networks {
        Networks::new(cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect())
    }

    fn rule(name: &str, cidr: &str, requirement: Requirement) -> NetworkRule {
        NetworkRule::new(name, networks(&[cidr]), requirement).unwrap()
    }

    fn login(ip: &str) -> Login {
        Login {
            ip: ip.parse().unwrap(),
            now: NOW,
            requirement: None,
            deadline: None,
            enrolled: false,
        }
    }

    #[test]
    fn requirement_enrolment_and_deadline_decide_by_the_table() {
        let past = Some(UnixTime(1_000));
        let ahead = Some(UnixTime(1_001));
        let table = [
            (Required, true, None, SecondFactor),
            (Required, true, ahead, SecondFactor),
            (Required, false, None, SecondFactor),
            (Required, false, past, SecondFactor),
            (Required, false, ahead, Nothing(Waiver::EnrolmentOpen)),
            (Optional, true, None, SecondFactor),
            (Optional, true, ahead, SecondFactor),
            (Optional, false, past, Nothing(Waiver::Optional)),
            (Exempt, true, None, Nothing(Waiver::Exempt)),
            (Exempt, false, past, Nothing(Waiver::Exempt)),
        ];
        for (default, enrolled, deadline, expected) in table {
            let policy = Policy {
                default,
                deadline,
                ..Policy::default()
            };
            let facts = Login {
                enrolled,
                ..login("192.0.2.1")
            };
            let decision = policy.decide(&facts);
            assert_eq!(decision.demand, expected, "{default:?} {enrolled} {deadline:?}");
            let open = expected == Nothing(Waiver::EnrolmentOpen);
            assert_eq!(decision.enrol_by, deadline.filter(|_| open));
        }
    }

    #[test]
    fn the_user_beats_the_network_beats_the_default() {
        let policy = Policy {
            default: Optional,
            networks: vec![
                rule("lab", "192.0.2.0/28", Exempt),
                rule("office", "192.0.2.0/24", Required),
            ],
            ..Policy::default()
        };
        let office = DecidedBy::Network("office".into());
        let lab = DecidedBy::Network("lab".into());
        let table = [
            ("192.0.2.1", None, Exempt, lab),
            ("192.0.2.100", None, Required, office.clone()),
            ("::ffff:192.0.2.100", None, Required, office),
            ("203.0.113.1", None, Optional, DecidedBy::Default),
            ("192.0.2.1", Some(Required), Required, DecidedBy::User),
            ("192.0.2.100", Some(Exempt), Exempt, DecidedBy::User),
        ];
        for (ip, own, requirement, by) in table {
            let facts = Login {
                requirement: own,
                ..login(ip)
            };
            let decision = policy.decide(&facts);
            assert_eq!((decision.requirement, decision.by), (requirement, by), "{ip}");
        }
    }

    #[test]
    fn the_users_own_deadline_replaces_the_policys() {
        let policy = Policy {
            deadline: Some(UnixTime(2_000)),
            ..Policy::default()
        };
        let mut facts = login("192.0.2.1");
        assert_eq!(policy.decide(&facts).demand, Nothing(Waiver::EnrolmentOpen));
        facts.deadline = Some(UnixTime(999));
        assert_eq!(policy.decide(&facts).demand, SecondFactor);
    }

    #[test]
    fn monitor_mode_says_what_would_have_been_asked_and_nothing_else() {
        let policy = |default| Policy {
            default,
            mode: Mode::Monitor,
            ..Policy::default()
        };
        let facts = login("192.0.2.1");
        assert_eq!(policy(Required).decide(&facts).demand, Nothing(Waiver::Monitored));
        assert_eq!(policy(Optional).decide(&facts).demand, Nothing(Waiver::Optional));
        assert_eq!(policy(Exempt).decide(&facts).demand, Nothing(Waiver::Exempt));
    }

    #[test]
    fn no_network_rule_can_exempt_everyone_or_nobody() {
        let everyone: [&[&str]; 4] = [
            &["0.0.0.0/0"],
            &["::/0"],
            &["10.0.0.0/8", "0.0.0.0/0"],
            &["0.0.0.0/1", "128.0.0.0/1"],
        ];
        for requirement in [Exempt, Optional] {
            for cidrs in everyone {
                assert_eq!(
                    NetworkRule::new("x", networks(cidrs), requirement),
                    Err(FactorError::WholeInternet),
                    "{cidrs:?}"
                );
            }
        }
        assert!(NetworkRule::new("x", networks(&["::/0"]), Required).is_ok());
        for requirement in [Exempt, Optional, Required] {
            assert_eq!(
                NetworkRule::new("x", Networks::default(), requirement),
                Err(FactorError::NoNetworks)
            );
        }
    }

    #[test]
    fn nothing_set_means_required_and_enforced() {
        let decision = Policy::default().decide(&login("192.0.2.1"));
        assert_eq!(decision.demand, SecondFactor);
        assert_eq!(decision.by, DecidedBy::Default);
    }
}
