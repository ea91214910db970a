//! What rules say about a moment: each rule's decision, and the one verdict that follows from all of them.
//!
//! Precedence: what happens to the connection, login or command is the strongest that any enforcing rule asks for:
//! `disconnect` > `deny` > `read_only` > `throttle` > nothing. Of two throttles the slower holds. `ban`, `lock` and `revoke`
//! include `disconnect`. What concerns other things than the moment (ban, lock, revoke, step_up) is all carried out; of two
//! bans the longer holds. The order of rules in files means nothing.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::rules::Action;
use crate::policy::rules::Mode;
use crate::policy::rules::Rule;
use crate::types::SessionId;

/// A decision's name: the session or connection, and a number within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecisionId {
    /// Whose.
    pub session: SessionId,
    /// The how-many-eth, from 1.
    pub number: u32,
}

/// `00000000000000ab-1`.
impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.session, self.number)
    }
}

/// One rule's decision.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Its name.
    pub id: DecisionId,
    /// The rule.
    pub rule: Arc<Rule>,
    /// Whether it acts: `Shadow` for all rules where the whole set is in shadow mode.
    pub mode: Mode,
    /// Whether it is to be reported, and its one-time actions carried out. False where the rule was reported already and
    /// only goes on holding: that is said of rules that act, and of others where it is asked for.
    pub is_new: bool,
    /// What was counted, what happened now included.
    pub value: u64,
    /// What it had to be above.
    pub threshold: u64,
    /// Until when the count stays above the threshold if nothing more happens, in the caller's milliseconds; `None` where
    /// the rule does not count: then what it does to a session lasts as long as the session.
    pub until_ms: Option<u64>,
    /// The revision of the rules.
    pub revision: Arc<str>,
}

/// What happens to the connection, login or command, the mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Effect {
    /// It goes on.
    #[default]
    Pass,
    /// The session is slowed.
    Throttle,
    /// The session may change nothing any more.
    ReadOnly,
    /// It is refused.
    Deny,
    /// The session ends.
    Disconnect,
}

impl Effect {
    /// The word in test tables and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Throttle => "throttle",
            Self::ReadOnly => "read_only",
            Self::Deny => "deny",
            Self::Disconnect => "disconnect",
        }
    }

    /// All of them, the mildest first.
    pub const ALL: [Self; 5] = [
        Self::Pass,
        Self::Throttle,
        Self::ReadOnly,
        Self::Deny,
        Self::Disconnect,
    ];
}

/// What is to be done: the sum of all enforcing decisions of a moment.
#[must_use = "a verdict that nobody reads lets everything through"]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// What happens now: the strongest.
    pub effect: Effect,
    /// The slowest rate that a rule asks for, in bytes a second, and until when if nothing more happens.
    pub throttle: Option<Hold<NonZeroU64>>,
    /// Whether the session becomes read-only, and until when if nothing more happens.
    pub read_only: Option<Hold<()>>,
    /// The trusted window is to be closed.
    pub step_up: bool,
    /// The app password is to be revoked.
    pub revoke: bool,
    /// The user is to be locked.
    pub lock: bool,
    /// The source is to be banned for so long.
    pub ban: Option<Duration>,
}

/// Something that goes on for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold<T> {
    /// What.
    pub what: T,
    /// Until when, in the caller's milliseconds; `None` until the session ends.
    pub until_ms: Option<u64>,
}

/// All decisions of a moment; mostly none.
#[must_use = "decisions that nobody reads let everything through"]
#[derive(Debug, Clone, Default)]
pub struct Decisions(Vec<Decision>);

impl Decisions {
    /// Adds a decision.
    pub(super) fn push(&mut self, decision: Decision) {
        self.0.push(decision);
    }

    /// True in the common case.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that put something on a session that goes on.
    pub fn holds(mut self) -> Self {
        let holds = |action: &Action| matches!(action, Action::Throttle(_) | Action::ReadOnly);
        self.0.retain(|decision| decision.rule.then.iter().any(holds));
        self
    }

    /// The decisions in the order of their rules.
    pub fn iter(&self) -> impl Iterator<Item = &Decision> {
        self.0.iter()
    }

    /// The decision that explains the effect: the first enforcing one that asks for it.
    #[must_use]
    pub fn cause(&self) -> Option<&Decision> {
        let effect = self.verdict().effect;
        let asks = |decision: &&Decision| {
            decision.mode == Mode::Enforce && strongest(&decision.rule.then, decision.is_new) == effect
        };
        self.0.iter().find(asks).filter(|_| effect != Effect::Pass)
    }

    /// What is to be done.
    pub fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for decision in self.0.iter().filter(|decision| decision.mode == Mode::Enforce) {
            verdict.take(decision);
        }
        verdict
    }
}

impl Verdict {
    fn take(&mut self, decision: &Decision) {
        let until_ms = decision.until_ms;
        self.effect = self.effect.max(strongest(&decision.rule.then, decision.is_new));
        for action in &decision.rule.then {
            match *action {
                Action::Throttle(rate) => self.throttle = Some(slower(self.throttle, rate, until_ms)),
                Action::ReadOnly => self.read_only = Some(longer(self.read_only, until_ms)),
                Action::StepUp => self.step_up |= decision.is_new,
                Action::Revoke => self.revoke |= decision.is_new,
                Action::Lock => self.lock |= decision.is_new,
                Action::Ban(time) if decision.is_new => self.ban = self.ban.max(Some(time)),
                Action::Ban(_) | Action::Log | Action::Alert | Action::Deny | Action::Disconnect => {}
            }
        }
    }
}

