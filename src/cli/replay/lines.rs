//! Lines of files that may be huge: one at a time, each bounded.

use std::io;
use std::io::BufRead;

/// Longest line that is read, in bytes; events are a few KiB.
const MAX_LINE: usize = 256 * 1024;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Its bytes, without the line end.
    Read(&'a [u8]),
    /// It is longer than any event; its bytes are gone.
    TooLong,
}

/// Reads line by line.
pub(super) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            line: Vec::new(),
        }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let (mut too_long, mut any) = (false, false);
        loop {
            let part = match self.reader.fill_buf() {
                Ok(part) => part,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if part.is_empty() {
                break;
            }
            any = true;
            let end = memchr::memchr(b'\n', part);
            let text = part.get(..end.unwrap_or(part.len())).unwrap_or_default();
            if self.line.len().saturating_add(text.len()) > MAX_LINE {
                too_long = true;
                self.line = Vec::new();
            }
            if !too_long {
                self.line.extend_from_slice(text);
            }
            let used = end.map_or(part.len(), |end| end.saturating_add(1));
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        Ok(match (any, too_long) {
            (false, _) => None,
            (true, true) => Some(Line::TooLong),
            (true, false) => Some(Line::Read(&self.line)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_is_read() {
        let long = "x".repeat(MAX_LINE + 1);
        let text = format!("a\n\n{long}\nb\r\nc");
        let mut lines = Lines::new(BufReader::with_capacity(1_000, text.as_bytes()));
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(match line {
                Line::Read(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Line::TooLong => "too long".to_owned(),
            });
        }
        assert_eq!(found, ["a", "", "too long", "b\r", "c"]);
    }
}
