//! Where the program reads clocks and draws chance: everything below gets both as arguments.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use crate::net::random;
use crate::types::SessionId;
use crate::types::UnixTime;

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The wall clock in whole seconds.
pub fn unix() -> UnixTime {
    let since = wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// A name for a session.
pub(super) fn session_id() -> SessionId {
    SessionId::new(random_bits())
}

/// Bits for a name. A random source that fails gives up uniqueness, not safety: names are no secrets.
pub(super) fn random_bits() -> u64 {
    let mut bits = [0; 8];
    if random::fill(&mut bits).is_err() {
        let nanos = wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        bits = u64::try_from(nanos).unwrap_or_default().to_be_bytes();
    }
    u64::from_be_bytes(bits)
}
