//! What a client says it is in an ID command after the login (RFC 2971).

use std::sync::Arc;

use crate::imap::command::Command;
use crate::imap::lexer::Token;
use crate::imap::lexer::tokens;
use crate::imap::lexer::unescaped;
use crate::policy::facts::Client;
use crate::policy::family::Family;
use crate::policy::family::Identity;

/// Most fields of an ID command (RFC 2971, section 3.3).
const MAX_FIELDS: usize = 30;

/// Longest value that is kept, in bytes.
const MAX_TEXT: usize = 256;

/// The client as it describes itself; `None` where it says nothing (`ID NIL`).
pub(super) fn client(command: &Command<'_>, bytes: &[u8], known: &Client) -> Option<Client> {
    let behind = bytes.get(command.tag.len()..)?;
    let all = tokens(behind, 0).ok()?.tokens;
    let mut strings = all
        .iter()
        .skip(1)
        .filter(|token| !matches!(token, Token::Open | Token::Close));
    let mut said = Client {
        is_new_for_user: known.is_new_for_user,
        ..Client::default()
    };
    for _ in 0..MAX_FIELDS {
        let (Some(name), Some(value)) = (strings.next(), strings.next()) else {
            break;
        };
        let (Some(name), value) = (text(name), text(value)) else {
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "name" => said.name = value,
            "version" => said.version = value,
            "os" => said.os = value,
            "vendor" => said.vendor = value,
            _ => {}
        }
    }
    let family = Family::of(&Identity {
        name: said.name.as_deref(),
        vendor: said.vendor.as_deref(),
        os: said.os.as_deref(),
        version: said.version.as_deref(),
    });
    if family == Family::None {
        return None;
    }
    said.family = Some(family.as_str().into());
    // Another family than at the login is another question to the store, which was not asked.
    if said.family != known.family {
        said.is_new_for_user = None;
    }
    Some(said)
}

/// A string of bounded length; nothing for NIL.
fn text(token: &Token<'_>) -> Option<Arc<str>> {
    let bytes = match token {
        Token::Quoted(text) => unescaped(text),
        Token::Literal(text) => text.to_vec(),
        Token::Word(word) if !word.eq_ignore_ascii_case(b"NIL") => word.to_vec(),
        _ => return None,
    };
    let text = String::from_utf8_lossy(&bytes);
    let end = text.floor_char_boundary(MAX_TEXT);
    text.get(..end).map(Arc::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Client> {
        let bytes = format!("a {line}\r\n").into_bytes();
        let command = Command::read(&bytes, &[]).unwrap();
        client(&command, &bytes, &Client::default())
    }

    #[test]
    fn a_client_is_what_it_says() {
        let client = read("ID (\"name\" \"Thunderbird\" \"version\" \"128.5\" \"os\" NIL)").unwrap();
        assert_eq!(client.name.as_deref(), Some("Thunderbird"));
        assert_eq!(client.version.as_deref(), Some("128.5"));
        assert_eq!((client.os, client.family.as_deref()), (None, Some("thunderbird")));
        assert_eq!(read("ID NIL"), None);
        assert_eq!(read("ID ()"), None);
    }

    #[test]
    fn what_a_client_says_is_bounded() {
        let long = "x".repeat(5000);
        let client = read(&format!("ID (\"NAME\" \"{long}\")")).unwrap();
        assert_eq!(client.name.map(|name| name.len()), Some(MAX_TEXT));
    }
}
