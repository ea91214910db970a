//! `imapwarden session`: asks the running proxy about its sessions, over its unix socket.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::cli::Context;
use crate::cli::args::SessionCommand;
use crate::cli::error::CliError;
use crate::cli::output;
use crate::types::UnixTime;
use crate::types::control::Reply;
use crate::types::control::Request;
use crate::types::control::SessionRow;

/// How long the proxy may take: a reload reads databases of a gigabyte.
const PATIENCE: Duration = Duration::from_secs(25);

/// Longest answer, in bytes: a hundred thousand sessions.
const MAX_REPLY: u64 = 64 * 1024 * 1024;

pub(super) async fn run(cx: &mut Context<'_>, command: SessionCommand) -> Result<(), CliError> {
    let request = match command {
        SessionCommand::List => Request::SessionList,
        SessionCommand::Kill { id: Some(id), .. } => Request::SessionKill { id: id.to_string() },
        SessionCommand::Kill { user: Some(user), .. } => Request::SessionKillUser {
            user: user.to_string(),
        },
        SessionCommand::Kill { .. } => return Err(CliError::Usage("name a session or a user".to_owned())),
    };
    let socket = cx.place.config_without_backend(cx.now)?.state.control_socket();
    match daemon(&socket, &request).await? {
        Reply::Sessions {
            sessions, missing, ..
        } => {
            list(cx, &sessions)?;
            missing.map_or(Ok(()), |why| Err(CliError::OthersMissing(why)))
        }
        Reply::Killed { killed, .. } => {
            let noun = if killed == 1 { "session" } else { "sessions" };
            let text = format!("{killed} {noun} told to end.");
            Ok(cx.out.either(&json!({"killed": killed}), &text)?)
        }
        Reply::Error { error, .. } => Err(CliError::DaemonRefused(error)),
        Reply::Status { .. } | Reply::Reloaded { .. } | Reply::Rejected { .. } => Err(confused(socket)),
    }
}

/// The daemon's answer.
pub(super) async fn daemon(socket: &Path, request: &Request) -> Result<Reply, CliError> {
    let answer = timeout(PATIENCE, ask(socket, request)).await;
    let reply = answer.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)));
    reply.map_err(|source| CliError::Daemon {
        socket: socket.to_owned(),
        source,
    })
}

/// The daemon talks of something else.
pub(super) fn confused(socket: PathBuf) -> CliError {
    CliError::Daemon {
        socket,
        source: io::Error::new(io::ErrorKind::InvalidData, "it answered another question"),
    }
}

async fn ask(socket: &Path, request: &Request) -> io::Result<Reply> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut reply = Vec::new();
    let mut lines = BufReader::new(stream.take(MAX_REPLY));
    lines.read_until(b'\n', &mut reply).await?;
    if !reply.ends_with(b"\n") {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok(serde_json::from_slice(&reply)?)
}

fn list(cx: &mut Context<'_>, sessions: &[SessionRow]) -> io::Result<()> {
    if cx.out.is_json() {
        let rows: Value = sessions.iter().map(as_json).collect();
        return cx.out.json(&rows);
    }
    let row = |session: &SessionRow| {
        let factor = match &session.app_password {
            Some((id, label)) => format!("{} {id} ({})", session.second_factor, output::shown(label)),
            None => session.second_factor.clone(),
        };
        let mut cells = vec![
            session.id.clone(),
            output::shown(&session.user),
            output::shown(&session.account),
            session.client.clone(),
            output::time(UnixTime(session.since)),
            factor,
            output::shown(&session.backend),
            session
                .program
                .as_deref()
                .map_or_else(|| "-".to_owned(), output::shown),
        ];
        cells.extend(session.replica.as_deref().map(output::shown));
        cells
    };
    let rows: Vec<Vec<String>> = sessions.iter().map(row).collect();
    let mut head = vec![
        "ID",
        "USER",
        "ACCOUNT",
        "CLIENT",
        "SINCE",
        "SECOND FACTOR",
        "BACKEND",
        "PROGRAM",
    ];
    // Either all have one, or none.
    if sessions.iter().any(|session| session.replica.is_some()) {
        head.push("REPLICA");
    }
    cx.out.table(&head, &rows, "No open sessions.")
}

fn as_json(session: &SessionRow) -> Value {
    let app_password = session
        .app_password
        .as_ref()
        .map(|(id, label)| json!({"id": id, "label": label}));
    json!({
        "id": session.id,
        "user": session.user,
        "account": session.account,
        "client": session.client,
        "since": output::time(UnixTime(session.since)),
        "second_factor": session.second_factor,
        "app_password": app_password,
        "backend": session.backend,
        "program": session.program,
        "replica": session.replica,
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    async fn answer_with(reply: &'static [u8]) -> io::Result<Reply> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let daemon = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            stream.write_all(reply).await.unwrap();
            line
        });
        let reply = ask(&path, &Request::SessionList).await;
        assert_eq!(daemon.await.unwrap(), "{\"do\":\"session.list\"}\n");
        reply
    }

    #[tokio::test]
    async fn an_answer_is_one_whole_line() {
        let reply = answer_with(b"{\"ok\":true,\"killed\":2}\n").await.unwrap();
        assert_eq!(reply, Reply::Killed { ok: true, killed: 2 });
        let cut = answer_with(b"{\"ok\":true,\"killed\":2}").await.unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        assert!(answer_with(b"hello\n").await.is_err());
    }
}
