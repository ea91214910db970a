//! How much of a client's command there may be.

/// How much of one command is collected: bytes, and literals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// All line parts of the command together, CRLFs included.
    pub line: usize,
    /// One literal.
    pub literal: u32,
    /// All literals together.
    pub literals: usize,
    /// How many literals: each of them has somebody look at the command.
    pub literal_count: u32,
    /// Everything that is kept.
    pub command: usize,
}
