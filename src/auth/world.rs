//! A store, keys and a gate in a temporary folder, for tests.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;

use tempfile::TempDir;

use crate::auth::accounts::Accounts;
use crate::auth::accounts::Created;
use crate::auth::accounts::NewAppPassword;
use crate::auth::gate::Gate;
use crate::auth::gate::GateError;
use crate::auth::gate::Options;
use crate::auth::gate::Outcome;
use crate::auth::gate::Source;
use crate::auth::gate::Verified;
use crate::auth::key_ring::KeyRing;
use crate::auth::keys::Keys;
use crate::auth::totp;
use crate::policy::factor::Mode;
use crate::policy::factor::Policy;
use crate::policy::factor::Requirement;
use crate::store::Store;
use crate::store::User;
use crate::store::sqlite;
use crate::store::sqlite::SqliteStore;
use crate::types::BackendCredentials;
use crate::types::Credentials;
use crate::types::Mechanism;
use crate::types::Networks;
use crate::types::Refusal;
use crate::types::Restrictions;
use crate::types::SecondFactor;
use crate::types::Secret;
use crate::types::UnixTime;
use crate::types::UserName;

/// A time on a step's boundary.
pub(super) const NOW: UnixTime = UnixTime(1_800_000_000);

/// Where people in these tests sit.
pub(super) const HOME: &str = "192.0.2.1";

pub(super) struct World {
    pub(super) folder: TempDir,
    pub(super) store: Arc<dyn Store>,
    pub(super) ring: Arc<KeyRing>,
    pub(super) gate: Gate,
    options: Options,
    /// One-time secrets made so far: they are not random, so that no two codes meet by chance on a bad day.
    secrets: AtomicU8,
}

pub(super) fn name(text: &str) -> UserName {
    UserName::parse(text.as_bytes()).unwrap()
}

pub(super) fn later(seconds: i64) -> UnixTime {
    UnixTime(NOW.0 + seconds)
}

