//! Spans of time as rules write them: a whole number and a unit.

/// Milliseconds in each unit.
const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
];

/// The milliseconds of a span such as `90d`; `None` where it is none, or too long to count.
pub(super) fn millis(text: &str) -> Option<u64> {
    let (unit, worth) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(*worth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_and_a_unit() {
        for (text, expected) in [
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("10m", Some(600_000)),
            ("2h", Some(7_200_000)),
            ("90d", Some(7_776_000_000)),
            ("10", None),
            ("m", None),
            ("+1s", None),
            ("1.5h", None),
            ("99999999999999999d", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
    }
}
