//! Opens the store that the configuration names.

use std::path::Path;
use std::sync::Arc;

use crate::config::Config;
use crate::config::postgres::Postgres;
use crate::net::tls;
use crate::server::StartError;
use crate::server::clock;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::postgres;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite;
use crate::store::sqlite::SqliteStore;

pub(super) async fn open(config: &Config) -> Result<Arc<dyn Store>, StartError> {
    Ok(match config.state.postgres() {
        Some(settings) => Arc::new(Box::pin(open_postgres(settings)).await?),
        None => Arc::new(open_sqlite(&config.state.store()).await?),
    })
}

/// Opens the store in an SQLite file.
///
/// # Errors
/// It cannot be used.
pub async fn open_sqlite(path: &Path) -> Result<SqliteStore, StartError> {
    let path = path.to_owned();
    let opened =
        tokio::task::spawn_blocking(move || SqliteStore::open(&path, &sqlite::Options::default())).await;
    match opened {
        Ok(opened) => Ok(opened?),
        Err(error) => Err(StoreError::Unavailable(error.to_string()).into()),
    }
}

/// Opens the store in a PostgreSQL database.
///
/// # Errors
/// It cannot be used, or a file that belongs to it cannot.
pub async fn open_postgres(settings: &Postgres) -> Result<PostgresStore, StartError> {
    let mut options = postgres::Options::at(settings.address.clone());
    options.password = settings.password()?;
    options.connections = usize::from(settings.connections);
    let tls = settings.tls();
    options.tls = tls.map(|tls| tls::Client::new(&tls, clock::unix())).transpose()?;
    Ok(PostgresStore::open(&options).await?)
}
