//! What is done with the counters: an attempt is booked, then settled.

use crate::limits::attempts::Refused;
use crate::limits::attempts::elsewhere::Count;
use crate::limits::attempts::elsewhere::Elsewhere;
use crate::limits::attempts::elsewhere::Told;
use crate::limits::attempts::options::Options;
use crate::limits::attempts::record::Lane;
use crate::limits::attempts::tables::Tables;
use crate::limits::attempts::tables::Turn;
use crate::limits::bounded::Rank;
use crate::limits::tick::Tick;
use crate::types::Prefix;

/// The limits in force and everything that is counted.
#[derive(Debug)]
pub(super) struct State {
    pub(super) options: Options,
    pub(super) tables: Tables,
    /// How many replicas there are, this one included.
    pub(super) replicas: u32,
}

/// One attempt as the counters see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys {
    pub(super) prefix: Prefix,
    /// IPv6 only: an IPv4 address is its own site.
    pub(super) site: Option<Prefix>,
    /// Keyed hash of the user's name, never zero.
    pub(super) user: u64,
    /// Keyed hash of the network, of IPv6 of the site; never zero.
    pub(super) network: u32,
    pub(super) shared_source: usize,
    /// Keyed hash of the secret, never zero.
    pub(super) secret: u64,
    /// The same with the time step mixed in: what makes it one guess.
    pub(super) guess: u64,
    pub(super) lane: Lane,
    pub(super) known: bool,
    pub(super) exempt: bool,
    /// What replicas have counted together.
    pub(super) elsewhere: Elsewhere,
}

impl Keys {
    /// The key of the (prefix, user) pair.
    pub(super) fn pair(&self) -> (Prefix, u64) {
        (self.prefix, self.user)
    }

    /// How much room the attempt may take up.
    pub(super) fn rank(&self) -> Rank {
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
    pub(super) pair: bool,
    pub(super) prefix: bool,
    pub(super) site: bool,
}

impl State {
    pub(super) fn new(options: Options) -> Self {
        Self {
            tables: Tables::new(options.capacity),
            options,
            replicas: 1,
        }
    }

    pub(super) fn set_options(&mut self, options: Options) {
        let tables = &mut self.tables;
        tables.pairs.set_capacity(options.capacity);
        tables.prefixes.set_capacity(options.capacity);
        tables.sites.set_capacity(options.capacity / 2);
        tables.users.set_capacity(options.capacity / 2);
        self.options = options;
    }

    /// Takes the slots that the attempt needs, all of them or none.
    pub(super) fn book(&mut self, keys: &Keys, now: Tick) -> Result<Booking, Refused> {
        if let Some(start) = self.tables.repeated(&self.options, keys, now)? {
            return Ok(Booking {
                start,
                ..Booking::default()
            });
        }
        let mut turn = Turn::new(now);
        let counters = self.tables.counters(&self.options, keys, now, &mut turn)?;
        Ok(counters.take(&self.options, self.replicas, keys, turn.start()))
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
        let mut failure = Failure {
            is_new: true,
            ..Failure::default()
        };
        if let Some(pair) = tables.pairs.entry(keys.pair(), keys.rank(), now) {
            pair.useful_until = now.plus(options.memory);
            let has_failed = pair.has_failed();
            if !pair.remember_wrong(keys.guess, keys.secret) {
                return Failure::default();
            }
            if keys.lane == Lane::Guess && !keys.exempt {
                pair.penalise(now, &options.pair);
                failure.told.pair = has_failed.then(|| Count::of_pair(&options.pair));
            }
        }
        if let Some(account) = tables.users.entry(keys.user, keys.rank(), now) {
            account.failed(keys.network, now);
        }
        if keys.exempt {
            return failure;
        }
        // Those that cannot be guessed may be many at once: they fill the limit, and owe nothing beyond it.
        let unguessable = keys.lane == Lane::AppPassword;
        let site = keys
            .site
            .and_then(|site| tables.sites.entry(site, keys.rank(), now));
        if let Some(site) = site
            && !(unguessable && site.is_full(keys.user, keys.elsewhere.site, now, &options.site))
        {
            site.penalise(now, &options.site);
            failure.told.site = Some(Count::of_source(&options.site));
        }
        let Some(prefix) = tables.prefixes.entry(keys.prefix, keys.rank(), now) else {
            return failure;
        };
        if unguessable && prefix.is_full(keys.user, keys.elsewhere.prefix, now, &options.prefix) {
            return failure;
        }
        prefix.penalise(now, &options.prefix);
        failure.told.prefix = Some(Count::of_source(&options.prefix));
        // Those elsewhere were heard of before this one.
        let elsewhere = keys.elsewhere.prefix.max(now).plus(options.prefix.step());
        failure.of_prefix = prefix.failures(elsewhere, now, &options.prefix);
        let enough = options
            .ban_after
            .is_some_and(|limit| failure.of_prefix >= limit.min(options.prefix.failures));
        // Where somebody logs in from there a ban would hit the wrong person.
        failure.ban = enough && !keys.known && !keys.elsewhere.is_used && !prefix.has_friends(now);
        failure
    }

    /// Forgives the pair, and gives the source credit. What other users of the source have failed at stays counted: a guesser
    /// with an account of their own must not clear their record by using it. True where the pair was forgiven.
    pub(super) fn succeeded(&mut self, keys: &Keys, now: Tick) -> bool {
        let memory = self.options.memory;
        let tables = &mut self.tables;
        let mut is_forgiven = false;
        if let Some(pair) = tables.pairs.entry(keys.pair(), Rank::Known, now) {
            pair.useful_until = now.plus(memory);
            is_forgiven = pair.remember_right(keys.secret, keys.lane, now, memory);
        }
        if let Some(account) = tables.users.get_mut(&keys.user) {
            account.succeeded();
        }
        if keys.exempt {
            return is_forgiven;
        }
        let site = keys.site;
        let sources = [
            tables.prefixes.entry(keys.prefix, Rank::Known, now),
            site.and_then(|site| tables.sites.entry(site, Rank::Known, now)),
        ];
        for source in sources.into_iter().flatten() {
            source.befriend(keys.user, now, memory);
        }
        is_forgiven
    }
}

/// What a wrong secret came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Failure {
    pub(super) is_new: bool,
    pub(super) of_prefix: u32,
    pub(super) ban: bool,
    pub(super) told: Told,
}
