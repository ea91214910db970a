//! A TLS session on a TCP connection, with as little memory as it can do with.
//!
//! Bytes are read, opened, sealed and written in buffers of the thread. The session itself keeps what cannot be handled yet:
//! an incomplete record, plaintext that nobody has asked for, records that the peer does not take.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use rustls::CommonState;
use rustls::ProtocolVersion;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use crate::net::direct;
use crate::net::tls::engine::Engine;
use crate::net::tls::meter::ALLOWANCE;
use crate::net::tls::meter::Meter;
use crate::net::tls::queue::Queue;
use crate::net::tls::scratch::Data;
use crate::net::tls::scratch::SCRATCH;
use crate::net::tls::scratch::Scratch;

/// Sealed bytes that wait and are no more than this go out together with what is sealed next, or with the goodbye.
const LITTLE: usize = 4096;

/// A TLS session on a TCP connection.
pub struct Session {
    tcp: TcpStream,
    engine: Engine,
    meter: Meter,
    /// The beginning of a record or message that is not complete.
    incomplete: Vec<u8>,
    /// Opened, and not handed out yet.
    plain: Queue,
    /// Sealed, and not taken by the socket yet.
    sealed: Queue,
    /// Failed behind data that has to be handed out first.
    failed: Option<io::Error>,
    /// The engine has failed and is not asked again.
    broken: bool,
    /// The peer has said that nothing follows.
    peer_closed: bool,
    /// We have said so.
    said_goodbye: bool,
    /// What is sealed waits for our goodbye, and goes out with it.
    holds_back: bool,
}

impl Session {
    /// A session whose hand-shake has not begun, for which a peer may send `handshake` bytes.
    pub(super) fn new(engine: Engine, tcp: TcpStream, handshake: usize) -> Self {
        Self {
            tcp,
            engine,
            meter: Meter::new(handshake),
            incomplete: Vec::new(),
            plain: Queue::default(),
            sealed: Queue::default(),
            failed: None,
            broken: false,
            peer_closed: false,
            said_goodbye: false,
            holds_back: false,
        }
    }

    /// What was agreed on.
    pub(super) fn state(&self) -> &CommonState {
        self.engine.state()
    }

    pub(in crate::net) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// What is written from here on, if it is little, goes out with the goodbye: in one packet, where it would be two. It is for
    /// whoever shuts the session down next.
    pub(in crate::net) fn hold_back(&mut self) {
        self.holds_back = true;
    }

    /// How many bytes of an unfinished record are held at most, from here on.
    pub(in crate::net) fn set_allowance(&mut self, bytes: usize) {
        self.meter.set_allowance(bytes);
    }

    /// Does the hand-shake; `first` was read from the connection before. In version 1.3 a server's tickets go out with
    /// the first data, or when there is something to wait for.
    ///
    /// # Errors
    /// The connection failed or was closed; or one side refused the other, and then a [`rustls::Error`] is inside.
    pub(super) async fn handshake(&mut self, first: Vec<u8>) -> io::Result<()> {
        self.meter.spend(first.len());
        self.incomplete = first;
        let result = self.shake_hands().await;
        self.meter.set_allowance(ALLOWANCE);
        result
    }

    async fn shake_hands(&mut self) -> io::Result<()> {
        let nothing = &mut ReadBuf::new(&mut []);
        SCRATCH.with_borrow_mut(|scratch| self.open(scratch, 0, nothing))?;
        while self.engine.state().is_handshaking() {
            if let Some(error) = self.failed.take() {
                // The alert: if it does not go out at once, the client does not wait for it.
                poll_fn(|cx| Poll::Ready(self.poll_send(cx).is_ready())).await;
                return Err(error);
            }
            if self.peer_closed {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            poll_fn(|cx| self.poll_send(cx)).await?;
            poll_fn(|cx| self.poll_fill(cx, nothing)).await?;
        }
        let only_tickets_wait = matches!(self.engine, Engine::Server(_))
            && self.engine.state().protocol_version() == Some(ProtocolVersion::TLSv1_3);
        if !only_tickets_wait {
            poll_fn(|cx| self.poll_send(cx)).await?;
        }
        Ok(())
    }

    /// Waits until there is data, the end, or an error.
    pub(in crate::net) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.plain.is_empty() || self.peer_closed {
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = self.failed.take() {
                return Poll::Ready(Err(error));
            }
            ready!(self.poll_fill(cx, &mut ReadBuf::new(&mut [])))?;
        }
    }

