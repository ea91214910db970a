//! What rules are judged on in a session, and what follows from them: commands into facts, decisions into effects.
//!
//! One inspector belongs to one session, and holds on to what it shares with others. It never keeps a search term, and nothing
//! of a message.

mod brake;
mod command;
mod deeds;
mod explained;
mod hold;
mod identity;
mod memo;
mod moves;
mod role;
mod stats;
mod words;

use std::num::NonZeroU64;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::imap::command::Command;
use crate::imap::mailbox::MailboxName;
use crate::imap::notices::Notices;
use crate::imap::set::Mailbox;
use crate::imap::tally::Tally;
use crate::imap::verb::Verb;
use crate::policy::decision::Decisions;
use crate::policy::decision::Effect;
use crate::policy::engine::Engine;
use crate::policy::engine::SessionCounters;
use crate::policy::facts;
use crate::policy::facts::Client;
use crate::policy::facts::Event;
use crate::policy::facts::Fetched;
use crate::policy::facts::Record;
use crate::policy::facts::Source;
use crate::session::inspect::brake::Brake;
use crate::session::inspect::command::Read;
use crate::session::inspect::hold::Holds;
use crate::session::inspect::memo::Memo;
use crate::session::inspect::role::Place;
use crate::session::inspect::stats::Stats;
use crate::session::inspect::words::Moment;
use crate::session::relay::profile;
use crate::types::CommandRefusal;
use crate::types::Commands;
use crate::types::EndReason;
use crate::types::Measure;

pub use explained::ask_about;
pub use explained::nature_of;
pub(in crate::session) use memo::Recalled;
pub(in crate::session) use words::Deed;
pub use words::Ledger;
pub(in crate::session) use words::Objection;
pub use words::Parties;

/// The rules in force; a reload replaces them for all sessions at once.
pub type Rules = Arc<ArcSwap<Engine>>;

/// The inspector of one session.
pub struct Inspector {
    rules: Rules,
    parties: Arc<Parties>,
    ledger: Box<dyn Ledger>,
    /// Where it comes from, where a reload has changed the sets of networks that the address is in.
    source: Option<Box<Source>>,
    /// What the client said after the login, which replaces what it said before.
    client: Option<Box<Client>>,
    /// How often source or client has become another.
    parties_changed: u32,
    memo: Memo,
    counters: SessionCounters,
    stats: Stats,
    judged: Tally,
    throttle: Holds<NonZeroU64>,
    read_only: Holds<()>,
    brake: Brake,
    told: Vec<Decisions>,
    /// What tells the rules that judged the login from those that came later.
    revision: Arc<str>,
    /// What is known of the next command is to be written down.
    writes: bool,
    written: Option<Record>,
    now_ms: u64,
}

impl std::fmt::Debug for Inspector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspector")
            .field("stats", &self.stats)
            .field("judged", &self.judged)
            .finish_non_exhaustive()
    }
}

impl Inspector {
    /// The inspector of a session that begins now. `counters` are those that judged its login, `revision` is that of the
    /// rules that did.
    #[must_use]
    pub fn new(
        rules: Rules,
        (parties, ledger): (Arc<Parties>, Box<dyn Ledger>),
        (counters, revision): (SessionCounters, Arc<str>),
        now_ms: u64,
    ) -> Self {
        Self {
            revision,
            rules,
            parties,
            ledger,
            source: None,
            client: None,
            parties_changed: 0,
            memo: Memo::default(),
            counters: counters.for_session(),
            stats: Stats::new(now_ms),
            judged: Tally::default(),
            throttle: Holds::default(),
            read_only: Holds::default(),
            brake: Brake::default(),
            told: Vec::new(),
            writes: false,
            written: None,
            now_ms,
        }
    }

    /// Says what time it is, in milliseconds of a clock that does not step back, the same for all sessions.
    pub fn tell_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// How many bytes a second may go to the client now.
    #[must_use]
    pub fn throttle(&self) -> Option<NonZeroU64> {
        self.throttle.in_force(self.now_ms).min()
    }

    /// So many bytes were read for a session that is slowed: when more may be, in milliseconds. `None` where it is not slowed.
    #[must_use]
    pub fn pace(&self, bytes: u64) -> Option<u64> {
        let rate = self.throttle()?;
        Some(self.ledger.pace(bytes, rate, self.now_ms))
    }

    /// Takes what was decided since the last time, in its order.
    pub fn take_told(&mut self) -> Vec<Decisions> {
        std::mem::take(&mut self.told)
    }

    /// True where there is something to take.
    #[must_use]
    pub fn has_told(&self) -> bool {
        !self.told.is_empty()
    }

