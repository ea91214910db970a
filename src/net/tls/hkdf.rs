//! HKDF (RFC 5869) for the key schedule of TLS 1.3 (RFC 8446, section 7.1), over HMAC keys that are prepared once.
//!
//! The schedule derives several secrets from each of its secrets. The provider's own HKDF begins anew for each of them, and for
//! those that were extracted repeats the extraction, too: with SHA-384 that was a twelfth of a login's time. The provider's HMAC
//! allocates for each use of a key, which costs a third of the hashing; RustCrypto's keys are plain values.

use std::marker::PhantomData;

use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use rustls::SupportedCipherSuite;
use rustls::Tls13CipherSuite;
use rustls::crypto::CipherSuiteCommon;
use rustls::crypto::CryptoProvider;
use rustls::crypto::hmac::Tag;
use rustls::crypto::tls13::Hkdf;
use rustls::crypto::tls13::HkdfExpander;
use rustls::crypto::tls13::OkmBlock;
use rustls::crypto::tls13::OutputLengthError;
use sha2::Sha256;
use sha2::Sha384;
use zeroize::Zeroize;

static SHA256: Prepared<Hmac<Sha256>> = Prepared(PhantomData);
static SHA384: Prepared<Hmac<Sha384>> = Prepared(PhantomData);

/// As many as any hash function gives.
static ZEROES: [u8; Tag::MAX_LEN] = [0; Tag::MAX_LEN];

/// The same provider, whose suites of TLS 1.3 derive their keys in this way. For the one that lasts as long as the program.
pub(super) fn with_prepared_keys(provider: CryptoProvider) -> CryptoProvider {
    let suites = provider.cipher_suites.iter().map(prepared).collect();
    CryptoProvider {
        cipher_suites: suites,
        ..provider
    }
}

fn prepared(suite: &SupportedCipherSuite) -> SupportedCipherSuite {
    let SupportedCipherSuite::Tls13(suite) = suite else {
        return *suite;
    };
    let hash = suite.common.hash_provider;
    let hkdf_provider: &dyn Hkdf = match hash.output_len() {
        32 => &SHA256,
        48 => &SHA384,
        _ => return SupportedCipherSuite::Tls13(suite),
    };
    SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
        common: CipherSuiteCommon { ..suite.common },
        hkdf_provider,
        aead_alg: suite.aead_alg,
        quic: None,
    })))
}

/// HKDF with a hash function. What rustls' types and HMAC's states hold is wiped when it is dropped; the block that a key is padded to
/// for its state is not.
struct Prepared<M>(PhantomData<M>);

/// HMAC with a hash function.
trait Keyed: Mac + KeyInit + Clone + Send + Sync + 'static {}

impl<M: Mac + KeyInit + Clone + Send + Sync + 'static> Keyed for M {}

/// HMAC with a key.
#[expect(clippy::expect_used, reason = "RFC 2104: a key of any length will do")]
fn keyed<M: Keyed>(key: &[u8]) -> M {
    <M as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length")
}

impl<M: Keyed> Prepared<M> {
    fn zeroes() -> &'static [u8] {
        ZEROES.get(..M::output_size()).unwrap_or_default()
    }

    fn expander(key: &[u8]) -> Box<dyn HkdfExpander> {
        Box::new(Expander(keyed::<M>(key)))
    }
}

impl<M: Keyed> Hkdf for Prepared<M> {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        self.extract_from_secret(salt, Self::zeroes())
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        let key = keyed::<M>(salt.unwrap_or(Self::zeroes()));
        Self::expander(tag(key, &[secret]).as_ref())
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        Self::expander(okm.as_ref())
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> Tag {
        tag(keyed::<M>(key.as_ref()), &[message])
    }
}

/// A secret to derive others from, as an HMAC key.
struct Expander<M>(M);

impl<M: Keyed> HkdfExpander for Expander<M> {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        let mut before = Tag::new(b"");
        // One block for each number that fits into a byte, beginning with one.
        let mut numbers = 1..=u8::MAX;
        for block in output.chunks_mut(self.hash_len()) {
            let number = numbers.next().ok_or(OutputLengthError)?;
            before = self.block(before.as_ref(), info, number);
            for (out, byte) in block.iter_mut().zip(before.as_ref()) {
                *out = *byte;
            }
        }
        Ok(())
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        OkmBlock::new(self.block(b"", info, 1).as_ref())
    }

    fn hash_len(&self) -> usize {
        M::output_size()
    }
}

