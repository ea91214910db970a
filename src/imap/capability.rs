//! Which capabilities of a backend may reach a client: an allow-list, so that what we do not know stays hidden.
//!
//! Removed on purpose: COMPRESS (after it nothing can be inspected), STARTTLS, AUTH=, LOGINDISABLED and SASL-IR (login is
//! ours), UNAUTHENTICATE (it changes who speaks), SCRAM-*-PLUS (a terminator cannot relay a channel binding). LITERAL+ is
//! ours to offer: towards the backend every literal waits for its go-ahead.

/// Capabilities that pass, in upper case (IANA's IMAP registry, and what servers in service offer besides).
const KNOWN: &[&str] = &[
    "ACL",
    "ANNOTATE-EXPERIMENT-1",
    "ANNOTATEMORE",
    "ANNOTATEMORE2",
    "BINARY",
    "CATENATE",
    "CHILDREN",
    "CONDSTORE",
    "CONVERT",
    "CREATE-SPECIAL-USE",
    "DIGEST",
    "ENABLE",
    "ESEARCH",
    "ESORT",
    "FILTERS",
    "ID",
    "IDLE",
    "IMAP4",
    "IMAP4REV1",
    "IMAP4REV2",
    "INPROGRESS",
    "JMAPACCESS",
    "LANGUAGE",
    "LIST-EXTENDED",
    "LIST-METADATA",
    "LIST-MYRIGHTS",
    "LIST-STATUS",
    "MAILBOX-REFERRALS",
    "METADATA",
    "METADATA-SERVER",
    "MOVE",
    "MULTIAPPEND",
    "MULTISEARCH",
    "NAMESPACE",
    "NOTIFY",
    "OBJECTID",
    "PARTIAL",
    "PREVIEW",
    "QRESYNC",
    "QUOTA",
    "QUOTASET",
    "RECENT",
    "REPLACE",
    "SAVEDATE",
    "SCAN",
    "SEARCH=FUZZY",
    "SEARCHRES",
    "SNIPPET=FUZZY",
    "SORT",
    "SORT=DISPLAY",
    "SORT=MODSEQ",
    "SPECIAL-USE",
    "STATUS=SIZE",
    "THREAD",
    "UIDBATCHES",
    "UIDONLY",
    "UIDPLUS",
    "UNSELECT",
    "URL-PARTIAL",
    "URLAUTH",
    "URLAUTH=BINARY",
    "URLFETCH=BINARY",
    "WITHIN",
    "X-GM-EXT-1",
    "X-QUOTA=STORAGE",
    "XLIST",
];

/// Capabilities that pass with anything behind these words.
const PREFIXES: &[&str] = &[
    "ACL2=",
    "APPENDLIMIT",
    "COMPARATOR=",
    "CONTEXT=",
    "I18NLEVEL=",
    "MESSAGELIMIT=",
    "PREVIEW=",
    "QUOTA=",
    "RIGHTS=",
    "SAVELIMIT=",
    "SEARCH=",
    "SNIPPET=",
    "STATUS=",
    "THREAD=",
    "UTF8=",
];

/// What may be shown of capabilities beyond [`KNOWN`], or not even of these.
#[derive(Debug, Clone, Copy)]
pub struct Allowed<'a> {
    /// Words that the operator lets pass.
    pub extra: &'a [Box<[u8]>],
    /// Gmail's labels. Clients that see them announced ask for them with every message, and go without none.
    pub labels: bool,
}

/// The capabilities to show a client, from the backend's list: words separated by single spaces, in the backend's order, with
/// LITERAL+ at the end.
#[must_use]
pub fn filtered(words: &[u8], allowed: Allowed<'_>) -> Vec<u8> {
    let mut shown = Vec::with_capacity(words.len() + 10);
    for word in words.split(|byte| matches!(byte, b' ' | b'\r' | b'\n')) {
        if passes(word, allowed) {
            shown.extend_from_slice(word);
            shown.push(b' ');
        }
    }
    shown.extend_from_slice(b"LITERAL+");
    shown
}

