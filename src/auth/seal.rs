//! Sealing mail passwords to app passwords: HPKE (RFC 9180), base mode, X25519, HKDF-SHA256, ChaCha20-Poly1305.
//!
//! The key pair is derived from the app password's 115 secret bits; only the public key is kept. So a stolen store, key file
//! included, yields no mail password, and a new mail password can be sealed to every app password without anyone typing
//! one. What is sealed is bound to its app password, owner and account, and padded: its length does not show.

use aws_lc_rs::agreement;
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305 as SUITE;
use rustls::crypto::hpke::EncapsulatedSecret;
use rustls::crypto::hpke::Hpke;
use rustls::crypto::hpke::HpkePrivateKey;
use rustls::crypto::hpke::HpkePublicKey;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::auth::app_password::AppPassword;
use crate::types::Secret;
use crate::types::UserName;

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

impl From<KeyRejected> for SealError {
    fn from(_: KeyRejected) -> Self {
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
    pub(super) fn context(&self) -> Vec<u8> {
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
    public_of(&*private_key(app_password)?)
}

/// Seals a mail password to a public key. Needs no secret.
///
/// # Errors
/// Where the password is too long, or the public key is not one.
pub fn seal(public_key: &[u8; 32], to: Recipient<'_>, password: &Secret) -> Result<Vec<u8>, SealError> {
    let padded = pad(password)?;
    let key = HpkePublicKey(public_key.to_vec());
    let (encapsulated, boxed) = SUITE
        .seal(INFO, &to.context(), &padded, &key)
        .map_err(|_| SealError::Broken)?;
    let mut sealed = vec![VERSION];
    sealed.extend_from_slice(&encapsulated.0);
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
    let encapsulated = EncapsulatedSecret(encapsulated.to_vec());
    let private = HpkePrivateKey::from(private_key(app_password)?.to_vec());
    let padded = SUITE
        .open(&encapsulated, INFO, &to.context(), boxed, &private)
        .map(Zeroizing::new)
        .map_err(|_| SealError::Broken)?;
    unpad(&padded).ok_or(SealError::Broken)
}

/// The private key of an app password, bound to its id.
fn private_key(app_password: &AppPassword) -> Result<Zeroizing<[u8; 32]>, SealError> {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"imapwarden app password key pair v1");
    let mut material = Zeroizing::new([0; 32]);
    salt.extract(app_password.secret())
        .expand(&[&app_password.id().to_be_bytes()], hkdf::HKDF_SHA256)?
        .fill(material.as_mut_slice())?;
    derive(&material)
}

/// `DeriveKeyPair` for X25519 (RFC 9180, section 7.1.3).
fn derive(material: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, SealError> {
    // `suite_id` of DHKEM(X25519, HKDF-SHA256) behind the version, which every label has in front of it.
    const SUITE_ID: &[u8] = b"HPKE-v1KEM\x00\x20";
    let labelled = Zeroizing::new([SUITE_ID, b"dkp_prk", material].concat());
    let mut private = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
        .extract(&labelled)
        .expand(&[&[0, 32], SUITE_ID, b"sk"], hkdf::HKDF_SHA256)?
        .fill(private.as_mut_slice())?;
    Ok(private)
}

fn public_of(private: &[u8; 32]) -> Result<[u8; 32], SealError> {
    let private = agreement::PrivateKey::from_private_key(&agreement::X25519, private)?;
    let public = private.compute_public_key()?;
    public.as_ref().try_into().map_err(|_| SealError::Crypto)
}

/// Length, password, zeros.
pub(super) fn pad(password: &Secret) -> Result<Zeroizing<Vec<u8>>, SealError> {
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

/// What was padded.
pub(super) fn unpad(padded: &[u8]) -> Option<Secret> {
    let (len, rest) = padded.split_first_chunk::<2>()?;
    let password = rest.get(..usize::from(u16::from_be_bytes(*len)))?;
    Some(Secret::from(password))
}

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

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        let byte = |at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
        std::array::from_fn(byte)
    }

    /// RFC 9180, appendix A.2.1.
    #[test]
    fn keys_are_derived_and_boxes_opened_as_in_the_test_vector_of_the_rfc() {
        let private = derive(&hex(
            "1ac01f181fdf9f352797655161c58b75c656a6cc2716dcb66372da835542e1df",
        ))
        .unwrap();
        assert_eq!(
            *private,
            hex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
        );
        assert_eq!(
            public_of(&private).unwrap(),
            hex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a")
        );
        let encapsulated = hex::<32>("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a");
        let boxed = hex::<45>(
            "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
        );
        let opened = SUITE.open(
            &EncapsulatedSecret(encapsulated.to_vec()),
            b"Ode on a Grecian Urn",
            b"Count-0",
            &boxed,
            &HpkePrivateKey::from(private.to_vec()),
        );
        assert_eq!(opened.unwrap(), b"Beauty is truth, truth beauty");
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
