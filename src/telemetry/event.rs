//! One event: a kind, a time and typed fields; `shape` writes it.
//!
//! Every setter takes a type that cannot be a secret, or peer text that it cleans; there is no way to set a field by name.

use std::fmt::Display;
use std::fmt::Write;
use std::time::Duration;
use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::Value;

use crate::policy::decision::Decision;
use crate::telemetry::field::Field;
use crate::telemetry::kind::Kind;
use crate::telemetry::text::clean;
use crate::types::ClientAddr;
use crate::types::EndReason;
use crate::types::Mechanism;
use crate::types::Origin;
use crate::types::Refusal;
use crate::types::SecondFactor;
use crate::types::SessionId;
use crate::types::UnixTime;
use crate::types::UserName;

pub use crate::telemetry::about::BackendCall;
pub use crate::telemetry::about::Connection;
pub use crate::telemetry::about::Tls;
pub use crate::telemetry::about::Traffic;
pub use crate::telemetry::about::UserAgent;

/// As many fields as events of a login and of a session have, or nearly so.
const FIELDS: usize = 28;

/// Something that happened.
#[derive(Debug, Clone)]
#[must_use = "an event that nobody emits is lost"]
pub struct Event {
    pub(super) kind: Kind,
    at: SystemTime,
    pub(super) fields: Vec<(Field, Value)>,
    pub(super) times: Times,
}

/// When parts of what an event tells of began and ended. Traces are made of it; no shape shows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Times {
    pub(super) connection: Option<SystemTime>,
    pub(super) backend: Option<Box<BackendCall>>,
}

