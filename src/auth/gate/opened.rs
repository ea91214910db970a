//! Mail passwords that were opened a moment ago, each sealed again under a key that its app password alone yields.
//!
//! Opening what the store has costs two curve operations, a good tenth of a login; whoever reconnects is spared them. What is
//! kept says nothing to whoever reads our memory and has no app password, as what the store has says nothing: it is padded in
//! the same way. It is bound to the very row that it came from: it opens for nothing else. It is all forgotten when the store
//! gives notice of a change, a revocation above all, for then the store itself keeps nothing; and each when it was not used
//! within the hour. Bounded.

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

/// Most that are kept: some 6 MiB.
const MOST: usize = 16_384;

/// The longest mail password that is kept. Few are longer, and those are opened each time.
const MAX_PASSWORD: usize = 128;

/// The mail passwords, by the ids of their app passwords.
#[derive(Debug, Default)]
pub(super) struct Opened(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    boxes: HashMap<u32, Boxed>,
    /// The store's notices when they were kept.
    notices: u64,
}

/// A mail password under a key of its own.
#[derive(Debug, Clone)]
struct Boxed {
    nonce: [u8; 12],
    sealed: Box<[u8]>,
    until: UnixTime,
}

impl Opened {
    /// Opens what the store has: without the curve if that was done a moment ago. `notices` are the store's, before it was
    /// asked for the row.
    pub(super) fn unseal(
        &self,
        app_password: &AppPassword,
        (to, sealed): (Recipient<'_>, &[u8]),
        notices: u64,
        now: UnixTime,
    ) -> Result<Secret, SealError> {
        let key = key(app_password).map_err(|Unspecified| SealError::Crypto)?;
        let bound = [&to.context()[..], sealed].concat();
        let found = self.lock().find(to.id, notices, now);
        if let Some(password) = found.and_then(|boxed| boxed.open(&key, &bound)) {
            return Ok(password);
        }
        let password = seal::unseal(app_password, to, sealed)?;
        if password.len() <= MAX_PASSWORD
            && let Ok(boxed) = Boxed::of(&key, &bound, &password, now)
        {
            self.lock().keep(to.id, boxed, notices);
        }
        Ok(password)
    }

    /// Forgets what the store has given notice of, and what was not used. For a timer.
    pub(super) fn sweep(&self, notices: u64, now: UnixTime) {
        let mut kept = self.lock();
        kept.renew(notices);
        kept.boxes.retain(|_, boxed| boxed.is_fresh(now));
        kept.boxes.shrink_to_fit();
    }

    /// A panic elsewhere leaves the map whole.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn renew(&mut self, notices: u64) {
        if notices > self.notices {
            self.notices = notices;
            self.boxes.clear();
        }
    }

    fn find(&mut self, id: u32, notices: u64, now: UnixTime) -> Option<Boxed> {
        self.renew(notices);
        let boxed = self.boxes.get_mut(&id).filter(|boxed| boxed.is_fresh(now))?;
        boxed.until = now.plus(LIFE);
        Some(boxed.clone())
    }

    /// Keeps what was opened, if nothing has changed since the store was asked for it.
    fn keep(&mut self, id: u32, boxed: Boxed, notices: u64) {
        if notices != self.notices {
            return;
        }
        if self.boxes.len() >= MOST && !self.boxes.contains_key(&id) {
            self.boxes.clear();
        }
        self.boxes.insert(id, boxed);
    }
}

impl Boxed {
    fn of(
        key: &RandomizedNonceKey,
        bound: &[u8],
        password: &Secret,
        now: UnixTime,
    ) -> Result<Self, SealError> {
        let padded = seal::pad(password)?;
        // Room for the tag: nothing in clear stays behind in a buffer that was too small.
        let mut bytes = Zeroizing::new(Vec::with_capacity(padded.len() + AES_256_GCM.tag_len()));
        bytes.extend_from_slice(&padded);
        let nonce = key.seal_in_place_append_tag(Aad::from(bound), &mut *bytes)?;
        Ok(Self {
            nonce: *nonce.as_ref(),
            sealed: bytes.as_slice().into(),
            until: now.plus(LIFE),
        })
    }

    /// `None` where it was sealed by another app password, or for another row.
    fn open(self, key: &RandomizedNonceKey, bound: &[u8]) -> Option<Secret> {
        let mut bytes = Zeroizing::new(self.sealed.into_vec());
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let padded = key.open_in_place(nonce, Aad::from(bound), &mut bytes).ok()?;
        seal::unpad(padded)
    }

    /// A clock that was set back makes nothing last longer.
    fn is_fresh(&self, now: UnixTime) -> bool {
        now < self.until && self.until <= now.plus(LIFE)
    }
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
            opened.unseal(&self.typed, (self.to(), &self.sealed), 0, now)
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
        assert_eq!(boxed.sealed.len(), 64 + 16, "its length does not show");
        assert!(!boxed.sealed.windows(7).any(|window| window == b"hunter2"));
        // It was found, and not opened anew.
        let nonce = boxed.nonce;
        row.open(&opened, UnixTime(NOW.0 + 2)).unwrap();
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
        let moved = opened.unseal(&row.typed, (to, &row.sealed), 0, NOW);
        assert_eq!(moved, Err(SealError::Broken));
        let mut changed = row.sealed.clone();
        changed[40] ^= 1;
        let changed = opened.unseal(&row.typed, (row.to(), &changed), 0, NOW);
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
        opened.sweep(0, UnixTime(NOW.0 + 3_599));
        assert!(kept(&opened, &row).is_some());
        let later = UnixTime(NOW.0 + 3_600);
        assert!(opened.lock().find(row.typed.id(), 0, later).is_none());
        opened.sweep(0, later);
        assert!(kept(&opened, &row).is_none());
        // The clock was ahead, and is set back.
        row.open(&opened, later).unwrap();
        assert!(opened.lock().find(row.typed.id(), 0, NOW).is_none());
    }

    #[test]
    fn a_notice_of_the_store_ends_all_and_what_was_asked_for_before_it_is_not_kept() {
        let (opened, row) = (Opened::default(), Row::new("hunter2"));
        let open = |notices| {
            let sealed = (row.to(), &row.sealed[..]);
            opened.unseal(&row.typed, sealed, notices, NOW).unwrap()
        };
        open(3);
        assert!(kept(&opened, &row).is_some());
        opened.sweep(4, NOW);
        assert!(kept(&opened, &row).is_none());
        // A login that has its row from before the notice.
        assert_eq!(open(3), Secret::from("hunter2"));
        assert!(kept(&opened, &row).is_none());
        open(4);
        assert!(kept(&opened, &row).is_some());
        open(5);
        let nonce = kept(&opened, &row).unwrap().nonce;
        open(5);
        assert_eq!(kept(&opened, &row).unwrap().nonce, nonce);
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
            opened.lock().keep(id, boxed.clone(), 0);
        }
        assert_eq!(opened.lock().boxes.len(), 1);
    }
}
