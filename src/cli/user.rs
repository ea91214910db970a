//! `imapwarden user`: who may log in, and what they have enrolled.

use serde_json::Value;
use serde_json::json;

use crate::auth::accounts::AccountError;
use crate::cli::Context;
use crate::cli::app_password;
use crate::cli::args::AddUser;
use crate::cli::args::PasswordFrom;
use crate::cli::args::UserCommand;
use crate::cli::enrol;
use crate::cli::error::CliError;
use crate::cli::output;
use crate::cli::place::Opened;
use crate::cli::proof;
use crate::store::User;
use crate::types::Group;
use crate::types::Groups;
use crate::types::UserName;

/// Users read at once.
const PAGE: u32 = 500;

pub(super) async fn run(cx: &mut Context<'_>, command: UserCommand) -> Result<(), CliError> {
    match command {
        UserCommand::Add(asked) => Box::pin(add(cx, asked)).await,
        UserCommand::List => Box::pin(list(cx)).await,
        UserCommand::Show { name } => Box::pin(show(cx, &name)).await,
        UserCommand::Disable { name } => Box::pin(set_disabled(cx, &name, true)).await,
        UserCommand::Enable { name } => Box::pin(set_disabled(cx, &name, false)).await,
        UserCommand::EnrollTotp(asked) => Box::pin(enrol::run(cx, &asked)).await,
        UserCommand::Reset { name } => Box::pin(reset(cx, &name)).await,
        UserCommand::SetMailPassword { name, password } => {
            Box::pin(set_mail_password(cx, &name, &password)).await
        }
    }
}

async fn add(cx: &mut Context<'_>, asked: AddUser) -> Result<(), CliError> {
    let mut user = User::new(asked.name, cx.now);
    user.display = asked.display;
    user.mfa = asked.mfa;
    user.enrol_by = asked.enrol_by;
    user.networks = output::restriction(&asked.network);
    user.groups = Groups::new(asked.group).map_err(|error| CliError::Usage(error.to_string()))?;
    let value = as_json(&user);
    let text = format!("User {} is added.", user.name);
    cx.open().await?.accounts().add_user(user).await?;
    Ok(cx.out.either(&value, &text)?)
}

async fn list(cx: &mut Context<'_>) -> Result<(), CliError> {
    let opened = cx.open().await?;
    let mut all: Vec<User> = Vec::new();
    loop {
        let page = opened
            .store
            .users(all.last().map(|user| &user.name), PAGE)
            .await?;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    if cx.out.is_json() {
        let rows: Value = all.iter().map(as_json).collect();
        return Ok(cx.out.json(&rows)?);
    }
    let row = |user: &User| {
        vec![
            user.name.to_string(),
            status(user).to_owned(),
            user.mfa.map_or("-", |mfa| mfa.as_str()).to_owned(),
            output::time_or_dash(user.enrol_by),
            output::networks(user.networks.as_ref()),
            output::groups(&user.groups),
            output::time(user.created),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let head = [
        "NAME", "STATUS", "MFA", "ENROL BY", "NETWORKS", "GROUPS", "CREATED",
    ];
    Ok(cx
        .out
        .table(&head, &rows, "No users; add one with `imapwarden user add NAME`.")?)
}

async fn show(cx: &mut Context<'_>, name: &UserName) -> Result<(), CliError> {
    let opened = cx.open().await?;
    let user = opened.store.user(name).await?.ok_or(AccountError::NoSuchUser)?;
    let totp = opened.store.totp(name).await?;
    let waiting = opened.store.enrolment(name).await?.is_some();
    let app_passwords = opened.store.app_passwords(name).await?;
    if cx.out.is_json() {
        let mut value = as_json(&user);
        let rows: Value = app_passwords
            .iter()
            .map(|row| app_password::as_json(row, cx.now))
            .collect();
        let enrolled = json!({
            "totp": totp.as_ref().map(|totp| json!({"since": output::time(totp.confirmed)})),
            "totp_waits_for_code": waiting,
            "app_passwords": rows,
        });
        if let (Value::Object(value), Value::Object(enrolled)) = (&mut value, enrolled) {
            value.extend(enrolled);
        }
        return Ok(cx.out.json(&value)?);
    }
    let totp = match (totp, waiting) {
        (Some(totp), false) => format!("since {}", output::time(totp.confirmed)),
        (Some(totp), true) => format!(
            "since {}; a new one waits for its first code",
            output::time(totp.confirmed)
        ),
        (None, true) => "waits for its first code".to_owned(),
        (None, false) => "none".to_owned(),
    };
    let display = user.display.as_deref().map_or("-".to_owned(), output::shown);
    for (heading, text) in [
        ("name", user.name.to_string()),
        ("for people", display),
        ("status", status(&user).to_owned()),
        (
            "second factor",
            user.mfa.map_or("as configured", |mfa| mfa.as_str()).to_owned(),
        ),
        ("enrol by", output::time_or_dash(user.enrol_by)),
        ("networks", output::networks(user.networks.as_ref())),
        ("groups", output::groups(&user.groups)),
        ("created", output::time(user.created)),
        ("one-time codes", totp),
    ] {
        cx.out.line(&format!("{heading:<15} {text}"))?;
    }
    cx.out.line("")?;
    Ok(app_password::table(cx, &app_passwords)?)
}

async fn set_disabled(cx: &mut Context<'_>, name: &UserName, disabled: bool) -> Result<(), CliError> {
    let opened = cx.open().await?;
    opened.accounts().set_disabled(name, disabled).await?;
    let text = if disabled {
        format!("User {name} is disabled; their sessions end within a second.")
    } else {
        format!("User {name} is enabled.")
    };
    let value = json!({"name": name.as_str(), "disabled": disabled});
    Ok(cx.out.either(&value, &text)?)
}

async fn reset(cx: &mut Context<'_>, name: &UserName) -> Result<(), CliError> {
    cx.open().await?.accounts().reset(name, cx.now).await?;
    let text = format!("Every second factor of {name} is gone, app passwords included.");
    let value = json!({"name": name.as_str(), "reset": true});
    Ok(cx.out.either(&value, &text)?)
}

async fn set_mail_password(
    cx: &mut Context<'_>,
    account: &UserName,
    from: &PasswordFrom,
) -> Result<(), CliError> {
    let config = cx.place.config(cx.now)?;
    let backend = proof::backend_of(&config, account)?;
    if backend.has_master() {
        return Err(CliError::Usage(format!(
            "a master user opens accounts at the backend `{}`: no mail password is kept",
            backend.name()
        )));
    }
    let opened = Opened::at(&config).await?;
    let password = Box::pin(proof::proved_password(&backend, account, from)).await?;
    let accounts = opened.accounts();
    let sealed = accounts.set_mail_password(account, &password, cx.now).await?;
    let noun = if sealed == 1 {
        "app password"
    } else {
        "app passwords"
    };
    let text = format!("The new mail password of {account} is sealed to {sealed} {noun}.");
    let value = json!({"account": account.as_str(), "app_passwords": sealed});
    Ok(cx.out.either(&value, &text)?)
}

fn status(user: &User) -> &'static str {
    if user.disabled { "disabled" } else { "enabled" }
}

fn as_json(user: &User) -> Value {
    json!({
        "name": user.name.as_str(),
        "display": user.display,
        "disabled": user.disabled,
        "mfa": user.mfa.map(|mfa| mfa.as_str()),
        "enrol_by": user.enrol_by.map(output::time),
        "networks": output::networks_json(user.networks.as_ref()),
        "groups": user.groups.iter().map(Group::as_str).collect::<Vec<_>>(),
        "created": output::time(user.created),
    })
}
