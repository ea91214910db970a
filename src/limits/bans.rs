//! Bans in force, as the store feeds them: looked up for every connection before anything else is done with it.
//!
//! A ban never holds for a protected network (trusted proxies, probes), even if it is wider and covers one: a ban that hits
//! the load balancer shuts everyone out.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;

use ipnet::IpNet;
use ipnet::Ipv4Net;
use thiserror::Error;

use crate::types::Networks;
use crate::types::UnixTime;

/// One ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Who is banned; host bits are zero, IPv4 is never written as mapped IPv6.
    pub network: IpNet,
    /// Why, as the operator or the limit said.
    pub reason: String,
    /// By whom: an operator's name, or `limits`.
    pub by: String,
    /// From when.
    pub since: UnixTime,
    /// Until when; `None` is until somebody removes it.
    pub until: Option<UnixTime>,
}

impl Ban {
    /// True while the ban holds.
    #[must_use]
    pub fn is_in_force(&self, now: UnixTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Why a ban was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BanError {
    /// The network lies within a protected one: the ban would never hold.
    #[error("the network belongs to a trusted proxy or a probe and cannot be banned")]
    Protected,
    /// As many bans as memory is meant for.
    #[error("there are too many bans; ban a wider network instead")]
    Full,
}

/// What bans need to know beforehand.
#[derive(Debug, Clone)]
pub struct Options {
    /// Trusted proxies and probes: never banned.
    pub protected: Networks,
    /// How many bans are kept at most.
    pub capacity: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            protected: Networks::default(),
            capacity: 100_000,
        }
    }
}

/// All bans, shared by all connections.
#[derive(Debug)]
pub struct Bans {
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    options: Options,
    bans: HashMap<IpNet, Arc<Ban>>,
    /// How many bans there are of each prefix length, by family: a look-up is one hash per length in use.
    lengths: [BTreeMap<u8, usize>; 2],
}

impl Bans {
    /// No bans yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            table: RwLock::new(Table {
                options,
                ..Table::default()
            }),
        }
    }

    /// Puts new options in force.
    pub fn set_options(&self, options: Options) {
        self.write().options = options;
    }

    /// Takes this list in place of everything known so far, but for what is to be kept and not in it. Returns how many bans
    /// did not fit or are protected.
    pub fn replace_all_but(&self, kept: impl Fn(&Ban) -> bool, bans: impl IntoIterator<Item = Ban>) -> usize {
        let mut table = self.write();
        let mut fresh = Table {
            options: table.options.clone(),
            ..Table::default()
        };
        let mut refused = bans.into_iter().filter_map(|ban| fresh.insert(ban).err()).count();
        for ban in table.bans.values().filter(|ban| kept(ban)) {
            if !fresh.bans.contains_key(&ban.network) {
                refused += usize::from(fresh.insert(Ban::clone(ban)).is_err());
            }
        }
        *table = fresh;
        refused
    }

    /// Adds a ban, in place of one of the same network.
    ///
    /// # Errors
    /// Protected networks cannot be banned; the number of bans is bounded.
    pub fn insert(&self, ban: Ban) -> Result<(), BanError> {
        self.write().insert(ban)
    }

    /// Lifts the ban of exactly this network.
    pub fn remove(&self, network: IpNet) -> Option<Arc<Ban>> {
        self.write().remove(normal(network))
    }

    /// The ban that holds for an address now: the narrowest, where there are several.
    #[must_use]
    pub fn find(&self, ip: IpAddr, now: UnixTime) -> Option<Arc<Ban>> {
        self.read().find(ip.to_canonical(), now)
    }

    /// All bans, expired ones that were not swept yet included, in order of their networks.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Ban>> {
        let mut bans: Vec<_> = self.read().bans.values().cloned().collect();
        bans.sort_by_key(|ban| ban.network);
        bans
    }

    /// Forgets bans that have ended and returns them, for events.
    pub fn sweep(&self, now: UnixTime) -> Vec<Arc<Ban>> {
        let mut table = self.write();
        let ended: Vec<_> = table
            .bans
            .values()
            .filter(|ban| !ban.is_in_force(now))
            .cloned()
            .collect();
        for ban in &ended {
            table.remove(ban.network);
        }
        ended
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().bans.len()
    }

    /// True where there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, ban: Ban) -> Result<(), BanError> {
        let network = normal(ban.network);
        if self.options.protected.iter().any(|net| net.contains(&network)) {
            return Err(BanError::Protected);
        }
        if !self.bans.contains_key(&network) {
            if self.bans.len() >= self.options.capacity {
                return Err(BanError::Full);
            }
            *self.lengths(network).entry(network.prefix_len()).or_default() += 1;
        }
        self.bans.insert(network, Arc::new(Ban { network, ..ban }));
        Ok(())
    }

    fn remove(&mut self, network: IpNet) -> Option<Arc<Ban>> {
        let ban = self.bans.remove(&network)?;
        let length = network.prefix_len();
        let lengths = self.lengths(network);
        if let Some(count) = lengths.get_mut(&length) {
            *count -= 1;
            if *count == 0 {
                lengths.remove(&length);
            }
        }
        Some(ban)
    }

    fn find(&self, ip: IpAddr, now: UnixTime) -> Option<Arc<Ban>> {
        let [v4, v6] = &self.lengths;
        let lengths = if ip.is_ipv4() { v4 } else { v6 };
        let ban = lengths.keys().rev().find_map(|length| {
            let network = IpNet::new(ip, *length).ok()?.trunc();
            self.bans.get(&network).filter(|ban| ban.is_in_force(now))
        })?;
        (!self.options.protected.contains(ip)).then(|| Arc::clone(ban))
    }

    fn lengths(&mut self, network: IpNet) -> &mut BTreeMap<u8, usize> {
        let [v4, v6] = &mut self.lengths;
        match network {
            IpNet::V4(_) => v4,
            IpNet::V6(_) => v6,
        }
    }
}

