//! One login attempt: limits, second factor, backend, and an answer that takes equally long whatever the reason.

mod asking;
mod guess;
mod pace;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::time::Instant;

use crate::auth::gate::Ahead;
use crate::auth::gate::GateError;
use crate::auth::gate::Outcome;
use crate::auth::gate::Pending;
use crate::auth::gate::Source;
use crate::auth::gate::Verified;
use crate::backend::Backend;
use crate::backend::Client;
use crate::limits::attempts::Ticket;
use crate::limits::sessions::SessionPermit;
use crate::server::attempt::asking::Asking;
use crate::server::attempt::guess::Beforehand;
use crate::server::attempt::pace::Time;
use crate::server::clock;
use crate::server::connection::Conversation;
use crate::server::entry;
use crate::server::entry::Entry;
use crate::server::rules::Presented;
use crate::server::rules::Watched;
use crate::server::rules::Won;
use crate::server::settings::Settings;
use crate::session::preauth::ClientId;
use crate::store::Visit;
use crate::telemetry::event::Event;
use crate::telemetry::kind::Kind;
use crate::types::Credentials;
use crate::types::Elsewhere;
use crate::types::Mechanism;
use crate::types::Refusal;
use crate::types::UnixTime;
use crate::types::UserName;

/// Why nobody was let in, as far as the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// One text and one duration for every reason.
    ByUs,
    /// Trouble of ours or of the backend.
    Unavailable,
}

/// One attempt.
pub(super) struct Attempt<'a> {
    conversation: &'a Conversation,
    id: Option<&'a ClientId>,
    /// What it is judged by, from its first step to its last.
    settings: Arc<Settings>,
    began: Instant,
    /// The same by the wall clock.
    typed: UnixTime,
    /// When its turn came, if it had to wait for that and if it has come.
    turn: OnceLock<Instant>,
    time: Time,
}

