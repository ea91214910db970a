//! The accept loop's inner step: a permit first, then a connection. It never fails and never spins: what goes wrong with one
//! connection is skipped, and a shortage of descriptors is waited out.

use std::future::pending;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tracing::debug;
use tracing::error;
use tracing::info;
use tracing::warn;

use crate::net::socket;
use crate::net::socket::Options;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts connections of one listener, at most as many at a time as there are permits.
///
/// All listeners share one semaphore: it is the bound on connections in all. While no permit is free, new connections wait in
/// the kernel's backlog and cost us nothing. A listener that waits for a connection holds a permit: no flood on one listener
/// takes another one's last place, and there must be more permits than listeners.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    options: Options,
    trouble: Trouble,
    /// Whether what the listener accepts has its options, once that was seen.
    hands_on: Option<bool>,
    /// The system does not know an option; said once.
    untuned: bool,
}

impl Acceptor {
    /// Takes over a listener.
    #[must_use]
    pub fn new(listener: TcpListener, permits: Arc<Semaphore>, options: Options) -> Self {
        // What goes wrong here goes wrong with each connection, and is told there.
        let tuned = socket::tune(&listener, &options);
        Self {
            hands_on: tuned.is_err().then_some(false),
            listener,
            permits,
            options,
            trouble: Trouble::default(),
            untuned: false,
        }
    }

    /// The address we listen on.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection, tuned, with its peer's address and its permit; drop the permit with the connection.
    ///
    /// Cancel-safe: neither a connection nor a permit is lost, and a pause goes on where it was.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            // Closed: the program is shutting down and whoever selects on us has another arm for that.
            return pending().await;
        };
        let listener = &self.listener;
        let (stream, peer) = next(&mut self.trouble, |cx| listener.poll_accept(cx)).await;
        if !self.has_begun_tuned(&stream)
            && let Err(error) = socket::tune(&stream, &self.options)
            && !self.untuned
        {
            self.untuned = true;
            warn!(%error, "connections go on without a socket option that was asked for");
        }
        (stream, peer, permit)
    }

    /// True where a connection has its options by the listener. One that came before the listener had them has none of ours; and not
    /// every system hands them on, or all of them.
    fn has_begun_tuned(&mut self, stream: &TcpStream) -> bool {
        if self.hands_on == Some(false) || !stream.nodelay().unwrap_or(false) {
            return false;
        }
        let look = || socket::is_tuned(stream, &self.options).unwrap_or(false);
        *self.hands_on.get_or_insert_with(look)
    }
}

/// What an error of `accept` says about the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AcceptError {
    /// This one connection is gone, and out of the queue: go on with the next.
    ThisConnection,
    /// No descriptor or memory for it, or something we don't know: it stays in the queue, so asking again at once would spin.
    Pause,
}

fn classify(error: &io::Error) -> AcceptError {
    match error.kind() {
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::Interrupted
        // accept(2): errors of the network that were pending on the new socket must be treated like a retry.
        | io::ErrorKind::TimedOut
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable => AcceptError::ThisConnection,
        // EMFILE, ENFILE, ENOBUFS, ENOMEM, and a firewall's EPERM.
        _ => AcceptError::Pause,
    }
}

async fn next<T>(trouble: &mut Trouble, mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>) -> T {
    loop {
        trouble.wait().await;
        match poll_fn(&mut poll).await {
            Ok(accepted) => {
                trouble.over();
                return accepted;
            }
            Err(error) => match classify(&error) {
                AcceptError::ThisConnection => debug!(%error, "connection was gone before it was accepted"),
                AcceptError::Pause => trouble.pause(&error),
            },
        }
    }
}

/// An episode of failures, from the first to the next success.
#[derive(Debug, Default)]
struct Trouble {
    failures: u32,
    until: Option<Instant>,
}

impl Trouble {
    async fn wait(&mut self) {
        if let Some(until) = self.until {
            sleep_until(until).await;
            self.until = None;
        }
    }

    fn pause(&mut self, error: &io::Error) {
        if self.failures == 0 {
            error!(%error, "cannot accept connections, trying on; are descriptors or memory used up?");
        }
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(Instant::now() + pause);
    }

