//! What an operator can set for sessions after login.

use crate::imap::collect::Bounds;

/// The bounds and permissions of a relayed session.
#[derive(Debug, Clone)]
pub struct Options {
    /// How much of a command is held; the literals of messages are streamed and do not count.
    pub command: Bounds,
    /// Largest message that a client may append, in bytes.
    pub max_message: u32,
    /// Most commands on their way to the backend at once; further ones wait in the client's socket.
    pub max_in_flight: usize,
    /// Longest line of a data response, in bytes.
    pub max_response_line: usize,
    /// Most commands in a row that we answer ourselves, before the session ends.
    pub max_bad_commands: u32,
    /// Verbs beyond the command table, in upper case.
    pub extra_verbs: Vec<Box<[u8]>>,
    /// Capabilities beyond the known ones, in upper case.
    pub extra_capabilities: Vec<Box<[u8]>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            command: Bounds {
                line: 64 * 1024,
                literal: 64 * 1024,
                literals: 64 * 1024,
                literal_count: 64,
                command: 64 * 1024,
            },
            max_message: 256 * 1024 * 1024,
            max_in_flight: 256,
            max_response_line: 32 * 1024 * 1024,
            max_bad_commands: 100,
            extra_verbs: Vec::new(),
            extra_capabilities: Vec::new(),
        }
    }
}
