//! Reads one response of a backend: untagged data, `+`, or the tagged answer. Anything else is a failure, never a guess.

use crate::session::backend_login::failure::LoginFailure;

/// What a response is; texts without their line end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// `* CAPABILITY …`: the words.
    Capabilities(Vec<u8>),
    /// `* BYE …`.
    Bye(&'a [u8]),
    /// Any other untagged data; servers may send it at any time (RFC 3501, section 5.2).
    Untagged,
    /// `+ …`.
    Continuation,
    /// `tag OK|NO|BAD …`.
    Tagged {
        /// The tag as it came.
        tag: &'a [u8],
        /// Its outcome.
        status: Status,
        /// The response code, without brackets.
        code: Option<&'a [u8]>,
        /// All behind the status, the code included.
        text: &'a [u8],
    },
}

/// The outcome of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    No,
    Bad,
}

/// A greeting (RFC 3501, section 7.1): its capabilities, if it lists them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeting<'a> {
    Ok(Option<Vec<u8>>),
    Preauth,
    Bye(&'a [u8]),
}

/// Reads a response that is not the greeting.
pub(super) fn read(response: &[u8]) -> Result<Answer<'_>, LoginFailure> {
    let line = first_line(response);
    if let Some(data) = line.strip_prefix(b"* ") {
        let (word, rest) = split_word(data);
        if word.is_empty() {
            return Err(LoginFailure::Malformed);
        }
        if word.eq_ignore_ascii_case(b"CAPABILITY") {
            return Ok(Answer::Capabilities(words(rest)));
        }
        if word.eq_ignore_ascii_case(b"BYE") {
            return Ok(Answer::Bye(rest));
        }
        return Ok(Answer::Untagged);
    }
    if line == b"+" || line.starts_with(b"+ ") {
        return Ok(Answer::Continuation);
    }
    let (tag, rest) = split_word(line);
    let (status, text) = split_word(rest);
    if tag.is_empty() || !tag.iter().all(u8::is_ascii_graphic) {
        return Err(LoginFailure::Malformed);
    }
    Ok(Answer::Tagged {
        tag,
        status: read_status(status).ok_or(LoginFailure::Malformed)?,
        code: code(text),
        text,
    })
}

fn read_status(word: &[u8]) -> Option<Status> {
    let known = [("OK", Status::Ok), ("NO", Status::No), ("BAD", Status::Bad)];
    let is_it = |(name, _): &(&str, Status)| word.eq_ignore_ascii_case(name.as_bytes());
    known.into_iter().find(is_it).map(|(_, status)| status)
}

/// Reads the greeting.
pub(super) fn greeting(response: &[u8]) -> Result<Greeting<'_>, LoginFailure> {
    let data = first_line(response).strip_prefix(b"* ");
    let (word, text) = split_word(data.ok_or(LoginFailure::MalformedGreeting)?);
    if word.eq_ignore_ascii_case(b"OK") {
        Ok(Greeting::Ok(code(text).and_then(capabilities_in)))
    } else if word.eq_ignore_ascii_case(b"PREAUTH") {
        Ok(Greeting::Preauth)
    } else if word.eq_ignore_ascii_case(b"BYE") {
        Ok(Greeting::Bye(text))
    } else {
        Err(LoginFailure::MalformedGreeting)
    }
}

/// The words of a `CAPABILITY …` response code.
pub(super) fn capabilities_in(code: &[u8]) -> Option<Vec<u8>> {
    let (name, rest) = split_word(code);
    name.eq_ignore_ascii_case(b"CAPABILITY").then(|| words(rest))
}

/// True where the list has the word; capabilities know no case (RFC 3501, section 7.2.1).
pub(super) fn offers(capabilities: &[u8], word: &str) -> bool {
    capabilities
        .split(|byte| *byte == b' ')
        .any(|listed| listed.eq_ignore_ascii_case(word.as_bytes()))
}

/// A tagged NO that says nothing about the credentials (RFC 5530, section 3; REFERRAL: RFC 2221). CONTACTADMIN is no such
/// code: a server says it of locked accounts, and a guess must count as one.
pub(super) fn is_trouble(code: Option<&[u8]>) -> bool {
    const TROUBLE: [&[u8]; 8] = [
        b"UNAVAILABLE",
        b"INUSE",
        b"LIMIT",
        b"SERVERBUG",
        b"CLIENTBUG",
        b"CORRUPTION",
        b"PRIVACYREQUIRED",
        b"REFERRAL",
    ];
    let name = code.map(|code| split_word(code).0);
    name.is_some_and(|name| TROUBLE.iter().any(|word| name.eq_ignore_ascii_case(word)))
}

fn first_line(response: &[u8]) -> &[u8] {
    let line = response.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b' ', text) {
        Some(at) => (
            text.get(..at).unwrap_or_default(),
            text.get(at + 1..).unwrap_or_default(),
        ),
        None => (text, &[]),
    }
}

/// What stands in the brackets at the beginning of a text.
fn code(text: &[u8]) -> Option<&[u8]> {
    let inside = text.strip_prefix(b"[")?;
    inside.get(..memchr::memchr(b']', inside)?)
}

