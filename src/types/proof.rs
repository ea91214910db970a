//! Values that only their maker can build: what must have happened before the next step may run.
//!
//! `auth` vouches for [`Authenticated`], `backend` for [`LoggedIn`]; `tests/architecture.rs` keeps the two constructors in
//! their folders.

use crate::types::Restrictions;
use crate::types::Secret;
use crate::types::UserName;

/// How a login proved its second factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecondFactor {
    /// An app password, by its id.
    AppPassword {
        /// The credential's id, as events and the store name it.
        id: u32,
        /// Its label, as the user named it.
        label: String,
    },
    /// A one-time code, entered now.
    Totp,
    /// A trusted window that a one-time code opened before.
    TrustedWindow,
    /// None: the policy does not ask this user or network for one.
    Exempt,
    /// None yet: enrolment is still open, or second factors are only monitored.
    NotEnrolled,
}

impl SecondFactor {
    /// The word in events and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::AppPassword { .. } => "app_password",
            Self::Totp => "totp",
            Self::TrustedWindow => "trusted_window",
            Self::Exempt => "exempt",
            Self::NotEnrolled => "not_enrolled",
        }
    }

    /// All words, for labels that must exist from the start.
    pub const WORDS: [&'static str; 5] = ["app_password", "totp", "trusted_window", "exempt", "not_enrolled"];
}

/// What opens the mailbox at the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendCredentials {
    /// The account's own password.
    Password(Secret),
    /// The backend's master user acts for the account; which one stands in the backend's configuration.
    Master,
}

/// Proof that the user's second factor was right, or is not asked for. Made by `auth` alone.
#[derive(Debug)]
pub struct Authenticated {
    user: UserName,
    account: UserName,
    factor: SecondFactor,
    credentials: BackendCredentials,
    restrictions: Restrictions,
}

impl Authenticated {
    /// Vouches that `user` may open `account`. For `auth` only.
    #[must_use]
    pub fn vouch(
        user: UserName,
        account: UserName,
        factor: SecondFactor,
        credentials: BackendCredentials,
    ) -> Self {
        Self {
            user,
            account,
            factor,
            credentials,
            restrictions: Restrictions::default(),
        }
    }

    /// The same, and no more than the restrictions allow.
    #[must_use]
    pub fn restricted(self, restrictions: Restrictions) -> Self {
        Self { restrictions, ..self }
    }

    /// Who logged in.
    #[must_use]
    pub fn user(&self) -> &UserName {
        &self.user
    }

    /// The account that is opened at the backend: the user's own, or a shared one delegated to the user.
    #[must_use]
    pub fn account(&self) -> &UserName {
        &self.account
    }

    /// How the second factor was proved.
    #[must_use]
    pub fn factor(&self) -> &SecondFactor {
        &self.factor
    }

    /// What opens the account at the backend.
    #[must_use]
    pub fn credentials(&self) -> &BackendCredentials {
        &self.credentials
    }
}

/// Proof that the backend let the account in, with what it said then. Made by `backend` alone.
#[derive(Debug)]
pub struct LoggedIn {
    user: UserName,
    factor: SecondFactor,
    restrictions: Restrictions,
    capabilities: Vec<u8>,
    early: Vec<u8>,
}

impl LoggedIn {
    /// Vouches that the backend accepted `authenticated`. `capabilities` is the backend's list after login, words separated
    /// by single spaces; `early` is what it sent behind the login's answer. For `backend` only.
    #[must_use]
    pub fn vouch(authenticated: Authenticated, capabilities: Vec<u8>, early: Vec<u8>) -> Self {
        Self {
            user: authenticated.user,
            factor: authenticated.factor,
            restrictions: authenticated.restrictions,
            capabilities,
            early,
        }
    }

    /// Who logged in.
    #[must_use]
    pub fn user(&self) -> &UserName {
        &self.user
    }

    /// How the second factor was proved.
    #[must_use]
    pub fn factor(&self) -> &SecondFactor {
        &self.factor
    }

    /// What the session is restricted to.
    #[must_use]
    pub fn restrictions(&self) -> &Restrictions {
        &self.restrictions
    }

    /// The backend's capabilities after login, unfiltered: words separated by single spaces.
    #[must_use]
    pub fn capabilities(&self) -> &[u8] {
        &self.capabilities
    }

    /// Takes the bytes that the backend sent behind its answer; the relay must see them first.
    #[must_use]
    pub fn take_early(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.early)
    }
}
