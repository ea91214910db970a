//! What rules have decided beyond the moment (bans, revocations, locks, closed windows): carried to the store until it takes
//! it, and in force meanwhile.
//!
//! Whatever waits here is refused as if the store had it already. It is bounded, and one target waits once, however often
//! rules decide about it. A process that is killed while the store is away loses what waits; a stop tries once more.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::Notify;

use crate::auth::app_password;
use crate::limits::bans::Ban;
use crate::server::clock;
use crate::server::shared::GUESSING;
use crate::server::shared::Shared;
use crate::store;
use crate::store::StoreError;
use crate::telemetry::event::Connection;
use crate::telemetry::event::Event;
use crate::telemetry::kind::Kind;
use crate::types::EndReason;
use crate::types::Refusal;
use crate::types::SecondFactor;
use crate::types::UnixTime;
use crate::types::UserName;

/// Most that waits at once; 1 KiB each at most.
const MOST: usize = 10_000;

/// Most bans of rules and limits that the store is given; what comes beyond is kept in memory alone. An attack from a million
/// addresses must not become a million writes.
const MOST_STORED_BANS: usize = 10_000;

/// Who bans where a rule does.
const BY: &str = "a rule";

/// Who bans where limits do, and all replicas are to know it.
const BY_LIMITS: &str = "limits";

/// How soon a store that failed is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// What is to be done, in the order in which it is done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Duty {
    /// An app password is revoked.
    Revoke(u32),
    /// A user is disabled.
    Lock(UserName),
    /// A user's trusted windows are closed.
    StepUp(UserName),
    /// A network is banned. Last: bans come in floods, and are in force in memory while they wait.
    Ban(IpNet),
}

/// Why, and what the event needs.
#[derive(Clone)]
pub(super) struct Cause {
    pub(super) rule: Arc<str>,
    pub(super) connection: Arc<Connection>,
}

#[derive(Clone)]
struct Waiting {
    cause: Cause,
    /// Of a ban.
    ban: Option<store::Ban>,
    /// Tells a duty that was renewed while it was carried out from the one that was.
    number: u64,
}

/// What waits for the store.
#[derive(Default)]
pub(in crate::server) struct Duties {
    waiting: Mutex<List>,
    wake: Notify,
    stored_bans: AtomicUsize,
}

#[derive(Default)]
struct List {
    duties: BTreeMap<Duty, Waiting>,
    numbers: u64,
}

impl Duties {
    /// Takes a duty on; false where there is no room.
    fn add(&self, duty: Duty, cause: Cause, ban: Option<store::Ban>) -> bool {
        let mut list = self.lock();
        // Bans never take the room of what is nowhere else in force.
        let most = if ban.is_some() { MOST / 2 } else { MOST };
        if list.duties.len() >= most && !list.duties.contains_key(&duty) {
            return false;
        }
        list.numbers += 1;
        let number = list.numbers;
        list.duties.insert(duty, Waiting { cause, ban, number });
        drop(list);
        self.wake.notify_one();
        true
    }

    /// Why a session may not go on, whatever the store says by now.
    fn end(&self, user: &UserName, factor: &SecondFactor) -> Option<Refusal> {
        let list = self.lock();
        if list.duties.is_empty() {
            return None;
        }
        let waits = |duty| list.duties.contains_key(&duty);
        match factor {
            SecondFactor::AppPassword { id, .. } if waits(Duty::Revoke(*id)) => {
                Some(Refusal::AppPasswordRevoked)
            }
            _ => waits(Duty::Lock(user.clone())).then_some(Refusal::UserDisabled),
        }
    }

    /// Why a session may not begin. A window that is closed ends none that it opened: the next login is asked for a code.
    fn forbid(&self, user: &UserName, factor: &SecondFactor) -> Option<Refusal> {
        let by_window = || {
            *factor == SecondFactor::TrustedWindow
                && self.lock().duties.contains_key(&Duty::StepUp(user.clone()))
        };
        self.end(user, factor)
            .or_else(|| by_window().then_some(Refusal::SecondFactorMissing))
    }

