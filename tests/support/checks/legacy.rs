//! An old mail server as far as it matters what it runs. It reads by the grammar of RFC 3501 and RFC 9051 and forgives what
//! it can: a bare LF ends a line, and what follows a literal that it does not want is the next command. It shares no code
//! with the program. Whatever it runs it tells: to say that it should not have is for the caller.

use std::collections::VecDeque;

/// In what else servers differ.
#[derive(Debug, Clone, Copy, Default)]
pub struct Make {
    /// Whatever stands before it, `{3}` at the end of a line announces a literal. Others look for one only where a token may
    /// begin, and not in a quoted string that is still open.
    pub eager: bool,
    /// A lone CR ends a line.
    pub cr_ends_lines: bool,
    /// Nothing of a line counts behind a NUL.
    pub nul_ends_lines: bool,
    /// TAB is a space.
    pub tab_separates: bool,
    /// Sizes are read modulo 2^32.
    pub wraps: bool,
}

impl Make {
    /// One of all.
    pub fn of(bits: u8) -> Self {
        let bit = |at: u8| bits >> at & 1 == 1;
        Self {
            eager: bit(0),
            cr_ends_lines: bit(1),
            nul_ends_lines: bit(2),
            tab_separates: bit(3),
            wraps: bit(4),
        }
    }
}

/// What it has to decide before it reads on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Whether it takes a literal: `grant` or `reject`.
    Literal {
        /// The client waits for a `+`.
        waits: bool,
    },
    /// What it says to the command that it has run last: `answered`, or `idle`.
    Answer,
    /// What it says to DONE: `answered`.
    Done,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Line,
    Deciding(Due, usize),
    Literal(usize),
    Idle,
}

/// A part of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Literal(Vec<u8>),
}

/// One server.
#[derive(Debug)]
pub struct Server {
    make: Make,
    at: At,
    /// What it has not read yet.
    inbox: VecDeque<u8>,
    line: Vec<u8>,
    parts: Vec<Part>,
    /// What it has run, in order.
    pub ran: Vec<Command>,
}

impl Server {
    /// A server that waits for a command.
    pub fn new(make: Make) -> Self {
        Self {
            make,
            at: At::Line,
            inbox: VecDeque::new(),
            line: Vec::new(),
            parts: Vec::new(),
            ran: Vec::new(),
        }
    }

    /// Bytes come.
    pub fn hear(&mut self, bytes: &[u8]) {
        self.inbox.extend(bytes);
    }

    /// Reads until there is something to decide; nothing where it has read all.
    pub fn read(&mut self) -> Option<Due> {
        loop {
            match self.at {
                At::Deciding(due, _) => return Some(due),
                At::Literal(0) => self.at = At::Line,
                At::Literal(left) => {
                    let byte = self.inbox.pop_front()?;
                    if let Some(Part::Literal(bytes)) = self.parts.last_mut() {
                        bytes.push(byte);
                    }
                    self.at = At::Literal(left - 1);
                }
                At::Line | At::Idle => {
                    let byte = self.inbox.pop_front()?;
                    self.line.push(byte);
                    let followed_by_lf = self.inbox.front() == Some(&b'\n');
                    let ends = byte == b'\n' || (byte == b'\r' && self.make.cr_ends_lines && !followed_by_lf);
                    if ends {
                        self.line_ended();
                    }
                }
            }
        }
    }

    fn line_ended(&mut self) {
        let line = std::mem::take(&mut self.line);
        if matches!(self.at, At::Idle) {
            if without_end(&line).eq_ignore_ascii_case(b"DONE") {
                self.at = At::Deciding(Due::Done, 0);
            } else {
                self.parts.push(Part::Text(line));
                self.run(true);
            }
            return;
        }
        let announced = self.announced(&line);
        self.parts.push(Part::Text(line));
        match announced {
            Some((size, waits)) => self.at = At::Deciding(Due::Literal { waits }, size),
            None => self.run(true),
        }
    }

