//! The store in PostgreSQL: `store.url` and what goes with it.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::config::Config;
use crate::config::Context;
use crate::config::files;
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
use crate::types::Secret;

/// Connections that may be open at once.
const CONNECTIONS: RangeInclusive<u16> = 2..=100;

/// A store that several replicas share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// Where it is.
    pub address: Address,
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
            password_file: None,
            ca_file: None,
            connections: 10,
        }
    }

    /// Reads the keys of `store` that are about it; `None` where there is no URL.
    pub(super) fn read(store: &mut Section<'_>, cx: &Context<'_>) -> Option<Self> {
        let address = store.optional("url", &address(), "none: SQLite");
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
        if !store.has("url") {
            for key in ["password_file", "ca_file", "danger_plaintext", "connections"] {
                no_effect(
                    store,
                    key,
                    "without `url`",
                    "add `url: postgres://…`, or leave it out",
                );
            }
        } else if store.has("path") {
            no_effect(store, "path", "beside `url`", "keep one of `path` and `url`");
        }
        let read = Self {
            address: address?,
            password_file,
            ca_file,
            connections,
        };
        read.check_protection(store, danger);
        Some(read)
    }

    fn check_protection(&self, store: &Section<'_>, danger: bool) {
        let in_clear = !self.address.uses_tls() && !self.address.is_local();
        if in_clear && !danger {
            let message = "all that the store holds would go to another machine in clear";
            let problem = Problem::new("plaintext_store", store.place("url"), message);
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
