//! Hides what may be a secret in a configuration file before any of its lines is shown.
//!
//! No key of ours holds a secret: they are read from files. An operator who writes one inline by mistake gets a problem
//! with a snippet, and the snippet must not carry the secret to a terminal, a log or a ticket.

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

/// The text with each secret-looking value replaced by `*`, byte for byte, so that places stay true.
pub(super) fn mask(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut block: Option<usize> = None;
    let mut pem = false;
    for line in source.split_inclusive('\n') {
        let indent = line
            .len()
            .saturating_sub(line.trim_start_matches([' ', '-']).len());
        if block.is_some_and(|parent| indent <= parent && !line.trim().is_empty()) {
            block = None;
        }
        let begins = line.contains("-----BEGIN");
        let from = if block.is_some() || pem || begins {
            Some(indent.min(line.len()))
        } else {
            value_start(line)
        };
        pem = (pem || begins) && !line.contains("-----END");
        let Some((open, hidden)) = from.and_then(|at| line.split_at_checked(at)) else {
            out.push_str(line);
            continue;
        };
        if block.is_none() && !pem && !begins && opens_block(hidden) {
            block = Some(indent);
        }
        out.push_str(open);
        out.push_str(&stars(hidden));
    }
    out
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
            .unwrap_or_default()
            .replace('-', "_");
        let names_file = key.ends_with("_file") || key.ends_with("_files");
        let secret = WORDS.iter().any(|word| key.contains(word));
        if secret && !names_file && !HARMLESS.contains(&key.as_str()) {
            return Some(searched);
        }
    }
    // `imap://user:password@host` in place of an address.
    let scheme = line.find("://")?;
    let userinfo = scheme.saturating_add(3);
    line.get(userinfo..)?.contains('@').then_some(userinfo)
}

/// True where the value goes on in the lines below.
fn opens_block(value: &str) -> bool {
    let value = value.trim();
    value.is_empty() || value.starts_with(['|', '>'])
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
