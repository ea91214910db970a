//! What commands did: messages appended one after the other, and what the backend's OK makes true.

use crate::imap::mailbox::MailboxName;
use crate::imap::tally::Tally;
use crate::policy::facts;
use crate::policy::facts::Appended;
use crate::session::inspect::Deed;
use crate::session::inspect::Inspector;
use crate::session::inspect::Moment;
use crate::session::inspect::Objection;
use crate::session::inspect::role::role_of;
use crate::types::CommandRefusal;
use crate::types::Measure;

/// Most messages of one command that are judged one by one when they are in.
const MAX_JUDGED: u32 = 10_000;

impl Inspector {
    /// Another message of a command that appends: judged as an APPEND of its own.
    pub(in crate::session) fn another_message(
        &mut self,
        deed: &mut Deed,
        (size, date): (u32, Option<i64>),
        tally: &Tally,
    ) -> Result<(), Objection> {
        let Deed::Appended {
            messages,
            size: sum,
            mailbox,
            dated,
        } = deed
        else {
            return Ok(());
        };
        *messages = messages.saturating_add(1);
        *sum = sum.saturating_add(size.into());
        *dated = dated.iter().copied().chain(date).min();
        let name = mailbox.as_ref().map(MailboxName::as_str);
        let facts = facts::Command {
            verb: "APPEND",
            mailbox: name,
            mailbox_role: name.and_then(role_of),
            literal_size: size.into(),
            literals: 1,
            ..facts::Command::default()
        };
        self.judge(&Moment::Command(&facts), tally)?;
        if self.is_read_only() {
            return Err(Objection::Deny(CommandRefusal::ReadOnly, String::new()));
        }
        Ok(())
    }

    /// The backend has said OK to a command.
    pub(in crate::session) fn done(&mut self, deed: Deed, tally: &Tally) -> Result<(), Objection> {
        match deed {
            Deed::None => Ok(()),
            Deed::Deleted(messages) => {
                self.stats.deleted = self.stats.deleted.saturating_add(messages);
                Ok(())
            }
            Deed::Moved(messages) => {
                self.stats.moved = self.stats.moved.saturating_add(messages);
                Ok(())
            }
            Deed::Dropped(mailbox) => {
                self.ledger.deleted(&mailbox);
                Ok(())
            }
            Deed::Appended {
                messages,
                size,
                mailbox,
                dated,
            } => {
                let messages = messages.max(1);
                self.stats.appended += u64::from(messages);
                self.ledger.count(Measure::AppendedMessages, messages.into());
                self.ledger.count(Measure::AppendedBytes, size);
                let now = self.ledger.now().0;
                let backdated_by =
                    dated.map(|date| u64::try_from(now.saturating_sub(date)).unwrap_or_default());
                let name = mailbox.as_ref().map_or("", MailboxName::as_str);
                let appended = Appended {
                    size: size / u64::from(messages),
                    mailbox: name,
                    mailbox_role: role_of(name),
                    is_inbox: name == "INBOX",
                    backdated_by,
                };
                // Each message is one, also of those that came in one command.
                for _ in 0..messages.min(MAX_JUDGED) {
                    self.judge(&Moment::Appended(&appended), tally)?;
                }
                Ok(())
            }
        }
    }
}
