//! Sealing mail passwords to app passwords: HPKE (RFC 9180), base mode, X25519, HKDF-SHA256, ChaCha20-Poly1305.
//!
//! The key pair is derived from the app password's 115 secret bits; only the public key is kept. So a stolen store, key file
//! included, yields no mail password, and a new mail password can be sealed to every app password without anyone typing
//! one. What is sealed is bound to its app password, owner and account, and padded: its length does not show.

use std::convert::Infallible;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf;
use aws_lc_rs::hmac;
use hpke::Deserializable;
use hpke::Kem as KemTrait;
use hpke::OpModeR;
use hpke::OpModeS;
use hpke::Serializable;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::TryCryptoRng;
use hpke::rand_core::TryRng;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::auth::app_password::AppPassword;
use crate::auth::random;
use crate::types::Secret;
use crate::types::UserName;

type Kem = X25519HkdfSha256;
type PublicKey = <Kem as KemTrait>::PublicKey;
type PrivateKey = <Kem as KemTrait>::PrivateKey;
type Encapsulated = <Kem as KemTrait>::EncappedKey;

/// What the sealing is for (RFC 9180, section 5.1: `info`).
const INFO: &[u8] = b"imapwarden backend password v1";

/// First byte of what is sealed.
const VERSION: u8 = 1;

/// Length of an encapsulated key.
const ENCAPSULATED: usize = 32;

/// Passwords are padded to a multiple of this.
const PAD: usize = 64;

/// The longest password that can be sealed: far more than a LOGIN can carry.
const MAX_PASSWORD: usize = 4096;

/// Why nothing was sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// More than 4096 bytes.
    #[error("the mail password is longer than 4096 bytes")]
    TooLong,
    /// The public key, or what was sealed, is not what we wrote; or it belongs to another app password, owner or account.
    #[error("the sealed mail password cannot be opened")]
    Broken,
    /// The cryptographic library or the random source failed.
    #[error("the cryptographic library or the random source failed")]
    Crypto,
}

impl From<Unspecified> for SealError {
    fn from(_: Unspecified) -> Self {
        Self::Crypto
    }
}

/// Which app password something is sealed to.
#[derive(Debug, Clone, Copy)]
pub struct Recipient<'a> {
    /// Its id.
    pub id: u32,
    /// Whose it is.
    pub user: &'a UserName,
    /// The account it opens, whose mail password is sealed.
    pub account: &'a UserName,
}

impl Recipient<'_> {
    /// Bound into what is sealed: moved to another row, it does not open.
    fn context(&self) -> Vec<u8> {
        let mut context = self.id.to_be_bytes().to_vec();
        for name in [self.user, self.account] {
            let name = name.as_str().as_bytes();
            context.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes());
            context.extend_from_slice(name);
        }
        context
    }
}

/// The public key of an app password, for the store.
///
/// # Errors
/// Where the cryptographic library fails.
pub fn public_key(app_password: &AppPassword) -> Result<[u8; 32], SealError> {
    let (_, public) = key_pair(app_password)?;
    Ok(public.to_bytes().into())
}

/// Seals a mail password to a public key. Needs no secret.
///
/// # Errors
/// Where the password is too long, or the public key is not one.
pub fn seal(public_key: &[u8; 32], to: Recipient<'_>, password: &Secret) -> Result<Vec<u8>, SealError> {
    let padded = pad(password)?;
    let key = PublicKey::from_bytes(public_key).map_err(|_| SealError::Broken)?;
    let mut random = Expanded::new()?;
    let (encapsulated, boxed) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeS::Base,
        &key,
        INFO,
        &padded,
        &to.context(),
        &mut random,
    )
    .map_err(|_| SealError::Broken)?;
    let mut sealed = vec![VERSION];
    sealed.extend_from_slice(&encapsulated.to_bytes());
    sealed.extend_from_slice(&boxed);
    Ok(sealed)
}

/// Opens what was sealed to an app password.
///
/// # Errors
/// Where it was changed, or sealed to something else.
pub fn unseal(app_password: &AppPassword, to: Recipient<'_>, sealed: &[u8]) -> Result<Secret, SealError> {
    let Some((&[VERSION], rest)) = sealed.split_first_chunk::<1>() else {
        return Err(SealError::Broken);
    };
    let (encapsulated, boxed) = rest.split_at_checked(ENCAPSULATED).ok_or(SealError::Broken)?;
    let encapsulated = Encapsulated::from_bytes(encapsulated).map_err(|_| SealError::Broken)?;
    let (private, _) = key_pair(app_password)?;
    let padded = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeR::Base,
        &private,
        &encapsulated,
        INFO,
        boxed,
        &to.context(),
    )
    .map(Zeroizing::new)
    .map_err(|_| SealError::Broken)?;
    unpad(&padded).ok_or(SealError::Broken)
}

