//! The story of one connection, top to bottom: who it is, TLS, login, relay, and the one reason for which it ended.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::backend::Slot;
use crate::limits::connections::ConnectionPermit;
use crate::limits::sessions::SessionPermit;
use crate::net::proxy_header;
use crate::net::stream::Stream;
use crate::net::tls::HandshakeError;
use crate::net::tls::TlsInfo;
use crate::policy::engine::SessionCounters;
use crate::server::clock;
use crate::server::listener::Listener;
use crate::server::login;
use crate::server::login::Session;
use crate::server::relay;
use crate::server::sessions::Place;
use crate::server::shared::Shared;
use crate::session::preauth::Channel;
use crate::telemetry::event::BackendCall;
use crate::telemetry::event::Connection;
use crate::telemetry::event::Event;
use crate::telemetry::event::Tls;
use crate::telemetry::event::Traffic;
use crate::telemetry::kind::Kind;
use crate::telemetry::metrics::Direction;
use crate::telemetry::metrics::Open;
use crate::telemetry::metrics::Phase;
use crate::types::ClientAddr;
use crate::types::EndReason;

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(5);

/// What a connection is and has, from its first byte to its last.
pub(super) struct Conversation {
    pub(super) shared: Arc<Shared>,
    pub(super) listener: Arc<Listener>,
    pub(super) facts: Arc<Connection>,
    /// Our own address on the client's connection.
    pub(super) local: SocketAddr,
    pub(super) open: Open,
    pub(super) began: Instant,
    /// How many configurations there had been when it began.
    pub(super) generation: u64,
    /// What rules have counted of it.
    pub(super) counters: Mutex<SessionCounters>,
    /// What the backend was asked in the login that is not told yet.
    call: Mutex<Option<BackendCall>>,
}

/// Serves one connection. The permit is held as long as it lasts.
pub(super) async fn serve(
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    tcp: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    let open = shared.metrics.connections.accepted();
    let name = Arc::clone(&listener.name);
    let session = clock::session_id();
    let mut facts = Connection::new(session, ClientAddr::direct(peer), name);
    facts.began = Some(clock::wall());
    let mut conversation = Conversation {
        generation: shared.generation(),
        shared,
        listener,
        facts: Arc::new(facts),
        local: tcp.local_addr().unwrap_or(peer),
        open,
        began: Instant::now(),
        counters: Mutex::new(SessionCounters::new(session)),
        call: Mutex::default(),
    };
    // Each phase in a box of its own: what it holds is gone when it is over, and the session lasts.
    let reason = match Box::pin(conversation.greet(tcp)).await {
        Ok((session, seat)) => conversation.relay(session, seat).await,
        Err(reason) => conversation.ended_without_login(reason),
    };
    conversation.shared.metrics.connections.ended(reason);
    drop(permit);
}

impl Conversation {
    /// From the first byte to a session that is logged in on both sides.
    async fn greet(&mut self, tcp: TcpStream) -> Result<(Box<Session>, ConnectionPermit), EndReason> {
        let mut tcp = tcp;
        let addr = self.client_of(&mut tcp).await?;
        let origin = self.shared.geo.origin_of(addr.ip());
        let facts = Arc::make_mut(&mut self.facts);
        (facts.addr, facts.origin) = (addr, origin);
        let seat = self.shared.admit(&self.listener, &self.facts.addr)?;
        let (stream, channel) = if self.listener.starts_plain {
            (Stream::from(tcp), Channel::PlainBeforeStartTls)
        } else {
            (self.start_tls(tcp).await?, Channel::Tls)
        };
        self.shared.judge_connection(&self.facts, &mut self.counters())?;
        self.shared
            .metrics
            .connections
            .moved(&mut self.open, Phase::PreAuth);
        let session = Box::pin(login::log_in(self, stream, channel)).await?;
        Ok((session, seat))
    }

    /// The client: the socket's peer, or whom a trusted peer states.
    async fn client_of(&self, tcp: &mut TcpStream) -> Result<ClientAddr, EndReason> {
        let peer = self.facts.addr.peer;
        let settings = self.shared.settings();
        let Some(trusted) = &settings.door(self.listener.number).proxy_protocol_from else {
            return Ok(ClientAddr::direct(peer));
        };
        let within = settings.timing.proxy_header;
        let header = proxy_header::client_of(tcp, peer, trusted, within);
        self.shared.unless_stopped(header).await?.map_err(|error| {
            tracing::debug!(%peer, %error, "no valid PROXY header");
            EndReason::ProxyHeaderInvalid
        })
    }

    /// The TLS hand-shake: straight after the connection, or after STARTTLS.
    pub(super) async fn start_tls(&mut self, tcp: TcpStream) -> Result<Stream, EndReason> {
        let began = Instant::now();
        let handshake = Box::pin(self.shared.tls.handshake(tcp));
        match self.shared.unless_stopped(handshake).await? {
            Ok((stream, info)) => {
                let connections = &self.shared.metrics.connections;
                connections.tls_succeeded(info.version, info.resumed, began.elapsed());
                Arc::make_mut(&mut self.facts).tls = Some(tls_facts(&info));
                Ok(stream)
            }
            Err(error) => {
                self.shared.metrics.connections.tls_failed();
                self.shared.emit(self.event(Kind::TlsFailed).error(&error));
                Err(match error {
                    HandshakeError::Timeout => EndReason::TlsHandshakeTimeout,
                    HandshakeError::Closed | HandshakeError::Failed(_) => EndReason::TlsHandshakeFailed,
                })
            }
        }
    }