/// Host bits cleared, and `::ffff:192.0.2.0/120` as `192.0.2.0/24`: addresses are canonical before they are looked up.
fn normal(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    mapped
        .and_then(|(addr, length)| Ipv4Net::new(addr, length).ok())
        .map_or(network, IpNet::V4)
        .trunc()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_000);

    fn ban(network: &str, until: Option<i64>) -> Ban {
        Ban {
            network: network.parse().unwrap(),
            reason: "guessing".into(),
            by: "limits".into(),
            since: UnixTime(0),
            until: until.map(UnixTime),
        }
    }

    fn bans(networks: &[&str]) -> Bans {
        let bans = Bans::new(Options::default());
        for network in networks {
            bans.insert(ban(network, None)).unwrap();
        }
        bans
    }

    fn found(bans: &Bans, ip: &str) -> Option<String> {
        bans.find(ip.parse().unwrap(), NOW)
            .map(|ban| ban.network.to_string())
    }

    #[test]
    fn the_narrowest_network_that_contains_the_address_is_found() {
        let bans = bans(&[
            "192.0.2.7/32",
            "192.0.2.0/24",
            "2001:db8:1:2::/64",
            "2001:db8::/32",
            "2001:db8:1:2::3/128",
            "198.51.100.77/25",
        ]);
        let table = [
            ("192.0.2.7", Some("192.0.2.7/32")),
            ("::ffff:192.0.2.7", Some("192.0.2.7/32")),
            ("192.0.2.8", Some("192.0.2.0/24")),
            ("192.0.3.8", None),
            ("198.51.100.1", Some("198.51.100.0/25")),
            ("198.51.100.200", None),
            ("2001:db8:1:2::3", Some("2001:db8:1:2::3/128")),
            ("2001:db8:1:2::4", Some("2001:db8:1:2::/64")),
            ("2001:db8:1:3::4", Some("2001:db8::/32")),
            ("2001:db9::", None),
            ("::c000:207", None),
        ];
        for (ip, expected) in table {
            assert_eq!(found(&bans, ip).as_deref(), expected, "{ip}");
        }
    }

    #[test]
    fn a_ban_ends_when_it_said_and_a_wider_one_goes_on() {
        let bans = bans(&["192.0.2.0/24"]);
        bans.insert(ban("192.0.2.1/32", Some(1_001))).unwrap();
        assert_eq!(found(&bans, "192.0.2.1").as_deref(), Some("192.0.2.1/32"));
        bans.insert(ban("192.0.2.1/32", Some(1_000))).unwrap();
        assert_eq!(found(&bans, "192.0.2.1").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(bans.sweep(NOW).len(), 1);
        assert_eq!(bans.len(), 1);
    }

    #[test]
    fn a_removed_ban_no_longer_holds() {
        let bans = bans(&["192.0.2.1/32", "192.0.2.2/32", "2001:db8::/64"]);
        assert!(bans.remove("192.0.2.1/32".parse().unwrap()).is_some());
        assert!(bans.remove("192.0.2.1/32".parse().unwrap()).is_none());
        assert_eq!(found(&bans, "192.0.2.1"), None);
        assert!(found(&bans, "192.0.2.2").is_some());
        assert!(bans.remove("2001:db8::/64".parse().unwrap()).is_some());
        assert_eq!(found(&bans, "2001:db8::1"), None);
        assert_eq!(bans.list().len(), 1);
    }

    #[test]
    fn trusted_proxies_and_probes_are_never_banned() {
        let bans = Bans::new(Options {
            protected: Networks::new(vec!["10.0.0.0/24".parse().unwrap()]),
            ..Options::default()
        });
        assert_eq!(bans.insert(ban("10.0.0.5/32", None)), Err(BanError::Protected));
        bans.insert(ban("10.0.0.0/8", None)).unwrap();
        assert_eq!(found(&bans, "10.0.0.5"), None);
        assert_eq!(found(&bans, "10.0.1.5").as_deref(), Some("10.0.0.0/8"));
        let listed = [ban("10.0.0.5/32", None), ban("192.0.2.1/32", None)];
        assert_eq!(bans.replace_all_but(|_| false, listed), 1);
        assert_eq!(bans.len(), 1);
    }

    #[test]
    fn a_ban_written_as_mapped_address_holds_for_ipv4() {
        let bans = bans(&["::ffff:192.0.2.0/120"]);
        assert_eq!(found(&bans, "192.0.2.9").as_deref(), Some("192.0.2.0/24"));
        assert!(bans.remove("192.0.2.0/24".parse().unwrap()).is_some());
    }

    #[test]
    fn the_number_of_bans_is_bounded_and_a_known_one_can_still_be_renewed() {
        let bans = Bans::new(Options {
            capacity: 1,
            ..Options::default()
        });
        bans.insert(ban("192.0.2.1/32", Some(5))).unwrap();
        assert_eq!(bans.insert(ban("192.0.2.2/32", None)), Err(BanError::Full));
        assert_eq!(bans.insert(ban("192.0.2.1/32", None)), Ok(()));
    }
}
