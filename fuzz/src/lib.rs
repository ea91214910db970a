//! The pure floors of imapwarden and the checks of its property tests, compiled on their own: without sockets, TLS and SQL a
//! fuzzer builds in half a minute, and watches only the code that it is to explore.

extern crate self as imapwarden;

#[path = "../../tests/support/checks/mod.rs"]
pub mod checks;
#[path = "../../src/imap/mod.rs"]
pub mod imap;
#[path = "../../src/policy/mod.rs"]
pub mod policy;
#[path = "../../src/sasl/mod.rs"]
pub mod sasl;
#[path = "../../src/session/mod.rs"]
pub mod session;
#[path = "../../src/types/mod.rs"]
pub mod types;
