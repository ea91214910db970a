//! What a client says about itself in ID (RFC 2971). Anybody can say anything: fit for events and rules, never for trust.

use crate::imap::codec::IdField;

/// Longest field name (RFC 2971, section 3.3).
const MAX_NAME: usize = 30;

/// Longest value kept, as for all text of peers in events.
const MAX_VALUE: usize = 160;

/// Most bytes kept of one client.
const MAX_TOTAL: usize = 1024;

/// The fields of the client's last ID command: printable, bounded, names in lower case, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientId(Vec<(String, Option<String>)>);

impl ClientId {
    /// Keeps what is worth keeping. Names beginning with `x-` are not: to a backend that trusts our address, `x-originating-ip`
    /// from a client would be a forged source.
    pub(super) fn new(fields: Vec<IdField>) -> Self {
        let mut kept: Vec<(String, Option<String>)> = Vec::new();
        let mut total = 0;
        for (name, value) in fields {
            let name = printable(&name, MAX_NAME).to_lowercase();
            let value = value.map(|value| printable(&value, MAX_VALUE));
            total += name.len() + value.as_ref().map_or(0, String::len);
            if total > MAX_TOTAL {
                break;
            }
            let known = kept.iter().any(|(other, _)| *other == name);
            if !name.is_empty() && !name.starts_with("x-") && !known {
                kept.push((name, value));
            }
        }
        kept.shrink_to_fit();
        Self(kept)
    }

    /// The value of a field such as `name` or `version`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(other, _)| *other == name)
            .and_then(|(_, value)| value)
    }

    /// Bytes held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let texts = self
            .0
            .iter()
            .map(|(name, value)| name.capacity() + value.as_ref().map_or(0, String::capacity));
        texts.sum::<usize>() + self.0.capacity() * size_of::<(String, Option<String>)>()
    }

    /// All fields, in the client's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
    }
}

/// The text with everything replaced that could deceive a reader or a log.
fn printable(bytes: &[u8], max: usize) -> String {
    let mut text = String::new();
    for c in String::from_utf8_lossy(bytes).chars() {
        let c = if c.is_alphanumeric() || matches!(c, ' '..='~') {
            c
        } else {
            '?'
        };
        if text.len() + c.len_utf8() > max {
            break;
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(fields: &[(&str, Option<&str>)]) -> ClientId {
        ClientId::new(
            fields
                .iter()
                .map(|(name, value)| {
                    (
                        name.as_bytes().to_vec(),
                        value.map(|value| value.as_bytes().to_vec()),
                    )
                })
                .collect(),
        )
    }

    #[test]
    fn fields_are_kept_in_order_with_names_in_lower_case() {
        let id = id(&[("Name", Some("Thunderbird")), ("version", None)]);
        assert_eq!(id.field("name"), Some("Thunderbird"));
        assert_eq!(id.field("version"), None);
        assert_eq!(id.iter().count(), 2);
    }

    #[test]
    fn a_client_cannot_state_its_origin_or_a_field_twice() {
        let id = id(&[
            ("X-Originating-IP", Some("192.0.2.1")),
            ("name", Some("a")),
            ("NAME", Some("b")),
            ("", Some("c")),
        ]);
        assert_eq!(id.iter().collect::<Vec<_>>(), [("name", Some("a"))]);
    }

    #[test]
    fn text_that_deceives_is_replaced_and_long_text_cut() {
        let id = id(&[
            ("name", Some("a\r\nb\u{202e}c\u{1b}[1m\0")),
            ("os", Some(&"é".repeat(200))),
        ]);
        assert_eq!(id.field("name"), Some("a??b?c?[1m?"));
        assert_eq!(id.field("os").map(str::len), Some(MAX_VALUE));
    }

    #[test]
    fn what_is_kept_of_one_client_is_bounded() {
        let long = "x".repeat(5000);
        let names: Vec<_> = (0..30).map(|n| format!("field{n}")).collect();
        let fields: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), Some(long.as_str())))
            .collect();
        let kept: usize = id(&fields)
            .iter()
            .map(|(name, value)| name.len() + value.map_or(0, str::len))
            .sum();
        assert!(kept <= MAX_TOTAL, "{kept}");
    }
}
