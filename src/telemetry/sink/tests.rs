//! Sinks as a whole: what is written, what is lost, who waits for whom.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::telemetry::kind::Kind;
use crate::telemetry::metrics::Metrics as AllMetrics;
use crate::telemetry::metrics::Sink;

const SOON: Duration = Duration::from_secs(20);

fn metrics() -> Metrics {
    AllMetrics::new().unwrap().sinks
}

/// The numbers of the sink that `Options::default` names.
fn numbers(metrics: &Metrics) -> Sink {
    metrics.named("stdout").unwrap()
}

fn event() -> Event {
    Event::new(Kind::Started, SystemTime::UNIX_EPOCH)
}

fn file_options(path: &std::path::Path) -> Options {
    Options {
        target: Target::File(path.to_owned().into()),
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

/// The test's side of a [`Gate`].
struct Keeper {
    begun: mpsc::Receiver<()>,
    verdict: mpsc::Sender<io::Result<()>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Keeper {
    /// Lets every write through from now on, and gives what was written once all is.
    fn let_go(self, writer: Writer) -> String {
        drop(self.verdict);
        assert!(writer.close(SOON));
        let written = self.written.lock().unwrap();
        String::from_utf8(written.clone()).unwrap()
    }
}

/// A sink that waits for the test at every write.
fn gated(queue: usize) -> (Options, Keeper) {
    let (began, begun) = mpsc::channel();
    let (verdict, verdicts) = mpsc::channel();
    let written = Arc::new(Mutex::new(Vec::new()));
    let gate = Gate {
        began,
        verdicts,
        written: Arc::clone(&written),
    };
    let options = Options {
        target: Target::Writer(Box::new(gate)),
        queue,
        ..Options::default()
    };
    (
        options,
        Keeper {
            begun,
            verdict,
            written,
        },
    )
}

#[test]
fn closing_writes_everything_that_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.json");
    let (events, writer) = start(file_options(&path), &metrics(), || SystemTime::UNIX_EPOCH).unwrap();
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
    let (events, writer) = start(file_options(&path), &metrics(), || SystemTime::UNIX_EPOCH).unwrap();
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
    let (options, keeper) = gated(10);
    let metrics = metrics();
    let dropped = numbers(&metrics);
    let (events, writer) = start(options, &metrics, || SystemTime::UNIX_EPOCH).unwrap();
    events.emit(event());
    keeper.begun.recv().unwrap();
    // The writer is stuck in its first write; ten fit into the queue, ninety do not.
    for _ in 0..100 {
        events.emit(event());
    }
    assert_eq!(dropped.lost(), 90);
    let text = keeper.let_go(writer);
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"]["action"], "events_dropped");
    assert_eq!(last["imapwarden"]["events"]["dropped"], 90);
    let mut expected: Vec<u64> = (1..=11).collect();
    expected.push(102);
    assert_eq!(sequences(&text), expected);
}

#[test]
fn a_flood_of_commands_leaves_room_for_logins_and_alerts() {
    let (options, keeper) = gated(10);
    let metrics = metrics();
    let dropped = numbers(&metrics);
    let (events, writer) = start(options, &metrics, || SystemTime::UNIX_EPOCH).unwrap();
    events.emit(event());
    keeper.begun.recv().unwrap();
    for _ in 0..1000 {
        events.emit(Event::new(Kind::Command, SystemTime::UNIX_EPOCH));
    }
    assert_eq!(dropped.lost(), 995, "half of the queue is theirs");
    for _ in 0..5 {
        events.emit(Event::new(Kind::AlertRaised, SystemTime::UNIX_EPOCH));
    }
    assert_eq!(dropped.lost(), 995, "and the other half is not");
    let text = keeper.let_go(writer);
    assert_eq!(text.matches("\"alert_raised\"").count(), 5);
}

#[test]
fn closing_does_not_wait_for_a_stuck_target_for_ever() {
    let (options, keeper) = gated(4096);
    let (events, writer) = start(options, &metrics(), || SystemTime::UNIX_EPOCH).unwrap();
    events.emit(event());
    keeper.begun.recv().unwrap();
    assert!(!writer.close(Duration::from_millis(1)));
    drop(keeper);
}

#[test]
fn a_failed_write_is_counted_and_the_next_line_is_whole() {
    let (options, keeper) = gated(4096);
    let metrics = metrics();
    let dropped = numbers(&metrics);
    let (events, writer) = start(options, &metrics, || SystemTime::UNIX_EPOCH).unwrap();
    events.emit(event());
    keeper.begun.recv().unwrap();
    keeper.verdict.send(Err(io::Error::other("disk full"))).unwrap();
    events.emit(event());
    let text = keeper.let_go(writer);
    assert_eq!(dropped.lost(), 1);
    assert!(text.starts_with('\n'), "half a line may stand before it");
    assert!(text.contains("events_dropped"));
}

#[test]
fn a_file_that_cannot_be_opened_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing").join("events.json");
    let error = start(file_options(&path), &metrics(), || SystemTime::UNIX_EPOCH).unwrap_err();
    assert!(error.to_string().contains("missing"));
}

#[test]
fn a_stuck_sink_neither_holds_up_another_nor_takes_its_events() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.json");
    let (options, keeper) = gated(1);
    let stuck = Options {
        name: "stuck".to_owned(),
        ..options
    };
    let metrics = metrics();
    let (events, writer) = start(vec![stuck, file_options(&path)], &metrics, || {
        SystemTime::UNIX_EPOCH
    })
    .unwrap();
    events.emit(event());
    keeper.begun.recv().unwrap();
    for _ in 0..10 {
        events.emit(event());
    }
    assert_eq!(metrics.named("stuck").unwrap().lost(), 9);
    assert!(!writer.close(Duration::from_secs(2)));
    assert_eq!(
        sequences(&fs::read_to_string(&path).unwrap()),
        (1..=11).collect::<Vec<_>>()
    );
    assert_eq!(numbers(&metrics).lost(), 0);
    drop(keeper);
}

