//! Recorded events, read back: what happened, when, in which session, and what was known of it.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Lookup;
use crate::policy::facts::Record;
use crate::policy::family::Family;
use crate::policy::family::Identity;
use crate::telemetry::Kind;
use crate::types::SessionId;

/// Fields of events that are facts.
const FIELDS: &[(&str, Fact)] = &[
    ("source.ip", Fact::SourceIp),
    ("source.geo.country_iso_code", Fact::SourceCountry),
    ("source.as.number", Fact::SourceAsn),
    ("tls.version", Fact::TlsVersion),
    ("tls.cipher", Fact::TlsCipher),
    ("tls.client.server_name", Fact::TlsServerName),
    ("tls.client.ja4", Fact::TlsJa4),
    ("tls.client.subject", Fact::TlsClientCertificate),
    ("user_agent.name", Fact::ClientName),
    ("user_agent.version", Fact::ClientVersion),
    ("user.name", Fact::UserName),
    ("imapwarden.app_password.id", Fact::UserAppPasswordId),
    ("imapwarden.app_password.label", Fact::UserAppPasswordLabel),
    ("imapwarden.second_factor", Fact::UserMfa),
];

/// An event that was recorded.
pub(super) struct Recorded {
    /// When, in milliseconds since 1970.
    pub(super) at_ms: u64,
    /// Which connection.
    pub(super) session: Option<SessionId>,
    /// What happened.
    pub(super) what: What,
    /// What the event says of those who take part, and what rules knew.
    pub(super) facts: Record,
    /// Whether what rules knew is in it.
    pub(super) is_complete: bool,
}

/// What happened, as far as rules look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// A login was decided.
    Login,
    /// A command is over.
    Command {
        /// Bytes and messages that came, and whether bodies were among them.
        fetched: Option<(u64, u64, bool)>,
        /// Messages that were appended, and their bytes.
        appended: Option<(u64, u64)>,
        /// Commands that were not recorded before it.
        untold: u64,
    },
    /// A session has ended.
    SessionEnd {
        /// Commands that were not recorded before its end.
        untold: u64,
    },
    /// A connection has ended before anybody logged in.
    ConnectionEnd,
    /// A rule was reported then.
    Reported(Box<str>),
    /// Events were lost.
    Lost(u64),
    /// Something that rules do not look at.
    Other,
}

/// Why a line is no event.
pub(super) type Unreadable = &'static str;

impl Recorded {
    /// Reads a line of an event log.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn read(line: &[u8]) -> Result<Self, Unreadable> {
        let event: Value = serde_json::from_slice(line).map_err(|_| "no JSON")?;
        if text(&event, "event.provider") != Some("imapwarden") {
            return Err("no event of imapwarden");
        }
        let at = text(&event, "@timestamp").and_then(|text| text.parse::<Timestamp>().ok());
        let at = at.ok_or("no time")?;
        let code = text(&event, "event.code").ok_or("no code")?;
        let kind = Kind::ALL.iter().copied().find(|kind| kind.code() == code);
        let what = kind.map_or(What::Other, |kind| what(kind, &event));
        let (facts, is_complete) = facts(kind, &event);
        Ok(Self {
            at_ms: u64::try_from(at.as_millisecond()).map_err(|_| "no time")?,
            session: text(&event, "session.id").and_then(SessionId::parse),
            what,
            facts,
            is_complete,
        })
    }
}

fn what(kind: Kind, event: &Value) -> What {
    let untold = number(event, "imapwarden.commands.untold").unwrap_or_default();
    match kind {
        // What cannot be a login is refused before anybody knows for whom, and rules are not asked.
        Kind::LoginSucceeded | Kind::LoginFailed if text(event, "user.name").is_some() => What::Login,
        Kind::Command | Kind::CommandRefused => {
            let fetched = number(event, "imapwarden.fetched.bytes").map(|bytes| {
                let messages = number(event, "imapwarden.fetched.messages").unwrap_or_default();
                let body = at(event, "imapwarden.fetched.body").and_then(Value::as_bool);
                (bytes, messages, body.unwrap_or_default())
            });
            let appended = number(event, "imapwarden.appended.messages").map(|messages| {
                (
                    messages,
                    number(event, "imapwarden.appended.bytes").unwrap_or_default(),
                )
            });
            What::Command {
                fetched,
                appended,
                untold,
            }
        }
        Kind::SessionEnded => What::SessionEnd { untold },
        Kind::ConnectionEnded => What::ConnectionEnd,
        Kind::RuleMatched | Kind::AlertRaised => {
            What::Reported(text(event, "rule.name").unwrap_or_default().into())
        }
        Kind::EventsDropped => What::Lost(number(event, "imapwarden.events.dropped").unwrap_or_default()),
        _ => What::Other,
    }
}

