//! What is known of the last commands and of their answers: a client that fetches message by message says the same again
//! and again.

use std::sync::Arc;

use crate::imap::command::Command;
use crate::imap::facts::Facts;
use crate::imap::form::Fitting;
use crate::imap::form::Form;
use crate::imap::set::Mailbox;
use crate::imap::tally::Tally;
use crate::policy::decision::Decisions;
use crate::policy::engine::Engine;
use crate::policy::engine::Prepared;
use crate::policy::engine::SessionCounters;
use crate::policy::facts;
use crate::policy::facts::Event;
use crate::policy::facts::Fetched;
use crate::session::inspect::Inspector;
use crate::session::inspect::facts_of;
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

impl Known {
    /// True where it is true of another moment.
    fn is_still(
        &self,
        ((place, parties), is_first_sync, said): (Now<'_>, bool, Said),
        rules: &Engine,
    ) -> bool {
        self.place.as_ref().map(Arc::as_ptr) == place.map(Arc::as_ptr)
            && (self.parties, self.is_first_sync) == (parties, is_first_sync)
            && self.said == said
            && self
                .prepared
                .as_ref()
                .is_none_or(|prepared| rules.has_prepared(prepared))
    }
}

/// How many messages a command means, whether these are all, and its length.
type Said = (Option<u64>, bool, u64);

/// What there is to know of a command that was found, where rules have nothing to ask of it.
#[derive(Clone, Copy)]
pub(super) struct Again<'m> {
    pub(super) prepared: &'m Prepared,
    /// It marks messages as read.
    pub(super) sets_seen: bool,
}

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

    /// What there is to know of a command of so many bytes, where nothing has changed by which rules judged one like it, and they
    /// ask for nothing more of it; `of` is what is known of the mailbox that is open.
    pub(super) fn again(
        &self,
        (recalled, size): (Recalled<'_>, usize),
        (now, of, is_first_sync): (Now<'_>, Mailbox, bool),
        rules: &Engine,
    ) -> Option<Again<'_>> {
        let kept = self.kept.get(recalled.place)?;
        let known = kept.known.as_ref()?;
        let prepared = known
            .prepared
            .as_ref()
            .filter(|prepared| !prepared.asks_of_event())?;
        let extent = kept.form.set(recalled.fitting).map(|set| set.extent(of));
        let said = (
            extent.and_then(|extent| extent.count),
            extent.is_some_and(|extent| extent.is_all),
            u64::try_from(size).unwrap_or(u64::MAX),
        );
        known.is_still((now, is_first_sync, said), rules).then(|| Again {
            prepared,
            sets_seen: kept.form.fetch().is_some_and(|fetch| fetch.sets_seen),
        })
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
    let now = ((place, parties), is_first_sync, said);
    let Some(known) = known.as_mut().filter(|known| known.is_still(now, rules)) else {
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

impl Inspector {
    /// What rules say of a command that was found, and whether it marks messages as read; `None` where all of it has to be looked
    /// at. What has such a form has no deed, and nothing to do with security notices.
    pub(super) fn again(
        &mut self,
        recalled: (Recalled<'_>, usize),
        tally: &Tally,
    ) -> Option<(Decisions, bool)> {
        if self.writes {
            return None;
        }
        let rules = self.rules.load();
        let rules = &**rules;
        self.renew(rules);
        let is_first_sync = self.ledger.is_first_sync();
        let now = (self.stats.mailbox(), self.parties_changed);
        let now = (now, self.mailbox(tally), is_first_sync);
        let again = self.memo.again(recalled, now, rules)?;
        let session = self.stats.facts(tally, is_first_sync, self.now_ms);
        let parties = (&*self.parties, self.source.as_deref(), self.client.as_deref());
        let mut facts = facts_of(parties, Event::Command);
        facts.session = Some(&session);
        let decisions = rules.judge_prepared(again.prepared, &facts, &mut self.counters, self.now_ms);
        Some((decisions, again.sets_seen))
    }
}
