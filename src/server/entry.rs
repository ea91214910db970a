//! From an attempt that succeeded to a session: it is listed, rules watch it, and its tagged OK is ready.

use std::sync::Arc;

use ipnet::IpNet;

use crate::auth::app_password;
use crate::auth::gate::Granted;
use crate::auth::lease::Lease;
use crate::backend;
use crate::limits::sessions::SessionPermit;
use crate::net::stream::Stream;
use crate::policy::facts::Record;
use crate::server::clock;
use crate::server::connection::Conversation;
use crate::server::login::Session;
use crate::server::relay::Report;
use crate::server::rules::Subject;
use crate::server::rules::Watched;
use crate::server::rules::report_to;
use crate::server::sessions::Facts;
use crate::server::shared::Shared;
use crate::session::preauth::ClientId;
use crate::session::preauth::PreAuth;
use crate::session::relay::Relay;
use crate::telemetry::event::Event;
use crate::telemetry::kind::Kind;
use crate::types::Mechanism;
use crate::types::SecondFactor;
use crate::types::SessionId;
use crate::types::UserName;

/// What an attempt that succeeded has won.
pub(super) struct Entry {
    pub(super) user: UserName,
    pub(super) account: UserName,
    pub(super) mechanism: Mechanism,
    pub(super) lease: Lease,
    pub(super) opened: backend::Session,
    pub(super) backend_name: Arc<str>,
    pub(super) permit: SessionPermit,
    /// What rules have made of the login, where there are any.
    pub(super) watched: Option<Watched>,
    /// The store's change number from before the checks: what moved since then is checked again.
    pub(super) as_of: u64,
    /// Where the store was away, and was not asked.
    pub(super) granted: Option<Granted>,
    pub(super) took: std::time::Duration,
}

/// Begins the session that an attempt has won: it is listed, and its tagged OK is ready.
pub(super) fn enter(
    entry: Entry,
    preauth: PreAuth,
    mut client: Stream,
    conversation: &mut Conversation,
) -> Option<Box<Session>> {
    let Entry {
        user,
        account,
        mechanism,
        lease,
        opened,
        backend_name,
        permit,
        watched,
        as_of,
        granted,
        took,
    } = entry;
    let (mut logged_in, backend, slot) = (opened.logged_in, opened.stream, opened.slot);
    let program = program(&preauth);
    let handover = preauth.accepted()?;
    client.unbound_records();
    let shared = Arc::clone(&conversation.shared);
    let facts = Arc::make_mut(&mut conversation.facts);
    facts.user = Some(user.clone());
    facts.account = Some(account.clone());
    let factor = logged_in.factor().clone();
    let known = watched.as_ref().and_then(|watched| watched.known.as_ref());
    let event = succeeded(conversation, known, granted.as_ref());
    let app_password = tell(&shared, event, (mechanism, &factor), (&backend_name, took));
    let facts = Facts {
        session: conversation.facts.session,
        listener: conversation.listener.number,
        user,
        account,
        client: conversation.facts.addr.client,
        since: clock::unix(),
        factor,
        backend: backend_name,
        program,
        parties: watched.as_ref().map(|watched| Arc::clone(&watched.parties)),
    };
    let (place, orders) = shared.sessions.enter(facts, lease);
    shared.granted(conversation.facts.session, granted.as_ref());
    shared.check_again(as_of, conversation);
    let relay = shared.relay_for(&logged_in);
    let welcome = relay.welcome(&handover.tag, logged_in.capabilities());
    let (relay, report) = watch(watched, relay, conversation, app_password);
    Some(Box::new(Session {
        client,
        pipelined: handover.pipelined,
        welcome,
        backend,
        slot,
        early: logged_in.take_early(),
        relay,
        report,
        place,
        orders,
        permit,
    }))
}

/// What the client said of itself, names and values.
pub(super) fn id_fields(id: &ClientId) -> Vec<(String, String)> {
    let said = |(name, value): (&str, Option<&str>)| Some((name.to_owned(), value?.to_owned()));
    id.iter().filter_map(said).collect()
}

/// What the client calls itself.
fn program(preauth: &PreAuth) -> Option<String> {
    let id = preauth.client_id()?;
    id.field("name").map(Into::into)
}

impl Shared {
    /// Where a session has begun while the store is away, it is looked at as soon as that is back.
    fn granted(&self, session: SessionId, granted: Option<&Granted>) {
        let Some(granted) = granted else { return };
        self.metrics.logins.in_grace();
        self.settings().gate.session_granted(session, granted);
        // The store may be back by now.
        self.recheck.notify_one();
    }

    /// What has moved while somebody logged in may have missed the session that begins: the store, the configuration, bans.
    fn check_again(&self, as_of: u64, conversation: &Conversation) {
        self.recheck_since(as_of);
        self.rejudge_since(conversation.generation, conversation.facts.session);
        let (ip, now) = (conversation.facts.addr.ip().to_canonical(), clock::unix());
        if self.limits.bans.find(ip, now).is_some() {
            self.end_banned(Some(IpNet::from(ip)), now);
        }
    }
}

/// The event of a login.
fn succeeded(conversation: &Conversation, known: Option<&Record>, granted: Option<&Granted>) -> Event {
    let event = conversation.event(Kind::LoginSucceeded).facts(known);
    match granted {
        Some(_) => event.store_away(),
        None => event,
    }
}

/// Counts and tells the login; returns the app password's id.
fn tell(
    shared: &Shared,
    event: Event,
    (mechanism, factor): (Mechanism, &SecondFactor),
    (backend, took): (&str, std::time::Duration),
) -> Option<u32> {
    shared.metrics.logins.succeeded(mechanism, factor, took);
    let event = event.mechanism(mechanism).second_factor(factor);
    let event = event.backend(backend).duration(took);
    let SecondFactor::AppPassword { id, .. } = factor else {
        shared.emit(event);
        return None;
    };
    shared.emit(event.app_password_id(&app_password::id_text(*id)));
    Some(*id)
}

/// Has the session's commands written down, and rules watch it, where there are any.
fn watch(
    watched: Option<Watched>,
    relay: Relay,
    conversation: &Conversation,
    app_password: Option<u32>,
) -> (Relay, Report) {
    let shared = &conversation.shared;
    let relay = relay.recorded(shared.recording);
    let relay = match watched {
        Some(watched) => watched.watch(relay, shared, conversation.counters().clone()),
        None => relay,
    };
    let subject = Subject {
        connection: Arc::clone(&conversation.facts),
        app_password,
    };
    (relay, report_to(shared, subject))
}
