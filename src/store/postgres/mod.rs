//! PostgreSQL, for several replicas that share one store.
//!
//! Every call is bounded in time, and heals by itself: while the server is away the answer is `Unavailable`. What ends
//! sessions or changes who gets in is told to all replicas with the transaction that does it.

pub mod address;
mod app_passwords;
mod counts;
mod error;
mod failures;
mod habits;
mod import;
mod keys;
mod listener;
mod lists;
mod login;
mod notes;
mod options;
mod pool;
mod replicas;
mod rows;
mod schema;
mod users;
mod waiting;
mod windows;

use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::watch;
use tokio::task::JoinHandle;

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
use crate::types::UnixTime;
use crate::types::UserName;

pub use import::Imported;
pub use options::Options;

use error::Trouble;
use listener::Listener;
use pool::Pool;
use pool::Reader;
use pool::Writer;
use waiting::Waiting;

/// A store in a PostgreSQL database. Dropping it writes the waiting notes in the background; `flush` first to be sure.
pub struct PostgresStore {
    pool: Pool,
    waiting: Arc<Waiting>,
    changes: Arc<Moves>,
    listener: JoinHandle<()>,
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.listener.abort();
        self.waiting.close();
    }
}

impl PostgresStore {
    /// Connects, and brings an empty or older database to the newest schema.
    ///
    /// # Errors
    /// Says why the database cannot be used.
    pub fn open(options: &Options) -> Answer<'_, Self> {
        Box::pin(Self::begin(options))
    }

    async fn begin(options: &Options) -> Result<Self, StoreError> {
        let tls = match (&options.tls, options.address.uses_tls()) {
            (Some(client), true) => Some(client.for_postgres()),
            (None, true) => return Err(StoreError::Unavailable("TLS is not set up".to_owned())),
            (_, false) => None,
        };
        let config = options.config();
        let pool = Pool::new(config.clone(), tls.clone(), options)?;
        if options.looks_only {
            schema::check(&pool).await?;
        } else {
            schema::migrate(&pool).await?;
        }
        let changes = Arc::new(Moves::default());
        let listener = Listener {
            config,
            pool: pool.clone(),
            tls,
            changes: Arc::clone(&changes),
            patience: options.wait,
        };
        let waiting = Arc::new(Waiting::default());
        tokio::spawn(waiting::write_on(
            Arc::clone(&waiting),
            pool.clone(),
            options.flush_every,
        ));
        Ok(Self {
            pool,
            waiting,
            changes,
            listener: tokio::spawn(listener.run()),
        })
    }

    /// Asks the server for nothing but an answer.
    async fn ask(&self) -> Result<(), StoreError> {
        let ask = async |db: &Reader<'_>| db.row("SELECT 1", &[]).await;
        self.pool.read(ask).await.map(drop)
    }

    /// A write after which live sessions must be looked at again, here and at every replica.
    async fn write_and_tell<T>(
        &self,
        work: impl AsyncFn(&Writer<'_>) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let answer = self.pool.write_and_tell(work).await?;
        self.changes.told();
        Ok(answer)
    }
}

