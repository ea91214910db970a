//! Drives one login: feeds the pure machine from the socket, does what it says, and keeps the deadline. Adds no judgement of
//! its own.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio::time::timeout_at;

use crate::backend::Client;
use crate::backend::dial;
use crate::backend::dial::Security;
use crate::backend::error::DialError;
use crate::backend::error::LoginError;
use crate::backend::error::Phase;
use crate::backend::health::Attempt;
use crate::backend::options::BackendOptions;
use crate::net::stream::Stream;
use crate::session::backend_login::BackendLogin;
use crate::session::backend_login::Opened;
use crate::session::backend_login::Stage;
use crate::session::backend_login::Step;

/// Bytes read at a time.
const CHUNK: usize = 4096;

/// Connects and logs in before the deadline; says how long the connection took.
pub(super) async fn run(
    options: &BackendOptions,
    security: Option<&Security>,
    mut login: BackendLogin,
    client: &Client,
    attempt: &mut Attempt,
) -> Result<(Opened, Stream, Duration), LoginError> {
    let began = Instant::now();
    let deadline = began + options.timeout;
    let tcp = dial::connect(options, client, deadline).await?;
    let dialled = began.elapsed();
    let mut stream = match security.filter(|security| security.is_implicit()) {
        Some(security) => security.start(tcp, deadline).await?,
        None => Stream::from(tcp),
    };
    let mut chunk = vec![0; CHUNK];
    let mut steps = Vec::new();
    loop {
        let phase = phase_of(login.stage());
        let count = before(deadline, phase, stream.read(&mut chunk)).await?;
        if count == 0 {
            return Err(DialError::Closed(phase).into());
        }
        login = login.receive(chunk.get(..count).unwrap_or_default(), &mut steps);
        if login.stage() == Stage::Login {
            attempt.reached();
            client.given.store(true, Ordering::Relaxed);
        }
        let phase = phase_of(login.stage());
        let mut due: Vec<Step> = std::mem::take(&mut steps);
        while !due.is_empty() {
            match due.remove(0) {
                Step::Send(bytes) => before(deadline, phase, stream.write_all(bytes.expose())).await?,
                Step::StartTls => {
                    stream = start_tls(stream, security, deadline).await?;
                    login = login.tls_started(&mut due);
                }
                Step::Done(opened) => return Ok((opened, stream, dialled)),
                Step::Failed(failure) => return Err(failure.into()),
            }
        }
        before(deadline, phase, stream.flush()).await?;
    }
}

async fn start_tls(
    stream: Stream,
    security: Option<&Security>,
    deadline: Instant,
) -> Result<Stream, DialError> {
    match (stream.into_plain(), security) {
        (Ok(tcp), Some(security)) => security.start(tcp, deadline).await,
        // The plan asks for STARTTLS only where it is configured, and the machine only once.
        _ => Err(DialError::Io(io::Error::from(io::ErrorKind::Unsupported))),
    }
}

/// Waits for the peer until the deadline. A peer that leaves without a TLS farewell has closed the connection.
async fn before<T>(
    deadline: Instant,
    phase: Phase,
    wait: impl Future<Output = io::Result<T>>,
) -> Result<T, DialError> {
    let done = timeout_at(deadline, wait)
        .await
        .map_err(|_| DialError::Timeout(phase))?;
    done.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            DialError::Closed(phase)
        }
        _ => DialError::Io(error),
    })
}

fn phase_of(stage: Stage) -> Phase {
    match stage {
        Stage::Greeting => Phase::Greeting,
        Stage::Login | Stage::Over => Phase::Login,
    }
}
