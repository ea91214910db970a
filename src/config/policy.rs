//! Which rules are in force: `rules`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Context;
use crate::config::kind;
use crate::config::kind::secs;
use crate::config::notes::At;
use crate::config::rules::Pack;
use crate::config::rules::rule_name;
use crate::config::section::Section;
use crate::policy::first_sync;

const DAY: u64 = 86_400;

/// Whether all rules only report.
const MODES: &[(&str, bool)] = &[("enforce", false), ("shadow", true)];

/// Which rules are in force, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Rules that come with the program.
    pub packs: Vec<Pack>,
    /// Rule files, and directories of them.
    pub files: Vec<PathBuf>,
    /// Rules that are not in force, by their names.
    pub disable: Vec<Arc<str>>,
    /// Rules that only report, by their names.
    pub report_only: Vec<Arc<str>>,
    /// Whether all rules only report.
    pub shadow: bool,
    /// What a new app password may fetch at once.
    pub first_sync: first_sync::Options,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            packs: Pack::DEFAULT.to_vec(),
            files: Vec::new(),
            disable: Vec::new(),
            report_only: Vec::new(),
            shadow: false,
            first_sync: first_sync::Options::default(),
        }
    }
}

impl Rules {
    pub(super) fn read(mut section: Section<'_>, cx: &Context<'_>) -> Self {
        let path = kind::path(cx.base);
        let modes = kind::word(MODES, |shadow| kind::word_of(MODES, shadow));
        let pack = kind::word(Pack::NAMES, |pack| kind::word_of(Pack::NAMES, pack));
        let packs = section.list("packs", &pack, "[baseline, generic]");
        let packs = packs.map(values).unwrap_or_else(|| Pack::DEFAULT.to_vec());
        let files = section.list("files", &path, "none").map(values);
        let mut names = |key| section.list(key, &rule_name(), "[]").map(values);
        let (disable, report_only) = (names("disable"), names("report_only"));
        let read = Self {
            packs,
            files: files.unwrap_or_default(),
            disable: disable.unwrap_or_default(),
            report_only: report_only.unwrap_or_default(),
            shadow: section.value("mode", &modes, false),
            first_sync: first_sync_of(section.section("first_sync")),
        };
        section.finish();
        read
    }
}

fn values<T>(read: Vec<At<T>>) -> Vec<T> {
    read.into_iter().map(|at| at.value).collect()
}

fn first_sync_of(mut section: Section<'_>) -> first_sync::Options {
    let default = first_sync::Options::default();
    let days = || kind::duration(Duration::ZERO..=secs(90 * DAY));
    let read = first_sync::Options {
        unused: section.value("unused", &days(), default.unused),
        life: section.value("life", &days(), default.life),
        bytes: section.value("bytes", &kind::size(0..=1 << 50), default.bytes),
    };
    section.finish();
    read
}
