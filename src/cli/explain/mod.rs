//! `imapwarden explain`: what would become of a login or a command, and which part of the configuration, the store or the
//! rules says so. Looks only: nothing is written, counted or sent.

pub(super) mod arguments;
mod command;
mod known;
mod login;
mod namesake;
mod rules;

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use crate::cli::Context;
use crate::cli::error::CliError;
use crate::cli::explain::arguments::ExplainCommand;
use crate::cli::output;
use crate::cli::place::Place;
use crate::config::Config;
use crate::config::places::Places;
use crate::config::rules::Loaded;
use crate::config::rules::load_configured;
use crate::server;
use crate::store::Store;

/// What one part says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    /// It has nothing against it.
    Ok,
    /// It refuses.
    Refuses,
    /// Something follows from it, or may.
    Notes,
    /// It cannot be told from outside the running proxy.
    Unknown,
}

impl Says {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refuses => "refuses",
            Self::Notes => "notes",
            Self::Unknown => "unknown",
        }
    }
}

/// What one part says, why, and where that is written.
struct Step {
    says: Says,
    part: &'static str,
    why: String,
    place: String,
}

/// An explanation that grows.
struct Explanation {
    /// What is explained.
    subject: String,
    steps: Vec<Step>,
}

impl Explanation {
    fn new(subject: String) -> Self {
        Self {
            subject,
            steps: Vec::new(),
        }
    }

    fn says(&mut self, says: Says, part: &'static str, why: impl Into<String>, place: impl Into<String>) {
        self.steps.push(Step {
            says,
            part,
            why: why.into(),
            place: place.into(),
        });
    }

    /// The first part that refuses decides.
    fn refused(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.says == Says::Refuses)
    }

    fn show(&self, cx: &mut Context<'_>) -> io::Result<()> {
        let verdict = if self.refused().is_some() {
            "refused"
        } else {
            "allowed"
        };
        if cx.out.is_json() {
            let steps: Vec<Value> = self.steps.iter().map(Step::as_json).collect();
            let by = self.refused().map(Step::as_json);
            return cx
                .out
                .json(&json!({"subject": self.subject, "verdict": verdict, "by": by, "steps": steps}));
        }
        let because = match self.refused() {
            Some(step) => format!(": {} ({})", step.why, step.place),
            None => " as far as can be told".to_owned(),
        };
        cx.out.line(&output::shown_whole(&format!(
            "{}: {verdict}{because}.",
            self.subject
        )))?;
        cx.out.line("")?;
        let rows: Vec<Vec<String>> = self.steps.iter().map(Step::row).collect();
        cx.out
            .table(&["SAYS", "PART", "WHY", "WHERE"], &rows, "Nothing says anything.")
    }
}

impl Step {
    fn as_json(&self) -> Value {
        json!({"says": self.says.as_str(), "part": self.part, "why": self.why, "place": self.place})
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.says.as_str().to_owned(),
            self.part.to_owned(),
            output::shown_whole(&self.why),
            output::shown_whole(&self.place),
        ]
    }
}

/// What explanations are made from.
struct Sources {
    config: Config,
    places: Places,
    loaded: Loaded,
    /// `None` where there is none yet.
    store: Option<Arc<dyn Store>>,
}

impl Sources {
    async fn open(cx: &Context<'_>) -> Result<Self, CliError> {
        let config = cx.place.config_without_backend(cx.now)?;
        let loaded = load_configured(&config.rules).map_err(CliError::Rules)?;
        let store = Box::pin(server::look_into_store(&config)).await?;
        let places = match &cx.place {
            Place::File(file) => Places::load(Path::new(file)),
            Place::Bare { .. } => Places::none(),
        };
        Ok(Self {
            config,
            places,
            loaded,
            store,
        })
    }
}

pub(super) async fn run(cx: &mut Context<'_>, command: ExplainCommand) -> Result<(), CliError> {
    let sources = Sources::open(cx).await?;
    let explanation = match command {
        ExplainCommand::Login(asked) => login::explain(cx.now, &sources, &asked).await?,
        ExplainCommand::Command(asked) => command::explain(cx.now, &sources, &asked).await?,
    };
    Ok(explanation.show(cx)?)
}
