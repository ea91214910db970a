//! The keys for each purpose, derived from one key of the key file. One key is never used for two purposes.

use std::fmt;
use std::io;
use std::path::PathBuf;

use aws_lc_rs::aead::Aad;
use aws_lc_rs::aead::CHACHA20_POLY1305;
use aws_lc_rs::aead::LessSafeKey;
use aws_lc_rs::aead::NONCE_LEN;
use aws_lc_rs::aead::Nonce;
use aws_lc_rs::aead::UnboundKey;
use aws_lc_rs::hkdf;
use aws_lc_rs::hmac;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::auth::random;
use crate::store::StoreError;
use crate::types::Prefix;
use crate::types::Secret;
use crate::types::UserName;

/// First byte of what [`Keys::seal_totp`] returns.
const SEALED_V1: u8 = 1;

/// What is wrong with the key file, or with using it.
#[derive(Debug, Error)]
pub enum KeyError {
    /// It cannot be read or made.
    #[error("key file {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than its owner may read or write it.
    #[error("key file {path} has mode {mode:04o}: others may read it; run `chmod 600 {path}`")]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else owns it, and could change it.
    #[error("key file {path} belongs to user id {owner}, not to us ({us}) and not to root")]
    Owner {
        /// Which file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user we run as.
        us: u32,
    },
    /// It is not what we write.
    #[error("key file {path} is not an imapwarden key file: {what}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The store has a key file, and it is not there.
    #[error("key file {path} is missing, but the store was made with one; restore it from your backup")]
    Lost {
        /// Where it should be.
        path: PathBuf,
    },
    /// It cannot be replaced by a changed one.
    #[error("key file {path} cannot be changed; add or remove the key by hand where it comes from: {source}")]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another command is changing it.
    #[error("key file {path} is being changed by another command; try again")]
    Busy {
        /// Which file.
        path: PathBuf,
    },
    /// It has no room.
    #[error("key file {path} holds {most} keys already; retire one first")]
    TooMany {
        /// Which file.
        path: PathBuf,
        /// How many there may be.
        most: usize,
    },
    /// It lacks the key that the store goes by.
    #[error("key file {path} does not hold the key {id}, which is in force")]
    NotInForce {
        /// Which file.
        path: PathBuf,
        /// The key's id.
        id: String,
    },
    /// The store belongs to another key file, or cannot say.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cryptographic library or the random source failed.
    #[error("the cryptographic library or the random source failed")]
    Crypto,
}

impl From<aws_lc_rs::error::Unspecified> for KeyError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Crypto
    }
}

/// Keys derived from one key of the key file, one per purpose.
pub struct Keys {
    /// Boxed: keys ready for use are large, and this is moved while the program starts.
    macs: Box<MacKeys>,
    totp: LessSafeKey,
    check: [u8; 32],
    /// A sealed one-time secret of nobody, checked where there is none to check.
    decoy: (UserName, Vec<u8>),
    counts: u128,
}

/// Shows the id alone.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.id())
    }
}

/// How people call a key: the first bytes of what the store recognises it by. Says nothing about the key.
#[must_use]
pub fn id_of(check: &[u8; 32]) -> String {
    let [a, b, c, d, ..] = *check;
    format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
}

/// For keyed hashes.
struct MacKeys {
    app_password: hmac::Key,
    public_key: hmac::Key,
    window: hmac::Key,
    source: hmac::Key,
    network: hmac::Key,
    first_sync: hmac::Key,
    guess: hmac::Key,
    spray: hmac::Key,
    counter: hmac::Key,
}

