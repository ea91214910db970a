//! Sockets with one read buffer for the whole thread, so that a connection that waits holds none.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::task::ready;

use nix::sys::resource::Resource;
use nix::sys::resource::getrlimit;
use nix::sys::resource::setrlimit;
use tokio::io::AsyncRead;
use tokio::io::ReadBuf;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;

/// Most bytes of one read.
pub const READ: usize = 256 << 10;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// Files that a measurement with thousands of sessions needs.
const DESCRIPTORS: u64 = 65_536;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Reads once. What an earlier call left in `kept` stands before it; `take` gets all of it and says how much it has used up;
/// the rest goes back to `kept`. Gives the number of bytes read: none is the end.
pub async fn read_with<F>(socket: &mut TcpStream, kept: &mut Vec<u8>, mut take: F) -> io::Result<usize>
where
    F: FnMut(&mut [u8]) -> io::Result<usize>,
{
    poll_fn(|cx| {
        BUFFER.with_borrow_mut(|buffer| {
            let before = kept.len();
            if buffer.len() < before + READ {
                buffer.resize(before + READ, 0);
            }
            let mut space = ReadBuf::new(&mut buffer[before..before + READ]);
            ready!(Pin::new(&mut *socket).poll_read(cx, &mut space))?;
            let read = space.filled().len();
            if read == 0 {
                return Poll::Ready(Ok(0));
            }
            buffer[..before].copy_from_slice(kept);
            let used = take(&mut buffer[..before + read])?;
            // Given back at once: what waits must not hold memory.
            *kept = buffer[used..before + read].to_vec();
            Poll::Ready(Ok(read))
        })
    })
    .await
}

/// Listens, for crowds that come at once.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Lets this process open as many files as it may.
pub fn raise_descriptors() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most.min(DESCRIPTORS), most)?;
    Ok(())
}

/// An error that is only ever shown.
pub fn other(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}
