//! Operators and functions: which kinds go together, and what becomes of them.

use std::net::IpAddr;
use std::ops::Range;

use cel::common::ast::operators;
use ipnet::IpNet;
use regex::Regex;
use regex::RegexBuilder;

use crate::policy::expression::error::ErrorKind;
use crate::policy::expression::error::ExpressionError;
use crate::policy::expression::tree::Number;
use crate::policy::expression::tree::Order;
use crate::policy::expression::tree::Text;
use crate::policy::expression::tree::Truth;
use crate::policy::facts::Fact;
use crate::policy::facts::Kind;
use crate::policy::units;
use crate::types::Networks;

/// Largest compiled regular expression, in bytes.
const MAX_REGEX: usize = 512 * 1024;

/// A checked part of an expression.
#[derive(Debug)]
pub(super) enum Typed {
    Truth(Truth),
    Number(Number),
    Text(Text),
    /// A fact that is a list.
    Texts(Fact),
    Address(Fact),
    /// A list that is written out.
    List(Vec<Arg>),
}

/// A part and where it stands.
pub(super) type Arg = (Typed, Range<usize>);

type Checked<T> = Result<T, ExpressionError>;

fn wrong<T>(at: Range<usize>, kind: ErrorKind) -> Checked<T> {
    Err(ExpressionError { at, kind })
}

impl Typed {
    pub(super) const fn number(number: i64) -> Self {
        Self::Number(Number::Const(number))
    }

    pub(super) fn text(text: &str) -> Self {
        Self::Text(Text::Const(text.into()))
    }

    pub(super) fn fact(fact: Fact, at: Range<usize>) -> Checked<Self> {
        Ok(match fact.kind() {
            Kind::Text => Self::Text(Text::Fact(fact)),
            Kind::Number | Kind::Duration => Self::Number(Number::Fact(fact)),
            Kind::Truth => Self::Truth(Truth::Fact(fact)),
            Kind::Texts => Self::Texts(fact),
            Kind::Address => Self::Address(fact),
            Kind::Opaque => return wrong(at, ErrorKind::Opaque(fact)),
        })
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Truth(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::Texts(_) | Self::List(_) => "a list",
            Self::Address(_) => "an address",
        }
    }

    fn mismatch<T>(&self, place: &'static str, wanted: &'static str, at: Range<usize>) -> Checked<T> {
        let found = self.kind();
        wrong(at, ErrorKind::Mismatch { place, wanted, found })
    }

    pub(super) fn truth(self, place: &'static str, at: Range<usize>) -> Checked<Truth> {
        match self {
            Self::Truth(truth) => Ok(truth),
            other => other.mismatch(place, "true or false", at),
        }
    }

    fn numeric(self, place: &'static str, at: Range<usize>) -> Checked<Number> {
        match self {
            Self::Number(number) => Ok(number),
            other => other.mismatch(place, "a number", at),
        }
    }

    fn textual(self, place: &'static str, at: Range<usize>) -> Checked<Text> {
        match self {
            Self::Text(text) => Ok(text),
            other => other.mismatch(place, "text", at),
        }
    }

    fn not((part, at): Arg) -> Checked<Self> {
        let part = part.truth("`!`", at)?;
        Ok(Self::Truth(Truth::Not(Box::new(part))))
    }

    fn negative((part, at): Arg) -> Checked<Self> {
        Ok(Self::Number(match part.numeric("`-`", at)? {
            Number::Const(number) => Number::Const(number.saturating_neg()),
            number => Number::Negative(Box::new(number)),
        }))
    }

    fn choice((which, at): Arg, (yes, yes_at): Arg, (no, no_at): Arg) -> Checked<Self> {
        let which = which.truth("`?`", at)?;
        Ok(match yes {
            Self::Truth(yes) => Self::Truth(Truth::Choice(Box::new((which, yes, no.truth("`:`", no_at)?)))),
            Self::Number(yes) => {
                Self::Number(Number::Choice(Box::new((which, yes, no.numeric("`:`", no_at)?))))
            }
            Self::Text(yes) => Self::Text(Text::Choice(Box::new((which, yes, no.textual("`:`", no_at)?)))),
            other => return other.mismatch("`?`", "a text, number or truth value", yes_at),
        })
    }

    /// An operator with two sides, or `None` where it is none.
    fn binary(name: &str, a: Arg, b: Arg) -> Option<Checked<Self>> {
        Some(match name {
            operators::LOGICAL_AND => all(a, b),
            operators::LOGICAL_OR => any(a, b),
            operators::EQUALS => equal(a, b).map(Self::Truth),
            operators::NOT_EQUALS => equal(a, b).map(|same| Self::Truth(Truth::Not(Box::new(same)))),
            operators::LESS => compare("`<`", Order::Less, a, b),
            operators::LESS_EQUALS => compare("`<=`", Order::LessOrEqual, a, b),
            operators::GREATER => compare("`>`", Order::Less, b, a),
            operators::GREATER_EQUALS => compare("`>=`", Order::LessOrEqual, b, a),
            operators::ADD => arithmetic("`+`", a, b, Number::Sum),
            operators::SUBSTRACT => arithmetic("`-`", a, b, Number::Difference),
            operators::MULTIPLY => arithmetic("`*`", a, b, Number::Product),
            operators::IN => listed(a, b),
            _ => return None,
        })
    }

