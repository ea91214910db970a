//! Changes of the key file, for the command line: a key more, or one less.
//!
//! The file is replaced as a whole, with its owner and mode, and one command at a time changes it: whoever adds a key must not
//! lose one that somebody else has put in force meanwhile.

use std::fs;
use std::fs::File;
use std::fs::TryLockError;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::auth::key_file;
use crate::auth::key_file::KeyFileOptions;
use crate::auth::key_file::MAX_KEYS;
use crate::auth::key_file::io_error;
use crate::auth::key_file::says_something;
use crate::auth::keys::KeyError;
use crate::auth::keys::Keys;

/// How often a file is opened that is replaced meanwhile.
const TRIES: u32 = 8;

/// A key file that nobody else changes.
pub struct KeyFile {
    /// With links followed: what they lead to is replaced, not the link.
    path: PathBuf,
    /// Locked, and what stands at the path.
    file: File,
    text: Zeroizing<String>,
}

impl KeyFile {
    /// Opens and locks the file.
    ///
    /// # Errors
    /// Says what is wrong with it; [`KeyError::Busy`] where another command has it.
    pub fn open(path: &Path, options: KeyFileOptions) -> Result<Self, KeyError> {
        let path = fs::canonicalize(path).map_err(|source| io_error(path, source))?;
        for _ in 0..TRIES {
            let file = File::open(&path).map_err(|source| io_error(&path, source))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(KeyError::Busy { path }),
                Err(TryLockError::Error(source)) => return Err(io_error(&path, source)),
            }
            // Whoever had the lock before may have put another file in its place.
            if !is_at(&file, &path).map_err(|source| io_error(&path, source))? {
                continue;
            }
            key_file::check_access(&file, &path, options)?;
            let text = key_file::read_text(&file, &path)?;
            return Ok(Self { path, file, text });
        }
        Err(KeyError::Busy { path })
    }

    /// Its keys, the oldest first.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn keys(&self) -> Result<Vec<Keys>, KeyError> {
        key_file::keys_in(&self.text, &self.path)
    }

    /// Draws a key and adds it behind the others; answers what a store recognises it by. It is on the disk afterwards.
    ///
    /// # Errors
    /// The file cannot be replaced, or has no room.
    pub fn add(&mut self) -> Result<[u8; 32], KeyError> {
        if self.keys()?.len() >= MAX_KEYS {
            return Err(KeyError::TooMany {
                path: self.path.clone(),
                most: MAX_KEYS,
            });
        }
        let line = key_file::new_line()?;
        let room = self.text.len().saturating_add(line.len()).saturating_add(2);
        // With its room reserved nothing is moved, and no copy is left behind.
        let mut text = Zeroizing::new(String::with_capacity(room));
        text.push_str(&self.text);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&line);
        text.push('\n');
        let master = key_file::key_of(&line).map_err(|what| self.malformed(what))?;
        let check = Keys::derive(&master)?.check();
        self.replace(text)?;
        Ok(check)
    }

    /// Removes the key that a store recognises by `check`; false where it is not there.
    ///
    /// # Errors
    /// The file cannot be replaced.
    pub fn remove(&mut self, check: [u8; 32]) -> Result<bool, KeyError> {
        let mut text = Zeroizing::new(String::with_capacity(self.text.len()));
        let mut found = false;
        let mut is_header = true;
        for line in self.text.split_inclusive('\n') {
            if says_something(line) && !std::mem::take(&mut is_header) {
                let master = key_file::key_of(line).map_err(|what| self.malformed(what))?;
                if Keys::derive(&master)?.check() == check {
                    found = true;
                    continue;
                }
            }
            text.push_str(line);
        }
        if found {
            self.replace(text)?;
        }
        Ok(found)
    }

    fn malformed(&self, what: &'static str) -> KeyError {
        KeyError::Malformed {
            path: self.path.clone(),
            what,
        }
    }

    fn unwritable(&self, source: io::Error) -> KeyError {
        KeyError::Unwritable {
            path: self.path.clone(),
            source,
        }
    }

    /// Puts a new file in the place of the old one: whoever reads it, and whenever the power fails, finds the one or the other.
    fn replace(&mut self, text: Zeroizing<String>) -> Result<(), KeyError> {
        // What could not be read again must not be written.
        key_file::keys_in(&text, &self.path)?;
        let beside = key_file::beside(&self.path)?;
        let replaced = self.write(&beside, &text).inspect_err(|_| {
            // Nothing more can be done about it.
            let _ = fs::remove_file(&beside);
        });
        self.file = replaced.map_err(|source| self.unwritable(source))?;
        self.text = text;
        key_file::sync_folder(&self.path).map_err(|source| self.unwritable(source))
    }

    /// Answers the new file, locked as the old one is.
    fn write(&self, beside: &Path, text: &str) -> io::Result<File> {
        let before = self.file.metadata()?;
        let file = key_file::write_private(beside, text.as_bytes())?;
        let made = file.metadata()?;
        // As root for somebody else: the proxy must be able to read it afterwards.
        if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
            std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        file.set_permissions(before.permissions())?;
        file.sync_all()?;
        file.lock()?;
        fs::rename(beside, &self.path)?;
        Ok(file)
    }
}

