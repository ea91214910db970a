//! The counters of all sources and accounts, and which of them an attempt has to pass.

use std::time::Duration;

use crate::limits::attempts::Refused;
use crate::limits::attempts::RefusedBy;
use crate::limits::attempts::accounts::Accounts;
use crate::limits::attempts::accounts::Slot;
use crate::limits::attempts::options::Options;
use crate::limits::attempts::record::Lane;
use crate::limits::attempts::record::Pair;
use crate::limits::attempts::record::Queue;
use crate::limits::attempts::record::Source;
use crate::limits::attempts::state::Booking;
use crate::limits::attempts::state::Keys;
use crate::limits::attempts::tried::Account;
use crate::limits::bounded::BoundedMap;
use crate::limits::tick::Tick;
use crate::types::Prefix;

/// Sources that find no room share this many by keyed hash. They are spaced like any other, but their failures are not
/// counted: a shared count would shut strangers out for each other's guesses.
pub(super) const SHARED_SOURCES: usize = 4_096;

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) pairs: BoundedMap<(Prefix, u64), Pair>,
    pub(super) prefixes: BoundedMap<Prefix, Source>,
    pub(super) sites: BoundedMap<Prefix, Source>,
    /// Who was tried, by keyed hash of the name.
    pub(super) users: BoundedMap<u64, Account>,
    shared: Box<[Source]>,
    accounts: Accounts,
    /// How often a prefix found no room.
    pub(super) crowded: u64,
}

/// The counters that one attempt passes and books. What does not apply to it is `None`.
pub(super) struct Counters<'a> {
    queue: Queue,
    site: Option<&'a mut Source>,
    prefix: Option<&'a mut Source>,
    /// In place of `prefix`, where that found no room.
    shared: Option<&'a mut Source>,
    account: Option<&'a mut Slot>,
    pair: Option<&'a mut Pair>,
}

/// When it is the attempt's turn: once all its slots are free, or never, where one takes longer than there is patience for it.
pub(super) struct Turn {
    now: Tick,
    start: Tick,
}

impl Turn {
    /// At once, if nothing says otherwise.
    pub(super) fn new(now: Tick) -> Self {
        Self { now, start: now }
    }

    /// When it may be looked at.
    pub(super) fn start(&self) -> Tick {
        self.start
    }

    /// Not before `next`, and not at all if that is further off than its patience.
    fn wait_for(&mut self, next: Tick, patience: Duration, by: RefusedBy) -> Result<(), Refused> {
        if next > self.now.plus(patience) {
            return refuse(by, next.since(self.now));
        }
        self.start = self.start.max(next);
        Ok(())
    }

    /// Not with a source that has had its share of failures; else not before its slot is free at `next`.
    fn pass(
        &mut self,
        next: Tick,
        patience: Duration,
        full_for: Option<Duration>,
        by: RefusedBy,
    ) -> Result<(), Refused> {
        if let Some(wait) = full_for {
            return refuse(by, wait);
        }
        self.wait_for(next, patience, by)
    }
}

