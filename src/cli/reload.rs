//! `imapwarden reload`: has the running proxy read its configuration again, and tells what came of it.

use std::path::PathBuf;

use serde_json::json;

use crate::cli::Context;
use crate::cli::error::CliError;
use crate::cli::place::Place;
use crate::cli::session::confused;
use crate::cli::session::daemon;
use crate::config;
use crate::types::control::Reply;
use crate::types::control::Request;

pub(super) async fn run(cx: &mut Context<'_>) -> Result<(), CliError> {
    let socket = socket(cx)?;
    match daemon(&socket, &Request::Reload).await? {
        Reply::Reloaded { changed, ended, .. } => {
            let what = if changed.is_empty() {
                "The configuration is the same; certificates, rules and databases were read again.".to_owned()
            } else {
                format!("In force now: {}.", changed.join(", "))
            };
            let sessions = match ended {
                0 => String::new(),
                1 => " One session would not be let in any more, and ends.".to_owned(),
                some => format!(" {some} sessions would not be let in any more, and end."),
            };
            let text = format!("{what}{sessions}");
            Ok(cx
                .out
                .either(&json!({"changed": changed, "ended": ended}), &text)?)
        }
        Reply::Rejected { error, report, .. } => Err(CliError::Rejected { error, report }),
        Reply::Error { error, .. } => Err(CliError::DaemonRefused(error)),
        _ => Err(confused(socket)),
    }
}

/// Where the proxy listens. A file with mistakes says it all the same, if its text can be read that far: it is the proxy that
/// is to tell what is wrong.
fn socket(cx: &Context<'_>) -> Result<PathBuf, CliError> {
    match cx.place.config_without_backend(cx.now) {
        Ok(config) => Ok(config.state.control_socket()),
        Err(error) => match &cx.place {
            Place::File(file) => config::control_socket(file).ok_or(error),
            Place::Bare { .. } => Err(error),
        },
    }
}
