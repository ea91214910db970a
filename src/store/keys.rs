//! Which key of the key file is in force, and what changes when another one is.
//!
//! The store knows keys by their checks alone, which say nothing about them. What must be made anew is made by whoever has
//! the keys, row by row, within the transaction that puts the new one in force.

use std::sync::Arc;

use crate::store::Answer;
use crate::store::words;
use crate::types::UnixTime;
use crate::types::UserName;

/// The hash of an app password that was made under a key which is not in force any more: equal to none.
pub const NO_HASH: [u8; 32] = [0; 32];

/// A key that was in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormerKey {
    /// What the store recognised it by.
    pub check: [u8; 32],
    /// Until when.
    pub until: UnixTime,
}

/// What ties an app password to its key.
#[derive(Debug, Clone)]
pub struct Bound {
    /// Which.
    pub id: u32,
    /// Whose it is.
    pub user: UserName,
    /// The account it opens.
    pub account: UserName,
    /// The public key that is derived from its secret.
    pub public_key: [u8; 32],
    /// Keyed hash that ties the public key to the row.
    pub public_key_mac: [u8; 32],
}

/// From one key to another. Pure: it may be asked for the same row again.
pub trait Rekey: Send + Sync {
    /// The key that must be in force.
    fn from(&self) -> [u8; 32];
    /// The key that will be.
    fn to(&self) -> [u8; 32];
    /// A user's one-time secret, sealed anew.
    ///
    /// # Errors
    /// Says for people that it cannot be opened.
    fn one_time_secret(&self, user: &UserName, sealed: &[u8]) -> Result<Vec<u8>, String>;
    /// The keyed hash of an app password's public key, made anew.
    ///
    /// # Errors
    /// Says for people that the old one is not right.
    fn app_password(&self, bound: &Bound) -> Result<[u8; 32], String>;
}

/// What was made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rekeyed {
    /// One-time secrets, those that wait for their first code included.
    pub one_time_secrets: u64,
    /// App passwords, those that have ended included.
    pub app_passwords: u64,
}

/// The engines' face towards the keys.
pub trait KeyStore: Send + Sync {
    /// What the store recognises the key in force by; `None` where it belongs to no key file yet.
    fn key_in_force(&self) -> Answer<'_, Option<[u8; 32]>>;
    /// Remembers `check` in an empty store, and compares it in any other.
    ///
    /// Answers [`StoreError::OtherKey`](crate::store::StoreError::OtherKey) where another key is in force.
    fn check_key(&self, check: [u8; 32]) -> Answer<'_, ()>;
    /// Keys that were in force before, the latest first.
    fn former_keys(&self) -> Answer<'_, Vec<FormerKey>>;
    /// Puts another key in force: all that can be is made anew, trusted windows end, hashes of app passwords are forgotten, and
    /// everybody is told; all of it or nothing.
    ///
    /// Answers [`StoreError::OtherKey`](crate::store::StoreError::OtherKey) where the key to come from is not in force,
    /// [`StoreError::Damaged`](crate::store::StoreError::Damaged) where something in force cannot be made anew.
    fn rekey(&self, how: Arc<dyn Rekey>, now: UnixTime) -> Answer<'_, Rekeyed>;
    /// Keeps the hash of an app password that has none under the key in force. False where it has one, or its public key is
    /// bound by another hash than `public_key_mac` by now: then the key has changed again.
    fn keep_hash(&self, id: u32, public_key_mac: [u8; 32], hash: [u8; 32]) -> Answer<'_, bool>;
}

/// The row of `meta` that says until when a key was in force.
pub(super) fn former_name(check: &[u8; 32]) -> String {
    format!("{FORMER}{}", words::hex(check))
}

/// What the names of those rows begin with.
pub(super) const FORMER: &str = "key_before:";

/// Reads such a row; `None` where it is not one.
pub(super) fn former_key(name: &str, value: &[u8]) -> Option<FormerKey> {
    let check = words::of_hex(name.strip_prefix(FORMER)?)?;
    let until = UnixTime(i64::from_be_bytes(value.try_into().ok()?));
    Some(FormerKey { check, until })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_key_reads_back_and_nothing_else_is_one() {
        let check: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 7).unwrap());
        let name = former_name(&check);
        let until = UnixTime(1_800_000_000);
        let value = until.0.to_be_bytes();
        assert_eq!(former_key(&name, &value), Some(FormerKey { check, until }));
        for (name, value) in [
            ("key_check", value.as_slice()),
            (&format!("{name}00"), &value),
            (&name[..name.len() - 1], &value),
            (&name.replace('0', "x"), &value),
            (&name, &value[1..]),
        ] {
            assert_eq!(former_key(name, value), None, "{name}");
        }
    }
}
