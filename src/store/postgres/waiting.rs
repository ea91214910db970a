//! The notes that wait, and the task that writes them.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::MutexGuard;
use tokio::sync::Notify;

use crate::store::Note;
use crate::store::StoreError;
use crate::store::notes::Notes;
use crate::store::postgres::notes;
use crate::store::postgres::pool::Pool;
use crate::store::postgres::pool::Writer;

/// Most notes that are written in one transaction: a long one would keep other replicas waiting, and might not end in time.
const PIECE: usize = 1_000;

/// Most pieces that one flush writes; more than can wait at once.
const MOST_PIECES: usize = 500;

/// Notes that wait.
#[derive(Default)]
pub(super) struct Waiting {
    notes: Mutex<Notes>,
    /// One piece at a time: who asks for a flush waits for the piece under way.
    writing: tokio::sync::Mutex<()>,
    closed: Notify,
}

impl Waiting {
    pub(super) fn add(&self, note: Note) {
        self.with(|notes| notes.add(note));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Notes) -> T) -> T {
        work(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The store is gone: what waits is written once more.
    pub(super) fn close(&self) {
        self.closed.notify_one();
    }

    /// Writes what waits, piece by piece; on failure, and where the caller gives up, what is left waits on. Where the answer to
    /// a commit was lost, what adds up may count twice: that is better than not at all.
    pub(super) async fn flush(&self, pool: &Pool) -> Result<(), StoreError> {
        for _ in 0..MOST_PIECES {
            let Ok(turn) = tokio::time::timeout(pool.patience(), self.writing.lock()).await else {
                return Err(StoreError::Unavailable("notes are being written".to_owned()));
            };
            if !self.write_piece(pool, turn).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes one piece, unless somebody is at it: says whether writing goes well, however much waits.
    pub(super) async fn probe(&self, pool: &Pool) -> Result<(), StoreError> {
        match self.writing.try_lock() {
            Ok(turn) => self.write_piece(pool, turn).await.map(drop),
            Err(_) => Ok(()),
        }
    }

    /// False where nothing waits.
    async fn write_piece(&self, pool: &Pool, _turn: MutexGuard<'_, ()>) -> Result<bool, StoreError> {
        let mut taken = Taken {
            notes: Arc::new(self.with(|notes| notes.piece(PIECE))),
            of: self,
        };
        if taken.notes.is_empty() {
            return Ok(false);
        }
        let on_their_way = Arc::clone(&taken.notes);
        pool.write(async move |db: &Writer<'_>| notes::write(db, &on_their_way).await)
            .await?;
        taken.notes = Arc::default();
        Ok(true)
    }
}

/// Notes on their way; put back unless they arrived.
struct Taken<'w> {
    notes: Arc<Notes>,
    of: &'w Waiting,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        // Whoever wrote them has let go of them by now.
        let notes = Arc::into_inner(std::mem::take(&mut self.notes)).unwrap_or_default();
        if !notes.is_empty() {
            self.of.with(|since| since.put_back(notes));
        }
    }
}

/// Writes from time to time, until the store is gone.
pub(super) async fn write_on(waiting: Arc<Waiting>, pool: Pool, every: Duration) {
    loop {
        let closed = tokio::time::timeout(every, waiting.closed.notified()).await;
        // What could not be written waits for the next time.
        let _ = waiting.flush(&pool).await;
        if closed.is_ok() {
            return;
        }
    }
}
