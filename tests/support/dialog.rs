//! Plays `tests/dialogs/*.dialog`: what a client, imapwarden and a backend say to each other, line by line.
//!
//! ```text
//! # a comment
//! option second_factor.default exempt  what the test that starts imapwarden should set
//! include logged-in                    the steps of logged-in.part come first
//! client> a LOGIN alice secret         the client sends
//! backend> * OK ready                  the backend sends; it accepts a connection first
//! backend< {t} LOGIN "alice" "secret"  the backend must hear; {t} stands for a run without spaces, the same from now on
//! backend> {t} OK in
//! client< a OK …                       the client must hear; … at the end: whatever follows in the line
//! event<  login_succeeded user.name=alice
//! client: close                        or `closed`: the other side must have closed; `next`: a new connection
//! client: tls                          the client begins TLS, with nothing heard that it has not been told of
//! backend: unasked                     nobody has connected to the backend
//! ```
//! Escapes in what is said: `\r`, `\n`, `\\`, `\x00`. A line ends in CRLF unless its last character is `\`. A text to be
//! heard may hold `\r\n` inside, as literals do. `{base64 TEXT}` is the text in base64, `{50 x TEXT}` the text fifty times.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::client::start_tls;
use super::events;
use super::events::Recorder;

/// Longest wait for each step.
const PATIENCE: Duration = Duration::from_secs(10);

/// A dialog that was read.
#[derive(Debug, Clone, Default)]
pub struct Dialog {
    /// `option` lines: name and value.
    pub options: Vec<(String, String)>,
    /// Each with where it stands.
    steps: Vec<(String, Step)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Send(Who, String),
    Hear(Who, String),
    Close(Who),
    Closed(Who),
    Next(Who),
    Tls,
    Unasked,
    Event(String, Vec<(String, String)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Client,
    Backend,
}

impl Dialog {
    /// Reads a dialog that includes nothing.
    ///
    /// # Errors
    /// Says which line is not one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut dialog = Self::default();
        dialog.add("", text, None)?;
        Ok(dialog)
    }

    /// Reads a dialog's file, and those that it includes.
    ///
    /// # Errors
    /// Says which file cannot be read, or which line is not one.
    pub fn load(path: &Path) -> Result<Self, String> {
        let mut dialog = Self::default();
        dialog.add("", &read(path)?, path.parent())?;
        Ok(dialog)
    }

