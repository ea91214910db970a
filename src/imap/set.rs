//! How many messages a set means (RFC 3501, `sequence-set`; RFC 5182, `$`), and whether it means all of them.
//!
//! An estimate from above: what a set asks for at most, before the backend has answered. What cannot be read may mean
//! everything.

/// What is known of the selected mailbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mailbox {
    /// How many messages it has by the last EXISTS, less what was expunged since; `None` while nothing is known of it.
    pub exists: Option<u32>,
    /// The UID that its next message will have (UIDNEXT). Without it `5:*` may mean all messages by UID.
    pub uid_next: Option<u32>,
    /// How many messages have come since the first EXISTS.
    pub arrived: u32,
}

impl Mailbox {
    /// It has so many messages now.
    pub(super) fn has(&mut self, exists: u32) {
        let arrived = self.exists.map_or(0, |before| exists.saturating_sub(before));
        self.arrived = self.arrived.saturating_add(arrived);
        self.exists = Some(exists);
    }

    /// So many of them are gone.
    pub(super) fn lost(&mut self, messages: u32) {
        self.exists = self.exists.map(|exists| exists.saturating_sub(messages));
    }

    /// Its next message will have this UID. UIDs only grow: a smaller one says nothing.
    pub(super) fn expects(&mut self, uid: u32) {
        self.uid_next = self.uid_next.max(Some(uid));
    }
}

/// What the numbers of a set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Positions in the mailbox.
    Sequence,
    /// Unique identifiers.
    Uid,
}

/// What a set comes to in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Messages at most; `None` where nothing is known of the mailbox that would tell.
    pub count: Option<u64>,
    /// True where it means every message there is: `1:*`, in whatever spelling.
    pub is_all: bool,
}

/// No mailbox has as many messages: a UID range up to here is meant to be open.
const PLENTY: u32 = u32::MAX / 2;

/// A set as a command names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set<'a> {
    text: &'a [u8],
    numbers: Numbers,
}

impl<'a> Set<'a> {
    /// A set of positions, or of UIDs.
    #[must_use]
    pub fn new(text: &'a [u8], numbers: Numbers) -> Self {
        Self { text, numbers }
    }

    /// What its numbers are.
    pub(super) fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// Its parts, each from one number to another, in either order; `*` is 0. `None` for a part that only the backend
    /// understands.
    pub(super) fn parts(&self) -> impl Iterator<Item = Option<(u32, u32)>> + use<'a> {
        self.text.split(|byte| *byte == b',').map(|part| {
            let mut ends = part.split(|byte| *byte == b':');
            let one = number(ends.next()?, 0)?;
            let other = ends.next().map_or(Some(one), |end| number(end, 0))?;
            ends.next().is_none().then_some((one, other))
        })
    }

    /// What it comes to.
    #[must_use]
    pub fn extent(&self, mailbox: Mailbox) -> Extent {
        let exists = mailbox.exists.map(u64::from);
        // The result of the last search, which only the backend knows: at most all.
        if self.text == b"$" {
            return Extent {
                count: exists,
                is_all: false,
            };
        }
        let top = match self.numbers {
            Numbers::Sequence => mailbox.exists,
            Numbers::Uid => mailbox.uid_next.map(|next| next.saturating_sub(1)),
        };
        // What came since UIDNEXT was said has identifiers beyond it: a number is never cut there.
        let ceiling = match self.numbers {
            Numbers::Sequence => top,
            Numbers::Uid => None,
        };
        let Some(found) = Ranges::read(self.text, top.unwrap_or(u32::MAX), ceiling.unwrap_or(u32::MAX))
        else {
            return Extent {
                count: exists,
                is_all: true,
            };
        };
        let ranges = found.as_slice();
        let mut size: u64 = ranges.iter().map(Range::size).sum();
        if self.numbers == Numbers::Uid && self.text.contains(&b'*') {
            size = size.saturating_add(u64::from(mailbox.arrived));
        }
        // Without its end known, a range up to it has no size but that of the mailbox.
        let is_open = top.is_none() && ranges.iter().any(|range| range.last == u32::MAX);
        let count = match exists {
            Some(exists) => Some(size.min(exists)),
            None if is_open && self.text != b"*" => None,
            None => Some(size),
        };
        let whole = Range {
            first: 1,
            last: top.unwrap_or(PLENTY),
        };
        let covers = |range: &Range| range.first <= whole.first && range.last >= whole.last;
        Extent {
            count,
            is_all: whole.last > 0 && ranges.iter().any(covers),
        }
    }
}

