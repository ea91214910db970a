//! The first sync: a new credential may fetch a whole account once, from one network and with one kind of client.
//!
//! A mail program that is set up anew looks like a thief: every mailbox, every message, as fast as it can. What tells them
//! apart is the credential: nobody has used a new one yet. So each gets one allowance of bytes and days, which opens with its
//! first use and is bound to where that came from. A credential that was used before gets none, one that waited too long gets
//! none, and what has ended never opens again, whatever the options become.

use std::sync::Arc;
use std::time::Duration;

use crate::types::UnixTime;

/// How far a clock may have been set back before an allowance seems to come from the future.
const CLOCK_SLACK: Duration = Duration::from_mins(5);

/// How large an allowance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// From the making of a credential to its first use.
    pub unused: Duration,
    /// From the first use to the end.
    pub life: Duration,
    /// Bytes of messages. Zero: nobody has an allowance.
    pub bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            unused: Duration::from_hours(7 * 24),
            life: Duration::from_hours(7 * 24),
            bytes: 20 << 30,
        }
    }
}

/// A keyed hash of the network that an allowance is bound to.
pub type Network = [u8; 32];

/// What a credential's first use has opened. One whose first use opened nothing has one that ended at once: it says who used
/// it first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// When the credential was first used.
    pub opened: UnixTime,
    /// Bytes left.
    pub left: u64,
    /// From which network it was first used.
    pub network: Network,
    /// By which family of clients, once that is known.
    pub family: Option<Arc<str>>,
    /// When it was spent, or found to be over.
    pub ended: Option<UnixTime>,
}

impl Allowance {
    /// One that ended as it was opened.
    #[must_use]
    pub fn nothing(network: Network, now: UnixTime) -> Self {
        Self {
            opened: now,
            left: 0,
            network,
            family: None,
            ended: Some(now),
        }
    }

    /// True while there is something left to spend.
    #[must_use]
    pub fn is_open(&self, options: &Options, now: UnixTime) -> bool {
        self.ended.is_none() && self.left > 0 && self.is_in_time(options, now)
    }

    /// When it is over, spent or not.
    #[must_use]
    pub fn end(&self, options: &Options) -> UnixTime {
        self.opened.plus(options.life)
    }

    fn is_in_time(&self, options: &Options, now: UnixTime) -> bool {
        // A clock that was set back must not make it longer than it is.
        now < self.end(options) && now >= self.opened.minus(CLOCK_SLACK)
    }

    /// Takes bytes that were sent. What is beyond it is not owed: it ends the allowance.
    pub fn spend(&mut self, bytes: u64, now: UnixTime) {
        self.left = self.left.saturating_sub(bytes);
        if self.left == 0 && self.ended.is_none() {
            self.ended = Some(now);
        }
    }

    /// Makes a change that [`judge`] asked for. What was decided before stays decided.
    pub fn change(&mut self, update: Update) {
        match update {
            // Somebody else was first.
            Update::Open(_) => {}
            Update::Learn(family) => {
                self.family.get_or_insert(family);
            }
            Update::End(now) => {
                self.ended.get_or_insert(now);
            }
        }
    }
}

/// The credential that somebody comes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credential {
    /// When it was made.
    pub created: UnixTime,
    /// Whether it was used before, as far as anybody remembers.
    pub is_used: bool,
}

/// Where from and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit<'a> {
    /// The network.
    pub network: Network,
    /// The family of clients; `None` while it is not known. Judge again when it is.
    pub family: Option<&'a str>,
}

/// What must be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// The credential's first use.
    Open(Allowance),
    /// The family of clients that used it first.
    Learn(Arc<str>),
    /// It is over.
    End(UnixTime),
}

/// What a visit is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstSync {
    /// Whether it draws on the allowance.
    pub is_first_sync: bool,
    /// Bytes it may still draw; zero where it draws none.
    pub left: u64,
    /// What changes with it.
    pub update: Option<Update>,
}

impl FirstSync {
    fn no(update: Option<Update>) -> Self {
        Self {
            is_first_sync: false,
            left: 0,
            update,
        }
    }

    fn yes(left: u64, update: Option<Update>) -> Self {
        Self {
            is_first_sync: true,
            left,
            update,
        }
    }
}

