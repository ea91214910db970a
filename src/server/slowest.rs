//! The longest that anything took lately.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

/// What took longest is remembered for so long, and then until something else has happened: silence says nothing new.
const LATELY: Duration = Duration::from_mins(15);

/// The longest time of two spans, the newest in which something has happened and the one before.
#[derive(Debug)]
pub(super) struct Slowest(Mutex<Spans>);

#[derive(Debug)]
struct Spans {
    /// When the newest span began.
    began: Instant,
    now: Duration,
    before: Duration,
}

impl Slowest {
    /// Nothing has happened yet.
    pub(super) fn new(at: Instant) -> Self {
        Self(Mutex::new(Spans {
            began: at,
            now: Duration::ZERO,
            before: Duration::ZERO,
        }))
    }

    /// Something has taken so long.
    pub(super) fn add(&self, took: Duration, at: Instant) {
        let mut spans = self.lock();
        let age = at.saturating_duration_since(spans.began);
        if age >= LATELY {
            let is_next = age < LATELY * 2;
            spans.before = if is_next { spans.now } else { Duration::ZERO };
            spans.now = Duration::ZERO;
            spans.began = at;
        }
        spans.now = spans.now.max(took);
    }

    /// Something else has taken so long: that makes the slowest no faster, and nothing is forgotten for it.
    pub(super) fn raise(&self, took: Duration, at: Instant) {
        if took > self.get() {
            self.add(took, at);
        }
    }

    /// How long the slowest has taken lately; nothing where nothing has happened.
    pub(super) fn get(&self) -> Duration {
        let spans = self.lock();
        spans.now.max(spans.before)
    }

    fn lock(&self) -> MutexGuard<'_, Spans> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_is_known_until_others_have_taken_its_place() {
        let begin = Instant::now();
        let minute = |number: u64| begin + Duration::from_mins(number);
        let [short, long] = [2, 17].map(Duration::from_secs);
        let slowest = Slowest::new(begin);
        assert_eq!(slowest.get(), Duration::ZERO);
        slowest.add(long, minute(2));
        slowest.add(short, minute(3));
        assert_eq!(slowest.get(), long);
        slowest.add(short, minute(16));
        slowest.add(short, minute(30));
        assert_eq!(slowest.get(), long, "it was in the span before");
        slowest.add(short, minute(31));
        assert_eq!(slowest.get(), short);
        slowest.add(long, minute(32));
        slowest.add(short, minute(90));
        assert_eq!(slowest.get(), short, "long after");
        slowest.raise(long, minute(91));
        assert_eq!(slowest.get(), long);
        for later in [92, 107, 200, 300] {
            slowest.raise(short, minute(later));
            assert_eq!(slowest.get(), long, "{later}");
        }
    }
}
