//! What rules are told of a mailbox and its messages, whatever a client makes a backend say.

use std::num::NonZeroU64;
use std::sync::Mutex;

use arc_swap::ArcSwap;

use super::*;
use crate::policy::Counters;
use crate::policy::engine::Engine;
use crate::policy::engine::SessionCounters;
use crate::policy::expression::Expression;
use crate::policy::facts::Client;
use crate::policy::facts::Event;
use crate::policy::facts::Source;
use crate::policy::facts::User;
use crate::policy::rules::Action;
use crate::policy::rules::Count;
use crate::policy::rules::Mode;
use crate::policy::rules::Rule;
use crate::policy::rules::RuleSet;
use crate::policy::rules::Severity;
use crate::policy::rules::Threshold;
use crate::session::inspect::Ledger;
use crate::session::inspect::Parties;
use crate::types::Measure;
use crate::types::SessionId;
use crate::types::UnixTime;

/// A ledger that keeps nothing but notices.
#[derive(Debug, Clone, Default)]
struct Nobody(Arc<Mutex<Vec<String>>>);

impl Ledger for Nobody {
    fn is_first_sync(&self) -> bool {
        false
    }

    fn fetched(&self, _: u64, _: u64) {}

    fn client_is(&self, _: &str) {}

    fn now(&self) -> UnixTime {
        UnixTime(1_800_000_000)
    }

    fn pace(&self, _: u64, _: NonZeroU64, now_ms: u64) -> u64 {
        now_ms
    }

    fn count(&self, _: Measure, _: u64) {}

    fn moved(&self, _: &str, _: u64, _: u64) {}

    fn renamed(&self, _: &str, _: &str, _: u64) {}

    fn deleted(&self, _: &str) {}

    fn moved_into(&self, _: &str, _: u64) -> Option<u64> {
        None
    }

    fn noticed(&self, mailbox: &str, uids: &[u32], _: u64) {
        self.0.lock().unwrap().push(format!("{mailbox} {uids:?}"));
    }

    fn notices_in(&self, _: &str, _: u64) -> Vec<u32> {
        Vec::new()
    }
}

/// A session that one rule judges, and what has reached the client.
struct Judged {
    relay: Relay,
    client: Vec<u8>,
    ledger: Nobody,
}

impl Judged {
    /// Denies what the condition is true of.
    fn by(on: Event, when: &str) -> Self {
        let rule = Rule {
            name: "test".into(),
            description: "A test.".into(),
            false_positives: None,
            attack: None,
            severity: Severity::default(),
            on,
            when: Some(Expression::compile(when, on).unwrap()),
            count: Count::default(),
            per: Vec::new(),
            within: None,
            shared: false,
            over: Threshold::Fixed(0),
            then: vec![Action::Deny],
            mode: Mode::Enforce,
        };
        Self::by_rule(rule)
    }

    fn by_rule(rule: Rule) -> Self {
        let set = RuleSet {
            rules: vec![rule],
            revision: "test".into(),
            shadow: false,
        };
        let engine = Engine::new(set, Arc::new(Counters::new(100, 7)));
        let parties = Parties {
            source: Source::new([192, 0, 2, 1].into()),
            tls: None,
            client: Client::default(),
            user: User::default(),
            mechanism: "login",
            credential: "app_password",
            baselines: None,
        };
        let ledger = Nobody::default();
        let inspector = Inspector::new(
            Arc::new(ArcSwap::from_pointee(engine)),
            (Arc::new(parties), Box::new(ledger.clone())),
            (SessionCounters::new(SessionId::new(1)), "test".into()),
            0,
        );
        Self {
            relay: Relay::new(Arc::new(Options::default())).inspected(inspector),
            client: Vec::new(),
            ledger,
        }
    }

    /// What goes to the backend when the client says this.
    fn client(&mut self, bytes: &[u8]) -> String {
        let mut output = Output::default();
        let taken = self.relay.from_client(bytes, &mut output).unwrap();
        assert_eq!(taken, bytes.len(), "{}", bytes.escape_ascii());
        let mut backend = Vec::new();
        drain(&mut output, &[], bytes, &mut self.client, &mut backend);
        String::from_utf8_lossy(&backend).replace("\r\n", "|")
    }

