//! Wall-clock time as the store and second factors use it.

use std::time::Duration;

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub i64);

impl UnixTime {
    /// This much later; saturates instead of wrapping.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_secs()).unwrap_or(i64::MAX)),
        )
    }

    /// This much earlier; saturates instead of wrapping.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(span.as_secs()).unwrap_or(i64::MAX)),
        )
    }
}
