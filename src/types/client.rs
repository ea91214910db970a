//! Who is at the other end of a connection: the stated client, and the peer that stated it.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

/// The client's address as decisions see it, with the real peer of the socket beside it.
///
/// They differ only where a PROXY header came from a trusted network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr {
    /// The client: what lists, limits, events and the backend are told.
    pub client: SocketAddr,
    /// The other end of our socket: the client itself, or a load balancer.
    pub peer: SocketAddr,
}

impl ClientAddr {
    /// A client that speaks to us itself. IPv4-mapped IPv6 addresses become IPv4.
    #[must_use]
    pub fn direct(peer: SocketAddr) -> Self {
        let peer = canonical(peer);
        Self { client: peer, peer }
    }

    /// A client that a trusted peer vouches for in a PROXY header.
    #[must_use]
    pub fn stated(client: SocketAddr, peer: SocketAddr) -> Self {
        Self {
            client: canonical(client),
            peer: canonical(peer),
        }
    }

    /// The client's address without its port.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.client.ip()
    }

    /// The key that limits count under.
    #[must_use]
    pub fn prefix(&self) -> Prefix {
        Prefix::of(self.ip())
    }
}

/// `::ffff:192.0.2.1` and `192.0.2.1` are one client: a list with the one must hold for the other.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// The network one subscriber has: an IPv4 address, or an IPv6 /64. Whole IPv6 addresses are never a key, since everybody
/// has 2^64 of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix(u64, bool);

impl Prefix {
    /// The prefix that an address belongs to: /32 or /64.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Self(u64::from(u32::from(v4)), false),
            IpAddr::V6(v6) => Self(high_half(v6), true),
        }
    }

    /// The wider network of an IPv6 prefix, /48: what a site is given. An IPv4 prefix is its own.
    #[must_use]
    pub fn site(self) -> Self {
        if self.1 {
            Self(self.0 & !0xffff, true)
        } else {
            self
        }
    }
}

/// The first 64 bits of an address.
fn high_half(v6: Ipv6Addr) -> u64 {
    let [a, b, c, d, ..] = v6.segments();
    u64::from(a) << 48 | u64::from(b) << 32 | u64::from(c) << 16 | u64::from(d)
}

/// `192.0.2.1/32` or `2001:db8::/64`.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.1 {
            write!(f, "{}/64", Ipv6Addr::from(u128::from(self.0) << 64))
        } else {
            let bits = u32::try_from(self.0).unwrap_or(u32::MAX);
            write!(f, "{}/32", Ipv4Addr::from(bits))
        }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::of(text.parse().unwrap())
    }

    #[test]
    fn addresses_of_one_subscriber_share_a_prefix() {
        assert_eq!(prefix("2001:db8:1:2::1"), prefix("2001:db8:1:2:ffff::9"));
        assert_ne!(prefix("2001:db8:1:2::1"), prefix("2001:db8:1:3::1"));
        assert_eq!(prefix("2001:db8:1:2::1").site(), prefix("2001:db8:1:3::1").site());
        assert_ne!(prefix("192.0.2.1"), prefix("192.0.2.2"));
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        assert_eq!(prefix("::ffff:192.0.2.1"), prefix("192.0.2.1"));
        let addr = ClientAddr::direct("[::ffff:192.0.2.1]:5".parse().unwrap());
        assert_eq!(addr.ip(), "192.0.2.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn an_ipv4_prefix_is_never_equal_to_an_ipv6_prefix() {
        assert_ne!(prefix("0.0.0.1"), prefix("0:0:0:1::"));
    }

    #[test]
    fn prefixes_print_as_networks() {
        assert_eq!(prefix("192.0.2.1").to_string(), "192.0.2.1/32");
        assert_eq!(prefix("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
    }
}
