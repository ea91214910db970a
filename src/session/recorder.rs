//! Writes down commands after the login: what each was, as far as rules know it, and what became of it. Never a search term,
//! nothing of a message.
//!
//! A session may have so many commands a second written down and no more: what is left out is counted. Nothing is done for
//! what the backend sends but a look at the running totals when a command is answered.

use crate::imap::tally::Tally;
use crate::policy::facts::Record;
use crate::types::CommandRefusal;

/// Commands of one session that may be written down at once.
const BURST: u64 = 500;

/// How many more of them each second.
const RATE: u64 = 50;

/// Which commands are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recording {
    /// None.
    None,
    /// Those that are not passed on.
    #[default]
    Refused,
    /// Every one, with what rules know of it.
    All,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandResult {
    /// The backend has said OK.
    Ok,
    /// The backend has said NO.
    No,
    /// The backend has said BAD.
    Bad,
    /// It was not passed on.
    Refused(CommandRefusal),
    /// The session ended first.
    Unanswered,
}

impl CommandResult {
    /// The word in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::No => "no",
            Self::Bad => "bad",
            Self::Refused(_) => "refused",
            Self::Unanswered => "unanswered",
        }
    }
}

/// A command as it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::session) struct Begun {
    /// The verb; `None` for what is no command.
    pub(in crate::session) verb: Option<&'static str>,
    /// The mailbox that it names.
    pub(in crate::session) mailbox: Option<String>,
    /// What rules know of it.
    pub(in crate::session) facts: Option<Record>,
    began_ms: u64,
}

/// A command, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The verb, with `UID` where it is that form; `None` for what is no command.
    pub verb: Option<&'static str>,
    /// The mailbox that it names, decoded.
    pub mailbox: Option<String>,
    /// What rules knew of it when it was judged, where all commands are written down.
    pub facts: Option<Record>,
    /// What became of it.
    pub result: CommandResult,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Bytes of messages that came until it was answered, since the answer before it.
    pub fetched_bytes: u64,
    /// Messages that began to come then.
    pub fetched_messages: u64,
    /// Bodies, or parts of them, were among it.
    pub fetched_body: bool,
    /// Messages that were appended by it, and their bytes.
    pub appended: Option<(u32, u64)>,
    /// Commands that were left out since the last one that was written down.
    pub untold: u64,
}

/// Writes down the commands of one session.
#[derive(Debug)]
pub(in crate::session) struct Recorder {
    pub(in crate::session) recording: Recording,
    pub(in crate::session) now_ms: u64,
    done: Vec<Recorded>,
    /// What of the totals belongs to commands that were answered.
    told: Tally,
    /// Milliseconds since which the allowance is as large as it can be; later than now where it is not.
    spent_until_ms: u64,
    untold: u64,
    /// Whether the command that is being judged has its place.
    asked: Option<bool>,
}

impl Recorder {
    pub(in crate::session) fn new(recording: Recording) -> Self {
        Self {
            recording,
            now_ms: 0,
            done: Vec::new(),
            told: Tally::default(),
            spent_until_ms: 0,
            untold: 0,
            asked: None,
        }
    }

    /// True where a command that is about to be judged is written down, whatever becomes of it.
    pub(in crate::session) fn admits_passed(&mut self) -> bool {
        if self.recording != Recording::All {
            return false;
        }
        let admitted = self.spend();
        self.asked = Some(admitted);
        admitted
    }

    /// The command that was judged goes on.
    pub(in crate::session) fn passed(&mut self) {
        self.asked = None;
    }

    /// True where a command that does not go on is written down.
    pub(in crate::session) fn admits_refused(&mut self) -> bool {
        let asked = self.asked.take();
        asked.unwrap_or_else(|| self.recording != Recording::None && self.spend())
    }

    fn spend(&mut self) -> bool {
        const EACH_MS: u64 = 1_000 / RATE;
        let until = self.spent_until_ms.max(self.now_ms).saturating_add(EACH_MS);
        let room = until.saturating_sub(self.now_ms) <= BURST.saturating_mul(EACH_MS);
        if room {
            self.spent_until_ms = until;
        } else {
            self.untold = self.untold.saturating_add(1);
        }
        room
    }

