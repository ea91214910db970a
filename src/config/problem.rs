//! What is wrong with a configuration: every mistake at once, each with its place, a snippet and a hint.

use std::fmt;
use std::ops::Range;

use miette::Diagnostic;
use miette::GraphicalReportHandler;
use miette::GraphicalTheme;
use miette::LabeledSpan;
use miette::NamedSource;
use miette::SourceCode;
use serde_json::Value;
use serde_json::json;

use crate::config::mask::mask;

/// Most problems shown; a file of the wrong kind has thousands.
const MAX_SHOWN: usize = 100;
/// Longest line that a snippet shows, in bytes: a file of one line would be shown whole with each problem.
const MAX_LINE: usize = 400;
/// Longest piece of the file that a message repeats, in characters.
const MAX_QUOTED: usize = 60;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The stable word for the kind of mistake.
    pub code: &'static str,
    /// What is wrong, in one line.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// The bytes of the file it is about; `None` where there is no place, such as for a missing file.
    pub span: Option<Range<usize>>,
    /// Another place that matters, and why: the first of two equal keys.
    pub other: Option<(Range<usize>, String)>,
}

impl Problem {
    /// A mistake at a place in the file.
    pub(super) fn new(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span: Some(span),
            ..Self::whole(code, message)
        }
    }

    /// A mistake of the file as a whole.
    pub(super) fn whole(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            help: None,
            span: None,
            other: None,
        }
    }

    /// Adds what to write instead.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the help, if there is one.
    pub(super) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// On the heap, for results that are mostly right.
    pub(super) fn boxed(self) -> Box<Self> {
        Box::new(self)
    }

    /// Points to a second place.
    pub(super) fn beside(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.other = Some((span, label.into()));
        self
    }
}

/// Everything that is wrong with one configuration file; never empty.
pub struct ConfigProblems {
    file: String,
    /// The text with secret-looking values masked: the original is not kept.
    source: String,
    problems: Vec<Problem>,
    /// How many more there were than are kept.
    more: usize,
}

impl ConfigProblems {
    /// Takes the mistakes found in a file's text.
    pub(super) fn new(file: &str, source: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        let more = problems.len().saturating_sub(MAX_SHOWN);
        problems.truncate(MAX_SHOWN);
        Self {
            file: file.to_owned(),
            source: mask(source),
            problems,
            more,
        }
    }

    /// One mistake without a text: the file cannot be read.
    pub(super) fn unreadable(file: &str, problem: Problem) -> Self {
        Self::new(file, "", vec![problem])
    }

    /// The mistakes in the order of the file.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The file they are in, as it was named.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// For people: each mistake with `file:line:column`, a snippet and a hint. `width` is the terminal's.
    #[must_use]
    pub fn render(&self, width: usize, color: bool) -> String {
        let theme = if color {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(width)
            .with_links(false)
            .without_syntax_highlighting();
        let source = NamedSource::new(&self.file, self.source.clone());
        let mut out = String::new();
        for problem in &self.problems {
            let place = self.place(problem);
            let fits = self.fits(problem);
            let shown = Shown {
                problem,
                source: fits.then_some(&source),
                place: place.filter(|_| !fits),
            };
            // Writing to a string cannot fail.
            let _ = handler.render_report(&mut out, &shown);
            out.push('\n');
        }
        out.push_str(&self.summary());
        out.push('\n');
        out
    }

    /// For programs: one object for each mistake.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let problem = |problem: &Problem| {
            let (line, column) = self.place(problem).unzip();
            json!({
                "code": problem.code,
                "message": problem.message,
                "help": problem.help,
                "line": line,
                "column": column,
            })
        };
        Value::Array(self.problems.iter().map(problem).collect())
    }

    /// Line and column, both from 1; the column counts characters.
    fn place(&self, problem: &Problem) -> Option<(usize, usize)> {
        let before = self.source.get(..problem.span.as_ref()?.start)?;
        let line = before.matches('\n').count().saturating_add(1);
        let start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
        let column = before.get(start..)?.chars().count().saturating_add(1);
        Some((line, column))
    }

    /// True where the lines of a snippet are short enough to show.
    fn fits(&self, problem: &Problem) -> bool {
        let spans = problem
            .span
            .iter()
            .chain(problem.other.iter().map(|(span, _)| span));
        let Some((start, end)) = spans
            .map(|span| (span.start, span.end))
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
        else {
            return true;
        };
        // One line of context on either side.
        let before = self.source.get(..start).unwrap_or_default();
        let after = self.source.get(end..).unwrap_or_default();
        let from = before.rmatch_indices('\n').nth(1).map_or(0, |(at, _)| at);
        let to = after
            .match_indices('\n')
            .nth(1)
            .map_or(self.source.len(), |(at, _)| end.saturating_add(at));
        let shown = self.source.get(from..to).unwrap_or_default();
        shown.lines().all(|line| line.len() <= MAX_LINE)
    }

    fn summary(&self) -> String {
        let count = self.problems.len().saturating_add(self.more);
        let noun = if count == 1 { "problem" } else { "problems" };
        let more = if self.more > 0 {
            format!(" ({} more not shown)", self.more)
        } else {
            String::new()
        };
        format!("{}: {count} {noun}{more}", self.file)
    }
}

