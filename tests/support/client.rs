//! A small IMAP client: sends what it is told, reads whole responses, waits for nobody longer than ten seconds.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::ServerName;

/// Longest wait for a peer.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection to an IMAP server.
#[derive(Debug)]
pub struct Client<S> {
    stream: BufReader<S>,
}

/// One with TLS.
pub type TlsClient = Client<TlsStream<TcpStream>>;

impl Client<TcpStream> {
    /// Connects without TLS.
    pub async fn plain(addr: SocketAddr) -> io::Result<Self> {
        Ok(Self::new(TcpStream::connect(addr).await?))
    }
}

impl Client<TlsStream<TcpStream>> {
    /// Connects with TLS, trusting one certificate and asking for one name.
    pub async fn tls(addr: SocketAddr, trusted: &CertificateDer<'_>, name: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self::new(start_tls(stream, trusted, name).await?))
    }
}

/// A TLS hand-shake as mail clients do it: TLS 1.2 or 1.3, a server name, no ALPN.
pub async fn start_tls<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    trusted: &CertificateDer<'_>,
    name: &str,
) -> io::Result<TlsStream<S>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(trusted.clone().into_owned())
        .map_err(io::Error::other)?;
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    patient(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Takes a connected stream.
    pub fn new(stream: S) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        patient(self.stream.write_all(bytes.as_ref())).await?;
        patient(self.stream.flush()).await
    }

    /// The next response with its literals, without its last CRLF.
    pub async fn response(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        loop {
            let start = bytes.len();
            if patient(self.stream.read_until(b'\n', &mut bytes)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some(size) = literal_size(&bytes[start..]) else {
                break;
            };
            let end = bytes.len();
            bytes.resize(end + size, 0);
            patient(self.stream.read_exact(&mut bytes[end..])).await?;
        }
        let text = bytes.strip_suffix(b"\r\n").unwrap_or(&bytes);
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// Responses up to the tagged answer, that included.
    pub async fn answer(&mut self, tag: &str) -> io::Result<Vec<String>> {
        let mut responses = Vec::new();
        loop {
            let response = self.response().await?;
            let last = response.split(' ').next() == Some(tag);
            responses.push(response);
            if last {
                return Ok(responses);
            }
        }
    }

    /// Sends `tag text` and reads up to its answer.
    pub async fn command(&mut self, tag: &str, text: &str) -> io::Result<Vec<String>> {
        self.send(format!("{tag} {text}\r\n")).await?;
        self.answer(tag).await
    }

    /// What still comes until the peer closes the connection.
    pub async fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match patient(self.stream.read_to_end(&mut bytes)).await {
            // A peer that closes without TLS's good-bye, or in the middle of our sending.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                ) => {}
            result => {
                result?;
            }
        }
        Ok(bytes)
    }

    /// The stream below, for whatever is not IMAP.
    pub fn into_inner(self) -> BufReader<S> {
        self.stream
    }
}

async fn patient<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, work).await?
}

/// `… {12}\r\n` announces twelve bytes; not in status responses, whose text is only text.
fn literal_size(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}\r\n")?;
    let open = line.iter().rposition(|byte| *byte == b'{')?;
    let second = line.split(|byte| *byte == b' ').nth(1)?;
    if matches!(second, b"OK" | b"NO" | b"BAD" | b"BYE" | b"PREAUTH") {
        return None;
    }
    std::str::from_utf8(&line[open + 1..]).ok()?.parse().ok()
}