    /// A command begins.
    pub(in crate::session) fn begun(
        &self,
        verb: Option<&'static str>,
        mailbox: Option<String>,
        facts: Option<Record>,
    ) -> Begun {
        Begun {
            verb,
            mailbox,
            facts,
            began_ms: self.now_ms,
        }
    }

    /// A command is over. What has come since the last one counts as its own: servers answer one after the other.
    pub(in crate::session) fn over(
        &mut self,
        begun: Begun,
        result: CommandResult,
        appended: Option<(u32, u64)>,
        tally: &Tally,
    ) {
        let before = std::mem::replace(&mut self.told, *tally);
        self.done.push(Recorded {
            verb: begun.verb,
            mailbox: begun.mailbox,
            facts: begun.facts,
            result,
            took_ms: self.now_ms.saturating_sub(begun.began_ms),
            fetched_bytes: tally.fetched.saturating_sub(before.fetched),
            fetched_messages: tally.bodies.saturating_sub(before.bodies),
            fetched_body: tally.body_bytes > before.body_bytes,
            appended,
            untold: std::mem::take(&mut self.untold),
        });
    }

    /// A command is over that was left out: what came for it is not the next one's.
    pub(in crate::session) fn left_out(&mut self, tally: &Tally) {
        self.told = *tally;
    }

    /// A command is refused before anything of it was passed on.
    pub(in crate::session) fn refused(&mut self, begun: Begun, why: CommandRefusal) {
        let told = self.told;
        self.over(begun, CommandResult::Refused(why), None, &told);
    }

    /// Takes what was written down since the last time.
    pub(in crate::session) fn take(&mut self) -> Vec<Recorded> {
        std::mem::take(&mut self.done)
    }

    /// How many commands were left out since the last one that was written down.
    pub(in crate::session) fn untold(&self) -> u64 {
        self.untold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_so_many_commands_told_and_the_others_are_counted() {
        let mut recorder = Recorder::new(Recording::Refused);
        recorder.now_ms = 1_000_000;
        let admitted = (0..10_000).filter(|_| recorder.admits_refused()).count();
        assert_eq!(u64::try_from(admitted).unwrap(), BURST);
        assert_eq!(recorder.untold(), 10_000 - BURST);
        recorder.now_ms += 1_000;
        let admitted = (0..10_000).filter(|_| recorder.admits_refused()).count();
        assert_eq!(u64::try_from(admitted).unwrap(), RATE);
        let begun = recorder.begun(None, None, None);
        recorder.refused(begun, CommandRefusal::Invalid);
        assert_eq!(recorder.take()[0].untold, 20_000 - BURST - RATE);
        assert_eq!(recorder.untold(), 0);
        assert!(!recorder.admits_passed(), "it is passed on");
    }

    #[test]
    fn what_came_for_a_command_that_was_left_out_is_not_the_next_ones() {
        let mut recorder = Recorder::new(Recording::All);
        let begun = recorder.begun(Some("NOOP"), None, None);
        let tally = Tally {
            fetched: 100,
            bodies: 2,
            body_bytes: 90,
            ..Tally::default()
        };
        recorder.left_out(&tally);
        recorder.over(begun, CommandResult::Ok, None, &tally);
        let told = recorder.take();
        assert_eq!((told[0].fetched_bytes, told[0].fetched_body), (0, false));
    }

    #[test]
    fn nothing_is_counted_where_nothing_is_told() {
        let mut recorder = Recorder::new(Recording::None);
        assert!(!recorder.admits_refused() && !recorder.admits_passed());
        assert_eq!(recorder.untold(), 0);
    }

    #[test]
    fn what_came_since_the_last_answer_belongs_to_the_next() {
        let mut recorder = Recorder::new(Recording::All);
        let begun = recorder.begun(Some("FETCH"), None, None);
        let mut tally = Tally {
            fetched: 100,
            bodies: 2,
            body_bytes: 90,
            ..Tally::default()
        };
        recorder.over(begun.clone(), CommandResult::Ok, None, &tally);
        tally.fetched += 10;
        recorder.over(begun, CommandResult::Ok, None, &tally);
        let told: Vec<_> = recorder
            .take()
            .iter()
            .map(|one| (one.fetched_bytes, one.fetched_messages, one.fetched_body))
            .collect();
        assert_eq!(told, [(100, 2, true), (10, 0, false)]);
    }
}
