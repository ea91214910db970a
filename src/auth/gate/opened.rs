//! Mail passwords that were opened a moment ago, each sealed again under a key that its app password alone yields.
//!
//! Opening what the store has costs two curve operations, a good tenth of a login; whoever reconnects is spared them. What is
//! kept says nothing to whoever reads our memory and has no app password, as what the store has says nothing. It is bound to
//! the very row that it came from: it opens for nothing else, and after a change the row is opened anew. Bounded, and it
//! forgets what was not used within the hour.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use aws_lc_rs::aead::AES_256_GCM;
use aws_lc_rs::aead::Aad;
use aws_lc_rs::aead::Nonce;
use aws_lc_rs::aead::RandomizedNonceKey;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

use crate::auth::app_password::AppPassword;
use crate::auth::seal;
use crate::auth::seal::Recipient;
use crate::auth::seal::SealError;
use crate::types::Secret;
use crate::types::UnixTime;

/// How long what is not used is kept.
const LIFE: Duration = Duration::from_hours(1);

/// How often the others are looked through.
const PAUSE: Duration = Duration::from_mins(1);

/// Most that are kept: some 8 MiB.
const MOST: usize = 16_384;

/// The longest mail password that is kept. Few are longer, and those are opened each time.
const MAX_PASSWORD: usize = 128;

/// The mail passwords, by the ids of their app passwords.
#[derive(Debug, Default)]
pub(super) struct Opened(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    boxes: HashMap<u32, Boxed>,
    /// When they were looked through.
    swept: Option<UnixTime>,
}

/// A mail password under a key of its own.
#[derive(Debug, Clone)]
struct Boxed {
    nonce: [u8; 12],
    sealed: Box<[u8]>,
    until: UnixTime,
}

impl Opened {
    /// Opens what the store has: without the curve if that was done a moment ago.
    pub(super) fn unseal(
        &self,
        app_password: &AppPassword,
        to: Recipient<'_>,
        sealed: &[u8],
        now: UnixTime,
    ) -> Result<Secret, SealError> {
        let key = key(app_password).map_err(|Unspecified| SealError::Crypto)?;
        let bound = [&to.context()[..], sealed].concat();
        if let Some(password) = self.find(to.id, now).and_then(|boxed| boxed.open(&key, &bound)) {
            return Ok(password);
        }
        let password = seal::unseal(app_password, to, sealed)?;
        if password.len() <= MAX_PASSWORD
            && let Ok((nonce, sealed)) = sealed_under(&key, &bound, &password)
        {
            let until = now.plus(LIFE);
            self.keep(to.id, Boxed { nonce, sealed, until }, now);
        }
        Ok(password)
    }

    fn find(&self, id: u32, now: UnixTime) -> Option<Boxed> {
        let mut kept = self.lock();
        let boxed = kept.boxes.get_mut(&id).filter(|boxed| now < boxed.until)?;
        boxed.until = now.plus(LIFE);
        Some(boxed.clone())
    }

    fn keep(&self, id: u32, boxed: Boxed, now: UnixTime) {
        let mut kept = self.lock();
        let is_fresh = |swept: UnixTime| swept <= now && now < swept.plus(PAUSE);
        if !kept.swept.is_some_and(is_fresh) {
            kept.swept = Some(now);
            kept.boxes.retain(|_, boxed| now < boxed.until);
            kept.boxes.shrink_to_fit();
        }
        if kept.boxes.len() >= MOST && !kept.boxes.contains_key(&id) {
            kept.boxes.clear();
        }
        kept.boxes.insert(id, boxed);
    }

    /// A panic elsewhere leaves the map whole.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Boxed {
    /// `None` where it was sealed by another app password, or for another row.
    fn open(self, key: &RandomizedNonceKey, bound: &[u8]) -> Option<Secret> {
        let mut bytes = Zeroizing::new(self.sealed.into_vec());
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let password = key.open_in_place(nonce, Aad::from(bound), &mut bytes).ok()?;
        Some(Secret::from(&*password))
    }
}

fn sealed_under(
    key: &RandomizedNonceKey,
    bound: &[u8],
    password: &Secret,
) -> Result<([u8; 12], Box<[u8]>), Unspecified> {
    // Room for the tag: nothing in clear stays behind in a buffer that was too small.
    let mut bytes = Zeroizing::new(Vec::with_capacity(password.len() + AES_256_GCM.tag_len()));
    bytes.extend_from_slice(password.expose());
    let nonce = key.seal_in_place_append_tag(Aad::from(bound), &mut *bytes)?;
    Ok((*nonce.as_ref(), bytes.as_slice().into()))
}

