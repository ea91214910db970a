//! What the running program has given up, as the kernel sees it, and that it works all the same.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a fault must fail the test"
)]

mod support;

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use imapwarden::net::certificate;
use imapwarden::server::clock;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::client::Client;
use support::events::text;
use support::memory::Mail;
use support::memory::Server;
use support::program::Place;
use support::program::Program;
use support::proxy::yaml;
use tempfile::TempDir;

const MAIL_PASSWORD: &str = "right horse";

const RULE: &str =
    "name: a-rule\ndescription: Of the test.\non: command\nwhen: command.verb == 'CHECK'\nthen: [deny]\n";

async fn backend() -> Server {
    let mail = Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    Server::start(mail).await.unwrap()
}

/// One line of each thread's status. A thread may end while they are looked at.
fn of_each_thread(program: &Program, key: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{}/task", program.pid())).unwrap();
    let found = threads.filter_map(|thread| {
        let status = fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        Some(line.unwrap().trim().to_owned())
    });
    found.collect()
}

fn rewrite(place: &Place, text: &str) {
    fs::write(
        place.path("imapwarden.yaml"),
        format!("data_directory: data\n{text}"),
    )
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_thread_is_confined_and_there_are_no_core_dumps() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "hardening: {landlock: required, seccomp: required}");
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut client = program.logged_in("alice", &password).await;
    client.command("a", "EXAMINE INBOX").await.unwrap();
    let no_new_privs = of_each_thread(&program, "NoNewPrivs:");
    assert!(no_new_privs.len() > 2, "{no_new_privs:?}");
    assert!(no_new_privs.iter().all(|value| value == "1"), "{no_new_privs:?}");
    // 2 is a filter.
    let seccomp = of_each_thread(&program, "Seccomp:");
    assert!(seccomp.iter().all(|value| value == "2"), "{seccomp:?}");
    let limits = fs::read_to_string(format!("/proc/{}/limits", program.pid())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    // Where a process is dumpable these files are its user's; this one's are root's, whoever it is.
    assert_eq!(
        fs::metadata(format!("/proc/{}/environ", program.pid()))
            .unwrap()
            .uid(),
        0
    );
    assert!(!program.log().contains("not in force"), "{}", program.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_switched_off_is_off_and_said_so() {
    let backend = backend().await;
    let place = Place::new(backend.addr, "hardening: {landlock: off, seccomp: off}");
    let program = place.start().await;
    let seccomp = of_each_thread(&program, "Seccomp:");
    assert!(seccomp.iter().all(|value| value == "0"), "{seccomp:?}");
    for what in ["landlock", "seccomp"] {
        program
            .logged(&format!("{what} is switched off by the configuration"))
            .await;
    }
}

/// A file that the start did not name, nor anything beside it, is not read later; and what it named is, however it is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_start_did_not_name_is_not_opened_and_named_ones_are_read_again() {
    let backend = backend().await;
    let elsewhere = TempDir::new().unwrap();
    fs::write(elsewhere.path().join("rules.yaml"), RULE).unwrap();
    let dir = TempDir::new().unwrap();
    let named = dir.path().join("rules");
    fs::create_dir(&named).unwrap();
    fs::write(named.join("a.yaml"), RULE).unwrap();
    let events = dir.path().join("events");
    fs::create_dir(&events).unwrap();
    let config = |rules: &Path, landlock: &str| {
        let more = format!(
            "rules: {{files: ['{}']}}\nhardening: {{landlock: {landlock}}}",
            rules.display()
        );
        yaml(backend.addr, &more)
    };
    let place = Place::in_directory(dir, &config(&named, "required"));
    let (_, password) = place.app_password("alice", MAIL_PASSWORD).await;
    let program = place.start().await;
    let mut client = program.logged_in("alice", &password).await;

    rewrite(&place, &config(&elsewhere.path().join("rules.yaml"), "required"));
    let said = place.run("", &["reload"]).await;
    assert_eq!(said.code, Some(78), "{said:?}");
    assert!(said.err.contains("Permission denied"), "{}", said.err);
    let (_, event) = program.events.wait(0, "rules_rejected").await.unwrap();
    assert!(
        text(&event, "error.message").contains("Permission denied"),
        "{event}"
    );

    // As Kubernetes and certbot do it: another file takes its place.
    let new = RULE.replace("CHECK", "UNSELECT");
    fs::write(named.join("new"), new).unwrap();
    fs::rename(named.join("new"), named.join("a.yaml")).unwrap();
    rewrite(&place, &config(&named, "required"));
    place.json("", &["reload"]).await;
    let denied = client.command("u", "UNSELECT").await.unwrap();
    assert!(denied[0].starts_with("u NO [NOPERM]"), "{denied:?}");

    // Without it, the other file would have been read: it is Landlock that keeps it.
    drop(program);
    rewrite(&place, &config(&named, "off"));
    let _program = place.start().await;
    rewrite(&place, &config(&elsewhere.path().join("rules.yaml"), "off"));
    place.json("", &["reload"]).await;
}

/// As acmetool has it: a link in the middle of the path moves, and what the link to the key says with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_renewed_in_another_directory_is_read_where_its_links_lead() {
    let backend = backend().await;
    let acme = TempDir::new().unwrap();
    let root = acme.path();
    for directory in ["live", "certs/1", "certs/2", "keys/1", "keys/2"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    let renew = |number: u32| {
        let (certs, keys) = (
            root.join(format!("certs/{number}")),
            root.join(format!("keys/{number}")),
        );
        let made = certificate::self_signed(&certs, &["localhost".to_owned()], clock::unix()).unwrap();
        fs::rename(made.files.key, keys.join("privkey")).unwrap();
        symlink(format!("../../keys/{number}/privkey"), certs.join("privkey")).unwrap();
        symlink(format!("../certs/{number}"), root.join("live/new")).unwrap();
        fs::rename(root.join("live/new"), root.join("live/mail")).unwrap();
        CertificateDer::from_pem_file(made.files.certificate).unwrap()
    };
    let old = renew(1);
    let more = format!(
        "tls: {{certificates: [{{certificate_file: '{live}/cert.pem', key_file: '{live}/privkey'}}]}}\n\
         hardening: {{landlock: required}}",
        live = root.join("live/mail").display()
    );
    let place = Place::new(backend.addr, &more);
    let program = place.start().await;
    Client::tls(program.addrs[0], &old, "localhost").await.unwrap();
    let new = renew(2);
    place.json("", &["reload"]).await;
    Client::tls(program.addrs[0], &new, "localhost").await.unwrap();
    assert!(Client::tls(program.addrs[0], &old, "localhost").await.is_err());
}

/// The program as root becomes somebody else, with everything that it opens later still within reach.
#[tokio::test(flavor = "multi_thread")]
async fn root_becomes_the_user_that_is_configured_and_everything_goes_on() {
    if !nix::unistd::geteuid().is_root() {
        return; // only root can be tried
    }
    let backend = backend().await;
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let logs = dir.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let given = Command::new("chown").arg("nobody").arg(&logs).status().unwrap();
    assert!(given.success());
    let named = backend.addr.port();
    let more = "hardening: {user: nobody, landlock: required, seccomp: required}\n\
        limits: {exempt: [loopback]}\nevents: {file: logs/events.jsonl}";
    // By a name, so that the name service is asked.
    let text = yaml(backend.addr, more).replace(
        &format!("address: '{}'", backend.addr),
        &format!("address: 'localhost:{named}'\n    tls: none"),
    );
    let place = Place::in_directory(dir, &text);
    let program = place.start().await;
    let user = fs::metadata(&logs).unwrap().uid();
    for key in ["Uid:", "Gid:"] {
        let ids = of_each_thread(&program, key);
        assert!(
            ids.iter().all(|ids| ids.split_whitespace().all(|id| id != "0")),
            "{key} {ids:?}"
        );
    }
    let capabilities = of_each_thread(&program, "CapEff:");
    assert!(
        capabilities.iter().all(|held| held.trim_matches('0').is_empty()),
        "{capabilities:?}"
    );
    assert_eq!(fs::metadata(place.path("data")).unwrap().uid(), user);
    // What root makes beside it must be readable to it: the command line runs as the same user.
    let as_user = |arguments: &[&str], input: &str| {
        let script = format!("exec setpriv --reuid=nobody --clear-groups \"$@\" <<'END'\n{input}\nEND");
        place.command(&script, arguments).output().unwrap()
    };
    let added = as_user(&["user", "add", "alice"], "");
    assert!(added.status.success(), "{added:?}");
    let created = as_user(
        &[
            "app-password",
            "create",
            "alice",
            "--label",
            "test",
            "--json",
            "--password-stdin",
        ],
        MAIL_PASSWORD,
    );
    assert!(created.status.success(), "{created:?}");
    let created: serde_json::Value = serde_json::from_slice(&created.stdout).unwrap();
    let password = created["password"].as_str().unwrap();
    let mut client = program.logged_in("alice", password).await;
    let fetched = client.command("a", "NOOP").await.unwrap();
    assert!(fetched.last().unwrap().starts_with("a OK"), "{fetched:?}");
    // The event file is rotated, certificates and configuration are read again.
    fs::rename(place.path("logs/events.jsonl"), place.path("logs/old")).unwrap();
    let reloaded = as_user(&["reload"], "");
    assert!(reloaded.status.success(), "{reloaded:?}");
    support::program::until("the file is opened anew", || async {
        fs::read_to_string(place.path("logs/events.jsonl")).is_ok_and(|text| text.contains("config_reloaded"))
    })
    .await;
    assert_eq!(program.get("/readyz").await.0, 200);
    let (_, metrics) = program.get("/metrics").await;
    assert!(metrics.contains("process_open_fds"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_is_not_there_stops_the_start() {
    if !nix::unistd::geteuid().is_root() {
        return; // only root becomes somebody
    }
    let backend = backend().await;
    let place = Place::new(backend.addr, "hardening: {user: no-such-user}");
    let said = place.run("", &["serve"]).await;
    assert_eq!(said.code, Some(78), "{said:?}");
    assert!(
        said.err.contains("there is no user `no-such-user`"),
        "{}",
        said.err
    );
}
