//! What arguments mean: names, networks, times. Each says what to write instead of what was written.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::auth::app_password;
use crate::cli::explain::arguments::Credential;
use crate::imap::verb::Kind;
use crate::imap::verb::Verb;
use crate::policy::facts::Fact;
use crate::policy::rules::Mode;
use crate::store::MfaSetting;
use crate::store::postgres::address::Address;
use crate::types::Commands;
use crate::types::Group;
use crate::types::MailboxPattern;
use crate::types::SessionId;
use crate::types::UnixTime;
use crate::types::UserName;

/// Longest reason or name for people, in bytes.
const MAX_TEXT: usize = 200;

/// Nothing lasts longer: a hundred years, in seconds.
const MAX_SPAN: u64 = 100 * 366 * 86_400;

/// Largest size: a PiB.
const MAX_SIZE: u64 = 1 << 50;

/// When something new stops working.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    Never,
    For(Duration),
    Until(UnixTime),
}

impl Lifetime {
    /// The end, for something that begins now.
    pub(super) fn end(self, now: UnixTime) -> Option<UnixTime> {
        match self {
            Self::Never => None,
            Self::For(span) => Some(now.plus(span)),
            Self::Until(end) => Some(end),
        }
    }
}

pub(super) fn user(text: &str) -> Result<UserName, String> {
    UserName::parse(text.as_bytes()).map_err(|error| error.to_string())
}

pub(super) fn mfa(text: &str) -> Result<MfaSetting, String> {
    MfaSetting::parse(text).ok_or_else(|| "write `required`, `optional` or `exempt`".to_owned())
}

/// What a login is tried with.
pub(super) fn credential(text: &str) -> Result<Credential, String> {
    match text {
        "password" => Ok(Credential::Password),
        "code" => Ok(Credential::Code),
        _ => app_password::parse_id(text)
            .map(Credential::AppPassword)
            .ok_or_else(|| {
                "write `password`, `code`, or the id of an app password, which has six characters".to_owned()
            }),
    }
}

/// A fact and its value.
pub(super) fn fact(text: &str) -> Result<(Fact, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| "write it like `source.country=AT`".to_owned())?;
    let fact =
        Fact::find(name).ok_or_else(|| format!("there is no fact `{name}`; docs/rules.md lists them"))?;
    Ok((fact, value.to_owned()))
}

/// Whether rules act.
pub(super) fn mode(text: &str) -> Result<Mode, String> {
    let mut known = [Mode::Shadow, Mode::Enforce].into_iter();
    known
        .find(|mode| mode.as_str() == text)
        .ok_or_else(|| "write `shadow` or `enforce`".to_owned())
}

pub(super) fn group(text: &str) -> Result<Group, String> {
    Group::parse(text).map_err(|error| error.to_string())
}

pub(super) fn app_password_id(text: &str) -> Result<u32, String> {
    app_password::parse_id(text).ok_or_else(|| "an app password's id has six characters".to_owned())
}

pub(super) fn session_id(text: &str) -> Result<SessionId, String> {
    SessionId::parse(text).ok_or_else(|| "a session's id has 16 hexadecimal digits".to_owned())
}

/// One line for people.
pub(super) fn text(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        return Err(format!(
            "it must have 1 to {MAX_TEXT} bytes and no control characters"
        ));
    }
    Ok(text.trim().to_owned())
}

/// An SQLite store by its file.
pub(super) fn sqlite(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
        Some(path) => Ok(PathBuf::from(path)),
        None => Err("write `sqlite:FILE`".to_owned()),
    }
}

/// A key by its id.
pub(super) fn key_id(text: &str) -> Result<String, String> {
    let id = text.to_ascii_lowercase();
    if id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(id)
    } else {
        Err("a key is named by 8 hexadecimal digits; `imapwarden key status` shows them".to_owned())
    }
}

/// A PostgreSQL store by its URL, without a password.
pub(super) fn postgres(text: &str) -> Result<Address, String> {
    let address = Address::parse(text).map_err(|wrong| format!("{}; {}", wrong.what, wrong.help))?;
    if !address.uses_tls() && !address.is_local() {
        return Err("everything would go to another machine in clear; leave `sslmode` out".to_owned());
    }
    Ok(address)
}

/// An address alone is the network that has only it. Host bits are a mistake: nobody knows which network was meant.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip.to_canonical()));
    }
    let net: IpNet = text
        .parse()
        .map_err(|_| "write an address or a network, like `192.0.2.0/24`".to_owned())?;
    if net.addr() != net.network() {
        return Err(format!(
            "write `{}` for the network, or `{}` for the address",
            net.trunc(),
            net.addr()
        ));
    }
    if net.addr().to_canonical() != net.addr() {
        return Err("write IPv4 networks as such, like `192.0.2.0/24`".to_owned());
    }
    Ok(net)
}

