//! What a server runs against what was judged: a client sends anything, an old server (`legacy`) runs what reaches it, and
//! each command that it ran is the very one that the rules were asked about. What was refused is never run.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::LazyLock;

use arc_swap::ArcSwap;
use imapwarden::policy::Counters;
use imapwarden::policy::engine::Engine;
use imapwarden::policy::facts::Event;
use imapwarden::policy::facts::Fact;
use imapwarden::policy::facts::Lookup;
use imapwarden::policy::facts::User;
use imapwarden::policy::facts::Value;
use imapwarden::policy::rules::Action;
use imapwarden::policy::rules::RuleSet;
use imapwarden::session::inspect::Rules;
use imapwarden::session::recorder::CommandResult;
use imapwarden::session::recorder::Recorded;
use imapwarden::session::recorder::Recording;
use imapwarden::session::relay::Options;
use imapwarden::session::relay::Output;
use imapwarden::session::relay::Relay;
use imapwarden::types::EndReason;
use imapwarden::types::MailboxPattern;
use imapwarden::types::Restrictions;
use imapwarden::types::Side;

use super::Cuts;
use super::legacy::Command;
use super::legacy::Due;
use super::legacy::Make;
use super::legacy::Server;
use super::relay::Choices;
use super::relay::end_of;
use super::relay::options;
use super::relay::starts;
use super::watched::inspector;
use super::watched::rule;

