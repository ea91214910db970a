//! What operators and users do with accounts: add, enrol, make app passwords, change the mail password, revoke.
//!
//! A secret made here is returned once and never kept. Mail passwords are taken as given: whoever calls has proved them at
//! the backend.

use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::auth::app_password;
use crate::auth::app_password::AppPassword;
use crate::auth::key_ring::KeyRing;
use crate::auth::keys::KeyError;
use crate::auth::keys::Keys;
use crate::auth::seal;
use crate::auth::seal::Recipient;
use crate::auth::seal::SealError;
use crate::auth::totp;
use crate::auth::totp::TotpError;
use crate::store;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::User;
use crate::types::Networks;
use crate::types::Restrictions;
use crate::types::Secret;
use crate::types::UnixTime;
use crate::types::UserName;

/// Live app passwords one user may own: more devices than anybody has.
const MAX_APP_PASSWORDS: u32 = 100;

/// Longest label, in bytes.
const MAX_LABEL: usize = 64;

/// Draws of an id before giving up: with a million rows one draw in a thousand meets a taken one.
const DRAWS: u32 = 8;

/// Why an account could not be changed.
#[derive(Debug, Error)]
pub enum AccountError {
    /// The name is taken.
    #[error("the user exists already")]
    Exists,
    /// Nobody has that name.
    #[error("there is no such user")]
    NoSuchUser,
    /// Nothing has that id, or it was revoked before.
    #[error("there is no live app password {0}")]
    NoSuchAppPassword(String),
    /// There is no one-time secret that waits for its first code.
    #[error("no enrolment is waiting for a code; begin one first")]
    NoEnrolment,
    /// The code does not belong to the new secret.
    #[error("the code is wrong; check the clock of the device, and enter the code it shows now")]
    WrongCode,
    /// A label must be short and printable.
    #[error("the label must have 1 to 64 bytes and no control characters")]
    BadLabel,
    /// The mail password is empty.
    #[error("the mail password is empty")]
    EmptyPassword,
    /// A public key is not the one that was made: somebody changed the store by hand.
    #[error("the public key of app password {0} was changed in the store; revoke that app password")]
    Tampered(String),
    /// What was made is worth nothing.
    #[error("another key has come in force meanwhile; try again")]
    KeyChanged,
    /// No free id was found.
    #[error("no free app password id was found; try again")]
    NoFreeId,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Sealing.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The one-time secret.
    #[error(transparent)]
    Totp(#[from] TotpError),
    /// The keys.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What is shown to a user who enrols an authenticator app, once.
#[derive(Debug)]
pub struct Enrolment {
    /// `otpauth://…`, for a QR code.
    pub url: Secret,
    /// The secret in base 32, for typing.
    pub typed: Secret,
}

/// What an app password shall be.
#[derive(Debug, Clone)]
pub struct NewAppPassword {
    /// Whose it is.
    pub user: UserName,
    /// The account it opens; the owner's own where it is the same name.
    pub account: UserName,
    /// The device.
    pub label: String,
    /// When it stops working.
    pub expires: Option<UnixTime>,
    /// The only networks it works from.
    pub networks: Option<Networks>,
    /// What it may do less than its owner.
    pub restrictions: Restrictions,
    /// The account's mail password, proved at the backend; `None` where a master user opens the account.
    pub mail_password: Option<Secret>,
}

/// An app password that was made.
#[derive(Debug)]
pub struct Created {
    /// Its id; [`app_password::id_text`] shows it as people read it.
    pub id: u32,
    /// What the user types. Shown once, kept nowhere.
    pub printed: Secret,
}

/// The operations, on a store and the keys that belong to it.
#[derive(Clone, Copy)]
pub struct Accounts<'a> {
    store: &'a dyn Store,
    ring: &'a KeyRing,
}

impl<'a> Accounts<'a> {
    /// Operations on `store`.
    #[must_use]
    pub fn new(store: &'a dyn Store, ring: &'a KeyRing) -> Self {
        Self { store, ring }
    }

