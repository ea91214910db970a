//! A command after the login, step by step as it is judged: whether it is one, whether it is passed on at all, the app
//! password's restrictions, rules.

use std::sync::Arc;

use crate::auth::app_password::id_text;
use crate::cli::error::CliError;
use crate::cli::explain::Explanation;
use crate::cli::explain::Says;
use crate::cli::explain::Sources;
use crate::cli::explain::arguments::ExplainOneCommand;
use crate::cli::explain::rules;
use crate::imap::command::Command;
use crate::imap::set::Mailbox;
use crate::imap::verb::Kind;
use crate::imap::verb::Verb;
use crate::policy::facts;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Facts;
use crate::policy::facts::Record;
use crate::policy::facts::Session;
use crate::policy::facts::Source;
use crate::session::inspect::ask_about;
use crate::session::inspect::nature_of;
use crate::session::relay::Output;
use crate::session::relay::Relay;
use crate::types::Restrictions;
use crate::types::UnixTime;

/// Longest command that is explained, in bytes: none is longer.
const MAX_COMMAND: usize = 64 * 1024;

pub(super) async fn explain(
    now: UnixTime,
    sources: &Sources,
    asked: &ExplainOneCommand,
) -> Result<Explanation, CliError> {
    let mut explanation = Explanation::new(format!("`{}` of {}", asked.command, asked.user));
    let bytes = format!("{}\r\n", asked.command.trim_end_matches(['\r', '\n'])).into_bytes();
    if bytes.len() > MAX_COMMAND {
        return Err(CliError::Usage("no command is as long as this".to_owned()));
    }
    let options = Arc::new(sources.config.relay_options());
    let command = match Command::read(&bytes, &options.extra_verbs) {
        Ok(command) => command,
        Err(error) => {
            explanation.says(
                Says::Refuses,
                "grammar",
                error.to_string(),
                "the table of commands",
            );
            return Ok(explanation);
        }
    };
    match command.verb.kind() {
        Kind::Refused(text) => {
            explanation.says(Says::Refuses, "command", text, "the table of commands");
            return Ok(explanation);
        }
        _ if command.verb == Verb::Extra => {
            let place = sources.places.of("relay.extra_commands");
            explanation.says(Says::Ok, "command", "it is passed on, and not understood", place);
        }
        _ => explanation.says(Says::Ok, "command", "it is known", "the table of commands"),
    }
    let mut facts = known(asked, &command, &bytes);
    if let Some(id) = asked.app_pass {
        restrictions(now, sources, (asked, id), &bytes, &mut facts, &mut explanation).await?;
    }
    rules::stated(&mut facts, &asked.fact)?;
    if asked.mailbox.is_none() {
        let why = "which mailbox is open, and how many messages it has, is not said: --mailbox and --exists";
        explanation.says(Says::Notes, "rules", why, "the command line");
    }
    // What the command does not say nobody knows, in a session neither.
    let is_absent = |fact: Fact| {
        ["command.", "session."]
            .iter()
            .any(|part| fact.name().starts_with(part))
    };
    rules::explain(sources, Event::Command, (&facts, &is_absent), &mut explanation);
    Ok(explanation)
}

/// What the restrictions of an app password make of it: a session's relay is asked.
async fn restrictions(
    now: UnixTime,
    sources: &Sources,
    (asked, id): (&ExplainOneCommand, u32),
    bytes: &[u8],
    facts: &mut Record,
    explanation: &mut Explanation,
) -> Result<(), CliError> {
    const PART: &str = "app password";
    let place = format!("store (imapwarden app-password list {})", asked.user);
    let row = match &sources.store {
        Some(store) => store.app_password(id).await?,
        None => None,
    };
    let Some(row) = row.filter(|row| row.user == asked.user || row.account == asked.user) else {
        let why = format!("{} has no app password {}", asked.user, id_text(id));
        explanation.says(Says::Refuses, PART, why, place);
        return Ok(());
    };
    if !row.is_live(now) {
        explanation.says(
            Says::Refuses,
            PART,
            "it is revoked or expired: no session has it",
            place.clone(),
        );
    }
    let (says, why) = relayed(sources, &row.restrictions, bytes);
    explanation.says(says, PART, why, place.clone());
    if !row.restrictions.budget.is_unlimited() {
        let why = "how much of its hourly budget is left is known to the running proxy only";
        explanation.says(Says::Unknown, PART, why, place);
    }
    let stated = [
        (Fact::UserName, row.user.as_str().to_owned()),
        (Fact::UserAccount, row.account.as_str().to_owned()),
        (Fact::UserMfa, "app_password".to_owned()),
        (Fact::UserAppPasswordId, id_text(id)),
        (Fact::UserAppPasswordLabel, row.label.clone()),
        (Fact::UserIsService, row.restrictions.service.to_string()),
    ];
    rules::stated(facts, &stated)
}

fn relayed(sources: &Sources, restrictions: &Restrictions, bytes: &[u8]) -> (Says, String) {
    let options = Arc::new(sources.config.relay_options());
    let mut relay = Relay::new(options).restricted(restrictions, None);
    let mut output = Output::default();
    let end = relay.from_client(bytes, &mut output).err();
    let text = |slices: Vec<u8>| String::from_utf8_lossy(&slices).trim_end().to_owned();
    let client = text(output.client.slices(bytes).flatten().copied().collect());
    let backend = text(output.backend.slices(bytes).flatten().copied().collect());
    if let Some(reason) = end {
        return (Says::Refuses, format!("the session ends: {reason}"));
    }
    if relay.counts().refused > 0 {
        return (Says::Refuses, format!("it is answered `{client}`"));
    }
    if backend.is_empty() || text(bytes.to_vec()).starts_with(&backend) {
        return (Says::Ok, "its restrictions allow it".to_owned());
    }
    (Says::Notes, format!("it goes on as `{backend}`"))
}

/// What rules would know of the command.
fn known(asked: &ExplainOneCommand, command: &Command<'_>, bytes: &[u8]) -> Record {
    let selected = asked.mailbox.as_deref();
    let of = Mailbox {
        exists: asked.exists,
        uid_next: None,
        arrived: 0,
    };
    let (role, is_shared) = selected.map_or((None, false), nature_of);
    let session = Session {
        mailbox: selected,
        mailbox_role: role,
        mailbox_is_shared: is_shared,
        exists: asked.exists,
        ..Session::default()
    };
    let name: Arc<str> = asked.user.as_str().into();
    let user = facts::User {
        account: Arc::clone(&name),
        name,
        ..facts::User::default()
    };
    ask_about(command, bytes, (selected, of), |command| {
        let nowhere = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let source = Source::new(asked.from.unwrap_or(nowhere));
        let mut all = Facts::at(Event::Command, &source);
        all.user = Some(&user);
        all.session = Some(&session);
        all.command = Some(command);
        Record::of(&all, |fact| fact != Fact::SourceIp || asked.from.is_some())
    })
}
