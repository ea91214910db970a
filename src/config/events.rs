//! Where security events go, and in which shape: `events`.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Context;
use crate::config::SecretFileError;
use crate::config::address::Endpoint;
use crate::config::backend;
use crate::config::files;
use crate::config::kind;
use crate::config::kind::secs;
use crate::config::kind::word_of;
use crate::config::problem::Problem;
use crate::config::problem::quoted;
use crate::config::receiver::Syslog;
use crate::config::receiver::Webhook;
use crate::config::section::Section;
use crate::net::tls::ClientOptions;
use crate::net::tls::Trust;
use crate::session::recorder::Recording;
use crate::telemetry::shape::Shape;
use crate::telemetry::sink;
use crate::telemetry::sink::FileOptions;
use crate::telemetry::sink::Rotate;
use crate::telemetry::sink::Signer;
use crate::telemetry::sink::Target;

/// Each sink is a thread.
const MOST: usize = 16;

/// The words for shapes in the file.
const SHAPES: &[(&str, Shape)] = &[("ecs", Shape::Ecs), ("ocsf", Shape::Ocsf), ("cef", Shape::Cef)];

const RECORDINGS: &[(&str, Recording)] = &[
    ("none", Recording::None),
    ("refused", Recording::Refused),
    ("all", Recording::All),
];

const MODES: &[(&str, u32)] = &[("0640", 0o640), ("0600", 0o600)];

/// Security events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// Where they go; to each of these.
    pub sinks: Vec<Sink>,
    /// Which commands after the login are told.
    pub commands: Recording,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sinks: vec![Sink::to(To::Stdout)],
            commands: Recording::default(),
        }
    }
}

/// One place that events go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    /// Its name in metrics and in the log.
    pub name: String,
    /// Where it is.
    pub to: To,
    /// What they look like there.
    pub shape: Shape,
    /// How many may wait.
    pub queue: u32,
}

/// What a sink is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// Standard output.
    Stdout,
    /// A file.
    File(FileOptions),
    /// A syslog receiver.
    Syslog(Syslog),
    /// A receiver of HTTP requests.
    Webhook(Webhook),
}

impl To {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::File(_) => "file",
            Self::Syslog(_) => "syslog",
            Self::Webhook(_) => "webhook",
        }
    }
}

impl Events {
    pub(super) fn read(mut section: Section<'_>, cx: &Context<'_>) -> Self {
        let file = section.optional("file", &kind::path(cx.base), "standard output");
        let recordings = kind::word(RECORDINGS, |recording| word_of(RECORDINGS, recording));
        let commands = section.value("commands", &recordings, Recording::default());
        let listed = section.sections("sinks");
        if let (Some(_), Some(_)) = (&file, &listed) {
            let message = "`events.file` and `events.sinks` both say where events go";
            let problem = Problem::new("invalid_value", section.place("file"), message);
            section.problem(problem.help("write the file as a sink: `- file: {path: …}`"));
        }
        let sinks = match (file, listed) {
            (_, Some(list)) => read_sinks(&section, list, cx),
            (Some(file), None) => vec![Sink::to(To::File(FileOptions::from(file)))],
            (None, None) => Self::default().sinks,
        };
        section.finish();
        Self { sinks, commands }
    }
}

fn read_sinks(section: &Section<'_>, list: Vec<Section<'_>>, cx: &Context<'_>) -> Vec<Sink> {
    if list.is_empty() {
        let problem = Problem::new(
            "empty_list",
            section.place("sinks"),
            "without a sink no event is kept",
        );
        section.problem(problem.help("leave `sinks` out for standard output"));
    }
    if list.len() > MOST {
        let message = format!("there are {} sinks", list.len());
        let problem = Problem::new("out_of_range", section.place("sinks"), message);
        section.problem(problem.help(format!("at most {MOST} are possible")));
    }
    let mut names = BTreeSet::new();
    let mut files = BTreeSet::new();
    let mut sinks = Vec::new();
    for each in list {
        let span = each.span();
        let Some(sink) = Sink::read(each, cx) else {
            continue;
        };
        if let To::File(file) = &sink.to
            && !files.insert(file.path.clone())
        {
            let message = format!("two sinks write to {}", file.path.display());
            let problem = Problem::new("invalid_value", span.clone(), message);
            section.problem(problem.help("give each a file of its own"));
        }
        if !names.insert(sink.name.clone()) {
            let message = format!("there is a sink {} already", quoted(&sink.name));
            let problem = Problem::new("duplicate_name", span, message);
            section
                .problem(problem.help("give one of them another `name`; without one, its kind is its name"));
        }
        sinks.push(sink);
    }
    sinks
}

impl Sink {
    /// The files that it reads.
    pub(super) fn reads(&self) -> Vec<PathBuf> {
        match &self.to {
            To::Stdout | To::File(_) => Vec::new(),
            To::Syslog(syslog) => syslog.ca_file.iter().cloned().collect(),
            To::Webhook(webhook) => {
                let secret = std::iter::once(&webhook.secret_file);
                secret.chain(&webhook.ca_file).cloned().collect()
            }
        }
    }

    /// The file that it writes, with others beside it.
    pub(super) fn file(&self) -> Option<&Path> {
        match &self.to {
            To::File(file) => Some(&file.path),
            _ => None,
        }
    }

