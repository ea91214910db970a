//! Stops trying a backend that is down, and finds out when it is up again. Counts distinct client networks: a client that
//! fails by itself, however often, must not make the backend look down for everybody else.

use std::time::Instant;

use crate::backend::options::BreakerOptions;
use crate::types::Prefix;

/// The state of one backend. Holds at most as many failures as open it.
#[derive(Debug)]
pub(super) struct Breaker {
    options: BreakerOptions,
    state: State,
}

#[derive(Debug)]
enum State {
    /// All may try.
    Closed { failures: Vec<(Prefix, Instant)> },
    /// Nobody may until then.
    Open { until: Instant },
    /// One is trying for all.
    Probing,
}

/// Leave to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// As one of many.
    Ordinary,
    /// As the one that finds out.
    Probe,
}

/// What an outcome changed, to be logged once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Opened,
    Closed,
}

impl Breaker {
    pub(super) fn new(options: BreakerOptions) -> Self {
        Self {
            options,
            state: State::Closed { failures: Vec::new() },
        }
    }

    /// Leave to try now, if any.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Admission> {
        match self.state {
            State::Closed { .. } => Some(Admission::Ordinary),
            State::Open { until } if now >= until => {
                self.state = State::Probing;
                Some(Admission::Probe)
            }
            State::Open { .. } | State::Probing => None,
        }
    }

    /// The backend works: whoever found out, all may try.
    pub(super) fn succeeded(&mut self) -> Change {
        let was_closed = matches!(self.state, State::Closed { .. });
        self.state = State::Closed { failures: Vec::new() };
        if was_closed { Change::None } else { Change::Closed }
    }

    /// The backend did not work for this client.
    pub(super) fn failed(&mut self, admission: Admission, client: Prefix, now: Instant) -> Change {
        let until = now + self.options.pause;
        match &mut self.state {
            State::Closed { failures } => {
                let site = client.site();
                let window = self.options.window;
                failures
                    .retain(|(failed, at)| *failed != site && now.saturating_duration_since(*at) < window);
                failures.push((site, now));
                if failures.len() < self.options.clients {
                    return Change::None;
                }
                self.state = State::Open { until };
                Change::Opened
            }
            State::Probing if admission == Admission::Probe => {
                self.state = State::Open { until };
                Change::None
            }
            State::Probing | State::Open { .. } => Change::None,
        }
    }

    /// An attempt ended without telling anything; where it was the probe, the next one may find out.
    pub(super) fn abandoned(&mut self, admission: Admission, now: Instant) {
        if admission == Admission::Probe && matches!(self.state, State::Probing) {
            self.state = State::Open { until: now };
        }
    }

    /// True where nobody is let through but a probe.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker() -> Breaker {
        Breaker::new(BreakerOptions {
            clients: 3,
            window: 60 * SECOND,
            pause: 10 * SECOND,
        })
    }

    fn client(n: u8) -> Prefix {
        Prefix::of([192, 0, 2, n].into())
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = breaker();
        let changes = [1, 2, 3].map(|n| breaker.failed(Admission::Ordinary, client(n), now));
        assert_eq!(changes, [Change::None, Change::None, Change::Opened]);
        breaker
    }

    #[test]
    fn one_client_that_fails_for_ever_opens_nothing() {
        let (mut breaker, now) = (breaker(), Instant::now());
        for second in 0..1000 {
            let change = breaker.failed(Admission::Ordinary, client(1), now + second * SECOND);
            assert_eq!(change, Change::None);
        }
        // A site's many networks are one client, too.
        for n in 0..100 {
            let prefix = Prefix::of(format!("2001:db8:1:{n}::1").parse().unwrap());
            assert_eq!(
                breaker.failed(Admission::Ordinary, prefix, now + 1000 * SECOND),
                Change::None
            );
        }
        assert_eq!(breaker.admit(now + 1000 * SECOND), Some(Admission::Ordinary));
    }

    #[test]
    fn distinct_clients_open_it_only_within_the_window() {
        let (mut breaker, now) = (breaker(), Instant::now());
        for n in 0..100u8 {
            let change = breaker.failed(Admission::Ordinary, client(n), now + u32::from(n) * 31 * SECOND);
            assert_eq!(change, Change::None, "two in a minute are not three");
        }
    }

    #[test]
    fn a_success_forgets_the_failures() {
        let (mut breaker, now) = (breaker(), Instant::now());
        breaker.failed(Admission::Ordinary, client(1), now);
        breaker.failed(Admission::Ordinary, client(2), now);
        assert_eq!(breaker.succeeded(), Change::None);
        assert_eq!(breaker.failed(Admission::Ordinary, client(3), now), Change::None);
        assert!(!breaker.is_open());
    }

    #[test]
    fn after_the_pause_exactly_one_tries_for_all() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now + 9 * SECOND), None);
        assert_eq!(breaker.admit(now + 10 * SECOND), Some(Admission::Probe));
        assert_eq!(breaker.admit(now + 99 * SECOND), None);
        // Somebody who was let in before fails late: says nothing new.
        let late = breaker.failed(Admission::Ordinary, client(4), now + 99 * SECOND);
        assert_eq!((late, breaker.admit(now + 99 * SECOND)), (Change::None, None));
        assert_eq!(
            breaker.failed(Admission::Probe, client(4), now + 100 * SECOND),
            Change::None
        );
        assert_eq!(breaker.admit(now + 109 * SECOND), None);
        assert_eq!(breaker.admit(now + 110 * SECOND), Some(Admission::Probe));
        assert_eq!(breaker.succeeded(), Change::Closed);
        assert_eq!(breaker.admit(now + 110 * SECOND), Some(Admission::Ordinary));
    }

    #[test]
    fn an_abandoned_probe_lets_the_next_one_try_at_once() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now + 10 * SECOND), Some(Admission::Probe));
        breaker.abandoned(Admission::Ordinary, now + 11 * SECOND);
        assert_eq!(breaker.admit(now + 11 * SECOND), None);
        breaker.abandoned(Admission::Probe, now + 11 * SECOND);
        assert_eq!(breaker.admit(now + 11 * SECOND), Some(Admission::Probe));
    }

    #[test]
    fn anybody_who_gets_through_closes_it() {
        let mut breaker = opened(Instant::now());
        assert_eq!(breaker.succeeded(), Change::Closed);
        assert!(!breaker.is_open());
    }

    #[test]
    fn its_memory_is_bounded() {
        let (mut breaker, now) = (breaker(), Instant::now());
        for n in 0..10_000u32 {
            breaker.failed(Admission::Ordinary, Prefix::of(n.to_be_bytes().into()), now);
            if let State::Closed { failures } = &breaker.state {
                assert!(failures.len() < 3);
            }
        }
    }
}