/// True where an open file is the one at a path.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (open, there) = (file.metadata()?, fs::metadata(path)?);
    Ok((open.dev(), open.ino()) == (there.dev(), there.ino()))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::auth::key_ring::KeyRing;

    const OPTIONS: KeyFileOptions = KeyFileOptions { group_may_read: true };

    fn checks(path: &Path) -> Vec<[u8; 32]> {
        let ring = KeyRing::load(path, OPTIONS).unwrap();
        ring.all().iter().map(|keys| keys.check()).collect()
    }

    #[test]
    fn a_key_is_added_behind_the_others_and_removed_again_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        KeyRing::load_or_create(&path, OPTIONS).unwrap();
        let before = fs::read_to_string(&path).unwrap();
        let first = checks(&path)[0];
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let mut file = KeyFile::open(&path, OPTIONS).unwrap();
        let second = file.add().unwrap();
        let third = file.add().unwrap();
        assert_eq!(checks(&path), [first, second, third]);
        assert!(file.remove(second).unwrap());
        assert!(!file.remove(second).unwrap());
        assert_eq!(checks(&path), [first, third]);
        assert!(file.remove(third).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn the_last_key_is_never_removed_and_a_fifth_is_not_added() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        KeyRing::load_or_create(&path, OPTIONS).unwrap();
        let only = checks(&path)[0];
        let mut file = KeyFile::open(&path, OPTIONS).unwrap();
        assert!(file.remove(only).is_err());
        assert_eq!(checks(&path), [only]);
        for _ in 1..MAX_KEYS {
            file.add().unwrap();
        }
        assert!(matches!(file.add(), Err(KeyError::TooMany { .. })));
        assert_eq!(checks(&path).len(), MAX_KEYS);
    }

    #[test]
    fn one_command_at_a_time_changes_it_also_after_it_was_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        KeyRing::load_or_create(&path, OPTIONS).unwrap();
        let mut file = KeyFile::open(&path, OPTIONS).unwrap();
        let busy = || matches!(KeyFile::open(&path, OPTIONS), Err(KeyError::Busy { .. }));
        assert!(busy());
        file.add().unwrap();
        assert!(busy(), "the new file is locked as the old one was");
        drop(file);
        assert!(!busy());
    }

    #[test]
    fn a_link_to_it_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("key"), folder.path().join("link"));
        KeyRing::load_or_create(&path, OPTIONS).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        KeyFile::open(&link, OPTIONS).unwrap().add().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(checks(&path).len(), 2);
    }

    #[test]
    fn where_nothing_can_be_written_the_file_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        KeyRing::load_or_create(&path, OPTIONS).unwrap();
        let before = fs::read(&path).unwrap();
        let mut file = KeyFile::open(&path, OPTIONS).unwrap();
        // A directory in the place of the file that would be written, whatever it is called, cannot be made; a name that is
        // too long can be neither.
        file.path = folder.path().join("x".repeat(300));
        assert!(matches!(file.add(), Err(KeyError::Unwritable { .. })));
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
