//! Three replicas on one PostgreSQL behind HAProxy, which states the clients' addresses in PROXY headers: nobody knows which of
//! them a connection reaches, and it must not matter.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a fault must fail the test"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use imapwarden::auth::totp;
use imapwarden::server::clock;
use serde_json::Value;
use support::client::TlsClient;
use support::events::text;
use support::memory::Server;
use support::postgres::Cluster;
use support::program::Program;
use support::program::is_known_here;
use support::program::private_file;
use support::program::until;
use support::replicas::Balancer;
use support::replicas::ENDED;
use support::replicas::MAIL_PASSWORD;
use support::replicas::Replicas;
use support::replicas::backend;
use support::replicas::has_balancer;
use support::replicas::is_listed;
use support::replicas::named;
use support::replicas::rest;
use support::replicas::sessions;
use support::replicas::works;
use tempfile::TempDir;
use tokio::task::JoinSet;

struct World {
    replicas: Replicas,
    balancer: Arc<Balancer>,
    backend: Server,
    _cluster: Cluster,
}

/// `None` where what is needed is not installed.
async fn world(more: &str) -> Option<World> {
    if !has_balancer() {
        return None;
    }
    let cluster = Cluster::start("")?;
    let backend = backend().await;
    let replicas = Replicas::start(&cluster, &backend, more).await;
    let balancer = Arc::new(replicas.balanced());
    Some(World {
        replicas,
        balancer,
        backend,
        _cluster: cluster,
    })
}

impl World {
    /// Whose replica's session is the one of this id.
    async fn replica_of(&self, id: &str) -> usize {
        let listed = sessions(&self.replicas.places[0]).await;
        let row = listed.iter().find(|row| text(row, "id") == id).unwrap();
        let is_it = |program: &Program| named(program) == text(row, "replica");
        self.replicas.programs.iter().position(is_it).unwrap()
    }

    /// A session of a user through the balancer: with its id, and its replica's number.
    async fn session(&self, user: &str, password: &str) -> (TlsClient, String, usize) {
        let before: Vec<String> = self.ids().await;
        let client = self.balancer.logged_in(&format!("{user} {password}")).await;
        let mut id = None;
        until("it is listed", || async {
            let listed = self.ids().await;
            listed.iter().any(|id| !before.contains(id))
        })
        .await;
        for listed in self.ids().await {
            if !before.contains(&listed) {
                id = Some(listed);
            }
        }
        let id = id.unwrap();
        let replica = self.replica_of(&id).await;
        (client, id, replica)
    }

