//! What a session keeps of counters: its own, and those that it shares with others and counts by.

use std::sync::Arc;

use crate::policy::counters::cell::Cell;
use crate::policy::counters::counter::Addition;
use crate::policy::counters::counter::Counted;
use crate::policy::counters::counter::Counter;

/// Most shared counters that a session holds.
const MOST_HELD: usize = 16;

/// So many of them stand at the end in any order: of more than these, one that is counted by again is put behind the others.
const LATEST: usize = 8;

/// The counters of one session, kept by the session.
#[derive(Debug, Clone, Default)]
pub(in crate::policy) struct Own(Vec<(u64, Counter)>);

impl Own {
    pub(in crate::policy) fn count(&mut self, key: u64, addition: Addition) -> Counted {
        let at = self.0.iter().position(|(known, _)| *known == key);
        if at.is_none() {
            // Room for what a rule needs, not for what may come: most sessions are counted by few rules.
            self.0.reserve_exact(1);
            let Addition {
                terms,
                amount,
                now_ms,
                ..
            } = addition;
            self.0.push((key, Counter::new(terms, amount, now_ms)));
        }
        let at = at.unwrap_or(self.0.len().saturating_sub(1));
        match self.0.get_mut(at) {
            Some((_, counter)) => counter.count(addition),
            None => Counted::NOTHING,
        }
    }

    /// Forgets what no longer counts.
    pub(in crate::policy) fn sweep(&mut self, now_ms: u64) {
        self.0.retain(|(_, counter)| !counter.is_expired(now_ms));
        self.0.shrink_to_fit();
    }
}

/// The shared counters by which a session counted last: it finds them without the table. What the table has forgotten
/// meanwhile is not counted by, and is let go of when it would be: what is held beyond the table is bounded by the sessions.
#[derive(Debug, Clone, Default)]
pub(in crate::policy) struct Held {
    /// Of which table they are.
    table: u64,
    cells: Vec<(u64, Arc<Cell>)>,
}

impl Held {
    /// Finds one. What is let go of first was not counted by for longest, or nearly so.
    pub(super) fn find(&mut self, table: u64, key: u64) -> Option<&Arc<Cell>> {
        if self.table != table {
            return None;
        }
        let mut at = self.cells.iter().rposition(|(known, _)| *known == key)?;
        if at + LATEST < self.cells.len()
            && let Some(later) = self.cells.get_mut(at..)
        {
            later.rotate_left(1);
            at = self.cells.len() - 1;
        }
        self.cells.get(at).map(|(_, cell)| cell)
    }

    pub(super) fn keep(&mut self, table: u64, key: u64, cell: Arc<Cell>) {
        if self.table != table {
            self.cells.clear();
            self.table = table;
        }
        if let Some(at) = self.cells.iter().position(|(known, _)| *known == key) {
            self.cells.remove(at);
        } else if self.cells.len() >= MOST_HELD {
            self.cells.remove(0);
        }
        self.cells.push((key, cell));
    }
}
