//! Reads from and writes to a TCP connection by system calls of our own (rustix): the C library makes each of its own a point at
//! which a thread may be cancelled, and nobody cancels ours.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use rustix::io::retry_on_intr;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;
use rustix::net::recv;
use rustix::net::send;
use tokio::io::AsyncWrite;
use tokio::io::Interest;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

/// As `TcpStream`'s own.
pub(in crate::net) fn poll_read(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let free = buf.initialize_unfilled();
    loop {
        ready!(tcp.poll_read_ready(cx))?;
        let room = free.len();
        let receive = || recv(tcp, &mut *free, RecvFlags::empty()).map(|(count, _)| count);
        match once(tcp, Interest::READABLE, room, receive) {
            Ok(count) => {
                buf.advance(count);
                return Poll::Ready(Ok(()));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// As `TcpStream`'s own.
pub(in crate::net) fn poll_write(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    match try_write(tcp, bytes, SendFlags::empty()) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Pin::new(tcp).poll_write(cx, bytes),
        written => Poll::Ready(written),
    }
}

/// Writes what the socket takes at once, with more to follow: it waits in the socket for that, for a while.
pub(in crate::net) fn try_write_more(tcp: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    try_write(tcp, bytes, SendFlags::MORE)
}

fn try_write(tcp: &TcpStream, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
    let flags = flags | SendFlags::NOSIGNAL;
    once(tcp, Interest::WRITABLE, bytes.len(), || send(tcp, bytes, flags))
}

/// Calls once, where tokio thinks that the socket is ready. A call that moves less than it could has come to the end of what there is,
/// or of the room: tokio, told so, asks epoll next and not the socket.
fn once(
    tcp: &TcpStream,
    interest: Interest,
    most: usize,
    mut call: impl FnMut() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    let mut moved = None;
    let tried = tcp.try_io(interest, || {
        let count = retry_on_intr(&mut call)?;
        moved = Some(count);
        if (1..most).contains(&count) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(count)
    });
    moved.map_or(tried, Ok)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use socket2::SockRef;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::net::tls::testing::pair;

    async fn read(tcp: &TcpStream, room: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; room];
        let mut read = ReadBuf::new(&mut buffer);
        poll_fn(|cx| poll_read(tcp, cx, &mut read)).await?;
        Ok(read.filled().to_vec())
    }

    #[tokio::test]
    async fn what_comes_after_a_read_that_took_all_is_heard_of() {
        let (ours, mut theirs) = pair().await;
        for bytes in [&b"one"[..], b"two"] {
            theirs.write_all(bytes).await.unwrap();
            assert_eq!(read(&ours, 100).await.unwrap(), bytes);
            let early = poll_fn(|cx| Poll::Ready(poll_read(&ours, cx, &mut ReadBuf::new(&mut [0; 8])))).await;
            assert!(early.is_pending());
        }
        theirs.write_all(b"three").await.unwrap();
        drop(theirs);
        assert_eq!(read(&ours, 2).await.unwrap(), b"th");
        assert_eq!(read(&ours, 100).await.unwrap(), b"ree");
        assert_eq!(read(&ours, 100).await.unwrap(), b"");
    }

    #[tokio::test]
    async fn bytes_come_in_order_whatever_the_room_until_the_end() {
        for room in [1, 3, 64, 100_000] {
            let (ours, mut theirs) = pair().await;
            let data: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
            let sent = data.clone();
            let sender = tokio::spawn(async move {
                theirs.write_all(&sent).await.unwrap();
                theirs
            });
            let mut got = Vec::new();
            while got.len() < data.len() {
                got.extend(read(&ours, room).await.unwrap());
            }
            assert!(got == data, "{room}");
            drop(sender.await.unwrap());
            assert_eq!(read(&ours, room).await.unwrap(), b"");
        }
    }

    #[tokio::test]
    async fn a_full_socket_is_waited_for_and_one_that_is_gone_is_an_error() {
        let (mut ours, mut theirs) = pair().await;
        let block = [b'x'; 65_536];
        let mut written = 0;
        while let Poll::Ready(count) = poll_fn(|cx| Poll::Ready(poll_write(&mut ours, cx, &block))).await {
            written += count.unwrap();
        }
        let reader = tokio::spawn(async move {
            theirs.read_exact(&mut vec![0; written]).await.unwrap();
            theirs
        });
        let more = poll_fn(|cx| poll_write(&mut ours, cx, &block)).await.unwrap();
        assert!(more > 0);
        let theirs = reader.await.unwrap();
        SockRef::from(&theirs)
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
        drop(theirs);
        let error = read(&ours, 10).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let error = poll_fn(|cx| poll_write(&mut ours, cx, &block)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
