//! Traces: spans of connections and logins for a collector of OpenTelemetry's, by its protocol over HTTP in JSON (OTLP 1).
//!
//! A span is made of an event that says how long something took, and carries what that event says: no span can hold what no event
//! holds. It is a sink as others are, with a bounded queue and a thread of its own; no session waits for it.

use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use aws_lc_rs::digest;
use http_body_util::Full;
use hyper::Method;
use hyper::Request;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header;
use serde_json::Value;
use serde_json::json;
use tokio::time::timeout;

use crate::telemetry::event::Event;
use crate::telemetry::field::Field;
use crate::telemetry::kind::Kind;
use crate::telemetry::kind::Outcome;
use crate::telemetry::sink::OtlpOptions;
use crate::telemetry::sink::Path;
use crate::telemetry::sink::Renewal;
use crate::telemetry::sink::SinkError;
use crate::telemetry::sink::network::OwnRuntime;
use crate::telemetry::sink::network::Remote;
use crate::telemetry::sink::queue::Numbered;
use crate::telemetry::sink::webhook::exchange;
use crate::telemetry::sink::webhook::host;
use crate::telemetry::sink::worker::Failure;
use crate::telemetry::sink::worker::Output;

/// Most events that one request takes along; each makes three spans at most, of about a kilobyte.
const BATCH: usize = 64;

/// The numbers of OTLP's `SpanKind`: our own work, what somebody asked us for, what we ask somebody for.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;

/// OTLP's `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// A collector that requests are sent to.
pub(super) struct Otlp {
    runtime: OwnRuntime,
    remote: Remote,
    host: String,
    path: Path,
}

impl Otlp {
    pub(super) fn new(options: OtlpOptions) -> Result<Self, SinkError> {
        Ok(Self {
            runtime: OwnRuntime::default(),
            host: host(&options.receiver, options.tls.is_some()),
            remote: Remote::new(options.receiver, options.tls, options.timeout)?,
            path: options.path,
        })
    }

    fn request(&self, spans: &[Value]) -> Result<Request<Full<Bytes>>, Failure> {
        Request::builder()
            .method(Method::POST)
            .uri(self.path.as_str())
            .header(header::HOST, &self.host)
            .header(header::CONNECTION, "close")
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::USER_AGENT,
                concat!("imapwarden/", env!("CARGO_PKG_VERSION")),
            )
            .body(Full::new(Bytes::from(export(spans).to_string())))
            .map_err(|error| Failure::lost(format!("the request cannot be made: {error}")))
    }
}

impl Output for Otlp {
    fn batch(&self) -> usize {
        BATCH
    }

    fn write(&mut self, events: &[Numbered]) -> Result<(), Failure> {
        let spans: Vec<Value> = events.iter().flat_map(spans).collect();
        if spans.is_empty() {
            return Ok(());
        }
        let request = self.request(&spans)?;
        let (remote, receiver) = (&self.remote, self.remote.receiver());
        let status = self.runtime.run(async {
            let answered = timeout(remote.timeout(), exchange(remote, request)).await;
            answered.unwrap_or_else(|_| Err(Failure::again(format!("{receiver} does not answer in time"))))
        })?;
        let message = format!("{receiver} answers {}", status.as_u16());
        match status {
            _ if status.is_success() => Ok(()),
            // The answers that the protocol has repeated; after any other the spans are lost.
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(Failure::again(message)),
            _ => Err(Failure::lost(message)),
        }
    }

    fn renew(&mut self, renewal: Renewal) {
        self.remote.renew(renewal.client);
    }
}

/// True for events that spans are made of.
pub(super) fn has_spans(event: &Event) -> bool {
    let kind = event.kind();
    is_end(kind) || is_login(kind)
}

/// What is over with this event is a connection. One that was turned away at the door is none: a flood of them would push
/// everything else out.
fn is_end(kind: Kind) -> bool {
    matches!(kind, Kind::SessionEnded | Kind::ConnectionEnded | Kind::TlsFailed)
}

