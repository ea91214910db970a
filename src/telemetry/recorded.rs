//! What an event tells of a command that is over, and of what rules knew. Facts alone: no search term, nothing of a message.

use std::time::Duration;

use serde_json::Map;
use serde_json::Value;

use crate::policy::facts;
use crate::policy::facts::Record;
use crate::session::recorder::CommandResult;
use crate::session::recorder::Recorded;
use crate::telemetry::event::Event;
use crate::telemetry::field::Field;
use crate::telemetry::text::harmless;

impl Event {
    /// A command that is over, and what rules knew of it.
    pub fn recorded(self, command: &Recorded) -> Self {
        let mut event = self
            .set(Field::CommandResult, command.result.as_str())
            .duration(Duration::from_millis(command.took_ms));
        if let CommandResult::Refused(why) = command.result {
            event = event.set(Field::Reason, why.as_str());
        }
        if let Some(verb) = command.verb {
            event = event.command(verb.as_bytes());
        }
        if let Some(mailbox) = &command.mailbox {
            event = event.mailbox(mailbox.as_bytes());
        }
        if command.fetched_bytes > 0 {
            event = event
                .set(Field::FetchedBytes, command.fetched_bytes)
                .set(Field::FetchedMessages, command.fetched_messages)
                .set(Field::FetchedBody, command.fetched_body);
        }
        if let Some((messages, bytes)) = command.appended {
            event = event
                .set(Field::AppendedMessages, messages)
                .set(Field::AppendedBytes, bytes);
        }
        event.untold(command.untold).facts(command.facts.as_ref())
    }

    /// How many commands no event tells of.
    pub fn untold(self, commands: u64) -> Self {
        if commands == 0 {
            return self;
        }
        self.set(Field::CommandsUntold, commands)
    }

    /// What rules knew.
    pub fn facts(self, facts: Option<&Record>) -> Self {
        match facts {
            Some(facts) => self.set(Field::Facts, facts_json(facts)),
            None => self,
        }
    }
}

/// Facts by their names.
fn facts_json(facts: &Record) -> Value {
    let mut object = Map::new();
    for (fact, value) in facts.values() {
        let value = match value {
            facts::Value::Text(text) => harmless(text).into(),
            facts::Value::Number(number) => number.into(),
            facts::Value::Truth(truth) => truth.into(),
            facts::Value::Texts(texts) => texts.iter().map(harmless).collect::<Vec<_>>().into(),
            facts::Value::Address(ip) => ip.to_string().into(),
            // It is worth nothing outside the process, and says more than it should inside.
            facts::Value::Opaque(_) => continue,
        };
        object.insert(fact.name().to_owned(), value);
    }
    Value::Object(object)
}
