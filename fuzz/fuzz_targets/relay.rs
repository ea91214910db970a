//! A relayed session: both sides say anything; and backends run what was judged, and nothing else.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imapwarden_fuzz::checks::relay(data));
