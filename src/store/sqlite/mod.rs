//! The embedded engine: one SQLite file in WAL mode, one writer thread, two reader threads.
//!
//! Several processes (the daemon and the command line) use the file at once. No query runs on the runtime's threads, and
//! nothing that is written here was not hashed or sealed before.

mod allowances;
mod app_passwords;
mod counts;
mod error;
mod export;
mod failures;
mod habits;
mod keys;
mod lane;
mod lists;
mod login;
mod look;
mod notes;
mod open;
mod options;
mod replicas;
mod rows;
mod schema;
mod transaction;
mod users;
mod windows;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;

use ipnet::IpNet;
use rusqlite::Connection;
use rusqlite::Transaction;
use tokio::sync::watch;

use crate::store::Answer;
use crate::store::AppPassword;
use crate::store::Ban;
use crate::store::Consumption;
use crate::store::Found;
use crate::store::Habits;
use crate::store::Lookup;
use crate::store::Note;
use crate::store::Standing;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Subject;
use crate::store::Totp;
use crate::store::User;
use crate::store::Visit;
use crate::store::Window;
use crate::store::moves::Moves;
use crate::store::notes::Notes;
use crate::types::UnixTime;
use crate::types::UserName;

pub(super) use export::export;
pub use options::Options;

use error::unavailable;
use lane::Lane;
use transaction::in_transaction;
use transaction::read;
use writer::Writer;

/// Threads that answer questions.
const READERS: usize = 2;

/// Notes that wait, shared with the writer thread.
type Waiting = Arc<Mutex<Notes>>;

/// The numbers that move with every change that matters, shared with the writer thread.
type Changes = Arc<Moves>;

/// A store in one SQLite file. Dropping it writes the waiting notes in the background; `flush` first to be sure.
pub struct SqliteStore {
    writer: Lane,
    readers: Lane,
    notes: Waiting,
    changes: Changes,
}

impl SqliteStore {
    /// Opens the file, makes it (0600) where it is missing, and brings it to the newest schema. Blocks: for the start of a
    /// program.
    ///
    /// # Errors
    /// Says why the file cannot be used.
    pub fn open(path: &Path, options: &Options) -> Result<Self, StoreError> {
        open::make_private(path)?;
        let mut connection = open::connect(path, options)?;
        schema::migrate(&mut connection)?;
        let identity = open::identity(path)?;
        let lost = Arc::new(AtomicBool::new(false));
        let notes = Waiting::default();
        let changes = Changes::default();

        let (readers, questions) = Lane::new(options.queue, options.deadline, Arc::clone(&lost));
        for _ in 0..READERS {
            let connection = open::connect_to_read(path, options)?;
            let questions = questions.clone();
            lane::spawn("store-reader", move || lane::answer(connection, &questions))?;
        }

        let (lane, jobs) = Lane::new(options.queue, options.deadline, Arc::clone(&lost));
        let writer = Writer {
            path: path.to_owned(),
            identity,
            lost,
            notes: Arc::clone(&notes),
            changes: Arc::clone(&changes),
            poll: options.poll,
            flush_every: options.flush_every,
        };
        lane::spawn("store-writer", move || writer.run(connection, &jobs))?;
        Ok(Self {
            writer: lane,
            readers,
            notes,
            changes,
        })
    }

    /// One read transaction: all statements see the same state.
    fn read<T, F>(&self, work: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.readers
            .ask(move |connection| read(connection, work).map_err(unavailable))
    }

    /// One write transaction, all or nothing.
    fn write<T, F>(&self, work: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer
            .ask(move |connection| in_transaction(connection, work))
    }

    /// A write after which live sessions must be looked at again.
    fn write_and_tell<T, F>(&self, work: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let changes = Arc::clone(&self.changes);
        self.writer.ask(move |connection| {
            let answer = in_transaction(connection, work)?;
            changes.told();
            Ok(answer)
        })
    }
}

