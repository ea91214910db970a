//! Hides what may be a secret in a configuration file before any of its lines is shown.
//!
//! No key of ours holds a secret: they are read from files. An operator who writes one inline by mistake gets a problem
//! with a snippet, and the snippet must not carry the secret to a terminal, a log or a ticket.

use std::ops::Range;

/// Words in a key that say "secret".
const WORDS: [&str; 7] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "private_key",
    "credential",
];
/// Keys of ours that have such a word and hold no secret.
const HARMLESS: [&str; 1] = ["app_passwords"];

/// True for a key that by its name holds a secret itself.
pub(super) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    let names_file = key.ends_with("_file") || key.ends_with("_files");
    !names_file && !HARMLESS.contains(&key.as_str()) && WORDS.iter().any(|word| key.contains(word))
}

/// The text with the byte ranges given replaced by `*`, byte for byte, so that places stay true.
pub(super) fn hide(source: &str, ranges: &[Range<usize>]) -> String {
    let mut ranges = ranges.to_vec();
    ranges.sort_by_key(|range| range.start);
    let mut out = String::with_capacity(source.len());
    let mut done = 0;
    for range in ranges {
        let start = range.start.max(done);
        let (Some(open), Some(hidden)) = (source.get(done..start), source.get(start..range.end)) else {
            continue;
        };
        out.push_str(open);
        out.push_str(&stars(hidden));
        done = range.end;
    }
    out.push_str(source.get(done..).unwrap_or_default());
    out
}

/// The text with each secret-looking value replaced by `*`. Goes by lines, since the text may not be YAML at all: what
/// stands behind such a key, and all that is indented deeper below it.
pub(super) fn mask(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    // How deep the secret-looking key is whose value may go on.
    let mut below: Option<usize> = None;
    // Whether that value has not begun yet.
    let mut awaited = false;
    let mut pem = false;
    for line in source.split_inclusive('\n') {
        let indent = line
            .len()
            .saturating_sub(line.trim_start_matches([' ', '-', '\t']).len());
        let blank = line.trim().is_empty();
        let is_value = awaited && (!line.contains(':') || line.trim_start().starts_with(':'));
        if below.is_some_and(|key| indent <= key) && !blank && !is_value {
            below = None;
        }
        awaited &= blank;
        let begins = line.contains("-----BEGIN");
        let start = if below.is_some() || pem || begins {
            Some(indent.min(line.len()))
        } else {
            value_start(line)
                .or_else(|| explicit_key(line).then_some(line.len()))
                .inspect(|at| {
                    below = Some(indent);
                    awaited = line.get(*at..).is_some_and(|value| value.trim().is_empty());
                })
        };
        pem = (pem || begins) && !line.contains("-----END");
        let (open, hidden) = start
            .and_then(|at| line.split_at_checked(at))
            .unwrap_or((line, ""));
        out.push_str(open);
        out.push_str(&stars(hidden));
    }
    out
}

/// True for the first line of `? password`, whose value begins with the `:` of the next.
fn explicit_key(line: &str) -> bool {
    let key = line.trim().strip_prefix("? ").unwrap_or_default();
    is_secret_key(key.trim().trim_matches(['"', '\'']))
}

/// Where the value of a secret-looking key begins in a line.
fn value_start(line: &str) -> Option<usize> {
    // An inline comment behind `#` is no key, but hiding it costs nothing.
    let lower = line.to_ascii_lowercase();
    let mut searched = 0;
    while let Some(colon) = lower.get(searched..)?.find(':') {
        let at = searched.saturating_add(colon);
        searched = at.saturating_add(1);
        let before = lower.get(..at)?.trim_end().trim_end_matches(['"', '\'']);
        let key = before
            .rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
            .next()
            .unwrap_or_default();
        if is_secret_key(key) {
            return Some(searched);
        }
    }
    // `imap://user:password@host` in place of an address.
    let scheme = line.find("://")?;
    let userinfo = scheme.saturating_add(3);
    let rest = line.get(userinfo..)?;
    if rest.contains('@') {
        return Some(userinfo);
    }
    // A path or a query may be a token: `https://hooks.example.org/services/T0/…`.
    let authority = rest.find(['/', '?'])?;
    Some(userinfo.saturating_add(authority).saturating_add(1))
}

fn stars(text: &str) -> String {
    let keep = |c: char| c.is_whitespace();
    text.chars()
        .flat_map(|c| {
            let star = if keep(c) { c } else { '*' };
            let count = if keep(c) { 1 } else { c.len_utf8() };
            std::iter::repeat_n(star, count)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_token_in_a_url_is_hidden() {
        for (line, shown) in [
            (
                "url: https://hooks.example.org/services/T0",
                "url: https://hooks.example.org/***********",
            ),
            ("url: http://siem?token=abc", "url: http://siem?*********"),
            (
                "url: postgres:///d?password=hunter2",
                "url: postgres:///******************",
            ),
            (
                "address: https://siem.example.org",
                "address: https://siem.example.org",
            ),
        ] {
            assert_eq!(mask(line).trim_end(), shown);
        }
    }

    #[test]
    fn inline_secrets_are_hidden_and_nothing_moves() {
        let source = "\
a: 1
password: hünter2   # x
master: {user: m, \"client-secret\": hunter2}
password_file: /etc/x
app_passwords: {default_expiry: 90d}
tokens:
  - hunter2
  - hunter2
b: 2
key: |
  -----BEGIN PRIVATE KEY-----
  hunter2
  -----END PRIVATE KEY-----
passwd: >
    hunter2

    hunter2
api-token: 'hunter2
  hunter2'
address: imap://bob:hunter2@host:143
c: 3
";
        let masked = mask(source);
        assert!(
            !masked.contains("hunter2") && !masked.contains("nter2"),
            "{masked}"
        );
        assert_eq!(masked.len(), source.len());
        for kept in [
            "a: 1\n",
            "password: ********",
            "password_file: /etc/x\n",
            "default_expiry: 90d}\n",
            "b: 2\n",
            "c: 3\n",
        ] {
            assert!(masked.contains(kept), "{kept}: {masked}");
        }
    }
}
