//! What other modules are told: their `Options`, made from the configuration. The numbers that no key sets are theirs.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::auth::gate;
use crate::auth::key_file::KeyFileOptions;
use crate::auth::window;
use crate::auth::wire_code::Separators;
use crate::backend;
use crate::backend::BackendOptions;
use crate::config::Config;
use crate::config::backend::Backend;
use crate::config::backend::BackendTls;
use crate::config::backend::MasterStyle;
use crate::config::events::Sink;
use crate::config::files::SecretFileError;
use crate::config::files::read_secret;
use crate::config::route::RouteFor;
use crate::limits::Rate;
use crate::limits::attempts;
use crate::limits::bans;
use crate::limits::connections;
use crate::limits::connections::Share;
use crate::limits::sessions;
use crate::net::tls::ClientCertificates;
use crate::net::tls::ClientOptions;
use crate::net::tls::ServerOptions;
use crate::net::tls::Trust;
use crate::session::backend_login;
use crate::session::backend_login::Master;
use crate::session::preauth;
use crate::session::relay;
use crate::telemetry::sink;
use crate::types::Networks;

/// An IPv6 /48 may have so many times what one network may have.
const SITE: u32 = 4;

/// How many seconds' worth of a network's connections may come at once.
const BURST: u32 = 20;

/// How many times as fast as connections app passwords have their turns.
const APP_PASSWORDS: u32 = 10;

impl Config {
    /// TLS with clients. Without certificates in the file the list is empty, and one is to be made.
    #[must_use]
    pub fn tls_options(&self) -> ServerOptions {
        ServerOptions {
            certificates: self.tls.certificates.clone(),
            client_certificates: ClientCertificates {
                mode: self.tls.client_certificates,
                ca_files: self.tls.ca_files.clone(),
                crl_files: self.tls.crl_files.clone(),
            },
            handshake_timeout: self.login.handshake_timeout,
        }
    }

    /// The conversation before a login.
    #[must_use]
    pub fn preauth_options(&self) -> preauth::Options {
        preauth::Options {
            help: self.login.help.clone(),
            attempts: u32::from(self.login.max_attempts),
            bad_commands: u32::from(self.login.max_bad_commands),
            ..preauth::Options::default()
        }
    }

    /// The relayed session.
    #[must_use]
    pub fn relay_options(&self) -> relay::Options {
        let upper = |words: &[String]| {
            words
                .iter()
                .map(|word| word.to_ascii_uppercase().into_bytes().into())
                .collect()
        };
        let limit = usize::try_from(self.relay.command_limit).unwrap_or(usize::MAX);
        let mut options = relay::Options::default();
        options.command.line = limit;
        options.command.literal = u32::try_from(self.relay.command_limit).unwrap_or(u32::MAX);
        options.command.literals = limit;
        options.command.command = limit;
        options.max_message = u32::try_from(self.relay.literal_limit).unwrap_or(u32::MAX);
        options.max_in_flight = usize::from(self.relay.max_pipelined);
        options.extra_verbs = upper(&self.relay.extra_commands);
        options.extra_capabilities = upper(&self.relay.extra_capabilities);
        options
    }

    /// The second factor.
    #[must_use]
    pub fn gate_options(&self) -> gate::Options {
        let totp = &self.second_factor.totp;
        let separators: String = totp.separators.iter().collect();
        gate::Options {
            windows: window::Options {
                total: totp.window,
                idle: totp.window_idle,
                store_away: totp.store_away_grace,
                ..window::Options::default()
            },
            separators: Separators::new(&separators).unwrap_or_default(),
            wire_codes: totp.enabled,
            admit_unknown: self.second_factor.admit_unknown_users,
        }
    }

    /// The key file. One that the operator placed may be shared with a group, as secrets in Kubernetes are.
    #[must_use]
    pub fn key_file_options(&self) -> KeyFileOptions {
        KeyFileOptions {
            group_may_read: self.state.has_own_key_file(),
        }
    }

    /// Who is never counted as a network: probes, webmail, and the proxies that speak for others.
    fn exempt(&self) -> Networks {
        let proxies = self
            .listeners
            .iter()
            .flat_map(|listener| &listener.proxy_protocol_from);
        let proxies = proxies.flat_map(|set| set.networks.iter());
        Networks::new(self.limits.exempt.iter().chain(proxies).copied().collect())
    }

