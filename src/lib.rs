//! imapwarden: a TLS-terminating, protocol-aware IMAP security proxy.
//!
//! The floors, from the ground up (`docs/architecture.md`):
//! `types` < `imap`, `sasl`, `policy` < `session` < `net`, `auth`, `store`, `limits`, `telemetry`, `backend` < `config`,
//! `server`, `cli`. A module imports only from floors below it; `tests/architecture.rs` decides.

pub mod auth;
pub mod backend;
pub mod cli;
pub mod config;
pub mod imap;
pub mod limits;
pub mod net;
pub mod policy;
pub mod sasl;
pub mod server;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod types;
