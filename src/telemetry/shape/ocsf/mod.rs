//! The Open Cybersecurity Schema Framework. Classes and attributes are those of 1.5; what it has no attribute for stands below
//! `unmapped`, under the name that ECS or we have for it.

mod class;
mod place;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::telemetry::event::Event;
use crate::telemetry::field::Field;
use crate::telemetry::kind::Kind;
use crate::telemetry::kind::Level;
use crate::telemetry::kind::Outcome;
use crate::telemetry::shape::facts;
use crate::telemetry::shape::insert;
use crate::telemetry::shape::ocsf::class::Class;

/// The version of OCSF that classes and attributes come from.
pub const OCSF_VERSION: &str = "1.5.0";

pub(super) fn render(event: &Event, number: u64) -> String {
    let mut root = Map::new();
    let (class, activity) = class::of(event.kind());
    let (class_uid, class_name) = class.id();
    let (category_uid, category_name) = class.category();
    let (severity_id, severity) = severity(event);
    for (path, value) in [
        ("time", event.millis().into()),
        ("class_uid", class_uid.into()),
        ("class_name", class_name.into()),
        ("category_uid", category_uid.into()),
        ("category_name", category_name.into()),
        ("activity_id", activity.id.into()),
        ("activity_name", activity.name.into()),
        ("type_uid", (class_uid * 100 + activity.id).into()),
        (
            "type_name",
            format!("{class_name}: {}", activity.caption()).into(),
        ),
        ("severity_id", severity_id.into()),
        ("severity", severity.into()),
        ("metadata.version", OCSF_VERSION.into()),
        ("metadata.product", product()),
    ] {
        insert(&mut root, path, value);
    }
    status(&mut root, class, event.kind().outcome());
    for (field, value) in facts(event, number) {
        put(&mut root, class, field, value);
    }
    complete(&mut root, class, event);
    Value::Object(root).to_string()
}

fn put(root: &mut Map<String, Value>, class: Class, field: Field, value: Value) {
    let value = match field {
        // Said already; or words of ECS, for which OCSF has its classes.
        Field::Timestamp | Field::Severity => return,
        Field::EcsVersion | Field::Category | Field::Type | Field::Kind => return,
        Field::Outcome if class != Class::DetectionFinding => return,
        // OCSF counts milliseconds.
        Field::Duration => value.as_u64().map_or(value, |nanos| (nanos / 1_000_000).into()),
        _ => value,
    };
    match place::of(class, field) {
        Some(path) => insert(root, path, value),
        None => insert(root, &format!("unmapped.{}", field.path()), value),
    }
}

/// `severity_id` and `severity`: as bad as a rule calls it, or as loud as the kind is.
fn severity(event: &Event) -> (u32, &'static str) {
    match (event.severity(), event.kind().level()) {
        (Some(0..21), _) | (None, Level::Info) => (1, "Informational"),
        (Some(21..47), _) => (2, "Low"),
        (Some(47..73), _) | (None, Level::Warn) => (3, "Medium"),
        (Some(73..99), _) | (None, Level::Error) => (4, "High"),
        (Some(_), _) => (5, "Critical"),
    }
}

/// A finding's status is how far somebody has come with it.
fn status(root: &mut Map<String, Value>, class: Class, outcome: Outcome) {
    let (id, name) = match outcome {
        _ if class == Class::DetectionFinding => (1, "New"),
        Outcome::Unknown => (0, "Unknown"),
        Outcome::Success => (1, "Success"),
        Outcome::Failure => (2, "Failure"),
    };
    insert(root, "status_id", id.into());
    insert(root, "status", name.into());
}

fn product() -> Value {
    json!({"name": "imapwarden", "vendor_name": "imapwarden", "version": env!("CARGO_PKG_VERSION")})
}

/// Adds what OCSF wants beside what we know.
fn complete(root: &mut Map<String, Value>, class: Class, event: &Event) {
    match class {
        Class::Authentication => complete_authentication(root, event),
        Class::AccountChange => require_user(root),
        Class::EntityManagement => complete_entity(root, event.kind()),
        Class::DetectionFinding => complete_finding(root, event),
        Class::NetworkActivity => {
            require_endpoint(root);
            insert(root, "connection_info.direction_id", 1.into());
            insert(root, "connection_info.direction", "Inbound".into());
            insert(root, "connection_info.protocol_name", "tcp".into());
            if event.field(Field::TlsJa4).is_some() {
                insert(root, "ja4_fingerprint_list[].type_id", 1.into());
            }
        }
        Class::ApplicationLifecycle => {
            insert(root, "app.name", "imapwarden".into());
            insert(root, "app.vendor_name", "imapwarden".into());
        }
        Class::ApplicationError => {}
    }
}

fn complete_authentication(root: &mut Map<String, Value>, event: &Event) {
    require_user(root);
    require_endpoint(root);
    insert(root, "logon_type_id", 3.into());
    insert(root, "logon_type", "Network".into());
    insert(root, "is_remote", true.into());
    if event.field(Field::Mechanism).is_some() {
        insert(root, "auth_protocol_id", 99.into());
    }
    if let Some(factor) = event.field(Field::SecondFactor).and_then(Value::as_str) {
        let proved = matches!(factor, "app_password" | "totp" | "trusted_window");
        insert(root, "is_mfa", proved.into());
    }
    if let Some(session) = event.field(Field::SessionId) {
        insert(root, "session.uid", session.clone());
    }
}

/// Somebody whose name is no name of a user.
fn require_user(root: &mut Map<String, Value>) {
    if has_name(root, "user") {
        return;
    }
    insert(root, "user.type_id", 0.into());
    insert(root, "user.type", "Unknown".into());
    insert(root, "user.uid", "unknown".into());
}

fn has_name(root: &Map<String, Value>, object: &str) -> bool {
    root.get(object)
        .is_some_and(|object| object.get("name").is_some())
}

/// Which listener it was is known of every connection; OCSF wants an end of it in any case.
fn require_endpoint(root: &mut Map<String, Value>) {
    if !root.contains_key("dst_endpoint") {
        insert(root, "dst_endpoint.name", "imapwarden".into());
    }
}

fn complete_entity(root: &mut Map<String, Value>, kind: Kind) {
    let (id, name) = if kind == Kind::AppPasswordRevoked {
        (99, "App Password")
    } else {
        (7, "Network Zone")
    };
    insert(root, "entity.type_id", id.into());
    insert(root, "entity.type", name.into());
    if !has_name(root, "entity") {
        insert(root, "entity.name", name.into());
    }
}

fn complete_finding(root: &mut Map<String, Value>, event: &Event) {
    insert(root, "is_alert", (event.kind() == Kind::AlertRaised).into());
    let title = event.field(Field::RuleName).cloned();
    if title.is_some() {
        insert(root, "finding_info.analytic.type_id", 1.into());
        insert(root, "finding_info.analytic.type", "Rule".into());
    }
    insert(
        root,
        "finding_info.title",
        title.unwrap_or_else(|| event.kind().summary().into()),
    );
    if event.field(Field::DecisionId).is_none() {
        insert(root, "finding_info.uid", "unknown".into());
    }
    if event.field(Field::TlsJa4).is_some() {
        insert(root, "evidences[].ja4_fingerprint_list[].type_id", 1.into());
    }
}
