//! Facts written down: what test tables and recorded events judge rules on.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::sync::Arc;

use thiserror::Error;

use crate::policy::facts::Client;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Facts;
use crate::policy::facts::Kind;
use crate::policy::facts::Lookup;
use crate::policy::facts::Measure;
use crate::policy::facts::Source;
use crate::policy::facts::Texts;
use crate::policy::facts::Value;
use crate::policy::units;

/// A text that is no value of its fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this is no value of `{}` ({})", .0.name(), .0.kind().as_str())]
pub struct WrongValue(pub Fact);

/// Longest text that is written down of a moment, in bytes.
const MAX_TEXT: usize = 256;
/// Longest text of a list.
const MAX_ITEM: usize = 64;
/// Most texts of a list.
const MAX_ITEMS: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Owned {
    Text(Arc<str>),
    Number(i64),
    Truth(bool),
    Texts(Vec<Arc<str>>),
    Address(IpAddr),
    Opaque(u64),
}

/// The facts of one moment, each by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
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

    /// Writes down what is known of a moment, of the facts wanted, but for what is as usual ([`Fact::usual`]). Texts and lists
    /// are cut where they are long; what is opaque is never written down.
    #[must_use]
    pub fn of(facts: &dyn Lookup, wanted: impl Fn(Fact) -> bool) -> Self {
        let mut record = Self::new(facts.event());
        for fact in Fact::ALL.iter().copied().filter(|fact| wanted(*fact)) {
            let value = facts.value(fact).filter(|value| fact.usual() != Some(*value));
            let owned = match value {
                None | Some(Value::Opaque(_)) => continue,
                Some(Value::Text(text)) => Owned::Text(cut(text, MAX_TEXT)),
                Some(Value::Number(number)) => Owned::Number(number),
                Some(Value::Truth(truth)) => Owned::Truth(truth),
                Some(Value::Address(ip)) => Owned::Address(ip),
                Some(Value::Texts(texts)) => {
                    let texts = texts.iter().take(MAX_ITEMS);
                    Owned::Texts(texts.map(|text| cut(text, MAX_ITEM)).collect())
                }
            };
            record.values.push((fact, owned));
        }
        record
    }

    /// Adds what a client says it is.
    pub fn put_client(&mut self, client: &Client) {
        let source = Source::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let mut facts = Facts::at(Event::Login, &source);
        facts.client = Some(client);
        let of_client = |fact: Fact| fact.name().starts_with("client.");
        self.values.extend(Self::of(&facts, of_client).values);
    }

    /// What is written down, fact by fact.
    pub fn values(&self) -> impl Iterator<Item = (Fact, Value<'_>)> {
        self.values.iter().map(|(fact, value)| (*fact, value.as_value()))
    }

    /// Sets a fact from text.
    ///
    /// # Errors
    /// The text is no value of the fact's kind.
    pub fn set(&mut self, fact: Fact, text: &str) -> Result<(), WrongValue> {
        let value = match fact.kind() {
            Kind::Text => Some(Owned::Text(cut(text, MAX_TEXT))),
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
        let texts = texts.into_iter().take(MAX_ITEMS);
        self.put(
            fact,
            Owned::Texts(texts.map(|text| cut(&text, MAX_ITEM)).collect()),
        );
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

impl Owned {
    fn as_value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text),
            Self::Number(number) => Value::Number(*number),
            Self::Truth(truth) => Value::Truth(*truth),
            Self::Texts(texts) => Value::Texts(Texts::Shared(texts)),
            Self::Address(ip) => Value::Address(*ip),
            Self::Opaque(key) => Value::Opaque(*key),
        }
    }
}

fn cut(text: &str, most: usize) -> Arc<str> {
    let end = text.floor_char_boundary(most);
    text.get(..end).unwrap_or_default().into()
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
        Some(value.as_value())
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
    fn what_is_usual_is_left_out_and_what_is_long_is_cut() {
        let source = Source::new("192.0.2.1".parse().unwrap());
        let long = "é".repeat(1_000);
        let flags = vec![long.as_str(); 100];
        let command = crate::policy::facts::Command {
            verb: "FETCH",
            mailbox: Some(&long),
            set_size: Some(0),
            store_flags: &flags,
            ..crate::policy::facts::Command::default()
        };
        let login = crate::policy::facts::Login {
            password_hash: Some(7),
            ..crate::policy::facts::Login::default()
        };
        let mut facts = Facts::at(Event::Command, &source);
        facts.command = Some(&command);
        facts.login = Some(&login);
        let record = Record::of(&facts, |fact| {
            fact != Fact::LoginMechanism && fact != Fact::LoginCredential
        });
        let names: Vec<_> = record.values().map(|(fact, _)| fact.name()).collect();
        assert_eq!(
            names,
            [
                "source.ip",
                "login.outcome",
                "command.verb",
                "command.mailbox",
                "command.set_size",
                "command.store_flags"
            ]
        );
        assert_eq!(Fact::CommandFetchBody.usual(), Some(Value::Truth(false)));
        assert_eq!(
            (Fact::CommandSetSize.usual(), Fact::SourceCountry.usual()),
            (None, None)
        );
        let Some(Value::Text(mailbox)) = record.value(Fact::CommandMailbox) else {
            panic!("a text");
        };
        assert_eq!(mailbox.len(), MAX_TEXT);
        let Some(Value::Texts(flags)) = record.value(Fact::CommandStoreFlags) else {
            panic!("a list");
        };
        assert!(flags.len() == MAX_ITEMS && flags.iter().all(|flag| flag.len() <= MAX_ITEM));
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
