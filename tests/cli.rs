//! The command line as operators and scripts use it: the real program, a store in a fresh directory, a backend that knows
//! the mail passwords.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a fault must fail the test"
)]

mod support;

use std::fs;
use std::fs::Permissions;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use imapwarden::auth::totp;
use imapwarden::server::clock;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use serde_json::json;
use support::base32;
use support::client::Client;
use support::memory::Mail;
use support::memory::Server;
use tempfile::TempDir;

const MAIL_PASSWORD: &str = "right \"horse\" b\u{e4}ttery";

/// What the program did.
#[derive(Debug)]
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Done {
    /// Everything went well; the JSON values printed, one a line.
    fn values(self) -> Vec<Value> {
        assert_eq!(self.code, 0, "{self:?}");
        let lines = self.out.lines();
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn value(self) -> Value {
        let mut values = self.values();
        assert_eq!(values.len(), 1, "{values:?}");
        values.remove(0)
    }

    /// The one line of an error.
    fn refused(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{self:?}");
        let line = self.err.strip_prefix("imapwarden: ").unwrap();
        let line = line.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "{line}");
        line
    }
}

/// A directory with everything that one installation has.
struct Place {
    dir: TempDir,
    arguments: Vec<String>,
}

impl Place {
    /// No configuration and no backend.
    fn bare() -> Self {
        let dir = TempDir::new().unwrap();
        let arguments = vec!["--data".to_owned(), dir.path().join("data").display().to_string()];
        Self { dir, arguments }
    }

    /// No configuration, but a backend.
    fn with_backend(backend: SocketAddr) -> Self {
        let mut place = Self::bare();
        place
            .arguments
            .extend(["--backend".to_owned(), backend.to_string()]);
        place
    }

