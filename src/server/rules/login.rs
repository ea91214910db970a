//! Rules about connections and logins.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::OnceLock;

use tokio::time::Instant;

use crate::auth::app_password;
use crate::auth::app_password::Typed;
use crate::auth::gate::Granted;
use crate::auth::grace::Remembered;
use crate::auth::memory::Visitor;
use crate::auth::meter::Meter;
use crate::limits::attempts::Attempts;
use crate::limits::attempts::Tried;
use crate::policy::decision::Decisions;
use crate::policy::decision::Effect;
use crate::policy::engine::Engine;
use crate::policy::engine::SessionCounters;
use crate::policy::facts::Client;
use crate::policy::facts::Event;
use crate::policy::facts::Facts;
use crate::policy::facts::Login;
use crate::policy::facts::Record;
use crate::policy::facts::Source;
use crate::server::clock;
use crate::server::relay::monotonic_ms;
use crate::server::rules::act::Subject;
use crate::server::rules::facts;
use crate::server::rules::facts::Entered;
use crate::server::rules::facts::Usual;
use crate::server::rules::judge_by;
use crate::server::shared::Shared;
use crate::session::inspect::Parties;
use crate::session::preauth::ClientId;
use crate::store::Habits;
use crate::store::StoreError;
use crate::store::Visit;
use crate::telemetry;
use crate::telemetry::event::Connection;
use crate::types::Credentials;
use crate::types::Elsewhere;
use crate::types::EndReason;
use crate::types::Group;
use crate::types::Groups;
use crate::types::LoggedIn;
use crate::types::Refusal;
use crate::types::SecondFactor;
use crate::types::UnixTime;
use crate::types::UserName;

/// What a login leaves to its session.
pub(in crate::server) struct Watched {
    pub(in crate::server) user: UserName,
    pub(in crate::server) parties: Arc<Parties>,
    pub(in crate::server) meter: Arc<Meter>,
    /// What login rules ask of the session.
    pub(in crate::server) decisions: Decisions,
    /// Which rules have judged the login.
    pub(in crate::server) revision: Arc<str>,
    /// What they knew, where that is told.
    pub(in crate::server) known: Option<Record>,
    /// What is kept for a login while the store is away, where that is configured.
    pub(in crate::server) remembered: Option<Arc<Remembered>>,
}

/// What was presented by whom, and what is known of the account before it counts.
pub(in crate::server) struct Presented {
    password_hash: Option<u64>,
    is_app_password: bool,
    source: Source,
    client: Client,
    /// Who it would be by what was typed.
    visitor: Visitor,
    /// What is asked of them along with the attempt.
    pub(in crate::server) visit: Arc<Visit>,
    /// What the store said to that.
    habits: OnceLock<Habits>,
    tried: OnceLock<Tried>,
    /// What rules knew of a login that they refused, where that is told.
    pub(in crate::server) known: OnceLock<Record>,
}

impl Presented {
    /// What was tried at the account until now, the first time: when the attempt's turn has come, and before it counts itself.
    pub(in crate::server) fn look_back(&self, attempts: &Attempts, user: &UserName) {
        self.tried
            .get_or_init(|| attempts.tried(user, Instant::now().into_std()));
    }

    /// What is remembered of the visit. Not to be told of an attempt that waits: it is judged by what holds then.
    pub(in crate::server) fn recalled(&self, habits: Habits) {
        // Whoever was told first.
        let _ = self.habits.set(habits);
    }

    /// What is remembered of somebody who is who was typed. The first use of an app password opens its allowance: nobody goes by what
    /// was said of that before the backend was asked.
    fn habits_of(&self, visitor: &Visitor) -> Option<&Habits> {
        let typed = &self.visitor;
        let is_same = visitor.user == typed.user && visitor.app_password == typed.app_password;
        let habits = self.habits.get().filter(|_| is_same)?;
        let used = habits.app_password.as_ref();
        used.is_none_or(|used| used.allowance.is_some()).then_some(habits)
    }

    fn tried(&self) -> Tried {
        self.tried.get().copied().unwrap_or_default()
    }
}

