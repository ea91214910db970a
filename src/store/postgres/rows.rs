//! Rows to records. A column that cannot be read is an error, never a default: a damaged restriction must not become no
//! restriction.

use tokio_postgres::Row;
use tokio_postgres::types::FromSqlOwned;

use crate::policy::first_sync::Allowance;
use crate::store::AppPassword;
use crate::store::AppPasswordUse;
use crate::store::Ban;
use crate::store::LastUse;
use crate::store::MfaSetting;
use crate::store::StoreError;
use crate::store::Totp;
use crate::store::User;
use crate::store::Window;
use crate::store::WindowState;
use crate::store::postgres::error::Trouble;
use crate::store::words;
use crate::types::BudgetLimits;
use crate::types::Commands;
use crate::types::Restrictions;
use crate::types::UnixTime;
use crate::types::UserName;

/// Columns of `users`, in the order `user` reads them.
pub(super) const USER: [&str; 9] = [
    "name",
    "display",
    "disabled",
    "mfa",
    "enrol_by",
    "networks",
    "created",
    "epoch",
    "member_of",
];

/// Columns of `app_passwords`, in the order `app_password` reads them.
pub(super) const APP_PASSWORD: [&str; 21] = [
    "id",
    "username",
    "account",
    "label",
    "hash",
    "public_key",
    "public_key_mac",
    "sealed",
    "created",
    "expires",
    "networks",
    "revoked",
    "last_used",
    "last_from",
    "last_client",
    "read_only",
    "mailboxes",
    "commands",
    "budget_bytes",
    "budget_messages",
    "service",
];

/// Columns of `totp`, in the order `totp` reads them.
pub(super) const TOTP: [&str; 3] = ["sealed", "confirmed", "last_step"];

/// Columns of `trusted_windows`, in the order `window` reads them.
pub(super) const WINDOW: [&str; 5] = ["username", "open", "opened", "expires", "last_used"];

/// Columns for a SELECT, of a table by its short name.
pub(super) fn columns(of: &str, names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{of}.{name}")).collect();
    names.join(", ")
}

/// A row from one of its columns on: a join has several records side by side.
#[derive(Clone, Copy)]
pub(super) struct From<'r> {
    row: &'r Row,
    first: usize,
}

impl<'r> From<'r> {
    pub(super) fn start(row: &'r Row) -> Self {
        Self { row, first: 0 }
    }

    /// The record behind so many columns.
    pub(super) fn behind(self, columns: usize) -> Self {
        Self {
            row: self.row,
            first: self.first.saturating_add(columns),
        }
    }

    pub(super) fn get<T: FromSqlOwned>(self, column: usize) -> Result<T, Trouble> {
        Ok(self.row.try_get(self.first.saturating_add(column))?)
    }

    /// True where the joined record is not there.
    pub(super) fn is_absent(self) -> Result<bool, Trouble> {
        let name: Option<String> = self.get(0)?;
        Ok(name.is_none())
    }

    fn unreadable(self, column: usize) -> Trouble {
        let column = self.first.saturating_add(column);
        StoreError::Damaged(format!("column {column} cannot be read")).into()
    }

