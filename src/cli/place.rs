//! Which configuration a command works with, and what it opens by it.

use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::auth::accounts::Accounts;
use crate::auth::key_ring::KeyRing;
use crate::cli::args::Global;
use crate::cli::error::CliError;
use crate::config::Config;
use crate::config::address::Endpoint;
use crate::config::state::State;
use crate::server;
use crate::store::Store;
use crate::types::UnixTime;

/// Where the configuration is unless somebody says otherwise.
const USUAL: &str = "/etc/imapwarden/imapwarden.yaml";

/// Where the configuration comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A file.
    File(PathBuf),
    /// No file: everything by default in one directory.
    Bare {
        /// The mail server; commands about users alone need none.
        backend: Option<Endpoint>,
        /// The directory.
        data: PathBuf,
    },
}

impl Place {
    /// What the arguments say, then the environment, then the usual file.
    pub(super) fn find(global: &Global, environment: Option<OsString>) -> Result<Self, CliError> {
        let bare = global.backend.is_some() || global.data.is_some();
        match (&global.config, bare) {
            (Some(_), true) => Err(CliError::Usage(
                "--config goes without --backend and --data: the file says both".to_owned(),
            )),
            (Some(file), false) => Ok(Self::File(file.clone())),
            (None, true) => Ok(Self::Bare {
                backend: global.backend.clone(),
                data: global
                    .data
                    .clone()
                    .unwrap_or_else(|| State::default().data_directory),
            }),
            (None, false) => match environment.filter(|file| !file.is_empty()) {
                Some(file) => Ok(Self::File(file.into())),
                None if Path::new(USUAL).exists() => Ok(Self::File(PathBuf::from(USUAL))),
                None => Err(CliError::NoConfig(format!(
                    "there is no {USUAL}; name a file with --config, or run without one: --backend HOST:143 --data DIR"
                ))),
            },
        }
    }

    /// No configuration: for commands that need none.
    pub(super) fn nowhere() -> Self {
        Self::Bare {
            backend: None,
            data: State::default().data_directory,
        }
    }

    /// The configuration in full.
    pub(super) fn config(&self, now: UnixTime) -> Result<Config, CliError> {
        match self {
            Self::File(file) => {
                Config::load(file, now).map_err(|problems| CliError::Config(Box::new(problems)))
            }
            Self::Bare {
                backend: Some(backend),
                data,
            } => Ok(Config::for_backend(backend.clone(), data.clone())),
            Self::Bare { backend: None, .. } => Err(CliError::Usage(
                "the mail server is not known; name it with --backend HOST:143".to_owned(),
            )),
        }
    }

    /// The configuration for commands that ask no backend.
    pub(super) fn config_without_backend(&self, now: UnixTime) -> Result<Config, CliError> {
        match self {
            Self::Bare { backend: None, data } => {
                // Nobody connects there; a configuration has a backend.
                let nowhere = Endpoint {
                    host: "localhost".to_owned(),
                    port: 143,
                };
                Ok(Config::for_backend(nowhere, data.clone()))
            }
            _ => self.config(now),
        }
    }
}

/// The store and the keys that belong to it.
pub(super) struct Opened {
    /// The store.
    pub(super) store: Arc<dyn Store>,
    /// Its keys.
    pub(super) ring: Arc<KeyRing>,
}

impl Opened {
    pub(super) async fn at(config: &Config) -> Result<Self, CliError> {
        let (store, ring) = Box::pin(server::open_store(config)).await?;
        Ok(Self { store, ring })
    }

    /// The operations on accounts.
    pub(super) fn accounts(&self) -> Accounts<'_> {
        Accounts::new(&*self.store, &self.ring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(config: Option<&str>, backend: Option<&str>, data: Option<&str>) -> Global {
        Global {
            config: config.map(PathBuf::from),
            backend: backend.map(|text| Endpoint::parse(text).unwrap()),
            data: data.map(PathBuf::from),
            json: false,
        }
    }

    #[test]
    fn arguments_win_over_the_environment() {
        let environment = || Some(OsString::from("/env"));
        let named = Place::find(&global(Some("/arg"), None, None), environment()).unwrap();
        assert_eq!(named, Place::File(PathBuf::from("/arg")));
        let bare = Place::find(&global(None, None, Some("/data")), environment()).unwrap();
        let expected = Place::Bare {
            backend: None,
            data: PathBuf::from("/data"),
        };
        assert_eq!(bare, expected);
        let from_environment = Place::find(&global(None, None, None), environment()).unwrap();
        assert_eq!(from_environment, Place::File(PathBuf::from("/env")));
    }

    #[test]
    fn a_file_and_arguments_that_replace_it_do_not_mix() {
        for global in [
            global(Some("/a"), Some("h:143"), None),
            global(Some("/a"), None, Some("/d")),
        ] {
            assert_eq!(Place::find(&global, None).unwrap_err().code(), 64);
        }
    }

    #[test]
    fn only_what_asks_a_backend_needs_one() {
        let place = Place::find(&global(None, None, Some("/data")), None).unwrap();
        assert_eq!(place.config(UnixTime(0)).unwrap_err().code(), 64);
        let config = place.config_without_backend(UnixTime(0)).unwrap();
        assert_eq!(config.state.data_directory, PathBuf::from("/data"));
    }
}