/// Who has logged in, as far as the backend is concerned.
pub(in crate::server) struct Won<'a> {
    pub(in crate::server) user: &'a UserName,
    pub(in crate::server) account: &'a UserName,
    pub(in crate::server) logged_in: &'a LoggedIn,
    pub(in crate::server) mechanism: &'static str,
    pub(in crate::server) groups: &'a Groups,
    pub(in crate::server) elsewhere: Elsewhere,
    /// Where the store is away, and cannot be asked.
    pub(in crate::server) granted: Option<&'a Granted>,
}

impl Shared {
    /// Judges a connection once its TLS is up, or before STARTTLS.
    pub(in crate::server) fn judge_connection(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        counters: &mut SessionCounters,
    ) -> Result<(), EndReason> {
        let source = self.policy.source(connection);
        let tls = connection.tls.as_ref().map(facts::tls);
        let mut facts = Facts::at(Event::Connect, &source);
        facts.tls = tls.as_ref();
        let decisions = self.policy.judge(&facts, counters, monotonic_ms(Instant::now()));
        self.carry_out(&decisions, &Subject::of(connection));
        if decisions.verdict().effect >= Effect::Deny {
            return Err(EndReason::PolicyDenied);
        }
        Ok(())
    }

    /// Looks at credentials before they are judged, and at who brings them.
    pub(in crate::server) fn presented(
        &self,
        connection: &Connection,
        id: Option<&ClientId>,
        credentials: &Credentials,
    ) -> Presented {
        let typed = app_password::read(credentials.secret.expose());
        let (source, client) = (self.policy.source(connection), facts::client(id));
        let tls = connection.tls.as_ref();
        let visitor = Visitor {
            user: credentials.user.clone(),
            ip: source.ip,
            country: source.country.clone(),
            asn: source.asn,
            family: client.family.clone(),
            tls_client: tls.and_then(|tls| tls.stable_ja4.as_deref()).map(Arc::from),
            app_password: typed.id(),
        };
        Presented {
            password_hash: self.settings().gate.password_hash(credentials),
            is_app_password: matches!(typed, Typed::AppPassword(_)),
            source,
            client,
            visit: Arc::new(self.policy.memory.visit(&visitor, clock::unix())),
            visitor,
            habits: OnceLock::new(),
            tried: OnceLock::new(),
            known: OnceLock::new(),
        }
    }

    /// Tells of a login that was refused, and judges it. What is remembered of the source counts: who shares a network with people that log
    /// in is not treated as a stranger.
    pub(in crate::server) async fn judge_failure(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        (credentials, presented, refusal): (&Credentials, &Presented, Refusal),
        counters: &mut SessionCounters,
        event: telemetry::event::Event,
    ) {
        let (mut source, mut client) = (presented.source.clone(), presented.client.clone());
        let mut tls = connection.tls.as_ref().map(facts::tls);
        match self.habits_of(&presented.visitor, presented).await {
            Ok(habits) => facts::remember(&mut source, &mut client, tls.as_mut(), &habits),
            // Nobody is banned for an outage of ours.
            Err(error) => {
                self.emit(event);
                return self.store_failed(&error);
            }
        }
        let rules = self.policy.rules.load_full();
        source.networks = rules.networks_of(source.ip);
        let user = facts::claimed(&credentials.user);
        let login = Login {
            succeeded: false,
            reason: Some(refusal.as_str()),
            mechanism: credentials.mechanism.as_str(),
            credential: match refusal {
                Refusal::CodeInvalid | Refusal::CodeReplayed => "password_and_code",
                _ if presented.is_app_password => "app_password",
                _ => "password",
            },
            failures_before: presented.tried().failures,
            failed_networks_before: presented.tried().networks,
            password_hash: presented.password_hash,
        };
        let mut facts = Facts::at(Event::Login, &source);
        facts.tls = tls.as_ref();
        facts.client = Some(&client);
        facts.user = Some(&user);
        facts.login = Some(&login);
        self.emit(event.facts(self.policy.known(&facts).as_ref()));
        let decisions = judge_by(&rules, &facts, counters, monotonic_ms(Instant::now()));
        let mut subject = Subject::of(connection);
        Arc::make_mut(&mut subject.connection).user = Some(credentials.user.clone());
        self.carry_out(&decisions, &subject);
    }