/// One line for each mistake, as for a log: `file:line:column: message (help)`.
impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.summary())?;
        for problem in &self.problems {
            write!(f, "\n{}", self.file)?;
            if let Some((line, column)) = self.place(problem) {
                write!(f, ":{line}:{column}")?;
            }
            write!(f, ": {}", problem.message)?;
            if let Some(help) = &problem.help {
                write!(f, " ({help})")?;
            }
        }
        Ok(())
    }
}

/// As `Display`: `Debug` must not show the file's text.
impl fmt::Debug for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigProblems {}

/// A problem with the text it is about, as miette wants it.
struct Shown<'a> {
    problem: &'a Problem,
    /// The text, unless its lines are too long to show.
    source: Option<&'a NamedSource<String>>,
    /// Line and column, where no snippet shows them.
    place: Option<(usize, usize)>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&self.problem.message)
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'c>(&'c self) -> Option<Box<dyn fmt::Display + 'c>> {
        Some(Box::new(self.problem.code))
    }

    fn help<'h>(&'h self) -> Option<Box<dyn fmt::Display + 'h>> {
        let help = self.problem.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problem.span.as_ref()?;
        self.source.map(|source| -> &dyn SourceCode { source })
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source?;
        let main = LabeledSpan::new_primary_with_span(Some("here".into()), self.problem.span.clone()?);
        let other = self
            .problem
            .other
            .as_ref()
            .map(|(span, label)| LabeledSpan::new_with_span(Some(label.clone()), span.clone()));
        Some(Box::new(std::iter::once(main).chain(other)))
    }
}

/// A piece of the file for a message: bounded, and without what would confuse a terminal.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MAX_QUOTED)
        .flat_map(|c| {
            if c.is_control() {
                c.escape_debug().collect()
            } else {
                vec![c]
            }
        })
        .collect();
    if text.chars().count() > MAX_QUOTED {
        shown.push('…');
    }
    format!("`{shown}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(source: &str) -> ConfigProblems {
        let at = source.find("here").unwrap();
        ConfigProblems::new(
            "x.yaml",
            source,
            vec![Problem::new("invalid_value", at..at + 4, "no good").help("write it well")],
        )
    }

    #[test]
    fn line_and_column_count_from_one_and_by_characters() {
        let text = problems("a: 1\nüü: here\n").to_string();
        assert_eq!(text, "x.yaml: 1 problem\nx.yaml:2:5: no good (write it well)");
    }

    #[test]
    fn neither_rendering_nor_debug_shows_an_inline_secret() {
        let found = problems("password: hunter2\nb: here\ntoken: hunter2\n");
        for text in [
            found.render(100, false),
            format!("{found:?}"),
            found.to_json().to_string(),
        ] {
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_flood_of_problems_is_cut_and_counted() {
        let many = (0..500).map(|_| Problem::new("x", 0..1, "y")).collect();
        let found = ConfigProblems::new("x.yaml", "abc", many);
        assert!(
            found
                .to_string()
                .starts_with("x.yaml: 500 problems (400 more not shown)")
        );
        assert_eq!(found.problems().len(), 100);
    }

    #[test]
    fn a_file_of_one_endless_line_is_not_shown_with_each_problem() {
        let source = format!("{} here\n", "x".repeat(100_000));
        let shown = problems(&source).render(100, false);
        assert!(
            shown.len() < 500 && shown.contains("line 1, column 100002: no good"),
            "{shown}"
        );
    }

    #[test]
    fn what_a_message_repeats_is_bounded_and_printable() {
        assert_eq!(quoted("a\u{1b}[2J"), "`a\\u{1b}[2J`");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 63);
    }
}
