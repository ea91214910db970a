//! What `check` says about a configuration that is right: what it does, and what is weak about it.

use crate::config::Config;
use crate::config::backend::Backend;
use crate::config::backend::BackendTls;
use crate::config::events::Sink;
use crate::config::listener::ListenerTls;
use crate::config::route::RouteFor;
use crate::policy::factor::Mode;
use crate::policy::factor::Requirement;

/// A configuration in a few lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Heading and text, in the order to show them.
    pub lines: Vec<(&'static str, String)>,
    /// What works, but protects less than it could.
    pub warnings: Vec<String>,
}

impl Config {
    /// Sums the configuration up.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut lines = Vec::new();
        for listener in &self.listeners {
            let tls = match listener.tls {
                ListenerTls::Implicit => "TLS",
                ListenerTls::StartTls => "STARTTLS",
            };
            lines.push(("listener", format!("{} ({tls})", listener.address)));
        }
        for backend in &self.backends {
            lines.push(("backend", describe(backend)));
        }
        lines.push(("second factor", self.describe_factor()));
        let databases = [&self.geoip.country_file, &self.geoip.asn_file];
        for database in databases.into_iter().flatten() {
            lines.push(("database", database.display().to_string()));
        }
        lines.push(("store", self.store_name()));
        for sink in &self.events.sinks {
            lines.push(("events", sink.describe()));
        }
        if let Some(otlp) = &self.otlp {
            lines.push(("traces", otlp.url.address.to_string()));
        }
        let metrics = self
            .metrics
            .address
            .map_or_else(|| "off".to_owned(), |address| address.to_string());
        lines.push(("metrics", metrics));
        Summary {
            lines,
            warnings: self.warnings(),
        }
    }

    fn describe_factor(&self) -> String {
        let policy = &self.second_factor.policy;
        let mut text = policy.default.as_str().to_owned();
        if policy.mode == Mode::Monitor {
            text.push_str(", monitored only");
        }
        for rule in &policy.networks {
            text.push_str(&format!(", {} from {}", rule.asks_for().as_str(), rule.name()));
        }
        let codes = if self.second_factor.totp.enabled {
            "app passwords and one-time codes"
        } else {
            "app passwords"
        };
        format!("{text}; {codes}")
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let policy = &self.second_factor.policy;
        match policy.default {
            Requirement::Required => {}
            Requirement::Optional => warnings.push("second_factor.default is optional: who has not enrolled needs only a password".to_owned()),
            Requirement::Exempt => warnings.push("second_factor.default is exempt: nobody needs a second factor, except from the networks listed".to_owned()),
        }
        if policy.mode == Mode::Monitor {
            warnings.push(
                "second_factor.mode is monitor: a missing second factor is noted, not refused".to_owned(),
            );
        }
        if self.second_factor.admit_unknown_users {
            warnings.push("second_factor.admit_unknown_users: names that nobody added may log in where no second factor is asked for, other names of people who are listed too".to_owned());
        }
        for rule in &policy.networks {
            if rule.asks_for() == Requirement::Exempt {
                warnings.push(format!("no second factor is asked for from {}", rule.name()));
            }
        }
        for backend in self
            .backends
            .iter()
            .filter(|b| b.tls == BackendTls::None && !b.address.is_private())
        {
            warnings.push(format!("passwords go to {} in clear", backend.address));
        }
        if self.login.refusal_delay > self.login.timeout / 3 {
            warnings.push(
                "login.refusal_delay is more than a third of login.timeout: refusals may come too late to be told"
                    .to_owned(),
            );
        }
        let longest = self.login.timeout * 3 / 4;
        for backend in self.backends.iter().filter(|b| b.timeout > longest) {
            let name = &backend.name;
            warnings.push(format!("the timeout of backend {name} is more than three quarters of login.timeout: where it hangs, logins may end before that is known, and passwords count as wrong"));
        }
        if let Some(store) = self.state.postgres()
            && !store.address.uses_tls()
            && !store.address.is_local()
        {
            warnings.push(format!("the store at {} is reached in clear", store.address));
        }
        for address in self.events.sinks.iter().filter_map(Sink::in_clear) {
            warnings.push(format!("events go to {address} in clear"));
        }
        if let Some(address) = self.metrics.address.filter(|address| !address.ip().is_loopback()) {
            warnings.push(format!("metrics at {address} are readable from other machines"));
        }
        let catches_all = self.routes.iter().any(|route| route.who == RouteFor::Everyone);
        if self.backends.len() > 1 && !catches_all {
            warnings.push(
                "users that no route fits are refused: the last route names no `backend` for everyone"
                    .to_owned(),
            );
        }
        warnings
    }
}

fn describe(backend: &Backend) -> String {
    let tls = match backend.tls {
        BackendTls::None => "no TLS",
        BackendTls::StartTls => "STARTTLS",
        BackendTls::Implicit => "TLS",
    };
    let check = match (&backend.pin, &backend.ca_file) {
        _ if backend.tls == BackendTls::None => "",
        (Some(_), _) => ", pinned key",
        (None, Some(_)) => ", own authority",
        (None, None) => ", public authorities",
    };
    let identity = if backend.master.is_some() {
        "master user"
    } else {
        "users' own passwords"
    };
    format!(
        "{} at {} ({tls}{check}; {identity})",
        backend.name, backend.address
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn summary(text: &str) -> Summary {
        Config::parse("x", text, Path::new("")).unwrap().summary()
    }

    #[test]
    fn a_strict_configuration_has_nothing_to_warn_of() {
        let summary = summary("backends: [{address: '127.0.0.1:143'}]");
        assert_eq!(summary.warnings, Vec::<String>::new());
        let lines: Vec<_> = summary
            .lines
            .iter()
            .map(|(heading, text)| format!("{heading}: {text}"))
            .collect();
        assert!(
            lines.contains(&"listener: [::]:993 (TLS)".to_owned()),
            "{lines:?}"
        );
        assert!(
            lines.contains(&"second factor: required; app passwords and one-time codes".to_owned()),
            "{lines:?}"
        );
    }

    #[test]
    fn every_weak_choice_is_named() {
        let base = "backends: [{name: a, address: '127.0.0.1:143'}]\n";
        for (text, word) in [
            ("second_factor: {default: optional}", "optional"),
            ("second_factor: {default: exempt}", "nobody needs"),
            ("second_factor: {mode: monitor}", "noted, not refused"),
            ("second_factor: {admit_unknown_users: true}", "nobody added"),
            (
                "second_factor: {networks: [{set: private, require: exempt}]}",
                "from private",
            ),
            ("metrics: {address: '0.0.0.0:9993'}", "other machines"),
            ("login: {timeout: 39s}", "three quarters of login.timeout"),
        ] {
            let warnings = summary(&format!("{base}{text}")).warnings;
            assert!(
                warnings.len() == 1 && warnings[0].contains(word),
                "{text}: {warnings:?}"
            );
        }
        let clear =
            summary("backends: [{address: 'mail.example.org:143', tls: none, danger_plaintext: true}]");
        assert!(clear.warnings[0].contains("in clear"));
        let late = summary(
            "login: {timeout: 20s, refusal_delay: 10s}\nbackends: [{address: '127.0.0.1:143', timeout: 5s}]",
        );
        assert!(late.warnings[0].contains("too late to be told"), "{late:?}");
        let two = summary("backends: [{name: a, address: 'a:143'}, {name: b, address: 'b:143'}]");
        assert!(two.warnings[0].contains("no route"));
    }
}
