//! Certificates and keys on disk: loading them with errors that say what to do, and making the first one.
//!
//! A private key that others can read is refused: whoever has it can read every password that comes through us.

mod generate;
mod load;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use thiserror::Error;

use crate::types::UnixTime;

pub use generate::Generated;
pub use generate::self_signed;
pub(super) use load::authorities;
pub use load::load;
pub(super) use load::revocation_lists;

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// PEM: the certificate, then the intermediate ones.
    pub certificate: PathBuf,
    /// PEM: the private key in PKCS #8, PKCS #1 or SEC 1 form.
    pub key: PathBuf,
}

/// A certificate with its chain and its private key.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    /// What there is to know about it.
    pub summary: CertificateSummary,
}

/// What `check`, metrics and logs say about a certificate in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSummary {
    /// The file that it was loaded from.
    pub file: PathBuf,
    /// The host names that it is valid for, in lower case; `*.` in front stands for any one label.
    pub names: Vec<String>,
    /// When it expires.
    pub not_after: UnixTime,
    /// SHA-256 of the certificate, in lower-case hexadecimal.
    pub fingerprint_sha256: String,
}

/// Why a certificate, a key, an authority or a revocation list cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// It cannot be read.
    #[error("{}: cannot be read: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("{}: cannot be written: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is larger than any such file is.
    #[error("{}: is larger than {limit} bytes", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The bound.
        limit: u64,
    },
    /// There is no such thing in the file.
    #[error("{}: no {what} in it; expected a block that begins with -----BEGIN {label}-----", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Its PEM label.
        label: &'static str,
    },
    /// The PEM form is broken.
    #[error("{}: is not valid PEM: {reason}", file.display())]
    BadPem {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The PEM form is right, what is in it is not.
    #[error("{}: {what} cannot be used: {reason}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// What was looked at.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The key needs a passphrase, and we have nobody to ask.
    #[error("{}: the private key is encrypted; store it without a passphrase, for example with: openssl pkey -in OLD -out NEW", file.display())]
    EncryptedKey {
        /// The file.
        file: PathBuf,
    },
    /// Certificate and key are not a pair.
    #[error("{}: the private key does not belong to the certificate in {}", key.display(), certificate.display())]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Everybody on the machine can read the key.
    #[error("{}: the private key can be read by every user (mode {mode:04o}); run: chmod o= FILE (in Kubernetes: defaultMode: 0440)", file.display())]
    KeyExposed {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no longer valid.
    #[error("{}: {what} expired on {at}", file.display())]
    Expired {
        /// The file.
        file: PathBuf,
        /// What expired.
        what: &'static str,
        /// When, in RFC 3339 form.
        at: String,
    },
    /// It is not valid yet, or the clock is wrong.
    #[error("{}: the certificate is not valid before {at}; is the clock right?", file.display())]
    NotYetValid {
        /// The file.
        file: PathBuf,
        /// From when on, in RFC 3339 form.
        at: String,
    },
    /// A certificate without its key: making a new key would need overwriting the certificate.
    #[error("{}: is missing, but {} is there; restore the key, or remove the certificate to have both made anew", key.display(), certificate.display())]
    KeyLost {
        /// The certificate's file.
        certificate: PathBuf,
        /// Where its key should be.
        key: PathBuf,
    },
    /// A host name cannot stand in a certificate.
    #[error("{name:?} cannot be a host name in a certificate")]
    BadHostname {
        /// The name.
        name: String,
    },
    /// The machine cannot make a key or a certificate.
    #[error("cannot make a certificate: {reason}")]
    Generate {
        /// What went wrong.
        reason: String,
    },
}

/// A time for people: RFC 3339, in UTC.
fn date(at: UnixTime) -> String {
    jiff::Timestamp::from_second(at.0).map_or_else(|_| format!("{} s after 1970", at.0), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;
    use crate::net::tls::testing::Authority;
    use crate::net::tls::testing::DAY;
    use crate::net::tls::testing::Kind;
    use crate::net::tls::testing::now;

    fn chmod(file: &Path, mode: u32) {
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The message, with the folder left out.
    fn message<T>(dir: &Path, result: Result<T, CertificateError>) -> String {
        let error = result.err().unwrap();
        error.to_string().replace(&format!("{}/", dir.display()), "")
    }

    #[test]
    fn a_good_pair_loads_and_says_what_it_is() {
        let authority = Authority::new();
        for kind in [Kind::Ecdsa, Kind::Rsa] {
            let files = authority.issue("mail", &["Mail.Example.org", "*.example.org", "192.0.2.1"], kind);
            let summary = load(&files, now()).unwrap().summary;
            assert_eq!(summary.names, ["mail.example.org", "*.example.org"]);
            assert!(summary.not_after > now());
            assert_eq!(summary.fingerprint_sha256.len(), 64);
            assert_eq!(summary.file, files.certificate);
        }
    }

    #[test]
    fn every_mistake_names_the_file_and_what_is_wrong() {
        let authority = Authority::new();
        let dir = authority.dir.path();
        let good = authority.issue("mail", &["mail.example.org"], Kind::Ecdsa);
        let other = authority.issue("other", &["other.example.org"], Kind::Ecdsa);
        let text = fs::read_to_string(&good.certificate).unwrap();
        let key = fs::read_to_string(&good.key).unwrap();
        let with = |certificate: &str, key: &str| {
            let files = CertificateFiles {
                certificate: dir.join("c.pem"),
                key: dir.join("k.pem"),
            };
            fs::write(&files.certificate, certificate).unwrap();
            fs::write(&files.key, key).unwrap();
            chmod(&files.key, 0o600);
            message(dir, load(&files, now()))
        };
        assert_eq!(
            with("", &key),
            "c.pem: no certificate in it; expected a block that begins with -----BEGIN CERTIFICATE-----"
        );
        assert_eq!(with(&key, &key), with("", &key));
        assert_eq!(
            with(&text.replace("END", "ENDE"), &key),
            "c.pem: is not valid PEM: a block has no end line"
        );
        assert_eq!(
            with("-----BEGIN CERTIFICATE----\n", &key),
            "c.pem: is not valid PEM: a block's first line is malformed"
        );
        assert_eq!(
            with(&text.replace('M', "!"), &key),
            "c.pem: is not valid PEM: a block is not base64"
        );
        let nonsense = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        assert!(with(nonsense, &key).starts_with("c.pem: the certificate cannot be used: "));
        assert_eq!(
            with(&text, &text),
            "k.pem: no private key in it; expected a block that begins with -----BEGIN PRIVATE KEY-----"
        );
        assert_eq!(
            with(&text, &key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")),
            "k.pem: the private key is encrypted; store it without a passphrase, for example with: \
             openssl pkey -in OLD -out NEW"
        );
        let nonsense = "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n";
        assert!(with(&text, nonsense).starts_with("k.pem: the private key cannot be used: "));
        assert_eq!(
            with(&text, &fs::read_to_string(&other.key).unwrap()),
            "k.pem: the private key does not belong to the certificate in c.pem"
        );
        assert_eq!(
            with(&"x".repeat(1_048_577), &key),
            "c.pem: is larger than 1048576 bytes"
        );
    }

    #[test]
    fn files_that_are_absent_or_huge_are_named() {
        let authority = Authority::new();
        let dir = authority.dir.path();
        let mut files = authority.issue("mail", &["mail.example.org"], Kind::Ecdsa);
        fs::write(&files.certificate, "x".repeat(1_048_577)).unwrap();
        assert_eq!(
            message(dir, load(&files, now())),
            "mail.pem: is larger than 1048576 bytes"
        );
        files.certificate = dir.join("absent");
        assert_eq!(
            message(dir, load(&files, now())),
            "absent: cannot be read: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn dates_are_checked_against_the_time_given() {
        let authority = Authority::new();
        let dir = authority.dir.path();
        let files = authority.issue("mail", &["mail.example.org"], Kind::Ecdsa);
        let not_after = load(&files, now()).unwrap().summary.not_after;
        let late = message(dir, load(&files, now().plus(DAY * 3)));
        assert_eq!(
            late,
            format!("mail.pem: the certificate expired on {}", date(not_after))
        );
        assert!(date(not_after).ends_with('Z'));
        let early = message(dir, load(&files, now().minus(DAY * 3)));
        assert!(
            early.starts_with("mail.pem: the certificate is not valid before 20"),
            "{early}"
        );
        assert!(early.ends_with("Z; is the clock right?"), "{early}");
    }

    #[test]
    fn a_key_that_everybody_can_read_is_refused() {
        let authority = Authority::new();
        let files = authority.issue("mail", &["mail.example.org"], Kind::Ecdsa);
        chmod(&files.key, 0o644);
        assert_eq!(
            message(authority.dir.path(), load(&files, now())),
            "mail.key: the private key can be read by every user (mode 0644); run: chmod o= FILE \
             (in Kubernetes: defaultMode: 0440)"
        );
        chmod(&files.key, 0o640);
        assert!(load(&files, now()).is_ok());
    }

    #[test]
    fn the_first_start_makes_a_certificate_and_the_next_keeps_it() {
        let dir = TempDir::new().unwrap();
        let dir = dir.path().join("tls");
        let names = ["mail.example.org".to_owned(), "localhost".to_owned()];
        let made = self_signed(&dir, &names, now()).unwrap();
        assert!(made.made_now);
        let mode = fs::metadata(&made.files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let first = load(&made.files, now()).unwrap().summary;
        assert_eq!(first.names, ["mail.example.org", "localhost"]);
        assert!(first.not_after > now().plus(DAY * 360) && first.not_after < now().plus(DAY * 370));
        let again = self_signed(&dir, &[], now()).unwrap();
        assert!(!again.made_now);
        assert_eq!(load(&again.files, now()).unwrap().summary, first);
        // A key alone gets a certificate; a certificate alone is a mistake.
        fs::remove_file(&made.files.certificate).unwrap();
        let key = fs::read(&made.files.key).unwrap();
        assert!(self_signed(&dir, &names, now()).unwrap().made_now);
        assert_eq!(fs::read(&made.files.key).unwrap(), key);
        load(&made.files, now()).unwrap();
        fs::remove_file(&made.files.key).unwrap();
        assert_eq!(
            message(&dir, self_signed(&dir, &names, now())),
            "key.pem: is missing, but cert.pem is there; restore the key, or remove the certificate to have both \
             made anew"
        );
    }

    #[test]
    fn a_certificate_of_ours_is_renewed_before_it_expires_and_another_is_not() {
        let dir = TempDir::new().unwrap();
        let names = ["mail.example.org".to_owned()];
        let made = self_signed(dir.path(), &names, now()).unwrap();
        let first = load(&made.files, now()).unwrap().summary;
        let key = fs::read(&made.files.key).unwrap();
        for (days, is_renewed) in [(330, false), (340, true), (1000, true)] {
            let then = now().plus(DAY * days);
            let again = self_signed(dir.path(), &names, then).unwrap();
            assert_eq!(again.made_now, is_renewed, "{days}");
            let summary = load(&again.files, then).unwrap().summary;
            assert_eq!(summary.not_after > first.not_after, is_renewed, "{days}");
            assert_eq!(fs::read(&made.files.key).unwrap(), key, "{days}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        // A clock that was wrong has made it for later.
        let yesterday = now().minus(DAY * 10);
        assert!(self_signed(dir.path(), &names, yesterday).unwrap().made_now);
        load(&made.files, yesterday).unwrap();
        // Where it cannot be renewed the old one does, as long as it holds.
        fs::write(&made.files.key, "broken").unwrap();
        let then = yesterday.plus(DAY * 350);
        assert!(!self_signed(dir.path(), &names, then).unwrap().made_now);
        assert!(self_signed(dir.path(), &names, then.plus(DAY * 20)).is_err());
        fs::write(&made.files.key, &key).unwrap();
        // What somebody else has issued, and put there, stays as it is.
        let authority = Authority::new();
        let theirs = authority.issue("mail", &["mail.example.org"], Kind::Ecdsa);
        fs::copy(&theirs.certificate, &made.files.certificate).unwrap();
        fs::copy(&theirs.key, &made.files.key).unwrap();
        let then = now().plus(DAY * 1000);
        assert!(!self_signed(dir.path(), &names, then).unwrap().made_now);
        // Nor is what cannot be read.
        fs::write(&made.files.certificate, "precious").unwrap();
        assert!(!self_signed(dir.path(), &names, then).unwrap().made_now);
        assert_eq!(fs::read(&made.files.certificate).unwrap(), b"precious");
    }

    #[test]
    fn an_existing_key_is_kept_even_if_it_is_useless() {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("key.pem"), "precious").unwrap();
        let text = message(dir.path(), self_signed(dir.path(), &[], now()));
        assert!(
            text.starts_with("key.pem: the private key cannot be used: "),
            "{text}"
        );
        assert_eq!(fs::read(dir.path().join("key.pem")).unwrap(), b"precious");
        assert!(!dir.path().join("cert.pem").exists());
    }

    #[test]
    fn what_cannot_be_a_host_name_is_named() {
        let dir = TempDir::new().unwrap();
        for name in ["", "a b", "mäil.example.org"] {
            let result = self_signed(dir.path(), &[name.to_owned()], now());
            assert_eq!(
                message(dir.path(), result),
                format!("{name:?} cannot be a host name in a certificate")
            );
        }
        let long = format!("{}.example.org", "a".repeat(60));
        let made = self_signed(dir.path(), std::slice::from_ref(&long), now()).unwrap();
        assert_eq!(
            load(&made.files, now()).unwrap().summary.names,
            [&long, "localhost"]
        );
    }
}
