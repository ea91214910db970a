//! The key file: made on first start with mode 0600, never overwritten, refused where others may read it.
//!
//! It lies outside the store, so that a stolen store alone proves and opens nothing. It may hold several keys; which of them is
//! in force the store says.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::auth::key_ring::KeyRing;
use crate::auth::keys::KeyError;
use crate::auth::keys::Keys;
use crate::auth::random;
use crate::store::Store;

/// First line of a key file.
const HEADER: &str = "imapwarden-key-v1";

/// Most keys in a file: the one in force, one that waits, and two that were in force before.
pub(super) const MAX_KEYS: usize = 4;

/// Longest key file that is read: the header, the keys, and some comment.
const MAX_FILE: u64 = 4096;

/// Room for all of it, so that reading never moves it and leaves a copy behind.
const MAX_FILE_BYTES: usize = 4096;

/// Who may read the key file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyFileOptions {
    /// Accepts a file that its group may read (0640, 0440): Kubernetes mounts secrets for an unprivileged user so.
    pub group_may_read: bool,
}

impl KeyRing {
    /// The keys that belong to a store: reads the key file, makes it where both file and store are new, and asks the store which
    /// of its keys is in force.
    ///
    /// A lost key file is not replaced: with a new one nothing in the store could be verified or unsealed, and whoever
    /// brings the old one back must find its place free.
    ///
    /// # Errors
    /// Says what is wrong with the file; [`KeyError::Lost`] and [`StoreError::OtherKey`](crate::store::StoreError::OtherKey) where it is not the store's.
    pub async fn open(path: &Path, options: KeyFileOptions, store: &dyn Store) -> Result<Self, KeyError> {
        let in_force = store.key_in_force().await?;
        let ring = match Self::load(path, options) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                if in_force.is_some() {
                    return Err(KeyError::Lost {
                        path: path.to_owned(),
                    });
                }
                Self::load_or_create(path, options)?
            }
            loaded => loaded?,
        };
        match in_force {
            Some(check) => {
                ring.follow(check).await?;
            }
            None => store.check_key(ring.in_force().check()).await?,
        }
        Ok(ring)
    }

    /// Reads the key file; where there is none, makes it with mode 0600.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn load_or_create(path: &Path, options: KeyFileOptions) -> Result<Self, KeyError> {
        match Self::load(path, options) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                create(path)?;
                Self::load(path, options)
            }
            loaded => loaded,
        }
    }

    /// Reads the key file. Until the store has been asked, its newest key counts as the one in force.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn load(path: &Path, options: KeyFileOptions) -> Result<Self, KeyError> {
        let keys = read_keys(path, options)?;
        let malformed = || KeyError::Malformed {
            path: path.to_owned(),
            what: "it ends before the key",
        };
        Self::of(keys, Some((path.to_owned(), options))).ok_or_else(malformed)
    }
}

/// All keys of a key file, the oldest first.
pub(super) fn read_keys(path: &Path, options: KeyFileOptions) -> Result<Vec<Keys>, KeyError> {
    let file = File::open(path).map_err(|source| io_error(path, source))?;
    check_access(&file, path, options)?;
    keys_in(&read_text(file, path)?, path)
}

/// The text of an open key file.
pub(super) fn read_text(file: impl Read, path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_BYTES.saturating_add(1)));
    file.take(MAX_FILE.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(|source| io_error(path, source))?;
    // A key behind the end of what is read must not be lost unnoticed.
    if text.len() > MAX_FILE_BYTES {
        return Err(KeyError::Malformed {
            path: path.to_owned(),
            what: "it is longer than 4096 bytes",
        });
    }
    Ok(text)
}

/// The keys in a key file's text.
pub(super) fn keys_in(text: &str, path: &Path) -> Result<Vec<Keys>, KeyError> {
    let masters = parse(text).map_err(|what| KeyError::Malformed {
        path: path.to_owned(),
        what,
    })?;
    masters.iter().map(|master| Keys::derive(master)).collect()
}

/// Readable by the owner alone, and the owner is us or root. Asked of the open file, not of its name.
pub(super) fn check_access(file: &File, path: &Path, options: KeyFileOptions) -> Result<(), KeyError> {
    let meta = file.metadata().map_err(|source| io_error(path, source))?;
    if !meta.is_file() {
        return Err(KeyError::Malformed {
            path: path.to_owned(),
            what: "not a regular file",
        });
    }
    let exposed = if options.group_may_read { 0o037 } else { 0o077 };
    if meta.mode() & exposed != 0 {
        return Err(KeyError::Exposed {
            path: path.to_owned(),
            mode: meta.mode() & 0o7777,
        });
    }
    // The owner of our own /proc entry is the user we run as, or root for a process that may not be dumped: then the
    // kernel's own check at open has to do.
    let us = fs::metadata("/proc/self").map_or(0, |own| own.uid());
    if us != 0 && meta.uid() != us && meta.uid() != 0 {
        return Err(KeyError::Owner {
            path: path.to_owned(),
            owner: meta.uid(),
            us,
        });
    }
    Ok(())
}

/// The header, then up to four lines with 32 bytes in base64, the oldest first; empty lines and lines with `#` do not count.
fn parse(text: &str) -> Result<Vec<Zeroizing<[u8; 32]>>, &'static str> {
    let mut lines = text.lines().filter(|line| says_something(line));
    if lines.next().map(str::trim) != Some(HEADER) {
        return Err("its first line is not `imapwarden-key-v1`");
    }
    let mut keys: Vec<Zeroizing<[u8; 32]>> = Vec::with_capacity(MAX_KEYS);
    for line in lines {
        let key = key_of(line)?;
        if keys.len() >= MAX_KEYS {
            return Err("it has more than four keys");
        }
        if keys.contains(&key) {
            return Err("the same key stands in it twice");
        }
        keys.push(key);
    }
    if keys.is_empty() {
        return Err("it ends before the key");
    }
    Ok(keys)
}

