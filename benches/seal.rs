//! How long it takes to seal a mail password to an app password, and to open it again at each login.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that goes wrong must stop"
)]

#[path = "support/place.rs"]
#[allow(dead_code, reason = "shared with other benches")]
mod place;

use divan::Bencher;
use imapwarden::auth::app_password;
use imapwarden::auth::app_password::AppPassword;
use imapwarden::auth::app_password::Typed;
use imapwarden::auth::seal::Recipient;
use imapwarden::auth::seal::public_key;
use imapwarden::auth::seal::seal;
use imapwarden::auth::seal::unseal;
use imapwarden::types::Secret;
use imapwarden::types::UserName;

use crate::place::Place;

fn main() {
    divan::main();
}

/// An app password and its user.
fn app_password() -> (AppPassword, UserName) {
    let place = Place::new();
    let Typed::AppPassword(app_password) = app_password::read(place.credentials.secret.expose()) else {
        panic!("what was just made is no app password");
    };
    (app_password, place.credentials.user)
}

fn recipient<'a>(app_password: &AppPassword, user: &'a UserName) -> Recipient<'a> {
    Recipient {
        id: app_password.id(),
        user,
        account: user,
    }
}

/// When an app password is made.
#[divan::bench]
fn key(bencher: Bencher<'_, '_>) {
    let (app_password, _) = app_password();
    bencher.bench_local(|| public_key(divan::black_box(&app_password)).unwrap());
}

/// For each app password of an account, when its mail password changes.
#[divan::bench]
fn sealing(bencher: Bencher<'_, '_>) {
    let (app_password, user) = app_password();
    let key = public_key(&app_password).unwrap();
    let password = Secret::from("mail-password");
    let to = recipient(&app_password, &user);
    bencher.bench_local(|| seal(divan::black_box(&key), to, &password).unwrap());
}

/// At each login.
#[divan::bench]
fn opening(bencher: Bencher<'_, '_>) {
    let (app_password, user) = app_password();
    let to = recipient(&app_password, &user);
    let sealed = seal(
        &public_key(&app_password).unwrap(),
        to,
        &Secret::from("mail-password"),
    )
    .unwrap();
    bencher.bench_local(|| unseal(divan::black_box(&app_password), to, &sealed).unwrap());
}
