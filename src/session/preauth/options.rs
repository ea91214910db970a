//! What an operator can set for connections that have not logged in.

use crate::imap::collect::Bounds;
use crate::sasl;
use crate::types::Mechanism;

/// Most bytes of a text of the operator's in one answer.
const MAX_TEXT: usize = 400;

/// Bounds and texts. The defaults are what GUARANTEES promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The greeting's text; it should not name a version.
    pub greeting: String,
    /// A line for people whose login was refused: what to do, the same for everybody.
    pub help: Option<String>,
    /// The SASL mechanisms in force, in the order in which they are offered.
    pub mechanisms: Vec<Mechanism>,
    /// Bounds of one command.
    pub bounds: Bounds,
    /// Bytes a client may send before it has logged in.
    pub total_bytes: usize,
    /// Commands before login, right or wrong. Each costs an answer that is longer than itself.
    pub commands: u32,
    /// Commands answered with an error; the last of them ends the connection.
    pub bad_commands: u32,
    /// Logins refused; the last of them ends the connection.
    pub attempts: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            greeting: "imapwarden ready".to_owned(),
            help: None,
            mechanisms: vec![Mechanism::Plain, Mechanism::SaslLogin],
            bounds: Bounds {
                line: 8 * 1024,
                literal: 4 * 1024,
                literals: 16 * 1024,
                literal_count: 64,
                command: 18 * 1024,
            },
            total_bytes: 64 * 1024,
            commands: 100,
            bad_commands: 10,
            attempts: 5,
        }
    }
}

/// What the bytes travel in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// TLS: from the first byte, or since STARTTLS.
    Tls,
    /// Plain text, on a listener where STARTTLS has to come first.
    PlainBeforeStartTls,
}

impl Options {
    /// The capabilities that hold before login: what we do ourselves, never what a backend says. No IMAP4rev2, no
    /// mechanism that is not in force.
    pub(super) fn capabilities(&self, channel: Channel) -> String {
        match channel {
            Channel::PlainBeforeStartTls => "IMAP4rev1 LITERAL+ ID STARTTLS LOGINDISABLED".to_owned(),
            Channel::Tls => {
                let mut text = "IMAP4rev1 SASL-IR LITERAL+ ID".to_owned();
                for name in self
                    .mechanisms
                    .iter()
                    .filter_map(|mechanism| sasl::name_of(*mechanism))
                {
                    text.push_str(" AUTH=");
                    text.push_str(name);
                }
                text
            }
        }
    }

    /// The first line of a connection.
    pub(super) fn greeting(&self, channel: Channel) -> Vec<u8> {
        let capabilities = self.capabilities(channel);
        format!(
            "* OK [CAPABILITY {capabilities}] {}\r\n",
            one_line(&self.greeting)
        )
        .into_bytes()
    }

    /// What every refused login hears, whatever the reason.
    pub(super) fn refusal(&self) -> String {
        let help = self.help.as_deref().map(one_line).filter(|help| !help.is_empty());
        let space = if help.is_some() { " " } else { "" };
        format!(
            "NO [AUTHENTICATIONFAILED] Authentication failed.{space}{}",
            help.unwrap_or_default()
        )
    }
}

/// Configured text as an answer's text may be: printable ASCII, one line, bounded.
fn one_line(text: &str) -> String {
    text.trim()
        .chars()
        .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
        .take(MAX_TEXT)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_text_cannot_break_out_of_its_line() {
        let options = Options {
            greeting: "hello\r\n* OK x".to_owned(),
            help: Some(" Use an app password:\nhttps://mail.example ".to_owned()),
            ..Options::default()
        };
        let greeting = options.greeting(Channel::Tls);
        assert!(
            greeting.ends_with(b"] hello??* OK x\r\n"),
            "{}",
            greeting.escape_ascii()
        );
        assert_eq!(
            options.refusal(),
            "NO [AUTHENTICATIONFAILED] Authentication failed. Use an app password:?https://mail.example"
        );
    }

    #[test]
    fn only_mechanisms_in_force_are_offered() {
        let options = Options {
            mechanisms: vec![Mechanism::Plain, Mechanism::Login],
            ..Options::default()
        };
        assert_eq!(
            options.capabilities(Channel::Tls),
            "IMAP4rev1 SASL-IR LITERAL+ ID AUTH=PLAIN"
        );
    }

    #[test]
    fn without_help_the_refusal_is_the_bare_text() {
        assert_eq!(
            Options::default().refusal(),
            "NO [AUTHENTICATIONFAILED] Authentication failed."
        );
    }
}