/// Why an attempt failed, for the event.
enum Failure {
    Refused(Refusal),
    Unavailable(&'static str),
    /// Time was short before it was looked at: the connection's end tells of it.
    OutOfTime,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<'a> Attempt<'a> {
    /// An attempt that begins now, in a login that must be over by `deadline`, of so much time in all.
    pub(super) fn new(
        conversation: &'a Conversation,
        id: Option<&'a ClientId>,
        (deadline, within): (Instant, Duration),
    ) -> Self {
        Self {
            conversation,
            id,
            settings: conversation.shared.settings(),
            time: Time::until(deadline, within),
            began: Instant::now(),
            typed: clock::unix(),
            turn: OnceLock::new(),
        }
    }

    /// Judges credentials. A refusal is answered when its time has come, the same for every reason.
    pub(super) async fn judge(self, credentials: Credentials) -> Result<Entry, Refused> {
        let shared = &self.conversation.shared;
        let facts = &self.conversation.facts;
        let is_judged = shared.policy.is_on();
        let presented = is_judged.then(|| shared.presented(facts, self.id, &credentials));
        let failure = match self.enter(&credentials, presented.as_ref()).await {
            Ok(entry) => return Ok(entry),
            Err(failure) => failure,
        };
        let (took, looked_at) = (self.began.elapsed(), self.looked_at().elapsed());
        match failure {
            Failure::Refused(refusal) => {
                if let Some(presented) = &presented {
                    presented.look_back(&shared.limits.attempts, &credentials.user);
                }
                shared
                    .metrics
                    .logins
                    .refused(credentials.mechanism, refusal, took);
                let event = self.event(Kind::LoginFailed, Some(&credentials.user), credentials.mechanism);
                let event = event.refusal(refusal).duration(took);
                match presented {
                    Some(presented) if refusal != Refusal::PolicyDenied => {
                        self.judge_failure((&credentials, &presented, refusal), event)
                            .await;
                    }
                    // What rules refused they have judged, as the success that it would have been.
                    Some(presented) => shared.emit(event.facts(presented.known.get())),
                    None => shared.emit(event),
                }
                match refusal {
                    // Where it has not answered, it would have taken longer than that.
                    Refusal::PasswordInvalid | Refusal::PasswordUnanswered => {
                        shared.backend_refused_after(looked_at);
                    }
                    // A backend may take longer for a right one, which must not show.
                    Refusal::PolicyDenied | Refusal::SessionLimit => shared.denied_after(looked_at),
                    _ => {}
                }
                Err(self.wait().await)
            }
            Failure::Unavailable(word) => {
                shared.metrics.logins.unavailable(credentials.mechanism, took);
                let event = self.event(
                    Kind::LoginUnavailable,
                    Some(&credentials.user),
                    credentials.mechanism,
                );
                shared.emit(event.reason(word).duration(took));
                if Instant::now() >= self.time.is_up {
                    return Err(self.time_is_up().await);
                }
                Err(Refused::Unavailable)
            }
            Failure::OutOfTime => Err(self.time_is_up().await),
        }
    }

    /// Tells of a login that was refused, and has rules judge it.
    async fn judge_failure(&self, refused: (&Credentials, &Presented, Refusal), event: Event) {
        let conversation = self.conversation;
        let mut counters = conversation.counters().clone();
        let facts = &conversation.facts;
        let judged = conversation
            .shared
            .judge_failure(facts, refused, &mut counters, event);
        judged.await;
        *conversation.counters() = counters;
    }

    /// Refuses what cannot be a login, after the same time.
    pub(super) async fn refuse_unseen(self, refusal: Refusal, mechanism: Mechanism) -> Refused {
        let took = self.began.elapsed();
        let shared = &self.conversation.shared;
        shared.metrics.logins.refused(mechanism, refusal, took);
        shared.emit(
            self.event(Kind::LoginFailed, None, mechanism)
                .refusal(refusal)
                .duration(took),
        );
        self.wait().await
    }

    async fn enter(
        &self,
        credentials: &Credentials,
        presented: Option<&Presented>,
    ) -> Result<Entry, Failure> {
        let shared = &self.conversation.shared;
        let as_of = shared.store_version();
        let (ticket, verified) = self.admitted(credentials, presented).await?;
        let Verified {
            authenticated,
            pending,
            lease,
            groups,
            elsewhere,
            granted,
            ..
        } = verified;
        let (user, account) = (authenticated.user().clone(), authenticated.account().clone());
        let backend = self.route(&account)?;
        let asking = Asking::begin(self, &credentials.user, (ticket, pending.is_right()));
        // Who is known to be right need not be asked about where there is no place.
        let permit = (!asking.is_guess())
            .then(|| self.place(&user, elsewhere))
            .transpose()?;
        let judged = match self.ask_backend(&backend, authenticated, &asking).await {
            Ok(opened) => {
                let won = Won {
                    user: &user,
                    account: &account,
                    logged_in: &opened.logged_in,
                    mechanism: credentials.mechanism.as_str(),
                    groups: &groups,
                    elsewhere,
                    granted: granted.as_ref(),
                };
                let let_in = self.let_in(won, permit, presented).await;
                let_in.map(|(permit, watched)| (opened, permit, watched))
            }
            Err(failure) => Err(failure),
        };
        let pending = match &judged {
            Ok((_, _, Some(watched))) => pending.remembering(watched.remembered.clone()),
            _ => pending,
        };
        asking.settle(judged.as_ref().err());
        self.settle(pending, judged.as_ref().err()).await;
        let (opened, permit, watched) = judged?;
        Ok(Entry {
            watched,
            user,
            account,
            mechanism: credentials.mechanism,
            lease,
            opened,
            backend_name: backend.name().into(),
            permit,
            as_of,
            granted,
            took: self.began.elapsed(),
        })
    }

    /// What follows the backend's yes: a place among the user's sessions, where there is none yet, and what rules say.
    async fn let_in(
        &self,
        won: Won<'_>,
        permit: Option<SessionPermit>,
        presented: Option<&Presented>,
    ) -> Result<(SessionPermit, Option<Watched>), Failure> {
        let permit = permit.map_or_else(|| self.place(won.user, won.elsewhere), Ok)?;
        let watched = self.watch(won, presented).await?;
        Ok((permit, watched))
    }

    /// A place among the user's sessions. It is for who is right: guesses that wait for the backend would keep the owner out.
    fn place(&self, user: &UserName, elsewhere: Elsewhere) -> Result<SessionPermit, Refusal> {
        let from = self.conversation.facts.addr.ip();
        self.conversation
            .shared
            .limits
            .sessions
            .open(user, from, elsewhere)
    }

    /// Leave to try, and the second factor.
    async fn admitted(
        &self,
        credentials: &Credentials,
        presented: Option<&Presented>,
    ) -> Result<(Ticket, Verified), Failure> {
        let (ticket, before) = self.ticket(credentials, presented).await?;
        if let Some(presented) = presented {
            presented.look_back(&self.conversation.shared.limits.attempts, &credentials.user);
        }
        match self.verify(credentials, before).await {
            Ok(verified) => Ok((ticket, verified)),
            Err(failure) => {
                self.settle_ticket(ticket, &credentials.user, &failure);
                Err(failure)
            }
        }
    }

    /// Settles what waited for the backend and for the rules: whoever is refused must not become a habit.
    async fn settle(&self, pending: Pending, failure: Option<&Failure>) {
        let outcome = match failure {
            None => Outcome::Accepted,
            // It has not spoken, or it was right and there was no place: the same code is good for another try, and a window that
            // the user's other connections have opened stays.
            Some(
                Failure::Refused(Refusal::PasswordUnanswered | Refusal::SessionLimit)
                | Failure::Unavailable(_)
                | Failure::OutOfTime,
            ) => Outcome::Unavailable,
            Some(Failure::Refused(_)) => Outcome::Refused,
        };
        let shared = &self.conversation.shared;
        if let Err(error) = self.settings.gate.settle(pending, outcome, clock::unix()).await {
            shared.store_failed(&error);
        }
    }

    /// Asks the rules about a login that the backend accepted.
    async fn watch(&self, won: Won<'_>, presented: Option<&Presented>) -> Result<Option<Watched>, Failure> {
        let Some(presented) = presented else {
            return Ok(None);
        };
        let conversation = self.conversation;
        let mut counters = conversation.counters().clone();
        let judged = conversation
            .shared
            .judge_login(&conversation.facts, won, presented, &mut counters);
        let judged = judged.await.map_err(|error| self.store_failure(&error))?;
        *conversation.counters() = counters;
        Ok(Some(judged?))
    }

    /// Where it comes from, and what else is asked along with it.
    fn source(&self, visit: Option<Arc<Visit>>) -> Source {
        Source {
            ip: self.conversation.facts.addr.ip(),
            listener: Arc::clone(&self.conversation.listener.name),
            client: self.id.and_then(|id| id.field("name")).map(ToOwned::to_owned),
            replica: self.conversation.shared.replica.among_others(),
            visit,
        }
    }

    async fn verify(&self, credentials: &Credentials, before: Beforehand) -> Result<Verified, Failure> {
        let verified = match before {
            Beforehand::Known(known) => *known,
            Beforehand::Found(ahead) => self.ask_gate(credentials, Some(*ahead)).await?,
            Beforehand::Nothing => self.ask_gate(credentials, None).await?,
        };
        let won = &verified.authenticated;
        let Some(refusal) = self.conversation.shared.forbidden(won.user(), won.factor()) else {
            return Ok(verified);
        };
        let failure = Failure::Refused(refusal);
        self.settle(verified.pending, Some(&failure)).await;
        Err(failure)
    }

    async fn ask_gate(&self, credentials: &Credentials, ahead: Option<Ahead>) -> Result<Verified, Failure> {
        let (gate, source) = (&self.settings.gate, self.source(None));
        let verified = match ahead {
            Some(ahead) => gate.verify_ahead(credentials, &source, ahead).await,
            None => gate.verify(credentials, &source, clock::unix(), self.typed).await,
        };
        let error = match verified {
            Ok(verified) => return Ok(verified),
            Err(GateError::Refused(refusal)) => return Err(refusal.into()),
            Err(GateError::Unavailable(error)) => return Err(self.store_failure(&error)),
            Err(GateError::Away(error)) => error,
        };
        let failure = self.store_failure(&error);
        gate.in_grace(credentials, &source, clock::unix()).ok_or(failure)
    }

    fn store_failure(&self, error: &crate::store::StoreError) -> Failure {
        self.conversation.shared.store_failed(error);
        Failure::Unavailable("store_unavailable")
    }

    fn route(&self, account: &UserName) -> Result<Arc<Backend>, Failure> {
        let tls = self.conversation.facts.tls.as_ref();
        let sni = tls.and_then(|tls| tls.server_name.as_deref());
        self.settings.backends.route(account, sni).map_err(|error| {
            tracing::warn!(%account, %error, "no backend for an account");
            Failure::Unavailable("no_route")
        })
    }

    fn client(&self, given: Arc<AtomicBool>) -> Client {
        Client {
            addr: self.conversation.facts.addr,
            local: self.conversation.local,
            session: self.conversation.facts.session,
            tls: self.conversation.facts.tls.is_some(),
            id: self.id.map(entry::id_fields).unwrap_or_default(),
            given,
        }
    }

    fn event(&self, kind: Kind, user: Option<&UserName>, mechanism: Mechanism) -> Event {
        let event = self.conversation.event(kind).mechanism(mechanism);
        match user {
            Some(user) => event.user(user),
            None => event,
        }
    }
}
