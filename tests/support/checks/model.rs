//! Backends as far as it matters what they take for a command: two makes that read the same bytes by different rules.
//!
//! Whatever the relay sends, both must run the same commands, and be asked nothing, given nothing, that they did not ask for.

use super::framer::announced;

/// By which rules a backend reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// Only the end of a line counts: whatever stands before it, `{3}` announces a literal. Takes CRLF only.
    Strict,
    /// Token by token, as Dovecot does: a literal only where a token may begin, none in a quoted string that is not closed.
    /// After a mistake it goes on with the next line, and a bare LF ends one.
    Sloppy,
}

/// What became of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It waits for leave to ask for this many bytes: `grant` or `reject`.
    Asks(usize),
    /// It runs these bytes as a command.
    Runs(Vec<u8>),
    /// It has heard DONE.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Line,
    Asking(usize),
    Literal(usize),
    Idle,
}

/// One backend.
#[derive(Debug)]
pub struct Backend {
    make: Make,
    at: At,
    /// The command so far.
    command: Vec<u8>,
    /// Where its current line begins.
    line: usize,
}

impl Backend {
    /// A backend that waits for a command.
    pub fn new(make: Make) -> Self {
        Self {
            make,
            at: At::Line,
            command: Vec::new(),
            line: 0,
        }
    }

    /// Takes bytes and says what comes of them.
    ///
    /// # Panics
    /// Where no proxy may have sent them: a literal unasked, one that does not wait, a lone CR or LF, NUL.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for byte in bytes {
            match self.at {
                At::Asking(_) => panic!("sent without leave: {}", bytes.escape_ascii()),
                At::Literal(left) => {
                    self.command.push(*byte);
                    self.literal(left - 1);
                }
                At::Line | At::Idle => {
                    assert_ne!(*byte, 0, "NUL outside a literal");
                    assert!(
                        *byte == b'\n' || !self.command[self.line..].ends_with(b"\r"),
                        "lone CR"
                    );
                    self.command.push(*byte);
                    if *byte == b'\n' {
                        assert!(self.command[self.line..].ends_with(b"\r\n"), "lone LF");
                        events.push(self.line_ended());
                    }
                }
            }
        }
        events
    }

    fn line_ended(&mut self) -> Event {
        if self.at == At::Idle {
            let line = std::mem::take(&mut self.command);
            assert!(
                line.eq_ignore_ascii_case(b"DONE\r\n"),
                "in IDLE: {}",
                line.escape_ascii()
            );
            (self.at, self.line) = (At::Line, 0);
            return Event::Done;
        }
        let line = &self.command[self.line..];
        let size = match self.make {
            Make::Strict => announced(line).map(|literal| (literal.size, literal.non_sync)),
            Make::Sloppy => literal_token(line),
        };
        match size {
            Some((size, non_sync)) => {
                assert!(!non_sync, "a literal that does not wait: {}", line.escape_ascii());
                let size = size.expect("a size that servers agree on");
                self.at = At::Asking(size);
                Event::Asks(size)
            }
            None => {
                self.line = 0;
                Event::Runs(std::mem::take(&mut self.command))
            }
        }
    }

    /// Asks for the literal.
    pub fn grant(&mut self) {
        let At::Asking(size) = self.at else {
            panic!("nothing was asked for");
        };
        self.literal(size);
    }

    /// Answers the command without its literal, and waits for the next one. Says what the command was.
    pub fn reject(&mut self) -> Vec<u8> {
        (self.at, self.line) = (At::Line, 0);
        std::mem::take(&mut self.command)
    }

    /// Begins IDLE.
    pub fn idle(&mut self) {
        self.at = At::Idle;
    }

    /// True where it waits for a command, and nothing of one has come.
    pub fn is_between_commands(&self) -> bool {
        self.at == At::Line && self.command.is_empty()
    }

    fn literal(&mut self, left: usize) {
        self.at = match left {
            0 => {
                self.line = self.command.len();
                At::Line
            }
            left => At::Literal(left),
        };
    }
}

/// The literal that the last token of a line announces, if all tokens before it are in order.
fn literal_token(line: &[u8]) -> Option<(Option<usize>, bool)> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut begins = true;
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        at += 1;
        match byte {
            b'"' if begins => at += end_of_quoted(&line[at..])?,
            b'{' if begins => {
                let announcement = [&line[at - 1..], b"\r\n"].concat();
                return announced(&announcement).map(|literal| (literal.size, literal.non_sync));
            }
            _ => {}
        }
        // `~` may stand before a literal's brace.
        begins = matches!(byte, b' ' | b'(' | b')') || (begins && *byte == b'~');
    }
    None
}

/// The length of a quoted string behind its first quote; nothing where it does not end.
fn end_of_quoted(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}
