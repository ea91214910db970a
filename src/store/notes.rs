//! Notes that wait to be written: last uses, window touches, habits, usage. A storm of logins becomes one transaction, which
//! the engines write.

use std::collections::HashMap;
use std::sync::Arc;

use crate::policy::first_sync::Allowance;
use crate::store::Habit;
use crate::store::LastUse;
use crate::store::Note;
use crate::types::Amounts;
use crate::types::UnixTime;
use crate::types::UserName;

/// Distinct notes of a kind that may wait. What comes while it is full is forgotten: a last use is not worth memory
/// without bound while the disk is full or the server is away.
const BOUND: usize = 16_384;

/// What waits: the newest of each, or the sum.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) uses: HashMap<u32, LastUse>,
    pub(super) windows: HashMap<[u8; 32], UnixTime>,
    pub(super) logins: HashMap<UserName, UnixTime>,
    pub(super) habits: HashMap<(UserName, Habit), UnixTime>,
    pub(super) networks: HashMap<[u8; 32], UnixTime>,
    pub(super) usage: HashMap<(UserName, i64), Amounts>,
    pub(super) allowances: HashMap<u32, AllowanceNotes>,
    pub(super) failures: HashMap<[u8; 32], FailureNotes>,
}

/// What happened to one counter of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct FailureNotes {
    /// First of all nothing is left of what was counted.
    pub(super) forgiven: bool,
    /// Then it counts for so many milliseconds more; zero where nothing failed.
    pub(super) more: i64,
    /// And nothing counts for longer than so many.
    pub(super) most: i64,
    /// When that was, in milliseconds.
    pub(super) at: i64,
}

impl FailureNotes {
    /// What is forgiven was before.
    fn then(&mut self, later: Self) {
        if later.forgiven {
            *self = later;
            return;
        }
        self.more = self.more.saturating_add(later.more);
        self.most = self.most.max(later.most);
        self.at = self.at.max(later.at);
    }

    /// When nothing will be left of a counter, of which nothing will be left at `until` by what is known.
    pub(super) fn until(&self, until: i64) -> i64 {
        let before = if self.forgiven { 0 } else { until };
        let counted = before.max(self.at).saturating_add(self.more);
        counted.min(self.at.saturating_add(self.most)).max(before)
    }
}

/// What happened to one allowance, in the order in which it is written.
#[derive(Default)]
pub(super) struct AllowanceNotes {
    pub(super) opened: Option<Allowance>,
    pub(super) spent: Option<(u64, UnixTime)>,
    pub(super) family: Option<Arc<str>>,
    pub(super) ended: Option<UnixTime>,
}

impl AllowanceNotes {
    /// What came first stays; what was spent adds up.
    fn then(&mut self, later: Self) {
        self.opened = self.opened.take().or(later.opened);
        self.family = self.family.take().or(later.family);
        self.ended = self.ended.or(later.ended);
        self.spent = match (self.spent, later.spent) {
            (Some((bytes, _)), Some((more, at))) => Some((bytes.saturating_add(more), at)),
            (spent, later) => spent.or(later),
        };
    }
}

impl Notes {
    /// Keeps a note, in place of an older one about the same thing or in addition to it.
    pub(super) fn add(&mut self, note: Note) {
        match note {
            Note::AppPasswordUsed(id, last_use) => {
                keep(&mut self.uses, id, last_use, newer_use);
            }
            Note::WindowUsed(key, at) => keep(&mut self.windows, key, at, newer),
            Note::LoggedIn(user, at) => keep(&mut self.logins, user, at, newer),
            Note::Came(user, habit, at) => keep(&mut self.habits, (user, habit), at, newer),
            Note::NetworkSeen(network, at) => keep(&mut self.networks, network, at, newer),
            Note::Did(user, day, amounts) => keep(&mut self.usage, (user, day), amounts, sum),
            Note::AllowanceOpened(id, allowance) => self.add_to_allowance(id, |notes| {
                notes.opened = Some(allowance);
            }),
            Note::AllowanceSpent(id, bytes, at) => self.add_to_allowance(id, |notes| {
                notes.spent = Some((bytes, at));
            }),
            Note::AllowanceEnded(id, at) => self.add_to_allowance(id, |notes| {
                notes.ended = Some(at);
            }),
            Note::FamilyLearnt(id, family) => self.add_to_allowance(id, |notes| {
                notes.family = Some(family);
            }),
            Note::Failed(counter, at, more, most) => {
                let failed = FailureNotes {
                    forgiven: false,
                    more,
                    most,
                    at: at.0.saturating_mul(1000),
                };
                keep(&mut self.failures, counter, failed, FailureNotes::then);
            }
            Note::Forgiven(counter) => {
                let forgiven = FailureNotes {
                    forgiven: true,
                    ..FailureNotes::default()
                };
                keep(&mut self.failures, counter, forgiven, FailureNotes::then);
            }
        }
    }

