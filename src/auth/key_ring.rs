//! The keys of the key file, and which of them is in force.
//!
//! The store says which, in one word that all replicas read; a key that the file lacks is looked for in it anew. Nothing is
//! verified or opened with a key that is not in force; older ones only tell names that were given under them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::auth::key_file;
use crate::auth::key_file::KeyFileOptions;
use crate::auth::keys::KeyError;
use crate::auth::keys::Keys;
use crate::auth::keys::id_of;
use crate::store::StoreError;

/// How soon the file is looked into again for a key that was not in it.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The keys of one key file. One for the whole process.
pub struct KeyRing {
    held: ArcSwap<Held>,
    /// Where they were read.
    source: Option<(PathBuf, KeyFileOptions)>,
    /// The key that was last looked for in vain, and when. Whoever comes meanwhile waits for what is being read.
    looked: tokio::sync::Mutex<Option<([u8; 32], Instant)>>,
    /// One change of what is held at a time.
    changing: Mutex<()>,
    /// The file as it was when it was last looked into to tell of it, and by what its keys are recognised.
    seen: Mutex<Option<(Look, Vec<[u8; 32]>)>>,
}

/// What tells a file from another one in its place: its number, its length, when it was changed.
type Look = (u64, u64, i64, i64);

#[derive(Clone)]
struct Held {
    /// The oldest first, as they stand in the file.
    keys: Vec<Arc<Keys>>,
    in_force: Arc<Keys>,
}

/// Keys that were read, and not held yet.
pub struct Read(Vec<Arc<Keys>>);

impl KeyRing {
    /// A ring with one key, for a store that knows no other.
    #[must_use]
    pub fn single(keys: Keys) -> Self {
        let in_force = Arc::new(keys);
        let keys = vec![Arc::clone(&in_force)];
        Self::holding(Held { keys, in_force }, None)
    }

    /// Until the store has been asked, the newest counts as the one in force. `None` where there is none.
    pub(super) fn of(keys: Vec<Keys>, source: Option<(PathBuf, KeyFileOptions)>) -> Option<Self> {
        let keys: Vec<_> = keys.into_iter().map(Arc::new).collect();
        let in_force = Arc::clone(keys.last()?);
        Some(Self::holding(Held { keys, in_force }, source))
    }

