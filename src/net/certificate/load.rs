//! Reads PEM files: certificate chains with their keys, authorities, revocation lists.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use zeroize::Zeroizing;

use crate::net::certificate::CertificateError;
use crate::net::certificate::CertificateFiles;
use crate::net::certificate::CertificateSummary;
use crate::net::certificate::Identity;
use crate::net::certificate::date;
use crate::net::tls;
use crate::types::UnixTime;

/// No chain and no key comes near this.
const LARGEST_FILE: u64 = 1024 * 1024;
/// Revocation lists of large authorities are that big.
const LARGEST_LIST: u64 = 64 * 1024 * 1024;
/// The permission bit that lets everybody read.
const READ_BY_OTHERS: u32 = 0o004;

/// Loads a certificate chain and its private key, and checks that they can be used now.
///
/// # Errors
/// See [`CertificateError`]; each names the file.
pub fn load(files: &CertificateFiles, now: UnixTime) -> Result<Identity, CertificateError> {
    let chain = certificates(&files.certificate)?;
    let summary = summarize(&files.certificate, &chain, now)?;
    let key = private_key(&files.key)?;
    let certified = pair(files, chain, key)?;
    Ok(Identity {
        certified: Arc::new(certified),
        summary,
    })
}

/// From when until when a certificate is valid that no authority has issued, and that names this machine as ours do; nothing where it
/// is another one, or cannot be read.
pub(super) fn of_this_machine(file: &Path) -> Option<(UnixTime, UnixTime)> {
    let chain = certificates(file).ok()?;
    let (_, parsed) = X509Certificate::from_der(chain.first()?).ok()?;
    let is_self_signed = parsed.issuer() == parsed.subject();
    let names_us = host_names(&parsed).iter().any(|name| name == "localhost");
    let validity = parsed.validity();
    let times = [validity.not_before, validity.not_after].map(|time| UnixTime(time.timestamp()));
    (is_self_signed && names_us).then_some(times.into())
}

/// The authorities in some files, as trust anchors.
pub(in crate::net) fn authorities(files: &[PathBuf]) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    for file in files {
        for certificate in certificates(file)? {
            roots
                .add(certificate)
                .map_err(|error| unusable(file, "a certificate authority", &error))?;
        }
    }
    Ok(roots)
}

/// The revocation lists in some files. One that is out of date would deny every certificate, so it is refused here.
pub(in crate::net) fn revocation_lists(
    files: &[PathBuf],
    now: UnixTime,
) -> Result<Vec<CertificateRevocationListDer<'static>>, CertificateError> {
    let mut lists = Vec::new();
    for file in files {
        let found: Vec<CertificateRevocationListDer<'static>> =
            blocks(file, &read(file, LARGEST_LIST)?, "revocation list", "X509 CRL")?;
        for list in &found {
            let (_, parsed) = CertificateRevocationList::from_der(list)
                .map_err(|error| unusable(file, "a revocation list", &error))?;
            let next = parsed.next_update().map(|at| UnixTime(at.timestamp()));
            if let Some(at) = next.filter(|at| *at <= now) {
                return Err(CertificateError::Expired {
                    file: file.clone(),
                    what: "the revocation list",
                    at: date(at),
                });
            }
        }
        lists.extend(found);
    }
    Ok(lists)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    blocks(file, &read(file, LARGEST_FILE)?, "certificate", "CERTIFICATE")
}

