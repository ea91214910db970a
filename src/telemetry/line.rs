//! An event as one line for people.

use std::fmt;
use std::fmt::Display;
use std::time::Duration;

use serde_json::Value;

use crate::telemetry::event::Event;
use crate::telemetry::field::Field;

/// What people look for first.
const FIRST: [Field; 5] = [
    Field::UserName,
    Field::Reason,
    Field::SecondFactor,
    Field::ErrorMessage,
    Field::SourceIp,
];

/// What only machines look for.
const FOR_MACHINES: [Field; 5] = [
    Field::NetworkProtocol,
    Field::TlsCipher,
    Field::TlsResumed,
    Field::TlsJa4,
    Field::NatPort,
];

/// One line for people: time, level, action, then the fields as `name=value`, what matters most in front.
impl Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:5} {}",
            self.timestamp(),
            self.kind.level().as_str(),
            self.kind
        )?;
        let mut fields: Vec<_> = self.fields.iter().collect();
        fields.retain(|(field, _)| !FOR_MACHINES.contains(field));
        fields.sort_by_key(|(field, _)| {
            FIRST
                .iter()
                .position(|first| first == field)
                .unwrap_or(FIRST.len())
        });
        for (field, value) in fields {
            write!(f, " {}=", field.path())?;
            match value {
                Value::String(text) if !text.is_empty() && !text.contains([' ', '"', '=']) => {
                    f.write_str(text)?;
                }
                Value::Number(nanos) if *field == Field::Duration => {
                    let span = Duration::from_nanos(nanos.as_u64().unwrap_or_default());
                    write!(f, "{:.3}s", span.as_secs_f64())?;
                }
                other => write!(f, "{other}")?,
            }
        }
        Ok(())
    }
}