    fn optional<T>(self, column: usize, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Trouble> {
        let text: Option<String> = self.get(column)?;
        match text.as_deref().map(read) {
            None => Ok(None),
            Some(Some(value)) => Ok(Some(value)),
            Some(None) => Err(self.unreadable(column)),
        }
    }

    pub(super) fn name(self, column: usize) -> Result<UserName, Trouble> {
        let text: String = self.get(column)?;
        UserName::parse(text.as_bytes()).map_err(|_| self.unreadable(column))
    }

    pub(super) fn names(self, column: usize) -> Result<Vec<UserName>, Trouble> {
        let texts: Vec<String> = self.get(column)?;
        let read = |text: &String| UserName::parse(text.as_bytes()).map_err(|_| self.unreadable(column));
        texts.iter().map(read).collect()
    }

    /// What is written as text.
    pub(super) fn parsed<T: std::str::FromStr>(self, column: usize) -> Result<T, Trouble> {
        let text: String = self.get(column)?;
        text.parse().map_err(|_| self.unreadable(column))
    }

    /// When something happened, if it did.
    pub(super) fn time(self, column: usize) -> Result<Option<UnixTime>, Trouble> {
        let seconds: Option<i64> = self.get(column)?;
        Ok(seconds.map(UnixTime))
    }

    pub(super) fn at(self, column: usize) -> Result<UnixTime, Trouble> {
        self.get(column).map(UnixTime)
    }

    pub(super) fn hash(self, column: usize) -> Result<[u8; 32], Trouble> {
        let bytes: Vec<u8> = self.get(column)?;
        bytes.try_into().map_err(|_| self.unreadable(column))
    }

    /// The key in force, of a store that belongs to one.
    pub(super) fn maybe_hash(self, column: usize) -> Result<Option<[u8; 32]>, Trouble> {
        let bytes: Option<Vec<u8>> = self.get(column)?;
        bytes.map(|_| self.hash(column)).transpose()
    }

    /// A number that is never negative.
    pub(super) fn count(self, column: usize) -> Result<u64, Trouble> {
        let number: i64 = self.get(column)?;
        u64::try_from(number).map_err(|_| self.unreadable(column))
    }

    fn maybe_count(self, column: usize) -> Result<Option<u64>, Trouble> {
        let number: Option<i64> = self.get(column)?;
        number.map(|_| self.count(column)).transpose()
    }
}

pub(super) fn user(row: From<'_>) -> Result<User, Trouble> {
    Ok(User {
        name: row.name(0)?,
        display: row.get(1)?,
        disabled: row.get(2)?,
        mfa: row.optional(3, MfaSetting::parse)?,
        enrol_by: row.time(4)?,
        networks: row.optional(5, words::networks)?,
        created: row.at(6)?,
        epoch: row.get(7)?,
        groups: row.optional(8, words::groups)?.ok_or_else(|| row.unreadable(8))?,
    })
}

/// A user of a join that may have found none.
pub(super) fn maybe_user(row: From<'_>) -> Result<Option<User>, Trouble> {
    Ok(if row.is_absent()? { None } else { Some(user(row)?) })
}

pub(super) fn app_password(row: From<'_>) -> Result<AppPassword, Trouble> {
    Ok(AppPassword {
        id: id(row, 0)?,
        user: row.name(1)?,
        account: row.name(2)?,
        label: row.get(3)?,
        hash: row.hash(4)?,
        public_key: row.hash(5)?,
        public_key_mac: row.hash(6)?,
        sealed: row.get(7)?,
        created: row.at(8)?,
        expires: row.time(9)?,
        networks: row.optional(10, words::networks)?,
        revoked: row.time(11)?,
        last_use: last_use(row)?,
        restrictions: restrictions(row)?,
    })
}

/// An app password of a join that may have found none.
pub(super) fn maybe_app_password(row: From<'_>) -> Result<Option<AppPassword>, Trouble> {
    let found: Option<i64> = row.get(0)?;
    found.map(|_| app_password(row)).transpose()
}

/// An app password's id.
pub(super) fn id(row: From<'_>, column: usize) -> Result<u32, Trouble> {
    let number: i64 = row.get(column)?;
    u32::try_from(number).map_err(|_| row.unreadable(column))
}

fn restrictions(row: From<'_>) -> Result<Restrictions, Trouble> {
    let commands = row.optional(17, |text| Commands::parse(text).ok())?;
    Ok(Restrictions {
        read_only: row.get(15)?,
        mailboxes: row.optional(16, words::patterns)?,
        commands: commands.unwrap_or_default(),
        budget: BudgetLimits {
            bytes: row.maybe_count(18)?,
            messages: row.maybe_count(19)?,
        },
        service: row.get(20)?,
    })
}

fn last_use(row: From<'_>) -> Result<Option<LastUse>, Trouble> {
    let at = row.time(12)?;
    let from = row.optional(13, |text| text.parse().ok())?;
    let client: Option<String> = row.get(14)?;
    Ok(at.zip(from).map(|(at, from)| LastUse { at, from, client }))
}

/// `created, last_used, opened, bytes_left, network, family, ended`; the last five are one allowance or none, and all of
/// them may be missing.
pub(super) fn app_password_use(row: From<'_>) -> Result<Option<AppPasswordUse>, Trouble> {
    let Some(created) = row.time(0)? else {
        return Ok(None);
    };
    let opened = row.time(2)?;
    Ok(Some(AppPasswordUse {
        created,
        last_used: row.time(1)?,
        allowance: opened.map(|opened| allowance(row, opened)).transpose()?,
    }))
}

fn allowance(row: From<'_>, opened: UnixTime) -> Result<Allowance, Trouble> {
    let family: Option<String> = row.get(5)?;
    Ok(Allowance {
        opened,
        left: row.count(3)?,
        network: row.hash(4)?,
        family: family.map(Into::into),
        ended: row.time(6)?,
    })
}

pub(super) fn totp(row: From<'_>) -> Result<Totp, Trouble> {
    Ok(Totp {
        sealed: row.get(0)?,
        confirmed: row.at(1)?,
        last_step: row.get(2)?,
    })
}

/// One-time secrets of a join that may have found none.
pub(super) fn maybe_totp(row: From<'_>) -> Result<Option<Totp>, Trouble> {
    let sealed: Option<Vec<u8>> = row.get(0)?;
    sealed.map(|_| totp(row)).transpose()
}

/// A window of a join that may have found none.
pub(super) fn maybe_window(row: From<'_>) -> Result<Option<Window>, Trouble> {
    if row.is_absent()? {
        return Ok(None);
    }
    let open: bool = row.get(1)?;
    Ok(Some(Window {
        user: row.name(0)?,
        state: if open {
            WindowState::Open
        } else {
            WindowState::Pending
        },
        opened: row.at(2)?,
        expires: row.at(3)?,
        last_used: row.at(4)?,
    }))
}

/// `network, reason, by_whom, created, until`.
pub(super) fn ban(row: From<'_>) -> Result<Ban, Trouble> {
    let text: String = row.get(0)?;
    Ok(Ban {
        network: text.parse().map_err(|_| row.unreadable(0))?,
        reason: row.get(1)?,
        by: row.get(2)?,
        created: row.at(3)?,
        until: row.time(4)?,
    })
}
