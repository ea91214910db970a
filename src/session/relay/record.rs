//! What the relay has written down of commands: those that go on when they begin, those that do not when they are refused.

use crate::imap::command::Command;
use crate::imap::mailbox::MailboxName;
use crate::imap::verb::Verb;
use crate::session::inspect::Inspector;
use crate::session::recorder::Begun;
use crate::session::recorder::Recorder;
use crate::types::CommandRefusal;

/// What is told of a command that is refused: its verb and the mailbox that it names; `None` where it is no command.
pub(super) type What = Option<(Verb, Option<MailboxName>)>;

/// What is told of a command that is refused.
pub(super) fn what(command: &Command<'_>) -> What {
    Some((command.verb, command.mailbox.clone()))
}

/// A command is about to be judged: what rules know of it is written down, where that is asked for and there is room.
pub(super) fn begin(recorder: &mut Recorder, inspector: Option<&mut Inspector>) -> bool {
    let admitted = recorder.admits_passed();
    if let Some(inspector) = inspector {
        inspector.write(admitted);
    }
    admitted
}

/// A command goes on.
pub(super) fn begun(
    recorder: &mut Recorder,
    inspector: Option<&mut Inspector>,
    command: &Command<'_>,
    admitted: bool,
) -> Option<Box<Begun>> {
    recorder.passed();
    let facts = inspector.and_then(Inspector::take_written);
    let named = || {
        command
            .mailbox
            .as_ref()
            .map(|mailbox| mailbox.as_str().to_owned())
    };
    admitted.then(|| Box::new(recorder.begun(Some(command.verb.as_str()), named(), facts)))
}

/// A command does not go on.
pub(super) fn refused(
    recorder: &mut Recorder,
    inspector: Option<&mut Inspector>,
    what: What,
    why: CommandRefusal,
) {
    let facts = inspector.and_then(Inspector::take_written);
    if !recorder.admits_refused() {
        return;
    }
    let (verb, mailbox) = match what {
        Some((verb, mailbox)) => (Some(verb.as_str()), mailbox),
        None => (None, None),
    };
    let named = mailbox.map(|mailbox| mailbox.as_str().to_owned());
    let begun = recorder.begun(verb, named, facts);
    recorder.refused(begun, why);
}
