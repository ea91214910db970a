//! What rules are told of a mailbox and its messages, whatever a client makes a backend say.

use std::num::NonZeroU64;

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

/// A ledger that keeps nothing.
struct Nobody;

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

    fn noticed(&self, _: &str, _: &[u32], _: u64) {}

    fn notices_in(&self, _: &str, _: u64) -> Vec<u32> {
        Vec::new()
    }
}

/// A session that one rule judges, and what has reached the client.
struct Judged {
    relay: Relay,
    client: Vec<u8>,
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
        let inspector = Inspector::new(
            Arc::new(ArcSwap::from_pointee(engine)),
            (Arc::new(parties), Box::new(Nobody)),
            (SessionCounters::new(SessionId::new(1)), "test".into()),
            0,
        );
        Self {
            relay: Relay::new(Arc::new(Options::default())).inspected(inspector),
            client: Vec::new(),
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
