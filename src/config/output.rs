//! What comes out besides mail and events: `log`, `metrics`; and how we leave: `drain`.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::address::listen_address;
use crate::config::kind;
use crate::config::kind::Kind;
use crate::config::kind::secs;
use crate::config::kind::word_of;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::telemetry::log;
use crate::telemetry::log::Format;
use crate::telemetry::log::Level;

const LOG_LEVELS: &[(&str, Level)] = &[
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Trace),
];

const LOG_FORMATS: &[(&str, Format)] = &[
    ("auto", Format::Auto),
    ("text", Format::Text),
    ("json", Format::Json),
];

/// Reads `log`: the telemetry module's own options, since a file can say all of them.
pub(super) fn read_log(mut section: Section<'_>) -> log::Options {
    let level = kind::word(LOG_LEVELS, |level| word_of(LOG_LEVELS, level));
    let format = kind::word(LOG_FORMATS, |format| word_of(LOG_FORMATS, format));
    let d = log::Options::default();
    let read = log::Options {
        level: section.value("level", &level, d.level),
        format: section.value("format", &format, d.format),
    };
    section.finish();
    read
}

/// Metrics and probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Where `/metrics`, `/healthz` and `/readyz` are; `None` is nowhere.
    pub address: Option<SocketAddr>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            address: Some(SocketAddr::from(([127, 0, 0, 1], 9993))),
        }
    }
}

impl Metrics {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let address = listen_address();
        let show = |address: &Option<SocketAddr>| address.map_or_else(|| "off".to_owned(), |a| a.to_string());
        let kind = Kind::new(format!("{}, or `off`", address.name), show, |text| match text {
            "off" => Ok(None),
            _ => address.read(text).map(Some),
        });
        let read = Self {
            address: section.value("address", &kind, Self::default().address),
        };
        section.finish();
        read
    }
}

/// The end of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Time until every session is over.
    pub timeout: Duration,
    /// Over how much of it the goodbyes are spread, so that clients do not all come back at once.
    pub spread: Duration,
    /// A second process may be started beside this one: it takes the addresses over, and this one drains.
    pub hand_over: bool,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            timeout: secs(30),
            spread: secs(10),
            hand_over: false,
        }
    }
}

impl Drain {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let d = Self::default();
        let read = Self {
            timeout: section.value("timeout", &kind::duration(secs(1)..=secs(600)), d.timeout),
            spread: section.value("spread", &kind::duration(secs(0)..=secs(600)), d.spread),
            hand_over: section.value("hand_over", &kind::boolean(), d.hand_over),
        };
        if read.spread >= read.timeout {
            let message = "`spread` leaves the last sessions no time before `timeout`";
            let place = if section.has("spread") {
                "spread"
            } else {
                "timeout"
            };
            let problem = Problem::new("invalid_value", section.place(place), message);
            section.problem(problem.help("make `spread` shorter, a third of `timeout` for example"));
        }
        section.finish();
        read
    }
}