fn is_login(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::LoginSucceeded | Kind::LoginFailed | Kind::LoginUnavailable
    )
}

/// A whole request, `ExportTraceServiceRequest` in the protocol's JSON.
fn export(spans: &[Value]) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let resource = [("service.name", "imapwarden"), ("service.version", version)];
    json!({"resourceSpans": [{
        "resource": {"attributes": resource.map(|(key, value)| attribute(key, &value.into()))},
        "scopeSpans": [{"scope": {"name": "imapwarden", "version": version}, "spans": spans}],
    }]})
}

/// One span before it is written.
struct Span<'a> {
    /// The connection's name: 16 hexadecimal digits, which the trace and its root are called by.
    session: &'a str,
    id: String,
    parent: Option<&'a str>,
    name: &'static str,
    kind: u8,
    began: SystemTime,
    ended: SystemTime,
    attributes: Vec<Value>,
    failure: Option<&'a str>,
}

impl Span<'_> {
    fn to_json(&self) -> Value {
        let parent = self.parent.map(|parent| ("parentSpanId", json!(parent)));
        let status = json!({"code": ERROR, "message": self.failure});
        let status = self.failure.map(|_| ("status", status));
        let always = [
            // A session's own id with zeros before it: whoever has an event finds its trace.
            ("traceId", json!(format!("{:0>32}", self.session))),
            ("spanId", json!(self.id)),
            ("name", json!(self.name)),
            ("kind", json!(self.kind)),
            (
                "startTimeUnixNano",
                json!(nanoseconds(self.began.min(self.ended))),
            ),
            ("endTimeUnixNano", json!(nanoseconds(self.ended))),
            ("attributes", json!(self.attributes)),
        ];
        let all = always.into_iter().chain(parent).chain(status);
        all.map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// The spans that are over with an event. Sent again they are the same, ids included.
fn spans(Numbered { number, event }: &Numbered) -> Vec<Value> {
    let Some(session) = event.field(Field::SessionId).and_then(Value::as_str) else {
        return Vec::new();
    };
    if is_end(event.kind()) {
        return connection_spans(event, session, *number);
    }
    if is_login(event.kind()) {
        return login_spans(event, session, *number);
    }
    Vec::new()
}

/// A connection from its first byte to its last, and the session in it.
fn connection_spans(event: &Event, session: &str, number: u64) -> Vec<Value> {
    let ended = event.at();
    let connection = Span {
        session,
        id: session.to_owned(),
        parent: None,
        name: "connection",
        kind: SERVER,
        began: event.times.connection.unwrap_or(ended),
        ended,
        attributes: attributes(event),
        failure: failure(event),
    };
    let mut spans = vec![connection.to_json()];
    if event.kind() == Kind::SessionEnded {
        let relayed = Span {
            id: id_of(session, number, 0),
            parent: Some(session),
            name: "session",
            kind: INTERNAL,
            began: before(ended, duration(event)),
            attributes: Vec::new(),
            failure: None,
            ..connection
        };
        spans.push(relayed.to_json());
    }
    spans
}

/// An attempt to log in, from the credentials to their verdict, and what the backend was asked in it.
fn login_spans(event: &Event, session: &str, number: u64) -> Vec<Value> {
    let ended = event.at();
    let id = id_of(session, number, 0);
    let login = Span {
        session,
        id: id.clone(),
        parent: Some(session),
        name: "login",
        kind: INTERNAL,
        began: before(ended, duration(event)),
        ended,
        attributes: attributes(event),
        failure: failure(event),
    };
    let mut spans = vec![login.to_json()];
    let Some(call) = &event.times.backend else {
        return spans;
    };
    let name = attribute(Field::BackendName.path(), &call.backend.as_ref().into());
    let asked = Span {
        session,
        id: id_of(session, number, 1),
        parent: Some(&id),
        name: "backend login",
        kind: CLIENT,
        began: before(call.ended, call.took),
        ended: call.ended,
        attributes: vec![name],
        failure: call
            .dialled
            .is_none()
            .then_some("the backend did not let the account in"),
    };
    spans.push(asked.to_json());
    if let Some(dialled) = call.dialled {
        let dial = Span {
            id: id_of(session, number, 2),
            parent: Some(&asked.id),
            name: "backend dial",
            ended: asked.began.checked_add(dialled).unwrap_or(asked.began),
            attributes: asked.attributes.clone(),
            ..asked
        };
        spans.push(dial.to_json());
    }
    spans
}

/// Why what the event tells of came to nothing; `None` where it did not.
fn failure(event: &Event) -> Option<&str> {
    let failed = event.kind().outcome() == Outcome::Failure || event.kind() == Kind::LoginUnavailable;
    let reason = event.field(Field::Reason).and_then(Value::as_str);
    failed.then(|| reason.unwrap_or(event.kind().action()))
}

/// What the event says of itself; how long it took is in the span's times.
fn attributes(event: &Event) -> Vec<Value> {
    let told = [
        (Field::Code, event.kind().code().into()),
        (Field::Action, event.kind().action().into()),
        (Field::Outcome, event.kind().outcome().as_str().into()),
    ];
    let own = event.fields.iter().filter(|(field, _)| *field != Field::Duration);
    let own = own.map(|(field, value)| attribute(field.path(), value));
    let told = told.iter().map(|(field, value)| attribute(field.path(), value));
    told.chain(own).collect()
}

fn attribute(key: &str, value: &Value) -> Value {
    json!({"key": key.replace("[]", ""), "value": any_value(value)})
}

/// `AnyValue` in the protocol's JSON, where 64-bit numbers are strings.
fn any_value(value: &Value) -> Value {
    match value {
        Value::String(text) => json!({"stringValue": text}),
        Value::Bool(yes) => json!({"boolValue": yes}),
        Value::Number(number) if number.is_f64() => json!({"doubleValue": number}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::Array(items) => {
            let values: Vec<Value> = items.iter().map(any_value).collect();
            json!({"arrayValue": {"values": values}})
        }
        Value::Null | Value::Object(_) => json!({"stringValue": value.to_string()}),
    }
}

fn duration(event: &Event) -> Duration {
    let nanoseconds = event.field(Field::Duration).and_then(Value::as_u64);
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

fn before(end: SystemTime, span: Duration) -> SystemTime {
    end.checked_sub(span).unwrap_or(end)
}

fn nanoseconds(at: SystemTime) -> String {
    at.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
        .to_string()
}

/// The id of one of the spans of an event: 16 hexadecimal digits, not all of them 0.
fn id_of(session: &str, number: u64, part: u8) -> String {
    let text = format!("{session} {number} {part}");
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let mut first = [0; 8];
    first
        .iter_mut()
        .zip(hash.as_ref())
        .for_each(|(to, from)| *to = *from);
    format!("{:016x}", u64::from_be_bytes(first) | 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::telemetry::event::BackendCall;
    use crate::telemetry::event::Connection;
    use crate::types::ClientAddr;
    use crate::types::EndReason;
    use crate::types::Refusal;
    use crate::types::SessionId;

    const SESSION: &str = "5be1c3e20a7f4d10";

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn event(kind: Kind, millis: u64) -> Event {
        let addr = ClientAddr::direct("203.0.113.9:50512".parse().unwrap());
        let mut connection = Connection::new(SessionId::new(0x5be1_c3e2_0a7f_4d10), addr, "imaps".into());
        connection.began = Some(at(1_000));
        Event::new(kind, at(millis)).connection(&connection)
    }

    fn spans(event: &Event) -> Vec<Value> {
        super::spans(&Numbered {
            number: 7,
            event: Arc::new(event.clone()),
        })
    }

    fn attribute_of<'a>(span: &'a Value, key: &str) -> &'a Value {
        let all = span["attributes"].as_array().unwrap();
        &all.iter().find(|each| each["key"] == key).unwrap()["value"]
    }

    #[test]
    fn a_connection_is_the_root_of_its_trace_and_the_session_is_in_it() {
        let ended = event(Kind::SessionEnded, 9_000).end(EndReason::Logout);
        let spans = spans(&ended.duration(Duration::from_secs(5)));
        let [connection, session] = spans.as_slice() else {
            panic!("{spans:?}");
        };
        assert_eq!(connection["traceId"], format!("0000000000000000{SESSION}"));
        assert_eq!(connection["spanId"], SESSION);
        assert_eq!(
            (connection.get("parentSpanId"), connection.get("status")),
            (None, None)
        );
        assert_eq!(connection["startTimeUnixNano"], "1000000000");
        assert_eq!(connection["endTimeUnixNano"], "9000000000");
        assert_eq!(
            attribute_of(connection, "source.ip")["stringValue"],
            "203.0.113.9"
        );
        assert_eq!(attribute_of(connection, "source.port")["intValue"], "50512");
        assert_eq!(attribute_of(connection, "event.reason")["stringValue"], "logout");
        assert_eq!(session["parentSpanId"], SESSION);
        assert_eq!(session["startTimeUnixNano"], "4000000000");
    }

    #[test]
    fn what_the_backend_was_asked_is_within_the_login() {
        let call = |dialled| BackendCall {
            backend: "main".into(),
            ended: at(1_900),
            took: Duration::from_millis(500),
            dialled,
        };
        let login = event(Kind::LoginSucceeded, 2_000).duration(Duration::from_millis(800));
        let made = spans(&login.clone().backend_call(call(Some(Duration::from_millis(100)))));
        let [login_span, asked, dial] = made.as_slice() else {
            panic!("{made:?}");
        };
        assert_eq!(login_span["parentSpanId"], SESSION);
        assert_eq!(asked["parentSpanId"], login_span["spanId"]);
        assert_eq!(dial["parentSpanId"], asked["spanId"]);
        let ids: BTreeSet<_> = made.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
        assert!(
            ids.len() == 3 && ids.iter().all(|id| id.len() == 16 && *id != SESSION),
            "{ids:?}"
        );
        let times = |span: &Value| {
            (
                span["startTimeUnixNano"].as_str().unwrap().to_owned(),
                span["endTimeUnixNano"].as_str().unwrap().to_owned(),
            )
        };
        assert_eq!(
            times(login_span),
            ("1200000000".to_owned(), "2000000000".to_owned())
        );
        assert_eq!(times(asked), ("1400000000".to_owned(), "1900000000".to_owned()));
        assert_eq!(times(dial), ("1400000000".to_owned(), "1500000000".to_owned()));
        assert_eq!(asked.get("status"), None);

        let made = spans(&login.backend_call(call(None)));
        assert_eq!(
            made.len(),
            2,
            "nobody knows how long a dial took that came to nothing"
        );
        assert_eq!(made[1]["status"]["code"], 2);
    }

    #[test]
    fn a_failure_says_why_and_what_is_no_span_is_none() {
        let refused = event(Kind::LoginFailed, 2_000).refusal(Refusal::CodeReplayed);
        assert_eq!(
            spans(&refused)[0]["status"],
            json!({"code": 2, "message": "code_replayed"})
        );
        for kind in [
            Kind::Started,
            Kind::Command,
            Kind::ConnectionDenied,
            Kind::RuleMatched,
        ] {
            assert!(
                spans(&event(kind, 1)).is_empty() && !has_spans(&event(kind, 1)),
                "{kind}"
            );
        }
        assert!(
            spans(&Event::new(Kind::SessionEnded, at(1))).is_empty(),
            "of no session"
        );
    }
}
