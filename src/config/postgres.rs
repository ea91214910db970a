//! The store in PostgreSQL: `store.url` and what goes with it.

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::path::PathBuf;

use crate::config::Config;
use crate::config::Context;
use crate::config::files;
use crate::config::files::Files;
use crate::config::files::SecretFileError;
use crate::config::files::read_secret;
use crate::config::kind;
use crate::config::kind::Kind;
use crate::config::kind::Wrong;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::net::tls::ClientOptions;
use crate::net::tls::Trust;
use crate::store::postgres::address::Address;
use crate::store::postgres::address::AddressError;
use crate::types::Secret;

/// Connections that may be open at once.
const CONNECTIONS: RangeInclusive<u16> = 2..=100;

/// A store that several replicas share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// Where it is.
    pub address: Address,
    /// The file that says so, and may say the password as well.
    pub url_file: Option<PathBuf>,
    /// The file with the database user's password.
    pub password_file: Option<PathBuf>,
    /// Authorities for its certificate; `None` is those of the public web.
    pub ca_file: Option<PathBuf>,
    /// How many connections there are at most, besides the one that listens.
    pub connections: u16,
}

impl Postgres {
    /// One at an address, everything else by default.
    #[must_use]
    pub fn at(address: Address) -> Self {
        Self {
            address,
            url_file: None,
            password_file: None,
            ca_file: None,
            connections: 10,
        }
    }

    /// Reads the keys of `store` that are about it; `None` where there is no URL, or it stands in a file that is not looked at.
    pub(super) fn read(store: &mut Section<'_>, cx: &Context<'_>) -> Option<Self> {
        let address = store.optional("url", &address(), "none: SQLite");
        let url_file = store.optional("url_file", &kind::path(cx.base), "none: SQLite");
        let found = url_file.as_deref().and_then(|file| look_into(store, file, cx));
        let password_file = store.optional("password_file", &kind::path(cx.base), "none");
        if let Some(file) = &password_file {
            files::check_secret(store, "password_file", file, cx);
        }
        let ca_file = store.optional("ca_file", &kind::path(cx.base), "public authorities");
        if let Some(file) = &ca_file {
            files::check_authorities(store, store.place("ca_file"), file, cx);
        }
        let danger = store.value("danger_plaintext", &kind::boolean(), false);
        let connections = store.value("connections", &kind::number(CONNECTIONS), 10);
        check_neighbours(store);
        if let Some((_, Some(_))) = &found {
            let when = "beside the password in `url_file`";
            no_effect(store, "password_file", when, "keep one of the two");
        }
        let read = Self {
            address: address.or(found.map(|(address, _)| address))?,
            url_file,
            password_file,
            ca_file,
            connections,
        };
        read.check_protection(store, danger);
        Some(read)
    }

    fn check_protection(&self, store: &Section<'_>, danger: bool) {
        let in_clear = !self.address.uses_tls() && !self.address.is_local();
        let url = if store.has("url") { "url" } else { "url_file" };
        if in_clear && !danger {
            let message = "all that the store holds would go to another machine in clear";
            let problem = Problem::new("plaintext_store", store.place(url), message);
            store.problem(problem.help(
                "leave `sslmode` out, or write `sslmode=verify-full`; if the way there is protected otherwise, add \
                 `danger_plaintext: true`",
            ));
        }
        if danger && !in_clear {
            let when = "where nothing goes to another machine in clear";
            no_effect(store, "danger_plaintext", when, "leave it out");
        }
        if !self.address.uses_tls() {
            let help = "add `sslmode=verify-full` to the URL, or leave it out";
            no_effect(store, "ca_file", "without TLS", help);
        }
    }

    /// The password.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn password(&self) -> Result<Option<Secret>, SecretFileError> {
        if let Some(file) = &self.url_file {
            let (_, password) = read_url(file).map_err(|source| SecretFileError {
                file: file.clone(),
                source,
            })?;
            if password.is_some() {
                return Ok(password);
            }
        }
        let Some(file) = &self.password_file else {
            return Ok(None);
        };
        match read_secret(file) {
            Ok(secret) => Ok(Some(secret)),
            Err(source) => Err(SecretFileError {
                file: file.clone(),
                source,
            }),
        }
    }

    /// Why the server is believed to be the one we want; `None` where there is no TLS.
    #[must_use]
    pub fn tls(&self) -> Option<ClientOptions> {
        let trust = self.ca_file.as_ref().map_or(Trust::PublicAuthorities, |file| {
            Trust::CaFiles(vec![file.clone()])
        });
        self.address.uses_tls().then(|| ClientOptions {
            trust,
            ..ClientOptions::default()
        })
    }
}

