//! The key file: made on first start with mode 0600, never overwritten, refused where others may read it.
//!
//! It lies outside the store, so that a stolen store alone proves and opens nothing.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::auth::keys::KeyError;
use crate::auth::keys::Keys;
use crate::auth::random;
use crate::store::Store;

/// First line of a key file.
const HEADER: &str = "imapwarden-key-v1";

/// Longest key file that is read: the header, the key, and some comment.
const MAX_FILE: u64 = 4096;

/// Room for all of it, so that reading never moves it and leaves a copy behind.
const MAX_FILE_BYTES: usize = 4096;

/// Who may read the key file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyFileOptions {
    /// Accepts a file that its group may read (0640, 0440): Kubernetes mounts secrets for an unprivileged user so.
    pub group_may_read: bool,
}

impl Keys {
    /// The keys that belong to a store: reads the key file, makes it where both file and store are new, and compares.
    ///
    /// A lost key file is not replaced: with a new one nothing in the store could be verified or unsealed, and whoever
    /// brings the old one back must find its place free.
    ///
    /// # Errors
    /// Says what is wrong with the file; [`KeyError::Lost`] and [`StoreError::OtherKey`](crate::store::StoreError::OtherKey) where it is not the store's.
    pub async fn open(path: &Path, options: KeyFileOptions, store: &dyn Store) -> Result<Self, KeyError> {
        let keys = match Self::load(path, options) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                if store.is_bound().await? {
                    return Err(KeyError::Lost {
                        path: path.to_owned(),
                    });
                }
                Self::load_or_create(path, options)?
            }
            loaded => loaded?,
        };
        store.check_key(keys.check()).await?;
        Ok(keys)
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

    /// Reads the key file.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn load(path: &Path, options: KeyFileOptions) -> Result<Self, KeyError> {
        let file = File::open(path).map_err(|source| io_error(path, source))?;
        check_access(&file, path, options)?;
        let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_BYTES));
        file.take(MAX_FILE)
            .read_to_string(&mut text)
            .map_err(|source| io_error(path, source))?;
        let master = parse(&text).map_err(|what| KeyError::Malformed {
            path: path.to_owned(),
            what,
        })?;
        Self::derive(&master)
    }
}

/// Readable by the owner alone, and the owner is us or root. Asked of the open file, not of its name.
fn check_access(file: &File, path: &Path, options: KeyFileOptions) -> Result<(), KeyError> {
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

/// The header, then 32 bytes in base64; empty lines and lines with `#` do not count.
fn parse(text: &str) -> Result<Zeroizing<[u8; 32]>, &'static str> {
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    if lines.next() != Some(HEADER) {
        return Err("its first line is not `imapwarden-key-v1`");
    }
    let key = lines.next().ok_or("it ends before the key")?;
    if lines.next().is_some() {
        return Err("there is something behind the key");
    }
    let bytes = STANDARD
        .decode(key)
        .map(Zeroizing::new)
        .map_err(|_| "the key is not base64")?;
    let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| "the key does not have 32 bytes")?;
    if key == [0; 32] {
        return Err("the key is empty");
    }
    Ok(Zeroizing::new(key))
}

/// Writes a new key beside its place and links it there: nobody ever sees half a key file, and one that another process
/// made meanwhile stays.
fn create(path: &Path) -> Result<(), KeyError> {
    let key: Zeroizing<[u8; 32]> = random::bytes()?;
    let text = Zeroizing::new(format!(
        "# Keep this file secret, and keep a copy: without it nobody logs in with what the store has.\n{HEADER}\n{}\n",
        Zeroizing::new(STANDARD.encode(key.as_slice())).as_str()
    ));
    let name: [u8; 8] = *random::bytes()?;
    let beside = path.with_extension(format!("new-{:016x}", u64::from_be_bytes(name)));
    let written = write_private(&beside, text.as_bytes()).and_then(|()| fs::hard_link(&beside, path));
    let removed = fs::remove_file(&beside);
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.and(removed).map_err(|source| io_error(path, source))?,
    }
    sync_folder(path).map_err(|source| io_error(path, source))
}

fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// Makes the new name survive a power cut: a store without its key is lost.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn io_error(path: &Path, source: io::Error) -> KeyError {
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

    fn message(result: Result<Keys, KeyError>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn the_key_file_is_made_once_private_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let made = Keys::load_or_create(&path, KeyFileOptions::default()).unwrap();
        let again = Keys::load_or_create(&path, KeyFileOptions::default()).unwrap();
        assert_eq!(made.check(), again.check());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        let other = Keys::load_or_create(&folder.path().join("other"), KeyFileOptions::default()).unwrap();
        assert_ne!(made.check(), other.check());
    }

    #[tokio::test]
    async fn a_key_file_belongs_to_its_store_and_a_lost_one_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let store = SqliteStore::open(&folder.path().join("store.db"), &Default::default()).unwrap();
        let options = KeyFileOptions::default();
        let first = Keys::open(&path, options, &store).await.unwrap();
        assert_eq!(
            Keys::open(&path, options, &store).await.unwrap().check(),
            first.check()
        );
        fs::remove_file(&path).unwrap();
        let lost = message(Keys::open(&path, options, &store).await);
        assert!(lost.contains("is missing"), "{lost}");
        assert!(!path.exists());
        Keys::load_or_create(&path, options).unwrap();
        let other = message(Keys::open(&path, options, &store).await);
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
                        Keys::load_or_create(&path, KeyFileOptions::default())
                            .unwrap()
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
        Keys::load_or_create(&path, KeyFileOptions::default()).unwrap();
        for mode in [0o604, 0o640, 0o602, 0o660, 0o644] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = Keys::load(&path, KeyFileOptions::default());
            assert!(matches!(refused, Err(KeyError::Exposed { .. })), "{mode:o}");
        }
        let group = KeyFileOptions { group_may_read: true };
        fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
        assert!(Keys::load(&path, group).is_ok());
        fs::set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
        assert!(Keys::load(&path, group).is_err());
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(message(Keys::load(&path, group)).contains("chmod 600"));
    }

    #[test]
    fn what_is_not_a_key_file_is_refused_and_never_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let good = STANDARD.encode([7; 32]);
        let cases = [
            String::new(),
            "imapwarden-key-v2\nAAAA".to_owned(),
            HEADER.to_owned(),
            format!("{HEADER}\n!{good}"),
            format!("{HEADER}\n{}", STANDARD.encode([7; 31])),
            format!("{HEADER}\n{}", STANDARD.encode([0; 32])),
            format!("{HEADER}\n{good}\n{good}"),
        ];
        for text in cases {
            let _ = fs::remove_file(&path);
            write_private(&path, text.as_bytes()).unwrap();
            let refused = message(Keys::load(&path, KeyFileOptions::default()));
            assert!(refused.contains("is not an imapwarden key file"), "{refused}");
            assert!(!refused.contains(&good), "{refused}");
        }
        assert!(Keys::load(folder.path(), KeyFileOptions::default()).is_err());
    }
}
