//! The sessions that are open: who they belong to, what they stand on, and how to end them.

use std::collections::HashMap;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use ipnet::IpNet;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::auth::lease::Lease;
use crate::server::relay::Order;
use crate::session::inspect::Parties;
use crate::types::EndReason;
use crate::types::SecondFactor;
use crate::types::SessionId;
use crate::types::UnixTime;
use crate::types::UserName;

/// What an operator is shown of a session.
#[derive(Clone)]
pub(super) struct Facts {
    pub(super) session: SessionId,
    /// Which listener it came to.
    pub(super) listener: usize,
    pub(super) user: UserName,
    pub(super) account: UserName,
    pub(super) client: SocketAddr,
    pub(super) since: UnixTime,
    pub(super) factor: SecondFactor,
    pub(super) backend: Arc<str>,
    pub(super) program: Option<String>,
    /// What rules judge it by.
    pub(super) parties: Option<Arc<Parties>>,
}

struct Open {
    facts: Facts,
    lease: Lease,
    order: Option<oneshot::Sender<Order>>,
}

impl Open {
    /// Orders its end, and says what it was; nothing where it ends already.
    fn end(&mut self, reason: EndReason) -> Option<Facts> {
        let order = self.order.take()?;
        let sent = order.send(Order::End(reason));
        sent.ok().map(|()| self.facts.clone())
    }
}

/// The open sessions of this process.
#[derive(Default)]
pub(super) struct Sessions {
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    /// In boxes: the table has room for many that are not there.
    open: HashMap<SessionId, Box<Open>>,
    /// Set once the process drains: sessions that begin now end at once.
    draining: Option<Instant>,
}

/// A session's place in the list; given back when dropped, whichever way the session ends.
pub(super) struct Place {
    sessions: Arc<Sessions>,
    session: SessionId,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.lock().open.remove(&self.session);
    }
}

impl Sessions {
    /// Lists a session; orders to it arrive at the receiver.
    pub(super) fn enter(self: &Arc<Self>, facts: Facts, lease: Lease) -> (Place, oneshot::Receiver<Order>) {
        let (order, orders) = oneshot::channel();
        let session = facts.session;
        let mut list = self.lock();
        let order = match list.draining {
            None => Some(order),
            Some(deadline) => {
                // Its receiver is in our hands: it cannot be gone.
                let _ = order.send(Order::Drain(deadline));
                None
            }
        };
        list.open.insert(session, Box::new(Open { facts, lease, order }));
        drop(list);
        let place = Place {
            sessions: Arc::clone(self),
            session,
        };
        (place, orders)
    }

    /// All sessions, oldest first.
    pub(super) fn list(&self) -> Vec<Facts> {
        let mut all: Vec<Facts> = self.lock().open.values().map(|open| open.facts.clone()).collect();
        all.sort_by_key(|facts| (facts.since, facts.session));
        all
    }

    /// The names of all sessions.
    pub(super) fn names(&self) -> HashSet<SessionId> {
        self.lock().open.keys().copied().collect()
    }

    /// What is shown of sessions, as far as they are still open.
    pub(super) fn of(&self, names: &[SessionId]) -> Vec<Facts> {
        let list = self.lock();
        let found = names.iter().filter_map(|name| list.open.get(name));
        found.map(|open| open.facts.clone()).collect()
    }

    /// What every session stands on.
    pub(super) fn leases(&self) -> (Vec<SessionId>, Vec<Lease>) {
        let list = self.lock();
        list.open
            .iter()
            .map(|(session, open)| (*session, open.lease.clone()))
            .unzip()
    }

    /// True where somebody has a session from the network.
    pub(super) fn has_any_from(&self, network: IpNet) -> bool {
        let list = self.lock();
        let mut clients = list.open.values().map(|open| open.facts.client.ip());
        clients.any(|ip| network.contains(&ip.to_canonical()))
    }

    /// Ends the sessions that the test says, and returns what they were.
    pub(super) fn end_where(&self, reason: EndReason, test: impl Fn(&Facts) -> bool) -> Vec<Facts> {
        let mut list = self.lock();
        let found = list.open.values_mut().filter(|open| test(&open.facts));
        found.filter_map(|open| open.end(reason)).collect()
    }

    /// The same among some sessions, for a test that takes its time: nothing waits for it. A session that is listed meanwhile is
    /// not tested.
    pub(super) fn end_judged(
        &self,
        reason: EndReason,
        among: impl Fn(&Facts) -> bool,
        test: impl Fn(&Facts, &Lease) -> bool,
    ) -> Vec<Facts> {
        let listed: Vec<(Facts, Lease)> = {
            let list = self.lock();
            let among = list.open.values().filter(|open| among(&open.facts));
            among
                .map(|open| (open.facts.clone(), open.lease.clone()))
                .collect()
        };
        let found = listed.into_iter().filter(|(facts, lease)| test(facts, lease));
        let found: Vec<SessionId> = found.map(|(facts, _)| facts.session).collect();
        let mut list = self.lock();
        found
            .iter()
            .filter_map(|session| list.open.get_mut(session)?.end(reason))
            .collect()
    }

    /// From now on sessions end as soon as they begin; returns those that are open.
    pub(super) fn drain(&self, deadline: Instant) -> Vec<SessionId> {
        let mut list = self.lock();
        list.draining = Some(deadline);
        list.open.keys().copied().collect()
    }

    /// Has a session drain, unless it has ended, or was told to end before its turn came.
    pub(super) fn drain_one(&self, session: SessionId, deadline: Instant) {
        let mut list = self.lock();
        let order = list.open.get_mut(&session).and_then(|open| open.order.take());
        if let Some(order) = order {
            // The session may have ended by itself meanwhile.
            let _ = order.send(Order::Drain(deadline));
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lock().open.len()
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(number: u64) -> Facts {
        let user = UserName::parse(b"alice").unwrap();
        Facts {
            session: SessionId::new(number),
            listener: 0,
            account: user.clone(),
            user,
            client: "192.0.2.1:1".parse().unwrap(),
            since: UnixTime(0),
            factor: SecondFactor::Exempt,
            backend: "main".into(),
            program: None,
            parties: None,
        }
    }

    fn lease() -> Lease {
        Lease::unknown(UserName::parse(b"alice").unwrap(), "192.0.2.1".parse().unwrap())
    }

    #[test]
    fn nobody_waits_while_sessions_are_judged_and_those_alone_end_that_were() {
        let sessions = Arc::new(Sessions::default());
        let mut open: Vec<_> = (0..3)
            .map(|number| sessions.enter(facts(number), lease()))
            .collect();
        let judged = |facts: &Facts, _: &Lease| {
            assert!(sessions.list.try_lock().is_ok(), "others may come and go");
            facts.session == SessionId::new(1)
        };
        let among = |facts: &Facts| facts.session != SessionId::new(2);
        let ended = sessions.end_judged(EndReason::PolicyChanged, among, judged);
        assert_eq!(ended.len(), 1);
        let ordered: Vec<bool> = open
            .iter_mut()
            .map(|(_, orders)| orders.try_recv().is_ok())
            .collect();
        assert_eq!(ordered, [false, true, false]);
        // Whoever has gone meanwhile is not ended.
        drop(open.remove(0));
        let ended = sessions.end_judged(EndReason::PolicyChanged, |_| true, |_, _| true);
        assert_eq!(ended.len(), 1, "one is gone, one ends already");
    }
}
