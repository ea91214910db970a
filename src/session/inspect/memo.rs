//! What is known of the last commands and of their answers: a client that fetches message by message says the same again
//! and again.

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
use crate::policy::facts::Fetched;
use crate::session::inspect::role::Place;

/// Most commands that are remembered: four ways to fetch, and NOOP.
const KEPT: usize = 5;

/// The last commands that may come again.
#[derive(Default)]
pub(super) struct Memo {
    kept: Vec<Kept>,
    /// Which of them is replaced next.
    next: usize,
    /// Of data with bodies in it, and of data without.
    fetched: [Option<Known>; 2],
}

struct Kept {
    form: Form,
    known: Option<Known>,
}

/// What rules make of a moment, and of which moments that is true: those in the same mailbox, of the same parties, that say
/// the same of themselves.
struct Known {
    place: Option<Arc<Place>>,
    parties: u32,
    is_first_sync: bool,
    said: Said,
    /// `None` at the first such moment: what does not come again is not worth the work.
    prepared: Option<Prepared>,
}

/// How many messages a command means, whether these are all, and its length.
type Said = (Option<u64>, bool, u64);

/// The mailbox that is open, and how often the session's parties had become others.
pub(super) type Now<'a> = (Option<&'a Arc<Place>>, u32);

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
        let Some(form) = Form::of(command, bytes, facts.fetch) else {
            return;
        };
        let kept = Kept { form, known: None };
        match self.kept.get_mut(self.next) {
            Some(place) => *place = kept,
            None => self.kept.push(kept),
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// Judges a command that was found, by what is known of it where nothing has changed since.
    pub(super) fn judge(
        &mut self,
        recalled: Recalled<'_>,
        now: Now<'_>,
        rules: &Engine,
        facts: &facts::Facts<'_>,
        counters: (&mut SessionCounters, u64),
    ) -> Decisions {
        let (Some(kept), Some(command)) = (self.kept.get_mut(recalled.place), facts.command) else {
            return rules.judge(facts, counters.0, counters.1);
        };
        let said = (command.set_size, command.set_is_all, command.size);
        judge_by(&mut kept.known, (now, said), rules, facts, counters)
    }

    /// The same of data that the backend has sent.
    pub(super) fn judge_fetched(
        &mut self,
        fetched: &Fetched,
        now: Now<'_>,
        rules: &Engine,
        facts: &facts::Facts<'_>,
        counters: (&mut SessionCounters, u64),
    ) -> Decisions {
        let [without, with] = &mut self.fetched;
        let known = if fetched.body { with } else { without };
        judge_by(known, (now, Said::default()), rules, facts, counters)
    }
}

fn judge_by(
    known: &mut Option<Known>,
    ((place, parties), said): (Now<'_>, Said),
    rules: &Engine,
    facts: &facts::Facts<'_>,
    (counters, now_ms): (&mut SessionCounters, u64),
) -> Decisions {
    let is_first_sync = facts.session.is_some_and(|session| session.is_first_sync);
    let still = |known: &Known| {
        known.place.as_ref().map(Arc::as_ptr) == place.map(Arc::as_ptr)
            && (known.parties, known.is_first_sync) == (parties, is_first_sync)
            && known.said == said
            && known
                .prepared
                .as_ref()
                .is_none_or(|prepared| rules.has_prepared(prepared))
    };
    let Some(known) = known.as_mut().filter(|known| still(known)) else {
        *known = Some(Known {
            place: place.cloned(),
            parties,
            is_first_sync,
            said,
            prepared: None,
        });
        return rules.judge(facts, counters, now_ms);
    };
    let prepared = known.prepared.get_or_insert_with(|| rules.prepare(facts));
    rules.judge_prepared(prepared, facts, counters, now_ms)
}
