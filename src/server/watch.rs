//! Keeps what is in memory true to the store: revocations, disabled users and bans take effect within a second.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::timeout;

use crate::auth::keys::id_of;
use crate::limits::bans::Ban;
use crate::server::clock;
use crate::server::relay::monotonic_ms;
use crate::server::rules;
use crate::server::shared::GUESSING;
use crate::server::shared::Shared;
use crate::store;
use crate::store::StoreError;
use crate::telemetry::event::Event;
use crate::telemetry::kind::Kind;
use crate::types::EndReason;
use crate::types::SessionId;
use crate::types::UnixTime;

/// How often everything is looked at without a cause: what expires tells nobody.
const ROUND: Duration = Duration::from_secs(20);

/// How soon a store that did not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// How often what has expired is removed from the store.
const SWEEP: Duration = Duration::from_secs(600);

/// Watches until dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut changes = shared.store.changes();
    let mut next_sweep = Instant::now() + SWEEP;
    let mut news = Bans::AsFound;
    let mut key = None;
    loop {
        changes.mark_unchanged();
        let pause = match look_if_it_works(&shared, news, &mut key).await {
            Ok(()) => {
                news = Bans::Changed;
                shared.store_answered();
                ROUND
            }
            Err(error) => {
                shared.store_failed(&error);
                RETRY
            }
        };
        if Instant::now() >= next_sweep {
            next_sweep = Instant::now() + SWEEP;
            if let Err(error) = shared.store.sweep(clock::unix()).await {
                shared.store_failed(&error);
            }
        }
        let moved = async {
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        // The store is closing; nothing will move any more.
                        std::future::pending::<()>().await;
                    }
                }
                () = shared.recheck.notified() => {}
            }
        };
        // Nothing moved in this round: then it is time to look all the same.
        let _ = timeout(pause, moved).await;
    }
}

/// As [`look`]; and a store that failed must write again, too.
async fn look_if_it_works(shared: &Shared, news: Bans, key: &mut Option<[u8; 32]>) -> Result<(), StoreError> {
    look(shared, news).await?;
    follow_key(shared, key).await?;
    if shared.store_is_away.load(Ordering::Relaxed) {
        store_works(shared).await?;
    }
    Ok(())
}

/// Says whether the store takes what waits, and goes by a key that we have. One that failed must take a write, also where nothing
/// waits: on a full disk it reads as ever, and would be told of as recovered until the next code.
pub(super) async fn store_works(shared: &Shared) -> Result<(), StoreError> {
    shared.store.probe().await?;
    shared.settings().gate.follow_key().await?;
    if shared.store_is_away.load(Ordering::Relaxed) {
        shared.store.try_write().await?;
    }
    Ok(())
}

/// Goes by the key that the store says is in force, and tells of another one than before.
async fn follow_key(shared: &Shared, before: &mut Option<[u8; 32]>) -> Result<(), StoreError> {
    let now = shared.settings().gate.follow_key().await?;
    if before.replace(now).is_some_and(|before| before != now) {
        shared.emit(Event::new(Kind::KeyChanged, clock::wall()).key(&id_of(&now)));
    }
    Ok(())
}

/// What a look at the bans finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bans {
    /// At the start: they were told of when they were set.
    AsFound,
    /// Later: what is new, or gone, is told.
    Changed,
}

/// Reads bans, checks every session, forgets what limits need not know any more.
async fn look(shared: &Shared, news: Bans) -> Result<(), StoreError> {
    let now = clock::unix();
    // Before the store is asked: it may be away.
    shared.end_forbidden();
    shared.end_banned(None, now);
    sweep(shared, now);
    shared.obey().await?;
    // What is written meanwhile is in one of both.
    let waiting = shared.duties.bans();
    let stored = shared.store.bans(now).await?;
    take_bans(shared, (stored, waiting), now, news);
    shared.end_banned(None, now);
    let gate = &shared.settings().gate;
    gate.ask_about_windows(now).await?;
    end(shared, &gate.wrongly_granted(now).await?, EndReason::Revoked);
    let (sessions, leases) = shared.sessions.leases();
    if !leases.is_empty() {
        let ends = gate.recheck(&leases, now).await?;
        for (session, reason) in sessions.into_iter().zip(ends) {
            let Some(reason) = reason else { continue };
            end(shared, &[session], reason);
        }
    }
    Ok(())
}

/// Forgets what nobody need know any more, whether the store is there or not: mail passwords that were opened first of all.
fn sweep(shared: &Shared, now: UnixTime) {
    let monotonic = Instant::now();
    shared.settings().gate.forget_opened(now);
    shared.limits.connections.sweep(monotonic.into_std());
    shared.limits.attempts.sweep(monotonic.into_std());
    shared.policy.sweep(monotonic_ms(monotonic));
    shared.limits.budgets.sweep(monotonic_ms(monotonic));
}

/// Ends sessions, and forgets what would let their users in while the store is away.
fn end(shared: &Shared, sessions: &[SessionId], reason: EndReason) {
    if sessions.is_empty() {
        return;
    }
    for facts in shared
        .sessions
        .end_where(reason, |facts| sessions.contains(&facts.session))
    {
        shared.settings().gate.forget(&facts.user);
        shared.session_killed(&facts, reason);
    }
}

/// Puts the store's bans in force, and tells what has changed. Those that live in memory alone stand beside them.
fn take_bans(shared: &Shared, (stored, waiting): (Vec<store::Ban>, Vec<Ban>), now: UnixTime, news: Bans) {
    let before = shared.limits.bans.list();
    let automatic = stored.iter().filter(|ban| rules::is_automatic(ban)).count();
    shared.duties.stored_bans_are(automatic);
    let stored = stored.into_iter().map(rules::in_memory);
    let known = stored.chain(waiting).chain(shared.duties.bans());
    let own = |ban: &Ban| ban.by == GUESSING && ban.is_in_force(now);
    shared.limits.bans.replace_all_but(own, known);
    if news == Bans::AsFound {
        return;
    }
    let after = shared.limits.bans.list();
    let tell = |kind, ban: &Ban| {
        let event = Event::new(kind, clock::wall());
        shared.emit(event.ban(&ban.network, ban.until, &ban.reason));
    };
    // Both lists are sorted by network.
    let is_in = |bans: &[Arc<Ban>], ban: &Ban| bans.binary_search_by_key(&ban.network, |ban| ban.network);
    for ban in &after {
        let known = is_in(&before, ban).ok().and_then(|at| before.get(at));
        if known.is_none_or(|known| known != ban) {
            tell(Kind::BanAdded, ban);
        }
    }
    for ban in before.iter().filter(|ban| is_in(&after, ban).is_err()) {
        tell(Kind::BanRemoved, ban);
    }
}
