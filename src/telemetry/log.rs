//! The program's own log, on standard error: for whoever looks for a fault, not for the audit trail (those are events).
//!
//! Only our own targets are shown below `warn`: what a library logs about bytes it handles is not ours to vouch for.

use std::fmt;
use std::io;
use std::io::IsTerminal;

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// How much is logged, and in which form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// How loud a line must be.
    pub level: Level,
    /// In which form.
    pub format: Format,
}

/// How loud a line must be to be shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Level {
    /// The operator must act.
    Error,
    /// Something is degraded.
    Warn,
    /// One line per login and per end.
    #[default]
    Info,
    /// States.
    Debug,
    /// Sizes of frames.
    Trace,
}

impl Level {
    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// All of them, quietest first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];
}

/// The form of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// For people where standard error is a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line, fields dotted.
    Json,
}

/// Changes the level of the log that [`init`] has set up.
pub struct Handle(Box<dyn Fn(EnvFilter) + Send + Sync>);

impl Handle {
    /// From now on lines must be so loud.
    pub fn set_level(&self, level: Level) {
        self.0(EnvFilter::new(directives(level)));
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// Why there is no log.
#[derive(Debug, Error)]
#[error("the log cannot be set up")]
pub struct LogError(#[from] tracing_subscriber::util::TryInitError);

/// Sends the program's log to standard error, from now on and for the whole process.
///
/// # Errors
/// Where the process has a log already.
pub fn init(options: &Options) -> Result<Handle, LogError> {
    let terminal = io::stderr().is_terminal();
    let json = match options.format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(terminal && !json);
    let filter = EnvFilter::new(directives(options.level));
    if json {
        let builder = builder.json().flatten_event(true).with_env_filter(filter);
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        builder.finish().try_init()?;
        return Ok(Handle(Box::new(move |filter| reload(&handle, filter))));
    }
    let builder = builder.with_env_filter(filter).with_filter_reloading();
    let handle = builder.reload_handle();
    builder.finish().try_init()?;
    Ok(Handle(Box::new(move |filter| reload(&handle, filter))))
}

fn reload<S>(handle: &reload::Handle<EnvFilter, S>, filter: EnvFilter) {
    // The log lives as long as the process.
    let _ = handle.reload(filter);
}

/// Our own targets at the level asked for, everybody else's at `warn` or quieter.
fn directives(level: Level) -> String {
    let others = match level {
        Level::Error => "error",
        _ => "warn",
    };
    format!("{others},imapwarden={}", level.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_never_shown_below_warn() {
        for level in Level::ALL {
            let filter = EnvFilter::new(directives(level)).to_string();
            assert!(
                filter.contains(&format!("imapwarden={}", level.as_str())),
                "{filter}"
            );
            let others = filter.split(',').find(|part| !part.contains('=')).unwrap();
            assert!(["warn", "error"].contains(&others), "{filter}");
        }
    }
}
