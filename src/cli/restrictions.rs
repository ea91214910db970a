//! Restrictions of app passwords on the command line: as arguments, in tables, as JSON.

use clap::Args as Arguments;
use serde_json::Value;
use serde_json::json;

use crate::cli::error::CliError;
use crate::cli::output;
use crate::cli::values;
use crate::types::BudgetLimits;
use crate::types::Commands;
use crate::types::MailboxPattern;
use crate::types::Restrictions;

/// Most patterns of one app password.
const MAX_PATTERNS: usize = 64;

#[derive(Debug, Arguments)]
pub(super) struct RestrictionArguments {
    /// Let it change nothing: mailboxes are opened with EXAMINE.
    #[arg(long)]
    read_only: bool,
    /// The only mailboxes it sees: `INBOX`, `Archive/*`; with the server's own separator. Repeat for more.
    #[arg(long, value_name = "PATTERN", value_parser = values::mailbox_pattern)]
    mailbox: Vec<MailboxPattern>,
    /// The only commands it may use: reader, mail-client, backup, append-only, or verbs like `SELECT,FETCH`.
    #[arg(long, value_name = "PROFILE|VERB,VERB", value_parser = values::commands)]
    profile: Option<Commands>,
    /// How much it may download in an hour: `200MiB`.
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    budget_bytes: Option<u64>,
    /// How many messages it may download in an hour.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..1_000_000_000_000))]
    budget_messages: Option<u64>,
    /// Declare that a program uses it, and no person: a migration, an archiver, a scanner.
    #[arg(long)]
    service: bool,
}

impl RestrictionArguments {
    /// What was asked for, if it makes sense together.
    pub(super) fn restrictions(&self) -> Result<Restrictions, CliError> {
        if self.read_only && self.profile == Some(Commands::AppendOnly) {
            return Err(CliError::Usage(
                "--read-only and --profile append-only leave nothing to do".to_owned(),
            ));
        }
        if self.mailbox.len() > MAX_PATTERNS {
            return Err(CliError::Usage(format!(
                "there may be {MAX_PATTERNS} --mailbox patterns"
            )));
        }
        Ok(Restrictions {
            read_only: self.read_only,
            mailboxes: (!self.mailbox.is_empty()).then(|| self.mailbox.clone().into()),
            commands: self.profile.clone().unwrap_or_default(),
            budget: BudgetLimits {
                bytes: self.budget_bytes,
                messages: self.budget_messages,
            },
            service: self.service,
        })
    }
}

/// For people: `read-only, mailboxes INBOX Archive/*, 200MiB an hour`; a dash where there is nothing.
pub(super) fn shown(restrictions: &Restrictions) -> String {
    let mut all = Vec::new();
    if restrictions.read_only {
        all.push("read-only".to_owned());
    }
    if let Some(patterns) = &restrictions.mailboxes {
        let quoted = patterns
            .iter()
            .map(|pattern| format!("`{}`", output::shown(pattern.as_str())));
        let names: Vec<String> = quoted.collect();
        all.push(match names.len() {
            0 => "no mailboxes".to_owned(),
            _ => format!("mailboxes {}", names.join(" ")),
        });
    }
    if restrictions.commands != Commands::Any {
        all.push(restrictions.commands.to_string());
    }
    if let Some(bytes) = restrictions.budget.bytes {
        all.push(format!("{} an hour", values::size_text(bytes)));
    }
    if let Some(messages) = restrictions.budget.messages {
        all.push(format!("{messages} messages an hour"));
    }
    if restrictions.service {
        all.push("service".to_owned());
    }
    if all.is_empty() {
        return "-".to_owned();
    }
    all.join(", ")
}

/// For programs; `null` stands for no restriction.
pub(super) fn as_json(restrictions: &Restrictions) -> Value {
    let patterns = restrictions.mailboxes.as_ref().map(|patterns| {
        let texts = patterns.iter().map(|pattern| Value::from(pattern.as_str()));
        texts.collect::<Value>()
    });
    let profile = match &restrictions.commands {
        Commands::Any => Value::Null,
        commands => Value::from(commands.to_string()),
    };
    json!({
        "read_only": restrictions.read_only,
        "mailboxes": patterns,
        "profile": profile,
        "budget_bytes": restrictions.budget.bytes,
        "budget_messages": restrictions.budget.messages,
        "service": restrictions.service,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        restrictions: RestrictionArguments,
    }

    fn read(arguments: &[&str]) -> Result<Restrictions, String> {
        let line = Line::try_parse_from(std::iter::once(&"x").chain(arguments))
            .map_err(|error| error.to_string())?;
        line.restrictions
            .restrictions()
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_asked_for_is_shown_as_it_was_asked() {
        let all = [
            "--read-only",
            "--mailbox",
            "inbox",
            "--mailbox",
            "Archive/*",
            "--profile",
            "fetch,select,Search",
            "--budget-bytes",
            "200MiB",
            "--budget-messages",
            "500",
            "--service",
        ];
        let restrictions = read(&all).unwrap();
        assert_eq!(
            shown(&restrictions),
            "read-only, mailboxes `INBOX` `Archive/*`, FETCH,SEARCH,SELECT, 200MiB an hour, 500 messages an hour, service"
        );
        assert_eq!(
            as_json(&restrictions),
            json!({
                "read_only": true,
                "mailboxes": ["INBOX", "Archive/*"],
                "profile": "FETCH,SEARCH,SELECT",
                "budget_bytes": 209_715_200,
                "budget_messages": 500,
                "service": true,
            })
        );
        assert_eq!(read(&[]).unwrap(), Restrictions::default());
        assert_eq!(shown(&Restrictions::default()), "-");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            &["--profile", "root"][..],
            &["--profile", "FETCH,LOGIN"],
            &["--profile", "COMPRESS"],
            &["--mailbox", ""],
            &["--budget-bytes", "200"],
            &["--budget-bytes", "0MiB"],
            &["--budget-messages", "0"],
            &["--read-only", "--profile", "append-only"],
            &["--mailbox=x"; 65],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
