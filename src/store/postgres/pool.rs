//! Connections: bounded in number, every use of them bounded in time. Whatever does not answer is not used again.
//!
//! A connection that was cut while nobody used it is noticed by whoever uses it next: what only reads, and what had not asked
//! for a commit yet, is then done on a new one. A commit whose answer is lost is never asked for again.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use deadpool_postgres::Manager;
use deadpool_postgres::ManagerConfig;
use deadpool_postgres::Object;
use deadpool_postgres::RecyclingMethod;
use deadpool_postgres::Runtime;
use deadpool_postgres::Timeouts;
use deadpool_postgres::Transaction;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio::time::timeout_at;
use tokio_postgres::Config;
use tokio_postgres::IsolationLevel;
use tokio_postgres::NoTls;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::StoreError;
use crate::store::postgres::Options;
use crate::store::postgres::error::Trouble;
use crate::store::postgres::error::no_connection;
use crate::store::postgres::listener::TELL;

/// How often something is tried that lost a race with another transaction, or its connection.
const TRIES: u32 = 4;

/// Parameters of a statement.
pub(super) type Parameters<'p> = &'p [&'p (dyn ToSql + Sync)];

/// How often something was tried, and since when.
struct Tries {
    begun: Instant,
    count: u32,
}

impl Tries {
    fn begin() -> Self {
        Self {
            begun: Instant::now(),
            count: 1,
        }
    }
}

/// The connections.
#[derive(Clone)]
pub(super) struct Pool {
    pool: deadpool_postgres::Pool,
    wait: Duration,
    deadline: Duration,
}

impl Pool {
    /// Connects when it is first used.
    pub(super) fn new(
        config: Config,
        tls: Option<MakeRustlsConnect>,
        options: &Options,
    ) -> Result<Self, StoreError> {
        let manage = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = match tls {
            Some(tls) => Manager::from_config(config, tls, manage),
            None => Manager::from_config(config, NoTls, manage),
        };
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(options.connections)
            .timeouts(Timeouts {
                wait: Some(options.wait),
                create: Some(options.wait),
                recycle: Some(options.wait),
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self {
            pool,
            wait: options.wait,
            deadline: options.deadline,
        })
    }

    /// The longest that anything takes here.
    pub(super) fn patience(&self) -> Duration {
        self.wait.saturating_add(self.deadline)
    }

    async fn connection(&self) -> Result<Object, StoreError> {
        match timeout(self.wait, self.pool.get()).await {
            Ok(connection) => connection.map_err(no_connection),
            Err(_) => Err(StoreError::Unavailable("no connection in time".to_owned())),
        }
    }

    /// Statements that only read, each seeing what is committed.
    pub(super) async fn read<T>(
        &self,
        work: impl AsyncFn(&Reader<'_>) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let mut tries = Tries::begin();
        loop {
            match self.try_read(&work, self.until(&tries)).await {
                Err(trouble) if self.tries_again(&mut tries, &trouble) => {}
                answer => return answer.map_err(|trouble| trouble.error),
            }
        }
    }

    async fn try_read<T>(
        &self,
        work: &impl AsyncFn(&Reader<'_>) -> Result<T, Trouble>,
        until: Instant,
    ) -> Result<T, Trouble> {
        let connection = self.connection().await?;
        let reader = Reader(&connection);
        let answer = timeout_at(self.end(until), work(&reader)).await;
        self.settled(answer, connection)
    }

    /// When all tries are over: together they take no longer than one may.
    fn until(&self, tries: &Tries) -> Instant {
        tries.begun + self.patience()
    }

    /// When the answer must be there to something that is asked now.
    fn end(&self, until: Instant) -> Instant {
        until.min(Instant::now() + self.deadline)
    }

    /// Whether something is tried again: nothing of it was done, and there is time.
    fn tries_again(&self, tries: &mut Tries, trouble: &Trouble) -> bool {
        if !trouble.may_retry || tries.count >= TRIES || tries.begun.elapsed() >= self.deadline {
            return false;
        }
        tries.count += 1;
        if !trouble.connection_is_fine {
            // Those that idle beside one that was cut were cut with it, as far as anybody knows.
            self.pool.retain(|_, _| false);
        }
        true
    }

    /// One transaction, all or nothing; tried again where it lost a race with another one.
    pub(super) async fn write<T>(
        &self,
        work: impl AsyncFn(&Writer<'_>) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        self.write_saying(None, work).await
    }

    /// The same, and all replicas are told of it with the commit.
    pub(super) async fn write_and_tell<T>(
        &self,
        work: impl AsyncFn(&Writer<'_>) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        self.write_saying(Some(TELL), work).await
    }

    async fn write_saying<T>(
        &self,
        last: Option<&str>,
        work: impl AsyncFn(&Writer<'_>) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let mut tries = Tries::begin();
        loop {
            match self.try_write(&work, last, self.until(&tries)).await {
                Err(trouble) if self.tries_again(&mut tries, &trouble) => {}
                answer => return answer.map_err(|trouble| trouble.error),
            }
        }
    }

    async fn try_write<T>(
        &self,
        work: &impl AsyncFn(&Writer<'_>) -> Result<T, Trouble>,
        last: Option<&str>,
        until: Instant,
    ) -> Result<T, Trouble> {
        let mut connection = self.connection().await?;
        let answer = timeout_at(self.end(until), transact(&mut connection, work, last)).await;
        self.settled(answer, connection)
    }

    /// As `write`, for work that takes longer: a new schema, a copy of everything.
    pub(super) async fn write_within<T>(
        &self,
        deadline: Duration,
        work: impl AsyncFn(&Writer<'_>) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection().await?;
        let answer = timeout(deadline, transact(&mut connection, &work, None)).await;
        self.settled(answer, connection).map_err(|trouble| trouble.error)
    }

    /// Takes a connection that failed, or still works on what nobody waits for, out of the pool.
    fn settled<T>(
        &self,
        answer: Result<Result<T, Trouble>, tokio::time::error::Elapsed>,
        connection: Object,
    ) -> Result<T, Trouble> {
        let answer = answer.unwrap_or_else(|_| {
            Err(Trouble {
                error: StoreError::Unavailable("no answer in time".to_owned()),
                may_retry: false,
                connection_is_fine: false,
            })
        });
        if answer.as_ref().is_err_and(|trouble| !trouble.connection_is_fine) {
            drop(Object::take(connection));
        }
        answer
    }
}

async fn transact<T>(
    connection: &mut Object,
    work: &impl AsyncFn(&Writer<'_>) -> Result<T, Trouble>,
    last: Option<&str>,
) -> Result<T, Trouble> {
    let transaction = connection
        .build_transaction()
        // What a transaction must not see change it locks; whatever waits for a lock then sees what was committed.
        .isolation_level(IsolationLevel::ReadCommitted)
        .start()
        .await?;
    let writer = Writer(transaction);
    match work(&writer).await {
        Ok(answer) => {
            if let Some(statement) = last {
                writer.execute(statement, &[]).await?;
            }
            writer.0.commit().await.map_err(Trouble::at_commit)?;
            Ok(answer)
        }
        Err(trouble) => {
            if trouble.connection_is_fine {
                writer.0.rollback().await?;
            }
            Err(trouble)
        }
    }
}

/// A connection that reads.
pub(super) struct Reader<'c>(&'c ClientWrapper);

impl Reader<'_> {
    pub(super) async fn rows(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Trouble> {
        let statement = self.0.prepare_cached(sql).await?;
        Ok(self.0.query(&statement, parameters).await?)
    }

    pub(super) async fn row(&self, sql: &str, parameters: Parameters<'_>) -> Result<Option<Row>, Trouble> {
        let statement = self.0.prepare_cached(sql).await?;
        Ok(self.0.query_opt(&statement, parameters).await?)
    }
}

/// A transaction that writes.
pub(super) struct Writer<'c>(Transaction<'c>);

impl Writer<'_> {
    pub(super) async fn rows(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Trouble> {
        let statement = self.0.prepare_cached(sql).await?;
        Ok(self.0.query(&statement, parameters).await?)
    }

    pub(super) async fn row(&self, sql: &str, parameters: Parameters<'_>) -> Result<Option<Row>, Trouble> {
        let statement = self.0.prepare_cached(sql).await?;
        Ok(self.0.query_opt(&statement, parameters).await?)
    }

    /// How many rows it touched.
    pub(super) async fn execute(&self, sql: &str, parameters: Parameters<'_>) -> Result<u64, Trouble> {
        let statement = self.0.prepare_cached(sql).await?;
        Ok(self.0.execute(&statement, parameters).await?)
    }

    /// Several statements without parameters.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Trouble> {
        Ok(self.0.batch_execute(sql).await?)
    }

    /// The transaction itself, for what has no word here.
    pub(super) fn transaction(&self) -> &Transaction<'_> {
        &self.0
    }
}