    fn holding(held: Held, source: Option<(PathBuf, KeyFileOptions)>) -> Self {
        Self {
            held: ArcSwap::from_pointee(held),
            source,
            looked: tokio::sync::Mutex::default(),
            changing: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// The key that everything is made with.
    #[must_use]
    pub fn in_force(&self) -> Arc<Keys> {
        Arc::clone(&self.held.load().in_force)
    }

    /// All keys, the oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Keys>> {
        self.held.load().keys.clone()
    }

    /// What something may be called in the store: under the key in force, which comes first, and under the others. It may have
    /// got its name before a rotation.
    #[must_use]
    pub fn names(&self, name: impl Fn(&Keys) -> [u8; 32]) -> Vec<[u8; 32]> {
        let held = self.held.load();
        let in_force = held.in_force.check();
        let others = held.keys.iter().filter(|keys| keys.check() != in_force);
        std::iter::once(&held.in_force)
            .chain(others)
            .map(|keys| name(keys))
            .collect()
    }

    /// Goes by the key that the store recognises by `check`. One that is not held is looked for in the file, twice a second
    /// at most. Says whether that is another key than before.
    ///
    /// # Errors
    /// The file does not hold it: then nothing in the store can be verified.
    pub async fn follow(&self, check: [u8; 32]) -> Result<bool, StoreError> {
        if self.held.load().in_force.check() == check {
            return Ok(false);
        }
        if !self.holds(check) {
            self.look_for(check).await;
        }
        let _one_at_a_time = self.lock();
        let held = self.held.load();
        let found = held.keys.iter().find(|keys| keys.check() == check);
        let in_force = Arc::clone(found.ok_or(StoreError::OtherKey)?);
        let keys = held.keys.clone();
        self.held.store(Arc::new(Held { keys, in_force }));
        Ok(true)
    }

    /// By what a store recognises the keys that this process can go by: those that it holds, and those that it would find in the
    /// file.
    pub async fn reachable(&self) -> Vec<[u8; 32]> {
        let mut checks: Vec<[u8; 32]> = self.all().iter().map(|keys| keys.check()).collect();
        for check in self.in_file().await {
            if !checks.contains(&check) {
                checks.push(check);
            }
        }
        checks
    }

    /// By what the keys of the file are recognised as it is now; read only where it has changed.
    async fn in_file(&self) -> Vec<[u8; 32]> {
        let Some((path, options)) = self.source.clone() else {
            return Vec::new();
        };
        let before = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let read = tokio::task::spawn_blocking(move || {
            let file = fs::metadata(&path).ok()?;
            let look = (file.ino(), file.len(), file.mtime(), file.mtime_nsec());
            if let Some((_, checks)) = before.filter(|(seen, _)| *seen == look) {
                return Some((look, checks));
            }
            // Whoever needs a key of a file that cannot be read says so.
            let keys = key_file::read_keys(&path, options).ok()?;
            Some((look, keys.iter().map(Keys::check).collect()))
        });
        let seen = read.await.ok().flatten();
        let checks = seen.as_ref().map(|(_, checks)| checks.clone());
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        checks.unwrap_or_default()
    }

    fn holds(&self, check: [u8; 32]) -> bool {
        self.held.load().keys.iter().any(|keys| keys.check() == check)
    }

    /// Takes what the file holds now, if the key was not looked for a moment ago. A file that cannot be read leaves things as
    /// they are: the key is missing still.
    async fn look_for(&self, check: [u8; 32]) {
        let Some((path, options)) = self.source.clone() else {
            return;
        };
        let mut looked = self.looked.lock().await;
        let just_now = |(last, at): (_, Instant)| last == check && at.elapsed() < LOOK_AGAIN;
        if self.holds(check) || looked.is_some_and(just_now) {
            return;
        }
        let read = tokio::task::spawn_blocking(move || key_file::read_keys(&path, options)).await;
        match read {
            Ok(Ok(keys)) => self.put(Read(keys.into_iter().map(Arc::new).collect())),
            Ok(Err(error)) => tracing::warn!(%error, "the key file cannot be read again"),
            Err(_) => {}
        }
        if !self.holds(check) {
            *looked = Some((check, Instant::now()));
        }
    }

    /// Reads the file anew, for a reload: it must hold the key in force.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn read(&self) -> Result<Read, KeyError> {
        let Some((path, options)) = &self.source else {
            return Ok(Read(self.all()));
        };
        let keys = key_file::read_keys(path, *options)?;
        let in_force = self.in_force().check();
        if !keys.iter().any(|keys| keys.check() == in_force) {
            return Err(KeyError::NotInForce {
                path: path.clone(),
                id: id_of(&in_force),
            });
        }
        Ok(Read(keys.into_iter().map(Arc::new).collect()))
    }

    /// Holds what was read, and nothing else. The key in force stays in force.
    pub fn put(&self, read: Read) {
        let _one_at_a_time = self.lock();
        let before = self.in_force();
        let keys = read.0;
        let same = keys.iter().find(|keys| keys.check() == before.check());
        let in_force = same.map_or(before, Arc::clone);
        self.held.store(Arc::new(Held { keys, in_force }));
    }

    /// Nothing is left half done under it.
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn keys(number: u8) -> Keys {
        Keys::derive(&[number; 32]).unwrap()
    }

