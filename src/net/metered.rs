//! A TCP stream under TLS that counts what comes in: the bound on what a peer can make a TLS engine hold.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

/// The largest TLS record on the wire (RFC 5246, section 6.2.3: 2^14 + 2048 bytes and a header), with room for the tickets and
/// key updates that may come before it.
pub(super) const ALLOWANCE: usize = 20 * 1024;

/// Gives out a bounded number of bytes between two refills.
///
/// rustls joins a fragmented hand-shake message up to 64 KiB, before and after the hand-shake. We refill when application data
/// has come out, so that whoever sends anything else is cut off while what it made us hold is small: reading fails with
/// [`QuotaExceeded`](io::ErrorKind::QuotaExceeded).
#[derive(Debug)]
pub(super) struct Metered {
    tcp: TcpStream,
    left: usize,
    allowance: usize,
    first: Option<Box<First>>,
}

/// Bytes that were read before the TLS engine was there, and how many of them have been given out.
#[derive(Debug)]
struct First {
    bytes: Vec<u8>,
    given: usize,
}

impl Metered {
    /// `handshake` is for everything until the first refill; a refill gives [`ALLOWANCE`].
    pub(super) fn new(tcp: TcpStream, handshake: usize) -> Self {
        Self {
            tcp,
            left: handshake,
            allowance: ALLOWANCE,
            first: None,
        }
    }

    /// The same, where the first bytes have been read already: they come out first, and count like all others.
    pub(super) fn behind(first: Vec<u8>, tcp: TcpStream, handshake: usize) -> Self {
        let first = First {
            bytes: first,
            given: 0,
        };
        Self {
            first: (!first.bytes.is_empty()).then(|| Box::new(first)),
            ..Self::new(tcp, handshake)
        }
    }

    pub(super) fn refill(&mut self) {
        self.left = self.allowance;
    }

    /// Changes what a refill gives, and refills.
    pub(super) fn set_allowance(&mut self, allowance: usize) {
        self.allowance = allowance.min(ALLOWANCE);
        self.refill();
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            let error = io::Error::new(io::ErrorKind::QuotaExceeded, "too much TLS without data");
            return Poll::Ready(Err(error));
        }
        let room = buf.remaining().min(self.left);
        if let Some(first) = &mut self.first {
            let bytes = first.bytes.get(first.given..).unwrap_or_default();
            let bytes = bytes.get(..room).unwrap_or(bytes);
            buf.put_slice(bytes);
            let count = bytes.len();
            first.given = first.given.saturating_add(count);
            if first.given == first.bytes.len() {
                self.first = None;
            }
            self.left = self.left.saturating_sub(count);
            return Poll::Ready(Ok(()));
        }
        let mut limited = ReadBuf::new(buf.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut limited))?;
        let count = limited.filled().len();
        buf.advance(count);
        self.left = self.left.saturating_sub(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::net::tls::testing::pair;

    #[tokio::test]
    async fn no_more_than_the_allowance_comes_out_until_it_is_refilled() {
        let (ours, mut theirs) = pair().await;
        theirs.write_all(&vec![7; ALLOWANCE + 100]).await.unwrap();
        theirs.shutdown().await.unwrap();
        let mut metered = Metered::new(ours, 100);
        let mut got = Vec::new();
        let error = metered.read_to_end(&mut got).await.unwrap_err();
        assert_eq!((error.kind(), got.len()), (io::ErrorKind::QuotaExceeded, 100));
        metered.refill();
        let error = metered.read_to_end(&mut got).await.unwrap_err();
        assert_eq!(
            (error.kind(), got.len()),
            (io::ErrorKind::QuotaExceeded, ALLOWANCE + 100)
        );
        metered.refill();
        assert_eq!(metered.read_to_end(&mut got).await.unwrap(), 0);
    }
    #[tokio::test]
    async fn what_was_read_before_comes_first_and_counts() {
        let (ours, mut theirs) = pair().await;
        theirs.write_all(b"there").await.unwrap();
        theirs.shutdown().await.unwrap();
        let mut metered = Metered::behind(b"hello ".to_vec(), ours, 8);
        let mut two = [0; 2];
        metered.read_exact(&mut two).await.unwrap();
        let mut got = two.to_vec();
        let error = metered.read_to_end(&mut got).await.unwrap_err();
        assert_eq!(
            (error.kind(), &got[..]),
            (io::ErrorKind::QuotaExceeded, &b"hello th"[..])
        );
        metered.refill();
        metered.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"hello there");
    }
}
