//! What a step of the relay wants written: stretches of the input as they are, and bytes of our own between them.

use std::ops::Range;

/// One stretch to write.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// Bytes of the input that the step was given.
    Input(Range<usize>),
    /// Bytes in `own`.
    Own(Range<usize>),
}

/// Pieces in the order in which they are written to one side. Made once per thread and cleared between steps, so that the
/// relay allocates nothing per chunk.
#[derive(Debug, Default)]
pub struct Flow {
    pieces: Vec<Piece>,
    own: Vec<u8>,
}

impl Flow {
    /// Passes a stretch of the input on; joins with the piece before where they touch.
    pub fn pass(&mut self, range: Range<usize>) {
        match self.pieces.last_mut() {
            Some(Piece::Input(last)) if last.end == range.start => last.end = range.end,
            _ if range.is_empty() => {}
            _ => self.pieces.push(Piece::Input(range)),
        }
    }

    /// Puts bytes of our own in; joins with the piece before where that is our own too.
    pub fn put(&mut self, bytes: &[u8]) {
        let start = self.own.len();
        self.own.extend_from_slice(bytes);
        let end = self.own.len();
        match self.pieces.last_mut() {
            Some(Piece::Own(last)) => last.end = end,
            _ => self.pieces.push(Piece::Own(start..end)),
        }
    }

    /// The stretches to write, given the input that the step was given.
    pub fn slices<'a>(&'a self, input: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.pieces.iter().map(|piece| match piece {
            Piece::Input(range) => input.get(range.clone()).unwrap_or_default(),
            Piece::Own(range) => self.own.get(range.clone()).unwrap_or_default(),
        })
    }

    /// True where there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Forgets everything; keeps the room, up to a bound.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.own.clear();
        self.own.shrink_to(64 * 1024);
        self.pieces.shrink_to(1024);
    }
}

/// What a step wants written to either side.
#[derive(Debug, Default)]
pub struct Output {
    /// To the client.
    pub client: Flow,
    /// To the backend.
    pub backend: Flow,
}

impl Output {
    /// Forgets everything; keeps the room.
    pub fn clear(&mut self) {
        self.client.clear();
        self.backend.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_pieces_become_one_write() {
        let mut flow = Flow::default();
        flow.pass(0..3);
        flow.pass(3..5);
        flow.put(b"x");
        flow.put(b"y");
        flow.pass(6..8);
        flow.pass(8..8);
        let slices: Vec<&[u8]> = flow.slices(b"abcdefgh").collect();
        assert_eq!(slices, [&b"abcde"[..], b"xy", b"gh"]);
    }
}
