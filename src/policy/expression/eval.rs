//! Evaluates expressions: no allocation, no loop beyond the texts and lists themselves. `None` is "not known".

use std::cmp::Ordering;
use std::net::IpAddr;

use crate::policy::expression::tree::Number;
use crate::policy::expression::tree::Order;
use crate::policy::expression::tree::Text;
use crate::policy::expression::tree::Truth;
use crate::policy::facts::Fact;
use crate::policy::facts::Lookup;
use crate::policy::facts::Texts;
use crate::policy::facts::Value;

impl Truth {
    pub(super) fn eval(&self, facts: &dyn Lookup) -> Option<bool> {
        match self {
            Self::Const(truth) => Some(*truth),
            Self::Fact(fact) => match facts.value(*fact)? {
                Value::Truth(truth) => Some(truth),
                _ => None,
            },
            Self::Has(fact) => Some(facts.value(*fact).is_some()),
            Self::Not(part) => part.eval(facts).map(|truth| !truth),
            Self::All(parts) => until(parts, facts, false),
            Self::Any(parts) => until(parts, facts, true),
            Self::Choice(parts) => {
                let (which, yes, no) = &**parts;
                if which.eval(facts)? { yes } else { no }.eval(facts)
            }
            Self::Same(parts) => Some(parts.0.eval(facts)? == parts.1.eval(facts)?),
            Self::Compare(order, a, b) => Some(order.holds(a.eval(facts)?.cmp(&b.eval(facts)?))),
            Self::NumberIn(number, list) => Some(list.contains(&number.eval(facts)?)),
            Self::TextIs(a, b) => Some(a.eval(facts)?.is(b.eval(facts)?)),
            Self::TextIn(text, list) => {
                let text = text.eval(facts)?;
                Some(list.iter().any(|item| text.is(Str::plain(item))))
            }
            Self::Listed(text, fact) => {
                let text = text.eval(facts)?;
                Some(texts(*fact, facts)?.iter().any(|item| text.is(Str::plain(item))))
            }
            Self::StartsWith(text, start) => Some(text.eval(facts)?.starts_with(start.eval(facts)?)),
            Self::EndsWith(text, end) => Some(text.eval(facts)?.ends_with(end.eval(facts)?)),
            Self::Contains(text, part) => Some(text.eval(facts)?.contains(part.eval(facts)?)),
            Self::Matches(text, regex) => Some(regex.is_match(text.eval(facts)?.text)),
            Self::AddressIn(fact, networks) => Some(networks.contains(address(*fact, facts)?)),
            Self::AddressIs(a, b) => Some(address(*a, facts)? == address(*b, facts)?),
        }
    }
}

/// True or false as soon as one part is `decisive`; unknown where a part was unknown and none was.
fn until(parts: &[Truth], facts: &dyn Lookup, decisive: bool) -> Option<bool> {
    let mut all_known = true;
    for part in parts {
        match part.eval(facts) {
            Some(truth) if truth == decisive => return Some(decisive),
            Some(_) => {}
            None => all_known = false,
        }
    }
    all_known.then_some(!decisive)
}

fn texts<'a>(fact: Fact, facts: &'a dyn Lookup) -> Option<Texts<'a>> {
    match facts.value(fact)? {
        Value::Texts(texts) => Some(texts),
        _ => None,
    }
}

fn address(fact: Fact, facts: &dyn Lookup) -> Option<IpAddr> {
    match facts.value(fact)? {
        Value::Address(ip) => Some(ip),
        _ => None,
    }
}

impl Order {
    fn holds(self, found: Ordering) -> bool {
        match self {
            Self::Equal => found == Ordering::Equal,
            Self::Less => found == Ordering::Less,
            Self::LessOrEqual => found != Ordering::Greater,
        }
    }
}

