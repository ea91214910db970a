//! Facts written down: what test tables and recorded events judge rules on.

use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;

use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Kind;
use crate::policy::facts::Lookup;
use crate::policy::facts::Measure;
use crate::policy::facts::Texts;
use crate::policy::facts::Value;
use crate::policy::units;

/// A text that is no value of its fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this is no value of `{}` ({})", .0.name(), .0.kind().as_str())]
pub struct WrongValue(pub Fact);

#[derive(Debug, Clone, PartialEq)]
enum Owned {
    Text(Arc<str>),
    Number(i64),
    Truth(bool),
    Texts(Vec<Arc<str>>),
    Address(IpAddr),
    Opaque(u64),
}

/// The facts of one moment, each by its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    event: Event,
    values: Vec<(Fact, Owned)>,
    baselines: Vec<(Measure, u64)>,
}

impl Record {
    /// A moment of which nothing is known.
    #[must_use]
    pub const fn new(event: Event) -> Self {
        Self {
            event,
            values: Vec::new(),
            baselines: Vec::new(),
        }
    }

    /// Sets a fact from text.
    ///
    /// # Errors
    /// The text is no value of the fact's kind.
    pub fn set(&mut self, fact: Fact, text: &str) -> Result<(), WrongValue> {
        let value = match fact.kind() {
            Kind::Text => Some(Owned::Text(text.into())),
            Kind::Number => text.parse().ok().map(Owned::Number),
            Kind::Duration => seconds(text).map(Owned::Number),
            Kind::Truth => text.parse().ok().map(Owned::Truth),
            Kind::Texts => None,
            Kind::Address => text
                .parse()
                .ok()
                .map(|ip: IpAddr| Owned::Address(ip.to_canonical())),
            Kind::Opaque => text.parse().ok().map(Owned::Opaque),
        };
        self.put(fact, value.ok_or(WrongValue(fact))?);
        Ok(())
    }

    /// Sets a fact that is a list.
    ///
    /// # Errors
    /// The fact is no list.
    pub fn set_list(&mut self, fact: Fact, texts: Vec<Arc<str>>) -> Result<(), WrongValue> {
        if fact.kind() != Kind::Texts {
            return Err(WrongValue(fact));
        }
        self.put(fact, Owned::Texts(texts));
        Ok(())
    }

    /// Sets a baseline.
    pub fn set_baseline(&mut self, measure: Measure, value: u64) {
        self.baselines.retain(|(known, _)| *known != measure);
        self.baselines.push((measure, value));
    }

    fn put(&mut self, fact: Fact, value: Owned) {
        self.values.retain(|(known, _)| *known != fact);
        self.values.push((fact, value));
    }
}

/// `90`, or a span such as `90s`.
fn seconds(text: &str) -> Option<i64> {
    let plain = text.parse().ok();
    plain.or_else(|| i64::try_from(units::millis(text)? / 1_000).ok())
}

impl Lookup for Record {
    fn event(&self) -> Event {
        self.event
    }

    fn value(&self, fact: Fact) -> Option<Value<'_>> {
        let (_, value) = self.values.iter().find(|(known, _)| *known == fact)?;
        Some(match value {
            Owned::Text(text) => Value::Text(text),
            Owned::Number(number) => Value::Number(*number),
            Owned::Truth(truth) => Value::Truth(*truth),
            Owned::Texts(texts) => Value::Texts(Texts::Shared(texts)),
            Owned::Address(ip) => Value::Address(*ip),
            Owned::Opaque(key) => Value::Opaque(*key),
        })
    }

    fn baseline(&self, measure: Measure, _: u16) -> Option<u64> {
        let found = self.baselines.iter().find(|(known, _)| *known == measure);
        found.map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_of_the_table_is_a_value_of_its_kind() {
        for fact in Fact::ALL {
            let mut record = Record::new(Event::Login);
            let list = fact
                .example()
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            match list {
                Some(items) => record.set_list(*fact, items.split(", ").map(Arc::from).collect()),
                None => record.set(*fact, fact.example()),
            }
            .unwrap();
            assert!(record.value(*fact).is_some(), "{}", fact.name());
        }
    }

    #[test]
    fn a_value_of_another_kind_is_refused() {
        let mut record = Record::new(Event::Login);
        for (fact, text) in [
            (Fact::SessionAge, "soon"),
            (Fact::UserIsService, "yes"),
            (Fact::SourceIp, "10.0.0.0/8"),
            (Fact::UserGroups, "staff"),
            (Fact::SourceAsn, "AS1"),
        ] {
            assert_eq!(record.set(fact, text), Err(WrongValue(fact)));
            assert_eq!(record.value(fact), None);
        }
        assert!(record.set_list(Fact::UserName, Vec::new()).is_err());
        record.set(Fact::SessionAge, "2m").unwrap();
        assert_eq!(record.value(Fact::SessionAge), Some(Value::Number(120)));
    }
}
