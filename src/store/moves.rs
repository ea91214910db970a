//! Two numbers that say that something may have changed: one for whoever looks again, one for what is known to have happened.
//!
//! While a store cannot be heard the first one moves again and again, so that everything is read anew as soon as it answers. The
//! second one moves only where something was heard, or could not have been heard before: not with each try in vain.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

/// Both numbers of a store.
#[derive(Debug, Default)]
pub(super) struct Moves {
    changes: watch::Sender<u64>,
    notices: AtomicU64,
}

impl Moves {
    /// Something has changed.
    pub(super) fn told(&self) {
        // First: whoever is woken finds it moved.
        self.notices.fetch_add(1, Ordering::AcqRel);
        self.unheard();
    }

    /// Nobody can say whether something has changed.
    pub(super) fn unheard(&self) {
        self.changes
            .send_modify(|number| *number = number.wrapping_add(1));
    }

    /// The number that moves with both.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The number that moves with what was told.
    pub(super) fn notices(&self) -> u64 {
        self.notices.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_told_is_a_notice_and_both_wake_whoever_waits() {
        let moves = Moves::default();
        let mut changes = moves.changes();
        moves.unheard();
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert_eq!(moves.notices(), 0);
        moves.told();
        assert!(changes.has_changed().unwrap());
        assert_eq!(moves.notices(), 1);
    }
}
