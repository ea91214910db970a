//! A map with a bound, for keys that strangers choose: addresses and names.
//!
//! When it is full it forgets what no longer holds anything against anyone, and nothing else. What still does is never
//! evicted, or a flood of fresh addresses would wipe the flooder's own record. So a full map may refuse a new key, and the
//! caller then counts under a coarser one.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::limits::tick::Tick;

/// How long a full map waits before it looks again for entries to forget: looking costs a walk through all of them.
const RECLAIM_PAUSE: Duration = Duration::from_secs(1);

/// Below this many entries a map keeps its memory: shrinking would only make it grow again.
const KEEP: usize = 1024;

/// What a map must know about its entries to forget the right ones.
pub(super) trait Entry {
    /// True while forgetting it would forgive somebody: a count, a pending delay, a login in progress.
    fn is_pending(&self, now: Tick) -> bool;

    /// True while it is worth its memory. Pending entries always are.
    fn is_useful(&self, now: Tick) -> bool;
}

/// How much of the map a new key may fill. What is left over stays free for those who rank higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// A source the user has logged in from before: all of it.
    Known,
    /// An unknown IPv4 address, which is expensive to have many of: seven eighths.
    Scarce,
    /// An unknown IPv6 prefix, which anybody has thousands of: half.
    Plentiful,
}

impl Rank {
    fn share(self, capacity: usize) -> usize {
        match self {
            Self::Known => capacity,
            Self::Scarce => capacity - capacity / 8,
            Self::Plentiful => capacity / 2,
        }
    }
}

/// At most `capacity` entries.
#[derive(Debug)]
pub(super) struct BoundedMap<K, V> {
    entries: HashMap<K, V>,
    capacity: usize,
    reclaim_after: Tick,
}

impl<K: Hash + Eq, V: Entry + Default> BoundedMap<K, V> {
    /// An empty map; it allocates as it fills.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: HashMap::new(),
            capacity,
            reclaim_after: Tick::default(),
        }
    }

    /// The entry, if there is one.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    /// The entry, if there is one.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    /// The entry, made where there is none. `None` where there is no room for another.
    pub(super) fn entry(&mut self, key: K, rank: Rank, now: Tick) -> Option<&mut V> {
        let share = rank.share(self.capacity);
        if self.entries.len() >= share && !self.entries.contains_key(&key) {
            self.reclaim(now);
            if self.entries.len() >= share {
                return None;
            }
        }
        Some(self.entries.entry(key).or_default())
    }

    /// Forgets what is no longer useful and gives the memory back. To be called every half minute or so.
    pub(super) fn sweep(&mut self, now: Tick) {
        self.entries
            .retain(|_, entry| entry.is_pending(now) || entry.is_useful(now));
        let len = self.entries.len();
        if self.entries.capacity() / 4 > len.max(KEEP) {
            self.entries.shrink_to(len.saturating_mul(2).max(KEEP));
        }
    }

    /// Changes the bound. Entries beyond it go when their time comes, not before.
    pub(super) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The memory it holds, in bytes: hash tables have a power of two of buckets, an eighth of them free, and a control byte
    /// for each.
    pub(super) fn bytes(&self) -> usize {
        let buckets = match self.entries.capacity() {
            0 => 0,
            usable => (usable + usable.div_ceil(7)).next_power_of_two(),
        };
        buckets * (size_of::<(K, V)>() + 1)
    }

    /// Under pressure everything goes that is not pending, however useful.
    fn reclaim(&mut self, now: Tick) {
        if now < self.reclaim_after {
            return;
        }
        self.reclaim_after = now.plus(RECLAIM_PAUSE);
        self.entries.retain(|_, entry| entry.is_pending(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Record {
        pending_until: Tick,
        useful_until: Tick,
    }

    impl Entry for Record {
        fn is_pending(&self, now: Tick) -> bool {
            now < self.pending_until
        }

        fn is_useful(&self, now: Tick) -> bool {
            now < self.useful_until
        }
    }

    fn at(seconds: u64) -> Tick {
        Tick::default().plus(Duration::from_secs(seconds))
    }

    fn full(capacity: usize, pending: u64, useful: u64) -> BoundedMap<usize, Record> {
        let mut map = BoundedMap::new(capacity);
        for key in 0..capacity {
            let entry: &mut Record = map.entry(key, Rank::Known, at(1)).unwrap();
            entry.pending_until = at(pending);
            entry.useful_until = at(useful);
        }
        map
    }

    #[test]
    fn a_full_map_forgets_what_is_not_pending_and_takes_the_new_key() {
        let mut map = full(100, 5, 100);
        assert!(map.entry(1000, Rank::Known, at(4)).is_none());
        assert!(map.entry(1000, Rank::Known, at(6)).is_some());
        assert_eq!(map.len(), 1);
    }

    #[test]
    fn a_full_map_never_forgets_what_is_pending() {
        let mut map = full(100, 1_000, 0);
        for second in 2..50 {
            assert!(map.entry(1000, Rank::Known, at(second)).is_none());
        }
        assert_eq!(map.len(), 100);
        assert!(map.entry(5, Rank::Plentiful, at(51)).is_some());
    }

    #[test]
    fn a_flood_of_cheap_keys_leaves_room_for_the_others() {
        let mut map = BoundedMap::new(80);
        let mut add = |range: std::ops::Range<usize>, rank| {
            range
                .filter(|key| {
                    map.entry(*key, rank, at(1))
                        .map(|entry: &mut Record| entry.pending_until = at(100))
                        .is_some()
                })
                .count()
        };
        assert_eq!(add(0..1000, Rank::Plentiful), 40);
        assert_eq!(add(1000..2000, Rank::Scarce), 30);
        assert_eq!(add(2000..3000, Rank::Known), 10);
    }

    #[test]
    fn a_sweep_forgets_what_is_of_no_more_use_and_gives_memory_back() {
        let mut map = full(100_000, 5, 10);
        let before = map.bytes();
        assert!(before >= 100_000 * size_of::<(usize, Record)>());
        map.sweep(at(9));
        assert_eq!(map.len(), 100_000);
        map.sweep(at(11));
        assert_eq!(map.len(), 0);
        assert!(map.bytes() * 20 < before);
    }
}
