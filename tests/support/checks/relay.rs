//! The relay between a client that sends anything, and backends: ones that say anything, and ones that answer what they
//! are asked (`model`).

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;

use imapwarden::imap::collect::Bounds;
use imapwarden::imap::verb::Kind;
use imapwarden::imap::verb::Verb;
use imapwarden::session::relay::Options;
use imapwarden::session::relay::Output;
use imapwarden::session::relay::Relay;
use imapwarden::types::EndReason;
use imapwarden::types::Side;

use super::Cuts;
use super::framer::announced;
use super::framer::read_response;
use super::model::Backend;
use super::model::Event;
use super::model::Make;
use super::turns;

/// Between turns of the two sides, where a fuzzer makes up both: the client has the first.
pub const TURN: u8 = 0xff;

/// In every text of the backend's, never in one of ours.
const MARK: &[u8] = b"BACKEND";

/// Small, so that short inputs reach them.
pub(super) fn options() -> Arc<Options> {
    Arc::new(Options {
        command: Bounds {
            line: 200,
            literal: 60,
            literals: 100,
            literal_count: 4,
            command: 250,
        },
        max_message: 400,
        max_in_flight: 4,
        max_response_line: 300,
        max_bad_commands: 8,
        ..Options::default()
    })
}

/// What came of a session.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    to_client: Vec<u8>,
    to_backend: Vec<u8>,
    end: Option<EndReason>,
    mailbox: Option<String>,
    commands: u64,
    refused: u64,
}

/// Both sides say anything, in turns: the same comes of it however each turn is cut.
pub fn cut_anywhere(input: &[u8], seed: u64) {
    let turns = turns(input, TURN);
    let whole = play(&turns, None);
    for seed in [seed, seed.wrapping_add(1)] {
        let cut = play(&turns, Some(Cuts::new(seed)));
        assert_same(&whole, &cut, input);
    }
}

fn assert_same(whole: &Seen, cut: &Seen, input: &[u8]) {
    let input = input.escape_ascii();
    let but_client = |seen: &Seen| {
        let backend = seen.to_backend.escape_ascii().to_string();
        (
            backend,
            seen.end,
            seen.mailbox.clone(),
            seen.commands,
            seen.refused,
        )
    };
    assert_eq!(but_client(whole), but_client(cut), "{input}");
    if whole.end.is_some_and(|end| end.side() == Side::Backend) {
        // Of a response that breaks off, more or less may have passed.
        let (one, other) = (&whole.to_client, &cut.to_client);
        assert!(one.starts_with(other) || other.starts_with(one), "{input}");
    } else {
        assert_eq!(shown(whole), shown(cut), "{input}");
    }
}

fn shown(seen: &Seen) -> String {
    seen.to_client.escape_ascii().to_string()
}

/// Plays turns. What the relay does not take from the client is offered again when the backend's turn is over.
fn play(turns: &[&[u8]], mut cuts: Option<Cuts>) -> Seen {
    let mut wire = Wire::new();
    for (at, turn) in turns.iter().enumerate() {
        let pieces = match &mut cuts {
            None => vec![*turn],
            Some(cuts) => cuts.pieces(turn),
        };
        for piece in pieces {
            match at % 2 {
                0 => wire.client_says(piece),
                _ => wire.backend_says(piece),
            }
        }
        wire.client_says(b"");
    }
    wire.seen()
}

/// A relay and what it has had written.
struct Wire {
    relay: Relay,
    output: Output,
    /// What the relay has not taken from the client yet.
    waiting: Vec<u8>,
    seen: Seen,
}

impl Wire {
    fn new() -> Self {
        Self {
            relay: Relay::new(options()),
            output: Output::default(),
            waiting: Vec::new(),
            seen: Seen::default(),
        }
    }

    fn client_says(&mut self, piece: &[u8]) {
        self.waiting.extend_from_slice(piece);
        if self.seen.end.is_some() {
            return;
        }
        let result = self.relay.from_client(&self.waiting, &mut self.output);
        let input = std::mem::take(&mut self.waiting);
        self.write(&[], &input);
        match result {
            Ok(taken) => self.waiting = input[taken..].to_vec(),
            Err(reason) => self.seen.end = Some(reason),
        }
    }

