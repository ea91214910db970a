//! The configuration: YAML text to typed values, every mistake reported at once with its place and a hint.
//!
//! Defaults live in one `impl Default` for each section; `docs/configuration.md` quotes them and a test compares. No key
//! holds a secret. What other modules need is made from these types in `into`; nothing below knows them.

pub mod address;
pub mod backend;
mod change;
pub mod events;
pub mod factor;
mod files;
mod geoip;
pub mod hardening;
mod into;
mod kind;
pub mod limits;
pub mod listener;
pub mod login;
mod mask;
mod node;
mod notes;
pub mod output;
pub mod places;
pub mod policy;
pub mod postgres;
mod problem;
pub mod receiver;
pub mod relay;
pub mod route;
pub mod rules;
mod section;
pub mod state;
mod suggest;
mod summary;
pub mod telemetry;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

use crate::config::address::Endpoint;
use crate::config::address::NetworkSets;
use crate::config::backend::Backend;
use crate::config::events::Events;
use crate::config::factor::SecondFactor;
use crate::config::files::Files;
use crate::config::hardening::Hardening;
use crate::config::limits::Limits;
use crate::config::listener::Listener;
use crate::config::listener::Tls;
use crate::config::login::Login;
use crate::config::mask::hide;
use crate::config::notes::At;
use crate::config::notes::Notes;
use crate::config::output::Drain;
use crate::config::output::Metrics;
use crate::config::policy::Rules;
use crate::config::problem::quoted;
use crate::config::relay::Relay;
use crate::config::route::Route;
use crate::config::section::Section;
use crate::config::state::State;
use crate::config::telemetry::Otlp;
use crate::net::geo;
use crate::policy::access::Lists;
use crate::telemetry::log;
use crate::types::UnixTime;

pub use change::Changes;
pub use files::SecretFileError;
pub use notes::KeyDoc;
pub use problem::ConfigProblems;
pub use problem::Problem;
pub use summary::Summary;

/// Everything an operator decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// TLS with clients.
    pub tls: Tls,
    /// The named sets of networks.
    pub networks: NetworkSets,
    /// Who may connect at all.
    pub access: Lists,
    /// Countries and network operators of addresses.
    pub geoip: geo::Options,
    /// The conversation before a login.
    pub login: Login,
    /// How much one network, one user and everybody may have.
    pub limits: Limits,
    /// Who needs a second factor, and what counts as one.
    pub second_factor: SecondFactor,
    /// Where mail lives.
    pub backends: Vec<Backend>,
    /// Whose mail lives where.
    pub routes: Vec<Route>,
    /// The relayed session.
    pub relay: Relay,
    /// What sessions are judged by.
    pub rules: Rules,
    /// What is kept on disk, and where.
    pub state: State,
    /// Security events.
    pub events: Events,
    /// Where traces go.
    pub otlp: Option<Otlp>,
    /// The log.
    pub log: log::Options,
    /// Metrics and probes.
    pub metrics: Metrics,
    /// The end of the program.
    pub drain: Drain,
    /// What the process gives up.
    pub hardening: Hardening,
}

/// What the readers of all sections share.
struct Context<'a> {
    /// What relative paths start at.
    base: &'a Path,
    sets: &'a NetworkSets,
    files: Files,
}

impl Config {
    /// Reads a configuration file, and looks at the files that it names; certificates must be valid `now`.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(path: &Path, now: UnixTime) -> Result<Self, ConfigProblems> {
        let name = path.display().to_string();
        let text = read_text(path).map_err(|problem| ConfigProblems::unreadable(&name, *problem))?;
        let base = path.parent().unwrap_or(Path::new(""));
        read(&name, &text, base, Files::Look(now)).map(|(config, _)| config)
    }

    /// Reads a configuration from text. Files that it names are not looked at; relative ones start at `base`.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn parse(name: &str, text: &str, base: &Path) -> Result<Self, ConfigProblems> {
        read(name, text, base, Files::Ignore).map(|(config, _)| config)
    }

    /// All keys that reading a text asks for, for the docs: only a text with an item in each list has them all.
    ///
    /// # Errors
    /// As `parse`.
    pub fn reference(name: &str, text: &str) -> Result<BTreeMap<String, KeyDoc>, ConfigProblems> {
        read(name, text, Path::new(""), Files::Ignore).map(|(_, keys)| keys)
    }

    /// The configuration without a file: one backend, everything else by default.
    #[must_use]
    pub fn for_backend(backend: Endpoint, data_directory: PathBuf) -> Self {
        Self {
            listeners: vec![Listener::default()],
            tls: Tls::default(),
            networks: NetworkSets::default(),
            access: Lists::default(),
            geoip: geo::Options::default(),
            login: Login::default(),
            limits: Limits::default(),
            second_factor: SecondFactor::default(),
            backends: vec![Backend::at(backend)],
            routes: Vec::new(),
            relay: Relay::default(),
            rules: Rules::default(),
            state: State::in_directory(data_directory),
            events: Events::default(),
            otlp: None,
            log: log::Options::default(),
            metrics: Metrics::default(),
            drain: Drain::default(),
            hardening: Hardening::default(),
        }
    }
}