/// Numbers from first to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    first: u32,
    last: u32,
}

impl Range {
    fn size(&self) -> u64 {
        u64::from(self.last.saturating_sub(self.first)) + 1
    }
}

/// The ranges of a set. Most have one, which takes no room of its own.
enum Ranges {
    One([Range; 1]),
    Many(Vec<Range>),
}

impl Ranges {
    /// In order and none touching another; `*` is `top`, and nothing is above the ceiling. `None` for what is no set.
    fn read(text: &[u8], top: u32, ceiling: u32) -> Option<Self> {
        if memchr::memchr(b',', text).is_none() {
            let range = range(text, top, ceiling)?;
            return Some(match range.first > range.last {
                true => Self::Many(Vec::new()),
                false => Self::One([range]),
            });
        }
        let mut found: Vec<Range> = Vec::new();
        for part in text.split(|byte| *byte == b',') {
            let range = range(part, top, ceiling)?;
            if range.first > range.last {
                continue;
            }
            // Clients send sets in order, so that most of them need no more room than this.
            match found.last_mut() {
                Some(last) if touches(last, &range) => last.last = last.last.max(range.last),
                _ => found.push(range),
            }
        }
        found.sort_unstable();
        found.dedup_by(|next, last| {
            let joined = touches(last, next);
            if joined {
                last.last = last.last.max(next.last);
            }
            joined
        });
        Some(Self::Many(found))
    }

    fn as_slice(&self) -> &[Range] {
        match self {
            Self::One(range) => range,
            Self::Many(ranges) => ranges,
        }
    }
}

/// One range of a set; empty, the first above the last, where it begins above the ceiling.
fn range(part: &[u8], top: u32, ceiling: u32) -> Option<Range> {
    let mut ends = part.split(|byte| *byte == b':');
    let one = number(ends.next()?, top)?;
    let other = ends.next().map_or(Some(one), |end| number(end, top))?;
    if ends.next().is_some() {
        return None;
    }
    Some(Range {
        first: one.min(other),
        last: one.max(other).min(ceiling),
    })
}

/// True where `next` begins within `last` or right behind it.
fn touches(last: &Range, next: &Range) -> bool {
    next.first >= last.first && next.first <= last.last.saturating_add(1)
}

