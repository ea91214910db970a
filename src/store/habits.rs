//! What is remembered of how users usually come and what they usually do, and the notes that keep it. Plain values.

use std::borrow::Cow;
use std::sync::Arc;

use crate::policy::first_sync::Allowance;
use crate::store::LastUse;
use crate::types::Amounts;
use crate::types::Measure;
use crate::types::UnixTime;
use crate::types::UserName;

/// Seconds of a day. Days are counted in UTC.
const DAY: i64 = 24 * 3600;

/// The days that averages are of, the shortest first.
const WINDOWS: [u16; 3] = [7, 14, 30];

/// Something that a user has come with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Habit {
    /// A network, as a keyed hash that depends on the user.
    Network([u8; 32]),
    /// A country, by its ISO code.
    Country(Arc<str>),
    /// An autonomous system, by its number.
    Asn(u32),
    /// A family of clients.
    Family(Arc<str>),
    /// A TLS client, by the fingerprint that it has whether it resumes a session or not.
    TlsClient(Arc<str>),
}

impl Habit {
    /// The word for its kind in the store.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Network(_) => "network",
            Self::Country(_) => "country",
            Self::Asn(_) => "asn",
            Self::Family(_) => "family",
            Self::TlsClient(_) => "tls",
        }
    }

    /// The value as the store keeps it.
    #[must_use]
    pub fn value(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Network(hash) => Cow::Borrowed(hash),
            Self::Country(text) | Self::Family(text) | Self::TlsClient(text) => {
                Cow::Borrowed(text.as_bytes())
            }
            Self::Asn(number) => Cow::Owned(number.to_string().into_bytes()),
        }
    }
}

/// Somebody who comes, and what with.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Who.
    pub user: UserName,
    /// From which network: what it may be called, keyed hashes that depend on the user.
    pub network: Vec<[u8; 32]>,
    /// The same network: keyed hashes that are the same for all users.
    pub anybodys_network: Vec<[u8; 32]>,
    /// From which country, if that is known.
    pub country: Option<Arc<str>>,
    /// From which autonomous system, if that is known.
    pub asn: Option<u32>,
    /// With a client of which family, if that is known.
    pub family: Option<Arc<str>>,
    /// With which TLS client, if there was TLS.
    pub tls_client: Option<Arc<str>>,
    /// With which app password.
    pub app_password: Option<u32>,
    /// What was last seen before this is as good as new.
    pub since: UnixTime,
    /// Today is not part of any average.
    pub now: UnixTime,
}

/// What the store remembers of it. Where nothing of a kind is remembered of the user, nothing of that kind is new.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Habits {
    /// Whether anybody logged in from the network lately.
    pub is_known_network: bool,
    /// Whether the user did not.
    pub is_new_network: Option<bool>,
    /// Whether the user did not log in from the country lately.
    pub is_new_country: Option<bool>,
    /// Whether the user did not log in from the autonomous system lately.
    pub is_new_asn: Option<bool>,
    /// Whether the user did not log in with a client of the family lately.
    pub is_new_family: Option<bool>,
    /// Whether the user did not log in with the TLS client lately.
    pub is_new_tls_client: Option<bool>,
    /// The user's last login, a few seconds late.
    pub last_login: Option<UnixTime>,
    /// What is remembered of the app password.
    pub app_password: Option<AppPasswordUse>,
    /// What the user does on an average day.
    pub averages: Averages,
}

impl Habits {
    /// Seconds since the user's last login; `None` where none is remembered.
    #[must_use]
    pub fn unseen_for(&self, now: UnixTime) -> Option<u64> {
        self.last_login.map(|last| seconds(last, now))
    }
}

/// What is remembered of an app password's use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppPasswordUse {
    /// When it was made.
    pub created: UnixTime,
    /// When it was last used, a few seconds late.
    pub last_used: Option<UnixTime>,
    /// What its first use opened.
    pub allowance: Option<Allowance>,
}

impl AppPasswordUse {
    /// Seconds since it was made.
    #[must_use]
    pub fn age(&self, now: UnixTime) -> u64 {
        seconds(self.created, now)
    }

    /// Seconds since its last use; `None` where it was never used.
    #[must_use]
    pub fn unused_for(&self, now: UnixTime) -> Option<u64> {
        self.last_used.map(|last| seconds(last, now))
    }

    /// The family of clients that used it first, as far as that is known.
    #[must_use]
    pub fn first_family(&self) -> Option<Arc<str>> {
        self.allowance.as_ref()?.family.clone()
    }
}

/// Zero where the clock was set back.
fn seconds(since: UnixTime, now: UnixTime) -> u64 {
    u64::try_from(now.0.saturating_sub(since.0)).unwrap_or_default()
}

/// What a user does on an average day with any activity, of the last 7, 14 and 30 days. Small enough for each session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Averages {
    sums: [Amounts; WINDOWS.len()],
    days: [u8; WINDOWS.len()],
}

