//! Plays `tests/dialogs/*.dialog`: what a client, imapwarden and a backend say to each other, line by line.
//!
//! ```text
//! # a comment
//! option second_factor exempt          what the test that starts imapwarden should set
//! client> a LOGIN alice secret         the client sends
//! backend> * OK ready                  the backend sends; it accepts a connection first
//! backend< {t} LOGIN "alice" "secret"  the backend must hear; {t} stands for a run without spaces, the same from now on
//! backend> {t} OK in
//! client< a OK …                       the client must hear; … at the end: whatever follows in the line
//! event<  login_succeeded user.name=alice
//! client: close                        or `closed`: the other side must have closed; `next`: a new connection
//! ```
//! Escapes in what is said: `\r`, `\n`, `\\`, `\x00`. A line ends in CRLF unless its last character is `\`. A text to be
//! heard may hold `\r\n` inside, as literals do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::events;
use super::events::Recorder;

/// Longest wait for each step.
const PATIENCE: Duration = Duration::from_secs(10);

/// A dialog that was read.
#[derive(Debug, Clone)]
pub struct Dialog {
    /// `option` lines: name and value.
    pub options: Vec<(String, String)>,
    steps: Vec<(usize, Step)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Send(Who, Vec<u8>),
    Hear(Who, String),
    Close(Who),
    Closed(Who),
    Next(Who),
    Event(String, Vec<(String, String)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Client,
    Backend,
}

impl Dialog {
    /// Reads a dialog.
    ///
    /// # Errors
    /// Says which line is not one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut dialog = Self {
            options: Vec::new(),
            steps: Vec::new(),
        };
        for (line, number) in text.lines().zip(1..) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(option) = line.strip_prefix("option ") {
                let (name, value) = option.trim().split_once(' ').unwrap_or((option.trim(), ""));
                dialog.options.push((name.to_owned(), value.trim().to_owned()));
                continue;
            }
            let step = step(line).ok_or_else(|| format!("line {number} is not a step: {line}"))?;
            dialog.steps.push((number, step));
        }
        Ok(dialog)
    }
}

fn step(line: &str) -> Option<Step> {
    let (head, text) = line.split_once(' ').unwrap_or((line, ""));
    let who = match head.get(..head.len() - 1)? {
        "client" => Who::Client,
        "backend" => Who::Backend,
        "event" if head.ends_with('<') => return Some(event(text)),
        _ => return None,
    };
    match (&head[head.len() - 1..], text.trim()) {
        (">", _) => Some(Step::Send(who, said(text)?)),
        ("<", _) => Some(Step::Hear(who, text.to_owned())),
        (":", "close") => Some(Step::Close(who)),
        (":", "closed") => Some(Step::Closed(who)),
        (":", "next") => Some(Step::Next(who)),
        _ => None,
    }
}

/// `login_failed reason=code_invalid user.name=alice`; `reason` and `outcome` are short for `event.…`.
fn event(text: &str) -> Step {
    let mut words = text.split_whitespace();
    let action = words.next().unwrap_or_default().to_owned();
    let fields = words.filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        let name = match name {
            "reason" | "outcome" | "code" => format!("event.{name}"),
            _ => name.to_owned(),
        };
        Some((name, value.to_owned()))
    });
    Step::Event(action, fields.collect())
}