    fn backend_says(&mut self, piece: &[u8]) {
        if self.seen.end.is_some() {
            return;
        }
        let result = self.relay.from_backend(piece, &mut self.output);
        self.write(piece, &[]);
        self.seen.end = result.err();
    }

    fn write(&mut self, from_backend: &[u8], from_client: &[u8]) {
        for slice in self.output.client.slices(from_backend) {
            self.seen.to_client.extend_from_slice(slice);
        }
        for slice in self.output.backend.slices(from_client) {
            self.seen.to_backend.extend_from_slice(slice);
        }
        self.output.clear();
    }

    fn seen(self) -> Seen {
        Seen {
            mailbox: self.relay.mailbox().map(ToString::to_string),
            commands: self.relay.counts().commands,
            refused: self.relay.counts().refused,
            ..self.seen
        }
    }
}

/// What two backends ran of a client's bytes, and what reached the client.
#[derive(Debug)]
pub struct Ran {
    /// In order, each as far as the backends got it.
    pub commands: Vec<Vec<u8>>,
    /// Everything.
    pub to_client: Vec<u8>,
    /// Why the session ended, if it did.
    pub end: Option<EndReason>,
}

/// A client that sends anything, and backends of two makes that decide by `choices`: both run what the relay has judged,
/// and nothing else; and the client hears the backends' responses whole and in order, ours between them.
pub fn backends_run_what_was_judged(client: &[u8], choices: &[u8], seed: u64) -> Ran {
    let mut cuts = Cuts::new(seed);
    let mut stage = Stage::new(choices, cuts.pieces(client).into());
    while stage.client_goes_on() {
        stage.hand_over();
        if stage.choices.next().is_multiple_of(2) {
            stage.speak(&mut cuts);
        }
    }
    while stage.wire.seen.end.is_none() && stage.speak(&mut cuts) {}
    stage.judge(client);
    Ran {
        commands: stage.ran,
        end: stage.wire.seen.end,
        to_client: stage.wire.seen.to_client,
    }
}

/// Decides by bytes; when they are used up, by their last ones' like.
pub(super) struct Choices<'a>(std::iter::Cycle<std::slice::Iter<'a, u8>>);

impl<'a> Choices<'a> {
    pub(super) fn new(choices: &'a [u8]) -> Self {
        Self(choices.iter().cycle())
    }

    pub(super) fn next(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }
}

/// What the backends still have to say.
enum Due {
    Answer { tag: Vec<u8>, verb: String },
    Ask,
}

struct Stage<'a> {
    wire: Wire,
    /// What the client has yet to send.
    client: VecDeque<&'a [u8]>,
    choices: Choices<'a>,
    strict: Backend,
    sloppy: Backend,
    /// How much of what was forwarded the backends have read.
    read: usize,
    due: VecDeque<Due>,
    /// The tag of the IDLE that goes on.
    idling: Option<Vec<u8>>,
    ran: Vec<Vec<u8>>,
    said: Vec<Vec<u8>>,
}

impl<'a> Stage<'a> {
    fn new(choices: &'a [u8], client: VecDeque<&'a [u8]>) -> Self {
        Self {
            wire: Wire::new(),
            client,
            choices: Choices::new(choices),
            strict: Backend::new(Make::Strict),
            sloppy: Backend::new(Make::Sloppy),
            read: 0,
            due: VecDeque::new(),
            idling: None,
            ran: Vec::new(),
            said: Vec::new(),
        }
    }

    /// The client sends its next piece. False where it has sent all.
    fn client_goes_on(&mut self) -> bool {
        let piece = self.client.pop_front();
        self.wire.client_says(piece.unwrap_or_default());
        piece.is_some()
    }

    /// Gives the backends what was forwarded. They must see the same in it.
    fn hand_over(&mut self) {
        let bytes = &self.wire.seen.to_backend[self.read..];
        let events = self.strict.take(bytes);
        assert_eq!(events, self.sloppy.take(bytes), "{}", bytes.escape_ascii());
        self.read = self.wire.seen.to_backend.len();
        for event in events {
            match event {
                Event::Asks(_) => self.due.push_back(Due::Ask),
                Event::Done => {
                    let tag = self.idling.take().expect("DONE belongs to an IDLE");
                    let verb = "DONE".to_owned();
                    self.due.push_back(Due::Answer { tag, verb });
                }
                Event::Runs(command) => {
                    let (tag, verb) = tag_and_verb(&command);
                    self.due.push_back(Due::Answer { tag, verb });
                    self.ran.push(command);
                }
            }
        }
    }