impl Averages {
    /// The days that must be read for averages on `today`: from the first to the last, today not included. What happens now
    /// must not make itself usual.
    #[must_use]
    pub fn days_before(today: i64) -> (i64, i64) {
        let [.., longest] = WINDOWS;
        (today.saturating_sub(i64::from(longest)), today.saturating_sub(1))
    }

    /// Adds what the user did on a day. Each day once.
    pub fn add(&mut self, day: i64, today: i64, amounts: &Amounts) {
        let age = today.saturating_sub(day);
        for ((window, sum), days) in WINDOWS.into_iter().zip(&mut self.sums).zip(&mut self.days) {
            if (1..=i64::from(window)).contains(&age) {
                sum.add_all(amounts);
                *days = days.saturating_add(1);
            }
        }
    }

    /// The average of so many days; for other numbers than 7, 14 and 30 that of the next longer window, beyond it that of
    /// 30. `None` where there was no day with any activity.
    #[must_use]
    pub fn average(&self, measure: Measure, days: u16) -> Option<u64> {
        let at = WINDOWS.iter().position(|window| days <= *window);
        let at = at.unwrap_or(WINDOWS.len().saturating_sub(1));
        let sum = self.sums.get(at)?.of_measure(measure);
        sum.checked_div(u64::from(*self.days.get(at)?))
    }
}

/// The day that a time is in, in UTC.
#[must_use]
pub fn day_of(at: UnixTime) -> i64 {
    at.0.div_euclid(DAY)
}

/// Something to remember that nobody waits for.
#[derive(Debug, Clone)]
pub enum Note {
    /// An app password let somebody in.
    AppPasswordUsed(u32, LastUse),
    /// A window let somebody in.
    WindowUsed([u8; 32], UnixTime),
    /// A user logged in.
    LoggedIn(UserName, UnixTime),
    /// A user came with this.
    Came(UserName, Habit, UnixTime),
    /// Somebody logged in from a network (a keyed hash that does not depend on the user).
    NetworkSeen([u8; 32], UnixTime),
    /// What a user did more on a day.
    Did(UserName, i64, Amounts),
    /// The first use of an app password. Where one is remembered already, that one stays.
    AllowanceOpened(u32, Allowance),
    /// Bytes of an app password's allowance that were spent, and when.
    AllowanceSpent(u32, u64, UnixTime),
    /// An app password's allowance is over.
    AllowanceEnded(u32, UnixTime),
    /// The family of clients that used an app password first. Where one is remembered already, that one stays.
    FamilyLearnt(u32, Arc<str>),
    /// A failure by a counter (a keyed hash): it counts for so many milliseconds more, and nothing counts for longer than so
    /// many.
    Failed([u8; 32], UnixTime, i64, i64),
    /// What was counted by a counter is made up for.
    Forgiven([u8; 32]),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_is_of_the_days_with_any_activity_and_not_of_today() {
        let mut averages = Averages::default();
        assert_eq!(averages.average(Measure::Commands, 7), None);
        for (day, commands) in [
            (100, 1_000),
            (99, 10),
            (93, 20),
            (92, 60),
            (86, 7),
            (70, 3),
            (69, 500),
        ] {
            averages.add(day, 100, &Amounts::of(Measure::Commands, commands));
        }
        assert_eq!(averages.average(Measure::Commands, 7), Some(15));
        assert_eq!(averages.average(Measure::Commands, 14), Some(97 / 4));
        assert_eq!(averages.average(Measure::Commands, 30), Some(100 / 5));
        assert_eq!(
            averages.average(Measure::Logins, 30),
            Some(0),
            "active, but not so"
        );
    }

    #[test]
    fn other_numbers_of_days_are_rounded_up_to_a_window() {
        let mut averages = Averages::default();
        for (day, bytes) in [(99, 1), (90, 3), (75, 5)] {
            averages.add(day, 100, &Amounts::of(Measure::FetchedBytes, bytes));
        }
        for (days, average) in [
            (0, 1),
            (1, 1),
            (7, 1),
            (8, 2),
            (14, 2),
            (15, 3),
            (30, 3),
            (9_999, 3),
        ] {
            assert_eq!(
                averages.average(Measure::FetchedBytes, days),
                Some(average),
                "{days}"
            );
        }
        assert_eq!(Averages::days_before(100), (70, 99));
    }

    #[test]
    fn averages_are_small_and_never_overflow() {
        assert!(size_of::<Averages>() <= 152, "{}", size_of::<Averages>());
        let mut averages = Averages::default();
        averages.add(99, 100, &Amounts::of(Measure::FetchedBytes, u64::MAX));
        averages.add(98, 100, &Amounts::of(Measure::FetchedBytes, u64::MAX));
        assert_eq!(averages.average(Measure::FetchedBytes, 7), Some(u64::MAX / 2));
        averages.add(i64::MIN, i64::MAX, &Amounts::default());
    }

    #[test]
    fn days_change_at_midnight_in_utc_before_1970_too() {
        for (at, day) in [(0, 0), (DAY - 1, 0), (DAY, 1), (-1, -1), (-DAY, -1)] {
            assert_eq!(day_of(UnixTime(at)), day);
        }
    }
}