impl Store for SqliteStore {
    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.changes()
    }

    fn notices(&self) -> u64 {
        self.changes.notices()
    }

    fn add_user(&self, user: User) -> Answer<'_, bool> {
        self.write(move |db| users::add(db, &user).map_err(unavailable))
    }

    fn change_user(&self, user: User) -> Answer<'_, bool> {
        self.write_and_tell(move |db| users::change(db, &user).map_err(unavailable))
    }

    fn remove_user(&self, name: &UserName) -> Answer<'_, bool> {
        let name = name.clone();
        self.write_and_tell(move |db| users::remove(db, &name).map_err(unavailable))
    }

    fn reset_user(&self, name: &UserName, now: UnixTime) -> Answer<'_, bool> {
        let name = name.clone();
        self.write_and_tell(move |db| users::reset(db, &name, now).map_err(unavailable))
    }

    fn user(&self, name: &UserName) -> Answer<'_, Option<User>> {
        let name = name.clone();
        self.read(move |db| users::one(db, &name))
    }

    fn users(&self, after: Option<&UserName>, limit: u32) -> Answer<'_, Vec<User>> {
        let after = after.cloned();
        self.read(move |db| users::list(db, after.as_ref(), limit))
    }

    fn begin_enrolment(&self, user: &UserName, sealed: Vec<u8>, now: UnixTime) -> Answer<'_, bool> {
        let user = user.clone();
        self.write(move |db| users::begin_enrolment(db, &user, &sealed, now).map_err(unavailable))
    }

    fn enrolment(&self, user: &UserName) -> Answer<'_, Option<(Vec<u8>, UnixTime)>> {
        let user = user.clone();
        self.read(move |db| users::enrolment(db, &user))
    }

    fn confirm_enrolment(
        &self,
        user: &UserName,
        sealed: Vec<u8>,
        step: i64,
        now: UnixTime,
    ) -> Answer<'_, bool> {
        let user = user.clone();
        self.write_and_tell(move |db| {
            users::confirm_enrolment(db, &user, &sealed, step, now).map_err(unavailable)
        })
    }

    fn remove_totp(&self, user: &UserName) -> Answer<'_, bool> {
        let user = user.clone();
        self.write_and_tell(move |db| users::remove_totp(db, &user).map_err(unavailable))
    }

    fn totp(&self, user: &UserName) -> Answer<'_, Option<Totp>> {
        let user = user.clone();
        self.read(move |db| users::totp(db, &user))
    }

    fn consume_step(&self, consumption: Consumption) -> Answer<'_, bool> {
        self.write(move |db| users::consume_step(db, &consumption).map_err(unavailable))
    }

    fn look_up(&self, lookup: Lookup) -> Answer<'_, Found> {
        self.read(move |db| login::look_up(db, &lookup))
    }

    fn windows(&self, keys: Vec<[u8; 32]>) -> Answer<'_, Vec<Option<Window>>> {
        self.read(move |db| keys.iter().map(|key| windows::one(db, key)).collect())
    }

    fn standing(&self, subjects: Vec<Subject>) -> Answer<'_, Vec<Standing>> {
        self.read(move |db| {
            subjects
                .iter()
                .map(|subject| login::standing(db, subject))
                .collect()
        })
    }

    fn add_app_password(&self, app_password: AppPassword, limit: u32) -> Answer<'_, bool> {
        self.write(move |db| {
            let live =
                app_passwords::live(db, &app_password.user, app_password.created).map_err(unavailable)?;
            if live >= limit {
                return Err(StoreError::Full("app passwords of one user"));
            }
            app_passwords::add(db, &app_password).map_err(unavailable)
        })
    }

    fn app_password(&self, id: u32) -> Answer<'_, Option<AppPassword>> {
        self.read(move |db| app_passwords::one(db, id))
    }

    fn app_passwords(&self, user: &UserName) -> Answer<'_, Vec<AppPassword>> {
        let user = user.clone();
        self.read(move |db| app_passwords::of_user(db, &user))
    }

    fn app_passwords_for(&self, account: &UserName) -> Answer<'_, Vec<AppPassword>> {
        let account = account.clone();
        self.read(move |db| app_passwords::for_account(db, &account))
    }

    fn revoke_app_password(&self, id: u32, now: UnixTime) -> Answer<'_, bool> {
        self.write_and_tell(move |db| app_passwords::revoke(db, id, now).map_err(unavailable))
    }

    fn reseal(&self, account: &UserName, sealed: Vec<(u32, Vec<u8>)>) -> Answer<'_, u32> {
        let account = account.clone();
        self.write_and_tell(move |db| {
            windows::close_all(db, &account).map_err(unavailable)?;
            app_passwords::reseal(db, &account, &sealed).map_err(unavailable)
        })
    }

    fn open_window(&self, key: [u8; 32], now: UnixTime, expires: UnixTime) -> Answer<'_, bool> {
        self.write(move |db| windows::open(db, &key, now, expires).map_err(unavailable))
    }

    fn close_window(&self, key: [u8; 32]) -> Answer<'_, bool> {
        self.write(move |db| windows::close(db, &key).map_err(unavailable))
    }

    fn close_windows(&self, user: &UserName) -> Answer<'_, u32> {
        let user = user.clone();
        self.write_and_tell(move |db| windows::close_all(db, &user).map_err(unavailable))
    }

    fn add_ban(&self, ban: Ban) -> Answer<'_, ()> {
        self.write_and_tell(move |db| {
            if lists::add_ban(db, &ban).map_err(unavailable)? {
                Ok(())
            } else {
                Err(StoreError::Full("bans"))
            }
        })
    }

    fn remove_ban(&self, network: IpNet) -> Answer<'_, bool> {
        self.write_and_tell(move |db| lists::remove_ban(db, network).map_err(unavailable))
    }

    fn bans(&self, now: UnixTime) -> Answer<'_, Vec<Ban>> {
        self.read(move |db| lists::bans(db, now))
    }

    fn habits(&self, visit: Visit) -> Answer<'_, Habits> {
        self.read(move |db| habits::of_visit(db, &visit))
    }

    fn note(&self, note: Note) {
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(note);
    }

    fn flush(&self) -> Answer<'_, ()> {
        let notes = Arc::clone(&self.notes);
        self.writer
            .ask(move |connection| writer::flush(&notes, connection))
    }

    fn try_write(&self) -> Answer<'_, ()> {
        self.writer.ask(writer::try_write)
    }

    fn sweep(&self, now: UnixTime) -> Answer<'_, ()> {
        self.write(move |db| lists::sweep(db, now).map_err(unavailable))
    }
}

#[cfg(test)]
mod tests;