/// The key of an app password, which is for nothing else.
fn key(app_password: &AppPassword) -> Result<RandomizedNonceKey, Unspecified> {
    let mut bytes = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"imapwarden opened mail password v1")
        .extract(app_password.secret())
        .expand(&[&app_password.id().to_be_bytes()], hkdf::HKDF_SHA256)?
        .fill(bytes.as_mut_slice())?;
    RandomizedNonceKey::new(&AES_256_GCM, bytes.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::UserName;

    const NOW: UnixTime = UnixTime(1_000_000);

    /// An app password and what is sealed to it.
    struct Row {
        typed: AppPassword,
        user: UserName,
        sealed: Vec<u8>,
    }

    impl Row {
        fn new(password: &str) -> Self {
            let typed = AppPassword::generate().unwrap();
            let mut row = Self {
                typed,
                user: UserName::parse(b"alice").unwrap(),
                sealed: Vec::new(),
            };
            row.reseal(password);
            row
        }

        fn reseal(&mut self, password: &str) {
            let public = seal::public_key(&self.typed).unwrap();
            self.sealed = seal::seal(&public, self.to(), &Secret::from(password)).unwrap();
        }

        fn to(&self) -> Recipient<'_> {
            Recipient {
                id: self.typed.id(),
                user: &self.user,
                account: &self.user,
            }
        }

        fn open(&self, opened: &Opened, now: UnixTime) -> Result<Secret, SealError> {
            opened.unseal(&self.typed, self.to(), &self.sealed, now)
        }
    }

    /// What is kept of it.
    fn kept(opened: &Opened, row: &Row) -> Option<Boxed> {
        opened.lock().boxes.get(&row.typed.id()).cloned()
    }

    #[test]
    fn what_was_opened_is_found_again_and_lies_there_sealed() {
        let (opened, row) = (Opened::default(), Row::new("hunter2"));
        for second in 0..3 {
            let password = row.open(&opened, UnixTime(NOW.0 + second)).unwrap();
            assert_eq!(password, Secret::from("hunter2"));
        }
        let boxed = kept(&opened, &row).unwrap();
        assert_eq!(boxed.until, UnixTime(NOW.0 + 2 + 3_600));
        assert_eq!(boxed.sealed.len(), 7 + 16);
        assert!(!boxed.sealed.windows(7).any(|window| window == b"hunter2"));
        // It was found, and not opened anew.
        let nonce = boxed.nonce;
        row.open(&opened, NOW).unwrap();
        assert_eq!(kept(&opened, &row).unwrap().nonce, nonce);
    }

    #[test]
    fn it_opens_for_nothing_but_the_row_and_the_app_password_it_came_from() {
        let (opened, mut row) = (Opened::default(), Row::new("old"));
        row.open(&opened, NOW).unwrap();
        row.reseal("new");
        assert_eq!(row.open(&opened, NOW).unwrap(), Secret::from("new"));
        assert_eq!(row.open(&opened, NOW).unwrap(), Secret::from("new"));
        // Whoever moves what is sealed to another row, or changes it, opens nothing.
        let bob = UserName::parse(b"bob").unwrap();
        let to = Recipient {
            user: &bob,
            ..row.to()
        };
        let moved = opened.unseal(&row.typed, to, &row.sealed, NOW);
        assert_eq!(moved, Err(SealError::Broken));
        let mut changed = row.sealed.clone();
        changed[40] ^= 1;
        let changed = opened.unseal(&row.typed, row.to(), &changed, NOW);
        assert_eq!(changed, Err(SealError::Broken));
        // Another app password with the same id.
        let other = Row::new("x");
        let boxed = kept(&opened, &row).unwrap();
        opened.lock().boxes.insert(other.typed.id(), boxed);
        assert_eq!(other.open(&opened, NOW).unwrap(), Secret::from("x"));
    }

    #[test]
    fn what_is_not_used_is_forgotten_and_long_ones_are_not_kept() {
        let (opened, row) = (Opened::default(), Row::new("hunter2"));
        row.open(&opened, NOW).unwrap();
        let long = Row::new(&"x".repeat(MAX_PASSWORD + 1));
        assert_eq!(long.open(&opened, NOW).unwrap().len(), MAX_PASSWORD + 1);
        assert!(kept(&opened, &long).is_none());
        let later = UnixTime(NOW.0 + 3_600);
        assert!(opened.find(row.typed.id(), later).is_none());
        Row::new("other").open(&opened, later).unwrap();
        assert!(kept(&opened, &row).is_none());
    }

    #[test]
    fn it_never_keeps_more_than_its_bound() {
        let opened = Opened::default();
        let boxed = Boxed {
            nonce: [0; 12],
            sealed: Box::default(),
            until: NOW.plus(LIFE),
        };
        for id in 0..=u32::try_from(MOST).unwrap() {
            opened.keep(id, boxed.clone(), NOW);
        }
        assert_eq!(opened.lock().boxes.len(), 1);
    }
}