    /// `text.name(…)`; `None` where there is no such function, or not with so many arguments.
    pub(super) fn method(name: &str, args: Vec<Arg>) -> Option<Checked<Self>> {
        let mut args = args.into_iter();
        let (target, rest) = (args.next()?, args.next());
        if args.next().is_some() {
            return None;
        }
        Some(match (name, rest) {
            ("startsWith", Some(arg)) => about(target, arg, "`startsWith`", Truth::StartsWith),
            ("endsWith", Some(arg)) => about(target, arg, "`endsWith`", Truth::EndsWith),
            ("contains", Some(arg)) => about(target, arg, "`contains`", Truth::Contains),
            ("matches", Some(arg)) => matches(target, arg),
            ("lower" | "size", None) => return Self::function(name, vec![target]),
            _ => return None,
        })
    }

    /// An operator, or `name(…)`; `None` where there is no such function, or not with so many arguments.
    pub(super) fn function(name: &str, args: Vec<Arg>) -> Option<Checked<Self>> {
        let mut args = args.into_iter();
        match (args.next(), args.next(), args.next()) {
            (Some(a), None, _) => Self::unary(name, a),
            (Some(a), Some(b), None) => Self::binary(name, a, b),
            (Some(a), Some(b), Some(c)) if name == operators::CONDITIONAL => Some(Self::choice(a, b, c)),
            _ => None,
        }
    }

    fn unary(name: &str, (arg, at): Arg) -> Option<Checked<Self>> {
        Some(match name {
            operators::LOGICAL_NOT => Self::not((arg, at)),
            operators::NEGATE => Self::negative((arg, at)),
            "lower" => lower(arg, at),
            "size" => size(arg, at),
            "duration" => duration(&arg, at),
            _ => return None,
        })
    }
}

fn all((a, a_at): Arg, (b, b_at): Arg) -> Checked<Typed> {
    let mut parts = Vec::new();
    for part in [a.truth("`&&`", a_at)?, b.truth("`&&`", b_at)?] {
        match part {
            Truth::All(inner) => parts.extend(inner),
            other => parts.push(other),
        }
    }
    Ok(Typed::Truth(Truth::All(parts)))
}

fn any((a, a_at): Arg, (b, b_at): Arg) -> Checked<Typed> {
    let mut parts = Vec::new();
    for part in [a.truth("`||`", a_at)?, b.truth("`||`", b_at)?] {
        match part {
            Truth::Any(inner) => parts.extend(inner),
            other => parts.push(other),
        }
    }
    Ok(Typed::Truth(Truth::Any(parts)))
}

fn equal((a, a_at): Arg, (b, b_at): Arg) -> Checked<Truth> {
    const PLACE: &str = "the right side of `==`";
    match (a, b) {
        (Typed::Truth(a), b) => Ok(Truth::Same(Box::new((a, b.truth(PLACE, b_at)?)))),
        (Typed::Number(a), b) => Ok(Truth::Compare(Order::Equal, a, b.numeric(PLACE, b_at)?)),
        (Typed::Address(fact), Typed::Text(text)) | (Typed::Text(text), Typed::Address(fact)) => {
            let at = if a_at.start > b_at.start { a_at } else { b_at };
            let network = one_network(&text, at, false)?;
            Ok(Truth::AddressIn(fact, Networks::new(vec![network])))
        }
        (Typed::Address(a), Typed::Address(b)) => Ok(Truth::AddressIs(a, b)),
        (Typed::Text(a), b) => Ok(Truth::TextIs(a, b.textual(PLACE, b_at)?)),
        (other, _) => other.mismatch("`==`", "a text, number, address or truth value", a_at),
    }
}

fn compare(place: &'static str, order: Order, (a, a_at): Arg, (b, b_at): Arg) -> Checked<Typed> {
    let (a, b) = (a.numeric(place, a_at)?, b.numeric(place, b_at)?);
    Ok(Typed::Truth(Truth::Compare(order, a, b)))
}

fn arithmetic(
    place: &'static str,
    (a, a_at): Arg,
    (b, b_at): Arg,
    make: fn(Box<(Number, Number)>) -> Number,
) -> Checked<Typed> {
    let (a, b) = (a.numeric(place, a_at)?, b.numeric(place, b_at)?);
    Ok(Typed::Number(make(Box::new((a, b)))))
}

