//! A login at a backend that says anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imapwarden_fuzz::checks::backend_login(data));