impl<M: Keyed> Expander<M> {
    /// T(number), after T(number - 1).
    fn block(&self, before: &[u8], info: &[&[u8]], number: u8) -> Tag {
        let mut mac = self.0.clone();
        mac.update(before);
        info.iter().for_each(|piece| mac.update(piece));
        tag(mac, &[&[number]])
    }
}

/// What comes out of HMAC at the end of a message.
fn tag(mut mac: impl Mac, rest: &[&[u8]]) -> Tag {
    rest.iter().for_each(|piece| mac.update(piece));
    let mut out = mac.finalize().into_bytes();
    let tag = Tag::new(&out);
    out.as_mut_slice().zeroize();
    tag
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::crypto::aws_lc_rs;

    use super::*;

    /// The suites of TLS 1.3 as the provider has them, and as we use them.
    fn suites() -> Vec<[&'static dyn Hkdf; 2]> {
        let hkdf = |suite: &SupportedCipherSuite| match suite {
            SupportedCipherSuite::Tls13(suite) => Some(suite.hkdf_provider),
            SupportedCipherSuite::Tls12(_) => None,
        };
        let theirs = aws_lc_rs::default_provider();
        let ours = with_prepared_keys(theirs.clone());
        assert_eq!(ours.cipher_suites, theirs.cipher_suites);
        let (theirs, ours) = (theirs.cipher_suites.iter(), ours.cipher_suites.iter());
        let both = theirs.filter_map(hkdf).zip(ours.filter_map(hkdf));
        both.map(|(theirs, ours)| [theirs, ours]).collect()
    }

    fn expanded(expander: &dyn HkdfExpander, info: &[&[u8]], length: usize) -> (Vec<u8>, Vec<u8>, usize) {
        let mut slice = vec![0; length];
        expander.expand_slice(info, &mut slice).unwrap();
        let block = expander.expand_block(info).as_ref().to_vec();
        (slice, block, expander.hash_len())
    }

    #[test]
    fn every_suite_of_tls_1_3_has_it_and_no_more_comes_out_than_hkdf_gives() {
        let suites = suites();
        assert_eq!(suites.len(), 3);
        for hkdfs in suites {
            for hkdf in hkdfs {
                let expander = hkdf.extract_from_secret(None, b"secret");
                let most = 255 * expander.hash_len();
                assert!(expander.expand_slice(&[b"x"], &mut vec![0; most]).is_ok());
                assert!(expander.expand_slice(&[b"x"], &mut vec![0; most + 1]).is_err());
            }
        }
    }

    /// RFC 5869, appendix A.1.
    #[test]
    fn the_vector_of_the_rfc_comes_out() {
        let salt: Vec<u8> = (0x00..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let expander = SHA256.extract_from_secret(Some(&salt), &[0x0b; 22]);
        let mut output = [0; 42];
        expander.expand_slice(&[&info], &mut output).unwrap();
        assert_eq!(
            super::super::hex(&output),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        );
    }

    proptest! {
        #[test]
        fn it_derives_what_the_provider_derives(
            salt in prop::option::of(prop::collection::vec(any::<u8>(), 0..64)),
            secret in prop::collection::vec(any::<u8>(), 0..200),
            info in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5),
            length in 1..150_usize,
        ) {
            let salt = salt.as_deref();
            let info: Vec<&[u8]> = info.iter().map(Vec::as_slice).collect();
            for [theirs, ours] in suites() {
                let all = |hkdf: &dyn Hkdf| {
                    let from_secret = hkdf.extract_from_secret(salt, &secret);
                    let from_nothing = hkdf.extract_from_zero_ikm(salt);
                    let block = from_secret.expand_block(&info);
                    let from_block = hkdf.expander_for_okm(&block);
                    let tag = hkdf.hmac_sign(&OkmBlock::new(block.as_ref()), &secret);
                    (
                        expanded(&*from_secret, &info, length),
                        expanded(&*from_nothing, &info, length),
                        expanded(&*from_block, &info, length),
                        tag.as_ref().to_vec(),
                    )
                };
                prop_assert_eq!(all(theirs), all(ours));
            }
        }
    }
}