    /// Says the next thing that is due, now and then with something untagged before it. False where nothing is due.
    fn speak(&mut self, cuts: &mut Cuts) -> bool {
        let Some(due) = self.due.pop_front() else {
            return false;
        };
        if let Some(news) = self.news() {
            self.say(&news, cuts);
        }
        match due {
            Due::Ask => self.ask(cuts),
            Due::Answer { tag, verb } => self.answer(&tag, &verb, cuts),
        }
        true
    }

    fn news(&mut self) -> Option<Vec<u8>> {
        let news: &[u8] = match self.choices.next() % 8 {
            0 => b"* 1 FETCH (BODY[] {14}\r\nx OK BACKEND\r\n NIL)\r\n",
            1 => b"* OK [ALERT] BACKEND {7}\r\n",
            2 => b"* CAPABILITY BACKEND=1 QUOTA=BACKEND COMPRESS=DEFLATE\r\n",
            3 => b"* LIST () BACKEND {0}\r\n\r\n",
            _ => return None,
        };
        Some(news.to_vec())
    }

    /// Asks for a literal, or answers the command without it.
    fn ask(&mut self, cuts: &mut Cuts) {
        let word = match self.choices.next() % 6 {
            0 => "NO",
            1 => "BAD",
            _ => {
                self.strict.grant();
                self.sloppy.grant();
                self.say(b"+ BACKEND\r\n", cuts);
                return;
            }
        };
        let command = self.strict.reject();
        assert_eq!(command, self.sloppy.reject());
        let (tag, _) = tag_and_verb(&command);
        self.ran.push(command);
        self.say(&tagged(&tag, word), cuts);
    }

    fn answer(&mut self, tag: &[u8], verb: &str, cuts: &mut Cuts) {
        let choice = self.choices.next();
        if verb == "IDLE" && !choice.is_multiple_of(3) {
            self.begin_idle(tag, cuts);
            if choice % 3 == 1 {
                self.end_idle();
            }
            return;
        }
        if verb == "LOGOUT" {
            self.say(b"* BYE BACKEND\r\n", cuts);
        }
        let word = match choice % 5 {
            0 => "NO",
            1 => "BAD",
            _ => "OK",
        };
        self.say(&tagged(tag, word), cuts);
    }

    fn begin_idle(&mut self, tag: &[u8], cuts: &mut Cuts) {
        self.idling = Some(tag.to_vec());
        self.strict.idle();
        self.sloppy.idle();
        self.say(b"+ BACKEND idling\r\n", cuts);
    }

    /// The backends end IDLE by themselves, if the client has not. At once: a DONE that crosses the answer would be a command
    /// to them, and what they say to it an answer that nobody asked for.
    fn end_idle(&mut self) {
        if let Some(tag) = self.idling.take() {
            self.strict = Backend::new(Make::Strict);
            self.sloppy = Backend::new(Make::Sloppy);
            self.said.push(tagged(&tag, "OK"));
            self.wire.backend_says(&tagged(&tag, "OK"));
            self.wire.client_says(b"");
            self.hand_over();
        }
    }

    /// Says a response in pieces. Between them the client goes on, now and then.
    fn say(&mut self, response: &[u8], cuts: &mut Cuts) {
        self.said.push(response.to_vec());
        for piece in cuts.pieces(response) {
            self.wire.backend_says(piece);
            self.wire.client_says(b"");
            if self.choices.next().is_multiple_of(4) {
                self.client_goes_on();
            }
        }
        self.hand_over();
    }

    fn judge(&self, client: &[u8]) {
        let input = client.escape_ascii();
        if let Some(end) = self.wire.seen.end {
            assert_eq!(end.side(), Side::Client, "{input}: {end}");
        }
        let judged = self.wire.relay.counts().commands;
        // A command of which the end is yet to come has been judged, and not been run.
        let begun = u64::from(!self.strict.is_between_commands() && self.idling.is_none());
        assert_eq!(self.ran.len() as u64 + begun, judged, "{input}");
        let starts = starts(client);
        let mut from = 0;
        for command in &self.ran {
            let (_, verb) = tag_and_verb(command);
            let verb = Verb::find(verb.as_bytes()).unwrap_or_else(|| panic!("{verb} in {input}"));
            assert!(!matches!(verb.kind(), Kind::Refused(_)), "{input}");
            let found = starts.range(from..).find_map(|at| end_of(client, *at, command));
            from = found.unwrap_or_else(|| panic!("{} was never said in {input}", command.escape_ascii()));
        }
        self.judge_answers(&input.to_string());
    }

