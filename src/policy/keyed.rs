//! Keyed hashes: of rules, of what they count, and of what they count by.
//!
//! The seed is a secret of 128 bits, and begins every hash: nobody without it can choose two things that fall together, or tell
//! from a hash in the store of what it is. The same seed gives the same hashes in another process of the same version.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::net::IpAddr;

use crate::policy::facts::Fact;
use crate::policy::facts::Lookup;
use crate::policy::facts::Texts;
use crate::policy::facts::Value;
use crate::policy::rules::Group;
use crate::types::Prefix;

/// A hash that depends on the seed.
pub(super) fn hash_of(seed: u128, value: &impl Hash) -> u64 {
    let mut hasher = seeded(seed);
    value.hash(&mut hasher);
    hasher.finish()
}

fn seeded(seed: u128) -> DefaultHasher {
    let mut hasher = DefaultHasher::new();
    hasher.write_u128(seed);
    hasher
}

/// Makes the hashes of one rule.
#[derive(Debug)]
pub(super) struct Keyed(DefaultHasher);

impl Keyed {
    /// For the rule with this key.
    pub(super) fn new(seed: u128, rule: u64) -> Self {
        let mut hasher = seeded(seed);
        hasher.write_u64(rule);
        Self(hasher)
    }

    /// The key of a counter that sessions share; `None` where what it counts by is not known.
    pub(super) fn of_groups(&self, per: &[Group], facts: &dyn Lookup) -> Option<u64> {
        let mut hasher = self.0.clone();
        for group in per {
            hash_group(*group, facts, &mut hasher)?;
        }
        Some(hasher.finish())
    }

    /// Of a value that is counted once.
    pub(super) fn of_value(&self, value: Value<'_>) -> u64 {
        let mut hasher = self.0.clone();
        hash_fact(value, &mut hasher);
        hasher.finish()
    }
}

fn hash_group(group: Group, facts: &dyn Lookup, hasher: &mut DefaultHasher) -> Option<()> {
    match group {
        // A session has a counter of its own, and never comes here.
        Group::Global | Group::Session => {}
        Group::AppPassword => match facts.value(Fact::UserAppPasswordId) {
            Some(id) => {
                hasher.write_u8(1);
                hash_fact(id, hasher);
            }
            None => {
                hasher.write_u8(2);
                hash_user(facts, hasher)?;
            }
        },
        Group::User => hash_user(facts, hasher)?,
        Group::Source => Prefix::of(address(facts)?).hash(hasher),
        Group::Network => network(address(facts)?).hash(hasher),
        Group::Fact(fact) => hash_fact(facts.value(fact)?, hasher),
    }
    Some(())
}

/// By whatever capitals: nobody has a count of their own for each way of writing a name.
fn hash_user(facts: &dyn Lookup, hasher: &mut DefaultHasher) -> Option<()> {
    match facts.value(Fact::UserName)? {
        Value::Text(name) if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            hash_fact(Value::Text(&name.to_ascii_lowercase()), hasher);
        }
        name => hash_fact(name, hasher),
    }
    Some(())
}

fn address(facts: &dyn Lookup) -> Option<IpAddr> {
    match facts.value(Fact::SourceIp)? {
        Value::Address(ip) => Some(ip),
        _ => None,
    }
}

/// IPv4 /24, IPv6 /48.
fn network(ip: IpAddr) -> Prefix {
    match ip.to_canonical() {
        IpAddr::V4(v4) => Prefix::of(IpAddr::V4((u32::from(v4) & 0xffff_ff00).into())),
        v6 @ IpAddr::V6(_) => Prefix::of(v6).site(),
    }
}

fn hash_fact(value: Value<'_>, hasher: &mut DefaultHasher) {
    match value {
        Value::Text(text) => text.hash(hasher),
        Value::Number(number) => number.hash(hasher),
        Value::Truth(truth) => truth.hash(hasher),
        Value::Texts(texts) => hash_texts(texts, hasher),
        Value::Address(ip) => ip.hash(hasher),
        Value::Opaque(key) => key.hash(hasher),
    }
}

fn hash_texts(texts: Texts<'_>, hasher: &mut DefaultHasher) {
    for text in texts.iter() {
        text.hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::facts::Event;
    use crate::policy::facts::Measure;

    struct Named(&'static str);

    impl Lookup for Named {
        fn event(&self) -> Event {
            Event::Login
        }

        fn value(&self, fact: Fact) -> Option<Value<'_>> {
            (fact == Fact::UserName).then_some(Value::Text(self.0))
        }

        fn baseline(&self, _: Measure, _: u16) -> Option<u64> {
            None
        }
    }

    #[test]
    fn a_user_has_one_count_by_whatever_capitals() {
        let keyed = Keyed::new(7, 7);
        let key = |per, name| keyed.of_groups(&[per], &Named(name)).unwrap();
        for per in [Group::User, Group::AppPassword] {
            assert_eq!(key(per, "Alice@Example.org"), key(per, "alice@example.org"));
            assert_ne!(key(per, "alice"), key(per, "alicf"));
        }
    }
}
