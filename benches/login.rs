//! How long a login takes until the backend is asked: the conversation, and the check of an app password.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that goes wrong must stop"
)]

#[path = "support/place.rs"]
mod place;

use std::sync::Arc;

use divan::Bencher;
use imapwarden::auth::app_password;
use imapwarden::session::preauth::Channel;
use imapwarden::session::preauth::Options;
use imapwarden::session::preauth::PreAuth;
use imapwarden::session::preauth::Step;

use crate::place::Place;

fn main() {
    divan::main();
}

/// From the first byte to credentials, by LOGIN.
#[divan::bench]
fn conversation_login(bencher: Bencher<'_, '_>) {
    converse(bencher, "a LOGIN alice@example.org some-password\r\n");
}

/// As the new Outlook does it.
#[divan::bench]
fn conversation_literals(bencher: Bencher<'_, '_>) {
    converse(
        bencher,
        "a LOGIN {17+}\r\nalice@example.org {13+}\r\nsome-password\r\n",
    );
}

/// With all that a client may ask before.
#[divan::bench]
fn conversation_plain(bencher: Bencher<'_, '_>) {
    converse(
        bencher,
        "a CAPABILITY\r\nb ID (\"name\" \"Thunderbird\")\r\nc AUTHENTICATE PLAIN AGFsaWNlAHNvbWUtcGFzc3dvcmQ=\r\n",
    );
}

fn converse(bencher: Bencher<'_, '_>, input: &str) {
    let options = Arc::new(Options::default());
    bencher.bench(|| {
        let mut steps = Vec::new();
        let client = PreAuth::new(Arc::clone(&options), Channel::Tls);
        let client = client.receive(divan::black_box(input.as_bytes()), &mut steps);
        assert!(matches!(steps.last(), Some(Step::Verify(_))));
        client
    });
}

/// Reading it and its checksum: what a typing mistake costs.
#[divan::bench]
fn app_password_read(bencher: Bencher<'_, '_>) {
    let place = Place::new();
    bencher.bench(|| app_password::read(divan::black_box(place.credentials.secret.expose())));
}

/// The whole check: the store is asked, the secret compared, the mail password unsealed.
#[divan::bench]
fn app_password_check(bencher: Bencher<'_, '_>) {
    let place = Place::new();
    bencher.bench_local(|| place.check());
}
