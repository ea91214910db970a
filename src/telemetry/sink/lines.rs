//! Events as lines in a file or a stream. A file can be kept small: it is put aside when it has a size, and the oldest of those
//! put aside goes.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::ErrorKind;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use crate::telemetry::shape::Shape;
use crate::telemetry::sink::SinkError;
use crate::telemetry::sink::queue::Numbered;
use crate::telemetry::sink::worker::Failure;
use crate::telemetry::sink::worker::Output;

/// Most events that one write takes along.
const BATCH: usize = 64;

/// A file of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOptions {
    /// Which one.
    pub path: PathBuf,
    /// The permission bits that it is made with.
    pub mode: u32,
    /// When it is put aside; `None` leaves that to others, who send SIGHUP.
    pub rotate: Option<Rotate>,
}

/// When a file is put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotate {
    /// Before it would get larger than so many bytes.
    pub size: u64,
    /// How many files are kept beside it: `.1` is the newest.
    pub keep: u32,
}

impl From<PathBuf> for FileOptions {
    /// Readable by the owner and a log collector's group, by nobody else: events hold addresses and names.
    fn from(path: PathBuf) -> Self {
        Self {
            path,
            mode: 0o640,
            rotate: None,
        }
    }
}

/// A stream of lines.
pub(super) struct Lines {
    out: Out,
    shape: Shape,
    /// The last write failed; it may have left half a line.
    broken: bool,
}

enum Out {
    File {
        file: File,
        options: FileOptions,
        /// It could not be put aside, which has been told.
        stuck: bool,
    },
    Stream(Box<dyn Write + Send>),
}

impl Lines {
    pub(super) fn to(stream: Box<dyn Write + Send>, shape: Shape) -> Self {
        Self {
            out: Out::Stream(stream),
            shape,
            broken: false,
        }
    }

    pub(super) fn in_file(options: FileOptions, shape: Shape) -> Result<Self, SinkError> {
        let file = open(&options).map_err(|source| SinkError::Open {
            path: options.path.clone(),
            source,
        })?;
        Ok(Self {
            out: Out::File {
                file,
                options,
                stuck: false,
            },
            shape,
            broken: false,
        })
    }
}

impl Output for Lines {
    fn batch(&self) -> usize {
        BATCH
    }

    /// One write for the whole batch. What fails is lost: half of it may have been written.
    fn write(&mut self, events: &[Numbered]) -> Result<(), Failure> {
        let mut lines = String::with_capacity(events.len().saturating_mul(1024));
        if self.broken {
            lines.push('\n');
        }
        for Numbered { number, event } in events {
            lines.push_str(&self.shape.render(event, *number));
            lines.push('\n');
        }
        let written = self.out.write(lines.as_bytes());
        self.broken = written.is_err();
        written.map_err(|error| Failure::lost(error.to_string()))
    }

    /// Keeps the old file where the new one cannot be opened.
    fn reopen(&mut self) {
        let Out::File { file, options, .. } = &mut self.out else {
            return;
        };
        match open(options) {
            Ok(new) => *file = new,
            Err(error) => tracing::error!(error.message = %error, "the event file cannot be opened anew"),
        }
    }
}

impl Out {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::File { file, options, stuck } => {
                if let Some(rotate) = options.rotate
                    && is_full(file, lines.len(), rotate.size)
                {
                    match put_aside(file, options, rotate.keep) {
                        Ok(new) => (*file, *stuck) = (new, false),
                        Err(error) if !*stuck => {
                            *stuck = true;
                            tracing::error!(error.message = %error, "the event file cannot be rotated; it grows");
                        }
                        Err(_) => {}
                    }
                }
                file.write_all(lines)
            }
            Self::Stream(stream) => stream.write_all(lines).and_then(|()| stream.flush()),
        }
    }
}

/// The file is asked each time: others may have cut it.
fn is_full(file: &File, more: usize, size: u64) -> bool {
    let now = file.metadata().map_or(0, |metadata| metadata.len());
    let more = u64::try_from(more).unwrap_or(u64::MAX);
    now > 0 && now.saturating_add(more) > size
}

