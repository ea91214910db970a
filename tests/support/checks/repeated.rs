//! A client that says the same again and again is judged as one of whom nothing is remembered from one step to the next.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use imapwarden::policy::Counters;
use imapwarden::policy::engine::Engine;
use imapwarden::policy::facts::Event;
use imapwarden::policy::facts::Fact;
use imapwarden::policy::facts::User;
use imapwarden::policy::rules::Action;
use imapwarden::policy::rules::Count;
use imapwarden::policy::rules::Group;
use imapwarden::policy::rules::Mode;
use imapwarden::policy::rules::Rule;
use imapwarden::policy::rules::RuleSet;
use imapwarden::policy::rules::Threshold;
use imapwarden::session::inspect::Rules;
use imapwarden::session::relay::Options;
use imapwarden::session::relay::Output;
use imapwarden::session::relay::Relay;

use super::watched::inspector;
use super::watched::rule;

/// What clients ask for.
const ITEMS: [&str; 4] = [
    "(UID BODY.PEEK[])",
    "FLAGS",
    "(BODY[1])",
    "(UID ENVELOPE RFC822.SIZE)",
];

const MAILBOXES: [&str; 3] = ["INBOX", "Secret", "Trash"];

/// Conditions on everything that can change between two commands, and on what cannot.
const RULES: [(&str, Action); 15] = [
    (
        "command.mailbox == \"Secret\" && command.fetch_body",
        Action::Deny,
    ),
    ("command.mailbox_role == \"trash\"", Action::Alert),
    ("command.set_is_all && command.fetch_headers", Action::Deny),
    ("command.set_size == 0", Action::Alert),
    ("command.size > 32", Action::Alert),
    ("command.fetch_flags && !command.uid", Action::Alert),
    ("session.is_first_sync && command.fetch_body", Action::Alert),
    ("client.name == \"scraper\"", Action::Deny),
    ("session.commands > 9", Action::Alert),
    ("session.exists < 3 && command.uid", Action::Alert),
    ("session.age > duration(\"20s\")", Action::Alert),
    ("session.seen_set", Action::Alert),
    (
        "session.mailbox == \"INBOX\" && user.name == \"alice\"",
        Action::Alert,
    ),
    (
        "has(session.gap_mean_ms) || command.verb == \"NOOP\"",
        Action::Alert,
    ),
    (
        "session.exists == 4 && client.name == \"mailer\"",
        Action::ReadOnly,
    ),
];

/// The same for what the backend sends.
const FETCHED: [(&str, Action); 8] = [
    ("fetched.body", Action::Alert),
    (
        "!fetched.body && session.mailbox_role == \"inbox\"",
        Action::Alert,
    ),
    ("fetched.bytes > 5", Action::Alert),
    ("fetched.body && session.mailbox_fetched >= 2", Action::Alert),
    (
        "session.mailbox_fetched * 2 >= session.exists && !session.is_first_sync",
        Action::Alert,
    ),
    (
        "session.mailbox == \"Trash\" || client.name == \"scraper\"",
        Action::Alert,
    ),
    (
        "session.messages_fetched > 3 || session.is_first_sync",
        Action::Alert,
    ),
    ("fetched.messages >= 2", Action::Alert),
];

/// Something that happens.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// The client fetches a message: by UID or not, which, and what of it; so many come.
    Fetch(bool, u32, usize, usize),
    /// It says NOOP, or CHECK.
    Again(bool),
    /// It opens a mailbox with so many messages.
    Select(usize, u32),
    /// So many messages are in the mailbox by now.
    Exists(u32),
    /// The session is a first sync from now on, or no longer.
    FirstSync(bool),
    /// Milliseconds pass.
    Wait(u16),
    /// The client says what it is.
    Id(bool),
    /// Other rules come into force, or the same anew.
    Reload(bool),
    /// The session is idle for a moment.
    Idle,
}

/// Takes both clients through the same steps.
pub fn repeating_changes_nothing(steps: &[Step]) {
    let mut remembered = Scene::new(false);
    let mut forgotten = Scene::new(true);
    for step in steps {
        assert_eq!(
            remembered.take(*step),
            forgotten.take(*step),
            "{step:?} of {steps:?}"
        );
    }
}

struct Scene {
    relay: Relay,
    rules: Rules,
    counters: Arc<Counters>,
    is_first_sync: Arc<AtomicBool>,
    /// Nothing is remembered from one step to the next.
    forgets: bool,
    commands: usize,
    now_ms: u64,
}

impl Scene {
    fn new(forgets: bool) -> Self {
        let counters = Arc::new(Counters::new(100, 7));
        let rules = Arc::new(ArcSwap::from_pointee(engine(false, &counters)));
        let is_first_sync = Arc::new(AtomicBool::new(false));
        let user = User {
            name: "alice".into(),
            ..User::default()
        };
        let inspector = inspector(&rules, user, Arc::clone(&is_first_sync));
        Self {
            relay: Relay::new(Arc::new(Options::default())).inspected(inspector),
            rules,
            counters,
            is_first_sync,
            forgets,
            commands: 0,
            now_ms: 0,
        }
    }

