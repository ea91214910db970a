//! Between the relay and whoever judges its commands by rules.

use super::Relay;
use crate::imap::command::Command;
use crate::imap::response::Scanner;
use crate::session::inspect::Deed;
use crate::session::inspect::Inspector;
use crate::session::inspect::Objection;
use crate::session::inspect::Recalled;

impl Relay {
    /// Finds a complete command that was read before, but for its tag and the message that it is about; where nobody but
    /// rules has to know its arguments.
    pub(super) fn recall<'a>(&self, bytes: &'a [u8]) -> Option<(Command<'a>, Recalled<'a>)> {
        let inspector = self.inspector.as_ref()?;
        match self.guard.reads_arguments() {
            true => None,
            false => inspector.recall(bytes),
        }
    }
}

/// Asks the rules about a command, where there are any.
pub(super) fn inspect(
    inspector: Option<&mut Inspector>,
    command: (&Command<'_>, Option<Recalled<'_>>),
    bytes: &[u8],
    scanner: &mut Scanner,
) -> Result<Deed, Objection> {
    match inspector {
        Some(inspector) => {
            scanner.watch_notices(inspector.asks_for_notices());
            inspector.command(command, bytes, (&scanner.tally(), scanner.notices()))
        }
        None => Ok(Deed::None),
    }
}
