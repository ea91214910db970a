//! What OCSF calls each kind of event: its class and its activity.

use crate::telemetry::kind::Kind;
use crate::telemetry::kind::Outcome;

/// A class of OCSF 1.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    DetectionFinding,
    AccountChange,
    Authentication,
    EntityManagement,
    NetworkActivity,
    ApplicationLifecycle,
    ApplicationError,
}

impl Class {
    /// `class_uid` and `class_name`.
    pub(super) const fn id(self) -> (u32, &'static str) {
        match self {
            Self::DetectionFinding => (2004, "Detection Finding"),
            Self::AccountChange => (3001, "Account Change"),
            Self::Authentication => (3002, "Authentication"),
            Self::EntityManagement => (3004, "Entity Management"),
            Self::NetworkActivity => (4001, "Network Activity"),
            Self::ApplicationLifecycle => (6002, "Application Lifecycle"),
            Self::ApplicationError => (6008, "Application Error"),
        }
    }

    /// `category_uid` and `category_name`.
    pub(super) const fn category(self) -> (u32, &'static str) {
        match self {
            Self::DetectionFinding => (2, "Findings"),
            Self::AccountChange | Self::Authentication | Self::EntityManagement => {
                (3, "Identity & Access Management")
            }
            Self::NetworkActivity => (4, "Network Activity"),
            Self::ApplicationLifecycle | Self::ApplicationError => (6, "Application Activity"),
        }
    }
}

/// What was done: `activity_id` and `activity_name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Activity {
    pub(super) id: u32,
    pub(super) name: &'static str,
}

impl Activity {
    /// An activity that the class has no number for.
    pub(super) const OTHER: u32 = 99;

    /// The name in `type_name`, which is OCSF's own even where `activity_name` says more.
    pub(super) const fn caption(self) -> &'static str {
        if self.id == Self::OTHER {
            "Other"
        } else {
            self.name
        }
    }
}

/// Class and activity of a kind. A kind that is not named goes by its ECS category.
pub(super) fn of(kind: Kind) -> (Class, Activity) {
    let (class, id, name) = match kind {
        Kind::Started => (Class::ApplicationLifecycle, 3, "Start"),
        Kind::Stopping | Kind::Stopped => (Class::ApplicationLifecycle, 4, "Stop"),
        Kind::ConnectionDenied => (Class::NetworkActivity, 5, "Refuse"),
        Kind::TlsFailed => (Class::NetworkActivity, 4, "Fail"),
        Kind::ConnectionEnded => (Class::NetworkActivity, 2, "Close"),
        Kind::CommandRefused => (Class::NetworkActivity, Activity::OTHER, "Refuse command"),
        Kind::LoginSucceeded | Kind::LoginFailed | Kind::LoginUnavailable => {
            (Class::Authentication, 1, "Logon")
        }
        Kind::SessionEnded | Kind::SessionKilled => (Class::Authentication, 2, "Logoff"),
        Kind::RuleMatched | Kind::AlertRaised => (Class::DetectionFinding, 1, "Create"),
        Kind::UserLocked => (Class::AccountChange, 9, "Lock"),
        Kind::BanAdded => (Class::EntityManagement, 1, "Create"),
        Kind::BanRemoved | Kind::AppPasswordRevoked => (Class::EntityManagement, 4, "Delete"),
        _ if kind.category().contains(&"session") => (Class::NetworkActivity, 6, "Traffic"),
        _ if kind.category().contains(&"configuration") => (Class::ApplicationLifecycle, 8, "Update"),
        _ if kind.outcome() == Outcome::Failure => (Class::ApplicationError, 1, "General Error"),
        _ => (Class::ApplicationLifecycle, Activity::OTHER, "Recover"),
    };
    (class, Activity { id, name })
}
