//! The IMAP language: bytes to meaning and back. Pure and incremental; nothing here knows about sockets or sessions.

mod arguments;
mod bounds;
pub mod capability;
pub mod codec;
pub mod collect;
pub mod command;
mod date;
pub mod facts;
pub mod fetch;
pub mod form;
pub mod lexer;
mod line;
pub mod literal;
pub mod mailbox;
pub mod mailboxes;
pub mod notices;
pub mod response;
pub mod search;
pub mod set;
mod shown;
pub mod store;
mod subject;
pub mod tally;
pub mod terms;
pub mod verb;
