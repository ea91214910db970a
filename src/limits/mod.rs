//! How much one source, one account and one user may have: connections, sessions, guesses; and who is banned.
//!
//! Sources are prefixes (IPv4 /32, IPv6 /64, then /48), never whole IPv6 addresses. Time is an argument. Everything here
//! lives in memory and is bounded: a flood of addresses makes counters coarser, never the process larger, and never locks
//! out who is known.

pub mod admission;
pub mod attempts;
pub mod bans;
mod bounded;
pub mod budgets;
pub mod connections;
mod rate;
pub mod sessions;
mod tick;

pub use rate::Rate;
