//! A thread that owns one connection and does one piece of work after the other, so that no query ever blocks the runtime.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;
use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::sync::oneshot;

use crate::store::Answer;
use crate::store::StoreError;

/// Work for a lane's thread.
pub(super) type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The receiving end, for the thread.
pub(super) type Jobs = Receiver<Job>;

/// True while the file at the store's path is not the one that is open.
pub(super) type Lost = Arc<AtomicBool>;

/// The asking end of a lane: bounded, with a deadline.
pub(super) struct Lane {
    jobs: Sender<Job>,
    /// As many permits as the queue has places, so that `try_send` always finds one.
    room: Arc<Semaphore>,
    deadline: Duration,
    lost: Lost,
}

impl Lane {
    /// A lane whose queue holds `places` jobs; whoever waits longer than `deadline` is told `Unavailable`.
    pub(super) fn new(places: usize, deadline: Duration, lost: Lost) -> (Self, Jobs) {
        let (jobs, receiver) = bounded(places);
        let lane = Self {
            jobs,
            room: Arc::new(Semaphore::new(places)),
            deadline,
            lost,
        };
        (lane, receiver)
    }

    /// Has the thread do `work`. Work that nobody waits for any more is not begun.
    pub(super) fn ask<T, F>(&self, work: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask_within(self.deadline, work)
    }

    /// The same, for work that takes longer.
    pub(super) fn ask_within<T, F>(&self, deadline: Duration, work: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        Box::pin(async move {
            let asked = self.ask_without_deadline(work);
            match tokio::time::timeout(deadline, asked).await {
                Ok(answer) => answer,
                Err(_) => Err(StoreError::Unavailable("no answer in time".to_owned())),
            }
        })
    }

    async fn ask_without_deadline<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        if self.lost.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable(
                "the file was moved or replaced".to_owned(),
            ));
        }
        let Ok(place) = Arc::clone(&self.room).acquire_owned().await else {
            return Err(closed());
        };
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            if !reply.is_closed() {
                // The asker may have given up while we worked; then nobody needs the answer.
                let _ = reply.send(work(connection));
            }
            drop(place);
        });
        self.jobs.try_send(job).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("its thread has ended".to_owned())
}

/// Starts a thread of the store's.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|error| StoreError::Unavailable(format!("cannot start a thread: {error}")))
}

/// A reader thread's life. A question wakes one of them.
pub(super) fn answer(mut connection: Connection, questions: &Jobs) {
    while let Ok(work) = questions.recv() {
        work(&mut connection);
    }
}