pub(super) fn networks(cidr: &str) -> Networks {
    Networks::new(vec![cidr.parse().unwrap()])
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(super) fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("store.db"), &sqlite::Options::default()).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let ring = Arc::new(KeyRing::single(Keys::derive(&[42; 32]).unwrap()));
        let gate = Gate::new(
            Arc::clone(&store),
            Arc::clone(&ring),
            options.clone(),
            Policy::default(),
        );
        Self {
            folder,
            store,
            ring,
            gate,
            options,
            secrets: AtomicU8::new(1),
        }
    }

    pub(super) fn accounts(&self) -> Accounts<'_> {
        Accounts::new(&*self.store, &self.ring)
    }

    /// The policy from now on.
    pub(super) fn ask_for(&mut self, default: Requirement, mode: Mode) {
        let policy = Policy {
            default,
            mode,
            ..Policy::default()
        };
        let (store, ring) = (Arc::clone(&self.store), Arc::clone(&self.ring));
        self.gate = Gate::new(store, ring, self.options.clone(), policy);
    }

    /// Another key file from now on; the newest key counts until the store has been asked.
    pub(super) fn hold(&mut self, keys: Vec<Keys>) {
        self.gate = self.elsewhere(keys);
        self.ring = Arc::clone(self.gate.ring());
    }

    /// The gate of another process on the same store, with a key file of its own.
    pub(super) fn elsewhere(&self, keys: Vec<Keys>) -> Gate {
        let ring = Arc::new(KeyRing::of(keys, None).unwrap());
        Gate::new(
            Arc::clone(&self.store),
            ring,
            self.options.clone(),
            Policy::default(),
        )
    }

    pub(super) async fn add(&self, user: &str) -> UserName {
        let user = name(user);
        self.accounts()
            .add_user(User::new(user.clone(), NOW))
            .await
            .unwrap();
        user
    }

    /// Changes a user's row.
    pub(super) async fn change(&self, user: &str, how: impl FnOnce(&mut User)) {
        let mut row = self.store.user(&name(user)).await.unwrap().unwrap();
        how(&mut row);
        self.accounts().change_user(row).await.unwrap();
    }

    /// Adds a user with a one-time secret, enrolled an hour ago; answers the secret.
    pub(super) async fn enrolled(&self, user: &str) -> Secret {
        let user = self.add(user).await;
        self.enrol(&user).await
    }

    pub(super) async fn enrol(&self, user: &UserName) -> Secret {
        let hour_ago = later(-3600);
        let number = self.secrets.fetch_add(1, Ordering::Relaxed);
        let secret = Secret::new(vec![number; 20]);
        let sealed = self.ring.in_force().seal_totp(user, secret.expose()).unwrap();
        assert!(self.store.begin_enrolment(user, sealed, hour_ago).await.unwrap());
        let code = Secret::from(totp::code_at(&secret, hour_ago).unwrap().as_str());
        self.accounts().confirm_totp(user, &code, hour_ago).await.unwrap();
        secret
    }

    pub(super) fn new_app_password(user: &str, account: &str) -> NewAppPassword {
        NewAppPassword {
            user: name(user),
            account: name(account),
            label: "phone".to_owned(),
            expires: None,
            networks: None,
            restrictions: Restrictions::default(),
            mail_password: Some(Secret::from("the mail password")),
        }
    }

    pub(super) async fn app_password(&self, user: &str) -> Created {
        let new = Self::new_app_password(user, user);
        self.accounts().create_app_password(&new, NOW).await.unwrap()
    }

    pub(super) async fn attempt(
        &self,
        user: &str,
        secret: &[u8],
        ip: &str,
        now: UnixTime,
    ) -> Result<Verified, GateError> {
        Self::attempt_at(&self.gate, user, secret, ip, now).await
    }

    /// By what is found ahead, as an attempt that need not wait. Where it has waited it must be judged in the same way.
    pub(super) async fn attempt_at(
        gate: &Gate,
        user: &str,
        secret: &[u8],
        ip: &str,
        now: UnixTime,
    ) -> Result<Verified, GateError> {
        let credentials = Credentials {
            user: name(user),
            secret: Secret::from(secret),
            mechanism: Mechanism::Plain,
        };
        let source = Source {
            ip: ip.parse::<IpAddr>().unwrap(),
            listener: "imaps".into(),
            client: Some("Thunder\r\nbird 153".to_owned()),
            replica: None,
            visit: None,
        };
        let Ok((_, Some(ahead))) = gate.hear(&credentials, &source, now).await else {
            return gate.verify(&credentials, &source, now, now).await;
        };
        let judged = gate.verify_ahead(&credentials, &source, ahead).await;
        let of = |judged: &Result<Verified, GateError>| match judged {
            Ok(verified) => Ok(format!("{:?}", verified.authenticated)),
            Err(GateError::Refused(refusal)) => Err(Some(*refusal)),
            Err(_) => Err(None),
        };
        // A code cannot be asked about twice.
        let is_code = |verified: &Verified| matches!(verified.authenticated.factor(), SecondFactor::Totp);
        if !judged.as_ref().is_ok_and(is_code) {
            let waited = gate.verify(&credentials, &source, now, now).await;
            assert_eq!(of(&judged), of(&waited), "after a wait");
        }
        judged
    }

    /// An attempt that is let through, and how the backend answers it.
    pub(super) async fn enters(
        &self,
        user: &str,
        secret: &str,
        now: UnixTime,
        outcome: Outcome,
    ) -> SecondFactor {
        let verified = self.attempt(user, secret.as_bytes(), HOME, now).await.unwrap();
        let factor = verified.authenticated.factor().clone();
        self.gate.settle(verified.pending, outcome, now).await.unwrap();
        factor
    }

    /// An attempt that is refused in front of the backend.
    pub(super) async fn refused(&self, user: &str, secret: &str, now: UnixTime) -> Refusal {
        self.refused_from(user, secret.as_bytes(), HOME, now).await
    }

    pub(super) async fn refused_from(&self, user: &str, secret: &[u8], ip: &str, now: UnixTime) -> Refusal {
        match self.attempt(user, secret, ip, now).await {
            Err(GateError::Refused(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(super) fn database(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }
}

/// `password;code` of the step at `now`.
pub(super) fn with_code(password: &str, secret: &Secret, now: UnixTime) -> String {
    format!("{password};{}", totp::code_at(secret, now).unwrap())
}

/// What the backend is sent.
pub(super) fn sent(verified: &Verified) -> Option<String> {
    match verified.authenticated.credentials() {
        BackendCredentials::Password(password) => {
            Some(String::from_utf8(password.expose().to_vec()).unwrap())
        }
        BackendCredentials::Master => None,
    }
}