/// Neither empty nor a comment.
pub(super) fn says_something(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim().starts_with('#')
}

/// The key in a line.
pub(super) fn key_of(line: &str) -> Result<Zeroizing<[u8; 32]>, &'static str> {
    let bytes = STANDARD
        .decode(line.trim())
        .map(Zeroizing::new)
        .map_err(|_| "a key is not base64")?;
    let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| "a key does not have 32 bytes")?;
    if key == [0; 32] {
        return Err("a key is empty");
    }
    Ok(Zeroizing::new(key))
}

/// A line with a new key.
pub(super) fn new_line() -> Result<Zeroizing<String>, KeyError> {
    let key: Zeroizing<[u8; 32]> = random::bytes()?;
    Ok(Zeroizing::new(STANDARD.encode(key.as_slice())))
}

/// Writes a new key beside its place and links it there: nobody ever sees half a key file, and one that another process
/// made meanwhile stays.
fn create(path: &Path) -> Result<(), KeyError> {
    let key = new_line()?;
    let text = Zeroizing::new(format!(
        "# Keep this file secret, and keep a copy: without it nobody logs in with what the store has.\n{HEADER}\n{}\n",
        key.as_str()
    ));
    let beside = beside(path)?;
    let written = write_private(&beside, text.as_bytes()).and_then(|_| fs::hard_link(&beside, path));
    let removed = fs::remove_file(&beside);
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.and(removed).map_err(|source| io_error(path, source))?,
    }
    sync_folder(path).map_err(|source| io_error(path, source))
}

/// A name beside a path that nobody else has.
pub(super) fn beside(path: &Path) -> Result<PathBuf, KeyError> {
    let name: [u8; 8] = *random::bytes()?;
    Ok(path.with_extension(format!("new-{:016x}", u64::from_be_bytes(name))))
}

/// Writes a new file that nobody else may read.
pub(super) fn write_private(path: &Path, text: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.sync_all()?;
    Ok(file)
}

/// Makes the new name survive a power cut: a store without its key is lost.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

pub(super) fn io_error(path: &Path, source: io::Error) -> KeyError {
    KeyError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::sqlite::SqliteStore;

    fn message(result: Result<KeyRing, KeyError>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn the_key_file_is_made_once_private_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let made = KeyRing::load_or_create(&path, KeyFileOptions::default()).unwrap();
        let again = KeyRing::load_or_create(&path, KeyFileOptions::default()).unwrap();
        assert_eq!(made.in_force().check(), again.in_force().check());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        let other = KeyRing::load_or_create(&folder.path().join("other"), KeyFileOptions::default()).unwrap();
        assert_ne!(made.in_force().check(), other.in_force().check());
    }

    #[tokio::test]
    async fn a_key_file_belongs_to_its_store_and_a_lost_one_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let store = SqliteStore::open(&folder.path().join("store.db"), &Default::default()).unwrap();
        let options = KeyFileOptions::default();
        let first = KeyRing::open(&path, options, &store).await.unwrap();
        assert_eq!(
            KeyRing::open(&path, options, &store)
                .await
                .unwrap()
                .in_force()
                .check(),
            first.in_force().check()
        );
        fs::remove_file(&path).unwrap();
        let lost = message(KeyRing::open(&path, options, &store).await);
        assert!(lost.contains("is missing"), "{lost}");
        assert!(!path.exists());
        KeyRing::load_or_create(&path, options).unwrap();
        let other = message(KeyRing::open(&path, options, &store).await);
        assert!(other.contains("another key file"), "{other}");
    }

    #[test]
    fn racing_first_starts_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let checks: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        KeyRing::load_or_create(&path, KeyFileOptions::default())
                            .unwrap()
                            .in_force()
                            .check()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(checks.iter().all(|check| check == &checks[0]));
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        KeyRing::load_or_create(&path, KeyFileOptions::default()).unwrap();
        for mode in [0o604, 0o640, 0o602, 0o660, 0o644] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = KeyRing::load(&path, KeyFileOptions::default());
            assert!(matches!(refused, Err(KeyError::Exposed { .. })), "{mode:o}");
        }
        let group = KeyFileOptions { group_may_read: true };
        fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
        assert!(KeyRing::load(&path, group).is_ok());
        fs::set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
        assert!(KeyRing::load(&path, group).is_err());
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(message(KeyRing::load(&path, group)).contains("chmod 600"));
    }

    #[test]
    fn what_is_not_a_key_file_is_refused_and_never_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let good = STANDARD.encode([7; 32]);
        let many = |count: u8| {
            let keys: Vec<String> = (1..=count).map(|n| STANDARD.encode([n; 32])).collect();
            format!("{HEADER}\n{}", keys.join("\n"))
        };
        let cases = [
            String::new(),
            "imapwarden-key-v2\nAAAA".to_owned(),
            HEADER.to_owned(),
            format!("{HEADER}\n!{good}"),
            format!("{HEADER}\n{}", STANDARD.encode([7; 31])),
            format!("{HEADER}\n{}", STANDARD.encode([0; 32])),
            format!("{HEADER}\n{good}\n{good}"),
            format!("{HEADER}\n{good}\nx"),
            many(5),
        ];
        for text in cases {
            let _ = fs::remove_file(&path);
            write_private(&path, text.as_bytes()).unwrap();
            let refused = message(KeyRing::load(&path, KeyFileOptions::default()));
            assert!(refused.contains("is not an imapwarden key file"), "{refused}");
            assert!(!refused.contains(&good), "{refused}");
        }
        assert!(KeyRing::load(folder.path(), KeyFileOptions::default()).is_err());
    }
}
