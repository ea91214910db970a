//! Commands and responses, framed like by a reader that takes the whole input at once.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| imapwarden_fuzz::checks::framer(data));