    fn add_to_allowance(&mut self, id: u32, set: impl FnOnce(&mut AllowanceNotes)) {
        let mut later = AllowanceNotes::default();
        set(&mut later);
        keep(&mut self.allowances, id, later, AllowanceNotes::then);
    }

    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.uses.is_empty()
            && self.windows.is_empty()
            && self.logins.is_empty()
            && self.habits.is_empty()
            && self.networks.is_empty()
            && self.usage.is_empty()
            && self.allowances.is_empty()
            && self.failures.is_empty()
    }

    /// Takes so many of them at most, kind by kind.
    pub(super) fn piece(&mut self, most: usize) -> Self {
        let mut room = most;
        Self {
            // First what other replicas wait for.
            failures: part(&mut self.failures, &mut room),
            windows: part(&mut self.windows, &mut room),
            habits: part(&mut self.habits, &mut room),
            logins: part(&mut self.logins, &mut room),
            usage: part(&mut self.usage, &mut room),
            networks: part(&mut self.networks, &mut room),
            uses: part(&mut self.uses, &mut room),
            allowances: part(&mut self.allowances, &mut room),
        }
    }

    /// Puts back what could not be written, as if it had come before what came since.
    pub(super) fn put_back(&mut self, older: Self) {
        put_back(&mut self.uses, older.uses, newer_use);
        put_back(&mut self.windows, older.windows, newer);
        put_back(&mut self.logins, older.logins, newer);
        put_back(&mut self.habits, older.habits, newer);
        put_back(&mut self.networks, older.networks, newer);
        put_back(&mut self.usage, older.usage, sum);
        put_back(&mut self.allowances, older.allowances, AllowanceNotes::then);
        put_back(&mut self.failures, older.failures, FailureNotes::then);
    }
}

fn newer(kept: &mut UnixTime, later: UnixTime) {
    *kept = later.max(*kept);
}

fn newer_use(kept: &mut LastUse, later: LastUse) {
    if later.at >= kept.at {
        *kept = later;
    }
}

fn sum(kept: &mut Amounts, later: Amounts) {
    kept.add_all(&later);
}

/// Takes notes of one kind, as many as there is room for.
fn part<K, V>(kept: &mut HashMap<K, V>, room: &mut usize) -> HashMap<K, V>
where
    K: Eq + std::hash::Hash,
{
    let part = if kept.len() <= *room {
        std::mem::take(kept)
    } else {
        kept.extract_if(|_, _| true).take(*room).collect()
    };
    *room -= part.len();
    part
}

/// Keeps a note, or joins it to the one about the same thing.
fn keep<K, V>(kept: &mut HashMap<K, V>, key: K, value: V, join: impl Fn(&mut V, V))
where
    K: Eq + std::hash::Hash,
{
    let full = kept.len() >= BOUND;
    match kept.get_mut(&key) {
        Some(older) => join(older, value),
        None if full => {}
        None => {
            kept.insert(key, value);
        }
    }
}

