//! `imapwarden key`: the keys of the key file, and which of them is in force.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;

use crate::auth::key_edit::KeyFile;
use crate::auth::key_ring::KeyRing;
use crate::auth::keys::KeyError;
use crate::auth::keys::Keys;
use crate::auth::keys::id_of;
use crate::auth::rotation;
use crate::cli::Context;
use crate::cli::args::KeyCommand;
use crate::cli::error::CliError;
use crate::cli::output;
use crate::cli::place::Opened;
use crate::config::Config;
use crate::store::FormerKey;
use crate::store::Holder;
use crate::store::Rekeyed;
use crate::store::Store;

/// How long a replica that has just got a key may take to tell.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is asked for.
const ASK_AGAIN: Duration = Duration::from_millis(250);

pub(super) async fn run(cx: &mut Context<'_>, command: KeyCommand) -> Result<(), CliError> {
    let config = cx.place.config_without_backend(cx.now)?;
    let opened = Opened::at(&config).await?;
    match command {
        KeyCommand::Status => status(cx, &opened).await,
        KeyCommand::Add => add(cx, &config),
        KeyCommand::Rotate { to, force } => {
            Box::pin(rotate(cx, (&config, &opened), to.as_deref(), force)).await
        }
        KeyCommand::Retire { id, force } => Box::pin(retire(cx, (&config, &opened), &id, force)).await,
    }
}

async fn status(cx: &mut Context<'_>, opened: &Opened) -> Result<(), CliError> {
    let former = opened.store.former_keys().await?;
    let in_force = opened.ring.in_force().check();
    let keys = opened.ring.all();
    let holders = opened.store.holders().await?;
    let was = |keys: &Keys| former.iter().find(|key| key.check == keys.check());
    let state = |keys: &Keys| match was(keys) {
        _ if keys.check() == in_force => "in_force",
        Some(_) => "former",
        None => "waiting",
    };
    if cx.out.is_json() {
        let row = |keys: &Arc<Keys>| {
            let was = was(keys);
            json!({
                "key": keys.id(),
                "state": state(keys),
                "until": was.map(|key| output::time(key.until)),
                "needed_until": was.map(|key| output::time(rotation::needed_until(key))),
                "missing_at": lacking(&holders, keys.check()),
            })
        };
        let rows: Value = keys.iter().map(row).collect();
        return Ok(cx.out.json(&rows)?);
    }
    let row = |keys: &Arc<Keys>| {
        let was = was(keys);
        vec![
            keys.id(),
            state(keys).replace('_', " "),
            output::time_or_dash(was.map(|key| key.until)),
            output::time_or_dash(was.map(rotation::needed_until)),
            or_dash(&lacking(&holders, keys.check())),
        ]
    };
    let rows: Vec<Vec<String>> = keys.iter().map(row).collect();
    let head = ["KEY", "STATE", "UNTIL", "NEEDED UNTIL", "MISSING AT"];
    Ok(cx.out.table(&head, &rows, "No keys.")?)
}

fn open_file(config: &Config) -> Result<KeyFile, KeyError> {
    KeyFile::open(&config.state.key_file(), config.key_file_options())
}

fn add(cx: &mut Context<'_>, config: &Config) -> Result<(), CliError> {
    let id = id_of(&open_file(config)?.add()?);
    let file = config.state.key_file();
    let value = json!({"key": id, "state": "waiting", "file": file.display().to_string()});
    let text = format!(
        "Key {id} waits in {}. Copy the file to every replica and to your backup, then: imapwarden key rotate",
        file.display()
    );
    Ok(cx.out.either(&value, &text)?)
}

async fn rotate(
    cx: &mut Context<'_>,
    (config, opened): (&Config, &Opened),
    to: Option<&str>,
    force: bool,
) -> Result<(), CliError> {
    let from = opened.ring.in_force();
    let former = opened.store.former_keys().await?;
    // Nobody takes the new key away meanwhile.
    let mut file = open_file(config)?;
    let to = match to {
        Some(id) => named(&file, id, config)?,
        None => next(&mut file, &from, &former, config)?,
    };
    let check = to.check();
    if check == from.check() {
        return Err(CliError::Data(format!("key {} is in force already", to.id())));
    }
    // Processes on one machine's store have one key file.
    if opened.store.is_shared() && !force {
        everybody_has(&*opened.store, &to).await?;
    }
    take_in(&opened.ring)?;
    let Rekeyed {
        one_time_secrets,
        app_passwords,
    } = rotation::rotate(&*opened.store, &opened.ring, Arc::new(to), cx.now).await?;
    let id = id_of(&check);
    let value = json!({
        "key": id,
        "state": "in_force",
        "instead_of": from.id(),
        "one_time_secrets": one_time_secrets,
        "app_passwords": app_passwords,
    });
    let text = format!(
        "Key {id} is in force, instead of {}: {one_time_secrets} one-time secrets and {app_passwords} app passwords stand on it \
         now, and trusted windows have ended. Back up {}. If {} has leaked: imapwarden key retire {0} --force",
        from.id(),
        config.state.key_file().display(),
        from.id(),
    );
    Ok(cx.out.either(&value, &text)?)
}

