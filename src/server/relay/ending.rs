//! How a relayed session ends: by an order, with a last word, and without losing an answer.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::task::coop::has_budget_remaining;
use tokio::time::Instant;

use super::Order;
use super::driver::Driver;
use super::timing::last_word;
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
    pub(super) fn take_order(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.ordered || (self.hears_orders && self.orders.is_empty()) {
            return;
        }
        // Without budget the channel would not keep the waker, only have the task polled again.
        self.hears_orders = has_budget_remaining();
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

    /// Ends a session that drains, or whose client has closed its side, once no answer is owed any more.
    pub(super) fn end_if_done(&mut self, now: Instant) -> bool {
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
}
