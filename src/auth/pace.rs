//! One line for all sessions of a credential that rules slow: twenty of them together are no faster than one.

use std::num::NonZeroU64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Longest wait for a turn, in milliseconds: however many sessions stand in line, none looks dead to its client.
const LONGEST_MS: u64 = 60_000;

/// When the line is free again, in milliseconds of a clock that does not step back.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU64);

impl Pace {
    /// Takes a turn of so many bytes at so many a second, and says when it is over: the session may go on then.
    pub(super) fn take(&self, bytes: u64, rate: NonZeroU64, now_ms: u64) -> u64 {
        let millis = (bytes.saturating_mul(1000) / rate).max(1);
        let over = |free: u64| {
            let begins = free.max(now_ms).min(now_ms.saturating_add(LONGEST_MS));
            begins.saturating_add(millis)
        };
        // The closure always answers, so that the update cannot fail.
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| Some(over(free)));
        over(before.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: NonZeroU64 = NonZeroU64::new(64 * 1024).unwrap();
    const CHUNK: u64 = 8 * 1024;

    #[test]
    fn many_sessions_get_as_much_as_one() {
        for sessions in [1, 2, 20] {
            let pace = Pace::default();
            let mut free = vec![1_000; sessions];
            let mut taken = 0;
            for now in 1_000..11_000 {
                for resumes in free.iter_mut().filter(|resumes| **resumes <= now) {
                    *resumes = pace.take(CHUNK, RATE, now);
                    taken += CHUNK;
                }
            }
            let most = 10 * RATE.get() + 2 * CHUNK * u64::try_from(sessions).unwrap();
            assert!((9 * RATE.get()..=most).contains(&taken), "{sessions}: {taken}");
        }
    }

    #[test]
    fn who_comes_alone_waits_for_nobody() {
        let pace = Pace::default();
        assert_eq!(pace.take(CHUNK, RATE, 5_000), 5_125);
        assert_eq!(pace.take(CHUNK, RATE, 9_000), 9_125);
        assert_eq!(pace.take(1, RATE, 10_000), 10_001, "a turn is never for nothing");
    }

    #[test]
    fn a_turn_is_never_far_off() {
        let pace = Pace::default();
        for _ in 0..10_000 {
            assert!(pace.take(CHUNK, RATE, 1_000) <= 1_000 + LONGEST_MS + 125);
        }
        assert!(pace.take(u64::MAX, RATE, 1_000) > 1_000, "and never overflows");
    }
}
