//! How fast the bytes of a session are framed, by read of 64 KiB. Goals: 4 GB/s on FETCH literals, 1 GB/s on ENVELOPE lines.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that goes wrong must stop"
)]

#[path = "support/traffic.rs"]
mod traffic;

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

#[divan::bench]
fn scanner_literals(bencher: Bencher<'_, '_>) {
    scan(bencher, &traffic::literals(TOTAL));
}

#[divan::bench]
fn scanner_envelopes(bencher: Bencher<'_, '_>) {
    scan(bencher, &traffic::envelopes(TOTAL));
}

#[divan::bench]
fn scanner_flags(bencher: Bencher<'_, '_>) {
    scan(bencher, &traffic::flags(TOTAL));
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
    pass(bencher, &traffic::literals(TOTAL));
}

#[divan::bench]
fn relay_envelopes(bencher: Bencher<'_, '_>) {
    pass(bencher, &traffic::envelopes(TOTAL));
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
    let input = traffic::commands(TOTAL);
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
