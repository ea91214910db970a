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

/// Opens the store to look only; `None` where there is none yet. For the command line.
///
/// # Errors
/// It cannot be read.
pub async fn look_into(config: &Config) -> Result<Option<Arc<dyn Store>>, StartError> {
    if let Some(settings) = config.state.postgres() {
        let mut options = postgres_options(settings)?;
        options.looks_only = true;
        return Ok(Some(Arc::new(PostgresStore::open(&options).await?)));
    }
    let path = config.state.store();
    if !path.exists() {
        return Ok(None);
    }
    let look = move || SqliteStore::open_to_look(&path, &sqlite::Options::default());
    match tokio::task::spawn_blocking(look).await {
        Ok(opened) => Ok(Some(Arc::new(opened?))),
        Err(error) => Err(StoreError::Unavailable(error.to_string()).into()),
    }
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
    let options = postgres_options(settings)?;
    Ok(PostgresStore::open(&options).await?)
}

fn postgres_options(settings: &Postgres) -> Result<postgres::Options, StartError> {
    let mut options = postgres::Options::at(settings.address.clone());
    options.password = settings.password()?;
    options.connections = usize::from(settings.connections);
    let tls = settings.tls();
    options.tls = tls.map(|tls| tls::Client::new(&tls, clock::unix())).transpose()?;
    Ok(options)
}