    /// Relays until the session ends.
    async fn relay(&mut self, session: Box<Session>, mut seat: ConnectionPermit) -> EndReason {
        self.shared
            .metrics
            .connections
            .moved(&mut self.open, Phase::Relay);
        seat.logged_in();
        let began = Instant::now();
        let deadlines = self.shared.settings().timing.relay;
        let (relaying, places) = begin(session, deadlines);
        let (outcome, client) = relaying.await;
        drop(places);
        self.ended(&outcome, began.elapsed());
        Box::pin(client.close(GOODBYE)).await;
        drop(seat);
        outcome.reason
    }

    fn ended(&self, outcome: &relay::Outcome, took: Duration) {
        let traffic = Traffic {
            from_client: outcome.from_client,
            to_client: outcome.to_client,
            from_backend: outcome.from_backend,
            to_backend: outcome.to_backend,
            commands: outcome.counts.commands,
            refused: outcome.counts.refused,
            denied: outcome.counts.denied,
            messages: outcome.counts.messages,
        };
        let relay = &self.shared.metrics.relay;
        relay.bytes(Direction::ToBackend, traffic.from_client);
        relay.bytes(Direction::ToClient, traffic.to_client);
        relay.commands(traffic.commands);
        relay.commands_refused(traffic.refused);
        relay.messages_appended(traffic.messages);
        let event = self.event(Kind::SessionEnded).end(outcome.reason);
        let event = event.untold(outcome.counts.untold).facts(outcome.facts.as_ref());
        self.shared.emit(event.duration(took).traffic(traffic));
    }

    fn ended_without_login(&self, reason: EndReason) -> EndReason {
        let kind = match reason {
            EndReason::AddressDenied
            | EndReason::AddressBanned
            | EndReason::ConnectionRate
            | EndReason::ConnectionLimit
            | EndReason::ProxyHeaderInvalid => {
                self.shared.metrics.connections.denied(reason);
                Kind::ConnectionDenied
            }
            // The hand-shake has told its own event.
            EndReason::TlsHandshakeFailed | EndReason::TlsHandshakeTimeout => return reason,
            _ => Kind::ConnectionEnded,
        };
        let event = self.event(kind).end(reason);
        self.shared.emit(event.duration(self.began.elapsed()));
        reason
    }

    /// What rules have counted of this connection.
    pub(super) fn counters(&self) -> MutexGuard<'_, SessionCounters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The backend has answered a login, whose event goes with it.
    pub(super) fn asked(&self, backend: &str, took: Duration, dialled: Option<Duration>) {
        *self.call() = Some(BackendCall {
            backend: backend.into(),
            ended: clock::wall(),
            took,
            dialled,
        });
    }

    fn call(&self) -> MutexGuard<'_, Option<BackendCall>> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event about this connection.
    pub(super) fn event(&self, kind: Kind) -> Event {
        let event = Event::new(kind, clock::wall()).connection(&self.facts);
        match kind {
            Kind::LoginSucceeded | Kind::LoginFailed | Kind::LoginUnavailable => {
                event.backend_call(self.call().take())
            }
            _ => event,
        }
    }
}

/// The places that a session takes up, until they are dropped.
type Places = (Place, SessionPermit, Slot);

/// Begins to relay; also returns the places that the session takes up elsewhere. No part of the future that waits for its
/// end, so that the box is given back.
fn begin(
    session: Box<Session>,
    deadlines: relay::Deadlines,
) -> (Pin<Box<impl Future<Output = (relay::Outcome, Stream)>>>, Places) {
    let session = *session;
    let relaying = relay::run(
        (session.client, session.pipelined),
        (session.backend, session.early),
        (session.relay, session.welcome, session.report),
        session.orders,
        deadlines,
    );
    (Box::pin(relaying), (session.place, session.permit, session.slot))
}

fn tls_facts(info: &TlsInfo) -> Tls {
    let certificate = info.client_certificate.as_ref();
    Tls {
        version: info.version,
        cipher: info.cipher,
        resumed: info.resumed,
        ja4: info.ja4.as_ref().map(|ja4| ja4.as_str().into()),
        stable_ja4: info.ja4.as_ref().map(|ja4| ja4.stable().into()),
        server_name: info.sni.as_deref().map(Into::into),
        subject: certificate.map(|certificate| certificate.subject.as_str().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The task of a connection: each phase has its state in a box of its own, which is gone when it is over.
    #[test]
    fn the_task_of_a_connection_is_small() {
        fn future<A, B, C, D, E, F>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
            size_of::<F>()
        }
        let size = future(serve);
        assert!(size <= 1200, "{size}");
    }
}
