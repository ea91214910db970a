//! Addresses and networks as a configuration writes them, with the mistakes that people make in them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::net::SocketAddr;

use ipnet::IpNet;

use crate::config::kind::Kind;
use crate::config::kind::Wrong;
use crate::config::problem::quoted;
use crate::config::suggest::nearest;
use crate::policy::access::NamedNetworks;
use crate::types::Networks;

/// An address to listen on: `[::]:993`.
pub(super) fn listen_address() -> Kind<'static, SocketAddr> {
    Kind::new("IP:PORT", SocketAddr::to_string, |text| {
        text.parse()
            .map_err(|_| Wrong::invalid(format!("{} is not IP:PORT", quoted(text))).help(meant_address(text)))
    })
}

fn meant_address(text: &str) -> String {
    if let Some(port) = text
        .strip_prefix([':', '*'])
        .map(|rest| rest.trim_start_matches(':'))
        && port.parse::<u16>().is_ok()
    {
        return format!("for all addresses write `[::]:{port}`");
    }
    if text.parse::<u16>().is_ok() {
        return format!("for all addresses write `[::]:{text}`");
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => format!("the port is missing: `{ip}:993`"),
        Ok(IpAddr::V6(ip)) => format!("IPv6 needs brackets and a port: `[{ip}]:993`"),
        Err(_) => "write an IP address, not a name: `[::]:993`, `127.0.0.1:993`".to_owned(),
    }
}

/// Where a backend is: a host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A host name, or an IP address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// Name suffixes that no public host has (RFC 2606, RFC 6762, RFC 8375, RFC 9476 and their like).
const PRIVATE_SUFFIXES: [&str; 6] = [".localhost", ".local", ".internal", ".home.arpa", ".lan", ".test"];

impl Endpoint {
    /// Reads `HOST:PORT`; IPv6 addresses stand in brackets.
    ///
    /// # Errors
    /// Says what is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        endpoint().read(text).map_err(|wrong| match wrong.help {
            Some(help) => format!("{} ({help})", wrong.message),
            None => wrong.message,
        })
    }

    /// True where bytes to it do not leave a network of ours, as far as its name tells: passwords may go there in clear.
    #[must_use]
    pub fn is_private(&self) -> bool {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return is_private(ip.to_canonical());
        }
        let host = self.host.trim_end_matches('.').to_ascii_lowercase();
        // A name of one label is found by a search list or a container network, never in the public DNS.
        !host.contains('.') || PRIVATE_SUFFIXES.iter().any(|suffix| host.ends_with(suffix))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// A host name or address with a port.
pub(super) fn endpoint() -> Kind<'static, Endpoint> {
    endpoint_like("mail.internal", 143)
}

/// A host name or address with a port, with an example for hints.
pub(super) fn endpoint_like(example: &'static str, usual: u16) -> Kind<'static, Endpoint> {
    Kind::new("HOST:PORT", Endpoint::to_string, move |text| {
        if text.contains("://") {
            let wrong = Wrong::invalid("a URL is not HOST:PORT");
            return Err(wrong.help(format!(
                "leave out everything but host and port: `{example}:{usual}`"
            )));
        }
        let wrong = || Wrong::invalid(format!("{} is not HOST:PORT", quoted(text)));
        if text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
            return Err(wrong().help(format!("IPv6 needs brackets and a port: `[{text}]:{usual}`")));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(wrong().help(format!("the port is missing: `{text}:{usual}`")));
        };
        let port = port.parse().ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| wrong().help("the port is a number from 1 to 65535"))?;
        let host = read_host(host).ok_or_else(|| wrong().help("the host is a name or an IP address"))?;
        Ok(Endpoint { host, port })
    })
}

fn read_host(host: &str) -> Option<String> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let ip = inner.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6)?;
        return Some(ip.to_string());
    }
    // An address of digits and dots that is no address must not become a name that somebody may register.
    let digits_only = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if digits_only && host.parse::<IpAddr>().is_err() {
        return None;
    }
    is_host_name(host).then(|| host.to_owned())
}

/// RFC 1123 names, with `_` as some internal names have it.
pub(super) fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(label)
}

