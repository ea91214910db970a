//! Which mailbox the backend speaks of: what was asked of it, and what its answers say, tell the totals.

use super::Scanner;

impl Scanner {
    /// The backend is asked to open another mailbox: what it says of its size from now on may be about that one.
    pub fn opening(&mut self) {
        self.counter.opening();
    }

    /// It has opened the other mailbox.
    pub fn opened(&mut self) {
        self.counter.opened();
    }

    /// It has not, and the mailbox that was open still is.
    pub fn not_opened(&mut self) {
        self.counter.not_opened();
    }

    /// No mailbox is open: what was known of it is void.
    pub fn closed(&mut self) {
        self.counter.closed();
    }

    /// A status line has said which UID the mailbox's next message will have.
    pub fn uid_next(&mut self, uid: u32) {
        self.counter.uid_next(uid);
    }
}
