//! `/metrics`, `/healthz` and `/readyz`, on an address of their own. It reads nothing but the head of a request.
//!
//! Whoever is slow there, or many, holds nothing: a connection is one request and has an end in time, and where there are too many
//! one of them goes, rather than that a probe is not answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::Request;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::net::accept::Acceptor;
use crate::net::socket;
use crate::server::shared::Shared;
use crate::server::watch;

/// Connections at once: scrapers and probes are few.
const CONNECTIONS: usize = 64;
/// The time for the head of a request.
const HEAD: Duration = Duration::from_secs(5);
/// The time for all of it, the store's eight seconds to say that it is away included.
const EXCHANGE: Duration = Duration::from_secs(15);
/// Most bytes of a request's head.
const MAX_HEAD: usize = 16 * 1024;

/// Serves probes and metrics until dropped.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(shared);
    // Whoever waits for a connection holds a permit as well.
    let permits = Arc::new(Semaphore::new(CONNECTIONS + 1));
    let mut acceptor = Acceptor::new(listener, permits, socket::Options::default());
    let mut open = Open::default();
    loop {
        let (stream, _, permit) = acceptor.accept().await;
        let routes = routes.clone();
        open.make_room();
        open.add(|has_asked| async move {
            answer(stream, routes, has_asked).await;
            drop(permit);
        });
    }
}

/// The connections there are.
#[derive(Default)]
struct Open {
    tasks: JoinSet<()>,
    oldest_first: VecDeque<Exchange>,
}

struct Exchange {
    task: AbortHandle,
    /// The head of its request has been read.
    has_asked: Arc<AtomicBool>,
}

impl Open {
    fn add<F: Future<Output = ()> + Send + 'static>(&mut self, exchange: impl FnOnce(Arc<AtomicBool>) -> F) {
        let has_asked = Arc::new(AtomicBool::new(false));
        let task = self.tasks.spawn(exchange(Arc::clone(&has_asked)));
        self.oldest_first.push_back(Exchange { task, has_asked });
    }

    /// Ends one where there is no room: the oldest that has not even asked, or else the oldest.
    fn make_room(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.oldest_first.retain(|exchange| !exchange.task.is_finished());
        if self.oldest_first.len() < CONNECTIONS {
            return;
        }
        let mut each = self.oldest_first.iter();
        let silent = each.position(|exchange| !exchange.has_asked.load(Ordering::Relaxed));
        if let Some(exchange) = self.oldest_first.remove(silent.unwrap_or(0)) {
            exchange.task.abort();
        }
    }
}

/// One request and its answer.
async fn answer(stream: TcpStream, routes: Router, has_asked: Arc<AtomicBool>) {
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |request: Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        routes.call(request)
    });
    let exchange = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever asks wrongly, or goes away, is nobody's fault here.
    let _ = timeout(EXCHANGE, exchange).await;
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    match shared.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Ready: it accepts connections and its store answers. A backend that is away is no reason to restart or bypass us.
async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    if *shared.shutdown.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    match watch::store_works(&shared).await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            shared.store_failed(&error);
            (StatusCode::SERVICE_UNAVAILABLE, "the store is unavailable\n").into_response()
        }
    }
}
