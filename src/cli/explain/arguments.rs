//! What `imapwarden explain` is asked.

use std::net::IpAddr;
use std::net::SocketAddr;

use clap::Args as Arguments;
use clap::Subcommand;

use crate::auth::app_password::id_text;
use crate::cli::values;
use crate::policy::facts::Fact;
use crate::types::UnixTime;
use crate::types::UserName;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ExplainCommand {
    /// A login: bans, lists, limits, second factor, app password, rules.
    Login(ExplainLogin),
    /// A command after the login: grammar, the app password's restrictions, rules.
    Command(ExplainOneCommand),
}

/// What a login is tried with; never the secret itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Credential {
    /// The main password alone.
    Password,
    /// The main password and a one-time code.
    Code,
    /// An app password, by its id.
    AppPassword(u32),
}

impl Credential {
    /// For people.
    pub(in crate::cli) fn describe(self) -> String {
        match self {
            Self::Password => "the main password".to_owned(),
            Self::Code => "the main password and a code".to_owned(),
            Self::AppPassword(id) => format!("app password {}", id_text(id)),
        }
    }

    /// For rules.
    pub(in crate::cli) const fn fact(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Code => "password_and_code",
            Self::AppPassword(_) => "app_password",
        }
    }
}

#[derive(Debug, Clone, Arguments)]
pub(in crate::cli) struct ExplainLogin {
    /// Who logs in.
    #[arg(long, value_name = "NAME", value_parser = values::user)]
    pub(in crate::cli) user: UserName,
    /// From which address.
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::cli) from: IpAddr,
    /// When: a date or an RFC 3339 time; now otherwise.
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(in crate::cli) at: Option<UnixTime>,
    /// With what: `password`, `code` for a password with a one-time code, or the id of an app password.
    #[arg(long, value_name = "password|code|ID", default_value = "password", value_parser = values::credential)]
    pub(in crate::cli) with: Credential,
    /// What the mail program calls itself.
    #[arg(long, value_name = "NAME", value_parser = values::text)]
    pub(in crate::cli) client: Option<String>,
    /// At which listener; the first otherwise.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(in crate::cli) listener: Option<SocketAddr>,
    /// A fact for rules that cannot be known here, as docs/rules.md names it; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::fact)]
    pub(in crate::cli) fact: Vec<(Fact, String)>,
}

#[derive(Debug, Arguments)]
pub(in crate::cli) struct ExplainOneCommand {
    /// Who is logged in.
    #[arg(long, value_name = "NAME", value_parser = values::user)]
    pub(in crate::cli) user: UserName,
    /// With which app password, by its id.
    #[arg(long = "with", value_name = "ID", value_parser = values::app_password_id)]
    pub(in crate::cli) app_pass: Option<u32>,
    /// From which address.
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::cli) from: Option<IpAddr>,
    /// Which mailbox is open.
    #[arg(long, value_name = "NAME", value_parser = values::text)]
    pub(in crate::cli) mailbox: Option<String>,
    /// How many messages it has.
    #[arg(long, value_name = "COUNT")]
    pub(in crate::cli) exists: Option<u32>,
    /// A fact for rules that cannot be known here, as docs/rules.md names it; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::fact)]
    pub(in crate::cli) fact: Vec<(Fact, String)>,
    /// The command as a client sends it, with its tag: `A1 UID FETCH 1:* BODY[]`.
    pub(in crate::cli) command: String,
}