/// The replicas that live and lack a key, or do not say which keys they have.
fn lacking(holders: &[Holder], check: [u8; 32]) -> Vec<String> {
    let has = |holder: &&Holder| {
        let keys = holder.keys.as_ref();
        keys.is_some_and(|keys| keys.contains(&check))
    };
    let lacking = holders.iter().filter(|holder| !has(holder));
    lacking.map(|holder| holder.replica.clone()).collect()
}

fn or_dash(names: &[String]) -> String {
    match names {
        [] => "-".to_owned(),
        _ => names.join(", "),
    }
}

/// Nobody is to be kept out by a replica whose file was forgotten. One that has just got it is waited for: it tells within a few
/// seconds.
async fn everybody_has(store: &dyn Store, to: &Keys) -> Result<(), CliError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let lacking = lacking(&store.holders().await?, to.check());
        if lacking.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(CliError::Data(format!(
                "key {} is missing at {}; copy the key file there. With --force it is put in force all the same, and these replicas let \
                 nobody in until they have it",
                to.id(),
                lacking.join(", ")
            )));
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// The file holds what the store is about to go by.
fn take_in(ring: &KeyRing) -> Result<(), KeyError> {
    ring.put(ring.read()?);
    Ok(())
}

/// The key that somebody asks for.
fn named(file: &KeyFile, id: &str, config: &Config) -> Result<Keys, CliError> {
    let found = file.keys()?.into_iter().find(|keys| keys.id() == id);
    let path = config.state.key_file();
    found.ok_or_else(|| CliError::Data(format!("{} holds no key {id}", path.display())))
}

/// The newest key that was never in force. Where one process has the store to itself, one is drawn if none waits; else the
/// others would not have it.
fn next(file: &mut KeyFile, from: &Keys, former: &[FormerKey], config: &Config) -> Result<Keys, CliError> {
    let was =
        |keys: &Keys| keys.check() == from.check() || former.iter().any(|key| key.check == keys.check());
    if let Some(waiting) = file.keys()?.into_iter().rev().find(|keys| !was(keys)) {
        return Ok(waiting);
    }
    let path = config.state.key_file();
    if config.state.postgres().is_some() {
        return Err(CliError::Data(format!(
            "no key waits in {}; run `imapwarden key add`, copy the file to every replica, then rotate",
            path.display()
        )));
    }
    let check = file.add()?;
    named(file, &id_of(&check), config)
}

async fn retire(
    cx: &mut Context<'_>,
    (config, opened): (&Config, &Opened),
    id: &str,
    force: bool,
) -> Result<(), CliError> {
    let mut file = open_file(config)?;
    let keys = named(&file, id, config)?;
    // Asked under the lock: what is in force now stays so while the file is changed by us.
    if opened.store.key_in_force().await? == Some(keys.check()) {
        return Err(CliError::Data(format!(
            "key {id} is in force; put another one in force first: imapwarden key rotate"
        )));
    }
    let former = opened.store.former_keys().await?;
    let was = former.iter().find(|key| key.check == keys.check());
    let needed = was
        .map(rotation::needed_until)
        .filter(|end| cx.now < *end && !force);
    if let Some(end) = needed {
        return Err(CliError::Data(format!(
            "networks that users came from are known by key {id} until {}; with --force those that they have not come from \
             since count as new",
            output::time(end)
        )));
    }
    file.remove(keys.check())?;
    let path = config.state.key_file();
    let value = json!({"key": id, "removed": true, "file": path.display().to_string()});
    let text = format!(
        "Key {id} is no longer in {}. Remove it at the other replicas too, and have each of them forget it: imapwarden reload",
        path.display()
    );
    Ok(cx.out.either(&value, &text)?)
}
