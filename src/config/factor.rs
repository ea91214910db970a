//! Who needs a second factor, and what counts as one: `second_factor`.

use std::time::Duration;

use crate::config::Context;
use crate::config::kind;
use crate::config::kind::Kind;
use crate::config::kind::Wrong;
use crate::config::kind::secs;
use crate::config::kind::word_of;
use crate::config::notes::At;
use crate::config::problem::Problem;
use crate::config::problem::quoted;
use crate::config::section::Section;
use crate::policy::access::NamedNetworks;
use crate::policy::factor::Mode;
use crate::policy::factor::NetworkRule;
use crate::policy::factor::Policy;
use crate::policy::factor::Requirement;
use crate::types::UnixTime;

const DAY: u64 = 86_400;

const REQUIREMENTS: &[(&str, Requirement)] = &[
    ("required", Requirement::Required),
    ("optional", Requirement::Optional),
    ("exempt", Requirement::Exempt),
];

const MODES: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("monitor", Mode::Monitor)];

/// The second factor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecondFactor {
    /// Who needs one, from where, since when.
    pub policy: Policy,
    /// Whether somebody who is not in the store may log in where no second factor is asked for: for a roll-out.
    pub admit_unknown_users: bool,
    /// App passwords.
    pub app_passwords: AppPasswords,
    /// One-time codes.
    pub totp: Totp,
}

/// App passwords.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppPasswords {
    /// How long a new one works, unless its maker says otherwise; `None` is until revoked.
    pub default_expiry: Option<Duration>,
}

/// One-time codes typed behind the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totp {
    /// Whether users who enrolled them may type codes behind the password.
    pub enabled: bool,
    /// What may stand between password and code; nothing is always possible.
    pub separators: Vec<char>,
    /// How long the same password from the same network needs no new code.
    pub window: Duration,
    /// How long it may go unused.
    pub window_idle: Duration,
    /// How long an open one is honoured while the store is away; zero is never.
    pub store_away_grace: Duration,
}

impl Default for Totp {
    fn default() -> Self {
        Self {
            enabled: true,
            separators: vec![';', ',', '$'],
            window: secs(12 * 3_600),
            window_idle: secs(2 * 3_600),
            store_away_grace: secs(0),
        }
    }
}

impl SecondFactor {
    pub(super) fn read(mut section: Section<'_>, cx: &Context<'_>) -> Self {
        let default = section.value("default", &requirement(), Requirement::default());
        let show = |mode: &Mode| word_of(MODES, mode);
        let mode = section.value("mode", &kind::word(MODES, show), Mode::default());
        let admit_unknown_users = section.value("admit_unknown_users", &kind::boolean(), false);
        let deadline = section.optional("enrol_by", &date(), "none");
        let networks = section.sections("networks").unwrap_or_default();
        let networks = networks
            .into_iter()
            .filter_map(|each| read_rule(each, cx))
            .collect();
        let app_passwords = AppPasswords::read(section.section("app_passwords"));
        let totp = Totp::read(section.section("totp"));
        if deadline.is_some() && default != Requirement::Required {
            let message = "`second_factor.enrol_by` has no effect while no second factor is required";
            section.problem(
                Problem::new("no_effect", section.place("enrol_by"), message)
                    .help("set `default: required` beside it"),
            );
        }
        section.finish();
        let policy = Policy {
            default,
            networks,
            deadline,
            mode,
        };
        Self {
            policy,
            admit_unknown_users,
            app_passwords,
            totp,
        }
    }
}

fn requirement() -> Kind<'static, Requirement> {
    kind::word(REQUIREMENTS, |value| word_of(REQUIREMENTS, value))
}

fn read_rule(mut section: Section<'_>, cx: &Context<'_>) -> Option<NetworkRule> {
    let set = section.required("set", &cx.sets.entry());
    let require = section.required("require", &requirement());
    let span = section.place("set");
    let rule = match (set, require) {
        // The set's own networks were wrong: that it is empty follows.
        (Some(set), _) if set.networks.is_empty() && section.has_problems() => None,
        (Some(NamedNetworks { name, networks }), Some(require)) => {
            let made = NetworkRule::new(&name, networks, require);
            made.map_err(|error| section.problem(Problem::new("invalid_value", span, error.to_string())))
                .ok()
        }
        _ => None,
    };
    section.finish();
    rule
}