    fn backend(&mut self, bytes: &[u8]) -> Result<(), EndReason> {
        let mut output = Output::default();
        let result = self.relay.from_backend(bytes, &mut output);
        drain(&mut output, bytes, &[], &mut self.client, &mut Vec::new());
        result
    }

    /// Says a command and whether it is denied; one that is not is answered OK.
    fn denies(&mut self, command: &str) -> bool {
        let denied = self.client(format!("x {command}\r\n").as_bytes()).is_empty();
        if !denied {
            self.backend(b"x OK\r\n").unwrap();
        }
        denied
    }

    /// Opens a mailbox of 500 messages.
    fn opened(mut self) -> Self {
        self.client(b"a SELECT INBOX\r\n");
        self.backend(b"* 500 EXISTS\r\n* OK [UIDNEXT 900] Predicted\r\na OK [READ-WRITE] done\r\n")
            .unwrap();
        self
    }
}

#[test]
fn a_flag_named_like_a_response_code_tells_nothing_of_the_mailbox() {
    let said =
        b"* OK [PERMANENTFLAGS (\\Seen [UIDNEXT 1 \\*)] Flags permitted.\r\n* OK x [UIDNEXT 1] x\r\nb OK\r\n";
    // One that says UIDNEXT, and one that does not.
    for opened in [
        &b"* 500 EXISTS\r\n* OK [UIDNEXT 900] Predicted\r\na OK\r\n"[..],
        b"* 500 EXISTS\r\na OK\r\n",
    ] {
        let mut judged = Judged::by(Event::Command, "command.set_size > 100");
        judged.client(b"a SELECT INBOX\r\n");
        judged.backend(opened).unwrap();
        judged.client(b"b STORE 1 +FLAGS ([UIDNEXT 1)\r\n");
        judged.backend(said).unwrap();
        assert!(judged.denies("UID STORE 1:* +FLAGS (x)"));
    }
}

#[test]
fn uidnext_only_grows_while_a_mailbox_is_open() {
    let mut judged = Judged::by(Event::Command, "command.set_size > 100").opened();
    judged.backend(b"* OK [UIDNEXT 1] Predicted\r\n").unwrap();
    assert!(judged.denies("UID STORE 1:* +FLAGS (x)"));
    judged.client(b"c SELECT other\r\n");
    judged
        .backend(b"* 500 EXISTS\r\n* ok [uidnext 50] Predicted\r\nc OK\r\n")
        .unwrap();
    assert!(!judged.denies("UID STORE 1:* +FLAGS (x)"));
}

/// What Dovecot and Cyrus answer BAD leaves the mailbox open that was.
#[test]
fn a_mailbox_that_stays_open_stays_known() {
    for command in ["SELECT \u{fc}", "EXAMINE x (FROB)", "SELECT {1+}\r\nx"] {
        let mut judged = Judged::by(Event::Command, "command.set_size > 100 && command.set_is_all").opened();
        judged.client(format!("b {command}\r\n").as_bytes());
        judged.backend(b"b BAD Invalid\r\n").unwrap();
        for set in ["STORE 1:*", "UID STORE 1:*", "UID STORE 1:899", "STORE $,1:500"] {
            assert!(
                judged.denies(&format!("{set} +FLAGS (x)")),
                "{set} behind {command}"
            );
        }
    }
    // After NO none is open, and after OK the other.
    let mut judged = Judged::by(Event::Command, "command.set_size > 100").opened();
    judged.client(b"b SELECT x\r\n");
    judged.backend(b"b NO\r\n").unwrap();
    assert!(!judged.denies("UID STORE 1:* +FLAGS (x)"));
    judged.client(b"c SELECT x\r\n");
    judged.backend(b"* 7 EXISTS\r\nc OK\r\n").unwrap();
    assert!(!judged.denies("UID STORE 1:* +FLAGS (x)"));
}

#[test]
fn what_is_said_before_a_select_is_answered_bad_is_about_the_mailbox_that_stays_open() {
    let mut judged = Judged::by(Event::Command, "command.set_size > 501").opened();
    judged.client(b"b NOOP\r\nc SELECT \xc3\xbc\r\n");
    judged
        .backend(b"* 1 EXPUNGE\r\n* 502 EXISTS\r\nb OK\r\n* VANISHED 7\r\nc BAD\r\n")
        .unwrap();
    assert!(!judged.denies("STORE 1:* +FLAGS (x)"));
    judged.client(b"d SELECT \xc3\xbc\r\n");
    judged.backend(b"* 502 EXISTS\r\nd BAD\r\n").unwrap();
    assert!(judged.denies("STORE 1:* +FLAGS (x)"));
    assert!(judged.denies("UID STORE 1:* +FLAGS (x)"));
}

