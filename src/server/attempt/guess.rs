//! An attempt as a guess: leave to try, and what is counted when it is settled, here and by all replicas together.

use std::sync::Arc;

use tokio::time::Instant;

use crate::auth::app_password;
use crate::auth::app_password::Typed;
use crate::auth::gate;
use crate::auth::gate::Ahead;
use crate::auth::gate::Counter;
use crate::auth::gate::Verified;
use crate::limits::attempts::Attempt as Guess;
use crate::limits::attempts::Decision;
use crate::limits::attempts::Heard;
use crate::limits::attempts::Settled;
use crate::limits::attempts::Ticket;
use crate::server::attempt::Attempt;
use crate::server::attempt::Failure;
use crate::server::clock;
use crate::server::rules::Presented;
use crate::store::Habits;
use crate::store::StoreError;
use crate::types::Credentials;
use crate::types::UserName;

/// The length of a one-time code's time step, in seconds (RFC 6238).
const TIME_STEP: i64 = 30;

/// What is known of an attempt by the time that it has leave to try.
pub(super) enum Beforehand {
    /// Nothing that anybody may go by.
    Nothing,
    /// What the store has just said.
    Found(Box<Ahead>),
    /// Who is known although the store is away.
    Known(Box<Verified>),
}

impl Beforehand {
    /// What is remembered of who comes, where the store was asked and has said so.
    fn take_habits(&mut self) -> Option<Habits> {
        match self {
            Self::Found(ahead) => ahead.take_habits(),
            Self::Nothing | Self::Known(_) => None,
        }
    }

    /// What the store has said before a wait may be true no more.
    fn after_a_wait(self) -> Self {
        match self {
            Self::Found(_) => Self::Nothing,
            Self::Nothing | Self::Known(_) => self,
        }
    }
}

impl Attempt<'_> {
    /// Leave to try, or none: then nobody goes by what was found of the credentials. Where the store is away, nobody has leave but
    /// who is known all the same.
    pub(super) async fn ticket(
        &self,
        credentials: &Credentials,
        presented: Option<&Presented>,
    ) -> Result<(Ticket, Beforehand), Failure> {
        self.is_in_time()?;
        let shared = &self.conversation.shared;
        let now = self.typed;
        let source = self.source(presented.map(|presented| Arc::clone(&presented.visit)));
        let gate = &self.settings.gate;
        let (heard, mut before) = match gate.hear(credentials, &source, now).await {
            Ok((heard, ahead)) => (
                heard,
                ahead.map_or(Beforehand::Nothing, |ahead| Beforehand::Found(Box::new(ahead))),
            ),
            Err(error) => {
                let failure = self.store_failure(&error);
                let is_away = matches!(error, StoreError::Unavailable(_));
                let known = gate.in_grace(credentials, &source, now).filter(|_| is_away);
                let known = known.ok_or(failure)?;
                (gate::Heard::of_known(), Beforehand::Known(Box::new(known)))
            }
        };
        let typed = app_password::read(credentials.secret.expose());
        let guess = Guess {
            ip: self.conversation.facts.addr.ip(),
            user: &credentials.user,
            secret: gate.guess(credentials),
            step: gate
                .may_end_in_a_code(credentials)
                .then_some(now.0.div_euclid(TIME_STEP).cast_unsigned()),
            known: heard.is_known,
            unguessable: matches!(typed, Typed::AppPassword(_)),
            heard: Heard {
                pair: heard.pair,
                prefix: heard.prefix,
                site: heard.site,
                is_used: heard.is_used,
                is_right: heard.is_right,
            },
        };
        let decision = shared.limits.attempts.check(&guess, Instant::now().into_std());
        // A timer for no time at all would still wait for the clock's next millisecond.
        if let Decision::Go(ticket) = &decision
            && !ticket.delay().is_zero()
        {
            // What was found is not kept for so long.
            before = before.after_a_wait();
            self.wait_for_turn(ticket).await?;
        } else if let (Some(presented), Some(habits)) = (presented, before.take_habits()) {
            presented.recalled(habits);
        }
        match decision {
            Decision::Go(ticket) => self.is_welcome().map(|()| (ticket, before)),
            Decision::Refuse(refused) => Err(refused.refusal().into()),
        }
    }

    /// Counts what was a guess, bans who has guessed too often.
    pub(super) fn settle_ticket(&self, ticket: Ticket, user: &UserName, failure: &Failure) {
        let Failure::Refused(refusal) = failure else {
            ticket.void();
            return;
        };
        self.counted(user, &ticket.refused(*refusal, Instant::now().into_std()));
    }

    /// Tells of what was counted, bans who has guessed too often.
    pub(super) fn counted(&self, user: &UserName, settled: &Settled) {
        self.tell(user, settled);
        if let Some(network) = settled.ban {
            let facts = &self.conversation.facts;
            self.conversation
                .shared
                .ban_guesser(network, settled.failures, facts);
        }
    }

    /// Has other replicas count it, too.
    fn tell(&self, user: &UserName, settled: &Settled) {
        if self.conversation.shared.replica.among_others().is_none() {
            return;
        }
        let from = self.conversation.facts.addr.prefix();
        let told = settled.told;
        for (counter, count) in [
            (Counter::Pair, told.pair),
            (Counter::Prefix, told.prefix),
            (Counter::Site, told.site),
        ] {
            if let Some(count) = count {
                let spans = (count.step, count.most);
                self.settings
                    .gate
                    .tell_failed(counter, (user, from), spans, clock::unix());
            }
        }
    }

    /// Forgives what a right secret makes up for.
    pub(super) fn ticket_succeeded(&self, ticket: Ticket, user: &UserName) {
        let is_forgiven = ticket.succeeded(Instant::now().into_std());
        if is_forgiven && self.conversation.shared.replica.among_others().is_some() {
            let from = self.conversation.facts.addr.prefix();
            self.settings.gate.tell_forgiven(user, from);
        }
    }
}
