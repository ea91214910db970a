//! The sessions that a recording is in the middle of: who takes part, and what rules have counted. As many as there is room
//! for; those that were not heard of for longest are forgotten.

use std::collections::HashMap;
use std::mem;

use crate::policy::engine::SessionCounters;
use crate::policy::facts::Event;
use crate::policy::facts::Record;
use crate::types::SessionId;

/// Sessions that are remembered at least; at most twice as many.
const ROOM: usize = 50_000;

/// One session.
pub(super) struct Session {
    pub(super) counters: SessionCounters,
    /// Who takes part, as the login told.
    pub(super) parties: Record,
    /// Whether the login told what rules knew.
    pub(super) is_complete: bool,
    /// Whether its beginning was judged, or is not in the recording.
    pub(super) has_begun: bool,
}

impl Session {
    pub(super) fn new(id: SessionId) -> Self {
        Self {
            counters: SessionCounters::new(id),
            parties: Record::new(Event::Login),
            is_complete: false,
            has_begun: false,
        }
    }
}

/// Sessions by their names.
#[derive(Default)]
pub(super) struct Sessions {
    young: HashMap<SessionId, Session>,
    old: HashMap<SessionId, Session>,
    pub(super) forgotten: u64,
}

impl Sessions {
    /// A session that is heard of.
    pub(super) fn heard(&mut self, id: SessionId) -> &mut Session {
        if self.young.len() >= ROOM && !self.young.contains_key(&id) {
            let forgotten = mem::replace(&mut self.old, mem::take(&mut self.young));
            let forgotten = u64::try_from(forgotten.len()).unwrap_or(u64::MAX);
            self.forgotten = self.forgotten.saturating_add(forgotten);
        }
        let old = &mut self.old;
        self.young
            .entry(id)
            .or_insert_with(|| old.remove(&id).unwrap_or_else(|| Session::new(id)))
    }

    /// A session is over.
    pub(super) fn end(&mut self, id: SessionId) {
        self.young.remove(&id);
        self.old.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_sessions_is_bounded_and_those_heard_of_stay() {
        let mut sessions = Sessions::default();
        sessions.heard(SessionId::new(7)).has_begun = true;
        for n in 0..u64::try_from(ROOM * 5).unwrap() {
            sessions.heard(SessionId::new(1_000 + n));
            if n % 1_000 == 0 {
                assert!(sessions.heard(SessionId::new(7)).has_begun);
            }
        }
        assert!(sessions.young.len() + sessions.old.len() <= 2 * ROOM);
        assert!(sessions.forgotten > 0);
        sessions.end(SessionId::new(7));
        assert!(!sessions.heard(SessionId::new(7)).has_begun);
    }
}
