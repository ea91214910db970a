//! Counting together with other replicas, for rules that are `shared`: what was counted here goes to the store, and what others have
//! counted comes from it.
//!
//! Once a second, in two transactions away from the sessions: none of them waits for the store, and while it is away each replica
//! counts for itself. What is told is all that was counted of one thing, so that nothing needs to be kept while nobody takes it but
//! the word that it was not told, and nothing counts twice. Where there cannot be another process, what one before this one has
//! counted is heard once.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::policy::Counters;
use crate::policy::engine::Engine;
use crate::policy::shared::Heard;
use crate::policy::shared::SharedRules;
use crate::policy::shared::Told;
use crate::server::relay::monotonic_ms;
use crate::server::shared::Shared;
use crate::store::Count;
use crate::store::CountHeard;
use crate::store::Counts;
use crate::store::MOST_TOLD;
use crate::store::StoreError;
use crate::telemetry::metrics::SharedCounts;

/// How often the store is told and asked.
const EVERY: Duration = Duration::from_secs(1);

/// Transactions in which a replica tells in one round. What is beyond follows in the next.
const MOST_TOLD_TURNS: usize = 4;

/// How often it asks for more in one round: enough for all that a store keeps, which a process hears that was started anew.
const MOST_HEARD_TURNS: usize = 60;

/// What is told in one transaction, in bytes; hardly more.
const MOST_BYTES: usize = 1024 * 1024;

/// What was heard so far.
#[derive(Default)]
struct Ear {
    /// For which rules: what was said of others went by.
    rules: SharedRules,
    since: i64,
    has_heard_all: bool,
}

/// Counts together with others until dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut ear = Ear::default();
    let mut is_away = false;
    loop {
        match round(&shared, &mut ear).await {
            Ok(()) => is_away = false,
            Err(error) => {
                // Logins find out by themselves whether the store is away for them.
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!(%error, "rules that are shared count for this process alone");
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn round(shared: &Shared, ear: &mut Ear) -> Result<(), StoreError> {
    let engine = shared.policy.rules.load_full();
    let rules = engine.shared_rules();
    if rules.is_empty() {
        return Ok(());
    }
    shared.tell_counts(engine.counters()).await?;
    hear(shared, &engine, rules, ear).await
}

impl Shared {
    /// Tells what was counted here and others do not know yet.
    async fn tell_counts(&self, counters: &Counters) -> Result<(), StoreError> {
        let lost = counters.lost();
        self.metrics.rules.shared(SharedCounts::Lost, lost);
        for _ in 0..MOST_TOLD_TURNS {
            let now_ms = monotonic_ms(Instant::now());
            let told = counters.tell(MOST_TOLD, MOST_BYTES, now_ms);
            if told.is_empty() {
                break;
            }
            let counts = Counts {
                replica: self.replica.id(),
                at_ms: now_ms,
                counts: told.iter().map(count).collect(),
            };
            if let Err(error) = self.store.tell_counts(counts).await {
                counters.untell(&told);
                return Err(error);
            }
            let count = u64::try_from(told.len()).unwrap_or(u64::MAX);
            self.metrics.rules.shared(SharedCounts::Told, count);
        }
        Ok(())
    }

    /// Tells what is left to be told, at the end.
    pub(super) async fn tell_last_counts(&self) -> Result<(), StoreError> {
        let engine = self.policy.rules.load_full();
        self.tell_counts(engine.counters()).await
    }
}

async fn hear(shared: &Shared, engine: &Engine, rules: SharedRules, ear: &mut Ear) -> Result<(), StoreError> {
    if rules.has_more_than(&ear.rules) {
        *ear = Ear::default();
    }
    ear.rules = rules;
    if ear.has_heard_all && shared.replica.among_others().is_none() {
        return Ok(());
    }
    for _ in 0..MOST_HEARD_TURNS {
        let heard = shared.store.hear_counts(shared.replica.id(), ear.since).await?;
        let counts: Vec<Heard> = heard.counts.into_iter().map(in_rules).collect();
        let now_ms = monotonic_ms(Instant::now());
        let used = engine.counters().hear(&ear.rules, &counts, now_ms);
        let used = u64::try_from(used).unwrap_or(u64::MAX);
        shared.metrics.rules.shared(SharedCounts::Heard, used);
        ear.since = heard.version;
        ear.has_heard_all = !heard.has_more;
        if ear.has_heard_all {
            break;
        }
    }
    Ok(())
}

fn count(told: &Told) -> Count {
    Count {
        rule: told.rule,
        key: told.key,
        state: told.state.clone(),
        lasts: Duration::from_millis(told.lasts_ms),
    }
}

fn in_rules(heard: CountHeard) -> Heard {
    Heard {
        rule: heard.rule,
        key: heard.key,
        state: heard.state,
        age_ms: u64::try_from(heard.age.as_millis()).unwrap_or(u64::MAX),
    }
}