/// What rules refuse: each also in the words of [`forbidden`].
const RULES: [(&str, Action); 5] = [
    (
        r#"command.mailbox == "Secret" || command.destination == "Secret""#,
        Action::Deny,
    ),
    (r#"command.verb == "DELETE""#, Action::Deny),
    ("command.store_adds_deleted", Action::Deny),
    (r#"command.verb == "SETACL""#, Action::Disconnect),
    (r#"command.verb == "SETQUOTA""#, Action::ReadOnly),
];

static OPTIONS: LazyLock<Arc<Options>> = LazyLock::new(options);

static IN_FORCE: LazyLock<Rules> = LazyLock::new(|| {
    let rule = |(at, (when, action)): (usize, (&str, Action))| {
        rule(&format!("rule-{at}"), Event::Command, when, action)
    };
    let set = RuleSet {
        rules: RULES.into_iter().enumerate().map(rule).collect(),
        revision: "test".into(),
        shadow: false,
    };
    let engine = Engine::new(set, Arc::new(Counters::new(100, 7)));
    Arc::new(ArcSwap::from_pointee(engine))
});

/// A client that sends anything to a server that decides by `choices`; the first of them says which server it is, and
/// whether the session is restricted.
pub fn servers_run_what_was_judged(client: &[u8], choices: &[u8], seed: u64) {
    let kind = choices.first().copied().unwrap_or_default();
    let mut cuts = Cuts::new(seed);
    let mut scene = Scene::new(kind, choices, cuts.pieces(client).into());
    while scene.client_goes_on() {
        if scene.choices.next().is_multiple_of(2) {
            scene.server_goes_on(&mut cuts);
        }
    }
    // What was passed on is read and run, also where the session has ended meanwhile.
    while scene.server_goes_on(&mut cuts) {}
    scene.over(client);
}

/// One session.
struct Scene<'a> {
    relay: Relay,
    output: Output,
    now_ms: u64,
    /// What the relay has not taken from the client yet.
    waiting: Vec<u8>,
    /// What the client has yet to send.
    client: VecDeque<&'a [u8]>,
    choices: Choices<'a>,
    server: Server,
    is_restricted: bool,
    /// The tag of the IDLE that goes on.
    idling: Vec<u8>,
    /// How often the server has ended IDLE by itself: so many DONEs may come too late.
    late: usize,
    /// What the server said to each command that it ran, in order.
    answers: Vec<Option<CommandResult>>,
    judged: Vec<Recorded>,
    end: Option<EndReason>,
}

impl<'a> Scene<'a> {
    fn new(kind: u8, choices: &'a [u8], client: VecDeque<&'a [u8]>) -> Self {
        let is_restricted = kind >> 5 & 1 == 1;
        let relay = Relay::new(Arc::clone(&OPTIONS))
            .inspected(inspector(&IN_FORCE, User::default(), Arc::default()))
            .recorded(Recording::All);
        Self {
            relay: match is_restricted {
                true => relay.restricted(&restrictions(), None),
                false => relay,
            },
            output: Output::default(),
            now_ms: 0,
            waiting: Vec::new(),
            client,
            choices: Choices::new(choices),
            server: Server::new(Make::of(kind)),
            is_restricted,
            idling: Vec::new(),
            late: 0,
            answers: Vec::new(),
            judged: Vec::new(),
            end: None,
        }
    }

    /// The client sends its next piece. False where it has sent all.
    fn client_goes_on(&mut self) -> bool {
        let piece = self.client.pop_front();
        self.client_says(piece.unwrap_or_default());
        piece.is_some()
    }

    fn client_says(&mut self, piece: &[u8]) {
        self.waiting.extend_from_slice(piece);
        if self.end.is_some() {
            return;
        }
        self.tick();
        let result = self.relay.from_client(&self.waiting, &mut self.output);
        let input = std::mem::take(&mut self.waiting);
        self.hand_over(&input);
        match result {
            Ok(taken) => self.waiting = input[taken..].to_vec(),
            Err(reason) => self.end = Some(reason),
        }
    }

    /// The server says something, in pieces; between them the client goes on, now and then.
    fn say(&mut self, response: &[u8], cuts: &mut Cuts) {
        for piece in cuts.pieces(response) {
            if self.end.is_some() {
                return;
            }
            self.tick();
            let result = self.relay.from_backend(piece, &mut self.output);
            self.hand_over(&[]);
            self.end = result.err();
            self.client_says(b"");
            if self.choices.next().is_multiple_of(4) {
                self.client_goes_on();
            }
        }
    }

    fn tick(&mut self) {
        self.now_ms += 100;
        self.relay.tell_time(self.now_ms);
    }

    fn hand_over(&mut self, from_client: &[u8]) {
        for slice in self.output.backend.slices(from_client) {
            self.server.hear(slice);
        }
        self.output.clear();
        self.judged.append(&mut self.relay.take_recorded());
    }

    /// The server decides what is next to decide. False where nothing is.
    fn server_goes_on(&mut self, cuts: &mut Cuts) -> bool {
        let Some(due) = self.server.read() else {
            return self.server.is_idling() && self.ends_idle(cuts);
        };
        if let Some(news) = self.news() {
            self.say(news, cuts);
        }
        match due {
            Due::Literal { waits } => self.literal(waits, cuts),
            Due::Answer => self.answer(cuts),
            Due::Done => {
                self.server.answered();
                let tag = std::mem::take(&mut self.idling);
                self.say(&tagged(&tag, "OK"), cuts);
            }
        }
        true
    }

    fn news(&mut self) -> Option<&'static [u8]> {
        match self.choices.next() % 8 {
            0 => Some(b"* 1 FETCH (BODY[] {14}\r\nx OK BACKEND\r\n NIL)\r\n"),
            1 => Some(b"* 20 EXISTS\r\n* OK [UIDNEXT 31] {7}\r\n"),
            _ => None,
        }
    }

    /// Takes a literal, or answers the command without it, now and then with OK.
    fn literal(&mut self, waits: bool, cuts: &mut Cuts) {
        let result = match self.choices.next() % 8 {
            0 => CommandResult::No,
            1 => CommandResult::Bad,
            2 => CommandResult::Ok,
            _ => {
                self.server.grant();
                if waits {
                    self.say(b"+ go\r\n", cuts);
                }
                return;
            }
        };
        self.server.reject();
        self.finish(result, cuts);
    }

    fn answer(&mut self, cuts: &mut Cuts) {
        let choice = self.choices.next();
        let Some(command) = self.server.ran.last() else {
            return;
        };
        if is_late_done(command) && self.late > 0 {
            self.late -= 1;
            self.server.ran.pop();
            self.server.answered();
            let answer: &[u8] = if choice.is_multiple_of(2) {
                b"DONE BAD what?\r\n"
            } else {
                b"* BAD what?\r\n"
            };
            self.say(answer, cuts);
            return;
        }
        if command.verb == "IDLE" && !choice.is_multiple_of(3) {
            self.idling = command.tag.clone();
            // What comes of it is said when it is over.
            self.answers.push(None);
            self.server.idle();
            self.say(b"+ idling\r\n", cuts);
            return;
        }
        let is_logout = command.verb == "LOGOUT";
        self.server.answered();
        if is_logout {
            self.say(b"* BYE so long\r\n", cuts);
        }
        let result = match choice % 5 {
            0 => CommandResult::No,
            1 => CommandResult::Bad,
            _ => CommandResult::Ok,
        };
        self.finish(result, cuts);
    }

    /// Says to the command that it ran last what becomes of it.
    fn finish(&mut self, result: CommandResult, cuts: &mut Cuts) {
        let tag = self
            .server
            .ran
            .last()
            .map_or(Vec::new(), |command| command.tag.clone());
        self.answers.push(Some(result));
        self.say(&tagged(&tag, result.as_str()), cuts);
    }

    /// The server ends IDLE by itself, now and then, so that a DONE may come too late.
    fn ends_idle(&mut self, cuts: &mut Cuts) -> bool {
        if self.choices.next().is_multiple_of(2) {
            return false;
        }
        self.late += 1;
        self.server.answered();
        let tag = std::mem::take(&mut self.idling);
        self.say(&tagged(&tag, "OK"), cuts);
        true
    }

    /// Compares, when all is said.
    fn over(mut self, client: &[u8]) {
        let input = client.escape_ascii().to_string();
        assert_eq!(self.relay.counts().untold, 0);
        self.relay.ended(self.end.unwrap_or(EndReason::ClientClosed));
        self.judged.append(&mut self.relay.take_recorded());
        let refused = |recorded: &Recorded| matches!(recorded.result, CommandResult::Refused(_));
        let passed: Vec<_> = self.judged.iter().filter(|recorded| !refused(recorded)).collect();
        let ran = &self.server.ran;
        // The end of the last may be still to come.
        let begun = usize::from(!self.server.is_between_commands() && !self.server.is_idling());
        assert!(
            ran.len() <= passed.len() && passed.len() <= ran.len() + begun,
            "{input}: ran {ran:?}, judged {passed:?}"
        );
        for (at, (command, judged)) in ran.iter().zip(&passed).enumerate() {
            let said = self.answers.get(at).copied().flatten();
            compare(command, judged, said, &input);
            self.forbidden(command, &input);
        }
        self.were_said(client, &input);
        if let Some(end) = self.end {
            assert_ne!(end.side(), Side::Backend, "{input}: {end}");
        }
    }

    /// What is refused by rules or restrictions, however it was written.
    fn forbidden(&self, command: &Command, input: &str) {
        let names = command.mailboxes();
        let refused = names.iter().any(|name| name == "Secret")
            || matches!(command.verb.as_str(), "DELETE" | "SETACL")
            || command.marks_as_deleted();
        assert!(!refused, "{input}: {command:?}");
        if self.is_restricted {
            let allowed = |name: &String| name == "INBOX" || name.starts_with("Archive/");
            let changes = CHANGES.iter().any(|verb| command.verb.ends_with(verb));
            assert!(names.iter().all(allowed) && !changes, "{input}: {command:?}");
        }
    }

    /// Each command was said by the client, in order and with the very same bytes, but for the `+` of literals; and where the
    /// session may only read, for SELECT.
    fn were_said(&self, client: &[u8], input: &str) {
        let starts = starts(client);
        let mut from = 0;
        for command in &self.server.ran {
            let mut bytes = command.bytes.clone();
            if command.verb == "EXAMINE" {
                // It may have been a SELECT, in whatever case: the bytes behind it must be the client's.
                let verb = bytes.windows(7).position(|word| word == b"EXAMINE");
                bytes = bytes.split_off(verb.unwrap_or_default());
                let behind = &bytes[bytes.len().min(7)..];
                let found = client.windows(behind.len().max(1)).any(|window| window == behind);
                assert!(found || client.contains(&b'+'), "{input}: {command:?}");
                continue;
            }
            let found = starts.range(from..).find_map(|at| end_of(client, *at, &bytes));
            from = found.unwrap_or_else(|| panic!("{command:?} was never said in {input}"));
        }
    }
}

/// Verbs that change something; SELECT does by removing `\Recent`.
const CHANGES: [&str; 12] = [
    "SELECT",
    "CREATE",
    "DELETE",
    "RENAME",
    "SUBSCRIBE",
    "APPEND",
    "EXPUNGE",
    "STORE",
    "COPY",
    "MOVE",
    "REPLACE",
    "SETMETADATA",
];

/// What the rules were asked about is what was run.
fn compare(command: &Command, judged: &Recorded, said: Option<CommandResult>, input: &str) {
    let context = format!("{input}: ran {command:?}, judged {judged:?}");
    let is_opened_for_reading = command.verb == "EXAMINE" && judged.verb == Some("SELECT");
    assert!(
        judged.verb == Some(&command.verb) || is_opened_for_reading,
        "{context}"
    );
    let answered = said.is_some() && judged.result != CommandResult::Unanswered;
    assert!(!answered || said == Some(judged.result), "{context}");
    if !command.is_whole {
        return;
    }
    let names = command.mailboxes();
    assert!(
        names.is_empty() || names.first() == judged.mailbox.as_ref(),
        "{context}"
    );
    let facts = judged.facts.as_ref().unwrap_or_else(|| panic!("{context}"));
    let number = |fact| match facts.value(fact) {
        Some(Value::Number(number)) => usize::try_from(number).unwrap_or_default(),
        _ => 0,
    };
    let is_true = |fact| facts.value(fact) == Some(Value::Truth(true));
    if command.verb == "RENAME" {
        // What is written down of a text is cut.
        let is_it = |name: &String| match facts.value(Fact::CommandDestination) {
            Some(Value::Text(text)) => {
                name.get(..text.len()) == Some(text) && (text == name || text.len() > 250)
            }
            _ => false,
        };
        assert!(names.get(1).is_some_and(is_it), "{context}");
    }
    assert!(
        !command.fetches_bodies() || is_true(Fact::CommandFetchBody),
        "{context}"
    );
    let bytes = |literals: &[Vec<u8>]| literals.iter().map(Vec::len).sum::<usize>();
    let literals = number(Fact::CommandLiterals);
    let head = command
        .literals
        .get(..literals)
        .unwrap_or_else(|| panic!("{context}"));
    assert_eq!(number(Fact::CommandLiteralSize), bytes(head), "{context}");
    let has_message = matches!(command.verb.as_str(), "APPEND" | "REPLACE" | "UID REPLACE");
    if let Some((messages, size)) = judged.appended {
        let further = usize::try_from(messages).unwrap_or_default().saturating_sub(1);
        assert_eq!(command.literals.len(), literals + further, "{context}");
        assert_eq!(u64::try_from(bytes(&command.literals)), Ok(size), "{context}");
    } else if !has_message {
        assert_eq!(command.literals.len(), literals, "{context}");
        let shortened = number(Fact::CommandSize).checked_sub(command.bytes.len());
        assert!(
            is_opened_for_reading || shortened.is_some_and(|plus| plus <= literals),
            "{context}"
        );
    }
}

/// `DONE`, taken for a command.
fn is_late_done(command: &Command) -> bool {
    command.tag.eq_ignore_ascii_case(b"DONE") && command.verb.is_empty()
}

fn tagged(tag: &[u8], word: &str) -> Vec<u8> {
    [tag, b" ", word.to_ascii_uppercase().as_bytes(), b" said\r\n"].concat()
}

fn restrictions() -> Restrictions {
    let patterns = ["INBOX", "Archive/*"]
        .map(|text| MailboxPattern::parse(text).unwrap_or_else(|error| panic!("{error}")));
    Restrictions {
        read_only: true,
        mailboxes: Some(patterns.into()),
        ..Restrictions::default()
    }
}
