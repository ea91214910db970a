//! What differs between two configurations: what a reload puts in force, and what only a restart can.
//!
//! A key that is forgotten here would be ignored by a reload without a word: each section is named, so that a new one does not
//! compile until somebody has decided.

use std::net::SocketAddr;

use crate::config::Config;
use crate::config::limits::Limits;
use crate::config::listener::ListenerTls;
use crate::config::output::Drain;
use crate::config::state::State;

/// Keys and sections that differ, in the order of the documentation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// What a reload can put in force.
    pub live: Vec<&'static str>,
    /// What needs a restart.
    pub restart: Vec<&'static str>,
}

impl Config {
    /// What is different in a newer configuration.
    #[must_use]
    pub fn changes(&self, newer: &Self) -> Changes {
        let Self {
            listeners,
            tls,
            networks,
            access,
            geoip,
            login,
            limits,
            second_factor,
            backends,
            routes,
            relay,
            rules,
            state,
            events,
            otlp,
            log,
            metrics,
            drain,
            hardening,
        } = self;
        let same_bound = bound(self) == bound(newer);
        let live = [
            ("networks", *networks == newer.networks),
            ("access", *access == newer.access),
            ("geoip", *geoip == newer.geoip),
            ("listeners", !same_bound || *listeners == newer.listeners),
            ("tls", *tls == newer.tls),
            ("login", *login == newer.login),
            ("limits", live_limits(limits, &newer.limits)),
            ("second_factor", *second_factor == newer.second_factor),
            ("backends", *backends == newer.backends),
            ("routes", *routes == newer.routes),
            ("relay", *relay == newer.relay),
            ("rules", *rules == newer.rules),
            ("log.level", log.level == newer.log.level),
            ("drain", live_drain(drain, &newer.drain)),
        ];
        let restart = [
            ("listeners", same_bound),
            (
                "limits.connections",
                limits.connections == newer.limits.connections,
            ),
            ("events", *events == newer.events),
            ("telemetry", *otlp == newer.otlp),
            ("log.format", log.format == newer.log.format),
            ("metrics", *metrics == newer.metrics),
            ("drain.hand_over", drain.hand_over == newer.drain.hand_over),
            ("hardening", *hardening == newer.hardening),
        ];
        let mut restart = different(&restart);
        restart.extend(state.changes(&newer.state));
        Changes {
            live: different(&live),
            restart,
        }
    }
}

/// What is bound at the start.
fn bound(config: &Config) -> Vec<(SocketAddr, ListenerTls)> {
    let each = config.listeners.iter();
    each.map(|listener| (listener.address, listener.tls)).collect()
}

/// True where what a reload can change of limits is the same.
fn live_limits(before: &Limits, newer: &Limits) -> bool {
    let connections = newer.connections;
    *newer
        == Limits {
            connections,
            ..before.clone()
        }
}

/// The same of the end.
fn live_drain(before: &Drain, newer: &Drain) -> bool {
    let hand_over = newer.hand_over;
    *newer == Drain { hand_over, ..*before }
}

impl State {
    /// The keys that differ.
    fn changes(&self, newer: &Self) -> Vec<&'static str> {
        let keys = [
            ("data_directory", self.data_directory == newer.data_directory),
            ("store", self.store() == newer.store()),
            (
                "key_file",
                (self.key_file(), self.has_own_key_file()) == (newer.key_file(), newer.has_own_key_file()),
            ),
            ("control_socket", self.control_socket() == newer.control_socket()),
        ];
        let found = different(&keys);
        if found.is_empty() && self != newer {
            return vec!["store"];
        }
        found
    }
}

fn different(keys: &[(&'static str, bool)]) -> Vec<&'static str> {
    let differ = keys.iter().filter(|(_, same)| !same);
    differ.map(|(key, _)| *key).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(more: &str) -> Config {
        let text = format!("backends: [{{address: '127.0.0.1:143'}}]\n{more}");
        Config::parse("x", &text, Path::new("")).unwrap()
    }

    #[test]
    fn each_key_is_live_or_needs_a_restart_and_is_named() {
        let before = config("");
        assert_eq!(before.changes(&before.clone()), Changes::default());
        for (more, live) in [
            ("networks: {a: [10.0.0.0/8]}", "networks"),
            ("access: {allow: [loopback]}", "access"),
            ("geoip: {asn_file: a}", "geoip"),
            ("listeners: [{address: '[::]:993', deny: [private]}]", "listeners"),
            ("tls: {certificates: [{certificate_file: a, key_file: b}]}", "tls"),
            ("login: {help: x}", "login"),
            ("limits: {sessions_per_user: 7}", "limits"),
            ("second_factor: {default: optional}", "second_factor"),
            ("routes: [{backend: default}]", "routes"),
            ("relay: {max_pipelined: 64}", "relay"),
            ("rules: {mode: shadow}", "rules"),
            ("log: {level: debug}", "log.level"),
            ("drain: {spread: 1s}", "drain"),
        ] {
            let changes = before.changes(&config(more));
            assert_eq!((changes.live, changes.restart), (vec![live], vec![]), "{more}");
        }
        for (more, restart) in [
            ("listeners: [{address: '[::]:994'}]", "listeners"),
            ("listeners: [{address: '[::]:993', tls: starttls}]", "listeners"),
            ("limits: {connections: 7}", "limits.connections"),
            ("events: {file: a}", "events"),
            ("log: {format: json}", "log.format"),
            ("metrics: {address: off}", "metrics"),
            ("drain: {hand_over: true}", "drain.hand_over"),
            ("hardening: {seccomp: required}", "hardening"),
            ("store: {path: a}", "store"),
            ("key_file: a", "key_file"),
            ("control_socket: a", "control_socket"),
        ] {
            let changes = before.changes(&config(more));
            assert_eq!((changes.live, changes.restart), (vec![], vec![restart]), "{more}");
        }
        let moved = before.changes(&config("data_directory: /elsewhere"));
        let all = ["data_directory", "store", "key_file", "control_socket"];
        assert_eq!(moved.restart, all, "what lies in it moves with it");
        let backend = Config::parse("x", "backends: [{address: '127.0.0.1:144'}]", Path::new(""));
        assert_eq!(before.changes(&backend.unwrap()).live, ["backends"]);
    }
}