/// Makes a new file in place of the old one, which becomes `.1`. Where that fails, everything stays as it is: the new file is
/// there before the old ones move.
fn put_aside(file: &File, options: &FileOptions, keep: u32) -> io::Result<File> {
    let path = &options.path;
    // Another process, which takes over from this one, may have done it.
    let of = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    if let Ok(there) = fs::metadata(path)
        && of(there) != of(file.metadata()?)
    {
        return open(options);
    }
    let fresh = fresh(path);
    // Left behind where the process was killed in the middle of this; nobody has written to it.
    absent_is_fine(fs::remove_file(&fresh))?;
    let file = open_as(&fresh, options.mode)?;
    for number in (1..keep).rev() {
        let (from, to) = (numbered(path, number), numbered(path, number + 1));
        absent_is_fine(fs::rename(from, to))?;
    }
    absent_is_fine(fs::rename(path, numbered(path, 1)))?;
    fs::rename(&fresh, path)?;
    Ok(file)
}

/// The file that takes the place of one that is full; another process has another.
fn fresh(path: &Path) -> PathBuf {
    numbered(path, format!("new{}", std::process::id()))
}

fn numbered(path: &Path, suffix: impl std::fmt::Display) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    PathBuf::from(name)
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn open(options: &FileOptions) -> io::Result<File> {
    open_as(&options.path, options.mode)
}

fn open_as(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(mode).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::telemetry::event::Event;
    use crate::telemetry::kind::Kind;

    fn event(number: u64) -> Numbered {
        Numbered {
            number,
            event: Arc::new(Event::new(Kind::Started, SystemTime::UNIX_EPOCH)),
        }
    }

    fn numbers(path: &Path) -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let number = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["event"]["sequence"].as_u64().unwrap()
        };
        text.lines().map(number).collect()
    }

    fn rotating(path: &Path, size: u64, keep: u32) -> Lines {
        let options = FileOptions {
            mode: 0o600,
            rotate: Some(Rotate { size, keep }),
            ..FileOptions::from(path.to_owned())
        };
        Lines::in_file(options, Shape::Ecs).unwrap()
    }

    #[test]
    fn a_full_file_is_put_aside_and_no_line_is_lost_or_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut lines = rotating(&path, 1000, 100);
        for number in 1..=50 {
            lines.write(&[event(number)]).unwrap();
        }
        let aside = (1..100)
            .map(|number| numbered(&path, number))
            .filter(|file| file.exists());
        let mut files: Vec<_> = aside.collect();
        assert!(files.len() > 10, "{files:?}");
        files.reverse();
        files.push(path);
        for file in &files {
            let metadata = fs::metadata(file).unwrap();
            assert!(metadata.len() <= 1000 && metadata.permissions().mode() & 0o777 == 0o600);
        }
        let all: Vec<u64> = files.iter().flat_map(|file| numbers(file)).collect();
        assert_eq!(all, (1..=50).collect::<Vec<_>>());
    }

    #[test]
    fn no_more_files_are_kept_than_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut lines = rotating(&path, 400, 2);
        for number in 1..=20 {
            lines.write(&[event(number)]).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        assert_eq!(numbers(&path), [20]);
        assert_eq!(numbers(&numbered(&path, 2)), [18]);
    }

    #[test]
    fn a_file_that_cannot_be_put_aside_is_written_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut lines = rotating(&path, 400, 2);
        // A directory in the way, with something in it: neither can be removed nor written to.
        fs::create_dir_all(fresh(&path).join("x")).unwrap();
        for number in 1..=5 {
            lines.write(&[event(number)]).unwrap();
        }
        assert_eq!(numbers(&path), [1, 2, 3, 4, 5]);
        fs::remove_dir_all(fresh(&path)).unwrap();
        lines.write(&[event(6)]).unwrap();
        assert_eq!(numbers(&path), [6]);
        assert_eq!(numbers(&numbered(&path, 1)), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn rotation_from_outside_goes_together_with_our_own() {
        let dir = tempfile::tempdir().unwrap();
        let (path, theirs) = (dir.path().join("events.jsonl"), dir.path().join("theirs"));
        let mut lines = rotating(&path, 700, 5);
        lines.write(&[event(1)]).unwrap();
        fs::rename(&path, &theirs).unwrap();
        lines.write(&[event(2)]).unwrap();
        lines.reopen();
        lines.write(&[event(3)]).unwrap();
        lines.write(&[event(4)]).unwrap();
        lines.write(&[event(5)]).unwrap();
        assert_eq!(numbers(&theirs), [1, 2]);
        assert_eq!(numbers(&numbered(&path, 1)), [3, 4]);
        assert_eq!(numbers(&path), [5]);
    }
}
