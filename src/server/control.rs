//! The unix socket of the running daemon: whoever may open it may list and end sessions.
//!
//! It is made with mode 0600, reads one short line at a time, and serves a few callers at once at most.

use std::fs;
use std::io;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::auth::app_password::id_text;
use crate::server::shared::Shared;
use crate::store::OpenSession;
use crate::store::Target;
use crate::types::SessionId;
use crate::types::UserName;
use crate::types::control::MAX_REQUEST;
use crate::types::control::Reply;
use crate::types::control::Request;
use crate::types::control::SessionRow;

/// Callers served at once.
const CALLERS: usize = 8;

/// How long a caller may take for all of its requests.
const PATIENCE: Duration = Duration::from_secs(30);

/// The socket, removed when dropped.
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// The process that this one takes over from.
    older: Option<std::os::unix::net::UnixStream>,
    /// Which file the path led to: another process may have put its own there since.
    inode: u64,
}

impl Drop for Control {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() != self.inode) {
            return;
        }
        // A socket that somebody has removed before us is gone all the same.
        let _ = fs::remove_file(&self.path);
    }
}

impl Control {
    /// Binds the socket. One that a dead process left behind is replaced; one that answers is replaced only where its process
    /// hands over.
    pub(super) fn bind(path: &Path, takes_over: bool) -> io::Result<Self> {
        let older = std::os::unix::net::UnixStream::connect(path).ok();
        if older.is_some() && !takes_over {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another imapwarden is running here; with `drain.hand_over` this one would take over",
            ));
        }
        match fs::symlink_metadata(path) {
            Ok(found) if is_socket(&found) => {}
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "a file that is no socket is in the way",
                ));
            }
            Err(_) => {}
        }
        // Whoever asks finds one or the other, and never one that is open to others.
        let beside = beside(path);
        // One of an earlier try is in the way.
        let _ = fs::remove_file(&beside);
        let listener = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
        fs::rename(&beside, path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            older,
            inode: fs::symlink_metadata(path)?.ino(),
        })
    }

    /// Tells the older process that this one accepts connections.
    pub(super) fn take_over(&mut self) {
        let Some(mut older) = self.older.take() else {
            return;
        };
        let told = serde_json::to_vec(&Request::HandOver)
            .map_err(io::Error::from)
            .and_then(|line| older.write_all(&[&line[..], b"\n"].concat()));
        match told {
            Ok(()) => tracing::info!("the older process was told to hand over"),
            Err(error) => tracing::warn!(%error, "the older process cannot be told to hand over"),
        }
    }

    /// Serves callers until dropped.
    pub(super) async fn serve(self, shared: Arc<Shared>) {
        let callers = Arc::new(Semaphore::new(CALLERS));
        loop {
            let Ok(permit) = Arc::clone(&callers).acquire_owned().await else {
                return;
            };
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of descriptors: somebody else's turn to free one.
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                // Whatever fails here is the caller's, who sees it.
                let _ = timeout(PATIENCE, talk(stream, &shared)).await;
                drop(permit);
            });
        }
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn is_socket(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    found.file_type().is_socket()
}

async fn talk(stream: UnixStream, shared: &Shared) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let bound = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX);
        if (&mut lines).take(bound).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let reply = match serde_json::from_slice(&line) {
            Ok(request) => answer(request, shared).await,
            Err(error) => refuse(format!("not a request: {error}")),
        };
        let mut text = serde_json::to_vec(&reply)?;
        text.push(b'\n');
        write.write_all(&text).await?;
        if !line.ends_with(b"\n") {
            return Ok(());
        }
    }
}

async fn answer(request: Request, shared: &Shared) -> Reply {
    match request {
        Request::HandOver if shared.settings().config.drain.hand_over => {
            shared.retired.send_replace(true);
            Reply::Killed { ok: true, killed: 0 }
        }
        Request::HandOver => refuse("`drain.hand_over` is off".to_owned()),
        Request::Reload => reload(shared).await,
        Request::Status => Reply::Status {
            ok: true,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: shared.started.0,
            open_sessions: shared.sessions.len(),
        },
        Request::SessionList => session_list(shared).await,
        Request::SessionKill { id } => match SessionId::parse(&id) {
            Some(session) => session_kill(Target::Session(session), shared).await,
            None => refuse("a session id is 16 hexadecimal digits".to_owned()),
        },
        Request::SessionKillUser { user } => match UserName::parse(user.as_bytes()) {
            Ok(user) => session_kill(Target::User(user), shared).await,
            Err(error) => refuse(error.to_string()),
        },
    }
}

/// The sessions of all replicas; those of this one alone where the store cannot say.
async fn session_list(shared: &Shared) -> Reply {
    let is_one_of_several = shared.replica.among_others().is_some();
    let here = shared.sessions_here();
    let name = is_one_of_several.then(|| shared.replica.name().to_owned());
    let mut sessions: Vec<SessionRow> = here.into_iter().map(|open| row(open, name.clone())).collect();
    let mut missing = None;
    match shared.sessions_elsewhere().await {
        Ok(others) => sessions.extend(others.into_iter().map(|(name, open)| row(open, Some(name)))),
        Err(error) => missing = Some(error.to_string()),
    }
    sessions.sort_by(|one, other| (one.since, &one.id).cmp(&(other.since, &other.id)));
    Reply::Sessions {
        ok: true,
        sessions,
        missing,
    }
}

/// Ends sessions here, and has the other replicas end theirs.
async fn session_kill(target: Target, shared: &Shared) -> Reply {
    let here = shared.kill_here(&target);
    if here > 0 && matches!(target, Target::Session(_)) {
        return Reply::Killed { ok: true, killed: 1 };
    }
    match (shared.kill_elsewhere(target.clone()).await, target) {
        (Ok(0), Target::Session(id)) => refuse(format!("no open session has the id {id}")),
        (Ok(elsewhere), _) => Reply::Killed {
            ok: true,
            killed: here.saturating_add(usize::try_from(elsewhere).unwrap_or(usize::MAX)),
        },
        (Err(error), Target::Session(_)) => refuse(format!("it is not open here, and {error}")),
        (Err(error), Target::User(_)) => refuse(format!(
            "{here} here told to end; other replicas could not be told: {error}"
        )),
    }
}

async fn reload(shared: &Shared) -> Reply {
    let (asked, answer) = oneshot::channel();
    if shared.reloads.send(asked).await.is_err() {
        return refuse("the proxy is about to end".to_owned());
    }
    match answer.await {
        Ok(Ok(reloaded)) => Reply::Reloaded {
            ok: true,
            changed: reloaded.changed.into_iter().map(ToOwned::to_owned).collect(),
            ended: reloaded.ended,
        },
        Ok(Err(error)) => Reply::Rejected {
            ok: false,
            error: error.to_string(),
            report: error.report(),
        },
        Err(_) => refuse("the proxy is about to end".to_owned()),
    }
}

fn refuse(error: String) -> Reply {
    Reply::Error { ok: false, error }
}

fn row(open: OpenSession, replica: Option<String>) -> SessionRow {
    SessionRow {
        id: open.id.to_string(),
        user: open.user.to_string(),
        account: open.account.to_string(),
        client: open.client.to_string(),
        since: open.since.0,
        second_factor: open.factor,
        app_password: open.app_password.map(|(id, label)| (id_text(id), label)),
        backend: open.backend,
        program: open.program,
        replica,
    }
}