    /// Judges a login that the backend accepted; what was let in becomes a habit.
    ///
    /// # Errors
    /// The store does not answer: nobody knows what the user usually does, so nobody can be judged.
    pub(in crate::server) async fn judge_login(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        won: Won<'_>,
        presented: &Presented,
        counters: &mut SessionCounters,
    ) -> Result<Result<Watched, Refusal>, StoreError> {
        let now = clock::unix();
        let app_password = match won.logged_in.factor() {
            SecondFactor::AppPassword { id, .. } => Some(*id),
            _ => None,
        };
        let visitor = Visitor {
            user: won.user.clone(),
            app_password,
            ..presented.visitor.clone()
        };
        let habits = match won.granted {
            Some(granted) => Cow::Owned(remembered_here(&visitor, granted)?),
            None => self.habits_of(&visitor, presented).await?,
        };
        // One set of rules with its networks, for all that follows: what a reload puts in force meanwhile judges again.
        let rules = self.policy.rules.load_full();
        let mut parties = self.parties(connection, &won, presented, (&habits, now));
        parties.source.networks = rules.networks_of(parties.source.ip);
        let (decisions, known) = self.decide_login(&rules, &parties, &won, (presented, counters));
        if !decisions.is_empty() {
            let mut subject = Subject {
                app_password: visitor.app_password,
                ..Subject::of(connection)
            };
            let of = Arc::make_mut(&mut subject.connection);
            (of.user, of.account) = (Some(won.user.clone()), Some(won.account.clone()));
            self.carry_out(&decisions, &subject);
        }
        if decisions.verdict().effect >= Effect::Deny {
            if let Some(known) = known {
                // Nobody else sets it: there is one verdict.
                let _ = presented.known.set(known);
            }
            return Ok(Err(Refusal::PolicyDenied));
        }
        self.policy.memory.remember(&visitor, now);
        Ok(Ok(Watched {
            user: visitor.user.clone(),
            meter: self.policy.memory.begin(&visitor, &habits, now),
            parties: Arc::new(parties),
            decisions,
            revision: Arc::clone(rules.revision()),
            known,
            remembered: self.remembered(&visitor, &habits, won.granted),
        }))
    }

    /// Who has logged in from where and with what, as rules see them.
    fn parties(
        &self,
        connection: &Connection,
        won: &Won<'_>,
        presented: &Presented,
        (habits, now): (&Habits, UnixTime),
    ) -> Parties {
        let (mut source, mut client) = (presented.source.clone(), presented.client.clone());
        let mut tls = connection.tls.as_ref().map(facts::tls);
        facts::remember(&mut source, &mut client, tls.as_mut(), habits);
        let entered = Entered {
            user: won.user,
            account: won.account,
            groups: won.groups.iter().map(Group::shared).collect(),
            factor: won.logged_in.factor(),
            is_service: won.logged_in.restrictions().service,
            sessions: self.sessions_of(won),
            networks: self.limits.sessions.networks_of(won.user),
        };
        Parties {
            user: facts::user(entered, habits, first_family(habits), now),
            source,
            tls,
            client,
            mechanism: won.mechanism,
            credential: facts::credential_of(won.logged_in.factor()),
            baselines: Some(Box::new(Usual(habits.averages.clone()))),
        }
    }