impl Tables {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            pairs: BoundedMap::new(capacity),
            prefixes: BoundedMap::new(capacity),
            sites: BoundedMap::new(capacity / 2),
            users: BoundedMap::new(capacity / 2),
            shared: vec![Source::default(); SHARED_SOURCES].into(),
            accounts: Accounts::new(),
            crowded: 0,
        }
    }

    /// The memory of all tables, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let fixed = size_of_val(&*self.shared) + self.accounts.bytes();
        self.pairs.bytes() + self.prefixes.bytes() + self.sites.bytes() + self.users.bytes() + fixed
    }

    /// When an attempt that is no new guess may be looked at; `None` where it is one. The right secret of a moment ago always
    /// may, so that the owner gets in while somebody guesses from the same address; a wrong one of before has to wait; one that
    /// is being looked at takes no slot of its own.
    pub(super) fn repeated(
        &mut self,
        options: &Options,
        keys: &Keys,
        now: Tick,
    ) -> Result<Option<Tick>, Refused> {
        if self.is_right(keys, now) {
            return Ok(Some(now));
        }
        let Some(pair) = self.pairs.get_mut(&keys.pair()) else {
            return Ok(None);
        };
        if pair.is_wrong(keys.guess) {
            if pair.repeat > now {
                return refuse(RefusedBy::Repeat, pair.repeat.since(now));
            }
            pair.repeat = now.plus(options.pair.repeat_spacing);
            return Ok(None);
        }
        Ok(pair.follow(keys.guess, now, options.pair.spacing))
    }

    /// True where the secret was right from there a moment ago.
    pub(super) fn is_right(&self, keys: &Keys, now: Tick) -> bool {
        let pair = || self.pairs.get(&keys.pair());
        keys.elsewhere.is_right || pair().is_some_and(|pair| pair.is_right(keys.secret, now))
    }

    /// Finds the counters that apply and refuses where one objects. The pair is asked first, then from the coarsest to the
    /// finest, and an entry is made only once everything coarser has agreed: what a site has used up makes no entries for its
    /// prefixes, what an address has used up none for the names it tries.
    pub(super) fn counters(
        &mut self,
        options: &Options,
        keys: &Keys,
        now: Tick,
        turn: &mut Turn,
    ) -> Result<Counters<'_>, Refused> {
        let (user, rank) = (keys.user, keys.rank());
        let guessable = keys.lane == Lane::Guess;
        if guessable {
            let untried = Pair::default();
            let pair = self.pairs.get(&keys.pair()).unwrap_or(&untried);
            let full_for = pair.full_for(keys.elsewhere.pair, now, &options.pair);
            let full_for = full_for.filter(|_| !keys.exempt);
            full_for.map_or(Ok(()), |wait| refuse(RefusedBy::Pair, wait))?;
            turn.wait_for(pair.next, options.account_patience, RefusedBy::Pair)?;
        }
        let is_known = self.is_known(keys, now);
        let queue = match keys.lane {
            Lane::AppPassword => Queue::AppPassword,
            Lane::Guess if is_known => Queue::Known,
            Lane::Guess => Queue::Stranger,
        };
        let counted = !keys.exempt;

        let site = keys
            .site
            .filter(|_| counted)
            .and_then(|site| self.sites.entry(site, rank, now));
        if let Some(site) = &site {
            let full_for = site.full_for(user, queue, keys.elsewhere.site, now, &options.site);
            let full_for = full_for.filter(|_| !is_known);
            turn.pass(site.next(queue), options.patience, full_for, RefusedBy::Site)?;
        }
        let prefix = counted
            .then(|| self.prefixes.entry(keys.prefix, rank, now))
            .flatten();
        if let Some(prefix) = &prefix {
            let full_for = prefix.full_for(user, queue, keys.elsewhere.prefix, now, &options.prefix);
            let full_for = full_for.filter(|_| !is_known);
            turn.pass(prefix.next(queue), options.patience, full_for, RefusedBy::Prefix)?;
        }
        let crowded = counted && prefix.is_none();
        let shared = self.shared.get_mut(keys.shared_source).filter(|_| crowded);
        if let Some(shared) = &shared {
            self.crowded = self.crowded.saturating_add(1);
            turn.wait_for(shared.next(queue), options.patience, RefusedBy::Prefix)?;
        }
        let account = (queue == Queue::Stranger)
            .then(|| self.accounts.of(user))
            .flatten();
        if let Some(slot) = &account {
            turn.wait_for(slot.next(), options.account_patience, RefusedBy::Account)?;
        }
        let pair = self.pairs.entry(keys.pair(), rank, now);
        Ok(Counters {
            queue,
            site,
            prefix,
            shared,
            account,
            pair,
        })
    }

    /// True where the user has logged in from there before.
    fn is_known(&self, keys: &Keys, now: Tick) -> bool {
        let is_friend = |source: &Source| source.is_friend(keys.user, now);
        keys.known || self.prefixes.get(&keys.prefix).is_some_and(is_friend)
    }
}

impl Counters<'_> {
    /// Takes all slots at `start`; of the account's, those that are this replica's of so many.
    pub(super) fn take(self, options: &Options, replicas: u32, keys: &Keys, start: Tick) -> Booking {
        let queue = self.queue;
        let held = queue == Queue::Stranger;
        let booking = Booking {
            start,
            pair: self.pair.is_some() && keys.lane == Lane::Guess,
            prefix: self.prefix.is_some() && held,
            site: self.site.is_some() && held,
        };
        for (source, options) in [(self.site, &options.site), (self.prefix, &options.prefix)] {
            if let Some(source) = source {
                source.take(queue, start, options);
                if held {
                    source.hold();
                }
            }
        }
        if let Some(shared) = self.shared {
            shared.take(queue, start, &options.prefix);
        }
        if let Some(slot) = self.account {
            let spacing = options.account_spacing.saturating_mul(replicas);
            slot.take(keys.user, start.plus(spacing));
        }
        if let Some(pair) = self.pair {
            pair.take_off(keys.guess, start, keys.lane, options.pair.spacing);
        }
        booking
    }
}

fn refuse<T>(by: RefusedBy, retry_after: Duration) -> Result<T, Refused> {
    Err(Refused { by, retry_after })
}
