//! Why a reload changes nothing.

use std::fmt;

use thiserror::Error;

use crate::config::ConfigProblems;
use crate::net::geo::GeoError;
use crate::server::StartError;
use crate::server::rules::RulesError;

/// Why everything stays as it was.
#[derive(Debug, Error)]
pub(in crate::server) enum ReloadError {
    /// The file has mistakes.
    #[error("{}", first_of(.0))]
    Config(Box<ConfigProblems>),
    /// Something changed that only a restart can put in force. Nothing is put in force then: half a change is not what anybody
    /// wrote down.
    #[error("needs a restart: {}", .0.join(", "))]
    NeedsRestart(Vec<&'static str>),
    /// What the configuration names cannot be used.
    #[error("{0}")]
    Parts(Box<Broken>),
    /// The reload itself came to grief.
    #[error("the reload did not end")]
    Lost,
}

/// What cannot be used, part by part.
#[derive(Debug, Default)]
pub(in crate::server) struct Broken {
    pub(super) certificates: Option<StartError>,
    pub(super) databases: Option<GeoError>,
    pub(super) rules: Option<RulesError>,
    pub(super) sinks: Option<StartError>,
    pub(super) others: Option<StartError>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().join("; "))
    }
}

impl Broken {
    pub(super) fn is_nothing(&self) -> bool {
        self.texts().is_empty()
    }

    pub(super) fn texts(&self) -> Vec<String> {
        let certificates = self.certificates.as_ref().map(chain);
        let databases = self.databases.as_ref().map(chain);
        let rules = self.rules.as_ref().map(chain);
        let sinks = self.sinks.as_ref().map(chain);
        let others = self.others.as_ref().map(chain);
        [certificates, databases, rules, sinks, others]
            .into_iter()
            .flatten()
            .collect()
    }
}

impl ReloadError {
    /// Every problem, for a person who reads it on a terminal.
    pub(in crate::server) fn report(&self) -> String {
        match self {
            Self::Config(problems) => problems.render(80, false),
            Self::Parts(broken) => broken.texts().join("\n"),
            Self::NeedsRestart(_) | Self::Lost => String::new(),
        }
    }
}

fn first_of(problems: &ConfigProblems) -> String {
    let all = problems.problems();
    let first = all.first().map_or("it cannot be read", |first| &first.message);
    let more = match all.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more mistakes)", count - 1),
    };
    format!("{}: {first}{more}", problems.file())
}

/// An error with its causes, in one line.
fn chain(error: &impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
