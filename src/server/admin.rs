//! `/metrics`, `/healthz` and `/readyz`, on an address of their own. It reads nothing but the request line.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::server::shared::Shared;

/// Serves probes and metrics until dropped.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(shared);
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "metrics and probes ended");
    }
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
    match shared.store.probe().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            shared.store_failed(&error);
            (StatusCode::SERVICE_UNAVAILABLE, "the store is unavailable\n").into_response()
        }
    }
}
