//! A backend that plays a script, for everything that a decent server does not do.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// One move of the backend.
#[derive(Debug, Clone)]
pub enum Move {
    /// Sends bytes; `{tag}` in them is the tag that was read last.
    Send(Vec<u8>),
    /// Reads a line, which must be a tag and then begin so.
    Expect(&'static str),
    /// Reads a line, which must begin so.
    ExpectLine(&'static str),
    /// Reads this many bytes.
    ExpectBytes(usize),
    /// Sends the same bytes many times, without end for `usize::MAX`.
    Flood(Vec<u8>, usize),
    /// Nothing may come for so long.
    Quiet(Duration),
    /// Waits until the value is true.
    Gate(watch::Receiver<bool>),
    /// Reads nothing and says nothing any more; the connection stays open.
    Stall,
    /// Reads everything until the peer closes, and says nothing.
    Drain,
    /// Closes at once: the peer gets a reset instead of an end.
    Reset,
}

/// Shorthand for text with `\r\n` behind it.
pub fn say(line: &str) -> Move {
    Move::Send(format!("{line}\r\n").into_bytes())
}

/// The moves of a backend that greets and lets everybody in by LOGIN.
pub fn after_login(mut moves: Vec<Move>) -> Vec<Move> {
    let mut all = vec![
        say("* OK [CAPABILITY IMAP4rev1] ready"),
        Move::Expect("LOGIN"),
        say("{tag} OK [CAPABILITY IMAP4rev1] in"),
    ];
    all.append(&mut moves);
    all
}

/// The same for one that says yes to the login once the value is true.
pub fn after_slow_login(gate: watch::Receiver<bool>) -> Vec<Move> {
    let mut all = after_login(vec![Move::Drain]);
    all.insert(2, Move::Gate(gate));
    all
}

/// What became of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every move was played.
    Played,
    /// The peer closed, or the connection broke, before a move could be made.
    Broken,
    /// The peer said something else.
    Unexpected(String),
}

/// A listening backend; it ends with this value.
#[derive(Debug)]
pub struct Scripted {
    /// Where it listens.
    pub addr: SocketAddr,
    seen: Arc<Seen>,
    accept: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Seen {
    lines: watch::Sender<Vec<String>>,
    outcomes: watch::Sender<Vec<Outcome>>,
}

impl Scripted {
    /// Starts to listen. The first connection plays the first script, and so on; the last script serves all others.
    pub async fn start(scripts: Vec<Vec<Move>>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let seen = Arc::new(Seen {
            lines: watch::channel(Vec::new()).0,
            outcomes: watch::channel(Vec::new()).0,
        });
        let accept = tokio::spawn(accept(listener, scripts, Arc::clone(&seen)));
        Ok(Self { addr, seen, accept })
    }

    /// Every line that was read.
    pub fn lines(&self) -> Vec<String> {
        self.seen.lines.borrow().clone()
    }

    /// Waits until so many lines have been read.
    pub async fn has_read(&self, count: usize) {
        let mut lines = self.seen.lines.subscribe();
        lines.wait_for(|read| read.len() >= count).await.unwrap();
    }

    /// Waits until this many connections have come to their end, and says how.
    pub async fn outcomes(&self, count: usize) -> Vec<Outcome> {
        let mut outcomes = self.seen.outcomes.subscribe();
        outcomes
            .wait_for(|ended| ended.len() >= count)
            .await
            .unwrap()
            .clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn accept(listener: TcpListener, scripts: Vec<Vec<Move>>, seen: Arc<Seen>) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let script = scripts
            .get(number)
            .or(scripts.last())
            .cloned()
            .unwrap_or_default();
        let seen = Arc::clone(&seen);
        connections.spawn(async move {
            let outcome = match play(stream, &script, &seen).await {
                Ok(outcome) => outcome,
                Err(_) => Outcome::Broken,
            };
            seen.outcomes.send_modify(|outcomes| outcomes.push(outcome));
        });
    }
}

async fn play(stream: TcpStream, script: &[Move], seen: &Seen) -> io::Result<Outcome> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut tag = String::new();
    for step in script {
        match step {
            Move::Send(bytes) => {
                let text = replace(bytes, b"{tag}", tag.as_bytes());
                stream.write_all(&text).await?;
            }
            Move::Expect(prefix) => {
                let line = read_line(&mut stream, seen).await?;
                let (first, rest) = line.split_once(' ').unwrap_or((&line, ""));
                if !rest.starts_with(prefix) {
                    return Ok(Outcome::Unexpected(line));
                }
                first.clone_into(&mut tag);
            }
            Move::ExpectLine(prefix) => {
                let line = read_line(&mut stream, seen).await?;
                if !line.starts_with(prefix) {
                    return Ok(Outcome::Unexpected(line));
                }
            }
            Move::ExpectBytes(count) => {
                let mut bytes = vec![0; *count];
                stream.read_exact(&mut bytes).await?;
            }
            Move::Flood(bytes, times) => {
                for _ in 0..*times {
                    stream.write_all(bytes).await?;
                }
            }
            Move::Quiet(time) => {
                if let Ok(read) = timeout(*time, stream.fill_buf()).await {
                    return Ok(Outcome::Unexpected(read?.escape_ascii().to_string()));
                }
            }
            Move::Gate(open) => {
                // A gate that nobody can open any more is no gate.
                let _ = open.clone().wait_for(|open| *open).await;
            }
            Move::Stall => std::future::pending().await,
            Move::Drain => {
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await?;
            }
            Move::Reset => {
                // Closing with unread bytes, or with a linger of zero, resets the connection.
                stream.get_ref().set_zero_linger()?;
                return Ok(Outcome::Played);
            }
        }
    }
    Ok(Outcome::Played)
}

async fn read_line(stream: &mut BufReader<TcpStream>, seen: &Seen) -> io::Result<String> {
    let mut bytes = Vec::new();
    if stream.read_until(b'\n', &mut bytes).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let text = bytes.strip_suffix(b"\r\n").unwrap_or(&bytes);
    let line = String::from_utf8_lossy(text).into_owned();
    seen.lines.send_modify(|lines| lines.push(line.clone()));
    Ok(line)
}

/// Every occurrence of a text in bytes replaced.
pub fn replace(bytes: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    let mut result = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(what.len()).position(|window| window == what) {
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(with);
        rest = &rest[at + what.len()..];
    }
    result.extend_from_slice(rest);
    result
}
