//! What must outlive a restart: users, second factors, trusted windows, bans, habits. One trait; the engines stand beside it.
//!
//! A store keeps what it is given and never sees a secret in clear: hashes are keyed and secrets are sealed before they
//! come here. It must never block the runtime, and never panic: whatever is wrong with it is a [`StoreError`], which
//! callers answer by refusing (`NO [UNAVAILABLE]`).

mod bounds;
mod counts;
mod habits;
mod keys;
mod moves;
mod notes;
pub mod postgres;
mod records;
mod replicas;
pub mod sqlite;
mod tables;
mod words;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use ipnet::IpNet;
use thiserror::Error;
use tokio::sync::watch;

use crate::types::UnixTime;
use crate::types::UserName;

pub use counts::Count;
pub use counts::CountHeard;
pub use counts::Counts;
pub use counts::CountsHeard;
pub use counts::MOST_HEARD;
pub use counts::MOST_TOLD;
pub use habits::AppPasswordUse;
pub use habits::Averages;
pub use habits::Habit;
pub use habits::Habits;
pub use habits::Note;
pub use habits::Visit;
pub use habits::day_of;
pub use keys::Bound;
pub use keys::FormerKey;
pub use keys::KeyStore;
pub use keys::NO_HASH;
pub use keys::Rekey;
pub use keys::Rekeyed;
pub use records::AppPassword;
pub use records::Ban;
pub use records::Before;
pub use records::Consumption;
pub use records::Counted;
pub use records::Found;
pub use records::LastUse;
pub use records::Lookup;
pub use records::MfaSetting;
pub use records::NewWindow;
pub use records::Standing;
pub use records::Subject;
pub use records::Totp;
pub use records::User;
pub use records::Window;
pub use records::WindowState;
pub use replicas::Asked;
pub use replicas::COUNTERS;
pub use replicas::Heard;
pub use replicas::Holder;
pub use replicas::Kill;
pub use replicas::OpenSession;
pub use replicas::Renewal;
pub use replicas::Renewed;
pub use replicas::ReplicaId;
pub use replicas::Replicas;
pub use replicas::Target;

/// Why the store gave no answer. Every one of them means: let nobody in.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It cannot be reached now: locked, full, missing, overloaded, shut down. It may heal by itself.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What is in it does not make sense: damaged, or changed by hand.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// A newer version of the program made it.
    #[error("the store has schema version {found}, this program knows {known}; a newer imapwarden made it")]
    TooNew {
        /// The version found.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// The file is a database of another program.
    #[error("{0} is not an imapwarden store")]
    Foreign(String),
    /// The key that it goes by is another one, or not in the key file: nothing in it could be verified or unsealed.
    #[error(
        "the store was made with another key file, or has a newer key; restore the key file that belongs to it"
    )]
    OtherKey,
    /// A bounded table has no room left.
    #[error("the store has no room for more {0}")]
    Full(&'static str),
}

/// A store's answer, boxed so that the trait stays dyn-compatible.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The engines' common face. Every method is one transaction; `bool` answers say whether there was something to change.
pub trait Store: Replicas + KeyStore {
    /// A number that moves whenever something committed that may end sessions or change who gets in: revocations,
    /// disabled users, resets, bans; by this process at once, by others within half a second.
    fn changes(&self) -> watch::Receiver<u64>;
    /// A number that moves with each of these that was heard of, and where some may have been missed, once they can be heard again. While
    /// the store is away it stands still, and [`Store::changes`] moves with each try to hear of something.
    fn notices(&self) -> u64;

    /// Adds a user; false where the name is taken.
    fn add_user(&self, user: User) -> Answer<'_, bool>;
    /// Replaces a user's settings; name, creation time and epoch stay. Disabling ends the user's windows and moves the epoch.
    fn change_user(&self, user: User) -> Answer<'_, bool>;
    /// Removes a user with all that hangs on the name.
    fn remove_user(&self, name: &UserName) -> Answer<'_, bool>;
    /// Takes every second factor away: the one-time secret, app passwords (revoked), windows, known sources. Moves the epoch.
    fn reset_user(&self, name: &UserName, now: UnixTime) -> Answer<'_, bool>;
    /// One user.
    fn user(&self, name: &UserName) -> Answer<'_, Option<User>>;
    /// Users in the order of their names, those behind `after`, at most `limit`.
    fn users(&self, after: Option<&UserName>, limit: u32) -> Answer<'_, Vec<User>>;

