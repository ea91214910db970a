//! `imapwarden ban`: networks that may not connect.

use ipnet::IpNet;
use serde_json::Value;
use serde_json::json;

use crate::cli::Context;
use crate::cli::args::BanCommand;
use crate::cli::error::CliError;
use crate::cli::output;
use crate::store::Ban;

pub(super) async fn run(cx: &mut Context<'_>, command: BanCommand) -> Result<(), CliError> {
    match command {
        BanCommand::Add {
            network,
            reason,
            span,
        } => {
            let ban = Ban {
                network,
                reason,
                by: cx.operator.clone(),
                created: cx.now,
                until: span.map(|span| cx.now.plus(span)),
            };
            Box::pin(add(cx, ban)).await
        }
        BanCommand::List => Box::pin(list(cx)).await,
        BanCommand::Remove { network } => Box::pin(remove(cx, network)).await,
    }
}

async fn add(cx: &mut Context<'_>, ban: Ban) -> Result<(), CliError> {
    let value = as_json(&ban);
    let until = ban.until.map_or_else(
        || "until lifted".to_owned(),
        |end| format!("until {}", output::time(end)),
    );
    let text = format!("{} is banned {until}.", ban.network);
    cx.open().await?.store.add_ban(ban).await?;
    Ok(cx.out.either(&value, &text)?)
}

async fn list(cx: &mut Context<'_>) -> Result<(), CliError> {
    let bans = cx.open().await?.store.bans(cx.now).await?;
    if cx.out.is_json() {
        let rows: Value = bans.iter().map(as_json).collect();
        return Ok(cx.out.json(&rows)?);
    }
    let row = |ban: &Ban| {
        vec![
            ban.network.to_string(),
            output::time_or_dash(ban.until),
            output::time(ban.created),
            output::shown(&ban.by),
            output::shown(&ban.reason),
        ]
    };
    let rows: Vec<Vec<String>> = bans.iter().map(row).collect();
    let head = ["NETWORK", "UNTIL", "SINCE", "BY", "REASON"];
    Ok(cx.out.table(&head, &rows, "No bans.")?)
}

async fn remove(cx: &mut Context<'_>, network: IpNet) -> Result<(), CliError> {
    if !cx.open().await?.store.remove_ban(network).await? {
        return Err(CliError::Data(format!("there is no ban on {network}")));
    }
    let value = json!({"network": network.to_string(), "removed": true});
    Ok(cx
        .out
        .either(&value, &format!("The ban on {network} is lifted."))?)
}

fn as_json(ban: &Ban) -> Value {
    json!({
        "network": ban.network.to_string(),
        "reason": ban.reason,
        "by": ban.by,
        "created": output::time(ban.created),
        "until": ban.until.map(output::time),
    })
}
