//! Decodes whole commands that a client sends before it has logged in.
//!
//! The one place that calls imap-codec for them, and only for the few verbs that exist then: whatever else a client sends
//! is never parsed. Counts and nesting are checked first. Passwords are taken out at once and every copy is wiped, so a
//! decoded command of imap-codec must never be kept or printed here.

use std::fmt;

use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::core::IString;
use imap_codec::imap_types::core::NString;
use thiserror::Error;

use crate::imap::arguments::normalise;
use crate::types::Secret;

/// Longest tag that is echoed.
const MAX_TAG: usize = 64;

/// Longest verb or mechanism name worth looking at.
const MAX_WORD: usize = 32;

/// Most fields of an ID command (RFC 2971, section 3.3).
const MAX_ID_FIELDS: usize = 30;

/// Verbs of commands that may be given before login (RFC 3501, section 6.1 and 6.2; RFC 2971).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// CAPABILITY.
    Capability,
    /// NOOP.
    Noop,
    /// LOGOUT.
    Logout,
    /// ID.
    Id,
    /// STARTTLS.
    StartTls,
    /// LOGIN.
    Login,
    /// AUTHENTICATE.
    Authenticate,
    /// Anything else: not a command before login, or none at all.
    Other,
}

impl Verb {
    fn of(word: &[u8]) -> Self {
        const VERBS: [(&str, Verb); 7] = [
            ("CAPABILITY", Verb::Capability),
            ("NOOP", Verb::Noop),
            ("LOGOUT", Verb::Logout),
            ("ID", Verb::Id),
            ("STARTTLS", Verb::StartTls),
            ("LOGIN", Verb::Login),
            ("AUTHENTICATE", Verb::Authenticate),
        ];
        VERBS
            .iter()
            .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word))
            .map_or(Self::Other, |(_, verb)| *verb)
    }
}

/// The first two words of a command, read from as much of it as there is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// The tag: safe to send back.
    pub tag: &'a [u8],
    /// The verb.
    pub verb: Verb,
    /// What follows the verb, from its space or CRLF on.
    rest: &'a [u8],
}

/// The rest may hold a password.
impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.tag.escape_ascii(), self.verb)
    }
}

/// A command that may be given before login.
pub enum Command {
    /// CAPABILITY.
    Capability,
    /// NOOP.
    Noop,
    /// LOGOUT.
    Logout,
    /// ID with its fields, in order; none for `NIL`.
    Id(Vec<IdField>),
    /// STARTTLS.
    StartTls,
    /// LOGIN.
    Login {
        /// The name, unchecked.
        user: Vec<u8>,
        /// The password.
        password: Secret,
    },
    /// AUTHENTICATE.
    Authenticate {
        /// The mechanism's name as written.
        mechanism: Vec<u8>,
        /// The initial response as written: base64 or `=` (RFC 4959).
        initial: Option<Secret>,
    },
    /// Another verb; its arguments were not looked at.
    Other,
}

/// A field of an ID command: its name, and its value unless that is NIL. Bytes as sent.
pub type IdField = (Vec<u8>, Option<Vec<u8>>);

/// Why bytes are not a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CodecError {
    /// No tag of 1 to 64 tag characters with a space behind it, or no verb.
    #[error("no tag and verb")]
    Head,
    /// The arguments do not have the command's form.
    #[error("the arguments do not have the command's form")]
    Arguments,
    /// More than 64 arguments, or parentheses deeper than 16.
    #[error("too many arguments, or nested too deeply")]
    TooComplex,
}

/// Reads tag and verb of a command, or of its beginning.
///
/// # Errors
/// [`CodecError::Head`]: there is no tag that may be sent back.
pub fn head(bytes: &[u8]) -> Result<Head<'_>, CodecError> {
    let (tag, rest) = word(bytes, MAX_TAG, is_tag_char)?;
    let rest = rest.strip_prefix(b" ").ok_or(CodecError::Head)?;
    let (verb, rest) = word(rest, MAX_WORD, |byte| byte.is_ascii_graphic())?;
    Ok(Head {
        tag,
        verb: Verb::of(verb),
        rest,
    })
}