fn passes(word: &[u8], allowed: Allowed<'_>) -> bool {
    if !allowed.labels && word.eq_ignore_ascii_case(b"X-GM-EXT-1") {
        return false;
    }
    let is_known = |known: &&str| word.eq_ignore_ascii_case(known.as_bytes());
    let has_prefix = |prefix: &&str| {
        word.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    KNOWN.iter().any(is_known)
        || PREFIXES.iter().any(has_prefix)
        || allowed.extra.iter().any(|extra| word.eq_ignore_ascii_case(extra))
}

/// A status line with the words of its `[CAPABILITY …]` code filtered; nothing where it has no such code. `code_at` is
/// where a response code may start: behind the status word and its space.
#[must_use]
pub fn filtered_code(line: &[u8], code_at: usize, allowed: Allowed<'_>) -> Option<Vec<u8>> {
    const CODE: &[u8] = b"[CAPABILITY ";
    let (head, code) = line.split_at_checked(code_at)?;
    let (opening, words) = code.split_at_checked(CODE.len())?;
    if !opening.eq_ignore_ascii_case(CODE) {
        return None;
    }
    let end = memchr::memchr(b']', words)?;
    let (words, rest) = words.split_at_checked(end)?;
    Some([head, opening, &filtered(words, allowed), rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Allowed<'_> = Allowed {
        extra: &[],
        labels: true,
    };

    fn shown(words: &str) -> String {
        String::from_utf8(filtered(words.as_bytes(), ALL)).unwrap()
    }

    #[test]
    fn labels_are_not_announced_where_they_are_refused() {
        let words = b"IMAP4rev1 X-GM-EXT-1 IDLE";
        assert_eq!(filtered(words, ALL), b"IMAP4rev1 X-GM-EXT-1 IDLE LITERAL+");
        let without = Allowed { labels: false, ..ALL };
        assert_eq!(filtered(words, without), b"IMAP4rev1 IDLE LITERAL+");
    }

    #[test]
    fn what_would_blind_us_or_mislead_the_client_is_removed() {
        assert_eq!(
            shown(
                "IMAP4rev1 STARTTLS AUTH=PLAIN LOGINDISABLED COMPRESS=DEFLATE UNAUTHENTICATE IDLE SASL-IR LITERAL- X-UNKNOWN SCRAM-SHA-1-PLUS"
            ),
            "IMAP4rev1 IDLE LITERAL+"
        );
    }

    #[test]
    fn dovecots_list_keeps_every_extension_we_relay() {
        let list = "IMAP4rev1 ID ENABLE IDLE SORT SORT=DISPLAY THREAD=REFERENCES THREAD=REFS MULTIAPPEND URL-PARTIAL CATENATE UNSELECT CHILDREN NAMESPACE UIDPLUS LIST-EXTENDED I18NLEVEL=1 CONDSTORE QRESYNC ESEARCH ESORT SEARCHRES WITHIN CONTEXT=SEARCH LIST-STATUS BINARY MOVE SNIPPET=FUZZY PREVIEW=FUZZY PREVIEW STATUS=SIZE SAVEDATE METADATA SPECIAL-USE NOTIFY QUOTA ACL RIGHTS=texk";
        assert_eq!(shown(list), format!("{list} LITERAL+"));
    }

    #[test]
    fn the_operator_can_let_a_word_pass() {
        let extra: [Box<[u8]>; 1] = [b"XAPPLEPUSHSERVICE".as_slice().into()];
        assert_eq!(
            filtered(b"xapplepushservice", Allowed { extra: &extra, ..ALL }),
            b"xapplepushservice LITERAL+"
        );
    }

    #[test]
    fn a_code_in_a_status_line_is_filtered_and_the_rest_left_alone() {
        let line = b"a OK [CAPABILITY IMAP4rev1 COMPRESS=DEFLATE] Logged in\r\n";
        assert_eq!(
            filtered_code(line, 5, ALL).unwrap(),
            b"a OK [CAPABILITY IMAP4rev1 LITERAL+] Logged in\r\n"
        );
        assert_eq!(filtered_code(b"* OK [UIDNEXT 4] x\r\n", 5, ALL), None);
        assert_eq!(filtered_code(b"* OK\r\n", 5, ALL), None);
        assert_eq!(filtered_code(b"* OK [CAPABILITY x\r\n", 5, ALL), None);
    }
}
