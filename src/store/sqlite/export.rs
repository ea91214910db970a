//! Everything in the file, table by table, for another engine.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::Row;
use tokio::sync::mpsc::Sender;

use crate::store::StoreError;
use crate::store::sqlite::Options;
use crate::store::sqlite::error::unavailable;
use crate::store::sqlite::open;
use crate::store::tables::Cell;
use crate::store::tables::Kind;
use crate::store::tables::Rows;
use crate::store::tables::TABLES;
use crate::store::tables::Table;

/// Rows sent at once.
const BATCH: usize = 1_000;

/// Sends all rows as they are at one moment; blocks. Every table is sent, if only to say that it is empty. Ends early where
/// nobody takes them any more.
pub(in crate::store) fn export(path: &Path, to: &Sender<Rows>) -> Result<(), StoreError> {
    let mut connection = open::connect_to_read(path, &Options::default())?;
    let moment = connection.transaction().map_err(unavailable)?;
    for table in TABLES {
        if !send(&moment, table, to).map_err(unavailable)? {
            return Ok(());
        }
    }
    Ok(())
}

/// False where nobody takes them any more.
fn send(db: &Connection, table: &'static Table, to: &Sender<Rows>) -> rusqlite::Result<bool> {
    let columns: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
    let mut statement = db.prepare(&format!("SELECT {} FROM {}", columns.join(", "), table.name))?;
    let mut found = statement.query([])?;
    loop {
        let mut rows = Vec::with_capacity(BATCH);
        while rows.len() < BATCH
            && let Some(row) = found.next()?
        {
            rows.push(cells(table, row)?);
        }
        let is_last = rows.len() < BATCH;
        if to.blocking_send(Rows { table, rows }).is_err() {
            return Ok(false);
        }
        if is_last {
            return Ok(true);
        }
    }
}

fn cells(table: &Table, row: &Row<'_>) -> rusqlite::Result<Vec<Cell>> {
    let cell = |(at, (_, kind)): (usize, &(&str, Kind))| {
        Ok(match kind {
            Kind::Text => Cell::Text(row.get(at)?),
            Kind::Bytes => Cell::Bytes(row.get(at)?),
            Kind::Number => Cell::Number(row.get(at)?),
            Kind::Truth => Cell::Truth(row.get(at)?),
        })
    };
    table.columns.iter().enumerate().map(cell).collect()
}