    fn over(&mut self) {
        if self.failures > 0 {
            info!(failures = self.failures, "accepting connections again");
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::time::timeout;

    use super::*;

    const EMFILE: i32 = 24;

    fn acceptor(permits: usize) -> (Acceptor, SocketAddr, Arc<Semaphore>) {
        let permits = Arc::new(Semaphore::new(permits));
        let options = Options::default();
        let listener = socket::listen("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let addr = listener.local_addr().unwrap();
        (
            Acceptor::new(listener, Arc::clone(&permits), options),
            addr,
            permits,
        )
    }

    #[test]
    fn a_shortage_pauses_and_a_lost_connection_does_not() {
        for shortage in [EMFILE, 23, 12, 105, 1] {
            let error = io::Error::from_raw_os_error(shortage);
            assert_eq!(classify(&error), AcceptError::Pause, "{error}");
        }
        for lost in [103, 104, 4, 110, 100, 101, 113] {
            let error = io::Error::from_raw_os_error(lost);
            assert_eq!(classify(&error), AcceptError::ThisConnection, "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_bound_and_end_with_the_next_success() {
        let mut trouble = Trouble::default();
        let mut script: VecDeque<io::Result<u8>> = (0..20)
            .map(|_| Err(io::Error::from_raw_os_error(EMFILE)))
            .collect();
        script.push_back(Err(io::ErrorKind::ConnectionAborted.into()));
        script.push_back(Ok(7));
        let start = Instant::now();
        let got = next(&mut trouble, |_| Poll::Ready(script.pop_front().unwrap())).await;
        assert_eq!(got, 7);
        // 10 ms doubled seven times, then a second each.
        let spent = start.elapsed();
        assert!(
            spent > Duration::from_secs(14) && spent < Duration::from_secs(15),
            "{spent:?}"
        );
        assert_eq!(trouble.failures, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_pause_is_not_skipped() {
        let mut trouble = Trouble::default();
        trouble.pause(&io::Error::from_raw_os_error(EMFILE));
        let start = Instant::now();
        for _ in 0..9 {
            let cut = timeout(
                Duration::from_millis(1),
                next(&mut trouble, |_| Poll::Ready(Ok(()))),
            )
            .await;
            assert!(cut.is_err());
        }
        next(&mut trouble, |_| Poll::Ready(Ok(()))).await;
        assert!(start.elapsed() >= FIRST_PAUSE);
    }

    /// Those that wait already when we take the listener over, and those that come later.
    #[tokio::test]
    async fn every_connection_is_tuned() {
        let options = Options::default();
        let listener = socket::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let addr = listener.local_addr().unwrap();
        let early = std::net::TcpStream::connect(addr).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let mut acceptor = Acceptor::new(listener, Arc::new(Semaphore::new(9)), options.clone());
        let late = std::net::TcpStream::connect(addr).unwrap();
        for (peer, hands_on) in [(early, None), (late, Some(true))] {
            let (stream, from, _) = acceptor.accept().await;
            assert_eq!(from, peer.local_addr().unwrap());
            assert!(socket::is_tuned(&stream, &options).unwrap());
            assert_eq!(acceptor.hands_on, hands_on);
        }
        let _later = std::net::TcpStream::connect(addr).unwrap();
        let (stream, ..) = acceptor.accept().await;
        assert!(acceptor.has_begun_tuned(&stream));
        // As where a system hands on none of them, some of them, and where that is known.
        stream.set_nodelay(false).unwrap();
        assert!(!acceptor.has_begun_tuned(&stream));
        stream.set_nodelay(true).unwrap();
        socket2::SockRef::from(&stream).set_keepalive(false).unwrap();
        acceptor.hands_on = None;
        assert!(!acceptor.has_begun_tuned(&stream));
        assert_eq!(acceptor.hands_on, Some(false));
        socket::tune(&stream, &options).unwrap();
        assert!(!acceptor.has_begun_tuned(&stream));
    }

    #[tokio::test]
    async fn nothing_is_accepted_without_a_permit_and_a_dropped_one_is_free_again() {
        let (mut acceptor, addr, permits) = acceptor(1);
        let _one = TcpStream::connect(addr).await.unwrap();
        let two = TcpStream::connect(addr).await.unwrap();
        let (_stream, _, permit) = acceptor.accept().await;
        assert_eq!(permits.available_permits(), 0);
        let blocked = timeout(Duration::from_millis(20), acceptor.accept()).await;
        assert!(blocked.is_err());
        drop(permit);
        let (_, peer, _permit) = acceptor.accept().await;
        assert_eq!(peer, two.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_cancelled_accept_gives_its_permit_back() {
        let (mut acceptor, _, permits) = acceptor(1);
        assert!(
            timeout(Duration::from_millis(5), acceptor.accept())
                .await
                .is_err()
        );
        assert_eq!(permits.available_permits(), 1);
    }
}
