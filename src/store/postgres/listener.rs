//! Hears of what other replicas have changed, over a connection of its own.
//!
//! A notification is sent with the transaction that changed something, so nobody hears of what did not happen. While there
//! is no connection nothing is heard: then the number moves at each try, and once more when there is a connection, so
//! that whoever follows it reads anew what it may have missed.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::AsyncMessage;
use tokio_postgres::Config;
use tokio_postgres::Connection;
use tokio_postgres::Error;
use tokio_postgres::NoTls;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::postgres::error::sorted;

/// The channel; notifications reach those in the same database.
const CHANNEL: &str = "imapwarden_changes";

/// How often the server is asked whether it is still there: a connection that was cut without a word looks like one on which
/// nothing is said.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// How soon another connection is tried.
const RETRY: Duration = Duration::from_millis(500);

/// Tells all replicas, as part of a transaction.
pub(super) const TELL: &str = "SELECT pg_notify('imapwarden_changes', '')";

/// What the listener works with.
pub(super) struct Listener {
    pub(super) config: Config,
    pub(super) tls: Option<MakeRustlsConnect>,
    pub(super) changes: Arc<watch::Sender<u64>>,
    /// The longest wait for an answer.
    pub(super) patience: Duration,
}

impl Listener {
    /// Listens until it is dropped. `heard` is told once there is a first connection.
    pub(super) async fn run(self) {
        loop {
            let ended = match self.tls.clone() {
                Some(tls) => self.listen(tls).await,
                None => self.listen(NoTls).await,
            };
            if let Err(error) = ended {
                tracing::debug!(error = %sorted(&error), "not told of changes by other replicas");
            }
            self.moved();
            tokio::time::sleep(RETRY).await;
        }
    }

    fn moved(&self) {
        self.changes
            .send_modify(|number| *number = number.wrapping_add(1));
    }

    /// One connection, until it fails.
    async fn listen<T>(&self, tls: T) -> Result<(), Error>
    where
        T: MakeTlsConnect<tokio_postgres::Socket>,
        T::Stream: Send,
    {
        let connected = timeout(self.patience, self.config.connect(tls)).await;
        let Ok(connected) = connected else {
            return Ok(());
        };
        let (client, mut connection) = connected?;
        let listening = self.conversation(&client);
        // Both at once: an answer comes only while the connection is driven.
        tokio::select! {
            ended = self.hear(&mut connection) => ended,
            ended = listening => ended,
        }
    }

    /// Begins to listen, then asks from time to time whether the server is there; ends where it is not.
    async fn conversation(&self, client: &tokio_postgres::Client) -> Result<(), Error> {
        let begin = format!("LISTEN {CHANNEL}");
        let Ok(begun) = timeout(self.patience, client.batch_execute(&begin)).await else {
            return Ok(());
        };
        begun?;
        // What happened before is not told any more.
        self.moved();
        loop {
            tokio::time::sleep(ASK_AGAIN).await;
            let Ok(there) = timeout(self.patience, client.batch_execute("")).await else {
                return Ok(());
            };
            there?;
        }
    }

    /// Drives the connection, and moves the number with each notification.
    async fn hear<S, T>(&self, connection: &mut Connection<S, T>) -> Result<(), Error>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        loop {
            match poll_fn(|cx| connection.poll_message(cx)).await {
                Some(Ok(AsyncMessage::Notification(_))) => self.moved(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
    }
}
