//! Logins with an app password: one row, one keyed hash, then what restricts it.

use std::net::IpAddr;

use subtle::ConstantTimeEq;

use crate::auth::app_password;
use crate::auth::app_password::AppPassword;
use crate::auth::gate::Gate;
use crate::auth::gate::GateError;
use crate::auth::gate::Open;
use crate::auth::gate::Pending;
use crate::auth::gate::Rehash;
use crate::auth::gate::Verified;
use crate::auth::gate::attempt::Attempt;
use crate::auth::gate::check_user;
use crate::auth::lease::Lease;
use crate::auth::seal;
use crate::auth::seal::Recipient;
use crate::store;
use crate::store::Found;
use crate::store::LastUse;
use crate::store::NO_HASH;
use crate::store::StoreError;
use crate::types::Authenticated;
use crate::types::BackendCredentials;
use crate::types::Prefix;
use crate::types::Refusal;
use crate::types::SecondFactor;
use crate::types::Secret;
use crate::types::UnixTime;
use crate::types::UserName;

/// Longest client name that is kept with a last use, in bytes.
const MAX_CLIENT: usize = 160;

impl Gate {
    pub(super) fn by_app_password(
        &self,
        attempt: &Attempt<'_>,
        typed: &AppPassword,
        found: &Found,
    ) -> Result<Verified, GateError> {
        let Attempt {
            credentials, source, ..
        } = *attempt;
        let now = attempt.basis.now;
        let row = found.app_password.as_ref();
        let (right, rehash) = attempt.knows(typed, row);
        let (Some(row), Some(owner), true) = (row, &found.owner, right) else {
            let known = found.user.is_some() || row.is_some();
            return Err(if known {
                Refusal::AppPasswordInvalid
            } else {
                Refusal::UnknownUser
            }
            .into());
        };
        check_app_password(row, &credentials.user, source.ip, now)?;
        for user in std::iter::once(owner).chain(&found.account) {
            check_user(user, source.ip)?;
        }
        let password = match &row.sealed {
            Some(sealed) => BackendCredentials::Password(self.unseal(attempt, typed, row, sealed)?),
            None => BackendCredentials::Master,
        };
        let factor = SecondFactor::AppPassword {
            id: row.id,
            label: row.label.clone(),
        };
        let last_use = LastUse {
            at: now,
            from: source.ip.to_canonical(),
            client: source.client.as_deref().map(printable),
        };
        Ok(Verified {
            lease: Lease::new(owner, row.account.clone(), Some(row.id), source.ip),
            groups: owner.groups.clone(),
            authenticated: Authenticated::vouch(row.user.clone(), row.account.clone(), factor, password)
                .restricted(row.restrictions.clone()),
            pending: Pending {
                user: row.user.clone(),
                from: Prefix::of(source.ip),
                open: Open::AppPassword(row.id, last_use, rehash),
            },
            monitored: None,
            elsewhere: found.elsewhere,
            granted: None,
        })
    }

    /// Forgets mail passwords that were opened, once their app passwords may be revoked, and after a while.
    pub fn forget_opened(&self, now: UnixTime) {
        self.opened.sweep(self.store.notices(), now);
    }

    fn unseal(
        &self,
        attempt: &Attempt<'_>,
        typed: &AppPassword,
        row: &store::AppPassword,
        sealed: &[u8],
    ) -> Result<Secret, StoreError> {
        let to = Recipient {
            id: row.id,
            user: &row.user,
            account: &row.account,
        };
        self.opened
            .unseal(typed, (to, sealed), attempt.basis.notices, attempt.basis.now)
            .map_err(|error| {
                StoreError::Damaged(format!("app password {}: {error}", app_password::id_text(row.id)))
            })
    }
}

impl Attempt<'_> {
    /// Whether an app password is the row's; and what it hashes to, where the row lost its hash with another key.
    fn knows(&self, typed: &AppPassword, row: Option<&store::AppPassword>) -> (bool, Option<Rehash>) {
        let nobody = &self.credentials.user;
        // Without a row the same hash is computed and compared, with nothing.
        let (user, account, kept) = row.map_or((nobody, nobody, NO_HASH), |row| {
            (&row.user, &row.account, row.hash)
        });
        let hash = self
            .basis
            .keys
            .app_password(typed.id(), user, account, typed.secret());
        if bool::from(hash.ct_eq(&kept)) {
            return (row.is_some(), None);
        }
        // Asked of every wrong one: no row, and a wrong secret, cost the same.
        let right = self.has_public_key(typed, row) && kept == NO_HASH;
        let rehash = row.map(|row| Rehash {
            public_key_mac: row.public_key_mac,
            hash,
        });
        (right, rehash)
    }

    /// True where an app password is the one whose public key is in the row, and the key in force says that it was put there:
    /// so its secret is known again whose hash went with another key. Where there is no row the same work is done.
    fn has_public_key(&self, typed: &AppPassword, row: Option<&store::AppPassword>) -> bool {
        let nobody = &self.credentials.user;
        let (user, account, kept, mac) = row.map_or((nobody, nobody, [0; 32], NO_HASH), |row| {
            (&row.user, &row.account, row.public_key, row.public_key_mac)
        });
        // Where the cryptographic library fails nobody is let in.
        let Ok(derived) = seal::public_key(typed) else {
            return false;
        };
        let bound = self.basis.keys.public_key(typed.id(), user, account, &kept);
        row.is_some() && bool::from(derived.ct_eq(&kept) & bound.ct_eq(&mac))
    }
}

/// Reasons are told apart only for whoever had the right secret.
fn check_app_password(
    row: &store::AppPassword,
    login: &UserName,
    ip: IpAddr,
    now: UnixTime,
) -> Result<(), Refusal> {
    if row.revoked.is_some() {
        return Err(Refusal::AppPasswordRevoked);
    }
    if !row.is_live(now) {
        return Err(Refusal::AppPasswordExpired);
    }
    // The owner's name or the name of the account that it opens: mail clients are set up with either.
    if *login != row.user && *login != row.account {
        return Err(Refusal::AppPasswordOtherUser);
    }
    if row
        .networks
        .as_ref()
        .is_some_and(|networks| !networks.contains(ip))
    {
        return Err(Refusal::AppPasswordNetwork);
    }
    Ok(())
}

/// A client's name as it is kept: nothing that moves a terminal's cursor or turns text around, not longer than a line.
fn printable(client: &str) -> String {
    let mut kept = String::new();
    for c in client.chars().filter(|c| is_harmless(*c)) {
        if kept.len() + c.len_utf8() > MAX_CLIENT {
            break;
        }
        kept.push(c);
    }
    kept
}

fn is_harmless(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric()
}
