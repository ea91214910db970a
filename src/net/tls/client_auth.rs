//! Client certificates: whose are accepted, and that a resumed session's is looked at again.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::CommonState;
use rustls::RootCertStore;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::UnixTime as EngineTime;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use crate::net::certificate;
use crate::net::tls::HandshakeError;
use crate::net::tls::TlsError;
use crate::net::tls::provider;
use crate::net::tls::reason;
use crate::net::tls::setup;
use crate::types::UnixTime;

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ClientCertificateMode {
    /// Not asked for.
    #[default]
    Off,
    /// Asked for; a client without one goes on, a client with an invalid one does not.
    Optional,
    /// No connection without a valid one.
    Required,
}

impl ClientCertificateMode {
    /// The word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

/// Which client certificates are accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Whether they are asked for.
    pub mode: ClientCertificateMode,
    /// The authorities, PEM. Needed unless the mode is off.
    pub ca_files: Vec<PathBuf>,
    /// Revocation lists, PEM. Where there are any, each authority in a chain needs a list of its own that is up to date, as in
    /// nginx and OpenSSL: what cannot be checked is refused.
    pub crl_files: Vec<PathBuf>,
}

/// Client certificates as configured, loaded.
#[derive(Debug)]
pub(super) struct ClientAuth {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// What the verifier was made of. Tickets issued under other rules must not open a session under these.
    rules: Rules,
}

type Rules = (
    ClientCertificateMode,
    RootCertStore,
    Vec<CertificateRevocationListDer<'static>>,
);

impl ClientAuth {
    pub(super) fn new(options: &ClientCertificates, now: UnixTime) -> Result<Self, TlsError> {
        let mode = options.mode;
        if mode == ClientCertificateMode::Off {
            return Ok(Self {
                verifier: WebPkiClientVerifier::no_client_auth(),
                rules: (mode, RootCertStore::empty(), Vec::new()),
            });
        }
        if options.ca_files.is_empty() {
            return Err(TlsError::NoAuthority(mode.as_str()));
        }
        let roots = certificate::authorities(&options.ca_files)?;
        let lists = certificate::revocation_lists(&options.crl_files, now)?;
        let shared = Arc::new(roots.clone());
        let mut builder = WebPkiClientVerifier::builder_with_provider(shared, Arc::clone(provider()))
            .with_crls(lists.clone())
            .enforce_revocation_expiration();
        if mode == ClientCertificateMode::Optional {
            builder = builder.allow_unauthenticated();
        }
        Ok(Self {
            verifier: builder.build().map_err(|error| setup(&error))?,
            rules: (mode, roots, lists),
        })
    }

    pub(super) fn same_rules(&self, other: &Self) -> bool {
        let (mode, roots, lists) = &self.rules;
        let (other_mode, other_roots, other_lists) = &other.rules;
        mode == other_mode && roots.roots == other_roots.roots && lists == other_lists
    }

    /// A resumed session brings its certificate in the ticket, and the engine does not verify it again: in the meantime it may
    /// have expired, or its authority's list may have run out.
    pub(super) fn check_resumed(&self, session: &CommonState) -> Result<(), HandshakeError> {
        match session.peer_certificates() {
            Some([certificate, intermediates @ ..]) => self
                .verifier
                .verify_client_cert(certificate, intermediates, EngineTime::now())
                .map(|_| ())
                .map_err(|error| HandshakeError::failed(&reason(&error))),
            _ if self.rules.0 == ClientCertificateMode::Required => Err(HandshakeError::failed(
                "a resumed session has no client certificate",
            )),
            _ => Ok(()),
        }
    }
}