impl Store for PostgresStore {
    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.changes()
    }

    fn notices(&self) -> u64 {
        self.changes.notices()
    }

    fn add_user(&self, user: User) -> Answer<'_, bool> {
        Box::pin(
            self.pool
                .write(async move |db: &Writer<'_>| users::add(db, &user).await),
        )
    }

    fn change_user(&self, user: User) -> Answer<'_, bool> {
        Box::pin(self.write_and_tell(async move |db: &Writer<'_>| users::change(db, &user).await))
    }

    fn remove_user(&self, name: &UserName) -> Answer<'_, bool> {
        let name = name.clone();
        Box::pin(self.write_and_tell(async move |db: &Writer<'_>| users::remove(db, &name).await))
    }

    fn reset_user(&self, name: &UserName, now: UnixTime) -> Answer<'_, bool> {
        let name = name.clone();
        Box::pin(self.write_and_tell(async move |db: &Writer<'_>| users::reset(db, &name, now).await))
    }

    fn user(&self, name: &UserName) -> Answer<'_, Option<User>> {
        let name = name.clone();
        Box::pin(
            self.pool
                .read(async move |db: &Reader<'_>| users::one(db, &name).await),
        )
    }

    fn users(&self, after: Option<&UserName>, limit: u32) -> Answer<'_, Vec<User>> {
        let after = after.cloned();
        Box::pin(
            self.pool
                .read(async move |db: &Reader<'_>| users::list(db, after.as_ref(), limit).await),
        )
    }

    fn begin_enrolment(&self, user: &UserName, sealed: Vec<u8>, now: UnixTime) -> Answer<'_, bool> {
        let user = user.clone();
        Box::pin(
            self.pool
                .write(async move |db: &Writer<'_>| users::begin_enrolment(db, &user, &sealed, now).await),
        )
    }

    fn enrolment(&self, user: &UserName) -> Answer<'_, Option<(Vec<u8>, UnixTime)>> {
        let user = user.clone();
        Box::pin(
            self.pool
                .read(async move |db: &Reader<'_>| users::enrolment(db, &user).await),
        )
    }

    fn confirm_enrolment(
        &self,
        user: &UserName,
        sealed: Vec<u8>,
        step: i64,
        now: UnixTime,
    ) -> Answer<'_, bool> {
        let user = user.clone();
        Box::pin(self.write_and_tell(async move |db: &Writer<'_>| {
            users::confirm_enrolment(db, &user, &sealed, step, now).await
        }))
    }

    fn remove_totp(&self, user: &UserName) -> Answer<'_, bool> {
        let user = user.clone();
        Box::pin(self.write_and_tell(async move |db: &Writer<'_>| users::remove_totp(db, &user).await))
    }

    fn totp(&self, user: &UserName) -> Answer<'_, Option<Totp>> {
        let user = user.clone();
        Box::pin(
            self.pool
                .read(async move |db: &Reader<'_>| users::totp(db, &user).await),
        )
    }

    fn consume_step(&self, consumption: Consumption) -> Answer<'_, bool> {
        Box::pin(
            self.pool
                .write(async move |db: &Writer<'_>| users::consume_step(db, &consumption).await),
        )
    }

    fn look_up(&self, lookup: Lookup) -> Answer<'_, Found> {
        Box::pin(
            self.pool
                .read(async move |db: &Reader<'_>| login::look_up(db, &lookup).await),
        )
    }

    fn windows(&self, keys: Vec<[u8; 32]>) -> Answer<'_, Vec<Option<Window>>> {
        Box::pin(
            self.pool
                .read(async move |db: &Reader<'_>| windows::by_keys(db, &keys).await),
        )
    }

    fn standing(&self, subjects: Vec<Subject>) -> Answer<'_, Vec<Standing>> {
        Box::pin(
            self.pool
                .read(async move |db: &Reader<'_>| login::standing(db, &subjects).await),
        )
    }

    fn add_app_password(&self, app_password: AppPassword, limit: u32) -> Answer<'_, bool> {
        Box::pin(
            self.pool
                .write(async move |db: &Writer<'_>| app_passwords::add(db, &app_password, limit).await),
        )
    }

    fn app_password(&self, id: u32) -> Answer<'_, Option<AppPassword>> {
        Box::pin(
            self.pool
                .read(async move |db: &Reader<'_>| app_passwords::one(db, id).await),
        )
    }

    fn app_passwords(&self, user: &UserName) -> Answer<'_, Vec<AppPassword>> {
        let user = user.clone();
        Box::pin(
            self.pool
                .read(async move |db: &Reader<'_>| app_passwords::of_user(db, &user).await),
        )
    }

    fn app_passwords_for(&self, account: &UserName) -> Answer<'_, Vec<AppPassword>> {
        let account = account.clone();
        Box::pin(
            self.pool
                .read(async move |db: &Reader<'_>| app_passwords::for_account(db, &account).await),
        )
    }

    fn revoke_app_password(&self, id: u32, now: UnixTime) -> Answer<'_, bool> {
        Box::pin(self.write_and_tell(async move |db: &Writer<'_>| app_passwords::revoke(db, id, now).await))
    }

    fn reseal(&self, account: &UserName, sealed: Vec<(u32, Vec<u8>)>) -> Answer<'_, u32> {
        let account = account.clone();
        Box::pin(
            self.write_and_tell(async move |db: &Writer<'_>| {
                app_passwords::reseal(db, &account, &sealed).await
            }),
        )
    }

    fn open_window(&self, key: [u8; 32], now: UnixTime, expires: UnixTime) -> Answer<'_, bool> {
        Box::pin(
            self.pool
                .write(async move |db: &Writer<'_>| windows::open(db, &key, now, expires).await),
        )
    }

    fn close_window(&self, key: [u8; 32]) -> Answer<'_, bool> {
        Box::pin(
            self.pool
                .write(async move |db: &Writer<'_>| windows::close(db, &key).await),
        )
    }

    fn close_windows(&self, user: &UserName) -> Answer<'_, u32> {
        let user = user.clone();
        Box::pin(self.write_and_tell(async move |db: &Writer<'_>| windows::close_all(db, &user).await))
    }

    fn add_ban(&self, ban: Ban) -> Answer<'_, ()> {
        Box::pin(self.write_and_tell(async move |db: &Writer<'_>| lists::add_ban(db, &ban).await))
    }

    fn remove_ban(&self, network: IpNet) -> Answer<'_, bool> {
        Box::pin(self.write_and_tell(async move |db: &Writer<'_>| lists::remove_ban(db, network).await))
    }

    fn bans(&self, now: UnixTime) -> Answer<'_, Vec<Ban>> {
        Box::pin(
            self.pool
                .read(async move |db: &Reader<'_>| lists::bans(db, now).await),
        )
    }

    fn habits(&self, visit: Visit) -> Answer<'_, Habits> {
        Box::pin(
            self.pool
                .read(async move |db: &Reader<'_>| habits::of_visit(db, &visit).await),
        )
    }

    fn note(&self, note: Note) {
        self.waiting.add(note);
    }

    fn flush(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.waiting.flush(&self.pool).await?;
            // Where nothing waited nobody has asked the server, and whoever asks us wants to know.
            self.ask().await
        })
    }

    fn probe(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.waiting.probe(&self.pool).await?;
            self.ask().await
        })
    }

    fn try_write(&self) -> Answer<'_, ()> {
        Box::pin(self.pool.write(async move |db: &Writer<'_>| {
            let sql = "UPDATE meta SET value = value WHERE name = 'key_check'";
            db.execute(sql, &[]).await.map(drop)
        }))
    }

    fn sweep(&self, now: UnixTime) -> Answer<'_, ()> {
        Box::pin(
            self.pool
                .write(async move |db: &Writer<'_>| lists::sweep(db, now).await),
        )
    }
}

#[cfg(test)]
#[path = "../../../tests/support/postgres.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    missing_docs,
    reason = "shared with the tests of the whole program, each of which uses a part"
)]
pub(in crate::store) mod cluster;
#[cfg(test)]
pub(in crate::store) mod tests;
