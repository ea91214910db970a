//! What lies on the disk, and what is printed.

use std::fs;

use crate::auth::gate::Outcome::Accepted;
use crate::auth::totp::code_at;
use crate::auth::totp::invitation;
use crate::auth::world::HOME;
use crate::auth::world::NOW;
use crate::auth::world::World;
use crate::auth::world::later;
use crate::auth::world::name;
use crate::auth::world::with_code;
use crate::types::Secret;

const MAIN: &str = "my secret main password";

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn no_secret_is_in_clear_in_any_file() {
    let world = World::new();
    let secret = world.enrolled("alice").await;
    let made = world.app_password("alice").await;
    let printed = String::from_utf8(made.printed.expose().to_vec()).unwrap();
    world.enters("alice", &printed, NOW, Accepted).await;
    world
        .enters("alice", &with_code(MAIN, &secret, NOW), NOW, Accepted)
        .await;
    let other = Secret::from("another mail password");
    world
        .accounts()
        .set_mail_password(&name("alice"), &other, NOW)
        .await
        .unwrap();
    world.store.flush().await.unwrap();

    let (_, typed) = invitation(&secret, &name("alice"), "Mail").unwrap();
    let bare = printed.replace('-', "");
    let code = code_at(&secret, NOW).unwrap();
    let secrets: [&[u8]; 9] = [
        secret.expose(),
        typed.expose(),
        printed.as_bytes(),
        bare.as_bytes(),
        // Behind the prefix and the id everything is secret.
        &bare.as_bytes()[8..20],
        MAIN.as_bytes(),
        b"the mail password",
        b"another mail password",
        code.as_bytes(),
    ];
    let mut files = 0;
    for entry in fs::read_dir(world.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        files += 1;
        for (number, secret) in secrets.iter().enumerate() {
            assert!(!holds(&bytes, secret), "secret {number} is in {}", path.display());
        }
        // The test would see them: what is not secret is there in clear.
        if path.extension().is_some_and(|end| end == "db-wal") {
            assert!(holds(&bytes, b"alice") && holds(&bytes, b"phone"));
        }
    }
    assert_eq!(files, 3);
}

#[tokio::test]
async fn nothing_that_can_be_printed_shows_a_secret() {
    let world = World::new();
    let secret = world.enrolled("alice").await;
    let made = world.app_password("alice").await;
    let printed = String::from_utf8(made.printed.expose().to_vec()).unwrap();
    let mut shown = format!("{made:?}");
    for typed in [printed.clone(), with_code(MAIN, &secret, NOW)] {
        let verified = world.attempt("alice", typed.as_bytes(), HOME, NOW).await.unwrap();
        shown += &format!("{verified:?}");
    }
    let refused = world
        .attempt(
            "alice",
            with_code(MAIN, &secret, later(600)).as_bytes(),
            HOME,
            NOW,
        )
        .await;
    shown += &format!("{refused:?}");
    shown += &format!("{:?}", crate::auth::app_password::read(printed.as_bytes()));
    for secret in [
        &printed[10..],
        MAIN,
        "the mail password",
        &code_at(&secret, NOW).unwrap(),
    ] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
