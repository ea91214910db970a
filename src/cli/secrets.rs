//! Where passwords and codes come from: the terminal without echo, standard input, or a file. Never from arguments or the
//! environment.

use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::cli::args::PasswordFrom;
use crate::cli::error::CliError;
use crate::types::Secret;
use crate::types::UserName;

/// No password comes near this, in bytes.
const MAX: usize = 4096;

const MAIL_PASSWORD: &str = "the mail password";
const CODE: &str = "the code";

/// The mail password of an account, from where the arguments say.
pub(super) fn mail_password(from: &PasswordFrom, account: &UserName) -> Result<Secret, CliError> {
    if let Some(file) = &from.password_file {
        return from_file(file, MAIL_PASSWORD);
    }
    if from.password_stdin {
        return from_stdin(MAIL_PASSWORD);
    }
    from_terminal(
        MAIL_PASSWORD,
        &format!("Mail password of {account}: "),
        "--password-stdin or --password-file",
    )
}

/// A one-time code; spaces in it do not count, apps show it in two halves.
pub(super) fn code(stdin: bool) -> Result<Secret, CliError> {
    let typed = if stdin {
        from_stdin(CODE)?
    } else {
        from_terminal(CODE, "Code that the app shows now: ", "--code-stdin")?
    };
    let digits = typed.expose().iter().filter(|byte| **byte != b' ').copied();
    Ok(Secret::new(digits.collect()))
}

fn from_terminal(what: &'static str, prompt: &str, instead: &str) -> Result<Secret, CliError> {
    let typed = rpassword::prompt_password(prompt).map_err(|source| CliError::Input {
        what,
        from: format!("a terminal (use {instead} without one)"),
        source,
    })?;
    let typed = Secret::new(typed.into_bytes());
    line(typed.expose()).map_err(|source| CliError::Input {
        what,
        from: "the terminal".to_owned(),
        source,
    })
}

fn from_stdin(what: &'static str) -> Result<Secret, CliError> {
    let read = read_line(&mut io::stdin().lock());
    read.map_err(|source| CliError::Input {
        what,
        from: "standard input".to_owned(),
        source,
    })
}

/// A password from a file that others may not read.
pub(super) fn from_file(path: &Path, what: &'static str) -> Result<Secret, CliError> {
    let failed = |source| CliError::Input {
        what,
        from: path.display().to_string(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.is_file() && meta.mode() & 0o007 != 0 {
        return Err(CliError::Exposed(path.to_owned()));
    }
    read_line(&mut { file }).map_err(failed)
}

/// All there is to read: one line, whose end is not part of it.
fn read_line(from: &mut dyn Read) -> io::Result<Secret> {
    // Its room is there from the start: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX + 3));
    let bound = u64::try_from(MAX + 3).unwrap_or(u64::MAX);
    from.take(bound).read_to_end(&mut bytes)?;
    line(&bytes)
}

fn line(bytes: &[u8]) -> io::Result<Secret> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let wrong = match line {
        [] => "it is empty",
        _ if line.len() > MAX => "it is too long",
        _ if line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) => "it has more than one line",
        _ => return Ok(Secret::from(line)),
    };
    Err(io::Error::new(io::ErrorKind::InvalidData, wrong))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_one_line_without_its_end() {
        for (text, secret) in [
            ("hunter2\n", Some("hunter2")),
            ("a b \r\n", Some("a b ")),
            ("x", Some("x")),
            ("", None),
            ("\n", None),
            ("a\nb\n", None),
            ("a\0", None),
        ] {
            let read = read_line(&mut text.as_bytes()).ok();
            assert_eq!(read, secret.map(Secret::from), "{text:?}");
        }
        let long = vec![b'x'; MAX];
        assert!(read_line(&mut long.as_slice()).is_ok());
        let longer = vec![b'x'; MAX * 2];
        assert!(read_line(&mut longer.as_slice()).is_err());
    }

    #[test]
    fn a_password_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p");
        fs::write(&file, "x\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            from_file(&file, MAIL_PASSWORD),
            Err(CliError::Exposed(_))
        ));
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(from_file(&file, MAIL_PASSWORD).unwrap(), Secret::from("x"));
        let missing = from_file(&dir.path().join("missing"), MAIL_PASSWORD).unwrap_err();
        assert_eq!(missing.code(), 66);
    }
}
