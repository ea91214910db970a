//! Text to tree: CEL's own parser, then our check of names and kinds against the table of facts.

use std::ops::Range;

use cel::common::ast::CallExpr;
use cel::common::ast::Expr;
use cel::common::ast::IdedExpr;
use cel::common::ast::LiteralValue;
use cel::common::ast::SourceInfo;
use cel::common::ast::operators;
use cel::parser::Parser;

use crate::policy::expression::MAX_DEPTH;
use crate::policy::expression::MAX_LENGTH;
use crate::policy::expression::MAX_NESTING;
use crate::policy::expression::convert::Typed;
use crate::policy::expression::error::ErrorKind;
use crate::policy::expression::error::ExpressionError;
use crate::policy::expression::tree::Truth;
use crate::policy::facts::Event;
use crate::policy::facts::Fact;
use crate::policy::facts::Kind;

/// Reads, checks and compiles an expression.
pub(super) fn compile(text: &str, on: Event) -> Result<Truth, ExpressionError> {
    bounds(text)?;
    let (expression, info) = Parser::new()
        .parse_with_source_info(text)
        .map_err(|errors| syntax(text, &errors.errors))?;
    let compiler = Compiler { text, info, on };
    let root = compiler.typed(&expression, 0)?;
    let at = compiler.place(&expression);
    match root.truth("a condition", at.clone())? {
        Truth::Const(_) => Err(ExpressionError {
            at,
            kind: ErrorKind::Constant,
        }),
        root => Ok(root),
    }
}