/// A host or domain name.
pub(super) fn host_name() -> Kind<'static, String> {
    Kind::new("host name", String::clone, |text| {
        if is_host_name(text) {
            Ok(text.to_ascii_lowercase())
        } else {
            let wrong = Wrong::invalid(format!("{} is not a host name", quoted(text)));
            Err(wrong.help("letters, digits, `-` and dots; international names in their xn-- form"))
        }
    })
}

/// A network in CIDR form.
pub(super) fn cidr() -> Kind<'static, IpNet> {
    Kind::new("network in CIDR form", IpNet::to_string, read_cidr)
}

fn read_cidr(text: &str) -> Result<IpNet, Wrong> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        let wrong = Wrong::invalid(format!("{} has no prefix length", quoted(text)));
        return Err(wrong.help(format!("for this one address write `{ip}/{bits}`")));
    }
    let wrong = || Wrong::invalid(format!("{} is not a network", quoted(text)));
    let Ok(net) = text.parse::<IpNet>() else {
        let ends_with_mask = text
            .rsplit_once('/')
            .is_some_and(|(_, mask)| mask.parse::<IpAddr>().is_ok());
        return Err(wrong().help(if ends_with_mask {
            "write the number of bits, not a mask: `192.0.2.0/24`"
        } else {
            "write `192.0.2.0/24` or `2001:db8::/32`"
        }));
    };
    if let IpNet::V6(v6) = net
        && let Some(v4) = v6.addr().to_ipv4_mapped()
    {
        return Err(wrong().help(format!(
            "clients have their IPv4 address here: write `{v4}/{}`",
            v6.prefix_len().saturating_sub(96)
        )));
    }
    if net.trunc() != net {
        let wrong = Wrong::invalid(format!("{} has bits set behind its prefix", quoted(text)));
        return Err(wrong.help(format!(
            "write `{}` for the network, or `{}/{}` for the one address",
            net.trunc(),
            net.addr(),
            net.max_prefix_len()
        )));
    }
    Ok(net)
}

/// The sets that exist without being written: name and networks.
const BUILT_IN: [(&str, &[&str]); 3] = [
    ("any", &["0.0.0.0/0", "::/0"]),
    ("loopback", &["127.0.0.0/8", "::1/128"]),
    (
        "private",
        &[
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "169.254.0.0/16",
            "127.0.0.0/8",
            "fc00::/7",
            "fe80::/10",
            "::1/128",
        ],
    ),
];

/// All named sets that lists may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSets(BTreeMap<String, Networks>);

/// `any`, `loopback` and `private`.
impl Default for NetworkSets {
    fn default() -> Self {
        let set = |(name, nets): (&str, &[&str])| {
            let nets: Vec<IpNet> = nets.iter().filter_map(|net| net.parse().ok()).collect();
            (name.to_owned(), Networks::new(nets))
        };
        Self(BUILT_IN.into_iter().map(set).collect())
    }
}

impl NetworkSets {
    /// Adds a set.
    ///
    /// # Errors
    /// Says why the name cannot be used.
    pub(super) fn insert(&mut self, name: &str, networks: Networks) -> Result<(), Wrong> {
        if BUILT_IN.iter().any(|(built_in, _)| *built_in == name) {
            let wrong = Wrong::invalid(format!("the set {} exists already", quoted(name)));
            return Err(wrong.help("`any`, `loopback` and `private` are built in: choose another name"));
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !starts_well || name.len() > 64 || !name.bytes().all(plain) {
            let wrong = Wrong::invalid(format!("{} cannot name a set", quoted(name)));
            return Err(wrong.help("letters, digits, `_` and `-`, a letter first, at most 64"));
        }
        self.0.insert(name.to_owned(), networks);
        Ok(())
    }

    /// The networks of a set.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Networks> {
        self.0.get(name)
    }

