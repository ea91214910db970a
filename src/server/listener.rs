//! One address that clients connect to: takes a permit, accepts, and gives each connection a task of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::net::accept::Acceptor;
use crate::server::connection;
use crate::server::shared::Shared;

/// What connections of one listener have in common.
#[derive(Debug)]
pub(super) struct Listener {
    /// Its address as configured: its name in events.
    pub(super) name: Arc<str>,
    /// Its address as bound.
    pub(super) address: SocketAddr,
    /// True where TLS begins with STARTTLS.
    pub(super) starts_plain: bool,
    /// Which of the configuration's it is, counted from zero: what a reload can change of it is in the settings.
    pub(super) number: usize,
}

/// Accepts until the process shuts down.
pub(super) async fn run(
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    mut acceptor: Acceptor,
    tasks: TaskTracker,
) {
    let mut shutdown = shared.shutdown.subscribe();
    loop {
        let (tcp, peer, permit) = tokio::select! {
            accepted = acceptor.accept() => accepted,
            _ = shutdown.wait_for(|down| *down) => return,
        };
        let serve = connection::serve(Arc::clone(&shared), Arc::clone(&listener), tcp, peer, permit);
        tasks.spawn(serve);
    }
}
