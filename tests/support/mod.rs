//! What integration tests share: backends that play along and backends that do not, and a client to talk with. No product
//! code.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::missing_docs_in_private_items,
    missing_docs,
    reason = "shared by several tests, each of which uses a part; a fault here must fail the test"
)]

pub mod base32;
pub mod checks;
pub mod client;
pub mod crowd;
pub mod dialog;
pub mod events;
pub mod memory;
pub mod postgres;
pub mod program;
pub mod proxy;
pub mod receivers;
pub mod replicas;
pub mod scripted;
