//! What an app password may do less than its owner: read only, some mailboxes, some commands, so much an hour.
//!
//! Plain values; the session enforces them. Whatever cannot be read is no restriction set at all, never an empty one.

use std::fmt;

use thiserror::Error;

/// Longest mailbox pattern, in bytes.
const MAX_PATTERN: usize = 255;

/// Most commands in a list.
const MAX_COMMANDS: usize = 64;

/// What an app password is restricted to. The default restricts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// Mailboxes are opened with EXAMINE, and nothing may be changed.
    pub read_only: bool,
    /// The only mailboxes it sees; `None` is all of them, an empty list none.
    pub mailboxes: Option<Box<[MailboxPattern]>>,
    /// The only commands it may use.
    pub commands: Commands,
    /// How much it may download.
    pub budget: BudgetLimits,
    /// Declared to be a program's, not a person's: a migration, an archiver, a scanner.
    pub service: bool,
}

impl Restrictions {
    /// True where nothing is restricted; a declared service may be unrestricted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let unrestricted = Self {
            service: self.service,
            ..Self::default()
        };
        *self == unrestricted
    }
}

/// How much may be downloaded in any 60 minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Bytes of FETCH responses.
    pub bytes: Option<u64>,
    /// Messages whose bodies are fetched.
    pub messages: Option<u64>,
}

impl BudgetLimits {
    /// True where everything is allowed.
    #[must_use]
    pub fn is_unlimited(self) -> bool {
        self == Self::default()
    }
}

/// Which commands may be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Commands {
    /// Every one that the proxy knows.
    #[default]
    Any,
    /// Finding and reading mail.
    Reader,
    /// What a mail program needs: nothing about rights, quotas and annotations of mailboxes.
    MailClient,
    /// Reading without leaving a trace: mailboxes are opened with EXAMINE.
    Backup,
    /// Putting messages in, and nothing out.
    AppendOnly,
    /// These, in upper case and without `UID`.
    Only(Box<[Box<str>]>),
}

impl Commands {
    /// The names of the profiles.
    pub const PROFILES: [&'static str; 4] = ["reader", "mail-client", "backup", "append-only"];

    /// Reads a profile's name, or verbs with commas between them. Whether a verb exists is for the caller to say.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn parse(text: &str) -> Result<Self, RestrictionError> {
        match text {
            "reader" => return Ok(Self::Reader),
            "mail-client" => return Ok(Self::MailClient),
            "backup" => return Ok(Self::Backup),
            "append-only" => return Ok(Self::AppendOnly),
            _ => {}
        }
        let is_verb = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic());
        let words: Vec<&str> = text.split(',').map(str::trim).collect();
        if words.len() > MAX_COMMANDS || !words.iter().all(|word| is_verb(word)) {
            return Err(RestrictionError::Commands);
        }
        let mut verbs: Vec<Box<str>> = words
            .iter()
            .map(|word| word.to_ascii_uppercase().into())
            .collect();
        verbs.sort_unstable();
        verbs.dedup();
        Ok(Self::Only(verbs.into()))
    }
}

impl fmt::Display for Commands {
    /// Writes what `parse` reads; `any` where there is no restriction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Reader => "reader",
            Self::MailClient => "mail-client",
            Self::Backup => "backup",
            Self::AppendOnly => "append-only",
            Self::Only(verbs) => return f.write_str(&verbs.join(",")),
        })
    }
}

/// Why text is no restriction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RestrictionError {
    /// Neither a profile nor verbs.
    #[error("write a profile (reader, mail-client, backup, append-only), or commands like `SELECT,FETCH`")]
    Commands,
    /// No mailbox can have such a name.
    #[error("a mailbox pattern has 1 to 255 bytes and no control characters")]
    Pattern,
}

/// A pattern of mailbox names: `*` stands for anything, `%` for anything within one level. All else stands for itself,
/// the hierarchy's separator included: `Archive` is that mailbox alone, `Archive/*` what is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxPattern(Box<str>);

impl MailboxPattern {
    /// Reads a pattern, with names as people read them. INBOX may be written in any case.
    ///
    /// # Errors
    /// Where it is empty, too long or has control characters.
    pub fn parse(text: &str) -> Result<Self, RestrictionError> {
        if text.is_empty() || text.len() > MAX_PATTERN || text.chars().any(char::is_control) {
            return Err(RestrictionError::Pattern);
        }
        let (first, rest) = text.split_at_checked(INBOX.len()).unwrap_or(("", text));
        let ends_there = rest.is_empty() || rest.starts_with(['/', '.', '\\', '*', '%']);
        if first.eq_ignore_ascii_case(INBOX) && ends_there {
            return Ok(Self(format!("{INBOX}{rest}").into()));
        }
        Ok(Self(text.into()))
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True where the whole name fits. INBOX must be in upper case.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.places_after(name).last().copied().unwrap_or(false)
    }

