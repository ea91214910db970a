//! Who takes part in a session, what can happen in it, and what can come of that.

use std::num::NonZeroU64;

use crate::imap::mailbox::MailboxName;
use crate::policy::facts;
use crate::policy::facts::Appended;
use crate::policy::facts::Baselines;
use crate::policy::facts::Client;
use crate::policy::facts::Event;
use crate::policy::facts::Facts;
use crate::policy::facts::Fetched;
use crate::policy::facts::Login;
use crate::policy::facts::Source;
use crate::policy::facts::Tls;
use crate::policy::facts::User;
use crate::session::inspect::memo::Recalled;
use crate::types::CommandRefusal;
use crate::types::EndReason;
use crate::types::Measure;
use crate::types::UnixTime;

/// Who takes part in a session: what stays the same as long as it lasts.
pub struct Parties {
    /// Where it comes from.
    pub source: Source,
    /// Its TLS.
    pub tls: Option<Tls>,
    /// Its client.
    pub client: Client,
    /// Its user.
    pub user: User,
    /// How the credentials came: `login`, `plain`, `sasl_login`.
    pub mechanism: &'static str,
    /// What was presented, as in `facts::Login::credential`.
    pub credential: &'static str,
    /// What the user is used to do.
    pub baselines: Option<Box<dyn Baselines + Send + Sync>>,
}

/// Whoever keeps what outlives the session.
pub trait Ledger: Send + Sync {
    /// Whether the session draws on the allowance for a first sync.
    fn is_first_sync(&self) -> bool;
    /// Messages were sent to the client.
    fn fetched(&self, bytes: u64, messages: u64);
    /// The client has said after the login what it is.
    fn client_is(&self, family: &str);
    /// What time it is.
    fn now(&self) -> UnixTime;
    /// So many bytes were taken at so many a second; when the session may take more, in the inspector's milliseconds. Shared
    /// by all sessions of the credential that are slowed.
    fn pace(&self, bytes: u64, rate: NonZeroU64, now_ms: u64) -> u64;
    /// Something else was done.
    fn count(&self, measure: Measure, amount: u64);
    /// So many messages of the account go to a mailbox, at so many milliseconds of the inspector's.
    fn moved(&self, to: &str, messages: u64, now_ms: u64);
    /// A mailbox of the account gets another name.
    fn renamed(&self, from: &str, to: &str, now_ms: u64);
    /// A mailbox of the account is gone.
    fn deleted(&self, mailbox: &str);
    /// How many messages were moved into a mailbox of the account lately, in whichever session; `None` where nobody knows of any.
    fn moved_into(&self, mailbox: &str, now_ms: u64) -> Option<u64>;
    /// Messages of a mailbox of the account were shown, and are security notices.
    fn noticed(&self, mailbox: &str, uids: &[u32], now_ms: u64);
    /// Those of a mailbox of the account that were shown lately, in whichever session.
    fn notices_in(&self, mailbox: &str, now_ms: u64) -> Vec<u32>;
}

impl Parties {
    /// The facts of a moment, but for what happens.
    #[must_use]
    pub fn facts(&self, event: Event) -> Facts<'_> {
        let mut facts = Facts::at(event, &self.source);
        facts.tls = self.tls.as_ref();
        facts.client = Some(&self.client);
        facts.user = Some(&self.user);
        if let Some(baselines) = &self.baselines {
            facts.baselines = Some(&**baselines);
        }
        facts
    }

    /// The login, once it is over: what was counted of it counts no more.
    #[must_use]
    pub fn login(&self) -> Login<'static> {
        Login {
            succeeded: true,
            mechanism: self.mechanism,
            credential: self.credential,
            ..Login::default()
        }
    }
}

/// What becomes of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an objection that nobody reads lets the command pass"]
pub(in crate::session) enum Objection {
    /// It is answered NO with this text.
    Deny(CommandRefusal, String),
    /// The session ends.
    End,
}

/// What a command will have done once the backend has said OK.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::session) enum Deed {
    /// Nothing that is counted.
    #[default]
    None,
    /// So many messages are marked `\Deleted`.
    Deleted(u64),
    /// So many are in another mailbox.
    Moved(u64),
    /// A mailbox is gone.
    Dropped(Box<str>),
    /// Messages are in a mailbox.
    Appended {
        /// How many.
        messages: u32,
        /// Their bytes.
        size: u64,
        /// Where.
        mailbox: Option<MailboxName>,
        /// The earliest date that any of them was given, in seconds since 1970.
        dated: Option<i64>,
    },
}

/// What happens.
pub(super) enum Moment<'m> {
    Command(&'m facts::Command<'m>),
    /// A command that was read before.
    Again(&'m facts::Command<'m>, Recalled<'m>),
    Fetched(&'m Fetched),
    Appended(&'m Appended<'m>),
    End(EndReason),
}

impl Moment<'_> {
    pub(super) fn event(&self) -> Event {
        match self {
            Self::Command(_) | Self::Again(..) => Event::Command,
            Self::Fetched(_) => Event::Fetched,
            Self::Appended(_) => Event::Appended,
            Self::End(_) => Event::SessionEnd,
        }
    }
}
