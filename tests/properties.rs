//! What must hold whatever bytes come: with bytes that are nearly right, nearly wrong, and cut anywhere. The fuzz targets
//! (`fuzz/`) call the same checks.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fault must fail the test"
)]

mod support;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use support::checks::backend_login;
use support::checks::framer;
use support::checks::judged;
use support::checks::preauth;
use support::checks::relay;
use support::checks::repeated;
use support::checks::repeated::Step;

/// Pieces of input: some of the list most of the time, now and then any bytes.
fn pieces(texts: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        12 => prop::sample::select(texts).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
        1 => prop::sample::select(&b"\r\n\0{}+\"\\()* ~\xff"[..]).prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..most).prop_map(|pieces| pieces.concat())
}

const COMMANDS: &[&str] = &[
    "a NOOP\r\n",
    "b SELECT INBOX\r\n",
    "c SELECT {5+}\r\nINBOX\r\n",
    "d SELECT {5}\r\nINBOX\r\n",
    "e APPEND x {9+}\r\na NOOP\r\n\r\n",
    "f APPEND x (\\Seen) {3}\r\nabc\r\n",
    "g APPEND {1+}\r\nx {4+}\r\nmail\r\n",
    "h APPEND x CATENATE (URL \"/y\" TEXT {3+}\r\nabc)\r\n",
    "i APPEND x {1+}\r\nA {2+}\r\nBB\r\n",
    "j APPEND x {0+}\r\n\r\n",
    "k APPEND x UTF8 (~{3+}\r\na\0b)\r\n",
    "l APPEND x {401+}\r\n",
    "m SEARCH SUBJECT {61+}\r\n",
    "n SEARCH TEXT {0+}\r\n ALL\r\n",
    "o IDLE\r\n",
    "DONE\r\n",
    "done\r\n",
    "p LOGOUT\r\n",
    "q LOGIN a b\r\n",
    "r COMPRESS DEFLATE\r\n",
    "s FROB\r\n",
    "t NOOP {8+}\r\nx NOOP\r\n\r\n",
    "u SELECT \"x{8+}\r\nx NOOP\r\n\r\n",
    "v SELECT x{3+}\r\nabc\r\n",
    "w UID FETCH 1 (FLAGS)\r\n",
    "x RENAME {1+}\r\na {1+}\r\nb\r\n",
    "y CAPABILITY\r\n",
    "z CLOSE\r\n",
    "a SETMETADATA x (/p {2+}\r\nhi)\r\n",
    "b LIST \"\" ({1+}\r\nx \"y\")\r\n",
    "c",
    " ",
    "{3}\r\n",
    "{3+}\r\n",
    "{99999999999+}\r\n",
    "{000000000000000003+}\r\n",
    "\r\n",
];

/// What servers read differently, or run where they should not: hidden in literals, behind line ends that only some know, in
/// other spellings.
const TRICKS: &[&str] = &[
    "a NOOP {8+}\r\nx NOOP\r\n\r\n",
    "b APPEND INBOX (\\Bad) {10+}\r\nx DELETE y\r\n",
    "c APPEND INBOX {12}\r\nx DELETE y\r\n\r\n",
    "d SELECT \"x{10+}\r\nx DELETE y\r\n",
    "e CHECK {3}\r\n",
    "f NOOP\nx DELETE y\r\n",
    "g NOOP\rx DELETE y\r\n",
    "h NOOP\0x\r\n",
    "i\tDELETE\ty\r\n",
    "j SELECT {4294967301}\r\nINBOX\r\n",
    "k SELECT { 5}\r\n",
    "l SELECT {5-}\r\nINBOX\r\n",
    "m SELECT Secret\r\n",
    "n SELECT {6+}\r\nSecret\r\n",
    "o SELECT \"Sec\\\"ret\"\r\n",
    "p RENAME x {6+}\r\nSecret\r\n",
    "p RENAME {1+}\r\nx ~{6+}\r\nSecret\r\n",
    "q UID COPY 1 \"Secret\"\r\n",
    "r SELECT S&AGU-cret\r\n",
    "s STORE 1:* +FLAGS.SILENT (\\dElEtEd)\r\n",
    "t STORE 1 (UNCHANGEDSINCE 3) FLAGS \\Deleted\r\n",
    "u SETQUOTA x (STORAGE 1)\r\n",
    "v SETACL x alice lr\r\n",
    "w FETCH 1 (BODY.PEEK[HEADER.FIELDS (From {2+}\r\nTo)] BODY[1.MIME])\r\n",
    "x FETCH 1 (FLAGS BINARY[1])\r\n",
    "y GETMETADATA (DEPTH 1) Archive/x (/private {2+}\r\n/x)\r\n",
    "z IDLE\r\nDONE\r\nDONE\r\n",
    "a IDLE\r\nx DELETE y\r\nDONE\r\n",
    "b APPEND Archive/x (\\Seen) {3+}\r\nabc (\\Deleted) {2+}\r\nde\r\n",
    "c REPLACE 1 x {2+}\r\nab\r\n",
    "DONE NOOP\r\n",
    "DONE\r\n",
];