/// Decodes a complete command: lines and literals as they came, with the last CRLF.
///
/// # Errors
/// What is wrong with it. The tag of a command with bad arguments is to be had from [`head`].
pub fn decode(bytes: &[u8]) -> Result<Command, CodecError> {
    let head = head(bytes)?;
    match head.verb {
        Verb::Other => Ok(Command::Other),
        Verb::Authenticate => authenticate(head.rest),
        _ => {
            let words = bytes.len() - head.rest.len();
            let words = bytes.get(..words).ok_or(CodecError::Head)?;
            with_imap_codec(&normalise(words, head.rest)?)
        }
    }
}

/// Decodes with imap-codec. Every string in `text` is an atom or a literal, so that it borrows and copies nothing: a copy
/// of a password inside imap-codec could not be wiped.
fn with_imap_codec(text: &[u8]) -> Result<Command, CodecError> {
    let (rest, command) = CommandCodec::default()
        .decode(text)
        .map_err(|_| CodecError::Arguments)?;
    if !rest.is_empty() {
        return Err(CodecError::Arguments);
    }
    match command.body {
        CommandBody::Capability => Ok(Command::Capability),
        CommandBody::Noop => Ok(Command::Noop),
        CommandBody::Logout => Ok(Command::Logout),
        CommandBody::StartTLS => Ok(Command::StartTls),
        CommandBody::Login { username, password } => Ok(Command::Login {
            user: username.as_ref().to_vec(),
            password: Secret::from(password.declassify().as_ref()),
        }),
        CommandBody::Id { parameters } => id_fields(parameters.unwrap_or_default()),
        // The verb was one of ours, so that nothing else can come out.
        _ => Err(CodecError::Arguments),
    }
}

/// The fields of an ID command.
fn id_fields(parameters: Vec<(IString<'_>, NString<'_>)>) -> Result<Command, CodecError> {
    if parameters.len() > MAX_ID_FIELDS {
        return Err(CodecError::TooComplex);
    }
    let fields = parameters
        .into_iter()
        .map(|(name, value)| {
            let value = value.0.map(|value| value.as_ref().to_vec());
            (name.as_ref().to_vec(), value)
        })
        .collect();
    Ok(Command::Id(fields))
}

/// `SP mechanism [SP initial] [SP] CRLF`. Not by imap-codec: it would decode the initial response into memory that nobody
/// wipes. An initial response is never a literal.
fn authenticate(rest: &[u8]) -> Result<Command, CodecError> {
    let line = rest.strip_suffix(b"\r\n").ok_or(CodecError::Arguments)?;
    let line = line.strip_prefix(b" ").ok_or(CodecError::Arguments)?;
    let line = line.strip_suffix(b" ").unwrap_or(line);
    let (mechanism, rest) = word(line, MAX_WORD, is_tag_char).map_err(|_| CodecError::Arguments)?;
    let initial = match rest.strip_prefix(b" ") {
        None if rest.is_empty() => None,
        Some(text) if !text.is_empty() && text.iter().all(u8::is_ascii_graphic) => Some(Secret::from(text)),
        _ => return Err(CodecError::Arguments),
    };
    Ok(Command::Authenticate {
        mechanism: mechanism.to_vec(),
        initial,
    })
}

/// Splits off a word of 1 to `max` such bytes.
fn word(bytes: &[u8], max: usize, allowed: fn(u8) -> bool) -> Result<(&[u8], &[u8]), CodecError> {
    let len = bytes.iter().take_while(|byte| allowed(**byte)).count();
    if len == 0 || len > max {
        return Err(CodecError::Head);
    }
    bytes.split_at_checked(len).ok_or(CodecError::Head)
}

