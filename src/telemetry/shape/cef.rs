//! The Common Event Format: a header with bars, then `key=value`. Keys are those of its dictionary where it has one that means
//! the same; all others are made from the name of the field, behind `imapwarden` as the format wants it.

use std::fmt::Write;

use serde_json::Value;

use crate::telemetry::event::Event;
use crate::telemetry::field::Field;
use crate::telemetry::kind::Level;
use crate::telemetry::shape::facts;

pub(super) fn render(event: &Event, number: u64) -> String {
    let kind = event.kind();
    let mut line = format!(
        "CEF:0|imapwarden|imapwarden|{}|{}|{}|{}|",
        header(env!("CARGO_PKG_VERSION")),
        header(kind.code()),
        header(kind.summary()),
        severity(event),
    );
    let mut first = true;
    for (field, value) in facts(event, number) {
        let Some(key) = key(field) else { continue };
        let value = match (field, value) {
            (Field::Timestamp, _) => event.millis().to_string(),
            (_, Value::String(text)) => text,
            (_, Value::Array(items)) => items
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(" "),
            (_, other) => other.to_string(),
        };
        let space = if std::mem::take(&mut first) { "" } else { " " };
        // Writing to a String cannot fail.
        let _ = write!(line, "{space}{key}={}", extension(&value));
    }
    line
}

/// From 0 to 10: as bad as a rule calls it, or as loud as the kind is.
fn severity(event: &Event) -> u8 {
    match (event.severity(), event.kind().level()) {
        (Some(0..21), _) => 1,
        (Some(21..47), _) => 3,
        (Some(47..73), _) => 5,
        (Some(73..99), _) => 8,
        (Some(_), _) => 10,
        (None, Level::Info) => 3,
        (None, Level::Warn) => 6,
        (None, Level::Error) => 8,
    }
}

/// The key of a field; `None` where the header says it, or ECS alone wants it.
pub(super) fn key(field: Field) -> Option<String> {
    let known = match field {
        Field::Code | Field::Message | Field::Provider => return None,
        Field::EcsVersion | Field::Type | Field::Kind => return None,
        Field::Timestamp => "rt",
        Field::Action => "act",
        Field::Category => "cat",
        Field::Outcome => "outcome",
        Field::Reason => "reason",
        Field::Sequence => "externalId",
        Field::SourceIp => "src",
        Field::SourcePort => "spt",
        Field::NatIp => "sourceTranslatedAddress",
        Field::NatPort => "sourceTranslatedPort",
        Field::SourceBytes => "in",
        Field::DestinationBytes => "out",
        Field::NetworkProtocol => "app",
        Field::UserName => "suser",
        Field::AccountName => "duser",
        Field::UserAgentName => "requestClientApplication",
        Field::ProcessPid => "dvcpid",
        Field::FilePath => "filePath",
        Field::ErrorMessage => "msg",
        other => return Some(own(other.path())),
    };
    Some(known.to_owned())
}

/// `tls.client.ja4` as `imapwardenTlsClientJa4`.
fn own(path: &str) -> String {
    let mut key = "imapwarden".to_owned();
    for word in path.strip_prefix("imapwarden.").unwrap_or(path).split(['.', '_']) {
        let mut letters = word.chars();
        key.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        key.push_str(letters.as_str());
    }
    key
}

/// A field of the header: bars and backslashes are escaped, a line break cannot be there.
fn header(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('|', "\\|");
    text.replace(['\r', '\n'], " ")
}

/// A value of the extension: equals signs, backslashes and line breaks are escaped.
fn extension(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('=', "\\=");
    text.replace('\n', "\\n").replace('\r', "\\r")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_be_broken_out_of() {
        assert_eq!(header("a|b\\c\nd"), "a\\|b\\\\c d");
        assert_eq!(extension("a=b|c\\d\r\ne"), "a\\=b|c\\\\d\\r\\ne");
    }

    #[test]
    fn keys_of_ours_are_letters_and_digits() {
        assert_eq!(own("tls.client.server_name"), "imapwardenTlsClientServerName");
        assert_eq!(own("imapwarden.app_password.id"), "imapwardenAppPasswordId");
        let mut keys: Vec<_> = Field::ALL.iter().filter_map(|field| key(*field)).collect();
        assert!(
            keys.iter()
                .all(|key| key.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        );
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count, "two fields have one key");
    }
}
