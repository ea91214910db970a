//! One IMAP client's connection, with TLS or without.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::HandshakeKind;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::content;
use crate::pump::Pump;
use crate::reader::Counters;
use crate::reader::Reader;
use crate::socket::other;
use crate::socket::read_with;

/// Bytes that are sealed and written at once.
const CHUNK: usize = 256 << 10;

/// Where to connect.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: SocketAddr,
    /// None for a server without TLS.
    pub tls: Option<Arc<ClientConfig>>,
}

/// A connection and what the server has said on it.
pub struct Client {
    socket: TcpStream,
    tls: Option<Pump<UnbufferedClientConnection>>,
    kept: Vec<u8>,
    reader: Reader,
    sent: u64,
    ended: bool,
}

impl Client {
    /// Connects and reads the greeting.
    pub async fn connect(target: &Target, counters: Rc<Counters>) -> io::Result<Self> {
        let socket = TcpStream::connect(target.address).await?;
        socket.set_nodelay(true)?;
        let mut client = Self {
            socket,
            tls: None,
            kept: Vec::new(),
            reader: Reader::new(counters),
            sent: 0,
            ended: false,
        };
        if let Some(config) = &target.tls {
            client.handshake(Arc::clone(config)).await?;
        }
        while !client.reader.greeted {
            client.receive().await?;
        }
        Ok(client)
    }

    async fn handshake(&mut self, config: Arc<ClientConfig>) -> io::Result<()> {
        let name = ServerName::try_from("localhost").map_err(other)?;
        let mut pump = Pump::new(UnbufferedClientConnection::new(config, name).map_err(other)?);
        pump.receive(&mut [], |_| Ok(()))?;
        self.tls = Some(pump);
        self.send_output().await?;
        while !self.tls.as_ref().is_some_and(|pump| pump.ready) {
            self.receive().await?;
        }
        let kind = self
            .tls
            .as_ref()
            .and_then(|pump| pump.connection.handshake_kind());
        let counters = &self.reader.counters;
        let resumed = kind == Some(HandshakeKind::Resumed);
        Counters::add(
            if resumed {
                &counters.resumed
            } else {
                &counters.full
            },
            1,
        );
        Ok(())
    }

    /// Sends what the hand-shake has to say.
    async fn send_output(&mut self) -> io::Result<()> {
        if let Some(pump) = &mut self.tls {
            let output = std::mem::take(&mut pump.output);
            self.socket.write_all(&output).await?;
        }
        Ok(())
    }

    /// Reads once, and looks at all of it.
    async fn receive(&mut self) -> io::Result<()> {
        if self.ended {
            return Err(other("the server closed the connection"));
        }
        let Self { reader, tls, .. } = self;
        let read = read_with(&mut self.socket, &mut self.kept, |bytes| {
            let Some(pump) = tls else {
                reader.receive(bytes)?;
                return Ok(bytes.len());
            };
            let before = pump.records;
            let used = pump.receive(bytes, |plain| reader.receive(plain))?;
            Counters::add(&reader.counters.records, pump.records - before);
            Ok(used)
        });
        self.ended = read.await? == 0 || self.tls.as_ref().is_some_and(|pump| pump.closed);
        self.send_output().await
    }

    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(pump) = &mut self.tls else {
            return self.socket.write_all(bytes).await;
        };
        let mut sealed = Vec::new();
        for chunk in bytes.chunks(CHUNK) {
            sealed.clear();
            pump.seal(chunk, &mut sealed)?;
            self.socket.write_all(&sealed).await?;
        }
        Ok(())
    }

    /// The tag of the next command, which must be sent.
    pub fn tag(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// Waits until every command so far was answered OK.
    pub async fn answered(&mut self) -> io::Result<()> {
        while self.reader.answered < self.sent {
            self.receive().await?;
        }
        if self.reader.at_boundary() {
            Ok(())
        } else {
            Err(other("bytes behind the last answer"))
        }
    }

    pub async fn command(&mut self, text: &str) -> io::Result<()> {
        let tag = self.tag();
        self.send(format!("a{tag} {text}\r\n").as_bytes()).await?;
        self.answered().await
    }

    /// Sends a command up to where the server must ask for more, and waits for that.
    async fn begin(&mut self, text: &str) -> io::Result<()> {
        let tag = self.tag();
        let before = self.reader.continuations;
        self.send(format!("a{tag} {text}\r\n").as_bytes()).await?;
        while self.reader.continuations == before {
            self.receive().await?;
        }
        Ok(())
    }

    pub async fn log_in(&mut self, (name, password): (&str, &str)) -> io::Result<()> {
        self.command(&format!("LOGIN {name} {password}")).await
    }

    pub async fn listing(&mut self, lines: usize) -> io::Result<()> {
        self.reader.expect_listing(lines);
        self.command(&format!("UID FETCH 1:{lines} (FLAGS ENVELOPE)"))
            .await
    }

    /// Appends a message; the server compares it.
    pub async fn append(&mut self) -> io::Result<()> {
        let size = content::size(content::APPENDED);
        self.begin(&format!("APPEND INBOX {{{size}}}")).await?;
        let mut offset = 0;
        while offset < size {
            let piece = content::piece(content::APPENDED, offset, (size - offset).min(CHUNK as u64));
            self.send(piece).await?;
            offset += piece.len() as u64;
        }
        self.send(b"\r\n").await?;
        self.answered().await?;
        Counters::add(&self.reader.counters.bytes, size);
        Ok(())
    }

    pub async fn idle(&mut self) -> io::Result<()> {
        self.begin("IDLE").await
    }

    pub async fn done(&mut self) -> io::Result<()> {
        self.send(b"DONE\r\n").await?;
        self.answered().await
    }

    /// LOGOUT, its answer, and the server's close.
    pub async fn log_out(mut self) -> io::Result<()> {
        self.command("LOGOUT").await?;
        if !self.reader.said_bye {
            return Err(other("LOGOUT without BYE"));
        }
        while !self.ended {
            match self.receive().await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                result => result?,
            }
        }
        Ok(())
    }
}
