//! Writes the commands of a backend login, correct for every byte a name or password can hold. Everything is built at its
//! final size: a buffer that grows would leave an unwiped copy of the password behind.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::types::Secret;

/// `LOGIN name password`, cut where the backend must say `+` first: each part but the last ends in a synchronising literal
/// (RFC 3501, section 4.3).
///
/// Never a non-synchronising one: a backend that rejects what stands before it would run its bytes as commands.
pub(super) fn login(tag: &str, name: &[u8], password: &Secret) -> Vec<Secret> {
    let mut parts = Vec::new();
    let mut current = buffer(tag.len() + name.len() + password.len());
    current.extend_from_slice(tag.as_bytes());
    current.extend_from_slice(b" LOGIN ");
    for (value, end) in [(name, &b" "[..]), (password.expose(), b"\r\n")] {
        if is_quotable(value) {
            quote(&mut current, value);
        } else {
            current.extend_from_slice(format!("{{{}}}\r\n", value.len()).as_bytes());
            parts.push(Secret::new(current));
            current = buffer(value.len() + password.len());
            current.extend_from_slice(value);
        }
        current.extend_from_slice(end);
    }
    parts.push(Secret::new(current));
    parts
}

/// `AUTHENTICATE PLAIN` (RFC 4616): in one piece where the backend takes initial responses (RFC 4959), else in two. A
/// server without SASL-IR must not get one: some hang, some read it as the next command.
pub(super) fn plain(tag: &str, message: &Secret, initial_response: bool) -> Vec<Secret> {
    let encoded = encode(message);
    let mut command = buffer(tag.len() + encoded.len());
    command.extend_from_slice(tag.as_bytes());
    command.extend_from_slice(b" AUTHENTICATE PLAIN");
    if initial_response {
        command.extend_from_slice(b" ");
        command.extend_from_slice(encoded.expose());
        command.extend_from_slice(b"\r\n");
        return vec![Secret::new(command)];
    }
    command.extend_from_slice(b"\r\n");
    let mut response = buffer(encoded.len());
    response.extend_from_slice(encoded.expose());
    response.extend_from_slice(b"\r\n");
    vec![Secret::new(command), Secret::new(response)]
}

/// The message of PLAIN: whom to act for (empty: oneself), who proves it, and how.
pub(super) fn plain_message(authzid: &[u8], authcid: &[u8], password: &Secret) -> Secret {
    let mut message = buffer(authzid.len() + authcid.len() + password.len());
    message.extend_from_slice(authzid);
    message.push(0);
    message.extend_from_slice(authcid);
    message.push(0);
    message.extend_from_slice(password.expose());
    Secret::new(message)
}

/// Base64, with padding.
pub(super) fn encode(bytes: &Secret) -> Secret {
    let mut encoded = String::with_capacity(bytes.len().div_ceil(3) * 4);
    STANDARD.encode_string(bytes.expose(), &mut encoded);
    Secret::new(encoded.into_bytes())
}

/// `ID` with the fields given (RFC 2971): at most 30, names of at most 30 bytes, values of at most 255, which is what old Dovecots parse.
pub(super) fn id(tag: &str, fields: &[(String, String)]) -> Secret {
    let mut command = format!("{tag} ID (").into_bytes();
    for (at, (name, value)) in fields.iter().take(30).enumerate() {
        if at > 0 {
            command.push(b' ');
        }
        quote(&mut command, &printable(name, 30));
        command.push(b' ');
        quote(&mut command, &printable(value, 255));
    }
    command.extend_from_slice(b")\r\n");
    Secret::new(command)
}

/// A command that is one word.
pub(super) fn bare(tag: &str, verb: &str) -> Secret {
    Secret::new(format!("{tag} {verb}\r\n").into_bytes())
}

/// The value as a quoted string, with room for escapes: what a peer would repeat of it.
pub(super) fn quoted(value: &Secret) -> Secret {
    let mut out = buffer(value.len());
    quote(&mut out, value.expose());
    Secret::new(out)
}