/// `30s`, `15m`, `12h`, `90d`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and a unit, like `30m`, `12h` or `90d`".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let worth = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = count.parse().map_err(|_| wrong())?;
    match count.checked_mul(worth) {
        Some(0) => Err("it must be longer than nothing".to_owned()),
        Some(seconds) if seconds <= MAX_SPAN => Ok(Duration::from_secs(seconds)),
        _ => Err("that is more than a hundred years".to_owned()),
    }
}

/// A date, which is its midnight in UTC, or a time with its zone.
pub(super) fn time(text: &str) -> Result<UnixTime, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(UnixTime(time.as_second()));
    }
    // A time without a zone would be taken for a date.
    let date = text.parse::<Date>().ok().filter(|_| text.len() == 10);
    let midnight = date.and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    midnight
        .map(|midnight| UnixTime(midnight.timestamp().as_second()))
        .ok_or_else(|| "write a date like `2030-01-31`, or a time like `2030-01-31T18:00:00Z`".to_owned())
}

pub(super) fn lifetime(text: &str) -> Result<Lifetime, String> {
    if text == "never" {
        return Ok(Lifetime::Never);
    }
    if let Ok(end) = time(text) {
        return Ok(Lifetime::Until(end));
    }
    span(text)
        .map(Lifetime::For)
        .map_err(|wrong| format!("{wrong}; or a date, or `never`"))
}

/// A pattern of mailbox names.
pub(super) fn mailbox_pattern(text: &str) -> Result<MailboxPattern, String> {
    MailboxPattern::parse(text).map_err(|error| error.to_string())
}

/// A profile, or verbs that exist and may be passed on.
pub(super) fn commands(text: &str) -> Result<Commands, String> {
    let commands = Commands::parse(text).map_err(|error| error.to_string())?;
    if let Commands::Only(verbs) = &commands {
        for word in verbs {
            let known = Verb::find(word.as_bytes()).or_else(|| Verb::find(format!("UID {word}").as_bytes()));
            match known.map(Verb::kind) {
                None => return Err(format!("`{word}` is neither a profile nor a command of IMAP")),
                Some(Kind::Refused(_)) => return Err(format!("`{word}` is never passed on after login")),
                Some(_) => {}
            }
        }
    }
    Ok(commands)
}

/// Bytes, with the unit that they are written in.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// `64KiB`, `200MiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "write a number and a unit, like `200MiB`".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let (_, worth) = SIZES.iter().find(|(known, _)| *known == unit).ok_or_else(wrong)?;
    let count: u64 = count.parse().map_err(|_| wrong())?;
    match count.checked_mul(*worth) {
        Some(0) => Err("it must be more than nothing".to_owned()),
        Some(bytes) if bytes <= MAX_SIZE => Ok(bytes),
        _ => Err("that is more than an hour could bring".to_owned()),
    }
}

/// Bytes in the largest unit that holds them exactly.
pub(super) fn size_text(bytes: u64) -> String {
    let fits = |(_, worth): &&(&str, u64)| bytes.is_multiple_of(*worth);
    let (unit, worth) = SIZES.iter().find(fits).copied().unwrap_or(("B", 1));
    format!("{}{unit}", bytes / worth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_written_exactly_and_addresses_alone_are_networks() {
        assert_eq!(network("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(network("::ffff:10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(network("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
        assert!(network("10.0.0.1/8").unwrap_err().contains("`10.0.0.0/8`"));
        for wrong in ["", "10.0.0.0/33", "::ffff:10.0.0.0/104", "office"] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn spans_have_a_unit_and_an_end() {
        assert_eq!(span("90d").unwrap(), Duration::from_secs(90 * 86_400));
        for wrong in [
            "",
            "90",
            "d",
            "0h",
            "-1d",
            "1w",
            "99999999999999999999d",
            "99999d",
        ] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_a_unit_and_read_back() {
        for text in ["1B", "64KiB", "1500KiB", "200MiB", "2GiB"] {
            assert_eq!(size_text(size(text).unwrap()), text);
        }
        for wrong in ["", "5", "MiB", "1MB", "-1MiB", "0GiB", "99999999999GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_a_zone_and_dates_are_midnight() {
        assert_eq!(time("1970-01-02").unwrap(), UnixTime(86_400));
        assert_eq!(time("1970-01-01T02:00:00+02:00").unwrap(), UnixTime(0));
        for wrong in ["", "soon", "2030-01-31T18:00", "2030-02-30"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_lifetime_is_a_span_a_date_or_forever() {
        let now = UnixTime(10);
        assert_eq!(lifetime("never").unwrap().end(now), None);
        assert_eq!(lifetime("5s").unwrap().end(now), Some(UnixTime(15)));
        assert_eq!(lifetime("1970-01-02").unwrap().end(now), Some(UnixTime(86_400)));
        assert!(lifetime("soon").is_err());
    }

    #[test]
    fn text_for_people_is_one_printable_line() {
        assert_eq!(text(" a b ").unwrap(), "a b");
        for wrong in ["", "  ", "a\nb", "\u{1b}[2J"] {
            assert!(text(wrong).is_err(), "{wrong:?}");
        }
    }
}