    /// Connections of one network.
    #[must_use]
    pub fn connection_limits(&self) -> connections::Options {
        connections::Options {
            prefix: self.share(1),
            site: self.share(SITE),
            exempt: self.exempt(),
            ..connections::Options::default()
        }
    }

    fn share(&self, times: u32) -> Share {
        let each = self.limits.rate_per_network.saturating_mul(times).max(1);
        let rate = |burst| Rate::new(burst, Duration::from_secs(1) / each);
        Share {
            rate: NonZeroU32::new(each.saturating_mul(BURST)).map(rate),
            open: self.limits.connections_per_network.saturating_mul(times),
            waiting: self.limits.waiting_per_network.saturating_mul(times),
        }
    }

    /// Sessions of one user.
    #[must_use]
    pub fn session_limits(&self) -> sessions::Options {
        sessions::Options {
            per_user: self.limits.sessions_per_user,
            per_user_and_prefix: self.limits.sessions_per_user_and_network,
            exempt: self.exempt(),
        }
    }

    /// Login attempts.
    #[must_use]
    pub fn attempt_limits(&self) -> attempts::Options {
        let mut options = attempts::Options::default();
        options.pair.failures = self.limits.failures_per_user_and_network;
        options.pair.longest_delay = self.limits.longest_delay;
        options.prefix.failures = self.limits.failures_per_network;
        options.site.failures = self.limits.failures_per_network.saturating_mul(SITE);
        // Who has waited needs time to log in as well.
        options.patience = options.patience.min(self.login.timeout / 3);
        options.account_patience = options.patience * 5 / 4;
        let rate = self.limits.rate_per_network.max(1);
        let in_time = options.patience / rate.saturating_mul(BURST);
        let spacing = in_time.min(Duration::from_secs(1) / rate);
        for (source, times) in [(&mut options.prefix, 1), (&mut options.site, SITE)] {
            source.known_spacing = spacing / times;
            source.app_password_spacing = spacing / times / APP_PASSWORDS;
        }
        options.ban_after = self.limits.ban_after;
        options.exempt = self.exempt();
        options
    }

    /// Bans.
    #[must_use]
    pub fn ban_options(&self) -> bans::Options {
        bans::Options {
            protected: self.exempt(),
            ..bans::Options::default()
        }
    }

    /// Where events go. Reads the secrets that requests are signed with.
    ///
    /// # Errors
    /// A secret file cannot be used.
    pub fn event_options(&self) -> Result<Vec<sink::Options>, SecretFileError> {
        let sinks = self.events.sinks.iter().map(Sink::options);
        #[cfg(feature = "otlp")]
        let sinks = sinks.chain(self.otlp.iter().map(|otlp| Ok(otlp.options())));
        sinks.collect()
    }

    /// Backends and routes. Reads the master users' passwords.
    ///
    /// # Errors
    /// A password file cannot be used.
    pub fn backend_options(&self) -> Result<backend::Options, SecretFileError> {
        let each = |backend: &Backend| backend.options();
        let backends = self.backends.iter().map(each).collect::<Result<_, _>>()?;
        let mut routes = backend::Routes::default();
        for route in &self.routes {
            let to = route.backend.clone();
            match &route.who {
                RouteFor::User(user) => routes.users.push((user.clone(), to)),
                RouteFor::Domain(domain) => routes.domains.push((domain.clone(), to)),
                RouteFor::Sni(name) => routes.server_names.push((name.clone(), to)),
                RouteFor::Everyone => routes.default = Some(to),
            }
        }
        Ok(backend::Options { backends, routes })
    }
}

