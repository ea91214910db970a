//! The rules in force: read at the start and on a reload, asked about connections and logins here and about sessions by
//! their inspectors, and what follows from them carried out.

mod act;
mod duties;
mod facts;
mod login;
mod session;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;

use crate::auth::memory::Memory;
use crate::config::Config;
use crate::config::ConfigProblems;
use crate::config::policy;
use crate::config::rules;
use crate::policy::Counters;
use crate::policy::decision::Decisions;
use crate::policy::decision::Effect;
use crate::policy::engine::Engine;
use crate::policy::engine::SessionCounters;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Facts;
use crate::policy::facts::Record;
use crate::policy::facts::Source;
use crate::policy::moved::Moved;
use crate::policy::noticed::Noticed;
use crate::policy::rules::RuleSet;
use crate::policy::sets::NetworkSets;
use crate::session::inspect::Parties;
use crate::session::inspect::Rules;
use crate::session::recorder::Recording;
use crate::types::SessionId;

pub(super) use act::Subject;
pub(super) use duties::Duties;
pub(super) use duties::in_memory;
pub(super) use duties::is_automatic;
pub(super) use duties::run as settle;
pub(super) use login::Presented;
pub(super) use login::Watched;
pub(super) use login::Won;
pub(super) use session::collect;
pub(super) use session::report_to;

/// Most counters that sessions share: below 200 MiB with all of them in use.
const MAX_COUNTERS: usize = 1_000_000;

/// Why rules cannot be put in force.
#[derive(Debug, Error)]
#[error("the rules have mistakes:\n{}", .0.iter().map(|problems| problems.render(100, false)).collect::<Vec<_>>().join("\n"))]
pub struct RulesError(Vec<ConfigProblems>);

/// What the process judges by.
pub(super) struct Policy {
    pub(super) rules: Rules,
    /// What rules know is told, whether there are rules or not.
    tells_facts: bool,
    pub(super) memory: Memory,
    /// Into which mailboxes messages were moved lately.
    pub(super) moved: Moved,
    /// Which messages were shown lately as security notices.
    pub(super) noticed: Noticed,
    /// When counters were last swept.
    swept_ms: AtomicU64,
}

impl Policy {
    /// Reads the rules that are configured. The seed is the same at all replicas.
    ///
    /// # Errors
    /// They have mistakes: nobody should believe to be protected by them.
    pub(super) fn load(config: &Config, memory: Memory, seed: u128) -> Result<Self, RulesError> {
        let counters = Arc::new(Counters::new(MAX_COUNTERS, seed));
        let set = read(&config.rules)?;
        Ok(Self {
            rules: Arc::new(ArcSwap::from_pointee(
                Engine::new(set, counters).with_networks(sets(config)),
            )),
            tells_facts: config.events.commands == Recording::All,
            memory,
            moved: Moved::default(),
            noticed: Noticed::default(),
            swept_ms: AtomicU64::new(0),
        })
    }

    /// Puts rules in force, and the sets of networks that they speak of, for everybody at once. Counts go on where a rule
    /// counts the same.
    pub(super) fn put(&self, set: RuleSet, sets: NetworkSets) {
        let counters = Arc::clone(self.rules.load().counters());
        let rules = Engine::new(set, counters).with_networks(sets);
        self.rules.store(Arc::new(rules));
    }

    /// True where there are rules at all, or what they would know is told.
    pub(super) fn is_on(&self) -> bool {
        let rules = self.rules.load();
        self.tells_facts || Event::ALL.iter().any(|event| rules.looks_at(*event))
    }

    /// What rules know of a login, where that is told.
    pub(super) fn known(&self, facts: &Facts<'_>) -> Option<Record> {
        self.tells_facts.then(|| Record::of(facts, is_told_with_a_login))
    }

    /// Judges a moment outside a session.
    pub(super) fn judge(&self, facts: &Facts<'_>, counters: &mut SessionCounters, now_ms: u64) -> Decisions {
        judge_by(&self.rules.load(), facts, counters, now_ms)
    }

    /// Whether an open session would be let in now, without a trace. One that began while there were no rules cannot be
    /// judged by any: it may go on only as long as none acts.
    pub(super) fn allows(&self, session: SessionId, parties: Option<&Parties>) -> bool {
        let rules = self.rules.load();
        let Some(parties) = parties else {
            return !rules.acts();
        };
        let login = parties.login();
        // The sets that the address is in may have changed as well.
        let source = Source {
            networks: rules.networks_of(parties.source.ip),
            ..parties.source.clone()
        };
        let mut facts = parties.facts(Event::Login);
        facts.source = &source;
        facts.login = Some(&login);
        let decisions = rules.judge_again(&facts, &mut SessionCounters::new(session));
        decisions.verdict().effect < Effect::Deny
    }

    /// Forgets what no longer counts, from time to time.
    pub(super) fn sweep(&self, now_ms: u64) {
        const PAUSE: Duration = Duration::from_secs(60);
        let pause = u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX);
        let before = self.swept_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(before) >= pause {
            self.swept_ms.store(now_ms, Ordering::Relaxed);
            self.rules.load().counters().sweep(now_ms);
            self.moved.sweep(now_ms);
            self.noticed.sweep(now_ms);
        }
    }
}

/// Judges a moment outside a session by the rules given.
fn judge_by(rules: &Engine, facts: &Facts<'_>, counters: &mut SessionCounters, now_ms: u64) -> Decisions {
    if rules.looks_at(facts.event) {
        rules.judge(facts, counters, now_ms)
    } else {
        Decisions::default()
    }
}

/// The sets of networks that rules may name.
pub(super) fn sets(config: &Config) -> NetworkSets {
    let named = config.networks.iter();
    NetworkSets::new(named.map(|(name, set)| (name.into(), set.clone())).collect())
}

/// Reads the rules that a configuration asks for.
///
/// # Errors
/// They have mistakes.
pub(super) fn read(options: &policy::Rules) -> Result<RuleSet, RulesError> {
    let loaded = rules::load_configured(options).map_err(RulesError)?;
    Ok(loaded.set)
}

/// What an event of a login does not have in fields of its own, and does not depend on what happens in the session.
fn is_told_with_a_login(fact: Fact) -> bool {
    let elsewhere = [
        Fact::SourceIp,
        Fact::SourceCountry,
        Fact::SourceAsn,
        Fact::TlsVersion,
        Fact::TlsCipher,
        Fact::TlsServerName,
        Fact::TlsJa4,
        Fact::TlsClientCertificate,
        Fact::UserName,
        Fact::UserDomain,
    ];
    fact.events().contains(Event::Login) && !elsewhere.contains(&fact)
}