    fn file(path: &Path, numbers: &[u8]) {
        let lines: Vec<String> = numbers
            .iter()
            .map(|number| STANDARD.encode([*number; 32]))
            .collect();
        let text = format!("imapwarden-key-v1\n{}\n", lines.join("\n"));
        let _ = fs::remove_file(path);
        key_file::write_private(path, text.as_bytes()).unwrap();
    }

    #[tokio::test]
    async fn the_newest_counts_until_the_store_has_said_which_is_in_force() {
        let ring = KeyRing::of(vec![keys(1), keys(2), keys(3)], None).unwrap();
        assert_eq!(ring.in_force().check(), keys(3).check());
        assert!(ring.follow(keys(1).check()).await.unwrap());
        assert!(!ring.follow(keys(1).check()).await.unwrap());
        let names = ring.names(Keys::check);
        assert_eq!(names, [1, 2, 3].map(|number| keys(number).check()));
        assert!(KeyRing::of(Vec::new(), None).is_none());
    }

    #[tokio::test]
    async fn a_key_that_the_store_goes_by_is_looked_for_in_the_file_and_nothing_else_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        file(&path, &[1]);
        let ring = KeyRing::load(&path, KeyFileOptions::default()).unwrap();
        let missing = ring.follow(keys(2).check()).await;
        assert!(matches!(missing, Err(StoreError::OtherKey)));
        assert_eq!(
            ring.in_force().check(),
            keys(1).check(),
            "what was known is not given up"
        );
        file(&path, &[1, 2]);
        *ring.looked.lock().await = None;
        assert!(ring.follow(keys(2).check()).await.unwrap());
        assert_eq!(ring.in_force().check(), keys(2).check());
    }

    #[tokio::test]
    async fn a_key_that_is_not_there_is_not_looked_for_at_every_login() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        file(&path, &[1]);
        let ring = KeyRing::load(&path, KeyFileOptions::default()).unwrap();
        assert!(ring.follow(keys(2).check()).await.is_err());
        file(&path, &[1, 2]);
        let later = Instant::now() + Duration::from_secs(3600);
        *ring.looked.lock().await = Some((keys(2).check(), later));
        assert!(ring.follow(keys(2).check()).await.is_err());
        file(&path, &[1, 3]);
        assert!(
            ring.follow(keys(3).check()).await.unwrap(),
            "another one is looked for"
        );
    }

    #[tokio::test]
    async fn what_a_process_can_go_by_is_what_it_holds_and_what_is_in_the_file_by_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        file(&path, &[1]);
        let ring = KeyRing::load(&path, KeyFileOptions::default()).unwrap();
        let checks = |numbers: &[u8]| {
            numbers
                .iter()
                .map(|number| keys(*number).check())
                .collect::<Vec<_>>()
        };
        for _ in 0..2 {
            assert_eq!(ring.reachable().await, checks(&[1]));
        }
        file(&path, &[1, 2]);
        for _ in 0..2 {
            assert_eq!(ring.reachable().await, checks(&[1, 2]));
        }
        file(&path, &[3]);
        assert_eq!(ring.reachable().await, checks(&[1, 3]), "the first one is held");
        fs::remove_file(&path).unwrap();
        assert_eq!(ring.reachable().await, checks(&[1]));
        assert_eq!(KeyRing::single(keys(4)).reachable().await, checks(&[4]));
    }

    #[test]
    fn a_reload_takes_what_the_file_holds_and_never_without_the_key_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        file(&path, &[1, 2]);
        let ring = KeyRing::load(&path, KeyFileOptions::default()).unwrap();
        file(&path, &[1]);
        let refused = ring.read().err().unwrap().to_string();
        assert!(refused.contains(&keys(2).id()), "{refused}");
        file(&path, &[2, 3]);
        ring.put(ring.read().unwrap());
        assert_eq!(ring.in_force().check(), keys(2).check());
        let held: Vec<_> = ring.all().iter().map(|keys| keys.check()).collect();
        assert_eq!(held, [2, 3].map(|number| keys(number).check()));
    }
}
