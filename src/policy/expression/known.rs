//! What is left of a condition once one of its facts is known, the cheapest part first.

use std::collections::BTreeSet;

use crate::policy::expression::tree::Number;
use crate::policy::expression::tree::Text;
use crate::policy::expression::tree::Truth;
use crate::policy::facts::Fact;
use crate::policy::facts::Lookup;

impl Truth {
    /// The same condition for moments in which a fact is a text: what depends on nothing else is worked out.
    pub(super) fn knowing(&self, fact: Fact, text: &str) -> Self {
        self.reduced(&|part| match part {
            Self::TextIs(Text::Fact(found), Text::Const(other))
            | Self::TextIs(Text::Const(other), Text::Fact(found))
                if *found == fact =>
            {
                Some(**other == *text)
            }
            Self::TextIn(Text::Fact(found), texts) if *found == fact => {
                Some(texts.iter().any(|other| **other == *text))
            }
            _ => None,
        })
    }

    /// The same condition for moments with the same steady facts: what depends on nothing else is worked out.
    pub(super) fn given(&self, facts: &dyn Lookup) -> Self {
        match self.is_steady() {
            // What is not known now is not known then.
            true => Self::Const(self.eval(facts) == Some(true)),
            false => self.reduced(&|part| match part.is_steady() {
                true => part.eval(facts),
                false => None,
            }),
        }
    }

    fn is_steady(&self) -> bool {
        let mut facts = BTreeSet::new();
        self.uses(&mut facts);
        facts.into_iter().all(Fact::is_steady)
    }

    /// The same condition where some of its parts are decided.
    fn reduced(&self, decide: &impl Fn(&Self) -> Option<bool>) -> Self {
        if let Some(truth) = decide(self) {
            return Self::Const(truth);
        }
        match self {
            Self::Not(part) => match part.reduced(decide) {
                Self::Const(truth) => Self::Const(!truth),
                part => Self::Not(Box::new(part)),
            },
            Self::All(parts) => match left_of(parts, decide, false) {
                Ok(parts) => Self::All(parts),
                Err(truth) => truth,
            },
            Self::Any(parts) => match left_of(parts, decide, true) {
                Ok(parts) => Self::Any(parts),
                Err(truth) => truth,
            },
            other => other.clone(),
        }
    }

    /// Adds the texts that a fact is compared with, where [`Self::knowing`] looks.
    pub(super) fn compared<'t>(&'t self, fact: Fact, found: &mut Vec<&'t str>) {
        match self {
            Self::TextIs(Text::Fact(asked), Text::Const(text))
            | Self::TextIs(Text::Const(text), Text::Fact(asked))
                if *asked == fact =>
            {
                found.push(text);
            }
            Self::TextIn(Text::Fact(asked), texts) if *asked == fact => {
                found.extend(texts.iter().map(|text| &**text));
            }
            Self::Not(part) => part.compared(fact, found),
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().for_each(|part| part.compared(fact, found));
            }
            _ => {}
        }
    }

    /// The same condition, with the cheap parts before the dear ones: their order means nothing.
    pub(super) fn in_order(self) -> Self {
        let sorted = |parts: Vec<Self>| {
            let mut parts: Vec<Self> = parts.into_iter().map(Self::in_order).collect();
            parts.sort_by_key(Self::cost);
            parts
        };
        match self {
            Self::Not(part) => Self::Not(Box::new(part.in_order())),
            Self::All(parts) => Self::All(sorted(parts)),
            Self::Any(parts) => Self::Any(sorted(parts)),
            other => other,
        }
    }

    /// How much work it is, roughly.
    fn cost(&self) -> usize {
        match self {
            Self::Const(_) => 0,
            Self::Fact(_) | Self::Has(_) => 1,
            Self::Not(part) => part.cost(),
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::cost).sum(),
            Self::Choice(parts) => parts.0.cost() + parts.1.cost() + parts.2.cost(),
            Self::Same(parts) => parts.0.cost() + parts.1.cost(),
            Self::Compare(_, left, right) => left.cost() + right.cost(),
            Self::NumberIn(number, list) => number.cost() + list.len(),
            Self::TextIs(left, right) => 2 + left.cost() + right.cost(),
            Self::TextIn(text, list) => 2 * list.len() + text.cost(),
            Self::StartsWith(left, right) | Self::EndsWith(left, right) => 4 + left.cost() + right.cost(),
            Self::Listed(text, _) => 8 + text.cost(),
            Self::AddressIs(..) => 4,
            Self::AddressIn(..) => 16,
            Self::Contains(left, right) => 32 + left.cost() + right.cost(),
            Self::Matches(text, _) => 64 + text.cost(),
        }
    }
}