/// The control socket that a configuration file names, whatever else is wrong with it. `None` where it cannot be read that far.
#[must_use]
pub fn control_socket(path: &Path) -> Option<PathBuf> {
    let text = read_text(path).ok()?;
    let tree = node::parse(&text).ok()?;
    let notes = Notes::default();
    let base = path.parent().unwrap_or(Path::new(""));
    let sets = NetworkSets::default();
    let cx = Context {
        base,
        sets: &sets,
        files: Files::Ignore,
    };
    let state = State::read(&mut Section::root(&notes, &tree), &cx);
    Some(state.control_socket())
}

fn read_text(path: &Path) -> Result<String, Box<Problem>> {
    let failed = |error: io::Error| {
        let problem = Problem::whole(
            "file_unreadable",
            format!("the configuration cannot be read: {error}"),
        );
        Box::new(match error.kind() {
            io::ErrorKind::NotFound => problem.help("`imapwarden serve --backend HOST:143` needs no file"),
            _ => problem,
        })
    };
    let file = File::open(path).map_err(failed)?;
    let limit = u64::try_from(node::MAX_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > node::MAX_BYTES {
        return Err(Problem::whole("file_too_large", "a configuration is at most 1MiB").boxed());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let message = format!("the configuration is not UTF-8: byte {valid}");
        Problem::whole("file_unreadable", message).boxed()
    })
}

/// Text to configuration: the one way, whatever the text comes from.
fn read(
    name: &str,
    text: &str,
    base: &Path,
    files: Files,
) -> Result<(Config, BTreeMap<String, KeyDoc>), ConfigProblems> {
    let tree = node::parse(text).map_err(|problem| ConfigProblems::new(name, text, vec![*problem]))?;
    let notes = Notes::default();
    let config = read_sections(Section::root(&notes, &tree), base, files);
    let (problems, keys) = notes.into_parts();
    if problems.is_empty() {
        Ok((config, keys))
    } else {
        Err(ConfigProblems::new(name, &hide(text, &tree.secrets()), problems))
    }
}

fn read_sections(mut root: Section<'_>, base: &Path, files: Files) -> Config {
    let networks = listener::read_networks(root.section("networks"));
    let cx = Context {
        base,
        sets: &networks,
        files,
    };
    let listeners = listener::read_listeners(&mut root, &cx);
    let tls = Tls::read(root.section("tls"), &cx);
    let mut access = root.section("access");
    let lists = listener::read_lists(&mut access, &cx);
    access.finish();
    let geoip = geoip::read(root.section("geoip"), &cx);
    let login = Login::read(root.section("login"));
    let limits = Limits::read(root.section("limits"), &cx);
    let second_factor = SecondFactor::read(root.section("second_factor"), &cx);
    let backends = backend::read(&mut root, &cx);
    let routes = route::read(&mut root, &backends);
    let relay = Relay::read(root.section("relay"));
    let rules = Rules::read(root.section("rules"), &cx);
    let state = State::read(&mut root, &cx);
    let events = Events::read(root.section("events"), &cx);
    let otlp = Otlp::read(root.section("telemetry"), &cx);
    let log = output::read_log(root.section("log"));
    let place = root.place("metrics");
    let metrics = Metrics::read(root.section("metrics"));
    let drain = Drain::read(root.section("drain"));
    let hardening = Hardening::read(root.section("hardening"));
    check_addresses(
        &root,
        &listeners,
        metrics.address.map(|value| At { value, span: place }),
    );
    root.finish();
    Config {
        listeners: listeners.into_iter().map(|listener| listener.value).collect(),
        tls,
        networks,
        access: lists,
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
    }
}

