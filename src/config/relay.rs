//! What holds after a login: `relay`.

use std::time::Duration;

use crate::config::kind;
use crate::config::kind::Kind;
use crate::config::kind::Wrong;
use crate::config::kind::secs;
use crate::config::kind::show_duration;
use crate::config::notes::At;
use crate::config::problem::quoted;
use crate::config::section::Section;

/// RFC 3501, section 5.4: an autologout timer must be at least 30 minutes; clients renew IDLE just before.
const MIN_IDLE: Duration = secs(31 * 60);

/// Commands that would change who speaks or how: nobody may have them passed on.
const NEVER: [&str; 6] = [
    "LOGIN",
    "AUTHENTICATE",
    "UNAUTHENTICATE",
    "STARTTLS",
    "COMPRESS",
    "LOGOUT",
];

/// The relayed session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// How long a client may say nothing.
    pub idle_timeout: Duration,
    /// How long a peer may leave what we send unread.
    pub stall_timeout: Duration,
    /// Longest command besides literals that stream, in bytes.
    pub command_limit: u64,
    /// Largest literal that streams: a message to append, in bytes.
    pub literal_limit: u64,
    /// Commands on their way to the backend at once; more wait in the client's socket.
    pub max_pipelined: u16,
    /// Commands passed on although we do not know them.
    pub extra_commands: Vec<String>,
    /// Capabilities passed on although we do not know them.
    pub extra_capabilities: Vec<String>,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            idle_timeout: MIN_IDLE,
            stall_timeout: secs(300),
            command_limit: 64 * 1024,
            literal_limit: 256 * 1024 * 1024,
            max_pipelined: 256,
            extra_commands: Vec::new(),
            extra_capabilities: Vec::new(),
        }
    }
}

impl Relay {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let d = Self::default();
        let words = |list: Option<Vec<At<String>>>| {
            list.unwrap_or_default()
                .into_iter()
                .map(|word| word.value)
                .collect()
        };
        let read = Self {
            idle_timeout: section.value("idle_timeout", &idle_timeout(), d.idle_timeout),
            stall_timeout: section.value(
                "stall_timeout",
                &kind::duration(secs(10)..=secs(1_800)),
                d.stall_timeout,
            ),
            command_limit: section.value(
                "command_limit",
                &kind::size(8 * 1024..=64 * 1024),
                d.command_limit,
            ),
            literal_limit: section.value(
                "literal_limit",
                &kind::size(1024 * 1024..=1024 * 1024 * 1024),
                d.literal_limit,
            ),
            max_pipelined: section.value("max_pipelined", &kind::number(64..=1024), d.max_pipelined),
            extra_commands: words(section.list("extra_commands", &command(), "[]")),
            extra_capabilities: words(section.list("extra_capabilities", &capability(), "[]")),
        };
        section.finish();
        read
    }
}

fn idle_timeout() -> Kind<'static, Duration> {
    let kind = kind::duration(MIN_IDLE..=secs(7 * 86_400));
    Kind::new(kind.name.clone(), show_duration, move |text| {
        kind.read(text).map_err(|wrong| {
            if wrong.code != "out_of_range" {
                return wrong;
            }
            wrong.help("from 31m to 7d: below that, clients waiting in IDLE would be cut off (RFC 3501, section 5.4)")
        })
    })
}

fn command() -> Kind<'static, String> {
    Kind::new("IMAP command", String::clone, |text| {
        let upper = text.to_ascii_uppercase();
        if NEVER.contains(&upper.as_str()) {
            let wrong = Wrong::invalid(format!("{} is never passed on", quoted(text)));
            return Err(wrong.help("it would change who speaks, or how, behind our back"));
        }
        if upper.is_empty()
            || upper.len() > 32
            || !upper
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        {
            let wrong = Wrong::invalid(format!("{} is not the name of a command", quoted(text)));
            return Err(wrong.help("write the one word, like `XLIST`"));
        }
        Ok(upper)
    })
}

fn capability() -> Kind<'static, String> {
    Kind::new("IMAP capability", String::clone, |text| {
        let upper = text.to_ascii_uppercase();
        let name = upper.split('=').next().unwrap_or_default();
        let dangerous = NEVER.contains(&name)
            || matches!(name, "AUTH" | "LOGINDISABLED" | "SASL-IR")
            || upper.ends_with("-PLUS");
        if dangerous {
            let wrong = Wrong::invalid(format!("{} is never passed on", quoted(text)));
            return Err(wrong.help("it offers what we must not let pass"));
        }
        let atom = |b: u8| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b);
        if upper.is_empty() || upper.len() > 64 || !upper.bytes().all(atom) {
            return Err(Wrong::invalid(format!("{} is not a capability", quoted(text))));
        }
        Ok(text.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_changes_the_speaker_or_the_wire_can_be_let_through() {
        for word in [
            "starttls",
            "COMPRESS",
            "Login",
            "UNAUTHENTICATE",
            "a b",
            "",
            "X\r\n",
        ] {
            assert!(command().read(word).is_err(), "{word}");
        }
        for word in [
            "STARTTLS",
            "compress=deflate",
            "AUTH=PLAIN",
            "LOGINDISABLED",
            "UNAUTHENTICATE",
            "a b",
            "X]",
        ] {
            assert!(capability().read(word).is_err(), "{word}");
        }
        assert_eq!(command().read("xlist").unwrap(), "XLIST");
        assert!(capability().read("X-GM-EXT-1").is_ok());
    }

    #[test]
    fn an_idle_time_that_would_break_idle_is_refused_with_the_reason() {
        assert!(
            idle_timeout()
                .read("30m")
                .unwrap_err()
                .help
                .unwrap()
                .contains("IDLE")
        );
        assert!(idle_timeout().read("31m").is_ok());
    }
}
