//! What rules would know of a command, outside of any session: for explaining.

use crate::imap::command::Command;
use crate::imap::set::Mailbox;
use crate::policy::facts;
use crate::session::inspect::command::Read;
use crate::session::inspect::role::Named;

/// Asks something of the facts of a command, outside of any session; `selected` is the mailbox that is open, `of` what is
/// known of it. For explaining.
pub fn ask_about<R>(
    command: &Command<'_>,
    bytes: &[u8],
    (selected, of): (Option<&str>, Mailbox),
    ask: impl FnOnce(&facts::Command<'_>) -> R,
) -> R {
    ask(&Read::of(command, bytes, (selected.map(Named::new), of), None).facts())
}

/// What a mailbox is for by its name, and whether it is another user's or shared. For explaining.
#[must_use]
pub fn nature_of(mailbox: &str) -> (Option<&'static str>, bool) {
    let Named { role, is_shared, .. } = Named::new(mailbox);
    (role, is_shared)
}
