//! What all states of a backend login share: the plan, the tags, the input, and the rule that an answer counts only under
//! the tag of the one command under way and only where it came after that command.

use std::collections::VecDeque;

use crate::session::backend_login::Plan;
use crate::session::backend_login::Step;
use crate::session::backend_login::TagSeed;
use crate::session::backend_login::answer;
use crate::session::backend_login::answer::Answer;
use crate::session::backend_login::answer::Status;
use crate::session::backend_login::commands;
use crate::session::backend_login::failure::LoginFailure;
use crate::session::backend_login::failure::PeerText;
use crate::session::backend_login::plan::Form;
use crate::session::backend_login::plan::Method;
use crate::session::backend_login::responses::Response;
use crate::session::backend_login::responses::Responses;
use crate::types::Secret;

/// A response that is legal at this point of the conversation.
#[derive(Debug)]
pub(super) enum Event {
    /// Untagged data as it came; empty where it was a capability list, which is kept aside.
    Untagged(Vec<u8>),
    /// `+`.
    Continuation,
    /// The answer to the command under way.
    Answer(Status, Reply),
}

/// What stands behind the status of a tagged answer.
#[derive(Debug)]
pub(super) struct Reply {
    /// The list of a CAPABILITY response code.
    pub(super) capabilities: Option<Vec<u8>>,
    /// True where the response code says that the credentials are not at fault.
    pub(super) is_trouble: bool,
    /// The text, for a log.
    pub(super) text: PeerText,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Dialog {
    plan: Plan,
    is_start_tls_due: bool,
    /// Secrets that have been sent or will be.
    secrets: Vec<Secret>,
    tags: VecDeque<[u8; 8]>,
    /// The tag of the command under way.
    tag: Option<String>,
    input: Responses,
    /// How much had come when the last bytes were sent.
    heard_at_send: usize,
    /// The list of an untagged CAPABILITY that came since then.
    listed: Option<Vec<u8>>,
}

impl Dialog {
    pub(super) fn new(plan: Plan, seed: TagSeed) -> Self {
        Self {
            is_start_tls_due: plan.start_tls,
            secrets: plan.identity.secrets(),
            plan,
            tags: seed.into(),
            tag: None,
            input: Responses::default(),
            heard_at_send: 0,
            listed: None,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.input.push(bytes);
    }

    /// True where nothing waits in the input.
    pub(super) fn is_quiet(&self) -> bool {
        self.input.is_empty()
    }

    /// Gives away what waits in the input.
    pub(super) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input).into_rest()
    }

    pub(super) fn is_start_tls_due(&self) -> bool {
        self.is_start_tls_due
    }

    /// Nothing that was said in clear counts any more.
    pub(super) fn forget_clear(&mut self) {
        self.input.forget();
        self.is_start_tls_due = false;
        (self.tag, self.listed) = (None, None);
    }

    /// The next response, unread: the greeting.
    pub(super) fn next_raw(&mut self) -> Result<Option<Vec<u8>>, LoginFailure> {
        Ok(self.input.next()?.map(|response| response.bytes))
    }

    /// The next response, if it may stand here.
    pub(super) fn next(&mut self) -> Result<Option<Event>, LoginFailure> {
        match self.input.next()? {
            Some(response) => self.judge(response).map(Some),
            None => Ok(None),
        }
    }

    fn judge(&mut self, response: Response) -> Result<Event, LoginFailure> {
        // What began to come before we sent was no reaction to it.
        let is_early = response.start < self.heard_at_send;
        match answer::read(&response.bytes)? {
            Answer::Untagged => Ok(Event::Untagged(response.bytes)),
            Answer::Capabilities(list) => {
                self.listed = if is_early { None } else { Some(list) };
                Ok(Event::Untagged(Vec::new()))
            }
            Answer::Bye(text) => Err(LoginFailure::Bye(self.text(text))),
            Answer::Continuation if is_early => Err(LoginFailure::EarlyAnswer),
            Answer::Continuation => Ok(Event::Continuation),
            Answer::Tagged { tag, .. } if self.tag.as_deref().map(str::as_bytes) != Some(tag) => {
                Err(LoginFailure::UnexpectedTag)
            }
            Answer::Tagged { .. } if is_early => Err(LoginFailure::EarlyAnswer),
            Answer::Tagged {
                status, code, text, ..
            } => {
                // One answer per command: a second one finds no tag to match.
                self.tag = None;
                let reply = Reply {
                    capabilities: code.and_then(answer::capabilities_in),
                    is_trouble: answer::is_trouble(code),
                    text: match status {
                        // Nobody shows it.
                        Status::Ok => PeerText::default(),
                        Status::No | Status::Bad => self.text(text),
                    },
                };
                Ok(Event::Answer(status, reply))
            }
        }
    }

    /// The capabilities that were listed untagged since the last bytes were sent.
    pub(super) fn listed(&mut self) -> Option<Vec<u8>> {
        self.listed.take()
    }

    /// Text of the backend's, cleaned.
    pub(super) fn text(&self, text: &[u8]) -> PeerText {
        PeerText::clean(text, &self.secrets)
    }

    pub(super) fn method(&self) -> Method {
        self.plan.method
    }

    pub(super) fn needs_plain(&self) -> bool {
        self.plan.identity.needs_plain()
    }

    /// What a tagged NO to the credentials means.
    pub(super) fn refusal(&self, answer: Reply) -> LoginFailure {
        if answer.is_trouble {
            LoginFailure::Unavailable(answer.text)
        } else if self.plan.identity.is_master() {
            LoginFailure::MasterRefused(answer.text)
        } else {
            LoginFailure::Refused(answer.text)
        }
    }

    /// Sends a command of one word.
    pub(super) fn send(&mut self, verb: &str, steps: &mut Vec<Step>) -> Result<(), LoginFailure> {
        let tag = self.next_tag()?;
        self.push_send(commands::bare(&tag, verb), steps);
        Ok(())
    }

    /// Sends ID, if the plan has one.
    pub(super) fn send_id(&mut self, steps: &mut Vec<Step>) -> Result<bool, LoginFailure> {
        if self.plan.id.is_empty() {
            return Ok(false);
        }
        let tag = self.next_tag()?;
        self.push_send(commands::id(&tag, &self.plan.id), steps);
        Ok(true)
    }

    /// The login command in parts, under a new tag.
    pub(super) fn credentials(
        &mut self,
        form: Form,
        initial_response: bool,
    ) -> Result<VecDeque<Secret>, LoginFailure> {
        let tag = self.next_tag()?;
        Ok(self.plan.identity.commands(&tag, form, initial_response).into())
    }

    /// Sends a part of the login command; `None` where there is none left to be asked for.
    pub(super) fn send_part(
        &mut self,
        part: Option<Secret>,
        steps: &mut Vec<Step>,
    ) -> Result<(), LoginFailure> {
        let part = part.ok_or(LoginFailure::UnexpectedContinuation)?;
        self.push_send(part, steps);
        Ok(())
    }

    fn push_send(&mut self, bytes: Secret, steps: &mut Vec<Step>) {
        self.heard_at_send = self.input.received();
        self.listed = None;
        steps.push(Step::Send(bytes));
    }

    fn next_tag(&mut self) -> Result<String, LoginFailure> {
        let bits = self.tags.pop_front().ok_or(LoginFailure::OutOfTags)?;
        let tag = format!("{:016x}", u64::from_be_bytes(bits));
        self.tag = Some(tag.clone());
        Ok(tag)
    }
}
