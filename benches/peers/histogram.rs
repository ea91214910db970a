//! Durations in classes that are at most 1.6 % wide, so that any number of them takes the same memory.

use std::time::Duration;

/// Each power of two has this many classes, as a power of two.
const FINE: u32 = 6;

/// How often durations of each class were seen, in nanoseconds.
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; 64 << FINE],
            total: 0,
            longest: 0,
        }
    }
}

impl Histogram {
    pub fn add(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[class(nanoseconds)] += 1;
        self.total += 1;
        self.longest = self.longest.max(nanoseconds);
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The duration that this share of all does not exceed, in microseconds.
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map_or(self.longest, longest_of).min(self.longest) as f64 / 1e3
    }
}

fn class(value: u64) -> usize {
    let value = value.max(1);
    let top = 63 - value.leading_zeros();
    if top < FINE {
        return value as usize;
    }
    let shift = top - FINE;
    (u64::from(shift + 1) << FINE) as usize + ((value >> shift) - (1 << FINE)) as usize
}

fn longest_of(class: usize) -> u64 {
    let class = class as u64;
    if class < 1 << FINE {
        return class;
    }
    let shift = (class >> FINE) - 1;
    (((class & ((1 << FINE) - 1)) + (1 << FINE) + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_close() {
        let mut histogram = Histogram::default();
        for step in 1..=100_000 {
            histogram.add(Duration::from_nanos(step * 10));
        }
        for (share, wanted) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let got = histogram.quantile(share);
            assert!((got / wanted - 1.0).abs() < 0.02, "{share}: {got}");
        }
    }
}
