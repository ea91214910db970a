//! What is counted of a user day by day.

/// What a baseline is of. The store has a column for each, and a row for each user and day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Bytes of messages sent to the client.
    FetchedBytes,
    /// Messages sent to the client.
    FetchedMessages,
    /// Bytes of messages appended.
    AppendedBytes,
    /// Messages appended.
    AppendedMessages,
    /// Commands.
    Commands,
    /// Logins that succeeded.
    Logins,
}

impl Measure {
    /// All of them, in the order in which arrays of them are kept.
    pub const ALL: [Self; 6] = [
        Self::FetchedBytes,
        Self::FetchedMessages,
        Self::AppendedBytes,
        Self::AppendedMessages,
        Self::Commands,
        Self::Logins,
    ];

    /// The word in the store and in test tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FetchedBytes => "fetched_bytes",
            Self::FetchedMessages => "fetched_messages",
            Self::AppendedBytes => "appended_bytes",
            Self::AppendedMessages => "appended_messages",
            Self::Commands => "commands",
            Self::Logins => "logins",
        }
    }
}

/// One number for each measure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts([u64; Measure::ALL.len()]);

impl Amounts {
    /// Nothing but so much of one measure.
    #[must_use]
    pub fn of(measure: Measure, amount: u64) -> Self {
        let mut amounts = Self::default();
        amounts.add(measure, amount);
        amounts
    }

    /// The number of a measure.
    #[must_use]
    pub fn of_measure(&self, measure: Measure) -> u64 {
        self.iter()
            .find(|(known, _)| *known == measure)
            .map_or(0, |(_, amount)| amount)
    }

    /// Adds to a measure; saturates.
    pub fn add(&mut self, measure: Measure, amount: u64) {
        for (known, total) in Measure::ALL.into_iter().zip(&mut self.0) {
            if known == measure {
                *total = total.saturating_add(amount);
            }
        }
    }

    /// Adds all of another; saturates.
    pub fn add_all(&mut self, other: &Self) {
        for (total, more) in self.0.iter_mut().zip(other.0) {
            *total = total.saturating_add(more);
        }
    }

    /// True where all are zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|amount| *amount == 0)
    }

    /// Each measure with its number.
    pub fn iter(&self) -> impl Iterator<Item = (Measure, u64)> {
        Measure::ALL.into_iter().zip(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_add_up_by_measure_and_saturate() {
        let mut amounts = Amounts::of(Measure::Commands, 2);
        assert!(!amounts.is_empty());
        amounts.add(Measure::Commands, u64::MAX);
        amounts.add_all(&Amounts::of(Measure::Logins, 3));
        assert_eq!(amounts.of_measure(Measure::Commands), u64::MAX);
        assert_eq!(amounts.of_measure(Measure::Logins), 3);
        assert_eq!(amounts.of_measure(Measure::FetchedBytes), 0);
        assert!(Amounts::default().is_empty());
    }
}
