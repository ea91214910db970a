//! `imapwarden store`: the store itself, from one engine to the other.

use std::io;
use std::path::Path;

use serde_json::Value;
use serde_json::json;
use tokio::net::UnixStream;

use crate::auth::key_ring::KeyRing;
use crate::cli::Context;
use crate::cli::args::Migrate;
use crate::cli::args::StoreCommand;
use crate::cli::error::CliError;
use crate::cli::secrets;
use crate::config::Config;
use crate::config::postgres::Postgres;
use crate::server;
use crate::server::StartError;
use crate::store::KeyStore;
use crate::store::postgres::Imported;

pub(super) async fn run(cx: &mut Context<'_>, command: StoreCommand) -> Result<(), CliError> {
    match command {
        StoreCommand::Migrate(migrate) => Box::pin(run_migrate(cx, &migrate)).await,
    }
}

async fn run_migrate(cx: &mut Context<'_>, migrate: &Migrate) -> Result<(), CliError> {
    let config = cx.place.config_without_backend(cx.now)?;
    let target = target(migrate, &config)?;
    refuse_while_running(&config).await?;
    check_source(&migrate.from, &config).await?;
    let store = server::open_postgres(&target).await?;
    let imported = store.import(&migrate.from).await?;
    let address = target.address.to_string();
    let tables = match imported {
        Imported::All(tables) => tables,
        Imported::NotEmpty(table) => {
            let text = format!("nothing was copied: {address} is not empty, there are {table}");
            return Err(CliError::Data(text));
        }
    };
    let counts: serde_json::Map<String, Value> = tables
        .iter()
        .map(|(table, rows)| ((*table).to_owned(), json!(rows)))
        .collect();
    let value = json!({"to": address, "rows": counts});
    if cx.out.is_json() {
        return Ok(cx.out.json(&value)?);
    }
    let rows: Vec<Vec<String>> = tables
        .iter()
        .map(|(table, rows)| vec![(*table).to_owned(), rows.to_string()])
        .collect();
    Ok(cx.out.table(&["TABLE", "ROWS"], &rows, "Nothing to copy.")?)
}

fn target(migrate: &Migrate, config: &Config) -> Result<Postgres, CliError> {
    let Some(address) = &migrate.to else {
        return config.state.postgres().cloned().ok_or_else(|| {
            CliError::Usage("name the target with --to, or as `store.url` in the configuration".to_owned())
        });
    };
    if let Some(file) = &migrate.password_file {
        secrets::from_file(file, "the database's password")?;
    }
    Ok(Postgres {
        password_file: migrate.password_file.clone(),
        ca_file: migrate.ca_file.clone(),
        ..Postgres::at(address.clone())
    })
}

/// What a running proxy notes while everything is copied would be lost.
async fn refuse_while_running(config: &Config) -> Result<(), CliError> {
    if UnixStream::connect(config.state.control_socket()).await.is_ok() {
        return Err(CliError::DaemonRefused(
            "stop the running imapwarden first: what it writes meanwhile would be lost".to_owned(),
        ));
    }
    Ok(())
}

/// It must be there, be brought to the newest schema, and belong to the key file.
async fn check_source(from: &Path, config: &Config) -> Result<(), CliError> {
    if !from.exists() {
        return Err(CliError::Input {
            what: "the store",
            from: from.display().to_string(),
            source: io::Error::from(io::ErrorKind::NotFound),
        });
    }
    let source = server::open_sqlite(from).await?;
    if let Some(check) = source.key_in_force().await? {
        let ring = KeyRing::load(&config.state.key_file(), config.key_file_options());
        ring.map_err(StartError::from)?.follow(check).await?;
    }
    Ok(())
}
