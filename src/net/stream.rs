//! One leg of a session: plain TCP, or TLS on it.
//!
//! Nothing is buffered on a plain leg, and [`tls`](crate::net::tls) upgrades a bare `TcpStream` only: what a peer sent behind
//! STARTTLS in the clear can never be read as if it had come through TLS. Whoever has read from the plain leg drops what is left.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::net::direct;
use crate::net::tls::ALLOWANCE;
use crate::net::tls::Session;

/// A connection to a client or to a backend.
///
/// A TLS peer that closes TCP without saying so in TLS first gives `UnexpectedEof`: many mail clients leave like that.
#[derive(Debug)]
pub enum Stream {
    /// TCP in the clear.
    Plain(TcpStream),
    /// TLS, where we are the server.
    Server(Box<Session>),
    /// TLS, where we are the client.
    Client(Box<Session>),
}

impl Stream {
    /// True where the bytes are encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// The bare connection, to be upgraded. Gives the stream back where it is TLS already.
    ///
    /// # Errors
    /// The stream is TLS.
    pub fn into_plain(self) -> Result<TcpStream, Self> {
        match self {
            Self::Plain(tcp) => Ok(tcp),
            tls => Err(tls),
        }
    }

    /// Cuts a TLS peer off that makes us hold more than `bytes` of an unfinished record; a record has 16 KiB at most, and
    /// without this call we hold that. Before login no honest client sends records over a few KiB, and memory is scarce while
    /// everybody can connect: bound it then, and call [`unbound_records`](Self::unbound_records) once the client is logged in.
    pub fn bound_records(&mut self, bytes: usize) {
        self.set_allowance(bytes);
    }

    /// Takes records of any size that TLS allows, again.
    pub fn unbound_records(&mut self) {
        self.set_allowance(ALLOWANCE);
    }

    fn set_allowance(&mut self, bytes: usize) {
        if let Self::Server(session) | Self::Client(session) = self {
            session.set_allowance(bytes);
        }
    }