impl Number {
    fn cost(&self) -> usize {
        match self {
            Self::Const(_) => 0,
            Self::Fact(_) | Self::SizeOf(_) => 1,
            Self::Negative(part) => part.cost(),
            Self::Sum(parts) | Self::Difference(parts) | Self::Product(parts) => {
                parts.0.cost() + parts.1.cost()
            }
            Self::Choice(parts) => parts.0.cost() + parts.1.cost() + parts.2.cost(),
            Self::LengthOf(text) => 8 + text.cost(),
        }
    }
}

impl Text {
    fn cost(&self) -> usize {
        match self {
            Self::Const(_) => 0,
            Self::Fact(_) => 1,
            Self::Lower(text) => 16 + text.cost(),
            Self::Choice(parts) => parts.0.cost() + parts.1.cost() + parts.2.cost(),
        }
    }
}

/// The parts that are still open; or what is decided already, or the only part that is left.
fn left_of(
    parts: &[Truth],
    decide: &impl Fn(&Truth) -> Option<bool>,
    decisive: bool,
) -> Result<Vec<Truth>, Truth> {
    let mut left = Vec::new();
    for part in parts {
        match part.reduced(decide) {
            Truth::Const(truth) if truth == decisive => return Err(Truth::Const(decisive)),
            Truth::Const(_) => {}
            part => left.push(part),
        }
    }
    match left.len() {
        0 => Err(Truth::Const(!decisive)),
        1 => Err(left.swap_remove(0)),
        _ => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::expression::Expression;
    use crate::policy::expression::Known;
    use crate::policy::facts::Event;
    use crate::policy::facts::Record;

    fn knowing(text: &str, verb: &str) -> Known {
        let expression = Expression::compile(text, Event::Command).unwrap();
        expression.knowing(Fact::CommandVerb, verb)
    }

    #[test]
    fn what_a_verb_decides_is_decided_at_once() {
        let both = "command.verb == \"FETCH\" && command.uid";
        assert!(matches!(knowing(both, "STORE"), Known::Never));
        assert!(matches!(knowing(both, "FETCH"), Known::Where(_)));
        let either = "command.verb in [\"FETCH\", \"STORE\"] || command.uid";
        assert!(matches!(knowing(either, "STORE"), Known::Always));
        assert!(matches!(knowing(either, "COPY"), Known::Where(_)));
        assert!(matches!(
            knowing("!(command.verb == \"FETCH\")", "COPY"),
            Known::Always
        ));
        assert!(matches!(
            knowing("\"FETCH\" == command.verb", "FETCH"),
            Known::Always
        ));
    }

    #[test]
    fn dear_parts_come_last() {
        let text = "command.mailbox.matches(\"a\") && command.mailbox == \"b\" && command.uid";
        let expression = Expression::compile(text, Event::Command).unwrap();
        let order = format!("{:?}", expression.root);
        let place = |word: &str| order.find(word).unwrap();
        assert!(
            place("Fact(CommandUid)") < place("TextIs") && place("TextIs") < place("Matches"),
            "{order}"
        );
    }

    /// Conditions of every kind that folding looks into.
    fn condition() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "command.verb == \"FETCH\"",
            "\"STORE\" == command.verb",
            "command.verb != \"FETCH\"",
            "command.verb in [\"FETCH\", \"COPY\"]",
            "command.verb.startsWith(\"S\")",
            "command.uid",
            "command.set_is_all",
            "command.set_size > 5",
            "command.mailbox == \"INBOX\"",
            "has(command.mailbox)",
            "command.mailbox.matches(\"^IN\")",
            "session.commands > 3",
            "command.set_size * 2 >= session.exists",
            "(session.seen_set ? command.uid : session.seen_set)",
        ]);
        leaf.prop_map(str::to_owned).prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|part| format!("!({part})")),
                (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one}) && ({other})")),
                (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one}) || ({other})")),
                (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
            ]
        })
    }

    proptest! {
        /// Facts are known, or not: `None` is left out.
        #[test]
        fn nothing_else_changes(
            text in condition(),
            verb in prop::sample::select(vec!["FETCH", "STORE", "COPY", "NOOP"]),
            uid: Option<bool>,
            all: Option<bool>,
            size in prop::option::of(0..10_u8),
            mailbox in prop::option::of(prop::sample::select(vec!["INBOX", "Sent"])),
        ) {
            let Ok(expression) = Expression::compile(&text, Event::Command) else { return Ok(()) };
            let mut facts = Record::new(Event::Command);
            facts.set(Fact::CommandVerb, verb).unwrap();
            let known = [
                (Fact::CommandUid, uid.map(|uid| uid.to_string())),
                (Fact::CommandSetIsAll, all.map(|all| all.to_string())),
                (Fact::CommandSetSize, size.map(|size| size.to_string())),
                (Fact::CommandMailbox, mailbox.map(str::to_owned)),
            ];
            for (fact, value) in known {
                if let Some(value) = value {
                    facts.set(fact, &value).unwrap();
                }
            }
            let holds = match expression.knowing(Fact::CommandVerb, verb) {
                Known::Always => true,
                Known::Never => false,
                Known::Where(left) => left.holds(&facts),
            };
            prop_assert_eq!(holds, expression.holds(&facts), "{}", text);
        }

        /// What is worked out of steady facts is true whatever the others are, known or not.
        #[test]
        fn steady_facts_decide_only_what_depends_on_them(
            text in condition(),
            uid: Option<bool>,
            size in prop::option::of(0..10_u8),
            mailbox in prop::option::of(prop::sample::select(vec!["INBOX", "Sent"])),
            others in prop::collection::vec(
                (prop::option::of(0..8_u8), prop::option::of(0..20_u8), any::<Option<bool>>()),
                2..6,
            ),
        ) {
            let Ok(expression) = Expression::compile(&text, Event::Command) else { return Ok(()) };
            let moments = others.iter().map(|(commands, exists, seen)| {
                let mut facts = Record::new(Event::Command);
                let known = [
                    (Fact::CommandVerb, Some("FETCH".to_owned())),
                    (Fact::CommandUid, uid.map(|uid| uid.to_string())),
                    (Fact::CommandSetSize, size.map(|size| size.to_string())),
                    (Fact::CommandMailbox, mailbox.map(str::to_owned)),
                    (Fact::SessionCommands, commands.map(|commands| commands.to_string())),
                    (Fact::SessionExists, exists.map(|exists| exists.to_string())),
                    (Fact::SessionSeenSet, seen.map(|seen| seen.to_string())),
                ];
                for (fact, value) in known {
                    if let Some(value) = value {
                        facts.set(fact, &value).unwrap();
                    }
                }
                facts
            });
            let moments: Vec<Record> = moments.collect();
            let given = expression.given(&moments[0]);
            for facts in &moments {
                let holds = match &given {
                    Known::Always => true,
                    Known::Never => false,
                    Known::Where(left) => left.holds(facts),
                };
                prop_assert_eq!(holds, expression.holds(facts), "{}", text);
            }
        }
    }
}
