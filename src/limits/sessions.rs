//! Sessions of one user at once: in all, and from one source.
//!
//! Held by a [`SessionPermit`], given back when it is dropped. Only who is known to be right is counted here, so a stranger
//! can neither fill the counts nor keep anyone out. Sessions at other replicas are stated by the caller, as far as they are known.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::types::Elsewhere;
use crate::types::Networks;
use crate::types::Prefix;
use crate::types::Refusal;
use crate::types::UserName;

/// The limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Sessions of one user. Every device of a user holds five to ten.
    pub per_user: u32,
    /// Sessions of one user from one prefix.
    pub per_user_and_prefix: u32,
    /// Probes and trusted proxies (webmail): not counted.
    pub exempt: Networks,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            per_user: 100,
            per_user_and_prefix: 50,
            exempt: Networks::default(),
        }
    }
}

/// All users' sessions.
pub struct Sessions {
    state: Mutex<State>,
}

/// A user's name without the case of its letters: for many backends there are no others, and nobody has more places by another way of
/// writing it.
type Name = Box<str>;

#[derive(Debug, Default)]
struct State {
    options: Options,
    users: HashMap<Name, u32>,
    pairs: HashMap<(Name, Prefix), u32>,
    /// From how many prefixes each user has sessions.
    networks: HashMap<Name, u32>,
}

impl Sessions {
    /// No sessions yet.
    #[must_use]
    pub fn new(options: Options) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                options,
                ..State::default()
            }),
        })
    }

    /// Puts new limits in force; sessions that are open stay so.
    pub fn set_options(&self, options: Options) {
        self.lock().options = options;
    }

    /// Takes a place for a session of a user who has others elsewhere, or none.
    ///
    /// # Errors
    /// [`Refusal::SessionLimit`] where the user has as many as allowed.
    pub fn open(
        self: &Arc<Self>,
        user: &UserName,
        ip: IpAddr,
        elsewhere: Elsewhere,
    ) -> Result<SessionPermit, Refusal> {
        let key = (Name::from(user.folded()), Prefix::of(ip));
        let mut state = self.lock();
        let counted = !state.options.exempt.contains(ip);
        if counted {
            let of_user = state.users.get(&key.0).copied().unwrap_or_default();
            let of_pair = state.pairs.get(&key).copied().unwrap_or_default();
            let all = of_user.saturating_add(elsewhere.of_user);
            let from_there = of_pair.saturating_add(elsewhere.of_network);
            if all >= state.options.per_user || from_there >= state.options.per_user_and_prefix {
                return Err(Refusal::SessionLimit);
            }
            *state.users.entry(key.0.clone()).or_default() += 1;
            if of_pair == 0 {
                *state.networks.entry(key.0.clone()).or_default() += 1;
            }
            *state.pairs.entry(key.clone()).or_default() += 1;
        }
        Ok(SessionPermit {
            sessions: Arc::clone(self),
            key: counted.then_some(key),
        })
    }

    /// How many sessions of the user are counted.
    #[must_use]
    pub fn of(&self, user: &UserName) -> u32 {
        self.lock()
            .users
            .get(&*user.folded())
            .copied()
            .unwrap_or_default()
    }

    /// From how many prefixes these are.
    #[must_use]
    pub fn networks_of(&self, user: &UserName) -> u32 {
        self.lock()
            .networks
            .get(&*user.folded())
            .copied()
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is logged in is for the session list, not for debug output.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

/// A session's place among those of its user; dropping it gives the place back.
#[must_use = "the place is given back when the permit is dropped"]
#[derive(Debug)]
pub struct SessionPermit {
    sessions: Arc<Sessions>,
    /// `None`: exempt, not counted.
    key: Option<(Name, Prefix)>,
}

impl Drop for SessionPermit {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let mut state = self.sessions.lock();
            release(&mut state.users, &key.0);
            if release(&mut state.pairs, &key) {
                release(&mut state.networks, &key.0);
            }
        }
    }
}

