//! Buffers that belong to the thread: a session that waits holds none of them.

use std::cell::RefCell;
use std::io::IoSlice;

use crate::net::tls::engine::RECORD;
use crate::net::tls::engine::RECORD_OVERHEAD;

/// How much is read or sealed at once. Larger steps cost less CPU per byte, up to the size of the second-level cache; what a
/// slow reader makes us hold grows with them.
pub(super) const BATCH: usize = 64 * 1024;

/// The longest incomplete piece that can stand before what is read: a hand-shake message (rustls takes 64 KiB) and its records.
const LEFT_OVER: usize = 72 * 1024;

thread_local! {
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
}

pub(super) struct Scratch {
    /// What came from a peer, still sealed.
    pub(super) incoming: Box<[u8]>,
    /// What goes to a peer, sealed.
    pub(super) outgoing: Box<[u8]>,
    /// Pieces that are sealed together.
    pub(super) gathered: Vec<u8>,
}

impl Scratch {
    fn new() -> Self {
        let records = BATCH.div_ceil(RECORD) + 1;
        Self {
            incoming: vec![0; LEFT_OVER + BATCH].into_boxed_slice(),
            outgoing: vec![0; 2 * BATCH + records * RECORD_OVERHEAD].into_boxed_slice(),
            gathered: Vec::new(),
        }
    }
}

/// What is to be sealed.
#[derive(Clone, Copy)]
pub(super) enum Data<'a, 'b> {
    One(&'a [u8]),
    Several(&'a [IoSlice<'b>]),
}

impl<'a> Data<'a, '_> {
    pub(super) fn is_empty(self) -> bool {
        match self {
            Self::One(data) => data.is_empty(),
            Self::Several(pieces) => pieces.iter().all(|piece| piece.is_empty()),
        }
    }

    /// As much as is sealed at once, in one piece.
    pub(super) fn batch(self, gathered: &'a mut Vec<u8>) -> &'a [u8] {
        let pieces = match self {
            Self::One(data) => return data.get(..BATCH).unwrap_or(data),
            Self::Several([piece]) => return piece.get(..BATCH).unwrap_or(piece),
            Self::Several(pieces) => pieces,
        };
        gathered.clear();
        for piece in pieces {
            let room = BATCH.saturating_sub(gathered.len());
            gathered.extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
        gathered
    }
}