    /// True where the name and every name that begins with it fit.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        let places = self.places_after(name);
        let last_star = self.0.len().saturating_sub(1);
        self.0.ends_with('*') && places.get(last_star).copied().unwrap_or(false)
    }

    /// At which bytes of the pattern one can stand behind a name: the cost is the product of the lengths, whatever the
    /// stars.
    fn places_after(&self, name: &str) -> Vec<bool> {
        let pattern = self.0.as_bytes();
        let mut places = Vec::with_capacity(pattern.len() + 1);
        let mut reached = true;
        for want in pattern {
            places.push(reached);
            reached &= is_wildcard(*want);
        }
        places.push(reached);
        for byte in name.bytes() {
            let mut next = Vec::with_capacity(places.len());
            let mut reached = false;
            for (want, was_here) in pattern.iter().zip(&places) {
                let stays = match want {
                    b'*' => *was_here,
                    b'%' => *was_here && !is_separator(byte),
                    _ => false,
                };
                let is_here = stays || reached;
                next.push(is_here);
                reached = if is_wildcard(*want) {
                    is_here
                } else {
                    *was_here && *want == byte
                };
            }
            next.push(reached);
            places = next;
        }
        places
    }
}

const INBOX: &str = "INBOX";

fn is_wildcard(byte: u8) -> bool {
    matches!(byte, b'*' | b'%')
}

/// What servers put between the levels of a hierarchy. A server uses one of them; `%` stops at each, so that it never
/// means more than it says.
fn is_separator(byte: u8) -> bool {
    matches!(byte, b'/' | b'.' | b'\\')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> MailboxPattern {
        MailboxPattern::parse(text).unwrap()
    }

    #[test]
    fn a_pattern_means_what_it_means_to_list() {
        for (text, fits, others) in [
            (
                "Archive",
                &["Archive"][..],
                &["archive", "Archive/x", "Archiv", "XArchive", ""][..],
            ),
            (
                "Archive/*",
                &["Archive/x", "Archive/x/y", "Archive/"],
                &["Archive", "Archive.x", "Archives/x"],
            ),
            (
                "Archive/%",
                &["Archive/x"],
                &["Archive/x/y", "Archive", "Archive/x.y"],
            ),
            (
                "INBOX.Lists.*",
                &["INBOX.Lists.rust"],
                &["INBOX.Lists", "INBOX/Lists/rust"],
            ),
            ("inBox", &["INBOX"], &["inbox", "INBOX/x"]),
            ("inbox/*", &["INBOX/x"], &["INBOX", "inbox/x"]),
            ("Inboxes", &["Inboxes"], &["INBOXes"]),
            ("*", &["a", "a/b", "INBOX"], &[]),
            ("%", &["a", "INBOX"], &["a/b", "a.b"]),
            ("a*b*c", &["abc", "a/b/c", "abbcc"], &["ab", "acb", "abcd"]),
            ("%/Sent", &["x/Sent"], &["Sent", "x/y/Sent"]),
            ("Entwürfe*", &["Entwürfe", "Entwürfe alt"], &["Entwurfe"]),
        ] {
            for name in fits {
                assert!(pattern(text).matches(name), "{text} should fit {name}");
            }
            for name in others {
                assert!(!pattern(text).matches(name), "{text} should not fit {name}");
            }
        }
    }

    #[test]
    fn a_pattern_covers_what_all_longer_names_fit() {
        for (text, name, covered) in [
            ("Archive/*", "Archive/2026", true),
            ("Archive/*", "Archive", false),
            ("Archive", "Archive", false),
            ("Archive*", "Archive", true),
            ("Archive/%", "Archive/x", false),
            ("*", "x", true),
            ("*x", "x", false),
            ("a*b*", "a/b", true),
            ("a*b*", "a", false),
        ] {
            assert_eq!(pattern(text).covers(name), covered, "{text} {name}");
        }
    }

    #[test]
    fn text_that_is_no_pattern_is_refused() {
        for wrong in ["", "a\nb", "\u{7f}", &"x".repeat(256)] {
            assert_eq!(
                MailboxPattern::parse(wrong),
                Err(RestrictionError::Pattern),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn commands_read_back_as_what_they_were() {
        for text in Commands::PROFILES.into_iter().chain(["FETCH,SELECT"]) {
            assert_eq!(Commands::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            Commands::parse("select, Fetch,SELECT").unwrap().to_string(),
            "FETCH,SELECT"
        );
        for wrong in ["", "any!", "a,,b", "UID FETCH", &vec!["A"; 65].join(",")] {
            assert_eq!(Commands::parse(wrong), Err(RestrictionError::Commands), "{wrong}");
        }
    }

    #[test]
    fn a_service_alone_is_no_restriction() {
        let mut restrictions = Restrictions {
            service: true,
            ..Restrictions::default()
        };
        assert!(restrictions.is_empty());
        restrictions.mailboxes = Some(Box::new([]));
        assert!(!restrictions.is_empty());
    }

    /// The obvious way, exponential in the worst case.
    fn slowly(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], name) => name.is_empty(),
            ([b'*', rest @ ..], name) => {
                slowly(rest, name) || name.split_first().is_some_and(|(_, more)| slowly(pattern, more))
            }
            ([b'%', rest @ ..], name) => {
                let within = |(first, more): (&u8, &[u8])| !is_separator(*first) && slowly(pattern, more);
                slowly(rest, name) || name.split_first().is_some_and(within)
            }
            ([want, rest @ ..], [byte, more @ ..]) => want == byte && slowly(rest, more),
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_the_obvious_way_says(text in "[ab/*%]{1,8}", name in "[ab/]{0,8}", more in "[ab/]{0,3}") {
            let pattern = pattern(&text);
            prop_assert_eq!(pattern.matches(&name), slowly(text.as_bytes(), name.as_bytes()));
            if pattern.covers(&name) {
                let longer = format!("{name}{more}");
                prop_assert!(pattern.matches(&longer));
            }
        }
    }
}
