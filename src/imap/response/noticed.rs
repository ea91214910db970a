//! Security notices among the messages that pass, where somebody asks for them.

use super::Scanner;
use crate::imap::notices::Notices;

impl Scanner {
    /// Looks for security notices among the newest messages from now on, or not any more.
    pub fn watch_notices(&mut self, watch: bool) {
        if watch != self.counter.notices.is_some() {
            let exists = self.counter.tally.mailbox.exists;
            self.counter.notices = watch.then(|| Box::new(Notices::new(exists)));
        }
    }

    /// What was found of them.
    #[must_use]
    pub fn notices(&self) -> Option<&Notices> {
        self.counter.notices.as_deref()
    }

    /// The same, for whoever takes what is new.
    pub fn watched(&mut self) -> Option<&mut Notices> {
        self.counter.notices.as_deref_mut()
    }
}