impl Keys {
    /// Derives all keys from 32 secret bytes.
    ///
    /// # Errors
    /// Where the cryptographic library fails.
    pub fn derive(master: &[u8; 32]) -> Result<Self, KeyError> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"imapwarden key file v1");
        let root = salt.extract(master);
        let mac_key = |purpose: &str| {
            let key = expand(&root, purpose)?;
            Ok::<_, KeyError>(hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()))
        };
        let totp = expand(&root, "totp seal")?;
        let macs = Box::new(MacKeys {
            app_password: mac_key("app password")?,
            public_key: mac_key("app password public key")?,
            window: mac_key("trusted window")?,
            source: mac_key("known source")?,
            network: mac_key("known network")?,
            first_sync: mac_key("first sync network")?,
            guess: mac_key("guess")?,
            spray: mac_key("password spray")?,
            counter: mac_key("failure counter")?,
        });
        let nobody = UserName::parse(b"nobody").map_err(|_| KeyError::Crypto)?;
        let mut keys = Self {
            macs,
            totp: LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, totp.as_slice())?),
            check: *expand(&root, "store check")?,
            decoy: (nobody.clone(), Vec::new()),
            counts: first_128_bits(&*expand(&root, "rule counts")?),
        };
        keys.decoy.1 = keys.seal_totp(&nobody, &[0; 20])?;
        Ok(keys)
    }

    /// What a store remembers to recognise its key by. Says nothing about the key.
    #[must_use]
    pub fn check(&self) -> [u8; 32] {
        self.check
    }

    /// How people call it.
    #[must_use]
    pub fn id(&self) -> String {
        id_of(&self.check)
    }

    /// A sealed one-time secret of nobody: where there is none to check this one is checked, and the work is the same.
    pub(super) fn decoy(&self) -> (&UserName, &[u8]) {
        (&self.decoy.0, &self.decoy.1)
    }

    /// The hash of an app password: ties the secret to its id, its owner and the account it opens, so that a row cannot be
    /// turned into another user's.
    pub(super) fn app_password(
        &self,
        id: u32,
        user: &UserName,
        account: &UserName,
        secret: &[u8],
    ) -> [u8; 32] {
        let (user, account) = (user.as_str().as_bytes(), account.as_str().as_bytes());
        mac(
            &self.macs.app_password,
            &[&id.to_be_bytes(), user, account, secret],
        )
    }

    /// Ties a public key to its row: whoever can write to the store cannot have mail passwords sealed to a key of theirs.
    pub(super) fn public_key(
        &self,
        id: u32,
        user: &UserName,
        account: &UserName,
        key: &[u8; 32],
    ) -> [u8; 32] {
        let (user, account) = (user.as_str().as_bytes(), account.as_str().as_bytes());
        mac(&self.macs.public_key, &[&id.to_be_bytes(), user, account, key])
    }

    /// The key of a trusted window.
    pub(super) fn window(
        &self,
        user: &UserName,
        credential: &[u8],
        from: Prefix,
        listener: &str,
    ) -> [u8; 32] {
        let from = from.to_string();
        mac(
            &self.macs.window,
            &[
                user.as_str().as_bytes(),
                credential,
                from.as_bytes(),
                listener.as_bytes(),
            ],
        )
    }

    /// How the store names a source that a user has logged in from.
    #[must_use]
    pub fn source(&self, user: &UserName, from: Prefix) -> [u8; 32] {
        mac(
            &self.macs.source,
            &[user.as_str().as_bytes(), from.to_string().as_bytes()],
        )
    }

    /// How the store names a network that anybody has logged in from.
    pub(super) fn network(&self, from: Prefix) -> [u8; 32] {
        mac(&self.macs.network, &[from.to_string().as_bytes()])
    }

    /// How the store names the network that an app password was first used from: the address, or the site of an IPv6 one.
    pub(super) fn first_sync(&self, app_password: u32, from: Prefix) -> [u8; 32] {
        let site = from.site().to_string();
        mac(
            &self.macs.first_sync,
            &[&app_password.to_be_bytes(), site.as_bytes()],
        )
    }

    /// How the store names what failures are counted by: a source, or a user from a source. Names that differ in case only are
    /// one, as they are for limits.
    pub(super) fn counter(&self, kind: &str, user: Option<&UserName>, from: Prefix) -> [u8; 32] {
        let user = user.map(|user| user.as_str().to_lowercase()).unwrap_or_default();
        let from = from.to_string();
        let parts = [kind.as_bytes(), user.as_bytes(), from.as_bytes()];
        mac(&self.macs.counter, &parts)
    }

    /// A fingerprint of a password that is the same whoever presents it, so that rules see one password tried on many users.
    /// Worthless without the key file. Never stored; where a rule that counts by it is shared, the store keeps a keyed hash of it for
    /// as long as its window lasts.
    pub(super) fn spray(&self, secret: &Secret) -> u64 {
        first_64_bits(&mac(&self.macs.spray, &[secret.expose()]))
    }

    /// A fingerprint of a wrong password, so that limits can tell the same guess from a new one. Kept in memory only.
    #[must_use]
    pub fn guess(&self, secret: &Secret) -> u64 {
        first_64_bits(&mac(&self.macs.guess, &[secret.expose()]))
    }

    /// What rules hash with what they count, and what they count by: the same at all replicas, which count together.
    #[must_use]
    pub fn rule_counts(&self) -> u128 {
        self.counts
    }

    /// Seals a one-time secret for the store. Only this user's row opens it again.
    pub(super) fn seal_totp(&self, user: &UserName, secret: &[u8]) -> Result<Vec<u8>, KeyError> {
        let nonce: [u8; NONCE_LEN] = *random::bytes()?;
        let mut sealed = secret.to_vec();
        let aad = Aad::from(totp_context(user));
        self.totp
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)?;
        let mut whole = vec![SEALED_V1];
        whole.extend_from_slice(&nonce);
        whole.append(&mut sealed);
        Ok(whole)
    }

    /// Opens what [`Self::seal_totp`] sealed.
    pub(super) fn open_totp(&self, user: &UserName, sealed: &[u8]) -> Option<Secret> {
        let (&[SEALED_V1], rest) = sealed.split_first_chunk::<1>()? else {
            return None;
        };
        let (nonce, boxed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut boxed = Zeroizing::new(boxed.to_vec());
        let aad = Aad::from(totp_context(user));
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.totp.open_in_place(nonce, aad, &mut boxed).ok()?;
        Some(Secret::from(&*opened))
    }
}

