//! From an attempt that succeeded to a session: it is listed, rules watch it, and its tagged OK is ready.

use std::sync::Arc;

use crate::auth::app_password;
use crate::auth::lease::Lease;
use crate::backend;
use crate::limits::sessions::SessionPermit;
use crate::net::stream::Stream;
use crate::server::clock;
use crate::server::connection::Conversation;
use crate::server::login::Session;
use crate::server::relay::Report;
use crate::server::rules::Watched;
use crate::server::sessions::Facts;
use crate::session::preauth::PreAuth;
use crate::session::relay::Relay;
use crate::telemetry::kind::Kind;
use crate::types::Mechanism;
use crate::types::SecondFactor;
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
        took,
    } = entry;
    let backend::Session {
        mut logged_in,
        stream: backend,
        slot,
    } = opened;
    let program = preauth
        .client_id()
        .and_then(|id| id.field("name"))
        .map(ToOwned::to_owned);
    let handover = preauth.accepted()?;
    client.unbound_records();
    let shared = Arc::clone(&conversation.shared);
    conversation.facts.user = Some(user.clone());
    conversation.facts.account = Some(account.clone());
    let factor = logged_in.factor().clone();
    shared.metrics.logins.succeeded(mechanism, &factor, took);
    let event = conversation.event(Kind::LoginSucceeded).mechanism(mechanism);
    let mut event = event.second_factor(&factor).backend(&backend_name).duration(took);
    if let SecondFactor::AppPassword { id, .. } = &factor {
        event = event.app_password_id(&app_password::id_text(*id));
    }
    shared.emit(event);
    let facts = Facts {
        session: conversation.facts.session,
        user,
        account,
        client: conversation.facts.addr.client,
        since: clock::unix(),
        factor,
        backend: backend_name,
        program,
        parties: watched.as_ref().map(|watched| Arc::clone(&watched.parties)),
    };
    let app_password = match &facts.factor {
        SecondFactor::AppPassword { id, .. } => Some(*id),
        _ => None,
    };
    let (place, orders) = shared.sessions.enter(facts, lease);
    shared.recheck_since(as_of);
    let relay = shared.relay_for(&logged_in);
    let welcome = relay.welcome(&handover.tag, logged_in.capabilities());
    let (relay, report): (Relay, Report) = match watched {
        Some(watched) => {
            let counters = conversation.counters().clone();
            watched.watch(relay, &shared, (&conversation.facts, app_password), counters)
        }
        None => (relay, Box::new(|_| {})),
    };
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
