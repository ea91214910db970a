//! imapwarden.
fn main() {}
