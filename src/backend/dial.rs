//! From an address to a connection: look it up, connect, say who the client is, speak TLS. Every wait ends at the deadline
//! of the whole login; no password has been sent when it is over.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::lookup_host;
use tokio::time::Instant;
use tokio::time::timeout_at;

use crate::backend::Client;
use crate::backend::error::BackendError;
use crate::backend::error::DialError;
use crate::backend::error::Phase;
use crate::backend::options::BackendOptions;
use crate::backend::options::Tls;
use crate::backend::options::TlsOptions;
use crate::net::proxy_header;
use crate::net::socket;
use crate::net::stream::Stream;
use crate::net::tls;
use crate::types::UnixTime;

/// Most addresses of one host name that are tried.
const MAX_ADDRESSES: usize = 8;

/// TLS towards one backend, ready to use.
#[derive(Debug)]
pub(super) struct Security {
    client: tls::Client,
    server_name: String,
    is_implicit: bool,
}

impl Security {
    /// Reads the files that the options name; `None` where TLS is off.
    pub(super) fn new(options: &BackendOptions, now: UnixTime) -> Result<Option<Self>, BackendError> {
        let (chosen, is_implicit): (&TlsOptions, bool) = match &options.tls {
            Tls::None => return Ok(None),
            Tls::StartTls(chosen) => (chosen, false),
            Tls::Implicit(chosen) => (chosen, true),
        };
        let host = || host_of(&options.address).map(|(host, _)| host.to_owned());
        let server_name = chosen.server_name.clone().or_else(host).unwrap_or_default();
        if !tls::is_server_name(&server_name) {
            return Err(BackendError::ServerName {
                backend: options.name.clone(),
                name: server_name,
            });
        }
        let client = tls::Client::new(&chosen.client, now).map_err(|source| BackendError::Tls {
            backend: options.name.clone(),
            source,
        })?;
        Ok(Some(Self {
            client,
            server_name,
            is_implicit,
        }))
    }

    pub(super) fn is_implicit(&self) -> bool {
        self.is_implicit
    }

    /// The hand-shake. The connection is bare: what was read from it before is gone.
    pub(super) async fn start(&self, tcp: TcpStream, deadline: Instant) -> Result<Stream, DialError> {
        let handshake = Box::pin(self.client.handshake(tcp, &self.server_name));
        let (stream, _) = timeout_at(deadline, handshake)
            .await
            .map_err(|_| DialError::Timeout(Phase::Handshake))?
            .map_err(DialError::Tls)?;
        Ok(stream)
    }
}

/// Connects, and says in a PROXY header who the client is where that is configured. TLS has not begun.
pub(super) async fn connect(
    options: &BackendOptions,
    client: &Client,
    deadline: Instant,
) -> Result<TcpStream, DialError> {
    let mut tcp = connect_to_any(options, deadline).await?;
    socket::tune(&tcp, &options.socket).map_err(DialError::Connect)?;
    if let Some(version) = options.proxy_header {
        let header = proxy_header::encode(version, client.addr.client, client.local);
        timeout_at(deadline, tcp.write_all(&header))
            .await
            .map_err(|_| DialError::Timeout(Phase::Connect))?
            .map_err(DialError::Connect)?;
    }
    Ok(tcp)
}

async fn connect_to_any(options: &BackendOptions, deadline: Instant) -> Result<TcpStream, DialError> {
    let found = timeout_at(deadline, lookup_host(options.address.as_str()))
        .await
        .map_err(|_| DialError::Timeout(Phase::Resolve))?
        .map_err(DialError::Resolve)?;
    let addresses: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
    let mut failure = DialError::Resolve(io::Error::from(io::ErrorKind::NotFound));
    for (at, address) in addresses.iter().enumerate() {
        // What the name service says must not decide that passwords travel in clear through the internet.
        if needs_tls(options) && !is_private(address.ip()) {
            failure = DialError::Plaintext(*address);
            continue;
        }
        // A first address that swallows packets must leave time for the others.
        let left = deadline.saturating_duration_since(Instant::now());
        let others = u32::try_from(addresses.len().saturating_sub(at)).unwrap_or(u32::MAX);
        let share = Instant::now() + left.checked_div(others).unwrap_or(left);
        match timeout_at(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => failure = DialError::Connect(error),
            Err(_) => failure = DialError::Timeout(Phase::Connect),
        }
    }
    Err(failure)
}

/// Fails where the address can never work.
pub(super) fn check_address(options: &BackendOptions) -> Result<(), BackendError> {
    let Some((host, _)) = host_of(&options.address) else {
        return Err(BackendError::Address {
            backend: options.name.clone(),
            address: options.address.clone(),
        });
    };
    match host.parse::<IpAddr>() {
        Ok(ip) if needs_tls(options) && !is_private(ip) => Err(BackendError::Plaintext(options.name.clone())),
        _ => Ok(()),
    }
}

/// True where only loopback and private addresses may be dialled.
fn needs_tls(options: &BackendOptions) -> bool {
    matches!(options.tls, Tls::None) && !options.danger_plaintext
}

/// True for networks that do not cross the internet: loopback, RFC 1918, RFC 6598, RFC 4193, link-local.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let is_shared = first == 100 && second & 0xc0 == 64;
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || is_shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Host and port of `host:port`, `192.0.2.1:143` or `[2001:db8::1]:143`.
fn host_of(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bracketed.unwrap_or(host);
    let is_name = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "[]/@".contains(c));
    // An IPv6 address without brackets cannot be told from its port.
    let is_plain = bracketed.is_some() == host.contains(':');
    (is_name && is_plain).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_strictly() {
        let good = [
            ("mail:143", "mail"),
            ("192.0.2.1:993", "192.0.2.1"),
            ("[2001:db8::1]:143", "2001:db8::1"),
        ];
        for (text, host) in good {
            assert_eq!(host_of(text).map(|(host, _)| host), Some(host));
        }
        for text in [
            "",
            "mail",
            "mail:",
            ":143",
            "mail:0",
            "mail:70000",
            "2001:db8::1:143",
            "[mail]:143",
            "a b:1",
            "imap://m:1",
        ] {
            assert_eq!(host_of(text), None, "{text}");
        }
    }

    #[test]
    fn only_networks_that_stay_at_home_are_private() {
        for ip in [
            "127.0.0.1",
            "10.1.1.1",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_private(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "192.0.2.1",
            "172.32.0.1",
            "100.128.0.1",
            "0.0.0.0",
            "2001:db8::1",
            "::",
            "::ffff:192.0.2.1",
            "8.8.8.8",
        ] {
            assert!(!is_private(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn plaintext_to_a_public_address_is_refused_before_anything_is_dialled() {
        let mut options = BackendOptions {
            address: "192.0.2.1:143".to_owned(),
            ..BackendOptions::default()
        };
        assert!(matches!(check_address(&options), Err(BackendError::Plaintext(_))));
        options.danger_plaintext = true;
        assert!(check_address(&options).is_ok());
        options.danger_plaintext = false;
        options.tls = Tls::StartTls(TlsOptions::default());
        assert!(check_address(&options).is_ok());
    }

    #[tokio::test]
    async fn what_the_name_service_says_does_not_lift_the_rule() {
        // A literal stands for a name here: `check_address` has not seen it.
        let options = BackendOptions {
            address: "192.0.2.1:143".to_owned(),
            ..BackendOptions::default()
        };
        let deadline = Instant::now() + options.timeout;
        let error = connect_to_any(&options, deadline).await.unwrap_err();
        assert!(matches!(error, DialError::Plaintext(_)), "{error}");
    }
}
