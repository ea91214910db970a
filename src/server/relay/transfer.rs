//! Reading and writing without waiting: as much as a side takes or has at hand.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::session::relay::Flow;
use crate::types::EndReason;

/// Pieces that are written at once: answers that we change have few.
const PIECES: usize = 16;

/// One direction's unwritten bytes.
#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    written: usize,
    pub(super) needs_flush: bool,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// True where all is written and flushed.
    pub(super) fn is_done(&self) -> bool {
        self.bytes.is_empty() && !self.needs_flush
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn wrote(&mut self, written: usize) {
        self.written += written;
        if self.len() == 0 {
            *self = Self {
                needs_flush: self.needs_flush,
                ..Self::default()
            };
        }
    }
}

/// Reads once: `Some(0)` where the peer has closed, `None` where it has nothing at hand. A read that does not fill the buffer has
/// taken all there was.
pub(super) fn fill<S: AsyncRead + Unpin>(
    side: &mut S,
    buffer: &mut [u8],
    cx: &mut Context<'_>,
) -> io::Result<Option<usize>> {
    let mut read = ReadBuf::new(buffer);
    match Pin::new(side).poll_read(cx, &mut read) {
        Poll::Pending => Ok(None),
        Poll::Ready(result) => result.map(|()| Some(read.filled().len())),
    }
}

/// True where an error means no more than that the peer has gone.
pub(super) fn is_close(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// What a failure to read from or write to the client comes to: its close, a bound that it exceeded, or trouble on the way.
pub(in crate::server) fn client_failure(error: &io::Error) -> EndReason {
    if is_close(error) {
        EndReason::ClientClosed
    } else if error.kind() == io::ErrorKind::QuotaExceeded {
        EndReason::ClientLimit
    } else {
        EndReason::ClientIo
    }
}

/// Writes the pieces of a flow, as many as go out at once, and keeps the rest; returns how many bytes there were.
pub(super) fn send<S: AsyncWrite + Unpin>(
    side: &mut S,
    pending: &mut Pending,
    flow: &Flow,
    input: &[u8],
    cx: &mut Context<'_>,
) -> usize {
    let mut slices = flow.slices(input).filter(|slice| !slice.is_empty());
    let Some(first) = slices.next() else {
        return 0;
    };
    let total = match slices.next() {
        None => {
            send_pieces(side, pending, &mut [IoSlice::new(first)], cx);
            first.len()
        }
        Some(second) => send_several(side, pending, [first, second].into_iter().chain(slices), cx),
    };
    if pending.bytes.is_empty() && pending.needs_flush {
        // An error shows again at the next write or read.
        pending.needs_flush = !matches!(Pin::new(side).poll_flush(cx), Poll::Ready(Ok(())));
    }
    total
}

fn send_several<'a, S: AsyncWrite + Unpin>(
    side: &mut S,
    pending: &mut Pending,
    mut slices: impl Iterator<Item = &'a [u8]>,
    cx: &mut Context<'_>,
) -> usize {
    let mut total = 0;
    loop {
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let mut count = 0;
        for (piece, slice) in pieces.iter_mut().zip(slices.by_ref()) {
            *piece = IoSlice::new(slice);
            count += 1;
            total += slice.len();
        }
        if count == 0 {
            return total;
        }
        send_pieces(side, pending, pieces.get_mut(..count).unwrap_or_default(), cx);
    }
}

fn send_pieces<S: AsyncWrite + Unpin>(
    side: &mut S,
    pending: &mut Pending,
    mut rest: &mut [IoSlice<'_>],
    cx: &mut Context<'_>,
) {
    while pending.bytes.is_empty() && !rest.is_empty() {
        let written = match rest {
            [piece] => Pin::new(&mut *side).poll_write(cx, piece),
            _ => Pin::new(&mut *side).poll_write_vectored(cx, rest),
        };
        match written {
            Poll::Ready(Ok(written)) if written > 0 => {
                pending.needs_flush = true;
                IoSlice::advance_slices(&mut rest, written);
            }
            // An error shows again when what is kept is written.
            _ => break,
        }
    }
    rest.iter().for_each(|piece| pending.push(piece));
}

/// Writes what is kept and flushes; returns how many bytes went out, counting a finished flush as one.
pub(super) fn write<S: AsyncWrite + Unpin>(
    side: &mut S,
    pending: &mut Pending,
    cx: &mut Context<'_>,
) -> io::Result<usize> {
    let mut total = 0;
    while pending.len() > 0 {
        let rest = pending.bytes.get(pending.written..).unwrap_or_default();
        match Pin::new(&mut *side).poll_write(cx, rest) {
            Poll::Pending => break,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(written)) => {
                pending.needs_flush = true;
                pending.wrote(written);
                total += written;
            }
        }
    }
    if pending.needs_flush {
        match Pin::new(&mut *side).poll_flush(cx) {
            Poll::Pending => {}
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Ready(Ok(())) => {
                pending.needs_flush = false;
                total += 1;
            }
        }
    }
    Ok(total)
}
