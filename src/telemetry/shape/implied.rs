//! What the kind of an event says by itself, without a copy of words that are the program's.

use serde::Serialize;
use serde_json::Value;

use crate::telemetry::event::Event;
use crate::telemetry::field::Field;
use crate::telemetry::shape::ECS_VERSION;

/// The value of a field.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Said<'a> {
    Word(&'static str),
    Words(&'static [&'static str]),
    Number(u64),
    Text(String),
    Own(&'a Value),
}

impl From<Said<'_>> for Value {
    fn from(said: Said<'_>) -> Self {
        match said {
            Said::Word(word) => word.into(),
            Said::Words(words) => words.into(),
            Said::Number(number) => number.into(),
            Said::Text(text) => text.into(),
            Said::Own(value) => value.clone(),
        }
    }
}

/// The fields that every event has; it is the sink's `number`th.
pub(super) fn of(event: &Event, number: u64) -> [(Field, Said<'static>); 12] {
    let kind = event.kind();
    [
        (Field::Timestamp, Said::Text(event.timestamp())),
        (Field::EcsVersion, Said::Word(ECS_VERSION)),
        (Field::Code, Said::Word(kind.code())),
        (Field::Action, Said::Word(kind.action())),
        (Field::Category, Said::Words(kind.category())),
        (Field::Type, Said::Words(kind.types())),
        (Field::Kind, Said::Word("event")),
        (Field::Provider, Said::Word("imapwarden")),
        (Field::Outcome, Said::Word(kind.outcome().as_str())),
        (Field::Sequence, Said::Number(number)),
        (Field::LogLevel, Said::Word(kind.level().as_str())),
        (Field::Message, Said::Word(kind.summary())),
    ]
}