    /// The size of the literal that a line announces, and whether the client waits.
    fn announced(&self, line: &[u8]) -> Option<(usize, bool)> {
        let line = self.seen(line);
        let head = line.strip_suffix(b"}")?;
        let brace = head.iter().rposition(|byte| *byte == b'{')?;
        let (before, inside) = (&head[..brace], &head[brace + 1..]);
        let (digits, waits) = match inside.split_last() {
            Some((b'+' | b'-', digits)) => (digits, false),
            _ => (inside, true),
        };
        let number: u128 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let is_number = digits.iter().all(u8::is_ascii_digit);
        let size = if self.make.wraps {
            number % (1 << 32)
        } else {
            number
        };
        let stands_right = self.make.eager || may_begin_a_token(before);
        (is_number && stands_right).then_some((usize::try_from(size).unwrap_or(usize::MAX), waits))
    }

    /// What of a line counts.
    fn seen<'l>(&self, line: &'l [u8]) -> &'l [u8] {
        let line = without_end(line);
        match line.iter().position(|byte| *byte == 0) {
            Some(nul) if self.make.nul_ends_lines => &line[..nul],
            _ => line,
        }
    }

    fn run(&mut self, is_whole: bool) {
        let parts = std::mem::take(&mut self.parts);
        self.ran.push(self.command(&parts, is_whole));
        self.at = At::Deciding(Due::Answer, 0);
    }

    /// Takes the literal.
    pub fn grant(&mut self) {
        if let At::Deciding(Due::Literal { .. }, size) = self.at {
            self.parts.push(Part::Literal(Vec::new()));
            self.at = At::Literal(size);
        }
    }

    /// Answers the command without its literal: what comes next is a command.
    pub fn reject(&mut self) {
        self.run(false);
        self.at = At::Line;
    }

    /// Has said its answer.
    pub fn answered(&mut self) {
        self.at = At::Line;
    }

    /// Begins IDLE.
    pub fn idle(&mut self) {
        self.at = At::Idle;
    }

    /// True in IDLE, as far as it has read.
    pub fn is_idling(&self) -> bool {
        matches!(self.at, At::Idle)
    }

    /// True where it waits for a command, and nothing of one has come.
    pub fn is_between_commands(&self) -> bool {
        matches!(self.at, At::Line) && self.line.is_empty() && self.parts.is_empty() && self.inbox.is_empty()
    }

    fn command(&self, parts: &[Part], is_whole: bool) -> Command {
        let mut command = Command {
            is_whole,
            ..Command::default()
        };
        let mut tokens = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            match part {
                Part::Literal(bytes) => {
                    command.bytes.extend_from_slice(bytes);
                    command.literals.push(bytes.clone());
                    tokens.push(Token::String(bytes.clone()));
                }
                Part::Text(line) => {
                    command.bytes.extend_from_slice(line);
                    let mut text = self.seen(line);
                    if at + 1 < parts.len() || !is_whole {
                        let brace = text.iter().rposition(|byte| *byte == b'{');
                        text = &text[..brace.unwrap_or(text.len())];
                    }
                    let rest = match at {
                        0 => {
                            let end = text.iter().position(|byte| self.separates(*byte));
                            let (tag, rest) = text.split_at(end.unwrap_or(text.len()));
                            command.tag = tag.to_vec();
                            rest
                        }
                        _ => text,
                    };
                    self.tokens(rest, &mut tokens);
                }
            }
        }
        let words = tokens.iter().map_while(Token::word).take(2).collect::<Vec<_>>();
        let is_uid = words.first().is_some_and(|word| word == "UID") && words.len() == 2;
        command.verb = words
            .iter()
            .take(if is_uid { 2 } else { 1 })
            .cloned()
            .collect::<Vec<_>>()
            .join(" ");
        command.arguments = tokens.split_off(if is_uid { 2 } else { words.len().min(1) });
        command
    }

    fn separates(&self, byte: u8) -> bool {
        byte == b' ' || (byte == b'\t' && self.make.tab_separates)
    }

    fn tokens(&self, text: &[u8], tokens: &mut Vec<Token>) {
        let mut rest = text;
        while let Some((first, behind)) = rest.split_first() {
            rest = match first {
                byte if self.separates(*byte) => behind,
                b'(' => {
                    tokens.push(Token::Open);
                    behind
                }
                b')' => {
                    tokens.push(Token::Close);
                    behind
                }
                b'"' => {
                    let (string, behind) = quoted(behind);
                    tokens.push(Token::String(string));
                    behind
                }
                _ => {
                    let end = rest
                        .iter()
                        .position(|byte| self.separates(*byte) || b"()".contains(byte));
                    let (atom, behind) = rest.split_at(end.unwrap_or(rest.len()));
                    tokens.push(Token::Atom(atom.to_vec()));
                    behind
                }
            };
        }
    }
}