    /// The bans that the store does not know yet.
    pub(in crate::server) fn bans(&self) -> Vec<Ban> {
        let list = self.lock();
        let bans = list.duties.values().filter_map(|waiting| waiting.ban.as_ref());
        bans.cloned().map(in_memory).collect()
    }

    /// How many bans of rules and limits the store has.
    pub(in crate::server) fn stored_bans_are(&self, count: usize) {
        self.stored_bans.store(count, Ordering::Relaxed);
    }

    /// True where something waits.
    pub(in crate::server) fn is_pending(&self) -> bool {
        !self.lock().duties.is_empty()
    }

    /// The first duty that is not among those that failed.
    fn next(&self, failed: &BTreeSet<Duty>) -> Option<(Duty, Waiting)> {
        let list = self.lock();
        let mut left = list.duties.iter();
        let (duty, waiting) = left.find(|(duty, _)| !failed.contains(duty))?;
        Some((duty.clone(), waiting.clone()))
    }

    fn done(&self, duty: &Duty, number: u64) {
        let mut list = self.lock();
        if list
            .duties
            .get(duty)
            .is_some_and(|waiting| waiting.number == number)
        {
            list.duties.remove(duty);
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Takes on what a rule has decided; it is in force when this returns.
    pub(super) fn owe(&self, duty: Duty, cause: Cause) {
        let shown = duty.clone();
        if !self.duties.add(duty, cause, None) {
            tracing::error!(duty = ?shown, "too much that rules have decided waits for the store: this is left undone");
        }
        self.end_forbidden();
    }

    /// Bans a network for a rule: at once in memory, and in the store as soon as it takes it.
    pub(super) fn owe_ban(&self, network: IpNet, until: UnixTime, cause: Cause) {
        let reason = format!("rule {}", cause.rule);
        self.owe_ban_by(BY, (network, until, reason), cause);
    }

    /// The same for limits, where other replicas are to know of it.
    pub(in crate::server) fn share_ban(
        &self,
        network: IpNet,
        until: UnixTime,
        reason: String,
        connection: Arc<Connection>,
    ) {
        let rule = BY_LIMITS.into();
        self.owe_ban_by(BY_LIMITS, (network, until, reason), Cause { rule, connection });
    }

    fn owe_ban_by(&self, by: &str, (network, until, reason): (IpNet, UnixTime, String), cause: Cause) {
        let now = clock::unix();
        let ban = store::Ban {
            network,
            reason,
            by: by.to_owned(),
            created: now,
            until: Some(until),
        };
        // Protected networks are never banned, and never stored as banned.
        if let Err(error) = self.limits.bans.insert(in_memory(ban.clone())) {
            tracing::warn!(%network, %error, by = &*cause.rule, "a ban is not taken");
            return;
        }
        let event = Event::new(Kind::BanAdded, clock::wall());
        self.emit(event.ban(&network, Some(until), &ban.reason));
        let has_room = self.duties.stored_bans.load(Ordering::Relaxed) < MOST_STORED_BANS;
        if !has_room || !self.duties.add(Duty::Ban(network), cause, Some(ban.clone())) {
            self.ban_in_memory(ban);
        }
        self.end_banned(Some(network), now);
    }

    /// Why a login that was right otherwise is refused all the same.
    pub(in crate::server) fn forbidden(&self, user: &UserName, factor: &SecondFactor) -> Option<Refusal> {
        self.duties.forbid(user, factor)
    }

    /// Ends the sessions that must not go on, whether the store answers or not.
    pub(in crate::server) fn end_forbidden(&self) {
        if !self.duties.is_pending() {
            return;
        }
        let reason = EndReason::Revoked;
        let ended = self.sessions.end_where(reason, |facts| {
            self.duties.end(&facts.user, &facts.factor).is_some()
        });
        for facts in ended {
            self.session_killed(&facts, reason);
        }
    }

    /// Ends the sessions from networks that are banned: of one network, or of all. Protected addresses stay.
    pub(in crate::server) fn end_banned(&self, network: Option<IpNet>, now: UnixTime) {
        for facts in self.sessions.end_where(EndReason::AddressBanned, |facts| {
            let ip = facts.client.ip().to_canonical();
            network.is_none_or(|network| network.contains(&ip)) && self.limits.bans.find(ip, now).is_some()
        }) {
            self.session_killed(&facts, EndReason::AddressBanned);
        }
    }

    /// Carries out what waits. A store that is away is left alone; what it does not take for another reason does not keep
    /// the rest from it.
    ///
    /// # Errors
    /// The last failure: something still waits.
    pub(in crate::server) async fn settle_duties(&self) -> Result<(), StoreError> {
        let mut result = Ok(());
        let mut failed = BTreeSet::new();
        while let Some((duty, waiting)) = self.duties.next(&failed) {
            match self.settle_duty(&duty, &waiting).await {
                Ok(()) => self.duties.done(&duty, waiting.number),
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                Err(error) => {
                    failed.insert(duty);
                    result = Err(error);
                }
            }
        }
        result
    }

    async fn settle_duty(&self, duty: &Duty, waiting: &Waiting) -> Result<(), StoreError> {
        match duty {
            Duty::Ban(_) => match &waiting.ban {
                Some(ban) if ban.until.is_none_or(|until| clock::unix() < until) => {
                    self.store_ban(ban.clone()).await
                }
                _ => Ok(()),
            },
            Duty::Revoke(id) => self.revoke_for_rule(*id, &waiting.cause).await,
            Duty::Lock(user) => self.lock_for_rule(user, &waiting.cause).await,
            Duty::StepUp(user) => self.store.close_windows(user).await.map(|_| ()),
        }
    }

    async fn store_ban(&self, ban: store::Ban) -> Result<(), StoreError> {
        match self.store.add_ban(ban.clone()).await {
            Err(StoreError::Full(_)) => {
                self.ban_in_memory(ban);
                Ok(())
            }
            done => done,
        }
    }

    /// Keeps a ban that the store shall not, or cannot, have.
    fn ban_in_memory(&self, ban: store::Ban) {
        tracing::debug!(network = %ban.network, "the store has enough bans: this one is kept in memory alone");
        let mut kept = in_memory(ban);
        GUESSING.clone_into(&mut kept.by);
        if let Err(error) = self.limits.bans.insert(kept) {
            tracing::warn!(%error, "a rule's ban is not taken");
        }
    }

    async fn revoke_for_rule(&self, id: u32, cause: &Cause) -> Result<(), StoreError> {
        if self.store.revoke_app_password(id, clock::unix()).await? {
            let event = Event::new(Kind::AppPasswordRevoked, clock::wall());
            let event = event.connection(&cause.connection).rule(&cause.rule);
            self.emit(event.app_password_id(&app_password::id_text(id)));
        }
        Ok(())
    }

    async fn lock_for_rule(&self, user: &UserName, cause: &Cause) -> Result<(), StoreError> {
        let Some(mut known) = self.store.user(user).await? else {
            return Ok(());
        };
        if known.disabled {
            return Ok(());
        }
        known.disabled = true;
        if self.store.change_user(known).await? {
            let event = Event::new(Kind::UserLocked, clock::wall());
            self.emit(event.connection(&cause.connection).rule(&cause.rule));
        }
        Ok(())
    }
}

/// A ban as it is looked up.
pub(in crate::server) fn in_memory(stored: store::Ban) -> Ban {
    Ban {
        network: stored.network,
        reason: stored.reason,
        by: stored.by,
        since: stored.created,
        until: stored.until,
    }
}

/// True of a ban that no operator has set.
pub(in crate::server) fn is_automatic(ban: &store::Ban) -> bool {
    [BY, BY_LIMITS].contains(&ban.by.as_str())
}

/// Carries out what rules decide until dropped.
pub(in crate::server) async fn run(shared: Arc<Shared>) {
    loop {
        match shared.settle_duties().await {
            Ok(()) => shared.duties.wake.notified().await,
            Err(error) => {
                if matches!(error, StoreError::Unavailable(_)) {
                    shared.store_failed(&error);
                } else {
                    tracing::error!(%error, "what a rule has decided cannot be stored; it is in force here alone");
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ClientAddr;
    use crate::types::SessionId;

    fn cause() -> Cause {
        let addr = ClientAddr::direct("192.0.2.1:1".parse().unwrap());
        Cause {
            rule: "a-rule".into(),
            connection: Arc::new(Connection::new(SessionId::new(1), addr, "x".into())),
        }
    }

    fn ban(number: u32) -> (Duty, Option<store::Ban>) {
        let network = IpNet::from(std::net::IpAddr::from(number.to_be_bytes()));
        let ban = store::Ban {
            network,
            reason: String::new(),
            by: BY.to_owned(),
            created: UnixTime(0),
            until: None,
        };
        (Duty::Ban(network), Some(ban))
    }

    #[test]
    fn a_flood_of_bans_leaves_room_for_revocations_which_come_first() {
        let duties = Duties::default();
        let flood = (0..20_000).map(ban);
        let taken = flood.filter(|(duty, ban)| duties.add(duty.clone(), cause(), ban.clone()));
        assert_eq!(taken.count(), MOST / 2);
        assert!(duties.add(Duty::Revoke(7), cause(), None));
        let (first, waiting) = duties.next(&BTreeSet::new()).unwrap();
        assert_eq!(first, Duty::Revoke(7));
        duties.done(&first, waiting.number);
        assert!(matches!(duties.next(&BTreeSet::new()), Some((Duty::Ban(_), _))));
    }

    #[test]
    fn what_waits_is_bounded_and_one_target_waits_once() {
        let duties = Duties::default();
        for _ in 0..3 {
            for id in 0..20_000 {
                duties.add(Duty::Revoke(id), cause(), None);
            }
        }
        assert_eq!(duties.lock().duties.len(), MOST);
    }

    #[test]
    fn what_failed_keeps_nothing_else_waiting_and_what_was_renewed_meanwhile_stays() {
        let duties = Duties::default();
        duties.add(Duty::Revoke(1), cause(), None);
        duties.add(Duty::Revoke(2), cause(), None);
        let failed = BTreeSet::from([Duty::Revoke(1)]);
        let (second, waiting) = duties.next(&failed).unwrap();
        assert_eq!(second, Duty::Revoke(2));
        duties.add(Duty::Revoke(2), cause(), None);
        duties.done(&second, waiting.number);
        assert!(duties.next(&failed).is_some(), "it was decided anew");
    }

    #[test]
    fn a_credential_is_refused_while_its_revocation_waits_and_others_are_not() {
        let duties = Duties::default();
        let alice = UserName::parse(b"alice").unwrap();
        let with = |id| SecondFactor::AppPassword {
            id,
            label: String::new(),
        };
        assert_eq!(duties.forbid(&alice, &with(1)), None);
        duties.add(Duty::Revoke(1), cause(), None);
        assert_eq!(duties.forbid(&alice, &with(1)), Some(Refusal::AppPasswordRevoked));
        assert_eq!(duties.forbid(&alice, &with(2)), None);
        duties.add(Duty::StepUp(alice.clone()), cause(), None);
        let window = SecondFactor::TrustedWindow;
        assert_eq!(duties.forbid(&alice, &window), Some(Refusal::SecondFactorMissing));
        assert_eq!(duties.end(&alice, &window), None, "no session ends by that");
        assert_eq!(duties.forbid(&alice, &SecondFactor::Totp), None);
        duties.add(Duty::Lock(alice.clone()), cause(), None);
        assert_eq!(
            duties.end(&alice, &SecondFactor::Totp),
            Some(Refusal::UserDisabled)
        );
    }
}
