//! The shapes that an event can be written in. All of them say the same; none has a line break in it.

mod cef;
mod ecs;
mod implied;
mod nested;
mod ocsf;

use serde_json::Map;
use serde_json::Value;

use crate::telemetry::event::Event;
use crate::telemetry::field::Field;

pub use ecs::ECS_VERSION;
pub use ocsf::OCSF_VERSION;

/// The shape of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// Elastic Common Schema, in JSON.
    #[default]
    Ecs,
    /// Open Cybersecurity Schema Framework, in JSON.
    Ocsf,
    /// Common Event Format, one line of `key=value`.
    Cef,
    /// `time level action name=value …`, for people.
    Line,
}

impl Shape {
    /// The event, which is the sink's `number`th, as one line without its end.
    #[must_use]
    pub fn render(self, event: &Event, number: u64) -> String {
        match self {
            Self::Ecs => ecs::render(event, number),
            Self::Ocsf => ocsf::render(event, number),
            Self::Cef => cef::render(event, number),
            Self::Line => event.to_string(),
        }
    }

    /// Whether it is JSON.
    #[must_use]
    pub const fn is_json(self) -> bool {
        matches!(self, Self::Ecs | Self::Ocsf)
    }

    /// What HTTP calls several of them.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        if self.is_json() {
            "application/json"
        } else {
            "text/plain; charset=utf-8"
        }
    }
}

/// What an event says: what its kind implies, and its own fields.
fn facts(event: &Event, number: u64) -> Vec<(Field, Value)> {
    let implied = implied::of(event, number).map(|(field, said)| (field, said.into()));
    implied.into_iter().chain(event.fields.iter().cloned()).collect()
}

/// Puts a value at a dotted path, making the objects on the way; `name[]` is a list of one object. No field stands in another's
/// way: tests say so.
fn insert(object: &mut Map<String, Value>, path: &str, value: Value) {
    let Some((head, rest)) = path.split_once('.') else {
        object.insert(path.to_owned(), value);
        return;
    };
    let empty = || Value::Object(Map::new());
    let inner = match head.strip_suffix("[]") {
        None => Some(object.entry(head).or_insert_with(empty)),
        Some(name) => {
            let list = object.entry(name).or_insert_with(|| Value::Array(vec![empty()]));
            list.as_array_mut().and_then(|list| list.first_mut())
        }
    };
    if let Some(Value::Object(inner)) = inner {
        insert(inner, rest, value);
    }
}

#[cfg(test)]
mod tests;