impl Event {
    /// An event without fields beside those that its kind implies.
    pub fn new(kind: Kind, at: SystemTime) -> Self {
        Self {
            kind,
            at,
            fields: Vec::new(),
            times: Times::default(),
        }
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// When it happened.
    #[must_use]
    pub fn at(&self) -> SystemTime {
        self.at
    }

    /// All that is known of the connection.
    pub fn connection(mut self, of: &Connection) -> Self {
        self.times.connection = of.began;
        if of.user.is_some() {
            self.fields.reserve(FIELDS);
        }
        let mut event = self
            .session(of.session)
            .source(&of.addr)
            .origin(&of.origin)
            .set(Field::Listener, clean(of.listener.as_bytes()));
        if let Some(tls) = &of.tls {
            event = event.tls(tls);
        }
        if let Some(agent) = &of.user_agent {
            event = event
                .peer_text(Field::UserAgentName, agent.name.as_deref())
                .peer_text(Field::UserAgentVersion, agent.version.as_deref());
        }
        if let Some(user) = &of.user {
            event = event.user(user);
            if let Some(account) = of.account.as_ref().filter(|account| *account != user) {
                event = event.account(account);
            }
        }
        event
    }

    /// The connection's name alone.
    pub fn session(self, id: SessionId) -> Self {
        self.set(Field::SessionId, id.to_string())
    }

    /// Where the connection comes from; the load balancer too, if there is one.
    pub fn source(self, addr: &ClientAddr) -> Self {
        let event = self
            .set(Field::NetworkProtocol, "imap")
            .set(Field::SourceIp, addr.client.ip().to_string())
            .set(Field::SourcePort, addr.client.port());
        if addr.peer == addr.client {
            return event;
        }
        event
            .set(Field::NatIp, addr.peer.ip().to_string())
            .set(Field::NatPort, addr.peer.port())
    }

    /// The country and the network operator of the client's address, as far as they are known.
    pub fn origin(self, origin: &Origin) -> Self {
        let event = self
            .peer_text(Field::SourceCountry, origin.country.as_deref())
            .peer_text(Field::SourceAsOrganization, origin.as_organization.as_deref());
        match origin.as_number {
            Some(number) => event.set(Field::SourceAsNumber, number),
            None => event,
        }
    }

    /// What was agreed in the TLS hand-shake.
    pub fn tls(self, tls: &Tls) -> Self {
        self.set(Field::TlsVersion, tls.version)
            .set(Field::TlsCipher, tls.cipher)
            .set(Field::TlsResumed, tls.resumed)
            .peer_text(Field::TlsJa4, tls.ja4.as_deref())
            .peer_text(Field::TlsServerName, tls.server_name.as_deref())
            .peer_text(Field::TlsSubject, tls.subject.as_deref())
    }

    /// Who logs in.
    pub fn user(self, user: &UserName) -> Self {
        self.set(Field::UserName, clean(user.as_str().as_bytes()))
    }

    /// The account that is opened, where it is not the user's own.
    pub fn account(self, account: &UserName) -> Self {
        self.set(Field::AccountName, clean(account.as_str().as_bytes()))
    }

    /// How the credentials came.
    pub fn mechanism(self, mechanism: Mechanism) -> Self {
        self.set(Field::Mechanism, mechanism.as_str())
    }

    /// How the second factor was proved; an app password's label goes with it.
    pub fn second_factor(self, factor: &SecondFactor) -> Self {
        let event = self.set(Field::SecondFactor, factor.as_str());
        match factor {
            SecondFactor::AppPassword { label, .. } => {
                event.set(Field::AppPasswordLabel, clean(label.as_bytes()))
            }
            _ => event,
        }
    }

    /// The store is away: what this process knew before has let somebody in.
    pub fn store_away(self) -> Self {
        self.set(Field::StoreAway, true)
    }

    /// The app password's id, in the form in which people read and type it.
    pub fn app_password_id(self, id: &str) -> Self {
        self.set(Field::AppPasswordId, clean(id.as_bytes()))
    }

    /// Why a login was refused.
    pub fn refusal(self, refusal: Refusal) -> Self {
        self.set(Field::Reason, refusal.as_str())
    }

    /// Why it ended, and whose doing it was.
    pub fn end(self, reason: EndReason) -> Self {
        self.set(Field::Reason, reason.as_str())
            .set(Field::EndSide, reason.side().as_str())
    }

    /// A reason from another closed list; the word must be a constant of the program.
    pub fn reason(self, word: &'static str) -> Self {
        self.set(Field::Reason, word)
    }

    /// How long it took.
    pub fn duration(self, span: Duration) -> Self {
        self.set(
            Field::Duration,
            u64::try_from(span.as_nanos()).unwrap_or(u64::MAX),
        )
    }

    /// What a session moved.
    pub fn traffic(self, traffic: Traffic) -> Self {
        self.set(Field::SourceBytes, traffic.from_client)
            .set(Field::DestinationBytes, traffic.to_client)
            .set(Field::BackendReceived, traffic.from_backend)
            .set(Field::BackendSent, traffic.to_backend)
            .set(Field::Commands, traffic.commands)
            .set(Field::CommandsRefused, traffic.refused)
            .set(Field::CommandsDenied, traffic.denied)
            .set(Field::MessagesAppended, traffic.messages)
    }

    /// The backend, by its name in the configuration.
    pub fn backend(self, name: &str) -> Self {
        self.set(Field::BackendName, clean(name.as_bytes()))
    }

    /// What the backend was asked, and how long that took.
    pub fn backend_call(mut self, call: impl Into<Option<BackendCall>>) -> Self {
        self.times.backend = call.into().map(Box::new);
        self
    }

    /// The command's verb, never its arguments.
    pub fn command(self, verb: &[u8]) -> Self {
        self.set(Field::ImapCommand, clean(verb))
    }

    /// The mailbox, decoded to UTF-8.
    pub fn mailbox(self, name: &[u8]) -> Self {
        self.set(Field::ImapMailbox, clean(name))
    }

    /// The list, rule or limit that decided, by its name in the configuration.
    pub fn rule(self, name: &str) -> Self {
        self.set(Field::RuleName, clean(name.as_bytes()))
    }

    /// A rule's decision.
    pub fn decision(self, decision: &Decision) -> Self {
        let rule = &decision.rule;
        let actions: Vec<Value> = rule.then.iter().map(|action| action.as_str().into()).collect();
        let event = self
            .rule(&rule.name)
            .set(Field::RuleVersion, clean(decision.revision.as_bytes()))
            .set(Field::Severity, rule.severity.number())
            .set(Field::DecisionId, decision.id.to_string())
            .set(Field::DecisionMode, decision.mode.as_str())
            .set(Field::DecisionActions, actions)
            .set(Field::DecisionValue, decision.value)
            .set(Field::DecisionThreshold, decision.threshold);
        match &rule.attack {
            Some(attack) => event.set(Field::TechniqueId, clean(attack.as_str().as_bytes())),
            None => event,
        }
    }

    /// The rules in force.
    pub fn rules(self, revision: &str) -> Self {
        self.set(Field::RuleVersion, clean(revision.as_bytes()))
    }

    /// The key in force, by its id.
    pub fn key(self, id: &str) -> Self {
        self.set(Field::KeyId, clean(id.as_bytes()))
    }

    /// Sections of the configuration that differ from before.
    pub fn changed(self, sections: &[&'static str]) -> Self {
        let sections: Vec<Value> = sections.iter().map(|section| (*section).into()).collect();
        self.set(Field::ConfigChanged, sections)
    }

    /// What went wrong: one of our errors, whose text never holds a secret.
    pub fn error(self, error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {cause}");
            next = cause.source();
        }
        self.set(Field::ErrorMessage, clean(text.as_bytes()))
    }

    /// The file that was read.
    pub fn file(self, path: &std::path::Path) -> Self {
        self.set(Field::FilePath, clean(path.as_os_str().as_encoded_bytes()))
    }

    /// The program that starts or stops.
    pub fn program(self, version: &'static str, pid: u32) -> Self {
        self.set(Field::ServiceVersion, version)
            .set(Field::ProcessPid, pid)
    }

    /// The ban that was set or lifted.
    pub fn ban(self, network: &dyn Display, until: Option<UnixTime>, reason: &str) -> Self {
        let event = self
            .set(Field::BanNetwork, clean(network.to_string().as_bytes()))
            .set(Field::BanReason, clean(reason.as_bytes()));
        match until.and_then(|until| Timestamp::from_second(until.0).ok()) {
            Some(until) => event.set(Field::BanUntil, until.to_string()),
            None => event,
        }
    }

    /// How many events were lost.
    pub fn dropped(self, count: u64) -> Self {
        self.set(Field::Dropped, count)
    }

    pub(super) fn timestamp(&self) -> String {
        let at = Timestamp::try_from(self.at).unwrap_or(Timestamp::UNIX_EPOCH);
        format!("{at:.3}")
    }

    /// When it happened, in milliseconds since 1970.
    pub(super) fn millis(&self) -> i64 {
        let at = Timestamp::try_from(self.at).unwrap_or(Timestamp::UNIX_EPOCH);
        at.as_millisecond()
    }

    /// The value of a field, where it is set.
    pub(super) fn field(&self, wanted: Field) -> Option<&Value> {
        let found = self.fields.iter().find(|(field, _)| *field == wanted);
        found.map(|(_, value)| value)
    }

    /// How bad a rule calls it.
    pub(super) fn severity(&self) -> Option<u64> {
        self.field(Field::Severity).and_then(Value::as_u64)
    }

    /// Sets a field; a later value replaces an earlier one.
    pub(super) fn set(mut self, field: Field, value: impl Into<Value>) -> Self {
        self.fields.retain(|(known, _)| *known != field);
        self.fields.push((field, value.into()));
        self
    }

    fn peer_text(self, field: Field, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.set(field, clean(text.as_bytes())),
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::shape::Shape;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn connection() -> Connection {
        let addr = ClientAddr::stated("192.0.2.7:4711".parse().unwrap(), "10.0.0.1:99".parse().unwrap());
        let mut connection = Connection::new(SessionId::new(0xabc), addr, "imaps".into());
        connection.tls = Some(Tls {
            version: "1.3",
            cipher: "TLS13_AES_256_GCM_SHA384",
            resumed: false,
            ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1".into()),
            server_name: Some("mail.example.org".into()),
            ..Tls::default()
        });
        connection.user = Some(UserName::parse(b"alice").unwrap());
        connection.account = connection.user.clone();
        connection
    }

    fn json(event: &Event) -> Value {
        let line = Shape::Ecs.render(event, 7);
        assert!(!line.contains('\n'), "one line: {line:?}");
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn an_event_is_one_line_of_nested_ecs_fields() {
        let event = Event::new(Kind::LoginFailed, at(1_700_000_000_123))
            .connection(&connection())
            .mechanism(Mechanism::Plain)
            .refusal(Refusal::CodeInvalid);
        let json = json(&event);
        assert_eq!(json["@timestamp"], "2023-11-14T22:13:20.123Z");
        assert_eq!(json["event"]["code"], "IW3002");
        assert_eq!(json["event"]["action"], "login_failed");
        assert_eq!(json["event"]["reason"], "code_invalid");
        assert_eq!(json["event"]["outcome"], "failure");
        assert_eq!(json["event"]["category"][0], "authentication");
        assert_eq!(json["event"]["sequence"], 7);
        assert_eq!(json["source"]["ip"], "192.0.2.7");
        assert_eq!(json["source"]["nat"]["ip"], "10.0.0.1");
        assert_eq!(json["user"]["name"], "alice");
        assert!(
            json["user"].get("effective").is_none(),
            "alice opens her own account"
        );
        assert_eq!(json["tls"]["client"]["server_name"], "mail.example.org");
        assert_eq!(
            json["tls"]["client"]["ja4"],
            "t13d1516h2_8daaf6152771_e5627efa2ab1"
        );
        assert_eq!(json["session"]["id"], "0000000000000abc");
        assert_eq!(json["imapwarden"]["mechanism"], "plain");
    }

    #[test]
    fn a_delegated_account_stands_beside_the_user() {
        let mut connection = connection();
        connection.account = Some(UserName::parse(b"office").unwrap());
        let factor = SecondFactor::AppPassword {
            id: 9,
            label: "phone".into(),
        };
        let event = Event::new(Kind::LoginSucceeded, at(0))
            .connection(&connection)
            .second_factor(&factor)
            .app_password_id("2f7kq1");
        let json = json(&event);
        assert_eq!(json["user"]["effective"]["name"], "office");
        assert_eq!(json["imapwarden"]["app_password"]["id"], "2f7kq1");
        assert_eq!(json["imapwarden"]["app_password"]["label"], "phone");
    }

    #[test]
    fn peer_text_cannot_forge_a_line_nor_grow_without_end() {
        let event = Event::new(Kind::CommandRefused, at(0))
            .command(b"X\r\n{\"event\":1}")
            .mailbox(&[0x1b; 5000]);
        let value = json(&event);
        assert_eq!(value["imap"]["command"], "X\\r\\n{\"event\":1}");
        assert!(Shape::Ecs.render(&event, 1).len() < 1000);
        let line = event.to_string();
        assert!(!line.contains(['\n', '\r', '\x1b']), "{line}");
    }

    #[test]
    fn a_later_value_replaces_an_earlier_one() {
        let event = Event::new(Kind::SessionEnded, at(0))
            .end(EndReason::Logout)
            .end(EndReason::Killed)
            .duration(Duration::from_secs(2));
        assert_eq!(
            event.to_string(),
            "1970-01-01T00:00:00.000Z info  session_ended event.reason=killed imapwarden.end.side=proxy \
             event.duration=2.000s"
        );
    }

    #[test]
    fn people_see_who_and_why_first_and_no_noise() {
        let event = Event::new(Kind::LoginFailed, at(0))
            .connection(&connection())
            .refusal(Refusal::CodeReplayed);
        let line = event.to_string();
        let start = "1970-01-01T00:00:00.000Z info  login_failed user.name=alice event.reason=code_replayed source.ip=192.0.2.7 ";
        assert!(line.starts_with(start), "{line}");
        assert!(
            !line.contains("tls.cipher") && !line.contains("network.protocol"),
            "{line}"
        );
    }

    #[test]
    fn values_with_spaces_are_quoted_for_people() {
        let event =
            Event::new(Kind::BanAdded, at(0)).ban(&"192.0.2.0/24", Some(UnixTime(60)), "too many guesses");
        assert_eq!(
            event.to_string(),
            "1970-01-01T00:00:00.000Z info  ban_added imapwarden.ban.network=192.0.2.0/24 \
             imapwarden.ban.reason=\"too many guesses\" imapwarden.ban.until=1970-01-01T00:01:00Z"
        );
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let cause = std::io::Error::other("no route\nto host");
        let error = miette::Report::from_err(cause);
        let event = Event::new(Kind::BackendUnavailable, at(0)).error(error.as_ref());
        assert_eq!(json(&event)["error"]["message"], "no route\\nto host");
    }
}