/// The notes that came since are joined to the older ones. Those that find no room are the newer ones.
fn put_back<K, V>(kept: &mut HashMap<K, V>, mut older: HashMap<K, V>, join: impl Fn(&mut V, V))
where
    K: Eq + std::hash::Hash,
{
    std::mem::swap(kept, &mut older);
    let newer = older;
    for (key, value) in newer {
        keep(kept, key, value, &join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Measure;

    fn used(id: u32, at: i64) -> Note {
        Note::AppPasswordUsed(
            id,
            LastUse {
                at: UnixTime(at),
                from: "192.0.2.1".parse().unwrap(),
                client: None,
            },
        )
    }

    #[test]
    fn a_storm_of_logins_with_one_app_password_is_one_note() {
        let mut notes = Notes::default();
        for at in [5, 9, 7] {
            notes.add(used(1, at));
        }
        assert_eq!(notes.uses.len(), 1);
        assert_eq!(notes.uses[&1].at, UnixTime(9));
    }

    #[test]
    fn notes_are_bounded_and_known_keys_still_move_when_full() {
        let mut notes = Notes::default();
        for id in 0..40_000 {
            notes.add(used(id, 1));
        }
        assert_eq!(notes.uses.len(), BOUND);
        notes.add(used(3, 8));
        assert_eq!(notes.uses[&3].at, UnixTime(8));
    }

    #[test]
    fn what_is_put_back_never_overwrites_what_came_since() {
        let mut older = Notes::default();
        older.add(used(1, 1));
        older.add(used(2, 1));
        let mut notes = Notes::default();
        notes.add(used(1, 5));
        notes.put_back(older);
        assert_eq!(notes.uses[&1].at, UnixTime(5));
        assert_eq!(notes.uses[&2].at, UnixTime(1));
    }

    fn user(name: &str) -> UserName {
        UserName::parse(name.as_bytes()).unwrap()
    }

    fn did(amount: u64) -> Note {
        Note::Did(user("alice"), 5, Amounts::of(Measure::Commands, amount))
    }

    fn allowance(opened: i64) -> Allowance {
        Allowance {
            opened: UnixTime(opened),
            left: 100,
            network: [1; 32],
            family: None,
            ended: None,
        }
    }

    #[test]
    fn what_was_done_adds_up_and_nothing_is_lost_when_it_is_put_back() {
        let mut older = Notes::default();
        older.add(did(1));
        older.add(did(2));
        let mut notes = Notes::default();
        notes.add(did(4));
        notes.put_back(older);
        let amounts = notes.usage[&(user("alice"), 5)];
        assert_eq!(amounts.of_measure(Measure::Commands), 7);
    }

    #[test]
    fn the_first_opening_of_an_allowance_stays_and_spending_adds_up() {
        let mut older = Notes::default();
        older.add(Note::AllowanceOpened(1, allowance(1)));
        older.add(Note::AllowanceSpent(1, 10, UnixTime(2)));
        older.add(Note::FamilyLearnt(1, "k9".into()));
        let mut notes = Notes::default();
        notes.add(Note::AllowanceOpened(1, allowance(3)));
        notes.add(Note::FamilyLearnt(1, "python".into()));
        notes.add(Note::AllowanceSpent(1, 5, UnixTime(4)));
        notes.add(Note::AllowanceEnded(1, UnixTime(5)));
        notes.put_back(older);
        let kept = &notes.allowances[&1];
        assert_eq!(kept.opened, Some(allowance(1)));
        assert_eq!(kept.spent, Some((15, UnixTime(4))));
        assert_eq!(kept.family.as_deref(), Some("k9"));
        assert_eq!(kept.ended, Some(UnixTime(5)));
    }

    #[test]
    fn pieces_are_as_large_as_asked_for_and_together_they_are_everything() {
        let mut notes = Notes::default();
        for number in 0..25 {
            notes.add(used(number, 1));
            notes.add(Note::LoggedIn(user(&number.to_string()), UnixTime(1)));
        }
        let mut sizes = Vec::new();
        let mut seen = std::collections::HashSet::new();
        loop {
            let piece = notes.piece(20);
            if piece.is_empty() {
                break;
            }
            sizes.push(piece.uses.len() + piece.logins.len());
            seen.extend(piece.uses.keys().map(ToString::to_string));
            seen.extend(piece.logins.keys().map(|user| format!("login {}", user.as_str())));
        }
        assert_eq!(sizes, [20, 20, 10]);
        assert_eq!(seen.len(), 50);
        assert!(notes.is_empty());
    }

    #[test]
    fn notes_of_every_kind_are_bounded_put_back_ones_too() {
        let fill = |from: u32| {
            let mut notes = Notes::default();
            for number in from..from + 20_000 {
                let name = user(&number.to_string());
                let mut hash = [0; 32];
                hash[..4].copy_from_slice(&number.to_be_bytes());
                notes.add(used(number, 1));
                notes.add(Note::WindowUsed(hash, UnixTime(1)));
                notes.add(Note::LoggedIn(name.clone(), UnixTime(1)));
                notes.add(Note::Came(name.clone(), Habit::Asn(1), UnixTime(1)));
                notes.add(Note::NetworkSeen(hash, UnixTime(1)));
                notes.add(Note::Did(name, 1, Amounts::of(Measure::Logins, 1)));
                notes.add(Note::AllowanceSpent(number, 1, UnixTime(1)));
                notes.add(Note::Failed(hash, UnixTime(1), 1, 1));
            }
            notes
        };
        let mut notes = fill(0);
        notes.put_back(fill(50_000));
        let sizes = [
            notes.uses.len(),
            notes.windows.len(),
            notes.logins.len(),
            notes.habits.len(),
            notes.networks.len(),
            notes.usage.len(),
            notes.allowances.len(),
            notes.failures.len(),
        ];
        assert_eq!(sizes, [BOUND; 8]);
    }

    #[test]
    fn failures_add_up_to_a_most_and_what_was_forgiven_is_not_counted() {
        let failed = |at: i64, more: i64| Note::Failed([1; 32], UnixTime(at), more, 500);
        let until = |notes: &[Note], before: i64| {
            let mut all = Notes::default();
            for note in notes {
                all.add(note.clone());
            }
            all.failures[&[1; 32]].until(before)
        };
        assert_eq!(until(&[failed(10, 100), failed(10, 100)], 0), 10_200);
        assert_eq!(until(&[failed(10, 100)], 10_300), 10_400);
        assert_eq!(until(&[failed(10, 100)], 10_450), 10_500);
        assert_eq!(
            until(&[failed(10, 100)], 99_000),
            99_000,
            "never less than before"
        );
        let forgiven = Note::Forgiven([1; 32]);
        assert_eq!(until(&[failed(10, 100), forgiven.clone()], 10_300), 0);
        assert_eq!(until(&[forgiven, failed(10, 100)], 10_300), 10_100);
    }
}
