//! What the process knows of a connection and a login, as rules see it.

use std::sync::Arc;

use crate::auth::app_password;
use crate::policy::facts::AppPassword;
use crate::policy::facts::Baselines;
use crate::policy::facts::Client;
use crate::policy::facts::Source;
use crate::policy::facts::Tls;
use crate::policy::facts::User;
use crate::policy::family::Family;
use crate::policy::family::Identity;
use crate::server::rules::Policy;
use crate::session::preauth::ClientId;
use crate::store::Averages;
use crate::store::Habits;
use crate::telemetry::event;
use crate::telemetry::event::Connection;
use crate::types::Measure;
use crate::types::SecondFactor;
use crate::types::UnixTime;
use crate::types::UserName;

/// Longest text of a peer that is a fact, in bytes.
const MAX_TEXT: usize = 256;

impl Policy {
    /// Where a connection comes from.
    pub(super) fn source(&self, connection: &Connection) -> Source {
        let ip = connection.addr.ip();
        Source {
            networks: self.rules.load().networks_of(ip),
            country: connection.origin.country.as_deref().map(Arc::from),
            asn: connection.origin.as_number,
            ..Source::new(ip)
        }
    }
}

/// The TLS session.
pub(super) fn tls(tls: &event::Tls) -> Tls {
    Tls {
        version: Some(tls.version.into()),
        cipher: Some(tls.cipher.into()),
        server_name: tls.server_name.as_deref().map(bounded),
        ja4: tls.ja4.as_deref().map(Arc::from),
        client_certificate: tls.subject.as_deref().map(bounded),
        is_new_for_user: None,
    }
}

/// What the client says it is.
pub(super) fn client(id: Option<&ClientId>) -> Client {
    let said = |name| id.and_then(|id| id.field(name));
    let family = Family::of(&Identity {
        name: said("name"),
        vendor: said("vendor"),
        os: said("os"),
        version: said("version"),
    });
    let field = |name| said(name).map(bounded);
    Client {
        family: (family != Family::None).then(|| family.as_str().into()),
        name: field("name"),
        version: field("version"),
        os: field("os"),
        vendor: field("vendor"),
        ..Client::default()
    }
}

/// Who wants to log in, before anything of it is known to be true.
pub(super) fn claimed(user: &UserName) -> User {
    let name: Arc<str> = user.as_str().into();
    User {
        account: Arc::clone(&name),
        name,
        ..User::default()
    }
}

/// Who has logged in.
pub(super) struct Entered<'a> {
    pub(super) user: &'a UserName,
    pub(super) account: &'a UserName,
    pub(super) groups: Vec<Arc<str>>,
    pub(super) factor: &'a SecondFactor,
    pub(super) is_service: bool,
    pub(super) sessions: u32,
    pub(super) networks: u32,
}

/// The same as rules see it, with what is remembered.
pub(super) fn user(entered: Entered<'_>, habits: &Habits, family: Option<Arc<str>>, now: UnixTime) -> User {
    let since = |at: UnixTime| u64::try_from(now.0.saturating_sub(at.0)).unwrap_or(0);
    let app_password = match entered.factor {
        SecondFactor::AppPassword { id, label } => {
            let used = habits.app_password.as_ref();
            Some(AppPassword {
                id: app_password::id_text(*id).into(),
                label: label.as_str().into(),
                age: used.map_or(0, |used| since(used.created)),
                unused_for: used.and_then(|used| used.last_used).map(since),
                client_family_at_creation: family,
            })
        }
        _ => None,
    };
    User {
        name: entered.user.as_str().into(),
        account: entered.account.as_str().into(),
        groups: entered.groups,
        mfa: Some(entered.factor.as_str().into()),
        is_service: entered.is_service,
        unseen_for: habits.last_login.map(since),
        sessions: Some(entered.sessions),
        session_networks: Some(entered.networks),
        app_password,
    }
}

/// What is remembered of where somebody comes from and with what.
pub(super) fn remember(source: &mut Source, client: &mut Client, tls: Option<&mut Tls>, habits: &Habits) {
    source.is_known = Some(habits.is_known_network);
    source.is_new_for_user = habits.is_new_network;
    source.is_new_country_for_user = habits.is_new_country;
    source.is_new_asn_for_user = habits.is_new_asn;
    client.is_new_for_user = habits.is_new_family;
    if let Some(tls) = tls {
        tls.is_new_for_user = habits.is_new_tls_client;
    }
}

/// What was presented, as rules name it, by what it proved.
pub(super) fn credential_of(factor: &SecondFactor) -> &'static str {
    match factor {
        SecondFactor::AppPassword { .. } => "app_password",
        SecondFactor::Totp | SecondFactor::TrustedWindow => "password_and_code",
        SecondFactor::Exempt | SecondFactor::NotEnrolled => "password",
    }
}

/// What the user does on an average day.
pub(super) struct Usual(pub(super) Averages);

impl Baselines for Usual {
    fn baseline(&self, measure: Measure, days: u16) -> Option<u64> {
        self.0.average(measure, days)
    }
}

/// Peer text of bounded length.
fn bounded(text: &str) -> Arc<str> {
    let end = text.floor_char_boundary(MAX_TEXT);
    text.get(..end).unwrap_or_default().into()
}
