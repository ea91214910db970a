//! Another key comes in force: the real program and its command line, with one process and an SQLite file, and with replicas on
//! a real PostgreSQL. Nobody is kept out meanwhile who has the new key file, and nobody comes in by one who has not.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a fault must fail the test"
)]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use imapwarden::auth::key_edit::KeyFile;
use imapwarden::auth::totp;
use imapwarden::server::clock;
use imapwarden::types::Secret;
use imapwarden::types::UnixTime;
use serde_json::Value;
use serde_json::json;
use support::events::text;
use support::memory::Mail;
use support::memory::Server;
use support::postgres::Cluster;
use support::program::Place;
use support::program::Program;
use support::program::until;
use support::replicas::MAIL_PASSWORD;
use support::replicas::named;
use support::replicas::try_login;
use support::replicas::works;

async fn backend() -> Server {
    let mail = Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    for user in ["bob", "carol"] {
        mail.add_user(user, MAIL_PASSWORD);
    }
    Server::start(mail).await.unwrap()
}

/// The password with a code of a step that is accepted: the present one, or those beside it.
fn with_code(secret: &Secret, steps: i64) -> String {
    let at = UnixTime(clock::unix().0 + 30 * steps);
    format!("\"{MAIL_PASSWORD};{}\"", totp::code_at(secret, at).unwrap())
}

/// The keys of the key file, each with its state.
async fn keys(place: &Place) -> Vec<(String, String)> {
    let listed = place.json("", &["key", "status"]).await;
    let keys = listed.as_array().unwrap().iter();
    keys.map(|key| (text(key, "key"), text(key, "state"))).collect()
}

/// The key in force.
async fn in_force(place: &Place) -> String {
    let keys = keys(place).await;
    let mut found = keys.into_iter().filter(|(_, state)| state == "in_force");
    found.next().unwrap().0
}

/// The replicas that lack a key.
async fn missing_at(place: &Place, key: &str) -> Vec<String> {
    let listed = place.json("", &["key", "status"]).await;
    let mut keys = listed.as_array().unwrap().iter();
    let row = keys.find(|row| text(row, "key") == key).unwrap();
    let missing = row["missing_at"].as_array().unwrap().iter();
    missing.map(|name| name.as_str().unwrap().to_owned()).collect()
}

