//! The smallest HTTP server that nginx's `auth_http` can ask. nginx's figures do not include it: whom a mail proxy asks is
//! somebody else's cost.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::socket::listen;
use crate::socket::read_with;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Where everybody is sent.
    #[arg(long)]
    backend: SocketAddr,
}

pub async fn run(arguments: &Arguments) -> io::Result<()> {
    let listener = listen(arguments.listen)?;
    let answer = format!(
        "HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: {}\r\nAuth-Port: {}\r\nContent-Length: 0\r\n\r\n",
        arguments.backend.ip(),
        arguments.backend.port()
    );
    loop {
        let (stream, _) = listener.accept().await?;
        spawn_local(serve(stream, answer.clone()));
    }
}

async fn serve(mut stream: TcpStream, answer: String) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut kept, mut request) = (Vec::new(), Vec::new());
    while !request.ends_with(b"\r\n\r\n") {
        let read = read_with(&mut stream, &mut kept, |bytes| {
            request.extend_from_slice(bytes);
            Ok(bytes.len())
        });
        if read.await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
