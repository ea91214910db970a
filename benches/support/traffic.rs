//! What goes through a session: about as much of each kind as is asked for.

/// Messages of 50 KiB, as a client fetches them for offline use.
pub(crate) fn literals(total: usize) -> Vec<u8> {
    let body = "A line of text as long as most, in a message of the usual size.\r\n".repeat(800);
    repeated(total, |number| {
        format!(
            "* {number} FETCH (UID {number} FLAGS (\\Seen) BODY[] {{{}}}\r\n{body})\r\n",
            body.len()
        )
    })
}

/// Lines without literals, as a client fetches them for its list of messages.
pub(crate) fn envelopes(total: usize) -> Vec<u8> {
    repeated(total, |number| {
        format!(
            "* {number} FETCH (UID {number} RFC822.SIZE 48211 FLAGS (\\Seen) INTERNALDATE \"17-Jul-2026 02:44:25 -0700\" ENVELOPE \
             (\"Fri, 17 Jul 2026 02:23:25 -0700 (PDT)\" \"Re: The figures of the third quarter\" ((\"Terry Gray\" NIL \"gray\" \
             \"example.org\")) ((\"Terry Gray\" NIL \"gray\" \"example.org\")) ((\"Terry Gray\" NIL \"gray\" \"example.org\")) \
             ((NIL NIL \"imap\" \"example.org\")) NIL NIL NIL \"<B27397-0100000@example.org>\"))\r\n"
        )
    })
}

/// The shortest lines there are: news of a mailbox, flags.
pub(crate) fn flags(total: usize) -> Vec<u8> {
    repeated(total, |number| format!("* {number} FETCH (FLAGS (\\Seen))\r\n"))
}

/// A client's commands.
pub(crate) fn commands(total: usize) -> Vec<u8> {
    repeated(total, |number| {
        format!("A{number} UID FETCH {number} (UID FLAGS BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT)])\r\n")
    })
}

fn repeated(total: usize, piece: impl Fn(usize) -> String) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(total + 64 * 1024);
    for number in 1.. {
        if bytes.len() >= total {
            break;
        }
        bytes.extend_from_slice(piece(number).as_bytes());
    }
    bytes
}
