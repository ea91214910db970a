//! How long a login takes until the backend is asked: the conversation, and the check of an app password.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that goes wrong must stop"
)]

use std::sync::Arc;

use divan::Bencher;
use imapwarden::auth::accounts::Accounts;
use imapwarden::auth::accounts::NewAppPassword;
use imapwarden::auth::app_password;
use imapwarden::auth::gate::Gate;
use imapwarden::auth::gate::Options as GateOptions;
use imapwarden::auth::gate::Source;
use imapwarden::auth::keys::Keys;
use imapwarden::policy::factor::Policy;
use imapwarden::session::preauth::Channel;
use imapwarden::session::preauth::Options;
use imapwarden::session::preauth::PreAuth;
use imapwarden::session::preauth::Step;
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
use tokio::runtime::Runtime;

const NOW: UnixTime = UnixTime(1_800_000_000);

fn main() {
    divan::main();
}

/// From the first byte to credentials, by LOGIN.
#[divan::bench]
fn conversation_login(bencher: Bencher<'_, '_>) {
    converse(bencher, "a LOGIN alice@example.org some-password\r\n");
}

/// As the new Outlook does it.
#[divan::bench]
fn conversation_literals(bencher: Bencher<'_, '_>) {
    converse(
        bencher,
        "a LOGIN {17+}\r\nalice@example.org {13+}\r\nsome-password\r\n",
    );
}

/// With all that a client may ask before.
#[divan::bench]
fn conversation_plain(bencher: Bencher<'_, '_>) {
    converse(
        bencher,
        "a CAPABILITY\r\nb ID (\"name\" \"Thunderbird\")\r\nc AUTHENTICATE PLAIN AGFsaWNlAHNvbWUtcGFzc3dvcmQ=\r\n",
    );
}

fn converse(bencher: Bencher<'_, '_>, input: &str) {
    let options = Arc::new(Options::default());
    bencher.bench(|| {
        let mut steps = Vec::new();
        let client = PreAuth::new(Arc::clone(&options), Channel::Tls);
        let client = client.receive(divan::black_box(input.as_bytes()), &mut steps);
        assert!(matches!(steps.last(), Some(Step::Verify(_))));
        client
    });
}

/// Reading it and its checksum: what a typing mistake costs.
#[divan::bench]
fn app_password_read(bencher: Bencher<'_, '_>) {
    let place = Place::new();
    bencher.bench(|| app_password::read(divan::black_box(place.credentials.secret.expose())));
}

/// The whole check: the store is asked, the secret compared, the mail password unsealed.
#[divan::bench]
fn app_password_check(bencher: Bencher<'_, '_>) {
    let place = Place::new();
    bencher.bench_local(|| {
        let verified = place.gate.verify(&place.credentials, &place.source, NOW);
        place
            .runtime
            .block_on(verified)
            .unwrap_or_else(|error| panic!("{error}"))
    });
}

/// A store with a user who has an app password.
struct Place {
    runtime: Runtime,
    gate: Gate,
    credentials: Credentials,
    source: Source,
    _folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("store.db"), &sqlite::Options::default()).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let keys = Arc::new(Keys::derive(&[42; 32]).unwrap());
        let user = UserName::parse(b"alice@example.org").unwrap();
        let secret = runtime.block_on(app_password(&Accounts::new(&*store, &keys), &user));
        let source = Source {
            ip: [192, 0, 2, 1].into(),
            listener: "bench".into(),
            client: None,
            replica: None,
        };
        Self {
            gate: Gate::new(store, keys, GateOptions::default(), Policy::default()).unwrap(),
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