    /// Name and networks of each set, the built-in ones included.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Networks)> {
        self.0.iter().map(|(name, networks)| (name.as_str(), networks))
    }

    /// An entry of a list: a set's name, or a network in place.
    pub(super) fn entry(&self) -> Kind<'_, NamedNetworks> {
        let show = |entry: &NamedNetworks| entry.name.to_string();
        Kind::new("set name or network in CIDR form", show, |text| {
            self.read_entry(text)
        })
    }

    fn read_entry(&self, text: &str) -> Result<NamedNetworks, Wrong> {
        if let Some(networks) = self.find(text) {
            return Ok(NamedNetworks::new(text, networks.clone()));
        }
        let numeric = text.contains(['/', ':']) || text.starts_with(|c: char| c.is_ascii_digit());
        if numeric {
            return read_cidr(text).map(|net| NamedNetworks::new(text, Networks::new(vec![net])));
        }
        let wrong = Wrong::new(
            "unknown_network_set",
            format!("there is no network set {}", quoted(text)),
        );
        Err(match nearest(text, self.0.keys().map(String::as_str)) {
            Some(name) => wrong.help(format!("did you mean `{name}`?")),
            None => wrong.help(format!(
                "add it under `networks:`, as `{}: [192.0.2.0/24]`",
                text.trim()
            )),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint<T>(result: Result<T, Wrong>) -> String {
        result.err().and_then(|wrong| wrong.help).unwrap_or_default()
    }

    #[test]
    fn networks_are_written_exactly() {
        let kind = cidr();
        for right in ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "0.0.0.0/0"] {
            assert_eq!(kind.show(&kind.read(right).unwrap()), right);
        }
        for (wrong, meant) in [
            ("10.0.0.1", "`10.0.0.1/32`"),
            ("2001:db8::1", "`2001:db8::1/128`"),
            ("10.0.0.5/8", "`10.0.0.0/8` for the network, or `10.0.0.5/32`"),
            ("10.0.0.0/255.0.0.0", "not a mask"),
            ("10.0.0.0/33", "192.0.2.0/24"),
            ("::ffff:10.0.0.0/104", "`10.0.0.0/8`"),
        ] {
            assert!(hint(kind.read(wrong)).contains(meant), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_set_is_never_an_empty_one() {
        let mut sets = NetworkSets::default();
        sets.insert("office", Networks::default()).ok().unwrap();
        assert!(sets.entry().read("office").is_ok());
        assert!(hint(sets.entry().read("ofice")).contains("`office`"));
        assert!(hint(sets.entry().read("vpn")).contains("networks:"));
        assert!(sets.insert("private", Networks::default()).is_err());
        assert!(sets.insert("1", Networks::default()).is_err());
    }

    #[test]
    fn endpoints_read_back_what_they_show() {
        for text in ["mail.internal:143", "127.0.0.1:143", "[::1]:993", "dovecot:143"] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "mail",
            "mail:",
            "mail:0",
            "mail:70000",
            ":143",
            "::1",
            "::1:143",
            "[127.0.0.1]:1",
            "imap://mail:143",
            "1.2.3:143",
            "a b:1",
            "-a:1",
            "a..b:1",
            "a\r\nb:1",
        ] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_public_host_is_not_private_whatever_it_looks_like() {
        let private = |host: &str| {
            Endpoint {
                host: host.to_owned(),
                port: 143,
            }
            .is_private()
        };
        for host in [
            "127.0.0.1",
            "10.1.2.3",
            "::1",
            "fd00::1",
            "localhost",
            "dovecot",
            "a.svc.cluster.local",
            "::ffff:10.0.0.1",
        ] {
            assert!(private(host), "{host}");
        }
        for host in [
            "8.8.8.8",
            "2001:db8::1",
            "mail.example.org",
            "local.example",
            "172.32.0.1",
            "::ffff:8.8.8.8",
        ] {
            assert!(!private(host), "{host}");
        }
    }

    #[test]
    fn listen_addresses_say_what_was_meant() {
        for (wrong, meant) in [
            (":993", "`[::]:993`"),
            ("993", "`[::]:993`"),
            ("*:993", "`[::]:993`"),
            ("0.0.0.0", "`0.0.0.0:993`"),
            ("::", "`[::]:993`"),
            ("localhost:993", "not a name"),
        ] {
            assert!(hint(listen_address().read(wrong)).contains(meant), "{wrong}");
        }
    }
}
