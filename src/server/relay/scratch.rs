//! Buffers that belong to the thread, not to the session: a session that waits holds none.

use std::cell::RefCell;

use crate::session::relay::Output;

/// How much is read at once. Larger reads cost less CPU per byte, up to the size of the second-level cache.
pub(super) const CHUNK: usize = 64 * 1024;

thread_local! {
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
}

/// What one step reads into and writes from.
pub(super) struct Scratch {
    pub(super) input: Box<[u8]>,
    pub(super) output: Output,
}

impl Scratch {
    fn new() -> Self {
        Self {
            input: vec![0; CHUNK].into_boxed_slice(),
            output: Output::default(),
        }
    }
}