    /// What the store remembers of somebody: it has said so, or is asked now.
    async fn habits_of<'a>(
        &self,
        visitor: &Visitor,
        presented: &'a Presented,
    ) -> Result<Cow<'a, Habits>, StoreError> {
        match presented.habits_of(visitor) {
            Some(habits) => Ok(Cow::Borrowed(habits)),
            None => self
                .policy
                .memory
                .recall(visitor, clock::unix())
                .await
                .map(Cow::Owned),
        }
    }

    /// What is kept of a login for another one while the store is away.
    fn remembered(
        &self,
        visitor: &Visitor,
        habits: &Habits,
        granted: Option<&Granted>,
    ) -> Option<Arc<Remembered>> {
        let is_kept = visitor.app_password.is_none() && granted.is_none() && self.settings().gate.has_grace();
        is_kept.then(|| Arc::new(Remembered::of(visitor, habits, clock::unix())))
    }

    /// The user's sessions at all replicas, as far as the login was told of them.
    fn sessions_of(&self, won: &Won<'_>) -> u32 {
        let here = self.limits.sessions.of(won.user);
        here.saturating_add(won.elsewhere.of_user)
    }

    fn decide_login(
        &self,
        rules: &Engine,
        parties: &Parties,
        won: &Won<'_>,
        (presented, counters): (&Presented, &mut SessionCounters),
    ) -> (Decisions, Option<Record>) {
        let login = Login {
            succeeded: true,
            reason: None,
            mechanism: won.mechanism,
            credential: parties.credential,
            failures_before: presented.tried().failures,
            failed_networks_before: presented.tried().networks,
            password_hash: presented.password_hash,
        };
        let mut facts = parties.facts(Event::Login);
        facts.login = Some(&login);
        let decisions = judge_by(rules, &facts, counters, monotonic_ms(Instant::now()));
        (decisions, self.policy.known(&facts))
    }
}

/// What this process remembers of somebody who was let in while the store is away.
fn remembered_here(visitor: &Visitor, granted: &Granted) -> Result<Habits, StoreError> {
    let remembered = granted.remembered.as_ref();
    let habits = remembered.and_then(|remembered| remembered.of_visitor(visitor));
    let error = "it is away, and rules know nothing of a user who comes like this";
    habits.ok_or_else(|| StoreError::Unavailable(error.to_owned()))
}

/// The family of clients that used the app password first.
fn first_family(habits: &Habits) -> Option<Arc<str>> {
    let used = habits.app_password.as_ref()?;
    used.allowance.as_ref()?.family.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::first_sync::Allowance;
    use crate::store::AppPasswordUse;

    fn visitor(user: &str, app_password: Option<u32>) -> Visitor {
        Visitor {
            user: UserName::parse(user.as_bytes()).unwrap(),
            ip: [192, 0, 2, 1].into(),
            country: None,
            asn: None,
            family: None,
            tls_client: None,
            app_password,
        }
    }

    /// What was typed by somebody of whom the store has said so.
    fn presented(visitor: Visitor, habits: Habits) -> Presented {
        let visit = Visit {
            user: visitor.user.clone(),
            network: Vec::new(),
            anybodys_network: Vec::new(),
            country: None,
            asn: None,
            family: None,
            tls_client: None,
            app_password: visitor.app_password,
            since: UnixTime(0),
            now: UnixTime(0),
        };
        Presented {
            password_hash: None,
            is_app_password: visitor.app_password.is_some(),
            source: Source::new(visitor.ip),
            client: Client::default(),
            visitor,
            visit: Arc::new(visit),
            habits: OnceLock::from(habits),
            tried: OnceLock::new(),
            known: OnceLock::new(),
        }
    }

    fn used(allowance: Option<Allowance>) -> Habits {
        Habits {
            app_password: Some(AppPasswordUse {
                created: UnixTime(1),
                last_used: None,
                allowance,
            }),
            ..Habits::default()
        }
    }

    #[test]
    fn what_was_said_ahead_holds_for_who_was_typed_and_not_for_a_first_use() {
        let alice = || visitor("alice", Some(1));
        let opened = Some(Allowance::nothing([1; 32], UnixTime(1)));
        let known = presented(alice(), used(opened));
        assert!(known.habits_of(&alice()).is_some());
        assert!(known.habits_of(&visitor("bob", Some(1))).is_none());
        assert!(known.habits_of(&visitor("alice", Some(2))).is_none());
        assert!(known.habits_of(&visitor("alice", None)).is_none());
        assert!(presented(alice(), used(None)).habits_of(&alice()).is_none());
        let by_mail_password = visitor("alice", None);
        let known = presented(by_mail_password.clone(), Habits::default());
        assert!(known.habits_of(&by_mail_password).is_some());
    }
}
