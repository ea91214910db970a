//! Values as text, as every engine keeps them. What cannot be read back is nothing, never a default: a damaged restriction
//! must not become no restriction.

use crate::types::Commands;
use crate::types::Group;
use crate::types::Groups;
use crate::types::MailboxPattern;
use crate::types::Networks;

/// CIDR words with single spaces.
pub(super) fn of_networks(networks: &Networks) -> String {
    let words: Vec<String> = networks.iter().map(ToString::to_string).collect();
    words.join(" ")
}

pub(super) fn networks(text: &str) -> Option<Networks> {
    let nets: Result<Vec<_>, _> = text.split_whitespace().map(str::parse).collect();
    nets.map(Networks::new).ok()
}

/// One pattern a line: none has a line end in it.
pub(super) fn of_patterns(patterns: &[MailboxPattern]) -> String {
    let lines: Vec<&str> = patterns.iter().map(MailboxPattern::as_str).collect();
    lines.join("\n")
}

pub(super) fn patterns(text: &str) -> Option<Box<[MailboxPattern]>> {
    let patterns: Result<Vec<_>, _> = text.lines().map(MailboxPattern::parse).collect();
    patterns.map(Vec::into_boxed_slice).ok()
}

/// A profile or verbs; nothing where every command may be used.
pub(super) fn of_commands(commands: &Commands) -> Option<String> {
    (*commands != Commands::Any).then(|| commands.to_string())
}

/// Words with single spaces.
pub(super) fn of_groups(groups: &Groups) -> String {
    let words: Vec<&str> = groups.iter().map(Group::as_str).collect();
    words.join(" ")
}

pub(super) fn groups(text: &str) -> Option<Groups> {
    let words: Result<Vec<_>, _> = text.split_whitespace().map(Group::parse).collect();
    words.ok().and_then(|words| Groups::new(words).ok())
}

/// The engines' integers are signed.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
