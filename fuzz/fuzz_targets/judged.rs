//! A session judged by rules, with an old server behind it: what the server runs is what was judged.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imapwarden_fuzz::checks::judged(data));
