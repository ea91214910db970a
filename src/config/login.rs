//! What holds until somebody is logged in: `login` and `limits`.

use std::time::Duration;

use crate::config::kind;
use crate::config::kind::Kind;
use crate::config::kind::Wrong;
use crate::config::kind::secs;
use crate::config::section::Section;

/// Longest help line, in bytes: it is part of a line that old clients read into small buffers.
const MAX_HELP: usize = 200;

/// The conversation before a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The text of every refusal; `None` is a plain one.
    pub help: Option<String>,
    /// Time for the PROXY header, where one is due.
    pub proxy_header_timeout: Duration,
    /// Time for the TLS hand-shake.
    pub handshake_timeout: Duration,
    /// Time from then until logged in.
    pub timeout: Duration,
    /// How long every refusal takes.
    pub refusal_delay: Duration,
    /// Attempts on one connection.
    pub max_attempts: u8,
    /// Commands that are not IMAP on one connection.
    pub max_bad_commands: u8,
}

impl Default for Login {
    fn default() -> Self {
        Self {
            help: None,
            proxy_header_timeout: secs(5),
            handshake_timeout: secs(10),
            timeout: secs(60),
            refusal_delay: secs(2),
            max_attempts: 5,
            max_bad_commands: 10,
        }
    }
}

impl Login {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let d = Self::default();
        let second = secs(1);
        let read = Self {
            help: section.optional("help", &help_line(), "none"),
            proxy_header_timeout: section.value(
                "proxy_header_timeout",
                &kind::duration(second..=secs(30)),
                d.proxy_header_timeout,
            ),
            handshake_timeout: section.value(
                "handshake_timeout",
                &kind::duration(second..=secs(60)),
                d.handshake_timeout,
            ),
            timeout: section.value("timeout", &kind::duration(secs(5)..=secs(300)), d.timeout),
            refusal_delay: section.value(
                "refusal_delay",
                &kind::duration(second..=secs(10)),
                d.refusal_delay,
            ),
            max_attempts: section.value("max_attempts", &kind::number(1..=5), d.max_attempts),
            max_bad_commands: section.value("max_bad_commands", &kind::number(1..=10), d.max_bad_commands),
        };
        section.finish();
        read
    }
}

/// A line that can stand behind `NO [AUTHENTICATIONFAILED] ` (RFC 3501, `text`).
fn help_line() -> Kind<'static, String> {
    let name = format!("one line of ASCII, at most {MAX_HELP} bytes");
    Kind::new(name, String::clone, |text| {
        if text.contains(['\r', '\n']) {
            let wrong = Wrong::invalid("the text has a line break, which would end the answer it is part of");
            return Err(wrong.help("write one line in quotes"));
        }
        if text.len() > MAX_HELP {
            let wrong = Wrong::new("out_of_range", format!("the text has {} bytes", text.len()));
            return Err(wrong.help(format!("at most {MAX_HELP} are possible")));
        }
        if let Some(c) = text.chars().find(|c| !c.is_ascii() || c.is_ascii_control()) {
            let wrong = Wrong::invalid(format!("the text has the character {c:?}"));
            return Err(wrong.help("before login only printable ASCII may be sent (RFC 3501)"));
        }
        if text.trim().is_empty() || text.starts_with(['[', ' ']) {
            let wrong = Wrong::invalid("the text would be read as something else than a text");
            return Err(wrong.help("begin it with a letter: `[` starts a response code"));
        }
        Ok(text.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_help_line_cannot_end_or_disguise_the_answer() {
        let kind = help_line();
        assert!(
            kind.read("Use an app password: https://mail.example.org/app")
                .is_ok()
        );
        for wrong in [
            "a\r\nb",
            "a\nb",
            "[ALERT] x",
            "",
            " ",
            "é",
            "a\tb",
            &"x".repeat(201),
        ] {
            assert!(kind.read(wrong).is_err(), "{wrong:?}");
        }
    }
}
