//! The grammar of the command line. No secret is ever an argument: everybody on the machine can read those.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args as Arguments;
use clap::Parser;
use clap::Subcommand;
use ipnet::IpNet;

use crate::cli::explain::arguments::ExplainCommand;
use crate::cli::restrictions::RestrictionArguments;
use crate::cli::values;
use crate::cli::values::Lifetime;
use crate::config::address::Endpoint;
use crate::policy::rules::Mode;
use crate::store::MfaSetting;
use crate::store::postgres::address::Address;
use crate::types::Group;
use crate::types::SessionId;
use crate::types::UnixTime;
use crate::types::UserName;

/// What stands behind every help text.
const AFTER: &str = "Without --config, IMAPWARDEN_CONFIG names the configuration file; without that it is \
    /etc/imapwarden/imapwarden.yaml.\nPasswords and codes are asked for without echo, or read from a file or from standard \
    input; never given as arguments.";

/// A TLS-terminating, protocol-aware IMAP security proxy.
#[derive(Debug, Parser)]
#[command(name = "imapwarden", version, after_help = AFTER, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What every command understands.
#[derive(Debug, Arguments)]
pub(super) struct Global {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Run without a file: the mail server behind us.
    #[arg(long, global = true, value_name = "HOST:PORT", value_parser = Endpoint::parse)]
    pub(super) backend: Option<Endpoint>,
    /// Run without a file: the directory that everything is kept in.
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Print JSON, one value a line.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the proxy.
    Serve {
        /// Where clients connect, with TLS; without a configuration file only.
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Vec<SocketAddr>,
    },
    /// Say everything that is wrong with the configuration, or sum it up.
    Check,
    /// Have the running proxy read its configuration again, and say what has changed or what is wrong.
    Reload,
    /// Users: who may log in.
    #[command(subcommand)]
    User(UserCommand),
    /// App passwords: one for each mail program.
    #[command(subcommand)]
    AppPassword(AppPasswordCommand),
    /// Networks that may not connect.
    #[command(subcommand)]
    Ban(BanCommand),
    /// Open sessions of the running proxy.
    #[command(subcommand)]
    Session(SessionCommand),
    /// Rule files: look at them, run their tests, list their rules, replay what was recorded.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// What would become of a login or a command, and what says so. Changes nothing.
    #[command(subcommand)]
    Explain(ExplainCommand),
    /// The store itself.
    #[command(subcommand)]
    Store(StoreCommand),
    /// The keys of the key file: which is in force, and the change to another one.
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user.
    Add(AddUser),
    /// List all users.
    List,
    /// Show a user with everything they have enrolled.
    Show {
        /// The login name.
        #[arg(value_parser = values::user)]
        name: UserName,
    },
    /// Keep a user from logging in; ends their sessions.
    Disable {
        /// The login name.
        #[arg(value_parser = values::user)]
        name: UserName,
    },
    /// Let a disabled user log in again.
    Enable {
        /// The login name.
        #[arg(value_parser = values::user)]
        name: UserName,
    },
    /// Give a user an authenticator app: shows a QR code, then asks for a first code.
    EnrollTotp(EnrollTotp),
    /// Take every second factor away: codes, app passwords and trusted windows; ends their sessions.
    Reset {
        /// The login name.
        #[arg(value_parser = values::user)]
        name: UserName,
    },
    /// Tell every live app password of an account its changed mail password.
    SetMailPassword {
        /// The account.
        #[arg(value_parser = values::user)]
        name: UserName,
        #[command(flatten)]
        password: PasswordFrom,
    },
}

