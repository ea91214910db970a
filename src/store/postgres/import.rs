//! Takes over everything from an SQLite file, or nothing.

use std::path::Path;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::ToSql;
use tokio_postgres::types::Type;

use crate::store::Answer;
use crate::store::StoreError;
use crate::store::postgres::PostgresStore;
use crate::store::postgres::error::Trouble;
use crate::store::postgres::pool::Writer;
use crate::store::postgres::rows::From;
use crate::store::sqlite;
use crate::store::tables::Cell;
use crate::store::tables::Kind;
use crate::store::tables::Rows;
use crate::store::tables::TABLES;
use crate::store::tables::Table;
use crate::store::tables::in_postgres;

/// How long it may take.
const PATIENCE: Duration = Duration::from_mins(30);

/// Batches of rows between the two.
const UNDER_WAY: usize = 4;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Imported {
    /// Every row of each table is there.
    All(Vec<(&'static str, u64)>),
    /// Nothing was done: this table has rows already.
    NotEmpty(&'static str),
}

impl PostgresStore {
    /// Copies an SQLite store in one transaction, and counts what has arrived. The database must be empty, but for the check of
    /// the same key.
    ///
    /// # Errors
    /// Nothing was copied: either side fails, or the database belongs to another key file.
    pub fn import(&self, from: &Path) -> Answer<'_, Imported> {
        let from = from.to_owned();
        Box::pin(self.pool.write_within(PATIENCE, async move |db: &Writer<'_>| {
            import(db, from.clone()).await
        }))
    }
}

async fn import(db: &Writer<'_>, from: PathBuf) -> Result<Imported, Trouble> {
    let limit = PATIENCE.as_millis();
    db.batch(&format!(
        "SET LOCAL statement_timeout = {limit}; SET LOCAL idle_in_transaction_session_timeout = {limit}"
    ))
    .await?;
    // Nobody adds anything meanwhile.
    let names: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
    db.batch(&format!("LOCK TABLE {} IN EXCLUSIVE MODE", names.join(", ")))
        .await?;
    for table in TABLES.iter().filter(|table| table.name != "meta") {
        if count(db, table).await? > 0 {
            return Ok(Imported::NotEmpty(table.name));
        }
    }
    let kept = meta(db).await?;
    db.batch("DELETE FROM meta").await?;
    let arrived = copy(db, from).await?;
    // Another key's check is not replaced.
    if kept.is_some() && kept != meta(db).await? {
        return Err(StoreError::OtherKey.into());
    }
    Ok(Imported::All(arrived))
}

async fn meta(db: &Writer<'_>) -> Result<Option<Vec<u8>>, Trouble> {
    let row = db
        .row("SELECT value FROM meta WHERE name = 'key_check'", &[])
        .await?;
    row.map(|row| From::start(&row).get(0)).transpose()
}

async fn count(db: &Writer<'_>, table: &Table) -> Result<u64, Trouble> {
    let row = db
        .row(&format!("SELECT count(*) FROM {}", table.name), &[])
        .await?;
    row.map_or(Ok(0), |row| From::start(&row).count(0))
}

async fn copy(db: &Writer<'_>, from: PathBuf) -> Result<Vec<(&'static str, u64)>, Trouble> {
    let (sender, mut batches) = mpsc::channel(UNDER_WAY);
    let export = tokio::task::spawn_blocking(move || sqlite::export(&from, &sender));
    let mut sent: Vec<(&'static Table, u64)> = Vec::new();
    while let Some(batch) = batches.recv().await {
        write(db, &batch).await?;
        let rows = u64::try_from(batch.rows.len()).unwrap_or(u64::MAX);
        match sent.last_mut() {
            Some((table, count)) if table.name == batch.table.name => *count = count.saturating_add(rows),
            _ => sent.push((batch.table, rows)),
        }
    }
    let exported = export.await;
    exported.map_err(|error| StoreError::Unavailable(error.to_string()))??;
    let mut arrived = Vec::new();
    for (table, sent) in sent {
        let found = count(db, table).await?;
        if found != sent {
            let text = format!("{found} of {sent} rows of {} have arrived", table.name);
            return Err(StoreError::Damaged(text).into());
        }
        arrived.push((table.name, found));
    }
    if arrived.len() != TABLES.len() {
        return Err(StoreError::Damaged("not every table has arrived".to_owned()).into());
    }
    Ok(arrived)
}

async fn write(db: &Writer<'_>, batch: &Rows) -> Result<(), Trouble> {
    if batch.rows.is_empty() {
        return Ok(());
    }
    let columns: Vec<&str> = batch
        .table
        .columns
        .iter()
        .map(|(name, _)| in_postgres(name))
        .collect();
    let types: Vec<Type> = batch.table.columns.iter().map(|(_, kind)| of(*kind)).collect();
    let sql = format!(
        "COPY {} ({}) FROM STDIN (FORMAT binary)",
        batch.table.name,
        columns.join(", ")
    );
    let sink = db.transaction().copy_in(&sql).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    for row in &batch.rows {
        let values: Vec<&(dyn ToSql + Sync)> = row.iter().map(value).collect();
        writer.as_mut().write(&values).await?;
    }
    writer.finish().await?;
    Ok(())
}

fn of(kind: Kind) -> Type {
    match kind {
        Kind::Text => Type::TEXT,
        Kind::Bytes => Type::BYTEA,
        Kind::Number => Type::INT8,
        Kind::Truth => Type::BOOL,
    }
}

fn value(cell: &Cell) -> &(dyn ToSql + Sync) {
    match cell {
        Cell::Text(value) => value,
        Cell::Bytes(value) => value,
        Cell::Number(value) => value,
        Cell::Truth(value) => value,
    }
}
