//! A relay that takes TLS off and looks at nothing, for comparison: whatever reads what it passes on costs more. Its buffers
//! belong to the thread; a session that waits holds none.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::pump::Pump;
use crate::socket::listen;
use crate::socket::other;
use crate::socket::read_with;
use crate::tls;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Where everybody is sent.
    #[arg(long)]
    backend: SocketAddr,
    /// PEM.
    #[arg(long)]
    certificate: PathBuf,
    /// PEM.
    #[arg(long)]
    key: PathBuf,
}

thread_local! {
    static SEALED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub async fn run(arguments: &Arguments) -> io::Result<()> {
    let config = tls::server(&arguments.certificate, &arguments.key)?;
    serve_all(listen(arguments.listen)?, arguments.backend, config).await
}

/// Serves whoever connects; never ends by itself.
pub async fn serve_all(
    listener: TcpListener,
    backend: SocketAddr,
    config: Arc<ServerConfig>,
) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        spawn_local(serve(client, backend, Arc::clone(&config)));
    }
}

async fn serve(mut client: TcpStream, address: SocketAddr, config: Arc<ServerConfig>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let pump = RefCell::new(Pump::new(UnbufferedServerConnection::new(config).map_err(other)?));
    let (mut client_kept, mut backend_kept) = (Vec::new(), Vec::new());
    let opened = RefCell::new(Vec::new());
    let from_client = |bytes: &mut [u8]| {
        pump.borrow_mut().receive(bytes, |plain| {
            opened.borrow_mut().extend_from_slice(plain);
            Ok(())
        })
    };
    while !pump.borrow().ready {
        if read_with(&mut client, &mut client_kept, from_client).await? == 0 {
            return Ok(());
        }
        let output = std::mem::take(&mut pump.borrow_mut().output);
        client.write_all(&output).await?;
    }
    let mut backend = TcpStream::connect(address).await?;
    backend.set_nodelay(true)?;
    loop {
        let plain = opened.take();
        if !plain.is_empty() {
            backend.write_all(&plain).await?;
        }
        let mut sealed = Vec::new();
        let from_backend = |bytes: &mut [u8]| {
            sealed = SEALED.take();
            sealed.clear();
            pump.borrow_mut().seal(bytes, &mut sealed)?;
            Ok(bytes.len())
        };
        let ended = tokio::select! {
            read = read_with(&mut backend, &mut backend_kept, from_backend) => read? == 0,
            read = read_with(&mut client, &mut client_kept, from_client) => read? == 0 || pump.borrow().closed,
        };
        if !sealed.is_empty() {
            client.write_all(&sealed).await?;
            SEALED.set(sealed);
        }
        if ended {
            return client.shutdown().await;
        }
    }
}
