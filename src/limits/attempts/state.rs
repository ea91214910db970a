//! The counters of all sources and accounts, and the two things done with them: book a guess, settle it.

use std::time::Duration;

use crate::limits::attempts::Refused;
use crate::limits::attempts::RefusedBy;
use crate::limits::attempts::options::Options;
use crate::limits::attempts::record::Lane;
use crate::limits::attempts::record::Pair;
use crate::limits::attempts::record::Source;
use crate::limits::bounded::BoundedMap;
use crate::limits::bounded::Rank;
use crate::limits::tick::Tick;
use crate::types::Prefix;

/// Accounts share this many slots by keyed hash: no flood of names can fill them or push one out, and nobody can choose
/// whose slot to hit without naming the account.
pub(super) const ACCOUNT_SLOTS: usize = 65_536;

/// Sources that find no room share this many by keyed hash. They are spaced like any other, but their failures are not
/// counted: a shared count would shut strangers out for each other's guesses.
pub(super) const SHARED_SOURCES: usize = 4_096;

/// The limits in force and everything that is counted.
#[derive(Debug)]
pub(super) struct State {
    pub(super) options: Options,
    pub(super) tables: Tables,
}

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) pairs: BoundedMap<(Prefix, u64), Pair>,
    pub(super) prefixes: BoundedMap<Prefix, Source>,
    pub(super) sites: BoundedMap<Prefix, Source>,
    shared: Box<[Source]>,
    accounts: Box<[Tick]>,
    /// How often a prefix found no room.
    pub(super) crowded: u64,
}

/// One attempt as the counters see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys {
    pub(super) prefix: Prefix,
    /// IPv6 only: an IPv4 address is its own site.
    pub(super) site: Option<Prefix>,
    /// Keyed hash of the user's name, never zero.
    pub(super) user: u64,
    pub(super) account_slot: usize,
    pub(super) shared_source: usize,
    /// Keyed hash of the secret, never zero.
    pub(super) secret: u64,
    /// The same with the time step mixed in: what makes it one guess.
    pub(super) guess: u64,
    pub(super) lane: Lane,
    pub(super) known: bool,
    pub(super) exempt: bool,
}

impl Keys {
    fn pair(&self) -> (Prefix, u64) {
        (self.prefix, self.user)
    }

    fn rank(&self) -> Rank {
        match (self.known, self.site) {
            (true, _) => Rank::Known,
            (false, None) => Rank::Scarce,
            (false, Some(_)) => Rank::Plentiful,
        }
    }
}

/// An attempt that was let through: when it may be looked at, and which counters hold it as outstanding.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Booking {
    pub(super) start: Tick,
    pair: bool,
    prefix: bool,
    site: bool,
}

/// The counters that one attempt has to pass. What does not apply to it is `None`.
struct Counters<'a> {
    site: Option<&'a mut Source>,
    prefix: Option<&'a mut Source>,
    /// In place of `prefix`, where that found no room.
    shared: Option<&'a mut Source>,
    pair: Option<&'a mut Pair>,
    account: Option<&'a mut Tick>,
}

impl State {
    pub(super) fn new(options: Options) -> Self {
        Self {
            tables: Tables::new(options.capacity),
            options,
        }
    }

    pub(super) fn set_options(&mut self, options: Options) {
        let tables = &mut self.tables;
        tables.pairs.set_capacity(options.capacity);
        tables.prefixes.set_capacity(options.capacity);
        tables.sites.set_capacity(options.capacity / 2);
        self.options = options;
    }

    /// Takes the slots that the attempt needs, all of them or none.
    pub(super) fn book(&mut self, keys: &Keys, now: Tick) -> Result<Booking, Refused> {
        let repeated = self.tables.repeated(&self.options, keys, now)?;
        if let Some(start) = repeated {
            return Ok(Booking {
                start,
                ..Booking::default()
            });
        }
        let counters = self.tables.counters(&self.options, keys, now)?;
        let (start, by) = counters.slot(keys.lane, now);
        let wait = start.since(now);
        refuse_for((wait > self.options.patience).then_some(wait), by)?;
        Ok(counters.take(&self.options, keys, start))
    }

