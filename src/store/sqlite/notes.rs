//! Notes that wait to be written: last uses, window touches, known sources. A storm of logins becomes one transaction.

use std::collections::HashMap;

use rusqlite::Connection;
use rusqlite::TransactionBehavior;
use rusqlite::params;

use crate::store::LastUse;
use crate::store::Note;
use crate::store::StoreError;
use crate::store::address_text;
use crate::store::sqlite::error::unavailable;
use crate::types::UnixTime;
use crate::types::UserName;

/// Distinct notes of a kind that may wait. What comes while it is full is forgotten: a last use is not worth memory
/// without bound while the disk is full.
const BOUND: usize = 16_384;

/// Sources remembered for one user, the newest.
const SOURCES_PER_USER: u32 = 64;

/// What waits, the newest of each.
#[derive(Default)]
pub(super) struct Notes {
    uses: HashMap<u32, LastUse>,
    windows: HashMap<[u8; 32], UnixTime>,
    sources: HashMap<(UserName, [u8; 32]), UnixTime>,
}

impl Notes {
    /// Keeps a note, in place of an older one about the same thing.
    pub(super) fn add(&mut self, note: Note) {
        match note {
            Note::AppPasswordUsed(id, last_use) => {
                keep_newest(&mut self.uses, id, last_use, |a, b| a.at >= b.at);
            }
            Note::WindowUsed(key, at) => keep_newest(&mut self.windows, key, at, |a, b| a >= b),
            Note::SourceSeen(user, source, at) => {
                keep_newest(&mut self.sources, (user, source), at, |a, b| a >= b);
            }
        }
    }

    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.uses.is_empty() && self.windows.is_empty() && self.sources.is_empty()
    }

    /// Puts back what could not be written, without overwriting what came since.
    pub(super) fn put_back(&mut self, older: Self) {
        for (id, last_use) in older.uses {
            self.add(Note::AppPasswordUsed(id, last_use));
        }
        for (key, at) in older.windows {
            self.add(Note::WindowUsed(key, at));
        }
        for ((user, source), at) in older.sources {
            self.add(Note::SourceSeen(user, source, at));
        }
    }

    /// Writes everything in one transaction.
    pub(super) fn write(&self, connection: &mut Connection) -> Result<(), StoreError> {
        self.try_write(connection).map_err(unavailable)
    }

    fn try_write(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (id, last_use) in &self.uses {
            transaction
                .prepare_cached(
                    "UPDATE app_passwords SET last_used = ?2, last_from = ?3, last_client = ?4
                     WHERE id = ?1 AND (last_used IS NULL OR last_used <= ?2)",
                )?
                .execute(params![
                    id,
                    last_use.at.0,
                    address_text(last_use.from),
                    last_use.client
                ])?;
        }
        for (key, at) in &self.windows {
            transaction
                .prepare_cached(
                    "UPDATE trusted_windows SET last_used = max(last_used, ?2) WHERE key = ?1 AND open = 1",
                )?
                .execute(params![key, at.0])?;
        }
        for ((user, source), at) in &self.sources {
            transaction
                .prepare_cached(
                    "INSERT INTO known_sources (user, source, last_seen) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET last_seen = max(last_seen, excluded.last_seen)",
                )?
                .execute(params![user.as_str(), source, at.0])?;
            transaction
                .prepare_cached(
                    "DELETE FROM known_sources WHERE user = ?1 AND source NOT IN
                     (SELECT source FROM known_sources WHERE user = ?1 ORDER BY last_seen DESC LIMIT ?2)",
                )?
                .execute(params![user.as_str(), SOURCES_PER_USER])?;
        }
        transaction.commit()
    }
}

fn keep_newest<K, V>(kept: &mut HashMap<K, V>, key: K, value: V, is_newer: impl Fn(&V, &V) -> bool)
where
    K: Eq + std::hash::Hash,
{
    let full = kept.len() >= BOUND;
    match kept.get_mut(&key) {
        Some(older) if is_newer(&value, older) => *older = value,
        Some(_) => {}
        None if full => {}
        None => {
            kept.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(id: u32, at: i64) -> Note {
        Note::AppPasswordUsed(
            id,
            LastUse {
                at: UnixTime(at),
                from: "192.0.2.1".parse().unwrap(),
                client: None,
            },
        )
    }

    #[test]
    fn a_storm_of_logins_with_one_app_password_is_one_note() {
        let mut notes = Notes::default();
        for at in [5, 9, 7] {
            notes.add(used(1, at));
        }
        assert_eq!(notes.uses.len(), 1);
        assert_eq!(notes.uses[&1].at, UnixTime(9));
    }

    #[test]
    fn notes_are_bounded_and_known_keys_still_move_when_full() {
        let mut notes = Notes::default();
        for id in 0..40_000 {
            notes.add(used(id, 1));
        }
        assert_eq!(notes.uses.len(), BOUND);
        notes.add(used(3, 8));
        assert_eq!(notes.uses[&3].at, UnixTime(8));
    }

    #[test]
    fn what_is_put_back_never_overwrites_what_came_since() {
        let mut older = Notes::default();
        older.add(used(1, 1));
        older.add(used(2, 1));
        let mut notes = Notes::default();
        notes.add(used(1, 5));
        notes.put_back(older);
        assert_eq!(notes.uses[&1].at, UnixTime(5));
        assert_eq!(notes.uses[&2].at, UnixTime(1));
    }
}
