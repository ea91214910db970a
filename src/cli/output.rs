//! What commands print: tables for people, JSON for programs.
//!
//! Text from the store may have been written by anybody who could write to it: nothing printed may steer a terminal.

use std::fmt::Write as _;
use std::io;
use std::io::Write;

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::Value;

use crate::telemetry::text;
use crate::types::Groups;
use crate::types::Networks;
use crate::types::UnixTime;

/// Where results go, and in which form.
pub(super) struct Output<'a> {
    out: &'a mut dyn Write,
    json: bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(out: &'a mut dyn Write, json: bool) -> Self {
        Self { out, json }
    }

    /// True where programs read.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// One JSON value in one line.
    pub(super) fn json(&mut self, value: &Value) -> io::Result<()> {
        let text = harmless_json(value);
        self.bytes(text.as_bytes())
    }

    /// One line for people, as it is.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.bytes(text.as_bytes())
    }

    /// One line: for programs the value, for people the text.
    pub(super) fn either(&mut self, value: &Value, text: &str) -> io::Result<()> {
        if self.json {
            self.json(value)
        } else {
            self.line(text)
        }
    }

    /// Columns as wide as their widest cell; `none` stands where there is no row.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<String>], none: &str) -> io::Result<()> {
        if rows.is_empty() {
            return self.line(none);
        }
        let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
        let all = || std::iter::once(&head).chain(rows);
        let width = |column: usize| {
            let cells = all().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for row in all() {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                // Writing to a String cannot fail.
                let _ = write!(line, "{cell:<width$}  ");
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Bytes and a line end, at once: a reader sees whole lines, and secrets are not left in a buffer.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

/// JSON whose characters are all harmless on a terminal: serde escapes the ASCII control characters, here go the others.
pub(super) fn harmless_json(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        let hides = matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || hides {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

/// Text for people from the store.
pub(super) fn shown(stored: &str) -> String {
    text::clean(stored.as_bytes())
}

/// Text for people that may be long: harmless on a terminal, and nothing is cut off.
pub(super) fn shown_whole(text: &str) -> String {
    text::harmless(text)
}

/// Text of several lines, without what a terminal would obey.
pub(super) fn shown_lines(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}

/// A time in RFC 3339, UTC.
pub(super) fn time(at: UnixTime) -> String {
    Timestamp::from_second(at.0).map_or_else(|_| at.0.to_string(), |time| time.to_string())
}

/// A time, or a dash.
pub(super) fn time_or_dash(at: Option<UnixTime>) -> String {
    at.map_or_else(|| "-".to_owned(), time)
}

/// Networks with commas; `any` where there is no restriction.
pub(super) fn networks(networks: Option<&Networks>) -> String {
    match networks {
        None => "any".to_owned(),
        Some(networks) if networks.is_empty() => "none".to_owned(),
        Some(networks) => {
            let all: Vec<String> = networks.iter().map(ToString::to_string).collect();
            all.join(",")
        }
    }
}

/// Networks for programs; `null` where there is no restriction.
pub(super) fn networks_json(networks: Option<&Networks>) -> Value {
    networks.map_or(Value::Null, |networks| {
        networks
            .iter()
            .map(|net| Value::String(net.to_string()))
            .collect()
    })
}

/// Groups with commas, or a dash.
pub(super) fn groups(groups: &Groups) -> String {
    if groups.is_empty() {
        return "-".to_owned();
    }
    let all: Vec<String> = groups.iter().map(|group| shown(group.as_str())).collect();
    all.join(",")
}

/// The networks of repeated arguments: none is no restriction.
pub(super) fn restriction(networks: &[IpNet]) -> Option<Networks> {
    (!networks.is_empty()).then(|| Networks::new(networks.to_vec()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut out = Vec::new();
        let rows = vec![
            vec!["alice".to_owned(), "x".to_owned()],
            vec!["ü".to_owned(), "y".to_owned()],
        ];
        Output::new(&mut out, false)
            .table(&["NAME", "B"], &rows, "none")
            .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME   B\nalice  x\nü      y\n");
    }

    #[test]
    fn json_reads_back_the_same_and_is_harmless_on_a_terminal() {
        let value = json!({"label": "a\u{9b}2J\u{202e}\u{7f}\u{1b}[0m\\ü"});
        let text = harmless_json(&value);
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(!text.contains('\u{202e}'));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn no_restriction_and_nowhere_are_told_apart() {
        assert_eq!(networks(None), "any");
        assert_eq!(networks(Some(&Networks::default())), "none");
        assert_eq!(networks_json(None), Value::Null);
        assert_eq!(networks_json(Some(&Networks::default())), json!([]));
        assert_eq!(restriction(&[]), None);
    }

    #[test]
    fn a_time_is_shown_in_utc() {
        assert_eq!(time(UnixTime(0)), "1970-01-01T00:00:00Z");
        assert_eq!(time(UnixTime(i64::MAX)), i64::MAX.to_string());
    }
}
