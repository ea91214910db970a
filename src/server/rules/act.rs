//! Carries out what rules decide: events, and the consequences beyond the session that was judged.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::policy::decision::Decision;
use crate::policy::decision::Decisions;
use crate::policy::rules::Action;
use crate::server::clock;
use crate::server::rules::duties::Cause;
use crate::server::rules::duties::Duty;
use crate::server::shared::Shared;
use crate::telemetry::event::Connection;
use crate::telemetry::event::Event;
use crate::telemetry::kind::Kind;
use crate::types::Prefix;

/// Whom consequences are for.
#[derive(Debug, Clone)]
pub(in crate::server) struct Subject {
    pub(in crate::server) connection: Arc<Connection>,
    pub(in crate::server) app_password: Option<u32>,
}

impl Subject {
    /// A connection, before anybody has logged in on it.
    pub(in crate::server) fn of(connection: &Arc<Connection>) -> Self {
        Self {
            connection: Arc::clone(connection),
            app_password: None,
        }
    }
}

impl Shared {
    /// Tells what was decided, and carries out what is for the process to do.
    pub(in crate::server) fn carry_out(&self, decisions: &Decisions, subject: &Subject) {
        for decision in decisions.iter().filter(|decision| decision.is_new) {
            self.metrics.rules.decided(decision.rule.severity, decision.mode);
            let event = Event::new(kind_of(decision), clock::wall());
            self.emit(event.connection(&subject.connection).decision(decision));
        }
        let verdict = decisions.verdict();
        if verdict.ban.is_none() && !verdict.lock && !verdict.revoke && !verdict.step_up {
            return;
        }
        let cause = Cause {
            rule: decisions
                .cause()
                .map_or_else(|| "".into(), |cause| Arc::clone(&cause.rule.name)),
            connection: Arc::clone(&subject.connection),
        };
        if let Some(time) = verdict.ban {
            self.ban_for_rule(subject.connection.addr.ip(), time, cause.clone());
        }
        if let Some(id) = subject.app_password.filter(|_| verdict.revoke) {
            self.owe(Duty::Revoke(id), cause.clone());
        }
        if let Some(user) = &subject.connection.user {
            if verdict.lock {
                self.owe(Duty::Lock(user.clone()), cause.clone());
            }
            if verdict.step_up {
                self.owe(Duty::StepUp(user.clone()), cause);
            }
        }
    }

    fn ban_for_rule(&self, ip: IpAddr, time: Duration, cause: Cause) {
        let Ok(network) = Prefix::of(ip).to_string().parse::<IpNet>() else {
            return;
        };
        let now = clock::unix();
        let until = now.plus(time);
        // A ban that holds longer stays as it is, and one attacker costs one write.
        let known = self.limits.bans.find(ip, now);
        if known.is_none_or(|known| known.until.is_some_and(|end| end < until)) {
            self.owe_ban(network, until, cause);
        }
    }
}

fn kind_of(decision: &Decision) -> Kind {
    if decision.rule.then.contains(&Action::Alert) {
        Kind::AlertRaised
    } else {
        Kind::RuleMatched
    }
}