/// A line without what ends it.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A quoted string without its first quote: what it stands for, and what is behind it. One that is not closed ends with the
/// line.
fn quoted(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut string = Vec::new();
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'"' => break,
            b'\\' => {
                if let Some((escaped, behind)) = behind.split_first() {
                    string.push(*escaped);
                    rest = behind;
                }
            }
            byte => string.push(*byte),
        }
    }
    (string, rest)
}

/// True where what stands before a brace leaves room for a token: a separator or a parenthesis, no quote open.
fn may_begin_a_token(before: &[u8]) -> bool {
    let before = before.strip_suffix(b"~").unwrap_or(before);
    let mut is_open = false;
    let mut begins = true;
    let mut bytes = before.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if is_open => drop(bytes.next()),
            b'"' if is_open || begins => is_open = !is_open,
            _ => {}
        }
        begins = b" \t()".contains(byte);
    }
    !is_open && begins
}

/// A piece of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// `(`
    Open,
    /// `)`
    Close,
    /// What is neither.
    Atom(Vec<u8>),
    /// A quoted string without quotes and escapes, or a literal.
    String(Vec<u8>),
}

impl Token {
    /// An atom in upper case.
    pub fn word(&self) -> Option<String> {
        match self {
            Self::Atom(bytes) => Some(String::from_utf8_lossy(bytes).to_ascii_uppercase()),
            _ => None,
        }
    }
}

/// A command that was run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// Its tag.
    pub tag: Vec<u8>,
    /// Its verb in upper case, with `UID` where it is that form.
    pub verb: String,
    /// What follows the verb.
    pub arguments: Vec<Token>,
    /// All its literals.
    pub literals: Vec<Vec<u8>>,
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// False where it was answered before its last literal.
    pub is_whole: bool,
}

impl Command {
    /// The mailboxes that it names, where the grammar of its verb has them.
    pub fn mailboxes(&self) -> Vec<String> {
        let places: &[usize] = match self.verb.as_str() {
            "SELECT" | "EXAMINE" | "CREATE" | "DELETE" | "SUBSCRIBE" | "UNSUBSCRIBE" | "STATUS"
            | "APPEND" => &[0],
            "GETQUOTAROOT" | "SETACL" | "DELETEACL" | "GETACL" | "LISTRIGHTS" | "MYRIGHTS"
            | "SETMETADATA" => &[0],
            "RENAME" => &[0, 1],
            "COPY" | "MOVE" | "UID COPY" | "UID MOVE" | "REPLACE" | "UID REPLACE" => &[1],
            _ => &[],
        };
        let strings = places.iter().filter_map(|place| match self.argument(*place)? {
            [Token::Atom(bytes) | Token::String(bytes)] => Some(name(bytes)),
            _ => None,
        });
        strings.collect()
    }

