//! Takes a ClientHello off the wire before the TLS engine sees it.
//!
//! The engine does not say which extensions a client offered, so that its bytes are read here first and handed on unchanged.
//! Nothing is judged: as soon as the bytes are no ClientHello, or too many, what has been read goes to the engine, which
//! says what is wrong. While a client is silent or dripping, this buffer is all that it holds.

use std::io;

use tokio::net::TcpStream;

/// Most bytes that are read for a ClientHello, whatever else the hand-shake may have.
const MAX_HELLO: usize = 16 * 1024;

/// Room that the buffer gains at a time: most ClientHellos fit, one with post-quantum key shares included.
const STEP: usize = 2 * 1024;

/// Longest record on the wire (RFC 5246, section 6.2.3).
const MAX_RECORD: usize = (1 << 14) + 2048;

/// Reads until the ClientHello is complete, cannot become one, or has more bytes than allowed; or the client has closed.
///
/// # Errors
/// Reading failed.
pub(super) async fn read(tcp: &TcpStream, allowance: usize) -> io::Result<Vec<u8>> {
    let most = allowance.min(MAX_HELLO);
    let mut bytes = Vec::new();
    let mut end = End::default();
    while bytes.len() < most {
        tcp.readable().await?;
        if bytes.len() == bytes.capacity() {
            bytes.reserve_exact(STEP.min(most - bytes.len()));
        }
        let known = bytes.len();
        match tcp.try_read_buf(&mut bytes) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        if end.is_reached(bytes.get(known..).unwrap_or_default()) {
            break;
        }
    }
    Ok(bytes)
}

/// Finds the end of a ClientHello in records that come byte by byte, in constant time for each.
#[derive(Debug, Default)]
struct End {
    /// The record's header so far: type, version, length.
    header: Start,
    /// Bytes left of the record.
    in_record: usize,
    /// The message's first four bytes so far: type and length.
    message: Start,
    /// Bytes left of the message, once its length is known.
    in_message: usize,
}

/// Up to five first bytes of something, and how many.
type Start = ([u8; 5], usize);

impl End {
    /// True once there is nothing to wait for: the message is complete, or these are no records with a ClientHello.
    fn is_reached(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.in_record == 0 {
                bytes = rest;
                if self.header_ends_it(first) {
                    return true;
                }
            } else if self.message.1 < 4 {
                bytes = rest;
                self.in_record -= 1;
                if self.message_ends_it(first) {
                    return true;
                }
            } else {
                let count = self.in_record.min(self.in_message).min(bytes.len());
                bytes = bytes.get(count..).unwrap_or_default();
                self.in_record -= count;
                self.in_message -= count;
                if self.in_message == 0 {
                    return true;
                }
            }
        }
        false
    }

    /// One byte of a record's header.
    fn header_ends_it(&mut self, byte: u8) -> bool {
        push(&mut self.header, byte);
        match self.header {
            ([22, ..], 1) | ([22, 3, ..], 2) | (_, 3 | 4) => false,
            ([.., high, low], 5) => {
                self.header.1 = 0;
                self.in_record = usize::from(high) << 8 | usize::from(low);
                self.in_record == 0 || self.in_record > MAX_RECORD
            }
            _ => true,
        }
    }

    /// One of the message's first bytes.
    fn message_ends_it(&mut self, byte: u8) -> bool {
        push(&mut self.message, byte);
        match self.message {
            ([1, ..], 1..=3) => false,
            ([1, high, middle, low, _], 4) => {
                self.in_message = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                self.in_message == 0
            }
            _ => true,
        }
    }
}

fn push(to: &mut Start, byte: u8) {
    if let Some(place) = to.0.get_mut(to.1) {
        *place = byte;
        to.1 += 1;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::net::tls::testing::Offer;
    use crate::net::tls::testing::pair;

    fn records(size: usize) -> Vec<u8> {
        let extensions = "0000,0010,000d,002b";
        Offer::new(&[0x0304], "1301,1302", extensions, &[b"imap"], "0403,0804").records(size)
    }

    #[test]
    fn the_end_is_found_wherever_records_and_segments_are_cut() {
        for size in [usize::MAX, 1, 2, 3, 4, 5, 50] {
            let records = records(size);
            for cut in 0..records.len() {
                let mut end = End::default();
                assert!(!end.is_reached(&records[..cut]), "{size} {cut}");
                assert!(end.is_reached(&records[cut..]), "{size} {cut}");
            }
            let mut end = End::default();
            let last = records.len() - 1;
            for (at, byte) in records.iter().enumerate() {
                assert_eq!(end.is_reached(&[*byte]), at == last);
            }
        }
    }

    #[test]
    fn nobody_waits_for_what_cannot_become_a_client_hello() {
        for bytes in [
            &b"G"[..],
            &[22, 2],
            &[22, 3, 1, 0, 0],
            &[22, 3, 1, 0xff, 0xff],
            &[22, 3, 1, 0, 9, 2],
            &[22, 3, 1, 0, 4, 1, 0, 0, 0],
            &[21],
        ] {
            assert!(End::default().is_reached(bytes), "{bytes:?}");
            assert!(!End::default().is_reached(&bytes[..bytes.len() - 1]), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn no_more_is_held_than_allowed() {
        let (ours, mut theirs) = pair().await;
        let mut flood = vec![22, 3, 1, 0x40, 0, 1, 0, 0x40, 0];
        flood.resize(20_000, 0);
        let writer = tokio::spawn(async move {
            let _ = theirs.write_all(&flood).await;
            theirs
        });
        let bytes = read(&ours, 5000).await.unwrap();
        assert_eq!((bytes.len(), bytes.capacity()), (5000, 5000));
        writer.await.unwrap();
    }
}
