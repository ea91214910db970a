//! `imapwarden policy replay`: recorded events through a set of rules, on the events' own clock. Changes nothing, and asks no
//! store.

mod judge;
mod lines;
mod recorded;
mod sessions;
mod show;
mod tally;

use std::fs::File;
use std::io;
use std::io::BufReader;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::Context;
use crate::cli::error::CliError;
use crate::cli::place::Place;
use crate::cli::policy;
use crate::cli::replay::judge::Replay;
use crate::cli::replay::lines::Line;
use crate::cli::replay::lines::Lines;
use crate::cli::replay::recorded::Recorded;
use crate::cli::replay::recorded::Unreadable;
use crate::config::rules::Loaded;
use crate::policy::rules::Mode;
use crate::policy::rules::RuleSet;

/// Most unreadable lines that are named.
const NAMED: usize = 20;

/// What to replay.
pub(super) struct Wanted {
    /// Event logs in the order of time; `-` is standard input.
    pub(super) files: Vec<PathBuf>,
    /// Rule files; those of the configuration otherwise.
    pub(super) rules: Vec<PathBuf>,
    /// The mode of all rules; as they say otherwise.
    pub(super) mode: Option<Mode>,
}

/// How reading went.
#[derive(Default)]
struct Reading {
    lines: u64,
    events: u64,
    unreadable: u64,
    /// File, line and why, of the first of them.
    named: Vec<(String, u64, Unreadable)>,
}

pub(super) fn run(cx: &mut Context<'_>, wanted: &Wanted) -> Result<(), CliError> {
    let loaded = policy::load(cx, &wanted.rules)?;
    // The names of networks are the configuration's; without one there are those that the recording names.
    let sets = match &cx.place {
        Place::File(_) => {
            let networks = cx.place.config_without_backend(cx.now)?.networks;
            networks
                .iter()
                .map(|(name, set)| (Arc::from(name), set.clone()))
                .collect()
        }
        Place::Bare { .. } => Vec::new(),
    };
    let mut replay = Replay::new(in_mode(&loaded, wanted.mode), sets);
    let mut read = Reading::default();
    for file in &wanted.files {
        read_file(file, &mut replay, &mut read)?;
    }
    show::show(cx, &loaded, &replay, &read)?;
    if read.events == 0 {
        return Err(CliError::Data("there is no event of imapwarden in it".to_owned()));
    }
    Ok(())
}

fn in_mode(loaded: &Loaded, mode: Option<Mode>) -> RuleSet {
    let mut set = loaded.set.clone();
    if let Some(mode) = mode {
        set.shadow = false;
        set.rules.iter_mut().for_each(|rule| rule.mode = mode);
    }
    set
}

fn read_file(path: &Path, replay: &mut Replay, read: &mut Reading) -> Result<(), CliError> {
    let name = path.display().to_string();
    let failed = |source| CliError::Input {
        what: "the recording",
        from: name.clone(),
        source,
    };
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(failed)?)
    };
    let mut lines = Lines::new(BufReader::new(source));
    let mut number = 0_u64;
    while let Some(line) = lines.next().map_err(failed)? {
        number = number.saturating_add(1);
        read.lines = read.lines.saturating_add(1);
        let recorded = match line {
            Line::Read(bytes) if bytes.trim_ascii().is_empty() => continue,
            Line::Read(bytes) => Recorded::read(bytes),
            Line::TooLong => Err("too long"),
        };
        match recorded {
            Ok(recorded) => {
                read.events = read.events.saturating_add(1);
                replay.take(recorded);
            }
            Err(why) => {
                read.unreadable = read.unreadable.saturating_add(1);
                if read.named.len() < NAMED {
                    read.named.push((name.clone(), number, why));
                }
            }
        }
    }
    Ok(())
}
