//! One session's state and its one poll.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio::time::Sleep;
use tokio::time::sleep_until;

use super::Deadlines;
use super::Order;
use super::Outcome;
use super::transfer::Pending;
use super::transfer::fill;
use super::transfer::send;
use super::transfer::write;
use crate::session::relay::Output;
use crate::session::relay::Relay;
use crate::types::EndReason;

/// How much is read at once. Larger reads cost less CPU per byte, up to the size of the second-level cache.
const CHUNK: usize = 64 * 1024;

/// Unwritten bytes for one side beyond which nothing more is read from the other.
const STUCK: usize = CHUNK;

/// How long a last word may take to reach the client.
const FAREWELL: Duration = Duration::from_secs(5);

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
}

struct Scratch {
    input: Box<[u8]>,
    output: Output,
}

impl Scratch {
    fn new() -> Self {
        Self {
            input: vec![0; CHUNK].into_boxed_slice(),
            output: Output::default(),
        }
    }
}

pub(super) struct Driver<C, B> {
    client: C,
    backend: B,
    relay: Relay,
    deadlines: Deadlines,
    orders: oneshot::Receiver<Order>,
    ordered: bool,
    drain: Option<Instant>,
    to_client: Pending,
    to_backend: Pending,
    /// Bytes of the client that the relay has not taken yet.
    unread: Vec<u8>,
    /// The backend has spoken since the relay last left bytes unread.
    retry: bool,
    client_closed: Option<Instant>,
    ending: Option<(EndReason, Instant)>,
    heard_client: Instant,
    heard_backend: Instant,
    wrote_client: Instant,
    wrote_backend: Instant,
    timer: Pin<Box<Sleep>>,
    from_client: u64,
    sent_client: u64,
}

