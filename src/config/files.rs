//! Looks at the files that a configuration names, so that a wrong one is found at `check` and not at three in the morning.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::config::Context;
use crate::config::listener::CertificateFiles;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::types::Secret;

/// Permission bits of everybody who is neither the owner nor in the group.
const OTHERS: u32 = 0o007;
/// No password comes near this.
const MAX_SECRET: u64 = 4096;

/// Whether the files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// They are: the configuration is about to be used.
    Look,
    /// They are not: only the text is judged.
    Ignore,
}

/// The file must be there and readable.
pub(super) fn check_readable(section: &Section<'_>, span: Range<usize>, file: &Path, cx: &Context<'_>) {
    if cx.files == Files::Look
        && let Err(error) = open(file)
    {
        section.problem(unreadable(span, file, &error));
    }
}

/// Certificate and key must be readable, and the key by nobody else.
pub(super) fn check_pair(section: &Section<'_>, pair: &CertificateFiles, cx: &Context<'_>) {
    check_readable(
        section,
        section.place("certificate_file"),
        &pair.certificate_file,
        cx,
    );
    check_secret_mode(section, "key_file", &pair.key_file, cx);
}

fn check_secret_mode(section: &Section<'_>, key: &str, file: &Path, cx: &Context<'_>) -> bool {
    if cx.files == Files::Ignore {
        return false;
    }
    match open(file) {
        Err(error) => {
            section.problem(unreadable(section.place(key), file, &error));
            false
        }
        Ok(mode) if mode & OTHERS != 0 => {
            section.problem(too_open(section.place(key), file, mode));
            false
        }
        Ok(_) => true,
    }
}

/// The file must hold one password and be closed to others.
pub(super) fn check_secret(section: &Section<'_>, key: &str, file: &Path, cx: &Context<'_>) {
    if check_secret_mode(section, key, file, cx)
        && let Err(error) = read_secret(file)
    {
        section.problem(unreadable(section.place(key), file, &error));
    }
}

/// Reads a password from a file: one line, whose end is not part of it.
///
/// # Errors
/// The file cannot be read, is empty, too large, or has several lines.
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
fn open(file: &Path) -> io::Result<u32> {
    let metadata = fs::File::open(file)?.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
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
    Problem::new(
        "file_too_open",
        span,
        format!("every user of this machine can get at {name} (mode {mode:04o})"),
    )
    .help(format!(
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
        for (text, secret) in [
            ("hunter2\n", Some("hunter2")),
            ("a b\r\n", Some("a b")),
            ("x", Some("x")),
            ("", None),
            ("\n", None),
            ("a\nb\n", None),
            ("a\0", None),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(read_secret(&file).ok(), secret.map(Secret::from), "{text:?}");
        }
        fs::write(&file, vec![b'x'; 5000]).unwrap();
        assert!(read_secret(&file).is_err());
        assert!(read_secret(dir.path()).is_err());
    }
}
