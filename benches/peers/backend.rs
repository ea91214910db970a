//! A mail server without TLS that lets everybody in, serves generated mail, and compares every byte that clients append.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::content;
use crate::socket::listen;
use crate::socket::read_with;

const CAPABILITIES: &str = "IMAP4rev1 LITERAL+ SASL-IR IDLE ID ENABLE NAMESPACE UIDPLUS AUTH=PLAIN";

/// Messages in every mailbox.
const EXISTS: usize = content::LISTING_LINES;

/// How long a client may take to close after LOGOUT.
const CLOSING: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
}

pub async fn run(arguments: &Arguments) -> io::Result<()> {
    serve_all(listen(arguments.listen)?).await
}

/// Serves whoever connects; never ends by itself.
pub async fn serve_all(listener: TcpListener) -> io::Result<()> {
    // Made now, so that nobody's answer waits for it.
    content::piece(0, 0, 1);
    content::listing(1);
    loop {
        let (stream, _) = listener.accept().await?;
        spawn_local(serve(stream));
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut session = Session::default();
    session.say(&format!("* OK [CAPABILITY {CAPABILITIES}] ready\r\n"));
    let mut kept = Vec::new();
    loop {
        while let Some(output) = session.outputs.pop_front() {
            output.send(&mut stream).await?;
        }
        if session.over {
            stream.shutdown().await?;
            // What the client still sends must not be answered by a reset.
            let closed = async {
                while read_with(&mut stream, &mut kept, |bytes| Ok(bytes.len())).await? > 0 {}
                Ok(())
            };
            return timeout(CLOSING, closed).await.unwrap_or(Ok(()));
        }
        let read = read_with(&mut stream, &mut kept, |bytes| {
            session.receive(bytes);
            Ok(bytes.len())
        });
        if read.await? == 0 {
            return Ok(());
        }
    }
}

/// What is to be sent.
#[derive(Debug)]
enum Output {
    Bytes(Vec<u8>),
    Made(&'static [u8]),
    Message(u32),
}

impl Output {
    async fn send(self, stream: &mut TcpStream) -> io::Result<()> {
        match self {
            Self::Bytes(bytes) => stream.write_all(&bytes).await,
            Self::Made(bytes) => stream.write_all(bytes).await,
            Self::Message(message) => {
                let (size, mut offset) = (content::size(message), 0);
                while offset < size {
                    let piece = content::piece(message, offset, size - offset);
                    stream.write_all(piece).await?;
                    offset += piece.len() as u64;
                }
                Ok(())
            }
        }
    }
}

/// What the next bytes of a client are.
#[derive(Debug, Default)]
enum Awaits {
    #[default]
    Line,
    Literal {
        left: usize,
    },
    Appended {
        left: u64,
        offset: u64,
    },
    Credentials {
        tag: String,
    },
    Done {
        tag: String,
    },
}

/// One client's session.
#[derive(Debug, Default)]
pub struct Session {
    awaits: Awaits,
    /// A line that has not come whole yet.
    line: Vec<u8>,
    /// A command as far as it has come, with its literals but for messages.
    command: Vec<u8>,
    /// Whether a message that was appended had the right bytes, and how many.
    appended: Option<(bool, u64)>,
    outputs: VecDeque<Output>,
    over: bool,
}

impl Session {
    /// Takes bytes of the client and does what they ask for.
    pub fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.over {
            let taken = match &mut self.awaits {
                Awaits::Literal { left } => {
                    let taken = bytes.len().min(*left);
                    self.command.extend_from_slice(&bytes[..taken]);
                    *left -= taken;
                    if *left == 0 {
                        self.awaits = Awaits::Line;
                    }
                    taken
                }
                Awaits::Appended { .. } => self.message(bytes),
                Awaits::Line | Awaits::Credentials { .. } | Awaits::Done { .. } => {
                    let end = memchr::memchr(b'\n', bytes);
                    let taken = end.map_or(bytes.len(), |end| end + 1);
                    self.line.extend_from_slice(&bytes[..taken]);
                    if end.is_some() {
                        let line = std::mem::take(&mut self.line);
                        self.whole_line(line.strip_suffix(b"\r\n").unwrap_or(&line));
                    }
                    taken
                }
            };
            bytes = &bytes[taken..];
        }
    }

    /// Takes bytes of a message that is appended.
    fn message(&mut self, bytes: &[u8]) -> usize {
        let Awaits::Appended { left, offset } = &mut self.awaits else {
            return 0;
        };
        let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let right = content::matches(content::APPENDED, *offset, &bytes[..taken]);
        *left -= taken as u64;
        *offset += taken as u64;
        let (so_far, _) = self.appended.unwrap_or((true, 0));
        self.appended = Some((so_far && right, *offset));
        if *left == 0 {
            self.awaits = Awaits::Line;
        }
        taken
    }

    fn whole_line(&mut self, line: &[u8]) {
        match std::mem::take(&mut self.awaits) {
            Awaits::Credentials { tag } => return self.let_in(&tag),
            Awaits::Done { tag } => return self.tagged(&tag, "OK Idle completed."),
            Awaits::Line | Awaits::Literal { .. } | Awaits::Appended { .. } => {}
        }
        self.command.extend_from_slice(line);
        let Some((size, waits)) = announced(line) else {
            let command = std::mem::take(&mut self.command);
            return self.execute(&String::from_utf8_lossy(&command));
        };
        if waits {
            self.say("+ OK\r\n");
        }
        let is_message = self.command.split(|byte| *byte == b' ').nth(1) == Some(b"APPEND");
        self.awaits = match (is_message, size) {
            (true, 1..) => Awaits::Appended {
                left: size,
                offset: 0,
            },
            (false, 1..) => Awaits::Literal { left: size as usize },
            (_, 0) => Awaits::Line,
        };
    }

    fn execute(&mut self, command: &str) {
        let mut words = command.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let (tag, verb, first, second) = (word(), word(), word(), word());
        match verb {
            "NOOP" => self.tagged(tag, "OK NOOP completed."),
            "FETCH" => self.fetch(tag, first),
            "UID" => self.listing(tag, second),
            "LOGIN" => self.let_in(tag),
            "AUTHENTICATE" if second.is_empty() => {
                self.say("+ \r\n");
                self.awaits = Awaits::Credentials { tag: tag.to_owned() };
            }
            "AUTHENTICATE" => self.let_in(tag),
            "SELECT" => {
                self.say(&format!(
                    "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n* {EXISTS} EXISTS\r\n* 0 RECENT\r\n\
                     * OK [UIDVALIDITY 1700000000] UIDs valid\r\n* OK [UIDNEXT {}] Predicted next UID\r\n",
                    EXISTS + 1
                ));
                self.tagged(tag, "OK [READ-WRITE] Select completed.");
            }
            "IDLE" => {
                self.say("+ idling\r\n");
                self.awaits = Awaits::Done { tag: tag.to_owned() };
            }
            "APPEND" => match self.appended.take() {
                Some((true, _)) => self.tagged(tag, "OK [APPENDUID 1700000000 5001] Append completed."),
                Some((false, size)) => {
                    self.tagged(tag, &format!("NO {size} bytes are not those of the message"));
                }
                None => self.tagged(tag, "BAD no message"),
            },
            "CAPABILITY" => {
                self.say(&format!("* CAPABILITY {CAPABILITIES}\r\n"));
                self.tagged(tag, "OK Capability completed.");
            }
            "ID" => {
                self.say("* ID (\"name\" \"peers\")\r\n");
                self.tagged(tag, "OK ID completed.");
            }
            "LOGOUT" => {
                self.say("* BYE Logging out\r\n");
                self.tagged(tag, "OK Logout completed.");
                self.over = true;
            }
            _ => self.tagged(tag, "BAD Unknown command."),
        }
    }

    fn let_in(&mut self, tag: &str) {
        self.tagged(tag, &format!("OK [CAPABILITY {CAPABILITIES}] Logged in"));
    }

    fn fetch(&mut self, tag: &str, set: &str) {
        let Ok(message) = set.parse() else {
            return self.tagged(tag, "BAD message set");
        };
        let size = content::size(message);
        self.say(&format!("* {message} FETCH (BODY[] {{{size}}}\r\n"));
        if size <= 64 << 10 {
            self.put(content::piece(message, 0, size));
        } else {
            self.outputs.push_back(Output::Message(message));
        }
        self.say(")\r\n");
        self.tagged(tag, "OK Fetch completed.");
    }

    fn listing(&mut self, tag: &str, set: &str) {
        let lines = set.split_once(':').and_then(|(_, last)| last.parse().ok());
        let Some(lines) = lines else {
            return self.tagged(tag, "BAD message set");
        };
        self.outputs.push_back(Output::Made(content::listing(lines)));
        self.tagged(tag, "OK Fetch completed.");
    }

    fn tagged(&mut self, tag: &str, text: &str) {
        self.say(&format!("{tag} {text}\r\n"));
    }

    fn say(&mut self, text: &str) {
        self.put(text.as_bytes());
    }

    /// What is short goes into one write with what stands before it.
    fn put(&mut self, bytes: &[u8]) {
        if let Some(Output::Bytes(last)) = self.outputs.back_mut() {
            last.extend_from_slice(bytes);
        } else {
            self.outputs.push_back(Output::Bytes(bytes.to_vec()));
        }
    }
}

/// `{12}` or `{12+}` at the end of a line: how many bytes follow, and whether the client waits for leave.
fn announced(line: &[u8]) -> Option<(u64, bool)> {
    let inner = line.strip_suffix(b"}")?;
    let open = memchr::memrchr(b'{', inner)?;
    let digits = std::str::from_utf8(&inner[open + 1..]).ok()?;
    let (digits, waits) = digits
        .strip_suffix('+')
        .map_or((digits, true), |digits| (digits, false));
    Some((digits.parse().ok()?, waits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(pieces: &[&[u8]]) -> String {
        let mut session = Session::default();
        for piece in pieces {
            session.receive(piece);
        }
        let said = session.outputs.into_iter().map(|output| match output {
            Output::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
            Output::Made(bytes) => format!("<{}>", bytes.len()),
            Output::Message(message) => format!("<message {message}>"),
        });
        said.collect()
    }

    #[test]
    fn literals_may_be_cut_anywhere() {
        let said = talk(&[b"a LOG", b"IN {4}\r\nus", b"er {4}\r\npass\r", b"\nb NOOP\r\n"]);
        assert_eq!(said.matches("+ OK").count(), 2, "{said}");
        assert!(
            said.contains("a OK [CAPABILITY") && said.contains("b OK"),
            "{said}"
        );
    }

    #[test]
    fn a_message_with_one_wrong_byte_is_refused() {
        let mut bytes = content::piece(content::APPENDED, 0, 100).to_vec();
        let head = b"a APPEND INBOX {100}\r\n".as_slice();
        let said = talk(&[head, &bytes[..50], &bytes[50..], b"\r\n"]);
        assert!(said.starts_with("+ OK\r\na OK"), "{said}");
        bytes[70] ^= 1;
        let said = talk(&[head, &bytes, b"\r\n"]);
        assert!(said.starts_with("+ OK\r\na NO"), "{said}");
    }

    #[test]
    fn mail_listings_idle_and_sasl_are_served() {
        let said = talk(&[
            b"a FETCH 4 BODY[]\r\nb IDLE\r\nDONE\r\nc AUTHENTICATE PLAIN\r\nAAA=\r\nd UID FETCH 1:10 (FLAGS ENVELOPE)\r\n",
        ]);
        assert!(said.contains("{52428800}\r\n<message 4>)\r\na OK"), "{said}");
        assert!(
            said.contains("+ idling\r\nb OK") && said.contains("+ \r\nc OK"),
            "{said}"
        );
        assert!(said.contains(">d OK"), "{said}");
    }
}
