//! Where a PostgreSQL store is: a URL without a password, read strictly. Between machines there is TLS, and TLS is verified.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;
use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_postgres::config::SslMode;
use tokio_postgres::config::TargetSessionAttrs;

use crate::types::Secret;

/// Where the database is, and as whom.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    config: Config,
    uses_tls: bool,
    is_local: bool,
}

/// What is wrong with a URL, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what}")]
pub struct AddressError {
    /// What is wrong. Repeats nothing of the URL that may be a secret.
    pub what: String,
    /// What to write instead.
    pub help: String,
    /// True where a password stands in the URL.
    pub is_secret: bool,
}

impl AddressError {
    fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            help: help.into(),
            is_secret: false,
        }
    }
}

/// What a URL looks like.
const EXAMPLE: &str = "write it like `postgres://imapwarden@db.example.org/imapwarden`";

impl Address {
    /// Reads `postgres://USER@HOST[:PORT]/DATABASE[?sslmode=…]`, several hosts with commas between them included.
    ///
    /// # Errors
    /// Says what is wrong and what to write.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let Some(rest) = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
        else {
            return Err(AddressError::new(
                "this is no URL of a PostgreSQL database",
                EXAMPLE,
            ));
        };
        let (rest, mode) = take_mode(rest)?;
        let config = Config::from_str(&format!("postgres://{rest}"));
        // The parser's words name a parameter, never its value.
        let mut config = config.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            AddressError::new(
                format!(
                    "the URL cannot be read: {}",
                    cause.unwrap_or_else(|| error.to_string())
                ),
                EXAMPLE,
            )
        })?;
        check(&config)?;
        let is_unix = config
            .get_hosts()
            .iter()
            .any(|host| matches!(host, Host::Unix(_)));
        let is_local = is_local(&config);
        let uses_tls = match mode {
            Mode::Required if is_unix => {
                return Err(AddressError::new(
                    "there is no TLS on a unix socket",
                    "leave `sslmode` out",
                ));
            }
            Mode::Required => true,
            Mode::Off => false,
            Mode::Usual => !is_local,
        };
        config.ssl_mode(if uses_tls {
            SslMode::Require
        } else {
            SslMode::Disable
        });
        if rest.contains("target_session_attrs")
            && config.get_target_session_attrs() != TargetSessionAttrs::ReadWrite
        {
            return Err(AddressError::new(
                "a server that takes no writes is no store: what was revoked could still be valid there",
                "leave `target_session_attrs` out",
            ));
        }
        // Of several hosts the one that takes writes.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_application_name().is_none() {
            config.application_name("imapwarden");
        }
        Ok(Self {
            config,
            uses_tls,
            is_local,
        })
    }

    /// The same for a URL that nobody else can read, which may hold the password: `postgres://USER:PASSWORD@HOST/DATABASE`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_with_password(url: &str) -> Result<(Self, Option<Secret>), AddressError> {
        let (url, password) = take_password(url)?;
        Ok((Self::parse(&url)?, password))
    }

    /// True where the connection is by TLS.
    #[must_use]
    pub fn uses_tls(&self) -> bool {
        self.uses_tls
    }

    /// True where bytes to it do not leave this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// For the driver.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }
}

/// Without anything secret: there is none in it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(at, host)| {
            let port = ports.get(at).or_else(|| ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) if name.contains(':') => format!("[{name}]:{port}"),
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => path.display().to_string(),
            }
        });
        let hosts: Vec<String> = hosts.collect();
        write!(
            f,
            "postgres://{}@{}/{}",
            self.config.get_user().unwrap_or_default(),
            hosts.join(","),
            self.config.get_dbname().unwrap_or_default()
        )
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What `sslmode` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Usual,
    Required,
    Off,
}

/// Takes `sslmode` out of a URL: its words mean more here than to the driver, and half measures nothing.
fn take_mode(rest: &str) -> Result<(String, Mode), AddressError> {
    let Some((place, query)) = rest.split_once('?') else {
        return Ok((rest.to_owned(), Mode::Usual));
    };
    let mut mode = Mode::Usual;
    let mut others = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", "require" | "verify-ca" | "verify-full")) => mode = Mode::Required,
            Some(("sslmode", "disable")) => mode = Mode::Off,
            Some(("sslmode", "allow" | "prefer")) => {
                return Err(AddressError::new(
                    "this `sslmode` goes in clear where somebody on the way says so",
                    "write `sslmode=verify-full`; without `sslmode` there is verified TLS to other machines",
                ));
            }
            Some(("sslmode", _)) => {
                return Err(AddressError::new(
                    "this is no `sslmode`",
                    "write `sslmode=verify-full` or `sslmode=disable`",
                ));
            }
            Some(("sslrootcert", _)) => {
                return Err(AddressError::new(
                    "authorities have a key of their own",
                    "write `ca_file: FILE` beside the URL",
                ));
            }
            _ => others.push(pair),
        }
    }
    let query = others.join("&");
    let rest = if query.is_empty() {
        place.to_owned()
    } else {
        format!("{place}?{query}")
    };
    Ok((rest, mode))
}

/// Takes the password out of a URL, so that the rest may be shown.
fn take_password(url: &str) -> Result<(String, Option<Secret>), AddressError> {
    let whole = || Ok((url.to_owned(), None));
    let Some((scheme, rest)) = url.split_once("://") else {
        return whole();
    };
    let Some((credentials, place)) = rest.split_once('@') else {
        return whole();
    };
    let Some((user, password)) = credentials.split_once(':') else {
        return whole();
    };
    let hosts = place.split(['/', '?']).next().unwrap_or_default();
    if password.contains(['/', '?']) || hosts.contains('@') {
        // Half of it would be taken for a host, and shown.
        return Err(AddressError::new(
            "the password in the URL cannot be told from the rest",
            "write `@` in it as `%40`, `/` as `%2F` and `?` as `%3F`",
        ));
    }
    // The driver's own reading of what is written with `%`.
    let alone = Config::from_str(&format!("postgres://:{password}@localhost"));
    let password = alone
        .ok()
        .and_then(|config| config.get_password().map(Secret::from));
    let password = password.filter(|password| !password.is_empty());
    Ok((format!("{scheme}://{user}@{place}"), password))
}