/// Says whether a visit is part of its credential's first sync. At the login, and again whenever the family becomes known.
#[must_use]
pub fn judge(
    allowance: Option<&Allowance>,
    credential: Credential,
    visit: Visit<'_>,
    options: &Options,
    now: UnixTime,
) -> FirstSync {
    let Some(allowance) = allowance else {
        return first_use(credential, visit, options, now);
    };
    let learn = match (&allowance.family, visit.family) {
        (None, Some(family)) => Some(Update::Learn(family.into())),
        _ => None,
    };
    if !allowance.is_open(options, now) {
        return FirstSync::no(match allowance.ended {
            Some(_) => learn,
            None => Some(Update::End(now)),
        });
    }
    // A family that is not known is none that was there before. And whoever comes from elsewhere teaches us nothing.
    let is_same = allowance.network == visit.network
        && (allowance.family.is_none() || allowance.family.as_deref() == visit.family);
    if is_same {
        FirstSync::yes(allowance.left, learn)
    } else {
        FirstSync::no(None)
    }
}

fn first_use(credential: Credential, visit: Visit<'_>, options: &Options, now: UnixTime) -> FirstSync {
    let is_new = !credential.is_used && now < credential.created.plus(options.unused);
    let left = if is_new { options.bytes } else { 0 };
    let opened = Allowance {
        opened: now,
        left,
        network: visit.network,
        family: visit.family.map(Arc::from),
        ended: (left == 0).then_some(now),
    };
    let is_open = opened.is_open(options, now);
    let update = Some(Update::Open(opened));
    if is_open {
        FirstSync::yes(left, update)
    } else {
        FirstSync::no(update)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOME: Network = [1; 32];
    const AWAY: Network = [2; 32];
    const MADE: UnixTime = UnixTime(1_000_000);
    const DAY: i64 = 86_400;

    fn options() -> Options {
        Options {
            bytes: 1_000,
            ..Options::default()
        }
    }

    fn fresh() -> Credential {
        Credential {
            created: MADE,
            is_used: false,
        }
    }

    fn visit(network: Network, family: Option<&str>) -> Visit<'_> {
        Visit { network, family }
    }

    fn at(seconds: i64) -> UnixTime {
        UnixTime(MADE.0 + seconds)
    }

    fn opened(found: &FirstSync) -> Allowance {
        match &found.update {
            Some(Update::Open(allowance)) => allowance.clone(),
            other => panic!("not opened: {other:?}"),
        }
    }

    /// An allowance opened from home at `at(0)`.
    fn open(family: Option<&str>) -> Allowance {
        let found = judge(None, fresh(), visit(HOME, family), &options(), at(0));
        assert!(found.is_first_sync);
        opened(&found)
    }

    fn is_first_sync(allowance: &Allowance, visit: Visit<'_>, now: UnixTime) -> bool {
        judge(Some(allowance), fresh(), visit, &options(), now).is_first_sync
    }

    #[test]
    fn a_new_credential_has_an_allowance_for_its_first_use_until_it_has_waited_too_long() {
        for (seconds, wanted) in [(-60, true), (0, true), (7 * DAY - 1, true), (7 * DAY, false)] {
            let found = judge(None, fresh(), visit(HOME, None), &options(), at(seconds));
            assert_eq!(found.is_first_sync, wanted, "{seconds}");
            assert_eq!(found.left, if wanted { 1_000 } else { 0 });
            assert_eq!(opened(&found).ended.is_none(), wanted);
        }
    }

    #[test]
    fn a_credential_that_was_used_before_has_none_and_its_client_is_remembered() {
        let used = Credential {
            is_used: true,
            ..fresh()
        };
        let found = judge(None, used, visit(HOME, Some("k9")), &options(), at(0));
        assert!(!found.is_first_sync);
        let kept = opened(&found);
        assert_eq!((kept.left, kept.family.as_deref()), (0, Some("k9")));
        assert!(!is_first_sync(&kept, visit(HOME, Some("k9")), at(1)));
    }

    #[test]
    fn an_allowance_ends_with_its_days_and_the_end_is_remembered() {
        let allowance = open(None);
        assert!(is_first_sync(&allowance, visit(HOME, None), at(7 * DAY - 1)));
        let over = judge(
            Some(&allowance),
            fresh(),
            visit(HOME, None),
            &options(),
            at(7 * DAY),
        );
        assert_eq!(over, FirstSync::no(Some(Update::End(at(7 * DAY)))));
        let mut ended = allowance;
        ended.change(Update::End(at(7 * DAY)));
        let longer = Options {
            life: Duration::from_hours(1_000),
            bytes: u64::MAX,
            ..options()
        };
        let again = judge(Some(&ended), fresh(), visit(HOME, None), &longer, at(7 * DAY));
        assert_eq!(again, FirstSync::no(None), "longer options bring nothing back");
    }

    #[test]
    fn an_allowance_ends_with_its_last_byte() {
        let mut allowance = open(None);
        allowance.spend(999, at(5));
        assert!(is_first_sync(&allowance, visit(HOME, None), at(5)));
        assert_eq!(allowance.ended, None);
        allowance.spend(1, at(6));
        assert!(!is_first_sync(&allowance, visit(HOME, None), at(6)));
        allowance.spend(1, at(7));
        assert_eq!((allowance.left, allowance.ended), (0, Some(at(6))));
    }

    #[test]
    fn another_network_or_family_is_no_first_sync_and_takes_nothing_away() {
        let allowance = open(Some("thunderbird"));
        for stranger in [
            visit(AWAY, Some("thunderbird")),
            visit(HOME, Some("python")),
            visit(HOME, None),
        ] {
            let found = judge(Some(&allowance), fresh(), stranger, &options(), at(1));
            assert_eq!(found, FirstSync::no(None), "{stranger:?}");
        }
        assert!(is_first_sync(&allowance, visit(HOME, Some("thunderbird")), at(1)));
    }

    #[test]
    fn a_family_that_becomes_known_binds_from_then_on() {
        let mut allowance = open(None);
        let elsewhere = judge(
            Some(&allowance),
            fresh(),
            visit(AWAY, Some("python")),
            &options(),
            at(1),
        );
        assert_eq!(
            elsewhere,
            FirstSync::no(None),
            "nothing is learnt from a stranger"
        );
        let named = judge(
            Some(&allowance),
            fresh(),
            visit(HOME, Some("k9")),
            &options(),
            at(1),
        );
        assert_eq!(named, FirstSync::yes(1_000, Some(Update::Learn("k9".into()))));
        allowance.change(Update::Learn("k9".into()));
        allowance.change(Update::Learn("python".into()));
        assert!(is_first_sync(&allowance, visit(HOME, Some("k9")), at(2)));
        assert!(!is_first_sync(&allowance, visit(HOME, Some("python")), at(2)));
    }

    #[test]
    fn an_allowance_from_the_future_is_not_open() {
        let allowance = open(None);
        assert!(is_first_sync(&allowance, visit(HOME, None), at(-300)));
        assert!(!is_first_sync(&allowance, visit(HOME, None), at(-301)));
    }

    #[test]
    fn without_bytes_or_days_nobody_has_an_allowance() {
        for none in [
            Options {
                bytes: 0,
                ..options()
            },
            Options {
                life: Duration::ZERO,
                ..options()
            },
            Options {
                unused: Duration::ZERO,
                ..options()
            },
        ] {
            let found = judge(None, fresh(), visit(HOME, None), &none, at(0));
            assert!(!found.is_first_sync, "{none:?}");
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Wait(i64),
        Come {
            home: bool,
            family: Option<u8>,
            fetch: u64,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3 * DAY).prop_map(Step::Wait),
            (any::<bool>(), proptest::option::of(0..2_u8), 0..400_u64)
                .prop_map(|(home, family, fetch)| { Step::Come { home, family, fetch } }),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_the_allowance_is_one_network_one_family_its_bytes_and_its_days(
            first in 0..9 * DAY,
            used in any::<bool>(),
            steps in proptest::collection::vec(step(), 0..40),
        ) {
            let options = options();
            let mut allowance: Option<Allowance> = None;
            let mut now = at(first);
            let mut granted = Vec::new();
            let mut is_used = used;
            for step in steps {
                let (home, family, fetch) = match step {
                    Step::Wait(span) => {
                        now = UnixTime(now.0 + span);
                        continue;
                    }
                    Step::Come { home, family, fetch } => (home, family.map(|f| f.to_string()), fetch),
                };
                let network = if home { HOME } else { AWAY };
                let credential = Credential { created: MADE, is_used };
                let found = judge(allowance.as_ref(), credential, visit(network, family.as_deref()), &options, now);
                is_used = true;
                prop_assert_eq!(found.is_first_sync, found.left > 0);
                match (&mut allowance, found.update) {
                    (None, Some(Update::Open(opened))) => allowance = Some(opened),
                    (Some(kept), Some(update)) => kept.change(update),
                    (None, other) => prop_assert!(false, "the first use is remembered: {other:?}"),
                    (Some(_), None) => {}
                }
                if found.is_first_sync {
                    granted.push((now, network, family, fetch.min(found.left)));
                    allowance.as_mut().unwrap().spend(fetch, now);
                }
            }
            let Some((opened, network, _, _)) = granted.first().cloned() else { return Ok(()) };
            prop_assert!(!used && opened < at(7 * DAY));
            prop_assert!(granted.iter().all(|(at, ..)| *at < opened.plus(options.life)));
            prop_assert!(granted.iter().all(|(_, from, ..)| *from == network));
            prop_assert!(granted.iter().map(|(.., bytes)| bytes).sum::<u64>() <= options.bytes);
            let mut families: Vec<_> = granted.iter().filter_map(|(_, _, family, _)| family.clone()).collect();
            families.dedup();
            prop_assert!(families.len() <= 1);
        }
    }
}
