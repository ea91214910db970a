//! Hears of what other replicas have changed, over a connection of its own.
//!
//! A notification is sent with the transaction that changed something, so nobody hears of what did not happen. While there
//! is no connection nothing is heard: then the number moves at each try, and once more when there is a connection, so
//! that whoever follows it reads anew what it may have missed. A pooler between us and the server may take LISTEN for one of its
//! connections, which then belongs to somebody else (PgBouncer in transaction mode): so a connection counts only once it has
//! heard something that was said over another one.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio_postgres::AsyncMessage;
use tokio_postgres::Config;
use tokio_postgres::Connection;
use tokio_postgres::Error;
use tokio_postgres::NoTls;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::Answer;
use crate::store::moves::Moves;
use crate::store::postgres::error::sorted;
use crate::store::postgres::pool::Pool;
use crate::store::postgres::pool::Reader;

/// The channel; notifications reach those in the same database.
const CHANNEL: &str = "imapwarden_changes";

/// How often the server is asked whether it is still there: a connection that was cut without a word looks like one on which
/// nothing is said.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// How long a connection that hears nothing is left alone before it is asked for again.
const DEAF: Duration = Duration::from_secs(60);

/// How soon another connection is tried, and how often the number moves while nothing is heard.
const RETRY: Duration = Duration::from_millis(500);

/// Tells all replicas, as part of a transaction.
pub(super) const TELL: &str = "SELECT pg_notify('imapwarden_changes', '')";

/// Says something on a channel of one listener's own.
const PROBE: &str = "SELECT pg_notify($1, '')";

/// What the listener works with.
pub(super) struct Listener {
    pub(super) config: Config,
    /// For what is said over another connection.
    pub(super) pool: Pool,
    pub(super) tls: Option<MakeRustlsConnect>,
    pub(super) changes: Arc<Moves>,
    /// The longest wait for an answer.
    pub(super) patience: Duration,
}

/// Why nothing is heard any more over a connection that has not failed.
enum Ended {
    /// It does not answer.
    Silent,
    /// It answers, and what is said over another one does not reach it.
    Deaf,
}

impl Listener {
    /// Listens until it is dropped.
    pub(super) async fn run(self) {
        let mut is_told = false;
        loop {
            let ended = match self.tls.clone() {
                Some(tls) => self.listen(tls).await,
                None => self.listen(NoTls).await,
            };
            match ended {
                Ok(Ended::Deaf) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(
                            "notifications of PostgreSQL do not arrive: something between, such as PgBouncer in transaction \
                             mode, swallows LISTEN; everything is read anew every half second instead, see docs/operations.md"
                        );
                    }
                    self.move_on(DEAF).await;
                }
                Ok(Ended::Silent) => {}
                Err(error) => {
                    tracing::debug!(error = %sorted(&error), "not told of changes by other replicas");
                }
            }
            self.move_on(RETRY).await;
        }
    }

    /// Has everything read anew again and again for so long.
    async fn move_on(&self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            self.changes.unheard();
            tokio::time::sleep(RETRY).await;
            if Instant::now() >= until {
                return;
            }
        }
    }

    /// One connection, until it fails.
    async fn listen<T>(&self, tls: T) -> Result<Ended, Error>
    where
        T: MakeTlsConnect<tokio_postgres::Socket>,
        T::Stream: Send,
    {
        let connected = timeout(self.patience, self.config.connect(tls)).await;
        let Ok(connected) = connected else {
            return Ok(Ended::Silent);
        };
        let (client, mut connection) = connected?;
        let probe = Notify::new();
        let listening = self.conversation(&client, &probe);
        // Both at once: an answer comes only while the connection is driven.
        tokio::select! {
            ended = self.hear(&mut connection, &probe) => ended.map(|()| Ended::Silent),
            ended = listening => ended,
        }
    }

    /// Begins to listen, then asks from time to time whether the server is there; ends where it is not.
    async fn conversation(&self, client: &tokio_postgres::Client, probe: &Notify) -> Result<Ended, Error> {
        let mut name = [0; 8];
        // Without chance two listeners may hear each other's probes, which is no harm.
        let _ = rand::fill(&mut name);
        let own = format!("imapwarden_{:016x}", u64::from_ne_bytes(name));
        let begin = format!("LISTEN {CHANNEL}; LISTEN {own}");
        let Ok(begun) = timeout(self.patience, client.batch_execute(&begin)).await else {
            return Ok(Ended::Silent);
        };
        begun?;
        // What happened before is not told any more.
        self.changes.told();
        if self.probe(own).await.is_err() {
            return Ok(Ended::Silent);
        }
        tokio::select! {
            () = probe.notified() => {}
            () = self.move_on(self.patience) => return Ok(Ended::Deaf),
        }
        loop {
            tokio::time::sleep(ASK_AGAIN).await;
            let Ok(there) = timeout(self.patience, client.batch_execute("")).await else {
                return Ok(Ended::Silent);
            };
            there?;
        }
    }

    /// Says something over another connection.
    fn probe(&self, channel: String) -> Answer<'_, ()> {
        let say = async move |db: &Reader<'_>| db.row(PROBE, &[&channel]).await.map(drop);
        Box::pin(self.pool.read(say))
    }

    /// Drives the connection, and moves the number with each notification.
    async fn hear<S, T>(&self, connection: &mut Connection<S, T>, probe: &Notify) -> Result<(), Error>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        loop {
            match poll_fn(|cx| connection.poll_message(cx)).await {
                Some(Ok(AsyncMessage::Notification(told))) if told.channel() == CHANNEL => {
                    self.changes.told();
                }
                Some(Ok(AsyncMessage::Notification(_))) => probe.notify_one(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
    }
}
