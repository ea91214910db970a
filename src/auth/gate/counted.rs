//! What replicas count of failed logins together: asked for before an attempt, told after it. By keyed hashes: the store learns
//! neither who was tried nor from where.

use std::time::Duration;

use crate::auth::app_password;
use crate::auth::gate::Ahead;
use crate::auth::gate::Gate;
use crate::auth::gate::Source;
use crate::auth::memory;
use crate::store::Asked;
use crate::store::Before;
use crate::store::Lookup;
use crate::store::Note;
use crate::store::StoreError;
use crate::types::Credentials;
use crate::types::Prefix;
use crate::types::UnixTime;
use crate::types::UserName;

/// What is known of an attempt before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// The user has logged in from this network lately: such a source is let try while an attack is on.
    pub is_known: bool,
    /// Somebody has a session from there at another replica.
    pub is_used: bool,
    /// The credential has an open trusted window: it was right from there.
    pub is_right: bool,
    /// How long until nothing is left of what was counted of the user from this source.
    pub pair: Duration,
    /// The same of the source.
    pub prefix: Duration,
    /// The same of the wider source.
    pub site: Duration,
}

impl Heard {
    /// Somebody whose trusted window is known without the store, which says nothing else.
    #[must_use]
    pub fn of_known() -> Self {
        Self {
            is_known: true,
            is_right: true,
            ..Self::default()
        }
    }
}

/// What failures are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// The user, from the source.
    Pair,
    /// The source.
    Prefix,
    /// The wider source.
    Site,
}

impl Gate {
    /// What is known of an attempt, and what the same read of the store has found for [`Gate::verify_ahead`]. Where there is no other
    /// replica, limits have counted everything else themselves.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn hear(
        &self,
        credentials: &Credentials,
        source: &Source,
        now: UnixTime,
    ) -> Result<(Heard, Option<Ahead>), StoreError> {
        let (user, from) = (&credentials.user, Prefix::of(source.ip));
        let attempt = self.attempt(credentials, source, now);
        let names = || self.ring.names(|keys| keys.source(user, from));
        let since = now.minus(memory::LATELY);
        let before = match (source.replica, &source.visit) {
            // What is remembered of the visit says it.
            (None, Some(_)) => Before::Nothing,
            (None, None) => Before::Source {
                names: names(),
                since,
            },
            (Some(but_of), _) => Before::Replicas(Asked {
                source: names(),
                since,
                from,
                counters: [Counter::Pair, Counter::Prefix, Counter::Site]
                    .map(|counter| self.name_of(counter, user, from)),
                window: attempt.basis.window,
                now,
                but_of,
            }),
        };
        let typed = app_password::read(credentials.secret.expose());
        let lookup = Lookup {
            visit: source.visit.clone(),
            ..attempt.lookup(typed.id(), before)
        };
        let found = self.store.look_up(lookup).await?;
        let heard = found.heard;
        let habits = found.habits.as_ref();
        let knows_source = habits.map(|habits| habits.is_new_network == Some(false));
        let [pair, prefix, site] = heard.counted_until.map(|until| left(until, now));
        let heard = Heard {
            is_known: knows_source.unwrap_or(heard.knows_source),
            is_used: heard.is_used,
            is_right: heard.has_window,
            pair,
            prefix,
            site,
        };
        Ok((heard, attempt.ahead(found)))
    }

    /// True where the user has logged in from this network lately.
    #[cfg(test)]
    pub(in crate::auth) async fn knows_source(
        &self,
        user: &UserName,
        from: Prefix,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let source = self.ring.names(|keys| keys.source(user, from));
        self.store
            .knows_source(user, source, now.minus(memory::LATELY))
            .await
    }

    /// Tells of a failure: it counts for `step`, and nothing counts for longer than `most`. Nobody waits for it.
    pub fn tell_failed(
        &self,
        counter: Counter,
        (user, from): (&UserName, Prefix),
        (step, most): (Duration, Duration),
        now: UnixTime,
    ) {
        let name = self.name_of(counter, user, from);
        let [step, most] = [step, most].map(|span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
        self.store.note(Note::Failed(name, now, step, most));
    }

    /// Tells that what was counted of a user from a source is made up for.
    pub fn tell_forgiven(&self, user: &UserName, from: Prefix) {
        let name = self.name_of(Counter::Pair, user, from);
        self.store.note(Note::Forgiven(name));
    }

    fn name_of(&self, counter: Counter, user: &UserName, from: Prefix) -> [u8; 32] {
        let keys = self.ring.in_force();
        match counter {
            Counter::Pair => keys.counter("pair", Some(user), from),
            Counter::Prefix => keys.counter("prefix", None, from),
            Counter::Site => keys.counter("site", None, from.site()),
        }
    }
}

/// From now until then.
fn left(until_ms: i64, now: UnixTime) -> Duration {
    let left = until_ms.saturating_sub(now.0.saturating_mul(1000));
    Duration::from_millis(u64::try_from(left).unwrap_or(0))
}
