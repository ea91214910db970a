//! Alice: a user of the demo with an app password and one-time codes.

use std::path::Path;

use imapwarden::auth::accounts::Accounts;
use imapwarden::auth::accounts::NewAppPassword;
use imapwarden::auth::key_file::KeyFileOptions;
use imapwarden::auth::key_ring::KeyRing;
use imapwarden::store::User;
use imapwarden::store::sqlite;
use imapwarden::store::sqlite::SqliteStore;
use imapwarden::types::Restrictions;
use imapwarden::types::Secret;
use imapwarden::types::UnixTime;
use imapwarden::types::UserName;
use totp_rs::Totp;

use crate::Failure;

/// Half a minute: how long a code is shown.
const STEP: i64 = 30;

/// What Alice knows and has.
pub struct Alice {
    pub name: UserName,
    pub mail_password: Secret,
    pub app_password: Secret,
    /// For a QR code.
    pub totp_url: Secret,
    /// For typing.
    pub totp_typed: Secret,
}

impl Alice {
    /// Makes the store and the key file, and Alice in them.
    pub async fn enrol(store: &Path, key_file: &Path, now: UnixTime) -> Result<Self, Failure> {
        let store = SqliteStore::open(store, &sqlite::Options::default())?;
        let keys = KeyRing::open(key_file, KeyFileOptions::default(), &store).await?;
        let accounts = Accounts::new(&store, &keys);
        let name = UserName::parse(b"alice")?;
        let mail_password = Secret::from("correct-horse");
        accounts.add_user(User::new(name.clone(), now)).await?;
        let app_password = accounts
            .create_app_password(
                &NewAppPassword {
                    user: name.clone(),
                    account: name.clone(),
                    label: "demo".to_owned(),
                    expires: None,
                    networks: None,
                    restrictions: Restrictions::default(),
                    mail_password: Some(mail_password.clone()),
                },
                now,
            )
            .await?;
        let enrolment = accounts.begin_totp(&name, "imapwarden demo", now).await?;
        let alice = Self {
            name,
            mail_password,
            app_password: app_password.printed,
            totp_url: enrolment.url,
            totp_typed: enrolment.typed,
        };
        // The code before the present one, since the one that enrols cannot be used again.
        let code = alice.code(UnixTime(now.0 - STEP))?;
        accounts.confirm_totp(&alice.name, &code, now).await?;
        Ok(alice)
    }

    /// The code that an authenticator app shows at a time.
    pub fn code(&self, at: UnixTime) -> Result<Secret, Failure> {
        let url = std::str::from_utf8(self.totp_url.expose())?;
        let shown = Totp::from_url(url)?.generate(u64::try_from(at.0)?);
        Ok(Secret::new(shown.to_string().into_bytes()))
    }
}
