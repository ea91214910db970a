//! The client's bytes on their way into the collector, counted: a total bounds what anybody may send without logging in.

use crate::imap::collect::Bounds;
use crate::imap::collect::Collector;
use crate::imap::collect::FrameError;
use crate::imap::collect::Progress;
use crate::imap::literal::Announcement;
use crate::types::EndReason;

/// The collector with what may still come.
pub(super) struct Input {
    collector: Collector,
    left: usize,
}

/// What reading came to.
pub(super) enum Read {
    /// All bytes are read, and the command is not complete.
    More,
    /// The command so far ends in this announcement.
    Announced(Announcement),
    /// The command is complete.
    Complete,
    /// The connection has to end, with this said.
    Broken(EndReason, &'static str),
}

/// What is said when the total is used up.
pub(super) const TOO_MUCH: &str = "BYE Too much data before login.";

impl Input {
    pub(super) fn new(bounds: Bounds, total: usize) -> Self {
        Self {
            collector: Collector::new(bounds),
            left: total,
        }
    }

    /// Takes bytes from the front of `rest`, up to the next decision.
    pub(super) fn read(&mut self, rest: &mut &[u8]) -> Read {
        let allowed = rest.get(..self.left).unwrap_or(rest);
        let (taken, progress) = self.collector.feed(allowed);
        self.left = self.left.saturating_sub(taken);
        *rest = rest.get(taken..).unwrap_or_default();
        match progress {
            Progress::More if rest.is_empty() => Read::More,
            Progress::More => Read::Broken(EndReason::ClientLimit, TOO_MUCH),
            Progress::Announced(announcement) => Read::Announced(announcement),
            Progress::Complete => Read::Complete,
            Progress::Broken(error) => broken(error),
        }
    }

    /// The command so far.
    pub(super) fn bytes(&self) -> &[u8] {
        self.collector.bytes()
    }

    /// Why the literal may not be collected, if it may not.
    pub(super) fn fits(&self, announcement: Announcement) -> Result<(), FrameError> {
        self.collector.fits(announcement)
    }

    /// Collects the announced literal.
    pub(super) fn keep(&mut self) {
        self.collector.keep();
    }

    /// Throws the announced literal and the rest of the command away. False where that is more than may still come: there
    /// is no use in reading it.
    #[must_use]
    pub(super) fn discard(&mut self, announcement: Announcement) -> bool {
        self.collector.discard();
        usize::try_from(announcement.size).is_ok_and(|size| size <= self.left)
    }

    /// Bytes held now.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.collector.held()
    }

    /// Forgets and wipes the command.
    pub(super) fn reset(&mut self) {
        self.collector.reset();
    }
}

fn broken(error: FrameError) -> Read {
    match error {
        FrameError::BareLf | FrameError::BareCr => {
            Read::Broken(EndReason::ClientProtocol, "BYE Lines must end in CRLF.")
        }
        FrameError::Nul => Read::Broken(EndReason::ClientProtocol, "BYE NUL is not allowed."),
        FrameError::LineTooLong | FrameError::CommandTooLong => {
            Read::Broken(EndReason::ClientLimit, "BYE Command too long.")
        }
        FrameError::LiteralTooLarge | FrameError::LiteralsTooLarge | FrameError::TooManyLiterals => {
            Read::Broken(EndReason::ClientLimit, "BYE Literal too large.")
        }
    }
}
