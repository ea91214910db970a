//! The addresses that the process listens on: bound by itself, or passed by systemd.
//!
//! Made before the runtime and before anything is given up. What was passed must be what is configured, no more and no less.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;

use listenfd::ListenFd;
use socket2::SockRef;
use thiserror::Error;

use crate::config::Config;
use crate::net::socket;
use crate::net::socket::ListenError;

/// Why there is nothing to listen on.
#[derive(Debug, Error)]
pub enum SocketsError {
    /// An address is taken or not ours.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// What was passed is not a listening TCP socket.
    #[error("the socket number {number} that was passed ({name}) is no listening TCP socket")]
    Unusable {
        /// Counted from zero.
        number: usize,
        /// Its name, or `unknown`.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What was passed is not what is configured.
    #[error("the sockets that were passed are not the listeners that are configured: {0}")]
    Mismatch(String),
}

/// Bound addresses: nothing is accepted yet.
#[derive(Debug)]
pub struct Sockets {
    /// In the order of the configuration.
    pub(super) listeners: Vec<TcpListener>,
    /// Metrics and probes.
    pub(super) admin: Option<TcpListener>,
}

struct Passed {
    name: String,
    address: SocketAddr,
    socket: TcpListener,
}

impl Sockets {
    /// Binds every address.
    ///
    /// # Errors
    /// One is taken, or not ours.
    pub fn bind(config: &Config) -> Result<Self, SocketsError> {
        let options = options(config);
        let listeners = config.listeners.iter();
        let bound = listeners.map(|listener| socket::bind(listener.address, &options));
        Ok(Self {
            listeners: bound.collect::<Result<_, _>>()?,
            admin: bind_admin(config)?,
        })
    }

    /// Takes the sockets that systemd has passed, or binds every address where it has not. To be called before there is a
    /// second thread: it takes the variables out of the environment.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); or what was passed does not match the listeners.
    pub fn passed_or_bound(config: &Config) -> Result<Self, SocketsError> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = take(ListenFd::from_env(), &names)?;
        if passed.is_empty() {
            return Self::bind(config);
        }
        let mut missing = Vec::new();
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            match find(&mut passed, listener.address) {
                Some(socket) => listeners.push(socket),
                None => missing.push(listener.address.to_string()),
            }
        }
        // One that may have any port is bound: it must not take what was meant for a listener.
        let fixed = config.metrics.address.filter(|address| address.port() != 0);
        let admin = fixed.and_then(|address| find(&mut passed, address));
        if !missing.is_empty() || !passed.is_empty() {
            return Err(SocketsError::Mismatch(difference(&missing, &passed)));
        }
        Ok(Self {
            listeners,
            admin: match admin {
                Some(admin) => Some(admin),
                None => bind_admin(config)?,
            },
        })
    }
}

/// How the listeners are set up.
pub(super) fn options(config: &Config) -> socket::Options {
    socket::Options {
        shared: config.drain.hand_over,
        ..socket::Options::default()
    }
}

fn bind_admin(config: &Config) -> Result<Option<TcpListener>, ListenError> {
    let bind = |address| socket::bind(address, &options(config));
    config.metrics.address.map(bind).transpose()
}

fn take(mut fds: ListenFd, names: &str) -> Result<Vec<Passed>, SocketsError> {
    let names: Vec<&str> = names.split(':').collect();
    let mut passed = Vec::new();
    for number in 0..fds.len() {
        let name = names.get(number).filter(|name| !name.is_empty());
        let name = (*name.unwrap_or(&"unknown")).to_owned();
        let taken = fds.take_tcp_listener(number).and_then(|socket| {
            let socket = socket.ok_or(io::ErrorKind::NotFound)?;
            if !SockRef::from(&socket).is_listener()? {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            socket.set_nonblocking(true)?;
            Ok((socket.local_addr()?, socket))
        });
        match taken {
            Ok((address, socket)) => passed.push(Passed {
                name,
                address,
                socket,
            }),
            Err(source) => return Err(SocketsError::Unusable { number, name, source }),
        }
    }
    Ok(passed)
}

/// Port 0 is any port.
fn find(passed: &mut Vec<Passed>, wanted: SocketAddr) -> Option<TcpListener> {
    let is_it = |passed: &Passed| {
        passed.address.ip() == wanted.ip() && (wanted.port() == 0 || passed.address.port() == wanted.port())
    };
    let at = passed.iter().position(is_it)?;
    Some(passed.swap_remove(at).socket)
}

fn difference(missing: &[String], left: &[Passed]) -> String {
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("nothing was passed for {}", missing.join(", ")));
    }
    if !left.is_empty() {
        let left: Vec<String> = left
            .iter()
            .map(|passed| format!("{} ({})", passed.address, passed.name))
            .collect();
        parts.push(format!("passed, but not configured: {}", left.join(", ")));
    }
    parts.join("; ")
}