/// Room for a value of `length` bytes, all escaped, and for the words around it.
fn buffer(length: usize) -> Vec<u8> {
    Vec::with_capacity(2 * length + 64)
}

/// Quoted strings hold printable ASCII; all else travels as a literal, 8-bit names included (RFC 3501, section 9).
fn is_quotable(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, 0x20..=0x7e))
}

fn quote(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

fn printable(text: &str, most: usize) -> Vec<u8> {
    let clean = |byte| if matches!(byte, 0x20..=0x7e) { byte } else { b'?' };
    text.bytes().take(most).map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(parts: &[Secret]) -> Vec<&[u8]> {
        parts.iter().map(Secret::expose).collect()
    }

    #[test]
    fn printable_values_are_quoted_and_others_are_literals() {
        type Parts<'a> = &'a [&'a [u8]];
        let cases: [(&str, &[u8], Parts<'_>); 5] = [
            ("alice", b"a b", &[b"t LOGIN \"alice\" \"a b\"\r\n"]),
            (
                "a\"\\b",
                b"\"\\\"",
                &[b"t LOGIN \"a\\\"\\\\b\" \"\\\"\\\\\\\"\"\r\n"],
            ),
            ("alice", b"a\r\nb", &[b"t LOGIN \"alice\" {4}\r\n", b"a\r\nb\r\n"]),
            ("\u{fc}", b"x", &[b"t LOGIN {2}\r\n", b"\xc3\xbc \"x\"\r\n"]),
            (
                "\u{fc}",
                b"\xff",
                &[b"t LOGIN {2}\r\n", b"\xc3\xbc {1}\r\n", b"\xff\r\n"],
            ),
        ];
        for (name, password, expected) in cases {
            let command = login("t", name.as_bytes(), &Secret::from(password));
            assert_eq!(parts(&command), expected);
        }
    }

    #[test]
    fn plain_follows_rfc_4616_and_sends_an_initial_response_only_where_asked() {
        let message = plain_message(b"", b"tim", &Secret::from("tanstaaftanstaaf"));
        assert_eq!(message.expose(), b"\0tim\0tanstaaftanstaaf");
        let whole = plain("t", &message, true);
        let expected = &b"t AUTHENTICATE PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n"[..];
        assert_eq!(parts(&whole), [expected]);
        let halves = plain("t", &message, false);
        assert_eq!(
            parts(&halves),
            [
                &b"t AUTHENTICATE PLAIN\r\n"[..],
                b"AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n"
            ]
        );
    }

    #[test]
    fn no_buffer_with_a_password_ever_grows() {
        let password = Secret::new(vec![b'"'; 4096]);
        let capacity = buffer(4096 + 5 + 1).capacity();
        let command = login("t", b"alice", &password);
        assert!(command.iter().all(|part| part.len() <= capacity));
        let message = plain_message(b"alice", b"m", &password);
        assert!(
            plain("t", &message, true)
                .iter()
                .all(|part| part.len() <= 2 * message.len() + 64)
        );
        assert_eq!(quoted(&password).len(), 2 * 4096 + 2);
    }

    #[test]
    fn id_fields_cannot_break_out_of_their_string() {
        let fields = [
            ("x-a\"".to_owned(), "1\\\r\n2 OK\u{e9}".to_owned()),
            ("n".repeat(40), "v".repeat(2000)),
        ];
        let command = id("t", &fields);
        let text = String::from_utf8(command.expose().to_vec()).unwrap();
        assert!(text.starts_with("t ID (\"x-a\\\"\" \"1\\\\??2 OK??\" \"nnn"));
        assert!(text.ends_with("v\")\r\n"));
        assert_eq!(text.matches("\r\n").count(), 1);
        assert_eq!((text.matches('n').count(), text.matches('v').count()), (30, 255));
    }
}