/// One less, and no entry at zero: true where that was the last.
fn release<K: Hash + Eq>(map: &mut HashMap<K, u32>, key: &K) -> bool {
    let Some(count) = map.get_mut(key) else {
        return false;
    };
    *count = count.saturating_sub(1);
    let was_last = *count == 0;
    if was_last {
        map.remove(key);
    }
    was_last
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> UserName {
        UserName::parse(text.as_bytes()).unwrap()
    }

    fn sessions() -> Arc<Sessions> {
        Sessions::new(Options {
            per_user: 3,
            per_user_and_prefix: 2,
            exempt: Networks::new(vec!["10.0.0.0/8".parse().unwrap()]),
        })
    }

    #[test]
    fn sessions_are_limited_by_user_and_by_user_and_prefix() {
        let sessions = sessions();
        let mut held = Vec::new();
        for (user, ip, expected) in [
            ("alice", "192.0.2.1", true),
            ("alice", "192.0.2.1", true),
            ("alice", "192.0.2.1", false),
            ("bob", "192.0.2.1", true),
            ("alice", "192.0.2.2", true),
            ("alice", "192.0.2.3", false),
            ("ALICE", "192.0.2.4", false),
            ("alice", "10.0.0.1", true),
        ] {
            let permit = sessions.open(&name(user), ip.parse().unwrap(), Elsewhere::default());
            assert_eq!(permit.is_ok(), expected, "{user} {ip}");
            held.extend(permit);
        }
        assert_eq!(sessions.of(&name("Alice")), 3);
        assert_eq!(sessions.networks_of(&name("alice")), 2);
        held.clear();
        assert_eq!(sessions.of(&name("alice")), 0);
        assert_eq!(sessions.networks_of(&name("alice")), 0);
        assert!(
            sessions
                .open(&name("alice"), "192.0.2.1".parse().unwrap(), Elsewhere::default())
                .is_ok()
        );
    }

    #[test]
    fn sessions_elsewhere_count_as_those_here_do_and_only_where_sessions_are_counted() {
        let sessions = sessions();
        let (alice, ip) = (name("alice"), "192.0.2.1".parse().unwrap());
        let elsewhere = |of_user, of_network| Elsewhere { of_user, of_network };
        assert!(sessions.open(&alice, ip, elsewhere(3, 0)).is_err());
        assert!(sessions.open(&alice, ip, elsewhere(2, 2)).is_err());
        let held = sessions.open(&alice, ip, elsewhere(2, 1));
        assert!(held.is_ok());
        assert!(sessions.open(&alice, ip, elsewhere(2, 0)).is_err());
        assert!(
            sessions
                .open(&alice, "10.0.0.1".parse().unwrap(), elsewhere(9, 9))
                .is_ok()
        );
        assert!(sessions.open(&alice, ip, elsewhere(0, 0)).is_ok());
    }

    proptest! {
        #[test]
        fn counts_are_what_is_held_and_nothing_leaks(
            steps in prop::collection::vec((any::<bool>(), 0_u8..3, 0_u8..3, 0_usize..8), 0..200)
        ) {
            let sessions = sessions();
            let mut held = Vec::new();
            for (open, user, host, index) in steps {
                if open {
                    let ip = IpAddr::from([192, 0, 2, host]);
                    held.extend(sessions.open(&name(&user.to_string()), ip, Elsewhere::default()));
                } else if index < held.len() {
                    drop(held.swap_remove(index));
                }
                let state = sessions.lock();
                prop_assert_eq!(usize::try_from(state.users.values().sum::<u32>()).unwrap(), held.len());
                prop_assert!(state.users.values().all(|count| (1..=3).contains(count)));
                prop_assert!(state.pairs.values().all(|count| (1..=2).contains(count)));
                for (user, networks) in &state.networks {
                    let of_user = state.pairs.keys().filter(|(of, _)| of == user).count();
                    prop_assert_eq!(usize::try_from(*networks).unwrap(), of_user);
                }
            }
            held.clear();
            let state = sessions.lock();
            prop_assert!(state.users.is_empty() && state.pairs.is_empty() && state.networks.is_empty());
        }
    }
}