/// The effect that a rule's actions ask for.
fn strongest(actions: &[Action], is_new: bool) -> Effect {
    let effect = |action: &Action| match action {
        Action::Log | Action::Alert | Action::StepUp => Effect::Pass,
        Action::Throttle(_) => Effect::Throttle,
        Action::ReadOnly => Effect::ReadOnly,
        Action::Deny => Effect::Deny,
        Action::Disconnect => Effect::Disconnect,
        Action::Revoke | Action::Lock | Action::Ban(_) if is_new => Effect::Disconnect,
        Action::Revoke | Action::Lock | Action::Ban(_) => Effect::Pass,
    };
    actions.iter().map(effect).max().unwrap_or_default()
}

fn slower(held: Option<Hold<NonZeroU64>>, rate: NonZeroU64, until_ms: Option<u64>) -> Hold<NonZeroU64> {
    let asked = Hold { what: rate, until_ms };
    match held {
        Some(held) if held.what < rate => held,
        Some(held) if held.what == rate => Hold {
            what: rate,
            until_ms: later(held.until_ms, until_ms),
        },
        _ => asked,
    }
}

fn longer(held: Option<Hold<()>>, until_ms: Option<u64>) -> Hold<()> {
    Hold {
        what: (),
        until_ms: held.map_or(until_ms, |held| later(held.until_ms, until_ms)),
    }
}

/// The later of two ends; none is later than any.
fn later(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    Some(a?.max(b?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::facts::Event;
    use crate::policy::rules::tests::rule;

    fn decisions(list: &[(Mode, bool, &[Action])]) -> Decisions {
        let mut decisions = Decisions::default();
        for ((mode, is_new, then), number) in list.iter().zip(1..) {
            let mut made = rule(Event::Command);
            made.then = then.to_vec();
            decisions.push(Decision {
                id: DecisionId {
                    session: SessionId::new(0xab),
                    number,
                },
                rule: Arc::new(made),
                mode: *mode,
                is_new: *is_new,
                value: 2,
                threshold: 1,
                until_ms: Some(u64::from(number)),
                revision: "r".into(),
            });
        }
        decisions
    }

    fn rate(bytes: u64) -> Action {
        Action::Throttle(NonZeroU64::new(bytes).unwrap())
    }

    const ON: Mode = Mode::Enforce;

    #[test]
    fn the_strongest_action_wins_whatever_the_order() {
        let list: [(Mode, bool, &[Action]); 4] = [
            (ON, true, &[Action::Alert, rate(5)]),
            (ON, true, &[Action::Deny]),
            (ON, true, &[Action::ReadOnly]),
            (ON, true, &[Action::Log]),
        ];
        let forward = decisions(&list);
        assert_eq!(forward.verdict().effect, Effect::Deny);
        assert_eq!(forward.cause().unwrap().id.to_string(), "00000000000000ab-2");
        let backward: Vec<_> = list.into_iter().rev().collect();
        assert_eq!(decisions(&backward).verdict().effect, Effect::Deny);
        // The milder ones hold beside it.
        assert!(forward.verdict().read_only.is_some() && forward.verdict().throttle.is_some());
    }

    #[test]
    fn a_rule_in_shadow_mode_does_nothing() {
        let shadow = decisions(&[(
            Mode::Shadow,
            true,
            &[Action::Deny, Action::Lock, Action::Ban(Duration::MAX)],
        )]);
        assert_eq!(shadow.verdict(), Verdict::default());
        assert!(shadow.cause().is_none() && !shadow.is_empty());
    }

    #[test]
    fn what_is_done_once_is_not_done_again_and_what_holds_goes_on() {
        let actions: &[Action] = &[
            rate(5),
            Action::Lock,
            Action::Revoke,
            Action::StepUp,
            Action::Ban(Duration::from_secs(9)),
        ];
        let new = decisions(&[(ON, true, actions)]).verdict();
        assert!(new.lock && new.revoke && new.step_up && new.effect == Effect::Disconnect);
        assert_eq!(new.ban, Some(Duration::from_secs(9)));
        let going_on = decisions(&[(ON, false, actions)]).verdict();
        assert!(!going_on.lock && !going_on.revoke && !going_on.step_up && going_on.ban.is_none());
        assert_eq!(going_on.effect, Effect::Throttle);
    }

    #[test]
    fn the_slower_throttle_and_the_longer_ban_hold() {
        let verdict = decisions(&[
            (ON, true, &[rate(9), Action::Ban(Duration::from_secs(5))]),
            (ON, true, &[rate(5), Action::Ban(Duration::from_secs(9))]),
            (ON, true, &[rate(5)]),
            (ON, true, &[rate(7)]),
        ])
        .verdict();
        let throttle = verdict.throttle.unwrap();
        assert_eq!((throttle.what.get(), throttle.until_ms), (5, Some(3)));
        assert_eq!(verdict.ban, Some(Duration::from_secs(9)));
    }
}