    /// Reads from the socket once and opens what is complete: into `buf` as far as it goes, then into `plain`. Whatever is wrong
    /// behind data is kept in `failed`.
    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.broken {
            // The engine must not see another byte: it may panic on them.
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let result = SCRATCH.with_borrow_mut(|scratch| {
            let before = self.incomplete.len();
            let room = self.meter.room(buf.remaining().saturating_sub(before))?;
            let end = before.saturating_add(room).min(scratch.incoming.len());
            let Some(free) = scratch
                .incoming
                .get_mut(before..end)
                .filter(|free| !free.is_empty())
            else {
                return Poll::Ready(Err(Meter::exceeded()));
            };
            let mut read = ReadBuf::new(free);
            ready!(direct::poll_read(&self.tcp, cx, &mut read))?;
            let count = read.filled().len();
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.meter.spend(count);
            let opened = self.open(scratch, count, buf);
            if self.meter.is_tight()
                && let Some(used) = scratch.incoming.get_mut(..end)
            {
                // Passwords come before the login: they do not stay in the thread's buffer.
                used.fill(0);
            }
            Poll::Ready(opened)
        });
        if (result.is_pending() || self.broken) && !self.sealed.is_empty() {
            // Whom we wait for may be waiting for this; where it fails, reading says so.
            let _ = self.poll_send(cx);
        }
        result
    }

