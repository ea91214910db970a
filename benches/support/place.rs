//! A store with a user who has an app password, and whoever checks it.

use std::sync::Arc;

use imapwarden::auth::accounts::Accounts;
use imapwarden::auth::accounts::NewAppPassword;
use imapwarden::auth::gate::Gate;
use imapwarden::auth::gate::Options;
use imapwarden::auth::gate::Source;
use imapwarden::auth::key_ring::KeyRing;
use imapwarden::auth::keys::Keys;
use imapwarden::policy::factor::Policy;
use imapwarden::store::Store;
use imapwarden::store::User;
use imapwarden::store::sqlite;
use imapwarden::store::sqlite::SqliteStore;
use imapwarden::types::Credentials;
use imapwarden::types::Mechanism;
use imapwarden::types::Restrictions;
use imapwarden::types::Secret;
use imapwarden::types::UnixTime;
use imapwarden::types::UserName;
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::runtime::Runtime;

/// When everything happens.
pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);

pub(crate) struct Place {
    runtime: Runtime,
    gate: Gate,
    pub(crate) credentials: Credentials,
    source: Source,
    _folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("store.db"), &sqlite::Options::default()).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let keys = Arc::new(KeyRing::single(Keys::derive(&[42; 32]).unwrap()));
        let user = UserName::parse(b"alice@example.org").unwrap();
        let secret = runtime.block_on(app_password(&Accounts::new(&*store, &keys), &user));
        let source = Source {
            ip: [192, 0, 2, 1].into(),
            listener: "bench".into(),
            client: None,
            replica: None,
            visit: None,
        };
        Self {
            gate: Gate::new(store, keys, Options::default(), Policy::default()),
            runtime,
            credentials: Credentials {
                user,
                secret,
                mechanism: Mechanism::Login,
            },
            source,
            _folder: folder,
        }
    }

    /// The whole check: the store is asked, the secret compared, the mail password unsealed.
    pub(crate) fn check(&self) {
        let verified = self.gate.verify(&self.credentials, &self.source, NOW, NOW);
        let verified = self.runtime.block_on(verified);
        std::hint::black_box(verified.unwrap_or_else(|error| panic!("{error}")));
    }
}

async fn app_password(accounts: &Accounts<'_>, user: &UserName) -> Secret {
    accounts.add_user(User::new(user.clone(), NOW)).await.unwrap();
    let new = NewAppPassword {
        user: user.clone(),
        account: user.clone(),
        label: "bench".to_owned(),
        expires: None,
        networks: None,
        mail_password: Some(Secret::from("mail-password")),
        restrictions: Restrictions::default(),
    };
    accounts.create_app_password(&new, NOW).await.unwrap().printed
}