    /// The client's side: whole responses; those of the backends all, in order, and as they were.
    fn judge_answers(&self, input: &str) {
        let mut heard = Vec::new();
        let mut rest = self.wire.seen.to_client.as_slice();
        while !rest.is_empty() {
            let Ok(Some(response)) = read_response(rest) else {
                // Only the end of a session may cut off a response.
                assert!(
                    self.wire.seen.end.is_some(),
                    "{input}: no response: {}",
                    rest.escape_ascii()
                );
                break;
            };
            let (response, behind) = rest.split_at(response.length);
            rest = behind;
            let text = response
                .splitn(2, |byte| *byte == b' ')
                .nth(1)
                .unwrap_or_default();
            if contains(text, MARK) && !response.starts_with(b"+") {
                heard.push(response.to_vec());
            }
        }
        let said = self.said.iter().filter(|response| !response.starts_with(b"+"));
        let said: Vec<Vec<u8>> = said.map(|response| filtered(response)).collect();
        // A session that has ended may have cut off the last of them.
        assert!(said.starts_with(&heard), "{input}: {heard:?} of {said:?}");
        if self.wire.seen.end.is_none() {
            assert_eq!(said.len(), heard.len(), "{input}");
        }
    }
}

/// The backends' one list of capabilities, as a client must see it.
fn filtered(response: &[u8]) -> Vec<u8> {
    match response.starts_with(b"* CAPABILITY") {
        true => b"* CAPABILITY QUOTA=BACKEND LITERAL+\r\n".to_vec(),
        false => response.to_vec(),
    }
}

fn tagged(tag: &[u8], word: &str) -> Vec<u8> {
    [tag, b" ", word.as_bytes(), b" BACKEND\r\n"].concat()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The first word, and the second in upper case; with UID, the third.
fn tag_and_verb(command: &[u8]) -> (Vec<u8>, String) {
    let mut words = command
        .split(|byte| b" \r\n(".contains(byte))
        .filter(|word| !word.is_empty());
    let mut word = || String::from_utf8_lossy(words.next().unwrap_or_default()).to_uppercase();
    let tag = command.split(|byte| b" \r\n".contains(byte)).next().unwrap();
    word();
    let verb = match word() {
        uid if uid == "UID" => format!("UID {}", word()),
        verb => verb,
    };
    (tag.to_vec(), verb)
}

/// Where in a client's bytes a command may begin. Behind `{n+}` n bytes of the same command follow, whatever becomes of it.
/// Behind `{n}` they may, or the next command.
pub(super) fn starts(client: &[u8]) -> BTreeSet<usize> {
    let mut starts = BTreeSet::from([0]);
    let mut lines = BTreeSet::new();
    let mut to_read = vec![0];
    while let Some(at) = to_read.pop() {
        let Some(end) = client
            .get(at..)
            .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
        else {
            continue;
        };
        if !lines.insert(at) {
            continue;
        }
        let next = at + end + 1;
        let literal = announced(&client[at..next]);
        if literal.as_ref().is_none_or(|literal| !literal.non_sync) {
            starts.insert(next);
            to_read.push(next);
        }
        if let Some(size) = literal.and_then(|literal| literal.size) {
            to_read.push(next + size);
        }
    }
    starts
}

/// Where the command ends that begins here: the same bytes, but for the `+` of literals that do not wait.
pub(super) fn end_of(client: &[u8], start: usize, command: &[u8]) -> Option<usize> {
    let mut rest = &client[start..];
    for (at, byte) in command.iter().enumerate() {
        if command[at..].starts_with(b"}\r\n") && rest.starts_with(b"+}\r\n") {
            rest = &rest[1..];
        }
        rest = rest.strip_prefix(&[*byte])?;
    }
    Some(client.len() - rest.len())
}
