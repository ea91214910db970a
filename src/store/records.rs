//! What is kept: plain values, the same for every engine. Nothing here is a secret in clear.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::store::Asked;
use crate::store::Habits;
use crate::store::Heard;
use crate::store::ReplicaId;
use crate::store::Visit;
use crate::types::Elsewhere;
use crate::types::Groups;
use crate::types::Networks;
use crate::types::Prefix;
use crate::types::Restrictions;
use crate::types::UnixTime;
use crate::types::UserName;

/// A user's own setting, which overrides what the configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MfaSetting {
    /// A second factor must be proved.
    Required,
    /// Asked for as soon as the user has enrolled one.
    Optional,
    /// Never asked for: a service account.
    Exempt,
}

impl MfaSetting {
    /// The word in the configuration, the store and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
            Self::Exempt => "exempt",
        }
    }

    /// Reads what `as_str` wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Required, Self::Optional, Self::Exempt]
            .into_iter()
            .find(|setting| setting.as_str() == text)
    }
}

/// Somebody who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name, byte for byte.
    pub name: UserName,
    /// A name for people.
    pub display: Option<String>,
    /// Kept, but may not log in.
    pub disabled: bool,
    /// Overrides the configuration.
    pub mfa: Option<MfaSetting>,
    /// Until when logging in without a second factor goes on, if the policy has such a time.
    pub enrol_by: Option<UnixTime>,
    /// The only networks the user may log in from; `None` is anywhere, an empty set is nowhere.
    pub networks: Option<Networks>,
    /// The groups the user is in, for rules.
    pub groups: Groups,
    /// When the user was added.
    pub created: UnixTime,
    /// Moves whenever sessions that stand on older state must end: disabling, resetting, a new one-time secret.
    pub epoch: i64,
}

impl User {
    /// A user with nothing special about it.
    #[must_use]
    pub fn new(name: UserName, created: UnixTime) -> Self {
        Self {
            name,
            display: None,
            disabled: false,
            mfa: None,
            enrol_by: None,
            networks: None,
            groups: Groups::default(),
            created,
            epoch: 0,
        }
    }
}

/// A one-time secret in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totp {
    /// The secret, sealed under the key file.
    pub sealed: Vec<u8>,
    /// When its first code was entered.
    pub confirmed: UnixTime,
    /// The newest time step consumed; it and all before it are worthless.
    pub last_step: i64,
}

/// An app password, without the secret that opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppPassword {
    /// 30 random bits, part of what the user types.
    pub id: u32,
    /// Whose it is.
    pub user: UserName,
    /// The account it opens: the owner's, or a shared one delegated to the owner.
    pub account: UserName,
    /// The device, as the owner calls it.
    pub label: String,
    /// Keyed hash of the secret and what it is bound to; [`NO_HASH`](crate::store::NO_HASH) from a change of the key to the next
    /// use.
    pub hash: [u8; 32],
    /// X25519 public key derived from the secret; mail passwords are sealed to it.
    pub public_key: [u8; 32],
    /// Keyed hash that ties the public key to this row.
    pub public_key_mac: [u8; 32],
    /// The account's mail password, sealed to the public key; `None` where a master user opens the account.
    pub sealed: Option<Vec<u8>>,
    /// When it was made.
    pub created: UnixTime,
    /// When it stops working.
    pub expires: Option<UnixTime>,
    /// The only networks it works from; `None` is anywhere, an empty set is nowhere.
    pub networks: Option<Networks>,
    /// What it may do less than its owner.
    pub restrictions: Restrictions,
    /// When it was revoked.
    pub revoked: Option<UnixTime>,
    /// Its last successful login, a few seconds late.
    pub last_use: Option<LastUse>,
}

impl AppPassword {
    /// Neither revoked nor expired.
    #[must_use]
    pub fn is_live(&self, now: UnixTime) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|end| now < end)
    }
}

/// When, from where and by what an app password was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUse {
    /// When.
    pub at: UnixTime,
    /// From which address.
    pub from: IpAddr,
    /// What the client calls itself (ID), printable and short.
    pub client: Option<String>,
}

/// How far a trusted window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowState {
    /// The code was right; the backend has not spoken yet.
    Pending,
    /// The backend accepted the password.
    Open,
}

