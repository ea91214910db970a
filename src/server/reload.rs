//! A reload: the configuration and everything that it names is read and checked as a whole, and put in force as a whole. On any
//! mistake, all of the old one stays.
//!
//! Sessions that are open keep what they have, but for those that would not be let in any more: these end.

mod error;

use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::auth::gate::Gate;
use crate::auth::key_ring;
use crate::auth::lease::Lease;
use crate::config::Config;
use crate::config::ConfigProblems;
use crate::net::geo;
use crate::net::geo::Geo;
use crate::net::tls;
use crate::policy::rules::RuleSet;
use crate::server::StartError;
use crate::server::build;
use crate::server::clock;
use crate::server::notify;
use crate::server::rules;
use crate::server::sessions::Facts;
use crate::server::settings::Settings;
use crate::server::shared::Shared;
use crate::telemetry::event::Event;
use crate::telemetry::kind::Kind;
use crate::telemetry::log;
use crate::telemetry::sink;
use crate::telemetry::sink::Renewal;
use crate::types::EndReason;
use crate::types::SessionId;
use crate::types::UnixTime;

use error::Broken;

pub(super) use error::ReloadError;

/// Where a configuration is read again.
pub type Source = Box<dyn Fn(UnixTime) -> Result<Config, Box<ConfigProblems>> + Send + Sync>;

/// Who asked for a reload, and waits for what comes of it.
pub(super) type Asked = oneshot::Sender<Result<Reloaded, ReloadError>>;

/// Reloads that may be asked for at once.
pub(super) const ASKED: usize = 8;

/// What a reload has done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reloaded {
    /// Sections that differ, and are in force.
    pub(super) changed: Vec<&'static str>,
    /// Sessions that would not be let in any more.
    pub(super) ended: usize,
}

/// Everything that is read, before anything of it is in force.
struct Prepared {
    settings: Settings,
    tls: tls::Prepared,
    databases: geo::Prepared,
    rules: RuleSet,
    sinks: Vec<Renewal>,
    keys: key_ring::Read,
    changed: Vec<&'static str>,
}

/// Reloads, one after the other.
pub(super) struct Reloader {
    shared: Arc<Shared>,
    source: Source,
    log: Option<log::Handle>,
}

impl Reloader {
    pub(super) fn new(shared: Arc<Shared>, source: Source, log: Option<log::Handle>) -> Self {
        Self { shared, source, log }
    }

    /// Serves SIGHUP and whoever asks, until dropped.
    pub(super) async fn run(self, mut hangups: Signal, mut asked: mpsc::Receiver<Asked>) {
        let this = Arc::new(self);
        loop {
            let asker = tokio::select! {
                _ = hangups.recv() => None,
                Some(asker) = asked.recv() => Some(asker),
            };
            notify::reloading();
            // Opened anew, as logrotate wants it.
            this.shared.events.reopen();
            // Reading a database of a gigabyte takes its time.
            let reloader = Arc::clone(&this);
            let reloaded = tokio::task::spawn_blocking(move || reloader.reload()).await;
            let reloaded = reloaded.unwrap_or(Err(ReloadError::Lost));
            notify::ready();
            if let Some(asker) = asker {
                // Whoever asked may have gone.
                let _ = asker.send(reloaded);
            }
        }
    }

    fn reload(&self) -> Result<Reloaded, ReloadError> {
        let now = clock::unix();
        match self.prepare(now) {
            Ok(prepared) => Ok(self.put(prepared, now)),
            Err(error) => {
                self.reject(&error, now);
                Err(error)
            }
        }
    }

    fn prepare(&self, now: UnixTime) -> Result<Prepared, ReloadError> {
        let config = (self.source)(now).map_err(ReloadError::Config)?;
        let before = self.shared.settings();
        let changes = before.config.changes(&config);
        if !changes.restart.is_empty() {
            return Err(ReloadError::NeedsRestart(changes.restart));
        }
        self.parts(&config, &before, changes.live, now)
            .map_err(ReloadError::Parts)
    }

    /// Reads what a configuration names; says of each part why it cannot be used.
    fn parts(
        &self,
        config: &Config,
        before: &Settings,
        changed: Vec<&'static str>,
        now: UnixTime,
    ) -> Result<Prepared, Box<Broken>> {
        let mut broken = Broken::default();
        let tls = build::tls_options(config)
            .and_then(|options| Ok(self.shared.tls.prepare(&options, now)?))
            .map_err(|error| broken.certificates = Some(error));
        let databases = Geo::prepare(config.geoip.clone()).map_err(|error| broken.databases = Some(error));
        let rules = rules::read(&config.rules).map_err(|error| broken.rules = Some(error));
        let sinks = sinks(config).map_err(|error| broken.sinks = Some(error));
        let settings = self
            .settings(config, before, now)
            .map_err(|error| broken.others = Some(error));
        match (tls, databases, rules, sinks, settings) {
            (Ok(tls), Ok(databases), Ok(rules), Ok(sinks), Ok((settings, keys))) if broken.is_nothing() => {
                Ok(Prepared {
                    settings,
                    tls,
                    databases,
                    rules,
                    sinks,
                    keys,
                    changed,
                })
            }
            _ => Err(Box::new(broken)),
        }
    }

    fn settings(
        &self,
        config: &Config,
        before: &Settings,
        now: UnixTime,
    ) -> Result<(Settings, key_ring::Read), StartError> {
        let keys = before.gate.ring().read()?;
        let backends = before.backends.reloaded(config.backend_options()?, now)?;
        for backend in backends.iter() {
            self.shared.metrics.backends.named(backend.name())?;
        }
        let policy = config.second_factor.policy.clone();
        let gate: Gate = before.gate.with(config.gate_options(), policy);
        Ok((Settings::new(config, gate, backends), keys))
    }