/// Capability words, one space between them. A word that is no atom cannot be passed on and is left out.
fn words(list: &[u8]) -> Vec<u8> {
    let is_atom = |word: &&[u8]| !word.is_empty() && word.iter().all(|byte| is_atom_byte(*byte));
    let atoms: Vec<&[u8]> = list.split(|byte| *byte == b' ').filter(is_atom).collect();
    atoms.join(&b' ')
}

fn is_atom_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_told_apart() {
        assert_eq!(read(b"* 3 EXISTS\r\n"), Ok(Answer::Untagged));
        assert_eq!(read(b"* OK [ALERT] x\r\n"), Ok(Answer::Untagged));
        assert_eq!(read(b"* bye so long\r\n"), Ok(Answer::Bye(b"so long")));
        assert_eq!(read(b"+\r\n"), Ok(Answer::Continuation));
        assert_eq!(read(b"+ go on\r\n"), Ok(Answer::Continuation));
        assert_eq!(
            read(b"* Capability  A  b\"c D=E \r\n"),
            Ok(Answer::Capabilities(b"A D=E".to_vec()))
        );
        let tagged = Answer::Tagged {
            tag: b"t",
            status: Status::No,
            code: Some(b"LIMIT x"),
            text: b"[LIMIT x] text]",
        };
        assert_eq!(read(b"t no [LIMIT x] text]\r\n"), Ok(tagged));
    }

    #[test]
    fn what_is_no_response_is_malformed() {
        for line in [
            "",
            "*",
            "* ",
            "+x",
            "tag",
            "tag ",
            "tag OKAY x",
            " OK x",
            "tag  OK x",
            "t\x01 OK",
            "**",
        ] {
            let response = [line.as_bytes(), b"\r\n"].concat();
            assert_eq!(read(&response), Err(LoginFailure::Malformed), "{line:?}");
        }
    }

    #[test]
    fn real_greetings_are_understood() {
        let with = |list: &str| Ok(Greeting::Ok(Some(list.as_bytes().to_vec())));
        let cases = [
            (
                "* OK [CAPABILITY IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ AUTH=PLAIN] Dovecot ready.",
                with("IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ AUTH=PLAIN"),
            ),
            (
                "* OK [CAPABILITY IMAP4rev1 UIDPLUS THREAD=ORDEREDSUBJECT IDLE ACL ACL2=UNION] Courier-IMAP ready.",
                with("IMAP4rev1 UIDPLUS THREAD=ORDEREDSUBJECT IDLE ACL ACL2=UNION"),
            ),
            (
                "* OK [CAPABILITY IMAP4rev1 LITERAL+ ID ENABLE AUTH=PLAIN SASL-IR] mail Cyrus IMAP 3.6.1-Debian server ready",
                with("IMAP4rev1 LITERAL+ ID ENABLE AUTH=PLAIN SASL-IR"),
            ),
            ("* OK IMAP4rev1", Ok(Greeting::Ok(None))),
            (
                "* OK The Microsoft Exchange IMAP4 service is ready.",
                Ok(Greeting::Ok(None)),
            ),
            ("* ok", Ok(Greeting::Ok(None))),
            (
                "* PREAUTH IMAP4rev1 server logged in as Smith",
                Ok(Greeting::Preauth),
            ),
            ("* BYE too busy", Ok(Greeting::Bye(b"too busy"))),
            ("+OK POP3 ready", Err(LoginFailure::MalformedGreeting)),
            ("220 mail ESMTP", Err(LoginFailure::MalformedGreeting)),
            ("HTTP/1.1 400 Bad Request", Err(LoginFailure::MalformedGreeting)),
            ("* NO not now", Err(LoginFailure::MalformedGreeting)),
            ("* CAPABILITY IMAP4rev1", Err(LoginFailure::MalformedGreeting)),
            ("", Err(LoginFailure::MalformedGreeting)),
        ];
        for (line, expected) in cases {
            assert_eq!(greeting(&[line.as_bytes(), b"\r\n"].concat()), expected, "{line}");
        }
    }

    #[test]
    fn only_trouble_of_the_backend_is_trouble() {
        for code in [
            "UNAVAILABLE",
            "unavailable",
            "INUSE",
            "LIMIT",
            "SERVERBUG",
            "PRIVACYREQUIRED",
            "REFERRAL imap://x",
        ] {
            assert!(is_trouble(Some(code.as_bytes())), "{code}");
        }
        for code in [
            "AUTHENTICATIONFAILED",
            "AUTHORIZATIONFAILED",
            "EXPIRED",
            "CONTACTADMIN",
            "ALERT",
            "UNAVAILABLEX",
            "",
        ] {
            assert!(!is_trouble(Some(code.as_bytes())), "{code}");
        }
        assert!(!is_trouble(None));
    }

    #[test]
    fn capabilities_are_found_whole_and_in_any_case() {
        assert!(offers(b"IMAP4rev1 AUTH=plain ID", "AUTH=PLAIN"));
        assert!(!offers(b"IMAP4rev1 AUTH=PLAINX SASL-IRX", "SASL-IR"));
        assert!(!offers(b"", "ID"));
    }
}
