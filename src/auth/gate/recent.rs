//! Sources from which users were known a moment ago. Asked again, the store would say the same: whoever reconnects costs it
//! one question less.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::types::Prefix;
use crate::types::UnixTime;
use crate::types::UserName;

/// How long what the store said is believed.
const LIFE: Duration = Duration::from_mins(10);

/// Most sources that are kept: some 2 MiB.
const MOST: usize = 65_536;

/// The sources, by keyed hashes.
#[derive(Debug, Default)]
pub(super) struct Recent {
    hasher: RandomState,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of the store's last change: after another one it is asked again.
    version: u64,
    until: HashMap<u64, UnixTime>,
}

impl Recent {
    /// True where the user was known from there a moment ago, and nothing has changed since.
    pub(super) fn knows(&self, user: &UserName, from: Prefix, version: u64, now: UnixTime) -> bool {
        let kept = self.lock();
        let until = kept.until.get(&self.hasher.hash_one((user, from)));
        kept.version == version && until.is_some_and(|until| now < *until)
    }

    /// The user is known from there.
    pub(super) fn remember(&self, user: &UserName, from: Prefix, version: u64, now: UnixTime) {
        let source = self.hasher.hash_one((user, from));
        let mut kept = self.lock();
        if kept.version != version || (kept.until.len() >= MOST && !kept.until.contains_key(&source)) {
            kept.until.clear();
        }
        kept.version = version;
        kept.until.insert(source, now.plus(LIFE));
    }

    /// A panic elsewhere leaves the map whole.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_000_000);

    fn alice() -> UserName {
        UserName::parse(b"alice").unwrap()
    }

    fn from(ip: &str) -> Prefix {
        Prefix::of(ip.parse().unwrap())
    }

    #[test]
    fn a_source_is_believed_for_a_while_and_until_the_store_changes() {
        let recent = Recent::default();
        let (home, other) = (from("192.0.2.1"), from("198.51.100.1"));
        assert!(!recent.knows(&alice(), home, 1, NOW));
        recent.remember(&alice(), home, 1, NOW);
        assert!(recent.knows(&alice(), home, 1, NOW));
        assert!(!recent.knows(&alice(), other, 1, NOW));
        assert!(!recent.knows(&UserName::parse(b"bob").unwrap(), home, 1, NOW));
        assert!(recent.knows(&alice(), home, 1, UnixTime(NOW.0 + 599)));
        assert!(!recent.knows(&alice(), home, 1, UnixTime(NOW.0 + 600)));
        assert!(!recent.knows(&alice(), home, 2, NOW), "something has changed");
        recent.remember(&alice(), other, 2, NOW);
        assert!(
            !recent.knows(&alice(), home, 2, NOW),
            "what was known before the change is forgotten"
        );
    }

    #[test]
    fn it_never_keeps_more_than_its_bound() {
        let recent = Recent::default();
        for number in 0..=u32::try_from(MOST).unwrap() {
            recent.remember(
                &alice(),
                Prefix::of(std::net::Ipv4Addr::from(number).into()),
                1,
                NOW,
            );
        }
        assert_eq!(recent.lock().until.len(), 1);
        assert!(recent.knows(
            &alice(),
            Prefix::of(std::net::Ipv4Addr::from(65_536).into()),
            1,
            NOW
        ));
    }
}
