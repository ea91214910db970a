//! The login at a backend that says anything.

use std::fmt::Write;

use imapwarden::session::backend_login::BackendLogin;
use imapwarden::session::backend_login::Identity;
use imapwarden::session::backend_login::Master;
use imapwarden::session::backend_login::MasterStyle;
use imapwarden::session::backend_login::Method;
use imapwarden::session::backend_login::Plan;
use imapwarden::session::backend_login::Stage;
use imapwarden::session::backend_login::Step;
use imapwarden::session::backend_login::TagSeed;
use imapwarden::types::Secret;
use imapwarden::types::UserName;

use super::Cuts;
use super::turns;

/// Where a fuzzer lets the backend wait for what it has been told.
pub const TURN: u8 = 0xff;

/// A fuzzer cannot guess tags: these bytes and the five behind it stand for them.
const FIRST_TAG: u8 = 0x81;

/// Quotes, a bare CR and bytes beyond ASCII: it needs a literal.
const PASSWORD: &[u8] = b"pa\"ss\r\xff";

/// The same comes of a backend's bytes however its turns are cut, as long as each turn answers at most once; no password
/// goes where none may go. The first byte chooses the plan.
pub fn cut_anywhere(input: &[u8], seed: u64) {
    let Some((choice, input)) = input.split_first() else {
        return;
    };
    let turns = turns(input, TURN).into_iter().filter(|turn| !turn.is_empty());
    let turns: Vec<Vec<u8>> = turns.map(with_tags).collect();
    let whole = log_in(*choice, &turns, None);
    for seed in [seed, seed.wrapping_add(1)] {
        let cut = log_in(*choice, &turns, Some(Cuts::new(seed)));
        if turns.iter().enumerate().all(|(at, turn)| answers_once(at, turn)) {
            assert_eq!(whole, cut, "{}", input.escape_ascii());
        }
    }
}

fn with_tags(turn: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for byte in turn {
        match byte.checked_sub(FIRST_TAG) {
            Some(number @ 0..=5) => bytes.extend_from_slice(tag(number).as_bytes()),
            _ => bytes.push(*byte),
        }
    }
    bytes
}

fn tag(number: u8) -> String {
    format!("{:02x}", number + 0x11).repeat(8)
}

fn seed() -> TagSeed {
    std::array::from_fn(|number| [0x11 + u8::try_from(number).unwrap(); 8])
}

/// A second answer in one packet was written before its command was heard; in two packets nobody can tell. And the first
/// turn is the greeting alone.
fn answers_once(at: usize, turn: &[u8]) -> bool {
    let mut lines: Vec<&[u8]> = turn.split_inclusive(|byte| *byte == b'\n').collect();
    let last = lines.pop().unwrap_or_default();
    lines.iter().all(|line| at > 0 && line.starts_with(b"* ")) && (last.is_empty() || last.ends_with(b"\n"))
}

fn plan(choice: u8) -> Plan {
    let account = UserName::parse(b"alice").unwrap();
    let password = Secret::from(PASSWORD);
    let identity = match choice >> 1 & 3 {
        0 | 1 => Identity::Own { account, password },
        style => {
            let style = match style {
                2 => MasterStyle::Authzid,
                _ => MasterStyle::Separator('*'),
            };
            let user = UserName::parse(b"boss").unwrap();
            let master = Master {
                user,
                password,
                style,
            };
            Identity::Master { account, master }
        }
    };
    Plan {
        start_tls: choice & 1 == 1,
        method: match choice >> 3 & 3 {
            0 => Method::Login,
            1 => Method::Plain,
            _ => Method::Auto,
        },
        identity,
        id: match choice >> 5 & 1 {
            0 => Vec::new(),
            _ => vec![("name".to_owned(), "x".to_owned())],
        },
    }
}

/// Plays a backend's turns, and says what the login did.
fn log_in(choice: u8, turns: &[Vec<u8>], mut cuts: Option<Cuts>) -> String {
    let plan = plan(choice);
    let mut login = BackendLogin::new(plan.clone(), seed()).unwrap();
    let mut watch = Watch::new(plan.start_tls);
    for turn in turns {
        let pieces = match &mut cuts {
            None => vec![turn.as_slice()],
            Some(cuts) => cuts.pieces(turn),
        };
        for piece in pieces {
            if login.stage() == Stage::Over {
                watch.left_over(piece);
                continue;
            }
            watch.hear(piece);
            let mut steps = Vec::new();
            login = login.receive(piece, &mut steps);
            watch.steps(steps);
        }
        if std::mem::take(&mut watch.wants_tls) {
            let mut steps = Vec::new();
            login = login.tls_started(&mut steps);
            watch.steps(steps);
        }
    }
    watch.told
}

/// Sees that nothing is done that must not be, and writes down what is.
struct Watch {
    told: String,
    /// A password may go now.
    may_speak: bool,
    wants_tls: bool,
    is_over: bool,
    lines_heard: usize,
    sent: usize,
}

impl Watch {
    fn new(start_tls: bool) -> Self {
        Self {
            told: String::new(),
            may_speak: !start_tls,
            wants_tls: false,
            is_over: false,
            lines_heard: 0,
            sent: 0,
        }
    }

    fn hear(&mut self, piece: &[u8]) {
        self.lines_heard += piece.iter().filter(|byte| **byte == b'\n').count();
    }

    /// What comes behind the login's answer is the relay's.
    fn left_over(&mut self, piece: &[u8]) {
        if self.told.contains("\ndone ") {
            write!(self.told, "{}", piece.escape_ascii()).unwrap();
        }
    }

    fn steps(&mut self, steps: Vec<Step>) {
        for step in steps {
            assert!(!self.is_over, "{}", self.told);
            match step {
                Step::Send(bytes) => self.sends(bytes.expose()),
                Step::StartTls => {
                    self.told.push_str("\ntls\n");
                    self.wants_tls = true;
                    self.may_speak = true;
                    // The command after the hand-shake answers no line.
                    self.lines_heard += 1;
                }
                Step::Done(opened) => {
                    let early = opened.early.escape_ascii();
                    write!(
                        self.told,
                        "\ndone {}\n{early}",
                        opened.capabilities.escape_ascii()
                    )
                    .unwrap();
                    self.is_over = true;
                }
                Step::Failed(failure) => {
                    write!(self.told, "\nfailed {}\n", failure.as_str()).unwrap();
                    self.is_over = true;
                }
            }
        }
    }

    fn sends(&mut self, bytes: &[u8]) {
        self.sent += 1;
        assert!(self.sent <= self.lines_heard, "speaks unasked: {}", self.told);
        assert!(bytes.ends_with(b"\r\n") && !bytes.contains(&0));
        assert!(!bytes.ends_with(b"+}\r\n"), "a literal that does not wait");
        let is_secret = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        // The password, and the beginning of its base64 behind each of the names.
        if is_secret(PASSWORD) || is_secret(b"LOGIN") || is_secret(b"AUTHENTICATE") {
            assert!(self.may_speak, "in clear: {}", self.told);
        }
        write!(self.told, "{}", bytes.escape_ascii()).unwrap();
    }
}