    /// Adds a user.
    ///
    /// # Errors
    /// Where the name is taken.
    pub async fn add_user(&self, user: User) -> Result<(), AccountError> {
        let added = self.store.add_user(user).await?;
        added.then_some(()).ok_or(AccountError::Exists)
    }

    /// Disables or enables a user. Disabling ends sessions and windows.
    ///
    /// # Errors
    /// Where there is no such user.
    pub async fn set_disabled(&self, name: &UserName, disabled: bool) -> Result<(), AccountError> {
        let mut user = self.store.user(name).await?.ok_or(AccountError::NoSuchUser)?;
        user.disabled = disabled;
        self.change_user(user).await
    }

    /// Replaces a user's settings.
    ///
    /// # Errors
    /// Where there is no such user.
    pub async fn change_user(&self, user: User) -> Result<(), AccountError> {
        let changed = self.store.change_user(user).await?;
        changed.then_some(()).ok_or(AccountError::NoSuchUser)
    }

    /// Takes every second factor away from a user, and ends the sessions that stand on them.
    ///
    /// # Errors
    /// Where there is no such user.
    pub async fn reset(&self, name: &UserName, now: UnixTime) -> Result<(), AccountError> {
        let reset = self.store.reset_user(name, now).await?;
        reset.then_some(()).ok_or(AccountError::NoSuchUser)
    }

    /// Draws a one-time secret that waits for its first code. The one in force, if any, stays in force until then.
    ///
    /// # Errors
    /// Where there is no such user.
    pub async fn begin_totp(
        &self,
        user: &UserName,
        issuer: &str,
        now: UnixTime,
    ) -> Result<Enrolment, AccountError> {
        let secret = totp::generate()?;
        let (url, typed) = totp::invitation(&secret, user, issuer)?;
        let keys = self.ring.in_force();
        let sealed = keys.seal_totp(user, secret.expose())?;
        let begun = self.store.begin_enrolment(user, sealed, now).await?;
        self.still_in_force(&keys).await?;
        begun
            .then_some(Enrolment { url, typed })
            .ok_or(AccountError::NoSuchUser)
    }

    /// Puts the waiting one-time secret in force, with a code from the device that has it. That code is consumed.
    ///
    /// # Errors
    /// Where nothing waits, or the code is wrong.
    pub async fn confirm_totp(
        &self,
        user: &UserName,
        code: &Secret,
        now: UnixTime,
    ) -> Result<(), AccountError> {
        let (sealed, _) = self
            .store
            .enrolment(user)
            .await?
            .ok_or(AccountError::NoEnrolment)?;
        let secret = self.ring.in_force().open_totp(user, &sealed);
        let secret =
            secret.ok_or_else(|| StoreError::Damaged("a one-time secret cannot be opened".to_owned()))?;
        let step = totp::step_of(&secret, code, now).ok_or(AccountError::WrongCode)?;
        let confirmed = self.store.confirm_enrolment(user, sealed, step, now).await?;
        confirmed.then_some(()).ok_or(AccountError::NoEnrolment)
    }

    /// Makes an app password.
    ///
    /// # Errors
    /// Where there is no such user, the label is bad, or the user has too many.
    pub async fn create_app_password(
        &self,
        new: &NewAppPassword,
        now: UnixTime,
    ) -> Result<Created, AccountError> {
        check_label(&new.label)?;
        if self.store.user(&new.user).await?.is_none() {
            return Err(AccountError::NoSuchUser);
        }
        let keys = self.ring.in_force();
        for _ in 0..DRAWS {
            let drawn = AppPassword::generate().map_err(KeyError::from)?;
            let row = row(&keys, &drawn, new, now)?;
            if self.store.add_app_password(row, MAX_APP_PASSWORDS).await? {
                if let Err(error) = self.still_in_force(&keys).await {
                    self.store.revoke_app_password(drawn.id(), now).await?;
                    return Err(error);
                }
                return Ok(Created {
                    id: drawn.id(),
                    printed: drawn.print(),
                });
            }
        }
        Err(AccountError::NoFreeId)
    }

