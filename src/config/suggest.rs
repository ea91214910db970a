//! "Did you mean": the known word nearest to a mistyped one.

/// The nearest of `words`, if it is near enough to be what was meant.
pub(super) fn nearest<'w>(typed: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let typed: Vec<char> = typed.to_lowercase().replace('-', "_").chars().take(64).collect();
    // One slip in a short word, a third of a long one: more would suggest words that nobody meant.
    let allowed = (typed.len() / 3).max(1);
    words
        .into_iter()
        .map(|word| {
            (
                distance(&typed, &word.to_lowercase().chars().collect::<Vec<_>>()),
                word,
            )
        })
        .filter(|(away, _)| *away <= allowed)
        .min_by_key(|(away, _)| *away)
        .map(|(_, word)| word)
}

/// Letters to insert, remove, replace or swap with their neighbour (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (row, &from) in a.iter().enumerate() {
        let mut line = vec![row.saturating_add(1)];
        for (column, &to) in b.iter().enumerate() {
            let at = |cells: &[usize], index: usize| cells.get(index).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&above, column).saturating_add(usize::from(from != to));
            let removed = at(&above, column.saturating_add(1)).saturating_add(1);
            let inserted = at(&line, column).saturating_add(1);
            let mut best = replaced.min(removed).min(inserted);
            let swapped =
                row > 0 && column > 0 && a.get(row - 1) == Some(&to) && b.get(column - 1) == Some(&from);
            if swapped {
                best = best.min(at(&before, column - 1).saturating_add(1));
            }
            line.push(best);
        }
        before = std::mem::replace(&mut above, line);
    }
    above.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_word_and_nonsense_finds_none() {
        let words = ["implicit", "starttls", "off", "idle_timeout"];
        for (typed, meant) in [
            ("implict", Some("implicit")),
            ("StartTLS", Some("starttls")),
            ("start-tls", Some("starttls")),
            ("idel_timeout", Some("idle_timeout")),
            ("of", Some("off")),
            ("banana", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, words), meant, "{typed}");
        }
    }

    #[test]
    fn a_swap_is_one_slip() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("abcd"), &chars("abdc")), 1);
        assert_eq!(distance(&chars(""), &chars("abc")), 3);
    }
}
