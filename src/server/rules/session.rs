//! From a login that rules let in to a session that they watch.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

use crate::auth::app_password;
use crate::auth::meter::Meter;
use crate::policy::accounts::Account;
use crate::policy::engine::SessionCounters;
use crate::policy::moved::Filled;
use crate::policy::noticed::Shown;
use crate::server::clock;
use crate::server::relay::Report;
use crate::server::relay::Told;
use crate::server::relay::monotonic_ms;
use crate::server::rules::Watched;
use crate::server::rules::act::Subject;
use crate::server::shared::Shared;
use crate::session::inspect::Inspector;
use crate::session::inspect::Ledger;
use crate::session::recorder::CommandResult;
use crate::session::recorder::Recorded;
use crate::session::relay::Relay;
use crate::telemetry::event::Event;
use crate::telemetry::kind::Kind;
use crate::types::Measure;
use crate::types::UnixTime;
use crate::types::UserName;

/// How often what sessions did is handed to the store.
const COLLECT: Duration = Duration::from_secs(2);

/// Counts what outlives the session.
struct Kept {
    meter: Arc<Meter>,
    user: UserName,
    account: Arc<str>,
    shared: Arc<Shared>,
    /// What is remembered of the account, from when it is first of use on.
    moved: OnceLock<Arc<Account<Filled>>>,
    noticed: OnceLock<Arc<Account<Shown>>>,
}

impl Kept {
    fn moves(&self) -> &Account<Filled> {
        self.moved
            .get_or_init(|| self.shared.policy.moved.of(&self.account))
    }

    fn notices(&self) -> &Account<Shown> {
        self.noticed
            .get_or_init(|| self.shared.policy.noticed.of(&self.account))
    }
}

impl Ledger for Kept {
    fn is_first_sync(&self) -> bool {
        self.meter.may_be_first_sync() && self.meter.is_first_sync(clock::unix())
    }

    fn fetched(&self, bytes: u64, messages: u64) {
        self.meter.fetched(bytes, messages, self.is_first_sync());
    }

    fn client_is(&self, family: &str) {
        let now = clock::unix();
        self.meter.client_is(Some(family), now);
        self.shared.policy.memory.remember_family(&self.user, family, now);
    }

    fn now(&self) -> UnixTime {
        clock::unix()
    }

    fn pace(&self, bytes: u64, rate: NonZeroU64, now_ms: u64) -> u64 {
        self.meter.pace(bytes, rate, now_ms)
    }

    fn count(&self, measure: Measure, amount: u64) {
        self.meter.count(measure, amount);
    }

    fn moved(&self, to: &str, messages: u64, now_ms: u64) {
        self.moves().add(to, messages, now_ms);
    }

    fn renamed(&self, from: &str, to: &str, now_ms: u64) {
        self.moves().rename(from, to, now_ms);
    }

    fn deleted(&self, mailbox: &str) {
        self.moves().forget(mailbox);
    }

    fn moved_into(&self, mailbox: &str, now_ms: u64) -> Option<u64> {
        self.moves().of(mailbox, now_ms)
    }

    fn noticed(&self, mailbox: &str, uids: &[u32], now_ms: u64) {
        self.notices().add(mailbox, uids, now_ms);
    }

    fn notices_in(&self, mailbox: &str, now_ms: u64) -> Vec<u32> {
        self.notices().of(mailbox, now_ms)
    }
}

impl Watched {
    /// Has a session watched; what is decided of it comes to the report.
    pub(in crate::server) fn watch(
        self,
        relay: Relay,
        shared: &Arc<Shared>,
        counters: SessionCounters,
    ) -> Relay {
        let ledger = Box::new(Kept {
            meter: self.meter,
            user: self.user,
            account: Arc::clone(&self.parties.user.account),
            shared: Arc::clone(shared),
            moved: OnceLock::new(),
            noticed: OnceLock::new(),
        });
        let now_ms = monotonic_ms(Instant::now());
        let rules = Arc::clone(&shared.policy.rules);
        let mut inspector = Inspector::new(rules, (self.parties, ledger), (counters, self.revision), now_ms);
        inspector.hold(&self.decisions);
        relay.inspected(inspector)
    }
}

/// Has what happens in a session told, and carried out.
pub(in crate::server) fn report_to(shared: &Arc<Shared>, subject: Subject) -> Report {
    let shared = Arc::clone(shared);
    Box::new(move |told| match told {
        Told::Decisions(all) => all
            .iter()
            .for_each(|decisions| shared.carry_out(decisions, &subject)),
        Told::Commands(commands) => commands
            .iter()
            .for_each(|command| shared.tell_command(command, &subject)),
    })
}

impl Shared {
    fn tell_command(&self, command: &Recorded, subject: &Subject) {
        let kind = match command.result {
            CommandResult::Refused(_) => Kind::CommandRefused,
            _ => Kind::Command,
        };
        let event = Event::new(kind, clock::wall()).connection(&subject.connection);
        let event = match subject.app_password {
            Some(id) => event.app_password_id(&app_password::id_text(id)),
            None => event,
        };
        self.emit(event.recorded(command));
    }
}

/// Hands what sessions did to the store until dropped.
pub(in crate::server) async fn collect(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(COLLECT).await;
        shared.policy.memory.collect(clock::unix());
    }
}
