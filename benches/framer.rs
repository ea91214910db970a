//! How fast the bytes of a session are framed, by read of 64 KiB. Goals: 4 GB/s on FETCH literals, 1 GB/s on ENVELOPE lines.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that goes wrong must stop"
)]

use std::sync::Arc;

use divan::Bencher;
use divan::counter::BytesCount;
use imapwarden::imap::collect::Collector;
use imapwarden::imap::collect::Progress;
use imapwarden::imap::response::Item;
use imapwarden::imap::response::Scanner;
use imapwarden::session::relay::Options;
use imapwarden::session::relay::Output;
use imapwarden::session::relay::Relay;

fn main() {
    divan::main();
}

/// What the driver reads at once.
const CHUNK: usize = 64 * 1024;

/// Of each kind of traffic about this much.
const TOTAL: usize = 8 * 1024 * 1024;

/// Messages of 50 KiB, as a client fetches them for offline use.
fn literals() -> Vec<u8> {
    let body = "A line of text as long as most, in a message of the usual size.\r\n".repeat(800);
    repeated(|number| {
        format!(
            "* {number} FETCH (UID {number} FLAGS (\\Seen) BODY[] {{{}}}\r\n{body})\r\n",
            body.len()
        )
    })
}

/// Lines without literals, as a client fetches them for its list of messages.
fn envelopes() -> Vec<u8> {
    repeated(|number| {
        format!(
            "* {number} FETCH (UID {number} RFC822.SIZE 48211 FLAGS (\\Seen) INTERNALDATE \"17-Jul-2026 02:44:25 -0700\" ENVELOPE \
             (\"Fri, 17 Jul 2026 02:23:25 -0700 (PDT)\" \"Re: The figures of the third quarter\" ((\"Terry Gray\" NIL \"gray\" \
             \"example.org\")) ((\"Terry Gray\" NIL \"gray\" \"example.org\")) ((\"Terry Gray\" NIL \"gray\" \"example.org\")) \
             ((NIL NIL \"imap\" \"example.org\")) NIL NIL NIL \"<B27397-0100000@example.org>\"))\r\n"
        )
    })
}

/// The shortest lines there are: news of a mailbox, flags.
fn flags() -> Vec<u8> {
    repeated(|number| format!("* {number} FETCH (FLAGS (\\Seen))\r\n"))
}

fn repeated(response: impl Fn(usize) -> String) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(TOTAL + CHUNK);
    for number in 1.. {
        if bytes.len() >= TOTAL {
            break;
        }
        bytes.extend_from_slice(response(number).as_bytes());
    }
    bytes
}

#[divan::bench]
fn scanner_literals(bencher: Bencher<'_, '_>) {
    scan(bencher, &literals());
}

#[divan::bench]
fn scanner_envelopes(bencher: Bencher<'_, '_>) {
    scan(bencher, &envelopes());
}

#[divan::bench]
fn scanner_flags(bencher: Bencher<'_, '_>) {
    scan(bencher, &flags());
}

fn scan(bencher: Bencher<'_, '_>, input: &[u8]) {
    bencher.counter(BytesCount::of_slice(input)).bench_local(|| {
        let mut scanner = Scanner::new(1 << 20);
        for chunk in input.chunks(CHUNK) {
            let mut rest = chunk;
            while !rest.is_empty() {
                let taken = match scanner.next(divan::black_box(rest)) {
                    Item::HeldData(taken) | Item::Named(taken) | Item::HeldLine(taken) => {
                        scanner.release();
                        taken
                    }
                    Item::Data(taken) | Item::Line(taken) | Item::More(taken) => taken,
                    Item::Broken(error) => panic!("{error}"),
                };
                rest = rest.split_at(taken).1;
            }
        }
        assert!(scanner.at_boundary());
    });
}

#[divan::bench]
fn relay_literals(bencher: Bencher<'_, '_>) {
    pass(bencher, &literals());
}

#[divan::bench]
fn relay_envelopes(bencher: Bencher<'_, '_>) {
    pass(bencher, &envelopes());
}

fn pass(bencher: Bencher<'_, '_>, input: &[u8]) {
    let options = Arc::new(Options::default());
    bencher.counter(BytesCount::of_slice(input)).bench_local(|| {
        let mut relay = Relay::new(Arc::clone(&options));
        let mut output = Output::default();
        for chunk in input.chunks(CHUNK) {
            relay.from_backend(divan::black_box(chunk), &mut output).unwrap();
            divan::black_box(output.client.slices(chunk).count());
            output.clear();
        }
    });
}

/// A client's commands, collected one by one.
#[divan::bench]
fn collector(bencher: Bencher<'_, '_>) {
    let input = repeated(|number| {
        format!("A{number} UID FETCH {number} (UID FLAGS BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT)])\r\n")
    });
    let bounds = Options::default().command;
    bencher.counter(BytesCount::of_slice(&input)).bench_local(|| {
        let mut collector = Collector::new(bounds);
        for chunk in input.chunks(CHUNK) {
            let mut rest = chunk;
            while !rest.is_empty() {
                let (taken, progress) = collector.feed(divan::black_box(rest));
                if let Progress::Complete = progress {
                    collector.reset();
                }
                rest = rest.split_at(taken).1;
            }
        }
    });
}
