//! What waits for one sink: a bounded queue, between those who emit and the thread that writes.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::telemetry::event::Event;
use crate::telemetry::kind::Kind;
use crate::telemetry::metrics::Sink;
use crate::telemetry::sink::Renewal;

/// How long after a write the next one follows at the soonest: where many events come, each time that the writer is woken costs
/// more than writing one. What comes alone is written at once, and everything is when the sink is closed.
pub(super) const GATHER: Duration = Duration::from_millis(5);

/// An event with its number among those of its sink.
#[derive(Debug, Clone)]
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) event: Arc<Event>,
}

/// The events that wait for one sink.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    capacity: usize,
    metrics: Sink,
    /// Which events are of use to it.
    takes: fn(&Event) -> bool,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Numbered>,
    /// How many are enough for the writer, while it waits for more.
    enough: Option<usize>,
    sequence: u64,
    /// Lost and not yet reported.
    dropped: u64,
    reopen: bool,
    renewal: Option<Renewal>,
    closing: bool,
}

/// What the writer does next.
pub(super) struct Batch {
    pub(super) events: Vec<Numbered>,
    pub(super) reopen: bool,
    pub(super) last: bool,
    /// What the report at its end, if there is one, says was lost.
    reported: u64,
}

impl Queue {
    pub(super) fn new(capacity: usize, metrics: Sink, takes: fn(&Event) -> bool) -> Self {
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            capacity: capacity.max(1),
            metrics,
            takes,
        }
    }

    /// Adds an event, or counts it where there is no room.
    pub(super) fn push(&self, event: Arc<Event>) {
        if !(self.takes)(&event) {
            return;
        }
        let mut state = self.lock();
        state.sequence += 1;
        // Whoever floods us with commands must not push out logins and alerts.
        let capacity = if event.kind().is_bulk() {
            self.capacity.div_ceil(2)
        } else {
            self.capacity
        };
        if state.closing || state.waiting.len() >= capacity {
            state.dropped += 1;
            self.metrics.dropped(1);
            return;
        }
        let number = state.sequence;
        // Who has something to do already is awake, or about to be.
        let was_idle = state.waiting.is_empty();
        state.waiting.push_back(Numbered { number, event });
        self.metrics.waiting(state.waiting.len());
        let is_enough = state.enough == Some(state.waiting.len());
        drop(state);
        if was_idle || is_enough {
            self.wake.notify_one();
        }
    }

    pub(super) fn reopen(&self) {
        self.lock().reopen = true;
        self.wake.notify_one();
    }

    /// Has the writer use other authorities and secrets from its next attempt on, which comes at once.
    pub(super) fn renew(&self, renewal: Renewal) {
        self.lock().renewal = Some(renewal);
        self.wake.notify_one();
    }

    /// What the writer has not taken up yet.
    pub(super) fn renewal(&self) -> Option<Renewal> {
        self.lock().renewal.take()
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }

    /// Waits for something to do, of which it takes `most` events along; for more of them it waits until `until`.
    pub(super) fn next(&self, most: usize, until: Instant) -> Batch {
        let few = |state: &State, enough| state.waiting.len() < enough && !state.reopen && !state.closing;
        let mut state = self
            .wake
            .wait_while(self.lock(), |state| few(state, 1))
            .unwrap_or_else(PoisonError::into_inner);
        // No event is to be lost because we wait.
        let enough = most.min(self.capacity.div_ceil(4));
        state.enough = Some(enough);
        let left = until.saturating_duration_since(Instant::now());
        let gathered = self
            .wake
            .wait_timeout_while(state, left, |state| few(state, enough));
        let mut state = gathered.unwrap_or_else(PoisonError::into_inner).0;
        state.enough = None;
        let size = state.waiting.len().min(most);
        let mut events: Vec<_> = state.waiting.drain(..size).collect();
        self.metrics.waiting(state.waiting.len());
        let mut reported = 0;
        // The report carries the time of an event, since no clock is read here.
        if let Some(at) = events.last().map(|last| last.event.at())
            && state.dropped > 0
        {
            reported = std::mem::take(&mut state.dropped);
            let report = Event::new(Kind::EventsDropped, at).dropped(reported);
            state.sequence += 1;
            events.push(Numbered {
                number: state.sequence,
                event: Arc::new(report),
            });
        }
        Batch {
            events,
            reopen: std::mem::take(&mut state.reopen),
            last: state.closing && state.waiting.is_empty(),
            reported,
        }
    }

    /// Events of a batch are lost; where its report is among them, what it said is still to be reported.
    pub(super) fn lost(&self, batch: &Batch, which: Range<usize>) {
        // The report is the last.
        let has_report = batch.reported > 0 && which.end >= batch.events.len();
        let count = which.len().saturating_sub(usize::from(has_report));
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let reported = if has_report { batch.reported } else { 0 };
        self.lock().dropped += count.saturating_add(reported);
        self.metrics.dropped(count);
    }

    /// Waits, unless the end is near: true where it is. What is renewed may help at once.
    pub(super) fn pause(&self, span: Duration) -> bool {
        let end = Instant::now() + span;
        let mut state = self.lock();
        while !state.closing && state.renewal.is_none() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.wake.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.closing
    }

    pub(super) fn metrics(&self) -> &Sink {
        &self.metrics
    }

    /// The lock is held for a few moves only, never while writing; a panic elsewhere leaves the state whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::SystemTime;

    use super::*;
    use crate::telemetry::metrics::Metrics;

    /// Longer than any test takes: who waits for so long waits in vain.
    const LONG: Duration = Duration::from_secs(20);

    fn queue(capacity: usize) -> Queue {
        let metrics = Metrics::new().unwrap();
        Queue::new(capacity, metrics.sinks.named("test").unwrap(), |_| true)
    }

    fn push(queue: &Queue) {
        let event = Event::new(Kind::Started, SystemTime::UNIX_EPOCH);
        queue.push(Arc::new(event));
    }

    /// What a writer gets that waits for as many as it may take.
    fn gathered(queue: &Queue, most: usize, then: impl FnOnce()) -> usize {
        let began = Instant::now();
        let events = thread::scope(|scope| {
            let writer = scope.spawn(|| queue.next(most, began + LONG));
            then();
            writer.join().unwrap().events
        });
        assert!(began.elapsed() < LONG, "nobody woke it");
        events.len()
    }

    #[test]
    fn the_writer_waits_for_more_until_it_has_what_it_takes() {
        let queue = queue(1000);
        let all = gathered(&queue, 3, || (0..3).for_each(|_| push(&queue)));
        assert_eq!(all, 3);
    }

    #[test]
    fn what_fills_the_queue_and_the_end_are_not_waited_out() {
        let small = queue(8);
        let two = gathered(&small, 64, || (0..2).for_each(|_| push(&small)));
        assert_eq!(two, 2, "a quarter of the room");
        let large = queue(1000);
        let rest = gathered(&large, 64, || {
            push(&large);
            large.close();
        });
        assert_eq!(rest, 1);
    }

    #[test]
    fn more_than_enough_is_not_waited_for() {
        let queue = queue(1000);
        (0..5).for_each(|_| push(&queue));
        assert_eq!(queue.next(4, Instant::now() + LONG).events.len(), 4);
    }

    #[test]
    fn what_comes_after_that_time_is_not_held_up() {
        let queue = queue(1000);
        push(&queue);
        assert_eq!(queue.next(4, Instant::now()).events.len(), 1);
    }
}
