//! Where events go: a bounded queue, and a thread of its own that writes them.
//!
//! `emit` never waits for a disk, a terminal or a pipe. Where the writer cannot keep up, events are dropped, counted and
//! reported; the sequence numbers show the gap. A session never ends because an event could not be written.

use std::collections::VecDeque;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use prometheus::IntCounter;
use thiserror::Error;

use crate::telemetry::event::Event;
use crate::telemetry::kind::Kind;

/// Most events that one write takes along.
const BATCH: usize = 64;

/// Where events go and in which form.
#[derive(Debug)]
pub struct Options {
    /// Where to.
    pub target: Target,
    /// In which form.
    pub format: Format,
    /// How many events may wait to be written; one is about 1 KiB.
    pub queue: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            target: Target::Stdout,
            format: Format::Json,
            queue: 4096,
        }
    }
}

/// Where events go.
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file that is appended to; made with mode 0640 where it is missing.
    File(PathBuf),
    /// Anything else that can be written to.
    Writer(Box<dyn Write + Send>),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => f.write_str("Stdout"),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Writer(_) => f.write_str("Writer"),
        }
    }
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// ECS in JSON, for machines.
    Json,
    /// `time level action name=value …`, for people.
    Line,
}

/// Why events cannot be written at all.
#[derive(Debug, Error)]
pub enum SinkError {
    /// The file cannot be opened.
    #[error("cannot open the event file {path}")]
    Open {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The writer's thread cannot be started.
    #[error("cannot start the event writer")]
    Thread(#[source] io::Error),
}

/// The way in: cheap to clone, usable from anywhere.
#[derive(Debug, Clone)]
pub struct Events(Arc<Queue>);

impl Events {
    /// Hands an event to the writer. Never waits; a full queue drops the event and counts it.
    pub fn emit(&self, event: Event) {
        let mut state = self.0.lock();
        state.sequence += 1;
        let number = state.sequence;
        // Whoever floods us with commands must not push out logins and alerts.
        let capacity = if event.kind().is_bulk() {
            self.0.capacity.div_ceil(2)
        } else {
            self.0.capacity
        };
        if state.closing || state.waiting.len() >= capacity {
            state.dropped += 1;
            self.0.dropped.inc();
            return;
        }
        state.waiting.push_back((number, event));
        drop(state);
        self.0.wake.notify_one();
    }

    /// Closes the file and opens it anew, after log rotation moved it away. Done by the writer, in order.
    pub fn reopen(&self) {
        self.0.lock().reopen = true;
        self.0.wake.notify_one();
    }
}

/// The writer's end: whoever holds it decides when to stop.
#[derive(Debug)]
pub struct Writer {
    queue: Arc<Queue>,
    done: mpsc::Receiver<()>,
}

impl Writer {
    /// Writes what waits, then stops; waits for that no longer than `patience`. True where everything was written in time.
    /// Events emitted afterwards are dropped.
    #[must_use]
    pub fn close(self, patience: Duration) -> bool {
        self.queue.close();
        self.done.recv_timeout(patience).is_ok()
    }
}

/// A writer nobody waits for still stops.
impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Opens the target and starts the writer. `dropped` counts the events that were lost.
///
/// # Errors
/// Where the file cannot be opened or the thread not started.
pub fn start(options: Options, dropped: IntCounter) -> Result<(Events, Writer), SinkError> {
    let mut output = Output::open(options.target, options.format)?;
    let queue = Arc::new(Queue {
        state: Mutex::default(),
        wake: Condvar::new(),
        capacity: options.queue.max(1),
        dropped,
    });
    let (finished, done) = mpsc::sync_channel(1);
    let reader = Arc::clone(&queue);
    thread::Builder::new()
        .name("events".to_owned())
        .spawn(move || {
            write_all(&reader, &mut output);
            // Nobody may be waiting any more.
            let _ = finished.try_send(());
        })
        .map_err(SinkError::Thread)?;
    Ok((Events(Arc::clone(&queue)), Writer { queue, done }))
}

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    capacity: usize,
    dropped: IntCounter,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(u64, Event)>,
    sequence: u64,
    /// Lost and not yet reported.
    dropped: u64,
    reopen: bool,
    closing: bool,
}

/// What the writer does next.
struct Batch {
    events: Vec<(u64, Event)>,
    reopen: bool,
    last: bool,
}

impl Queue {
    /// The lock is held for a few moves only, never while writing; a panic elsewhere leaves the state whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }

