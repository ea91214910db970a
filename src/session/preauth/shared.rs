//! What outlives the states of a connection before login: its bounds and counters, and how it fails.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::imap::codec::Verb;
use crate::imap::literal::Announcement;
use crate::imap::literal::LiteralMode;
use crate::sasl::Progress;
use crate::sasl::SaslError;
use crate::session::preauth::Channel;
use crate::session::preauth::ClientId;
use crate::session::preauth::Options;
use crate::session::preauth::Step;
use crate::session::preauth::answers;
use crate::session::preauth::answers::Tag;
use crate::session::preauth::answers::ask;
use crate::session::preauth::answers::say;
use crate::session::preauth::input::Input;
use crate::session::preauth::input::TOO_MUCH;
use crate::session::preauth::states::Discarding;
use crate::session::preauth::states::Ended;
use crate::session::preauth::states::State;
use crate::session::preauth::states::Turn;
use crate::session::preauth::states::Verifying;
use crate::session::preauth::states::WaitingForCommand;
use crate::session::preauth::states::WaitingForSaslResponse;
use crate::types::EndReason;
use crate::types::Mechanism;

/// What outlives a state.
pub(super) struct Shared {
    pub(super) options: Arc<Options>,
    pub(super) channel: Channel,
    pub(super) id: Option<ClientId>,
    pub(super) input: Input,
    /// Commands so far, right or wrong.
    pub(super) commands: u32,
    /// Logins refused.
    pub(super) attempts: u32,
    bad: u32,
}

impl Shared {
    pub(super) fn new(options: Arc<Options>, channel: Channel) -> Self {
        let input = Input::new(options.bounds, options.total_bytes);
        Self {
            options,
            channel,
            id: None,
            input,
            commands: 0,
            attempts: 0,
            bad: 0,
        }
    }

    /// TLS is there: what was said in the clear counts, but is forgotten.
    pub(super) fn encrypted(&mut self) {
        self.channel = Channel::Tls;
        self.id = None;
        self.input.reset();
    }

    /// Whether the verb may be given on this channel at all.
    pub(super) fn allows(&self, verb: Verb) -> bool {
        match self.channel {
            Channel::Tls => true,
            Channel::PlainBeforeStartTls => matches!(
                verb,
                Verb::Capability | Verb::Id | Verb::Noop | Verb::StartTls | Verb::Logout
            ),
        }
    }

    /// Says the text, untagged, and ends.
    pub(super) fn end(&mut self, steps: &mut Vec<Step>, reason: EndReason, text: &str) -> State {
        self.input.reset();
        say(steps, &Tag::NONE, text);
        steps.push(Step::End(reason));
        State::Ended(Ended)
    }

    /// Ends without a word: an answer would only help whoever made a browser send this.
    pub(super) fn not_imap(&mut self, steps: &mut Vec<Step>) -> Turn {
        self.input.reset();
        steps.push(Step::End(EndReason::NotImap));
        Turn::Next(State::Ended(Ended))
    }

    /// Answers a command that was wrong, and counts it.
    pub(super) fn bad(&mut self, tag: &Tag, text: &str, steps: &mut Vec<Step>) -> Turn {
        say(steps, tag, text);
        self.bad += 1;
        Turn::Next(if self.bad >= self.options.bad_commands {
            self.end(steps, EndReason::TooManyBadCommands, answers::TOO_MANY_BAD)
        } else {
            State::WaitingForCommand(WaitingForCommand)
        })
    }

    /// Refuses the announced literal and with it the command. A client that does not wait for our leave sends the bytes all
    /// the same: they are read and thrown away, never run as commands, or the connection ends.
    pub(super) fn discard(
        &mut self,
        announcement: Announcement,
        tag: Tag,
        answer: &'static str,
        steps: &mut Vec<Step>,
    ) -> Turn {
        let fits = self.input.discard(announcement);
        if announcement.mode == LiteralMode::NonSync && !fits {
            return Turn::Next(self.end(steps, EndReason::ClientLimit, TOO_MUCH));
        }
        Turn::Next(State::Discarding(Discarding { tag, answer }))
    }

    /// What an exchange, or a LOGIN, has come to.
    pub(super) fn authenticate(
        &mut self,
        tag: Tag,
        mechanism: Mechanism,
        progress: Result<Progress, SaslError>,
        steps: &mut Vec<Step>,
    ) -> Turn {
        match progress {
            Ok(Progress::Challenge(text, exchange)) => {
                ask(steps, text);
                return Turn::Next(State::WaitingForSaslResponse(WaitingForSaslResponse {
                    tag,
                    mechanism,
                    exchange,
                }));
            }
            Ok(Progress::Done(credentials)) => steps.push(Step::Verify(credentials)),
            Err(error) => match error.refusal() {
                Some(refusal) => steps.push(Step::Refuse(refusal, mechanism)),
                None if error == SaslError::Cancelled => return self.bad(&tag, answers::CANCELLED, steps),
                None => return self.bad(&tag, answers::BAD_RESPONSE, steps),
            },
        }
        Turn::Next(State::Verifying(Verifying {
            tag,
            mechanism,
            unread: Zeroizing::new(Vec::new()),
        }))
    }
}
