//! Which of several certificates a client is shown.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::CipherSuite;
use rustls::SignatureAlgorithm;
use rustls::server::ClientHello;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;

use crate::net::certificate::Identity;

/// Certificates by host name. Where several match, ECDSA goes before RSA (it costs a third), if the client can verify it: old
/// Windows clients do AES-GCM with ECDSA only, other old ones know RSA only.
#[derive(Debug)]
pub(super) struct Resolver {
    exact: HashMap<String, Choice>,
    /// By what stands behind `*.`; the star is one label (RFC 6125, section 6.4.3).
    wildcard: HashMap<String, Choice>,
    /// For clients that name no host or an unknown one: the first certificate, and the others for the same names.
    default: Choice,
}

type Choice = Vec<Arc<CertifiedKey>>;

impl Resolver {
    pub(super) fn new(identities: &[Identity]) -> Self {
        let mut exact: HashMap<String, Choice> = HashMap::new();
        let mut wildcard: HashMap<String, Choice> = HashMap::new();
        for identity in identities {
            for name in &identity.summary.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                map.entry(name.to_owned())
                    .or_default()
                    .push(Arc::clone(&identity.certified));
            }
        }
        let first = identities
            .first()
            .map_or(&[][..], |identity| &identity.summary.names);
        let shares = |identity: &Identity| identity.summary.names.iter().any(|name| first.contains(name));
        let mut default: Choice = identities
            .iter()
            .enumerate()
            .filter(|(index, identity)| *index == 0 || shares(identity))
            .map(|(_, identity)| Arc::clone(&identity.certified))
            .collect();
        let choices = exact
            .values_mut()
            .chain(wildcard.values_mut())
            .chain([&mut default]);
        choices.for_each(|choice| choice.sort_by_key(|certified| is_rsa(certified)));
        Self {
            exact,
            wildcard,
            default,
        }
    }

    fn candidates(&self, name: Option<&str>) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        let name = name.map(|name| name.trim_end_matches('.'));
        let exact = name.and_then(|name| self.exact.get(name));
        let parent = name
            .and_then(|name| name.split_once('.'))
            .map(|(_, parent)| parent);
        let wildcard = parent.and_then(|parent| self.wildcard.get(parent));
        let unknown = exact.is_none() && wildcard.is_none();
        let default = unknown.then_some(&self.default);
        exact.into_iter().chain(wildcard).chain(default).flatten()
    }
}

impl ResolvesServerCert for Resolver {
    /// Where the client can verify none of them it gets the first: the hand-shake then fails with the right alert.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = self
            .candidates(hello.server_name())
            .find(|certified| can_verify(&hello, certified));
        usable
            .or_else(|| self.candidates(hello.server_name()).next())
            .map(Arc::clone)
    }
}

/// In TLS 1.2 the cipher suite names the kind of key as well, and some clients offer signatures that none of their suites use.
fn can_verify(hello: &ClientHello<'_>, certified: &CertifiedKey) -> bool {
    let kind = if is_rsa(certified) { "_RSA_" } else { "_ECDSA_" };
    let suits = |suite: &CipherSuite| {
        suite
            .as_str()
            .is_some_and(|name| name.starts_with("TLS13_") || name.contains(kind))
    };
    certified.key.choose_scheme(hello.signature_schemes()).is_some()
        && hello.cipher_suites().iter().any(suits)
}

fn is_rsa(certified: &CertifiedKey) -> bool {
    certified.key.algorithm() == SignatureAlgorithm::RSA
}