impl Backend {
    fn options(&self) -> Result<BackendOptions, SecretFileError> {
        let trust = match (&self.pin, &self.ca_file) {
            (Some(pin), _) => Trust::Pins(vec![*pin]),
            (None, Some(file)) => Trust::CaFiles(vec![file.clone()]),
            (None, None) => Trust::PublicAuthorities,
        };
        let tls = backend::TlsOptions {
            client: ClientOptions {
                trust,
                ..ClientOptions::default()
            },
            server_name: self.server_name.clone(),
        };
        Ok(BackendOptions {
            name: self.name.clone(),
            address: self.address.to_string(),
            tls: match self.tls {
                BackendTls::None => backend::Tls::None,
                BackendTls::StartTls => backend::Tls::StartTls(tls),
                BackendTls::Implicit => backend::Tls::Implicit(tls),
            },
            danger_plaintext: self.danger_plaintext,
            method: self.login,
            master: self.master()?,
            forward_id: self.forward_id,
            proxy_header: self.proxy_protocol,
            timeout: self.timeout,
            ..BackendOptions::default()
        })
    }

    fn master(&self) -> Result<Option<Master>, SecretFileError> {
        let Some(master) = &self.master else {
            return Ok(None);
        };
        let failed = |source| SecretFileError {
            file: master.password_file.clone(),
            source,
        };
        Ok(Some(Master {
            user: master.user.clone(),
            password: read_secret(&master.password_file).map_err(failed)?,
            style: match master.style {
                MasterStyle::Authzid => backend_login::MasterStyle::Authzid,
                MasterStyle::Separator => backend_login::MasterStyle::Separator(master.separator),
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::config::address::Endpoint;

    use super::*;

    fn bare() -> Config {
        Config::for_backend(Endpoint::parse("127.0.0.1:143").unwrap(), PathBuf::new())
    }

    /// Two places say what holds by default: the module's own, for its tests, and the configuration's, for the docs.
    #[test]
    fn the_defaults_are_those_of_the_modules() {
        let config = bare();
        assert_eq!(config.tls_options(), ServerOptions::default());
        assert_eq!(config.gate_options(), gate::Options::default());
        assert_eq!(config.connection_limits(), connections::Options::default());
        assert_eq!(config.session_limits(), sessions::Options::default());
        assert_eq!(config.attempt_limits(), attempts::Options::default());
        let (ours, theirs) = (config.relay_options(), relay::Options::default());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        let (ours, theirs) = (config.preauth_options(), preauth::Options::default());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        let (ours, theirs) = (config.backend_options().unwrap(), BackendOptions::default());
        assert_eq!(format!("{:?}", ours.backends), format!("{:?}", [theirs]));
    }

    #[test]
    fn all_who_may_connect_at_once_have_their_turn_in_time() {
        for (rate, seconds) in [(1, 60), (10, 60), (1_000, 300), (10, 5)] {
            let mut config = bare();
            config.limits.rate_per_network = rate;
            config.login.timeout = Duration::from_secs(seconds);
            let limits = config.attempt_limits();
            for (source, share) in [(&limits.prefix, 1), (&limits.site, SITE)] {
                let all = rate * share * BURST;
                assert!(source.known_spacing * all <= limits.patience, "{rate}, {share}");
                assert!(
                    source.app_password_spacing * all <= limits.patience / 10,
                    "{rate}, {share}"
                );
            }
        }
    }

    #[test]
    fn nobody_waits_for_a_turn_until_there_is_no_time_left_to_log_in() {
        for seconds in [5, 9, 60, 300] {
            let mut config = bare();
            config.login.timeout = Duration::from_secs(seconds);
            let limits = config.attempt_limits();
            assert!(limits.patience < limits.account_patience, "{seconds}");
            assert!(limits.account_patience <= config.login.timeout / 2, "{seconds}");
        }
    }

    #[test]
    fn a_trusted_proxy_is_never_limited_or_banned_itself() {
        let text = "networks: {lb: [192.0.2.1/32]}\nlimits: {exempt: [loopback]}\nbackends: [{address: '127.0.0.1:143'}]\n\
            listeners: [{address: '[::]:993', proxy_protocol_from: [lb]}]";
        let config = Config::parse("x", text, &PathBuf::new()).unwrap();
        for address in ["192.0.2.1", "127.0.0.1"] {
            let ip = address.parse().unwrap();
            assert!(
                config.ban_options().protected.contains(ip) && config.connection_limits().exempt.contains(ip)
            );
        }
        assert!(
            !config
                .ban_options()
                .protected
                .contains("192.0.2.2".parse().unwrap())
        );
    }
}
