//! The Elastic Common Schema: nested objects in JSON. Field names are ECS's already.

use serde_json::Map;
use serde_json::Value;

use crate::telemetry::event::Event;
use crate::telemetry::shape::facts;
use crate::telemetry::shape::insert;

/// The version of the Elastic Common Schema that the field names come from.
pub const ECS_VERSION: &str = "8.17.0";

pub(super) fn render(event: &Event, number: u64) -> String {
    let mut root = Map::new();
    for (field, value) in facts(event, number) {
        insert(&mut root, field.path(), value);
    }
    Value::Object(root).to_string()
}