/// What must be refused before a parser that recurses sees it.
fn bounds(text: &str) -> Result<(), ExpressionError> {
    if text.len() > MAX_LENGTH {
        return Err(ExpressionError {
            at: MAX_LENGTH..text.len(),
            kind: ErrorKind::TooLong,
        });
    }
    let mut depth = 0_usize;
    let mut quote = None;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(_), b'\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), byte) if byte == open && !escaped => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'(' | b'[' | b'{' | b'?') => depth = depth.saturating_add(1),
            (None, b')' | b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        escaped = false;
        if depth > MAX_NESTING {
            return Err(ExpressionError {
                at: at..at.saturating_add(1),
                kind: ErrorKind::TooDeep,
            });
        }
    }
    Ok(())
}

fn syntax(text: &str, errors: &[cel::ParseError]) -> ExpressionError {
    let first = errors.first();
    let (line, column) = first.map_or((1, 1), |error| error.pos);
    let line = usize::try_from(line).unwrap_or(1).saturating_sub(1);
    let column = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let start: usize = text
        .split_inclusive('\n')
        .take(line)
        .map(|line| line.chars().count())
        .sum();
    let message = first.map_or("", |error| error.msg.as_str());
    let start = byte_of(text, start.saturating_add(column));
    ExpressionError {
        at: start..text.ceil_char_boundary(start.saturating_add(1)).min(text.len()),
        kind: ErrorKind::Syntax(plain(message)),
    }
}

/// The parser's message without what helps nobody who has not read its grammar.
fn plain(message: &str) -> String {
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let message = message.split(" expecting ").next().unwrap_or_default();
    if message.contains("<EOF>") {
        return "it ends too early".to_owned();
    }
    let message = match message.strip_prefix("token recognition error at: '") {
        Some(rest) => format!("`{}` means nothing here", rest.trim_end_matches('\'').trim()),
        None => message.to_owned(),
    };
    message
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(120)
        .collect()
}

/// The byte at which a character starts.
fn byte_of(text: &str, character: usize) -> usize {
    text.char_indices()
        .nth(character)
        .map_or(text.len(), |(at, _)| at)
}

/// What the check of one expression shares.
struct Compiler<'s> {
    text: &'s str,
    info: SourceInfo,
    on: Event,
}

impl Compiler<'_> {
    /// The bytes that a node is about: its operator, literal or whole name.
    fn place(&self, node: &IdedExpr) -> Range<usize> {
        let whole = dotted(node).and_then(|name| {
            let start = self.token(first_of(node)).start;
            let end = start.saturating_add(name.len());
            (self.text.get(start..end) == Some(&name)).then_some(start..end)
        });
        whole.unwrap_or_else(|| self.token(node))
    }

    /// The bytes of the token that the parser made a node of.
    fn token(&self, node: &IdedExpr) -> Range<usize> {
        // Bytes, the last one included.
        let (start, last) = self.info.offset_for(node.id).unwrap_or_default();
        let bytes = |offset: u32| usize::try_from(offset).unwrap_or(usize::MAX);
        let start = self.text.floor_char_boundary(bytes(start));
        let end = self.text.ceil_char_boundary(bytes(last).saturating_add(1));
        start..end.max(start)
    }

    fn wrong(&self, node: &IdedExpr, kind: ErrorKind) -> ExpressionError {
        ExpressionError {
            at: self.place(node),
            kind,
        }
    }

    /// Checks a node and everything below it.
    fn typed(&self, node: &IdedExpr, depth: usize) -> Result<Typed, ExpressionError> {
        if depth > MAX_DEPTH {
            return Err(self.wrong(node, ErrorKind::TooDeep));
        }
        let unsupported = |what| Err(self.wrong(node, ErrorKind::Unsupported(what)));
        match &node.expr {
            Expr::Literal(literal) => self.literal(node, literal),
            Expr::Ident(_) | Expr::Select(_) => self.named(node),
            Expr::Call(call) => self.call(node, call, depth.saturating_add(1)),
            Expr::List(list) if list.optional_indices.is_empty() => {
                let items = list.elements.iter().map(|item| {
                    let typed = self.typed(item, depth.saturating_add(1))?;
                    Ok((typed, self.place(item)))
                });
                items.collect::<Result<_, _>>().map(Typed::List)
            }
            Expr::List(_) => unsupported("optional entries"),
            Expr::Comprehension(_) => Err(self.wrong(node, ErrorKind::Comprehension)),
            Expr::Map(_) => unsupported("maps"),
            Expr::Struct(_) => unsupported("messages"),
            Expr::Unspecified => unsupported("empty expressions"),
        }
    }

    fn literal(&self, node: &IdedExpr, literal: &LiteralValue) -> Result<Typed, ExpressionError> {
        let unsupported = |what| Err(self.wrong(node, ErrorKind::Unsupported(what)));
        match literal {
            LiteralValue::Boolean(truth) => Ok(Typed::Truth(Truth::Const(*truth.inner()))),
            LiteralValue::Int(number) => Ok(Typed::number(*number.inner())),
            LiteralValue::String(text) => Ok(Typed::text(text.inner())),
            LiteralValue::UInt(_) => unsupported("unsigned numbers (`5u`)"),
            LiteralValue::Double(_) => unsupported("fractions"),
            LiteralValue::Bytes(_) => unsupported("bytes (`b\"…\"`)"),
            LiteralValue::Null => unsupported("null values"),
        }
    }

    /// A fact, or `has` of one.
    fn named(&self, node: &IdedExpr) -> Result<Typed, ExpressionError> {
        let test = matches!(&node.expr, Expr::Select(select) if select.test);
        let Some(name) = dotted(node) else {
            return Err(self.wrong(node, ErrorKind::Unsupported("fields of values")));
        };
        let at = self.place(node);
        let fact = self.fact(&name, at.clone())?;
        if test {
            return Ok(Typed::Truth(Truth::Has(fact)));
        }
        Typed::fact(fact, at)
    }

    fn fact(&self, name: &str, at: Range<usize>) -> Result<Fact, ExpressionError> {
        let Some(fact) = Fact::find(name) else {
            let kind = ErrorKind::UnknownFact(name.to_owned());
            return Err(ExpressionError { at, kind });
        };
        let kind = if !fact.events().contains(self.on) {
            ErrorKind::NotOnEvent { fact, on: self.on }
        } else if fact.kind() == Kind::Opaque {
            ErrorKind::Opaque(fact)
        } else {
            return Ok(fact);
        };
        Err(ExpressionError { at, kind })
    }

    fn call(&self, node: &IdedExpr, call: &CallExpr, depth: usize) -> Result<Typed, ExpressionError> {
        let mut args = Vec::new();
        for arg in call.target.as_deref().into_iter().chain(&call.args) {
            args.push((self.typed(arg, depth)?, self.place(arg)));
        }
        let name = call.func_name.as_str();
        let known = if call.target.is_some() {
            Typed::method(name, args)
        } else {
            Typed::function(name, args)
        };
        known.unwrap_or_else(|| Err(self.wrong(node, unknown_function(name))))
    }
}

/// What a call of something unknown is about.
fn unknown_function(name: &str) -> ErrorKind {
    match name {
        operators::DIVIDE | operators::MODULO => {
            ErrorKind::Unsupported("`/` and `%` (multiply the other side instead): they")
        }
        operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT => {
            ErrorKind::Unsupported("elements of lists (`list[0]`)")
        }
        _ => ErrorKind::UnknownFunction(name.trim_matches('_').to_owned()),
    }
}

/// `a.b.c`, whether tested or read.
fn dotted(node: &IdedExpr) -> Option<String> {
    match &node.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) => Some(format!("{}.{}", dotted(&select.operand)?, select.field)),
        _ => None,
    }
}

/// The identifier that a dotted name starts with.
fn first_of(node: &IdedExpr) -> &IdedExpr {
    match &node.expr {
        Expr::Select(select) => first_of(&select.operand),
        _ => node,
    }
}
