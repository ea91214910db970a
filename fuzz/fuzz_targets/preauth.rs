//! A conversation before login, the same wherever it is cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imapwarden_fuzz::checks::preauth(data));