#[test]
fn of_a_mailbox_of_unknown_size_a_set_means_the_most_that_it_may() {
    let mut judged = Judged::by(Event::Command, "command.set_size > 100");
    assert!(!judged.denies("STORE 1:* +FLAGS (x)"), "none is open");
    judged.client(b"a SELECT x\r\n");
    judged.backend(b"a OK\r\n").unwrap();
    for (set, denied) in [
        ("STORE 1:*", true),
        ("STORE $", true),
        ("UID STORE 1:*", true),
        ("UID MOVE 5:4000000000", true),
        ("STORE 1:100", false),
        ("UID STORE 7,9", false),
        ("STORE *", false),
    ] {
        let what = if set.contains("MOVE") { "x" } else { "+FLAGS (x)" };
        assert_eq!(judged.denies(&format!("{set} {what}")), denied, "{set}");
    }
}

#[test]
fn notices_that_were_shown_are_known_after_a_select_that_failed() {
    let shown =
        "* 500 FETCH (UID 899 BODY[HEADER.FIELDS (SUBJECT)] \"Subject: New sign-in to your account\")\r\n";
    let pipelined = [
        b"b SELECT \xc3\xbc\r\n".as_slice(),
        b"b FETCH 500 ENVELOPE\r\nc SELECT \xc3\xbc\r\n",
    ];
    for (sent, said) in [
        (pipelined[0], format!("{shown}b BAD\r\n")),
        (pipelined[1], format!("{shown}b OK\r\nc BAD\r\n")),
    ] {
        let mut judged = Judged::by(Event::Command, "command.security_notices > 0").opened();
        assert!(!judged.denies("STORE 500 +FLAGS (\\Deleted)"));
        judged.client(sent);
        judged.backend(said.as_bytes()).unwrap();
        assert!(judged.denies("STORE 500 +FLAGS (\\Deleted)"));
        // They are no others'.
        judged.client(b"d SELECT x\r\n");
        judged.backend(b"* 500 EXISTS\r\nd OK\r\n").unwrap();
        assert!(!judged.denies("STORE 500 +FLAGS (\\Deleted)"));
    }
}

/// Servers answer small commands in one packet.
#[test]
fn notices_that_come_with_the_answer_to_a_select_belong_to_the_mailbox_before() {
    for (command, answer) in [
        ("SELECT x", "* 3 EXISTS\r\nc OK\r\n"),
        ("SELECT x", "c NO\r\n"),
        ("UNSELECT", "c OK\r\n"),
        ("CLOSE", "c OK\r\n"),
    ] {
        let mut judged = Judged::by(Event::Command, "command.security_notices > 0").opened();
        judged.client(format!("b FETCH 500 ENVELOPE\r\nc {command}\r\n").as_bytes());
        let shown = "* 500 FETCH (UID 899 BODY[HEADER.FIELDS (SUBJECT)] \"Subject: New sign-in to your account\")\r\n";
        judged
            .backend(format!("{shown}b OK\r\n{answer}").as_bytes())
            .unwrap();
        assert_eq!(*judged.ledger.0.lock().unwrap(), ["INBOX [899]"], "{command}");
    }
}

/// A client that ends IDLE, or says NOOP, and does not wait for the answer.
#[test]
fn what_was_said_before_the_command_ahead_of_a_select_was_answered_is_not_about_the_new_mailbox() {
    let mut judged = Judged::by(Event::Command, "command.set_size > 2").opened();
    judged.client(b"b NOOP\r\nc SELECT x\r\n");
    judged
        .backend(b"* 501 EXISTS\r\nb OK\r\n* 5000 EXISTS\r\n* OK [UIDNEXT 9000] Predicted\r\nc OK\r\n")
        .unwrap();
    assert!(!judged.denies("UID STORE 8999:* +FLAGS (x)"));
    assert!(judged.denies("UID STORE 8990:* +FLAGS (x)"));
}
