//! How long it takes to judge a command.
#![allow(clippy::unwrap_used, reason = "a bench that goes wrong must stop")]

use std::fmt;

use divan::Bencher;
use imapwarden::imap::command::Command;

fn main() {
    divan::main();
}

/// A command that clients send all day, and its name in the report.
struct Case(&'static str, &'static str);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

const COMMANDS: [Case; 8] = [
    Case("noop", "a NOOP\r\n"),
    Case("select", "96 SELECT \"INBOX\" (CONDSTORE)\r\n"),
    Case(
        "fetch",
        "14 UID FETCH 1:120 (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Subject Date)])\r\n",
    ),
    Case(
        "list",
        "a LIST (SUBSCRIBED) \"\" (\"INBOX\" \"Sent/*\") RETURN (STATUS (MESSAGES UNSEEN) SPECIAL-USE)\r\n",
    ),
    Case(
        "search",
        "a UID SEARCH RETURN (ALL) OR FROM \"alice\" (NOT SUBJECT {7}\r\nfigures UNSEEN SINCE 1-Jul-2026)\r\n",
    ),
    Case(
        "store",
        "a UID STORE 2,4:9,12 +FLAGS.SILENT (\\Deleted $Junk)\r\n",
    ),
    Case("rename", "a RENAME Entw&APw-rfe {9}\r\nEntwuerfe\r\n"),
    Case(
        "append",
        "a APPEND \"Sent\" (\\Seen) \"01-Jan-2026 00:00:00 +0000\" {48211}\r\n",
    ),
];

#[divan::bench(args = COMMANDS)]
fn read(bencher: Bencher<'_, '_>, command: &Case) {
    bencher.bench(|| {
        Command::read(divan::black_box(command.1.as_bytes()), &[])
            .unwrap()
            .depth
    });
}
