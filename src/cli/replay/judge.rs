//! Recorded events become the moments that rules are judged at, on the events' own clock.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::cli::replay::recorded::Recorded;
use crate::cli::replay::recorded::What;
use crate::cli::replay::sessions::Session;
use crate::cli::replay::sessions::Sessions;
use crate::cli::replay::tally::Tally;
use crate::policy::Counters;
use crate::policy::engine::Engine;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Lookup;
use crate::policy::facts::Measure;
use crate::policy::facts::Record;
use crate::policy::facts::Value;
use crate::policy::rules::Mode;
use crate::policy::rules::Rule;
use crate::policy::rules::RuleSet;
use crate::types::Networks;
use crate::types::SessionId;

/// Most counters: as many as the proxy has.
const MAX_COUNTERS: usize = 1_000_000;

/// Most messages of one command that are judged one by one, as in a session.
const MAX_JUDGED: u64 = 10_000;

/// How often counters that no longer count are given back.
const SWEEP_MS: u64 = 60_000;

/// How far events may be out of order before that is worth a word: those of one process are nearly in order.
const SLACK_MS: u64 = 60_000;

/// One moment as rules see it.
struct Moment<'a> {
    event: Event,
    own: &'a Record,
    parties: &'a Record,
    /// What the recording says that rules knew: what is absent is false, zero or empty.
    own_is_complete: bool,
    parties_are_complete: bool,
}

impl Lookup for Moment<'_> {
    fn event(&self) -> Event {
        self.event
    }

    fn value(&self, fact: Fact) -> Option<Value<'_>> {
        if !fact.events().contains(self.event) {
            return None;
        }
        let is_complete = if fact.events().contains(Event::Login) {
            self.parties_are_complete
        } else {
            self.own_is_complete
        };
        self.own
            .value(fact)
            .or_else(|| self.parties.value(fact))
            .or_else(|| fact.usual().filter(|_| is_complete))
    }

    /// What users do on an average day is not recorded.
    fn baseline(&self, _: Measure, _: u16) -> Option<u64> {
        None
    }
}

/// Judges what was recorded.
pub(super) struct Replay {
    engine: Engine,
    sets: Vec<(Arc<str>, Networks)>,
    sessions: Sessions,
    now_ms: u64,
    swept_ms: u64,
    pub(super) tally: Tally,
    /// Facts that rules ask for at an event and that were not known at any so far.
    missing: BTreeMap<Event, BTreeSet<Fact>>,
}

impl Replay {
    pub(super) fn new(set: RuleSet, sets: Vec<(Arc<str>, Networks)>) -> Self {
        let mut missing: BTreeMap<Event, BTreeSet<Fact>> = BTreeMap::new();
        for rule in &set.rules {
            missing.entry(rule.on).or_default().extend(rule.facts());
        }
        Self {
            engine: Engine::new(set, Arc::new(Counters::new(MAX_COUNTERS, 0))).noting_all(),
            sets,
            sessions: Sessions::default(),
            now_ms: 0,
            swept_ms: 0,
            tally: Tally::default(),
            missing,
        }
    }