    /// Waits for something to do.
    fn next(&self) -> Batch {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.reopen && !state.closing;
        let mut state = self
            .wake
            .wait_while(self.lock(), idle)
            .unwrap_or_else(PoisonError::into_inner);
        let size = state.waiting.len().min(BATCH);
        let mut events: Vec<_> = state.waiting.drain(..size).collect();
        // The report carries the time of an event, since no clock is read here.
        if let Some(at) = events.last().map(|(_, event)| event.at())
            && state.dropped > 0
        {
            let report = Event::new(Kind::EventsDropped, at).dropped(std::mem::take(&mut state.dropped));
            state.sequence += 1;
            events.push((state.sequence, report));
        }
        Batch {
            events,
            reopen: std::mem::take(&mut state.reopen),
            last: state.closing && state.waiting.is_empty(),
        }
    }

    fn lost(&self, count: u64) {
        self.lock().dropped += count;
        self.dropped.inc_by(count);
    }
}

/// The writer's thread.
fn write_all(queue: &Queue, output: &mut Output) {
    loop {
        let batch = queue.next();
        if batch.reopen {
            output.reopen();
        }
        if let Err(error) = output.write(&batch.events) {
            // Reported once until a write succeeds again, or a full disk would fill the log too.
            if !std::mem::replace(&mut output.broken, true) {
                tracing::error!(error.message = %error, "events cannot be written");
            }
            queue.lost(u64::try_from(batch.events.len()).unwrap_or(u64::MAX));
        }
        if batch.last {
            return;
        }
    }
}

/// The open target.
struct Output {
    path: Option<PathBuf>,
    writer: Box<dyn Write + Send>,
    format: Format,
    /// The last write failed; it may have left half a line.
    broken: bool,
}

impl Output {
    fn open(target: Target, format: Format) -> Result<Self, SinkError> {
        let (path, writer): (_, Box<dyn Write + Send>) = match target {
            Target::Stdout => (None, Box::new(io::stdout())),
            Target::Writer(writer) => (None, writer),
            Target::File(path) => match open(&path) {
                Ok(file) => (Some(path), Box::new(file)),
                Err(source) => return Err(SinkError::Open { path, source }),
            },
        };
        Ok(Self {
            path,
            writer,
            format,
            broken: false,
        })
    }

    /// Keeps the old file where the new one cannot be opened.
    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => self.writer = Box::new(file),
            Err(error) => tracing::error!(error.message = %error, "the event file cannot be opened anew"),
        }
    }

    /// One write for the whole batch.
    fn write(&mut self, events: &[(u64, Event)]) -> io::Result<()> {
        let mut lines = String::new();
        if self.broken {
            lines.push('\n');
        }
        for (number, event) in events {
            match self.format {
                Format::Json => lines.push_str(&event.to_json(*number)),
                Format::Line => {
                    lines.push_str(&event.to_string());
                    lines.push('\n');
                }
            }
        }
        self.writer.write_all(lines.as_bytes())?;
        self.writer.flush()?;
        self.broken = false;
        Ok(())
    }
}

