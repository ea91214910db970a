//! The writer thread: runs writes, notices commits of other processes, writes notes together, notices a lost file.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crossbeam_channel::RecvTimeoutError;
use rusqlite::Connection;

use crate::store::StoreError;
use crate::store::notes::Notes;
use crate::store::sqlite::Changes;
use crate::store::sqlite::Waiting;
use crate::store::sqlite::error::unavailable;
use crate::store::sqlite::lane::Jobs;
use crate::store::sqlite::lane::Lost;
use crate::store::sqlite::notes;
use crate::store::sqlite::open;
use crate::store::sqlite::open::Identity;

/// Bytes that are written to see whether there is room: a code that is used up touches about as many pages.
const PROBE: u32 = 32 * 1024;

/// What the thread works with, besides its connection and its queue.
pub(super) struct Writer {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) lost: Lost,
    pub(super) notes: Waiting,
    pub(super) changes: Changes,
    pub(super) poll: Duration,
    pub(super) flush_every: Duration,
}

impl Writer {
    /// The thread's life: until the store is dropped.
    pub(super) fn run(self, mut connection: Connection, jobs: &Jobs) {
        let mut version = data_version(&connection);
        let mut polled = Instant::now();
        let mut flushed = polled;
        loop {
            let wait = self.poll.saturating_sub(polled.elapsed());
            match jobs.recv_timeout(wait) {
                Ok(job) => job(&mut connection),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if polled.elapsed() < self.poll {
                continue;
            }
            polled = Instant::now();
            self.notice_loss();
            let seen = data_version(&connection);
            if seen != version {
                version = seen;
                self.changes.told();
            }
            if flushed.elapsed() >= self.flush_every {
                flushed = polled;
                // What could not be written waits for the next time.
                let _ = flush(&self.notes, &mut connection);
            }
        }
        let _ = flush(&self.notes, &mut connection);
    }

    /// A file that was moved away or replaced would go on answering from its unlinked self, and never hear of another
    /// revocation: the store is unavailable until the file is back.
    fn notice_loss(&self) {
        let found = open::identity(&self.path).ok();
        let lost = found != Some(self.identity);
        if self.lost.swap(lost, Ordering::AcqRel) != lost {
            // Whoever asks now hears of it; what happened to the file meanwhile was not seen.
            if lost {
                self.changes.unheard();
            } else {
                self.changes.told();
            }
        }
    }
}

/// Moves when another connection has committed; never with our own commits.
fn data_version(connection: &Connection) -> Option<i64> {
    connection
        .pragma_query_value(None, "data_version", |row| row.get(0))
        .ok()
}

/// Writes as much as a login does, and takes it away again: two commits, each of which is on the disk afterwards.
pub(super) fn try_write(connection: &mut Connection) -> Result<(), StoreError> {
    let written = connection
        .execute(
            "INSERT OR REPLACE INTO meta (name, value) VALUES ('probe', zeroblob(?1))",
            [PROBE],
        )
        .and_then(|_| connection.execute("DELETE FROM meta WHERE name = 'probe'", []));
    written.map(drop).map_err(unavailable)
}

/// Writes what waits; on failure it waits on.
pub(super) fn flush(waiting: &Mutex<Notes>, connection: &mut Connection) -> Result<(), StoreError> {
    let taken = std::mem::take(&mut *waiting.lock().unwrap_or_else(PoisonError::into_inner));
    if taken.is_empty() {
        return Ok(());
    }
    let written = notes::write(&taken, connection);
    if written.is_err() {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .put_back(taken);
    }
    written
}