impl Number {
    fn eval(&self, facts: &dyn Lookup) -> Option<i64> {
        match self {
            Self::Const(number) => Some(*number),
            Self::Fact(fact) => match facts.value(*fact)? {
                Value::Number(number) => Some(number),
                _ => None,
            },
            Self::Negative(part) => part.eval(facts).map(i64::saturating_neg),
            Self::Sum(parts) => Some(parts.0.eval(facts)?.saturating_add(parts.1.eval(facts)?)),
            Self::Difference(parts) => Some(parts.0.eval(facts)?.saturating_sub(parts.1.eval(facts)?)),
            Self::Product(parts) => Some(parts.0.eval(facts)?.saturating_mul(parts.1.eval(facts)?)),
            Self::Choice(parts) => {
                let (which, yes, no) = &**parts;
                if which.eval(facts)? { yes } else { no }.eval(facts)
            }
            Self::LengthOf(text) => {
                let length = text.eval(facts)?.chars().count();
                Some(i64::try_from(length).unwrap_or(i64::MAX))
            }
            Self::SizeOf(fact) => Some(i64::try_from(texts(*fact, facts)?.len()).unwrap_or(i64::MAX)),
        }
    }
}

impl Text {
    fn eval<'a>(&'a self, facts: &'a dyn Lookup) -> Option<Str<'a>> {
        match self {
            Self::Const(text) => Some(Str::plain(text)),
            Self::Fact(fact) => match facts.value(*fact)? {
                Value::Text(text) => Some(Str::plain(text)),
                _ => None,
            },
            Self::Lower(part) => part.eval(facts).map(|Str { text, .. }| Str { text, lower: true }),
            Self::Choice(parts) => {
                let (which, yes, no) = &**parts;
                if which.eval(facts)? { yes } else { no }.eval(facts)
            }
        }
    }
}

/// A text as it is, or in small letters without a copy.
#[derive(Debug, Clone, Copy)]
struct Str<'a> {
    text: &'a str,
    lower: bool,
}

impl<'a> Str<'a> {
    const fn plain(text: &'a str) -> Self {
        Self { text, lower: false }
    }

    fn chars(self) -> impl DoubleEndedIterator<Item = char> {
        let lower = self.lower;
        self.text.chars().flat_map(move |c| Letters::of(c, lower))
    }

    fn is(self, other: Self) -> bool {
        if self.lower || other.lower {
            self.chars().eq(other.chars())
        } else {
            self.text == other.text
        }
    }

    fn starts_with(self, start: Self) -> bool {
        if self.lower || start.lower {
            begins(self.chars(), start.chars())
        } else {
            self.text.starts_with(start.text)
        }
    }

    fn ends_with(self, end: Self) -> bool {
        if self.lower || end.lower {
            begins(self.chars().rev(), end.chars().rev())
        } else {
            self.text.ends_with(end.text)
        }
    }

    fn contains(self, part: Self) -> bool {
        if !(self.lower || part.lower) {
            return self.text.contains(part.text);
        }
        let from = |(at, _)| Self {
            text: self.text.get(at..).unwrap_or_default(),
            lower: self.lower,
        };
        part.text.is_empty()
            || self
                .text
                .char_indices()
                .map(from)
                .any(|rest| rest.starts_with(part))
    }
}

fn begins(mut text: impl Iterator<Item = char>, mut start: impl Iterator<Item = char>) -> bool {
    start.all(|c| text.next() == Some(c))
}

/// A letter, or the small form of it, which may be several.
enum Letters {
    One(Option<char>),
    Small(std::char::ToLowercase),
}

impl Letters {
    fn of(c: char, lower: bool) -> Self {
        if lower {
            Self::Small(c.to_lowercase())
        } else {
            Self::One(Some(c))
        }
    }
}

impl Iterator for Letters {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Self::One(c) => c.take(),
            Self::Small(small) => small.next(),
        }
    }
}

impl DoubleEndedIterator for Letters {
    fn next_back(&mut self) -> Option<char> {
        match self {
            Self::One(c) => c.take(),
            Self::Small(small) => small.next_back(),
        }
    }
}