/// A trusted window: for its time the very same credential needs no new code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Whose it is.
    pub user: UserName,
    /// How far it is.
    pub state: WindowState,
    /// When the code was entered.
    pub opened: UnixTime,
    /// Its end, whatever happens.
    pub expires: UnixTime,
    /// Its last use.
    pub last_used: UnixTime,
}

/// A window that a code is about to open.
#[derive(Debug, Clone)]
pub struct NewWindow {
    /// Keyed hash of user, credential, network and listener.
    pub key: [u8; 32],
    /// When it opens.
    pub opened: UnixTime,
    /// How long it waits for the backend's verdict.
    pub expires: UnixTime,
    /// Windows of the user last used before this are dead and make room.
    pub idle_since: UnixTime,
    /// How many windows the user may have; the least recently used go first.
    pub keep: u32,
}

/// A code that was right, about to be consumed.
#[derive(Debug, Clone)]
pub struct Consumption {
    /// Whose code.
    pub user: UserName,
    /// The sealed secret it was checked against: it must still be the one in force.
    pub sealed: Vec<u8>,
    /// The time step of the code.
    pub step: i64,
    /// The window it opens.
    pub window: NewWindow,
}

/// What a login attempt brings along.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The name to log in as.
    pub user: UserName,
    /// The id in an app password.
    pub app_password: Option<u32>,
    /// The trusted window the credential would have.
    pub window: Option<[u8; 32]>,
    /// App passwords that expired before do not count as enrolled.
    pub now: UnixTime,
    /// Whose sessions at other replicas are counted, where there may be others.
    pub counted: Option<Counted>,
    /// What is asked along with it.
    pub before: Before,
    /// What is to be remembered of the user, who comes like this, where rules want to know.
    pub visit: Option<Arc<Visit>>,
}

/// What limits have to know of an attempt before anybody may go by what else was found: asked in the same read, so that a login
/// costs one.
#[derive(Debug, Clone, Default)]
pub enum Before {
    /// Nothing: it is known.
    #[default]
    Nothing,
    /// Whether the user has logged in from a source: all that one process alone has to ask.
    Source {
        /// What the source may be called: keyed hashes.
        names: Vec<[u8; 32]>,
        /// When the user was last seen there at the earliest, to be known.
        since: UnixTime,
    },
    /// What all replicas know.
    Replicas(Asked),
}

/// Which sessions are counted: those of the user who would log in.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// Not those of this replica, which knows its own.
    pub but_of: ReplicaId,
    /// Of the network apart from all.
    pub from: Prefix,
}

/// What the store knows about a login attempt.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// What the store recognises the key in force by, at the same moment; `None` where it belongs to no key file yet.
    pub key: Option<[u8; 32]>,
    /// The user of the login name.
    pub user: Option<User>,
    /// Who is listed by a name that differs from it in nothing but the case of letters, or not at all; two of them at most.
    pub namesakes: Vec<UserName>,
    /// Their one-time secret in force.
    pub totp: Option<Totp>,
    /// True where the user owns a live app password.
    pub has_app_passwords: bool,
    /// The app password with the id asked for.
    pub app_password: Option<AppPassword>,
    /// The owner of that app password.
    pub owner: Option<User>,
    /// The user whose name is the account it opens, if there is one.
    pub account: Option<User>,
    /// The window asked for; it may have expired.
    pub window: Option<Window>,
    /// Sessions at other replicas: of the owner of the app password, or else of the user of the login name.
    pub elsewhere: Elsewhere,
    /// What was asked along with it.
    pub heard: Heard,
    /// What is remembered of the visit that was asked for.
    pub habits: Option<Habits>,
}

/// What a live session stands on.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Who logged in.
    pub user: UserName,
    /// The account opened.
    pub account: UserName,
    /// The app password used.
    pub app_password: Option<u32>,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The user now.
    pub user: Option<User>,
    /// The user of the account's name now.
    pub account: Option<User>,
    /// The app password now.
    pub app_password: Option<AppPassword>,
}

/// A network that may not connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Which.
    pub network: IpNet,
    /// Why, for people.
    pub reason: String,
    /// Who said so: an operator's name, or the limit that did.
    pub by: String,
    /// Since when.
    pub created: UnixTime,
    /// Until when; `None` is until lifted.
    pub until: Option<UnixTime>,
}

impl Ban {
    /// True while the ban holds.
    #[must_use]
    pub fn is_in_force(&self, now: UnixTime) -> bool {
        self.until.is_none_or(|end| now < end)
    }
}
