//! This process as one of several on the same store: tells the others of its sessions, and ends those that they say.
//!
//! Sessions are told by comparing what is open with what was told, every two seconds, in one transaction, away from the
//! sessions: none of them waits for the store, and nothing piles up while it is away. What is told counts as long as the
//! lease, so that a process that was killed is forgotten by itself. Where there cannot be another process, nothing is told.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fs;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::config::Config;
use crate::server::clock;
use crate::server::sessions::Facts;
use crate::server::shared::Shared;
use crate::store::Kill;
use crate::store::OpenSession;
use crate::store::Renewal;
use crate::store::ReplicaId;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Target;
use crate::types::EndReason;
use crate::types::SecondFactor;
use crate::types::SessionId;

/// How often the store is told.
const EVERY: Duration = Duration::from_secs(2);

/// How long what was told counts. Long enough for a store that is slow to answer, short enough that nobody waits for long
/// because of a replica that is dead.
const LEASE: Duration = Duration::from_secs(10);

/// Most sessions told, and most taken back, at once. What is beyond follows two seconds later.
const MOST: usize = 5_000;

/// Longest name of a machine, in bytes.
const MAX_HOST: usize = 100;

/// This process among others.
pub(super) struct Replica {
    id: ReplicaId,
    name: Arc<str>,
    has_others: bool,
    has_left: AtomicBool,
    /// Orders of others that were obeyed; nothing before the first look.
    obeyed: Mutex<Option<HashSet<u64>>>,
}

impl Replica {
    /// One that begins now.
    pub(super) fn new(config: &Config, store: &dyn Store) -> Self {
        Self {
            id: ReplicaId(clock::random_bits()),
            name: format!("{}:{}", host(), std::process::id()).into(),
            has_others: store.is_shared() || config.drain.hand_over,
            has_left: AtomicBool::new(false),
            obeyed: Mutex::default(),
        }
    }

    /// What tells this process from all others that there were.
    pub(super) fn id(&self) -> ReplicaId {
        self.id
    }

    /// The same, where there may be others now.
    pub(super) fn among_others(&self) -> Option<ReplicaId> {
        self.has_others.then_some(self.id)
    }

    /// How an operator knows it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Orders that were not obeyed yet; they are from now on. What was ordered before this process had its first look is not
    /// meant for its sessions.
    fn new_orders(&self, orders: Vec<Kill>) -> Vec<Kill> {
        let mut obeyed = self.obeyed.lock().unwrap_or_else(PoisonError::into_inner);
        let all = orders.iter().map(|order| order.number).collect();
        let Some(before) = obeyed.replace(all) else {
            return Vec::new();
        };
        let is_new = |order: &Kill| !before.contains(&order.number);
        orders.into_iter().filter(is_new).collect()
    }

    /// Takes back all that was told.
    pub(super) async fn leave(&self, store: &dyn Store) -> Result<(), StoreError> {
        self.has_left.store(true, Ordering::Relaxed);
        match self.among_others() {
            Some(id) => store.leave(id).await,
            None => Ok(()),
        }
    }
}

/// The machine's name, as far as it can be shown.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let shown = name.trim().chars().filter(char::is_ascii_graphic);
    shown.take(MAX_HOST).collect()
}

/// What the store was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// It has it.
    Surely,
    /// It did not answer: it may have it.
    Perhaps,
}

/// Tells the store of this process's sessions until dropped.
pub(super) async fn tell(shared: Arc<Shared>) {
    let Some(replica) = shared.replica.among_others() else {
        return;
    };
    let mut told = HashMap::new();
    let mut is_away = false;
    loop {
        let again = match tell_once(&shared, replica, &mut told).await {
            Ok(again) => {
                is_away = false;
                again
            }
            Err(error) => {
                // Logins find out by themselves whether the store is away for them.
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!(%error, "other replicas cannot be told of the sessions here");
                }
                false
            }
        };
        if !again {
            tokio::time::sleep(EVERY).await;
        }
    }
}