#[test]
fn what_a_lost_report_said_is_reported_again() {
    let (options, keeper) = gated(1);
    let metrics = metrics();
    let (events, writer) = start(options, &metrics, || SystemTime::UNIX_EPOCH).unwrap();
    events.emit(event());
    keeper.begun.recv().unwrap();
    // One waits, two find no room; then the writes of the first, and of the second with its report, fail.
    for _ in 0..3 {
        events.emit(event());
    }
    for _ in 0..2 {
        keeper.verdict.send(Err(io::Error::other("disk full"))).unwrap();
    }
    keeper.begun.recv().unwrap();
    while numbers(&metrics).lost() < 4 {
        thread::yield_now();
    }
    events.emit(event());
    let text = keeper.let_go(writer);
    let report: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(report["imapwarden"]["events"]["dropped"], 4);
}

#[test]
fn every_sink_gets_the_events_in_the_same_order() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["a", "b", "c"].map(|name| dir.path().join(name));
    let sinks: Vec<_> = paths.iter().map(|path| file_options(path)).collect();
    let (events, writer) = start(sinks, &metrics(), || SystemTime::UNIX_EPOCH).unwrap();
    thread::scope(|scope| {
        for kind in [
            Kind::Started,
            Kind::Stopping,
            Kind::LoginFailed,
            Kind::SessionEnded,
        ] {
            let events = events.clone();
            scope.spawn(move || {
                for _ in 0..500 {
                    events.emit(Event::new(kind, SystemTime::UNIX_EPOCH));
                }
            });
        }
    });
    assert!(writer.close(SOON));
    let [a, b, c] = paths.map(|path| fs::read_to_string(path).unwrap());
    assert!(a == b && b == c);
    assert_eq!(a.lines().count(), 2000);
}