    fn add(&mut self, part: &str, text: &str, directory: Option<&Path>) -> Result<(), String> {
        for (line, number) in text.lines().zip(1..) {
            let place = format!("{part}line {number}");
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(option) = line.strip_prefix("option ") {
                let (name, value) = option.trim().split_once(' ').unwrap_or((option.trim(), ""));
                self.options.push((name.to_owned(), value.trim().to_owned()));
                continue;
            }
            if let (Some(name), Some(directory)) = (line.strip_prefix("include "), directory) {
                let text = read(&directory.join(format!("{}.part", name.trim())))?;
                self.add(&format!("{place}, {} ", name.trim()), &text, None)?;
                continue;
            }
            let step = step(line).ok_or_else(|| format!("{place} is not a step: {line}"))?;
            self.steps.push((place, step));
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
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
        (">", _) => said(text).map(|_| Step::Send(who, text.to_owned())),
        ("<", _) => Some(Step::Hear(who, text.to_owned())),
        (":", "close") => Some(Step::Close(who)),
        (":", "closed") => Some(Step::Closed(who)),
        (":", "next") => Some(Step::Next(who)),
        (":", "tls") if who == Who::Client => Some(Step::Tls),
        (":", "unasked") if who == Who::Backend => Some(Step::Unasked),
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

/// `{base64 TEXT}` and `{50 x TEXT}` written out, the former with its text's escapes resolved.
fn expanded(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((plain, behind)) = rest.split_once('{') {
        out.push_str(plain);
        rest = behind;
        let Some((form, behind)) = behind.split_once('}') else {
            out.push('{');
            continue;
        };
        let repeated = form
            .split_once(" x ")
            .and_then(|(n, text)| Some((n.parse().ok()?, text)));
        if let Some(text) = form.strip_prefix("base64 ") {
            out.push_str(&STANDARD.encode(unescaped(text)?));
        } else if let Some((times, text)) = repeated {
            out.push_str(&str::repeat(text, times));
        } else {
            out.push('{');
            continue;
        }
        rest = behind;
    }
    out.push_str(rest);
    Some(out)
}

/// A connection of the client's, before TLS or in it.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for S {}

/// Everybody who takes part in a dialog besides imapwarden.
pub struct Stage<C> {
    /// Makes a connection to imapwarden: with TLS and past it, or without.
    pub connect: C,
    /// Whom the client trusts when it begins TLS itself.
    pub trusted: Option<CertificateDer<'static>>,
    /// Where imapwarden expects its backend.
    pub backend: TcpListener,
    /// Its events.
    pub events: Recorder,
    /// What names in braces stand for from the start: passwords that were made for this dialog.
    pub words: BTreeMap<String, String>,
}

/// Plays a dialog to its end.
///
/// # Errors
/// Says at which line something else happened, and what.
pub async fn play<C, F, S>(dialog: &Dialog, stage: Stage<C>) -> Result<(), String>
where
    C: Fn() -> F,
    F: Future<Output = io::Result<S>>,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut players = Players {
        bound: stage.words.clone(),
        stage,
        client: None,
        backend: None,
        events_heard: 0,
    };
    for (place, step) in &dialog.steps {
        let result = timeout(PATIENCE, players.play(step)).await;
        let problem = match result {
            Ok(Ok(())) => continue,
            Ok(Err(problem)) => problem,
            Err(_) => "nothing happened".to_owned(),
        };
        return Err(format!("{place}: {step:?}: {problem}"));
    }
    Ok(())
}

struct Players<C> {
    stage: Stage<C>,
    client: Option<BufReader<Box<dyn Wire>>>,
    backend: Option<BufReader<TcpStream>>,
    /// What the names in braces stand for.
    bound: BTreeMap<String, String>,
    events_heard: usize,
}

impl<C, F, S> Players<C>
where
    C: Fn() -> F,
    F: Future<Output = io::Result<S>>,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    async fn play(&mut self, step: &Step) -> Result<(), String> {
        self.arrive(step).await.map_err(|error| error.to_string())?;
        match step {
            Step::Send(who, text) => {
                let bytes = said(&self.filled(text)?).ok_or("cannot be said")?;
                match who {
                    Who::Client => send(self.client.as_mut(), &bytes).await,
                    Who::Backend => send(self.backend.as_mut(), &bytes).await,
                }
            }
            Step::Hear(who, expected) => {
                let expected = expanded(expected).ok_or("cannot be heard")?;
                let lines = expected.matches("\\n").count() + 1;
                let heard = match who {
                    Who::Client => hear(self.client.as_mut(), lines).await,
                    Who::Backend => hear(self.backend.as_mut(), lines).await,
                }?;
                self.compare(&expected, &heard)
            }
            Step::Close(Who::Client) => {
                self.client = None;
                Ok(())
            }
            Step::Close(Who::Backend) => {
                self.backend = None;
                Ok(())
            }
            // Whoever has heard the end closes as well: nobody waits for anybody.
            Step::Closed(Who::Client) => closed(self.client.take()).await,
            Step::Closed(Who::Backend) => closed(self.backend.take()).await,
            Step::Next(_) => Ok(()),
            Step::Tls => self.begin_tls().await,
            Step::Unasked => unasked(&self.stage.backend)
                .await
                .map_err(|error| error.to_string()),
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
                let stream: Box<dyn Wire> = Box::new((self.stage.connect)().await?);
                self.client = Some(BufReader::new(stream));
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

    async fn begin_tls(&mut self) -> Result<(), String> {
        let stream = self.client.take().ok_or("there is no connection")?;
        if !stream.buffer().is_empty() {
            return Err(format!("heard before TLS: {}", shown(stream.buffer())));
        }
        let trusted = self.stage.trusted.as_ref().ok_or("nobody is trusted")?;
        let stream = start_tls(stream.into_inner(), trusted, "localhost").await;
        let stream: Box<dyn Wire> = Box::new(stream.map_err(|error| error.to_string())?);
        self.client = Some(BufReader::new(stream));
        Ok(())
    }

    /// Puts what names in braces stand for in their place; other braces stay as they are.
    fn filled(&self, text: &str) -> Result<String, String> {
        let mut text = text.to_owned();
        for (name, value) in &self.bound {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        expanded(&text).ok_or_else(|| "cannot be said".to_owned())
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

/// Connections are accepted in the order in which they were made: if ours is the first, there was none.
async fn unasked(backend: &TcpListener) -> io::Result<()> {
    let ours = TcpStream::connect(backend.local_addr()?).await?;
    let (_, first) = backend.accept().await?;
    if first == ours.local_addr()? {
        Ok(())
    } else {
        Err(io::Error::other("somebody has connected to the backend"))
    }
}

/// The first name in braces, with what stands before and behind it. `{12}` is a literal, not a name.
fn next_name(pattern: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let open = from + pattern[from..].find('{')?;
        let (name, behind) = pattern[open + 1..].split_once('}')?;
        if name.starts_with(|c: char| c.is_ascii_alphabetic()) && !name.contains(' ') {
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

async fn closed(stream: Option<BufReader<impl AsyncRead + Unpin>>) -> Result<(), String> {
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
