//! A counter behind a lock of its own, which only those share that count the same thing.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::policy::counters::counter::Addition;
use crate::policy::counters::counter::Counted;
use crate::policy::counters::counter::Counter;
use crate::policy::counters::counter::Terms;
use crate::policy::shared::Told;
use crate::policy::window::Report;

/// A counter of the table. Whoever holds the lock of its shard may take its own; nobody takes the shard's while holding this.
#[derive(Debug)]
pub(super) struct Cell(Mutex<State>);

#[derive(Debug)]
struct State {
    counter: Counter,
    /// The room that the table knows of, in distinct values.
    measured: u32,
    /// It lies in the old half of its shard.
    is_old: bool,
    /// Others wait to be told of it.
    is_untold: bool,
    /// The table has forgotten it: nobody may count by it any more.
    is_gone: bool,
}

/// What came of a count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) counted: Counted,
    /// The counter takes another room than before.
    pub(super) has_grown: bool,
    /// Others are to be told of it, and nobody has noted so yet.
    pub(super) is_to_be_told: bool,
    /// It was thought to be counted by no more.
    is_old: bool,
}

impl State {
    fn forget(&mut self) {
        self.is_gone = true;
        self.counter.empty();
    }
}

impl Outcome {
    /// True where the table is to note something.
    pub(super) const fn concerns_the_table(&self) -> bool {
        self.has_grown || self.is_to_be_told || self.is_old
    }
}

impl Cell {
    pub(super) fn new(counter: Counter) -> Self {
        Self(Mutex::new(State {
            measured: u32::try_from(counter.room()).unwrap_or(u32::MAX),
            counter,
            is_old: false,
            is_untold: false,
            is_gone: false,
        }))
    }

    /// Counts; `None` where the table has forgotten it.
    pub(super) fn count(&self, addition: Addition) -> Option<Outcome> {
        let mut state = self.lock();
        if state.is_gone {
            return None;
        }
        let before = state.counter.room();
        let counted = state.counter.count(addition);
        let has_grown = state.counter.room() != before;
        let shared = addition.terms.shared;
        let is_worth_telling = shared.is_some_and(|shared| counted.value >= shared.from);
        let is_to_be_told = is_worth_telling && !state.is_untold;
        state.is_untold |= is_worth_telling;
        Some(Outcome {
            counted,
            has_grown,
            is_to_be_told,
            is_old: state.is_old,
        })
    }

    /// Keeps what others have counted.
    pub(super) fn hear(&self, terms: Terms, reports: &[Report<'_>], now_ms: u64) {
        self.lock().counter.hear(terms.scale, reports, now_ms);
    }

    /// The memory it took when that was last measured, in distinct values.
    pub(super) fn measured(&self) -> usize {
        usize::try_from(self.lock().measured).unwrap_or(usize::MAX)
    }

    /// Measures the memory it takes.
    pub(super) fn measure(&self) -> usize {
        let mut state = self.lock();
        let room = state.counter.room();
        state.measured = u32::try_from(room).unwrap_or(u32::MAX);
        room
    }

    /// What others are to be told; whatever is counted from now on is to be told again.
    pub(super) fn tell(&self, key: u64, terms: Terms, now_ms: u64) -> Option<Told> {
        let mut state = self.lock();
        state.is_untold = false;
        state.counter.told(key, terms, now_ms)
    }

    /// There was no room to note that others are to be told.
    pub(super) fn is_not_noted(&self) {
        self.lock().is_untold = false;
    }

    /// Where in its shard it lies.
    pub(super) fn is_old(&self, is_old: bool) {
        self.lock().is_old = is_old;
    }

    /// The table forgets it. A session that holds it, and may not come for a while, keeps nothing of what was counted.
    pub(super) fn forget(&self) {
        self.lock().forget();
    }

    /// The table forgets it where it no longer counts. Says whether it does.
    pub(super) fn forget_expired(&self, now_ms: u64) -> bool {
        let mut state = self.lock();
        if state.counter.is_expired(now_ms) {
            state.forget();
        }
        state.is_gone
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A count that was broken off leaves a counter as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_small() {
        assert!(size_of::<Cell>() <= 120, "{}", size_of::<Cell>());
    }
}
