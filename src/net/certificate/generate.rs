//! Makes the certificate of a first start: self-signed, and kept until it is about to expire.

use std::fs;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::PKCS_ECDSA_P256_SHA256;
use rcgen::date_time_ymd;
use zeroize::Zeroizing;

use crate::net::certificate::CertificateError;
use crate::net::certificate::CertificateFiles;
use crate::net::certificate::load;
use crate::net::random;
use crate::types::UnixTime;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const VALIDITY: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long before its end one is replaced at the next start or reload: well before anybody is woken for it.
const RENEWAL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The outcome of [`self_signed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Where certificate and key are.
    pub files: CertificateFiles,
    /// False where both were there already.
    pub made_now: bool,
}

/// Makes `cert.pem` and `key.pem` in `dir` where there are none: P-256, valid for the host names given and for this machine,
/// for a year. Files that are there are kept as they are; a key without its certificate gets a new one, and so does a key whose
/// certificate, as we make them, has less than a month left, or nothing: otherwise a process would not start any more after a year.
/// Where that cannot be done, and the old one still holds, it goes on with it.
///
/// # Errors
/// A file cannot be written, a name cannot stand in a certificate, or there is a certificate without its key.
pub fn self_signed(dir: &Path, hostnames: &[String], now: UnixTime) -> Result<Generated, CertificateError> {
    let files = CertificateFiles {
        certificate: dir.join("cert.pem"),
        key: dir.join("key.pem"),
    };
    match (files.certificate.exists(), files.key.exists()) {
        (true, true) => {
            let made_now = renew(&files, hostnames, now)?;
            return Ok(Generated { files, made_now });
        }
        (true, false) => {
            let CertificateFiles { certificate, key } = files;
            return Err(CertificateError::KeyLost { certificate, key });
        }
        (false, _) => {}
    }
    let params = parameters(hostnames, now)?;
    fs::create_dir_all(dir).map_err(|source| unwritten(dir, source))?;
    if !files.key.exists() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        write_new(&files.key, Zeroizing::new(key.serialize_pem()).as_bytes(), 0o600)?;
    }
    make(&files, &params)?;
    Ok(Generated {
        files,
        made_now: true,
    })
}

/// Makes a certificate for the key that is there: read back, since another process may have been first.
fn make(files: &CertificateFiles, params: &CertificateParams) -> Result<(), CertificateError> {
    let key = fs::read_to_string(&files.key)
        .map(Zeroizing::new)
        .map_err(|source| {
            let file = files.key.clone();
            CertificateError::Read { file, source }
        })?;
    let key = KeyPair::from_pem(&key).map_err(|error| CertificateError::Unusable {
        file: files.key.clone(),
        what: "the private key",
        reason: error.to_string(),
    })?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    replace(&files.certificate, certificate.pem().as_bytes())
}

/// Renews a certificate of ours that is about to expire, or that a wrong clock has made for later. Others are their holders' to renew.
fn renew(files: &CertificateFiles, hostnames: &[String], now: UnixTime) -> Result<bool, CertificateError> {
    let Some((from, until)) = load::of_this_machine(&files.certificate) else {
        return Ok(false);
    };
    if from <= now && now.plus(RENEWAL) < until {
        return Ok(false);
    }
    match parameters(hostnames, now).and_then(|params| make(files, &params)) {
        Ok(()) => Ok(true),
        Err(error) if from <= now && now < until => {
            tracing::warn!(%error, "the self-signed certificate cannot be renewed; the one before it still holds");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn parameters(hostnames: &[String], now: UnixTime) -> Result<CertificateParams, CertificateError> {
    let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut names: Vec<String> = hostnames.to_vec();
    names.extend(own.into_iter().filter(|name| !hostnames.contains(name)));
    for name in &names {
        if CertificateParams::new([name.clone()]).is_err()
            || name.is_empty()
            || name.contains(char::is_whitespace)
        {
            return Err(CertificateError::BadHostname { name: name.clone() });
        }
    }
    let mut params = CertificateParams::new(names.clone()).map_err(failed)?;
    let mut subject = DistinguishedName::new();
    // A common name has 64 characters at most (RFC 5280, appendix A.1); clients look at the alternative names only.
    let common = names.first().filter(|name| name.len() <= 64);
    subject.push(DnType::CommonName, common.map_or("imapwarden", String::as_str));
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let since_1970 = Duration::from_secs(u64::try_from(now.0).unwrap_or(0));
    let now = date_time_ymd(1970, 1, 1) + since_1970;
    // Clients whose clock is a little behind must not see it as not valid yet.
    params.not_before = now - DAY;
    params.not_after = now + VALIDITY;
    Ok(params)
}

/// Writes a certificate in one go, over the one before it. Where another process does the same, either is right: both have the key.
fn replace(file: &Path, bytes: &[u8]) -> Result<(), CertificateError> {
    let mut name = [0; 8];
    random::fill(&mut name).map_err(|_| CertificateError::Generate {
        reason: "the system has no randomness".to_owned(),
    })?;
    let new = file.with_extension(format!("{:016x}.new", u64::from_ne_bytes(name)));
    write_new(&new, bytes, 0o644)?;
    fs::rename(&new, file).map_err(|source| {
        let _ = fs::remove_file(&new);
        unwritten(file, source)
    })
}

/// Never writes over another file: where somebody else was first, theirs stays.
fn write_new(file: &Path, bytes: &[u8], mode: u32) -> Result<(), CertificateError> {
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(file);
    let mut opened = match opened {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        opened => opened.map_err(|source| unwritten(file, source))?,
    };
    opened
        .write_all(bytes)
        .and_then(|()| opened.sync_all())
        .map_err(|source| {
            // Half a file would be taken for a whole one at the next start.
            let _ = fs::remove_file(file);
            unwritten(file, source)
        })
}

fn unwritten(file: &Path, source: io::Error) -> CertificateError {
    let file = file.to_owned();
    CertificateError::Write { file, source }
}

#[expect(clippy::needless_pass_by_value, reason = "a map_err function")]
fn failed(error: rcgen::Error) -> CertificateError {
    CertificateError::Generate {
        reason: error.to_string(),
    }
}
