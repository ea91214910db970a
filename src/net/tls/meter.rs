//! The bound on what a peer can make a TLS session hold.

use std::io;

use crate::net::tls::scratch::BATCH;

/// The largest TLS record on the wire (RFC 5246, section 6.2.3: 2^14 + 2048 bytes and a header), with room for the tickets and
/// key updates that may come before it.
pub(in crate::net) const ALLOWANCE: usize = 20 * 1024;

/// Counts what comes in without data coming out of it.
///
/// A record, or a hand-shake message in many records, is held until it is complete. The count starts anew when application data
/// has come out, so that whoever sends anything else is cut off while what it made us hold is small: reading fails with
/// [`QuotaExceeded`](io::ErrorKind::QuotaExceeded).
#[derive(Debug)]
pub(super) struct Meter {
    left: usize,
    allowance: usize,
}

impl Meter {
    /// `handshake` is for everything until data comes out, or another allowance is set.
    pub(super) fn new(handshake: usize) -> Self {
        Self {
            left: handshake,
            // No more than is left is read at once.
            allowance: 0,
        }
    }

    /// Changes how much may come without data, and counts anew.
    pub(super) fn set_allowance(&mut self, allowance: usize) {
        self.allowance = allowance.min(ALLOWANCE);
        self.left = self.allowance;
    }

    /// Data has come out.
    pub(super) fn refill(&mut self) {
        self.left = self.left.max(self.allowance);
    }

    /// So much has come in.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }

    /// Memory is scarce: the hand-shake or the login is not over.
    pub(super) fn is_tight(&self) -> bool {
        self.allowance < ALLOWANCE
    }

    /// How much may be read at once by somebody who wants so much. While memory is scarce that is what may still come; later
    /// it is as much as is worth a call, since the thread has room for it.
    ///
    /// # Errors
    /// Too much has come without data.
    pub(super) fn room(&self, wanted: usize) -> io::Result<usize> {
        if self.left == 0 {
            return Err(Self::exceeded());
        }
        Ok(match self.allowance {
            ALLOWANCE => wanted.clamp(ALLOWANCE, BATCH),
            _ => self.left,
        })
    }

    pub(super) fn exceeded() -> io::Error {
        io::Error::new(io::ErrorKind::QuotaExceeded, "too much TLS without data")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_allowance_comes_in_until_data_comes_out() {
        let mut meter = Meter::new(100);
        assert_eq!(meter.room(BATCH).unwrap(), 100);
        meter.spend(60);
        meter.refill();
        assert_eq!(meter.room(BATCH).unwrap(), 40);
        meter.spend(60);
        assert_eq!(meter.room(1).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
        meter.set_allowance(50);
        assert_eq!(meter.room(BATCH).unwrap(), 50);
        meter.spend(50);
        assert!(meter.room(1).is_err());
        meter.refill();
        assert_eq!(meter.room(BATCH).unwrap(), 50);
    }

    #[test]
    fn without_a_bound_of_its_own_a_session_reads_in_large_pieces() {
        let mut meter = Meter::new(100);
        meter.set_allowance(usize::MAX);
        assert_eq!(meter.room(1).unwrap(), ALLOWANCE);
        assert_eq!(meter.room(usize::MAX).unwrap(), BATCH);
        meter.spend(BATCH);
        assert!(meter.room(1).is_err());
    }
}
