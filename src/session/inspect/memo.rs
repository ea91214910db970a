//! What is known of the last commands: a client that fetches message by message says the same again and again.

use std::sync::Arc;

use crate::imap::command::Command;
use crate::imap::facts::Facts;
use crate::imap::form::Fitting;
use crate::imap::form::Form;
use crate::policy::decision::Decisions;
use crate::policy::engine::Engine;
use crate::policy::engine::Prepared;
use crate::policy::engine::SessionCounters;
use crate::policy::facts;
use crate::session::inspect::role::Place;

/// Most commands that are remembered.
const KEPT: usize = 4;

/// The last commands that may come again.
#[derive(Default)]
pub(super) struct Memo {
    kept: Vec<Kept>,
    /// Which of them is replaced next.
    next: usize,
}

struct Kept {
    form: Form,
    known: Option<Known>,
}

/// What rules make of a command, and of what moment that is true.
struct Known {
    place: Arc<Place>,
    /// How often the session's parties had become others.
    parties: u32,
    is_first_sync: bool,
    set: (Option<u64>, bool),
    size: u64,
    prepared: Prepared,
}

/// A command that was read before but for its tag and its message.
#[derive(Debug, Clone, Copy)]
pub(in crate::session) struct Recalled<'a> {
    place: usize,
    fitting: Fitting<'a>,
}

impl Memo {
    /// Finds a command that is complete.
    pub(super) fn recall<'a>(&self, bytes: &'a [u8]) -> Option<(Command<'a>, Recalled<'a>)> {
        self.kept.iter().enumerate().find_map(|(place, kept)| {
            let fitting = kept.form.fits(bytes)?;
            Some((kept.form.command(fitting), Recalled { place, fitting }))
        })
    }

    /// What its arguments say; `None` where it is forgotten by now.
    pub(super) fn facts<'a>(&self, recalled: Recalled<'a>) -> Option<Facts<'a>> {
        let kept = self.kept.get(recalled.place)?;
        Some(kept.form.facts(recalled.fitting))
    }

    /// Remembers a command that was read, if it is one that may come again.
    pub(super) fn keep(&mut self, command: &Command<'_>, bytes: &[u8], facts: &Facts<'_>) {
        let Some(form) = facts.fetch.and_then(|fetch| Form::of(command, bytes, fetch)) else {
            return;
        };
        let kept = Kept { form, known: None };
        match self.kept.get_mut(self.next) {
            Some(place) => *place = kept,
            None => self.kept.push(kept),
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// Forgets all, for a session that becomes idle.
    pub(super) fn release(&mut self) {
        *self = Self::default();
    }

    /// Judges a command that was found, by what is known of it where nothing has changed since.
    pub(super) fn judge(
        &mut self,
        recalled: Recalled<'_>,
        (place, parties): (&Arc<Place>, u32),
        rules: &Engine,
        facts: &facts::Facts<'_>,
        (counters, now_ms): (&mut SessionCounters, u64),
    ) -> Decisions {
        let (Some(kept), Some(command)) = (self.kept.get_mut(recalled.place), facts.command) else {
            return rules.judge(facts, counters, now_ms);
        };
        let is_first_sync = facts.session.is_some_and(|session| session.is_first_sync);
        let set = (command.set_size, command.set_is_all);
        let still = |known: &Known| {
            Arc::ptr_eq(&known.place, place)
                && (known.parties, known.is_first_sync) == (parties, is_first_sync)
                && (known.set, known.size) == (set, command.size)
                && rules.has_prepared(&known.prepared)
        };
        if !kept.known.as_ref().is_some_and(still) {
            kept.known = None;
        }
        let known = kept.known.get_or_insert_with(|| Known {
            place: Arc::clone(place),
            parties,
            is_first_sync,
            set,
            size: command.size,
            prepared: rules.prepare(facts),
        });
        rules.judge_prepared(&known.prepared, facts, counters, now_ms)
    }
}
