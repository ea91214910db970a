//! What a DELETE is about: how many messages go with the mailbox, as far as moves tell.

use crate::imap::command::Command;
use crate::imap::mailbox::MailboxName;
use crate::imap::verb::Verb;
use crate::session::inspect::Inspector;
use crate::session::inspect::command::Read;

impl Inspector {
    /// How many messages were moved lately into a mailbox that is to be deleted.
    pub(super) fn goes_with(&self, command: &Command<'_>) -> Option<u64> {
        let mailbox = command
            .mailbox
            .as_ref()
            .filter(|_| command.verb == Verb::Delete)?;
        self.ledger.moved_into(mailbox.as_str(), self.now_ms)
    }

    /// A command goes to the backend that moves messages, or a mailbox. It is not waited for its answer: a DELETE may follow
    /// in the same packet.
    pub(super) fn follow(&self, command: &Command<'_>, read: &Read<'_>) {
        let mailbox = command.mailbox.as_ref().map(MailboxName::as_str);
        let destination = command.destination.as_ref().map(MailboxName::as_str);
        match (command.verb, mailbox, destination) {
            (Verb::Move | Verb::UidMove, Some(to), _) => {
                self.ledger.moved(to, read.messages().unwrap_or(1), self.now_ms);
            }
            (Verb::Rename, Some(from), Some(to)) => self.ledger.renamed(from, to, self.now_ms),
            _ => {}
        }
    }
}
