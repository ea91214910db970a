//! Before login: the client's words go to [`PreAuth`], its steps are carried out, and one attempt at a time is judged.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::timeout_at;

use crate::backend::Slot;
use crate::limits::sessions::SessionPermit;
use crate::net::stream::Stream;
use crate::server::attempt::Attempt;
use crate::server::attempt::Refused;
use crate::server::connection::Conversation;
use crate::server::entry;
use crate::server::relay::Order;
use crate::server::relay::Report;
use crate::server::relay::client_failure;
use crate::server::sessions::Place;
use crate::session::preauth::Answer;
use crate::session::preauth::Channel;
use crate::session::preauth::ClientId;
use crate::session::preauth::PreAuth;
use crate::session::preauth::Step;
use crate::session::relay::Relay;
use crate::telemetry::event::UserAgent;
use crate::types::EndReason;

/// How much is read at once before login: a command is rarely longer.
const CHUNK: usize = 1024;

/// Largest TLS record before login: the longest line and TLS around it. Keeps a connection under 32 KiB.
const RECORD: usize = 9 * 1024;

/// How long a last word may take to reach a client that has not logged in.
const LAST_WORD: Duration = Duration::from_secs(5);

/// A session that is logged in on both sides.
pub(super) struct Session {
    pub(super) client: Stream,
    /// What the client sent behind its login.
    pub(super) pipelined: Vec<u8>,
    /// The tagged OK that the client is waiting for.
    pub(super) welcome: Vec<u8>,
    pub(super) backend: Stream,
    /// The place among the backend's connections.
    pub(super) slot: Slot,
    /// What the backend sent behind its answer.
    pub(super) early: Vec<u8>,
    pub(super) relay: Relay,
    /// Hears what rules decide.
    pub(super) report: Report,
    pub(super) place: Place,
    pub(super) orders: oneshot::Receiver<Order>,
    pub(super) permit: SessionPermit,
}

/// Talks to the client until it is logged in, within one deadline for all of it.
pub(super) async fn log_in(
    conversation: &mut Conversation,
    stream: Stream,
    channel: Channel,
) -> Result<Box<Session>, EndReason> {
    let within = conversation.shared.settings().timing.login;
    let deadline = Instant::now() + within;
    let talk = talk(conversation, stream, channel, (deadline, within));
    let session = timeout_at(deadline, talk).await;
    session.unwrap_or(Err(EndReason::LoginTimeout))
}

async fn talk(
    conversation: &mut Conversation,
    mut stream: Stream,
    channel: Channel,
    time: (Instant, Duration),
) -> Result<Box<Session>, EndReason> {
    let options = Arc::clone(&conversation.shared.settings().preauth);
    let mut preauth = PreAuth::new(options, channel);
    send(&mut stream, &preauth.greeting()).await?;
    let mut shutdown = conversation.shared.shutdown.subscribe();
    let mut steps = Vec::new();
    stream.bound_records(RECORD);
    loop {
        for step in std::mem::take(&mut steps) {
            let is_attempt = matches!(step, Step::Verify(_) | Step::Refuse(..));
            if is_attempt && *shutdown.borrow() {
                return Err(say_goodbye(stream).await);
            }
            match step {
                Step::Send(bytes) => send(&mut stream, &bytes).await?,
                Step::StartTls => {
                    // Nothing that came in the clear survives: the bare socket has no buffer, and PreAuth drops its own.
                    let tcp = stream.into_plain().map_err(|_| EndReason::InternalError)?;
                    stream = conversation.start_tls(tcp).await?;
                    stream.bound_records(RECORD);
                    preauth = preauth.tls_started();
                }
                Step::Verify(credentials) => {
                    Arc::make_mut(&mut conversation.facts).user_agent = preauth.client_id().map(user_agent);
                    let attempt = Attempt::new(conversation, preauth.client_id(), time);
                    match Box::pin(attempt.judge(credentials)).await {
                        Ok(entry) => {
                            let session = entry::enter(entry, preauth, stream, conversation);
                            return session.ok_or(EndReason::InternalError);
                        }
                        Err(refused) => preauth = preauth.refused(answer_to(refused), &mut steps),
                    }
                }
                Step::Refuse(refusal, mechanism) => {
                    let attempt = Attempt::new(conversation, preauth.client_id(), time);
                    let refused = attempt.refuse_unseen(refusal, mechanism).await;
                    preauth = preauth.refused(answer_to(refused), &mut steps);
                }
                Step::End(reason) => {
                    stream.close(LAST_WORD).await;
                    return Err(reason);
                }
            }
        }
        if steps.is_empty() {
            let bytes = tokio::select! {
                bytes = read(&mut stream) => bytes?,
                () = asked_to_stop(&mut shutdown) => return Err(say_goodbye(stream).await),
            };
            preauth = preauth.receive(&bytes, &mut steps);
        }
    }
}

/// Tells a client that has not logged in that nobody can, for now.
async fn say_goodbye(mut stream: Stream) -> EndReason {
    if let Err(reason) = send(&mut stream, b"* BYE [UNAVAILABLE] Server is shutting down\r\n").await {
        return reason;
    }
    stream.close(LAST_WORD).await;
    EndReason::Shutdown
}

/// Waits until the process takes no new connections.
pub(super) async fn asked_to_stop(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the process is gone: that is a stop, too.
    let _ = shutdown.wait_for(|down| *down).await;
}

fn answer_to(refused: Refused) -> Answer {
    match refused {
        Refused::ByUs => Answer::AuthenticationFailed,
        Refused::Unavailable => Answer::Unavailable,
    }
}

async fn send(stream: &mut Stream, bytes: &[u8]) -> Result<(), EndReason> {
    let sent = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    sent.await.map_err(|error| client_failure(&error))
}

/// Waits without a buffer, then reads what is at hand.
async fn read(stream: &mut Stream) -> Result<Vec<u8>, EndReason> {
    let read = async {
        stream.readable().await?;
        let mut bytes = vec![0; CHUNK];
        let count = stream.read(&mut bytes).await?;
        bytes.truncate(count);
        Ok(bytes)
    };
    match read.await {
        Ok(bytes) if bytes.is_empty() => Err(EndReason::ClientClosed),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(client_failure(&error)),
    }
}

fn user_agent(id: &ClientId) -> UserAgent {
    UserAgent {
        name: id.field("name").map(Into::into),
        version: id.field("version").map(Into::into),
    }
}