fn first_64_bits(tag: &[u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *tag;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn first_128_bits(key: &[u8; 32]) -> u128 {
    key.first_chunk::<16>()
        .map_or(0, |first| u128::from_be_bytes(*first))
}

fn totp_context(user: &UserName) -> Vec<u8> {
    let mut context = b"imapwarden totp secret v1\0".to_vec();
    context.extend_from_slice(user.as_str().as_bytes());
    context
}

fn expand(root: &hkdf::Prk, purpose: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mut key = Zeroizing::new([0; 32]);
    root.expand(&[purpose.as_bytes()], hkdf::HKDF_SHA256)?
        .fill(key.as_mut_slice())?;
    Ok(key)
}

/// HMAC-SHA256 over length-prefixed parts: no two lists of parts give the same bytes.
fn mac(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        let len = u64::try_from(part.len()).unwrap_or(u64::MAX);
        context.update(&len.to_be_bytes());
        context.update(part);
    }
    let mut tag = [0; 32];
    tag.copy_from_slice(context.sign().as_ref());
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        UserName::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn each_purpose_has_a_key_of_its_own() {
        let keys = Keys::derive(&[1; 32]).unwrap();
        let alice = name("alice");
        let tags = [
            keys.app_password(1, &alice, &alice, &[2; 32]),
            keys.public_key(1, &alice, &alice, &[2; 32]),
            keys.check(),
        ];
        assert_ne!(tags[0], tags[1]);
        assert_ne!(tags[0], tags[2]);
    }

    #[test]
    fn a_password_has_one_fingerprint_for_rules_and_another_for_limits() {
        let keys = Keys::derive(&[1; 32]).unwrap();
        let (one, other) = (Secret::from("Winter2026!"), Secret::from("Winter2026?"));
        assert_eq!(keys.spray(&one), keys.spray(&one.clone()));
        assert_ne!(keys.spray(&one), keys.spray(&other));
        assert_ne!(keys.spray(&one), keys.guess(&one));
        let another = Keys::derive(&[2; 32]).unwrap();
        assert_ne!(keys.spray(&one), another.spray(&one));
        assert_ne!(keys.rule_counts(), another.rule_counts());
        assert_eq!(keys.rule_counts(), Keys::derive(&[1; 32]).unwrap().rule_counts());
    }

    #[test]
    fn names_of_networks_say_nothing_about_each_other() {
        let keys = Keys::derive(&[1; 32]).unwrap();
        let at = |text: &str| Prefix::of(text.parse().unwrap());
        let home = at("2001:db8:1:2::1");
        let names = [
            keys.source(&name("alice"), home),
            keys.source(&name("bob"), home),
            keys.network(home),
            keys.first_sync(1, home),
            keys.first_sync(2, home),
        ];
        for (place, one) in names.iter().enumerate() {
            assert!(!names[place + 1..].contains(one));
        }
        assert_eq!(
            keys.first_sync(1, home),
            keys.first_sync(1, at("2001:db8:1:3::1"))
        );
        assert_ne!(keys.network(home), keys.network(at("2001:db8:1:3::1")));
    }

    #[test]
    fn parts_of_a_hash_cannot_be_shifted_into_each_other() {
        let keys = Keys::derive(&[1; 32]).unwrap();
        let from = Prefix::of("192.0.2.1".parse().unwrap());
        assert_ne!(
            keys.window(&name("ab"), b"c", from, "imaps"),
            keys.window(&name("a"), b"bc", from, "imaps")
        );
    }

    #[test]
    fn a_sealed_one_time_secret_opens_for_its_user_alone_and_only_unchanged() {
        let keys = Keys::derive(&[1; 32]).unwrap();
        let sealed = keys.seal_totp(&name("alice"), b"twenty secret bytes!").unwrap();
        assert_ne!(
            sealed,
            keys.seal_totp(&name("alice"), b"twenty secret bytes!").unwrap()
        );
        assert_eq!(
            keys.open_totp(&name("alice"), &sealed).unwrap(),
            Secret::from("twenty secret bytes!")
        );
        assert!(keys.open_totp(&name("bob"), &sealed).is_none());
        assert!(
            Keys::derive(&[2; 32])
                .unwrap()
                .open_totp(&name("alice"), &sealed)
                .is_none()
        );
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keys.open_totp(&name("alice"), &changed).is_none(), "{at}");
        }
        for len in 0..sealed.len() {
            assert!(keys.open_totp(&name("alice"), &sealed[..len]).is_none());
        }
    }
}
