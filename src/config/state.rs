//! What is kept on disk, and where: `data_directory`, `store`, `key_file`, `control_socket`.

use std::path::PathBuf;

use crate::config::Context;
use crate::config::kind;
use crate::config::postgres::Postgres;
use crate::config::section::Section;

/// Paths; each may be set, and all others are in the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Where everything is that has no path of its own.
    pub data_directory: PathBuf,
    store: Option<PathBuf>,
    postgres: Option<Postgres>,
    key_file: Option<PathBuf>,
    control_socket: Option<PathBuf>,
}

impl Default for State {
    fn default() -> Self {
        Self::in_directory(PathBuf::from("/var/lib/imapwarden"))
    }
}

impl State {
    /// Everything in one directory.
    #[must_use]
    pub fn in_directory(data_directory: PathBuf) -> Self {
        Self {
            data_directory,
            store: None,
            postgres: None,
            key_file: None,
            control_socket: None,
        }
    }

    pub(super) fn read(root: &mut Section<'_>, cx: &Context<'_>) -> Self {
        let path = kind::path(cx.base);
        let data_directory = root.value("data_directory", &path, Self::default().data_directory);
        let mut store = root.section("store");
        let store_path = store.optional("path", &path, "DATA_DIRECTORY/imapwarden.db");
        let postgres = Postgres::read(&mut store, cx);
        store.finish();
        Self {
            data_directory,
            store: store_path,
            postgres,
            key_file: root.optional("key_file", &path, "DATA_DIRECTORY/imapwarden.key"),
            control_socket: root.optional("control_socket", &path, "DATA_DIRECTORY/control.sock"),
        }
    }

    /// The PostgreSQL store, where that is the one.
    #[must_use]
    pub fn postgres(&self) -> Option<&Postgres> {
        self.postgres.as_ref()
    }

    /// The SQLite file, where the store is one.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.path(self.store.as_ref(), "imapwarden.db")
    }

    /// The key that TOTP secrets are sealed under; made on first start.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.path(self.key_file.as_ref(), "imapwarden.key")
    }

    /// True where the operator says where the key is.
    #[must_use]
    pub fn has_own_key_file(&self) -> bool {
        self.key_file.is_some()
    }

    /// The unix socket of the running daemon.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.path(self.control_socket.as_ref(), "control.sock")
    }

    fn path(&self, set: Option<&PathBuf>, usual: &str) -> PathBuf {
        set.cloned().unwrap_or_else(|| self.data_directory.join(usual))
    }
}