    /// Gives the places back that a settled attempt held.
    pub(super) fn release(&mut self, keys: &Keys, booking: &Booking) {
        let tables = &mut self.tables;
        if booking.pair
            && let Some(pair) = tables.pairs.get_mut(&keys.pair())
        {
            pair.land();
        }
        if booking.prefix
            && let Some(prefix) = tables.prefixes.get_mut(&keys.prefix)
        {
            prefix.land();
        }
        let site = keys.site.filter(|_| booking.site);
        if let Some(site) = site.and_then(|site| tables.sites.get_mut(&site)) {
            site.land();
        }
    }

    /// Counts a wrong secret, unless it was counted before.
    pub(super) fn failed(&mut self, keys: &Keys, now: Tick) -> Failure {
        let options = &self.options;
        let tables = &mut self.tables;
        if let Some(pair) = tables.pairs.entry(keys.pair(), keys.rank(), now) {
            pair.useful_until = now.plus(options.memory);
            if !pair.remember_wrong(keys.guess, keys.secret) {
                return Failure::default();
            }
            if keys.lane == Lane::Guess && !keys.exempt {
                pair.penalise(now, &options.pair);
            }
        }
        if keys.exempt {
            return Failure {
                is_new: true,
                ..Failure::default()
            };
        }
        if let Some(site) = keys.site.and_then(|site| tables.sites.entry(site, keys.rank(), now)) {
            site.penalise(now, &options.site);
        }
        let Some(prefix) = tables.prefixes.entry(keys.prefix, keys.rank(), now) else {
            return Failure {
                is_new: true,
                ..Failure::default()
            };
        };
        prefix.penalise(now, &options.prefix);
        let of_prefix = prefix.failures(now, &options.prefix);
        let enough = options
            .ban_after
            .is_some_and(|limit| of_prefix >= limit.min(options.prefix.failures));
        Failure {
            is_new: true,
            of_prefix,
            // Somebody logs in from there: a ban would hit the wrong person.
            ban: enough && !keys.known && !prefix.has_friends(now),
        }
    }

    /// Forgives the pair, and gives the source credit. What other users of the source have failed at stays counted: a guesser
    /// with an account of their own must not clear their record by using it.
    pub(super) fn succeeded(&mut self, keys: &Keys, now: Tick) {
        let memory = self.options.memory;
        let tables = &mut self.tables;
        if let Some(pair) = tables.pairs.entry(keys.pair(), Rank::Known, now) {
            pair.useful_until = now.plus(memory);
            pair.remember_right(keys.secret, now, memory);
        }
        if keys.exempt {
            return;
        }
        let site = keys.site;
        let sources = [
            tables.prefixes.entry(keys.prefix, Rank::Known, now),
            site.and_then(|site| tables.sites.entry(site, Rank::Known, now)),
        ];
        for source in sources.into_iter().flatten() {
            source.befriend(keys.user, now, memory);
        }
    }
}

/// What a wrong secret came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Failure {
    pub(super) is_new: bool,
    pub(super) of_prefix: u32,
    pub(super) ban: bool,
}

impl Tables {
    fn new(capacity: usize) -> Self {
        Self {
            pairs: BoundedMap::new(capacity),
            prefixes: BoundedMap::new(capacity),
            sites: BoundedMap::new(capacity / 2),
            shared: vec![Source::default(); SHARED_SOURCES].into(),
            accounts: vec![Tick::default(); ACCOUNT_SLOTS].into(),
            crowded: 0,
        }
    }