    /// Has what is known of the next moment written down, or not.
    pub(in crate::session) fn write(&mut self, writes: bool) {
        self.writes = writes;
    }

    /// Takes what was written down of the last moment.
    pub(in crate::session) fn take_written(&mut self) -> Option<Record> {
        self.written.take()
    }

    /// Gives back what an idle session does not need.
    pub(in crate::session) fn release(&mut self) {
        self.counters.sweep(self.now_ms);
    }

    /// Forgets what is remembered of commands, and lets go of counters that others count by as well.
    pub(in crate::session) fn forget(&mut self) {
        self.memo = Memo::default();
        self.counters.let_go(self.now_ms);
    }

    /// Finds a complete command that was read before, but for its tag and the message that it is about.
    pub(in crate::session) fn recall<'a>(&self, bytes: &'a [u8]) -> Option<(Command<'a>, Recalled<'a>)> {
        self.memo.recall(bytes)
    }

    /// True where some rule asks which messages are security notices.
    pub(in crate::session) fn asks_for_notices(&self) -> bool {
        self.rules.load().asks_for_notices()
    }

    /// Judges a command that is about to go to the backend; it must be asked once for each. Says what the command will have
    /// done once the backend has said OK.
    pub(in crate::session) fn command(
        &mut self,
        (command, recalled): (&Command<'_>, Option<Recalled<'_>>),
        bytes: &[u8],
        (tally, notices): (&Tally, Option<&Notices>),
    ) -> Result<Deed, Objection> {
        if let Some(recalled) = recalled
            && let Some((decisions, sets_seen)) = self.again((recalled, bytes.len()), tally)
        {
            self.put_in_force(decisions)?;
            self.admit(command.verb, sets_seen)?;
            return Ok(Deed::None);
        }
        let mailbox = self.stats.mailbox().map(Arc::clone);
        let of = self.mailbox(tally);
        let recalled = recalled.and_then(|recalled| Some((recalled, self.memo.facts(recalled)?)));
        let (recalled, known) = recalled.unzip();
        let selected = mailbox.as_deref().map(Place::named);
        let read = Read::of(command, bytes, (selected, of), known)
            .with(self.goes_with(command))
            .among(notices, |mailbox| self.ledger.notices_in(mailbox, self.now_ms));
        let facts = read.facts();
        let moment = match recalled {
            Some(recalled) => Moment::Again(&facts, recalled),
            None => Moment::Command(&facts),
        };
        self.judge(&moment, tally)?;
        if recalled.is_none() {
            self.memo.keep(command, bytes, read.arguments());
        }
        self.admit(command.verb, read.sets_seen())?;
        if command.verb == Verb::Id {
            self.identify(command, bytes);
        }
        self.follow(command, &read);
        self.stats.searched(read.categories());
        self.stats.searches += u64::from(matches!(facts.verb, "SEARCH" | "SORT" | "THREAD" | "ESEARCH"));
        Ok(read.deed())
    }

    /// A command to which no rule objects goes to the backend, if the session may do what it does.
    fn admit(&mut self, verb: Verb, sets_seen: bool) -> Result<(), Objection> {
        let marks = sets_seen && !self.stats.is_examined();
        if self.is_read_only() && (marks || !profile::includes(&Commands::Reader, verb)) {
            let text = "[NOPERM] The session is read-only".to_owned();
            return Err(Objection::Deny(CommandRefusal::ReadOnly, text));
        }
        self.stats.command(self.now_ms);
        self.ledger.count(Measure::Commands, 1);
        self.stats.seen_set |= sets_seen;
        Ok(())
    }

    /// What is known of the mailbox that is open. Of one that the backend has not told the size of, a set means the most that it may.
    fn mailbox(&self, tally: &Tally) -> Mailbox {
        let exists = tally.mailbox.exists.unwrap_or(u32::MAX);
        Mailbox {
            exists: self.stats.mailbox().map(|_| exists),
            ..tally.mailbox
        }
    }

    /// A command was answered BAD by us.
    pub(in crate::session) fn refused(&mut self) {
        self.stats.bad_commands += 1;
    }

    /// Messages of the mailbox that is open were shown, and are security notices.
    pub(in crate::session) fn noticed(&self, uids: &[u32]) {
        if let Some(mailbox) = self.stats.mailbox().filter(|_| !uids.is_empty()) {
            self.ledger.noticed(mailbox.named().name, uids, self.now_ms);
        }
    }

    /// Another mailbox is selected, or none.
    pub(in crate::session) fn selected(
        &mut self,
        mailbox: Option<&MailboxName>,
        for_reading: bool,
        tally: &Tally,
    ) {
        self.stats.selected(mailbox, for_reading, tally.bodies);
    }

    /// The backend has sent data: judged once for all that came at once.
    pub(in crate::session) fn fetched(&mut self, tally: &Tally) -> Result<(), Objection> {
        let bytes = tally.fetched.saturating_sub(self.judged.fetched);
        if bytes == 0 {
            return Ok(());
        }
        let messages = tally.bodies.saturating_sub(self.judged.bodies);
        let fetched = Fetched {
            bytes,
            messages,
            body: tally.body_bytes > self.judged.body_bytes,
        };
        let before = std::mem::replace(&mut self.judged, *tally);
        let judged = self.judge(&Moment::Fetched(&fetched), &before);
        self.ledger.fetched(bytes, messages);
        judged
    }

    /// The session is over.
    pub fn ended(&mut self, reason: EndReason, tally: &Tally) {
        let decisions = self.decide(&Moment::End(reason), tally);
        if !decisions.is_empty() {
            self.told.push(decisions);
        }
    }

    /// Judges a moment, and puts in force what follows.
    fn judge(&mut self, moment: &Moment<'_>, tally: &Tally) -> Result<(), Objection> {
        let decisions = self.decide(moment, tally);
        self.put_in_force(decisions)
    }

    fn put_in_force(&mut self, decisions: Decisions) -> Result<(), Objection> {
        if decisions.is_empty() {
            return Ok(());
        }
        self.take(decisions)
    }

    fn decide(&mut self, moment: &Moment<'_>, tally: &Tally) -> Decisions {
        let rules = self.rules.load();
        let rules = &**rules;
        self.renew(rules);
        let event = moment.event();
        if !self.writes && !rules.looks_at(event) {
            return Decisions::default();
        }
        let mut session = self.stats.facts(tally, self.ledger.is_first_sync(), self.now_ms);
        let parties = (&*self.parties, self.source.as_deref(), self.client.as_deref());
        let mut facts = facts_of(parties, event);
        match moment {
            Moment::Command(command) | Moment::Again(command, ..) => facts.command = Some(command),
            Moment::Fetched(fetched) => facts.fetched = Some(fetched),
            Moment::Appended(appended) => facts.appended = Some(appended),
            Moment::End(reason) => session.end_reason = Some(reason.as_str()),
        }
        facts.session = Some(&session);
        if std::mem::take(&mut self.writes) {
            let changes = |fact: facts::Fact| !fact.events().contains(Event::Login);
            self.written = Some(Record::of(&facts, changes));
        }
        let now = (self.stats.mailbox(), self.parties_changed);
        let counters = (&mut self.counters, self.now_ms);
        match *moment {
            Moment::Again(_, recalled) => self.memo.judge(recalled, now, rules, &facts, counters),
            Moment::Fetched(fetched) => self.memo.judge_fetched(fetched, now, rules, &facts, counters),
            _ => rules.judge(&facts, counters.0, counters.1),
        }
    }

    /// Many clients say only after the login what they are.
    fn identify(&mut self, command: &Command<'_>, bytes: &[u8]) {
        let known = &self.parties.client;
        if let Some(client) = identity::client(command, bytes, known) {
            if let Some(family) = client.family.as_deref() {
                self.ledger.client_is(family);
            }
            if let Some(written) = &mut self.written {
                written.put_client(&client);
            }
            self.client = Some(Box::new(client));
            self.parties_changed = self.parties_changed.wrapping_add(1);
        }
    }

    /// Puts in force what was decided.
    fn take(&mut self, decisions: Decisions) -> Result<(), Objection> {
        self.hold(&decisions);
        let effect = decisions.verdict().effect;
        let text = decisions
            .cause()
            .map(|cause| format!("[NOPERM] Denied by policy ({})", cause.id));
        if self.brake.lets_tell(&decisions, self.now_ms) {
            self.told.push(decisions);
        }
        match effect {
            Effect::Disconnect => Err(Objection::End),
            Effect::Deny => Err(Objection::Deny(
                CommandRefusal::PolicyDenied,
                text.unwrap_or_default(),
            )),
            Effect::Pass | Effect::Throttle | Effect::ReadOnly => Ok(()),
        }
    }
}

/// The facts of a moment, but for the session and what happens; source and client may have become others since the login.
fn facts_of<'a>(
    (parties, source, client): (&'a Parties, Option<&'a Source>, Option<&'a Client>),
    event: Event,
) -> facts::Facts<'a> {
    let mut facts = parties.facts(event);
    facts.source = source.unwrap_or(facts.source);
    facts.client = client.or(facts.client);
    facts
}
