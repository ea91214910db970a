//! What takes too long, and what is said about it.

use std::future::Future;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::task::coop::has_budget_remaining;
use tokio::time::Instant;

use super::driver::Driver;
use crate::types::EndReason;

impl<C, B> Driver<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    /// Nothing moves: find what has taken too long, and sleep until something else would have.
    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<EndReason> {
        if self.sleeps_on(now) {
            return Poll::Pending;
        }
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
            let resume_at = self.ruled.resume_at.filter(|_| self.ending.is_none());
            let wake = resume_at.map_or(deadline, |resume_at| resume_at.min(deadline));
            if self.timer.deadline() > wake || self.timer.is_elapsed() {
                self.timer.as_mut().reset(wake);
            }
            // Without budget the timer would not keep the waker, only have the task polled again.
            let keeps_waker = has_budget_remaining();
            if self.timer.as_mut().poll(cx).is_pending() {
                self.set_for = keeps_waker.then(|| self.timer.deadline());
                return Poll::Pending;
            }
            self.set_for = None;
            if resume_at.is_some() {
                // A slowed session may read again.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// True where the timer is set and has not gone off, and nothing is due before that: with no bytes stuck, nothing slowed and
    /// nobody leaving, only a client that says nothing is waited for, and while answers are owed to it even longer.
    ///
    /// A timer that has been polled keeps the task's waker until it goes off, which is never before its time.
    fn sleeps_on(&self, now: Instant) -> bool {
        let only_waits = self.to_client.is_done()
            && self.to_backend.is_done()
            && self.client_closed.is_none()
            && self.drain.is_none()
            && self.ending.is_none()
            && self.ruled.resume_at.is_none();
        let idle_until = self.heard_client + self.deadlines.idle;
        let is_set = |set_for: Instant| now < set_for && set_for <= idle_until;
        let sleeps_on = only_waits && self.set_for.is_some_and(is_set);
        debug_assert!(
            !sleeps_on
                || self
                    .set_for
                    .is_some_and(|set_for| set_for <= self.next_deadline().0)
        );
        sleeps_on
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
            (!self.to_client.is_done()).then(|| {
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
pub(super) fn last_word(reason: EndReason) -> Option<&'static str> {
    match reason {
        EndReason::Shutdown => Some("[UNAVAILABLE] Server is shutting down"),
        EndReason::Revoked | EndReason::Killed | EndReason::PolicyChanged => {
            Some("Session ended by the server")
        }
        EndReason::BudgetExceeded => Some("[LIMIT] This app password has downloaded what it may in an hour"),
        EndReason::PolicyDenied => Some("Session ended by policy"),
        EndReason::IdleTimeout => Some("Idle for too long"),
        EndReason::BackendClosed
        | EndReason::BackendIo
        | EndReason::BackendProtocol
        | EndReason::BackendLimit
        | EndReason::BackendStalled => Some("[UNAVAILABLE] Mail server connection lost"),
        _ => None,
    }
}