    /// A sink with all defaults.
    #[must_use]
    pub fn to(to: To) -> Self {
        Self {
            name: to.as_str().to_owned(),
            to,
            shape: Shape::default(),
            queue: QUEUE,
        }
    }

    fn read(mut section: Section<'_>, cx: &Context<'_>) -> Option<Self> {
        let name = section.optional("name", &backend::name(), "the kind of sink");
        let shape = kind::word(SHAPES, |shape| word_of(SHAPES, shape));
        let shape = section.value("shape", &shape, Shape::default());
        let queue = section.value("queue", &kind::number(64..=262_144), QUEUE);
        let written: Vec<_> = ["stdout", "file", "syslog", "webhook"]
            .into_iter()
            .filter(|key| section.has(key))
            .collect();
        // Each is read, so that its own mistakes show as well.
        let stdout = section.optional_section("stdout").map(|keys| {
            keys.finish();
            To::Stdout
        });
        let file = section
            .optional_section("file")
            .map(|keys| read_file(keys, cx).map(To::File));
        let syslog = section
            .optional_section("syslog")
            .map(|keys| Syslog::read(keys, cx).map(To::Syslog));
        let webhook = section
            .optional_section("webhook")
            .map(|keys| Webhook::read(keys, cx).map(To::Webhook));
        match written.as_slice() {
            [_] => {}
            [] => {
                let problem = Problem::new(
                    "missing_key",
                    section.span(),
                    "this sink does not say where events go",
                );
                section.problem(problem.help("add one of `stdout: {}`, `file:`, `syslog:` and `webhook:`"));
            }
            [first, second, ..] => {
                let message = format!("a sink is one thing, and this is `{first}` and `{second}`");
                let problem = Problem::new("invalid_value", section.span(), message);
                section.problem(problem.help("write an entry of the list for each"));
            }
        }
        section.finish();
        let to = stdout.or_else(|| file.or(syslog).or(webhook).flatten())?;
        let mut sink = Self::to(to);
        sink.shape = shape;
        sink.queue = queue;
        sink.name = name.unwrap_or(sink.name);
        Some(sink)
    }

    /// What the sink does, for `check`.
    pub(super) fn describe(&self) -> String {
        let what = match &self.to {
            To::Stdout => "standard output".to_owned(),
            To::File(file) => match file.rotate {
                None => file.path.display().to_string(),
                Some(rotate) => format!(
                    "{}, put aside at {}, {} kept",
                    file.path.display(),
                    kind::show_size(&rotate.size),
                    rotate.keep
                ),
            },
            To::Syslog(syslog) => syslog.describe(),
            To::Webhook(webhook) => webhook.describe(),
        };
        format!("{}: {what} ({})", self.name, word_of(SHAPES, &self.shape))
    }

    /// Where this sends names and addresses in clear through networks that are not ours.
    pub(super) fn in_clear(&self) -> Option<&Endpoint> {
        match &self.to {
            To::Syslog(syslog) => syslog.danger_plaintext.then_some(&syslog.address),
            _ => None,
        }
    }

    /// The sink as the telemetry has it. Reads the webhook's secret.
    pub(super) fn options(&self) -> Result<sink::Options, SecretFileError> {
        let target = match &self.to {
            To::Stdout => Target::Stdout,
            To::File(options) => Target::File(options.clone()),
            To::Syslog(syslog) => Target::Syslog(syslog.options()),
            To::Webhook(webhook) => Target::Webhook(Box::new(webhook.options(signer(&webhook.secret_file)?))),
        };
        Ok(sink::Options {
            name: self.name.clone(),
            target,
            shape: self.shape,
            queue: usize::try_from(self.queue).unwrap_or(sink::QUEUE),
        })
    }
}

/// `sink::QUEUE`, as the file counts.
pub(super) const QUEUE: u32 = 4096;

fn read_file(mut section: Section<'_>, cx: &Context<'_>) -> Option<FileOptions> {
    let path = section.required("path", &kind::path(cx.base));
    let mode = section.value("mode", &kind::word(MODES, |mode| word_of(MODES, mode)), 0o640);
    let rotate = section.optional_section("rotate").map(|mut keys| {
        let rotate = Rotate {
            size: keys.value(
                "size",
                &kind::size(1024 * 1024..=1024 * 1024 * 1024 * 1024),
                100 * 1024 * 1024,
            ),
            keep: keys.value("keep", &kind::number(1..=100), 10),
        };
        keys.finish();
        rotate
    });
    section.finish();
    Some(FileOptions {
        path: path?,
        mode,
        rotate,
    })
}

/// Trust in a receiver: authorities of one's own, or those of the public web.
pub(super) fn trust(ca_file: Option<&PathBuf>, timeout: Duration) -> ClientOptions {
    ClientOptions {
        trust: ca_file.map_or(Trust::PublicAuthorities, |file| {
            Trust::CaFiles(vec![file.clone()])
        }),
        handshake_timeout: timeout,
        ..ClientOptions::default()
    }
}

/// The longest wait for a receiver.
pub(super) fn timeout(section: &mut Section<'_>) -> Duration {
    section.value("timeout", &kind::duration(secs(1)..=secs(60)), secs(10))
}

/// Reads a secret that signs.
pub(super) fn signer(file: &Path) -> Result<Signer, SecretFileError> {
    let read = files::read_secret(file);
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    read.and_then(|secret| Signer::new(&secret).map_err(invalid))
        .map_err(|source| SecretFileError {
            file: file.to_owned(),
            source,
        })
}