impl AppPasswords {
    fn read(mut section: Section<'_>) -> Self {
        let lifetime = kind::duration(secs(DAY)..=secs(3_650 * DAY));
        let name = format!("`never`, or {}", lifetime.name);
        let kind = Kind::new(
            name,
            |_: &Option<Duration>| "never".to_owned(),
            |text| match text {
                "never" => Ok(None),
                _ => lifetime.read(text).map(Some),
            },
        );
        let default_expiry = section.value("default_expiry", &kind, None);
        section.finish();
        Self { default_expiry }
    }
}

impl Totp {
    fn read(mut section: Section<'_>) -> Self {
        let d = Self::default();
        let enabled = section.value("enabled", &kind::boolean(), d.enabled);
        let separators = section.list("separators", &separator(), "[\";\", \",\", \"$\"]");
        let read = Self {
            enabled,
            separators: separators.map_or(d.separators, |list| {
                list.into_iter().map(|At { value, .. }| value).collect()
            }),
            window: section.value("window", &kind::duration(secs(0)..=secs(7 * DAY)), d.window),
            window_idle: section.value(
                "window_idle",
                &kind::duration(secs(0)..=secs(7 * DAY)),
                d.window_idle,
            ),
            store_away_grace: section.value(
                "store_away_grace",
                &kind::duration(secs(0)..=secs(3_600)),
                d.store_away_grace,
            ),
        };
        if read.store_away_grace > read.window {
            let message = "`store_away_grace` is longer than `window`, beyond which nothing is honoured";
            let problem = Problem::new("invalid_value", section.place("store_away_grace"), message);
            section.problem(problem.help("a window ends after `window`, whether the store is there or not"));
        }
        if read.window_idle > read.window {
            let message = "`window_idle` is longer than `window`, so it would never end one";
            let problem = Problem::new("invalid_value", section.place("window_idle"), message);
            section.problem(problem.help("a window ends after `window`, or when unused for `window_idle`"));
        }
        section.finish();
        read
    }
}

/// One ASCII punctuation mark: a letter or digit could be part of a password's end or of the code.
fn separator() -> Kind<'static, char> {
    Kind::new("punctuation mark", char::to_string, |text| {
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) if c.is_ascii_punctuation() => Ok(c),
            _ => {
                let wrong = Wrong::invalid(format!("{} is not a single punctuation mark", quoted(text)));
                Err(wrong.help("write one character in quotes, like `\";\"`"))
            }
        }
    })
}

/// A day, which begins at midnight UTC, or a moment.
fn date() -> Kind<'static, UnixTime> {
    Kind::new(
        "date or RFC 3339 time",
        |time: &UnixTime| time.0.to_string(),
        |text| {
            let moment = text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second);
            let day = || {
                // A time without a zone would be taken for a date.
                let date: jiff::civil::Date = text.parse().ok().filter(|_| text.len() == 10)?;
                let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
                Some(midnight.timestamp().as_second())
            };
            let time = moment.ok().or_else(day).map(UnixTime);
            time.ok_or_else(|| {
                Wrong::invalid(format!("{} is not a date", quoted(text)))
                    .help("write `2027-03-31` (midnight UTC) or `2027-03-31T18:00:00+02:00`")
            })
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_midnight_utc_and_a_time_needs_its_zone() {
        assert_eq!(date().read("1970-01-02").unwrap(), UnixTime(86_400));
        assert_eq!(date().read("1970-01-01T02:00:00+02:00").unwrap(), UnixTime(0));
        for wrong in ["tomorrow", "31.12.2027", "2027-02-30", "1970-01-01T02:00:00", ""] {
            assert!(date().read(wrong).is_err(), "{wrong}");
        }
    }
}