/// Two sockets cannot have one address; `[::]` takes IPv4 as well.
fn check_addresses(root: &Section<'_>, listeners: &[At<Listener>], metrics: Option<At<SocketAddr>>) {
    let mut taken: Vec<At<SocketAddr>> = Vec::new();
    let each = listeners.iter().map(|listener| At {
        value: listener.value.address,
        span: listener.span.clone(),
    });
    for address in each.chain(metrics) {
        if let Some(first) = taken.iter().find(|first| collide(first.value, address.value)) {
            let message = format!("{} is taken already", quoted(&address.value.to_string()));
            let problem = Problem::new("address_conflict", address.span.clone(), message);
            let problem = problem.beside(first.span.clone(), format!("by {}", first.value));
            root.problem(problem.help("choose another address or port; `[::]` includes all IPv4 addresses"));
        }
        taken.push(address);
    }
}

fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (a, b) = (plain(a), plain(b));
    // Port 0 is a new port each time.
    let same_port = a.port() == b.port() && a.port() != 0;
    let covers = |wide: SocketAddr, other: SocketAddr| {
        let all_of_both = wide.is_ipv6() && wide.ip().is_unspecified();
        wide.ip() == other.ip() || all_of_both || (wide.ip().is_unspecified() && other.is_ipv4())
    };
    same_port && (covers(a, b) || covers(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_has_the_default_that_an_empty_file_gives() {
        let file = Config::parse("x", "backends: [{address: '127.0.0.1:143'}]", Path::new("")).unwrap();
        let mut bare = Config::for_backend(Endpoint::parse("127.0.0.1:143").unwrap(), PathBuf::new());
        bare.state = State::default();
        assert_eq!(file, bare);
    }

    fn shown(text: &str) -> String {
        let wrong = Config::parse("x", text, Path::new("")).unwrap_err();
        wrong.render(100, false) + &wrong.to_string() + &wrong.to_json().to_string()
    }

    /// Where an operator writes a secret inline, in whatever form, no message may carry it.
    #[test]
    fn an_inline_secret_is_hidden_in_every_form_of_yaml() {
        let forms = [
            "password: hunter2",
            "password: \"x\n  hunter2\"",
            "api_token: x\n  hunter2",
            "? password\n: hunter2",
            "x: {password: [a, hunter2], b: c}",
            "x: {password:\nhunter2}",
            "passwords:\n- hunter2\n- {a: hunter2}",
        ];
        for form in forms {
            // The second text does not parse, and is gone through line by line.
            for text in [format!("{form}\n"), format!("{form}\nb: [\n")] {
                assert!(!shown(&text).contains("hunter2"), "{text}: {}", shown(&text));
            }
        }
        for form in ["a: &s hunter2\npassword: *s", "\"pass\\x77ord\": hunter2"] {
            assert!(!shown(form).contains("hunter2"), "{form}: {}", shown(form));
        }
    }

    #[test]
    fn addresses_collide_where_one_socket_takes_the_others_connections() {
        let collide = |a: &str, b: &str| collide(a.parse().unwrap(), b.parse().unwrap());
        assert!(collide("[::]:993", "0.0.0.0:993"));
        assert!(collide("127.0.0.1:993", "[::]:993"));
        assert!(collide("0.0.0.0:1", "10.0.0.1:1"));
        assert!(collide("[::ffff:10.0.0.1]:1", "10.0.0.1:1"));
        assert!(!collide("0.0.0.0:1", "[::1]:1"));
        assert!(!collide("10.0.0.2:1", "10.0.0.1:1"));
        assert!(!collide("[::]:1", "[::]:2"));
        assert!(!collide("[::]:0", "[::]:0"));
    }

    #[test]
    fn the_reader_survives_text_that_is_no_configuration() {
        for text in [
            "",
            "- a",
            "5",
            "a: [",
            "\u{feff}a: 1",
            "? {a: b}\n: c",
            "listeners: 5",
            "listeners: [5]",
            "networks: []",
            "networks: {a: b, [c]: d}",
            "backends: {a: b}",
            "\t",
            "---\n---\n",
            "*a",
            "!!x y",
        ] {
            assert!(Config::parse("x", text, Path::new("")).is_err(), "{text}");
        }
    }
}
