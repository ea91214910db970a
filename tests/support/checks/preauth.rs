//! The conversation before login, with every verdict there is.

use std::fmt::Write;
use std::sync::Arc;

use imapwarden::session::preauth::Answer;
use imapwarden::session::preauth::Channel;
use imapwarden::session::preauth::Options;
use imapwarden::session::preauth::PreAuth;
use imapwarden::session::preauth::Step;

use super::Cuts;
use super::turns;

/// Where a fuzzer lets the client wait for what it has been told: before it begins TLS.
pub const TURN: u8 = 0xfe;

/// More may wait behind a login than is kept of it.
const MAX_INPUT: usize = 8 * 1024;

/// What came of a conversation.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// The steps, one a line; a line of its own for what is not sent.
    pub steps: String,
    /// What the client sent behind the login that was accepted, handed over or not read yet.
    pub behind: Option<Vec<u8>>,
}

/// The same comes of a client's bytes however its turns are cut; in clear nobody logs in; what stands behind an accepted
/// login is neither read nor lost. The first byte chooses channel and verdicts.
pub fn cut_anywhere(input: &[u8], seed: u64) {
    let Some((choice, input)) = input.split_first().filter(|(_, input)| input.len() <= MAX_INPUT) else {
        return;
    };
    let turns = turns(input, TURN);
    let whole = talk(*choice, &turns, None);
    for seed in [seed, seed.wrapping_add(1)] {
        let cut = talk(*choice, &turns, Some(Cuts::new(seed)));
        assert_eq!(whole, cut, "{}", input.escape_ascii());
    }
    if let Some(behind) = &whole.behind {
        assert!(turns.concat().ends_with(behind), "{}", input.escape_ascii());
    }
    if *choice & 1 == 1 {
        let in_clear = whole.steps.split("\nstarttls\n").next().unwrap();
        assert!(!in_clear.contains("\nverify ") && !in_clear.contains("\nrefuse "));
    }
    let attempts = whole.steps.matches("NO [AUTHENTICATIONFAILED]").count();
    assert!(attempts <= 5, "{}", input.escape_ascii());
}

/// Plays a client's turns: verdicts come at once, hand-shakes when a turn is over.
pub fn talk(choice: u8, turns: &[&[u8]], mut cuts: Option<Cuts>) -> Told {
    let channel = match choice & 1 {
        0 => Channel::Tls,
        _ => Channel::PlainBeforeStartTls,
    };
    let mut client = PreAuth::new(Arc::new(Options::default()), channel);
    let mut verdicts = choice >> 1;
    let mut told = String::new();
    for (at, turn) in turns.iter().enumerate() {
        let pieces = match &mut cuts {
            None => vec![*turn],
            Some(cuts) => cuts.pieces(turn),
        };
        let mut wants_tls = false;
        for (number, piece) in pieces.iter().enumerate() {
            let mut steps = Vec::new();
            client = client.receive(piece, &mut steps);
            loop {
                steps.iter().for_each(|step| show(step, &mut told));
                wants_tls |= matches!(steps.last(), Some(Step::StartTls));
                let verdict = match steps.pop() {
                    Some(Step::Refuse(..)) => Some(Answer::AuthenticationFailed),
                    Some(Step::Verify(_)) => verdict(&mut verdicts),
                    _ => break,
                };
                let Some(answer) = verdict else {
                    let mut behind = client.accepted().expect("a login was verified").pipelined;
                    behind.extend(pieces[number + 1..].concat());
                    behind.extend(turns[at + 1..].concat());
                    let behind = Some(behind);
                    return Told { steps: told, behind };
                };
                steps.clear();
                client = client.refused(answer, &mut steps);
            }
        }
        if wants_tls {
            client = client.tls_started();
        }
    }
    Told {
        steps: told,
        behind: None,
    }
}

/// Accepted is none.
fn verdict(choices: &mut u8) -> Option<Answer> {
    let choice = *choices & 3;
    *choices >>= 2;
    match choice {
        1 => Some(Answer::Unavailable),
        3 => None,
        _ => Some(Answer::AuthenticationFailed),
    }
}

/// What is sent has no line breaks: they are escaped.
fn show(step: &Step, text: &mut String) {
    match step {
        Step::Send(bytes) => write!(text, "{}", bytes.escape_ascii()),
        Step::StartTls => write!(text, "\nstarttls\n"),
        Step::Verify(credentials) => {
            let secret = credentials.secret.expose().escape_ascii();
            write!(text, "\nverify {} {secret}\n", credentials.user)
        }
        Step::Refuse(refusal, mechanism) => write!(text, "\nrefuse {refusal} {}\n", mechanism.as_str()),
        Step::End(reason) => write!(text, "\nend {reason}\n"),
    }
    .unwrap();
}