    /// An argument by its number; a list is one.
    fn argument(&self, number: usize) -> Option<&[Token]> {
        let mut rest = self.arguments.as_slice();
        for _ in 0..number {
            rest = &rest[length_of_first(rest)..];
        }
        rest.get(..length_of_first(rest))
            .filter(|tokens| !tokens.is_empty())
    }

    /// True where messages are marked as deleted by it: set, modifiers in a list or none, what to do, flags.
    pub fn marks_as_deleted(&self) -> bool {
        let behind = match self.argument(1) {
            Some([Token::Open, ..]) => 3,
            _ => 2,
        };
        let item = self
            .argument(behind - 1)
            .and_then(|item| item.first())
            .and_then(Token::word);
        let adds = ["FLAGS", "FLAGS.SILENT", "+FLAGS", "+FLAGS.SILENT"];
        let flags = (behind..).map_while(|number| self.argument(number)).flatten();
        self.verb.ends_with("STORE")
            && item.is_some_and(|item| adds.contains(&item.as_str()))
            && flags.filter_map(Token::word).any(|flag| flag == "\\DELETED")
    }

    /// True where a FETCH asks for the text of messages. What stands in the brackets of a section is no item.
    pub fn fetches_bodies(&self) -> bool {
        if !self.verb.ends_with("FETCH") {
            return false;
        }
        let (mut depth, mut section) = (0, None);
        // The set stands first.
        for token in self.arguments.iter().skip(1) {
            match (token, section) {
                (Token::Open, _) => depth += 1,
                (Token::Close, _) => depth -= 1,
                (Token::Atom(_), None) => {
                    let word = token.word().unwrap_or_default();
                    if is_body(&word) {
                        return true;
                    }
                    let behind = word.split_once('[').map(|(_, behind)| behind);
                    section = behind
                        .is_some_and(|behind| !behind.contains(']'))
                        .then_some(depth);
                }
                (Token::Atom(bytes), Some(began)) if depth == began && bytes.contains(&b']') => {
                    section = None;
                }
                _ => {}
            }
        }
        false
    }
}

/// True for an item of FETCH, in upper case, that is text of messages: not of headers alone.
fn is_body(item: &str) -> bool {
    let starts = ["BODY[", "BODY.PEEK[", "BINARY[", "BINARY.PEEK["];
    let section = starts.iter().find_map(|start| item.strip_prefix(start));
    let section = section.map(|section| section.split(']').next().unwrap_or_default());
    matches!(item, "RFC822" | "RFC822.TEXT")
        || section.is_some_and(|section| !section.contains("HEADER") && !section.ends_with("MIME"))
}

fn length_of_first(tokens: &[Token]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// A mailbox name as people read it (RFC 3501, section 5.1.3); INBOX has no case.
pub fn name(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    match text.contains('&') && text.is_ascii() {
        true => from_utf7(text.as_bytes()).unwrap_or(text),
        false if text.eq_ignore_ascii_case("INBOX") => "INBOX".to_owned(),
        false => text,
    }
}

fn from_utf7(text: &[u8]) -> Option<String> {
    let mut units = Vec::new();
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'&' {
            units.push(u16::from(*byte));
            continue;
        }
        let (mut bits, mut count, mut digits) = (0_u32, 0, 0);
        loop {
            let digit = match *rest.next()? {
                b'-' => break,
                byte @ b'A'..=b'Z' => byte - b'A',
                byte @ b'a'..=b'z' => byte - b'a' + 26,
                byte @ b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b',' => 63,
                _ => return None,
            };
            digits += 1;
            (bits, count) = (bits << 6 & 0x3f_ffff | u32::from(digit), count + 6);
            if count >= 16 {
                count -= 16;
                units.push((bits >> count & 0xffff) as u16);
            }
        }
        match digits {
            0 => units.push(u16::from(b'&')),
            // Half a unit is left over, or a digit that stands for nothing.
            _ if count >= 6 => return None,
            _ => {}
        }
    }
    String::from_utf16(&units).ok()
}
