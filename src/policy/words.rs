//! The words of a rule: how bad it is, whether it acts, what it does, and which technique it is about.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::facts::Event;

/// How bad it is, as alerts say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Odd.
    Low,
    /// Should be looked at.
    #[default]
    Medium,
    /// Should be looked at now.
    High,
    /// Somebody should be woken.
    Critical,
}

impl Severity {
    /// All of them, the mildest first.
    pub const ALL: [Self; 5] = [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The number in events, on the scale that detection rules of SIEMs use: 1 to 99.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Info => 1,
            Self::Low => 21,
            Self::Medium => 47,
            Self::High => 73,
            Self::Critical => 99,
        }
    }

    /// The word in rules and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Whether a rule acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// It counts and reports, and does nothing else.
    Shadow,
    /// It acts.
    #[default]
    Enforce,
}

impl Mode {
    /// The word in rules and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Enforce => "enforce",
        }
    }
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Writes an event; every rule does.
    Log,
    /// Raises an alert.
    Alert,
    /// Closes the user's trusted window: the next login needs a code.
    StepUp,
    /// Slows the session to so many bytes a second.
    Throttle(NonZeroU64),
    /// Makes the session read-only.
    ReadOnly,
    /// Refuses the connection, login or command.
    Deny,
    /// Ends the session.
    Disconnect,
    /// Revokes the app password in use; its sessions end.
    Revoke,
    /// Locks the user; all sessions end.
    Lock,
    /// Bans the source for a time, and ends the session.
    Ban(Duration),
}

impl Action {
    /// The word in rules and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Alert => "alert",
            Self::StepUp => "step_up",
            Self::Throttle(_) => "throttle",
            Self::ReadOnly => "read_only",
            Self::Deny => "deny",
            Self::Disconnect => "disconnect",
            Self::Revoke => "revoke",
            Self::Lock => "lock",
            Self::Ban(_) => "ban",
        }
    }

    /// True where the action can be carried out at an event.
    #[must_use]
    pub const fn fits(self, event: Event) -> bool {
        match self {
            Self::Log | Self::Alert | Self::Ban(_) => true,
            Self::Disconnect => !matches!(event, Event::SessionEnd),
            Self::StepUp | Self::Revoke | Self::Lock => !matches!(event, Event::Connect),
            Self::Throttle(_) | Self::ReadOnly => {
                matches!(
                    event,
                    Event::Login | Event::Command | Event::Fetched | Event::Appended
                )
            }
            Self::Deny => matches!(event, Event::Connect | Event::Login | Event::Command),
        }
    }

    /// True where the action must go on while the rule holds; the others are done once.
    #[must_use]
    pub const fn holds(self) -> bool {
        matches!(
            self,
            Self::Throttle(_) | Self::ReadOnly | Self::Deny | Self::Disconnect
        )
    }
}

/// An id of MITRE ATT&CK: `T1114` or `T1114.002`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attack(Arc<str>);

impl Attack {
    /// Reads an id; `None` where it has another form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits =
            |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
        let (technique, sub) = text.strip_prefix('T')?.split_once('.').map_or_else(
            || (text.get(1..).unwrap_or_default(), None),
            |(technique, sub)| (technique, Some(sub)),
        );
        let fits = digits(technique, 4) && sub.is_none_or(|sub| digits(sub, 3));
        fits.then(|| Self(text.into()))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
