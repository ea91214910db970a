//! Reading and writing without waiting: as much as a side takes or has at hand.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::session::relay::Flow;
use crate::types::EndReason;

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

/// Reads until the buffer is full, the peer has no more at hand, or has closed: `Some(0)` for the last, `None` for nothing
/// at hand.
pub(super) fn fill<S: AsyncRead + Unpin>(
    side: &mut S,
    buffer: &mut [u8],
    cx: &mut Context<'_>,
) -> io::Result<Option<usize>> {
    let mut filled = 0;
    loop {
        let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) else {
            return Ok(Some(filled));
        };
        let mut read = ReadBuf::new(room);
        match Pin::new(&mut *side).poll_read(cx, &mut read) {
            Poll::Pending if filled == 0 => return Ok(None),
            Poll::Pending => return Ok(Some(filled)),
            Poll::Ready(Err(error)) if filled == 0 => return Err(error),
            // The error comes again at the next read; what was read before it is handled first.
            Poll::Ready(Err(_)) => return Ok(Some(filled)),
            Poll::Ready(Ok(())) if read.filled().is_empty() => return Ok(Some(filled)),
            Poll::Ready(Ok(())) => filled += read.filled().len(),
        }
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
    let mut total = 0;
    for slice in flow.slices(input) {
        total += slice.len();
        let mut rest = slice;
        while pending.len() == 0 && !rest.is_empty() {
            match Pin::new(&mut *side).poll_write(cx, rest) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    pending.needs_flush = true;
                    rest = rest.get(written..).unwrap_or_default();
                }
                // An error shows again when what is kept is written.
                _ => break,
            }
        }
        if !rest.is_empty() {
            pending.push(rest);
        }
    }
    total
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
