//! How the embedded engine works.

use std::time::Duration;

/// How the engine works; the defaults suit one machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long SQLite waits for another process to finish its write.
    pub busy_timeout: Duration,
    /// How long a caller waits for any answer.
    pub deadline: Duration,
    /// How many questions may wait for the writer, and for the readers.
    pub queue: usize,
    /// How often commits of other processes are looked for.
    pub poll: Duration,
    /// How long notes wait to be written together.
    pub flush_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(3),
            deadline: Duration::from_secs(8),
            queue: 1024,
            poll: Duration::from_millis(400),
            flush_every: Duration::from_secs(2),
        }
    }
}