async fn refused(place: &Place, arguments: &[&str], code: i32) -> String {
    let said = place.run("", arguments).await;
    assert_eq!(said.code, Some(code), "{said:?}");
    said.err
}

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_in_before_a_rotation_does_so_while_and_after_it_and_once_the_old_key_is_gone() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let mut program = place.start().await;
    let (_, alice) = place.app_password("alice", MAIL_PASSWORD).await;
    let bob = place.one_time_codes("bob", MAIL_PASSWORD).await;
    let carol = place.one_time_codes("carol", MAIL_PASSWORD).await;
    let mut open = program.logged_in("alice", &alice).await;
    let first = with_code(&bob, 0);
    program.logged_in("bob", &first).await;
    let old = in_force(&place).await;

    let rotated = place.json("", &["key", "rotate"]).await;
    assert_eq!(
        (&rotated["instead_of"], &rotated["one_time_secrets"]),
        (&json!(old), &json!(2))
    );
    let new = text(&rotated, "key");
    let (_, event) = program.events.wait(0, "key_changed").await.unwrap();
    assert_eq!(text(&event, "imapwarden.key.id"), new);
    works(&mut open).await;
    // The first use of the app password and those after it.
    for _ in 0..2 {
        works(&mut program.logged_in("alice", &alice).await).await;
    }
    let answer = try_login(&program, &format!("bob {first}")).await;
    assert!(
        answer.starts_with("l NO [AUTHENTICATIONFAILED]"),
        "its window has ended: {answer}"
    );
    let second = with_code(&bob, 1);
    for _ in 0..2 {
        works(&mut program.logged_in("bob", &second).await).await;
    }

    let said = refused(&place, &["key", "retire", &old], 65).await;
    assert!(said.contains("--force"), "{said}");
    refused(&place, &["key", "retire", &new, "--force"], 65).await;
    let held = fs::read(place.config.state.key_file()).unwrap();
    place.json("", &["key", "retire", &old, "--force"]).await;
    assert_eq!(keys(&place).await, [(new.clone(), "in_force".to_owned())]);
    assert_eq!(place.run("", &["reload"]).await.code, Some(0));
    let check = async |program: &Program, codes: &str| {
        works(&mut program.logged_in("alice", &alice).await).await;
        works(&mut program.logged_in("bob", &second).await).await;
        works(&mut program.logged_in("carol", codes).await).await;
    };
    let codes = with_code(&carol, 0);
    check(&program, &codes).await;
    drop(open);
    program.signal("TERM");
    program.wait(std::time::Duration::from_secs(20)).await;
    let program = place.start().await;
    check(&program, &codes).await;

    // A reload never goes without the key in force, and the file from before the rotation is of no use.
    let now = fs::read(place.config.state.key_file()).unwrap();
    let first_key: Vec<&str> = std::str::from_utf8(&held).unwrap().lines().take(3).collect();
    place.file("data/imapwarden.key", format!("{}\n", first_key.join("\n")));
    let said = refused(&place, &["reload"], 78).await;
    assert!(said.contains(&new), "{said}");
    works(&mut program.logged_in("alice", &alice).await).await;
    let said = refused(&place, &["key", "status"], 78).await;
    assert!(said.contains("another key file"), "{said}");
    place.file("data/imapwarden.key", now);
    assert_eq!(place.run("", &["reload"]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_refused_while_the_key_changes() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "limits: {sessions_per_user: 1000}");
    let program = Arc::new(place.start().await);
    let (_, alice) = place.app_password("alice", MAIL_PASSWORD).await;
    let over = Arc::new(AtomicBool::new(false));
    let logins = Arc::new(AtomicU32::new(0));
    let busy: Vec<_> = (0..3)
        .map(|_| {
            let (program, alice) = (Arc::clone(&program), alice.clone());
            let (over, logins) = (Arc::clone(&over), Arc::clone(&logins));
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    program.logged_in("alice", &alice).await;
                    logins.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let first = in_force(&place).await;
    for _ in 0..3 {
        place.json("", &["key", "rotate"]).await;
        // Somebody has come in by the new key before the next one.
        let seen = logins.load(Ordering::SeqCst);
        until("logins go on", async || logins.load(Ordering::SeqCst) > seen + 3).await;
    }
    let said = refused(&place, &["key", "rotate"], 73).await;
    assert!(said.contains("retire one first"), "{said}");
    // Back to where it began.
    place.json("", &["key", "rotate", "--to", &first]).await;
    over.store(true, Ordering::SeqCst);
    for task in busy {
        task.await.unwrap();
    }
    assert_eq!(in_force(&place).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_between_file_and_store_leaves_behind_starts_and_can_be_finished() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let (_, alice) = place.app_password("alice", MAIL_PASSWORD).await;
    let old = in_force(&place).await;
    // All that has happened by then: the new key is in the file, and the store knows nothing of it.
    let added = place.json("", &["key", "add"]).await;
    let program = place.start().await;
    works(&mut program.logged_in("alice", &alice).await).await;
    let waiting = text(&added, "key");
    let both = [
        (old.clone(), "in_force".to_owned()),
        (waiting.clone(), "waiting".to_owned()),
    ];
    assert_eq!(keys(&place).await, both);
    let rotated = place.json("", &["key", "rotate"]).await;
    assert_eq!(text(&rotated, "key"), waiting, "no third key is drawn");
    works(&mut program.logged_in("alice", &alice).await).await;
    // Half a file beside it is not looked at.
    place.file("data/imapwarden.new-0000000000000000", "imapwarden-key-v1\n");
    assert_eq!(in_force(&place).await, waiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_named_and_the_file_is_changed_by_one_command_at_a_time() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "");
    let only = in_force(&place).await;
    for (arguments, code) in [
        (&["key", "rotate", "--to", "xyz"][..], 64),
        (&["key", "rotate", "--to", "00000000"], 65),
        (&["key", "rotate", "--to", &only], 65),
        (&["key", "retire", "00000000"], 65),
        (&["key", "retire", &only], 65),
    ] {
        refused(&place, arguments, code).await;
    }
    let path = place.config.state.key_file();
    let held = KeyFile::open(&path, place.config.key_file_options()).unwrap();
    for arguments in [&["key", "add"][..], &["key", "rotate"], &["key", "retire", &only]] {
        let said = refused(&place, arguments, 75).await;
        assert!(said.contains("another command"), "{said}");
    }
    drop(held);
    let before = fs::read(&path).unwrap();
    let added = place.json("", &["key", "add"]).await;
    let id = text(&added, "key");
    assert!(
        !fs::read_to_string(&path).unwrap().contains(&id),
        "an id is no part of a key"
    );
    // One that was never in force is needed by nobody.
    place.json("", &["key", "retire", &id]).await;
    assert_eq!(fs::read(&path).unwrap(), before);
    let shown = place.run("", &["key", "status"]).await.out;
    assert!(shown.starts_with("KEY") && shown.contains("in force"), "{shown}");
}

/// Draws a key that the second replica is not given: it is named, and nothing is changed.
async fn is_named_where_it_was_forgotten(places: &[Place], programs: &[Program]) {
    let before = in_force(&places[0]).await;
    let added = places[0].json("", &["key", "add"]).await;
    until("all but one have told of it", async || {
        missing_at(&places[0], &text(&added, "key")).await == [named(&programs[1])]
    })
    .await;
    let said = refused(&places[0], &["key", "rotate"], 65).await;
    assert!(
        said.contains(&named(&programs[1])) && said.contains("--force"),
        "{said}"
    );
    assert!(!said.contains(&named(&programs[0])), "{said}");
    assert_eq!(in_force(&places[0]).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_the_new_key_lets_nobody_in_until_it_has_it() {
    let Some(cluster) = Cluster::start("") else { return };
    let backend = backend().await;
    let more = format!("store: {{url: '{}'}}", cluster.url(&cluster.database()));
    let places = [Place::new(backend.addr, &more), Place::new(backend.addr, &more)];
    let files = [0, 1].map(|at: usize| places[at].config.state.key_file());
    let (_, alice) = places[0].app_password("alice", MAIL_PASSWORD).await;
    let bob = places[0].one_time_codes("bob", MAIL_PASSWORD).await;
    let copy = || {
        let key = fs::read(&files[0]).unwrap();
        fs::create_dir_all(files[1].parent().unwrap()).unwrap();
        places[1].file("data/imapwarden.key", key)
    };
    copy();
    let programs = [places[0].start().await, places[1].start().await];
    let mut open = programs[1].logged_in("alice", &alice).await;
    let said = refused(&places[0], &["key", "rotate"], 65).await;
    assert!(said.contains("key add"), "{said}");

    // With the file at every replica nobody notices.
    let old = in_force(&places[0]).await;
    places[0].json("", &["key", "add"]).await;
    copy();
    assert_eq!(keys(&places[1]).await, keys(&places[0]).await);
    places[0].json("", &["key", "rotate"]).await;
    let code = with_code(&bob, 0);
    works(&mut programs[1].logged_in("bob", &code).await).await;
    works(&mut programs[0].logged_in("bob", &code).await).await;
    programs[1].events.wait(0, "key_changed").await.unwrap();

    is_named_where_it_was_forgotten(&places, &programs).await;
    // By force it is as if the store were away there, and heals with the file.
    places[0].json("", &["key", "rotate", "--force"]).await;
    for (user, secret) in [("alice", &alice), ("bob", &with_code(&bob, 1))] {
        let answer = try_login(&programs[1], &format!("{user} {secret}")).await;
        assert!(answer.starts_with("l NO [UNAVAILABLE]"), "{answer}");
    }
    let (_, event) = programs[1].events.wait(0, "store_unavailable").await.unwrap();
    assert!(text(&event, "error.message").contains("newer key"), "{event}");
    assert_eq!(programs[1].get("/readyz").await.0, 503);
    works(&mut open).await;
    works(&mut programs[0].logged_in("alice", &alice).await).await;
    copy();
    programs[1].events.wait(0, "store_recovered").await.unwrap();
    works(&mut programs[1].logged_in("alice", &alice).await).await;
    let second = with_code(&bob, 1);
    works(&mut programs[1].logged_in("bob", &second).await).await;

    places[0].json("", &["key", "retire", &old, "--force"]).await;
    copy();
    for (place, program) in places.iter().zip(&programs) {
        assert_eq!(place.run("", &["reload"]).await.code, Some(0));
        works(&mut program.logged_in("alice", &alice).await).await;
    }
    let held: Vec<Value> = keys(&places[1]).await.iter().map(|(key, _)| json!(key)).collect();
    assert!(!held.contains(&json!(old)) && held.len() == 2, "{held:?}");
}
