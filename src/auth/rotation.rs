//! From one key to another: what is made anew when another key of the key file comes in force.
//!
//! Everything that lets somebody in is bound to the new key in the transaction that puts it in force; from then on the old one
//! verifies and opens nothing. Secrets of app passwords are known to nobody, so their hashes cannot be made anew: until its next
//! use an app password is recognised by the public key that is derived from its secret.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::auth::app_password::id_text;
use crate::auth::key_ring::KeyRing;
use crate::auth::keys::Keys;
use crate::auth::memory::LATELY;
use crate::store::Bound;
use crate::store::FormerKey;
use crate::store::Rekey;
use crate::store::Rekeyed;
use crate::store::Store;
use crate::store::StoreError;
use crate::types::UnixTime;
use crate::types::UserName;

/// Puts another key in force, here and at whoever else uses the store.
///
/// # Errors
/// Nothing was changed: the store does not answer, another key is in force by now, or something cannot be made anew.
pub async fn rotate(
    store: &dyn Store,
    ring: &KeyRing,
    to: Arc<Keys>,
    now: UnixTime,
) -> Result<Rekeyed, StoreError> {
    let check = to.check();
    let turn = Turn {
        from: ring.in_force(),
        to,
    };
    let rekeyed = store.rekey(Arc::new(turn), now).await?;
    ring.follow(check).await?;
    Ok(rekeyed)
}

/// Until when something depends on a key that was in force: networks that users came from are known by it.
#[must_use]
pub fn needed_until(key: &FormerKey) -> UnixTime {
    key.until.plus(LATELY)
}

struct Turn {
    from: Arc<Keys>,
    to: Arc<Keys>,
}

impl Rekey for Turn {
    fn from(&self) -> [u8; 32] {
        self.from.check()
    }

    fn to(&self) -> [u8; 32] {
        self.to.check()
    }

    fn one_time_secret(&self, user: &UserName, sealed: &[u8]) -> Result<Vec<u8>, String> {
        let Some(secret) = self.from.open_totp(user, sealed) else {
            return Err(format!(
                "the one-time secret of {user} cannot be opened; take it away with `imapwarden user reset`"
            ));
        };
        let sealed = self.to.seal_totp(user, secret.expose());
        sealed.map_err(|error| error.to_string())
    }

    fn app_password(&self, bound: &Bound) -> Result<[u8; 32], String> {
        let mac = |keys: &Keys| keys.public_key(bound.id, &bound.user, &bound.account, &bound.public_key);
        if bool::from(mac(&self.from).ct_eq(&bound.public_key_mac)) {
            return Ok(mac(&self.to));
        }
        Err(format!(
            "app password {} was changed in the store; revoke it",
            id_text(bound.id)
        ))
    }
}

#[cfg(test)]
mod tests;
