//! Connections of one source: how fast they come, how many there are at once, and how many of those have not logged in.
//!
//! A place is held by a [`ConnectionPermit`] and given back when it is dropped, however the connection ends; nothing else
//! changes the counts, so none can leak (the connection slot of a peer did, on each rejected connection).

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;
use std::time::Instant;

use crate::limits::rate::Rate;
use crate::limits::rate::Rates;
use crate::limits::tick::Origin;
use crate::limits::tick::Tick;
use crate::types::EndReason;
use crate::types::Networks;
use crate::types::Prefix;

/// What one prefix, or one site, may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// New connections per time; `None` is no limit.
    pub rate: Option<Rate>,
    /// Connections at once.
    pub open: u32,
    /// Of those, connections that have not logged in: they cost a stranger nothing.
    pub waiting: u32,
}

/// The limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// For each IPv4 address and IPv6 /64. The default lets an office of a hundred people with five connections each in.
    pub prefix: Share,
    /// For each IPv6 /48, which one customer can fill with 65,536 prefixes.
    pub site: Share,
    /// Probes and trusted proxies: never limited, never counted.
    pub exempt: Networks,
    /// How many prefixes' rates are remembered, for each family.
    pub capacity: usize,
}

impl Default for Options {
    fn default() -> Self {
        let rate =
            |burst, every| NonZeroU32::new(burst).map(|burst| Rate::new(burst, Duration::from_millis(every)));
        Self {
            prefix: Share {
                rate: rate(200, 100),
                open: 500,
                waiting: 100,
            },
            site: Share {
                rate: rate(800, 25),
                open: 2_000,
                waiting: 400,
            },
            exempt: Networks::default(),
            capacity: 200_000,
        }
    }
}

/// All sources' connections.
pub struct Connections {
    origin: Origin,
    limits: RwLock<Limits>,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Limits {
    options: Options,
    v4: Rates,
    v6: Rates,
    sites: Rates,
}

/// Bounded by the connections there are: who has none has no entry.
#[derive(Debug, Default)]
struct Counts {
    prefixes: HashMap<Prefix, Count>,
    sites: HashMap<Prefix, Count>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    open: u32,
    waiting: u32,
}

/// What the counters hold, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Sources with a connection open.
    pub sources: usize,
    /// Sources whose rate is remembered.
    pub rates: usize,
    /// Memory of the remembered rates, in bytes.
    pub bytes: usize,
}

