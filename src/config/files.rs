//! Looks at the files that a configuration names, so that a wrong one is found at `check` and not at three in the morning.

use std::error::Error as _;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::config::Context;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::net::certificate;
use crate::net::certificate::CertificateError;
use crate::net::certificate::CertificateFiles;
use crate::net::geo;
use crate::net::geo::Geo;
use crate::net::tls::Client;
use crate::net::tls::ClientOptions;
use crate::net::tls::Trust;
use crate::types::Secret;
use crate::types::UnixTime;

/// Permission bits of everybody who is neither the owner nor in the group.
const OTHERS: u32 = 0o007;
/// No password comes near this.
const MAX_SECRET: u64 = 4096;

/// Whether the files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// They are: the configuration is about to be used, at this time.
    Look(UnixTime),
    /// They are not: only the text is judged.
    Ignore,
}

/// A file with a password cannot be read.
#[derive(Debug, Error)]
#[error("the file {} cannot be used", file.display())]
pub struct SecretFileError {
    /// The file.
    pub file: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// The file must be there and readable.
pub(super) fn check_readable(section: &Section<'_>, span: Range<usize>, file: &Path, cx: &Context<'_>) {
    if cx.files != Files::Ignore
        && let Err(error) = mode_of(file)
    {
        section.problem(unreadable(span, file, &error));
    }
}

/// The file must have certificates of authorities in it.
pub(super) fn check_authorities(section: &Section<'_>, span: Range<usize>, file: &Path, cx: &Context<'_>) {
    let Files::Look(now) = cx.files else { return };
    if let Err(error) = mode_of(file) {
        section.problem(unreadable(span, file, &error));
        return;
    }
    let trust = Trust::CaFiles(vec![file.to_owned()]);
    let options = ClientOptions {
        trust,
        ..ClientOptions::default()
    };
    if let Err(error) = Client::new(&options, now) {
        section.problem(Problem::new("file_unusable", span, error.to_string()));
    }
}

/// Certificate and key must be readable, belong together, and be valid; the key must be closed to others.
pub(super) fn check_pair(section: &Section<'_>, pair: &CertificateFiles, cx: &Context<'_>) {
    let Files::Look(now) = cx.files else { return };
    let readable = |key: &str, file: &Path| {
        let result = mode_of(file);
        if let Err(error) = &result {
            section.problem(unreadable(section.place(key), file, error));
        }
        result.is_ok()
    };
    let certificate = readable("certificate_file", &pair.certificate);
    let key = readable("key_file", &pair.key);
    if !(certificate && key) {
        return;
    }
    let Err(error) = certificate::load(pair, now) else {
        return;
    };
    let of_key = error.to_string().starts_with(&pair.key.display().to_string());
    let place = section.place(if of_key { "key_file" } else { "certificate_file" });
    let code = match error {
        CertificateError::KeyExposed { .. } => "file_too_open",
        _ => "file_unusable",
    };
    section.problem(Problem::new(code, place, error.to_string()));
}

/// The databases must be readable and have in them what they are used for.
pub(super) fn check_databases(section: &Section<'_>, databases: &geo::Options, cx: &Context<'_>) {
    if cx.files == Files::Ignore {
        return;
    }
    for key in ["country_file", "asn_file"] {
        // One at a time, so that each mistake stands at its own key.
        let mut only = databases.clone();
        let example = if key == "country_file" {
            only.asn_file = None;
            "GeoLite2-Country"
        } else {
            only.country_file = None;
            "GeoLite2-ASN"
        };
        let Some(file) = only.country_file.clone().or(only.asn_file.clone()) else {
            continue;
        };
        if let Err(error) = mode_of(&file) {
            section.problem(unreadable(section.place(key), &file, &error));
        } else if let Err(error) = Geo::new(only) {
            let cause = error.source().map(|cause| format!(": {cause}"));
            let message = format!("{error}{}", cause.unwrap_or_default());
            section.problem(
                Problem::new("file_unusable", section.place(key), message)
                    .help(format!("`{key}` wants a file such as {example}.mmdb, unpacked")),
            );
        }
    }
}

/// The file must hold one password and be closed to others.
pub(super) fn check_secret(section: &Section<'_>, key: &str, file: &Path, cx: &Context<'_>) {
    if cx.files == Files::Ignore {
        return;
    }
    let place = section.place(key);
    match mode_of(file) {
        Err(error) => section.problem(unreadable(place, file, &error)),
        Ok(mode) if mode & OTHERS != 0 => section.problem(too_open(place, file, mode)),
        Ok(_) => {
            if let Err(error) = read_secret(file) {
                section.problem(unreadable(place, file, &error));
            }
        }
    }
}

/// Reads a password from a file: one line, whose end is not part of it.
pub(super) fn read_secret(file: &Path) -> io::Result<Secret> {
    let invalid = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
    if fs::metadata(file)?.len() > MAX_SECRET {
        return Err(invalid("it is too large to be a password"));
    }
    let bytes = Zeroizing::new(fs::read(file)?);
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(invalid("it is empty"));
    }
    if line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(invalid("it has more than one line"));
    }
    Ok(Secret::from(line))
}

/// The permission bits of a file that can be read.
fn mode_of(file: &Path) -> io::Result<u32> {
    let metadata = fs::metadata(file)?;
    if !metadata.is_file() {
        // Opening a pipe would wait for its other end.
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a directory or a device, not a file",
        ));
    }
    fs::File::open(file)?;
    Ok(metadata.permissions().mode() & 0o7777)
}

fn unreadable(span: Range<usize>, file: &Path, error: &io::Error) -> Problem {
    let name = file.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            Problem::new("file_missing", span, format!("the file {name} does not exist"))
                .help("relative paths start at the directory of the configuration file")
        }
        io::ErrorKind::PermissionDenied => Problem::new(
            "file_unreadable",
            span,
            format!("the file {name} may not be read"),
        )
        .help("let the user that imapwarden runs as read it, by owner or group"),
        _ => Problem::new(
            "file_unreadable",
            span,
            format!("the file {name} cannot be used: {error}"),
        ),
    }
}

fn too_open(span: Range<usize>, file: &Path, mode: u32) -> Problem {
    let name = file.display();
    let message = format!("every user of this machine can get at {name} (mode {mode:04o})");
    Problem::new("file_too_open", span, message).help(format!(
        "run `chmod o= {name}`; in Kubernetes set `defaultMode: 0440`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_is_one_line_without_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s");
        let cases = [
            ("hunter2\n", Some("hunter2")),
            ("a b\r\n", Some("a b")),
            ("x", Some("x")),
            ("", None),
            ("\n", None),
            ("a\nb\n", None),
            ("a\0", None),
        ];
        for (text, secret) in cases {
            fs::write(&file, text).unwrap();
            assert_eq!(read_secret(&file).ok(), secret.map(Secret::from), "{text:?}");
        }
        fs::write(&file, vec![b'x'; 5000]).unwrap();
        assert!(read_secret(&file).is_err());
        assert!(read_secret(dir.path()).is_err());
    }
}
