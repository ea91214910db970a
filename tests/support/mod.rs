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

pub mod client;
pub mod dialog;
pub mod events;
pub mod memory;
pub mod program;
pub mod proxy;
pub mod scripted;

/// The raw bytes of a secret in base 32.
pub fn base32(text: &str) -> Vec<u8> {
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for c in text.bytes() {
        let five = match c {
            b'A'..=b'Z' => c - b'A',
            b'2'..=b'7' => c - b'2' + 26,
            _ => panic!("{text} is not base 32"),
        };
        bits = (bits << 5 | u32::from(five)) & 0xffff;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
        }
    }
    bytes
}