fn number(text: &[u8], top: u32) -> Option<u32> {
    match text {
        b"*" => Some(top),
        _ => std::str::from_utf8(text)
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .filter(|number| *number > 0),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn extent(
        text: &str,
        numbers: Numbers,
        exists: Option<u32>,
        uid_next: Option<u32>,
    ) -> (Option<u64>, bool) {
        let set = Set::new(text.as_bytes(), numbers);
        let extent = set.extent(Mailbox {
            exists,
            uid_next,
            arrived: 0,
        });
        (extent.count, extent.is_all)
    }

    #[test]
    fn sequence_numbers_are_counted_exactly() {
        for (text, count, is_all) in [
            ("1:*", 120, true),
            ("*:1", 120, true),
            ("1:120", 120, true),
            ("1:4294967295", 120, true),
            ("1:60,61:*", 120, true),
            ("61:*,1:60", 120, true),
            ("2:*", 119, false),
            ("1", 1, false),
            ("*", 1, false),
            ("5,5,5:6", 2, false),
            ("119:500", 2, false),
            ("500:*", 1, false),
            ("500", 0, false),
        ] {
            assert_eq!(
                extent(text, Numbers::Sequence, Some(120), None),
                (Some(count), is_all),
                "{text}"
            );
        }
        assert_eq!(extent("1:*", Numbers::Sequence, Some(0), None), (Some(0), false));
        assert_eq!(extent("1:*", Numbers::Sequence, None, None), (None, true));
        assert_eq!(extent("1:50", Numbers::Sequence, None, None), (Some(50), false));
        assert_eq!(extent("*", Numbers::Sequence, None, None), (Some(1), false));
    }

    #[test]
    fn uids_are_estimated_from_above() {
        for (text, count, is_all) in [
            ("1:*", 120, true),
            ("1:999", 120, true),
            ("1:998", 120, false),
            ("990:*", 10, false),
            ("1000:*", 2, false),
            ("5,7,9", 3, false),
            ("2000:2009", 10, false),
        ] {
            assert_eq!(
                extent(text, Numbers::Uid, Some(120), Some(1000)),
                (Some(count), is_all),
                "{text}"
            );
        }
        // What came since the mailbox was opened has higher identifiers than was foreseen.
        let grown = Mailbox {
            exists: Some(170),
            uid_next: Some(1000),
            arrived: 50,
        };
        let count = |text: &str| Set::new(text.as_bytes(), Numbers::Uid).extent(grown).count;
        assert_eq!(count("1:100000"), Some(170));
        assert!(count("1000:*") >= Some(50), "{:?}", count("1000:*"));
        assert_eq!(extent("990:*", Numbers::Uid, Some(120), None), (Some(120), false));
        assert_eq!(
            extent("1:4294967295", Numbers::Uid, Some(120), None),
            (Some(120), true)
        );
        assert_eq!(
            extent("1:99999", Numbers::Uid, Some(120), None),
            (Some(120), false)
        );
        assert_eq!(extent("1:*", Numbers::Uid, None, None), (None, true));
    }

    #[test]
    fn what_cannot_be_read_may_mean_everything() {
        for text in [
            "",
            ",",
            "1,",
            "1:",
            ":1",
            "1:2:3",
            "0",
            "4294967296",
            "x",
            "1;2",
            "+1",
            " 1",
        ] {
            assert_eq!(
                extent(text, Numbers::Sequence, Some(9), None),
                (Some(9), true),
                "{text:?}"
            );
        }
        assert_eq!(extent("$", Numbers::Uid, Some(9), None), (Some(9), false));
    }

    proptest! {
        #[test]
        fn counts_agree_with_counting_each_number(
            parts in prop::collection::vec((1_u32..40, 1_u32..40), 1..12),
            exists in 1_u32..40,
        ) {
            let text: Vec<String> = parts.iter().map(|(a, b)| format!("{a}:{b}")).collect();
            let mut meant = BTreeSet::new();
            for (a, b) in &parts {
                meant.extend((*a.min(b)..=*a.max(b)).filter(|number| *number <= exists));
            }
            let (count, is_all) = extent(&text.join(","), Numbers::Sequence, Some(exists), None);
            prop_assert_eq!(count, Some(u64::try_from(meant.len()).unwrap()));
            prop_assert_eq!(is_all, meant.len() == usize::try_from(exists).unwrap());
        }

        #[test]
        fn no_bytes_make_it_panic(text: Vec<u8>, exists: Option<u32>, uid_next: Option<u32>) {
            for numbers in [Numbers::Sequence, Numbers::Uid] {
                let extent = Set::new(&text, numbers).extent(Mailbox { exists, uid_next, arrived: 0 });
                if let (Some(count), Some(exists)) = (extent.count, exists) {
                    prop_assert!(count <= u64::from(exists));
                }
            }
        }
    }
}