    /// A configuration file with this text behind the data directory.
    fn with_config(text: &str) -> Self {
        let mut place = Self::bare();
        let file = place.file("imapwarden.yaml", &format!("data_directory: data\n{text}"));
        place.arguments = vec!["--config".to_owned(), file.display().to_string()];
        place
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imapwarden"));
        command
            .args(arguments)
            .args(&self.arguments)
            .env_remove("IMAPWARDEN_CONFIG")
            .env_remove("SUDO_USER")
            .env("USER", "root")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Done {
        self.type_in("", arguments)
    }

    fn type_in(&self, input: &str, arguments: &[&str]) -> Done {
        let mut child = self.command(arguments).spawn().unwrap();
        // A program that reads nothing may be gone before this is written.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Done {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

async fn backend() -> Server {
    let mail = Mail::default();
    mail.add_sample_user("alice", MAIL_PASSWORD);
    mail.add_user("info", "shared");
    Server::start(mail).await.unwrap()
}

#[test]
fn users_are_added_listed_shown_disabled_and_enabled() {
    let place = Place::bare();
    let added = place
        .run(&[
            "user",
            "add",
            "alice@example.org",
            "--mfa",
            "required",
            "--network",
            "192.0.2.0/24",
            "--enrol-by",
            "2030-01-31",
            "--group",
            "staff",
            "--group",
            "sales",
            "--json",
        ])
        .value();
    assert_eq!(added["name"], "alice@example.org");
    assert_eq!(added["enrol_by"], "2030-01-31T00:00:00Z");
    let again = place.run(&["user", "add", "alice@example.org"]);
    assert_eq!(again.refused(73), "the user exists already");
    assert_eq!(place.run(&["user", "add", "bob"]).code, 0);

    let listed = place.run(&["user", "list", "--json"]).value();
    let names: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|user| &user["name"])
        .collect();
    assert_eq!(names, ["alice@example.org", "bob"]);
    assert_eq!(listed[0]["networks"], json!(["192.0.2.0/24"]));
    assert_eq!(listed[0]["mfa"], "required");
    assert_eq!(listed[0]["groups"], json!(["sales", "staff"]));
    assert_eq!(listed[1]["groups"], json!([]));
    let table = place.run(&["user", "list"]).out;
    assert!(
        table.starts_with("NAME ") && table.lines().count() == 3 && table.contains("sales,staff"),
        "{table}"
    );

    let disabled = place.run(&["user", "disable", "bob", "--json"]).value();
    assert_eq!(disabled, json!({"name": "bob", "disabled": true}));
    let shown = place.run(&["user", "show", "bob", "--json"]).value();
    assert_eq!(shown["disabled"], true);
    assert_eq!(shown["app_passwords"], json!([]));
    assert_eq!(place.run(&["user", "enable", "bob"]).code, 0);
    let shown = place.run(&["user", "show", "bob"]).out;
    assert!(shown.contains("status          enabled"), "{shown}");
    assert!(shown.contains("groups          -"), "{shown}");
    let shown = place.run(&["user", "show", "alice@example.org"]).out;
    assert!(shown.contains("groups          sales,staff"), "{shown}");
}

#[test]
fn what_is_missing_or_malformed_has_its_exit_code() {
    let place = Place::bare();
    for missing in [
        &["user", "show", "nobody"][..],
        &["user", "disable", "nobody"],
        &["user", "reset", "nobody"],
        &["user", "enroll-totp", "nobody", "--begin"],
        &["app-password", "list", "nobody"],
        &["app-password", "revoke", "000000"],
        &["ban", "remove", "192.0.2.1"],
    ] {
        let done = place.run(missing);
        assert!(!done.refused(65).is_empty());
        assert_eq!(done.out, "");
    }
    for usage in [
        &["user"][..],
        &["user", "add"],
        &["user", "add", "alice*master"],
        &["user", "add", "alice", "--mfa", "maybe"],
        &["user", "add", "alice", "--group", "two words"],
        &["user", "add", "alice", "--password", "x"],
        &["app-password", "create", "alice", "--expires", "soon"],
        &["app-password", "revoke", "x"],
        &["ban", "add", "192.0.2.1/24", "--reason", "x"],
        &["ban", "add", "192.0.2.1"],
        &["session", "kill"],
        &["serve", "--config", "/x"],
        &["nonsense"],
    ] {
        let done = place.run(usage);
        assert_eq!(done.code, 64, "{usage:?} {done:?}");
        assert_eq!(done.out, "");
    }
    let json = place.run(&["user", "show", "nobody", "--json"]);
    assert_eq!(json.out, "{\"error\":\"there is no such user\"}\n");
    let json = place.run(&["nonsense", "--json"]);
    assert!(
        json.out.starts_with("{\"error\":\"unrecognized subcommand"),
        "{json:?}"
    );
    let no_daemon = place.run(&["session", "list"]);
    assert!(no_daemon.refused(69).contains("control.sock"), "{no_daemon:?}");
    for help in [&["--help"][..], &["--version"], &["user", "add", "--help"]] {
        let done = place.run(help);
        assert!(
            done.code == 0 && done.err.is_empty() && !done.out.is_empty(),
            "{done:?}"
        );
    }
}

#[test]
fn a_wrong_configuration_is_told_in_full_and_nothing_runs() {
    let place = Place::with_config("listenres: []\nbackends: [{address: '127.0.0.1:143', name: 'a b'}]\n");
    for command in [&["check"][..], &["serve"], &["user", "list"]] {
        let done = place.run(command);
        assert_eq!(done.code, 78, "{done:?}");
        assert!(
            done.err.contains("listenres") && done.err.contains("2 problems"),
            "{done:?}"
        );
    }
    let done = place.run(&["check", "--json"]);
    let value: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(value["problems"].as_array().unwrap().len(), 2);
    assert_eq!(value["problems"][0]["line"], 2);

    let mut missing = Place::bare();
    missing.arguments = vec!["--config".to_owned(), "/nonexistent.yaml".to_owned()];
    assert_eq!(missing.run(&["check"]).code, 78);

    let right = Place::with_config("backends: [{address: '127.0.0.1:143'}]\n");
    let value = right.run(&["check", "--json"]).value();
    assert_eq!(value["ok"], true);
    assert!(
        right
            .run(&["check"])
            .out
            .starts_with("The configuration is right.\n")
    );
    assert!(!right.dir.path().join("data").exists(), "check leaves no trace");
}

#[test]
fn the_environment_names_the_configuration_where_no_argument_does() {
    let mut place = Place::with_config("backends: [{address: '127.0.0.1:143'}]\n");
    let file = place.arguments.remove(1);
    place.arguments.clear();
    let output = place
        .command(&["check"])
        .env("IMAPWARDEN_CONFIG", &file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn bans_are_added_listed_and_lifted() {
    let place = Place::bare();
    let added = place
        .run(&[
            "ban",
            "add",
            "192.0.2.7",
            "--reason",
            "guesses",
            "--for",
            "1h",
            "--json",
        ])
        .value();
    assert_eq!(added["network"], "192.0.2.7/32");
    assert_eq!(
        place
            .run(&["ban", "add", "2001:db8::/32", "--reason", "tests"])
            .code,
        0
    );
    let listed = place.run(&["ban", "list", "--json"]).value();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let first = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|ban| ban["network"] == "192.0.2.7/32");
    let first = first.unwrap();
    assert_eq!(
        (&first["reason"], &first["by"]),
        (&json!("guesses"), &json!("root"))
    );
    assert!(first["until"].is_string());
    assert!(place.run(&["ban", "list"]).out.contains("guesses"));
    assert_eq!(place.run(&["ban", "remove", "192.0.2.7/32"]).code, 0);
    assert_eq!(place.run(&["ban", "remove", "192.0.2.7"]).code, 65);
}

#[test]
fn an_authenticator_app_is_enrolled_with_a_first_code_and_once() {
    let place = Place::bare();
    place.run(&["user", "add", "alice"]);
    let begun = place
        .run(&["user", "enroll-totp", "alice", "--begin", "--json"])
        .value();
    assert!(begun["url"].as_str().unwrap().starts_with("otpauth://totp/"));
    let secret = base32::decode(begun["secret"].as_str().unwrap());
    let confirm = [
        "user",
        "enroll-totp",
        "alice",
        "--confirm",
        "--code-stdin",
        "--json",
    ];
    assert_eq!(place.type_in("abcdef\n", &confirm).code, 77);
    assert_eq!(place.run(&confirm).code, 65, "no code at all");
    let code = totp::code_at(&secret, clock::unix()).unwrap();
    let halves = format!("{} {}\n", &code[..3], &code[3..]);
    let confirmed = place.type_in(&halves, &confirm).value();
    assert_eq!(confirmed, json!({"user": "alice", "enrolled": true}));
    let shown = place.run(&["user", "show", "alice", "--json"]).value();
    assert!(shown["totp"]["since"].is_string(), "{shown}");
    assert_eq!(
        place.type_in(&halves, &confirm).code,
        65,
        "nothing waits any more"
    );

    let drawn = place.run(&["user", "enroll-totp", "alice", "--begin"]).out;
    assert!(
        drawn.contains('\u{2588}') && drawn.contains("otpauth://totp/"),
        "{drawn}"
    );
    assert_eq!(place.run(&["user", "reset", "alice"]).code, 0);
    let shown = place.run(&["user", "show", "alice", "--json"]).value();
    assert_eq!(shown["totp"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_password_is_made_only_with_a_mail_password_that_the_backend_accepts() {
    let backend = backend().await;
    let place = Place::with_backend(backend.addr);
    place.run(&["user", "add", "alice"]);
    let create = ["app-password", "create", "alice", "--password-stdin", "--json"];

    let refused = place.type_in("wrong\n", &create);
    assert!(refused.refused(77).contains("nothing was changed"), "{refused:?}");
    assert!(!refused.err.contains("wrong") && !refused.out.contains("wrong"));
    let none = place.run(&["app-password", "create", "alice", "--no-mail-password"]);
    assert!(none.refused(64).contains("no master user"), "{none:?}");
    assert_eq!(place.run(&create).code, 65, "an empty password");
    let past = ["app-password", "create", "alice", "--expires", "2020-01-01"];
    assert_eq!(place.run(&past).code, 65);
    let unknown = ["app-password", "create", "nobody", "--password-stdin"];
    assert_eq!(place.type_in(MAIL_PASSWORD, &unknown).code, 65);
    let open = place.file("open", MAIL_PASSWORD);
    fs::set_permissions(&open, Permissions::from_mode(0o644)).unwrap();
    let open = open.display().to_string();
    let exposed = place.run(&["app-password", "create", "alice", "--password-file", &open]);
    assert!(exposed.refused(77).contains("chmod"), "{exposed:?}");
    assert_eq!(
        place.run(&["app-password", "list", "alice", "--json"]).value(),
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_password_may_is_said_when_it_is_made_and_shown_in_lists() {
    let backend = backend().await;
    let place = Place::with_backend(backend.addr);
    place.run(&["user", "add", "alice"]);
    let create = |more: &[&str]| {
        let create = [
            &["app-password", "create", "alice", "--password-stdin", "--json"],
            more,
        ]
        .concat();
        place.type_in(&format!("{MAIL_PASSWORD}\n"), &create)
    };
    let restricted = ["--read-only", "--mailbox", "inbox", "--mailbox", "Archive/*"];
    let budget = ["--profile", "backup", "--budget-bytes", "200MiB", "--service"];
    let created = create(&[restricted, budget].concat()).value();
    let expected = json!({
        "read_only": true,
        "mailboxes": ["INBOX", "Archive/*"],
        "profile": "backup",
        "budget_bytes": 209_715_200,
        "budget_messages": null,
        "service": true,
    });
    assert_eq!(created["restrictions"], expected);
    let listed = place.run(&["app-password", "list", "alice", "--json"]).value();
    assert_eq!(listed[0]["restrictions"], expected);
    let table = place.run(&["app-password", "list", "alice"]).out;
    assert!(
        table.contains("read-only, mailboxes `INBOX` `Archive/*`, backup, 200MiB an hour, service"),
        "{table}"
    );
    for wrong in [
        &["--profile", "root"][..],
        &["--budget-bytes", "200"],
        &["--mailbox", ""],
        &["--read-only", "--profile", "append-only"],
    ] {
        assert_eq!(create(wrong).code, 64, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn app_passwords_are_shown_once_listed_told_a_changed_mail_password_and_revoked() {
    let backend = backend().await;
    let place = Place::with_backend(backend.addr);
    place.run(&["user", "add", "alice"]);
    let create = ["app-password", "create", "alice", "--password-stdin", "--json"];
    let created = place.type_in(&format!("{MAIL_PASSWORD}\n"), &create).value();
    let (id, printed) = (
        created["id"].as_str().unwrap(),
        created["password"].as_str().unwrap(),
    );
    assert!(printed.starts_with("iw-") && id.len() == 6, "{created}");
    let shared = [
        "app-password",
        "create",
        "alice",
        "--account",
        "info",
        "--label",
        "desk",
        "--password-stdin",
    ];
    assert_eq!(place.type_in("shared\n", &shared).code, 0);
    let listed = || {
        let listed = place.run(&["app-password", "list", "alice", "--json"]).value();
        // Those of one second come in any order.
        let (mine, other) = (&listed[0], &listed[1]);
        if mine["id"] == id {
            (mine.clone(), other.clone())
        } else {
            (other.clone(), mine.clone())
        }
    };
    let (mine, other) = listed();
    assert_eq!((&mine["id"], &mine["status"]), (&json!(id), &json!("live")));
    assert_eq!(
        (&other["account"], &other["label"]),
        (&json!("info"), &json!("desk"))
    );
    assert_eq!(mine["keeps_mail_password"], true);
    let everything = place.run(&["user", "show", "alice", "--json"]).out;
    assert!(!everything.contains(&printed[10..]), "{everything}");

    let set = ["user", "set-mail-password", "alice", "--password-stdin", "--json"];
    assert_eq!(place.type_in("changed", &set).code, 77);
    backend.mail.set_password("alice", "changed");
    let sealed = place.type_in("changed", &set).value();
    assert_eq!(sealed, json!({"account": "alice", "app_passwords": 1}));

    assert_eq!(place.run(&["app-password", "revoke", id]).code, 0);
    assert_eq!(place.run(&["app-password", "revoke", id]).code, 65);
    assert_eq!(listed().0["status"], "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_away_leaves_nothing_behind() {
    let address = backend().await.addr;
    let place = Place::with_backend(address);
    place.run(&["user", "add", "alice"]);
    let done = place.type_in("x\n", &["app-password", "create", "alice", "--password-stdin"]);
    assert!(done.refused(69).contains("cannot be proved"), "{done:?}");
}

#[test]
fn with_a_master_user_no_mail_password_is_asked_for_or_kept() {
    let place = Place::with_config(
        "backends:\n  - address: '127.0.0.1:143'\n    master: {user: boss, password_file: boss.secret}\n",
    );
    place.file("boss.secret", "secret\n");
    place.run(&["user", "add", "alice"]);
    for more in [&[][..], &["--no-mail-password"]] {
        let create = [&["app-password", "create", "alice", "--json"][..], more].concat();
        assert!(place.run(&create).value()["password"].is_string());
    }
    let listed = place.run(&["app-password", "list", "alice", "--json"]).value();
    assert_eq!(listed[0]["keeps_mail_password"], false);
    for given in [
        &["app-password", "create", "alice", "--password-stdin"][..],
        &["user", "set-mail-password", "alice", "--password-stdin"],
    ] {
        let done = place.type_in("x\n", given);
        assert!(done.refused(64).contains("master user"), "{done:?}");
    }
}

/// `imapwarden serve`, killed when dropped.
struct Serving {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    address: SocketAddr,
    said: String,
}

impl Serving {
    fn start(place: &Place) -> Self {
        let mut child = place.command(&["serve"]).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let mut address = None;
        // What the log says at the start ends with how to begin: the store is new.
        while !said.contains("user add") {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "{said}");
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["message"] == "listening" {
                address = event["address"].as_str().map(|text| text.parse().unwrap());
            }
            said.push_str(&line);
        }
        Self {
            child,
            log,
            address: address.unwrap(),
            said,
        }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_proxy_is_managed_from_beside_and_ends_when_told() {
    let backend = backend().await;
    let place = Place::with_config(&format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\nmetrics: {{address: off}}\ndrain: {{timeout: 5s, spread: 0s}}\n\
         backends: [{{address: '{}'}}]\n",
        backend.addr
    ));
    let mut serving = Serving::start(&place);
    assert!(serving.said.contains("app-password create"), "{}", serving.said);
    place.run(&["user", "add", "alice"]);
    let create = [
        "app-password",
        "create",
        "alice",
        "--label",
        "phone",
        "--password-stdin",
        "--json",
    ];
    let created = place.type_in(MAIL_PASSWORD, &create).value();
    let password = created["password"].as_str().unwrap();
    let certificate = CertificateDer::from_pem_file(place.dir.path().join("data/cert.pem")).unwrap();
    let log_in = async || {
        let mut client = Client::tls(serving.address, &certificate, "localhost")
            .await
            .unwrap();
        client.response().await.unwrap();
        let login = format!("LOGIN alice {password}");
        let answer = client.command("a", &login).await.unwrap();
        assert!(answer.last().unwrap().starts_with("a OK "), "{answer:?}");
        client
    };

    let mut client = log_in().await;
    let listed = place.run(&["session", "list", "--json"]).value();
    assert_eq!(
        (&listed[0]["user"], &listed[0]["app_password"]["label"]),
        (&json!("alice"), &json!("phone"))
    );
    assert!(place.run(&["session", "list"]).out.contains("(phone)"));
    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!(
        place.run(&["session", "kill", id, "--json"]).value(),
        json!({"killed": 1})
    );
    let end = String::from_utf8(client.rest().await.unwrap()).unwrap();
    assert!(end.contains("* BYE"), "{end}");
    assert_eq!(place.run(&["session", "kill", "00000000000000ab"]).code, 65);

    let mut client = log_in().await;
    let revoke = ["app-password", "revoke", created["id"].as_str().unwrap()];
    assert_eq!(place.run(&revoke).code, 0);
    let end = String::from_utf8(client.rest().await.unwrap()).unwrap();
    assert!(end.contains("* BYE"), "{end}");

    serving.signal("-TERM");
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    std::io::Read::read_to_string(&mut serving.log, &mut log).unwrap();
    assert!(!log.contains(password) && !log.contains("horse"), "{log}");
    assert!(place.run(&["session", "list"]).code == 69, "its socket is gone");
}

#[test]
fn a_second_proxy_in_the_same_place_does_not_start() {
    let place = Place::with_config(
        "listeners: [{address: '127.0.0.1:0'}]\nmetrics: {address: off}\nbackends: [{address: '127.0.0.1:143'}]\n",
    );
    let mut first = Serving::start(&place);
    let second = place.run(&["serve"]);
    assert_eq!(second.code, 73, "{second:?}");
    assert!(second.err.contains("another imapwarden"), "{second:?}");
    first.signal("-INT");
    assert_eq!(first.child.wait().unwrap().code(), Some(0));
}

/// What protects everybody is in force without a word, and what is in somebody's way can be taken out by name alone.
#[test]
fn the_rules_that_come_with_the_program_are_in_force_and_single_ones_can_be_taken_out() {
    let config = |rules: &str| {
        Place::with_config(&format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\nbackends: [{{address: '127.0.0.1:143'}}]\n{rules}"
        ))
    };
    let modes = |rules: &str| -> Vec<(String, String)> {
        let listed = config(rules).run(&["policy", "list", "--json"]).values();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        listed
            .iter()
            .map(|rule| (text(&rule["name"]), text(&rule["mode"])))
            .collect()
    };
    let mode_of = |modes: &[(String, String)], name: &str| {
        let found = modes.iter().find(|(known, _)| known == name);
        found.map(|(_, mode)| mode.clone())
    };
    let usual = modes("");
    assert!(usual.len() > 30, "{usual:?}");
    assert_eq!(mode_of(&usual, "bulk-download").as_deref(), Some("enforce"));
    let tried = config("").run(&["policy", "test"]);
    assert!(tried.code == 0 && tried.out.contains(" 0 failed"), "{tried:?}");

    let changed = modes("rules: {disable: [honey-app-password], report_only: [bulk-download]}\n");
    assert_eq!(mode_of(&changed, "bulk-download").as_deref(), Some("shadow"));
    assert_eq!(
        mode_of(&changed, "honey-app-password").as_deref(),
        Some("disabled")
    );
    let checked = config("rules: {disable: [honey-app-password]}\n").run(&["check"]);
    assert!(
        checked.out.contains(&format!("{} in 5 files", usual.len() - 1)),
        "{checked:?}"
    );
    let none = config("rules: {packs: []}\n").run(&["policy", "list"]);
    assert!(none.out.contains("There are no rules."), "{none:?}");

    // Who believes that a rule is off, or on, must be right.
    let wrong = config("rules: {disable: [bulk-downlaod]}\n").run(&["check"]);
    assert_eq!(wrong.code, 78, "{wrong:?}");
    assert!(
        wrong.err.contains("there is no rule `bulk-downlaod`")
            && wrong.err.contains("did you mean `bulk-download`?"),
        "{wrong:?}"
    );
    let place = config("rules: {files: [rules.yaml]}\n");
    place.file(
        "rules.yaml",
        "name: bulk-download\ndescription: Ours.\non: fetched\nthen: [alert]\n",
    );
    let twice = place.run(&["check"]);
    assert_eq!(twice.code, 78, "{twice:?}");
    assert!(
        twice.err.contains("builtin:baseline/mailbox-access.yaml") && twice.err.contains("rules.packs"),
        "{twice:?}"
    );
}

#[test]
fn rule_files_are_checked_tried_and_listed() {
    let place = Place::with_config(
        "listeners: [{address: '127.0.0.1:0'}]\nbackends: [{address: '127.0.0.1:143'}]\nrules: {packs: [], files: [rules.yaml]}\n",
    );
    let rule = "rules:
  - name: no-sharing
    description: Nobody shares.
    severity: high
    attack: T1098.002
    on: command
    when: command.verb == 'SETACL'
    then: [alert, deny]
tests:
  - {name: sharing, given: [{on: command, command.verb: SETACL}], expect: [no-sharing], effect: deny}
  - {name: reading, given: [{on: command, command.verb: FETCH}], expect: []}
";
    let file = place.file("rules.yaml", rule);
    let checked = place.run(&["policy", "check", "--json"]).value();
    assert_eq!((&checked["rules"], &checked["ok"]), (&json!(1), &json!(true)));
    let tested = place.run(&["policy", "test", "--json"]).values();
    assert_eq!(tested.len(), 2);
    assert!(tested.iter().all(|test| test["ok"] == json!(true)), "{tested:?}");
    let listed = place.run(&["policy", "list", "--json"]).value();
    assert_eq!(listed["name"], "no-sharing");
    assert!(
        listed["place"].as_str().unwrap().ends_with("rules.yaml:2"),
        "{listed}"
    );

    // Files that are named need no configuration, and a test that fails is told.
    fs::write(&file, rule.replace("expect: [no-sharing]", "expect: []")).unwrap();
    let named = file.display().to_string();
    let failed = Place::bare().run(&["policy", "test", &named]);
    assert_eq!(failed.code, 65, "{failed:?}");
    assert!(
        failed.out.contains("FAILED") && failed.out.contains("1 passed, 1 failed"),
        "{failed:?}"
    );
    fs::write(&file, rule.replace("command.verb ==", "command.verbs ==")).unwrap();
    let wrong = place.run(&["policy", "check"]);
    assert_eq!(wrong.code, 78, "{wrong:?}");
    assert!(wrong.err.contains("rules.yaml:7"), "{wrong:?}");
    // Nobody believes to be protected by rules that cannot be read.
    let serving = place.run(&["serve"]);
    assert_eq!(serving.code, 78, "{serving:?}");
}