/// Readable by the owner and a log collector's group, by nobody else: events hold addresses and names.
fn open(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::SystemTime;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "dropped").unwrap()
    }

    fn event() -> Event {
        Event::new(Kind::Started, SystemTime::UNIX_EPOCH)
    }

    fn file_options(path: &std::path::Path) -> Options {
        Options {
            target: Target::File(path.to_owned()),
            ..Options::default()
        }
    }

    fn sequences(text: &str) -> Vec<u64> {
        text.lines()
            .filter(|line| !line.is_empty())
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["event"]["sequence"]
                    .as_u64()
                    .unwrap()
            })
            .collect()
    }

    /// Lets a test decide when, and whether, a write goes through; tells the test of each.
    struct Gate {
        began: mpsc::Sender<()>,
        verdicts: mpsc::Receiver<io::Result<()>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.began.send(());
            self.verdicts.recv().unwrap_or(Ok(()))?;
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn closing_writes_everything_that_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.json");
        let (events, writer) = start(file_options(&path), counter()).unwrap();
        for _ in 0..1000 {
            events.emit(event());
        }
        assert!(writer.close(SOON));
        assert_eq!(
            sequences(&fs::read_to_string(&path).unwrap()),
            (1..=1000).collect::<Vec<_>>()
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    }

    #[test]
    fn reopening_follows_a_rotated_file_and_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("events.json"), dir.path().join("events.json.1"));
        let (events, writer) = start(file_options(&path), counter()).unwrap();
        events.emit(event());
        fs::rename(&path, &old).unwrap();
        events.reopen();
        events.emit(event());
        assert!(writer.close(SOON));
        let mut all = sequences(&fs::read_to_string(&old).unwrap());
        all.extend(sequences(&fs::read_to_string(&path).unwrap()));
        assert_eq!(all, [1, 2]);
    }

    #[test]
    fn a_stuck_target_never_blocks_and_what_is_lost_is_counted_and_reported() {
        let (began, begun) = mpsc::channel();
        let (verdict, verdicts) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let gate = Gate {
            began,
            verdicts,
            written: Arc::clone(&written),
        };
        let dropped = counter();
        let options = Options {
            target: Target::Writer(Box::new(gate)),
            queue: 10,
            ..Options::default()
        };
        let (events, writer) = start(options, dropped.clone()).unwrap();
        events.emit(event());
        begun.recv().unwrap();
        // The writer is stuck in its first write; ten fit into the queue, ninety do not.
        for _ in 0..100 {
            events.emit(event());
        }
        assert_eq!(dropped.get(), 90);
        drop(verdict);
        assert!(writer.close(SOON));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["event"]["action"], "events_dropped");
        assert_eq!(last["imapwarden"]["events"]["dropped"], 90);
        let mut expected: Vec<u64> = (1..=11).collect();
        expected.push(102);
        assert_eq!(sequences(&text), expected);
    }

    #[test]
    fn a_flood_of_commands_leaves_room_for_logins_and_alerts() {
        let (began, begun) = mpsc::channel();
        let (verdict, verdicts) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let gate = Gate {
            began,
            verdicts,
            written: Arc::clone(&written),
        };
        let dropped = counter();
        let options = Options {
            target: Target::Writer(Box::new(gate)),
            queue: 10,
            ..Options::default()
        };
        let (events, writer) = start(options, dropped.clone()).unwrap();
        events.emit(event());
        begun.recv().unwrap();
        for _ in 0..1000 {
            events.emit(Event::new(Kind::Command, SystemTime::UNIX_EPOCH));
        }
        assert_eq!(dropped.get(), 995, "half of the queue is theirs");
        for _ in 0..5 {
            events.emit(Event::new(Kind::AlertRaised, SystemTime::UNIX_EPOCH));
        }
        assert_eq!(dropped.get(), 995, "and the other half is not");
        drop(verdict);
        assert!(writer.close(SOON));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("\"alert_raised\"").count(), 5);
    }

    #[test]
    fn closing_does_not_wait_for_a_stuck_target_for_ever() {
        let (began, begun) = mpsc::channel();
        let (verdict, verdicts) = mpsc::channel();
        let gate = Gate {
            began,
            verdicts,
            written: Arc::default(),
        };
        let options = Options {
            target: Target::Writer(Box::new(gate)),
            ..Options::default()
        };
        let (events, writer) = start(options, counter()).unwrap();
        events.emit(event());
        begun.recv().unwrap();
        assert!(!writer.close(Duration::from_millis(1)));
        drop(verdict);
    }

    #[test]
    fn a_failed_write_is_counted_and_the_next_line_is_whole() {
        let (began, begun) = mpsc::channel();
        let (verdict, verdicts) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let gate = Gate {
            began,
            verdicts,
            written: Arc::clone(&written),
        };
        let dropped = counter();
        let options = Options {
            target: Target::Writer(Box::new(gate)),
            ..Options::default()
        };
        let (events, writer) = start(options, dropped.clone()).unwrap();
        events.emit(event());
        begun.recv().unwrap();
        verdict.send(Err(io::Error::other("disk full"))).unwrap();
        drop(verdict);
        events.emit(event());
        assert!(writer.close(SOON));
        assert_eq!(dropped.get(), 1);
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with('\n'), "half a line may stand before it");
        assert!(text.contains("events_dropped"));
    }

    #[test]
    fn a_file_that_cannot_be_opened_stops_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing").join("events.json");
        let error = start(file_options(&path), counter()).unwrap_err();
        assert!(error.to_string().contains("missing"));
    }
}