    /// Opens what is incomplete and the `count` bytes that stand behind its place in the scratch buffer.
    fn open(&mut self, scratch: &mut Scratch, count: usize, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        let Self {
            engine,
            meter,
            incomplete,
            plain,
            sealed,
            ..
        } = self;
        let before = incomplete.len();
        let total = before.saturating_add(count);
        let Some(input) = scratch.incoming.get_mut(..total) else {
            return Err(Meter::exceeded());
        };
        if let Some(place) = input.get_mut(..before) {
            place.copy_from_slice(incomplete);
        }
        let mut hand_out = |data: &[u8]| {
            if data.is_empty() {
                return;
            }
            meter.refill();
            let now = if plain.is_empty() {
                data.len().min(buf.remaining())
            } else {
                0
            };
            let (now, later) = data.split_at(now);
            buf.put_slice(now);
            plain.bytes.extend_from_slice(later);
        };
        let taken = engine.take(input, &mut hand_out, &mut sealed.bytes);
        let rest = input.get(taken.used..).unwrap_or_default();
        if rest.is_empty() || taken.failure.is_some() || taken.closed {
            // Neither a broken engine nor one whose peer is done looks at it again.
            *incomplete = Vec::new();
        } else {
            incomplete.clear();
            incomplete.reserve_exact(rest.len());
            incomplete.extend_from_slice(rest);
        }
        self.peer_closed |= taken.closed;
        if let Some(error) = taken.failure {
            self.broken = true;
            self.failed = Some(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(())
    }

    /// Writes what is sealed.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.sealed.is_empty() {
            match ready!(direct::poll_write(&mut self.tcp, cx, self.sealed.rest()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sealed.advance(count),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is sealed, if it is little, so that it goes out with the end of the connection: in one packet, where it would be
    /// two. What the socket does not take now is left.
    fn send_with_the_end(&mut self) -> io::Result<()> {
        if self.sealed.is_empty() || self.sealed.len() > LITTLE {
            return Ok(());
        }
        match direct::try_write_more(&self.tcp, self.sealed.rest()) {
            Ok(count) => self.sealed.advance(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Seals up to a batch and writes what the socket takes; the rest is kept, and nothing more is sealed until it is gone.
    fn seal(&mut self, scratch: &mut Scratch, data: Data<'_, '_>, cx: &mut Context<'_>) -> io::Result<usize> {
        let Scratch {
            outgoing, gathered, ..
        } = scratch;
        let data = data.batch(gathered);
        let waiting = self.sealed.rest();
        let Some((first, free)) = outgoing.split_at_mut_checked(waiting.len()) else {
            return Err(io::ErrorKind::WriteZero.into());
        };
        first.copy_from_slice(waiting);
        let size = self.engine.seal(data, &mut self.incomplete, free)?;
        let size = first.len().saturating_add(size);
        let records = outgoing.get(..size).unwrap_or_default();
        let written = if self.holds_back && size <= LITTLE {
            0
        } else {
            match direct::poll_write(&mut self.tcp, cx, records) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            }
        };
        self.sealed = Queue::of(records.get(written..).unwrap_or_default());
        Ok(data.len())
    }

    fn poll_seal(&mut self, data: Data<'_, '_>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if self.sealed.len() > LITTLE {
            ready!(self.poll_send(cx))?;
        }
        Poll::Ready(SCRATCH.with_borrow_mut(|scratch| self.seal(scratch, data, cx)))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("tcp", &self.tcp)
            .finish_non_exhaustive()
    }
}

impl AsyncRead for Session {
    /// As many records as are here and fit: a download should not become one write per record.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let session = self.get_mut();
        let before = buf.filled().len();
        if !session.plain.is_empty() {
            let now = session.plain.len().min(buf.remaining());
            buf.put_slice(session.plain.rest().get(..now).unwrap_or_default());
            session.plain.advance(now);
        }
        while buf.filled().len() == before && buf.remaining() > 0 {
            if let Some(error) = session.failed.take() {
                return Poll::Ready(Err(error));
            }
            if session.peer_closed {
                break;
            }
            ready!(session.poll_fill(cx, buf))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Session {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_seal(Data::One(buf), cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_seal(Data::Several(bufs), cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let session = self.get_mut();
        if session.holds_back && session.sealed.len() <= LITTLE {
            return Poll::Ready(Ok(()));
        }
        session.poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let session = self.get_mut();
        if !session.said_goodbye && !session.broken {
            session.said_goodbye = true;
            let Self {
                engine,
                incomplete,
                sealed,
                ..
            } = session;
            engine.say_goodbye(incomplete, &mut sealed.bytes);
        }
        session.send_with_the_end()?;
        ready!(session.poll_send(cx))?;
        Pin::new(&mut session.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use socket2::SockRef;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio_rustls::client::TlsStream;

    use super::*;
    use crate::net::stream::Stream;
    use crate::net::tls::engine::RECORD;
    use crate::net::tls::engine::RECORD_OVERHEAD;
    use crate::net::tls::scratch::BATCH;
    use crate::net::tls::testing::Authority;
    use crate::net::tls::testing::Kind;
    use crate::net::tls::testing::meet;

    const HOST: &str = "mail.example.org";

    /// Our end, and a client that is not ours.
    async fn ends() -> (Session, TlsStream<TcpStream>) {
        let authority = Authority::new();
        let server = authority.server(vec![authority.issue("mail", &[HOST], Kind::Ecdsa)]);
        let (ours, theirs) = meet(&server, &Arc::new(authority.client()), HOST).await;
        let Ok((Stream::Server(session), _)) = ours else {
            panic!("{ours:?}");
        };
        (*session, theirs.unwrap())
    }

    fn holds(session: &Session) -> usize {
        let queues = [&session.plain, &session.sealed].map(|queue| queue.bytes.capacity());
        queues.into_iter().sum::<usize>() + session.incomplete.capacity()
    }

    #[tokio::test]
    async fn a_session_that_waits_holds_nothing() {
        let (mut ours, mut theirs) = ends().await;
        let mut got = [0; 1000];
        for _ in 0..3 {
            theirs.write_all(&[b'x'; 1000]).await.unwrap();
            theirs.flush().await.unwrap();
            ours.read_exact(&mut got).await.unwrap();
            ours.write_all(&[b'y'; 1000]).await.unwrap();
            ours.flush().await.unwrap();
            theirs.read_exact(&mut got).await.unwrap();
        }
        assert_eq!(holds(&ours), 0);
    }

    #[tokio::test]
    async fn what_a_peer_does_not_take_is_held_once_and_bounded() {
        let (mut ours, mut theirs) = ends().await;
        let data = vec![b'x'; 4 * BATCH];
        let mut sent = 0;
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(written) = Pin::new(&mut ours).poll_write(&mut cx, &data) {
            let written = written.unwrap();
            assert_eq!(written, BATCH);
            sent += written;
        }
        let most = BATCH + (BATCH / RECORD) * RECORD_OVERHEAD;
        assert!((1..=most).contains(&holds(&ours)), "{}", holds(&ours));
        let reader = tokio::spawn(async move {
            let mut got = vec![0; sent];
            theirs.read_exact(&mut got).await.unwrap();
            theirs
        });
        ours.flush().await.unwrap();
        assert_eq!(holds(&ours), 0);
        reader.await.unwrap();
    }

    #[tokio::test]
    async fn a_stuck_writer_still_reads() {
        let (mut ours, mut theirs) = ends().await;
        let data = vec![b'x'; BATCH];
        let mut cx = Context::from_waker(Waker::noop());
        while Pin::new(&mut ours).poll_write(&mut cx, &data).is_ready() {}
        theirs.write_all(b"DONE\r\n").await.unwrap();
        theirs.flush().await.unwrap();
        let mut got = [0; 6];
        ours.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"DONE\r\n");
    }

    /// One write, one packet, no 40 ms of waiting for an acknowledgement between the two.
    #[tokio::test]
    async fn tickets_go_out_with_the_greeting() {
        let (mut ours, mut theirs) = ends().await;
        let mut byte = [0; 1];
        let nothing = theirs.get_ref().0.try_read(&mut byte).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        assert!(!ours.sealed.is_empty());
        ours.write_all(b"* OK\r\n").await.unwrap();
        assert!(ours.sealed.is_empty());
        let mut got = [0; 6];
        theirs.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"* OK\r\n");
    }

    #[tokio::test]
    async fn last_words_go_out_with_the_goodbye() {
        let (mut ours, mut theirs) = ends().await;
        ours.write_all(b"* OK\r\n").await.unwrap();
        theirs.read_exact(&mut [0; 6]).await.unwrap();
        ours.hold_back();
        ours.write_all(b"* BYE\r\n").await.unwrap();
        ours.flush().await.unwrap();
        // Asked of the system: what tokio knows may be old.
        let socket = SockRef::from(theirs.get_ref().0);
        let nothing = socket
            .peek(&mut [std::mem::MaybeUninit::uninit(); 100])
            .unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        // What is more than a little is not held.
        let much = vec![b'x'; 2 * LITTLE];
        ours.write_all(&much).await.unwrap();
        ours.write_all(b"+").await.unwrap();
        ours.shutdown().await.unwrap();
        assert!(ours.sealed.is_empty());
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, [b"* BYE\r\n".as_slice(), &much, b"+"].concat());
    }

    #[tokio::test]
    async fn tickets_go_out_where_we_wait() {
        let (mut ours, theirs) = ends().await;
        let mut cx = Context::from_waker(Waker::noop());
        assert!(ours.poll_readable(&mut cx).is_pending());
        assert!(ours.sealed.is_empty());
        theirs.get_ref().0.readable().await.unwrap();
    }

    #[tokio::test]
    async fn data_before_a_broken_record_comes_first_then_the_error_and_the_peer_is_told() {
        let (mut ours, mut theirs) = ends().await;
        theirs.write_all(b"good").await.unwrap();
        theirs.flush().await.unwrap();
        theirs
            .get_mut()
            .0
            .write_all(&[
                23, 3, 3, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ])
            .await
            .unwrap();
        let mut got = [0; 10];
        assert_eq!(ours.read(&mut got).await.unwrap(), 4);
        let error = ours.read(&mut got).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let error = ours.write_all(b"x").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        let error = theirs.read(&mut got).await.unwrap_err();
        assert!(error.to_string().contains("BadRecordMac"), "{error}");
        // Whoever reads on, to close in an orderly way, does not wake the engine again.
        let tcp = &mut theirs.get_mut().0;
        tcp.write_all(&[23, 3, 3, 0, 1, 0]).await.unwrap();
        let error = ours.read(&mut got).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn pieces_become_one_record() {
        let (mut ours, mut theirs) = ends().await;
        let pieces = [b"* 1 ".as_slice(), b"", b"EXISTS", b"\r\n"].map(io::IoSlice::new);
        assert_eq!(ours.write_vectored(&pieces).await.unwrap(), 12);
        let mut got = [0; 100];
        assert_eq!(theirs.read(&mut got).await.unwrap(), 12);
        assert_eq!(&got[..12], b"* 1 EXISTS\r\n");
        let many = vec![io::IoSlice::new(&[b'x'; 5000]); 20];
        assert_eq!(ours.write_vectored(&many).await.unwrap(), BATCH);
    }
}
