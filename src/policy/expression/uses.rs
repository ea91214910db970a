//! Which facts a condition asks for.

use std::collections::BTreeSet;

use crate::policy::expression::tree::Number;
use crate::policy::expression::tree::Text;
use crate::policy::expression::tree::Truth;
use crate::policy::facts::Fact;

impl Truth {
    /// Adds them to those found so far.
    pub(super) fn uses(&self, found: &mut BTreeSet<Fact>) {
        match self {
            Self::Const(_) => {}
            Self::Fact(fact) | Self::Has(fact) | Self::AddressIn(fact, _) => {
                found.insert(*fact);
            }
            Self::Not(inner) => inner.uses(found),
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.uses(found)),
            Self::Choice(parts) => {
                let (test, then, otherwise) = &**parts;
                [test, then, otherwise]
                    .into_iter()
                    .for_each(|part| part.uses(found));
            }
            Self::Same(parts) => {
                parts.0.uses(found);
                parts.1.uses(found);
            }
            Self::Compare(_, left, right) => {
                left.uses(found);
                right.uses(found);
            }
            Self::NumberIn(number, _) => number.uses(found),
            Self::TextIs(left, right)
            | Self::StartsWith(left, right)
            | Self::EndsWith(left, right)
            | Self::Contains(left, right) => {
                left.uses(found);
                right.uses(found);
            }
            Self::TextIn(text, _) | Self::Matches(text, _) => text.uses(found),
            Self::Listed(text, fact) => {
                text.uses(found);
                found.insert(*fact);
            }
            Self::AddressIs(left, right) => found.extend([*left, *right]),
        }
    }
}

impl Number {
    fn uses(&self, found: &mut BTreeSet<Fact>) {
        match self {
            Self::Const(_) => {}
            Self::Fact(fact) | Self::SizeOf(fact) => {
                found.insert(*fact);
            }
            Self::Negative(inner) => inner.uses(found),
            Self::Sum(parts) | Self::Difference(parts) | Self::Product(parts) => {
                parts.0.uses(found);
                parts.1.uses(found);
            }
            Self::Choice(parts) => {
                parts.0.uses(found);
                parts.1.uses(found);
                parts.2.uses(found);
            }
            Self::LengthOf(text) => text.uses(found),
        }
    }
}

impl Text {
    fn uses(&self, found: &mut BTreeSet<Fact>) {
        match self {
            Self::Const(_) => {}
            Self::Fact(fact) => {
                found.insert(*fact);
            }
            Self::Lower(inner) => inner.uses(found),
            Self::Choice(parts) => {
                parts.0.uses(found);
                parts.1.uses(found);
                parts.2.uses(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::expression::Expression;
    use crate::policy::facts::Event;

    #[test]
    fn every_fact_that_a_condition_asks_for_is_named() {
        let text = "(has(command.mailbox) && command.verb in [\"FETCH\"]) || (session.exists - 1 > size(command.pattern) \
            ? \"a\" in user.groups : !user.is_service) || source.ip in [\"10.0.0.0/8\"]";
        let expression = Expression::compile(text, Event::Command).unwrap();
        let names: Vec<_> = expression.facts().iter().map(|fact| fact.name()).collect();
        assert_eq!(
            names,
            [
                "source.ip",
                "user.groups",
                "user.is_service",
                "session.exists",
                "command.verb",
                "command.mailbox",
                "command.pattern"
            ]
        );
    }
}
