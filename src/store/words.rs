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

/// 32 bytes in hexadecimal digits.
pub(super) fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads them; `None` where it is something else.
pub(super) fn of_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (number, byte) in bytes.iter_mut().enumerate() {
        let at = number.saturating_mul(2);
        let digits = text.get(at..at.saturating_add(2))?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    (text.len() == 64).then_some(bytes)
}
