//! The IMAP language: bytes to meaning and back. Pure and incremental; nothing here knows about sockets or sessions.

pub mod collect;
pub mod literal;
