//! One session's state and its one poll.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio::time::Sleep;
use tokio::time::sleep_until;

use super::Client;
use super::Deadlines;
use super::Order;
use super::Outcome;
use super::rules::Report;
use super::rules::Ruled;
use super::scratch::CHUNK;
use super::scratch::SCRATCH;
use super::scratch::Scratch;
use super::transfer::Pending;
use super::transfer::client_failure;
use super::transfer::fill;
use super::transfer::is_close;
use super::transfer::send;
use super::transfer::write;
use crate::session::relay::Output;
use crate::session::relay::Relay;
use crate::types::EndReason;

/// Unwritten bytes for one side beyond which nothing more is read from the other.
const STUCK: usize = CHUNK;

pub(super) struct Driver<C, B> {
    pub(super) client: C,
    pub(super) backend: B,
    pub(super) relay: Relay,
    pub(super) deadlines: Deadlines,
    pub(super) ruled: Ruled,
    pub(super) orders: oneshot::Receiver<Order>,
    pub(super) ordered: bool,
    /// Whoever gives an order wakes the task.
    pub(super) hears_orders: bool,
    /// Nothing was at hand when this side was asked in the current poll, and the task is woken when there is.
    pub(super) client_is_dry: bool,
    pub(super) backend_is_dry: bool,
    pub(super) drain: Option<Instant>,
    pub(super) to_client: Pending,
    pub(super) to_backend: Pending,
    /// Bytes of the client that the relay has not taken yet.
    pub(super) unread: Vec<u8>,
    /// The backend has spoken since the relay last left bytes unread.
    pub(super) retry: bool,
    pub(super) client_closed: Option<Instant>,
    pub(super) ending: Option<(EndReason, Instant)>,
    pub(super) heard_client: Instant,
    pub(super) heard_backend: Instant,
    pub(super) wrote_client: Instant,
    pub(super) wrote_backend: Instant,
    pub(super) timer: Pin<Box<Sleep>>,
    /// When the timer goes off, which has been polled since it was set.
    pub(super) set_for: Option<Instant>,
    pub(super) from_client: u64,
    pub(super) sent_client: u64,
    pub(super) heard_from_backend: u64,
    pub(super) sent_backend: u64,
}

impl<C, B> Driver<C, B>
where
    C: Client,
    B: AsyncRead + AsyncWrite + Unpin,
{
    /// A session in which nothing has moved yet.
    pub(super) fn new(
        (client, unread): (C, Vec<u8>),
        backend: B,
        (relay, report): (Relay, Report),
        orders: oneshot::Receiver<Order>,
        deadlines: Deadlines,
    ) -> Self {
        let now = Instant::now();
        Self {
            client,
            backend,
            relay,
            ruled: Ruled::new(report),
            deadlines,
            orders,
            ordered: false,
            hears_orders: false,
            client_is_dry: false,
            backend_is_dry: false,
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
            set_for: None,
            from_client: 0,
            sent_client: 0,
            heard_from_backend: 0,
            sent_backend: 0,
        }
    }

    /// The session's outcome, and the client for a proper goodbye.
    pub(super) fn finish(mut self, reason: EndReason) -> (Outcome, C) {
        let facts = self.relay.ended(reason);
        self.report();
        let outcome = Outcome {
            reason,
            counts: self.relay.counts(),
            facts,
            from_client: self.from_client,
            to_client: self.sent_client,
            from_backend: self.heard_from_backend,
            to_backend: self.sent_backend,
        };
        (outcome, self.client)
    }

    /// What came with the logins is relayed first.
    pub(super) fn begin(&mut self, welcome: &[u8], early: &[u8]) {
        self.tell_time(Instant::now());
        self.to_client.push(welcome);
        self.heard_from_backend += count(early.len());
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
        self.tell_time(now);
        self.take_order(cx, now);
        self.client_is_dry = false;
        self.backend_is_dry = false;
        loop {
            let mut moved = self.write_client(cx, now);
            if let Some((reason, deadline)) = self.ending {
                if self.to_client.is_done() || now >= deadline {
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

    fn write_client(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.to_client.is_done() {
            return false;
        }
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
        if self.to_backend.is_done() {
            return false;
        }
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
        if !self.to_client.is_done() || self.backend_is_dry || self.ending.is_some() {
            return false;
        }
        let allowed = self.allowed(CHUNK);
        if allowed == 0 {
            return false;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { input, output } = scratch;
            let input = input.get_mut(..allowed).unwrap_or_default();
            let filled = match fill(&mut self.backend, input, cx) {
                Ok(None) => {
                    self.backend_is_dry = true;
                    return false;
                }
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
            self.heard_from_backend += count(filled);
            self.retry = true;
            let bytes = input.get(..filled).unwrap_or_default();
            let result = self.relay.from_backend(bytes, output);
            if result == Err(EndReason::Logout) {
                self.client.hears_last();
            }
            self.deliver(output, bytes, false, cx, now);
            self.pause_after(filled, now);
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
        if self.client_closed.is_some() || self.client_is_dry || quiet_drain {
            return false;
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { input, output } = scratch;
            let filled = match fill(&mut self.client, input, cx) {
                Ok(None) => {
                    self.client_is_dry = true;
                    return false;
                }
                Ok(Some(filled)) => filled,
                // Many clients leave TLS without a goodbye: that is a close like any other.
                Err(error) if is_close(&error) => 0,
                Err(error) => {
                    self.end(client_failure(&error), now);
                    return true;
                }
            };
            if filled == 0 {
                self.client_closed = Some(now);
                return true;
            }
            self.heard_client = now;
            self.from_client += count(filled);
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
        self.sent_client += count(sent);
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
        self.sent_backend += count(sent);
        if sent > 0 && self.to_backend.len() == 0 {
            self.wrote_backend = now;
        }
        output.clear();
        self.report();
    }
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(0)
}
