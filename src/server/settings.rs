//! What a reload can change of what connections go by, as one value: who looks sees one configuration, never half of two.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::gate::Gate;
use crate::auth::lease::Lease;
use crate::backend::Backends;
use crate::config::Config;
use crate::config::listener;
use crate::policy::access;
use crate::policy::access::Lists;
use crate::policy::access::NamedNetworks;
use crate::policy::access::Scope;
use crate::policy::access::Verdict;
use crate::server::relay::Deadlines;
use crate::server::sessions::Facts;
use crate::session::preauth;
use crate::session::relay;
use crate::types::Networks;
use crate::types::UnixTime;

/// The time limits of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) proxy_header: Duration,
    pub(super) login: Duration,
    /// How long a refusal takes, at least; longer ones take a multiple.
    pub(super) refusal: Duration,
    pub(super) relay: Deadlines,
}

/// What can change of a listener.
#[derive(Debug)]
pub(super) struct Door {
    /// The peers that must send a PROXY header; nobody else may connect then.
    pub(super) proxy_protocol_from: Option<Networks>,
    /// Who may connect to this listener.
    pub(super) access: Lists,
}

impl Door {
    fn of(listener: &listener::Listener) -> Self {
        let sets = listener.proxy_protocol_from.iter();
        let trusted: Vec<_> = sets.flat_map(|set| set.networks.iter().copied()).collect();
        Self {
            proxy_protocol_from: (!trusted.is_empty()).then(|| Networks::new(trusted)),
            access: listener.access.clone(),
        }
    }

    /// For a listener that is not configured, which there cannot be: nobody comes in.
    fn closed() -> Self {
        let nobody = NamedNetworks::new("nobody", Networks::default());
        Self {
            proxy_protocol_from: None,
            access: Lists {
                allow: vec![nobody],
                deny: Vec::new(),
            },
        }
    }
}

/// What a configuration makes of connections that come, log in, or begin a session from now on.
pub(super) struct Settings {
    /// The configuration itself, to be compared with the next.
    pub(super) config: Config,
    pub(super) timing: Timing,
    doors: Vec<Door>,
    closed: Door,
    pub(super) preauth: Arc<preauth::Options>,
    pub(super) relay: Arc<relay::Options>,
    pub(super) gate: Gate,
    pub(super) backends: Backends,
}

impl Settings {
    /// What a configuration says, with a gate and backends made by it.
    pub(super) fn new(config: &Config, gate: Gate, backends: Backends) -> Self {
        Self {
            timing: Timing {
                proxy_header: config.login.proxy_header_timeout,
                login: config.login.timeout,
                refusal: config.login.refusal_delay,
                relay: Deadlines {
                    idle: config.relay.idle_timeout,
                    stall: config.relay.stall_timeout,
                    ..Deadlines::default()
                },
            },
            doors: config.listeners.iter().map(Door::of).collect(),
            closed: Door::closed(),
            preauth: Arc::new(config.preauth_options()),
            relay: Arc::new(config.relay_options()),
            gate,
            backends,
            config: config.clone(),
        }
    }

    /// What holds at a listener.
    pub(super) fn door(&self, number: usize) -> &Door {
        self.doors.get(number).unwrap_or(&self.closed)
    }

    /// The lists that an address must pass at a listener.
    pub(super) fn lists(&self, number: usize) -> [(Scope, &Lists); 2] {
        [
            (Scope::Global, &self.config.access),
            (Scope::Listener, &self.door(number).access),
        ]
    }

    /// Whether a session that is open would still come in from where it is, with the second factor that it brought or without.
    pub(super) fn still_admit(&self, facts: &Facts, lease: &Lease, now: UnixTime) -> bool {
        let lists = self.lists(facts.listener);
        let verdict = access::judge(facts.client.ip().to_canonical(), &lists);
        matches!(verdict, Verdict::Allowed { .. }) && self.gate.still_admits(lease, now)
    }
}
