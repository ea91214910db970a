//! The kinds of values that a configuration holds: how each is read from text, named in the docs, and shown as a default.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::config::problem::quoted;
use crate::config::suggest::nearest;

/// Why a text is not a value of its kind.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Wrong {
    /// A value that does not read at all.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new("invalid_value", message)
    }

    /// A mistake of another sort, by its code.
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            help: None,
        }
    }

    /// Adds what to write instead.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

type Read<'k, T> = Box<dyn Fn(&str) -> Result<T, Wrong> + 'k>;

/// A kind of value.
pub(super) struct Kind<'k, T> {
    /// What the docs call it, range included.
    pub(super) name: String,
    read: Read<'k, T>,
    show: fn(&T) -> String,
}

impl<'k, T> Kind<'k, T> {
    /// A kind by its name, its reader and how a default is shown.
    pub(super) fn new(
        name: impl Into<String>,
        show: fn(&T) -> String,
        read: impl Fn(&str) -> Result<T, Wrong> + 'k,
    ) -> Self {
        Self {
            name: name.into(),
            read: Box::new(read),
            show,
        }
    }

    /// Reads a value.
    pub(super) fn read(&self, text: &str) -> Result<T, Wrong> {
        (self.read)(text)
    }

    /// Writes a value as a file would.
    pub(super) fn show(&self, value: &T) -> String {
        (self.show)(value)
    }
}

/// `true` or `false`.
pub(super) fn boolean() -> Kind<'static, bool> {
    Kind::new("true or false", bool::to_string, |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => {
            let wrong = Wrong::invalid(format!("{} is neither true nor false", quoted(text)));
            Err(match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "1" | "true" => wrong.help("write `true`"),
                "no" | "off" | "0" | "false" => wrong.help("write `false`"),
                _ => wrong,
            })
        }
    })
}

/// A whole number in a range.
pub(super) fn number<T>(range: RangeInclusive<T>) -> Kind<'static, T>
where
    T: FromStr + PartialOrd + Display + 'static,
{
    let name = format!("number, {} to {}", range.start(), range.end());
    Kind::new(name, T::to_string, move |text| {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Wrong::invalid(format!("{} is not a whole number", quoted(text))));
        }
        // Too many digits for the type are out of range all the same.
        let value = text.parse().ok().filter(|value| range.contains(value));
        value.ok_or_else(|| out_of_range(text, range.start(), range.end()))
    })
}

fn out_of_range(text: &str, least: &dyn Display, most: &dyn Display) -> Wrong {
    Wrong::new("out_of_range", format!("{} is out of range", quoted(text)))
        .help(format!("from {least} to {most} is possible"))
}

/// Milliseconds in each unit, the largest first.
const TIME_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A span of time such as `30s`.
pub(super) fn duration(range: RangeInclusive<Duration>) -> Kind<'static, Duration> {
    let (least, most) = (show_duration(range.start()), show_duration(range.end()));
    Kind::new(
        format!("duration, {least} to {most}"),
        show_duration,
        move |text| {
            let millis = with_unit(text, &TIME_UNITS, "30s", "durations need one: ms, s, m, h or d")?;
            let value = Duration::from_millis(millis);
            if range.contains(&value) {
                Ok(value)
            } else {
                Err(out_of_range(text, &least, &most))
            }
        },
    )
}

/// Seconds, minutes, hours and days without arithmetic at the place of use.
pub(super) const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Writes a span of time in the largest unit that holds it exactly.
pub(super) fn show_duration(value: &Duration) -> String {
    let millis = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    show_in_units(millis, &TIME_UNITS, "0s")
}

/// Bytes in each unit, the largest first.
const SIZE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1024 * 1024 * 1024),
    ("MiB", 1024 * 1024),
    ("KiB", 1024),
    ("B", 1),
];

/// A number of bytes such as `64KiB`.
pub(super) fn size(range: RangeInclusive<u64>) -> Kind<'static, u64> {
    let (least, most) = (show_size(range.start()), show_size(range.end()));
    Kind::new(format!("size, {least} to {most}"), show_size, move |text| {
        let bytes = with_unit(text, &SIZE_UNITS, "64KiB", "sizes need one: B, KiB, MiB or GiB")?;
        if range.contains(&bytes) {
            Ok(bytes)
        } else {
            Err(out_of_range(text, &least, &most))
        }
    })
}

/// Writes a number of bytes in the largest unit that holds it exactly.
pub(super) fn show_size(value: &u64) -> String {
    show_in_units(*value, &SIZE_UNITS, "0B")
}

fn show_in_units(value: u64, units: &[(&str, u64)], zero: &str) -> String {
    let fits = |(_, worth): &&(&str, u64)| value > 0 && value.is_multiple_of(*worth);
    units.iter().find(fits).map_or_else(
        || zero.to_owned(),
        |(unit, worth)| format!("{}{unit}", value / worth),
    )
}