    /// Keeps a sealed one-time secret that waits for its first code. One in force stays in force. False: no such user.
    fn begin_enrolment(&self, user: &UserName, sealed: Vec<u8>, now: UnixTime) -> Answer<'_, bool>;
    /// The sealed secret that waits for its first code, and since when.
    fn enrolment(&self, user: &UserName) -> Answer<'_, Option<(Vec<u8>, UnixTime)>>;
    /// Puts the waiting secret in force, with `step` consumed, ends the user's windows and moves the epoch. False where the
    /// waiting secret is not `sealed` any more.
    fn confirm_enrolment(
        &self,
        user: &UserName,
        sealed: Vec<u8>,
        step: i64,
        now: UnixTime,
    ) -> Answer<'_, bool>;
    /// Removes the one-time secret, in force or waiting, and the windows it opened. Moves the epoch.
    fn remove_totp(&self, user: &UserName) -> Answer<'_, bool>;
    /// The one-time secret in force.
    fn totp(&self, user: &UserName) -> Answer<'_, Option<Totp>>;
    /// Consumes a time step once, atomically, and opens a pending window in the same transaction. False where that step
    /// or a later one was consumed, the secret is another one by now, or the user is disabled.
    fn consume_step(&self, consumption: Consumption) -> Answer<'_, bool>;

    /// All that a login attempt may need, in one read whose cost does not depend on what is found.
    fn look_up(&self, lookup: Lookup) -> Answer<'_, Found>;
    /// Trusted windows by their names, in the order asked; those that have expired may still be there.
    fn windows(&self, keys: Vec<[u8; 32]>) -> Answer<'_, Vec<Option<Window>>>;
    /// What live sessions stand on, in the order asked.
    fn standing(&self, subjects: Vec<Subject>) -> Answer<'_, Vec<Standing>>;

    /// Adds an app password; false where the id is taken. [`StoreError::Full`] where `limit` live ones exist for the user.
    fn add_app_password(&self, app_password: AppPassword, limit: u32) -> Answer<'_, bool>;
    /// One app password.
    fn app_password(&self, id: u32) -> Answer<'_, Option<AppPassword>>;
    /// A user's app passwords, oldest first, revoked and expired ones included.
    fn app_passwords(&self, user: &UserName) -> Answer<'_, Vec<AppPassword>>;
    /// Those that open `account`, whoever owns them, that are not revoked.
    fn app_passwords_for(&self, account: &UserName) -> Answer<'_, Vec<AppPassword>>;
    /// Revokes; false where there is none, or it was revoked before.
    fn revoke_app_password(&self, id: u32, now: UnixTime) -> Answer<'_, bool>;
    /// Replaces sealed mail passwords and ends the account's windows, all or nothing; answers how many were replaced.
    fn reseal(&self, account: &UserName, sealed: Vec<(u32, Vec<u8>)>) -> Answer<'_, u32>;

    /// The backend accepted: a pending window opens until `expires`. False where it is gone or open already.
    fn open_window(&self, key: [u8; 32], now: UnixTime, expires: UnixTime) -> Answer<'_, bool>;
    /// The backend refused: the window, pending or open, is gone.
    fn close_window(&self, key: [u8; 32]) -> Answer<'_, bool>;
    /// Ends all windows of a user; answers how many.
    fn close_windows(&self, user: &UserName) -> Answer<'_, u32>;

    /// Adds a ban or replaces the one on the same network.
    fn add_ban(&self, ban: Ban) -> Answer<'_, ()>;
    /// Lifts the ban on exactly this network.
    fn remove_ban(&self, network: IpNet) -> Answer<'_, bool>;
    /// Bans in force.
    fn bans(&self, now: UnixTime) -> Answer<'_, Vec<Ban>>;

    /// True where the user has logged in from this source since `since`, and nothing else that is found.
    #[cfg(test)]
    fn knows_source(&self, user: &UserName, names: Vec<[u8; 32]>, since: UnixTime) -> Answer<'_, bool> {
        let found = self.look_up(Lookup {
            user: user.clone(),
            app_password: None,
            window: None,
            now: since,
            counted: None,
            before: Before::Source { names, since },
            visit: None,
        });
        Box::pin(async { Ok(found.await?.heard.knows_source) })
    }

    /// What is remembered of a visitor, in one read whose cost does not depend on who comes: each statement runs, and an
    /// unknown user is looked for as a known one is.
    fn habits(&self, visit: Visit) -> Answer<'_, Habits>;

    /// Something worth remembering that nobody waits for. Collected, and written within seconds in one transaction.
    fn note(&self, note: Note);
    /// Writes all notes now: at shutdown, and before an exact answer is needed.
    fn flush(&self) -> Answer<'_, ()>;
    /// Whether the store answers and takes what waits to be written; how much of it there is makes no difference.
    fn probe(&self) -> Answer<'_, ()> {
        self.flush()
    }
    /// Whether the store takes a write: one as large as a login's is written, is on the disk, and is gone again. To be asked of a
    /// store that failed: on a full disk it reads as ever.
    fn try_write(&self) -> Answer<'_, ()>;
    /// Deletes what is over: windows, bans, abandoned enrolments; what users did more than 90 days ago; what they have not
    /// come with for a year; app passwords that ended a year ago. To be called every few minutes.
    fn sweep(&self, now: UnixTime) -> Answer<'_, ()>;
}

/// An address as the store writes it.
fn address_text(ip: IpAddr) -> String {
    ip.to_canonical().to_string()
}

#[cfg(test)]
mod contract;