/// What is known: from the event's own fields, and what rules knew then, which wins.
fn facts(kind: Option<Kind>, event: &Value) -> (Record, bool) {
    let mut record = Record::new(Event::Login);
    for (path, fact) in FIELDS {
        put(&mut record, *fact, at(event, path));
    }
    if let Some(user) = text(event, "user.name") {
        put(
            &mut record,
            Fact::UserAccount,
            at(event, "user.effective.name").or(at(event, "user.name")),
        );
        if let Some((_, domain)) = user.rsplit_once('@').filter(|(_, domain)| !domain.is_empty()) {
            put_text(&mut record, Fact::UserDomain, domain);
        }
    }
    family(&mut record);
    match kind {
        Some(Kind::LoginSucceeded) => put_text(&mut record, Fact::LoginOutcome, "success"),
        Some(Kind::LoginFailed) => {
            // What rules refused they have judged as a success.
            if text(event, "event.reason") == Some("policy_denied") {
                put_text(&mut record, Fact::LoginOutcome, "success");
            } else {
                put_text(&mut record, Fact::LoginOutcome, "failure");
                put(&mut record, Fact::LoginReason, at(event, "event.reason"));
            }
        }
        Some(Kind::SessionEnded) => {
            put(&mut record, Fact::SessionEndReason, at(event, "event.reason"));
            put(
                &mut record,
                Fact::SessionCommands,
                at(event, "imapwarden.commands.sent"),
            );
            let age = number(event, "event.duration").map(|nanos| nanos / 1_000_000_000);
            if let Some(age) = age {
                put_text(&mut record, Fact::SessionAge, &age.to_string());
            }
        }
        _ => {}
    }
    put(
        &mut record,
        Fact::LoginMechanism,
        at(event, "imapwarden.mechanism"),
    );
    let known = at(event, "imapwarden.facts").and_then(Value::as_object);
    for (name, value) in known.into_iter().flatten() {
        if let Some(fact) = Fact::find(name) {
            put(&mut record, fact, Some(value));
        }
    }
    (record, known.is_some())
}

/// The family of clients, where only names are recorded.
fn family(record: &mut Record) {
    let said = |fact| match record.value(fact) {
        Some(crate::policy::facts::Value::Text(text)) => Some(text),
        _ => None,
    };
    let family = Family::of(&Identity {
        name: said(Fact::ClientName),
        vendor: None,
        os: None,
        version: said(Fact::ClientVersion),
    });
    if family != Family::None {
        put_text(record, Fact::ClientFamily, family.as_str());
    }
}

/// Sets a fact where the value is one of its kind; a value of another kind says nothing.
fn put(record: &mut Record, fact: Fact, value: Option<&Value>) {
    let result = match value {
        None | Some(Value::Null | Value::Object(_)) => return,
        Some(Value::String(text)) => record.set(fact, text),
        Some(Value::Array(items)) => {
            let texts = items.iter().filter_map(Value::as_str).map(Arc::from);
            record.set_list(fact, texts.collect())
        }
        Some(other) => record.set(fact, &other.to_string()),
    };
    // It is not known then.
    let _ = result;
}

fn put_text(record: &mut Record, fact: Fact, text: &str) {
    // A value of another kind is not known.
    let _ = record.set(fact, text);
}

fn at<'e>(event: &'e Value, path: &str) -> Option<&'e Value> {
    path.split('.').try_fold(event, |value, name| value.get(name))
}

fn text<'e>(event: &'e Value, path: &str) -> Option<&'e str> {
    at(event, path)?.as_str()
}

fn number(event: &Value, path: &str) -> Option<u64> {
    at(event, path)?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::facts::Value as FactValue;

    #[test]
    fn what_is_no_event_says_why() {
        for (line, why) in [
            ("{", "no JSON"),
            ("[]", "no event of imapwarden"),
            (r#"{"event":{"provider":"imapwarden"}}"#, "no time"),
            (
                r#"{"@timestamp":"2026-01-01T00:00:00Z","event":{"provider":"imapwarden"}}"#,
                "no code",
            ),
        ] {
            assert_eq!(Recorded::read(line.as_bytes()).err(), Some(why), "{line}");
        }
    }

    #[test]
    fn a_login_without_recorded_facts_is_known_by_its_fields() {
        let line = r#"{"@timestamp":"2026-01-01T00:00:01.5Z","event":{"provider":"imapwarden","code":"IW3002",
            "reason":"policy_denied"},"source":{"ip":"192.0.2.1"},"user":{"name":"a@example.org"},
            "session":{"id":"00000000000000ab"},"user_agent":{"name":"Thunderbird"}}"#;
        let read = Recorded::read(line.as_bytes()).unwrap();
        assert_eq!((read.what, read.is_complete), (What::Login, false));
        assert_eq!(read.at_ms % 1_000_000, 601_500);
        let value = |fact| read.facts.value(fact);
        assert_eq!(value(Fact::LoginOutcome), Some(FactValue::Text("success")));
        assert_eq!(value(Fact::LoginReason), None);
        assert_eq!(value(Fact::UserDomain), Some(FactValue::Text("example.org")));
        assert_eq!(value(Fact::ClientFamily), Some(FactValue::Text("thunderbird")));
    }

    #[test]
    fn values_of_a_wrong_kind_are_not_known_and_do_no_harm() {
        let line = r#"{"@timestamp":"2026-01-01T00:00:00Z","event":{"provider":"imapwarden","code":"IW4006"},
            "source":{"ip":["x"]},"imapwarden":{"facts":{"command.set_size":"many","command.verb":["a"],"no.fact":1,
            "session.exists":-5,"command.search_keys":["TEXT",3]}}}"#;
        let read = Recorded::read(line.as_bytes()).unwrap();
        assert_eq!(read.facts.value(Fact::SourceIp), None);
        assert_eq!(read.facts.value(Fact::CommandSetSize), None);
        assert_eq!(read.facts.value(Fact::CommandVerb), None);
    }
}
