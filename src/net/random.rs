//! Chance for names and for what TLS says in the clear: drawn for many at once, since to draw a little costs as much as a lot.
//!
//! Keys are not made of it: aws-lc draws for those by itself, and so do secrets of ours. Copies of a running machine hand out the
//! same for a moment.

use std::cell::RefCell;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use rustls::crypto::GetRandomFailed;
use rustls::crypto::SecureRandom;

/// Bytes that a thread draws at once: for some five logins.
const STOCK: usize = 512;

/// Bytes at the front have been drawn and not been handed out; the others are zero.
struct Stock {
    bytes: [u8; STOCK],
    left: usize,
}

thread_local! {
    static DRAWN: RefCell<Stock> = const { RefCell::new(Stock { bytes: [0; STOCK], left: 0 }) };
}

/// Fills a buffer with random bytes, none of which is handed out again.
///
/// # Errors
/// The system has no randomness.
pub fn fill(buffer: &mut [u8]) -> Result<(), Unspecified> {
    DRAWN.with_borrow_mut(|drawn| drawn.fill(buffer))
}

impl Stock {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Unspecified> {
        if buffer.len() > STOCK {
            return rand::fill(buffer);
        }
        if self.left < buffer.len() {
            self.left = 0;
            rand::fill(&mut self.bytes)?;
            self.left = STOCK;
        }
        self.left -= buffer.len();
        let drawn = self.bytes.iter_mut().skip(self.left);
        for (place, byte) in buffer.iter_mut().zip(drawn) {
            *place = std::mem::take(byte);
        }
        Ok(())
    }
}

/// The same for TLS, where it becomes randoms, nonces of tickets and names of sessions.
#[derive(Debug)]
pub(super) struct Drawn;

impl SecureRandom for Drawn {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        fill(buffer).map_err(|_| GetRandomFailed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Whatever lengths are asked for, in whatever order: sixteen random bytes never come twice.
    #[test]
    fn nothing_is_handed_out_twice_and_what_was_is_gone() {
        let mut stock = Stock {
            bytes: [0; STOCK],
            left: 0,
        };
        let mut seen = HashSet::new();
        for length in (16..=STOCK + 40).chain([STOCK, 1, STOCK, 16, 500, 12, 16]) {
            let mut buffer = vec![0; length];
            stock.fill(&mut buffer).unwrap();
            let (pieces, _) = buffer.as_chunks::<16>();
            assert!(pieces.iter().all(|piece| seen.insert(*piece)), "{length}");
            assert!(
                stock.bytes[stock.left..].iter().all(|byte| *byte == 0),
                "{length}"
            );
        }
    }

    #[test]
    fn threads_draw_for_themselves() {
        let draw = || {
            let mut bytes = [0; 32];
            fill(&mut bytes).unwrap();
            bytes
        };
        let others: HashSet<[u8; 32]> = (0..8)
            .map(|_| std::thread::spawn(draw))
            .map(|thread| thread.join().unwrap())
            .chain([draw(), draw()])
            .collect();
        assert_eq!(others.len(), 10);
    }
}