const RESPONSES: &[&str] = &[
    "* 1 EXISTS\r\n",
    "* 1 FETCH (BODY[] {7}\r\na OK x\n)\r\n",
    "* LIST () {0}\r\n x {1}\r\ny\r\n",
    "* OK hi {5}\r\n",
    "* NO {3}\r\n",
    "* BYE\r\n",
    "* CAPABILITY IMAP4rev1 COMPRESS=DEFLATE\r\n",
    "* OK [CAPABILITY X AUTH=PLAIN IDLE] x\r\n",
    "* COMPARATOR {2}\r\nxx\r\n",
    "* O",
    "* CAP",
    "* ",
    "+ go\r\n",
    "+\r\n",
    "a OK done\r\n",
    "b NO [X] no\r\n",
    "c OK\r\n",
    "d OK\r\n",
    "e BAD x\r\n",
    "f OK\r\n",
    "g OK x\r\n",
    "h NO x\r\n",
    "i OK\r\n",
    "o OK idle\r\n",
    "p OK bye\r\n",
    "w OK x\r\n",
    "x OK\r\n",
    "y OK [CAPABILITY Y ID] x\r\n",
    "z OK\r\n",
    "* PREAUTH x\r\n",
    "{3}\r\n",
    "{3+}\r\n",
    "\r\n",
];

const BEFORE_LOGIN: &[&str] = &[
    "a NOOP\r\n",
    "b CAPABILITY\r\n",
    "c LOGIN bob pw\r\n",
    "d LOGIN {3}\r\nbob {2+}\r\npw\r\n",
    "e AUTHENTICATE PLAIN\r\n",
    "AGJvYgBwdw==\r\n",
    "f AUTHENTICATE PLAIN AGJvYgBwdw==\r\n",
    "*\r\n",
    "=\r\n",
    "g AUTHENTICATE LOGIN Ym9i\r\n",
    "cHc=\r\n",
    "h ID (\"name\" {1+}\r\nx)\r\n",
    "i STARTTLS\r\n",
    "j LOGOUT\r\n",
    "k LOGIN {5000+}\r\n",
    "l X {9+}\r\nx LOGOUT\r\n",
    "m LOGIN \"a*b\" x\r\n",
    "n LOGIN {3+}\r\nbob \"p\\\"w\"\r\n",
    "GET / HTTP/1.1\r\n",
    "\r\n",
    "{3}\r\n",
    "{3+}\r\n",
    "\"",
];

/// `\u{81}` and so on would be two bytes: the marks stand for tags, `~` for the end of a turn.
const BACKEND: &[&str] = &[
    "* OK hi\r\n~",
    "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n~",
    "* OK [CAPABILITY X SASL-IR AUTH=PLAIN ID STARTTLS] x\r\n~",
    "* CAPABILITY IMAP4rev1\r\n",
    "* CAPABILITY STARTTLS LOGINDISABLED\r\n",
    "#1 OK [CAPABILITY X] x\r\n~",
    "#1 OK x\r\n~",
    "#2 OK x\r\n~",
    "#2 OK [CAPABILITY Y] in\r\n~",
    "#2 NO [AUTHENTICATIONFAILED] x\r\n~",
    "#3 OK [CAPABILITY Y] in\r\n~",
    "#3 BAD x\r\n~",
    "#4 OK in\r\n~",
    "#5 OK in\r\n~",
    "+ \r\n~",
    "+\r\n~",
    "* 1 EXISTS\r\n",
    "* X {3}\r\na\nb\r\n",
    "* BYE\r\n~",
    "* PREAUTH x\r\n~",
    "~",
    "* ID NIL\r\n",
];

/// What [`BACKEND`] stands for.
fn marked(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match (byte, rest.peek()) {
            (b'#', Some(number @ b'1'..=b'6')) => {
                bytes.push(0x80 + (number - b'0'));
                rest.next();
            }
            (b'~', _) => bytes.push(backend_login::TURN),
            _ => bytes.push(byte),
        }
    }
    bytes
}