impl Connections {
    /// Nobody is connected yet. `now` is what later instants are measured from.
    #[must_use]
    pub fn new(options: Options, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            origin: Origin::new(now),
            limits: RwLock::new(Limits::new(options)),
            counts: Mutex::default(),
        })
    }

    /// Puts new limits in force. Who is connected stays so; the rates start anew.
    pub fn set_options(&self, options: Options) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = Limits::new(options);
    }

    /// Takes a place for a new connection, which has not logged in.
    ///
    /// # Errors
    /// [`EndReason::ConnectionRate`] or [`EndReason::ConnectionLimit`]. A connection that is refused for the one counts towards
    /// neither; one that is refused for the other has counted towards the rate.
    pub fn admit(self: &Arc<Self>, ip: IpAddr, now: Instant) -> Result<ConnectionPermit, EndReason> {
        let limits = self.limits.read().unwrap_or_else(PoisonError::into_inner);
        let place = if limits.options.exempt.contains(ip) {
            None
        } else {
            let place = Place::of(ip);
            if !limits.admit(place, self.origin.tick(now)) {
                return Err(EndReason::ConnectionRate);
            }
            self.counts().open(place, &limits.options)?;
            Some(place)
        };
        Ok(ConnectionPermit {
            connections: Arc::clone(self),
            place,
            waiting: true,
        })
    }

    /// Forgets rates of prefixes that have been quiet. To be called every half minute or so.
    pub fn sweep(&self, now: Instant) {
        let now = self.origin.tick(now);
        let limits = self.limits.read().unwrap_or_else(PoisonError::into_inner);
        for rates in [&limits.v4, &limits.v6, &limits.sites] {
            rates.sweep(now);
        }
    }

    /// What the counters hold.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let limits = self.limits.read().unwrap_or_else(PoisonError::into_inner);
        let rates = [&limits.v4, &limits.v6, &limits.sites];
        Usage {
            sources: self.counts().prefixes.len(),
            rates: rates.iter().map(|rates| rates.len()).sum(),
            bytes: rates.iter().map(|rates| rates.bytes()).sum(),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is connected is for the session list, not for debug output.
impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

impl Limits {
    fn new(options: Options) -> Self {
        Self {
            v4: Rates::new(options.prefix.rate, options.capacity),
            v6: Rates::new(options.prefix.rate, options.capacity),
            sites: Rates::new(options.site.rate, options.capacity),
            options,
        }
    }

    /// The site comes first: once it has had its share, its prefixes get no entries.
    fn admit(&self, place: Place, now: Tick) -> bool {
        match place.site {
            Some(site) => self.sites.admit(site, now) && self.v6.admit(place.prefix, now),
            None => self.v4.admit(place.prefix, now),
        }
    }
}

/// Where a connection is counted.
#[derive(Debug, Clone, Copy)]
struct Place {
    prefix: Prefix,
    /// IPv6 only: an IPv4 address is its own site.
    site: Option<Prefix>,
}

impl Place {
    fn of(ip: IpAddr) -> Self {
        let prefix = Prefix::of(ip);
        let site = ip.to_canonical().is_ipv6().then(|| prefix.site());
        Self { prefix, site }
    }
}

impl Counts {
    fn open(&mut self, place: Place, options: &Options) -> Result<(), EndReason> {
        let site = place.site.and_then(|site| self.sites.get(&site));
        let fits = has_room(self.prefixes.get(&place.prefix), options.prefix) && has_room(site, options.site);
        if !fits {
            return Err(EndReason::ConnectionLimit);
        }
        self.change(place, |count| {
            count.open += 1;
            count.waiting += 1;
        });
        Ok(())
    }

    /// Changes the counts of the prefix and of its site alike, and forgets them at zero.
    fn change(&mut self, place: Place, by: impl Fn(&mut Count)) {
        let site = place.site.map(|site| (&mut self.sites, site));
        for (map, key) in std::iter::once((&mut self.prefixes, place.prefix)).chain(site) {
            let count = map.entry(key).or_default();
            by(count);
            if count.open == 0 {
                map.remove(&key);
            }
            if map.capacity() / 8 > map.len().max(512) {
                map.shrink_to(map.len() * 2);
            }
        }
    }
}

fn has_room(count: Option<&Count>, share: Share) -> bool {
    let count = count.copied().unwrap_or_default();
    count.open < share.open && count.waiting < share.waiting
}

/// A connection's place among those of its source; dropping it gives the place back.
#[must_use = "the place is given back when the permit is dropped"]
#[derive(Debug)]
pub struct ConnectionPermit {
    connections: Arc<Connections>,
    /// `None`: exempt, not counted.
    place: Option<Place>,
    waiting: bool,
}

impl ConnectionPermit {
    /// The connection has logged in: it no longer takes a place among those that wait.
    pub fn logged_in(&mut self) {
        if std::mem::take(&mut self.waiting)
            && let Some(place) = self.place
        {
            self.connections
                .counts()
                .change(place, |count| count.waiting = count.waiting.saturating_sub(1));
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let waiting = u32::from(self.waiting);
        if let Some(place) = self.place {
            self.connections.counts().change(place, |count| {
                count.open = count.open.saturating_sub(1);
                count.waiting = count.waiting.saturating_sub(waiting);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    fn share(open: u32, waiting: u32) -> Share {
        Share {
            rate: None,
            open,
            waiting,
        }
    }

    fn options() -> Options {
        Options {
            prefix: share(4, 2),
            site: share(6, 5),
            exempt: Networks::new(vec!["10.0.0.0/8".parse().unwrap()]),
            capacity: 1000,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn connections_at_once_are_limited_by_prefix_and_by_site() {
        let now = Instant::now();
        let connections = Connections::new(options(), now);
        let admit = |text| connections.admit(ip(text), now);
        let mut held = Vec::new();
        for (text, expected) in [
            ("192.0.2.1", true),
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", false),
            ("192.0.2.2", true),
            ("2001:db8:1:1::1", true),
            ("2001:db8:1:1::2", true),
            ("2001:db8:1:1::3", false),
            ("2001:db8:1:2::1", true),
            ("2001:db8:1:2::1", true),
            ("2001:db8:1:3::1", true),
            ("2001:db8:1:4::1", false),
            ("2001:db8:2:1::1", true),
        ] {
            let permit = admit(text);
            assert_eq!(permit.is_ok(), expected, "{text}");
            held.extend(permit);
        }
        drop(held);
        assert!(admit("2001:db8:1:4::1").is_ok());
        assert_eq!(connections.usage().sources, 0);
    }

    #[test]
    fn a_logged_in_connection_makes_room_for_one_that_waits_up_to_the_total() {
        let now = Instant::now();
        let connections = Connections::new(options(), now);
        let admit = || connections.admit(ip("192.0.2.1"), now);
        let mut held = Vec::new();
        for _ in 0..4 {
            let mut permit = admit().unwrap();
            permit.logged_in();
            permit.logged_in();
            held.push(permit);
        }
        assert_eq!(admit().unwrap_err(), EndReason::ConnectionLimit);
        held.pop();
        assert!(admit().is_ok());
    }

    #[test]
    fn exempt_networks_are_never_counted() {
        let now = Instant::now();
        let mut options = options();
        options.prefix.rate = Some(Rate::new(NonZeroU32::MIN, Duration::from_secs(60)));
        let connections = Connections::new(options, now);
        let held: Vec<_> = (0..100).map(|_| connections.admit(ip("10.1.2.3"), now)).collect();
        assert!(held.iter().all(Result::is_ok));
        assert_eq!((connections.usage().sources, connections.usage().rates), (0, 0));
    }

    #[test]
    fn the_rate_is_limited_by_prefix_and_by_site() {
        let now = Instant::now();
        let rate = |burst| Some(Rate::new(NonZeroU32::new(burst).unwrap(), Duration::from_secs(1)));
        let mut options = options();
        options.prefix.rate = rate(2);
        options.site.rate = rate(3);
        let connections = Connections::new(options, now);
        let admitted = |text, seconds| {
            let now = now + Duration::from_secs(seconds);
            connections.admit(ip(text), now).map(drop)
        };
        assert_eq!(admitted("2001:db8::1", 0), Ok(()));
        assert_eq!(admitted("2001:db8::2", 0), Ok(()));
        assert_eq!(admitted("2001:db8::3", 0), Err(EndReason::ConnectionRate));
        assert_eq!(admitted("2001:db8:0:1::1", 0), Err(EndReason::ConnectionRate));
        assert_eq!(admitted("2001:db8:0:1::1", 1), Ok(()));
        assert_eq!(admitted("192.0.2.1", 1), Ok(()));
        connections.sweep(now + Duration::from_secs(100));
        assert_eq!(connections.usage().rates, 0);
    }

    #[test]
    fn new_limits_keep_the_counts() {
        let now = Instant::now();
        let connections = Connections::new(options(), now);
        let held = connections.admit(ip("192.0.2.1"), now).unwrap();
        connections.set_options(Options {
            prefix: share(1, 1),
            ..options()
        });
        assert!(connections.admit(ip("192.0.2.1"), now).is_err());
        drop(held);
        assert!(connections.admit(ip("192.0.2.1"), now).is_ok());
    }

    #[test]
    fn a_million_prefixes_stay_within_the_memory_bound() {
        let now = Instant::now();
        let connections = Connections::new(Options::default(), now);
        for number in 0..1_000_000_u128 {
            // Each in a site of its own, so that no wider limit helps.
            let ip = IpAddr::V6(Ipv6Addr::from((0x2001_u128 << 112) | (number << 80)));
            drop(connections.admit(ip, now));
        }
        let usage = connections.usage();
        assert_eq!(usage.rates, 400_000);
        assert!(usage.bytes < 32 << 20, "{usage:?}");
        connections.sweep(now + Duration::from_secs(60));
        let usage = connections.usage();
        assert_eq!((usage.rates, usage.sources), (0, 0));
        assert!(usage.bytes < 1 << 20, "{usage:?}");
    }

    proptest! {
        #[test]
        fn counts_are_what_is_held_and_nothing_leaks(
            steps in prop::collection::vec((0_u8..3, 0_u16..6, 0_usize..8), 0..200)
        ) {
            let now = Instant::now();
            let connections = Connections::new(options(), now);
            let mut held: Vec<(u16, ConnectionPermit)> = Vec::new();
            for (action, subnet, index) in steps {
                match action {
                    0 => {
                        let ip = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, subnet % 2, subnet, 0, 0, 0, 1));
                        held.extend(connections.admit(ip, now).map(|permit| (subnet, permit)));
                    }
                    1 if index < held.len() => held[index].1.logged_in(),
                    2 if index < held.len() => drop(held.swap_remove(index)),
                    _ => {}
                }
                let counts = connections.counts();
                let open: u32 = counts.prefixes.values().map(|count| count.open).sum();
                let site_open: u32 = counts.sites.values().map(|count| count.open).sum();
                let waiting: u32 = counts.prefixes.values().map(|count| count.waiting).sum();
                prop_assert_eq!(usize::try_from(open).unwrap(), held.len());
                prop_assert_eq!(open, site_open);
                let expected = held.iter().filter(|(_, permit)| permit.waiting).count();
                prop_assert_eq!(usize::try_from(waiting).unwrap(), expected);
                prop_assert!(counts.prefixes.values().all(|count| count.open <= 4 && count.waiting <= 2));
            }
            drop(held);
            let counts = connections.counts();
            prop_assert!(counts.prefixes.is_empty() && counts.sites.is_empty());
        }
    }
}