    /// The rules, in the order of their files.
    pub(super) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.engine.rules()
    }

    /// Whether a rule acts in this replay.
    pub(super) fn mode_of(&self, rule: &Rule) -> Mode {
        if self.engine.is_shadow() {
            Mode::Shadow
        } else {
            rule.mode
        }
    }

    /// Facts that a rule asks for and that were never known.
    pub(super) fn unknown(&self, rule: &Rule) -> Vec<Fact> {
        let missing = self.missing.get(&rule.on);
        let asked = rule.facts().into_iter();
        asked
            .filter(|fact| missing.is_some_and(|missing| missing.contains(fact)))
            .collect()
    }

    /// Sessions that were forgotten for want of room.
    pub(super) fn forgotten(&self) -> u64 {
        self.sessions.forgotten
    }

    /// Judges one event.
    pub(super) fn take(&mut self, recorded: Recorded) {
        self.tell_time(recorded.at_ms);
        let Some(id) = recorded.session else {
            if let What::Lost(events) = recorded.what {
                self.tally.lost = self.tally.lost.saturating_add(events);
            }
            return;
        };
        match recorded.what.clone() {
            What::Login => self.login(id, recorded),
            What::Command {
                fetched,
                appended,
                untold,
            } => {
                self.tally.untold = self.tally.untold.saturating_add(untold);
                self.command(id, recorded, fetched, appended);
            }
            What::SessionEnd { untold } => {
                self.tally.untold = self.tally.untold.saturating_add(untold);
                self.in_session(id, Event::SessionEnd, &recorded.facts, recorded.is_complete);
                self.sessions.end(id);
            }
            What::ConnectionEnd => {
                self.connect(id, &recorded.facts);
                self.sessions.end(id);
            }
            What::Reported(rule) => self.tally.reported(&rule),
            What::Lost(_) | What::Other => {}
        }
    }

    /// The clock is the events': it never goes back.
    fn tell_time(&mut self, at_ms: u64) {
        if at_ms.saturating_add(SLACK_MS) < self.now_ms {
            self.tally.out_of_order = self.tally.out_of_order.saturating_add(1);
        }
        self.now_ms = self.now_ms.max(at_ms);
        self.tally.seen(self.now_ms);
        if self.now_ms.saturating_sub(self.swept_ms) >= SWEEP_MS {
            self.swept_ms = self.now_ms;
            self.engine.counters().sweep(self.now_ms);
        }
    }

    /// The first that is heard of a connection before its session: it has come.
    fn connect(&mut self, id: SessionId, facts: &Record) {
        let mut facts = facts.clone();
        self.name_networks(&mut facts);
        let session = self.sessions.heard(id);
        if !std::mem::replace(&mut session.has_begun, true) {
            self.judge(id, Event::Connect, &facts, &facts, (false, false));
        }
    }

    fn login(&mut self, id: SessionId, recorded: Recorded) {
        self.connect(id, &recorded.facts);
        let Recorded {
            mut facts,
            is_complete,
            ..
        } = recorded;
        self.name_networks(&mut facts);
        self.judge(id, Event::Login, &facts, &facts, (is_complete, is_complete));
        let session = self.sessions.heard(id);
        session.parties = facts;
        session.is_complete = is_complete;
    }

    fn command(
        &mut self,
        id: SessionId,
        recorded: Recorded,
        fetched: Option<(u64, u64, bool)>,
        appended: Option<(u64, u64)>,
    ) {
        let Recorded {
            facts, is_complete, ..
        } = recorded;
        // Rules never saw it: it was refused before.
        if is_complete {
            self.in_session(id, Event::Command, &facts, true);
        }
        if let Some((bytes, messages, body)) = fetched {
            let mut facts = facts.clone();
            set(&mut facts, Fact::FetchedBytes, &bytes.to_string());
            set(&mut facts, Fact::FetchedMessages, &messages.to_string());
            set(&mut facts, Fact::FetchedBody, &body.to_string());
            self.in_session(id, Event::Fetched, &facts, is_complete);
        }
        if let Some((messages, bytes)) = appended {
            self.appended(id, &facts, messages.max(1), bytes);
        }
        self.identify(id, &facts);
    }

    /// Each message is one, also of those that came in one command.
    fn appended(&mut self, id: SessionId, command: &Record, messages: u64, bytes: u64) {
        let mut facts = command.clone();
        set(&mut facts, Fact::AppendedSize, &(bytes / messages).to_string());
        let mailbox = text_of(command, Fact::CommandMailbox);
        set(
            &mut facts,
            Fact::AppendedIsInbox,
            &(mailbox == Some("INBOX")).to_string(),
        );
        for (fact, of) in [
            (Fact::AppendedMailbox, Fact::CommandMailbox),
            (Fact::AppendedMailboxRole, Fact::CommandMailboxRole),
        ] {
            if let Some(text) = text_of(command, of) {
                set(&mut facts, fact, text);
            }
        }
        for number in 0..messages.min(MAX_JUDGED) {
            if number > 0 {
                self.in_session(id, Event::Command, command, true);
            }
            self.in_session(id, Event::Appended, &facts, true);
        }
    }

    /// What a client says of itself in a session holds from then on.
    fn identify(&mut self, id: SessionId, facts: &Record) {
        if text_of(facts, Fact::CommandVerb) != Some("ID") || text_of(facts, Fact::ClientFamily).is_none() {
            return;
        }
        let session = self.sessions.heard(id);
        for fact in [
            Fact::ClientName,
            Fact::ClientVersion,
            Fact::ClientOs,
            Fact::ClientVendor,
            Fact::ClientFamily,
        ] {
            if let Some(text) = text_of(facts, fact) {
                set(&mut session.parties, fact, text);
            }
        }
    }

    /// Judges a moment of a session that has begun, here or before the recording.
    fn in_session(&mut self, id: SessionId, event: Event, facts: &Record, is_complete: bool) {
        let session = self.sessions.heard(id);
        session.has_begun = true;
        let parties = session.parties.clone();
        let parties_are_complete = session.is_complete;
        self.judge(id, event, facts, &parties, (is_complete, parties_are_complete));
    }

    fn judge(
        &mut self,
        id: SessionId,
        event: Event,
        own: &Record,
        parties: &Record,
        (own_is_complete, parties_are_complete): (bool, bool),
    ) {
        let moment = Moment {
            event,
            own,
            parties,
            own_is_complete,
            parties_are_complete,
        };
        if let Some(missing) = self.missing.get_mut(&event) {
            missing.retain(|fact| moment.value(*fact).is_none());
        }
        let Session { counters, .. } = self.sessions.heard(id);
        let decisions = self.engine.judge(&moment, counters, self.now_ms);
        self.tally.judged(event, &decisions, &moment, self.now_ms);
    }

    /// The names of the configured networks that contain the address, where the recording does not say.
    fn name_networks(&self, facts: &mut Record) {
        let Some(Value::Address(ip)) = facts.value(Fact::SourceIp) else {
            return;
        };
        if self.sets.is_empty() || facts.value(Fact::SourceNetworks).is_some() {
            return;
        }
        let contains = |ip: IpAddr| self.sets.iter().filter(move |(_, set)| set.contains(ip));
        let names = contains(ip).map(|(name, _)| Arc::clone(name)).collect();
        // The fact is a list.
        let _ = facts.set_list(Fact::SourceNetworks, names);
    }
}

fn set(record: &mut Record, fact: Fact, text: &str) {
    // Whoever calls gives a value of the fact's kind.
    let _ = record.set(fact, text);
}

fn text_of(record: &Record, fact: Fact) -> Option<&str> {
    match record.value(fact) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}