    /// The memory of all tables, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let fixed = size_of_val(&*self.shared) + size_of_val(&*self.accounts);
        self.pairs.bytes() + self.prefixes.bytes() + self.sites.bytes() + fixed
    }

    /// When an attempt that is no new guess may be looked at; `None` where it is one. The right secret of a moment ago always
    /// may, so that the owner gets in while somebody guesses from the same address; the guess that is being looked at goes
    /// along with it; a wrong one of before has to wait.
    fn repeated(&mut self, options: &Options, keys: &Keys, now: Tick) -> Result<Option<Tick>, Refused> {
        let Some(pair) = self.pairs.get_mut(&keys.pair()) else {
            return Ok(None);
        };
        if pair.is_right(keys.secret, now) {
            return Ok(Some(now));
        }
        if let Some(start) = pair.in_flight(keys.guess, now, options.pair.spacing) {
            return Ok(Some(start));
        }
        if pair.is_wrong(keys.guess) {
            let wait = pair.repeat.since(now);
            refuse_for((!wait.is_zero()).then_some(wait), RefusedBy::Repeat)?;
            pair.repeat = now.plus(options.pair.repeat_spacing);
        }
        Ok(None)
    }

    /// Finds the counters that apply, from the coarsest to the finest, and refuses where one has had its share: what a site
    /// has used up makes no entries for its prefixes.
    fn counters(&mut self, options: &Options, keys: &Keys, now: Tick) -> Result<Counters<'_>, Refused> {
        let is_friend = |source: &Source| source.is_friend(keys.user, now);
        let trusted = keys.known || self.prefixes.get(&keys.prefix).is_some_and(is_friend);
        let as_source = !trusted && !keys.exempt;
        let guessable = keys.lane == Lane::Guess;

        let site = keys
            .site
            .filter(|_| as_source)
            .and_then(|site| self.sites.entry(site, keys.rank(), now));
        let wait = site
            .as_ref()
            .and_then(|site| site.full_for(keys.user, now, &options.site));
        refuse_for(wait, RefusedBy::Site)?;

        let prefix = as_source
            .then(|| self.prefixes.entry(keys.prefix, keys.rank(), now))
            .flatten();
        let wait = prefix
            .as_ref()
            .and_then(|prefix| prefix.full_for(keys.user, now, &options.prefix));
        refuse_for(wait, RefusedBy::Prefix)?;
        let crowded = as_source && prefix.is_none();
        self.crowded = self.crowded.saturating_add(u64::from(crowded));

        let pair = self.pairs.entry(keys.pair(), keys.rank(), now);
        let wait = pair
            .as_ref()
            .filter(|_| guessable && !keys.exempt)
            .and_then(|pair| pair.full_for(now, &options.pair));
        refuse_for(wait, RefusedBy::Pair)?;

        Ok(Counters {
            site,
            prefix,
            shared: self.shared.get_mut(keys.shared_source).filter(|_| crowded),
            pair,
            account: self
                .accounts
                .get_mut(keys.account_slot)
                .filter(|_| guessable && !trusted),
        })
    }
}

impl Counters<'_> {
    /// The first time at which all slots are free, and whose is the last: the finest, where several are.
    fn slot(&self, lane: Lane, now: Tick) -> (Tick, RefusedBy) {
        let source = |source: &Option<&mut Source>| source.as_ref().map(|source| source.next(lane));
        let pair = self.pair.as_ref().filter(|_| lane == Lane::Guess);
        let slots = [
            (self.account.as_ref().map(|next| **next), RefusedBy::Account),
            (source(&self.site), RefusedBy::Site),
            (source(&self.shared), RefusedBy::Prefix),
            (source(&self.prefix), RefusedBy::Prefix),
            (pair.map(|pair| pair.next), RefusedBy::Pair),
        ];
        slots
            .into_iter()
            .filter_map(|(next, by)| Some((next?.max(now), by)))
            .max_by_key(|(next, _)| *next)
            .unwrap_or((now, RefusedBy::Pair))
    }

    /// Takes all slots at `start`.
    fn take(self, options: &Options, keys: &Keys, start: Tick) -> Booking {
        let booking = Booking {
            start,
            pair: self.pair.is_some() && keys.lane == Lane::Guess,
            prefix: self.prefix.is_some(),
            site: self.site.is_some(),
        };
        if let Some(site) = self.site {
            site.take(keys.lane, start, &options.site);
            site.hold();
        }
        if let Some(prefix) = self.prefix {
            prefix.take(keys.lane, start, &options.prefix);
            prefix.hold();
        }
        if let Some(shared) = self.shared {
            shared.take(keys.lane, start, &options.prefix);
        }
        if let Some(pair) = self.pair {
            pair.take_off(keys.guess, start, keys.lane, options.pair.spacing);
        }
        if let Some(next) = self.account {
            *next = start.plus(options.account_spacing);
        }
        booking
    }
}

/// Refuses where there is something to wait for.
fn refuse_for(wait: Option<Duration>, by: RefusedBy) -> Result<(), Refused> {
    wait.map_or(Ok(()), |retry_after| Err(Refused { by, retry_after }))
}
