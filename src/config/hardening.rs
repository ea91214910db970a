//! What the process gives up once its addresses are bound: `hardening`.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use crate::config::Config;
use crate::config::backend::Backend;
use crate::config::events::Sink;
use crate::config::kind;
use crate::config::kind::Kind;
use crate::config::kind::Wrong;
use crate::config::kind::word_of;
use crate::config::postgres::Postgres;
use crate::config::problem::Problem;
use crate::config::section::Section;

/// Longest name of a user or group, as `useradd` has it.
const MAX_NAME: usize = 32;

/// What happens where the kernel cannot do what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Enforce {
    /// As much as it can; the log says what is missing.
    #[default]
    BestEffort,
    /// No start.
    Required,
    /// Nothing is asked.
    Off,
}

const ENFORCE: &[(&str, Enforce)] = &[
    ("best_effort", Enforce::BestEffort),
    ("required", Enforce::Required),
    ("off", Enforce::Off),
];

/// What is given up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hardening {
    /// Whom root becomes. Whoever starts as somebody else stays who they are.
    pub user: Option<String>,
    /// The group; otherwise the user's own.
    pub group: Option<String>,
    /// Files besides those that the configuration names, and addresses to listen on.
    pub landlock: Enforce,
    /// System calls that a proxy has no use for.
    pub seccomp: Enforce,
}

impl Hardening {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let name = || Kind::new("name", |name: &String| name.clone(), account);
        let enforce = || kind::word(ENFORCE, |enforce| word_of(ENFORCE, enforce));
        let read = Self {
            user: section.optional("user", &name(), "none"),
            group: section.optional("group", &name(), "the user's own"),
            landlock: section.value("landlock", &enforce(), Enforce::default()),
            seccomp: section.value("seccomp", &enforce(), Enforce::default()),
        };
        if read.group.is_some() && read.user.is_none() {
            let message = "`group` without `user` changes nothing";
            let problem = Problem::new("missing_key", section.place("group"), message);
            section.problem(problem.help("name the user to become as well"));
        }
        if read.user.as_deref() == Some("root") {
            let message = "root gives nothing up by becoming root";
            let problem = Problem::new("invalid_value", section.place("user"), message);
            section.problem(problem.help("name a user without rights, or leave the key out"));
        }
        section.finish();
        read
    }
}

fn account(text: &str) -> Result<String, Wrong> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if text.is_empty() || text.len() > MAX_NAME || !text.chars().all(fits) {
        return Err(Wrong::invalid("this is no name of a user or group"));
    }
    Ok(text.to_owned())
}

/// The files that the process works with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paths {
    /// Files and directories that are read.
    pub read: BTreeSet<PathBuf>,
    /// Directories that are written.
    pub write: BTreeSet<PathBuf>,
}

impl Config {
    /// What the configuration names.
    #[must_use]
    pub fn paths(&self) -> Paths {
        let mut paths = Paths::default();
        let certificates = self.tls.certificates.iter();
        let certificates = certificates.flat_map(|pair| [&pair.certificate, &pair.key]);
        let authorities = self.tls.ca_files.iter().chain(&self.tls.crl_files);
        let databases = self.geoip.country_file.iter().chain(&self.geoip.asn_file);
        let of_backend = |backend: &Backend| {
            let master = backend.master.as_ref();
            let password = master.map(|master| master.password_file.clone());
            backend.ca_file.clone().into_iter().chain(password)
        };
        paths.read.extend(certificates.cloned());
        paths.read.extend(authorities.cloned());
        paths.read.extend(databases.cloned());
        paths.read.extend(self.backends.iter().flat_map(of_backend));
        paths.read.extend(self.rules.files.iter().cloned());
        let state = &self.state;
        let postgres = state.postgres().into_iter();
        let of_postgres = |settings: &Postgres| {
            let Postgres {
                url_file,
                password_file,
                ca_file,
                ..
            } = settings.clone();
            [url_file, password_file, ca_file]
        };
        paths.read.extend(postgres.flat_map(of_postgres).flatten());
        let sinks = &self.events.sinks;
        paths.read.extend(sinks.iter().flat_map(Sink::reads));
        paths
            .read
            .extend(self.otlp.iter().filter_map(|otlp| otlp.ca_file.clone()));
        let in_them = [state.store(), state.key_file(), state.control_socket()];
        let written = sinks.iter().filter_map(Sink::file);
        let in_them = in_them.iter().map(PathBuf::as_path).chain(written);
        paths
            .write
            .extend(in_them.filter_map(|file| file.parent().map(Path::to_owned)));
        paths.write.insert(state.data_directory.clone());
        paths
    }
}