/// The key pair of an app password, bound to its id.
fn key_pair(app_password: &AppPassword) -> Result<(PrivateKey, PublicKey), SealError> {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"imapwarden app password key pair v1");
    let mut material = Zeroizing::new([0; 32]);
    salt.extract(app_password.secret())
        .expand(&[&app_password.id().to_be_bytes()], hkdf::HKDF_SHA256)?
        .fill(material.as_mut_slice())?;
    Ok(Kem::derive_keypair(material.as_slice()))
}

/// Length, password, zeros.
fn pad(password: &Secret) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let len = u16::try_from(password.len()).map_err(|_| SealError::TooLong)?;
    if password.len() > MAX_PASSWORD {
        return Err(SealError::TooLong);
    }
    let whole = (password.len() + 2).next_multiple_of(PAD);
    let mut padded = Zeroizing::new(Vec::with_capacity(whole));
    padded.extend_from_slice(&len.to_be_bytes());
    padded.extend_from_slice(password.expose());
    padded.resize(whole, 0);
    Ok(padded)
}

fn unpad(padded: &[u8]) -> Option<Secret> {
    let (len, rest) = padded.split_first_chunk::<2>()?;
    let password = rest.get(..usize::from(u16::from_be_bytes(*len)))?;
    Some(Secret::from(password))
}

/// Random bytes for the HPKE library, which wants a source that cannot fail: a seed drawn beforehand, where failing is
/// still possible, expanded by HMAC in counter mode.
struct Expanded {
    key: hmac::Key,
    counter: u64,
}

impl Expanded {
    fn new() -> Result<Self, SealError> {
        let seed = random::bytes::<32>()?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, seed.as_slice()),
            counter: 0,
        })
    }

    fn block<const N: usize>(&mut self) -> [u8; N] {
        let mut block = [0; N];
        self.fill(&mut block);
        block
    }

    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            self.counter += 1;
            let block = hmac::sign(&self.key, &self.counter.to_be_bytes());
            for (to, from) in chunk.iter_mut().zip(block.as_ref()) {
                *to = *from;
            }
        }
    }
}

impl TryRng for Expanded {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_be_bytes(self.block()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_be_bytes(self.block()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for Expanded {}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        UserName::parse(text.as_bytes()).unwrap()
    }

    fn recipient<'a>(id: u32, user: &'a UserName, account: &'a UserName) -> Recipient<'a> {
        Recipient { id, user, account }
    }

    #[test]
    fn a_mail_password_comes_back_with_the_app_password_it_was_sealed_to() {
        let drawn = AppPassword::generate().unwrap();
        let (alice, shared) = (name("alice"), name("support"));
        let to = recipient(drawn.id(), &alice, &shared);
        let public = public_key(&drawn).unwrap();
        for password in ["", "hunter2", "pässwörd \"\\ {3}", &"x".repeat(MAX_PASSWORD)] {
            let password = Secret::from(password);
            let sealed = seal(&public, to, &password).unwrap();
            assert_eq!(unseal(&drawn, to, &sealed).unwrap(), password);
        }
        let long = Secret::new(vec![b'x'; MAX_PASSWORD + 1]);
        assert_eq!(seal(&public, to, &long), Err(SealError::TooLong));
    }

    #[test]
    fn nothing_else_opens_it() {
        let drawn = AppPassword::generate().unwrap();
        let (alice, bob) = (name("alice"), name("bob"));
        let to = recipient(drawn.id(), &alice, &alice);
        let sealed = seal(&public_key(&drawn).unwrap(), to, &Secret::from("hunter2")).unwrap();
        let other = AppPassword::generate().unwrap();
        assert_eq!(unseal(&other, to, &sealed), Err(SealError::Broken));
        for wrong in [
            recipient(drawn.id() ^ 1, &alice, &alice),
            recipient(drawn.id(), &bob, &alice),
            recipient(drawn.id(), &alice, &bob),
        ] {
            assert_eq!(unseal(&drawn, wrong, &sealed), Err(SealError::Broken));
        }
        // Each is two curve operations: every fifth place is enough.
        for at in (0..sealed.len()).step_by(5) {
            let mut changed = sealed.clone();
            changed[at] ^= 0x10;
            assert_eq!(unseal(&drawn, to, &changed), Err(SealError::Broken), "{at}");
            assert_eq!(unseal(&drawn, to, &sealed[..at]), Err(SealError::Broken), "{at}");
        }
    }

    #[test]
    fn the_length_of_the_password_does_not_show_and_two_sealings_differ() {
        let drawn = AppPassword::generate().unwrap();
        let alice = name("alice");
        let to = recipient(drawn.id(), &alice, &alice);
        let public = public_key(&drawn).unwrap();
        let short = seal(&public, to, &Secret::from("abc")).unwrap();
        let long = seal(&public, to, &Secret::from("a much longer password than that")).unwrap();
        assert_eq!(short.len(), long.len());
        assert_ne!(short, seal(&public, to, &Secret::from("abc")).unwrap());
    }
}
