//! Dialogs with the relay: what either side sends, and what reaches the other, however the bytes are cut.

mod judged;

use super::*;

/// One step of a dialog: bytes from a side.
enum From<'a> {
    Client(&'a [u8]),
    Backend(&'a [u8]),
}
use From::Backend;
use From::Client;

struct Seen {
    client: String,
    backend: String,
    end: Option<EndReason>,
    relay: Relay,
}

/// Plays a dialog with every chunk cut to `cut` bytes; what the relay does not take yet is offered again after the backend
/// has spoken, as the driver does.
fn play(script: &[From<'_>], cut: usize, options: Options) -> Seen {
    let mut relay = Relay::new(Arc::new(options));
    let mut output = Output::default();
    let mut waiting = Vec::new();
    let (mut client, mut backend) = (Vec::new(), Vec::new());
    let mut end = None;
    'script: for step in script {
        let bytes = match step {
            Client(bytes) | Backend(bytes) => *bytes,
        };
        for chunk in bytes.chunks(cut.max(1)) {
            if let Backend(_) = step {
                let result = relay.from_backend(chunk, &mut output);
                drain(&mut output, chunk, &[], &mut client, &mut backend);
                if let Err(reason) = result {
                    end = Some(reason);
                    break 'script;
                }
            } else {
                waiting.extend_from_slice(chunk);
            }
            let result = relay.from_client(&waiting, &mut output);
            drain(&mut output, &[], &waiting, &mut client, &mut backend);
            match result {
                Ok(taken) => drop(waiting.drain(..taken)),
                Err(reason) => {
                    end = Some(reason);
                    break 'script;
                }
            }
        }
    }
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace("\r\n", "|");
    Seen {
        client: text(client),
        backend: text(backend),
        end,
        relay,
    }
}

fn drain(
    output: &mut Output,
    from_backend: &[u8],
    from_client: &[u8],
    client: &mut Vec<u8>,
    backend: &mut Vec<u8>,
) {
    output
        .client
        .slices(from_backend)
        .for_each(|slice| client.extend_from_slice(slice));
    output
        .backend
        .slices(from_client)
        .for_each(|slice| backend.extend_from_slice(slice));
    output.clear();
}

/// The same whatever the cut.
fn check(script: &[From<'_>], client: &str, backend: &str, end: Option<EndReason>) -> Relay {
    let mut last = None;
    for cut in (1..40).rev() {
        let seen = play(script, cut, Options::default());
        assert_eq!(seen.client, client, "to the client, cut {cut}");
        assert_eq!(seen.backend, backend, "to the backend, cut {cut}");
        assert_eq!(seen.end, end, "cut {cut}");
        last = Some(seen.relay);
    }
    last.unwrap()
}

#[test]
fn commands_and_answers_pass_byte_for_byte() {
    check(
        &[
            Client(b"a  uid FETCH 1:* (FLAGS)  \r\nb NOOP\r\n"),
            Backend(
                b"* 1 FETCH (UID 1 BODY[] {4}\r\na OK)\r\n* OK still here {3}\r\na OK done {3}\r\nb OK\r\n",
            ),
        ],
        "* 1 FETCH (UID 1 BODY[] {4}|a OK)|* OK still here {3}|a OK done {3}|b OK|",
        "a  uid FETCH 1:* (FLAGS)  |b NOOP|",
        None,
    );
}

#[test]
fn a_literal_waits_for_the_backend_and_never_goes_unasked() {
    check(
        &[
            Client(b"a SELECT {5+}\r\nINBOX\r\nb NOOP\r\n"),
            Backend(b"+ OK\r\n"),
            Backend(b"a OK\r\n"),
            Backend(b"b OK\r\n"),
        ],
        "a OK|b OK|",
        "a SELECT {5}|INBOX|b NOOP|",
        None,
    );
}

#[test]
fn a_client_that_waits_gets_its_go_ahead_from_us() {
    check(
        &[
            Client(b"a RENAME {1}\r\n"),
            Client(b"x {1}\r\n"),
            Client(b"y\r\n"),
            Backend(b"+\r\n+ more\r\na OK\r\n"),
        ],
        "+ OK|+ OK|a OK|",
        "a RENAME {1}|x {1}|y|",
        None,
    );
}

#[test]
fn what_a_backend_refuses_is_swallowed_and_never_run() {
    // P3: the bytes of a refused literal would be commands to the backend.
    check(
        &[
            Client(b"a SELECT {12+}\r\nb DELETE x\r\n\r\nc NOOP\r\n"),
            Backend(b"a NO not today\r\n"),
            Backend(b"c OK\r\n"),
        ],
        "a NO not today|c OK|",
        "a SELECT {12}|c NOOP|",
        None,
    );
    check(
        &[
            Client(b"a APPEND INBOX (\\Bad) {12+}\r\nb DELETE x\r\n\r\nc NOOP\r\n"),
            Backend(b"a BAD flag\r\n"),
            Backend(b"c OK\r\n"),
        ],
        "a BAD flag|c OK|",
        "a APPEND INBOX (\\Bad) {12}|c NOOP|",
        None,
    );
    check(
        &[
            Client(b"a APPEND {5}\r\n"),
            Client(b"INBOX {12+}\r\nb DELETE x\r\n\r\nc NOOP\r\n"),
            Backend(b"+ \r\n"),
            Backend(b"a NO full\r\n"),
            Backend(b"c OK\r\n"),
        ],
        "+ OK|a NO full|c OK|",
        "a APPEND {5}|INBOX {12}|c NOOP|",
        None,
    );
}

#[test]
fn a_literal_where_none_belongs_is_refused_with_all_of_its_bytes() {
    check(
        &[
            Client(b"a NOOP {8+}\r\nb NOOP\r\n\r\nc NOOP\r\n"),
            Backend(b"c OK\r\n"),
        ],
        "a BAD No literal allowed here|c OK|",
        "c NOOP|",
        None,
    );
    check(
        &[
            Client(b"a SELECT \"x{8+}\r\nb NOOP\r\n\r\nc NOOP\r\n"),
            Backend(b"c OK\r\n"),
        ],
        "a BAD Quoted string is not closed|c OK|",
        "c NOOP|",
        None,
    );
}

#[test]
fn messages_stream_after_the_backends_go_ahead() {
    check(
        &[
            Client(b"a APPEND Sent (\\Seen) {11}\r\n"),
            Backend(b"+ go\r\n"),
            Client(b"a NOOP\r\nxyz\r\nb NOOP\r\n"),
            Backend(b"a OK [APPENDUID 1 2]\r\nb OK\r\n"),
        ],
        "+ go|a OK [APPENDUID 1 2]|b OK|",
        "a APPEND Sent (\\Seen) {11}|a NOOP|xyz|b NOOP|",
        None,
    );
    // MULTIAPPEND (RFC 3502), CATENATE (RFC 4469) and UTF8 (RFC 6855).
    check(
        &[
            Client(b"a APPEND x {1+}\r\nA (\\Seen) {1+}\r\nB\r\nb APPEND x CATENATE (TEXT {1+}\r\nC URL \"/y\" TEXT {1+}\r\nD)\r\nc APPEND x UTF8 (~{1+}\r\nE)\r\n"),
            Backend(b"+ 1\r\n"),
            Backend(b"+ 2\r\n"),
            Backend(b"a OK\r\n"),
            Backend(b"+ 3\r\n"),
            Backend(b"+ 4\r\n"),
            Backend(b"b OK\r\n"),
            Backend(b"+ 5\r\n"),
            Backend(b"c OK\r\n"),
        ],
        "a OK|b OK|c OK|",
        "a APPEND x {1}|A (\\Seen) {1}|B|b APPEND x CATENATE (TEXT {1}|C URL \"/y\" TEXT {1}|D)|c APPEND x UTF8 (~{1}|E)|",
        None,
    );
}

/// Once its bytes are there a literal8 looks like any other, and backends that know none take its announcement for a word.
#[test]
fn a_literal8_is_refused_wherever_it_stands() {
    check(
        &[
            Client(b"a RENAME {5+}\r\nINBOX ~{9+}\r\nArchive/z\r\nb SEARCH TEXT {1+}\r\nx TEXT ~{3+}\r\na\0b\r\nc NOOP\r\n"),
            Backend(b"c OK\r\n"),
        ],
        "a BAD No literal allowed here|b BAD No literal allowed here|c OK|",
        "c NOOP|",
        None,
    );
}

/// RFC 4469 has it with RFC 3502, and no client sends it: a message that has no literal would be one that nobody counts.
#[test]
fn a_message_made_of_parts_stands_behind_no_other() {
    check(
        &[
            Client(b"a APPEND x CATENATE (URL \"/y\") CATENATE (URL \"/y\")\r\nb APPEND x CATENATE (URL \"/y\") {10+}\r\nc DELETE x\r\nd NOOP\r\n"),
            Backend(b"d OK\r\n"),
        ],
        "a BAD A message made of parts must be appended alone|b BAD A message made of parts must be appended alone|d OK|",
        "d NOOP|",
        None,
    );
    check(
        &[
            Client(b"a APPEND x {1+}\r\nA CATENATE (URL \"/y\")\r\n"),
            Backend(b"+ 1\r\n"),
        ],
        "* BYE Invalid end of a command|",
        "a APPEND x {1}|A",
        Some(EndReason::ClientProtocol),
    );
}

#[test]
fn empty_literals_pass() {
    check(
        &[
            Client(b"a APPEND x {0}\r\n"),
            Backend(b"+ 1\r\n"),
            Client(b"\r\nb SEARCH SUBJECT {0+}\r\n FROM x\r\n"),
            Backend(b"a NO empty\r\n"),
            Backend(b"+ 2\r\n"),
            Backend(b"b OK\r\n"),
        ],
        "+ 1|a NO empty|b OK|",
        "a APPEND x {0}||b SEARCH SUBJECT {0}| FROM x|",
        None,
    );
}

#[test]
fn an_answer_in_the_middle_of_a_message_ends_the_session() {
    check(
        &[
            Client(b"a APPEND x {10+}\r\nabc"),
            Backend(b"+ go\r\n"),
            Backend(b"a NO disk full\r\n"),
        ],
        "",
        "a APPEND x {10}|abc",
        Some(EndReason::BackendProtocol),
    );
}

#[test]
fn idle_begins_with_the_backends_word_and_only_done_ends_it() {
    let relay = check(
        &[
            Client(b"a IDLE\r\ndone\r\nb NOOP\r\n"),
            Backend(b"+ idling\r\n"),
            Backend(b"* 3 EXISTS\r\na OK\r\nb OK\r\n"),
        ],
        "+ idling|* 3 EXISTS|a OK|b OK|",
        "a IDLE|done|b NOOP|",
        None,
    );
    assert!(relay.is_quiet());
}

#[test]
fn a_refused_idle_opens_no_way_around_the_judgement() {
    // P2: what follows a refused IDLE is commands, and judged as such.
    check(
        &[
            Client(b"a IDLE\r\nb COMPRESS DEFLATE\r\nDONE\r\n"),
            Backend(b"a NO never\r\n"),
        ],
        "a NO never|b BAD Compression is not available|DONE BAD Missing command|",
        "a IDLE|",
        None,
    );
    check(
        &[
            Client(b"a IDLE\r\n"),
            Backend(b"+ ok\r\n"),
            Client(b"b DELETE x\r\n"),
        ],
        "+ ok|* BYE Only DONE ends IDLE|",
        "a IDLE|",
        Some(EndReason::ClientProtocol),
    );
}

#[test]
fn a_done_that_crosses_the_end_of_idle_means_nothing() {
    check(
        &[
            Client(b"a IDLE\r\n"),
            Backend(b"+ ok\r\na OK timed out\r\n"),
            Client(b"DONE\r\nb NOOP\r\n"),
            Backend(b"b OK\r\n"),
        ],
        "+ ok|a OK timed out|b OK|",
        "a IDLE|b NOOP|",
        None,
    );
}

#[test]
fn a_done_that_reaches_a_backend_whose_idle_is_over_is_answered_to_us_alone() {
    for answer in ["DONE BAD Missing command\r\n", "done bad\r\n", "* BAD what?\r\n"] {
        let late = format!("a OK timed out\r\n{answer}b OK\r\n");
        let relay = check(
            &[
                Client(b"a IDLE\r\n"),
                Backend(b"+ ok\r\n"),
                Client(b"DONE\r\nb NOOP\r\n"),
                Backend(late.as_bytes()),
            ],
            "+ ok|a OK timed out|b OK|",
            "a IDLE|DONE|b NOOP|",
            None,
        );
        assert!(relay.is_quiet());
    }
}

#[test]
fn one_answer_to_one_done_is_let_go_and_nothing_else() {
    for (said, passed) in [
        // A second one, one that says something else, one before IDLE is answered, one after the next answer.
        ("a OK\r\nDONE BAD\r\nDONE BAD\r\n", "a OK|"),
        ("a OK\r\nDONE OK\r\n", "a OK|"),
        ("a OK\r\nDONE NO\r\n", "a OK|"),
        ("a OK\r\nc BAD\r\n", "a OK|"),
        ("DONE BAD\r\n", ""),
        ("a OK\r\nb OK\r\nDONE BAD\r\n", "a OK|b OK|"),
    ] {
        let script = [
            Client(b"a IDLE\r\n"),
            Backend(b"+ ok\r\n"),
            Client(b"DONE\r\nb NOOP\r\n"),
            Backend(said.as_bytes()),
        ];
        let client = format!("+ ok|{passed}");
        check(
            &script,
            &client,
            "a IDLE|DONE|b NOOP|",
            Some(EndReason::BackendProtocol),
        );
    }
    // Without a DONE that was passed on there is nothing to let go.
    check(
        &[Client(b"a IDLE\r\n"), Backend(b"+ ok\r\na OK\r\nDONE BAD\r\n")],
        "+ ok|a OK|",
        "a IDLE|",
        Some(EndReason::BackendProtocol),
    );
}

#[test]
fn no_command_has_the_tag_that_an_answer_to_done_may_have() {
    check(
        &[
            Client(b"a IDLE\r\n"),
            Backend(b"+ ok\r\n"),
            Client(b"DONE\r\nDone SELECT x\r\ndone DELETE {1+}\r\nx\r\n"),
            Backend(b"a OK\r\nDONE BAD\r\n"),
        ],
        "+ ok|a OK|Done BAD Invalid tag|done BAD Invalid tag|",
        "a IDLE|DONE|",
        None,
    );
}

#[test]
fn our_answers_stand_between_responses_and_in_order() {
    check(
        &[
            Client(b"a FETCH 1 BODY[]\r\nb FROB\r\nc NOOP\r\n"),
            Backend(b"* 1 FETCH (BODY[] {3}\r\nab"),
            Client(b"d LOGIN x y\r\n"),
            Backend(b"c)\r\na OK\r\nc OK\r\n"),
        ],
        "* 1 FETCH (BODY[] {3}|abc)|a OK|b BAD Unknown command|c OK|d BAD Already logged in|",
        "a FETCH 1 BODY[]|c NOOP|",
        None,
    );
}

#[test]
fn what_waits_for_the_end_of_a_response_takes_the_first() {
    // The next response may have begun in the same packet, and so on for as long as a backend has news.
    check(
        &[
            Backend(b"* 1 FETCH (BODY[] {3}\r\nab"),
            Client(b"a FROB\r\nb SELECT {1}\r\n"),
            Backend(b"c)\r\n* 2 EXISTS\r\n* 3 EXI"),
        ],
        "* 1 FETCH (BODY[] {3}|abc)|+ OK|a BAD Unknown command|* 2 EXISTS|* 3 EXI",
        "",
        None,
    );
}

#[test]
fn capabilities_are_filtered_wherever_they_stand() {
    check(
        &[
            Client(b"a CAPABILITY\r\n"),
            Backend(b"* CAPABILITY IMAP4rev1 COMPRESS=DEFLATE IDLE\r\n* OK [CAPABILITY COMPRESS=DEFLATE] x\r\na OK [capability AUTH=PLAIN ID] done\r\n"),
        ],
        "* CAPABILITY IMAP4rev1 IDLE LITERAL+|* OK [CAPABILITY LITERAL+] x|a OK [capability ID LITERAL+] done|",
        "a CAPABILITY|",
        None,
    );
}

#[test]
fn a_backend_that_says_what_nobody_asked_for_ends_the_session() {
    for (script, reason) in [
        (&b"x OK injected\r\n"[..], EndReason::BackendProtocol),
        (b"+ stray\r\n", EndReason::BackendProtocol),
        (b"* PREAUTH hello\r\n", EndReason::BackendProtocol),
        (b"* OK a\0b\r\n", EndReason::BackendProtocol),
        (b"garbage\r\n", EndReason::BackendProtocol),
        (b"a MAYBE x\r\n", EndReason::BackendProtocol),
    ] {
        check(
            &[Client(b"a NOOP\r\n"), Backend(script)],
            "",
            "a NOOP|",
            Some(reason),
        );
    }
    // The same tag is answered once.
    check(
        &[Client(b"a NOOP\r\n"), Backend(b"a OK\r\na OK\r\n")],
        "a OK|",
        "a NOOP|",
        Some(EndReason::BackendProtocol),
    );
}

#[test]
fn the_selected_mailbox_follows_the_backends_answers() {
    let select = |answer: &[u8]| {
        let script = [
            Client(b"a SELECT {5+}\r\ninbox\r\nb EXAMINE Entw&APw-rfe\r\n"),
            Backend(b"+ ok\r\n"),
            Backend(b"a OK\r\n"),
            Backend(answer),
        ];
        let seen = play(&script, 100, Options::default());
        seen.relay.mailbox().map(ToString::to_string)
    };
    assert_eq!(select(b"b OK\r\n").as_deref(), Some("Entwürfe"));
    assert_eq!(select(b"b NO\r\n"), None);
    assert_eq!(select(b"b BAD\r\n").as_deref(), Some("INBOX"));
    assert_eq!(select(b"").as_deref(), Some("INBOX"));
}

#[test]
fn logout_ends_the_session_with_its_answer() {
    check(
        &[
            Client(b"a LOGOUT\r\nb NOOP\r\n"),
            Backend(b"* BYE bye\r\na OK\r\nb OK smuggled\r\n"),
        ],
        "* BYE bye|a OK|",
        "a LOGOUT|",
        Some(EndReason::Logout),
    );
}

#[test]
fn broken_client_framing_ends_the_session() {
    for (bytes, reason) in [
        (&b"a NOOP\nb NOOP\r\n"[..], EndReason::ClientProtocol),
        (b"a NOOP\rb NOOP\r\n", EndReason::ClientProtocol),
        (b"a NO\0OP\r\n", EndReason::ClientProtocol),
        (b"a APPEND x {4294967299+}\r\n", EndReason::ClientLimit),
    ] {
        let seen = play(&[Client(bytes)], 1000, Options::default());
        assert_eq!(seen.end, Some(reason));
        assert_eq!(seen.backend, "");
        assert!(seen.client.starts_with("* BYE "), "{}", seen.client);
    }
}

#[test]
fn limits_hold_and_say_so() {
    let small = Options {
        max_message: 10,
        max_bad_commands: 2,
        max_in_flight: 2,
        ..Options::default()
    };
    let seen = play(&[Client(b"a APPEND x {11}\r\nb NOOP\r\n")], 9, small.clone());
    assert_eq!(seen.client, "a NO [TOOBIG] Message is too large|");
    assert_eq!(seen.backend, "b NOOP|");
    let seen = play(&[Client(b"a APPEND x {11+}\r\n")], 9, small.clone());
    assert_eq!(seen.end, Some(EndReason::ClientLimit));
    let seen = play(&[Client(b"a X\r\nb X\r\nc X\r\n")], 9, small.clone());
    assert_eq!(seen.end, Some(EndReason::TooManyBadCommands));
    // Further commands wait until the backend has answered.
    let seen = play(&[Client(b"a NOOP\r\nb NOOP\r\nc NOOP\r\n")], 9, small);
    assert_eq!(seen.backend, "a NOOP|b NOOP|");
    let large = [
        b"a SEARCH SUBJECT {65537+}\r\n".as_slice(),
        &[b'x'; 65537],
        b"\r\nb NOOP\r\n",
    ]
    .concat();
    let seen = play(&[Client(&large)], 5000, Options::default());
    assert_eq!(seen.client, "a BAD a literal is too large|");
    assert_eq!(seen.backend, "b NOOP|");
}

#[test]
fn a_command_may_have_many_literals_and_no_more() {
    // Two that nobody waits for, and one that somebody does.
    let search = |count: usize| format!("a SEARCH{}\r\n", " SUBJECT {2+}\r\nxy".repeat(count));
    let mut relay = Relay::new(Arc::new(Options::default()));
    let mut output = Output::default();
    let (mut client, mut backend) = (Vec::new(), Vec::new());
    let input = search(64);
    assert_eq!(relay.from_client(input.as_bytes(), &mut output), Ok(input.len()));
    for _ in 0..64 {
        relay.from_backend(b"+ OK\r\n", &mut output).unwrap();
    }
    drain(&mut output, &[], &[], &mut client, &mut backend);
    assert_eq!(String::from_utf8(backend).unwrap(), input.replace('+', ""));
    for (last, skipped) in [("{8+}\r\nx NOOP\r\n", " ALL {3+}\r\nabc\r\n"), ("{8}\r\n", "")] {
        let input = search(64).replace("\r\na", "");
        let input = format!("{} FROM {last}{skipped}b NOOP\r\n", input.trim_end());
        check(
            &[Client(input.as_bytes()), Backend(b"b OK\r\n")],
            "a BAD too many literals|b OK|",
            "b NOOP|",
            None,
        );
    }
}

#[test]
fn a_line_behind_a_literal_that_makes_no_sense_is_refused_before_its_own_literal() {
    for (line, why) in [
        ("\"open", "Quoted string is not closed"),
        ("x\"y", "Invalid character"),
        ("\u{1}", "Invalid character"),
    ] {
        for (announced, skipped) in [("{8+}", "x NOOP\r\n\r\n"), ("{8}", "")] {
            let input = format!("a SEARCH (TEXT {{1+}}\r\nx) {line} {announced}\r\n{skipped}b NOOP\r\n");
            check(
                &[Client(input.as_bytes()), Backend(b"b OK\r\n")],
                &format!("a BAD {why}|b OK|"),
                "b NOOP|",
                None,
            );
        }
    }
    // Parentheses are counted when all of it is there.
    check(
        &[
            Client(b"a SEARCH (TEXT {1+}\r\nx)) (((TEXT {1+}\r\nx)\r\nb SEARCH (NOT (TEXT {1+}\r\nx (TEXT {1+}\r\ny))) SEEN\r\n"),
            Backend(b"+ 1\r\n"),
            Backend(b"+ 2\r\n"),
        ],
        "a BAD Unbalanced parentheses|",
        "b SEARCH (NOT (TEXT {1}|x (TEXT {1}|y))) SEEN|",
        None,
    );
}

/// Counted, not timed: a busy machine must not fail it.
#[test]
fn a_command_is_read_in_proportion_to_its_length_however_many_literals_it_has() {
    let tokens = |verb: &str, literals: usize| {
        let command = format!(
            "a {verb} {}{}\r\n",
            "()".repeat(16 * 1024),
            " {0+}\r\n".repeat(literals)
        );
        let before = crate::imap::lexer::tests::counted();
        let seen = play(&[Client(command.as_bytes())], 16 * 1024, Options::default());
        assert_eq!(seen.end, None);
        crate::imap::lexer::tests::counted() - before
    };
    for verb in ["SEARCH", "UID FETCH 1", "SETMETADATA x", "LIST \"\" x", "ID"] {
        let (one, many) = (tokens(verb, 1), tokens(verb, 64));
        assert!(
            many < one * 2,
            "{verb}: {one} tokens with one literal, {many} with 64"
        );
        let too_many = tokens(verb, 4000);
        assert!(
            too_many < one * 2,
            "{verb}: {one} tokens with one literal, {too_many} with 4000"
        );
    }
}

#[test]
fn a_farewell_is_never_put_into_a_response() {
    let mut relay = Relay::new(Arc::new(Options::default()));
    let mut output = Output::default();
    relay
        .from_backend(b"* 1 FETCH (BODY[] {3}\r\n", &mut output)
        .unwrap();
    output.clear();
    relay.farewell("Shutting down", &mut output);
    assert!(output.client.is_empty());
    relay.from_backend(b"abc)\r\n", &mut output).unwrap();
    output.clear();
    relay.farewell("Shutting down", &mut output);
    assert_eq!(
        output.client.slices(&[]).collect::<Vec<_>>().concat(),
        b"* BYE Shutting down\r\n"
    );
}
