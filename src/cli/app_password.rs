//! `imapwarden app-password`: one password for each mail program, shown once.

use std::io;

use serde_json::Value;
use serde_json::json;
use zeroize::Zeroizing;

use crate::auth::accounts::AccountError;
use crate::auth::accounts::Created;
use crate::auth::accounts::NewAppPassword;
use crate::auth::app_password::id_text;
use crate::cli::Context;
use crate::cli::args::AppPasswordCommand;
use crate::cli::args::CreateAppPassword;
use crate::cli::error::CliError;
use crate::cli::output;
use crate::cli::place::Opened;
use crate::cli::proof;
use crate::cli::restrictions;
use crate::cli::values::Lifetime;
use crate::config::Config;
use crate::store::AppPassword;
use crate::types::Restrictions;
use crate::types::Secret;
use crate::types::UnixTime;
use crate::types::UserName;

pub(super) async fn run(cx: &mut Context<'_>, command: AppPasswordCommand) -> Result<(), CliError> {
    match command {
        AppPasswordCommand::Create(asked) => Box::pin(create(cx, &asked)).await,
        AppPasswordCommand::List { user } => {
            let opened = cx.open().await?;
            let all = opened.accounts().app_passwords(&user).await?;
            if cx.out.is_json() {
                let rows: Value = all.iter().map(|row| as_json(row, cx.now)).collect();
                return Ok(cx.out.json(&rows)?);
            }
            Ok(table(cx, &all)?)
        }
        AppPasswordCommand::Revoke { id } => {
            let opened = cx.open().await?;
            opened.accounts().revoke_app_password(id, cx.now).await?;
            let id = id_text(id);
            let value = json!({"id": id, "revoked": true});
            Ok(cx.out.either(
                &value,
                &format!("App password {id} is revoked; its sessions end within a second."),
            )?)
        }
    }
}

async fn create(cx: &mut Context<'_>, asked: &CreateAppPassword) -> Result<(), CliError> {
    let config = cx.place.config(cx.now)?;
    let expires = expiry(&config, asked.expires, cx.now)?;
    let restrictions = asked.restrictions.restrictions()?;
    let opened = Opened::at(&config).await?;
    // Before anybody types a password: it would be for nothing.
    if opened.store.user(&asked.user).await?.is_none() {
        return Err(AccountError::NoSuchUser.into());
    }
    let account = asked.account.as_ref().unwrap_or(&asked.user);
    let new = NewAppPassword {
        user: asked.user.clone(),
        account: account.clone(),
        label: asked.label.clone(),
        expires,
        networks: output::restriction(&asked.network),
        restrictions,
        mail_password: mail_password(&config, account, asked).await?,
    };
    let created = opened.accounts().create_app_password(&new, cx.now).await?;
    show(cx, &new, &created)
}

fn expiry(config: &Config, asked: Option<Lifetime>, now: UnixTime) -> Result<Option<UnixTime>, CliError> {
    let usual = config.second_factor.app_passwords.default_expiry;
    let end = match asked {
        Some(lifetime) => lifetime.end(now),
        None => usual.map(|span| now.plus(span)),
    };
    match end {
        Some(end) if end <= now => Err(CliError::Data("--expires is in the past".to_owned())),
        end => Ok(end),
    }
}

/// The account's mail password, proved; `None` where a master user opens the account.
async fn mail_password(
    config: &Config,
    account: &UserName,
    asked: &CreateAppPassword,
) -> Result<Option<Secret>, CliError> {
    let backend = proof::backend_of(config, account)?;
    let given = asked.password.password_stdin || asked.password.password_file.is_some();
    match (backend.has_master(), asked.no_mail_password) {
        (true, _) if given => Err(CliError::Usage(format!(
            "a master user opens accounts at the backend `{}`: no mail password is kept, give none",
            backend.name()
        ))),
        (true, _) => Ok(None),
        (false, true) => Err(CliError::Usage(format!(
            "the backend `{}` has no master user: without the mail password nobody could log in there",
            backend.name()
        ))),
        (false, false) => {
            let password = Box::pin(proof::proved_password(&backend, account, &asked.password)).await?;
            Ok(Some(password))
        }
    }
}

fn show(cx: &mut Context<'_>, new: &NewAppPassword, created: &Created) -> Result<(), CliError> {
    // Letters, digits and dashes: nothing to escape, nothing lost.
    let printed = Zeroizing::new(String::from_utf8_lossy(created.printed.expose()).into_owned());
    let id = id_text(created.id);
    if cx.out.is_json() {
        let value = json!({
            "id": id,
            "password": printed.as_str(),
            "label": new.label,
            "user": new.user.as_str(),
            "account": new.account.as_str(),
            "expires": new.expires.map(output::time),
            "restrictions": restrictions::as_json(&new.restrictions),
        });
        return Ok(cx.out.json(&value)?);
    }
    cx.out.line(&format!(
        "App password {id} of {} for {}:\n",
        new.user,
        output::shown(&new.label)
    ))?;
    cx.out
        .bytes(Zeroizing::new(format!("    {}\n", printed.as_str())).as_bytes())?;
    cx.out
        .line("Enter it in the mail program in place of the mail password. It is not shown again.")?;
    if new.restrictions != Restrictions::default() {
        cx.out.line(&format!(
            "Restrictions: {}.",
            restrictions::shown(&new.restrictions)
        ))?;
    }
    Ok(())
}

fn status(row: &AppPassword, now: UnixTime) -> &'static str {
    if row.revoked.is_some() {
        "revoked"
    } else if row.is_live(now) {
        "live"
    } else {
        "expired"
    }
}

/// App passwords for people.
pub(super) fn table(cx: &mut Context<'_>, all: &[AppPassword]) -> io::Result<()> {
    let row = |row: &AppPassword| {
        let used = row.last_use.as_ref();
        vec![
            id_text(row.id),
            output::shown(&row.label),
            status(row, cx.now).to_owned(),
            row.account.to_string(),
            output::networks(row.networks.as_ref()),
            restrictions::shown(&row.restrictions),
            output::time_or_dash(row.expires),
            used.map_or_else(|| "-".to_owned(), |used| output::time(used.at)),
            used.map_or_else(|| "-".to_owned(), |used| used.from.to_string()),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let head = [
        "ID",
        "LABEL",
        "STATUS",
        "ACCOUNT",
        "NETWORKS",
        "RESTRICTIONS",
        "EXPIRES",
        "LAST USE",
        "FROM",
    ];
    cx.out.table(&head, &rows, "No app passwords.")
}

/// An app password for programs.
pub(super) fn as_json(row: &AppPassword, now: UnixTime) -> Value {
    let last_use = row.last_use.as_ref().map(
        |used| json!({"at": output::time(used.at), "from": used.from.to_string(), "client": used.client}),
    );
    json!({
        "id": id_text(row.id),
        "user": row.user.as_str(),
        "account": row.account.as_str(),
        "label": row.label,
        "status": status(row, now),
        "keeps_mail_password": row.sealed.is_some(),
        "networks": output::networks_json(row.networks.as_ref()),
        "restrictions": restrictions::as_json(&row.restrictions),
        "created": output::time(row.created),
        "expires": row.expires.map(output::time),
        "revoked": row.revoked.map(output::time),
        "last_use": last_use,
    })
}