#[derive(Debug, Arguments)]
pub(super) struct AddUser {
    /// The login name, as the mail server knows it.
    #[arg(value_parser = values::user)]
    pub(super) name: UserName,
    /// Whether a second factor is asked for; the configuration decides otherwise.
    #[arg(long, value_name = "required|optional|exempt", value_parser = values::mfa)]
    pub(super) mfa: Option<MfaSetting>,
    /// The only networks the user may log in from.
    #[arg(long, value_name = "CIDR", value_parser = values::network)]
    pub(super) network: Vec<IpNet>,
    /// Until when the user may log in without a second factor: a date (its midnight in UTC) or an RFC 3339 time.
    #[arg(long, value_name = "DATE", value_parser = values::time)]
    pub(super) enrol_by: Option<UnixTime>,
    /// A group the user is in, for rules; may be given several times.
    #[arg(long, value_name = "NAME", value_parser = values::group)]
    pub(super) group: Vec<Group>,
    /// A name for people.
    #[arg(long, value_name = "NAME", value_parser = values::text)]
    pub(super) display: Option<String>,
}

#[derive(Debug, Arguments)]
pub(super) struct EnrollTotp {
    /// The login name.
    #[arg(value_parser = values::user)]
    pub(super) name: UserName,
    /// Read the first code from standard input.
    #[arg(long, conflicts_with = "begin")]
    pub(super) code_stdin: bool,
    /// Show the new secret only; confirm it later.
    #[arg(long, conflicts_with = "confirm")]
    pub(super) begin: bool,
    /// Confirm the secret shown before with a first code.
    #[arg(long)]
    pub(super) confirm: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum AppPasswordCommand {
    /// Make an app password, and print it once.
    Create(Box<CreateAppPassword>),
    /// List a user's app passwords.
    List {
        /// The login name.
        #[arg(value_parser = values::user)]
        user: UserName,
    },
    /// Revoke an app password; its sessions end within a second.
    Revoke {
        /// The id, as create and list print it.
        #[arg(value_name = "ID", value_parser = values::app_password_id)]
        id: u32,
    },
}

#[derive(Debug, Arguments)]
pub(super) struct CreateAppPassword {
    /// Whose it is.
    #[arg(value_parser = values::user)]
    pub(super) user: UserName,
    /// The account it opens, where that is a shared one.
    #[arg(long, value_name = "ACCOUNT", value_parser = values::user)]
    pub(super) account: Option<UserName>,
    /// The mail program or device.
    #[arg(long, default_value = "mail program")]
    pub(super) label: String,
    /// How long it works: `90d`, a date, or `never`; the configuration decides otherwise.
    #[arg(long, value_name = "TIME", value_parser = values::lifetime)]
    pub(super) expires: Option<Lifetime>,
    /// The only networks it works from.
    #[arg(long, value_name = "CIDR", value_parser = values::network)]
    pub(super) network: Vec<IpNet>,
    #[command(flatten)]
    pub(super) restrictions: RestrictionArguments,
    /// Keep no mail password; only where a master user opens the account.
    #[arg(long, conflicts_with_all = ["password_stdin", "password_file"])]
    pub(super) no_mail_password: bool,
    #[command(flatten)]
    pub(super) password: PasswordFrom,
}

/// Where a mail password comes from; asked for without echo otherwise.
#[derive(Debug, Arguments)]
pub(super) struct PasswordFrom {
    /// Read the mail password from standard input, one line.
    #[arg(long)]
    pub(super) password_stdin: bool,
    /// Read the mail password from a file of one line that others may not read.
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    pub(super) password_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum BanCommand {
    /// Keep a network from connecting.
    Add {
        /// An address or a network.
        #[arg(value_name = "NETWORK", value_parser = values::network)]
        network: IpNet,
        /// Why, for people.
        #[arg(long, value_parser = values::text)]
        reason: String,
        /// For how long: `1h`, `7d`; until lifted otherwise.
        #[arg(long = "for", value_name = "TIME", value_parser = values::span)]
        span: Option<std::time::Duration>,
    },
    /// List the bans in force.
    List,
    /// Lift the ban on a network.
    Remove {
        /// The address or network, as listed.
        #[arg(value_name = "NETWORK", value_parser = values::network)]
        network: IpNet,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// List open sessions.
    List,
    /// End sessions.
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Kill {
        /// A session's id, as listed.
        #[arg(group = "which", value_parser = values::session_id)]
        id: Option<SessionId>,
        /// All sessions of a user.
        #[arg(long, group = "which", value_name = "NAME", value_parser = values::user)]
        user: Option<UserName>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Say everything that is wrong with rule files.
    Check {
        /// Rule files, or directories of them; those of the configuration otherwise.
        files: Vec<PathBuf>,
    },
    /// Run the tests that stand beside rules.
    Test {
        /// Rule files, or directories of them; those of the configuration otherwise.
        files: Vec<PathBuf>,
    },
    /// List rules.
    List {
        /// Rule files, or directories of them; those of the configuration otherwise.
        files: Vec<PathBuf>,
    },
    /// Say what rules would have done with recorded events.
    Replay {
        /// Event logs in the order of time; `-` is standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Rule files, or directories of them; those of the configuration otherwise.
        #[arg(long, value_name = "FILE")]
        rules: Vec<PathBuf>,
        /// Take every rule as one in this mode, whatever the files say.
        #[arg(long, value_name = "shadow|enforce", value_parser = values::mode)]
        mode: Option<Mode>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Copy everything from an SQLite store into an empty PostgreSQL one; the proxy must be stopped.
    Migrate(Box<Migrate>),
}

#[derive(Debug, Arguments)]
pub(super) struct Migrate {
    /// The store to copy.
    #[arg(long, value_name = "sqlite:FILE", value_parser = values::sqlite)]
    pub(super) from: PathBuf,
    /// Where to; the store of the configuration otherwise.
    #[arg(long, value_name = "postgres://USER@HOST/DATABASE", value_parser = values::postgres)]
    pub(super) to: Option<Address>,
    /// With --to: the file with the database user's password.
    #[arg(long, value_name = "FILE", requires = "to")]
    pub(super) password_file: Option<PathBuf>,
    /// With --to: authorities for the server's certificate.
    #[arg(long, value_name = "FILE", requires = "to")]
    pub(super) ca_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// List the keys of the key file.
    Status,
    /// Draw a key and add it to the key file; it waits there until it is put in force.
    Add,
    /// Put another key in force: one-time secrets are sealed anew, app passwords go on working, trusted windows end.
    Rotate {
        /// Which; otherwise the newest that was never in force.
        #[arg(long, value_name = "KEY", value_parser = values::key_id)]
        to: Option<String>,
        /// Although replicas that run lack it: they let nobody in until their key files have it.
        #[arg(long)]
        force: bool,
    },
    /// Remove a key that is not in force from the key file.
    Retire {
        /// Which.
        #[arg(value_name = "KEY", value_parser = values::key_id)]
        id: String,
        /// Although networks of users are still known by it.
        #[arg(long)]
        force: bool,
    },
}

impl PolicyCommand {
    /// True where the arguments say which files.
    pub(super) fn names_files(&self) -> bool {
        let (Self::Check { files }
        | Self::Test { files }
        | Self::List { files }
        | Self::Replay { rules: files, .. }) = self;
        !files.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn no_argument_takes_a_secret() {
        fn look(command: &clap::Command) {
            for arg in command.get_arguments() {
                let id = arg.get_id().as_str();
                let takes_value = arg.get_action().takes_values();
                let sounds_secret = ["password", "code", "secret", "token"]
                    .iter()
                    .any(|word| id.contains(word));
                assert!(!sounds_secret || !takes_value || id.ends_with("_file"), "{id}");
            }
            command.get_subcommands().for_each(look);
        }
        look(&Args::command());
    }

    #[test]
    fn a_kill_says_which_sessions_and_only_once() {
        for wrong in [
            &["imapwarden", "session", "kill"][..],
            &[
                "imapwarden",
                "session",
                "kill",
                "00000000000000aa",
                "--user",
                "alice",
            ],
        ] {
            assert!(Args::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }
}
