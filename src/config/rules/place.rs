//! Where in the file a byte of a scalar's text stands: quotes, escapes and folded lines lie between the two.

use std::ops::Range;

/// The place in `source` of the bytes `at` of `text`, which was read from `whole`; the beginning of `whole` where it cannot be
/// told.
pub(super) fn place(source: &str, whole: Range<usize>, text: &str, at: Range<usize>) -> Range<usize> {
    let last = at.end.saturating_sub(1).max(at.start);
    let found = locate(source, &whole, text, at.start).zip(locate(source, &whole, text, last));
    let (start, end) = found.unwrap_or((whole.start, whole.start));
    // What is pointed at ends on the line it begins on.
    let rest = source.get(start..whole.end).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default().trim_end().len();
    let length = end.saturating_sub(start).saturating_add(1);
    let end = source.ceil_char_boundary(start.saturating_add(length.min(line.max(1))));
    start..end.min(source.len()).max(start)
}

/// Walks both texts side by side. What stands in the file only is skipped: an opening quote, a block's header,
/// indentation, the backslash of an escape. An escape that spells a character by its number ends the walk.
fn locate(source: &str, whole: &Range<usize>, text: &str, offset: usize) -> Option<usize> {
    let raw = source.get(whole.clone()).unwrap_or_default();
    let skipped = header(raw);
    let mut rest = raw.char_indices().skip_while(|(at, _)| *at < skipped).peekable();
    for (at, wanted) in text.char_indices() {
        let same = |found: char| found == wanted || (wanted.is_whitespace() && found.is_whitespace());
        while rest.next_if(|(_, found)| !same(*found)).is_some() {}
        let (found, _) = rest.peek()?;
        if at >= offset {
            return Some(whole.start.saturating_add(*found));
        }
        rest.next();
        if wanted.is_whitespace() {
            // A line break and its indentation may have become one space.
            let next = text.get(at..).and_then(|left| left.chars().nth(1));
            while next.is_some_and(|c| !c.is_whitespace())
                && rest.next_if(|(_, found)| found.is_whitespace()).is_some()
            {}
        }
    }
    let end = raw.trim_end().len();
    let within = rest.peek().map_or(end, |(at, _)| *at);
    Some(whole.start.saturating_add(within))
}

/// How long what comes before the text is: a quote, or the line that opens a block.
fn header(raw: &str) -> usize {
    match raw.chars().next() {
        Some('"' | '\'') => 1,
        Some('|' | '>') => raw.find('\n').map_or(0, |at| at.saturating_add(1)),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn found<'s>(source: &'s str, text: &str, part: &str) -> (&'s str, usize) {
        let at = text.find(part).unwrap();
        let range = place(source, 0..source.len(), text, at..at + part.len());
        (&source[range.clone()], range.start)
    }

    #[test]
    fn a_part_of_a_scalar_is_found_in_every_form_of_it() {
        assert_eq!(found("a == \"x\" && b", "a == \"x\" && b", "b"), ("b", 12));
        assert_eq!(found("'a == ''x'' && b'", "a == 'x' && b", "b"), ("b", 15));
        assert_eq!(
            found("\"a == \\\"x\\\" && b\"", "a == \"x\" && b", "b"),
            ("b", 15)
        );
        assert_eq!(
            found(">-\n  a == 1\n  && bad", "a == 1 && bad", "bad"),
            ("bad", 17)
        );
        assert_eq!(
            found("|\n  a || 1\n    && bad\n", "a || 1\n  && bad\n", "bad"),
            ("bad", 18)
        );
        assert_eq!(found("a ==\n    é && bad", "a == é && bad", "bad"), ("bad", 15));
        // An escape by number: the beginning of the scalar.
        assert_eq!(found("\"\\x61 && bad\"", "a && bad", "bad").1, 0);
    }

    #[test]
    fn a_place_behind_the_end_is_the_end() {
        assert_eq!(place("a &&", 0..4, "a &&", 4..4), 4..4);
        assert_eq!(place("", 0..0, "", 0..0), 0..0);
    }
}
