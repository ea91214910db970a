//! The command line: reads arguments, does one thing, prints a table or JSON, ends with a sysexits code.
//!
//! It works on the store beside a running proxy, and asks the proxy itself only about its sessions. No secret is taken
//! from the arguments or the environment.

mod app_password;
mod args;
mod ban;
mod check;
mod enrol;
mod error;
mod explain;
mod key;
mod output;
mod place;
mod policy;
mod proof;
mod reload;
mod replay;
mod restrictions;
mod secrets;
mod serve;
mod session;
mod store;
mod user;
mod values;

use std::ffi::OsString;
use std::io;
use std::io::IsTerminal;
use std::io::Write;

use clap::Parser;
use clap::error::ErrorKind;
use serde_json::json;

use crate::cli::args::Args;
use crate::cli::args::Command;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::place::Opened;
use crate::cli::place::Place;
use crate::server::clock;
use crate::types::UnixTime;

/// Exit code for arguments that are not understood (sysexits).
const USAGE: u8 = 64;

/// What surrounds the program: taken in `main`, so that nothing below reads it again.
#[derive(Debug)]
pub struct Surroundings {
    /// The arguments, the program's name first.
    pub args: Vec<OsString>,
    /// `IMAPWARDEN_CONFIG`.
    pub config: Option<OsString>,
    /// The operator's name, for bans.
    pub operator: Option<String>,
}

/// What a command works with.
struct Context<'a> {
    place: Place,
    out: Output<'a>,
    now: UnixTime,
    operator: String,
}

impl Context<'_> {
    /// The store, for commands that ask no backend.
    async fn open(&self) -> Result<Opened, CliError> {
        Opened::at(&self.place.config_without_backend(self.now)?).await
    }
}

/// Does what the arguments say; answers the exit code. To be called by the only thread there is.
pub fn run(around: Surroundings, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let wants_json = around.args.iter().any(|arg| arg == "--json");
    let args = match Args::try_parse_from(&around.args) {
        Ok(args) => args,
        Err(error) => return misunderstood(&error, wants_json, out, err),
    };
    let json = args.global.json;
    match dispatch(args, around, out) {
        Ok(()) => 0,
        // Nobody reads any more (`| head`): nothing is left to say, and nobody to say it to.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => error_code(&error),
        Err(error) => report(&error, json, out, err),
    }
}

fn error_code(error: &io::Error) -> u8 {
    CliError::Output(io::Error::from(error.kind())).code()
}

fn dispatch(args: Args, around: Surroundings, out: &mut dyn Write) -> Result<(), CliError> {
    let place = match &args.command {
        // Files that are named need no configuration beside them.
        Command::Policy(command) if command.names_files() && args.global.config.is_none() => Place::nowhere(),
        _ => Place::find(&args.global, around.config)?,
    };
    let mut cx = Context {
        place,
        out: Output::new(out, args.global.json),
        now: clock::unix(),
        operator: around.operator.unwrap_or_else(|| "operator".to_owned()),
    };
    // Addresses are bound, and what a proxy needs no more is given up, while there is one thread only.
    let prepared = match &args.command {
        Command::Serve { listen } => Some(serve::prepare(&cx, listen)?),
        _ => None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::Runtime)?;
    let done = runtime.block_on(Box::pin(execute(args.command, prepared, &mut cx)));
    // A name service that hangs in a thread of its own must not keep us.
    runtime.shutdown_background();
    done
}

async fn execute(
    command: Command,
    prepared: Option<serve::Prepared>,
    cx: &mut Context<'_>,
) -> Result<(), CliError> {
    if let Some(prepared) = prepared {
        return Box::pin(serve::run(cx, prepared)).await;
    }
    match command {
        // Prepared above.
        Command::Serve { .. } => Ok(()),
        Command::Check => check::run(cx),
        Command::Reload => Box::pin(reload::run(cx)).await,
        Command::User(command) => Box::pin(user::run(cx, command)).await,
        Command::AppPassword(command) => Box::pin(app_password::run(cx, command)).await,
        Command::Ban(command) => Box::pin(ban::run(cx, command)).await,
        Command::Session(command) => Box::pin(session::run(cx, command)).await,
        Command::Policy(command) => policy::run(cx, command),
        Command::Explain(command) => Box::pin(explain::run(cx, command)).await,
        Command::Store(command) => Box::pin(store::run(cx, command)).await,
        Command::Key(command) => Box::pin(key::run(cx, command)).await,
    }
}

/// Help and versions go to standard output, misunderstandings to standard error.
fn misunderstood(error: &clap::Error, json: bool, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let text = error.render().to_string();
    // Where a stream is closed there is nobody to tell.
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = write!(out, "{text}");
        return 0;
    }
    let _ = write!(err, "{text}");
    if json {
        let first = text.lines().next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(first);
        let _ = Output::new(out, true).json(&json!({"error": message}));
    }
    USAGE
}

fn report(error: &CliError, json: bool, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    // Where a stream is closed there is nobody to tell.
    if let CliError::Config(problems) = error {
        let _ = err.write_all(problems.render(80, io::stderr().is_terminal()).as_bytes());
        if json {
            let value =
                json!({"error": error.line(), "file": problems.file(), "problems": problems.to_json()});
            let _ = Output::new(out, true).json(&value);
        }
        return error.code();
    }
    let line = error.line();
    if let CliError::Rules(files) = error {
        for problems in files {
            let _ = err.write_all(problems.render(80, io::stderr().is_terminal()).as_bytes());
        }
    }
    if let CliError::Rejected { report, .. } = error
        && !report.is_empty()
    {
        let _ = writeln!(err, "{}", output::shown_lines(report));
    }
    let _ = writeln!(err, "imapwarden: {line}");
    if json {
        let _ = Output::new(out, true).json(&json!({"error": line}));
    }
    error.code()
}