    /// What the client was told, and what was decided.
    fn take(&mut self, step: Step) -> (Vec<u8>, Vec<String>) {
        if self.forgets {
            self.relay.forget();
        }
        self.relay.tell_time(self.now_ms);
        let tag = format!("a{:03}", self.commands % 1_000);
        let mut told = Vec::new();
        match step {
            Step::Fetch(uid, number, items, answers) => {
                let uid = if uid { "UID " } else { "" };
                let items = ITEMS[items % ITEMS.len()];
                let data = match items.contains("BODY") {
                    true => format!("* {number} FETCH (BODY[] {{3}}\r\nabc)\r\n"),
                    false => format!("* {number} FETCH (ENVELOPE (NIL {{4}}\r\nabcd NIL))\r\n"),
                };
                let command = format!("{uid}FETCH {number} {items}");
                told = self.command(&tag, &command, &data.repeat(answers));
            }
            Step::Again(check) => told = self.command(&tag, if check { "CHECK" } else { "NOOP" }, ""),
            Step::Select(mailbox, exists) => {
                let mailbox = MAILBOXES[mailbox % MAILBOXES.len()];
                told = self.command(
                    &tag,
                    &format!("SELECT {mailbox}"),
                    &format!("* {exists} EXISTS\r\n"),
                );
            }
            Step::Exists(exists) => told = self.hear(&format!("* {exists} EXISTS\r\n")),
            Step::FirstSync(is) => self.is_first_sync.store(is, Ordering::Relaxed),
            Step::Wait(ms) => self.now_ms += u64::from(ms),
            Step::Id(scraper) => {
                let name = if scraper { "scraper" } else { "mailer" };
                told = self.command(&tag, &format!("ID (\"name\" \"{name}\")"), "");
            }
            Step::Reload(fewer) => self.rules.store(Arc::new(engine(fewer, &self.counters))),
            Step::Idle => self.relay.release(),
        }
        let decided = self.relay.inspector().unwrap().take_told();
        let decided = decided.iter().flat_map(|decisions| decisions.iter());
        let words = decided.map(|decision| {
            let (rule, revision) = (&decision.rule.name, &decision.revision);
            format!("{rule} {revision} {} {}", decision.value, decision.is_new)
        });
        (told, words.collect())
    }

    /// The client sends a command, which the server answers OK where it comes to it.
    fn command(&mut self, tag: &str, text: &str, data: &str) -> Vec<u8> {
        self.commands += 1;
        let line = format!("{tag} {text}\r\n");
        let mut output = Output::default();
        self.relay.from_client(line.as_bytes(), &mut output).unwrap();
        let mut told = bytes_of(&output.client, line.as_bytes());
        if !bytes_of(&output.backend, line.as_bytes()).is_empty() {
            told.extend(self.hear(&format!("{data}{tag} OK done\r\n")));
        }
        told
    }

    fn hear(&mut self, said: &str) -> Vec<u8> {
        let mut output = Output::default();
        self.relay.from_backend(said.as_bytes(), &mut output).unwrap();
        bytes_of(&output.client, said.as_bytes())
    }
}

fn bytes_of(flow: &imapwarden::session::relay::Flow, input: &[u8]) -> Vec<u8> {
    flow.slices(input).flatten().copied().collect()
}

/// The rules, or every other of them; each once for each command, and once where it is counted.
fn engine(fewer: bool, counters: &Arc<Counters>) -> Engine {
    let commands = RULES.iter().map(|rule| (Event::Command, rule));
    let all = commands.chain(FETCHED.iter().map(|rule| (Event::Fetched, rule)));
    let rules = all.enumerate().filter(|(at, _)| !fewer || at % 2 == 0);
    let rules = rules.flat_map(|(at, (on, (when, action)))| {
        let plain = rule(&format!("rule-{at}"), on, when, *action);
        let per = match at % 4 {
            0 => vec![Group::Session],
            1 => vec![Group::User],
            2 => vec![Group::Fact(Fact::SessionMailbox), Group::Fact(Fact::ClientName)],
            _ => vec![Group::Fact(Fact::SessionExists)],
        };
        let counted = Rule {
            name: format!("counted-{at}").into(),
            // Of a command's own numbers some ask always, and the fewer rules never.
            count: match at % 3 {
                0 if !fewer || on == Event::Fetched => Count::Messages,
                1 => Count::Distinct(Fact::SessionCommands),
                _ => Count::Events,
            },
            per,
            within: Some(std::time::Duration::from_secs(5)),
            over: Threshold::Fixed(3),
            then: vec![if at % 5 == 0 { Action::Deny } else { Action::Alert }],
            mode: if at % 5 == 0 { Mode::Shadow } else { Mode::Enforce },
            ..plain.clone()
        };
        [plain, counted]
    });
    let set = RuleSet {
        rules: rules.collect(),
        revision: if fewer { "fewer" } else { "all" }.into(),
        shadow: false,
    };
    Engine::new(set, Arc::clone(counters))
}