/// A number and a unit, nothing between.
fn with_unit(text: &str, units: &[(&str, u64)], example: &str, rule: &str) -> Result<u64, Wrong> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at_checked(digits).unwrap_or(("", text));
    let unit = unit.trim();
    if count.is_empty() {
        let wrong = Wrong::invalid(format!("{} has no number", quoted(text)));
        return Err(wrong.help(format!("write it like `{example}`")));
    }
    if unit.is_empty() {
        let wrong = Wrong::invalid(format!("{} has no unit", quoted(text)));
        return Err(wrong.help(format!("{rule}, like `{example}`")));
    }
    let Some((_, worth)) = units.iter().find(|(known, _)| *known == unit) else {
        let wrong = Wrong::invalid(format!("{} is no unit here", quoted(unit)));
        let meant = meant_unit(unit, units).map(|known| format!("; did you mean `{count}{known}`?"));
        return Err(wrong.help(format!("{rule}{}", meant.unwrap_or_default())));
    };
    let value = count.parse::<u64>().ok().and_then(|n| n.checked_mul(*worth));
    value.ok_or_else(|| Wrong::new("out_of_range", format!("{} is too large", quoted(text))))
}

/// `sec`, `minutes`, `K`, `MB`: the unit by its first letter.
fn meant_unit<'u>(unit: &str, units: &[(&'u str, u64)]) -> Option<&'u str> {
    let lower = unit.to_ascii_lowercase();
    if lower.starts_with("mil") {
        return units.iter().map(|(known, _)| *known).find(|known| *known == "ms");
    }
    let first = lower.chars().next()?.to_ascii_lowercase();
    units
        .iter()
        .map(|(known, _)| *known)
        .find(|known| known.to_ascii_lowercase().starts_with(first))
}

/// One of a few words.
pub(super) fn word<T: Copy + PartialEq + 'static>(
    words: &'static [(&'static str, T)],
    show: fn(&T) -> String,
) -> Kind<'static, T> {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let all = names.join(", ");
    Kind::new(format!("one of {all}"), show, move |text| {
        if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
            return Ok(*value);
        }
        let wrong = Wrong::invalid(format!("{} is not one of {all}", quoted(text)));
        Err(match nearest(text, words.iter().map(|(name, _)| *name)) {
            Some(name) => wrong.help(format!("did you mean `{name}`?")),
            None => wrong,
        })
    })
}

/// Finds a word for its value, for `word`'s `show`.
pub(super) fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> String {
    let found = words.iter().find(|(_, known)| known == value);
    found.map(|(name, _)| (*name).to_owned()).unwrap_or_default()
}

/// A path; a relative one starts at the configuration file's directory.
pub(super) fn path(base: &Path) -> Kind<'_, PathBuf> {
    let show = |path: &PathBuf| path.display().to_string();
    Kind::new("path", show, move |text| {
        if text.contains('\0') {
            return Err(Wrong::invalid("a path cannot hold a NUL character"));
        }
        if text.starts_with("~/") {
            let wrong = Wrong::invalid("`~` is not expanded here");
            return Err(wrong.help("write the path in full"));
        }
        Ok(base.join(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(wrong: Wrong) -> String {
        wrong.help.unwrap_or_default()
    }

    #[test]
    fn durations_read_back_what_they_show() {
        let kind = duration(secs(0)..=secs(86_400 * 400));
        for text in ["500ms", "30s", "31m", "12h", "90d"] {
            assert_eq!(kind.show(&kind.read(text).unwrap()), text);
        }
        assert_eq!(kind.show(&kind.read("60s").unwrap()), "1m");
        assert_eq!(kind.show(&kind.read("90 s").unwrap()), "90s");
    }

    #[test]
    fn a_duration_without_or_with_a_foreign_unit_says_what_to_write() {
        let kind = duration(secs(1)..=secs(60));
        assert!(hint(kind.read("30").unwrap_err()).contains("like `30s`"));
        assert!(hint(kind.read("30sec").unwrap_err()).contains("did you mean `30s`?"));
        assert!(hint(kind.read("5millis").unwrap_err()).contains("did you mean `5ms`?"));
        assert!(hint(kind.read("soon").unwrap_err()).contains("like `30s`"));
        assert_eq!(kind.read("2m").unwrap_err().code, "out_of_range");
        assert_eq!(
            kind.read("99999999999999999999s").unwrap_err().code,
            "out_of_range"
        );
        assert_eq!(kind.read("99999999999999999d").unwrap_err().code, "out_of_range");
        assert!(kind.read("-5s").is_err());
    }

    #[test]
    fn sizes_are_in_binary_units() {
        let kind = size(1..=u64::MAX);
        assert_eq!(kind.read("64KiB").unwrap(), 65_536);
        assert_eq!(kind.show(&(64 * 1024 * 1024)), "64MiB");
        assert!(hint(kind.read("64K").unwrap_err()).contains("did you mean `64KiB`?"));
        assert!(hint(kind.read("64MB").unwrap_err()).contains("did you mean `64MiB`?"));
    }

    #[test]
    fn numbers_are_plain_digits_in_their_range() {
        let kind = number(1u16..=10);
        assert_eq!(kind.read("7").unwrap(), 7);
        for wrong in ["0", "11", "70000", "-1", "0x5", "1_0", "1.5", "", "+3"] {
            assert!(kind.read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn truth_values_have_one_spelling() {
        assert!(boolean().read("true").unwrap());
        assert_eq!(hint(boolean().read("yes").unwrap_err()), "write `true`");
    }
}