impl Config {
    /// What the store is called for people.
    #[must_use]
    pub fn store_name(&self) -> String {
        match self.state.postgres() {
            Some(postgres) => postgres.address.to_string(),
            None => self.state.store().display().to_string(),
        }
    }
}

/// What stands beside what it needs, and beside what it contradicts.
fn check_neighbours(store: &Section<'_>) {
    let urls = ["url", "url_file"];
    let given: Vec<_> = urls.into_iter().filter(|key| store.has(key)).collect();
    match given.as_slice() {
        [] => {
            for key in ["password_file", "ca_file", "danger_plaintext", "connections"] {
                let help = "add `url: postgres://…`, or leave it out";
                no_effect(store, key, "without `url`", help);
            }
        }
        [url] => {
            let (when, help) = (
                format!("beside `{url}`"),
                format!("keep one of `path` and `{url}`"),
            );
            no_effect(store, "path", &when, &help);
        }
        _ => no_effect(
            store,
            "url_file",
            "beside `url`",
            "keep one of `url` and `url_file`",
        ),
    }
}

/// What a file says of where the database is.
fn look_into(store: &Section<'_>, file: &Path, cx: &Context<'_>) -> Option<(Address, Option<Secret>)> {
    files::check_secret(store, "url_file", file, cx);
    if cx.files == Files::Ignore {
        return None;
    }
    // What cannot be read has been told.
    let line = read_secret(file).ok()?;
    match parse_url(&line) {
        Ok(found) => Some(found),
        Err(wrong) => {
            let message = format!("{}: {wrong}", file.display());
            let problem = Problem::new("file_unusable", store.place("url_file"), message);
            store.problem(problem.help(wrong.help));
            None
        }
    }
}

fn read_url(file: &Path) -> io::Result<(Address, Option<Secret>)> {
    let line = read_secret(file)?;
    parse_url(&line).map_err(|wrong| io::Error::new(io::ErrorKind::InvalidData, wrong))
}

fn parse_url(line: &Secret) -> Result<(Address, Option<Secret>), AddressError> {
    // What is no text is no URL either.
    Address::parse_with_password(std::str::from_utf8(line.expose()).unwrap_or_default())
}

fn no_effect(store: &Section<'_>, key: &str, when: &str, help: &str) {
    if store.has(key) {
        let message = format!("`{key}` has no effect {when}");
        let problem = Problem::new("no_effect", store.place(key), message);
        store.problem(problem.help(help));
    }
}

fn address() -> Kind<'static, Address> {
    Kind::new(
        "URL `postgres://USER@HOST/DATABASE`",
        Address::to_string,
        |text| {
            Address::parse(text).map_err(|wrong| {
                let code = if wrong.is_secret {
                    "inline_secret"
                } else {
                    "invalid_value"
                };
                Wrong::new(code, wrong.what).help(wrong.help)
            })
        },
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::types::UnixTime;

    #[test]
    fn a_url_in_a_file_may_hold_the_password_which_is_no_part_of_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let (url, config) = (dir.path().join("url"), dir.path().join("imapwarden.yaml"));
        fs::write(
            &config,
            "backends: [{address: '127.0.0.1:143'}]\nstore: {url_file: url}\n",
        )
        .unwrap();
        let load = |text: &str| {
            fs::write(&url, text).unwrap();
            fs::set_permissions(&url, fs::Permissions::from_mode(0o440)).unwrap();
            let loaded = Config::load(&config, UnixTime(1_800_000_000));
            // Root may write it again, nobody else.
            fs::set_permissions(&url, fs::Permissions::from_mode(0o640)).unwrap();
            loaded
        };
        let first = load("postgresql://app:hunter2@db.mail.svc:5432/app\n").unwrap();
        let postgres = first.state.postgres().unwrap();
        assert_eq!(postgres.password().unwrap(), Some(Secret::from("hunter2")));
        assert!(!format!("{postgres:?}").contains("hunter2"));
        assert_eq!(first.store_name(), "postgres://app@db.mail.svc:5432/app");
        assert_eq!(first.paths().read.iter().collect::<Vec<_>>(), [&url]);
        let rotated = load("postgresql://app:hunter3@db.mail.svc:5432/app\n").unwrap();
        assert_eq!(
            first.changes(&rotated).restart,
            Vec::<&str>::new(),
            "a new password stops no reload"
        );
        let moved = load("postgresql://app:hunter3@db2.mail.svc:5432/app\n").unwrap();
        assert_eq!(first.changes(&moved).restart, ["store"]);
        let wrong = load("postgresql://app:hunter2@db/app?sslmode=prefer\n").unwrap_err();
        let shown = wrong.render(100, false);
        assert!(
            shown.contains("in clear") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