    /// The address at the other end of the socket; for a decision use [`ClientAddr`](crate::types::ClientAddr).
    ///
    /// # Errors
    /// The connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp().peer_addr()
    }

    /// Our own address on this connection.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp().local_addr()
    }

    /// Waits until a read will give something: data, the end, or an error. Needs no buffer, so an idle session holds none.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn readable(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// [`readable`](Self::readable) for callers that poll. On a plain leg it may be ready once too often: a read may still be pending.
    ///
    /// # Errors
    /// The connection failed.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => tcp.poll_read_ready(cx),
            Self::Server(session) | Self::Client(session) => session.poll_readable(cx),
        }
    }

    /// What is written from here on goes out with the goodbye, where there is one and it is little: call
    /// [`close`](Self::close) next.
    pub fn hold_back(&mut self) {
        if let Self::Server(session) | Self::Client(session) = self {
            session.hold_back();
        }
    }

    /// Says goodbye in an orderly way within the time given: sends what is left, closes our side, and reads on until the peer
    /// closes too. Closing with unread bytes would make the kernel send a reset, and a reset can overtake our last words.
    pub async fn close(mut self, within: Duration) {
        // Whatever fails here, the connection is gone: which is what we want.
        let _ = timeout(within, async {
            self.flush().await?;
            self.shutdown().await?;
            self.drain().await
        })
        .await;
    }

    async fn drain(&mut self) -> io::Result<()> {
        const MOST: usize = 64 * 1024;
        let mut waste = [0; 512];
        let mut seen = 0;
        while seen < MOST {
            let count = self.read(&mut waste).await?;
            if count == 0 {
                break;
            }
            seen = seen.saturating_add(count);
        }
        Ok(())
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Server(session) | Self::Client(session) => session.tcp(),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        Self::Plain(tcp)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => direct::poll_read(tcp, cx, buf),
            Self::Server(session) | Self::Client(session) => Pin::new(session.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => direct::poll_write(tcp, cx, buf),
            Self::Server(session) | Self::Client(session) => Pin::new(session.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Server(session) | Self::Client(session) => {
                Pin::new(session.as_mut()).poll_write_vectored(cx, bufs)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Server(session) | Self::Client(session) => Pin::new(session.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Server(session) | Self::Client(session) => Pin::new(session.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::sync::Arc;

    use super::*;
    use crate::net::tls::testing::Authority;
    use crate::net::tls::testing::Kind;
    use crate::net::tls::testing::meet;
    use crate::net::tls::testing::pair;
    use crate::net::tls::testing::tls_pair;

    const HOST: &str = "mail.example.org";

    async fn plain_pair() -> (Stream, Stream) {
        let (ours, theirs) = pair().await;
        (ours.into(), theirs.into())
    }

    /// What every idle session pays besides the engine's own 5 KiB.
    #[test]
    fn a_session_is_small() {
        assert!(size_of::<Stream>() <= 40, "{}", size_of::<Stream>());
        assert!(size_of::<Session>() <= 1536, "{}", size_of::<Session>());
    }

    #[tokio::test]
    async fn megabytes_go_through_both_ways_at_once() {
        for (one, two) in [tls_pair().await, plain_pair().await] {
            let data: Arc<Vec<u8>> = Arc::new((0..500_000_u32).flat_map(u32::to_le_bytes).collect());
            let ends = [one, two].map(|stream| {
                let data = Arc::clone(&data);
                tokio::spawn(async move {
                    let (mut read, mut write) = tokio::io::split(stream);
                    let sent = Arc::clone(&data);
                    let sender = tokio::spawn(async move {
                        write.write_all(&sent).await.unwrap();
                        write.shutdown().await.unwrap();
                    });
                    let mut got = Vec::new();
                    read.read_to_end(&mut got).await.unwrap();
                    sender.await.unwrap();
                    assert!(got == *data);
                })
            });
            for end in ends {
                end.await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn many_small_records_are_read_at_once() {
        let (mut ours, mut theirs) = tls_pair().await;
        for _ in 0..50 {
            theirs.write_all(b"0123456789").await.unwrap();
        }
        theirs.flush().await.unwrap();
        theirs.shutdown().await.unwrap();
        ours.readable().await.unwrap();
        let mut buffer = vec![0; 2 * ALLOWANCE];
        let mut got = 0;
        let mut reads = 0;
        loop {
            match ours.read(&mut buffer).await.unwrap() {
                0 => break,
                count => got += count,
            }
            reads += 1;
        }
        assert_eq!(got, 500);
        assert!(reads < 25, "{reads}");
    }

    #[tokio::test]
    async fn records_over_the_bound_end_the_connection_until_it_is_lifted() {
        let record = [b'x'; 16_384];
        let (mut ours, mut theirs) = tls_pair().await;
        ours.bound_records(8192);
        theirs.write_all(&record[..7000]).await.unwrap();
        theirs.flush().await.unwrap();
        ours.read_exact(&mut [0; 7000]).await.unwrap();
        theirs.write_all(&record).await.unwrap();
        theirs.flush().await.unwrap();
        let error = ours.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.to_string(), "too much TLS without data");
        let (mut ours, mut theirs) = tls_pair().await;
        ours.bound_records(8192);
        ours.unbound_records();
        theirs.write_all(&record).await.unwrap();
        theirs.flush().await.unwrap();
        ours.read_exact(&mut [0; 16_384]).await.unwrap();
    }

    #[tokio::test]
    async fn parts_are_written_in_one_go() {
        for (mut ours, mut theirs) in [tls_pair().await, plain_pair().await] {
            assert!(ours.is_write_vectored());
            let parts = [
                IoSlice::new(b"* 1 FETCH "),
                IoSlice::new(b"{3}\r\n"),
                IoSlice::new(b"abc)\r\n"),
            ];
            assert_eq!(ours.write_vectored(&parts).await.unwrap(), 21);
            ours.flush().await.unwrap();
            let mut got = [0; 21];
            theirs.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"* 1 FETCH {3}\r\nabc)\r\n");
        }
    }

    #[tokio::test]
    async fn readable_waits_without_taking() {
        for (mut ours, mut theirs) in [tls_pair().await, plain_pair().await] {
            let early = timeout(Duration::from_millis(10), ours.readable()).await;
            assert!(early.is_err() || !ours.is_tls());
            theirs.write_all(b"x").await.unwrap();
            theirs.flush().await.unwrap();
            ours.readable().await.unwrap();
            ours.readable().await.unwrap();
            let mut got = [0; 8];
            assert_eq!(ours.read(&mut got).await.unwrap(), 1);
            theirs.shutdown().await.unwrap();
            ours.readable().await.unwrap();
            assert_eq!(ours.read(&mut got).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn leaving_without_goodbye_is_told_from_a_close() {
        let (mut ours, mut theirs) = tls_pair().await;
        ours.write_all(b"*").await.unwrap();
        ours.flush().await.unwrap();
        theirs.read_exact(&mut [0; 1]).await.unwrap();
        drop(theirs);
        let error = ours.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn last_words_arrive_though_input_is_left_unread() {
        for (mut ours, mut theirs) in [tls_pair().await, plain_pair().await] {
            theirs.write_all(&[b'x'; 30_000]).await.unwrap();
            theirs.flush().await.unwrap();
            ours.readable().await.unwrap();
            let client = tokio::spawn(async move {
                let mut got = Vec::new();
                theirs.read_to_end(&mut got).await.unwrap();
                got
            });
            ours.write_all(b"* BYE\r\n").await.unwrap();
            ours.close(Duration::from_secs(5)).await;
            assert_eq!(client.await.unwrap(), b"* BYE\r\n");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn closing_does_not_wait_for_a_peer_that_does_not_read() {
        for (mut ours, _theirs) in [tls_pair().await, plain_pair().await] {
            let big = vec![0; 16 * 1024 * 1024];
            assert!(
                timeout(Duration::from_secs(1), ours.write_all(&big))
                    .await
                    .is_err()
            );
            let start = tokio::time::Instant::now();
            ours.close(Duration::from_secs(3)).await;
            assert!(start.elapsed() < Duration::from_secs(4));
        }
    }

    #[tokio::test]
    async fn only_a_plain_stream_can_be_upgraded() {
        let (plain, _other) = plain_pair().await;
        assert!(!plain.is_tls());
        assert!(plain.peer_addr().is_ok() && plain.local_addr().is_ok());
        assert!(plain.into_plain().is_ok());
        let (encrypted, _other) = tls_pair().await;
        assert!(encrypted.is_tls());
        assert!(encrypted.peer_addr().is_ok() && encrypted.local_addr().is_ok());
        assert!(encrypted.into_plain().is_err());
    }

    /// What a mail client sends in the clear behind STARTTLS reaches the TLS engine, which refuses it: it is never data.
    #[tokio::test]
    async fn plain_text_behind_starttls_breaks_the_hand_shake() {
        let authority = Authority::new();
        let server = authority.server(vec![authority.issue("mail", &[HOST], Kind::Ecdsa)]);
        let (mut ours, mut theirs) = pair().await;
        theirs
            .write_all(b"a STARTTLS\r\nb LOGIN evil x\r\n")
            .await
            .unwrap();
        ours.read_exact(&mut [0; 12]).await.unwrap();
        assert!(server.handshake(ours).await.is_err());
        let (accepted, _) = meet(&server, &Arc::new(authority.client()), HOST).await;
        assert!(accepted.is_ok());
    }
}