    /// Seals a changed mail password, proved at the backend, to every live app password that opens the account, whoever
    /// owns it, and ends the account's windows. Answers how many were sealed.
    ///
    /// # Errors
    /// Where a public key in the store is not the one that was made: then nothing is sealed at all.
    pub async fn set_mail_password(
        &self,
        account: &UserName,
        password: &Secret,
        now: UnixTime,
    ) -> Result<u32, AccountError> {
        let keys = self.ring.in_force();
        let mut sealed = Vec::new();
        for row in self.store.app_passwords_for(account).await? {
            if row.is_live(now) {
                sealed.push((row.id, seal_to(&keys, &row, password)?));
            }
        }
        Ok(self.store.reseal(account, sealed).await?)
    }

    /// Revokes an app password; its sessions end within a second.
    ///
    /// # Errors
    /// Where there is none with that id, or it was revoked before.
    pub async fn revoke_app_password(&self, id: u32, now: UnixTime) -> Result<(), AccountError> {
        let revoked = self.store.revoke_app_password(id, now).await?;
        let missing = || AccountError::NoSuchAppPassword(app_password::id_text(id));
        revoked.then_some(()).ok_or_else(missing)
    }

    /// A user's app passwords, oldest first.
    ///
    /// # Errors
    /// Where there is no such user.
    pub async fn app_passwords(&self, user: &UserName) -> Result<Vec<store::AppPassword>, AccountError> {
        if self.store.user(user).await?.is_none() {
            return Err(AccountError::NoSuchUser);
        }
        Ok(self.store.app_passwords(user).await?)
    }

    /// What was made under a key that had just been replaced would be worth nothing.
    async fn still_in_force(&self, keys: &Keys) -> Result<(), AccountError> {
        match self.store.key_in_force().await? {
            Some(check) if check != keys.check() => Err(AccountError::KeyChanged),
            _ => Ok(()),
        }
    }
}

fn row(
    keys: &Keys,
    drawn: &AppPassword,
    new: &NewAppPassword,
    now: UnixTime,
) -> Result<store::AppPassword, AccountError> {
    let (id, user, account) = (drawn.id(), &new.user, &new.account);
    let public_key = seal::public_key(drawn)?;
    let mut row = store::AppPassword {
        id,
        user: user.clone(),
        account: account.clone(),
        label: new.label.clone(),
        hash: keys.app_password(id, user, account, drawn.secret()),
        public_key,
        public_key_mac: keys.public_key(id, user, account, &public_key),
        sealed: None,
        created: now,
        expires: new.expires,
        networks: new.networks.clone(),
        restrictions: new.restrictions.clone(),
        revoked: None,
        last_use: None,
    };
    if let Some(password) = &new.mail_password {
        row.sealed = Some(seal_to(keys, &row, password)?);
    }
    Ok(row)
}

fn seal_to(keys: &Keys, row: &store::AppPassword, password: &Secret) -> Result<Vec<u8>, AccountError> {
    if password.is_empty() {
        return Err(AccountError::EmptyPassword);
    }
    // Whoever can write to the store could else have the next mail password sealed to a key of theirs.
    let made = keys.public_key(row.id, &row.user, &row.account, &row.public_key);
    if !bool::from(made.ct_eq(&row.public_key_mac)) {
        return Err(AccountError::Tampered(app_password::id_text(row.id)));
    }
    let to = Recipient {
        id: row.id,
        user: &row.user,
        account: &row.account,
    };
    Ok(seal::seal(&row.public_key, to, password)?)
}

fn check_label(label: &str) -> Result<(), AccountError> {
    let fits = (1..=MAX_LABEL).contains(&label.len());
    let printable = !label.chars().any(char::is_control) && !label.trim().is_empty();
    (fits && printable).then_some(()).ok_or(AccountError::BadLabel)
}

#[cfg(test)]
mod tests;