/// Few numbers, so that most commands come again.
fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (any::<bool>(), prop::sample::select(vec![1, 2, 9, 10, 99]), 0..2_usize, 0..3_usize)
            .prop_map(|(uid, number, items, answers)| Step::Fetch(uid, number, items, answers)),
        2 => (any::<bool>(), 1..4_u32, 0..4_usize, 0..2_usize)
            .prop_map(|(uid, number, items, answers)| Step::Fetch(uid, number, items, answers)),
        2 => (0..3_usize, 0..4_u32).prop_map(|(mailbox, exists)| Step::Select(mailbox, exists)),
        4 => prop::bool::weighted(0.2).prop_map(Step::Again),
        1 => (0..12_u32).prop_map(Step::Exists),
        1 => any::<bool>().prop_map(Step::FirstSync),
        2 => (0..4_000_u16).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Id),
        1 => any::<bool>().prop_map(Step::Reload),
        1 => Just(Step::Idle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn commands_are_framed_alike_wherever_they_are_cut(input in pieces(COMMANDS, 12), seed in any::<u32>()) {
        framer::commands(&input, u64::from(seed));
    }

    #[test]
    fn responses_are_framed_alike_wherever_they_are_cut(input in pieces(RESPONSES, 12), seed in any::<u32>()) {
        framer::responses(&input, u64::from(seed));
    }

    #[test]
    fn a_conversation_before_login_is_the_same_wherever_it_is_cut(
        choice in any::<u8>(),
        turns in prop::collection::vec(pieces(BEFORE_LOGIN, 8), 1..4),
        seed in any::<u32>(),
    ) {
        let input = [&[choice], turns.join(&preauth::TURN).as_slice()].concat();
        preauth::cut_anywhere(&input, u64::from(seed));
    }

    #[test]
    fn a_login_at_a_backend_is_the_same_wherever_it_is_cut(
        choice in any::<u8>(),
        said in pieces(BACKEND, 10),
        seed in any::<u32>(),
    ) {
        let input = [&[choice], marked(&said).as_slice()].concat();
        backend_login::cut_anywhere(&input, u64::from(seed));
    }

    #[test]
    fn a_relayed_session_is_the_same_wherever_either_side_is_cut(
        turns in prop::collection::vec((pieces(COMMANDS, 5), pieces(RESPONSES, 5)), 1..5),
        seed in any::<u32>(),
    ) {
        let turns: Vec<Vec<u8>> = turns.into_iter().flat_map(|(client, backend)| [client, backend]).collect();
        relay::cut_anywhere(&turns.join(&relay::TURN), u64::from(seed));
    }

    #[test]
    fn backends_of_every_make_run_what_was_judged_and_nothing_else(
        client in pieces(COMMANDS, 12),
        choices in prop::collection::vec(any::<u8>(), 1..20),
        seed in any::<u32>(),
    ) {
        relay::backends_run_what_was_judged(&client, &choices, u64::from(seed));
    }

    #[test]
    fn old_servers_run_the_very_commands_that_were_judged(
        client in prop::collection::vec(prop_oneof![pieces(COMMANDS, 3), pieces(TRICKS, 4)], 0..6),
        choices in prop::collection::vec(any::<u8>(), 1..20),
        seed in any::<u32>(),
    ) {
        judged::servers_run_what_was_judged(&client.concat(), &choices, u64::from(seed));
    }

    #[test]
    fn every_command_is_answered_once_and_in_order(
        commands in prop::collection::vec(prop::sample::select(COMMANDS_THAT_END), 1..12),
        choices in prop::collection::vec(any::<u8>(), 1..20),
        seed in any::<u32>(),
    ) {
        let numbered = commands.iter().zip(1..).map(|(command, number)| format!("t{number} {command}"));
        let client: String = numbered.collect();
        let ran = relay::backends_run_what_was_judged(client.as_bytes(), &choices, u64::from(seed));
        prop_assert_eq!(ran.end, None);
        let expected: Vec<String> = (1..=commands.len()).map(|number| format!("t{number}")).collect();
        prop_assert_eq!(tags(&ran.to_client), expected);
        let is_known = |command: &&&str| !command.starts_with("FROB") && !command.starts_with("NOOP {");
        prop_assert_eq!(ran.commands.len(), commands.iter().filter(is_known).count());
    }

    #[test]
    fn a_client_that_repeats_itself_is_judged_as_any_other(steps in prop::collection::vec(step(), 0..60)) {
        repeated::repeating_changes_nothing(&steps);
    }
}

/// Whatever a backend answers, the client may go on with the next one.
const COMMANDS_THAT_END: &[&str] = &[
    "NOOP\r\n",
    "FROB {4+}\r\nxxxx\r\n",
    "SELECT {5+}\r\nINBOX\r\n",
    "APPEND x {8+}\r\nt9 FROB\n\r\n",
    "NOOP {8+}\r\nx NOOP\r\n\r\n",
    "APPEND {1+}\r\nx {1+}\r\nA {2+}\r\nBB\r\n",
    "UID FETCH 1 (FLAGS)\r\n",
    "RENAME {1+}\r\na {1+}\r\nb\r\n",
];

/// The tags of tagged answers.
fn tags(bytes: &[u8]) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = bytes;
    while let Ok(Some(response)) = framer::read_response(rest) {
        let text = String::from_utf8_lossy(&rest[..response.length]).into_owned();
        let tag = text.split(' ').next().unwrap().to_owned();
        if !matches!(tag.as_str(), "*" | "+") {
            tags.push(tag);
        }
        rest = &rest[response.length..];
    }
    tags
}

/// What fuzzing starts from, and what it has found, is played by every test run.
#[test]
fn the_seeds_of_the_fuzz_targets_hold() {
    for (target, check) in support::checks::TARGETS {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/seeds")
            .join(target);
        let mut count = 0;
        for entry in fs::read_dir(directory).unwrap() {
            check(&fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count >= 4, "{target} has {count} seeds");
    }
}
