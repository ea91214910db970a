//! All shapes say the same, in words that the published schemas have: `tests/schemas` has the part of them that we use.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::SystemTime;

use serde_json::json;

use super::*;
use crate::telemetry::kind::Kind;

/// A value that no other field has, of the type that the field has.
fn value(field: Field, at: usize) -> Value {
    let number = 1000 + at;
    match field {
        Field::SourceIp => "192.0.2.7".into(),
        Field::NatIp => "10.0.0.1".into(),
        Field::Severity => 73.into(),
        Field::Duration => (u64::try_from(number).unwrap() * 1_000_000).into(),
        Field::TlsResumed => true.into(),
        Field::SecondFactor => "app_password".into(),
        Field::DecisionActions => json!(["deny", "alert"]),
        Field::SourcePort
        | Field::NatPort
        | Field::SourceAsNumber
        | Field::SourceBytes
        | Field::DestinationBytes => number.into(),
        Field::ProcessPid | Field::Commands | Field::CommandsRefused | Field::CommandsDenied => number.into(),
        Field::MessagesAppended | Field::BackendSent | Field::BackendReceived | Field::Dropped => {
            number.into()
        }
        Field::DecisionValue | Field::DecisionThreshold => number.into(),
        // Everything that a shape could trip over.
        _ => format!("{} = |x] \"{number}\" \\n", field.path()).into(),
    }
}

fn at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123)
}

/// An event that has every field there is, beside those that its kind implies.
fn full(kind: Kind) -> Event {
    let mut event = Event::new(kind, at());
    let implied: Vec<Field> = facts(&event, 1).into_iter().map(|(field, _)| field).collect();
    let own = Field::ALL
        .iter()
        .enumerate()
        .filter(|(_, field)| !implied.contains(field));
    event.fields = own.map(|(at, field)| (*field, value(*field, at))).collect();
    event
}

fn schema(name: &str) -> Value {
    let path = format!("{}/tests/schemas/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn parse(shape: Shape, event: &Event) -> Value {
    let line = shape.render(event, 7);
    assert!(!line.contains(['\n', '\r']), "{line}");
    serde_json::from_str(&line).unwrap()
}

/// The leaves of JSON by their dotted paths; the first object of a list stands for all.
fn leaves(value: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| leaves(value, &below(name), found)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            assert_eq!(items.len(), 1, "{path}");
            leaves(&items[0], path, found);
        }
        leaf => assert!(
            found.insert(path.to_owned(), leaf.clone()).is_none(),
            "{path} is there twice"
        ),
    }
}

fn leaves_of(value: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    leaves(value, "", &mut found);
    found
}

