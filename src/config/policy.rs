//! Which rules are in force: `rules`.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Context;
use crate::config::kind;
use crate::config::kind::secs;
use crate::config::section::Section;
use crate::policy::first_sync;

const DAY: u64 = 86_400;

/// Whether all rules only report.
const MODES: &[(&str, bool)] = &[("enforce", false), ("shadow", true)];

/// Which rules are in force, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Rule files, and directories of them.
    pub files: Vec<PathBuf>,
    /// Whether all rules only report.
    pub shadow: bool,
    /// What a new app password may fetch at once.
    pub first_sync: first_sync::Options,
}

impl Rules {
    pub(super) fn read(mut section: Section<'_>, cx: &Context<'_>) -> Self {
        let path = kind::path(cx.base);
        let modes = kind::word(MODES, |shadow| kind::word_of(MODES, shadow));
        let files = section.list("files", &path, "none").unwrap_or_default();
        let read = Self {
            files: files.into_iter().map(|file| file.value).collect(),
            shadow: section.value("mode", &modes, false),
            first_sync: first_sync_of(section.section("first_sync")),
        };
        section.finish();
        read
    }
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
