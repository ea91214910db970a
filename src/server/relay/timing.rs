//! What takes too long, and what is said about it.

use std::future::Future;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::driver::Driver;
use crate::session::relay::Output;
use crate::types::EndReason;

/// How long a last word may take to reach the client.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long it may take once the time to drain is over.
const LAST_MOMENT: Duration = Duration::from_millis(250);

impl<C, B> Driver<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    /// Begins the end: a last word where one may stand, then nothing more is read.
    pub(super) fn end(&mut self, reason: EndReason, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        if let Some(text) = last_word(reason) {
            let mut output = Output::default();
            self.relay.farewell(text, &mut output);
            output
                .client
                .slices(&[])
                .for_each(|slice| self.to_client.push(slice));
        }
        let mut until = now + FAREWELL;
        if let Some(drained) = self.drain {
            until = until.min(drained.max(now) + LAST_MOMENT);
        }
        self.ending = Some((reason, until));
    }

    /// Nothing moves: find what has taken too long, and sleep until something else would have.
    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<EndReason> {
        loop {
            let (deadline, reason) = self.next_deadline();
            if now >= deadline {
                if self.ending.is_some() {
                    return Poll::Ready(reason);
                }
                self.end(reason, now);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.timer.deadline() > deadline || self.timer.is_elapsed() {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn next_deadline(&self) -> (Instant, EndReason) {
        if let Some((reason, deadline)) = self.ending {
            return (deadline, reason);
        }
        let mut soonest = if self.relay.is_owed_answers() {
            let heard = self.heard_client.max(self.heard_backend).max(self.wrote_client);
            (heard + self.deadlines.idle, EndReason::BackendStalled)
        } else {
            (self.heard_client + self.deadlines.idle, EndReason::IdleTimeout)
        };
        let others = [
            (self.to_client.len() > 0 || self.to_client.needs_flush).then(|| {
                (
                    self.wrote_client.max(self.heard_backend) + self.deadlines.stall,
                    EndReason::ClientStalled,
                )
            }),
            (self.to_backend.len() > 0).then(|| {
                (
                    self.wrote_backend.max(self.heard_client) + self.deadlines.stall,
                    EndReason::BackendStalled,
                )
            }),
            self.client_closed
                .map(|closed| (closed + self.deadlines.half_closed, EndReason::ClientClosed)),
            self.drain.map(|deadline| (deadline, EndReason::Shutdown)),
        ];
        for other in others.into_iter().flatten() {
            if other.0 < soonest.0 {
                soonest = other;
            }
        }
        soonest
    }
}

/// What the client is told, where there is something to tell.
fn last_word(reason: EndReason) -> Option<&'static str> {
    match reason {
        EndReason::Shutdown => Some("[UNAVAILABLE] Server is shutting down"),
        EndReason::Revoked | EndReason::Killed | EndReason::PolicyChanged => {
            Some("Session ended by the server")
        }
        EndReason::IdleTimeout => Some("Idle for too long"),
        EndReason::BackendClosed
        | EndReason::BackendIo
        | EndReason::BackendProtocol
        | EndReason::BackendLimit
        | EndReason::BackendStalled => Some("[UNAVAILABLE] Mail server connection lost"),
        _ => None,
    }
}