/// Reads CEF as a receiver does: the header's seven fields, then keys and values.
fn read_cef(line: &str) -> (Vec<String>, BTreeMap<String, String>) {
    let mut header = vec![String::new()];
    let mut chars = line.chars();
    while header.len() < 8 {
        let last = header.last_mut().unwrap();
        match chars.next().unwrap() {
            '\\' => last.push(chars.next().unwrap()),
            '|' => header.push(String::new()),
            c => last.push(c),
        }
    }
    header.pop();
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let (mut key, mut text) = (String::new(), String::new());
    let mut put = |key: &mut String, text: String| {
        if !key.is_empty() {
            assert!(values.insert(std::mem::take(key), text).is_none());
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next().unwrap() {
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                c => text.push(c),
            },
            '=' => {
                // What stands before an equals sign, from the last space on, is the next key.
                let (value, next) = text.rsplit_once(' ').unwrap_or(("", &text));
                let (value, next) = (value.to_owned(), next.to_owned());
                put(&mut key, value);
                key = next;
                text = String::new();
            }
            c => text.push(c),
        }
    }
    put(&mut key, text);
    (header, values)
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(as_text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// What a fact is called in ECS alone, because the other shapes have their own order of things.
const ECS_ONLY: [Field; 4] = [Field::EcsVersion, Field::Kind, Field::Type, Field::Category];

#[test]
fn every_shape_says_every_fact_of_every_event() {
    for kind in Kind::ALL {
        let event = full(*kind);
        let ecs = leaves_of(&parse(Shape::Ecs, &event));
        let ocsf = leaves_of(&parse(Shape::Ocsf, &event));
        let (header, cef) = read_cef(&Shape::Cef.render(&event, 7));
        let said = |value: &Value| ocsf.values().any(|found| found == value);
        for (field, fact) in facts(&event, 7) {
            assert_eq!(ecs.get(field.path()), Some(&fact), "{kind} {field:?}");
            match field {
                _ if ECS_ONLY.contains(&field) => {}
                Field::Timestamp => assert_eq!(ocsf["time"], 1_700_000_000_123_u64),
                Field::Severity => assert_eq!(ocsf["severity"], "High"),
                Field::Duration => assert!(said(&(fact.as_u64().unwrap() / 1_000_000).into()), "{kind}"),
                Field::Outcome => {
                    let status = ocsf["status"].as_str().unwrap().to_lowercase();
                    assert!(
                        fact == status.as_str() || ocsf.get("unmapped.event.outcome") == Some(&fact),
                        "{kind}"
                    );
                }
                _ => assert!(said(&fact), "{kind} {field:?} is not in {ocsf:?}"),
            }
            match cef::key(field) {
                Some(key) if field == Field::Timestamp => assert_eq!(cef[&key], "1700000000123"),
                Some(key) => assert_eq!(cef.get(&key), Some(&as_text(&fact)), "{kind} {field:?}"),
                None => {
                    let in_header = header.contains(&as_text(&fact));
                    assert!(
                        in_header || ECS_ONLY.contains(&field),
                        "{kind} {field:?}: {header:?}"
                    );
                }
            }
        }
        assert_eq!(header[0], "CEF:0");
        assert_eq!(header[6], "8");
    }
}

#[test]
fn ecs_fields_are_ecs_or_named_as_ours_and_have_their_types() {
    let schema = schema("ecs-8.17.json");
    assert_eq!(schema["version"], ECS_VERSION);
    // Of ECS' own trees, these two are ours: it has JA3 alone, and no sessions.
    let ours = |path: &str| {
        path.starts_with("imap.")
            || path.starts_with("imapwarden.")
            || ["session.id", "tls.client.ja4"].contains(&path)
    };
    for kind in Kind::ALL {
        for (path, value) in leaves_of(&parse(Shape::Ecs, &full(*kind))) {
            if ours(&path) {
                continue;
            }
            let wanted = schema["fields"][&path].as_str();
            let value = value.as_array().map_or(value.clone(), |items| items[0].clone());
            let fits = match wanted.unwrap_or_else(|| panic!("ECS has no {path}")) {
                "long" => value.is_u64(),
                "boolean" => value.is_boolean(),
                "ip" | "date" | "keyword" | "match_only_text" => value.is_string(),
                other => panic!("{other}"),
            };
            assert!(fits, "{path}: {value}");
        }
    }
}

#[test]
fn ocsf_events_are_what_the_published_schema_allows() {
    let schema = schema("ocsf-1.5.json");
    assert_eq!(schema["version"], OCSF_VERSION);
    for kind in Kind::ALL {
        for event in [full(*kind), Event::new(*kind, at())] {
            let json = parse(Shape::Ocsf, &event);
            let name = json["class_uid"].to_string();
            check_object(&schema, &schema["classes"][&name], &json, &format!("{kind}"));
            assert_eq!(
                json["type_uid"].as_u64().unwrap(),
                json["class_uid"].as_u64().unwrap() * 100 + json["activity_id"].as_u64().unwrap()
            );
        }
    }
}

fn check_object(schema: &Value, wanted: &Value, object: &Value, path: &str) {
    let attributes = wanted["attributes"]
        .as_object()
        .unwrap_or_else(|| panic!("{path} is no object of OCSF"));
    let object = object
        .as_object()
        .unwrap_or_else(|| panic!("{path} is no object"));
    for (name, attribute) in attributes {
        let required = attribute["requirement"] == "required";
        assert!(!required || object.contains_key(name), "{path} lacks {name}");
    }
    if let Some(any) = wanted["at_least_one"].as_array() {
        assert!(
            any.iter().any(|name| object.contains_key(name.as_str().unwrap())),
            "{path} lacks all of {any:?}"
        );
    }
    for (name, value) in object {
        let path = format!("{path}.{name}");
        let attribute = attributes
            .get(name)
            .unwrap_or_else(|| panic!("OCSF has no {path}"));
        let many = attribute["is_array"] == true;
        assert_eq!(many, value.is_array(), "{path}");
        for value in value.as_array().unwrap_or(&vec![value.clone()]) {
            check_value(schema, attribute, value, &path);
        }
    }
}

fn check_value(schema: &Value, attribute: &Value, value: &Value, path: &str) {
    match attribute["type"].as_str().unwrap() {
        // Free by definition.
        "object_t" if attribute["object_type"] == "object" => assert!(value.is_object(), "{path}"),
        "object_t" => {
            let name = attribute["object_type"].as_str().unwrap();
            check_object(schema, &schema["objects"][name], value, path);
        }
        "integer_t" | "long_t" | "timestamp_t" | "port_t" => assert!(value.is_u64(), "{path}: {value}"),
        "boolean_t" => assert!(value.is_boolean(), "{path}: {value}"),
        _ => assert!(value.is_string(), "{path}: {value}"),
    }
    if let Some(allowed) = attribute["enum"].as_object() {
        let named = allowed.get(&as_text(value));
        assert!(named.is_some(), "{path}: {value} is not one of {allowed:?}");
    }
}

#[test]
fn names_and_numbers_in_ocsf_belong_together() {
    let schema = schema("ocsf-1.5.json");
    for kind in Kind::ALL {
        let json = parse(Shape::Ocsf, &full(*kind));
        let class = &schema["classes"][json["class_uid"].to_string()]["attributes"];
        for (number, name) in [
            ("class_uid", "class_name"),
            ("category_uid", "category_name"),
            ("type_uid", "type_name"),
            ("severity_id", "severity"),
            ("status_id", "status"),
            ("activity_id", "activity_name"),
        ] {
            if json[number] == 99 {
                continue;
            }
            assert_eq!(
                json[name],
                class[number]["enum"][json[number].to_string()],
                "{kind} {name}"
            );
        }
    }
}

#[test]
fn a_line_for_people_is_one_line_too() {
    for kind in Kind::ALL {
        assert!(!Shape::Line.render(&full(*kind), 1).contains('\n'));
    }
}
