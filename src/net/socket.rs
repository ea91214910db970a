//! Listening sockets, and the options every TCP socket of ours gets.

use std::io;
use std::net;
use std::net::SocketAddr;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::AttachReusePortCbpf;
use socket2::Domain;
use socket2::Protocol;
use socket2::SockRef;
use socket2::Socket;
use socket2::TcpKeepalive;
use socket2::Type;
use thiserror::Error;
use tokio::net::TcpListener;

/// How sockets are set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Connections that may wait in the kernel until we accept them; the kernel may cap it (`net.core.somaxconn`).
    pub backlog: u32,
    /// Probes on a silent connection; `None` sends none.
    pub keep_alive: Option<KeepAlive>,
    /// How long sent bytes may stay unacknowledged before the connection is dead (`TCP_USER_TIMEOUT`); `None` leaves it to
    /// the kernel, where it is about 15 minutes.
    pub user_timeout: Option<Duration>,
    /// Another process of the same user may listen on the address as well (`SO_REUSEPORT`): the newest one gets the new
    /// connections, so that it can take over from an older one.
    pub shared: bool,
}

/// Keep-alive probes. A mail client in IDLE says nothing for half an hour, and the address translation between us forgets it
/// much sooner: probes keep the mapping alive, and tell us when it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepAlive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Unanswered probes after which the connection is dead.
    pub count: u32,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(120),
            interval: Duration::from_secs(30),
            count: 6,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backlog: 1024,
            keep_alive: Some(KeepAlive::default()),
            // As long as the probes above need to give up: a phone in a tunnel comes back, a stolen one does not.
            user_timeout: Some(Duration::from_secs(300)),
            shared: false,
        }
    }
}

/// A listening socket could not be made.
#[derive(Debug, Error)]
#[error("cannot listen on {addr}: {source}")]
pub struct ListenError {
    /// The address asked for.
    pub addr: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Listens on an address. `[::]` takes IPv4 connections as well; their addresses look IPv4-mapped until
/// [`ClientAddr`](crate::types::ClientAddr) makes them plain.
///
/// Must be called inside the tokio runtime.
///
/// # Errors
/// The address is taken, not ours, or not allowed.
pub fn listen(addr: SocketAddr, options: &Options) -> Result<TcpListener, ListenError> {
    let listener = bind(addr, options)?;
    TcpListener::from_std(listener).map_err(|source| ListenError { addr, source })
}

/// The same outside of a runtime.
///
/// # Errors
/// As [`listen`].
pub fn bind(addr: SocketAddr, options: &Options) -> Result<net::TcpListener, ListenError> {
    open(addr, options).map_err(|source| ListenError { addr, source })
}

fn open(addr: SocketAddr, options: &Options) -> io::Result<net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait until the last connections have left TIME_WAIT.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    if options.shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    let listener = net::TcpListener::from(socket);
    if options.shared {
        prefer_the_second(&listener)?;
    }
    Ok(listener)
}

/// Of two processes that listen on one address, the kernel gives each a share of the new connections, and those that an older
/// one has not accepted when it closes its socket are reset. So the newer one, second in the kernel's list, gets all of them.
/// Where it is alone there is no second, and the kernel goes by its own rule.
fn prefer_the_second(listener: &net::TcpListener) -> io::Result<()> {
    // BPF_RET | BPF_K: the answer is the number of the socket, counted from zero.
    let mut answer = libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: 1,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut answer,
    };
    setsockopt(listener, AttachReusePortCbpf, &program).map_err(io::Error::from)
}

/// Sets the options on an accepted or dialled connection; or on a listener, whose connections begin with its own (Linux). All that
/// can be set are, whichever cannot.
///
/// # Errors
/// The system refuses an option; mostly because the connection is gone already.
pub fn tune<'s>(socket: impl Into<SockRef<'s>>, options: &Options) -> io::Result<()> {
    let socket = socket.into();
    let keep_alive = match &options.keep_alive {
        Some(probes) => socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(probes.idle)
                .with_interval(probes.interval)
                .with_retries(probes.count),
        ),
        None => Ok(()),
    };
    #[cfg(target_os = "linux")]
    let keep_alive = match options.user_timeout {
        Some(timeout) => keep_alive.and(socket.set_tcp_user_timeout(Some(timeout))),
        None => keep_alive,
    };
    // With Nagle's algorithm each hand-shake and each command pays a delayed acknowledgement, 40 ms. It is turned off last: what has
    // begun without it by its listener has the others.
    socket.set_tcp_nodelay(true).and(keep_alive)
}

/// True where a connection has all of the options.
///
/// # Errors
/// The system does not tell.
pub fn is_tuned<'s>(socket: impl Into<SockRef<'s>>, options: &Options) -> io::Result<bool> {
    let socket = socket.into();
    let probes = match &options.keep_alive {
        Some(probes) => {
            socket.keepalive()?
                && socket.tcp_keepalive_time()? == probes.idle
                && socket.tcp_keepalive_interval()? == probes.interval
                && socket.tcp_keepalive_retries()? == probes.count
        }
        None => true,
    };
    #[cfg(target_os = "linux")]
    let timeout = options.user_timeout.is_none() || socket.tcp_user_timeout()? == options.user_timeout;
    #[cfg(not(target_os = "linux"))]
    let timeout = true;
    Ok(probes && timeout && socket.tcp_nodelay()?)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn an_accepted_connection_gets_every_option() {
        let options = Options::default();
        let listener = listen("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(!is_tuned(&client, &options).unwrap());
        tune(&client, &options).unwrap();
        assert!(is_tuned(&client, &options).unwrap());
        let other = Options {
            user_timeout: Some(Duration::from_secs(7)),
            ..options
        };
        assert!(!is_tuned(&client, &other).unwrap());
    }

    #[tokio::test]
    async fn options_that_are_off_are_left_alone() {
        let options = Options {
            keep_alive: None,
            user_timeout: None,
            ..Options::default()
        };
        let listener = listen("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune(&client, &options).unwrap();
        assert!(!SockRef::from(&client).keepalive().unwrap());
    }

    #[tokio::test]
    async fn the_unspecified_ipv6_address_takes_ipv4_too() {
        let Ok(listener) = listen("[::]:0".parse().unwrap(), &Options::default()) else {
            return; // a machine without IPv6 has nothing to prove here
        };
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip().to_canonical().to_string(), "127.0.0.1");
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let first = listen("127.0.0.1:0".parse().unwrap(), &Options::default()).unwrap();
        let addr = first.local_addr().unwrap();
        let error = listen(addr, &Options::default()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("cannot listen on {addr}: ")),
            "{error}"
        );
    }
}
