//! Several replicas on one PostgreSQL: what one of them is told holds at all of them, and none depends on the server's being
//! there for sessions that are open. The real program, and a real server.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a fault must fail the test"
)]

mod support;

use std::fs;
use std::time::Duration;
use std::time::Instant;

use imapwarden::auth::totp;
use imapwarden::server::clock;
use imapwarden::types::UnixTime;
use serde_json::Value;
use support::client::TlsClient;
use support::events::text;
use support::memory::Server;
use support::postgres::Cluster;
use support::program::Place;
use support::program::Program;
use support::program::private_file;
use support::program::until;
use support::replicas::ENDED;
use support::replicas::MAIL_PASSWORD;
use support::replicas::Replicas;
use support::replicas::backend;
use support::replicas::is_listed;
use support::replicas::named;
use support::replicas::rest;
use support::replicas::sessions;
use support::replicas::try_login;
use support::replicas::works;
use support::scripted::Move;
use support::scripted::Scripted;
use support::scripted::say;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn a_code_enters_once_through_whichever_replica() {
    let Some(cluster) = Cluster::start("") else { return };
    let backend = backend().await;
    let more = "second_factor: {totp: {window: 0s, window_idle: 0s}}";
    let replicas = Replicas::start(&cluster, &backend, more).await;
    let secret = replicas.places[0].one_time_codes("bob", MAIL_PASSWORD).await;
    let code = totp::code_at(&secret, clock::unix()).unwrap();
    let login = format!("bob \"{MAIL_PASSWORD};{code}\"");
    let [one, two, three] = [0, 1, 2].map(|at| try_login(&replicas.programs[at], &login));
    let (one, two, three) = tokio::join!(one, two, three);
    let answers = [one, two, three];
    let of = |start: &str| answers.iter().filter(|answer| answer.starts_with(start)).count();
    assert_eq!(of("l OK"), 1, "{answers:?}");
    assert_eq!(of("l NO [AUTHENTICATIONFAILED]"), 2, "{answers:?}");
    assert_eq!(
        backend.mail.connections(),
        1,
        "the backend was asked for one alone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_other_connections_need_no_new_code_at_whichever_replica() {
    let Some(cluster) = Cluster::start("") else { return };
    let backend = backend().await;
    let replicas = Replicas::start(&cluster, &backend, "").await;
    let secret = replicas.places[0].one_time_codes("bob", MAIL_PASSWORD).await;
    let code = totp::code_at(&secret, clock::unix()).unwrap();
    let login = format!("bob \"{MAIL_PASSWORD};{code}\"");
    for program in &replicas.programs {
        let answer = try_login(program, &login).await;
        assert!(answer.starts_with("l OK"), "{answer}");
    }
    // What takes the factor away ends the window everywhere.
    let reset = replicas.places[1].run("", &["user", "reset", "bob"]).await;
    assert_eq!(reset.code, Some(0), "{reset:?}");
    for program in &replicas.programs {
        let answer = try_login(program, &login).await;
        assert!(answer.starts_with("l NO [AUTHENTICATIONFAILED]"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_revokes_or_bans_ends_sessions_at_all() {
    let Some(cluster) = Cluster::start("") else { return };
    let backend = backend().await;
    let replicas = Replicas::start(&cluster, &backend, "").await;
    let [here, there, third] = [0, 1, 2].map(|at| &replicas.programs[at]);
    let place = &replicas.places[0];
    let (_, of_bob) = place.app_password("bob", MAIL_PASSWORD).await;
    let mut bystander = third.logged_in("bob", &of_bob).await;
    // A machine that is busy otherwise may delay one; not each of three.
    let mut soonest = Duration::MAX;
    for _ in 0..3 {
        let (id, password) = place.app_password("alice", MAIL_PASSWORD).await;
        let mut client = there.logged_in("alice", &password).await;
        let from = there.events.all().len();
        let revoked = place.run("", &["app-password", "revoke", &id]).await;
        assert_eq!(revoked.code, Some(0), "{revoked:?}");
        let began = Instant::now();
        assert_eq!(rest(&mut client).await, ENDED);
        soonest = soonest.min(began.elapsed());
        let (_, reason) = there.end_reason(from, "session_killed").await;
        assert_eq!(reason, "revoked");
        let refused = try_login(third, &format!("alice {password}")).await;
        assert!(refused.starts_with("l NO [AUTHENTICATIONFAILED]"), "{refused}");
        if soonest < Duration::from_secs(1) {
            break;
        }
    }
    assert!(soonest < Duration::from_secs(1), "{soonest:?}");

    let ban = ["ban", "add", "127.0.0.2", "--reason", "a test", "--for", "1h"];
    assert_eq!(place.run("", &ban).await.code, Some(0));
    for program in [here, there, third] {
        let (_, event) = program.events.wait(0, "ban_added").await.unwrap();
        assert_eq!(text(&event, "imapwarden.ban.network"), "127.0.0.2/32");
        assert!(program.connect_from([127, 0, 0, 2]).await.is_err());
    }
    works(&mut bystander).await;
    let disabled = place.run("", &["user", "disable", "bob"]).await;
    assert_eq!(disabled.code, Some(0), "{disabled:?}");
    assert_eq!(rest(&mut bystander).await, ENDED);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_away_nobody_new_comes_in_sessions_go_on_and_it_heals() {
    let Some(mut cluster) = Cluster::start("") else {
        return;
    };
    let backend = backend().await;
    let (places, _shared) = Replicas::places(&cluster, &backend, 1, "");
    let place = &places[0];
    let (id, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut client = program.logged_in("alice", &password).await;
    let mut from = 0;
    for frozen in [true, false] {
        if frozen {
            cluster.signal("STOP");
        } else {
            cluster.stop();
        }
        let answer = try_login(&program, &format!("alice {password}")).await;
        assert!(answer.starts_with("l NO [UNAVAILABLE]"), "{answer}");
        let (at, reason) = program.end_reason(from, "login_unavailable").await;
        assert_eq!(reason, "store_unavailable");
        from = at;
        until("it is not ready", || async {
            program.get("/readyz").await.0 == 503
        })
        .await;
        assert_eq!(program.get("/healthz").await.0, 200);
        works(&mut client).await;
        for command in [["ban", "list"], ["session", "list"]] {
            let said = place.run("", &command).await;
            assert_eq!(said.code, Some(69), "{said:?}");
            assert!(said.err.contains("the store is unavailable"), "{said:?}");
            // What is known here is shown all the same.
            assert_eq!(said.out.contains("alice"), command[0] == "session", "{said:?}");
        }
        if frozen {
            cluster.signal("CONT");
        } else {
            cluster.run();
        }
        let (at, _) = program.events.wait(from, "store_recovered").await.unwrap();
        from = at + 1;
        works(&mut program.logged_in("alice", &password).await).await;
        works(&mut client).await;
    }
    // And what is revoked after it is heard again.
    let revoked = place.run("", &["app-password", "revoke", &id]).await;
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    assert_eq!(rest(&mut client).await, ENDED);
}

/// A session, by words of one's own choice behind LOGIN.
async fn begin(program: &Program, arguments: &str) -> TlsClient {
    let mut client = program.connect().await;
    let answer = client.command("l", &format!("LOGIN {arguments}")).await.unwrap();
    assert!(answer.last().unwrap().starts_with("l OK"), "{answer:?}");
    client
}

/// Changes the configuration of a replica that runs.
async fn reload(place: &Place, from: &str, to: &str) {
    let before = fs::read_to_string(place.path("imapwarden.yaml")).unwrap();
    assert!(before.contains(from), "{before}");
    fs::write(place.path("imapwarden.yaml"), before.replace(from, to)).unwrap();
    let said = place.run("", &["reload"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// While the server is away these are told so, and so is a login from another network; none of it is counted.
async fn are_turned_away(program: &Program, others: &[String], login: &str) {
    for other in others {
        let answer = try_login(program, other).await;
        assert!(answer.starts_with("l NO [UNAVAILABLE]"), "{other}: {answer}");
    }
    let mut elsewhere = program.connect_from([127, 0, 0, 2]).await.unwrap();
    elsewhere.response().await.unwrap();
    let answer = elsewhere.command("l", &format!("LOGIN {login}")).await.unwrap();
    assert!(
        answer.last().unwrap().starts_with("l NO [UNAVAILABLE]"),
        "{answer:?}"
    );
    let told = program.events.all();
    let failed = told
        .iter()
        .find(|event| text(event, "event.action") == "login_failed");
    assert!(failed.is_none(), "it was counted: {failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_window_is_honoured_while_the_server_is_away_as_long_as_is_configured_and_nothing_else_is() {
    let Some(mut cluster) = Cluster::start("") else {
        return;
    };
    let backend = backend().await;
    let more = "second_factor: {totp: {store_away_grace: 1h}}";
    let (places, _shared) = Replicas::places(&cluster, &backend, 1, more);
    let place = &places[0];
    let secret = place.one_time_codes("bob", MAIL_PASSWORD).await;
    let (id, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let now = clock::unix();
    let [code, next] = [now, UnixTime(now.0 + 30)].map(|at| totp::code_at(&secret, at).unwrap());
    let login = format!("bob \"{MAIL_PASSWORD};{code}\"");
    let mut before = begin(&program, &login).await;
    // Something is heard, and what is remembered was asked about after it.
    let mut revoked = program.logged_in("alice", &password).await;
    assert_eq!(
        place.run("", &["app-password", "revoke", &id]).await.code,
        Some(0)
    );
    assert_eq!(rest(&mut revoked).await, ENDED);

    cluster.stop();
    let from = program.events.all().len();
    let mut meanwhile = begin(&program, &login).await;
    let (_, event) = program.events.wait(from, "login_succeeded").await.unwrap();
    assert_eq!(text(&event, "imapwarden.second_factor"), "trusted_window");
    assert_eq!(event["imapwarden"]["store_away"], true, "{event}");
    assert_eq!(program.metric("imapwarden_logins_store_away_total").await, 1);
    assert_eq!(program.get("/readyz").await.0, 503);
    let others = [
        format!("bob \"{MAIL_PASSWORD};{next}\""),
        format!("bob \"wrong;{code}\""),
        format!("bob {MAIL_PASSWORD}"),
        format!("alice {password}"),
        format!("alice \"{MAIL_PASSWORD};{code}\""),
        format!("nobody \"{MAIL_PASSWORD};{code}\""),
    ];
    are_turned_away(&program, &others, &login).await;

    let is_refused = || async {
        try_login(&program, &login)
            .await
            .starts_with("l NO [UNAVAILABLE]")
    };
    reload(place, "store_away_grace: 1h", "store_away_grace: 1s").await;
    until("the grace is over", is_refused).await;
    reload(place, "store_away_grace: 1s", "store_away_grace: 1h").await;
    let mut killed = begin(&program, &login).await;
    // The store cannot be told; here it is done.
    place.run("", &["session", "kill", "--user", "bob"]).await;
    for client in [&mut before, &mut meanwhile, &mut killed] {
        assert_eq!(rest(client).await, ENDED);
    }
    assert!(is_refused().await, "whose sessions were ended");

    let from = program.events.all().len();
    cluster.run();
    program.events.wait(from, "store_recovered").await.unwrap();
    let mut after = begin(&program, &login).await;
    let (_, event) = program.events.wait(from, "login_succeeded").await.unwrap();
    assert!(event["imapwarden"]["store_away"].is_null(), "{event}");
    works(&mut after).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_began_while_the_server_was_away_is_told_and_stands_on_what_others_do() {
    let Some(mut cluster) = Cluster::start("") else {
        return;
    };
    let backend = backend().await;
    let more = "second_factor: {totp: {store_away_grace: 1h}}";
    let (places, _shared) = Replicas::places(&cluster, &backend, 2, more);
    let secret = places[0].one_time_codes("bob", MAIL_PASSWORD).await;
    let (here, there) = (places[0].start().await, places[1].start().await);
    let code = totp::code_at(&secret, clock::unix()).unwrap();
    let login = format!("bob \"{MAIL_PASSWORD};{code}\"");
    drop(begin(&here, &login).await);
    is_listed(&places[1], &[]).await;
    cluster.stop();
    // Where nobody has seen the window it opens nothing.
    let answer = try_login(&there, &login).await;
    assert!(answer.starts_with("l NO [UNAVAILABLE]"), "{answer}");
    let mut client = begin(&here, &login).await;
    cluster.run();
    is_listed(&places[1], &[("bob", &here)]).await;
    works(&mut client).await;
    let reset = places[1].run("", &["user", "reset", "bob"]).await;
    assert_eq!(reset.code, Some(0), "{reset:?}");
    assert_eq!(rest(&mut client).await, ENDED);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_from_whichever_replica() {
    let Some(cluster) = Cluster::start("") else { return };
    let backend = backend().await;
    let replicas = Replicas::start(&cluster, &backend, "").await;
    let [here, there, third] = [0, 1, 2].map(|at| &replicas.programs[at]);
    let place = &replicas.places[0];
    let (_, of_alice) = place.app_password("alice", MAIL_PASSWORD).await;
    let (_, of_bob) = place.app_password("bob", MAIL_PASSWORD).await;
    let mut own = here.logged_in("alice", &of_alice).await;
    let mut bystander = third.logged_in("bob", &of_bob).await;
    // A machine that is busy otherwise may delay one; not each of three.
    let mut soonest = Duration::MAX;
    for _ in 0..3 {
        let mut client = there.logged_in("alice", &of_alice).await;
        is_listed(place, &[("alice", here), ("alice", there), ("bob", third)]).await;
        let listed = sessions(place).await;
        let of_there = |row: &&Value| text(row, "replica") == named(there);
        let row = listed.iter().find(of_there).unwrap();
        assert_eq!(row["app_password"]["label"], "test");
        assert!(text(row, "client").starts_with("127.0.0.1:"), "{row}");
        let from = there.events.all().len();
        let killed = place.json("", &["session", "kill", &text(row, "id")]).await;
        assert_eq!(killed["killed"], 1);
        let began = Instant::now();
        assert_eq!(rest(&mut client).await, ENDED);
        soonest = soonest.min(began.elapsed());
        let (_, reason) = there.end_reason(from, "session_killed").await;
        assert_eq!(reason, "killed");
        if soonest < Duration::from_secs(1) {
            break;
        }
    }
    assert!(soonest < Duration::from_secs(1), "{soonest:?}");
    works(&mut own).await;
    is_listed(place, &[("alice", here), ("bob", third)]).await;

    // All of a user, even those that the store has not been told of yet.
    let mut client = there.logged_in("alice", &of_alice).await;
    let killed = place.json("", &["session", "kill", "--user", "alice"]).await;
    assert!(killed["killed"].as_u64().unwrap() >= 1, "{killed}");
    assert_eq!(rest(&mut client).await, ENDED);
    assert_eq!(rest(&mut own).await, ENDED);
    works(&mut bystander).await;
    // An order is for those that were open.
    works(&mut there.logged_in("alice", &of_alice).await).await;
    let unknown = place.run("", &["session", "kill", "00000000000000ab"]).await;
    assert_eq!(unknown.code, Some(65), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_ended_within_a_second_by_a_replica_that_hears_nothing() {
    let Some(cluster) = Cluster::start("") else { return };
    let backend = backend().await;
    let replicas = Replicas::start(&cluster, &backend, "").await;
    let [place, _, _] = &replicas.places[..] else {
        panic!()
    };
    let there = &replicas.programs[1];
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    // Those that listen are cut again and again.
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'client backend' AND (query LIKE 'LISTEN%' OR query = '')";
    let mut soonest = Duration::MAX;
    for _ in 0..3 {
        let mut client = there.logged_in("alice", &password).await;
        is_listed(place, &[("alice", there)]).await;
        cluster.sql("postgres", cut);
        let killed = place.json("", &["session", "kill", "--user", "alice"]).await;
        assert_eq!(killed["killed"], 1);
        let began = Instant::now();
        assert_eq!(rest(&mut client).await, ENDED);
        soonest = soonest.min(began.elapsed());
        if soonest < Duration::from_secs(1) {
            break;
        }
    }
    assert!(soonest < Duration::from_secs(1), "{soonest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_sessions_count_those_of_all_replicas_and_not_those_of_the_dead() {
    let Some(cluster) = Cluster::start("") else { return };
    let backend = backend().await;
    let more = "limits: {sessions_per_user: 3, sessions_per_user_and_network: 3}";
    let mut replicas = Replicas::start(&cluster, &backend, more).await;
    let place = &replicas.places[1];
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let (_, of_bob) = place.app_password("bob", MAIL_PASSWORD).await;
    let dying = replicas.programs.remove(0);
    let [here, there] = &replicas.programs[..] else {
        panic!()
    };
    let mut lost = [
        dying.logged_in("alice", &password).await,
        dying.logged_in("alice", &password).await,
    ];
    let mut kept = here.logged_in("alice", &password).await;
    // All of them are told: none of them is that replica's own.
    let all = [("alice", &dying), ("alice", &dying), ("alice", here)];
    is_listed(&replicas.places[2], &all).await;
    let login = format!("alice {password}");
    let refused = try_login(there, &login).await;
    assert!(refused.starts_with("l NO [AUTHENTICATIONFAILED]"), "{refused}");
    let (_, reason) = there.end_reason(0, "login_failed").await;
    assert_eq!(reason, "session_limit");

    dying.signal("KILL");
    for client in &mut lost {
        assert_eq!(rest(client).await, "");
    }
    // Others are let in at once, and so is this user as soon as the lease is over.
    works(&mut there.logged_in("bob", &of_bob).await).await;
    until("the dead are forgotten", || async {
        try_login(there, &login).await.starts_with("l OK")
    })
    .await;
    is_listed(place, &[("alice", here)]).await;
    works(&mut kept).await;
}

/// Waits until what was counted of failures is in the store, and is not what it was; says what it is then.
async fn counted(cluster: &Cluster, database: &str, before: &str) -> String {
    let sql = "SELECT coalesce(sum(until), 0) FROM failures";
    until("it is counted", || async { cluster.sql(database, sql) != before }).await;
    cluster.sql(database, sql)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_gets_no_more_guesses_from_three_replicas_than_from_one() {
    let Some(cluster) = Cluster::start("") else { return };
    let backend = backend().await;
    let replicas = Replicas::start(&cluster, &backend, "").await;
    let database = replicas.places[0]
        .config
        .state
        .postgres()
        .unwrap()
        .address
        .to_string();
    let database = database.rsplit('/').next().unwrap();
    let mut sum = "0".to_owned();
    let mut looked_at = 0;
    for guess in 0..4 {
        for program in &replicas.programs {
            let from = program.events.all().len();
            let answer = try_login(program, &format!("mallory wrong-{guess}-{}", program.pid())).await;
            assert!(answer.starts_with("l NO [AUTHENTICATIONFAILED]"), "{answer}");
            let (_, reason) = program.end_reason(from, "login_failed").await;
            if reason == "unknown_user" {
                looked_at += 1;
                sum = counted(&cluster, database, &sum).await;
            } else {
                assert_eq!(reason, "rate_limited");
            }
        }
    }
    // Five, and the first at each, which may have been a program's with an old password; one more where this takes minutes.
    assert!((8..=9).contains(&looked_at), "{looked_at}");
}

/// A right password would have been answered sooner.
#[tokio::test(flavor = "multi_thread")]
async fn a_guess_that_is_not_answered_in_time_counts_for_all_replicas() {
    let Some(cluster) = Cluster::start("") else { return };
    let silent = Scripted::start(vec![vec![say("* OK [CAPABILITY IMAP4rev1] ready"), Move::Drain]])
        .await
        .unwrap();
    let database = cluster.database();
    let text = format!(
        "store: {{url: '{}'}}\nlogin: {{timeout: 5s, refusal_delay: 1s}}\n\
         second_factor: {{default: exempt, admit_unknown_users: true}}",
        cluster.url(&database)
    );
    let place = Place::new(silent.addr, &text);
    let program = place.start().await;
    let mut client = program.connect().await;
    client.send("a LOGIN alice wrong\r\n").await.unwrap();
    let (_, reason) = program.end_reason(0, "connection_ended").await;
    assert_eq!(reason, "login_timeout");
    counted(&cluster, &database, "0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_too_often_is_banned_at_all_replicas_until_it_is_lifted() {
    let Some(cluster) = Cluster::start("") else { return };
    let backend = backend().await;
    let more = "limits: {ban_after: 10}\nrules: {packs: []}";
    let replicas = Replicas::start(&cluster, &backend, more).await;
    let [here, there, third] = [0, 1, 2].map(|at| &replicas.programs[at]);
    let mut guesses = 0;
    let is_banned = || {
        here.events
            .all()
            .iter()
            .any(|event| text(event, "event.action") == "ban_added")
    };
    while !is_banned() {
        let mut client = here.connect_from([127, 0, 0, 2]).await.unwrap();
        guesses += 1;
        assert!(guesses < 30, "nobody is banned");
        client.response().await.unwrap();
        client
            .command("l", &format!("LOGIN user{guesses} wrong"))
            .await
            .unwrap();
    }
    for program in [here, there, third] {
        let (_, event) = program.events.wait(0, "ban_added").await.unwrap();
        assert_eq!(text(&event, "imapwarden.ban.network"), "127.0.0.2/32");
        assert!(program.connect_from([127, 0, 0, 2]).await.is_err());
    }
    let listed = replicas.places[1].json("", &["ban", "list"]).await;
    assert_eq!(text(&listed[0], "by"), "limits", "{listed}");
    let lifted = replicas.places[1].run("", &["ban", "remove", "127.0.0.2"]).await;
    assert_eq!(lifted.code, Some(0), "{lifted:?}");
    for program in [here, there, third] {
        program.events.wait(0, "ban_removed").await.unwrap();
        assert!(program.connect_from([127, 0, 0, 2]).await.is_ok());
    }
}

/// A replica whose store is at a URL, with a key file of another one's.
fn with_key_of(old: &Place, backend: &Server, url: &str) -> Place {
    let key = old.path("data/imapwarden.key").display().to_string();
    Place::new(
        backend.addr,
        &format!("store: {{url: '{url}'}}\nkey_file: '{key}'"),
    )
}

/// The URL of the SQLite store that a replica has by default.
fn file_of(place: &Place) -> String {
    format!("sqlite:{}", place.path("data/imapwarden.db").display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_a_file_moves_to_the_server_with_all_that_is_in_it() {
    let Some(cluster) = Cluster::start("") else { return };
    let backend = backend().await;
    let old = Place::new(backend.addr, "");
    let (_, password) = old.app_password("alice", MAIL_PASSWORD).await;
    let (from, url) = (file_of(&old), cluster.url(&cluster.database()));
    let migrate = ["store", "migrate", "--from", &from, "--to", &url];

    let program = old.start().await;
    let said = old.run("", &migrate).await;
    assert_eq!(said.code, Some(65), "{said:?}");
    assert!(said.err.contains("stop the running imapwarden"), "{said:?}");
    drop(program);

    let moved = old.json("", &migrate).await;
    assert_eq!(moved["rows"]["users"], 1);
    assert_eq!(moved["rows"]["app_passwords"], 1);
    let again = old.run("", &migrate).await;
    assert_eq!(again.code, Some(65), "{again:?}");
    assert!(again.err.contains("is not empty"), "{again:?}");

    let new = with_key_of(&old, &backend, &url);
    let program = new.start().await;
    works(&mut program.logged_in("alice", &password).await).await;
    let listed = new.json("", &["user", "list"]).await;
    assert_eq!(listed[0]["name"], "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_moved_is_left_where_it_is() {
    let Some(cluster) = Cluster::start("") else { return };
    let backend = backend().await;
    let old = Place::new(backend.addr, "");
    old.app_password("alice", MAIL_PASSWORD).await;
    let (from, url) = (file_of(&old), cluster.url(&cluster.database()));
    let secret = "postgres://warden:hunter2@127.0.0.1/x";
    for (arguments, code) in [
        (&["--from", "sqlite:/nowhere", "--to", &url][..], 66),
        (&["--from", &from], 64),
        (&["--from", &from, "--to", secret], 64),
        (&["--from", "/nowhere", "--to", &url], 64),
    ] {
        let refused = old.run("", &[&["store", "migrate"], arguments].concat()).await;
        assert_eq!(refused.code, Some(code), "{refused:?}");
    }
    // A replica with a key file of its own opens neither end.
    let other = Place::new(backend.addr, "");
    other.app_password("alice", MAIL_PASSWORD).await;
    let refused = other
        .run("", &["store", "migrate", "--from", &from, "--to", &url])
        .await;
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.err.contains("another key file"), "{refused:?}");
    let empty = with_key_of(&old, &backend, &url);
    let listed = empty.json("", &["user", "list"]).await;
    assert!(listed.as_array().unwrap().is_empty(), "{listed}");
}

/// As docs/operations.md has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_restored_into_an_empty_database_is_the_store() {
    let Some(cluster) = Cluster::start("") else { return };
    let backend = backend().await;
    let (places, _shared) = Replicas::places(&cluster, &backend, 1, "");
    let (_, password) = places[0].app_password("alice", MAIL_PASSWORD).await;
    let dump = cluster.path("imapwarden.dump").display().to_string();
    let database = places[0].config.state.postgres().unwrap().address.to_string();
    let database = cluster.url(database.rsplit('/').next().unwrap());
    let restored = cluster.url(&cluster.database());
    let steps = [
        (
            "pg_dump",
            &["--format=custom", "--file", &dump, "--dbname", &database][..],
        ),
        (
            "pg_restore",
            &[
                "--exit-on-error",
                "--single-transaction",
                "--no-owner",
                "--dbname",
                &restored,
                &dump,
            ],
        ),
    ];
    for (program, arguments) in steps {
        let done = cluster.program(program).args(arguments).output().unwrap();
        assert!(done.status.success(), "{program}: {done:?}");
    }
    let key = places[0].config.state.key_file();
    let new = Place::new(
        backend.addr,
        &format!("store: {{url: '{restored}'}}\nkey_file: '{}'", key.display()),
    );
    let program = new.start().await;
    works(&mut program.logged_in("alice", &password).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shared_rules_count_while_the_server_is_away_is_told_when_it_is_back() {
    let Some(mut cluster) = Cluster::start("") else {
        return;
    };
    let backend = backend().await;
    for _ in 0..12 {
        backend.mail.deliver("bob", "INBOX", b"Subject: x\r\n\r\nx\r\n");
    }
    let folder = TempDir::new().unwrap();
    let rule = "{name: much-deleted, description: Much is deleted., on: command,
                 when: command.verb == 'STORE' && command.store_adds_deleted, count: messages, per: app_password,
                 within: 10m, over: 20, shared: true, then: [alert, deny]}";
    let file = private_file(folder.path(), "rules.yaml", rule);
    let more = format!("rules: {{packs: [], files: ['{}']}}\n", file.display());
    let (places, _shared) = Replicas::places(&cluster, &backend, 2, &more);
    let (_, password) = places[0].app_password("bob", MAIL_PASSWORD).await;
    let (here, there) = (places[0].start().await, places[1].start().await);
    let mut one = here.logged_in("bob", &password).await;
    let mut other = there.logged_in("bob", &password).await;
    cluster.stop();
    let delete = |set: &str| format!("STORE {set} +FLAGS (\\Deleted)");
    for client in [&mut one, &mut other] {
        client.command("s", "SELECT INBOX").await.unwrap();
        let answer = client.command("d", &delete("1:10")).await.unwrap();
        assert!(answer.last().unwrap().starts_with("d OK"), "{answer:?}");
    }
    cluster.run();
    let heard = "imapwarden_rule_shared_counts_total{way=\"heard\"}";
    for (program, client) in [(&here, &mut one), (&there, &mut other)] {
        until("it has heard of the other", || async {
            program.metric(heard).await > 0
        })
        .await;
        let answer = client.command("d", &delete("11")).await.unwrap();
        assert!(answer.last().unwrap().starts_with("d NO [NOPERM]"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_know_of_a_users_sessions_at_all_replicas() {
    let Some(cluster) = Cluster::start("") else { return };
    let backend = backend().await;
    let folder = TempDir::new().unwrap();
    let rules = folder.path().join("rules.yaml");
    let rule = "{name: many, description: Many., on: login, when: login.outcome == 'success' && user.sessions > 2, then: [log]}";
    fs::write(&rules, rule).unwrap();
    let more = format!("rules: {{files: ['{}']}}", rules.display());
    let replicas = Replicas::start(&cluster, &backend, &more).await;
    let [here, there, third] = [0, 1, 2].map(|at| &replicas.programs[at]);
    let (_, password) = replicas.places[0].app_password("alice", MAIL_PASSWORD).await;
    let mut first = here.logged_in("alice", &password).await;
    let mut second = there.logged_in("alice", &password).await;
    is_listed(&replicas.places[2], &[("alice", here), ("alice", there)]).await;
    let mut last = third.logged_in("alice", &password).await;
    let (_, event) = third.events.wait(0, "rule_matched").await.unwrap();
    assert_eq!(text(&event, "rule.name"), "many");
    for client in [&mut first, &mut second, &mut last] {
        works(client).await;
    }
    for program in [here, there] {
        let told = program.events.all();
        assert!(
            told.iter().all(|event| text(event, "rule.name") != "many"),
            "{told:?}"
        );
    }
}
