//! The PROXY protocol, versions 1 and 2: how a load balancer in front of us states the client's address, and how we state it
//! to a backend.
//!
//! A header is taken only from networks that are configured as trusted, and there it is required: a peer that may leave it out
//! could be used to hide the client. Not a byte behind the header is read, since those belong to TLS.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

use proxy_header::ParseConfig;
use proxy_header::Protocol;
use proxy_header::ProxiedAddress;
use proxy_header::ProxyHeader;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::types::ClientAddr;
use crate::types::Networks;

/// The time for a whole header, from the connection's acceptance on.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

const V1_START: &[u8] = b"PROXY ";
/// The longest line of version 1, with its CRLF.
const V1_LONGEST: usize = 107;
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;
/// Addresses take 36 bytes; the rest are fields that load balancers add, the largest of them a certificate's subject.
const V2_LONGEST: usize = 4096;

/// Why a connection that must begin with a PROXY header does not.
#[derive(Debug, Error)]
pub enum ProxyHeaderError {
    /// The listener is for load balancers, and this peer is not one of them.
    #[error("the peer is not in the networks that may send a PROXY header")]
    UntrustedPeer,
    /// The header was not complete in time.
    #[error("the PROXY header was not complete in time")]
    Timeout,
    /// The peer closed the connection first: mostly a health check.
    #[error("the connection was closed before the PROXY header was complete")]
    Closed,
    /// It is longer than a header may be.
    #[error("the PROXY header is too long")]
    TooLong,
    /// It is not a header, or not one of a TCP connection.
    #[error("not a valid PROXY header: {0}")]
    Invalid(&'static str),
    /// Reading failed.
    #[error("reading the PROXY header failed: {0}")]
    Io(#[from] io::Error),
}

/// Who the client is, on a listener that expects PROXY headers: `peer` must be in `trusted`, and its header says.
///
/// # Errors
/// See [`ProxyHeaderError`]; the connection must be closed on each of them.
pub async fn client_of(
    stream: &mut TcpStream,
    peer: SocketAddr,
    trusted: &Networks,
    within: Duration,
) -> Result<ClientAddr, ProxyHeaderError> {
    if !trusted.contains(peer.ip()) {
        return Err(ProxyHeaderError::UntrustedPeer);
    }
    read(stream, peer, within).await
}

/// Reads a header from a peer that the caller trusts. `LOCAL` and `UNKNOWN` stand for the peer itself.
///
/// # Errors
/// See [`ProxyHeaderError`].
pub async fn read(
    stream: &mut TcpStream,
    peer: SocketAddr,
    within: Duration,
) -> Result<ClientAddr, ProxyHeaderError> {
    let header = timeout(within, take_header(stream))
        .await
        .map_err(|_| ProxyHeaderError::Timeout)??;
    Ok(match parse(&header)? {
        Some(client) => ClientAddr::stated(client, peer),
        None => ClientAddr::direct(peer),
    })
}

/// Looks at what has arrived before taking it, so that nothing behind the header is taken.
async fn take_header(stream: &mut TcpStream) -> Result<Vec<u8>, ProxyHeaderError> {
    let mut header = Vec::new();
    let mut peeked = [0; 256];
    loop {
        let taken = header.len();
        let count = stream.peek(&mut peeked).await?;
        if count == 0 {
            return Err(ProxyHeaderError::Closed);
        }
        header.extend(peeked.iter().take(count));
        let end = extent(&header)?;
        header.truncate(end.unwrap_or(header.len()));
        // All of it has arrived: this neither waits nor reads on.
        if let Some(new) = header.get_mut(taken..) {
            stream.read_exact(new).await?;
        }
        if end.is_some() {
            return Ok(header);
        }
    }
}

/// Where the header ends that `bytes` begin with; `None` where all of them belong to it and more must come.
fn extent(bytes: &[u8]) -> Result<Option<usize>, ProxyHeaderError> {
    if begins(bytes, V2_START) {
        let Some(&[high, low]) = bytes.get(V2_FIXED - 2..V2_FIXED) else {
            return Ok(None);
        };
        let end = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
        if end > V2_LONGEST {
            return Err(ProxyHeaderError::TooLong);
        }
        return Ok((bytes.len() >= end).then_some(end));
    }
    if !begins(bytes, V1_START) {
        return Err(ProxyHeaderError::Invalid("it begins like neither version"));
    }
    let line = bytes.get(..V1_LONGEST).unwrap_or(bytes);
    match memchr::memchr(b'\n', line) {
        Some(end) => Ok(Some(end + 1)),
        None if bytes.len() >= V1_LONGEST => Err(ProxyHeaderError::TooLong),
        None => Ok(None),
    }
}

/// True where `bytes` begin with `start`, as far as they go.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let both = bytes.len().min(start.len());
    bytes.get(..both) == start.get(..both)
}

/// The client that a whole header states; `None` where it speaks for the peer itself.
fn parse(header: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    if header.starts_with(V1_START) {
        check_line(header)?;
    } else if check_fixed_part(header)? == Command::Local {
        return Ok(None);
    }
    let (parsed, length) = ProxyHeader::parse(header, ParseConfig::default())
        .map_err(|_| ProxyHeaderError::Invalid("its addresses are malformed"))?;
    if length != header.len() {
        return Err(ProxyHeaderError::Invalid("bytes are left over"));
    }
    if parsed.tlvs().any(|field| field.is_err()) {
        return Err(ProxyHeaderError::Invalid("a field is malformed"));
    }
    match parsed.proxied_address() {
        Some(address) if address.protocol != Protocol::Stream => {
            Err(ProxyHeaderError::Invalid("it is not about a TCP connection"))
        }
        Some(address) => Ok(Some(address.source)),
        None => Ok(None),
    }
}

/// What the parser lets pass in version 1: signs in ports, text behind UNKNOWN's letters.
fn check_line(header: &[u8]) -> Result<(), ProxyHeaderError> {
    let Some(line) = header.strip_suffix(b"\r\n") else {
        return Err(ProxyHeaderError::Invalid("the line does not end in CRLF"));
    };
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    match words.as_slice() {
        [_, b"UNKNOWN", ..] => Ok(()),
        [_, b"TCP4" | b"TCP6", _, _, source, destination] => {
            let digits = |port: &[u8]| port.iter().all(u8::is_ascii_digit);
            if digits(source) && digits(destination) {
                Ok(())
            } else {
                Err(ProxyHeaderError::Invalid("a port is not a number"))
            }
        }
        _ => Err(ProxyHeaderError::Invalid("it is not about a TCP connection")),
    }
}

#[derive(PartialEq, Eq)]
enum Command {
    Local,
    Proxy,
}

/// Version, command and family of version 2. The parser would take a UNIX socket for "no address", and so for the peer.
fn check_fixed_part(header: &[u8]) -> Result<Command, ProxyHeaderError> {
    match header.get(12..14) {
        // What family a LOCAL header claims does not matter (PROXY protocol, section 2.2).
        Some([0x20, _]) => Ok(Command::Local),
        Some([0x21, 0x00 | 0x11 | 0x21]) => Ok(Command::Proxy),
        Some([0x21, _]) => Err(ProxyHeaderError::Invalid("it is not about a TCP connection")),
        _ => Err(ProxyHeaderError::Invalid("unknown version or command")),
    }
}

/// The header's version towards a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

/// The header that tells a backend about a client and the address of ours that it connected to.
#[must_use]
pub fn encode(version: Version, client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let (client, local) = same_family(client, local);
    let header = ProxyHeader::with_address(ProxiedAddress::stream(client, local));
    let mut bytes = Vec::with_capacity(V1_LONGEST);
    let encoded = match version {
        Version::V1 => header.encode_v1(&mut bytes),
        Version::V2 => header.encode_v2(&mut bytes),
    };
    debug_assert!(encoded.is_ok(), "one family, no fields, and memory to write to");
    bytes
}

/// A header has one family: where the two differ, the IPv4 address is written as an IPv6 one. That happens when a load
/// balancer speaks IPv4 to us about a client that came over IPv6.
fn same_family(client: SocketAddr, local: SocketAddr) -> (SocketAddr, SocketAddr) {
    let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let (client, local) = (canonical(client), canonical(local));
    if client.is_ipv4() == local.is_ipv4() {
        (client, local)
    } else {
        (mapped(client), mapped(local))
    }
}

fn mapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), addr.port()),
        IpAddr::V6(_) => addr,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::Just;
    use proptest::prelude::any;
    use proptest::prelude::prop_oneof;
    use proptest::prop_assert;
    use proptest::proptest;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;

    use super::*;

    const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 993\r\n";
    const SECOND: Duration = Duration::from_secs(1);

    async fn pair() -> (TcpStream, TcpStream, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, peer) = listener.accept().await.unwrap();
        client.set_nodelay(true).unwrap();
        (client, server, peer)
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2_START, &[command, family], &length, body].concat()
    }

    fn v2_tcp4() -> Vec<u8> {
        v2(
            0x21,
            0x11,
            &[192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 0x04, 0x03, 0xe1],
        )
    }

    async fn read_after(sent: &[u8]) -> (Result<ClientAddr, ProxyHeaderError>, SocketAddr) {
        let (mut client, mut server, peer) = pair().await;
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        (read(&mut server, peer, SECOND).await, peer)
    }

    #[tokio::test]
    async fn a_header_cut_anywhere_is_read_whole_and_not_a_byte_more() {
        for header in [V1.to_vec(), v2_tcp4()] {
            for cut in 1..header.len() {
                let (mut client, mut server, peer) = pair().await;
                let sent = [&header[..], b"\x16\x03\x01"].concat();
                let (first, rest) = sent.split_at(cut);
                client.write_all(first).await.unwrap();
                let (go, wait) = oneshot::channel();
                let reader = tokio::spawn(async move {
                    server.peek(&mut [0; 1]).await.unwrap();
                    go.send(()).unwrap();
                    let client = read(&mut server, peer, DEFAULT_TIMEOUT).await.unwrap();
                    let mut behind = [0; 3];
                    server.read_exact(&mut behind).await.unwrap();
                    (client, behind)
                });
                wait.await.unwrap();
                client.write_all(rest).await.unwrap();
                let (got, behind) = reader.await.unwrap();
                assert_eq!(got, ClientAddr::stated(addr("192.0.2.7:56324"), peer));
                assert_eq!(&behind, b"\x16\x03\x01");
            }
        }
    }

    #[tokio::test]
    async fn a_header_dripped_byte_by_byte_is_read() {
        let (mut client, mut server, peer) = pair().await;
        let reader = tokio::spawn(async move { read(&mut server, peer, DEFAULT_TIMEOUT).await });
        for byte in v2_tcp4() {
            client.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(reader.await.unwrap().unwrap().client, addr("192.0.2.7:56324"));
    }

    #[test]
    fn the_extent_is_the_same_wherever_the_bytes_are_cut() {
        for header in [V1.to_vec(), v2_tcp4(), b"PROXY UNKNOWN\r\n".to_vec()] {
            for cut in 0..header.len() {
                assert_eq!(extent(&header[..cut]).unwrap(), None, "{cut}");
            }
            let with_more = [&header[..], b"\nmore\n"].concat();
            assert_eq!(extent(&with_more).unwrap(), Some(header.len()));
        }
    }

    #[tokio::test]
    async fn ipv6_is_read_and_a_mapped_address_becomes_ipv4() {
        let (got, _) = read_after(b"PROXY TCP6 2001:db8::7 2001:db8::1 1 993\r\n").await;
        assert_eq!(got.unwrap().client, addr("[2001:db8::7]:1"));
        let (got, _) = read_after(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 993\r\n").await;
        assert_eq!(got.unwrap().client, addr("192.0.2.7:1"));
        let mut body = vec![0; 36];
        body[15] = 9;
        body[33] = 5;
        let (got, _) = read_after(&v2(0x21, 0x21, &body)).await;
        assert_eq!(got.unwrap().client, addr("[::9]:5"));
    }

    #[tokio::test]
    async fn a_header_about_nobody_stands_for_the_peer() {
        let local_with_addresses = v2(0x20, 0x11, &[1; 12]);
        let unspecified = v2(0x21, 0x00, &[]);
        let local_of_no_family = v2(0x20, 0x55, &[1; 40]);
        let unknown: &[u8] = b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n";
        for header in [
            &local_with_addresses,
            &unspecified,
            &local_of_no_family,
            unknown,
            b"PROXY UNKNOWN\r\n",
        ] {
            let (got, peer) = read_after(header).await;
            assert_eq!(got.unwrap(), ClientAddr::direct(peer));
        }
    }

    #[tokio::test]
    async fn fields_are_skipped_and_malformed_ones_refused() {
        let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0, 1, 0, 2];
        let good = [&addresses[..], &[0x02, 0, 4], b"mail", &[0x04, 0, 2, 0, 0]].concat();
        let (got, _) = read_after(&v2(0x21, 0x11, &good)).await;
        assert_eq!(got.unwrap().client, addr("192.0.2.7:1"));
        let lying = [&addresses[..], &[0x02, 0, 9], b"mail"].concat();
        let (got, _) = read_after(&v2(0x21, 0x11, &lying)).await;
        assert!(matches!(
            got,
            Err(ProxyHeaderError::Invalid("a field is malformed"))
        ));
    }

    #[tokio::test]
    async fn garbage_is_refused_at_its_first_wrong_byte() {
        let forms: [&[u8]; 20] = [
            b"\x16\x03\x01\x00\xa5",
            b"a LOGIN bob secret\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"proxy tcp4 192.0.2.7 198.51.100.1 1 2\r\n",
            b"PROXYTCP4 192.0.2.7 198.51.100.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1 +2\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
            b"PROXY TCP4 192.0.2.7  198.51.100.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
            b"PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            b"PROXY TCP4 a\rb c 1 2\r\n",
            b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
            b"PROXY UNKNOWNx\r\n",
            b"PROXY \r\n",
            b"\r\n\r\n\0\r\nQUIX",
        ];
        for form in forms {
            let (got, _) = read_after(form).await;
            assert!(
                matches!(got, Err(ProxyHeaderError::Invalid(_))),
                "{form:?}: {got:?}"
            );
        }
        let unix = v2(0x21, 0x31, &[0; 216]);
        let udp = v2(0x21, 0x12, &[0; 12]);
        let short = v2(0x21, 0x11, &[0; 11]);
        let version_3 = v2(0x31, 0x11, &[0; 12]);
        for form in [unix, udp, short, version_3] {
            let (got, _) = read_after(&form).await;
            assert!(
                matches!(got, Err(ProxyHeaderError::Invalid(_))),
                "{form:?}: {got:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_endless_header_is_cut_off() {
        let (got, _) = read_after(&[V1_START, &[b'1'; 200]].concat()).await;
        assert!(matches!(got, Err(ProxyHeaderError::TooLong)));
        let (got, _) = read_after(&v2(0x21, 0x11, &vec![0; 4081])[..16]).await;
        assert!(matches!(got, Err(ProxyHeaderError::TooLong)));
        let most = [
            &[192, 0, 2, 7, 198, 51, 100, 1, 0, 1, 0, 2][..],
            &[0x04, 0x0f, 0xe1],
            &[0; 4065],
        ]
        .concat();
        let (got, _) = read_after(&v2(0x21, 0x11, &most)).await;
        assert_eq!(got.unwrap().client, addr("192.0.2.7:1"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_is_a_total_that_dripping_does_not_extend() {
        let (mut client, mut server, peer) = pair().await;
        let start = tokio::time::Instant::now();
        let dripping = tokio::spawn(async move {
            for byte in V1 {
                if client.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(SECOND).await;
            }
        });
        let got = read(&mut server, peer, DEFAULT_TIMEOUT).await;
        assert!(matches!(got, Err(ProxyHeaderError::Timeout)), "{got:?}");
        assert!(start.elapsed() < DEFAULT_TIMEOUT + SECOND);
        dripping.abort();
    }

    #[tokio::test]
    async fn a_peer_that_leaves_early_is_not_an_error_of_the_header() {
        for sent in [&b""[..], b"PROXY TCP4 192", &v2_tcp4()[..20]] {
            let (got, _) = read_after(sent).await;
            assert!(matches!(got, Err(ProxyHeaderError::Closed)), "{got:?}");
        }
    }

    #[tokio::test]
    async fn an_untrusted_peer_is_refused_before_it_is_read() {
        let (mut client, mut server, peer) = pair().await;
        client.write_all(V1).await.unwrap();
        let nobody = Networks::default();
        let got = client_of(&mut server, peer, &nobody, SECOND).await;
        assert!(matches!(got, Err(ProxyHeaderError::UntrustedPeer)));
        let loopback = Networks::new(vec!["127.0.0.0/8".parse().unwrap()]);
        let got = client_of(&mut server, peer, &loopback, SECOND).await.unwrap();
        assert_eq!((got.client, got.peer), (addr("192.0.2.7:56324"), peer));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_read_behind_the_end(
            start in 0..4_usize,
            rest in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b' '), Just(b'\r'), Just(b'\n'), Just(b'1')], 0..300),
        ) {
            let starts: [&[u8]; 4] = [b"", V1_START, b"PROXY TCP4 1.2.3.4 ", V2_START];
            let mut bytes = starts[start].to_vec();
            if start == 3 {
                bytes.extend([0x21, 0x11, 0]);
            }
            bytes.extend(rest);
            if let Ok(Some(end)) = extent(&bytes) {
                prop_assert!(end <= bytes.len());
                // The same end, however little of it has arrived.
                for cut in 0..end {
                    prop_assert!(matches!(extent(&bytes[..cut]), Ok(None)));
                }
                let _ = parse(&bytes[..end]);
            }
        }
    }

    #[test]
    fn what_we_encode_is_what_we_read() {
        let cases = [
            ("192.0.2.7:5", "198.51.100.1:993", "192.0.2.7:5"),
            ("[2001:db8::7]:5", "[2001:db8::1]:993", "[2001:db8::7]:5"),
            ("192.0.2.7:5", "[2001:db8::1]:993", "[::ffff:192.0.2.7]:5"),
            ("[2001:db8::7]:5", "198.51.100.1:993", "[2001:db8::7]:5"),
            ("192.0.2.7:5", "[::ffff:198.51.100.1]:993", "192.0.2.7:5"),
        ];
        for (client, local, stated) in cases {
            for version in [Version::V1, Version::V2] {
                let header = encode(version, addr(client), addr(local));
                assert_eq!(extent(&header).unwrap(), Some(header.len()));
                assert_eq!(parse(&header).unwrap(), Some(addr(stated)), "{client} {local}");
            }
        }
        assert_eq!(
            encode(Version::V1, addr("192.0.2.7:56324"), addr("198.51.100.1:993")),
            V1
        );
        assert_eq!(
            encode(Version::V2, addr("192.0.2.7:56324"), addr("198.51.100.1:993")),
            v2_tcp4()
        );
    }
}
