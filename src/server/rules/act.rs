//! Carries out what rules decide: events, and the consequences beyond the session that was judged.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::policy::decision::Decision;
use crate::policy::decision::Decisions;
use crate::policy::decision::Verdict;
use crate::policy::rules::Action;
use crate::server::clock;
use crate::server::shared::Shared;
use crate::store;
use crate::telemetry::event::Connection;
use crate::telemetry::event::Event;
use crate::telemetry::kind::Kind;
use crate::types::Prefix;
use crate::types::UserName;

/// Who bans where a rule does.
const BY: &str = "a rule";

/// Whom consequences are for.
#[derive(Debug, Clone)]
pub(in crate::server) struct Subject {
    pub(in crate::server) connection: Connection,
    pub(in crate::server) app_password: Option<u32>,
}

impl Subject {
    /// A connection, before anybody has logged in on it.
    pub(in crate::server) fn of(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
            app_password: None,
        }
    }
}

impl Shared {
    /// Tells what was decided, and carries out what is for the process to do.
    pub(in crate::server) fn carry_out(self: &Arc<Self>, decisions: &Decisions, subject: &Subject) {
        for decision in decisions.iter().filter(|decision| decision.is_new) {
            self.metrics.rules.decided(decision.rule.severity, decision.mode);
            let event = Event::new(kind_of(decision), clock::wall());
            self.emit(event.connection(&subject.connection).decision(decision));
        }
        let verdict = decisions.verdict();
        if verdict.ban.is_some() || verdict.lock || verdict.revoke || verdict.step_up {
            let reason = decisions.cause().map(|cause| cause.rule.name.to_string());
            let reason = reason.unwrap_or_default();
            // Nobody waits for the store: what a rule decides about the moment is in force already.
            tokio::spawn(Arc::clone(self).consequences(verdict, reason, subject.clone()));
        }
    }

    async fn consequences(self: Arc<Self>, verdict: Verdict, reason: String, subject: Subject) {
        let ip = subject.connection.addr.ip();
        if let Some(time) = verdict.ban {
            self.ban_for_rule(ip, time, &reason).await;
        }
        if let Some(id) = subject.app_password.filter(|_| verdict.revoke) {
            self.revoke_for_rule(id, &subject, &reason).await;
        }
        if let Some(user) = &subject.connection.user {
            if verdict.lock {
                self.lock_for_rule(user, &subject, &reason).await;
            }
            if verdict.step_up
                && let Err(error) = self.store.close_windows(user).await
            {
                self.store_failed(&error);
            }
        }
    }

    async fn ban_for_rule(&self, ip: IpAddr, time: Duration, reason: &str) {
        let Ok(network) = Prefix::of(ip).to_string().parse::<IpNet>() else {
            return;
        };
        let now = clock::unix();
        let until = now.plus(time);
        // A ban that holds longer stays as it is, and one attacker costs one write.
        let known = self.limits.bans.find(ip, now);
        if known.is_some_and(|known| known.until.is_none_or(|end| end >= until)) {
            return;
        }
        let stored = store::Ban {
            network,
            reason: format!("rule {reason}"),
            by: BY.to_owned(),
            created: now,
            until: Some(until),
        };
        // The store tells every process, this one included: it is in force within a second, and sessions from there end.
        if let Err(error) = self.store.add_ban(stored).await {
            self.store_failed(&error);
        }
    }

    async fn revoke_for_rule(&self, id: u32, subject: &Subject, reason: &str) {
        match self.store.revoke_app_password(id, clock::unix()).await {
            Ok(revoked) if revoked => {
                let event = Event::new(Kind::AppPasswordRevoked, clock::wall());
                let event = event.connection(&subject.connection).rule(reason);
                self.emit(event.app_password_id(&crate::auth::app_password::id_text(id)));
            }
            Ok(_) => {}
            Err(error) => self.store_failed(&error),
        }
    }

    async fn lock_for_rule(&self, user: &UserName, subject: &Subject, reason: &str) {
        let locked = async {
            let Some(mut known) = self.store.user(user).await? else {
                return Ok(false);
            };
            if known.disabled {
                return Ok(false);
            }
            known.disabled = true;
            self.store.change_user(known).await
        };
        match locked.await {
            Ok(locked) if locked => {
                let event = Event::new(Kind::UserLocked, clock::wall());
                self.emit(event.connection(&subject.connection).rule(reason));
            }
            Ok(_) => {}
            Err(error) => self.store_failed(&error),
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
