//! What is left to do once the backend has spoken: windows open or close, and a login becomes a habit.

use crate::auth::gate::Gate;
use crate::auth::gate::away::Seen;
use crate::store::Habit;
use crate::store::LastUse;
use crate::store::Note;
use crate::store::StoreError;
use crate::store::WindowState;
use crate::types::Prefix;
use crate::types::UnixTime;
use crate::types::UserName;

/// What is still open until the backend has spoken.
#[must_use = "a window that is not settled stays pending, and a last use is lost"]
#[derive(Debug)]
pub struct Pending {
    pub(super) user: UserName,
    pub(super) from: Prefix,
    pub(super) open: Open,
}

/// What that is.
#[derive(Debug)]
pub(super) enum Open {
    Nothing,
    AppPassword(u32, LastUse, Option<Rehash>),
    Window {
        key: [u8; 32],
        opened: UnixTime,
        state: WindowState,
        /// Where windows are remembered.
        seen: Option<Box<Seen>>,
    },
}

impl Pending {
    /// True where the secret is known to be right before the backend has spoken: by the store, or because the backend has said so of it
    /// before.
    pub fn is_right(&self) -> bool {
        match self.open {
            Open::AppPassword(..) => true,
            Open::Window { state, .. } => state == WindowState::Open,
            Open::Nothing => false,
        }
    }
}

/// The hash of an app password that has none under the key in force.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rehash {
    /// What bound its public key when it was verified.
    pub(super) public_key_mac: [u8; 32],
    pub(super) hash: [u8; 32],
}

/// What the backend said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It let the account in.
    Accepted,
    /// It refused the password.
    Refused,
    /// It could not be asked. Nothing is opened and nothing taken back.
    Unavailable,
}

impl Gate {
    /// After the backend has spoken: opens or closes the window, notes the use and the source. What rules ask the
    /// [`Memory`](crate::auth::memory::Memory) about a login must be asked before.
    ///
    /// # Errors
    /// Where the store does not answer: a window then stays pending and ends by itself. The session may go on.
    pub async fn settle(&self, pending: Pending, outcome: Outcome, now: UnixTime) -> Result<(), StoreError> {
        match outcome {
            Outcome::Unavailable => return Ok(()),
            Outcome::Refused => {
                if let Open::Window { key, .. } = pending.open {
                    self.grace.forget(&key);
                    self.store.close_window(key).await?;
                }
                return Ok(());
            }
            Outcome::Accepted => {}
        }
        let source = self.ring.in_force().source(&pending.user, pending.from);
        let network = Habit::Network(source);
        self.store.note(Note::Came(pending.user.clone(), network, now));
        match pending.open {
            Open::Nothing => {}
            Open::AppPassword(id, last_use, rehash) => {
                self.store.note(Note::AppPasswordUsed(id, last_use));
                if let Some(Rehash { public_key_mac, hash }) = rehash {
                    // What cannot be kept now is made again at the next use.
                    let _ = self.store.keep_hash(id, public_key_mac, hash).await;
                }
            }
            Open::Window {
                key,
                opened,
                state,
                seen,
            } => {
                let expires = opened.plus(self.options.windows.total);
                let is_open = match state {
                    WindowState::Pending => self.store.open_window(key, now, expires).await?,
                    WindowState::Open => {
                        self.store.note(Note::WindowUsed(key, now));
                        true
                    }
                };
                if let Some(seen) = seen.filter(|_| is_open) {
                    self.remember(key, *seen, pending.from, now);
                }
            }
        }
        Ok(())
    }
}
