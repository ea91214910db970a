//! How the engine works, and what the driver and the server are told of it.

use std::time::Duration;

use tokio_postgres::config::TargetSessionAttrs;

use crate::net::tls;
use crate::store::postgres::address::Address;
use crate::types::Secret;

/// How the engine works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the database is.
    pub address: Address,
    /// The database user's password, where one is asked for.
    pub password: Option<Secret>,
    /// TLS with the server; needed where the address uses it.
    pub tls: Option<tls::Client>,
    /// How many connections there are at most, besides the one that listens.
    pub connections: usize,
    /// How long a caller waits for a connection.
    pub wait: Duration,
    /// How long a caller waits for an answer on it.
    pub deadline: Duration,
    /// Nothing is ever written, not even a newer schema.
    pub looks_only: bool,
    /// How long notes wait to be written together.
    pub flush_every: Duration,
}

impl Options {
    /// Everything but the address by default.
    #[must_use]
    pub fn at(address: Address) -> Self {
        Self {
            address,
            password: None,
            tls: None,
            connections: 10,
            wait: Duration::from_secs(3),
            deadline: Duration::from_secs(4),
            looks_only: false,
            flush_every: Duration::from_secs(2),
        }
    }

    /// For the driver.
    pub(super) fn config(&self) -> tokio_postgres::Config {
        let mut config = self.address.config().clone();
        if self.looks_only {
            config.target_session_attrs(TargetSessionAttrs::Any);
        }
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        // The server gives up a little before we do, so that the connection stays of use. A frozen process of ours holds no
        // lock for long. A code that was consumed stays so after a crash, whatever the server's default.
        let server = self.deadline.saturating_mul(3) / 4;
        let limits = format!(
            "-c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout={} -c synchronous_commit=on",
            server.as_millis(),
            (server / 2).as_millis(),
            self.deadline.as_millis(),
        );
        let access = if self.looks_only {
            " -c default_transaction_read_only=on"
        } else {
            ""
        };
        let theirs = config.get_options().unwrap_or_default().to_owned();
        config
            .options(format!("{theirs} {limits}{access}").trim_start())
            .connect_timeout(self.wait)
            .tcp_user_timeout(self.deadline.saturating_mul(2))
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        config
    }
}