/// Tells what has changed, and that this process lives. True where more is to be told at once.
async fn tell_once(
    shared: &Shared,
    replica: ReplicaId,
    told: &mut HashMap<SessionId, Told>,
) -> Result<bool, StoreError> {
    if shared.replica.has_left.load(Ordering::Relaxed) {
        return Ok(false);
    }
    let open = shared.sessions.names();
    let untold = open.iter().filter(|name| told.get(name) != Some(&Told::Surely));
    let untold: Vec<SessionId> = untold.copied().take(MOST).collect();
    let ended = told.keys().filter(|name| !open.contains(name));
    let ended: Vec<SessionId> = ended.copied().take(MOST).collect();
    let began: Vec<OpenSession> = {
        let settings = shared.settings();
        let exempt = settings.config.session_limits().exempt;
        let tell = |facts: &Facts| open_session(facts, !exempt.contains(facts.client.ip()));
        shared.sessions.of(&untold).iter().map(tell).collect()
    };
    told.extend(began.iter().map(|session| (session.id, Told::Perhaps)));
    let renewal = Renewal {
        replica,
        name: shared.replica.name.to_string(),
        lease: LEASE,
        began: began.clone(),
        ended: ended.clone(),
        keys: shared.settings().gate.ring().reachable().await,
    };
    let renewed = shared.store.renew(renewal).await?;
    shared.limits.attempts.set_replicas(renewed.alive);
    if !renewed.was_known {
        told.clear();
    }
    for name in &ended {
        told.remove(name);
    }
    told.extend(began.iter().map(|session| (session.id, Told::Surely)));
    Ok(open.len() > told.len() && (untold.len() == MOST || !renewed.was_known))
}

/// A session as others are told of it.
fn open_session(facts: &Facts, counted: bool) -> OpenSession {
    OpenSession {
        id: facts.session,
        user: facts.user.clone(),
        account: facts.account.clone(),
        client: facts.client,
        counted,
        since: facts.since,
        factor: facts.factor.as_str().to_owned(),
        app_password: match &facts.factor {
            SecondFactor::AppPassword { id, label } => Some((*id, label.clone())),
            _ => None,
        },
        backend: facts.backend.to_string(),
        program: facts.program.clone(),
    }
}

impl Shared {
    /// The sessions of this process, as others are told of them; oldest first.
    pub(super) fn sessions_here(&self) -> Vec<OpenSession> {
        let listed = self.sessions.list();
        listed.iter().map(|facts| open_session(facts, true)).collect()
    }

    /// The sessions of all others, each with its replica's name.
    pub(super) async fn sessions_elsewhere(&self) -> Result<Vec<(String, OpenSession)>, StoreError> {
        match self.replica.among_others() {
            Some(id) => self.store.sessions_elsewhere(id).await,
            None => Ok(Vec::new()),
        }
    }

    /// Ends sessions on an operator's word, here; returns how many.
    pub(super) fn kill_here(&self, target: &Target) -> usize {
        let is_meant = |facts: &Facts| match target {
            Target::Session(name) => facts.session == *name,
            Target::User(user) => facts.user == *user,
        };
        let ended = self.sessions.end_where(EndReason::Killed, is_meant);
        let settings = self.settings();
        if let Target::User(user) = target {
            settings.gate.forget(user);
        }
        for facts in &ended {
            settings.gate.forget(&facts.user);
            self.session_killed(facts, EndReason::Killed);
        }
        ended.len()
    }

    /// Has the others end sessions; returns how many are known.
    pub(super) async fn kill_elsewhere(&self, target: Target) -> Result<u32, StoreError> {
        let Some(id) = self.replica.among_others() else {
            return Ok(0);
        };
        let number = clock::random_bits();
        self.store.kill(id, Kill { number, target }).await
    }

    /// Ends the sessions that other replicas have said are to end.
    pub(super) async fn obey(&self) -> Result<(), StoreError> {
        if self.replica.among_others().is_none() {
            return Ok(());
        }
        let orders = self.store.kills().await?;
        for order in self.replica.new_orders(orders) {
            self.kill_here(&order.target);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica() -> Replica {
        Replica {
            id: ReplicaId(1),
            name: "here:1".into(),
            has_others: true,
            has_left: AtomicBool::new(false),
            obeyed: Mutex::default(),
        }
    }

    fn order(number: u64) -> Kill {
        let target = Target::Session(SessionId::new(number));
        Kill { number, target }
    }

    #[test]
    fn an_order_is_obeyed_once_and_none_from_before_the_first_look() {
        let replica = replica();
        assert_eq!(replica.new_orders(vec![order(1)]), []);
        assert_eq!(replica.new_orders(vec![order(2), order(1)]), [order(2)]);
        assert_eq!(replica.new_orders(vec![order(1), order(2), order(3)]), [order(3)]);
        assert_eq!(replica.new_orders(vec![order(3)]), []);
    }

    #[test]
    fn orders_that_are_over_are_not_remembered() {
        let replica = replica();
        replica.new_orders(Vec::new());
        assert_eq!(replica.new_orders(vec![order(1)]), [order(1)]);
        replica.new_orders(Vec::new());
        let obeyed = replica.obeyed.lock().unwrap();
        assert_eq!(obeyed.as_ref().map(HashSet::len), Some(0));
    }
}
