//! A set of networks: what a list, a named set or an app password's restriction is made of.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks in CIDR form. An empty set contains nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Merges and sorts the networks given.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the caller's list is used up: sets are built once"
    )]
    pub fn new(nets: Vec<IpNet>) -> Self {
        Self(IpNet::aggregate(&nets))
    }

    /// True where the address is in one of the networks. IPv4-mapped IPv6 addresses count as IPv4.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|net| net.contains(&ip))
    }

    /// True where no network is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The networks, merged and sorted.
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_is_by_network_and_ignores_mapping() {
        let set = Networks::new(vec![
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ]);
        for inside in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"] {
            assert!(set.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "2001:db9::1", "::ffff:11.0.0.1"] {
            assert!(!set.contains(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn an_empty_set_contains_nobody() {
        assert!(!Networks::default().contains("127.0.0.1".parse().unwrap()));
    }
}