/// What is sent, escapes resolved and CRLF behind it.
fn said(text: &str) -> Option<Vec<u8>> {
    match text.strip_suffix('\\') {
        Some(open) if !open.ends_with('\\') => unescaped(open),
        _ => {
            let mut bytes = unescaped(text)?;
            bytes.extend_from_slice(b"\r\n");
            Some(bytes)
        }
    }
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let (byte, length) = match escape.as_bytes().first()? {
            b'r' => (b'\r', 1),
            b'n' => (b'\n', 1),
            b'\\' => (b'\\', 1),
            b'x' => (u8::from_str_radix(escape.get(1..3)?, 16).ok()?, 3),
            _ => return None,
        };
        bytes.push(byte);
        rest = &escape[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

/// Everybody who takes part in a dialog besides imapwarden.
pub struct Stage<C> {
    /// Makes a connection to imapwarden: with TLS and past it, or without.
    pub connect: C,
    /// Where imapwarden expects its backend.
    pub backend: TcpListener,
    /// Its events.
    pub events: Recorder,
}

/// Plays a dialog to its end.
///
/// # Errors
/// Says at which line something else happened, and what.
pub async fn play<C, F, S>(dialog: &Dialog, stage: Stage<C>) -> Result<(), String>
where
    C: Fn() -> F,
    F: Future<Output = io::Result<S>>,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut players = Players {
        stage,
        client: None,
        backend: None,
        bound: BTreeMap::new(),
        events_heard: 0,
    };
    for (number, step) in &dialog.steps {
        let result = timeout(PATIENCE, players.play(step)).await;
        let problem = match result {
            Ok(Ok(())) => continue,
            Ok(Err(problem)) => problem,
            Err(_) => "nothing happened".to_owned(),
        };
        return Err(format!("line {number}: {step:?}: {problem}"));
    }
    Ok(())
}

struct Players<C, S> {
    stage: Stage<C>,
    client: Option<BufReader<S>>,
    backend: Option<BufReader<TcpStream>>,
    /// What the names in braces stand for.
    bound: BTreeMap<String, String>,
    events_heard: usize,
}

impl<C, F, S> Players<C, S>
where
    C: Fn() -> F,
    F: Future<Output = io::Result<S>>,
    S: AsyncRead + AsyncWrite + Unpin,
{
    async fn play(&mut self, step: &Step) -> Result<(), String> {
        self.arrive(step).await.map_err(|error| error.to_string())?;
        match step {
            Step::Send(who, bytes) => {
                let bytes = self.filled(bytes);
                match who {
                    Who::Client => send(self.client.as_mut(), &bytes).await,
                    Who::Backend => send(self.backend.as_mut(), &bytes).await,
                }
            }
            Step::Hear(who, expected) => {
                let lines = expected.matches("\\n").count() + 1;
                let heard = match who {
                    Who::Client => hear(self.client.as_mut(), lines).await,
                    Who::Backend => hear(self.backend.as_mut(), lines).await,
                }?;
                self.compare(expected, &heard)
            }
            Step::Close(Who::Client) => {
                self.client = None;
                Ok(())
            }
            Step::Close(Who::Backend) => {
                self.backend = None;
                Ok(())
            }
            Step::Closed(Who::Client) => closed(self.client.as_mut()).await,
            Step::Closed(Who::Backend) => closed(self.backend.as_mut()).await,
            Step::Next(_) => Ok(()),
            Step::Event(action, fields) => self.hear_event(action, fields).await,
        }
    }

    /// Makes the connection that a step needs.
    async fn arrive(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::Next(Who::Client) => self.client = None,
            Step::Next(Who::Backend) => self.backend = None,
            _ => {}
        }
        match step {
            Step::Send(Who::Client, _) | Step::Hear(Who::Client, _) | Step::Next(Who::Client)
                if self.client.is_none() =>
            {
                self.client = Some(BufReader::new((self.stage.connect)().await?));
            }
            Step::Send(Who::Backend, _) | Step::Hear(Who::Backend, _) | Step::Next(Who::Backend)
                if self.backend.is_none() =>
            {
                let (stream, _) = self.stage.backend.accept().await?;
                stream.set_nodelay(true)?;
                self.backend = Some(BufReader::new(stream));
            }
            _ => {}
        }
        Ok(())
    }

    /// Puts what names in braces stand for in their place.
    fn filled(&self, bytes: &[u8]) -> Vec<u8> {
        // Only names that were bound are replaced, so that bytes which are no text stay as they are.
        let mut text = bytes.to_vec();
        for (name, value) in &self.bound {
            text = super::scripted::replace(&text, format!("{{{name}}}").as_bytes(), value.as_bytes());
        }
        text
    }

    fn compare(&mut self, expected: &str, heard: &[u8]) -> Result<(), String> {
        let shown = shown(heard);
        let mut pattern = expected;
        let mut rest = shown.as_str();
        let wrong = || format!("heard instead: {shown}");
        while let Some((plain, name, behind)) = next_name(pattern) {
            rest = rest.strip_prefix(plain).ok_or_else(wrong)?;
            let end = rest.find(' ').unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            if word.is_empty() || self.bound.get(name).is_some_and(|bound| bound != word) {
                return Err(wrong());
            }
            self.bound.insert(name.to_owned(), word.to_owned());
            (pattern, rest) = (behind, after);
        }
        let same = match pattern.strip_suffix('…') {
            Some(prefix) => rest.starts_with(prefix),
            None => rest == pattern,
        };
        same.then_some(()).ok_or_else(wrong)
    }

    async fn hear_event(&mut self, action: &str, fields: &[(String, String)]) -> Result<(), String> {
        let found = self.stage.events.wait(self.events_heard, action).await;
        let Some((at, event)) = found else {
            let actions = self.stage.events.all();
            let actions = actions.iter().map(|event| events::text(event, "event.action"));
            return Err(format!("no such event, but {:?}", actions.collect::<Vec<_>>()));
        };
        self.events_heard = at + 1;
        for (name, value) in fields {
            let told = events::text(&event, name);
            if told != *value {
                return Err(format!("{name} is {told:?}"));
            }
        }
        Ok(())
    }
}

/// The first name in braces, with what stands before and behind it. `{12}` is a literal, not a name.
fn next_name(pattern: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let open = from + pattern[from..].find('{')?;
        let (name, behind) = pattern[open + 1..].split_once('}')?;
        if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Some((&pattern[..open], name, behind));
        }
        from = open + 1;
    }
}

/// Bytes in the form in which dialogs write them, the last CRLF left out.
fn shown(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(b"\r\n").unwrap_or(bytes);
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\r' => text.push_str("\\r"),
                '\n' => text.push_str("\\n"),
                '\\' => text.push_str("\\\\"),
                c if c.is_ascii_control() => write!(text, "\\x{:02x}", c as u32).unwrap(),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").unwrap();
        }
    }
    text
}

async fn send(
    stream: Option<&mut BufReader<impl AsyncRead + AsyncWrite + Unpin>>,
    bytes: &[u8],
) -> Result<(), String> {
    let stream = stream.ok_or("there is no connection")?;
    let result = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    result.await.map_err(|error| error.to_string())
}

async fn hear(
    stream: Option<&mut BufReader<impl AsyncRead + Unpin>>,
    lines: usize,
) -> Result<Vec<u8>, String> {
    let stream = stream.ok_or("there is no connection")?;
    let mut heard = Vec::new();
    for _ in 0..lines {
        match stream.read_until(b'\n', &mut heard).await {
            Ok(0) => return Err(format!("the connection was closed after {}", shown(&heard))),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(heard)
}

async fn closed(stream: Option<&mut BufReader<impl AsyncRead + Unpin>>) -> Result<(), String> {
    let mut rest = Vec::new();
    // However it was closed; what matters is that nothing was said before.
    let _ = stream
        .ok_or("there is no connection")?
        .read_to_end(&mut rest)
        .await;
    match rest.is_empty() {
        true => Ok(()),
        false => Err(format!("heard before the end: {}", shown(&rest))),
    }
}