    /// Nothing can fail any more.
    fn put(&self, prepared: Prepared, now: UnixTime) -> Reloaded {
        let shared = &self.shared;
        let before = shared.settings();
        let config = prepared.settings.config.clone();
        let revision = Arc::clone(&prepared.rules.revision);
        shared.tls.put(prepared.tls);
        shared.certificates_in_force();
        shared.geo.put(prepared.databases);
        shared.events.renew(prepared.sinks);
        before.gate.ring().put(prepared.keys);
        shared.policy.memory.set_options(config.rules.first_sync.clone());
        shared.policy.put(prepared.rules, rules::sets(&config));
        set_limits(shared, &before.config, &config);
        let settings = Arc::new(prepared.settings);
        shared.settings.store(Arc::clone(&settings));
        known_backends(shared, &before, &settings);
        shared.next_generation();
        if let Some(log) = &self.log {
            log.set_level(config.log.level);
        }
        self.tell(&revision, &prepared.changed);
        let ended = shared.rejudge(|_| true, now);
        Reloaded {
            changed: prepared.changed,
            ended,
        }
    }

    fn tell(&self, revision: &str, changed: &[&'static str]) {
        let shared = &self.shared;
        shared.emit(event(Kind::CertificatesReloaded));
        if shared.geo.is_on() {
            shared.emit(event(Kind::DatabasesReloaded));
        }
        shared.metrics.rules_reloaded(true);
        shared.emit(event(Kind::RulesReloaded).rules(revision));
        shared.metrics.config_reloaded(true);
        shared.emit(event(Kind::ConfigReloaded).changed(changed));
        tracing::info!(changed = changed.join(", "), "the configuration was read again");
    }

    /// Tells what is wrong: of the configuration, and of each part that has an event of its own.
    fn reject(&self, error: &ReloadError, now: UnixTime) {
        let shared = &self.shared;
        let found = match error {
            ReloadError::Parts(broken) => {
                self.reject_parts(broken);
                None
            }
            // Its files are looked at as it is read: which of them are wrong is seen in those of the one in force.
            ReloadError::Config(_) => {
                let before = shared.settings();
                self.parts(&before.config, &before, Vec::new(), now).err()
            }
            ReloadError::NeedsRestart(_) | ReloadError::Lost => None,
        };
        if let Some(broken) = found {
            self.reject_parts(&broken);
        }
        shared.metrics.config_reloaded(false);
        tracing::error!(%error, "the new configuration cannot be used; the old one stays in force");
        shared.emit(event(Kind::ConfigRejected).error(error));
    }

    fn reject_parts(&self, broken: &Broken) {
        let shared = &self.shared;
        if let Some(error) = &broken.certificates {
            shared.emit(event(Kind::CertificatesRejected).error(error));
        }
        if let Some(error) = &broken.databases {
            shared.emit(event(Kind::DatabasesRejected).error(error));
        }
        if let Some(error) = &broken.rules {
            shared.metrics.rules_reloaded(false);
            shared.emit(event(Kind::RulesRejected).error(error));
        }
    }
}

/// What the sinks of events go by: authorities of their receivers, and secrets.
fn sinks(config: &Config) -> Result<Vec<Renewal>, StartError> {
    Ok(sink::renewals(config.event_options()?)?)
}

/// Limits that are the same go on counting: new ones make the rates of connections start anew.
fn set_limits(shared: &Shared, before: &Config, config: &Config) {
    let limits = &shared.limits;
    if before.connection_limits() != config.connection_limits() {
        limits.connections.set_options(config.connection_limits());
    }
    if before.attempt_limits() != config.attempt_limits() {
        limits.attempts.set_options(config.attempt_limits());
    }
    limits.sessions.set_options(config.session_limits());
    limits.bans.set_options(config.ban_options());
}

/// A backend that is new counts as usable until somebody has tried; of one that is gone nobody can say.
fn known_backends(shared: &Shared, before: &Settings, after: &Settings) {
    let is_in =
        |settings: &Settings, name: &str| settings.backends.iter().any(|backend| backend.name() == name);
    for backend in after.backends.iter() {
        if !is_in(before, backend.name()) {
            // The series of its name were made when it was read.
            let _ = shared.metrics.backends.up(backend.name(), true);
        }
    }
    for backend in before.backends.iter() {
        if !is_in(after, backend.name()) {
            shared.forget_backend(backend.name());
        }
    }
}

impl Shared {
    /// How many configurations have been in force.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn next_generation(&self) {
        self.generation.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }

    /// Judges a session again if a reload came between: one that has just been listed may have been judged by what was in force
    /// before.
    pub(super) fn rejudge_since(&self, generation: u64, session: SessionId) {
        if self.generation() != generation {
            self.rejudge(|facts| facts.session == session, clock::unix());
        }
    }

    /// Ends those of some sessions that would not be let in by what is in force; says how many.
    fn rejudge(&self, which: impl Fn(&Facts) -> bool, now: UnixTime) -> usize {
        let settings = self.settings();
        let is_out = |facts: &Facts, lease: &Lease| {
            let admitted = settings.still_admit(facts, lease, now);
            !(admitted && self.policy.allows(facts.session, facts.parties.as_deref()))
        };
        let ended = self.sessions.end_judged(EndReason::PolicyChanged, which, is_out);
        for facts in &ended {
            self.session_killed(facts, EndReason::PolicyChanged);
        }
        ended.len()
    }
}

fn event(kind: Kind) -> Event {
    Event::new(kind, clock::wall())
}
