//! Rows to records and back. A column that cannot be read is an error, never a default: a damaged restriction must not
//! become no restriction.

use std::fmt;

use rusqlite::Error;
use rusqlite::Row;
use rusqlite::types::Type;

use crate::policy::first_sync::Allowance;
use crate::store::AppPassword;
use crate::store::AppPasswordUse;
use crate::store::Ban;
use crate::store::LastUse;
use crate::store::MfaSetting;
use crate::store::Totp;
use crate::store::User;
use crate::store::Window;
use crate::store::WindowState;
use crate::store::words;
use crate::types::BudgetLimits;
use crate::types::Commands;
use crate::types::Groups;
use crate::types::Networks;
use crate::types::Restrictions;
use crate::types::UnixTime;
use crate::types::UserName;

/// Columns of `users`, in the order `user` reads them.
pub(super) const USER: &str = "name, display, disabled, mfa, enrol_by, networks, created, epoch, member_of";

/// Columns of `app_passwords`, in the order `app_password` reads them.
pub(super) const APP_PASSWORD: &str = "id, user, account, label, hash, public_key, public_key_mac, sealed, created, expires, \
                                       networks, revoked, last_used, last_from, last_client, read_only, mailboxes, commands, \
                                       budget_bytes, budget_messages, service";

pub(super) fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        name: name(row, 0)?,
        display: row.get(1)?,
        disabled: row.get(2)?,
        mfa: optional(row, 3, |text| MfaSetting::parse(text).ok_or(Unreadable))?,
        enrol_by: time(row, 4)?,
        networks: networks(row, 5)?,
        created: UnixTime(row.get(6)?),
        epoch: row.get(7)?,
        groups: groups(row, 8)?,
    })
}

pub(super) fn app_password(row: &Row<'_>) -> rusqlite::Result<AppPassword> {
    Ok(AppPassword {
        id: row.get(0)?,
        user: name(row, 1)?,
        account: name(row, 2)?,
        label: row.get(3)?,
        hash: row.get(4)?,
        public_key: row.get(5)?,
        public_key_mac: row.get(6)?,
        sealed: row.get(7)?,
        created: UnixTime(row.get(8)?),
        expires: time(row, 9)?,
        networks: networks(row, 10)?,
        revoked: time(row, 11)?,
        last_use: last_use(row)?,
        restrictions: restrictions(row)?,
    })
}

fn restrictions(row: &Row<'_>) -> rusqlite::Result<Restrictions> {
    Ok(Restrictions {
        read_only: row.get(15)?,
        mailboxes: optional(row, 16, |text| words::patterns(text).ok_or(Unreadable))?,
        commands: optional(row, 17, Commands::parse)?.unwrap_or_default(),
        budget: BudgetLimits {
            bytes: maybe_count(row, 18)?,
            messages: maybe_count(row, 19)?,
        },
        service: row.get(20)?,
    })
}

fn last_use(row: &Row<'_>) -> rusqlite::Result<Option<LastUse>> {
    let at = time(row, 12)?;
    let from = optional(row, 13, str::parse)?;
    let client: Option<String> = row.get(14)?;
    Ok(at.zip(from).map(|(at, from)| LastUse { at, from, client }))
}

/// `created, last_used, opened, bytes_left, network, family, ended`; the last five are one allowance or none.
pub(super) fn app_password_use(row: &Row<'_>) -> rusqlite::Result<AppPasswordUse> {
    let opened = time(row, 2)?;
    Ok(AppPasswordUse {
        created: UnixTime(row.get(0)?),
        last_used: time(row, 1)?,
        allowance: opened.map(|opened| allowance(row, opened)).transpose()?,
    })
}

fn allowance(row: &Row<'_>, opened: UnixTime) -> rusqlite::Result<Allowance> {
    let family: Option<String> = row.get(5)?;
    Ok(Allowance {
        opened,
        left: count(row, 3)?,
        network: row.get(4)?,
        family: family.map(Into::into),
        ended: time(row, 6)?,
    })
}

/// A number that is never negative.
pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| unreadable(column))
}

/// `sealed, confirmed, last_step`.
pub(super) fn totp(row: &Row<'_>) -> rusqlite::Result<Totp> {
    Ok(Totp {
        sealed: row.get(0)?,
        confirmed: UnixTime(row.get(1)?),
        last_step: row.get(2)?,
    })
}

/// `user, open, opened, expires, last_used`.
pub(super) fn window(row: &Row<'_>) -> rusqlite::Result<Window> {
    let open: bool = row.get(1)?;
    Ok(Window {
        user: name(row, 0)?,
        state: if open {
            WindowState::Open
        } else {
            WindowState::Pending
        },
        opened: UnixTime(row.get(2)?),
        expires: UnixTime(row.get(3)?),
        last_used: UnixTime(row.get(4)?),
    })
}

/// `network, reason, by_whom, created, until`.
pub(super) fn ban(row: &Row<'_>) -> rusqlite::Result<Ban> {
    let text: String = row.get(0)?;
    Ok(Ban {
        network: text.parse().map_err(|_| unreadable(0))?,
        reason: row.get(1)?,
        by: row.get(2)?,
        created: UnixTime(row.get(3)?),
        until: time(row, 4)?,
    })
}

fn maybe_count(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let number: Option<i64> = row.get(column)?;
    number
        .map(|number| u64::try_from(number).map_err(|_| unreadable(column)))
        .transpose()
}

fn networks(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Networks>> {
    optional(row, column, |text| words::networks(text).ok_or(Unreadable))
}

fn groups(row: &Row<'_>, column: usize) -> rusqlite::Result<Groups> {
    let text: String = row.get(column)?;
    words::groups(&text).ok_or_else(|| unreadable(column))
}

pub(super) fn name(row: &Row<'_>, column: usize) -> rusqlite::Result<UserName> {
    let text: String = row.get(column)?;
    UserName::parse(text.as_bytes()).map_err(|_| unreadable(column))
}

/// What is written as text.
pub(super) fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| unreadable(column))
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<UnixTime>> {
    let seconds: Option<i64> = row.get(column)?;
    Ok(seconds.map(UnixTime))
}

fn optional<T, E>(
    row: &Row<'_>,
    column: usize,
    read: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    match text.as_deref().map(read) {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(_)) => Err(unreadable(column)),
    }
}

fn unreadable(column: usize) -> Error {
    Error::FromSqlConversionFailure(column, Type::Text, Box::new(Unreadable))
}

#[derive(Debug)]
struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unreadable")
    }
}

impl std::error::Error for Unreadable {}
