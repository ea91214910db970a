//! A store that can only be looked at.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::store::StoreError;
use crate::store::sqlite::Changes;
use crate::store::sqlite::Options;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::Waiting;
use crate::store::sqlite::lane;
use crate::store::sqlite::lane::Lane;
use crate::store::sqlite::open;

impl SqliteStore {
    /// Opens a file that is there, to look only: whatever would write is refused, and nothing is brought to the newest schema.
    ///
    /// # Errors
    /// Says why the file cannot be used.
    pub fn open_to_look(path: &Path, options: &Options) -> Result<Self, StoreError> {
        let connection = open::connect_to_look(path, options)?;
        let lost = Arc::new(AtomicBool::new(false));
        let (readers, questions) = Lane::new(options.queue, options.deadline, Arc::clone(&lost));
        lane::spawn("store-reader", move || lane::answer(connection, &questions))?;
        // Nobody is at the writer's end.
        let (writer, _) = Lane::new(1, options.deadline, lost);
        Ok(Self {
            writer,
            readers,
            notes: Waiting::default(),
            changes: Changes::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::User;
    use crate::types::UnixTime;
    use crate::types::UserName;

    fn user(name: &str) -> User {
        User::new(UserName::parse(name.as_bytes()).unwrap(), UnixTime(1))
    }

    #[tokio::test]
    async fn what_is_in_it_can_be_read_and_nothing_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let missing = SqliteStore::open_to_look(&path, &Options::default());
        assert!(missing.is_err() && !path.exists(), "a file was made");
        let store = SqliteStore::open(&path, &Options::default()).unwrap();
        assert!(store.add_user(user("alice")).await.unwrap());
        let looking = SqliteStore::open_to_look(&path, &Options::default()).unwrap();
        let alice = user("alice").name;
        assert!(looking.user(&alice).await.unwrap().is_some());
        let written = looking.add_user(user("bob")).await;
        assert!(matches!(written, Err(StoreError::Unavailable(_))));
        assert!(store.user(&user("bob").name).await.unwrap().is_none());
    }
}