/// `tag = 1*<any ASTRING-CHAR except "+">` (RFC 3501, section 9).
#[must_use]
pub fn is_tag_char(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"(){%*\"\\+".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A command in words; passwords are shown, which nothing outside tests can do.
    fn shown(bytes: &[u8]) -> Result<String, CodecError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decode(bytes).map(|command| match command {
            Command::Capability => "capability".to_owned(),
            Command::Noop => "noop".to_owned(),
            Command::Logout => "logout".to_owned(),
            Command::StartTls => "starttls".to_owned(),
            Command::Other => "other".to_owned(),
            Command::Id(fields) => format!("id {}", fields.len()),
            Command::Login { user, password } => format!("login {}/{}", text(&user), text(password.expose())),
            Command::Authenticate { mechanism, initial } => {
                let initial = initial.map(|initial| text(initial.expose()));
                format!("authenticate {} {initial:?}", text(&mechanism))
            }
        })
    }

    fn check(command: &str, expected: &str) {
        assert_eq!(shown(command.as_bytes()).as_deref(), Ok(expected), "{command:?}");
    }

    #[test]
    fn the_commands_before_login_are_decoded_in_any_case() {
        check("a CAPABILITY\r\n", "capability");
        check("a nOOp\r\n", "noop");
        check("a noop \r\n", "noop");
        check("a LOGOUT\r\n", "logout");
        check("a STARTTLS\r\n", "starttls");
        check("1.x-[] NOOP\r\n", "noop");
    }

    #[test]
    fn login_takes_atoms_quoted_strings_and_literals() {
        check("a LOGIN bob pw\r\n", "login bob/pw");
        check("a login bob pw \r\n", "login bob/pw");
        check("a login  bob  pw  \r\n", "login bob/pw");
        check("a LOGIN \"bob\" \"p\\\"w\\\\ \"\r\n", "login bob/p\"w\\ ");
        check("a LOGIN {3}\r\nbob {4+}\r\n\r\nx \r\n", "login bob/\r\nx ");
        check("a LOGIN bob \"\"\r\n", "login bob/");
        check("a LOGIN {0}\r\n {0+}\r\n\r\n", "login /");
        check(
            "a LOGIN bob@example.org a+b/c=!?[]$\r\n",
            "login bob@example.org/a+b/c=!?[]$",
        );
        check(
            "a LOGIN bob p\u{e4}ss\r\n"
                .replace("p\u{e4}ss", "\"p\u{e4}ss\"")
                .as_str(),
            "login bob/p\u{e4}ss",
        );
    }

    #[test]
    fn eight_bit_passwords_pass_unchanged_in_strings() {
        for bytes in [
            &b"a LOGIN bob \"p\xe4\xff\"\r\n"[..],
            b"a LOGIN bob {3}\r\np\xe4\xff\r\n",
        ] {
            let Ok(Command::Login { password, .. }) = decode(bytes) else {
                panic!("not a LOGIN");
            };
            assert_eq!(password.expose(), b"p\xe4\xff");
        }
        assert_eq!(shown(b"a LOGIN bob p\xe4ss\r\n"), Err(CodecError::Arguments));
    }

    #[test]
    fn authenticate_keeps_its_initial_response_as_written() {
        check("a authenticate PLAIN\r\n", "authenticate PLAIN None");
        check("a AUTHENTICATE plain \r\n", "authenticate plain None");
        check("a AUTHENTICATE PLAIN =\r\n", "authenticate PLAIN Some(\"=\")");
        check(
            "a AUTHENTICATE PLAIN AHQAcA==\r\n",
            "authenticate PLAIN Some(\"AHQAcA==\")",
        );
        for wrong in [
            "a AUTHENTICATE\r\n",
            "a AUTHENTICATE \r\n",
            "a AUTHENTICATE  PLAIN\r\n",
            "a AUTHENTICATE PLAIN A B\r\n",
            "a AUTHENTICATE PLAIN\tAA==\r\n",
            "a AUTHENTICATE PLAIN {4+}\r\nAA==\r\n",
            "a AUTHENTICATE \"PLAIN\"\r\n",
        ] {
            assert_eq!(shown(wrong.as_bytes()), Err(CodecError::Arguments), "{wrong:?}");
        }
    }

    #[test]
    fn id_takes_up_to_thirty_fields_or_nil() {
        check("a ID NIL\r\n", "id 0");
        check("a id nil\r\n", "id 0");
        check("a ID ()\r\n", "id 0");
        check("a ID (\"name\" \"x\" \"version\" NIL)\r\n", "id 2");
        check("a ID (\"name\" \"x\" )\r\n", "id 1");
        check("a ID ({4}\r\nname {1+}\r\nx)\r\n", "id 1");
        let fields = |count| format!("a ID ({})\r\n", vec!["\"k\" \"v\""; count].join(" "));
        check(&fields(30), "id 30");
        assert_eq!(shown(fields(31).as_bytes()), Err(CodecError::TooComplex));
        assert_eq!(shown(b"a ID (\"name\")\r\n"), Err(CodecError::Arguments));
        assert_eq!(shown(b"a ID\r\n"), Err(CodecError::Arguments));
    }

    #[test]
    fn commands_with_other_arguments_than_theirs_are_refused() {
        for wrong in [
            "a NOOP x\r\n",
            "a CAPABILITY ()\r\n",
            "a LOGIN bob\r\n",
            "a LOGIN bob \r\n",
            "a LOGIN bob pw x\r\n",
            "a LOGIN (bob) pw\r\n",
            "a LOGIN \"bob\"\"pw\"\r\n",
            "a LOGIN bob\"x\" pw\r\n",
            "a LOGIN b*b pw\r\n",
            "a NOOP {3+}\r\nabc\r\n",
            "a NOOP",
            "a NOOP\n",
        ] {
            assert_eq!(shown(wrong.as_bytes()), Err(CodecError::Arguments), "{wrong:?}");
        }
    }

    #[test]
    fn other_verbs_are_never_parsed() {
        check("a SELECT INBOX\r\n", "other");
        check("a SEARCH ((((((((((((((((((((((((\r\n", "other");
        check("a LOGINX bob pw\r\n", "other");
    }

    #[test]
    fn a_tag_is_one_to_sixty_four_tag_characters() {
        let long = "x".repeat(64);
        assert_eq!(
            head(format!("{long} NOOP\r\n").as_bytes()).map(|h| h.tag.len()),
            Ok(64)
        );
        for wrong in [
            "",
            "a",
            "a\r\n",
            "a \r\n",
            "a  NOOP\r\n",
            " NOOP\r\n",
            "a+ NOOP\r\n",
            "+ NOOP\r\n",
            "* NOOP\r\n",
            "a\tNOOP\r\n",
            "a{3} NOOP\r\n",
            "a\" NOOP\r\n",
            "\u{e4} NOOP\r\n",
            &format!("{long}x NOOP\r\n"),
            &format!("a {long}\r\n"),
        ] {
            assert_eq!(head(wrong.as_bytes()), Err(CodecError::Head), "{wrong:?}");
        }
    }

    #[test]
    fn a_head_is_read_before_the_command_is_complete() {
        assert_eq!(
            head(b"a LOGIN {3}\r\n").map(|head| (head.tag, head.verb)),
            Ok((&b"a"[..], Verb::Login))
        );
    }

    proptest! {
        #[test]
        fn any_password_survives_a_literal_and_any_line_survives_quotes(password: Vec<u8>) {
            let password: Vec<u8> = password.into_iter().filter(|byte| *byte != 0).collect();
            let mut literal = format!("a LOGIN bob {{{}}}\r\n", password.len()).into_bytes();
            literal.extend_from_slice(&password);
            literal.extend_from_slice(b"\r\n");
            let Ok(Command::Login { password: decoded, .. }) = decode(&literal) else {
                panic!("not a LOGIN");
            };
            prop_assert_eq!(decoded.expose(), &password[..]);

            let line: Vec<u8> = password.into_iter().filter(|byte| !b"\r\n".contains(byte)).collect();
            let mut quoted = b"a LOGIN bob \"".to_vec();
            for byte in &line {
                if b"\"\\".contains(byte) {
                    quoted.push(b'\\');
                }
                quoted.push(*byte);
            }
            quoted.extend_from_slice(b"\"\r\n");
            let Ok(Command::Login { password: decoded, .. }) = decode(&quoted) else {
                panic!("not a LOGIN");
            };
            prop_assert_eq!(decoded.expose(), &line[..]);
        }

        #[test]
        fn nothing_panics(
            verb in "(LOGIN|ID|AUTHENTICATE|NOOP)",
            rest in proptest::collection::vec(prop_oneof![Just(b' '), Just(b'"'), Just(b'{'), Just(b'}'), Just(b'('), Just(b'\\'), Just(b'\r'), Just(b'\n'), Just(b'3'), any::<u8>()], 0..80),
        ) {
            let mut bytes = format!("a {verb} ").into_bytes();
            bytes.extend_from_slice(&rest);
            let _ = decode(&bytes);
            bytes.extend_from_slice(b"\r\n");
            let _ = decode(&bytes);
            let _ = decode(&rest);
        }
    }
}
