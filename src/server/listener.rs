//! One address that clients connect to: takes a permit, accepts, and gives each connection a task of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::timeout;
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

/// Once another process has the address: how long nobody must come until the last of our queue is in.
const QUIET: Duration = Duration::from_millis(500);

/// And no longer than that in all.
const LAST_CALL: Duration = Duration::from_secs(5);

/// Accepts until the process shuts down, or hands the address over and has accepted what came before.
pub(super) async fn run(
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    mut acceptor: Acceptor,
    tasks: TaskTracker,
) {
    let mut shutdown = shared.shutdown.subscribe();
    let mut retired = shared.retired.subscribe();
    let serve = |(tcp, peer, permit)| {
        let serve = connection::serve(Arc::clone(&shared), Arc::clone(&listener), tcp, peer, permit);
        tasks.spawn(serve);
    };
    loop {
        let accepted = tokio::select! {
            accepted = acceptor.accept() => accepted,
            _ = shutdown.wait_for(|down| *down) => return,
            _ = retired.wait_for(|retired| *retired) => break,
        };
        serve(accepted);
    }
    let over = Instant::now() + LAST_CALL;
    while Instant::now() < over {
        tokio::select! {
            accepted = timeout(QUIET, acceptor.accept()) => match accepted {
                Ok(accepted) => serve(accepted),
                Err(_) => return,
            },
            _ = shutdown.wait_for(|down| *down) => return,
        }
    }
}