fn check(config: &Config) -> Result<(), AddressError> {
    if config.get_password().is_some() {
        return Err(AddressError {
            is_secret: true,
            ..AddressError::new(
                "a password does not belong into a URL",
                "write it into a file, and name that: `password_file: FILE`",
            )
        });
    }
    if config.get_hosts().is_empty() {
        return Err(AddressError::new("the URL has no host", EXAMPLE));
    }
    if config.get_user().is_none_or(str::is_empty) {
        return Err(AddressError::new("the URL has no user", EXAMPLE));
    }
    if config.get_dbname().is_none_or(str::is_empty) {
        return Err(AddressError::new("the URL has no database", EXAMPLE));
    }
    Ok(())
}

fn is_local(config: &Config) -> bool {
    let by_name = config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .parse::<IpAddr>()
                    .is_ok_and(|ip| ip.to_canonical().is_loopback())
        }
    });
    // An address that is given beside the name is where it really goes.
    by_name
        && config
            .get_hostaddrs()
            .iter()
            .all(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_machines_there_is_tls_unless_somebody_says_otherwise() {
        for (url, tls, local) in [
            ("postgres://u@db.example.org/d", true, false),
            ("postgresql://u@10.0.0.1:6432/d", true, false),
            (
                "postgres://u@a,b:5433/d?target_session_attrs=read-write",
                true,
                false,
            ),
            ("postgres://u@db/d?sslmode=verify-full", true, false),
            ("postgres://u@db/d?sslmode=disable", false, false),
            ("postgres://u@127.0.0.1/d", false, true),
            ("postgres://u@[::1]/d", false, true),
            ("postgres://u@localhost/d?sslmode=require", true, true),
            ("postgres://u@127.0.0.1,db/d", true, false),
            ("postgres://u@localhost/d?hostaddr=10.0.0.1", true, false),
            ("postgres://u@%2Frun%2Fpostgresql/d", false, true),
            ("postgres:///d?host=/run/postgresql&user=u", false, true),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!((address.uses_tls(), address.is_local()), (tls, local), "{url}");
            let wanted = if tls { SslMode::Require } else { SslMode::Disable };
            assert_eq!(address.config().get_ssl_mode(), wanted, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_repeating_a_secret() {
        for (url, what) in [
            ("mysql://u@h/d", "no URL of a PostgreSQL"),
            ("postgres://u:hunter2@h/d", "password does not belong"),
            ("postgres://u@h/d?password=hunter2", "password does not belong"),
            ("postgres://h/d", "no user"),
            ("postgres://u@h", "no database"),
            ("postgres://u@/d", "no host"),
            ("postgres://u@h/d?sslmode=prefer", "in clear"),
            ("postgres://u@h/d?sslmode=yes", "no `sslmode`"),
            ("postgres://u@h/d?sslrootcert=x", "key of their own"),
            ("postgres://u@h/d?hunter2=hunter2", "cannot be read"),
            ("postgres://u@%2Frun/d?sslmode=require", "unix socket"),
        ] {
            let wrong = Address::parse(url).unwrap_err();
            assert!(wrong.what.contains(what), "{url}: {wrong:?}");
            assert_eq!(wrong.is_secret, what.contains("password"), "{url}");
        }
        let wrong = Address::parse("postgres://u:hunter2@h/d").unwrap_err();
        assert!(!format!("{wrong:?}").contains("hunter2"));
    }

    #[test]
    fn a_password_is_taken_out_of_a_url_before_anything_of_it_can_be_shown() {
        for (url, shown, password) in [
            (
                "postgresql://u:hunter2@db:5433/d",
                "postgres://u@db:5433/d",
                Some("hunter2"),
            ),
            (
                "postgres://u:a%40b%2Fc%3A@db/d?sslmode=require",
                "postgres://u@db:5432/d",
                Some("a@b/c:"),
            ),
            ("postgres://u:a:b@db/d", "postgres://u@db:5432/d", Some("a:b")),
            ("postgres://u:@db/d", "postgres://u@db:5432/d", None),
            ("postgres://u@db/d", "postgres://u@db:5432/d", None),
            (
                "postgres:///d?host=/run/postgresql&user=u",
                "postgres://u@/run/postgresql/d",
                None,
            ),
        ] {
            let (address, found) = Address::parse_with_password(url).unwrap();
            assert_eq!(address.to_string(), shown, "{url}");
            assert_eq!(found, password.map(Secret::from), "{url}");
            assert_eq!(address.config().get_password(), None, "{url}");
        }
        for url in [
            "postgres://u:hun@ter2@db/d",
            "postgres://u:hun/ter2@db/d",
            "postgres://u:hun?ter2@db/d",
            "postgres://u@db/d?password=hunter2",
            "mysql://u:hunter2@db/d",
        ] {
            let wrong = Address::parse_with_password(url).unwrap_err();
            assert!(!format!("{wrong:?}").contains("ter2"), "{wrong:?}");
        }
    }

    #[test]
    fn it_is_shown_as_it_was_written() {
        for url in [
            "postgres://u@db:5432/d",
            "postgres://u@a:1,b:2/d",
            "postgres://u@[::1]:5432/d",
        ] {
            assert_eq!(Address::parse(url).unwrap().to_string(), url);
        }
    }
}
