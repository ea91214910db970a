//! Writes the notes that wait, in one transaction.

use std::collections::HashMap;

use rusqlite::Connection;
use rusqlite::TransactionBehavior;

use crate::store::StoreError;
use crate::store::notes::AllowanceNotes;
use crate::store::notes::Notes;
use crate::store::sqlite::allowances;
use crate::store::sqlite::app_passwords;
use crate::store::sqlite::error::unavailable;
use crate::store::sqlite::failures;
use crate::store::sqlite::habits;
use crate::store::sqlite::windows;

/// Writes everything, or nothing.
pub(super) fn write(notes: &Notes, connection: &mut Connection) -> Result<(), StoreError> {
    try_write(notes, connection).map_err(unavailable)
}

fn try_write(notes: &Notes, connection: &mut Connection) -> rusqlite::Result<()> {
    let db = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (id, last_use) in &notes.uses {
        app_passwords::used(&db, *id, last_use)?;
    }
    for (key, at) in &notes.windows {
        windows::used(&db, key, *at)?;
    }
    habits::logged_in(&db, &in_order(&notes.logins))?;
    habits::came(&db, &in_order(&notes.habits))?;
    habits::network_seen(&db, &in_order(&notes.networks))?;
    habits::did(&db, &in_order(&notes.usage))?;
    for (id, of_allowance) in &notes.allowances {
        write_allowance(of_allowance, *id, &db)?;
    }
    failures::write(&db, notes)?;
    db.commit()
}

/// Sorted, by users first where there are any: what lies on one page of a table is written together.
fn in_order<K: Ord, V>(notes: &HashMap<K, V>) -> Vec<(&K, &V)> {
    let mut notes: Vec<_> = notes.iter().collect();
    notes.sort_unstable_by_key(|(key, _)| *key);
    notes
}

fn write_allowance(notes: &AllowanceNotes, id: u32, db: &Connection) -> rusqlite::Result<()> {
    if let Some(allowance) = &notes.opened {
        allowances::open(db, id, allowance)?;
    }
    if let Some((bytes, at)) = notes.spent {
        allowances::spend(db, id, bytes, at)?;
    }
    if let Some(family) = &notes.family {
        allowances::learn(db, id, family)?;
    }
    if let Some(at) = notes.ended {
        allowances::end(db, id, at)?;
    }
    Ok(())
}