impl<C, B> Driver<C, B>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    /// A session in which nothing has moved yet.
    pub(super) fn new(
        (client, unread): (C, Vec<u8>),
        backend: B,
        relay: Relay,
        orders: oneshot::Receiver<Order>,
        deadlines: Deadlines,
    ) -> Self {
        let now = Instant::now();
        Self {
            client,
            backend,
            relay,
            deadlines,
            orders,
            ordered: false,
            drain: None,
            to_client: Pending::default(),
            to_backend: Pending::default(),
            unread,
            retry: true,
            client_closed: None,
            ending: None,
            heard_client: now,
            heard_backend: now,
            wrote_client: now,
            wrote_backend: now,
            timer: Box::pin(sleep_until(now + deadlines.idle.min(deadlines.stall))),
            from_client: 0,
            sent_client: 0,
        }
    }

    /// The session's outcome, and the client for a proper goodbye.
    pub(super) fn finish(self, reason: EndReason) -> (Outcome, C) {
        let outcome = Outcome {
            reason,
            counts: self.relay.counts(),
            from_client: self.from_client,
            to_client: self.sent_client,
        };
        (outcome, self.client)
    }

    /// What came with the logins is relayed first.
    pub(super) fn begin(&mut self, early: &[u8]) {
        let mut output = Output::default();
        let result = self.relay.from_backend(early, &mut output);
        output
            .client
            .slices(early)
            .for_each(|slice| self.to_client.push(slice));
        output
            .backend
            .slices(early)
            .for_each(|slice| self.to_backend.push(slice));
        if let Err(reason) = result {
            self.end(reason, Instant::now());
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<EndReason> {
        let now = Instant::now();
        self.take_order(cx, now);
        loop {
            let mut moved = self.write_client(cx, now);
            if let Some((reason, deadline)) = self.ending {
                let said = self.to_client.len() == 0 && !self.to_client.needs_flush;
                if said || now >= deadline {
                    return Poll::Ready(reason);
                }
                if !moved {
                    return self.poll_timer(cx, now);
                }
                continue;
            }
            moved |= self.write_backend(cx, now);
            moved |= self.read_backend(cx, now);
            moved |= self.read_client(cx, now);
            moved |= self.end_if_done(now);
            if !moved && self.ending.is_none() {
                self.relay.release();
                return self.poll_timer(cx, now);
            }
        }
    }

    fn take_order(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.ordered {
            return;
        }
        if let Poll::Ready(order) = Pin::new(&mut self.orders).poll(cx) {
            self.ordered = true;
            match order {
                Ok(Order::End(reason)) => self.end(reason, now),
                Ok(Order::Drain(deadline)) => self.drain = Some(deadline),
                // Nobody is left who could order anything.
                Err(_) => {}
            }
        }
    }

    /// Begins the end: a last word where one may stand, then nothing more is read.
    fn end(&mut self, reason: EndReason, now: Instant) {
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
        self.ending = Some((reason, now + FAREWELL));
    }

    /// Ends a session that drains, or whose client has closed its side, once no answer is owed any more.
    fn end_if_done(&mut self, now: Instant) -> bool {
        if self.ending.is_some() {
            return false;
        }
        if self.drain.is_some() && self.relay.is_quiet() && self.unread.is_empty() {
            self.end(EndReason::Shutdown, now);
            return true;
        }
        if self.client_closed.is_some() && !self.relay.is_owed_answers() {
            self.end(EndReason::ClientClosed, now);
            return true;
        }
        false
    }

    fn write_client(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        match write(&mut self.client, &mut self.to_client, cx) {
            Ok(0) => false,
            Ok(_) => {
                self.wrote_client = now;
                true
            }
            Err(_) => {
                self.to_client = Pending::default();
                self.end(EndReason::ClientIo, now);
                false
            }
        }
    }

    fn write_backend(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        match write(&mut self.backend, &mut self.to_backend, cx) {
            Ok(0) => false,
            Ok(_) => {
                self.wrote_backend = now;
                true
            }
            Err(_) => {
                // What the backend said before it closed may still wait to be read: reading finds the end.
                self.to_backend = Pending::default();
                false
            }
        }
    }

    fn read_backend(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.to_client.len() > 0 || self.ending.is_some() {
            return false;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { input, output } = scratch;
            let filled = match fill(&mut self.backend, input, cx) {
                Ok(None) => return false,
                Ok(Some(filled)) => filled,
                Err(_) => {
                    self.end(EndReason::BackendIo, now);
                    return true;
                }
            };
            if filled == 0 {
                let reason = self.relay.backend_closed();
                self.end(reason, now);
                return true;
            }
            self.heard_backend = now;
            self.retry = true;
            let bytes = input.get(..filled).unwrap_or_default();
            let result = self.relay.from_backend(bytes, output);
            self.deliver(output, bytes, false, cx, now);
            if let Err(reason) = result {
                self.end(reason, now);
            }
            true
        })
    }

    fn read_client(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.to_backend.len() > 0 || self.to_client.len() > STUCK || self.ending.is_some() {
            return false;
        }
        if !self.unread.is_empty() {
            return self.offer_unread(cx, now);
        }
        let quiet_drain = self.drain.is_some() && self.relay.is_quiet();
        if self.client_closed.is_some() || quiet_drain {
            return false;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { input, output } = scratch;
            let filled = match fill(&mut self.client, input, cx) {
                Ok(None) => return false,
                Ok(Some(filled)) => filled,
                Err(_) => {
                    self.end(EndReason::ClientIo, now);
                    return true;
                }
            };
            if filled == 0 {
                self.client_closed = Some(now);
                return true;
            }
            self.heard_client = now;
            self.from_client += u64::try_from(filled).unwrap_or(0);
            let bytes = input.get(..filled).unwrap_or_default();
            let result = self.relay.from_client(bytes, output);
            self.deliver(output, bytes, true, cx, now);
            match result {
                Ok(taken) => {
                    self.unread
                        .extend_from_slice(bytes.get(taken..).unwrap_or_default());
                    self.retry = false;
                }
                Err(reason) => self.end(reason, now),
            }
            true
        })
    }

    /// Offers the relay again what it has not taken; only the backend's words can have changed its mind.
    fn offer_unread(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if !std::mem::take(&mut self.retry) {
            return false;
        }
        let bytes = std::mem::take(&mut self.unread);
        SCRATCH.with_borrow_mut(|scratch| {
            let output = &mut scratch.output;
            let result = self.relay.from_client(&bytes, output);
            self.deliver(output, &bytes, true, cx, now);
            match result {
                Ok(taken) => {
                    self.unread = bytes;
                    self.unread.drain(..taken);
                    self.unread.shrink_to_fit();
                    taken > 0
                }
                Err(reason) => {
                    self.end(reason, now);
                    true
                }
            }
        })
    }

    /// Writes what a step wants written, and keeps what does not go out at once.
    fn deliver(
        &mut self,
        output: &mut Output,
        input: &[u8],
        is_from_client: bool,
        cx: &mut Context<'_>,
        now: Instant,
    ) {
        let (for_client, for_backend) = if is_from_client {
            (&[][..], input)
        } else {
            (input, &[][..])
        };
        let sent = send(
            &mut self.client,
            &mut self.to_client,
            &output.client,
            for_client,
            cx,
        );
        self.sent_client += u64::try_from(sent).unwrap_or(0);
        if sent > 0 && self.to_client.len() == 0 {
            self.wrote_client = now;
        }
        let sent = send(
            &mut self.backend,
            &mut self.to_backend,
            &output.backend,
            for_backend,
            cx,
        );
        if sent > 0 && self.to_backend.len() == 0 {
            self.wrote_backend = now;
        }
        output.clear();
    }

    /// Nothing moves: find what has taken too long, and sleep until something else would have.
    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<EndReason> {
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