    async fn ids(&self) -> Vec<String> {
        let listed = sessions(&self.replicas.places[0]).await;
        listed.iter().map(|row: &Value| text(row, "id")).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_code_enters_once_though_fifty_connections_race_through_three_replicas() {
    let Some(world) = world("second_factor: {totp: {window: 0s, window_idle: 0s}}").await else {
        return;
    };
    let place = &world.replicas.places[0];
    let secret = place.one_time_codes("bob", MAIL_PASSWORD).await;
    // Who has logged in from here before is not held up by what strangers try.
    let (_, password) = place.app_password("bob", MAIL_PASSWORD).await;
    drop(world.balancer.logged_in(&format!("bob {password}")).await);
    until("it is known from here", || async {
        is_known_here(&place.open().await, "bob").await
    })
    .await;
    let asked = world.backend.mail.connections();
    let code = totp::code_at(&secret, clock::unix()).unwrap();
    let login = format!("bob \"{MAIL_PASSWORD};{code}\"");
    let mut racers = JoinSet::new();
    for _ in 0..50 {
        let (balancer, login) = (Arc::clone(&world.balancer), login.clone());
        racers.spawn(async move { balancer.try_login([127, 0, 0, 1], &login).await.1 });
    }
    let answers = racers.join_all().await;
    let of = |start: &str| answers.iter().filter(|answer| answer.starts_with(start)).count();
    assert_eq!(of("l OK"), 1, "{answers:?}");
    // On a machine that is busy otherwise some may wait for a connection to the store for too long.
    assert_eq!(of("l NO ["), 49, "{answers:?}");
    assert!(of("l NO [AUTHENTICATIONFAILED]") > 40, "{answers:?}");
    assert_eq!(
        world.backend.mail.connections(),
        asked + 1,
        "the backend was asked for one alone"
    );
    for program in &world.replicas.programs {
        let events = program.events.all();
        let replayed = |event: &&Value| text(event, "event.reason") == "code_replayed";
        assert!(
            events.iter().any(|event| replayed(&event)),
            "the race went by one of them"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_kills_and_bans_hold_wherever_a_client_is() {
    let Some(world) = world("").await else { return };
    let places = &world.replicas.places;
    let mut soonest = [Duration::MAX; 2];
    // A machine that is busy otherwise may delay one; not each of three.
    for _ in 0..3 {
        let (id, password) = places[0].app_password("alice", MAIL_PASSWORD).await;
        let (mut client, _, at) = world.session("alice", &password).await;
        let elsewhere = &places[(at + 1) % 3];
        let revoked = elsewhere.run("", &["app-password", "revoke", &id]).await;
        assert_eq!(revoked.code, Some(0), "{revoked:?}");
        let began = Instant::now();
        assert_eq!(rest(&mut client).await, ENDED);
        soonest[0] = soonest[0].min(began.elapsed());

        let (_, password) = places[0].app_password("alice", MAIL_PASSWORD).await;
        let (mut client, session, at) = world.session("alice", &password).await;
        let elsewhere = &places[(at + 1) % 3];
        let killed = elsewhere.json("", &["session", "kill", &session]).await;
        assert_eq!(killed["killed"], 1);
        let began = Instant::now();
        assert_eq!(rest(&mut client).await, ENDED);
        soonest[1] = soonest[1].min(began.elapsed());
        if soonest.iter().all(|took| *took < Duration::from_secs(1)) {
            break;
        }
    }
    assert!(
        soonest.iter().all(|took| *took < Duration::from_secs(1)),
        "{soonest:?}"
    );

    assert!(world.balancer.connect_from([127, 0, 0, 2]).await.is_ok());
    let ban = ["ban", "add", "127.0.0.2", "--reason", "a test", "--for", "1h"];
    assert_eq!(places[0].run("", &ban).await.code, Some(0));
    for program in &world.replicas.programs {
        program.events.wait(0, "ban_added").await.unwrap();
    }
    for _ in 0..6 {
        assert!(world.balancer.connect_from([127, 0, 0, 2]).await.is_err());
    }
    assert!(world.balancer.connect_from([127, 0, 0, 1]).await.is_ok());
    for program in &world.replicas.programs {
        let (_, denied) = program.events.wait(0, "connection_denied").await.unwrap();
        assert_eq!(text(&denied, "source.ip"), "127.0.0.2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_takes_nothing_with_it_but_its_sessions() {
    let Some(mut world) = world("").await else {
        return;
    };
    let (_, password) = world.replicas.places[0]
        .app_password("alice", MAIL_PASSWORD)
        .await;
    let (_, of_bob) = world.replicas.places[0].app_password("bob", MAIL_PASSWORD).await;
    let secret = world.replicas.places[0]
        .one_time_codes("bob", MAIL_PASSWORD)
        .await;
    let code = totp::code_at(&secret, clock::unix()).unwrap();
    let with_code = format!("bob \"{MAIL_PASSWORD};{code}\"");
    let mut clients: Vec<Vec<TlsClient>> = vec![Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..3 {
        let (client, _, at) = world.session("alice", &password).await;
        clients[at].push(client);
    }
    // The first of bob's opens a window, wherever that is.
    works(&mut world.balancer.logged_in(&with_code).await).await;

    let dying = world.replicas.programs.remove(0);
    let [second, third] = &world.replicas.programs[..] else {
        panic!()
    };
    let lost = clients.remove(0);
    assert!(!lost.is_empty(), "the balancer spared a replica");
    dying.signal("KILL");
    for mut client in lost {
        assert_eq!(rest(&mut client).await, "");
    }
    // At once, through whichever is left, with whatever was valid before.
    for _ in 0..3 {
        works(&mut world.balancer.logged_in(&format!("bob {of_bob}")).await).await;
        works(&mut world.balancer.logged_in(&with_code).await).await;
        works(&mut world.balancer.logged_in(&format!("alice {password}")).await).await;
    }
    for client in clients.iter_mut().flatten() {
        works(client).await;
    }
    let left: Vec<(&str, &Program)> = [second, third]
        .into_iter()
        .zip(&clients)
        .flat_map(|(program, clients)| clients.iter().map(move |_| ("alice", program)))
        .collect();
    is_listed(&world.replicas.places[1], &left).await;
}

/// A world with these rules and no others.
async fn with_rules(rules: &str) -> Option<(World, TempDir)> {
    let folder = TempDir::new().unwrap();
    let file = private_file(folder.path(), "rules.yaml", rules);
    let more = format!("rules: {{packs: [], files: ['{}']}}", file.display());
    Some((world(&more).await?, folder))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spray_over_three_replicas_is_seen_though_none_of_them_has_seen_enough_of_it() {
    let rule = "{name: one-password, description: One password for many users., on: login,
                 when: login.outcome == 'failure', distinct: user.name, per: login.password_hash,
                 within: 10m, over: 5, shared: true, then: [alert]}";
    let Some((world, _rules)) = with_rules(rule).await else {
        return;
    };
    let mut attempts = JoinSet::new();
    for user in 0..6_u8 {
        let balancer = Arc::clone(&world.balancer);
        let from = [127, 0, 1, user + 1];
        attempts.spawn(async move {
            balancer
                .try_login(from, &format!("user{user} Winter2026"))
                .await
                .1
        });
    }
    let answers = attempts.join_all().await;
    assert!(
        answers.iter().all(|answer| answer.starts_with("l NO")),
        "{answers:?}"
    );
    // Of a user who was tried before: no replica sees more than three.
    let alerts = || {
        let programs = world.replicas.programs.iter();
        let all = programs.flat_map(|program| program.events.all());
        all.filter(|event| text(event, "event.action") == "alert_raised")
            .collect::<Vec<Value>>()
    };
    until("it is seen", || async {
        let (_, answer) = world.balancer.try_login([127, 0, 1, 9], "user0 Winter2026").await;
        assert!(answer.starts_with("l NO"), "{answer}");
        !alerts().is_empty()
    })
    .await;
    let alert = &alerts()[0];
    assert_eq!(text(alert, "rule.name"), "one-password");
    assert_eq!(text(alert, "imapwarden.decision.value"), "6");
    let lost = "imapwarden_rule_shared_counts_total{way=\"lost\"}";
    for program in &world.replicas.programs {
        assert_eq!(program.metric(lost).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sessions_at_all_replicas_delete_is_counted_together_and_refused_at_the_next_command() {
    let rule = "{name: much-deleted, description: Much is deleted., on: command,
                 when: command.verb == 'STORE' && command.store_adds_deleted, count: messages, per: app_password,
                 within: 10m, over: 30, shared: true, then: [alert, deny]}";
    let Some((world, _rules)) = with_rules(rule).await else {
        return;
    };
    for _ in 0..12 {
        world
            .backend
            .mail
            .deliver("bob", "INBOX", b"Subject: x\r\n\r\nx\r\n");
    }
    let (_, password) = world.replicas.places[0].app_password("bob", MAIL_PASSWORD).await;
    let mut clients = Vec::new();
    let mut places = Vec::new();
    for _ in 0..3 {
        let (mut client, _, at) = world.session("bob", &password).await;
        client.command("s", "SELECT INBOX").await.unwrap();
        let answer = client
            .command("d", "STORE 1:10 +FLAGS (\\Deleted)")
            .await
            .unwrap();
        assert!(answer.last().unwrap().starts_with("d OK"), "{answer:?}");
        clients.push(client);
        places.push(at);
    }
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2], "the balancer spared a replica");
    for program in &world.replicas.programs {
        until("it has heard of the others", || async {
            program
                .metric("imapwarden_rule_shared_counts_total{way=\"heard\"}")
                .await
                >= 2
        })
        .await;
    }
    for client in &mut clients {
        let mut is_refused = false;
        // No replica alone may have counted so many.
        for _ in 0..19 {
            let answer = client.command("d", "STORE 11 +FLAGS (\\Deleted)").await.unwrap();
            is_refused = answer
                .last()
                .unwrap()
                .starts_with("d NO [NOPERM] Denied by policy");
            if is_refused {
                break;
            }
        }
        assert!(is_refused);
    }
}