/// What the first certificate of a chain says, if it is valid now.
fn summarize(
    file: &Path,
    chain: &[CertificateDer<'static>],
    now: UnixTime,
) -> Result<CertificateSummary, CertificateError> {
    let der = chain
        .first()
        .ok_or_else(|| missing(file, "certificate", "CERTIFICATE"))?;
    let (_, parsed) =
        X509Certificate::from_der(der).map_err(|error| unusable(file, "the certificate", &error))?;
    let validity = parsed.validity();
    let not_before = UnixTime(validity.not_before.timestamp());
    let not_after = UnixTime(validity.not_after.timestamp());
    let file = file.to_owned();
    if not_after < now {
        let (what, at) = ("the certificate", date(not_after));
        return Err(CertificateError::Expired { file, what, at });
    }
    if now < not_before {
        let at = date(not_before);
        return Err(CertificateError::NotYetValid { file, at });
    }
    Ok(CertificateSummary {
        file,
        names: host_names(&parsed),
        not_after,
        fingerprint_sha256: tls::hex(digest::digest(&digest::SHA256, der).as_ref()),
    })
}

fn host_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let dns = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        _ => None,
    });
    dns.collect()
}

/// A key's file may be readable by a group, as Debian's `ssl-cert` has it, but not by everybody.
fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let mut opened = open(file)?;
    let mode = opened
        .metadata()
        .map_err(|source| unread(file, source))?
        .permissions()
        .mode();
    if mode & READ_BY_OTHERS != 0 {
        return Err(CertificateError::KeyExposed {
            file: file.to_owned(),
            mode: mode & 0o7777,
        });
    }
    let text = Zeroizing::new(contents(file, &mut opened, LARGEST_FILE)?);
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) if memchr::memmem::find(&text, b"ENCRYPTED").is_some() => {
            Err(CertificateError::EncryptedKey {
                file: file.to_owned(),
            })
        }
        Err(pem::Error::NoItemsFound) => Err(missing(file, "private key", "PRIVATE KEY")),
        Err(error) => Err(bad_pem(file, &error)),
    }
}

fn pair(
    files: &CertificateFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, CertificateError> {
    let key = tls::provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| unusable(&files.key, "the private key", &error))?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => CertificateError::KeyMismatch {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
        },
        error => unusable(&files.certificate, "the certificate", &error),
    })?;
    Ok(certified)
}

fn blocks<T: PemObject>(
    file: &Path,
    text: &[u8],
    what: &'static str,
    label: &'static str,
) -> Result<Vec<T>, CertificateError> {
    let found: Vec<T> = T::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| bad_pem(file, &error))?;
    if found.is_empty() {
        return Err(missing(file, what, label));
    }
    Ok(found)
}

fn read(file: &Path, limit: u64) -> Result<Vec<u8>, CertificateError> {
    contents(file, &mut open(file)?, limit)
}

fn open(file: &Path) -> Result<File, CertificateError> {
    File::open(file).map_err(|source| unread(file, source))
}

fn contents(file: &Path, opened: &mut File, limit: u64) -> Result<Vec<u8>, CertificateError> {
    let mut bytes = Vec::new();
    let count = opened
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| unread(file, source))?;
    if u64::try_from(count).unwrap_or(u64::MAX) > limit {
        let file = file.to_owned();
        return Err(CertificateError::TooLarge { file, limit });
    }
    Ok(bytes)
}

fn unread(file: &Path, source: std::io::Error) -> CertificateError {
    let file = file.to_owned();
    CertificateError::Read { file, source }
}

fn missing(file: &Path, what: &'static str, label: &'static str) -> CertificateError {
    let file = file.to_owned();
    CertificateError::Missing { file, what, label }
}

/// The library's text quotes the line as numbers, and might quote a line of a key: ours says what is wrong.
fn bad_pem(file: &Path, error: &pem::Error) -> CertificateError {
    let reason = match error {
        pem::Error::MissingSectionEnd { .. } => "a block has no end line",
        pem::Error::IllegalSectionStart { .. } => "a block's first line is malformed",
        pem::Error::Base64Decode(_) => "a block is not base64",
        _ => "it cannot be decoded",
    };
    CertificateError::BadPem {
        file: file.to_owned(),
        reason: reason.to_owned(),
    }
}

fn unusable(file: &Path, what: &'static str, error: &impl ToString) -> CertificateError {
    CertificateError::Unusable {
        file: file.to_owned(),
        what,
        reason: error.to_string(),
    }
}