fn listed((a, a_at): Arg, (b, b_at): Arg) -> Checked<Typed> {
    Ok(Typed::Truth(match (a, b) {
        (Typed::Text(text), Typed::Texts(fact)) => Truth::Listed(text, fact),
        (Typed::Text(text), Typed::List(items)) => {
            let words = items.into_iter().map(|(item, at)| match item {
                Typed::Text(Text::Const(word)) => Ok(word),
                Typed::Text(_) => wrong(at, ErrorKind::NotLiteral("a list", "its texts")),
                other => other.mismatch("this list", "text", at),
            });
            Truth::TextIn(text, words.collect::<Checked<_>>()?)
        }
        (Typed::Number(number), Typed::List(items)) => {
            let numbers = items.into_iter().map(|(item, at)| match item {
                Typed::Number(Number::Const(number)) => Ok(number),
                Typed::Number(_) => wrong(at, ErrorKind::NotLiteral("a list", "its numbers")),
                other => other.mismatch("this list", "a number", at),
            });
            Truth::NumberIn(number, numbers.collect::<Checked<_>>()?)
        }
        (Typed::Address(fact), Typed::List(items)) => {
            let networks = items.into_iter().map(|(item, at)| match item {
                Typed::Text(text) => one_network(&text, at, true),
                other => other.mismatch("this list", "text", at),
            });
            Truth::AddressIn(fact, Networks::new(networks.collect::<Checked<_>>()?))
        }
        (Typed::Text(_) | Typed::Number(_) | Typed::Address(_), other) => {
            return other.mismatch("`in`", "a list on its right", b_at);
        }
        (other, _) => return other.mismatch("`in`", "a text, number or address on its left", a_at),
    }))
}

/// An address, or a network where one may stand.
fn one_network(text: &Text, at: Range<usize>, network: bool) -> Checked<IpNet> {
    let Text::Const(text) = text else {
        return wrong(
            at,
            ErrorKind::NotLiteral("an address", "what it is compared with"),
        );
    };
    let address = text
        .parse::<IpAddr>()
        .ok()
        .map(|ip| IpNet::from(ip.to_canonical()));
    let found = address.or_else(|| text.parse::<IpNet>().ok().filter(|_| network));
    match found {
        Some(found) => Ok(found),
        None if network => wrong(at, ErrorKind::BadLiteral("address or network")),
        None => wrong(at, ErrorKind::BadLiteral("address")),
    }
}

fn about(
    (text, text_at): Arg,
    (arg, arg_at): Arg,
    place: &'static str,
    make: fn(Text, Text) -> Truth,
) -> Checked<Typed> {
    let (text, arg) = (text.textual(place, text_at)?, arg.textual(place, arg_at)?);
    Ok(Typed::Truth(make(text, arg)))
}

fn matches((text, text_at): Arg, (arg, arg_at): Arg) -> Checked<Typed> {
    const PLACE: &str = "`matches`";
    let text = text.textual(PLACE, text_at)?;
    let Text::Const(pattern) = arg.textual(PLACE, arg_at.clone())? else {
        return wrong(arg_at, ErrorKind::NotLiteral(PLACE, "its regular expression"));
    };
    let any_case = matches!(text, Text::Lower(_));
    match regex(&pattern, any_case) {
        Ok(regex) => Ok(Typed::Truth(Truth::Matches(text, regex))),
        Err(error) => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            let last = last.strip_prefix("error: ").unwrap_or(last);
            wrong(arg_at, ErrorKind::BadRegex(last.to_owned()))
        }
    }
}

fn regex(pattern: &str, any_case: bool) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .case_insensitive(any_case)
        .size_limit(MAX_REGEX)
        .dfa_size_limit(MAX_REGEX)
        .nest_limit(32)
        .build()
}

fn lower(arg: Typed, at: Range<usize>) -> Checked<Typed> {
    Ok(Typed::Text(match arg.textual("`lower`", at)? {
        Text::Const(text) => Text::Const(text.to_lowercase().into()),
        text @ Text::Lower(_) => text,
        text => Text::Lower(Box::new(text)),
    }))
}

fn size(arg: Typed, at: Range<usize>) -> Checked<Typed> {
    Ok(Typed::Number(match arg {
        Typed::Text(text) => Number::LengthOf(Box::new(text)),
        Typed::Texts(fact) => Number::SizeOf(fact),
        other => return other.mismatch("`size`", "a text or a list", at),
    }))
}

fn duration(arg: &Typed, at: Range<usize>) -> Checked<Typed> {
    let Typed::Text(Text::Const(text)) = arg else {
        return wrong(at, ErrorKind::NotLiteral("`duration`", "a text like \"90d\""));
    };
    let seconds = units::millis(text).and_then(|millis| i64::try_from(millis / 1_000).ok());
    seconds.map_or_else(
        || wrong(at, ErrorKind::BadLiteral("duration")),
        |seconds| Ok(Typed::number(seconds)),
    )
}
